/**
 * What configures a guest: DHCPv4, DHCPv6, router and neighbor solicitations, with options that lie.
 *
 * A record is a frame; one of four octets is a wait of so many milliseconds.
 *
 * Oracles: nothing throws; each message has at most one answer, which is well-formed to its last
 * option and gives away nothing but the link's own addresses, of which it leases the guest's; a
 * server's messages are never answered; afterwards an honest guest gets its leases, its
 * information, its router and its neighbor.
 *
 * @module
 */
import { dhcpFixture } from "../../stack/dhcp_fixtures.ts";
import {
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY_MAC,
  GUEST4,
  GUEST6,
  GUEST_LL,
  GUEST_MAC,
  ip,
  ip4,
  ip6,
  mac,
  u16,
  u32,
  udp,
} from "../../support/packets.ts";
import { FRAME_WORDS, FRAMES, mutateFrame } from "../frames.ts";
import type { Input } from "../input.ts";
import { type Mutator, splice, wordOctets } from "../mutate.ts";
import { hold, Rig } from "../rig.ts";
import { seal, word } from "../seal.ts";
import type { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";
import { at32 } from "../tcp_steps.ts";
import type { Shape } from "../well_formed.ts";

const WAIT_BYTES = 4;
const WAIT_MAX_MS = 100_000;
/** The least MTU of IPv6: less than any fragment but the last one carries here. */
const FRAGMENT_LEAST_BYTES = 1280;
/** Where options begin, from the frame's front. */
const DHCP4_AT = 14 + 20 + 8;
const OPTIONS4_AT = DHCP4_AT + 240;
const OPTIONS6_AT = 14 + 40 + 8 + 4;
const ND_AT = 14 + 40;
const KIND_REPLY = 60;

const GUEST6_OCTETS = ip(GUEST6);

const Reply = { dhcp4: 1, dhcp6: 2, router: 3, neighbor: 4 } as const;

/** The target. */
export const dhcpTarget: FuzzTarget = {
  name: "dhcp",
  about: "DHCPv4, DHCPv6, router and neighbor solicitations with options that lie",
  form: "hex",
  seeds: () => Object.entries(SEEDS),
  mutate: (input, mutator) => mutator.records(input, (record) => mutateRecord(record, mutator)),
  repair: (input) => input.map((record) => seal(record.slice(), true)),
  run: (input, signal) => new Link(signal).run(input),
};

class Link {
  readonly #rig: Rig;
  readonly #signal: Signal;
  /** Answers to the frame at hand: kind, and the message type within it. */
  #answers: [number, number][] = [];

  constructor(signal: Signal) {
    this.#signal = signal;
    this.#rig = new Rig(signal, { sent: (frame, shape) => this.#sent(frame, shape) });
  }

  run(input: Input): void {
    const rig = this.#rig;
    for (const record of input) {
      if (record.length === WAIT_BYTES) rig.wait(at32(record, 0) % WAIT_MAX_MS);
      else this.#push(record);
      rig.check();
    }
    this.#probe();
    rig.close();
  }

  #push(frame: Uint8Array): [number, number][] {
    const rig = this.#rig;
    this.#answers = [];
    rig.push(frame);
    const answers = this.#answers;
    // In the turn timers may advertise too; the frame's own answer is there before them.
    const { hostToGuest, streams } = rig.queues;
    // An echo is as long as what it answers, and a message beyond the MTU comes back in fragments.
    const framesMax = 1 + Math.floor(frame.length / FRAGMENT_LEAST_BYTES);
    hold(hostToGuest.frames + streams.frames <= framesMax, "a message has at most one answer");
    rig.turn();
    return answers;
  }

  #sent(frame: Uint8Array, { protocol, payloadAt: at }: Shape): void {
    let answer: [number, number] | null = null;
    if (protocol === 17 && word(frame, at) === 67) {
      answer = [Reply.dhcp4, checkReply4(frame, at + 8)];
    }
    if (protocol === 17 && word(frame, at) === 547) {
      answer = [Reply.dhcp6, checkReply6(frame, at + 8)];
    }
    if (protocol === 58 && frame[at] === 134) {
      answer = [Reply.router, checkNd(frame, at + 16)];
    }
    if (protocol === 58 && frame[at] === 136) {
      answer = [Reply.neighbor, checkNd(frame, at + 24)];
    }
    if (answer === null) return;
    this.#answers.push(answer);
    this.#signal.note(KIND_REPLY, answer[0], answer[1]);
  }

  /** An honest guest configures itself. */
  #probe(): void {
    const rig = this.#rig;
    rig.wait(10_000); // answers to router solicitations are limited
    const guest = rig.memory.bytes.slice(rig.link.guestMacAt, rig.link.guestMacAt + 6);
    const ask = (
      name: string,
      at: number,
      macAt: readonly number[],
      kind: number,
      type: number,
    ) => {
      const frame = (name === "lease" ? LEASE6 : FRAMES[name]!)[at]!.slice();
      for (const each of [6, ...macAt]) frame.set(guest, each);
      const answers = this.#push(seal(frame));
      rig.wait(1000);
      hold(
        answers.some(([got, said]) => got === kind && said === type),
        () => `an honest ${name} is answered`,
      );
    };
    ask("discover", 0, [DHCP4_AT + 28], Reply.dhcp4, 2);
    ask("discover", 1, [DHCP4_AT + 28], Reply.dhcp4, 5);
    ask("information", 0, [], Reply.dhcp6, 7);
    ask("information", 1, [], Reply.dhcp6, 2);
    ask("lease", 0, [], Reply.dhcp6, 7);
    ask("router", 0, [ND_AT + 10], Reply.router, 0);
    ask("solicit", 0, [ND_AT + 26], Reply.neighbor, 0);
  }
}

