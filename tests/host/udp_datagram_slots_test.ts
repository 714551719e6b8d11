import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  DATAGRAM_SLOT_BYTES,
  type DatagramSlot,
  DatagramSlots,
} from "../../lib/host/datagram_slots.ts";
import { DatagramPeer } from "../../lib/host/datagram_peer.ts";

Deno.test("slots do not overlap and the lowest free one is lent", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 40 }),
    fc.array(fc.tuple(fc.boolean(), fc.nat(39)), { maxLength: 100 }),
    (capacity, steps) => {
      const slots = new DatagramSlots(capacity);
      const lent: DatagramSlot[] = [];
      for (const [takes, which] of steps) {
        if (takes) {
          const used = new Set(lent.map((slot) => slot.index));
          const slot = slots.take();
          if (lent.length === capacity) {
            assertEquals(slot, null);
            continue;
          }
          const lowest = Array.from({ length: capacity }, (_, i) => i).find((i) => !used.has(i));
          assertEquals(slot!.index, lowest);
          slot!.bytes.set([slot!.index], DATAGRAM_SLOT_BYTES - 1);
          slot!.bytes.set([slot!.index], 0);
          lent.push(slot!);
        } else if (lent.length > 0) {
          slots.give(lent.splice(which % lent.length, 1)[0]!);
        }
        assertEquals(slots.lent, lent.length);
      }
      for (const { bytes, index } of lent) {
        assertEquals([bytes[0], bytes.at(-1), bytes.length], [index, index, DATAGRAM_SLOT_BYTES]);
      }
    },
  ));
});

Deno.test("slots go beyond one chunk of memory", () => {
  const slots = new DatagramSlots(1500);
  const all = Array.from({ length: 1500 }, () => slots.take()!);
  assertEquals(slots.take(), null);
  assertEquals(new Set(all.map((slot) => slot.bytes.buffer)).size, 2);
  slots.give(all[1234]!);
  assertEquals(slots.take()!.index, 1234);
});

Deno.test("a slot comes back once", () => {
  const slots = new DatagramSlots(2);
  const slot = slots.take()!;
  slots.give(slot);
  assertThrows(() => slots.give(slot));
});

Deno.test("a peer is known by its octets and its port", () => {
  const peer = new DatagramPeer("2001:db8::1", 53);
  assert(peer.is("2001:db8::1", 53));
  assert(peer.is("2001:0DB8:0::0001", 53));
  assert(!peer.is("2001:db8::1", 54));
  assert(!peer.is("2001:db8::2", 53));
  assert(!peer.is("2001:db8::1%eth0", 53));
  assert(new DatagramPeer("::ffff:0:0", 1).is("::ffff:0.0.0.0", 1));
  assert(!new DatagramPeer("192.0.2.1", 1).is("::ffff:192.0.2.1", 1));
});

Deno.test("a socket for a loopback peer hears only the loopback", () => {
  const bound = (address: string) => new DatagramPeer(address, 1).bindAddress;
  assertEquals(bound("127.0.0.53"), "127.0.0.1");
  assertEquals(bound("128.0.0.1"), "0.0.0.0");
  assertEquals(bound("::1"), "::1");
  assertEquals(bound("::2"), "::");
  assertEquals(bound("1::1"), "::");
});
