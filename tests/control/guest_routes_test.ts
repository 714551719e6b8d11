/** Several guests behind one control interface: each is asked by its name, and no other answers. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { SERVED_ROUTES } from "../../lib/control/routes.ts";
import type { ServedGateway } from "../../lib/host/served_gateway.ts";
import { until } from "../support/guest_rig.ts";
import { attachTo, ControlRig } from "./control_rig.ts";
import { GuestsRig } from "./guests_rig.ts";

const TWO = { db: { policy: { deny: ["10.1.2.3"] } }, web: {} };

/** Has some methods of a guest's gateway answered by a test. */
function answerAs(rig: GuestsRig, name: string, methods: Partial<ServedGateway>): void {
  const asked = rig.set.asked.get(name)!;
  rig.set.asked.set(
    name,
    new Proxy(asked, {
      get: (target, method: keyof ServedGateway) => methods[method] ?? target[method],
    }),
  );
}

const faultOf = (text: string) => JSON.parse(text).error as Record<string, string>;

Deno.test("the guests at a glance", async () => {
  await using rig = await GuestsRig.open(TWO, { networks: { web: "lan" } });
  rig.set.workersNow = [{ guests: ["web"], restarts: 2, alive: true }];
  const guest = await attachTo(rig.server("db"));
  await guest.connect("10.1.2.3", 443).catch(() => {});
  const { guests, workers } = await rig.client.guestsReport();
  assertEquals(workers, rig.set.workersNow);
  assertEquals(
    guests.map(({ name, link, network, worker, refused, fault }) => {
      return [name, link, network, worker, refused, fault];
    }),
    [["db", "attached", null, null, 1, null], ["web", null, "lan", 0, 0, null]],
  );
  const [db, web] = guests;
  assert(db!.upBytes > 0 && db!.downBytes > 0);
  assert(db!.endpoint!.startsWith("tcp:127.0.0.1:") && db!.endpoint !== web!.endpoint);
  await guest.close();
});

Deno.test("what is asked of a guest is asked of its gateway alone", async () => {
  await using rig = await GuestsRig.open(TWO);
  const [db, web] = ["db", "web"].map((name) => rig.client.withGuest(name)) as [
    typeof rig.client,
    typeof rig.client,
  ];
  await web.setPolicy({ allow: ["9.9.9.9"] });
  assertEquals((await db.policy()).deny, ["10.1.2.3"]);
  assertEquals(rig.server("db").policy.allow, []);
  assertEquals(rig.server("web").policy.origins.allow, ["control:allow[0]"]);
  const published = await db.publish({ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] });
  assertEquals([await db.published(), await web.published()], [published, []]);
  assertEquals(await web.unpublish(published[0]!.hostPort), []);
  await db.setRecords("x.test", ["10.0.0.5"]);
  const names = async (client: typeof db) => (await client.dns()).names.map(({ name }) => name);
  assert((await names(db)).includes("x.test") && !(await names(web)).includes("x.test"));
  const guest = await attachTo(rig.server("web"));
  assertEquals([(await db.status()).guest, (await web.status()).guest?.figures.tcpFlows], [
    null,
    0,
  ]);
  assertEquals([await db.flushDns(), await web.flushDns()], [false, true]);
  assertEquals((await web.explain("9.9.9.9:443")).hasGuest, true);
  await guest.connect("8.8.8.8", 443).catch(() => {});
  assertEquals([(await db.denials()).length, (await web.denials()).length], [0, 1]);
  await guest.close();
});

