/**
 * A hostile guest on a whole gateway, on a virtual machine: it writes every frame itself, and keeps
 * what comes until somebody has asked for it.
 *
 *     await using gw = new HostileGuest();
 *     const flow = gw.flow();
 *     const host = await flow.opens();
 *     await flow.guest("R 2:2");
 *     flow.expects(". 1:1 ack 1");
 *     gw.counts({ "tcp.challenge": 1 });
 *
 * Segments are lines as in the packet scripts (`tests/support/tcp_segments.ts`), with numbers that
 * are relative to the initial ones of their side; the octets of both streams are known by their
 * place, and those of the host's are held against that. `empties` shows that the gateway has come
 * to hold nothing of the guest while its link is still there; the end of a test shows the rest.
 *
 * @module
 */
import { assert, assertEquals, AssertionError } from "@std/assert";
import { type CounterName, Counters } from "../../lib/stack/counters.ts";
import { formatIp } from "../../lib/wire/address.ts";
import {
  concat,
  ethernet,
  GUEST4,
  GUEST6,
  ip,
  ip4,
  ip6,
  type Read,
  read,
  sealed,
  u16,
  u32,
} from "../support/packets.ts";
import {
  flagBits,
  flagLetters,
  formatSegment,
  octet,
  octets,
  optionBytes,
  parseSegment,
  readOptions,
} from "../support/tcp_segments.ts";
import { matches, type Sent, show } from "../support/tcp_sent.ts";
import { VirtualGateway, type VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import { HOST4 } from "../support/virtual_host.ts";
import type { VirtualPeer } from "../support/virtual_socket.ts";

/** Whose stream an octet belongs to. */
export const GUEST = 1;
/** See `GUEST`. */
export const HOST = 2;

/** The guest's initial sequence number, just below the wrap. */
const ISN = 0xffffff00;
/** Virtual time in which everything that is bounded has come to its end: the idle limit of TCP. */
const PATIENCE_MS = 7_500_000;
/** Counted by every flow whatever it does. */
const PLAIN: readonly string[] = ["tcp.opened", "tcp.accepted", "tcp.closed"];

/** A flow's place. */
export interface FlowOptions {
  readonly guestPort?: number;
  readonly host?: string;
  readonly hostPort?: number;
}

/** The gateway, seen from its guest. */
export class HostileGuest extends VirtualGateway {
  #inbox: Read[] = [];
  #seen = new Counters().snapshot();

  /** A gateway that runs, with nothing counted. */
  static async start(options: VirtualGatewayOptions = {}): Promise<HostileGuest> {
    const gw = new HostileGuest(options);
    await gw.settle();
    gw.forget();
    return gw;
  }

  /** A connection of the guest's. */
  flow(options: FlowOptions = {}): Flow {
    return new Flow(this, options);
  }

  /** Sends frames, and lets happen what takes no time. */
  async sends(...frames: readonly Uint8Array[]): Promise<this> {
    this.send(...frames);
    await this.settle();
    return this;
  }

  /** Takes out of what came all that `match` makes something of. */
  taken<T>(match: (packet: Read) => T | null): T[] {
    for (const frame of this.frames()) {
      const packet = read(frame);
      const isAdvertisement = packet.protocol === 58 && packet.payload[0] === 134;
      if (!isAdvertisement) this.#inbox.push(packet); // those come by themselves
    }
    const found: T[] = [];
    this.#inbox = this.#inbox.filter((packet) => {
      const one = match(packet);
      if (one !== null) found.push(one);
      return one === null;
    });
    return found;
  }

  /** Everything that came and that nobody has asked for. */
  packets(): Read[] {
    return this.taken((packet) => packet);
  }

  /** The ICMP errors that came, as `3/13`, with the packet that each quotes. */
  errors(): { code: string; quote: Uint8Array }[] {
    return this.taken(({ protocol, payload }) => {
      const isError = protocol === 1 || (protocol === 58 && payload[0]! < 128);
      return isError ? { code: `${payload[0]}/${payload[1]}`, quote: payload.slice(8) } : null;
    });
  }

  /** The guest was sent nothing that nobody has asked for. */
  silent(): this {
    assertEquals(this.packets(), [], "nothing else is sent");
    return this;
  }

  /** Passes over what came and what was counted. */
  forget(): this {
    this.packets();
    this.#seen = this.counters;
    return this;
  }

  /** These counters, and no others but the link's and those of every flow, grew since the last call. */
  counts(expected: Partial<Record<CounterName, number>>): this {
    assertEquals(this.grown(), expected, "counters");
    return this;
  }

  /** The counters that grew since the last call. */
  grown(): Partial<Record<CounterName, number>> {
    const now = this.counters;
    const grown: Partial<Record<CounterName, number>> = {};
    for (const [name, count] of Object.entries(now) as [CounterName, number][]) {
      const by = count - (this.#seen[name] ?? 0);
      if (by !== 0 && !/^[rt]x\./.test(name) && !PLAIN.includes(name)) grown[name] = by;
    }
    this.#seen = now;
    return grown;
  }

  /** Nothing of the guest is held, but for what its resolver has told it, which has a time of its own. */
  get isEmpty(): boolean {
    const { pins: _pins, ...figures } = this.figures();
    return Object.values(figures).every((value) => value === 0);
  }

  /** All tables come to be empty by themselves, with the link still up. */
  async empties(withinMs = PATIENCE_MS): Promise<this> {
    await this.host.clock.until(
      `all tables are empty: ${JSON.stringify(this.figures())}`,
      () => this.isEmpty,
      withinMs,
    );
    return this;
  }
}

