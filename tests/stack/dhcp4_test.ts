import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type HarnessOptions, StackHarness } from "../support/stack_harness.ts";
import { dhcpFixture } from "./dhcp_fixtures.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GATEWAY4,
  GUEST4,
  GUEST_MAC,
  ip,
  ip4,
  mac,
  type Read,
  u16,
  u32,
  udp,
} from "../support/packets.ts";

const DISCOVER = 1;
const OFFER = 2;
const REQUEST = 3;
const DECLINE = 4;
const ACK = 5;
const NAK = 6;
const RELEASE = 7;
const INFORM = 8;

interface Message {
  op?: number;
  hlen?: number;
  htype?: number;
  flags?: number;
  client?: string;
  relay?: string;
  clientMac?: string;
  cookie?: number;
  /** IP source and destination. */
  source?: string;
  destination?: string;
}

/** A client's message with these options (each with its code and length in front). */
function dhcp(options: readonly number[], fields: Message = {}): Uint8Array {
  const { source = "0.0.0.0", destination = "255.255.255.255" } = fields;
  const head = concat(
    [fields.op ?? 1, fields.htype ?? 1, fields.hlen ?? 6, 0],
    u32(0x1234_5678),
    u16(0),
    u16(fields.flags ?? 0),
    ip(fields.client ?? "0.0.0.0"),
    ip("0.0.0.0"),
    ip("0.0.0.0"),
    ip(fields.relay ?? "0.0.0.0"),
    mac(fields.clientMac ?? GUEST_MAC),
    new Uint8Array(10 + 64 + 128),
    u32(fields.cookie ?? 0x63825363),
    options,
  );
  const packet = ip4(udp(source, 68, destination, 67, head), { source, destination });
  const group = destination.endsWith(".255") ? { destination: BROADCAST_MAC } : {};
  return ethernet(packet, group);
}

const type = (value: number) => [53, 1, value];
const wants = (address: string) => [50, 4, ...ip(address)];
const server = (address: string) => [54, 4, ...ip(address)];
const END = [255];

interface Reply extends Read {
  message: Uint8Array;
  options: Map<number, number[]>;
}

/** Takes a server's message apart. */
function parse(frame: Read): Reply {
  assertEquals([frame.source, frame.protocol], [GATEWAY4, 17]);
  assertEquals(frame.payload.slice(0, 4), Uint8Array.of(0, 67, 0, 68));
  const message = frame.payload.slice(8);
  assertEquals(message.slice(0, 4), Uint8Array.of(2, 1, 6, 0));
  assertEquals(message.slice(28, 34), mac(GUEST_MAC));
  assertEquals(message.slice(236, 240), Uint8Array.from(u32(0x63825363)));
  assertEquals(message.length >= 300, true);
  const options = new Map<number, number[]>();
  let i = 240;
  while (message[i] !== 255) {
    const bytes = message[i + 1]!;
    options.set(message[i]!, [...message.slice(i + 2, i + 2 + bytes)]);
    i += 2 + bytes;
  }
  assertEquals(message.slice(i + 1).every((octet) => octet === 0), true);
  return { ...frame, message, options };
}

function ask(h: StackHarness, frame: Uint8Array): Reply {
  h.push(frame);
  return parse(h.reply());
}

const LEASE: [number, number[]][] = [
  [51, u32(86_400)],
  [58, u32(43_200)],
  [59, u32(75_600)],
];
const PARAMETERS: [number, number[]][] = [
  [1, [255, 255, 255, 252]],
  [3, [...ip(GATEWAY4)]],
  [6, [...ip(GATEWAY4)]],
  [26, u16(1500)],
];

Deno.test("dhcp4: real clients get their lease: busybox udhcpc, ISC dhclient", () => {
  for (const client of ["udhcpc", "dhclient"]) {
    const h = new StackHarness();
    const discover = dhcpFixture(`${client}_discover`);
    const offer = ask(h, discover);
    assertEquals(offer.options.get(53), [OFFER]);
    assertEquals(offer.message.slice(16, 20), ip(GUEST4));
    assertEquals(offer.message.slice(4, 8), discover.slice(14 + 28 + 4, 14 + 28 + 8));
    assertEquals(h.dhcp4.leased, false);
    const request = dhcpFixture(`${client}_request`);
    const ack = ask(h, request);
    assertEquals(ack.options.get(53), [ACK]);
    assertEquals(ack.message.slice(4, 8), request.slice(14 + 28 + 4, 14 + 28 + 8));
    assertEquals([h.dhcp4.leased, h.counted()], [true, { "dhcp.leases": 1 }]);
  }
});

