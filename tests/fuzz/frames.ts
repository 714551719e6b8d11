/**
 * Frames of an honest guest, one of each kind, and changes that know where in a frame its fields
 * are.
 *
 * @module
 */
import { dhcpFixture } from "../stack/dhcp_fixtures.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  fragment6,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_LL,
  GATEWAY_MAC,
  GUEST4,
  GUEST6,
  GUEST_LL,
  GUEST_MAC,
  icmp4,
  icmp6,
  ip,
  ip4,
  ip6,
  mac,
  pattern,
  sealed,
  u16,
  u32,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";
import { type DictionaryWord, type Mutator, put, splice } from "./mutate.ts";
import { seal, setWord, word } from "./seal.ts";

const ALL_NODES = "ff02::1";
const ALL_ROUTERS = "ff02::2";
const SOLICITED_GATEWAY = "ff02::1:ff00:1";

function arp(operation: number): Uint8Array {
  const head = concat(u16(1), u16(0x0800), [6, 4], u16(operation));
  return ethernet(concat(head, mac(GUEST_MAC), ip(GUEST4), new Uint8Array(6), ip(GATEWAY4)), {
    type: 0x0806,
    destination: BROADCAST_MAC,
  });
}

/** A neighbor discovery message. */
function nd(type: number, body: Uint8Array, source: string, destination: string): Uint8Array {
  const message = icmp6(source, destination, type, 0, [], body);
  const group = destination.startsWith("ff");
  const to = group ? `33:33:${[...ip(destination).slice(12)].map(hex).join(":")}` : GATEWAY_MAC;
  return ethernet(ip6(message, { next: 58, hopLimit: 255, source, destination }), {
    destination: to,
  });
}

function hex(octet: number): string {
  return octet.toString(16).padStart(2, "0");
}

function segment(family: 4 | 6, flags: number, options: readonly number[], data: Uint8Array) {
  const [source, destination] = family === 4 ? [GUEST4, WORLD4] : [GUEST6, WORLD6];
  const bytes = concat(
    u16(40000),
    u16(80),
    u32(0xffffff00),
    u32(0),
    [(20 + options.length) << 2, flags],
    u16(64240),
    [0, 0, 0, 0],
    options,
    data,
  );
  const payload = sealed(bytes, 16, source, destination, 6);
  return ethernet(
    family === 4
      ? ip4(payload, { source, destination, protocol: 6 })
      : ip6(payload, { source, destination, next: 6 }),
  );
}

const SYN_OPTIONS = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 3, 232, 0, 0, 0, 0, 1, 3, 3, 7];
const NONE = new Uint8Array(0);
const PING4 = ip4(icmp4(8, 0, [0, 1, 0, 1], pattern(40)), { protocol: 1 });
const DATAGRAM4 = udp(GUEST4, 5000, WORLD4, 7, pattern(200));
const DATAGRAM6 = udp(GUEST6, 5000, WORLD6, 7, pattern(200));
const OPTIONS6 = [60, 0, 1, 4, 0, 0, 0, 0];
const ANNOUNCED = "fd53:4d00::abcd";

/** An ICMP error of the guest's about a packet that it was sent. */
function error4(type: number, code: number, rest: readonly number[]): Uint8Array {
  const inner = sealed(
    concat(u16(80), u16(40000), u32(7), u32(8), [0x50, 0x18], u16(1000), [0, 0, 0, 0]),
    16,
    WORLD4,
    GUEST4,
    6,
  );
  const quote = ip4(inner, { source: WORLD4, destination: GUEST4, protocol: 6 });
  return ethernet(ip4(icmp4(type, code, rest, quote), { protocol: 1, destination: WORLD4 }));
}

/** A world's datagram in pieces. */
function pieces(family: 4 | 6): Uint8Array[] {
  const whole = family === 4 ? DATAGRAM4 : DATAGRAM6;
  return [[0, 104], [104, 208]].map(([from = 0, to = 0], i) => {
    const piece = whole.slice(from, to);
    const more = i === 0;
    return ethernet(
      family === 4
        ? ip4(piece, { destination: WORLD4, id: 9, fragment: (more ? 0x2000 : 0) | (from >> 3) })
        : ip6(fragment6(piece, 17, from, more, 9), { destination: WORLD6, next: 44 }),
    );
  });
}

