import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  IpProtocol,
  IPV4_HEADER_BYTES,
  ipv4Checksum,
  ipv4ChecksumIsRight,
  ipv4Destination,
  ipv4DestinationAt,
  ipv4DontFragment,
  Ipv4Flag,
  ipv4FragmentOffsetBytes,
  ipv4FragmentWord,
  ipv4HeaderBytes,
  ipv4Identification,
  ipv4IsFragment,
  ipv4MoreFragments,
  Ipv4Options,
  ipv4Protocol,
  ipv4Source,
  ipv4SourceAt,
  ipv4TotalBytes,
  ipv4Ttl,
  ipv4Version,
  judgeIpv4Options,
  writeIpv4Checksum,
  writeIpv4Header,
} from "../../lib/wire/ipv4.ts";
import { dirtyMemory, guarded, hex, memoryWith, naiveSum } from "./guarded_view.ts";

Deno.test("a header, field by field", () => {
  const octets = hex("4500 0073 0007 4000 40 11 b85a c0a80001 c0a800c7");
  assertEquals(naiveSum(octets), 0xffff);
  const memory = memoryWith(octets, 11);
  const { view } = memory;
  assertEquals(ipv4Version(view, 11), 4);
  assertEquals(ipv4HeaderBytes(view, 11), IPV4_HEADER_BYTES);
  assertEquals(ipv4TotalBytes(view, 11), 0x73);
  assertEquals(ipv4Identification(view, 11), 7);
  assertEquals(ipv4FragmentWord(view, 11), Ipv4Flag.dontFragment);
  assertEquals([ipv4IsFragment(view, 11), ipv4MoreFragments(view, 11)], [false, false]);
  assertEquals([ipv4DontFragment(view, 11), ipv4FragmentOffsetBytes(view, 11)], [true, 0]);
  assertEquals([ipv4Ttl(view, 11), ipv4Protocol(view, 11)], [64, IpProtocol.udp]);
  assertEquals(ipv4Checksum(view, 11), 0xb85a);
  assertEquals(ipv4Source(view, 11), 0xc0a80001);
  assertEquals(ipv4Destination(view, 11), 0xc0a800c7);
  assertEquals([ipv4SourceAt(11), ipv4DestinationAt(11)], [23, 27]);
  assertEquals(ipv4ChecksumIsRight(memory, 11, 20), true);
  memory.bytes[19]!--;
  assertEquals(ipv4ChecksumIsRight(memory, 11, 20), false);
});

Deno.test("the last fragment of the longest datagram, and the one beyond", () => {
  const { view } = memoryWith(hex("4f00ffff0000 1fff"), 0);
  assertEquals(ipv4HeaderBytes(view, 0), 60);
  assertEquals(ipv4FragmentOffsetBytes(view, 0), 65_528);
  assertEquals([ipv4IsFragment(view, 0), ipv4MoreFragments(view, 0)], [true, false]);
  view.setUint16(6, 0x2000);
  assertEquals([ipv4IsFragment(view, 0), ipv4MoreFragments(view, 0)], [true, true]);
  view.setUint16(6, 0x8000); // the reserved bit makes no fragment
  assertEquals([ipv4IsFragment(view, 0), ipv4DontFragment(view, 0)], [false, false]);
});

Deno.test("what is written is read back with a right checksum", () => {
  const word = fc.nat(0xffff);
  fc.assert(fc.property(
    fc.record({ total: word, id: word, fragment: word, ttl: fc.nat(255), protocol: fc.nat(255) }),
    fc.uint8Array({ minLength: 8, maxLength: 8 }),
    (fields, addresses) => {
      const memory = dirtyMemory();
      const { view } = memory;
      memory.bytes.set(addresses, 3);
      writeIpv4Header(
        memory,
        77,
        fields.total,
        fields.id,
        fields.fragment,
        fields.ttl,
        fields.protocol,
        3,
        7,
      );
      assertEquals(naiveSum(memory.bytes.subarray(77, 97)), 0xffff);
      assertEquals(ipv4Version(view, 77), 4);
      assertEquals(ipv4HeaderBytes(view, 77), 20);
      assertEquals({
        total: ipv4TotalBytes(view, 77),
        id: ipv4Identification(view, 77),
        fragment: ipv4FragmentWord(view, 77),
        ttl: ipv4Ttl(view, 77),
        protocol: ipv4Protocol(view, 77),
      }, { ...fields });
      assertEquals(memory.bytes.slice(89, 97), new Uint8Array(addresses));
      assertEquals([memory.bytes[76], memory.bytes[97]], [0xa5, 0xa5]);
      const written = ipv4Checksum(view, 77);
      writeIpv4Checksum(memory, 77, 20);
      assertEquals(ipv4Checksum(view, 77), written);
    },
  ));
});

function judge(options: string): Ipv4Options {
  const octets = hex(options);
  const header = new Uint8Array(IPV4_HEADER_BYTES + octets.length);
  header.set(octets, IPV4_HEADER_BYTES);
  return judgeIpv4Options(guarded(header), 5, header.length);
}

Deno.test("options that may be skipped", () => {
  for (
    const options of [
      "",
      "01010101",
      "00000000",
      "94040000",
      "070704000000 0000",
      "44040500",
      "0100ffff",
    ]
  ) {
    assertEquals(judge(options), Ipv4Options.harmless, options);
  }
});

Deno.test("source routes, wherever they stand", () => {
  for (
    const options of [
      "830704c0a8000100",
      "890704c0a8000100",
      "01830704c0a80001",
      "94040000830300 00",
      "83020000",
    ]
  ) {
    assertEquals(judge(options), Ipv4Options.sourceRoute, options);
  }
});

Deno.test("an option length of 0 or 1, or one beyond the header, is malformed", () => {
  for (
    const options of [
      "44000000",
      "44010000",
      "07050000",
      "01010144",
      "94ff0000",
      "83ff0000",
      "0101 8308",
      "94040000 0744",
    ]
  ) {
    assertEquals(judge(options), Ipv4Options.malformed, options);
  }
});

Deno.test("whatever the options, the walk ends inside them", () => {
  const octet = fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 7, 131, 137, 148, 255), fc.nat(255));
  fc.assert(
    fc.property(fc.array(octet, { maxLength: 40 }), (options) => {
      const header = new Uint8Array(IPV4_HEADER_BYTES + options.length);
      header.set(options, IPV4_HEADER_BYTES);
      judgeIpv4Options(guarded(header), 5, header.length);
    }),
    { numRuns: 2_000 },
  );
});
