import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  ETHERNET_HEADER_BYTES,
  ethernetDestinationAt,
  ethernetSourceAt,
  EtherType,
  etherType,
  isBroadcastMac,
  isGroupMac,
  isZeroMac,
  sameMac,
  setEtherType,
  writeEthernetHeader,
  writeMulticastMac6,
} from "../../lib/wire/ethernet.ts";
import { dirtyMemory, hex, memoryWith } from "./guarded_view.ts";

Deno.test("a header is destination, source, type", () => {
  const memory = memoryWith(hex("02534d000001 02534d000002 86dd"), 9);
  assertEquals(memory.bytes[ethernetDestinationAt(9) + 5], 1);
  assertEquals(memory.bytes[ethernetSourceAt(9) + 5], 2);
  assertEquals(etherType(memory.view, 9), EtherType.ipv6);
  setEtherType(memory.view, 9, EtherType.arp);
  assertEquals(
    memory.bytes.slice(9, 9 + ETHERNET_HEADER_BYTES),
    hex("02534d000001 02534d000002 0806"),
  );
});

Deno.test("what is written is read back, and nothing beside it changes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 12, maxLength: 12 }), fc.nat(0xffff), (macs, type) => {
      const memory = dirtyMemory();
      memory.bytes.set(macs, 0);
      writeEthernetHeader(memory, 101, 0, 6, type);
      assertEquals(memory.bytes.slice(101, 113), new Uint8Array(macs));
      assertEquals(etherType(memory.view, 101), type);
      assertEquals([memory.bytes[100], memory.bytes[115]], [0xa5, 0xa5]);
    }),
  );
});

Deno.test("kinds of MACs", () => {
  const { view } = memoryWith(
    hex("ffffffffffff 333300000001 02534d000001 000000000000 ffffffffff7f 02534d000001"),
    0,
  );
  assertEquals([0, 6, 12, 18, 24].map((at) => isGroupMac(view, at)), [
    true,
    true,
    false,
    false,
    true,
  ]);
  assertEquals([0, 6, 12, 18, 24].map((at) => isBroadcastMac(view, at)), [
    true,
    false,
    false,
    false,
    false,
  ]);
  assertEquals([0, 6, 12, 18, 24].map((at) => isZeroMac(view, at)), [
    false,
    false,
    false,
    true,
    false,
  ]);
  assertEquals([0, 6, 12, 18, 24, 30].map((at) => sameMac(view, at, 12)), [
    false,
    false,
    true,
    false,
    false,
    true,
  ]);
});

Deno.test("the group MAC of an IPv6 group, RFC 2464 section 7", () => {
  const memory = memoryWith(hex("ff0200000000000000000001ff28 9c5a"), 0);
  writeMulticastMac6(memory, 20, 0);
  assertEquals(memory.bytes.slice(20, 27), hex("3333ff289c5a a5"));
});

Deno.test("MACs are the same in all 48 bits", () => {
  const memory = memoryWith(hex("02534d000001 02534d000001"), 0);
  for (let bit = 0; bit < 48; bit++) {
    assertEquals(sameMac(memory.view, 0, 6), true);
    memory.bytes[6 + (bit >> 3)]! ^= 0x80 >> (bit & 7);
    assertEquals(sameMac(memory.view, 0, 6), false);
    memory.bytes[6 + (bit >> 3)]! ^= 0x80 >> (bit & 7);
  }
});