/** Frames by name. */
export const FRAMES: Readonly<Record<string, readonly Uint8Array[]>> = {
  arp: [arp(1), arp(2)],
  ping4: [ethernet(PING4)],
  ping6: [ethernet(ip6(icmp6(GUEST6, GATEWAY6, 128, 0, [0, 1, 0, 1], pattern(40)), { next: 58 }))],
  traceroute4: [ethernet(ip4(DATAGRAM4, { destination: WORLD4, ttl: 1 }))],
  syn4: [segment(4, 0x02, SYN_OPTIONS, NONE)],
  syn6: [segment(6, 0x02, SYN_OPTIONS, NONE)],
  stray4: [segment(4, 0x18, [], pattern(60)), segment(4, 0x04, [], NONE)],
  udp4: [ethernet(ip4(DATAGRAM4, { destination: WORLD4 }))],
  udp6: [ethernet(ip6(DATAGRAM6, { destination: WORLD6 }))],
  dns4: [ethernet(ip4(udp(GUEST4, 5001, GATEWAY4, 53, pattern(30)), { destination: GATEWAY4 }))],
  fragments4: pieces(4),
  fragments6: pieces(6),
  options4: [ethernet(ip4(DATAGRAM4, { destination: WORLD4, options: [7, 7, 4, 0, 0, 0, 0, 0] }))],
  extensions6: [
    ethernet(
      ip6(
        concat(
          [60, 0, 1, 4, 0, 0, 0, 0],
          [43, 0, 1, 4, 0, 0, 0, 0],
          [17, 0, 4, 0, 0, 0, 0, 0],
          DATAGRAM6,
        ),
        { next: 0, destination: WORLD6 },
      ),
    ),
  ],
  deep6: [
    ethernet(ip6(
      concat(...Array.from({ length: 9 }, () => OPTIONS6), DATAGRAM6),
      { next: 60, destination: WORLD6 },
    )),
    ethernet(
      ip6(fragment6(fragment6(DATAGRAM6, 17, 0, true, 3), 44, 0, true, 2), {
        next: 44,
        destination: WORLD6,
      }),
    ),
  ],
  flood4: Array.from({ length: 14 }, (_, i) =>
    ethernet(
      ip4(udp(GUEST4, 5000 + i, WORLD4, 33_435, pattern(8)), {
        destination: WORLD4,
        ttl: i < 12 ? 1 : 64,
      }),
    )),
  ports6: Array.from(
    { length: 8 },
    (_, i) => ethernet(ip6(udp(GUEST6, 6000 + i, WORLD6, 7, pattern(8)), { destination: WORLD6 })),
  ),
  proto4: [ethernet(ip4(PING4, { destination: WORLD4, protocol: 4 }))],
  igmp: [
    ethernet(
      ip4(concat([0x16, 0, 9, 4], ip("224.0.0.251")), { protocol: 2, destination: "224.0.0.251" }),
      { destination: "01:00:5e:00:00:fb" },
    ),
  ],
  solicit: [
    nd(
      135,
      concat([0, 0, 0, 0], ip(GATEWAY6), [1, 1], mac(GUEST_MAC)),
      GUEST_LL,
      SOLICITED_GATEWAY,
    ),
    nd(135, concat([0, 0, 0, 0], ip(GATEWAY_LL), [1, 1], mac(GUEST_MAC)), GUEST_LL, GATEWAY_LL),
  ],
  dad: [nd(135, concat([0, 0, 0, 0], ip(ANNOUNCED)), "::", "ff02::1:ff00:abcd")],
  advertise: [
    nd(136, concat([0x20, 0, 0, 0], ip(ANNOUNCED), [2, 1], mac(GUEST_MAC)), ANNOUNCED, ALL_NODES),
  ],
  router: [nd(133, concat([0, 0, 0, 0], [1, 1], mac(GUEST_MAC)), GUEST_LL, ALL_ROUTERS)],
  roles: [
    nd(134, concat([64, 0, 7, 8], u32(0), u32(0), [1, 1], mac(GUEST_MAC)), GUEST_LL, ALL_NODES),
    nd(137, concat([0, 0, 0, 0], ip(GATEWAY_LL), ip(WORLD6)), GUEST_LL, ALL_NODES),
    dhcpFixture("udhcpd_offer"),
  ],
  discover: [dhcpFixture("udhcpc_discover"), dhcpFixture("udhcpc_request")],
  dhclient: [dhcpFixture("dhclient_discover"), dhcpFixture("dhclient_request")],
  information: [dhcpFixture("dhclient_information_request"), dhcpFixture("dhclient_solicit")],
  errors4: [error4(3, 4, [0, 0, 2, 40]), error4(3, 1, [0, 0, 0, 0])],
  vlan: [ethernet(concat([0, 1, 8, 0], PING4), { type: 0x8100 }), ethernet(PING4, { type: 60 })],
};

const ADDRESSES: readonly string[] = [
  GUEST4,
  GATEWAY4,
  WORLD4,
  "0.0.0.0",
  "127.0.0.1",
  "224.0.0.1",
  "255.255.255.255",
  "100.96.0.3",
  GUEST6,
  GATEWAY6,
  GUEST_LL,
  GATEWAY_LL,
  WORLD6,
  ANNOUNCED,
  "::",
  "::1",
  ALL_NODES,
  ALL_ROUTERS,
  SOLICITED_GATEWAY,
  "::ffff:127.0.0.1",
];

/** Addresses, MACs, and numbers that mean something to somebody. */
export const FRAME_WORDS: readonly DictionaryWord[] = [
  ...ADDRESSES.map(ip),
  ...[GUEST_MAC, GATEWAY_MAC, BROADCAST_MAC, "01:00:5e:00:00:01", "33:33:00:00:00:01"].map(mac),
  ...[0x0800, 0x86dd, 0x0806, 0x8100, 53, 67, 68, 546, 547].map((each) =>
    Uint8Array.from(u16(each))
  ),
  ...[0, 6, 17, 43, 44, 50, 51, 58, 59, 60].map((each) => Uint8Array.of(each)),
];