Deno.test("errors keep what they mean behind a port", async () => {
  await using rig = await GuestsRig.open(TWO);
  const ask = async (method: string, path: string, body: string) => {
    const { status, text } = await rig.ask(method, `/v1/guests/db${path}`, { body });
    return [status, faultOf(text).code, faultOf(text).message] as const;
  };
  const [port] = await rig.server("web").publish({
    hostPort: 0,
    guestPort: 80,
    bind: ["127.0.0.1"],
  });
  const { hostPort } = port!;
  const mapping = { hostPort, guestPort: 80, bind: ["127.0.0.1"] };
  assertEquals(await ask("POST", "/ports", JSON.stringify(mapping)), [
    409,
    "conflict",
    `cannot publish 127.0.0.1:${hostPort}: the address is in use`,
  ]);
  assertEquals((await ask("POST", "/ports", `{"hostPort":70000,"guestPort":80}`))[0], 422);
  assertEquals((await ask("PUT", "/policy", `{"deny":["a b"]}`))[0], 422);
  assertEquals((await ask("POST", "/explain", `{"target":"a b"}`))[0], 422);
  const capture = await rig.ask("GET", "/v1/guests/db/capture?filter=nonsense");
  assertEquals([capture.status, faultOf(capture.text).code], [422, "invalid"]);
});

Deno.test("without its name none of several is meant; what is about all of them answers", async () => {
  await using rig = await GuestsRig.open(TWO);
  const { status, text } = await rig.ask("GET", "/v1/flows");
  assertEquals([status, faultOf(text)], [409, {
    code: "guest-needed",
    message: "2 guests are served: name one",
    hint: "Use --guest NAME, or a path below /v1/guests/NAME/. Guests: db, web",
  }]);
  const gvproxy = await rig.ask("GET", "/services/forwarder/all");
  assertEquals(gvproxy.status, 409);
  assertEquals(gvproxy.headers.get("content-type"), "text/plain; charset=utf-8");
  for (const { method, path, isOfGuest, says, takes } of SERVED_ROUTES) {
    if (path.includes("{guest}") || says === "events" || path === "/v1/stop") continue;
    const body = takes === undefined ? "" : "{}";
    const answer = await rig.ask(method, path.replaceAll(/\{\w+\}/g, "1"), { body });
    const isRefused = isOfGuest === true || path === "/v1/reload" || path === "/v1/fleet";
    const expected = isRefused ? 409 : 200;
    assertEquals(answer.status, expected, `${method} ${path}: ${answer.text.slice(0, 200)}`);
    if (isOfGuest === true && path.startsWith("/v1/")) {
      assertEquals(faultOf(answer.text).code, "guest-needed");
    }
  }
  await assertRejects(() => rig.client.status(), GatewayError, "2 guests are served: name one");
});

Deno.test("a path that names no guest finds none, whatever stands there", async () => {
  await using rig = await GuestsRig.open(TWO);
  const names = [
    ..."dbb DB ..%2Fdb db%2F db%00 %2e%2e %2E%2E%2Fv1 default constructor __proto__ toString".split(
      " ",
    ),
    ..."d%C3%B6b %F0%9F%92%A3 .. . * %2A {guest} db;x db%20 %20db web,db".split(" "),
    "a".repeat(64),
    "a".repeat(10_000),
    "%61".repeat(1_000),
  ];
  for (const name of names) {
    const { status, text } = await rig.ask("GET", `/v1/guests/${name}/status`);
    const { code, message, hint } = faultOf(text);
    assertEquals([status, code], [404, "no-guest"], name.slice(0, 50));
    assert(message!.length < 120 && /^[ -~]*$/.test(message!), message);
    assert(hint!.endsWith("Guests: db, web"), hint);
  }
  for (const name of ["%", "%zz", "%C3%28", "%ff"]) {
    const { status, text } = await rig.ask("GET", `/v1/guests/${name}/status`);
    assertEquals([status, faultOf(text).code], [400, "bad-request"], name);
  }
  for (const path of ["", "/", "//status", "/db", "/db/", "/db//status", "/db/../web/status"]) {
    const { status, text } = await rig.ask("GET", `/v1/guests${path}`);
    assertEquals(
      [status, path === "" ? "" : faultOf(text).code],
      path === "" ? [200, ""] : [404, "not-found"],
      path,
    );
  }
  // Written in another way it is the same name still, and is found.
  assertEquals((await rig.ask("GET", "/v1/guests/%64b/status")).status, 200);
  const mistyped = await rig.ask("GET", "/v1/guests/wbe/flows");
  assertEquals(faultOf(mistyped.text), {
    code: "no-guest",
    message: `there is no guest "wbe"`,
    hint: `Did you mean "web"? Guests: db, web`,
  });
  await assertRejects(() => rig.client.withGuest("..").endFlow(1), GatewayError, "no guest");
  await assertRejects(() => rig.client.withGuest("../db").unpublish(1), GatewayError, "no guest");
});

