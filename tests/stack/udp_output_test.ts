import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { UDP4_MAX_DATA_BYTES, UDP6_MAX_DATA_BYTES } from "../../lib/stack/udp_output.ts";
import { GATEWAY4, GUEST4, GUEST6, ip, pattern, read, WORLD4, WORLD6 } from "../support/packets.ts";
import { icmpErrorOf, UdpRig } from "../support/udp_rig.ts";

/** A rig with one flow, whose positions the tests send from and to. */
function withFlow(destination: string, mtu = 1500) {
  const rig = new UdpRig({ link: { mtu } });
  rig.guest({ destination });
  rig.counted();
  return { rig, flow: rig.owners[0]!.flow! };
}

function sendFromBytes(rig: UdpRig, data: Uint8Array): boolean {
  const { family, guestAt, peerAt, guestPort, peerPort } = rig.owners[0]!.flow!;
  return rig.output.sendFromBytes(family, peerAt, guestAt, peerPort, guestPort, data);
}

for (
  const [peer, guest, maxBytes] of [
    [WORLD4, GUEST4, UDP4_MAX_DATA_BYTES],
    [WORLD6, GUEST6, UDP6_MAX_DATA_BYTES],
  ] as const
) {
  Deno.test(`data of every length reaches the guest from ${peer}`, () => {
    const { rig } = withFlow(peer);
    for (const bytes of [0, 1, 1452, 1453, 1472, 1473, 60_000, maxBytes]) {
      assert(sendFromBytes(rig, pattern(bytes, bytes)));
      assertEquals(rig.got(), [{
        source: peer,
        sourcePort: 7,
        destination: guest,
        destinationPort: 40000,
        data: pattern(bytes, bytes),
      }], `${bytes} bytes`);
    }
    assertEquals(rig.counted(), {});
    assert(!sendFromBytes(rig, pattern(maxBytes + 1)));
    rig.silent();
    assertEquals(rig.counted(), { "drop.udp.len": 1 });
  });

  Deno.test(`data in frame memory reaches the guest from ${peer}`, () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 5000 }),
        fc.constantFrom(1280, 1500, 9000),
        fc.nat(7),
        (data, mtu, shift) => {
          const { rig, flow } = withFlow(peer, mtu);
          const dataAt = rig.freeAt + shift;
          rig.memory.bytes.set(data, dataAt);
          const { family, guestAt, peerAt, guestPort, peerPort } = flow;
          assert(
            rig.output.send(family, peerAt, guestAt, peerPort, guestPort, dataAt, data.length),
          );
          assertEquals(rig.got().map((datagram) => datagram.data), [data]);
        },
      ),
      { numRuns: 40 },
    );
  });
}

Deno.test("a datagram that fits is one frame that nobody may cut", () => {
  const { rig } = withFlow(WORLD4);
  sendFromBytes(rig, pattern(1472));
  assertEquals(rig.reply().fragment, 0x4000);
  sendFromBytes(rig, pattern(1473));
  assertEquals(rig.sent().map((frame) => read(frame).fragment), [0x2000, 185]);
});

Deno.test("a checksum that comes to 0 is sent as 0xffff", () => {
  const { rig } = withFlow(WORLD4);
  // The data undoes the sum of all the rest.
  sendFromBytes(rig, Uint8Array.of(0, 0));
  const first = rig.reply().payload;
  const data = first.slice(6, 8);
  sendFromBytes(rig, data);
  assertEquals(rig.reply().payload, Uint8Array.of(...first.slice(0, 6), 0xff, 0xff, ...data));
});

Deno.test("where the guest is too far behind datagrams are dropped whole and counted", () => {
  const { rig } = withFlow(WORLD4);
  rig.queues.hostToGuest.fillLimitBytes = 10_000;
  let taken = 0;
  while (sendFromBytes(rig, pattern(1000))) taken++;
  assertEquals(taken, 9);
  assert(!sendFromBytes(rig, pattern(60_000)));
  assertEquals(rig.counted(), { "drop.queue.full": 2 });
  assertEquals(rig.got().length, 9);
});

Deno.test("a quote is what the guest's datagrams of the flow begin with", () => {
  for (const [peer, guest, code] of [[WORLD4, GUEST4, "3/3"], [WORLD6, GUEST6, "1/4"]] as const) {
    const { rig, flow } = withFlow(peer);
    const quoteAt = rig.output.quote(flow);
    const bytes = rig.output.quoteBytes(flow.family);
    assert(rig.stack.errors.sendQuoted(flow.family, quoteAt, bytes, 3, rig.nowMs));
    const error = icmpErrorOf(rig.sent()[0]!);
    assertEquals(error.code, code);
    assertEquals(error.quoted, { source: ip(guest), destination: ip(peer), ports: [40000, 7] });
    if (flow.family === 4) assertEquals(error.source, GATEWAY4);
  }
});
