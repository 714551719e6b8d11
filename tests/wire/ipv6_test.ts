import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseIp6 } from "../../lib/wire/address.ts";
import {
  IPV6_HEADER_BYTES,
  ipv6DestinationAt,
  ipv6HopLimit,
  ipv6NextHeader,
  ipv6PayloadBytes,
  ipv6SourceAt,
  ipv6Version,
  isIpv6LinkLocal,
  isIpv6Multicast,
  isIpv6Unspecified,
  isSolicitedNodeOf,
  sameIpv6,
  samePrefix64,
  writeIpv6Header,
  writeSolicitedNode,
} from "../../lib/wire/ipv6.ts";
import { dirtyMemory, hex, memoryWith } from "./guarded_view.ts";

function address(text: string): Uint8Array {
  return parseIp6(text)!;
}

Deno.test("a header, field by field", () => {
  const { view } = memoryWith(
    hex("6bad cafe 0518 3a ff fd534d00000000000000000000000002 fd534d00000000000000000000000001"),
    3,
  );
  assertEquals(ipv6Version(view, 3), 6);
  assertEquals(ipv6PayloadBytes(view, 3), 0x518);
  assertEquals([ipv6NextHeader(view, 3), ipv6HopLimit(view, 3)], [58, 255]);
  assertEquals(view.getUint8(ipv6SourceAt(3) + 15), 2);
  assertEquals(view.getUint8(ipv6DestinationAt(3) + 15), 1);
});

Deno.test("what is written is read back", () => {
  fc.assert(fc.property(
    fc.nat(0xffff),
    fc.nat(255),
    fc.nat(255),
    fc.uint8Array({ minLength: 32, maxLength: 32 }),
    (payload, next, hops, addresses) => {
      const memory = dirtyMemory();
      const { view } = memory;
      memory.bytes.set(addresses, 0);
      writeIpv6Header(memory, 91, payload, next, hops, 0, 16);
      assertEquals(view.getUint32(91), 0x6000_0000);
      assertEquals(
        [ipv6PayloadBytes(view, 91), ipv6NextHeader(view, 91), ipv6HopLimit(view, 91)],
        [payload, next, hops],
      );
      assertEquals(memory.bytes.slice(99, 131), new Uint8Array(addresses));
      assertEquals([memory.bytes[90], memory.bytes[91 + IPV6_HEADER_BYTES]], [0xa5, 0xa5]);
    },
  ));
});

Deno.test("kinds of addresses", () => {
  const texts = ["::", "::1", "fe80::1", "febf::", "fec0::1", "ff02::1", "2001:db8::", "fe7f::"];
  const memory = dirtyMemory();
  texts.forEach((text, i) => memory.bytes.set(address(text), 16 * i));
  const ask = (question: (view: DataView, at: number) => boolean) =>
    texts.filter((_, i) => question(memory.view, 16 * i));
  assertEquals(ask(isIpv6Unspecified), ["::"]);
  assertEquals(ask(isIpv6LinkLocal), ["fe80::1", "febf::"]);
  assertEquals(ask(isIpv6Multicast), ["ff02::1"]);
});

Deno.test("addresses are the same in all 128 bits, prefixes in 64", () => {
  const memory = dirtyMemory();
  memory.bytes.set(address("fd53:4d00::8000:2"), 0);
  for (let bit = 0; bit < 128; bit++) {
    memory.bytes.set(address("fd53:4d00::8000:2"), 16);
    assertEquals(sameIpv6(memory.view, 0, 16), true);
    memory.bytes[16 + (bit >> 3)]! ^= 0x80 >> (bit & 7);
    assertEquals(sameIpv6(memory.view, 0, 16), false);
    assertEquals(samePrefix64(memory.view, 0, 16), bit >= 64);
  }
});

Deno.test("the solicited-node group of RFC 4291 section 2.7.1", () => {
  const memory = memoryWith(address("4037::01:800:200e:8c6c"), 0);
  writeSolicitedNode(memory.view, 32, 0);
  assertEquals(memory.bytes.slice(32, 48), address("ff02::1:ff0e:8c6c"));
  assertEquals(isSolicitedNodeOf(memory.view, 32, 0), true);
  // The first 104 bits are the group's own, the last 24 the address's.
  for (let bit = 0; bit < 128; bit++) {
    memory.bytes[32 + (bit >> 3)]! ^= 0x80 >> (bit & 7);
    assertEquals(isSolicitedNodeOf(memory.view, 32, 0), false);
    memory.bytes[32 + (bit >> 3)]! ^= 0x80 >> (bit & 7);
  }
});
