/**
 * Frames on their way between the guests of one shared network: a ring of bytes for each ordered
 * pair of members, all in one buffer that workers may share.
 *
 *     member    attachment · pending senders (64 bits) · wake word
 *     pair      head, which its producer alone moves · tail, which its consumer alone moves
 *     ring      run, run, …, [skip], run
 *     run       octets, lead and kind (4) · attachment of the receiver (4) · lead · frames, each
 *               behind its length
 *
 * A run is what goes from one guest to another in one go: frames as they stand in the read buffer of
 * one guest and in a lane of the other, each behind its 4-byte big-endian length, so that a run is
 * one copy in and one out. A run stands in one piece; what is left at the end of the ring is skipped.
 *
 * Memory that is shared is copied by words only where both ends stand alike in them, and else octet
 * by octet, ten times as slow. So a run has a lead of up to 7 octets, which puts it into the ring as
 * it stands where it comes from; `copyShared` does likewise on its way out, and moves it afterwards.
 *
 * A member that leaves and comes again never sees what was sent to it before: a run carries the
 * number of the attachment that it was meant for, and the consumer passes over others. So nobody but
 * a ring's consumer moves its tail, whenever the attachment changes.
 *
 * Waking is a bit for each sender. The consumer clears the bits before it looks at the heads, so
 * whoever finds its bit set after it has moved a head need not wake anybody.
 *
 * Limits: 64 members; rings of 16 MiB for each member altogether, each between 256 KiB and 4 MiB.
 * Untouched pages cost nothing. Knows no frames and no addresses.
 *
 * @module
 */
import { assert } from "@std/assert";

/** Most members of one shared network: a bit each in two words. */
export const LAN_MEMBERS_MAX = 64;
/** The longest run: one frame of the greatest length that the framing allows fits. */
export const LAN_RUN_BYTES: number = 80 * 1024;

const MEMBER_RINGS_BYTES = 16 * 1024 * 1024;
const RING_MIN_BYTES = 256 * 1024;
const RING_MAX_BYTES = 4 * 1024 * 1024;

/** What one side writes has cache lines of its own. */
const LINE_BYTES = 64;
const MEMBER_BYTES = 2 * LINE_BYTES;
const PAIR_BYTES = 2 * LINE_BYTES;
const WORDS_PER_LINE = LINE_BYTES / 4;
/** Words of a member, on its second line: the first line is read with every run, and seldom written. */
const PENDING = WORDS_PER_LINE;
const WAKE = WORDS_PER_LINE + 2;
/** Words of a pair. */
const HEAD = 0;
const TAIL = WORDS_PER_LINE;

const RUN_HEADER_BYTES = 8;
/** In place of a run's octets: the rest of the ring is empty. */
const SKIP = -1;
/** The bits of a run's first word: its octets, its lead, and whether it is a segment to be cut. */
const BYTES_BITS = 0x000f_ffff;
const LEAD_SHIFT = 20;
const LEAD_BITS = 7 << LEAD_SHIFT;
const LARGE = 0x4000_0000;
const WORD_BYTES = 8;

/** Octets of each ring of a network with so many members: a power of two. */
export function lanRingBytes(members: number): number {
  const share = MEMBER_RINGS_BYTES / Math.max(1, members - 1);
  const fits = 2 ** Math.floor(Math.log2(share));
  return Math.min(RING_MAX_BYTES, Math.max(RING_MIN_BYTES, fits));
}

/**
 * Octets of the buffer for a network with so many members.
 *
 * @throws {RangeError} Where there can't be so many.
 */
export function lanBytes(members: number): number {
  if (!Number.isInteger(members) || members < 1 || members > LAN_MEMBERS_MAX) {
    throw new RangeError(
      `Cannot make a network of ${members} guests: it has 1 to ${LAN_MEMBERS_MAX}`,
    );
  }
  return ringsAt(members) + members * (members - 1) * lanRingBytes(members);
}

function ringsAt(members: number): number {
  return members * MEMBER_BYTES + members * members * PAIR_BYTES;
}

/** All rings of one shared network, as one isolate sees them. */
export class LanRings {
  /** How many members the network has. */
  readonly members: number;
  /** The whole buffer; `peek` says where in it a run stands. */
  readonly bytes: Uint8Array;
  /** The senders of whom `takePending` found runs: members 0 to 31. */
  pendingLow = 0;
  /** The senders of whom `takePending` found runs: members 32 to 63. */
  pendingHigh = 0;
  /** Position in `bytes` of the first length of the run that `peek` found. */
  runAt = 0;
  /** Whether that run is one TCP segment longer than the MTU, whose sum is not there yet. */
  isLarge = false;
  readonly #words: Int32Array;
  readonly #ringBytes: number;
  readonly #ringsAt: number;

