/** Filters: their grammar, what they let through, and what is said of those that are none. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { FILTER_MAX, parseCaptureFilter } from "../../lib/capture/capture_filter.ts";
import { FrameFields, readFrame } from "../../lib/capture/frame_fields.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  fragment6,
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip,
  ip4,
  ip6,
  mac,
  tcp,
  u16,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";

const DATA = new Uint8Array(20);
const TCP4 = ip4(tcp(GUEST4, WORLD4, DATA), { source: GUEST4, destination: WORLD4, protocol: 6 });
const UDP4 = ip4(udp(GUEST4, 5_000, WORLD4, 53, DATA), {
  source: GUEST4,
  destination: WORLD4,
  protocol: 17,
});

const FRAMES = {
  tcp4: ethernet(TCP4),
  tcp6: ethernet(
    ip6(tcp(WORLD6, GUEST6, DATA), { source: WORLD6, destination: GUEST6, next: 6 }),
  ),
  udp4: ethernet(UDP4),
  options6: ethernet(
    ip6(concat([17, 0, 1, 4, 0, 0, 0, 0], udp(GUEST6, 5_000, WORLD6, 53, DATA)), {
      source: GUEST6,
      destination: WORLD6,
      next: 0,
    }),
  ),
  first: ethernet(ip4(udp(GUEST4, 5_000, WORLD4, 53, DATA), {
    source: GUEST4,
    destination: WORLD4,
    protocol: 17,
    fragment: 0x2000,
  })),
  later: ethernet(ip4(DATA, {
    source: GUEST4,
    destination: WORLD4,
    protocol: 17,
    fragment: 3,
  })),
  later6: ethernet(
    ip6(fragment6(DATA, 17, 24, false, 1), { source: GUEST6, destination: WORLD6, next: 44 }),
  ),
  echo: ethernet(ip4(icmp4(8, 0, [0, 0, 0, 0], DATA), { destination: GATEWAY4, protocol: 1 })),
  solicit: ethernet(
    ip6(icmp6(GUEST6, GATEWAY6, 135, 0, [0, 0, 0, 0], DATA), { next: 58 }),
  ),
  error: ethernet(ip4(icmp4(3, 13, [0, 0, 0, 0], TCP4.slice(0, 28)), {
    source: GATEWAY4,
    destination: GUEST4,
    protocol: 1,
  })),
  arp: ethernet(
    concat(u16(1), u16(0x800), [6, 4], u16(1), mac("02:53:4d:00:00:02"), ip(GUEST4), [
      ...Array(6).fill(0),
    ], ip(GATEWAY4)),
    { type: 0x0806, destination: BROADCAST_MAC },
  ),
};
type Name = keyof typeof FRAMES;

const fields = new FrameFields();

/** The frames that a filter lets through, each read behind something else. */
function passed(text: string): Name[] {
  const filter = parseCaptureFilter(text);
  if (typeof filter === "string") throw new Error(`${text}: ${filter}`);
  return (Object.keys(FRAMES) as Name[]).filter((name) => {
    const frame = FRAMES[name];
    const view = new DataView(concat([1, 2, 3], frame, [4, 5]).buffer);
    readFrame(view, 3, frame.length, fields);
    return filter.passes(view, fields);
  });
}

const ALL = Object.keys(FRAMES) as Name[];

Deno.test("capture filter: protocols", () => {
  assertEquals(passed("tcp"), ["tcp4", "tcp6", "error"]);
  assertEquals(passed("udp"), ["udp4", "options6", "first", "later", "later6"]);
  assertEquals(passed("icmp"), ["echo", "solicit", "error"]);
  assertEquals(passed("arp"), ["arp"]);
  assertEquals(passed("ip6"), ["tcp6", "options6", "later6", "solicit"]);
  assertEquals(passed("ip or ip6 or arp"), ALL);
});

Deno.test("capture filter: ports, at either end or one", () => {
  assertEquals(passed("port 53"), ["udp4", "options6", "first"]);
  assertEquals(passed("tcp port 80"), ["tcp4", "tcp6", "error"]);
  assertEquals(passed("udp port 80"), []);
  assertEquals(passed("src port 5000"), ["udp4", "options6", "first"]);
  assertEquals(passed("udp dst port 5000"), []);
});

