import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  DHCP6_CLIENT_PORT,
  DHCP6_DUID_LL_BYTES,
  DHCP6_HEADER_BYTES,
  DHCP6_SERVER_PORT,
  dhcp6Asks,
  Dhcp6Message,
  dhcp6MessageType,
  Dhcp6Option,
  Dhcp6Options,
  dhcp6TransactionId,
  parseDhcp6,
  writeDhcp6DuidOption,
  writeDhcp6Header,
  writeDhcp6Option16,
  writeDhcp6OptionBytes,
  writeDhcp6OptionFrom,
  writeDhcp6RequestOption,
} from "../../lib/wire/dhcp6.ts";
import { encodeDomainNames } from "../../lib/wire/domain_names.ts";
import { dirtyMemory, guarded, hex } from "./guarded_view.ts";

const AT = 5;

function parse(text: string): Dhcp6Options | null {
  const octets = hex(text);
  const options = new Dhcp6Options();
  return parseDhcp6(guarded(octets, AT), AT, AT + octets.length, options) ? options : null;
}

Deno.test("an information request, written octet by octet and read back", () => {
  const memory = dirtyMemory();
  const { view, bytes } = memory;
  bytes.set(hex("02534d000002"), 0);
  let at = writeDhcp6Header(view, 100, Dhcp6Message.informationRequest, 0xabcdef);
  assertEquals(at, 100 + DHCP6_HEADER_BYTES);
  at = writeDhcp6DuidOption(memory, at, Dhcp6Option.clientId, 0);
  at = writeDhcp6RequestOption(view, at, [Dhcp6Option.dnsServers, Dhcp6Option.domainList]);
  at = writeDhcp6Option16(view, at, Dhcp6Option.elapsedTime, 100);
  assertEquals(
    bytes.slice(100, at + 1),
    hex("0babcdef 0001 000a 0003 0001 02534d000002 0006 0004 0017 0018 0008 0002 0064 a5"),
  );
  const options = new Dhcp6Options();
  assertEquals(parseDhcp6(view, 100, at, options), true);
  assertEquals([dhcp6MessageType(view, 100), dhcp6TransactionId(view, 100)], [11, 0xabcdef]);
  assertEquals([options.clientIdAt, options.clientIdBytes], [108, DHCP6_DUID_LL_BYTES]);
  assertEquals([options.serverIdAt, options.associations.count, options.statusCode], [-1, 0, -1]);
  assertEquals(dhcp6Asks(view, options, Dhcp6Option.domainList), true);
  assertEquals(dhcp6Asks(view, options, Dhcp6Option.informationRefreshTime), false);
});

Deno.test("a reply with resolvers and search domains", () => {
  const memory = dirtyMemory();
  const { view, bytes } = memory;
  bytes.set(hex("02534d000001"), 0);
  bytes.set(hex("fd534d00000000000000000000000001 20010db8000000000000000000000053"), 16);
  bytes.set(hex("00030001 02534d000002"), 48);
  let at = writeDhcp6Header(view, 100, Dhcp6Message.reply, 1);
  at = writeDhcp6OptionFrom(memory, at, Dhcp6Option.clientId, 48, 10);
  at = writeDhcp6DuidOption(memory, at, Dhcp6Option.serverId, 0);
  at = writeDhcp6OptionFrom(memory, at, Dhcp6Option.dnsServers, 16, 32);
  at = writeDhcp6OptionBytes(memory, at, Dhcp6Option.domainList, encodeDomainNames(["lan"])!);
  at = writeDhcp6Option16(view, at, Dhcp6Option.statusCode, 0);
  assertEquals(
    bytes.slice(100, at + 1),
    hex(`07000001 0001 000a 00030001 02534d000002 0002 000a 00030001 02534d000001
      0017 0020 fd534d00000000000000000000000001 20010db8000000000000000000000053
      0018 0005 036c616e00 000d 0002 0000 a5`),
  );
  const options = new Dhcp6Options();
  assertEquals(parseDhcp6(view, 100, at, options), true);
  assertEquals([options.clientIdBytes, options.serverIdBytes, options.statusCode], [10, 10, 0]);
  assertEquals([view.getUint8(options.dnsServersAt + 31), options.dnsServersCount], [0x53, 2]);
  assertEquals([view.getUint8(options.domainListAt), options.domainListBytes], [3, 5]);
  assertEquals([DHCP6_SERVER_PORT, DHCP6_CLIENT_PORT], [547, 546]);
});

