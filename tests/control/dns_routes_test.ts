/** How names are answered, over the control interface. */
import { assertEquals, assertRejects } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { saying } from "../host/dns_answers.ts";
import { FakeUpstream } from "../host/dns_fake_upstream.ts";
import { ControlRig } from "./control_rig.ts";

Deno.test("counts follow the guest's questions, and a flush has them asked again", async () => {
  await using upstream = await FakeUpstream.start(saying("192.0.2.7"));
  await using rig = await ControlRig.open({ dns: { upstreams: [upstream.address] } });
  const { client } = rig;
  const idle = await client.dns();
  assertEquals([idle.counts, idle.inFlight, idle.kept], [null, 0, 0]);
  assertEquals(await client.flushDns(), false);
  const guest = await rig.attach();
  const ask = async () => (await guest.resolve("a.test", "A")).code;
  assertEquals([await ask(), await ask()], ["NOERROR", "NOERROR"]);
  const { counts, kept } = await client.dns();
  assertEquals([counts!.questions, counts!.answered, counts!.cached, kept], [2, 1, 1, 1]);
  assertEquals(upstream.received.length, 1);
  assertEquals(await client.flushDns(), true);
  assertEquals((await client.dns()).kept, 0);
  assertEquals(await ask(), "NOERROR");
  assertEquals(upstream.received.length, 2);
  assertEquals((await client.pins()).length, 0, "no rule names a domain");
  await guest.close();
});

Deno.test("own names are said with their records", async () => {
  await using rig = await ControlRig.open({
    hostServices: [{ gatewayPort: 9, hostPort: 9 }],
    dns: {
      upstreams: ["127.0.0.1:1"],
      records: {
        "db.internal": ["10.0.0.5", "fd00::5"],
        "www.internal": { cname: "web.internal", ttl: 300 },
        "*.dev.internal": { a: "10.0.0.6", txt: ['owner="a"'] },
        "nothing.internal": [],
      },
      zones: { "internal": "local" },
    },
  });
  const gateway = [
    { type: "A", data: "100.96.0.1", ttlSeconds: 60 },
    { type: "AAAA", data: "fd53:4d00::1", ttlSeconds: 60 },
  ];
  assertEquals((await rig.client.dns()).names, [
    { name: "gateway.internal", records: gateway },
    { name: "host.internal", records: gateway },
    {
      name: "db.internal",
      records: [
        { type: "A", data: "10.0.0.5", ttlSeconds: 60 },
        { type: "AAAA", data: "fd00::5", ttlSeconds: 60 },
      ],
    },
    {
      name: "www.internal",
      records: [{ type: "CNAME", data: "web.internal.", ttlSeconds: 300 }],
    },
    {
      name: "*.dev.internal",
      records: [
        { type: "A", data: "10.0.0.6", ttlSeconds: 60 },
        { type: "TXT", data: '"owner=\\"a\\""', ttlSeconds: 60 },
      ],
    },
    { name: "nothing.internal", records: [] },
  ]);
});

