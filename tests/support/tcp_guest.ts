/**
 * The guest's end of one connection of a packet script: turns lines into frames, takes the peer's
 * frames apart, and holds each of them against what holds for all: checksums, the octets of the
 * stream at their place, the guest's window, the peer's window edge, which never moves left, an ACK
 * that never goes back, and timestamps and SACK where both sides have them and nowhere else.
 *
 * Knows nothing of who the peer is: the gateway's endpoint or a kernel.
 *
 * @module
 */
import { assert, assertEquals, AssertionError } from "@std/assert";
import {
  concat,
  ethernet,
  GUEST4,
  GUEST6,
  ip4,
  ip6,
  type Read,
  sealed,
  u16,
  u32,
  WORLD4,
  WORLD6,
} from "./packets.ts";
import { type Sent, shiftOf, show } from "./tcp_sent.ts";
import {
  flagBits,
  flagLetters,
  octet,
  octets,
  type Option,
  optionBytes,
  readOptions,
  type SegmentText,
} from "./tcp_segments.ts";

/** Whose stream an octet belongs to. */
export const GUEST = 1;
/** See `GUEST`. */
export const HOST = 2;
/** The guest's initial sequence number, just below the wrap. */
export const ISN = 0xffffff00;
/** The port of the peer. */
export const PEER_PORT = 80;
/** The guest's port, where a script names no other. */
export const GUEST_PORT = 40000;

/** What the two ends of a connection have told each other so far, as the guest knows it. */
export class GuestFlow {
  readonly guestPort: number;
  /** The guest's initial sequence number. */
  isn = ISN;
  /** The peer's, once it was seen. */
  iss = 0;
  /** Octets of the guest's stream in front of the script's number 1. */
  dataBase = 0;
  /** Whether options of the guest's SYN still count. */
  opening = true;
  /** The guest's window field, and its shift once both sides have one. */
  win = 65535;
  guestShift = -1;
  peerShift = -1;
  timestamps = false;
  sack = false;
  /** Whether the peer's SYN had timestamps. */
  peerTimestamps = false;
  /** TSval of the peer at the script's start, and the last that was seen. */
  tsBase = -1;
  tsSeen = 0;
  /** The furthest number that the guest's window has allowed, and what the peer has said. */
  allowedEnd = 0;
  sentEnd = 0;
  acked = -Infinity;
  edge = -Infinity;

  constructor(guestPort: number) {
    this.guestPort = guestPort;
  }

  /** What the guest has sent so far becomes the past: the next number is 1 again. */
  countAfresh(): void {
    const bytes = this.acked - 1;
    this.isn = (this.isn + bytes) >>> 0;
    this.dataBase += bytes;
    this.acked -= bytes;
    this.edge -= bytes;
  }
}

/** The frame of a guest's segment. */
export function guestFrame(
  flow: GuestFlow,
  segment: SegmentText,
  family: 4 | 6,
  elapsedMs: number,
): Uint8Array {
  const options = guestOptions(flow, segment, elapsedMs);
  const bytes = optionBytes(options, flow.iss, Math.max(0, flow.tsBase));
  if (segment.win !== undefined) flow.win = segment.win;
  const syn = segment.flags.includes("S");
  if (syn && flow.opening) {
    flow.guestShift = shiftOf(options);
    flow.timestamps = has(options, "TS");
    flow.sack = has(options, "sackOK");
  }
  if (segment.ack !== undefined && !/[SR]/.test(segment.flags)) flow.opening = false;
  if (segment.ack !== undefined || syn) {
    const shift = syn || flow.peerShift < 0 ? 0 : Math.max(0, flow.guestShift);
    flow.allowedEnd = Math.max(flow.allowedEnd, (segment.ack ?? 1) + flow.win * 2 ** shift);
  }
  const data = segment.fill === undefined
    ? octets(flow.dataBase + segment.seq - 1, segment.dataBytes, GUEST)
    : new Uint8Array(segment.dataBytes).fill(segment.fill);
  const [source, destination] = family === 4 ? [GUEST4, WORLD4] : [GUEST6, WORLD6];
  const l4 = concat(
    u16(flow.guestPort),
    u16(PEER_PORT),
    u32((flow.isn + segment.seq) >>> 0),
    u32(segment.ack === undefined ? 0 : (flow.iss + segment.ack) >>> 0),
    [(20 + bytes.length) << 2, flagBits(segment.flags)],
    u16(flow.win),
    [0, 0],
    u16(segment.urg ?? 0),
    bytes,
    data,
  );
  const payload = sealed(l4, 16, source, destination, 6);
  payload[17]! ^= segment.sum ?? 0;
  return ethernet(
    family === 4
      ? ip4(payload, { source, destination, protocol: 6 })
      : ip6(payload, { source, destination, next: 6 }),
  );
}

