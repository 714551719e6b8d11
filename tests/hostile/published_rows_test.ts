/** Row 58, for datagrams: clients that flood, and a guest that would reach who has not asked. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ethernet, GUEST4, icmp4, ip4, pattern, udp } from "../support/packets.ts";
import { guestPolicy } from "../support/policy.ts";
import { CLIENT, PORT, Rig } from "../support/published_rig.ts";

Deno.test("hostile 58: a client's flood of datagrams ends flows of its own, not others' and not the guest's", async () => {
  await using rig = await Rig.start({ limits: { publishedUdpFlows: 64, udpFlows: 64 } });
  const guestFlows = Array.from({ length: 64 }, (_, i) => {
    const payload = udp(GUEST4, 2000 + i, "93.184.216.34", 7, pattern(1));
    return ethernet(ip4(payload, { destination: "93.184.216.34" }));
  });
  rig.gw.send(...guestFlows);
  await rig.gw.run(1);
  assertEquals(rig.flows, 64);
  rig.client(CLIENT, pattern(1));
  const [asked] = await rig.guestGets();
  await rig.answers(asked!, pattern(1));
  const quiet = { hostname: "198.51.100.8", port: 1 };
  rig.client(quiet, pattern(1));
  const flooder = "198.51.100.9";
  for (let port = 1; port < 2_000; port++) rig.client({ hostname: flooder, port }, pattern(1));
  assertEquals(rig.flows, 128);
  const peers = rig.gw.network.flows().filter(({ opener }) => opener === "host");
  assertEquals(peers.filter(({ peer }) => peer.startsWith(flooder)).length, 62);
  assertEquals(rig.gw.counters["udp.evicted"], 1_999 - 62);
  rig.gw.frames();
  rig.client(CLIENT, pattern(2));
  await rig.answers({ ...asked! }, pattern(3));
  assertEquals(rig.socket.sent.at(-1)!.data, pattern(3));
  // From invented addresses: who was answered stays.
  for (let i = 0; i < 2_000; i++) {
    rig.client({ hostname: `11.0.${i >> 8}.${i & 255}`, port: 9 }, pattern(1));
  }
  const after = rig.gw.network.flows().map(({ peer }) => peer);
  assert(after.includes(`${CLIENT.hostname}:4321`), "an answered flow stays");
  assertEquals(rig.gw.network.flows().filter(({ opener }) => opener === "guest").length, 64);
});

Deno.test("hostile 58: by a published socket a guest reaches who has asked, and nobody else", async () => {
  await using rig = await Rig.start({ policy: guestPolicy({ allow: ["192.0.2.1"] }) });
  rig.client(CLIENT, pattern(20));
  const [asked] = await rig.guestGets();
  const sends = (source: string, from: number, destination: string, to: number) => {
    const payload = udp(source, from, destination, to, pattern(9));
    rig.gw.send(ethernet(ip4(payload, { source, destination })));
  };
  const { hostname, port } = CLIENT;
  sends(GUEST4, PORT, hostname, port + 1);
  sends(GUEST4, PORT + 1, hostname, port);
  sends(GUEST4, PORT, "198.51.100.8", port);
  sends("100.96.0.3", PORT, hostname, port);
  await rig.gw.run(1);
  assertEquals([rig.socket.sent, rig.flows], [[], 1]);
  await rig.answers(asked!, pattern(9));
  assertEquals(rig.socket.sent.length, 1);
  rig.gw.network.endPublished(rig.socket);
  await rig.answers(asked!, pattern(9));
  assertEquals([rig.socket.sent.length, rig.flows], [1, 0]);
});

Deno.test("hostile 58: no error that a guest makes up leaves more behind than there are clients", async () => {
  const octets = fc.uint8Array({ minLength: 0, maxLength: 80 });
  const error = fc.record({
    code: fc.nat(15),
    quotes: fc.boolean(),
    port: fc.constantFrom(CLIENT.port, PORT, 0, 65_535),
    octets,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(error, { maxLength: 12 }), async (errors) => {
      await using rig = await Rig.start();
      rig.client(CLIENT, pattern(20));
      for (const { code, quotes, port, octets } of errors) {
        const quoted = udp(CLIENT.hostname, port, GUEST4, PORT, octets);
        const quote = ip4(quoted, { source: CLIENT.hostname, destination: GUEST4 });
        const payload = icmp4(3, code, [0, 0, 0, 0], quotes ? quote : octets);
        rig.gw.send(ethernet(ip4(payload, { destination: CLIENT.hostname, protocol: 1 })));
        await rig.gw.run(1);
        assert(rig.flows <= 1, `${rig.flows} flows`);
      }
      rig.client(CLIENT, pattern(20));
      assertEquals(rig.flows, 1);
    }),
    { numRuns: 60 },
  );
});
