import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  DHCP4_CLIENT_PORT,
  DHCP4_HEADER_BYTES,
  DHCP4_MIN_BYTES,
  DHCP4_SERVER_PORT,
  dhcp4Asks,
  dhcp4ClientIpAt,
  dhcp4ClientMacAt,
  dhcp4Flags,
  Dhcp4Message,
  dhcp4NextServerIpAt,
  Dhcp4Op,
  dhcp4Op,
  Dhcp4Option,
  Dhcp4Options,
  dhcp4RelayIpAt,
  dhcp4TransactionId,
  dhcp4WantsBroadcast,
  dhcp4YourIpAt,
  parseDhcp4,
  writeDhcp4End,
  writeDhcp4Header,
  writeDhcp4Option16,
  writeDhcp4Option32,
  writeDhcp4Option8,
  writeDhcp4OptionBytes,
  writeDhcp4OptionFrom,
} from "../../lib/wire/dhcp4.ts";
import { dirtyMemory, guarded, hex } from "./guarded_view.ts";

const AT = 5;

/** A client's message with these options behind the cookie. */
function message(options: string): Uint8Array<ArrayBuffer> {
  const head = hex(
    "01 01 06 00 deadbeef 0003 8000 64600002 00000000 00000000 00000000 02534d000002",
  );
  const tail = hex(`63825363 ${options}`);
  const octets = new Uint8Array(236 + tail.length);
  octets.set(head);
  octets.set(tail, 236);
  return octets;
}

function parse(octets: Uint8Array): Dhcp4Options | null {
  const options = new Dhcp4Options();
  return parseDhcp4(guarded(octets, AT), AT, AT + octets.length, options) ? options : null;
}

Deno.test("a client's request, field by field", () => {
  const octets = message(
    "350103 3204 64600002 3604 64600001 3902 05dc 3d07 0102534d000002 0c03 616263 3704 0103061a ff 00",
  );
  const view = guarded(octets, AT);
  const options = parse(octets)!;
  assertEquals([dhcp4Op(view, AT), dhcp4TransactionId(view, AT)], [Dhcp4Op.request, 0xdeadbeef]);
  assertEquals([dhcp4WantsBroadcast(view, AT), dhcp4Flags(view, AT)], [true, 0x8000]);
  assertEquals(view.getUint32(dhcp4ClientIpAt(AT)), 0x64600002);
  assertEquals(view.getUint16(dhcp4ClientMacAt(AT) + 4), 2);
  assertEquals(options.messageType, Dhcp4Message.request);
  assertEquals(view.getUint32(options.requestedIpAt), 0x64600002);
  assertEquals(view.getUint32(options.serverIdAt), 0x64600001);
  assertEquals(options.maxMessageBytes, 1500);
  assertEquals([view.getUint8(options.clientIdAt), options.clientIdBytes], [1, 7]);
  assertEquals([view.getUint8(options.hostNameAt), options.hostNameBytes], [0x61, 3]);
  assertEquals([view.getUint8(options.parametersAt), options.parametersCount], [1, 4]);
  assertEquals([options.leaseSeconds, options.mtu, options.routerAt, options.rapidCommit], [
    0,
    0,
    -1,
    false,
  ]);
});

Deno.test("what the client asks for; all, where it does not say", () => {
  const octets = message("350101 3702 0103 ff");
  const asked = parse(octets)!;
  const view = guarded(octets, AT);
  assertEquals(dhcp4Asks(view, asked, Dhcp4Option.router), true);
  assertEquals(dhcp4Asks(view, asked, Dhcp4Option.mtu), false);
  assertEquals(dhcp4Asks(view, new Dhcp4Options(), Dhcp4Option.mtu), true);
});

Deno.test("a server's acknowledgment is written octet by octet and read back", () => {
  const memory = dirtyMemory();
  const { view, bytes } = memory;
  bytes.set(hex("02534d000002 64600002 64600001"), 0);
  bytes.set(hex("fffffffc 01010101 08080808"), 16);
  let at = writeDhcp4Header(memory, 100, Dhcp4Op.reply, 0xcafebabe, 0x8000, 0);
  assertEquals(at, 100 + DHCP4_HEADER_BYTES);
  memory.copy(dhcp4YourIpAt(100), 6, 4);
  memory.copy(dhcp4NextServerIpAt(100), 10, 4);
  at = writeDhcp4Option8(view, at, Dhcp4Option.messageType, Dhcp4Message.ack);
  at = writeDhcp4OptionFrom(memory, at, Dhcp4Option.serverIdentifier, 10, 4);
  at = writeDhcp4Option32(view, at, Dhcp4Option.leaseSeconds, 86_400);
  at = writeDhcp4OptionFrom(memory, at, Dhcp4Option.subnetMask, 16, 4);
  at = writeDhcp4OptionFrom(memory, at, Dhcp4Option.router, 10, 4);
  at = writeDhcp4OptionFrom(memory, at, Dhcp4Option.dnsServers, 20, 8);
  at = writeDhcp4Option16(view, at, Dhcp4Option.mtu, 65_520);
  at = writeDhcp4OptionBytes(memory, at, Dhcp4Option.domainName, hex("6c616e"));
  at = writeDhcp4OptionBytes(memory, at, Dhcp4Option.domainSearch, hex("036c616e00"));
  const end = writeDhcp4End(memory, at, 100);
  assertEquals(end, 100 + DHCP4_MIN_BYTES);
  assertEquals(
    bytes.slice(100, 128),
    hex("02 01 06 00 cafebabe 0000 8000 00000000 64600002 64600001 00000000"),
  );
  assertEquals(view.getUint32(dhcp4RelayIpAt(100)), 0);
  assertEquals(
    bytes.slice(128, 336),
    new Uint8Array([...hex("02534d000002"), ...new Array(202).fill(0)]),
  );
  assertEquals(
    bytes.slice(336, end + 1),
    new Uint8Array([
      ...hex(`63825363 350105 3604 64600001 3304 00015180 0104 fffffffc 0304 64600001
        0608 01010101 08080808 1a02 fff0 0f03 6c616e 7705 036c616e00 ff`),
      ...new Array(6).fill(0),
      0xa5,
    ]),
  );

  const options = new Dhcp4Options();
  assertEquals(parseDhcp4(view, 100, end, options), true);
  assertEquals(options.messageType, Dhcp4Message.ack);
  assertEquals([options.leaseSeconds, options.mtu], [86_400, 65_520]);
  assertEquals(view.getUint32(options.subnetMaskAt), 0xfffffffc);
  assertEquals(view.getUint32(options.routerAt), 0x64600001);
  assertEquals([view.getUint32(options.dnsServersAt + 4), options.dnsServersCount], [
    0x08080808,
    2,
  ]);
  assertEquals([view.getUint8(options.domainNameAt), options.domainNameBytes], [0x6c, 3]);
  assertEquals([view.getUint8(options.domainSearchAt), options.domainSearchBytes], [3, 5]);
});

