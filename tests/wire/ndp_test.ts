import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseIp6 } from "../../lib/wire/address.ts";
import { decodeDomainNames, encodeDomainNames } from "../../lib/wire/domain_names.ts";
import { icmp6Checksum, icmp6Code, Icmp6Type, icmp6Type } from "../../lib/wire/icmp6.ts";
import {
  dnsOptionLifetimeSeconds,
  dnsslNamesAt,
  dnsslOptionBytes,
  LINK_LAYER_OPTION_BYTES,
  MTU_OPTION_BYTES,
  NdpOption,
  ndpOptionBytes,
  NdpOptions,
  NEIGHBOR_ADVERTISEMENT_BYTES,
  NEIGHBOR_SOLICITATION_BYTES,
  NeighborFlag,
  neighborFlags,
  neighborTargetAt,
  parseNdpOptions,
  PREFIX_OPTION_BYTES,
  prefixAt,
  PrefixFlag,
  prefixFlags,
  prefixLength,
  prefixPreferredSeconds,
  prefixValidSeconds,
  rdnssAddressesAt,
  rdnssCount,
  ROUTER_ADVERTISEMENT_BYTES,
  ROUTER_SOLICITATION_BYTES,
  RouterFlag,
  routerFlags,
  routerHopLimit,
  routerLifetimeSeconds,
  writeDnsslOption,
  writeLinkLayerOption,
  writeMtuOption,
  writeNeighborAdvertisement,
  writeNeighborSolicitation,
  writePrefixOption,
  writeRdnssOption,
  writeRouterAdvertisement,
  writeRouterSolicitation,
} from "../../lib/wire/ndp.ts";
import { dirtyMemory, guarded, hex } from "./guarded_view.ts";

const MAC = 0;
const PREFIX = 16;
const RESOLVERS = 32;

function prepared() {
  const memory = dirtyMemory();
  memory.bytes.set(hex("02534d000001"), MAC);
  memory.bytes.set(parseIp6("fd53:4d00::1")!, PREFIX);
  memory.bytes.set(parseIp6("fd53:4d00::1")!, RESOLVERS);
  memory.bytes.set(parseIp6("fd53:4d00::53")!, RESOLVERS + 16);
  return memory;
}

Deno.test("a router advertisement with all its options, octet by octet", () => {
  const memory = prepared();
  const { view } = memory;
  let at = writeRouterAdvertisement(view, 200, 64, RouterFlag.otherConfiguration, 1800);
  assertEquals(at, 200 + ROUTER_ADVERTISEMENT_BYTES);
  at = writeLinkLayerOption(memory, at, NdpOption.sourceLinkLayer, MAC);
  at = writeMtuOption(view, at, 1500);
  at = writePrefixOption(
    memory,
    at,
    64,
    PrefixFlag.onLink | PrefixFlag.autonomous,
    86_400,
    14_400,
    PREFIX,
  );
  at = writeRdnssOption(memory, at, 3_600, RESOLVERS, 2);
  at = writeDnsslOption(memory, at, 3_600, encodeDomainNames(["lan", "corp"])!);
  assertEquals(
    memory.bytes.slice(200, at + 1),
    hex(`8600 0000 40 40 0708 00000000 00000000
      0101 02534d000001
      0501 0000 000005dc
      0304 40 c0 00015180 00003840 00000000 fd534d00000000000000000000000000
      1905 0000 00000e10 fd534d00000000000000000000000001 fd534d00000000000000000000000053
      1f03 0000 00000e10 036c616e00 04636f727000 0000000000 a5`),
  );

  const options = new NdpOptions();
  assertEquals(parseNdpOptions(view, 200 + ROUTER_ADVERTISEMENT_BYTES, at, options), true);
  assertEquals([options.sourceMacAt, options.targetMacAt, options.mtu], [218, -1, 1500]);
  const prefix = options.prefixOptionAt;
  assertEquals([prefixLength(view, prefix), prefixFlags(view, prefix)], [64, 0xc0]);
  assertEquals([prefixValidSeconds(view, prefix), prefixPreferredSeconds(view, prefix)], [
    86_400,
    14_400,
  ]);
  assertEquals(view.getUint32(prefixAt(prefix)), 0xfd534d00);
  const resolvers = options.rdnssOptionAt;
  assertEquals([rdnssCount(view, resolvers), dnsOptionLifetimeSeconds(view, resolvers)], [
    2,
    3_600,
  ]);
  assertEquals(view.getUint8(rdnssAddressesAt(resolvers) + 31), 0x53);
  const search = options.dnsslOptionAt;
  const end = search + ndpOptionBytes(view, search);
  assertEquals(end, at);
  assertEquals(dnsOptionLifetimeSeconds(view, search), 3_600);
  assertEquals(decodeDomainNames(view, dnsslNamesAt(search), end), ["lan", "corp"]);
});

Deno.test("the router's fields", () => {
  fc.assert(fc.property(fc.nat(255), fc.nat(255), fc.nat(0xffff), (hops, flags, lifetime) => {
    const { view } = dirtyMemory();
    writeRouterAdvertisement(view, 40, hops, flags, lifetime);
    assertEquals([routerHopLimit(view, 40), routerFlags(view, 40)], [hops, flags]);
    assertEquals(routerLifetimeSeconds(view, 40), lifetime);
    assertEquals([icmp6Type(view, 40), icmp6Code(view, 40), icmp6Checksum(view, 40)], [134, 0, 0]);
  }));
});