Deno.test("capture filter: addresses and networks", () => {
  assertEquals(passed(`host ${WORLD4}`), ["tcp4", "udp4", "first", "later", "error"]);
  assertEquals(passed(`src host ${WORLD6}`), ["tcp6"]);
  assertEquals(passed(`tcp and host ${WORLD6}`), ["tcp6"]);
  assertEquals(passed(`arp and host ${GATEWAY4}`), ["arp"]);
  assertEquals(passed(`dst net 192.0.2.0/27 and not tcp`), ["udp4", "first", "later"]);
  assertEquals(passed("net 2001:db8::/33"), ["tcp6", "options6", "later6"]);
  assertEquals(passed("net 192.0.2.128/25"), []);
  assertEquals(passed("ip and net 0.0.0.0/0"), [
    ...["tcp4", "udp4", "first", "later", "echo", "error"] as const,
  ]);
});

Deno.test("capture filter: terms are joined from the left, with equal rank, as libpcap does", () => {
  assertEquals(passed("arp or tcp and ip6"), ["tcp6"]);
  assertEquals(passed("arp or (tcp and ip6)"), ["tcp6", "arp"]);
  assertEquals(passed("not (tcp or udp) and not icmp"), ["arp"]);
  assertEquals(passed("!tcp&&!udp&&!icmp"), ["arp"]);
  assertEquals(passed("not not arp"), ["arp"]);
  assertEquals(passed("(((arp)))"), ["arp"]);
});

Deno.test("capture filter: what is none is told, with the way out", () => {
  const words = "there are tcp, udp, icmp, arp, ip, ip6, port, host, net, src, dst, and, or, not";
  const faults: [string, string][] = [
    ["  ", "is empty"],
    ["icmp6", `"icmp6" is no word of a filter; ${words}`],
    ["TCP", `"TCP" is no word of a filter; ${words}`],
    ["constructor", `"constructor" is no word of a filter; ${words}`],
    ["tcp port", `ends behind "port"; write port N`],
    ["tcp port http", `"http" is not a port from 0 to 65535`],
    ["port 65536", `"65536" is not a port from 0 to 65535`],
    [
      "host example.com",
      `"example.com" is not an address; names are not looked up, write host 10.0.0.5 or host fd00::1`,
    ],
    ["host 10.0.0.0/8", `"10.0.0.0/8" is a network; write net 10.0.0.0/8`],
    ["net 10.0.0.0", `"10.0.0.0" is not a network; write net 10.0.0.0/8 or net fd00::/8`],
    [
      "net 10.1.0.0/8",
      `"10.1.0.0/8" has bits set behind the prefix; did you mean 10.0.0.0/8?`,
    ],
    ["10.0.0.5", `"10.0.0.5" has no word; write host 10.0.0.5`],
    ["host 10.0.0.5 or 10.0.0.6", `"10.0.0.6" has no word; write host 10.0.0.6`],
    ["tcp 443", `"443" has no word; write port 443`],
    ["tcp udp", `"udp" follows without and or or; write: and udp`],
    ["tcp and", `ends behind "and"; write what comes next, such as tcp port 443`],
    ["(tcp", `ends behind "tcp"; write the ) that is missing`],
    ["tcp)", "has a ) without its ("],
    ["src 10.0.0.5", `"10.0.0.5" behind src: write src port N, or src host ADDRESS`],
    ["x".repeat(FILTER_MAX + 1), `has over ${FILTER_MAX} characters`],
  ];
  for (const [text, fault] of faults) {
    const found = parseCaptureFilter(text);
    assert(typeof found === "string", text);
    assert(found.startsWith(fault), `${text}: ${found}`);
  }
});

Deno.test("capture filter: no text and no frame throws", () => {
  const word = fc.constantFrom(
    ...["tcp", "and", "or", "not", "(", ")", "port", "host", "net", "src", "dst", "icmp", "arp"],
    ...["10.0.0.5", "fd00::1", "10.0.0.0/8", "443", "&&", "!", "|", "x"],
  );
  const text = fc.oneof(fc.array(word).map((words) => words.join(" ")), fc.string());
  const frames = Object.values(FRAMES);
  const frame = fc.tuple(
    fc.constantFrom(...frames),
    fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 4 }),
    fc.nat(90),
  ).map(([frame, changes, length]) => {
    const changed = frame.slice(0, length);
    for (const [at, octet] of changes) if (at < changed.length) changed[at] = octet;
    return changed;
  });
  fc.assert(fc.property(text, frame, (text, octets) => {
    const filter = parseCaptureFilter(text);
    if (typeof filter === "string") return;
    const view = new DataView(octets.buffer, 0, octets.length);
    readFrame(view, 0, octets.length, fields);
    filter.passes(view, fields);
  }));
});
