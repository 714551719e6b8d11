/** The OpenAPI document describes every route, and every answer is as it says. */
import { assert, assertEquals } from "@std/assert";
import type { Route, RouteParameter } from "../../lib/control/route.ts";
import { documentRoutes, ROUTES } from "../../lib/control/routes.ts";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { type AskedControl, attachTo, ControlRig } from "./control_rig.ts";
import { GuestsRig } from "./guests_rig.ts";
import { FLEET } from "../support/fleet_report.ts";
import { type Json, schemaFaults } from "./schema_check.ts";

/** What is asked of a route, where it needs more than its path. */
interface Sample {
  readonly path?: string;
  readonly body?: string;
}

/** A request for each such route, in the order of the table. */
function samples(hostPort: number): Readonly<Record<string, Sample>> {
  return {
    setPolicy: { body: `{"deny":["10.1.2.3"],"protect":"off"}` },
    explain: { body: `{"target":"10.1.2.3:443"}` },
    getFlows: { path: "/v1/flows?protocol=tcp&limit=10" },
    endFlow: { path: "/v1/flows/1" },
    publishPort: { body: `{"hostPort":0,"guestPort":80}` },
    unpublishPort: { path: `/v1/ports/${hostPort}?bind=127.0.0.1` },
    gvproxyExpose: { body: `{"local":"127.0.0.1:${hostPort}","remote":":80"}` },
    gvproxyUnexpose: { body: `{"local":"127.0.0.1:${hostPort}"}` },
    setRecords: { body: `{"name":"b.test","records":{"a":["10.0.0.5"],"ttl":5}}` },
    removeRecords: { path: "/v1/dns/records/b.test" },
    gvproxyAddZone: { body: `{"Name":"a.test.","Records":[{"Name":"b","IP":"10.0.0.1"}]}` },
  };
}

/** Does what makes denials and flows. */
async function useNetwork(guest: EmbeddedGuest, port: number): Promise<void> {
  await guest.connect("10.1.2.3", 443).catch(() => {});
  await guest.connect("100.96.0.1", port);
}

for (const control of ["unix", "tcp"] as const) {
  Deno.test(`over ${control} the document has every route, and each answers as it says`, async () => {
    const report = { file: "a.yaml", rules: 1, needRestart: ["publish"], notice: "a notice" };
    await using rig = await ControlRig.open({
      control,
      policy: { deny: ["10.1.2.3"] },
      hostLoopback: true,
      publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] }],
      dns: { upstreams: ["127.0.0.1:1"], records: { "*.a.test": ["10.0.0.5"] } },
      reload: () => Promise.resolve(report),
      stop: () => {},
      fleet: () => FLEET,
    });
    const { hostPort } = rig.gateway.published[0]!;
    const guest = await rig.attach();
    using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await useNetwork(guest, host.addr.port);
    await checkDocument(rig, { routes: ROUTES, asksToken: control === "tcp", hostPort });
    await guest.close();
  });
}

Deno.test("for several guests the document has each route once, below the guest's name", async () => {
  const serve = {
    policy: { deny: ["10.1.2.3"] },
    hostLoopback: true,
    publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] }],
  };
  const report = { file: "a.yaml", rules: 1, needRestart: [], notice: null };
  const options = {
    reload: () => Promise.resolve(report),
    stop: () => {},
    fleet: () => FLEET,
  };
  await using rig = await GuestsRig.open({ web: {}, db: serve }, options);
  rig.set.workersNow = [{ guests: ["db"], restarts: 1, alive: true }];
  const { hostPort } = rig.server("db").published[0]!;
  const guest = await attachTo(rig.server("db"));
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await useNetwork(guest, host.addr.port);
  const routes = documentRoutes(true);
  assertEquals(new Set(routes.map(({ id }) => id)).size, routes.length);
  assert(routes.some(({ path }) => path === "/v1/guests/{guest}/flows/{id}"));
  assert(!routes.some(({ path }) => path === "/v1/flows" || path === "/stats"));
  await checkDocument(rig, { routes, asksToken: false, hostPort });
  await guest.close();
});