Deno.test("dhcp4: offer and acknowledgment hold everything a guest needs", () => {
  const h = new StackHarness({ search: "vm.internal" });
  const domain = [...new TextEncoder().encode("vm.internal")];
  const search = [...new TextEncoder().encode("\x02vm\x08internal\0")];
  const rows: [number[], number][] = [
    [type(DISCOVER), OFFER],
    [[...type(REQUEST), ...wants(GUEST4), ...server(GATEWAY4)], ACK],
  ];
  for (const [options, answer] of rows) {
    const reply = ask(h, dhcp([...options, ...END]));
    assertEquals([reply.destination, reply.destinationMac], [GUEST4, GUEST_MAC]);
    assertEquals(reply.message.slice(4, 8), Uint8Array.from(u32(0x1234_5678)));
    assertEquals(reply.message.slice(16, 20), ip(GUEST4));
    const want = [[53, [answer]], [54, [...ip(GATEWAY4)]], ...LEASE, ...PARAMETERS];
    assertEquals([...reply.options], [...want, [15, domain], [119, search]]);
  }
});

Deno.test("dhcp4: the reply goes where RFC 2131 section 4.1 says", () => {
  const h = new StackHarness();
  const options = [...type(REQUEST), ...wants(GUEST4), ...END];
  const wide = ask(h, dhcp(options, { flags: 0x8000 }));
  assertEquals([wide.destination, wide.destinationMac], ["255.255.255.255", BROADCAST_MAC]);
  assertEquals(wide.message.slice(10, 12), Uint8Array.of(0x80, 0));
  const renewal = { client: GUEST4, source: GUEST4, destination: GATEWAY4, flags: 0x8000 };
  const narrow = ask(h, dhcp([...type(REQUEST), ...END], renewal));
  assertEquals([narrow.destination, narrow.destinationMac], [GUEST4, GUEST_MAC]);
  assertEquals(narrow.message.slice(12, 20), concat(ip(GUEST4), ip(GUEST4)));
  const rebinding = { client: GUEST4, source: GUEST4 };
  assertEquals(ask(h, dhcp([...type(REQUEST), ...END], rebinding)).options.get(53), [ACK]);
});

Deno.test("dhcp4: a request for another address is refused, to everyone", () => {
  const h = new StackHarness();
  const rows: [number[], Message][] = [
    [[...wants("100.96.0.3"), ...server(GATEWAY4)], {}],
    [wants("192.168.1.17"), {}],
    [[], { client: "192.168.1.17" }],
  ];
  for (const [options, fields] of rows) {
    const nak = ask(h, dhcp([...type(REQUEST), ...options, ...END], fields));
    assertEquals([nak.destination, nak.destinationMac], ["255.255.255.255", BROADCAST_MAC]);
    assertEquals([...nak.options], [[53, [NAK]], [54, [...ip(GATEWAY4)]]]);
    assertEquals(nak.message.slice(12, 24), new Uint8Array(12));
  }
  assertEquals([h.dhcp4.leased, h.counted()], [false, {}]);
});

Deno.test("dhcp4: another server's client is left alone", () => {
  const h = new StackHarness();
  h.push(dhcp([...type(REQUEST), ...wants(GUEST4), ...server("100.96.0.3"), ...END]));
  h.silent();
  assertEquals(h.dhcp4.leased, false);
});

Deno.test("dhcp4: inform gets the parameters without an address or a time", () => {
  const h = new StackHarness();
  const ack = ask(h, dhcp([...type(INFORM), ...END], { client: GUEST4, source: GUEST4 }));
  assertEquals(ack.destination, GUEST4);
  assertEquals(ack.message.slice(16, 20), ip("0.0.0.0"));
  assertEquals([...ack.options], [[53, [ACK]], [54, [...ip(GATEWAY4)]], ...PARAMETERS]);
  assertEquals(h.counted(), {});
  h.drops(dhcp([...type(INFORM), ...END], { client: "100.96.0.3", source: GUEST4 }), "drop.dhcp");
});

Deno.test("dhcp4: release, decline and a fresh start end the lease; renewals don't count", () => {
  const h = new StackHarness();
  const request = dhcp([...type(REQUEST), ...wants(GUEST4), ...END]);
  for (
    const end of [
      dhcp([...type(RELEASE), ...server(GATEWAY4), ...END], {
        client: GUEST4,
        source: GUEST4,
        destination: GATEWAY4,
      }),
      dhcp([...type(DECLINE), ...wants(GUEST4), ...server(GATEWAY4), ...END]),
      dhcp([...type(DISCOVER), ...END]),
    ]
  ) {
    h.counted();
    ask(h, request);
    ask(h, request);
    assertEquals([h.dhcp4.leased, h.counted()], [true, { "dhcp.leases": 1 }]);
    h.push(end);
    h.sent();
    assertEquals([h.dhcp4.leased, h.counted()], [false, {}]);
  }
  ask(h, request);
  h.push(dhcp([...type(RELEASE), ...server("100.96.0.3"), ...END], { source: GUEST4 }));
  assertEquals(h.dhcp4.leased, true);
});

