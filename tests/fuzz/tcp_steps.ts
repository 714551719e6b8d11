/**
 * The steps of a TCP input as records, and changes that know what they mean: numbers stay near the
 * numbers that matter to the flow, whatever these are when the step is taken.
 *
 *     segment   flow, flags, base and distance of SEQ and ACK, window, data, urgent, mode, options
 *     owner     flow, action, how much
 *     icmp      flow, type, code, MTU, base and distance of the quoted number
 *     wait      milliseconds
 *     device    how much the guest's device takes; 0 takes everything again
 *     policy    what becomes of the SYNs to come, and whether owners read and echo by themselves
 *     frame     a raw frame
 *     link      which link it is; the first one counts
 *
 * Any octets are steps: what a record lacks is zeros.
 *
 * @module
 */
import { FRAMES, mutateFrame } from "./frames.ts";
import type { Input } from "./input.ts";
import { type Mutator, put, wordOctets } from "./mutate.ts";

/** What a step is. */
export const Step = {
  segment: 0,
  owner: 1,
  icmp: 2,
  wait: 3,
  device: 4,
  policy: 5,
  frame: 6,
  link: 7,
} as const;
/** How many kinds there are. */
export const STEPS = 8;

/** Where a number is counted from: of the guest's stream (SEQ), or of the host's (ACK). */
export const Base = { next: 0, edge: 1, initial: 2, last: 3 } as const;

/** Bits of a segment's mode. */
export const Mode = { more: 1, foreign: 2, badChecksum: 4, partialChecksum: 8 } as const;

/** What an owner does. */
export const Action = {
  accept: 0,
  refuse: 1,
  drop: 2,
  send: 3,
  finish: 4,
  abort: 5,
  read: 6,
  connect: 7,
  beginWrite: 8,
  endWrite: 9,
  beginRead: 10,
  endRead: 11,
  retry: 12,
  release: 13,
} as const;
/** How many of them there are. */
export const ACTIONS = 14;

/** What becomes of SYNs, and bits for what owners do by themselves. */
export const Policy = {
  hold: 0,
  accept: 1,
  refuse: 2,
  drop: 3,
  reads: 4,
  echoes: 8,
} as const;

/** Octets of a segment step in front of its options. */
export const SEGMENT_BYTES = 20;

/** A segment, as it is written in a record. */
export interface SegmentStep {
  flow: number;
  flags: number;
  seqBase: number;
  seqDelta: number;
  ackBase: number;
  ackDelta: number;
  window: number;
  dataBytes: number;
  urgent: number;
  mode: number;
  options: Uint8Array;
}

/** Reads a segment step. */
export function readSegment(record: Uint8Array): SegmentStep {
  return {
    flow: at8(record, 1),
    flags: at8(record, 2),
    seqBase: at8(record, 3) % 4,
    seqDelta: at32(record, 4) | 0,
    ackBase: at8(record, 8) % 4,
    ackDelta: at32(record, 9) | 0,
    window: at16(record, 13),
    dataBytes: at16(record, 15) % 2048,
    urgent: at16(record, 17),
    mode: at8(record, 19),
    options: record.slice(SEGMENT_BYTES, SEGMENT_BYTES + 40),
  };
}

/** The octet at `at`, or 0. */
export function at8(record: Uint8Array, at: number): number {
  return record[at] ?? 0;
}

/** The 16-bit number at `at`. */
export function at16(record: Uint8Array, at: number): number {
  return at8(record, at) * 256 + at8(record, at + 1);
}

/** The 32-bit number at `at`. */
export function at32(record: Uint8Array, at: number): number {
  return at16(record, at) * 65_536 + at16(record, at + 2);
}

// ---- Writing ------------------------------------------------------------------------------

/** Control bits. */
export const Bit = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;
const { fin: FIN, syn: SYN, rst: RST, psh: PSH, ack: ACK } = Bit;
/** What an honest SYN offers. */
export const SYN_OPTIONS = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 3, 232, 0, 0, 0, 0, 1, 3, 3, 7];
const NO_OPTIONS: readonly number[] = [];

/** A segment step: what is left out is what an honest guest would say. */
export function segment(
  step: Partial<Omit<SegmentStep, "options">> & { options?: readonly number[] },
) {
  const {
    flow = 0,
    flags = ACK,
    seqBase = 0,
    seqDelta = 0,
    ackBase = 0,
    ackDelta = 0,
  } = step;
  const {
    window = 60_000,
    dataBytes = 0,
    urgent = 0,
    mode = 0,
    options = NO_OPTIONS,
  } = step;
  return Uint8Array.from([
    Step.segment,
    flow,
    flags,
    seqBase,
    ...wordOctets(seqDelta, 4),
    ackBase,
    ...wordOctets(ackDelta, 4),
    ...wordOctets(window, 2),
    ...wordOctets(dataBytes, 2),
    ...wordOctets(urgent, 2),
    mode,
    ...options,
  ]);
}

/** An owner's step. */
export function owner(flow: number, action: number, count = 0): Uint8Array {
  return Uint8Array.from([Step.owner, flow, action, ...wordOctets(count, 2)]);
}

/** A wait. */
export function wait(ms: number): Uint8Array {
  return Uint8Array.from([Step.wait, ...wordOctets(ms, 4)]);
}

/** A policy for the SYNs to come. */
export function policy(bits: number): Uint8Array {
  return Uint8Array.of(Step.policy, bits);
}

