/**
 * The server in this process and the client of one in another answer alike: by their types, and to one
 * program that is run with both.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { GatewayError } from "../lib/config/errors.ts";
import type { GatewayClient } from "../lib/control/client.ts";
import { EventHub } from "../lib/host/event_hub.ts";
import type { Gateway } from "../lib/host/gateway.ts";
import { type GatewayEvent, gatewayEvents } from "../lib/host/gateway_event.ts";
import type { VirtioNetworkServer } from "../lib/server.ts";
import { ControlRig } from "./control/control_rig.ts";

/** What a member of the server is where a promise stands between: properties are asked for too. */
type Remote<Member> = Member extends (...args: infer Args) => infer Result
  ? [Result] extends [AsyncIterator<unknown>] ? Member : (...args: Args) => Promise<Awaited<Result>>
  : () => Promise<Member>;

/** What the client need not say: that a thing has changed, it answers with what is so then. */
type Loose<Member> = Member extends (...args: infer Args) => Promise<void>
  ? (...args: Args) => Promise<unknown>
  : Member extends (...args: infer Args) => Promise<readonly (infer Item)[]>
    ? (...args: Args) => Promise<readonly Item[]>
  : Member;

type Shared = keyof VirtioNetworkServer & keyof GatewayClient;
/** Where each is: not the same place. */
type Both = Exclude<Shared, "endpoint" | "flows">;
type RemoteServer = { [Name in Both]: Loose<Remote<VirtioNetworkServer[Name]>> };

/** Fails to compile where the client's members are not the server's, with promises. */
const asRemote = (client: GatewayClient): RemoteServer => client;
/** Fails to compile where one of them is no `Gateway`, or a method of it is missing from either. */
const asGateway = (gateway: VirtioNetworkServer | GatewayClient): Gateway => gateway;
const ALL: Readonly<Record<keyof Gateway, true>> = {
  denials: true,
  denialsByRule: true,
  setPolicy: true,
  explain: true,
  pins: true,
  flows: true,
  endFlow: true,
  publish: true,
  unpublish: true,
  setRecords: true,
  removeRecords: true,
  flushDns: true,
  events: true,
  capture: true,
};

/** Uses all of a gateway, and gives what it has said. */
async function use(gateway: Gateway): Promise<unknown[]> {
  const said: unknown[] = [];
  await gateway.setPolicy({ deny: ["9.9.9.0/24"] });
  const { allowed, findings } = await gateway.explain("9.9.9.9:443");
  said.push(allowed, findings.map(({ what, rule, detail }) => [what, rule, detail]));
  await assertRejects(async () => await gateway.explain("a b"), GatewayError);
  const mapping = { hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] };
  const ports = await gateway.publish(mapping);
  said.push(ports.map(({ bind, guestPort }) => [bind, guestPort]));
  said.push((await gateway.unpublish(ports[0]!.hostPort, "127.0.0.1")).length);
  said.push(await gateway.unpublish(ports[0]!.hostPort));
  said.push(await gateway.setRecords("DB.internal.", ["10.0.0.5"]));
  said.push(await gateway.setRecords("db.internal", { cname: "b.test", ttl: 9 }));
  const wrong = { cname: "b.test", a: "10.0.0.5" };
  const fault = await assertRejects(
    async () => await gateway.setRecords("db", wrong),
    GatewayError,
  );
  said.push(
    (fault as GatewayError).code,
    fault.message,
    await gateway.removeRecords("gateway.internal"),
  );
  said.push(await gateway.removeRecords("db.internal"), await gateway.removeRecords("db.internal"));
  said.push(await gateway.flows(), await gateway.pins(), await gateway.endFlow(77));
  said.push(await gateway.denials(), [...await gateway.denialsByRule()], await gateway.flushDns());

  const ending = new AbortController();
  const events = gateway.events(ending.signal);
  const first = events.next();
  await until(first, async () => void await gateway.setPolicy({ allow: ["9.9.9.9"] }));
  said.push((await first).value?.type, events.dropped);
  ending.abort();
  const left = [];
  for await (const event of events) left.push(event.type);
  said.push(left.filter((type) => type !== "policy-changed"));

  const over = new AbortController();
  const frames = gateway.capture({ filter: "tcp", signal: over.signal });
  const head = await frames.next();
  said.push([...(head.value as Uint8Array).subarray(0, 4)]);
  over.abort();
  while (!(await frames.next()).done);
  return said;
}