// ---- What an answer must be -------------------------------------------------------------------

/** The message type of a DHCPv4 answer. */
function checkReply4(frame: Uint8Array, at: number): number {
  const yours = frame.subarray(at + 16, at + 20).join(".");
  hold(frame[at] === 2 && frame[at + 1] === 1 && frame[at + 2] === 6, "a BOOTREPLY for Ethernet");
  hold(at32(frame, at + 236) === 0x63825363, "the magic cookie");
  hold(yours === GUEST4 || yours === "0.0.0.0", "no address but the guest's own");
  let type = 0;
  for (let i = at + 240;;) {
    hold(i < frame.length, "options have an end");
    const code = frame[i]!;
    if (code === 255) break;
    if (code === 0) {
      i++;
      continue;
    }
    const bytes = frame[i + 1]!;
    hold(i + 2 + bytes < frame.length, "an option lies inside the message");
    if (code === 53) type = frame[i + 2]!;
    if (code === 54 || code === 3) {
      hold(
        frame.subarray(i + 2, i + 6).join(".") === GATEWAY4,
        "server and router are the gateway",
      );
    }
    i += 2 + bytes;
  }
  hold(type === 2 || type === 5 || type === 6, "an offer, an ACK or a NAK");
  hold(type !== 6 || yours === "0.0.0.0", "a NAK gives no address");
  return type;
}

/** The message type of a DHCPv6 answer. */
function checkReply6(frame: Uint8Array, at: number): number {
  const type = frame[at]!;
  hold(type === 2 || type === 7, "an advertisement or a reply");
  eachOption6(frame, at + 4, frame.length, (code, from, end) => {
    if (code === 3 || code === 25) checkAssociation6(frame, from + 12, end);
    if (code === 4) checkAssociation6(frame, from + 4, end);
  });
  return type;
}

/** Walks options that have to fill what they stand in. */
function eachOption6(
  frame: Uint8Array,
  at: number,
  end: number,
  take: (code: number, at: number, end: number) => void,
): void {
  let i = at;
  while (i + 4 <= end) {
    const next = i + 4 + word(frame, i + 2);
    hold(next <= end, "an option lies inside of what it is in");
    take(word(frame, i), i + 4, next);
    i = next;
  }
  hold(i === end, "options fill what they are in");
}

/** Of addresses only the guest's own is leased; others may be taken away. */
function checkAssociation6(frame: Uint8Array, at: number, end: number): void {
  eachOption6(frame, at, end, (code, from) => {
    if (code !== 5) return;
    const isOwn = frame.subarray(from, from + 16).every((octet, i) => octet === GUEST6_OCTETS[i]);
    const [preferred, valid] = [at32(frame, from + 16), at32(frame, from + 20)];
    hold(isOwn ? valid === preferred : valid === 0 && preferred === 0, "one address is leased");
  });
}

