/** How names are answered, over the control interface. */
import { assertEquals } from "@std/assert";
import { saying } from "../host/dns_answers.ts";
import { FakeUpstream } from "../host/dns_fake_upstream.ts";
import { ControlRig } from "./control_rig.ts";

Deno.test("counts follow the guest's questions, and a flush has them asked again", async () => {
  await using upstream = await FakeUpstream.start(saying("192.0.2.7"));
  await using rig = await ControlRig.open({ dns: { upstreams: [upstream.address] } });
  const { client } = rig;
  const idle = await client.dns();
  assertEquals([idle.counts, idle.inFlight], [null, 0]);
  assertEquals(await client.flushDns(), false);
  const guest = await rig.attach();
  const ask = async () => (await guest.resolve("a.test", "A")).code;
  assertEquals([await ask(), await ask()], ["NOERROR", "NOERROR"]);
  const { counts } = await client.dns();
  assertEquals([counts!.questions, counts!.answered, counts!.cached], [2, 1, 1]);
  assertEquals(upstream.received.length, 1);
  assertEquals(await client.flushDns(), true);
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
