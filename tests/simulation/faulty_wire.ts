/**
 * The link of a simulation: it takes the frames of one end and hands them to the other one late,
 * in another order, twice, damaged, or never. It can stop for a while, and be cut.
 *
 * One bit of a damaged frame is turned, and only in IP packets: what no checksum covers (Ethernet,
 * ARP) has none because cables have their own. Of a datagram in fragments only the first one is
 * damaged, since two turned bits may cancel each other out in its checksum.
 *
 * Limits: `HELD_MAX_BYTES` are under way in a direction, then the sender waits.
 *
 * @module
 */
import { LENGTH_BYTES } from "../../lib/stack/queues.ts";
import type { Dice } from "../support/dice.ts";
import type { VirtualClock } from "../support/virtual_clock.ts";
import type { VirtualPeer } from "../support/virtual_socket.ts";
import { summarize } from "./frame_summary.ts";
import type { Trace } from "./trace.ts";

/** How bad a link is, in each direction. Shares are of frames, from 0 to 1. */
export interface FaultMix {
  /** Frames that never arrive. */
  readonly loss: number;
  /** Frames that arrive twice. */
  readonly duplicate: number;
  /** Frames that are held back, so that others overtake them. */
  readonly reorder: number;
  /** For how long at most. */
  readonly reorderMs: number;
  /** Frames that arrive once more after seconds. */
  readonly late: number;
  /** IP packets with a bit turned. */
  readonly flip: number;
  /** Delay of every frame. */
  readonly delayMs: number;
  /** Bytes a millisecond; Infinity for no bound. */
  readonly bytesPerMs: number;
  /** When nothing passes, both ways: from, and how long. */
  readonly stalls: readonly { readonly atMs: number; readonly forMs: number }[];
}

/** How a link is cut: by the VMM's end, or because the gateway closes its own. */
export type CutKind = "close" | "reset" | "inside a frame" | "by the gateway";

const HELD_MAX_BYTES = 512 * 1024;
const LATE_MS = 5_000;

/** What both directions work with. */
export interface WireOptions {
  readonly clock: VirtualClock;
  readonly mix: FaultMix;
  readonly dice: Dice;
  readonly trace: Trace;
  /** For the log: which network's. */
  readonly name: string;
  /** Octets between each length and its frame; default 0. */
  readonly headerBytes?: number;
}

/** A bad link between two ends. */
export class FaultyWire {
  readonly #guest: VirtualPeer;
  /** `null` while that end is away. */
  #gateway: VirtualPeer | null;
  readonly #up: Direction;
  readonly #down: Direction;
  #isCut = false;