/** One connection of the guest's, segment by segment. */
export class Flow {
  readonly guestPort: number;
  /** The host's address in the one form that `read` gives. */
  readonly host: string;
  readonly hostPort: number;
  isn = ISN;
  /** The gateway's initial number, once it was seen. */
  iss = 0;
  /** The furthest number that the gateway has sent up to. */
  sentEnd = 0;
  /** What the guest says, from number 1 on; octets that are known by their place where it is `null`. */
  says: Uint8Array | null = null;
  /** What the host's side has said, where its octets are not known by their place: see `hears`. */
  #heard: number[] | null = null;
  readonly #gw: HostileGuest;
  #win = 65_535;

  constructor(gw: HostileGuest, options: FlowOptions) {
    this.#gw = gw;
    this.guestPort = options.guestPort ?? 40_000;
    this.host = formatIp(ip(options.host ?? HOST4));
    this.hostPort = options.hostPort ?? 80;
  }

  /** The frame of a line. */
  frame(line: string): Uint8Array {
    const segment = parseSegment(line);
    const options = optionBytes(segment.options ?? [], this.iss, 0);
    const { seq, dataBytes, fill } = segment;
    const data = fill !== undefined
      ? new Uint8Array(dataBytes).fill(fill)
      : this.says?.slice(seq - 1, seq - 1 + dataBytes) ?? octets(seq - 1, dataBytes, GUEST);
    assertEquals(data.length, dataBytes, "the guest has so much to say");
    this.#win = segment.win ?? this.#win;
    const bytes = concat(
      u16(this.guestPort),
      u16(this.hostPort),
      u32((this.isn + segment.seq) >>> 0),
      u32(segment.ack === undefined ? 0 : (this.iss + segment.ack) >>> 0),
      [(20 + options.length) << 2, flagBits(segment.flags)],
      u16(this.#win),
      [0, 0],
      u16(segment.urg ?? 0),
      options,
      data,
    );
    const six = this.host.includes(":");
    const ends = { source: six ? GUEST6 : GUEST4, destination: this.host };
    const payload = sealed(bytes, 16, ends.source, ends.destination, 6);
    return ethernet(
      six ? ip6(payload, { ...ends, next: 6 }) : ip4(payload, { ...ends, protocol: 6 }),
    );
  }

  /** The guest sends segments in one go. */
  async guest(...lines: readonly string[]): Promise<this> {
    await this.#gw.sends(...lines.map((line) => this.frame(line)));
    return this;
  }

  /** Opens the connection to a host that listens: the host's end. */
  async opens(options = "mss 1460,sackOK,wscale 7", win = 65_535): Promise<VirtualPeer> {
    const { accepted } = this.#gw.host;
    const before = accepted.length;
    await this.guest(`S 0:0 win ${win} <${options}>`);
    await this.#gw.run(1);
    this.expects("S. 0:0 ack 1");
    await this.guest(`. 1:1 ack 1`);
    assertEquals(accepted.length, before + 1, "the host was connected to");
    return accepted[before]!;
  }

  /**
   * Opens the connection without a host: the gateway looks into it first. The guest is going to say
   * `bytes`, and what it is said is kept for `heard`.
   */
  async opensToSay(bytes: Uint8Array): Promise<this> {
    const dialed = this.#gw.host.dialed.length;
    this.says = bytes;
    this.#heard = [];
    await this.guest("S 0:0 <mss 1460,sackOK,wscale 7>");
    this.expects("S. 0:0 ack 1");
    await this.guest(". 1:1 ack 1");
    assertEquals(this.#gw.host.dialed.length, dialed, "nothing is dialled before the verdict");
    return this;
  }

  /** The guest says what is left of its words in segments of at most so many octets. */
  async speaks(segmentBytes = 1460, from = 0, to = this.says!.length): Promise<this> {
    const lines: string[] = [];
    for (let at = from; at < to; at += segmentBytes) {
      lines.push(`P. ${at + 1}:${Math.min(at + segmentBytes, to) + 1} ack ${this.sentEnd}`);
    }
    return await this.guest(...lines);
  }

  /** What the host's side has said so far. */
  get heard(): Uint8Array {
    return Uint8Array.from(this.#heard ?? []);
  }

  /** It still carries the guest's first octets, and a reset ends it: then nothing is left. */
  async livesOn(peer: VirtualPeer): Promise<void> {
    const gw = this.#gw;
    await this.guest("P. 1:101 ack 1");
    await gw.run(5);
    this.expects(". 1:1 ack 101");
    assertEquals(peer.take(), guestBytes(100));
    await this.guest("R 101:101");
    gw.silent().counts({ "tcp.reset.received": 1 });
    await gw.empties(0);
  }

  /** The segments of this flow that came since the last call. */
  sent(): Sent[] {
    return this.#gw.taken((packet) => this.#take(packet));
  }

  /** These segments came, in this order, and no others of this flow. */
  expects(...lines: readonly string[]): this {
    const sent = this.sent();
    const right = sent.length === lines.length &&
      sent.every((segment, i) => matches(segment, parseSegment(lines[i]!)));
    if (right) return this;
    const got = sent.map(formatSegment);
    throw new AssertionError(["expected", ...lines, "got", ...got].join("\n  "));
  }

  #take({ protocol, source, payload }: Read): Sent | null {
    if (protocol !== 6 || source !== this.host) return null;
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const isMine = view.getUint16(0) === this.hostPort && view.getUint16(2) === this.guestPort;
    if (!isMine) return null;
    const flags = flagLetters(payload[13]!);
    const headerBytes = (payload[12]! >> 4) * 4;
    if (flags.includes("S") && this.iss === 0) this.iss = view.getUint32(4);
    const noNumber = flags.includes("R") && view.getUint32(4) === 0;
    const seq = noNumber ? 0 : (view.getUint32(4) - this.iss) | 0;
    const dataBytes = payload.length - headerBytes;
    const data = payload.subarray(headerBytes);
    const sent: Sent = {
      flags,
      seq,
      dataBytes,
      ack: flags.includes(".") ? (view.getUint32(8) - this.isn) | 0 : undefined,
      win: view.getUint16(14),
      options: readOptions(payload.slice(20, headerBytes), this.isn, 0),
      atMs: this.#gw.host.now(),
      guestPort: this.guestPort,
    };
    for (let i = 0; i < dataBytes; i++) {
      if (this.#heard !== null) this.#heard[seq - 1 + i] = data[i]!;
      else assert(data[i] === octet(seq - 1 + i, HOST), `${show(sent)}: octet ${i} is wrong`);
    }
    const end = seq + dataBytes + (/[SF]/.test(flags) ? 1 : 0);
    this.sentEnd = Math.max(this.sentEnd, end);
    return sent;
  }
}

/** `count` octets of the host's stream, from its beginning. */
export function hostBytes(count: number): Uint8Array {
  return octets(0, count, HOST);
}

/** `count` octets of the guest's stream from `from` on. */
export function guestBytes(count: number, from = 0): Uint8Array {
  return octets(from, count, GUEST);
}