/** The document has each route, and each answers as it says. */
async function checkDocument(
  rig: AskedControl,
  { routes, asksToken, hostPort }: {
    readonly routes: readonly Route[];
    readonly asksToken: boolean;
    readonly hostPort: number;
  },
): Promise<void> {
  const document = JSON.parse((await rig.ask("GET", "/v1/openapi.json")).text) as Json;
  assertEquals([document.openapi, (document.info as Json).version], ["3.1.0", "1.2.3"]);
  assertEquals("security" in document, asksToken);
  const { schemas } = document.components as { schemas: Json };
  const paths = document.paths as Record<string, Record<string, Json>>;
  const described = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`)
  );
  assertEquals(
    described.toSorted(),
    routes.map(({ method, path }) => `${method} ${path}`).sort(),
  );
  const all = samples(hostPort);
  const isLast = (id: string) => id === "endFlow";
  const ordered = routes.toSorted((a, b) => Number(isLast(a.id)) - Number(isLast(b.id)));
  for (const { method, path, id, says, takes, params = [], query = [] } of ordered) {
    const operation = paths[path]![method.toLowerCase()]!;
    checkParameters(operation, [...params, ...query]);
    if (says === "events" || (typeof says === "object" && says.isStream === true)) continue;
    const { path: sample, body = "" } = all[id] ?? {};
    const target = targetOf(path, sample);
    assertEquals(body === "", takes === undefined, `${id} has a sample`);
    const answer = await rig.ask(method, target, { body });
    assertEquals(answer.status, 200, `${id}: ${answer.text}`);
    const type = answer.headers.get("content-type");
    if (typeof says !== "object") {
      assertEquals(type, "application/json");
      const [schema] = contents(operation.responses as Json, "200");
      assertEquals(schemaFaults(JSON.parse(answer.text), schema!, schemas), [], id);
    }
    if (body === "") continue;
    const [taken] = contents({ body: operation.requestBody }, "body");
    assertEquals(schemaFaults(JSON.parse(body), taken!, schemas), []);
  }
}

/** Where a route of a guest is asked for, whose sample is that of a guest without a name. */
function targetOf(path: string, sample: string | undefined): string {
  const start = path.startsWith("/v1/guests/{guest}/") ? "/v1/guests/db" : "/v1";
  if (sample !== undefined) return sample.replace(/^\/v1/, start);
  return path.replace(/^\/v1\/guests\/\{guest\}/, start);
}

Deno.test("faults and events are as the document says", async () => {
  await using rig = await ControlRig.open({ policy: { deny: ["10.1.2.3"] } });
  const guest = await rig.attach();
  const document = JSON.parse((await rig.ask("GET", "/v1/openapi.json")).text) as Json;
  const { schemas } = document.components as { schemas: Json };
  const { text } = await rig.ask("GET", "/v1/nothing");
  assertEquals(schemaFaults(JSON.parse(text), schemas.Error as Json, schemas), []);
  const events = rig.client.events();
  const first = events.next();
  while ((await rig.client.status()).readers === 0);
  await rig.client.setPolicy({ deny: ["10.1.2.3"] });
  assertEquals(schemaFaults((await first).value, schemas.Event as Json, schemas), []);
  await guest.connect("10.1.2.3", 443).catch(() => {});
  const denial = (await events.next()).value;
  assertEquals([denial.type, schemaFaults(denial, schemas.Event as Json, schemas)], ["denial", []]);
  await events.return!();
  await guest.close();
});

/** Each parameter of the table stands in the document, with the place where it is sent. */
function checkParameters(operation: Json, parameters: readonly RouteParameter[]): void {
  const described = (operation.parameters ?? []) as {
    name: string;
    in: string;
    required: boolean;
  }[];
  for (const { name } of parameters) {
    const found = described.find((each) => each.name === name);
    assert(found !== undefined, name);
    assertEquals(found.required, found.in === "path");
  }
}

function contents(responses: Json, name: string): Json[] {
  const { content } = responses[name] as { content: Record<string, { schema: Json }> };
  return Object.values(content).map(({ schema }) => schema);
}