  constructor(guest: VirtualPeer, gateway: VirtualPeer, options: WireOptions) {
    this.#guest = guest;
    this.#gateway = gateway;
    this.#up = new Direction(guest, gateway, 0, options);
    this.#down = new Direction(gateway, guest, 1, options);
    const { clock, mix } = options;
    guest.onChange = () => this.#look();
    gateway.onChange = () => this.#look();
    for (const { atMs, forMs } of mix.stalls) {
      clock.after(Math.max(0, atMs - clock.now()), () => this.#stall(true));
      clock.after(Math.max(0, atMs + forMs - clock.now()), () => this.#stall(false));
    }
    this.#look();
  }

  /** Whether it was cut, or an end has closed. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /** Loses the gateway's end, and with it what is under way to it; the guest's end stays. */
  lose(kind: Exclude<CutKind, "by the gateway">): void {
    const gateway = this.#gateway;
    if (this.#isCut || gateway === null) return;
    this.#gateway = null;
    this.#up.loseTo(kind === "inside a frame");
    this.#down.loseFrom();
    gateway.onChange = null;
    if (kind === "reset") return gateway.reset();
    gateway.take();
    gateway.close();
  }

  /** Joins another end of the gateway's. */
  rejoin(gateway: VirtualPeer): void {
    if (this.#isCut) return gateway.close();
    this.#gateway = gateway;
    this.#up.joinTo(gateway);
    this.#down.joinFrom(gateway);
    gateway.onChange = () => this.#look();
    this.#look();
  }

  /** Ends it: what is under way is lost. */
  cut(kind: CutKind): void {
    if (this.#isCut) return;
    this.#isCut = true;
    this.#up.stop(kind === "inside a frame");
    this.#down.stop(false);
    for (const end of [this.#guest, this.#gateway]) {
      if (end === null) continue;
      end.onChange = null;
      if (kind === "reset") end.reset();
      else {
        end.take();
        end.close();
      }
    }
  }

  #look(): void {
    if (this.#isCut) return;
    this.#up.look();
    this.#down.look();
    const isEnded = this.#guest.isEnded || this.#guest.isClosed;
    if (isEnded || (this.#gateway?.isEnded ?? false)) this.cut("close");
  }

  #stall(stalls: boolean): void {
    this.#up.isStalled = stalls;
    this.#down.isStalled = stalls;
    this.#look();
  }
}

/** Frames in one direction. */
class Direction {
  isStalled = false;
  /** Either is `null` while that end is away. */
  #from: VirtualPeer | null;
  #to: VirtualPeer | null;
  readonly #number: number;
  readonly #options: WireOptions;
  readonly #who: string;
  /** Bytes that have come of a frame that is not whole. */
  #part: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #heldBytes = 0;
  /** Frames that are due, with their lengths in front. */
  #due: Uint8Array[] = [];
  /** Bytes of the first one that were handed over. */
  #done = 0;
  #lineFreeMs = 0;
  #isStopped = false;

  constructor(from: VirtualPeer, to: VirtualPeer, number: number, options: WireOptions) {
    this.#from = from;
    this.#to = to;
    this.#number = number;
    this.#options = options;
    this.#who = `${options.name} ${number === 0 ? "guest ▶" : "◀ gateway"}`;
  }

  /** Takes what has come, and hands over what is due and finds room. */
  look(): void {
    if (this.isStalled || this.#isStopped) return;
    const from = this.#from;
    while (from !== null && from.availableBytes > 0 && this.#heldBytes < HELD_MAX_BYTES) {
      this.#takeBytes(from);
    }
    this.#handOver();
  }

  /** The receiving end goes away, in the middle of a frame where one is at hand and that is wanted. */
  loseTo(insideFrame: boolean): void {
    const frame = this.#due[0];
    if (insideFrame && frame !== undefined && !this.#to!.isClosed) {
      this.#to!.write(frame.subarray(this.#done, (this.#done + frame.length) >> 1));
    }
    this.#to = null;
    this.#dropDue();
  }

  joinTo(to: VirtualPeer): void {
    this.#to = to;
  }

  /** The sending end goes away: what has come of a frame in part is nothing. */
  loseFrom(): void {
    this.#from = null;
    this.#part = new Uint8Array(0);
  }

  joinFrom(from: VirtualPeer): void {
    this.#from = from;
  }

  #dropDue(): void {
    for (const frame of this.#due) {
      this.#heldBytes -= frame.length;
      this.#say("lost with the link", frame);
    }
    this.#due = [];
    this.#done = 0;
  }

  /** Ends it, in the middle of a frame where one is at hand and that is wanted. */
  stop(insideFrame: boolean): void {
    this.#isStopped = true;
    const frame = this.#due[0];
    if (!insideFrame || frame === undefined || this.#to === null || this.#to.isClosed) return;
    this.#to.write(frame.subarray(this.#done, (this.#done + frame.length) >> 1));
  }

  #takeBytes(from: VirtualPeer): void {
    const came = from.take(64 * 1024);
    const bytes = new Uint8Array(this.#part.length + came.length);
    bytes.set(this.#part);
    bytes.set(came, this.#part.length);
    const view = new DataView(bytes.buffer);
    let at = 0;
    while (bytes.length - at >= LENGTH_BYTES) {
      const end = at + LENGTH_BYTES + view.getUint32(at);
      if (end > bytes.length) break;
      this.#decide(bytes.slice(at, end));
      at = end;
    }
    this.#part = bytes.slice(at);
  }

  /** Always seven throws, so that the mix of faults does not shift later frames' fates. */
  #decide(frame: Uint8Array): void {
    const { dice, mix, clock } = this.#options;
    const isLost = dice.chance(mix.loss);
    const isDuplicate = dice.chance(mix.duplicate);
    const isReordered = dice.chance(mix.reorder);
    const isLate = dice.chance(mix.late);
    const isFlipped = dice.chance(mix.flip);
    const heldMs = mix.reorderMs * dice.share();
    const place = dice.share();
    if (isLost) return this.#say("lost", frame);
    if (isFlipped) this.#flip(frame, place);
    const lineMs = Math.max(clock.now(), this.#lineFreeMs) + frame.length / mix.bytesPerMs;
    this.#lineFreeMs = lineMs;
    const waitMs = lineMs - clock.now() + mix.delayMs;
    this.#hold(frame, isReordered ? waitMs + heldMs : waitMs);
    if (isDuplicate) this.#hold(frame, waitMs + heldMs);
    if (isLate) this.#hold(frame, waitMs + LATE_MS * place);
  }

  #flip(frame: Uint8Array, place: number): void {
    const bits = (frame.length - LENGTH_BYTES - 14) * 8;
    if (bits <= 0 || !mayBeDamaged(new DataView(frame.buffer, LENGTH_BYTES))) return;
    const bit = (LENGTH_BYTES + 14) * 8 + Math.floor(place * bits);
    frame[bit >> 3]! ^= 1 << (bit & 7);
    this.#say("damaged", frame);
  }

  #hold(frame: Uint8Array, waitMs: number): void {
    this.#heldBytes += frame.length;
    if (waitMs <= 0) return void this.#due.push(frame);
    this.#options.clock.after(waitMs, () => {
      if (this.#isStopped) return;
      this.#due.push(frame);
      this.look();
    });
  }

  #handOver(): void {
    const to = this.#to;
    if (to === null) return this.#dropDue();
    while (this.#due.length > 0 && !to.isClosed) {
      const frame = this.#due[0]!;
      this.#done += to.write(frame.subarray(this.#done));
      if (this.#done < frame.length) return;
      this.#due.shift();
      this.#done = 0;
      this.#heldBytes -= frame.length;
      this.#options.trace.frame(this.#number, frame);
      this.#say("", frame);
    }
  }

  #say(fate: string, frame: Uint8Array): void {
    const { trace, headerBytes = 0 } = this.#options;
    if (!trace.isVerbose) return;
    const text = summarize(frame.subarray(LENGTH_BYTES + headerBytes));
    trace.line(this.#who, fate === "" ? text : `${text}  ✗ ${fate}`);
  }
}

/** Whether a frame is an IP packet, and no later fragment of one. */
function mayBeDamaged(frame: DataView): boolean {
  switch (frame.getUint16(12)) {
    case 0x0800:
      return (frame.getUint16(20) & 0x1fff) === 0;
    case 0x86dd:
      return frame.getUint8(20) !== 44 || (frame.getUint16(56) & 0xfff8) === 0;
    default:
      return false;
  }
}