Deno.test("a guest resolves a name from when it is added until it is removed, as does the next", async () => {
  await using upstream = await FakeUpstream.start(saying("192.0.2.7"));
  await using rig = await ControlRig.open({
    dns: { upstreams: [upstream.address], zones: { "internal": "local" } },
  });
  const { client } = rig;
  const first = await rig.attach();
  const resolve = async (guest: typeof first, name: string) => {
    const { code, answers } = await guest.resolve(name, "A");
    return [code, ...answers.map(({ data }) => data)];
  };
  assertEquals(await resolve(first, "db.internal"), ["NXDOMAIN"]);
  assertEquals(await resolve(first, "a.test"), ["NOERROR", "192.0.2.7"]);
  assertEquals(await client.setRecords("db.internal", { a: "10.0.0.5", ttl: 5 }), {
    name: "db.internal",
    records: [{ type: "A", data: "10.0.0.5", ttlSeconds: 5 }],
  });
  await client.setRecords("a.test", ["10.0.0.6"]);
  await client.setRecords("*.b.test", { cname: "db.internal" });
  assertEquals(await resolve(first, "db.internal"), ["NOERROR", "10.0.0.5"]);
  assertEquals(await resolve(first, "a.test"), ["NOERROR", "10.0.0.6"], "not what is kept");
  assertEquals(await resolve(first, "x.b.test"), ["NOERROR", "db.internal", "10.0.0.5"]);
  await first.close();
  await rig.gateway.guest?.finished;
  const second = await rig.attach();
  rig.gateway.setPolicy({ deny: ["9.9.9.9"] }); // all that a reload does
  assertEquals(await resolve(second, "db.internal"), ["NOERROR", "10.0.0.5"]);
  assertEquals((await client.removeRecords("DB.internal."))?.records[0]?.data, "10.0.0.5");
  await client.removeRecords("a.test");
  assertEquals(await client.removeRecords("*.b.test").then((own) => own?.name), "*.b.test");
  assertEquals(await resolve(second, "db.internal"), ["NXDOMAIN"]);
  assertEquals(await resolve(second, "a.test"), ["NOERROR", "192.0.2.7"]);
  await second.close();
});

Deno.test("an alias leads on to the upstreams from when it is added", async () => {
  await using upstream = await FakeUpstream.start(saying("192.0.2.7"));
  await using rig = await ControlRig.open({ dns: { upstreams: [upstream.address] } });
  const guest = await rig.attach();
  await rig.client.setRecords("www.internal", { cname: "a.test" });
  const { answers } = await guest.resolve("www.internal", "A");
  assertEquals(answers.map(({ data }) => data), ["a.test", "192.0.2.7"]);
  await guest.close();
});

Deno.test("what is wrong with records is said, and changes nothing", async () => {
  await using rig = await ControlRig.open();
  const before = (await rig.client.dns()).names;
  const post = (body: string) => rig.ask("POST", "/v1/dns/records", { body });
  const bad: [body: string, message: string][] = [
    ["[]", "the body is no name with its records"],
    [`{"name": "a.test"}`, "the body is no name with its records"],
    [`{"name": "a.test", "records": [], "ttl": 5}`, "the body is no name with its records"],
    [
      `{"name": "a b", "records": []}`,
      `name: "a b" is no host name; try "db.internal", or "*.internal" for all below it`,
    ],
    [
      `{"name": "a.test", "records": {"a": "10.0.0"}}`,
      `records.a: "10.0.0" is no IPv4 address`,
    ],
    [
      `{"name": "a.test", "records": {"mx": "b.test"}}`,
      `records: unknown record type "mx"; known: a, aaaa, cname, ptr, txt, srv, ttl`,
    ],
    [
      `{"name": "a.test", "records": 7}`,
      "records: 7 is no list of addresses and no mapping of a, aaaa, cname, ptr, txt, srv, ttl",
    ],
  ];
  for (const [body, message] of bad) {
    const { status, text } = await post(body);
    assertEquals([status, JSON.parse(text).error.message], [422, message], body);
  }
  const error = await assertRejects(() => rig.client.setRecords("a b", []), GatewayError);
  assertEquals((error as GatewayError).code, "config");
  const absent = async (name: string) => {
    const { status, text } = await rig.ask("DELETE", `/v1/dns/records/${name}`);
    const { message, hint } = JSON.parse(text).error;
    return [status, message, hint];
  };
  assertEquals(await absent("a.test"), [
    404,
    `"a.test" has no records that could be taken away`,
    "GET /v1/dns lists the names that have some",
  ]);
  assertEquals((await absent("gateway.internal."))[2], "The gateway has it by itself");
  assertEquals(await rig.client.removeRecords("a b"), null);
  assertEquals((await rig.client.dns()).names, before);
});