/** The guest's device takes only so much. */
export function device(bytes: number): Uint8Array {
  return Uint8Array.from([Step.device, ...wordOctets(bytes, 2)]);
}

/** Which link it is, and how its device takes large segments. */
export function link(index: number, large = 0): Uint8Array {
  return large === 0 ? Uint8Array.of(Step.link, index) : Uint8Array.of(Step.link, index, large);
}

/** An ICMP error of the guest's about a segment of the flow's. */
export function icmp(flow: number, type: number, code: number, mtu: number, base = 0, delta = 0) {
  return Uint8Array.from([
    Step.icmp,
    flow,
    type,
    code,
    ...wordOctets(mtu, 2),
    base,
    ...wordOctets(delta, 4),
  ]);
}

/** A SACK option with one block. */
export const SACK_BLOCK = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 4, 0];

// ---- Changing -----------------------------------------------------------------------------

const DISTANCES = [
  -2,
  -1,
  0,
  1,
  2,
  100,
  1460,
  65_535,
  65_536,
  2 ** 20,
  2 ** 30,
  2 ** 31 - 1,
  -(2 ** 31),
  -1460,
  -65_536,
];
const FLAGS = [
  0,
  FIN,
  SYN,
  RST,
  ACK,
  SYN | ACK,
  FIN | ACK,
  RST | ACK,
  PSH | ACK,
  SYN | FIN,
  0x30,
  0x3f,
  0xd0,
  SYN | RST,
];
const WINDOWS = [0, 1, 2, 88, 536, 1000, 1460, 8192, 32_768, 60_000, 65_535];
const SIZES = [0, 1, 2, 100, 535, 536, 1000, 1400, 1448, 1460];
const OPTIONS: readonly (readonly number[])[] = [
  [],
  SYN_OPTIONS,
  SACK_BLOCK,
  [2, 4, 0, 0],
  [2, 4, 0, 1],
  [3, 3, 14, 0],
  [3, 3, 255, 0],
  [4, 2, 1, 1],
  [1, 1, 8, 10, 0, 0, 4, 0, 0, 0, 0, 0],
  [1, 1, 8, 10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 8, 0, 0, 0, 16, 0],
  [2, 0],
  [8, 1],
  [254, 40],
  [0, 0, 0, 0],
];

/** Another input, made from one. */
export function mutateSteps(input: Input, mutator: Mutator): Input {
  const { random } = mutator;
  if (random.once(4)) {
    const at = random.below(input.length + 1);
    return [...input.slice(0, at), anyStep(mutator), ...input.slice(at)];
  }
  return mutator.records(input, (record) => changeStep(record, mutator));
}

function anyStep(mutator: Mutator): Uint8Array {
  const { random } = mutator;
  const flow = random.once(2) ? 0 : random.below(9);
  switch (random.below(12)) {
    case 0:
    case 1:
      return owner(flow, random.below(ACTIONS), random.pick([1, 100, 1460, 4096, 20_000, 65_535]));
    case 2:
      return wait(random.pick([1, 6, 40, 200, 1000, 10_001, 60_000, 130_000]));
    case 3:
      return device(random.pick([0, 0, 1, 60, 1600, 4000]));
    case 4:
      return random.once(4) ? link(random.below(4), random.below(3)) : policy(random.below(16));
    case 5:
      return icmp(
        flow,
        random.pick([3, 11, 12, 1, 2, 4]),
        random.below(6),
        mutator.number(16),
        random.below(4),
        random.pick([0, 0, 1, -1, 1460]),
      );
    default:
      return segment({
        flow,
        flags: random.pick(FLAGS),
        seqBase: random.once(2) ? 0 : random.below(4),
        seqDelta: random.once(2) ? 0 : random.pick(DISTANCES),
        ackBase: random.once(2) ? Base.last : random.below(4),
        ackDelta: random.once(2) ? 0 : random.pick(DISTANCES),
        window: random.pick(WINDOWS),
        dataBytes: random.once(2) ? 0 : random.pick(SIZES),
        mode: random.once(4) ? random.below(16) : 0,
        options: random.pick(OPTIONS),
      });
  }
}

function changeStep(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  if (at8(record, 0) % STEPS === Step.frame) {
    const frame = record.length > 15 ? record.slice(1) : random.pick(FRAMES.syn4!);
    return Uint8Array.from([Step.frame, ...mutateFrame(frame, mutator)]);
  }
  if (random.once(6)) return anyStep(mutator);
  if (at8(record, 0) % STEPS !== Step.segment || random.once(8)) {
    return mutator.bytes(record);
  }
  const out = record.slice();
  switch (random.below(9)) {
    case 0:
      return put(out, 2, [random.pick(FLAGS)]);
    case 1:
      return put(out, 3, [random.below(4), ...wordOctets(random.pick(DISTANCES), 4)]);
    case 2:
      return put(out, 8, [random.below(4), ...wordOctets(random.pick(DISTANCES), 4)]);
    case 3:
      return put(out, 13, wordOctets(random.pick(WINDOWS), 2));
    case 4:
      return put(out, 15, wordOctets(random.pick(SIZES), 2));
    case 5:
      return put(out, 19, [random.below(16)]);
    case 6:
      return put(out, 1, [random.below(9)]);
    case 7:
      return Uint8Array.from([...out.slice(0, SEGMENT_BYTES), ...random.pick(OPTIONS)]);
    default:
      return mutator.bytes(record);
  }
}