Deno.test("solicitations and a neighbor's answer", () => {
  const memory = prepared();
  const { view, bytes } = memory;
  assertEquals(writeRouterSolicitation(view, 100), 100 + ROUTER_SOLICITATION_BYTES);
  assertEquals(bytes.slice(100, 109), hex("8500 0000 00000000 a5"));
  assertEquals(writeNeighborSolicitation(memory, 100, PREFIX), 100 + NEIGHBOR_SOLICITATION_BYTES);
  assertEquals(
    bytes.slice(100, 125),
    hex("8700 0000 00000000 fd534d00000000000000000000000001 a5"),
  );
  const flags = NeighborFlag.router | NeighborFlag.solicited | NeighborFlag.override;
  assertEquals(
    writeNeighborAdvertisement(memory, 200, flags, PREFIX),
    200 + NEIGHBOR_ADVERTISEMENT_BYTES,
  );
  assertEquals(
    bytes.slice(200, 225),
    hex("8800 0000 e0000000 fd534d00000000000000000000000001 a5"),
  );
  assertEquals([icmp6Type(view, 200), neighborFlags(view, 200)], [
    Icmp6Type.neighborAdvertisement,
    0xe0,
  ]);
  assertEquals(view.getUint8(neighborTargetAt(200) + 15), 1);
});

Deno.test("what lies beyond the prefix is sent as zero", () => {
  for (let length = 0; length <= 128; length++) {
    const memory = dirtyMemory();
    memory.bytes.fill(0xff, 0, 16);
    writePrefixOption(memory, 100, length, 0, 1, 1, 0);
    const expected = Uint8Array.from({ length: 16 }, (_, i) => {
      const ones = Math.max(0, Math.min(8, length - 8 * i));
      return (0xff00 >> ones) & 0xff;
    });
    assertEquals(memory.bytes.slice(116, 132), expected, `/${length}`);
    assertEquals(memory.bytes[132], 0xa5);
  }
});

Deno.test("search lists are padded to units of 8", () => {
  assertEquals([1, 8, 9, 16].map(dnsslOptionBytes), [16, 16, 24, 24]);
});

function parse(text: string): NdpOptions | null {
  const octets = hex(text);
  const options = new NdpOptions();
  return parseNdpOptions(guarded(octets), 5, 5 + octets.length, options) ? options : null;
}

Deno.test("of a kind the first holds, unknown kinds are skipped, nothing stays from before", () => {
  const options = parse(
    "0e01 0102030405 06 0101 02534d000002 0101 02534d000003 fe02 0000 00000000 0000000000000000 0201 02534d000004",
  )!;
  assertEquals([options.sourceMacAt, options.targetMacAt], [15, 47]);
  const octets = hex("0501 0000 00000500");
  assertEquals(parseNdpOptions(guarded(octets), 5, 13, options), true);
  assertEquals({ ...options }, { ...new NdpOptions(), mtu: 1280 });
});

Deno.test("an option of length 0, over the end, or not its kind's", () => {
  for (
    const malformed of [
      "0100 02534d000002",
      "fe00 000000000000", // length 0
      "01",
      "0101 02534d0000",
      "0102 02534d000002",
      "feff 000000000000", // over the end
      "0102 02534d000002 0000000000000000", // MACs of 14 octets
      "0303 40c0 00000000 00000000 00000000 0000000000000000",
      "0304 81c0 00000000 00000000 00000000 00000000000000000000000000000000", // /129
      "0502 0000 000005dc 0000000000000000",
      "1901 0000 00000e10",
      "1902 0000 00000e10 0000000000000000",
      "1904 0000 00000e10" + "00".repeat(24), // one and a half addresses
      "1f01 0000 00000e10",
    ]
  ) assertEquals(parse(malformed), null, malformed);
});

Deno.test("sizes are what the layouts say", () => {
  assertEquals([LINK_LAYER_OPTION_BYTES, MTU_OPTION_BYTES, PREFIX_OPTION_BYTES], [8, 8, 32]);
});

Deno.test("whatever the options, the walk ends inside them, and all that it found is inside too", () => {
  const kind = fc.oneof(fc.constantFrom<number>(...Object.values(NdpOption)), fc.nat(255));
  const honest = fc.tuple(kind, fc.integer({ min: 1, max: 6 }), fc.uint8Array({ maxLength: 46 }))
    .map(([type, units, rest]) => {
      const octets = new Uint8Array(8 * units);
      octets.set(rest.subarray(0, octets.length - 2), 2);
      octets[0] = type;
      octets[1] = units;
      return [...octets];
    });
  const lying = fc.tuple(kind, fc.nat(255), fc.uint8Array({ maxLength: 20 }))
    .map(([type, units, rest]) => [type, units, ...rest]);
  const piece = fc.oneof({ arbitrary: honest, weight: 9 }, { arbitrary: lying, weight: 1 });
  const options = new NdpOptions();
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
      const octets = Uint8Array.from(pieces.flat());
      const view = guarded(octets);
      if (!parseNdpOptions(view, 5, 5 + octets.length, options)) return;
      if (options.sourceMacAt >= 0) view.getUint16(options.sourceMacAt + 4);
      if (options.targetMacAt >= 0) view.getUint16(options.targetMacAt + 4);
      if (options.prefixOptionAt >= 0) view.getUint32(prefixAt(options.prefixOptionAt) + 12);
      if (options.rdnssOptionAt >= 0) {
        const last = rdnssCount(view, options.rdnssOptionAt) * 16 - 4;
        view.getUint32(rdnssAddressesAt(options.rdnssOptionAt) + last);
      }
      if (options.dnsslOptionAt >= 0) {
        const end = options.dnsslOptionAt + ndpOptionBytes(view, options.dnsslOptionAt);
        decodeDomainNames(view, dnsslNamesAt(options.dnsslOptionAt), end);
      }
    }),
    { numRuns: 2_000 },
  );
});