  /**
   * @param buffer Of `lanBytes(members)` octets, zeros at first; shared where workers share it.
   * @param members How many members there are.
   * @throws {RangeError} Where the buffer is too small.
   */
  constructor(buffer: ArrayBufferLike, members: number) {
    const bytes = lanBytes(members);
    if (buffer.byteLength < bytes) {
      const has = `its buffer has ${buffer.byteLength} octets`;
      throw new RangeError(`Cannot make rings for ${members} guests: ${has} of ${bytes}`);
    }
    this.members = members;
    this.bytes = new Uint8Array(buffer);
    this.#ringsAt = ringsAt(members);
    this.#ringBytes = lanRingBytes(members);
    this.#words = new Int32Array(buffer, 0, buffer.byteLength >>> 2);
  }

  /** Whether a member's guest is attached. */
  isAttached(member: number): boolean {
    return (this.#attachment(member) & 1) !== 0;
  }

  /** A guest of `member` comes; what was sent before is not for it. Its consumer calls this. */
  attach(member: number): void {
    this.detach(member);
    const at = this.#memberAt(member);
    Atomics.store(this.#words, at + PENDING, 0);
    Atomics.store(this.#words, at + PENDING + 1, 0);
    for (let from = 0; from < this.members; from++) {
      if (from !== member) this.#empty(from, member);
    }
    Atomics.add(this.#words, at, 1); // odd: attached
  }

  /** The guest of `member` is gone, also where it is not known how: anybody may call this. */
  detach(member: number): void {
    const at = this.#memberAt(member);
    const attachment = Atomics.load(this.#words, at);
    if ((attachment & 1) !== 0) {
      Atomics.compareExchange(this.#words, at, attachment, (attachment + 1) | 0);
    }
  }

  /**
   * Puts a run of `from` for `to` into their ring, at most `LAN_RUN_BYTES` octets of whole frames
   * with their lengths. The producer calls this, and announces afterwards.
   *
   * @param isLarge Whether the run is one TCP segment longer than the MTU, whose sum is not there yet.
   * @returns Whether there was room.
   */
  push(
    from: number,
    to: number,
    bytes: Uint8Array,
    at: number,
    n: number,
    isLarge = false,
  ): boolean {
    assert(n > 0 && n <= LAN_RUN_BYTES, "a run is in bounds");
    const words = this.#words;
    const pair = this.#pairAt(from, to);
    const head = Atomics.load(words, pair + HEAD);
    const used = (head - Atomics.load(words, pair + TAIL)) >>> 0;
    const ringBytes = this.#ringBytes;
    const lead = (bytes.byteOffset + at) & (WORD_BYTES - 1);
    const wanted = runBytes(lead + n);
    const position = (head >>> 0) & (ringBytes - 1);
    const toEnd = ringBytes - position;
    const skipped = toEnd < wanted ? toEnd : 0;
    if (used + skipped + wanted > ringBytes) return false;
    const ringAt = this.#ringAt(from, to);
    if (skipped > 0) words[(ringAt + position) >>> 2] = SKIP;
    const runAt = skipped > 0 ? ringAt : ringAt + position;
    words[runAt >>> 2] = n | (lead << LEAD_SHIFT) | (isLarge ? LARGE : 0);
    words[(runAt >>> 2) + 1] = this.#attachment(to);
    copyOctets(this.bytes, runAt + RUN_HEADER_BYTES + lead, bytes, at, n);
    Atomics.store(words, pair + HEAD, (head + skipped + wanted) | 0);
    return true;
  }

  /** Whether a run of `n` octets finds room, wherever it stands. */
  hasRoom(from: number, to: number, n: number): boolean {
    const words = this.#words;
    const pair = this.#pairAt(from, to);
    const head = Atomics.load(words, pair + HEAD);
    const used = (head - Atomics.load(words, pair + TAIL)) >>> 0;
    const wanted = runBytes(WORD_BYTES - 1 + n);
    const toEnd = this.#ringBytes - ((head >>> 0) & (this.#ringBytes - 1));
    return used + wanted + (toEnd < wanted ? toEnd : 0) <= this.#ringBytes;
  }

  /**
   * Says that runs of `from` wait for `to`.
   *
   * @returns Whether whoever serves `to` has to be woken: it has not been told yet.
   */
  announce(from: number, to: number): boolean {
    const at = this.#memberAt(to) + PENDING + (from >>> 5);
    const bit = 1 << (from & 31);
    return (Atomics.or(this.#words, at, bit) & bit) === 0;
  }

  /** Whether runs wait for a member. */
  isPending(to: number): boolean {
    const at = this.#memberAt(to) + PENDING;
    return Atomics.load(this.#words, at) !== 0 || Atomics.load(this.#words, at + 1) !== 0;
  }

  /** Takes note of who has sent: `pendingLow` and `pendingHigh` say whose rings to look into. */
  takePending(to: number): void {
    const at = this.#memberAt(to) + PENDING;
    this.pendingLow = Atomics.load(this.#words, at) === 0
      ? 0
      : Atomics.exchange(this.#words, at, 0);
    this.pendingHigh = this.members <= 32 || Atomics.load(this.#words, at + 1) === 0
      ? 0
      : Atomics.exchange(this.#words, at + 1, 0);
  }

  /**
   * Finds the next run of `from` for `to`: its octets are at `runAt`. The consumer calls this.
   *
   * @returns How many octets the run has; 0 for none, -1 where the ring made no sense: it is empty
   * then.
   */
  peek(from: number, to: number): number {
    const words = this.#words;
    const pair = this.#pairAt(from, to);
    const head = Atomics.load(words, pair + HEAD);
    const ringAt = this.#ringAt(from, to);
    const ringBytes = this.#ringBytes;
    const attachment = this.#attachment(to);
    for (;;) {
      const tail = words[pair + TAIL]!;
      const used = (head - tail) >>> 0;
      if (used === 0) return 0;
      const position = (tail >>> 0) & (ringBytes - 1);
      const toEnd = ringBytes - position;
      const header = (ringAt + position) >>> 2;
      const word = words[header]!;
      const isSkip = word === SKIP;
      const n = word & BYTES_BITS;
      const lead = (word & LEAD_BITS) >>> LEAD_SHIFT;
      const takes = isSkip ? toEnd : runBytes(lead + n);
      const isKnown = (word & ~(BYTES_BITS | LEAD_BITS | LARGE)) === 0;
      const isSound = isSkip || (isKnown && n > 0 && n <= LAN_RUN_BYTES && takes <= toEnd);
      if (!isSound || takes > used) {
        Atomics.store(words, pair + TAIL, head);
        return -1;
      }
      if (!isSkip && words[header + 1] === attachment) {
        this.runAt = ringAt + position + RUN_HEADER_BYTES + lead;
        this.isLarge = (word & LARGE) !== 0;
        return n;
      }
      Atomics.store(words, pair + TAIL, (tail + takes) | 0);
    }
  }

  /** Gives the room of the run that `peek` found back. */
  pop(from: number, to: number): void {
    const words = this.#words;
    const pair = this.#pairAt(from, to);
    const tail = words[pair + TAIL]!;
    const position = (tail >>> 0) & (this.#ringBytes - 1);
    const word = words[(this.#ringAt(from, to) + position) >>> 2]!;
    const lead = (word & LEAD_BITS) >>> LEAD_SHIFT;
    Atomics.store(words, pair + TAIL, (tail + runBytes(lead + (word & BYTES_BITS))) | 0);
  }

  /** Wakes whoever waits on the word of `member`. */
  wake(member: number): void {
    const at = this.#memberAt(member) + WAKE;
    Atomics.add(this.#words, at, 1);
    Atomics.notify(this.#words, at);
  }

  /** How often the word of `member` was used to wake: what `waitForWake` compares with. */
  wakes(member: number): number {
    return Atomics.load(this.#words, this.#memberAt(member) + WAKE);
  }

  /** Resolves with the next wake after `seen`; `null` where there was one already. */
  waitForWake(member: number, seen: number): Promise<unknown> | null {
    const at = this.#memberAt(member) + WAKE;
    const wait = Atomics.waitAsync(this.#words, at, seen);
    return wait.async ? wait.value : null;
  }

  /** Passes over all that a ring holds. */
  #empty(from: number, to: number): void {
    const pair = this.#pairAt(from, to);
    Atomics.store(this.#words, pair + TAIL, Atomics.load(this.#words, pair + HEAD));
  }

  #attachment(member: number): number {
    return Atomics.load(this.#words, this.#memberAt(member));
  }

  /** Word index of a member's words. */
  #memberAt(member: number): number {
    return member * (MEMBER_BYTES >>> 2);
  }

  /** Word index of a pair's words. */
  #pairAt(from: number, to: number): number {
    return (this.members * MEMBER_BYTES + (from * this.members + to) * PAIR_BYTES) >>> 2;
  }

  /** Position of a pair's ring: nobody has one to itself. */
  #ringAt(from: number, to: number): number {
    const index = from * (this.members - 1) + (to > from ? to - 1 : to);
    return this.#ringsAt + index * this.#ringBytes;
  }
}

/** Octets that a run takes in the ring, with its head. */
function runBytes(octets: number): number {
  return RUN_HEADER_BYTES + ((octets + WORD_BYTES - 1) & ~(WORD_BYTES - 1));
}

/** Up to here a loop is cheaper than a call into the runtime and a view for it. */
const SHORT_COPY_BYTES = 96;

/** Copies octets from one buffer to another. */
export function copyOctets(
  into: Uint8Array,
  to: number,
  from: Uint8Array,
  at: number,
  n: number,
): void {
  if (n > SHORT_COPY_BYTES) into.set(from.subarray(at, at + n), to);
  else for (let i = 0; i < n; i++) into[to + i] = from[at + i]!;
}

/**
 * Copies octets out of memory that is shared. Up to 7 octets behind `to + n` are written over, so
 * nothing may stand there yet.
 */
export function copyShared(
  into: Uint8Array,
  to: number,
  from: Uint8Array,
  at: number,
  n: number,
): void {
  if (n <= SHORT_COPY_BYTES) return copyOctets(into, to, from, at, n);
  const shift = (from.byteOffset + at - into.byteOffset - to) & (WORD_BYTES - 1);
  into.set(from.subarray(at, at + n), to + shift);
  if (shift > 0) into.copyWithin(to, to + shift, to + shift + n);
}