Deno.test("the transaction id has 24 bits and does not touch the type", () => {
  const { view } = dirtyMemory();
  writeDhcp6Header(view, 0, Dhcp6Message.solicit, 0xff123456);
  assertEquals([dhcp6MessageType(view, 0), dhcp6TransactionId(view, 0)], [1, 0x123456]);
});

Deno.test("asking for addresses is noticed, and whether once is enough", () => {
  const ias = (text: string) => {
    const { count, codes, ids } = parse(text)!.associations;
    return Array.from({ length: count }, (_, i) => [codes[i], ids[i]]);
  };
  assertEquals(ias("01000001 0003 000c 000000010000000000000000"), [[3, 1]]);
  assertEquals(ias("01000001 0004 0004 ffffffff 0019 000c 000000020000000000000000"), [
    [4, 0xffffffff],
    [25, 2],
  ]);
  assertEquals(parse("01000001")!.hasRapidCommit, false);
  assertEquals(parse("01000001 000e 0000")!.hasRapidCommit, true);
});

Deno.test("relays, unknown types, short messages, overruns and wrong lengths are refused", () => {
  for (
    const malformed of [
      "",
      "0b",
      "0b0000", // short
      "00000001",
      "0c000001",
      "0d000001",
      "ff000001", // type
      "0b000001 00",
      "0b000001 000100",
      "0b000001 0001 0004 000300",
      "0b000001 ffff ffff", // over the end
      "0b000001 0001 0000",
      "0b000001 0001 0002 0003",
      "0b000001 0002 0001 00", // DUIDs
      `0b000001 0001 0083 ${"00".repeat(131)}`,
      "0b000001 0006 0003 001700",
      "0b000001 0017 0000",
      "0b000001 0017 0008 0000000000000000",
      "0b000001 000d 0001 00",
      "01000001 0003 000b 0000000100000000000000",
      "01000001 0004 0003 000000",
      "01000001 0019 000b 0000000100000000000000",
      "01000001 000e 0001 00",
    ]
  ) assertEquals(parse(malformed), null, malformed);
});

Deno.test("of a kind the first holds, unknown ones are skipped, nothing stays from before", () => {
  const octets = hex("0b000001 ffee 0003 010203 0001 0003 000100 0001 0004 00010000");
  const options = new Dhcp6Options();
  assertEquals(parseDhcp6(guarded(octets, AT), AT, AT + octets.length, options), true);
  assertEquals([options.clientIdAt, options.clientIdBytes], [AT + 15, 3]);
  const bare = hex("0b000001");
  assertEquals(parseDhcp6(guarded(bare, AT), AT, AT + 4, options), true);
  assertEquals({ ...options }, { ...new Dhcp6Options() });
});

Deno.test("whatever the options, the walk ends inside, and all that it found is inside too", () => {
  const option = fc.tuple(
    fc.oneof(fc.constantFrom<number>(...Object.values(Dhcp6Option)), fc.nat(0xffff)),
    fc.uint8Array({ maxLength: 34 }),
    fc.constantFrom(0, 0, 0, 0, 0, 1, -1, 300),
  ).map(([code, value, lie]) => {
    const bytes = (value.length + lie) & 0xffff;
    return [code >> 8, code & 0xff, bytes >> 8, bytes & 0xff, ...value];
  });
  const into = new Dhcp6Options();
  fc.assert(
    fc.property(fc.nat(14), fc.array(option, { maxLength: 8 }), fc.nat(3), (type, list, cut) => {
      const whole = [type, 0, 0, 1, ...list.flat()];
      const octets = Uint8Array.from(whole.slice(0, Math.max(4, whole.length - cut)));
      const view = guarded(octets, AT);
      if (!parseDhcp6(view, AT, AT + octets.length, into)) return;
      for (
        const [at, bytes] of [
          [into.clientIdAt, into.clientIdBytes],
          [into.serverIdAt, into.serverIdBytes],
          [into.requestAt, into.requestCount * 2],
          [into.dnsServersAt, into.dnsServersCount * 16],
          [into.domainListAt, into.domainListBytes],
        ] as const
      ) for (let i = 0; i < bytes; i++) view.getUint8(at + i);
    }),
    { numRuns: 2_000 },
  );
});
