/**
 * The life of a guest's link: it may be lost, and for a while another one may take its place.
 *
 *     attached ──lost──▶ detached ──offer──▶ attached, unheard ──first frame──▶ attached
 *                           └──`lingerMs` after the guest was last there──▶ over
 *
 * The time runs from the first loss until the guest has been heard again, so that a VMM which only
 * comes and goes extends nothing. A guest that was never heard has nothing to be kept.
 *
 * While a link is new and silent it is asked who is there: soon, and then less and less often.
 *
 * @module
 */
import type { StreamEnd } from "./frame_stream.ts";
import type { FrameTransport } from "./frame_transport.ts";
import type { HostClock, Timer } from "./host_clock.ts";

/** When a silent link is asked again: twice as long each time, up to a minute. */
const ASK_MS = 1_000;
const ASK_MAX_MS = 60_000;

/** What became of the link of a guest that stays. */
export type LinkChange =
  | { readonly kind: "detached"; readonly reason: StreamEnd; readonly fault: string }
  | { readonly kind: "returned"; readonly awayMs: number }
  | { readonly kind: "freed"; readonly reason: string; readonly flows: number };

/** Which links a guest's network has, one after another. */
export class LinkLife {
  readonly #lingerMs: number;
  readonly #clock: HostClock;
  /** When it is over, unless the guest has been heard by then; `Infinity` while that is so. */
  #endMs = Infinity;
  /** Whether no further link is taken. */
  isOver = false;
  #wake: ((conn: FrameTransport | null) => void) | null = null;
  #timer: Timer | undefined;
  /** When the link is asked who is there; `Infinity` for never. */
  askMs = Infinity;
  #askAgainMs = ASK_MS;

  constructor(lingerMs: number, clock: HostClock) {
    this.#lingerMs = lingerMs;
    this.#clock = clock;
  }

  /** Whether there is no link, and another one is waited for. */
  get isDetached(): boolean {
    return this.#wake !== null;
  }

  /** The link is lost: whether there is time for another one. */
  lost(): boolean {
    const nowMs = this.#clock.now();
    this.askMs = Infinity;
    if (this.#endMs === Infinity) this.#endMs = nowMs + this.#lingerMs;
    return !this.isOver && nowMs < this.#endMs;
  }

  /** The next link; `null` where the time has run out, or the network ends. */
  next(): Promise<FrameTransport | null> {
    if (this.isOver) return Promise.resolve(null);
    const { promise, resolve } = Promise.withResolvers<FrameTransport | null>();
    this.#wake = (conn) => {
      this.#clock.clearTimer(this.#timer);
      this.#wake = null;
      resolve(conn);
    };
    this.#timer = this.#clock.setTimer(() => this.end(), this.#endMs - this.#clock.now());
    return promise;
  }

  /** Offers a link; false where none is waited for. */
  offer(conn: FrameTransport): boolean {
    if (this.#wake === null) return false;
    this.#wake(conn);
    return true;
  }

  /** A link is there again. */
  back(nowMs: number): void {
    this.askMs = nowMs;
    this.#askAgainMs = ASK_MS;
  }

  /** The link was asked who is there. */
  asked(nowMs: number): void {
    this.askMs = nowMs + this.#askAgainMs;
    this.#askAgainMs = Math.min(ASK_MAX_MS, 2 * this.#askAgainMs);
  }

  /** The guest was heard. */
  heard(): void {
    this.#endMs = Infinity;
    this.askMs = Infinity;
  }

  /** Nobody is waited for any more. */
  end(): void {
    this.isOver = true;
    this.#wake?.(null);
  }
}