/** Options of neighbor discovery from `at` to the frame's end. */
function checkNd(frame: Uint8Array, at: number): number {
  let i = at;
  while (i + 2 <= frame.length && frame[i + 1]! > 0) i += frame[i + 1]! * 8;
  hold(i === frame.length, "options fill the message");
  return 0;
}

// ---- Inputs -------------------------------------------------------------------------------------

/** A DHCPv4 message of a client with these options. */
function message4(type: number, ...options: (readonly number[])[]): Uint8Array {
  const head = new Uint8Array(240);
  head.set([1, 1, 6, 0, 1, 2, 3, 4]);
  head.set(FRAMES.ping4![0]!.subarray(6, 12), 28);
  head.set(u32(0x63825363), 236);
  const data = concat(head, [53, 1, type], ...options, [255]);
  const payload = udp("0.0.0.0", 68, "255.255.255.255", 67, data);
  const packet = ip4(payload, { source: "0.0.0.0", destination: "255.255.255.255" });
  return ethernet(packet, { destination: "ff:ff:ff:ff:ff:ff" });
}

/** A DHCPv6 message of a client with these options. */
function message6(type: number, ...options: Uint8Array[]): Uint8Array {
  const destination = "ff02::1:2";
  const data = concat([type, 1, 2, 3], ...options);
  const payload = udp(GUEST_LL, 546, destination, 547, data);
  const packet = ip6(payload, { source: GUEST_LL, destination });
  return ethernet(packet, { destination: "33:33:00:01:00:02" });
}

function option6(code: number, ...value: (Uint8Array | readonly number[])[]): Uint8Array {
  const whole = concat(...value);
  return concat(u16(code), u16(whole.length), whole);
}

const CLIENT6 = option6(1, [0, 3, 0, 1], mac(GUEST_MAC));
const SERVER6 = option6(2, [0, 3, 0, 1], mac(GATEWAY_MAC));
const address6 = (text: string) => option6(5, ip(text), u32(60), u32(60));
const association6 = (code: number, ...inside: Uint8Array[]) => {
  return option6(code, u32(7), code === 4 ? [] : [...u32(0), ...u32(0)], ...inside);
};
const HELD6 = association6(3, address6(GUEST6));
const STALE6 = association6(3, address6("fd53:4d00::77"), address6("2001:db8::1"));
const LEASE6 = [message6(3, CLIENT6, SERVER6, association6(3))];
const OTHERS6 = [association6(4), association6(25), association6(3)];

const REQUESTED = [50, 4, ...ip(GUEST4)];
const SERVER = [54, 4, ...ip(GATEWAY4)];
const SEEDS: Readonly<Record<string, Input>> = {
  udhcpc: FRAMES.discover!,
  dhclient: FRAMES.dhclient!,
  information: FRAMES.information!,
  solicit: [dhcpFixture("dhclient_solicit")],
  lease6: [
    message6(1, CLIENT6, association6(3)),
    message6(3, CLIENT6, SERVER6, HELD6),
    message6(5, CLIENT6, SERVER6, HELD6),
    message6(8, CLIENT6, SERVER6, HELD6),
  ],
  rapid6: [message6(1, CLIENT6, option6(14), association6(3), ...OTHERS6)],
  stale6: [
    message6(4, CLIENT6, STALE6),
    message6(6, CLIENT6, STALE6, HELD6),
    message6(3, CLIENT6, SERVER6, STALE6, ...OTHERS6),
    message6(9, CLIENT6, SERVER6, HELD6, ...OTHERS6),
  ],
  server: [dhcpFixture("udhcpd_offer")],
  router: [...FRAMES.router!, wordOctets(4000, 4), ...FRAMES.router!],
  neighbor: [...FRAMES.solicit!, ...FRAMES.dad!, ...FRAMES.advertise!],
  roles: FRAMES.roles!,
  minimal: [
    message4(1),
    message4(3, REQUESTED, SERVER),
    message4(7, SERVER),
    message4(4, REQUESTED, SERVER),
  ],
  refused: [
    message4(3, [50, 4, 10, 9, 8, 7], SERVER),
    message4(3, REQUESTED, [54, 4, 10, 9, 8, 7]),
  ],
  inform: [message4(8)],
  overrun: [message4(1, [55, 200, 1, 2]), message4(1, [61, 255])],
  overload: [message4(1, [52, 1, 3]), message4(1, [52, 1, 1], [12, 3, 97, 98, 99])],
  client_id: [
    message4(1, [61, 7, 1, 2, 0x53, 0x4d, 0, 0, 2], [55, 8, 1, 3, 6, 15, 26, 51, 54, 119]),
  ],
  long: [
    message4(1, ...Array.from({ length: 4 }, () => [43, 250, ...new Array<number>(250).fill(0)])),
  ],
};