/** Does something until a promise is fulfilled: a reader behind a socket begins some time later. */
async function until(promise: Promise<unknown>, act: () => Promise<void>): Promise<void> {
  let isOver = false;
  void promise.then(() => isOver = true);
  while (!isOver) {
    await act();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("one program has the same answers of the server and of the client", async () => {
  await using rig = await ControlRig.open();
  assertEquals(Object.keys(ALL).filter((name) => !(name in asRemote(rig.client))), []);
  const own = await use(asGateway(rig.gateway));
  const asked = await use(asGateway(rig.client));
  assertEquals(asked, own);
  assert(own.includes("policy-changed"));
});

Deno.test("both see and end the flows of the guest that is attached, the latest first", async () => {
  await using rig = await ControlRig.open({ hostLoopback: true });
  const guest = await rig.attach();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = [];
  for (let i = 0; i < 2; i++) {
    await guest.connect("100.96.0.1", host.addr.port);
    accepted.push(await host.accept());
  }
  const ids = rig.gateway.flows().map(({ id }) => id);
  assertEquals(ids.length, 2);
  assert(ids[0]! > ids[1]!);
  assertEquals((await rig.client.flows()).map(({ id }) => id), ids);
  assertEquals(rig.gateway.endFlow(ids[1]!), true);
  assertEquals(await rig.client.endFlow(ids[0]!), true);
  assertEquals([rig.gateway.endFlow(ids[0]!), await rig.client.endFlow(ids[1]!)], [false, false]);
  assertEquals([rig.gateway.flushDns(), await rig.client.flushDns()], [true, true]);
  for (const conn of accepted) conn.close();
});

Deno.test("a signal gives each of the client's questions up, with its reason", async () => {
  const folder = await Deno.makeTempDir({ prefix: "vgctl-" });
  const path = `${folder}/c.sock`;
  using silent = Deno.listen({ transport: "unix", path }); // takes connections, and never answers
  const { GatewayClient } = await import("../lib/control/client.ts");
  const client = new GatewayClient({ transport: "unix", path });
  type Call = (options: { signal: AbortSignal }) => Promise<unknown>;
  const calls: Call[] = [
    (options) => client.guests(options),
    (options) => client.guestsReport(options),
    (options) => client.status(options),
    (options) => client.denials(options),
    (options) => client.denialsByRule(options),
    (options) => client.denialReport(options),
    (options) => client.policy(options),
    (options) => client.setPolicy({}, options),
    (options) => client.explain("9.9.9.9", options),
    (options) => client.pins(options),
    (options) => client.flows({}, options),
    (options) => client.flowReport({}, options),
    (options) => client.endFlow(1, options),
    (options) => client.published(options),
    (options) => client.publish({ hostPort: 0, guestPort: 80 }, options),
    (options) => client.unpublish(1, undefined, options),
    (options) => client.dns(options),
    (options) => client.setRecords("a.test", [], options),
    (options) => client.removeRecords("a.test", options),
    (options) => client.flushDns(options),
    (options) => client.reload(options),
    (options) => client.stop(options),
    (options) => client.isReady(options),
  ];
  for (const call of calls) {
    const reason = new Error("no longer wanted");
    const early = await assertRejects(() => call({ signal: AbortSignal.abort(reason) }));
    assertEquals(early, reason);
    const ending = new AbortController();
    const asked = call({ signal: ending.signal });
    using _conn = await silent.accept();
    ending.abort(reason);
    assertEquals(await assertRejects(() => asked), reason);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a signal cuts the grace of an orderly end short", async () => {
  await using rig = await ControlRig.open({ hostLoopback: true, graceMs: 3_600_000 });
  const guest = await rig.attach();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await guest.connect("100.96.0.1", host.addr.port);
  using _conn = await host.accept();
  const ending = new AbortController();
  const closed = rig.gateway.close({ signal: ending.signal });
  ending.abort();
  await closed; // not after an hour
  await rig.gateway.close({ signal: AbortSignal.abort() });
});

Deno.test("a reader of events knows how many it has lost", async () => {
  const hub = new EventHub<GatewayEvent>();
  const events = gatewayEvents(hub);
  for (let i = 0; i < 300; i++) hub.publish({ type: "guest-attached", timeMs: i });
  assertEquals(events.dropped, 44);
  assertEquals(await events.next(), { done: false, value: { type: "events-lost", count: 44 } });
  assertEquals((await events.next()).value, { type: "guest-attached", timeMs: 44 });
  hub.publish({ type: "guest-attached", timeMs: 300 });
  assertEquals(events.dropped, 44);
  hub.close();
});