Deno.test("a long message is not padded", () => {
  const memory = dirtyMemory();
  let at = writeDhcp4Header(memory, 0, Dhcp4Op.reply, 1, 0, 1_000);
  at = writeDhcp4OptionBytes(memory, at, Dhcp4Option.hostName, new Uint8Array(255));
  assertEquals(writeDhcp4End(memory, at, 0), at + 1);
  assertEquals(memory.bytes[at + 1], 0xa5);
  assertEquals([DHCP4_SERVER_PORT, DHCP4_CLIENT_PORT], [67, 68]);
});

Deno.test("not for Ethernet, without the cookie, too short", () => {
  const good = message("350101 ff");
  assertEquals(parse(good)?.messageType, Dhcp4Message.discover);
  for (
    const [at, value] of [[1, 6], [2, 16], [2, 255], [2, 0], [236, 0x64], [239, 0x62]] as const
  ) {
    const changed = good.slice();
    changed[at] = value;
    assertEquals(parse(changed), null, `octet ${at} = ${value}`);
  }
  for (let bytes = 0; bytes < DHCP4_HEADER_BYTES; bytes++) {
    assertEquals(parse(good.slice(0, bytes)), null);
  }
});

Deno.test("an option over the end, of a wrong length, or overload", () => {
  for (
    const options of [
      "35",
      "3501",
      "350201",
      "3702 01",
      "0cff 616263",
      "350101 33", // over the end
      "3500",
      "35020101",
      "3203 646000",
      "3205 6460000201",
      "3600",
      "3901 05",
      "3902 05dc 3303 000001", // wrong length
      "3700",
      "3d01 01",
      "0103 ffffff",
      "0300",
      "0305 6460000100",
      "0602 0101",
      "1a01 05",
      "5001 00",
      "340101",
      "340102",
      "340103",
      "350101 340101 ff",
      "3400", // overload
    ]
  ) assertEquals(parse(message(options)), null, options);
});

Deno.test("padding, unknown options, doubles and a missing end are tolerated", () => {
  assertEquals(
    parse(message("0000 350101 00 fa03 010203 35 01 05 ff 35"))?.messageType,
    Dhcp4Message.discover,
  );
  assertEquals(parse(message("350101"))?.messageType, Dhcp4Message.discover);
  assertEquals(parse(message(""))?.messageType, 0);
  assertEquals(parse(message("5000 ff"))?.rapidCommit, true);
  const into = new Dhcp4Options();
  const first = message("350103 3204 64600002 0c01 61 5000 ff");
  assertEquals(parseDhcp4(guarded(first, AT), AT, AT + first.length, into), true);
  const second = message("ff");
  assertEquals(parseDhcp4(guarded(second, AT), AT, AT + second.length, into), true);
  assertEquals({ ...into }, { ...new Dhcp4Options() });
});

Deno.test("whatever the options, the walk ends inside, and all that it found is inside too", () => {
  const known = Object.values(Dhcp4Option).filter((code) => code !== Dhcp4Option.end);
  const option = fc.tuple(
    fc.oneof(fc.constantFrom<number>(...known), fc.nat(255)),
    fc.uint8Array({ maxLength: 12 }),
    fc.constantFrom(0, 0, 0, 0, 1, -1, 200),
  ).map(([code, value, lie]) => [code, (value.length + lie) & 0xff, ...value]);
  const into = new Dhcp4Options();
  fc.assert(
    fc.property(fc.array(option, { maxLength: 12 }), (list) => {
      const head = message("");
      const octets = new Uint8Array([...head, ...list.flat()]);
      const view = guarded(octets, AT);
      if (!parseDhcp4(view, AT, AT + octets.length, into)) return;
      for (const at of [into.requestedIpAt, into.serverIdAt, into.subnetMaskAt, into.routerAt]) {
        if (at >= 0) view.getUint32(at);
      }
      for (
        const [at, bytes] of [
          [into.parametersAt, into.parametersCount],
          [into.clientIdAt, into.clientIdBytes],
          [into.hostNameAt, into.hostNameBytes],
          [into.dnsServersAt, into.dnsServersCount * 4],
          [into.domainNameAt, into.domainNameBytes],
          [into.domainSearchAt, into.domainSearchBytes],
        ] as const
      ) for (let i = 0; i < bytes; i++) view.getUint8(at + i);
    }),
    { numRuns: 2_000 },
  );
});