/** Offsets of fields, as position and octets, behind the Ethernet header. */
const FIELDS4 = [[0, 1], [2, 2], [4, 2], [6, 2], [8, 1], [9, 1], [12, 4], [16, 4]] as const;
const FIELDS6 = [[0, 4], [4, 2], [6, 1], [7, 1], [8, 16], [24, 16], [40, 2], [42, 2]] as const;
const FIELDS_ARP = [[0, 2], [2, 2], [4, 1], [5, 1], [6, 2], [8, 6], [14, 4], [18, 6], [
  24,
  4,
]] as const;
const L4_FIELDS = [[0, 2], [2, 2], [4, 2], [6, 2], [4, 4], [8, 4], [12, 1], [13, 1], [
  14,
  2,
]] as const;

/** Another frame, made from one: fields, headers in between, pieces, or any octets; mostly sealed. */
export function mutateFrame(frame: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  let out: Uint8Array = frame.slice();
  for (let left = 1 + random.below(3); left > 0; left--) {
    out = changeFrame(out, mutator);
  }
  return random.once(8) ? out : seal(out, random.once(2));
}

function changeFrame(frame: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  const type = word(frame, 12);
  switch (random.below(9)) {
    case 0:
      return mutator.bytes(frame, FRAME_WORDS);
    case 1:
    case 2:
    case 3: {
      const fields = type === 0x0800 ? FIELDS4 : type === 0x86dd ? FIELDS6 : FIELDS_ARP;
      return setField(frame, 14, random.pick<readonly [number, number]>(fields), mutator);
    }
    case 4:
    case 5: {
      const at = type === 0x0800 ? 14 + (frame[14]! & 15) * 4 : 54;
      return setField(frame, at, random.pick<readonly [number, number]>(L4_FIELDS), mutator);
    }
    case 6:
      return type === 0x86dd ? addExtension(frame, mutator) : addOptions(frame, mutator);
    case 7:
      return put(frame, random.pick([0, 6, 12]), pickWord(mutator));
    default: {
      const bytes = random.pick([0, 1, 7, 8, 13, 40, 600, 1400]);
      if (random.once(2)) {
        return frame.slice(0, Math.max(14, frame.length - bytes));
      }
      return splice(frame, frame.length, 0, new Uint8Array(bytes).fill(random.word()));
    }
  }
}

function pickWord({ random }: Mutator): Uint8Array {
  return random.pick(FRAME_WORDS) as Uint8Array;
}

function setField(
  frame: Uint8Array,
  base: number,
  [offset, bytes]: readonly [number, number],
  mutator: Mutator,
): Uint8Array {
  const at = base + offset;
  if (mutator.random.once(3) || bytes > 4) {
    return put(frame, at, pickWord(mutator));
  }
  const value = mutator.number(bytes === 1 ? 8 : bytes === 2 ? 16 : 32);
  const octets = Uint8Array.from({ length: bytes }, (_, i) => value >>> (8 * (bytes - 1 - i)));
  return put(frame, at, octets);
}

/** Puts an extension header behind the IPv6 header, or a fragment header. */
function addExtension(frame: Uint8Array, { random }: Mutator): Uint8Array {
  if (frame.length < 54) return frame;
  const kind = random.pick([0, 43, 44, 44, 60, 51, 135]);
  const units = kind === 44 ? 0 : random.pick([0, 0, 1, 3]);
  const header = new Uint8Array(8 * (units + 1));
  header[0] = frame[20]!;
  header[1] = random.once(8) ? random.word() : units;
  if (kind === 44) {
    header.set(u16(random.once(2) ? random.below(64) * 8 + random.below(2) : random.word()), 2);
    header[7] = random.below(3);
  } else if (kind === 43) {
    header[2] = random.pick([0, 2, 3, 4]);
    header[3] = random.below(3);
  } else {
    // Options: padding that fits, or whatever comes.
    header[2] = random.pick([0, 1, 5, 0x3e, 0x40, 0x80, 0xc0, 0xc2]);
    header[3] = random.once(3) ? random.word() : header.length - 4;
  }
  const out = splice(frame, 54, 0, header);
  out[20] = kind;
  setWord(out, 18, word(out, 18) + header.length);
  return out;
}

/** Puts options behind the IPv4 header. */
function addOptions(frame: Uint8Array, { random }: Mutator): Uint8Array {
  if (frame.length < 34 || (frame[14]! & 15) >= 15) return frame;
  const words = 1 + random.below(15 - Math.max(5, frame[14]! & 15));
  const options = new Uint8Array(words * 4);
  options[0] = random.pick([0, 1, 7, 68, 130, 131, 136, 137, 148]);
  options[1] = random.once(2) ? options.length : random.word();
  options[2] = 4;
  const at = Math.min(frame.length, 14 + (frame[14]! & 15) * 4);
  const out = splice(frame, at, 0, options);
  out[14] = (out[14]! & 0xf0) | ((out[14]! + words) & 15);
  setWord(out, 16, word(out, 16) + options.length);
  return out;
}