function mutateRecord(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  if (record.length === WAIT_BYTES || random.once(30)) {
    return wordOctets(random.pick([1, 3000, 16_000, 99_000]), 4);
  }
  if (record.length < 60) return mutator.bytes(record, FRAME_WORDS);
  switch (random.below(5)) {
    case 0:
      return mutateFrame(record, mutator);
    case 1: {
      const at = Math.min(record.length, optionsAt(record));
      const body = mutator.bytes(record.slice(at), FRAME_WORDS);
      return seal(splice(record.slice(0, at), at, 0, body), !random.once(4));
    }
    default:
      return seal(changeOptions(record, mutator), !random.once(6));
  }
}

function optionsAt(frame: Uint8Array): number {
  if (word(frame, 12) === 0x0800) return OPTIONS4_AT;
  if (frame[20] === 17) return OPTIONS6_AT;
  return ND_AT + (frame[ND_AT] === 133 ? 8 : 24);
}

/** Changes the list of options: one more, one less, one twice, another code, another length. */
function changeOptions(frame: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  const four = word(frame, 12) === 0x0800;
  const nd = !four && frame[20] !== 17;
  const at = optionsAt(frame);
  const options = split(frame, at, four, nd);
  const which = random.below(options.length + 1);
  const chosen = options[which]?.slice();
  switch (random.below(6)) {
    case 0:
      options.splice(which, 1);
      break;
    case 1:
      options.splice(which, 0, anyOption(mutator, four, nd));
      break;
    case 2:
      if (chosen !== undefined) options.push(chosen);
      break;
    case 3:
      if (chosen !== undefined) {
        chosen[four || nd ? 0 : 1] = random.pick([
          1,
          2,
          3,
          5,
          12,
          50,
          51,
          52,
          53,
          54,
          55,
          61,
          81,
          119,
          255,
        ]);
        options[which] = chosen;
      }
      break;
    case 4:
      if (chosen !== undefined && chosen.length > 3) {
        chosen[four || nd ? 1 : 3] = mutator.number(8);
        options[which] = chosen;
      }
      break;
    default:
      if (chosen !== undefined) {
        options[which] = mutator.bytes(chosen, FRAME_WORDS);
      }
  }
  return concat(frame.slice(0, at), ...options);
}

/** The options from `at` on, as far as they hold together; the rest is one more. */
function split(frame: Uint8Array, at: number, four: boolean, nd: boolean): Uint8Array[] {
  const options: Uint8Array[] = [];
  for (let i = at; i < frame.length;) {
    const one = four && (frame[i] === 0 || frame[i] === 255);
    const bytes = one
      ? 1
      : four
      ? 2 + (frame[i + 1] ?? 0)
      : nd
      ? 8 * (frame[i + 1] ?? 0)
      : 4 + word(frame, i + 2);
    const end = bytes === 0 ? frame.length : Math.min(frame.length, i + bytes);
    options.push(frame.slice(i, end));
    i = end;
  }
  return options;
}

function anyOption({ random }: Mutator, four: boolean, nd: boolean): Uint8Array {
  const body = new Uint8Array(random.pick([0, 1, 2, 4, 6, 14, 30, 120])).fill(
    random.pick([0, 1, 255]),
  );
  if (four) {
    const code = random.pick([1, 12, 43, 50, 51, 52, 53, 54, 55, 57, 60, 61, 82, 116, 119]);
    return concat([code, random.once(6) ? 255 : body.length], body);
  }
  if (!nd) {
    const code = random.pick([1, 2, 3, 4, 5, 6, 8, 13, 14, 16, 23, 24, 25, 39]);
    return concat(u16(code), u16(random.once(6) ? 65_535 : body.length), body);
  }
  const units = random.pick([0, 1, 1, 2, 4]);
  const option = new Uint8Array(Math.max(1, units) * 8).fill(random.below(256));
  option.set([random.pick([1, 2, 3, 5, 14, 24, 25, 31]), units]);
  return option;
}