Deno.test("a fault lists some of very many guests", async () => {
  await using rig = await GuestsRig.open(TWO);
  const names = Array.from({ length: 256 }, (_, i) => `vm${i}`);
  Object.defineProperty(rig.set, "names", { value: names });
  const { text } = await rig.ask("GET", "/v1/status");
  assertStringIncludes(
    faultOf(text).hint!,
    "Guests: vm0, vm1, vm2, vm3, vm4, vm5, vm6, vm7 and 248 more",
  );
});

Deno.test("over TCP no path of a guest answers without the token", async () => {
  await using rig = await GuestsRig.open(TWO, { control: "tcp" });
  for (const { method, path, isOfGuest, takes } of SERVED_ROUTES) {
    if (isOfGuest !== true) continue;
    for (const name of ["db", "nobody"]) {
      const target = path.replace("{guest}", name).replaceAll(/\{\w+\}/g, "1");
      const options = { headers: { Authorization: "" }, body: takes === undefined ? "" : "{}" };
      assertEquals((await rig.ask(method, target, options)).status, 401, `${method} ${target}`);
    }
  }
});

Deno.test("a lone guest has a name too, under which it answers as without one", async () => {
  await using rig = await ControlRig.open();
  assertEquals(
    (await rig.client.guests()).map(({ name, network, worker }) => {
      return [name, network, worker];
    }),
    [["default", null, null]],
  );
  const plain = await rig.ask("GET", "/v1/policy");
  assertEquals(await rig.client.withGuest("default").policy(), JSON.parse(plain.text));
  const stranger = await rig.ask("GET", "/v1/guests/db/policy");
  assertEquals([stranger.status, faultOf(stranger.text).hint], [404, "Guests: default"]);
});

Deno.test("a set of one guest answers without its name", async () => {
  await using rig = await GuestsRig.open({ db: {} });
  assertEquals((await rig.client.status()).guest, null);
  assertEquals((await rig.ask("GET", "/services/forwarder/all")).status, 200);
  const { text } = await rig.ask("GET", "/metrics");
  assert(!text.includes("guest="), text);
});

Deno.test("a gateway that is gone costs its own guest alone", async () => {
  await using rig = await GuestsRig.open(TWO);
  const gone = () =>
    Promise.reject(new GatewayError("closed", "its worker is being started again"));
  answerAs(rig, "db", { snapshot: gone, flows: gone });
  const { status, text } = await rig.ask("GET", "/v1/guests/db/flows");
  assertEquals([status, faultOf(text).code], [503, "not-ready"]);
  assertEquals((await rig.ask("GET", "/v1/guests/web/flows")).status, 200);
  const [db, web] = await rig.client.guests();
  assertEquals([db!.fault, db!.endpoint, db!.link], [
    "its worker is being started again",
    null,
    null,
  ]);
  assertEquals([web!.fault, typeof web!.endpoint], [null, "string"]);
  const metrics = (await rig.ask("GET", "/metrics")).text;
  assertStringIncludes(metrics, `virtio_gateway_guest_answers{guest="db"} 0\n`);
  assertStringIncludes(metrics, `virtio_gateway_guest_answers{guest="web"} 1\n`);
  assertStringIncludes(metrics, `virtio_gateway_guest_attached{guest="web"} 0\n`);
  assert(!metrics.includes(`virtio_gateway_guest_attached{guest="db"}`));
});