Deno.test("dhcp4: the client's identifier comes back (RFC 6842), at its longest too", () => {
  const h = new StackHarness();
  for (const bytes of [2, 7, 255]) {
    const id = Array.from({ length: bytes }, (_, i) => i & 0xff);
    const offer = ask(h, dhcp([...type(DISCOVER), 61, bytes, ...id, ...END]));
    assertEquals(offer.options.get(61), id);
  }
});

Deno.test("dhcp4: the reply fits what the client takes, and the MTU", () => {
  const search = `${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(60)}.internal`;
  const sizes = (options: HarnessOptions, max: readonly number[]) => {
    const reply = ask(
      new StackHarness({ search, ...options }),
      dhcp([...type(DISCOVER), ...max, ...END]),
    );
    const bytes = reply.header.length + reply.payload.length;
    return [reply.options.has(15), reply.options.has(119), bytes <= 576];
  };
  assertEquals(sizes({}, []), [true, false, true]);
  assertEquals(sizes({}, [57, 2, ...u16(300)]), [true, false, true]);
  assertEquals(sizes({}, [57, 2, ...u16(1500)]), [true, true, false]);
  assertEquals(sizes({ link: { mtu: 576 } }, [57, 2, ...u16(1500)]), [true, false, true]);
  const id = [61, 255, ...new Array(255).fill(7)];
  assertEquals(sizes({}, id), [false, false, true]);
});

Deno.test("dhcp4: fields that lie are dropped (CVE-2021-3592)", () => {
  const h = new StackHarness();
  const ok = [...type(DISCOVER), ...END];
  const bad: [readonly number[], Message][] = [
    [ok, { hlen: 255 }],
    [ok, { hlen: 0 }],
    [ok, { htype: 6 }],
    [ok, { op: 0 }],
    [ok, { op: 3 }],
    [ok, { cookie: 0x63825364 }],
    [ok, { clientMac: "02:00:00:00:00:99" }],
    [ok, { relay: "100.96.0.3" }],
    [[53, 1], {}],
    [[53], {}],
    [[...type(DISCOVER), 12, 255, 1, 2], {}],
    [[...type(DISCOVER), 50, 3, 1, 2, 3, 255], {}],
    [[...type(DISCOVER), 52, 1, 3, 255], {}],
    [[53, 2, 1, 1, 255], {}],
    [END, {}],
    [[...type(9), ...END], {}],
    [[...type(0), ...END], {}],
    [[...type(REQUEST), ...END], {}],
  ];
  for (const [options, fields] of bad) h.drops(dhcp(options, fields), "drop.dhcp");
  const short = udp("0.0.0.0", 68, "255.255.255.255", 67, new Uint8Array(239));
  const cutOff = ip4(short, { source: "0.0.0.0", destination: "255.255.255.255" });
  h.drops(ethernet(cutOff, { destination: BROADCAST_MAC }), "drop.dhcp");
});

Deno.test("dhcp4: a server's messages from the guest are dropped by role", () => {
  const h = new StackHarness();
  for (const kind of [OFFER, ACK, NAK]) h.drops(dhcp([...type(kind), ...END]), "drop.role");
  h.drops(dhcp([...type(DISCOVER), ...END], { op: 2 }), "drop.role");
  // A reply to a client's port never comes this far.
  const frame = dhcpFixture("udhcpd_offer");
  frame.set(mac(GUEST_MAC), 6);
  h.drops(frame, "drop.ip.src");
});

Deno.test("dhcp4: without room nothing is leased", () => {
  const h = new StackHarness();
  ask(h, dhcp([...type(DISCOVER), ...END]));
  h.push(dhcp([...type(DISCOVER), ...END]));
  h.queues.hostToGuest.fillLimitBytes = 1;
  h.push(dhcp([...type(REQUEST), ...wants(GUEST4), ...END]));
  assertEquals([h.dhcp4.leased, h.counted()], [false, { "drop.queue.full": 1 }]);
});

Deno.test("dhcp4: any octets are survived, and an honest client is served afterwards", () => {
  const base = dhcpFixture("udhcpc_request");
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { maxLength: 12 }),
      fc.nat(60),
      (changes, cutBytes) => {
        const h = new StackHarness();
        const message = base.slice(14 + 28, base.length - cutBytes);
        for (const [at, value] of changes) message[at % message.length] = value;
        const payload = udp("0.0.0.0", 68, "255.255.255.255", 67, message);
        const packet = ip4(payload, { source: "0.0.0.0", destination: "255.255.255.255" });
        h.push(ethernet(packet, { destination: BROADCAST_MAC }));
        for (const frame of h.sent()) assertEquals(frame.length <= 1514, true);
        assertEquals(ask(h, base).options.get(53), [ACK]);
      },
    ),
    { numRuns: 300 },
  );
});