function guestOptions(
  flow: GuestFlow,
  segment: SegmentText,
  elapsedMs: number,
): readonly Option[] {
  const given = segment.options ?? [];
  const wants = flow.timestamps && !/[SR]/.test(segment.flags);
  if (!wants || given.some((option) => option.kind === "TS")) return given;
  const value = 1000 + Math.floor(elapsedMs);
  return [{ kind: "TS", value, echo: flow.tsSeen }, ...given];
}

/** The guest's port that a packet of the peer goes to. */
export function guestPortOf({ payload }: Read): number {
  return (payload[2]! << 8) | payload[3]!;
}

/** Takes a segment of the peer apart and holds it against what holds for all. */
export function takeSegment(flow: GuestFlow, packet: Read, family: 4 | 6, atMs: number): Sent {
  const { payload, source, destination, protocol } = packet;
  const [guest, world] = family === 4 ? [GUEST4, WORLD4] : [GUEST6, WORLD6];
  assertEquals([protocol, source, destination], [6, world, guest]);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const flags = flagLetters(payload[13]!);
  const headerBytes = (payload[12]! >> 4) * 4;
  const dataBytes = payload.length - headerBytes;
  const options = payload.subarray(20, headerBytes);
  if (flags.includes("S") && flow.iss === 0) flow.iss = view.getUint32(4);
  setTsBase(flow, options, atMs);
  const sent: Sent = {
    flags,
    seq: (view.getUint32(4) - flow.iss) | 0,
    dataBytes,
    ack: flags.includes(".") ? (view.getUint32(8) - flow.isn) | 0 : undefined,
    win: view.getUint16(14),
    options: readOptions(options, flow.isn, Math.max(0, flow.tsBase)),
    atMs,
    guestPort: flow.guestPort,
  };
  if (flags.includes("R")) {
    // One against a SYN that was never answered has no number.
    if (view.getUint32(4) === 0) sent.seq = 0;
    return sent;
  }
  for (let i = 0; i < dataBytes; i++) {
    const right = octet(sent.seq - 1 + i, HOST);
    if (payload[headerBytes + i] !== right) {
      throw new AssertionError(`${show(sent)}: octet ${i} is wrong`);
    }
  }
  hold(flow, sent);
  return sent;
}

function has(options: readonly Option[], kind: Option["kind"]): boolean {
  return options.some((option) => option.kind === kind);
}

function setTsBase(flow: GuestFlow, options: Uint8Array, atMs: number): void {
  const stamp = readOptions(options, 0, 0).find((option) => option.kind === "TS");
  if (stamp === undefined) return;
  if (flow.tsBase < 0) flow.tsBase = (stamp.value - Math.floor(atMs)) >>> 0;
  flow.tsSeen = (stamp.value - flow.tsBase) | 0;
}

function hold(flow: GuestFlow, sent: Sent): void {
  const syn = sent.flags.includes("S");
  if (syn) {
    flow.peerShift = shiftOf(sent.options);
    flow.peerTimestamps = has(sent.options, "TS");
  } else {
    const both = flow.timestamps && flow.peerTimestamps;
    assertEquals(has(sent.options, "TS"), both, `${show(sent)}: timestamps if both have them`);
    assert(flow.sack || !has(sent.options, "sack"), `${show(sent)}: SACK that was not offered`);
  }
  const end = sent.seq + sent.dataBytes;
  if (sent.dataBytes > 0) {
    assert(end <= flow.allowedEnd, `${show(sent)}: beyond the guest's window`);
  }
  const fin = sent.flags.includes("F") ? 1 : 0;
  flow.sentEnd = Math.max(flow.sentEnd, end + fin + (syn ? 1 : 0));
  if (sent.ack === undefined) return;
  assert(sent.ack >= flow.acked, `${show(sent)}: an ACK that goes back`);
  flow.acked = sent.ack;
  const scaled = flow.guestShift >= 0 && flow.peerShift > 0 && !syn;
  const grain = scaled ? 2 ** flow.peerShift : 1;
  const edge = sent.ack + sent.win * grain;
  assert(edge > flow.edge - grain, `${show(sent)}: the window's edge moves left`);
  flow.edge = Math.max(flow.edge, edge);
}