Deno.test("a gateway without an answer is waited for only so long, and its late streams end", async () => {
  await using rig = await GuestsRig.open(TWO, { answerMs: 20 });
  const never = () => new Promise<never>(() => {});
  const late = Promise.withResolvers<IteratorResult<Uint8Array>>();
  let hasEnded = false;
  const blocks: AsyncIterableIterator<Uint8Array> = {
    next: () => late.promise,
    return: () => {
      hasEnded = true;
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]: () => blocks,
  };
  answerAs(rig, "db", { snapshot: never, capture: () => blocks });
  for (const path of ["/v1/guests/db/status", "/v1/guests/db/capture"]) {
    const { status, text } = await rig.ask("GET", path);
    assertEquals([status, faultOf(text)], [503, {
      code: "not-ready",
      message: "the gateway of guest db did not answer in time",
      hint: "Ask again in a moment; what was asked for may still be done",
    }]);
  }
  assertEquals(
    (await rig.client.guests())[0]!.fault,
    "the gateway of guest db did not answer in time",
  );
  assertEquals(hasEnded, false);
  late.resolve({ done: false, value: new Uint8Array(4) });
  await until("the late capture has been left", () => hasEnded);
});

Deno.test("a flow that ends between question and answer is absent", async () => {
  await using rig = await GuestsRig.open({ db: { hostLoopback: true }, web: {} });
  const guest = await attachTo(rig.server("db"));
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await guest.connect("100.96.0.1", host.addr.port);
  using _conn = await host.accept();
  const server = rig.server("db");
  answerAs(rig, "db", {
    flows: () => {
      const flows = server.flows();
      server.endFlow(flows[0]!.id);
      return Promise.resolve(flows);
    },
  });
  const [{ id } = { id: 0 }] = server.flows();
  const { status, text } = await rig.ask("DELETE", `/v1/guests/db/flows/${id}`);
  assertEquals([status, faultOf(text).code], [404, "absent"]);
  await guest.close();
});

Deno.test("a guest that ends in the middle has one clear answer each, and the others go on", async () => {
  await using rig = await GuestsRig.open({ web: {}, db: {} });
  const db = rig.client.withGuest("db");
  const asked = Array.from({ length: 8 }, (_, i) =>
    Promise.allSettled([
      db.publish({ hostPort: 0, guestPort: 80 + i, bind: ["127.0.0.1"] }),
      db.status(),
      db.setPolicy({}),
    ]));
  await rig.server("db").close();
  for (const outcomes of await Promise.all(asked)) {
    for (const outcome of outcomes) {
      if (outcome.status === "fulfilled") continue;
      assert(outcome.reason instanceof GatewayError, String(outcome.reason));
      assertStringIncludes(outcome.reason.message, "stopping");
    }
  }
  await assertRejects(() => db.publish({ hostPort: 0, guestPort: 80 }), GatewayError, "stopping");
  assertEquals((await rig.client.withGuest("web").status()).guest, null);
  assertEquals((await rig.client.guests()).map(({ name }) => name), ["web", "db"]);
});

Deno.test("events have the guest's name, and can be had of one alone", async () => {
  await using rig = await GuestsRig.open(TWO);
  const all = rig.client.events();
  const own = rig.client.withGuest("web").events();
  const firsts = [all.next(), own.next()] as const;
  const status = () => rig.client.withGuest("db").status();
  while ((await status()).readers < 2);
  for (const name of ["db", "web", "db"]) await rig.client.withGuest(name).setPolicy({ deny: [] });
  const seen = [(await firsts[0]).value, (await all.next()).value, (await all.next()).value];
  assertEquals(seen.map(({ type, guest }) => [type, guest]), [
    ["policy-changed", "db"],
    ["policy-changed", "web"],
    ["policy-changed", "db"],
  ]);
  assertEquals((await firsts[1]).value.guest, "web");
  await rig.client.withGuest("web").setPolicy({ deny: ["10.0.0.1"] });
  const { guest, rules } = (await own.next()).value;
  assertEquals([guest, rules], ["web", 1]);
  await all.return!();
  await own.return!();
});
