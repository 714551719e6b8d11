/**
 * What the guests of a shared network say to each other, honestly and otherwise, as records of the
 * target `lan`.
 *
 * @module
 */
import type { LanMember } from "../../lib/config/lan_member.ts";
import { madeAddress, tcpSegment } from "../support/lan_rig.ts";
import {
  concat,
  ethernet,
  fragment6,
  icmp4,
  icmp6,
  ip,
  ip4,
  ip6,
  mac,
  pattern,
  udp,
} from "../support/packets.ts";
import { MEMBERS } from "./lan_well_formed.ts";
import { wordOctets } from "./mutate.ts";

/** What a record of one octet does. */
export const Act = { noRules: 0, denyC: 1, allowB: 2, stop: 3, go: 4 } as const;
/** How many of these there are. */
export const ACTS = 5;

const [A, B, C] = MEMBERS as [LanMember, LanMember, LanMember];

let made: Record<string, Uint8Array[]> | null = null;

/** What guests say to each other, by name. */
export function conversations(): Record<string, Uint8Array[]> {
  return made ??= makeConversations();
}

function makeConversations(): Record<string, Uint8Array[]> {
  const macs = (from: LanMember, to: LanMember | string) => ({
    source: from.mac,
    destination: typeof to === "string" ? to : to.mac,
  });
  const ALL = "ff:ff:ff:ff:ff:ff";
  const four = (from: LanMember, to: LanMember, protocol: number, payload: Uint8Array, more = {}) =>
    ethernet(
      ip4(payload, { source: from.ip4, destination: to.ip4, protocol, ...more }),
      macs(from, to),
    );
  const six = (from: LanMember, to: LanMember, next: number, payload: Uint8Array, more = {}) =>
    ethernet(
      ip6(payload, { source: from.ip6!, destination: to.ip6!, next, ...more }),
      macs(from, to),
    );
  const arp = (from: LanMember, to: LanMember | string, operation: number, target: string) =>
    ethernet(
      concat(
        [0, 1, 8, 0, 6, 4, 0, operation],
        mac(from.mac),
        ip(from.ip4),
        new Uint8Array(6),
        ip(target),
      ),
      { ...macs(from, to), type: 0x0806 },
    );
  const datagram = (from: LanMember, to: LanMember, port = 5_000, other = 7, bytes = 30) =>
    four(from, to, 17, udp(from.ip4, port, to.ip4, other, pattern(bytes)));
  const datagram6 = (from: LanMember, to: LanMember) =>
    six(from, to, 17, udp(from.ip6!, 5_000, to.ip6!, 7, pattern(30)));
  const segment = (
    from: LanMember,
    to: LanMember,
    flags: number,
    ports: [number, number],
    bytes = 0,
  ) => four(from, to, 6, tcpSegment(from.ip4, to.ip4, flags, ports, pattern(bytes)));
  const nd = (
    from: LanMember,
    type: number,
    target: string,
    to: LanMember | string,
    source = from.ip6!,
  ) => {
    const destination = typeof to === "string" ? "ff02::1" : to.ip6!;
    const option = source === "::" ? [] : concat([type === 135 ? 1 : 2, 1], mac(from.mac));
    const message = icmp6(
      source,
      destination,
      type,
      0,
      [0x60, 0, 0, 0],
      concat(ip(target), option),
    );
    return ethernet(ip6(message, { source, destination, next: 58, hopLimit: 255 }), macs(from, to));
  };
  const ping = (from: LanMember, to: LanMember, type: number) =>
    four(from, to, 1, icmp4(type, 0, [0, 7, 0, 1], pattern(20)));
  const whole = udp(A.ip4, 5_000, B.ip4, 7, pattern(600));
  const whole6 = udp(A.ip6!, 5_000, B.ip6!, 7, pattern(200));
  const GROUP6 = "33:33:00:00:00:01";
  return {
    honest: [datagram(A, B), datagram(B, A, 7, 5_000)],
    arp: [arp(A, ALL, 1, B.ip4), arp(B, A, 2, A.ip4), arp(A, ALL, 1, A.ip4)],
    tcp: [
      segment(A, B, 2, [40_000, 80]),
      segment(B, A, 0x12, [80, 40_000]),
      segment(A, B, 0x18, [40_000, 80], 60),
      segment(B, A, 0x11, [80, 40_000]),
      segment(A, B, 0x11, [40_000, 80]),
      segment(B, A, 2, [80, 40_000]),
    ],
    large: [segment(A, B, 0x18, [40_000, 80], 9_000), segment(A, C, 0x18, [40_000, 80], 9_000)],
    udp: [
      datagram(A, B),
      datagram(B, A, 7, 5_000),
      datagram6(A, B),
      datagram6(A, C),
      datagram(A, C),
    ],
    pings: [ping(A, B, 8), ping(B, A, 0), ping(A, C, 8), ping(B, A, 8)],
    errors: [
      datagram(A, B),
      four(B, A, 1, icmp4(3, 3, [0, 0, 0, 0], datagram(A, B).slice(14))),
      six(B, A, 58, icmp6(B.ip6!, A.ip6!, 1, 4, [0, 0, 0, 0], datagram6(A, B).slice(14))),
    ],
    rules: [
      Uint8Array.of(Act.denyC),
      datagram(A, C),
      datagram(A, B),
      Uint8Array.of(Act.allowB),
      segment(A, B, 2, [40_000, 80]),
      segment(A, B, 2, [40_001, 81]),
      datagram(B, A, 9, 9),
      datagram(A, B, 9, 9),
    ],
    neighbors: [
      nd(A, 135, B.ip6!, GROUP6),
      nd(B, 136, B.ip6!, A),
      nd(A, 135, A.ip6!, GROUP6, "::"),
      nd(A, 136, A.ip6!, GROUP6),
      nd(A, 135, madeAddress(A), GROUP6, "::"),
    ],
    groups: [
      ethernet(
        ip4(udp(A.ip4, 5_353, "224.0.0.251", 5_353, pattern(20)), {
          source: A.ip4,
          destination: "224.0.0.251",
        }),
        macs(A, "01:00:5e:00:00:fb"),
      ),
      ethernet(
        ip6(udp(A.ip6!, 5_353, "ff02::fb", 5_353, pattern(20)), {
          source: A.ip6!,
          destination: "ff02::fb",
        }),
        macs(A, "33:33:00:00:00:fb"),
      ),
      ethernet(
        ip4(udp("0.0.0.0", 68, "255.255.255.255", 67, pattern(240)), {
          source: "0.0.0.0",
          destination: "255.255.255.255",
        }),
        macs(A, ALL),
      ),
    ],
    pieces: [
      four(A, B, 17, whole.slice(0, 304), { fragment: 0x2000 }),
      four(A, B, 17, whole.slice(304), { fragment: 38 }),
      six(A, B, 44, fragment6(whole6.slice(0, 104), 17, 0, true, 4)),
      six(A, B, 44, fragment6(whole6.slice(104), 17, 104, false, 4)),
      six(A, B, 60, concat([17, 0, 1, 4, 0, 0, 0, 0], whole6)),
      four(A, B, 47, pattern(40)),
    ],
    judged: [
      Uint8Array.of(Act.allowB),
      datagram(A, B),
      six(A, B, 60, concat([17, 0, 1, 4, 0, 0, 0, 0], whole6)),
      six(A, B, 44, fragment6(whole6.slice(0, 104), 17, 0, true, 4)),
      four(A, B, 17, whole.slice(0, 304), { fragment: 38 }),
    ],
    slow: [
      Uint8Array.of(Act.stop),
      ...Array.from({ length: 6 }, (_, i) => datagram(A, B, 5_000 + i, 7, 1_400)),
      Uint8Array.of(Act.go),
      wordOctets(31_000, 4),
      datagram(B, A, 7, 5_000),
    ],
    forged: [
      datagram(C, B),
      four(A, B, 17, udp(C.ip4, 1, B.ip4, 2, pattern(8)), { source: C.ip4 }),
      nd(A, 136, C.ip6!, B),
      arp({ ...A, ip4: C.ip4 }, ALL, 2, B.ip4),
      six(A, B, 58, icmp6(A.ip6!, B.ip6!, 134, 0, [64, 0, 7, 8], pattern(8)), { hopLimit: 255 }),
    ],
  };
}
