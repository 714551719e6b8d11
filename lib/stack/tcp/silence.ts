/**
 * The silence of a flow that was kept while the link was away: nothing is sent for it, no data, ACK,
 * probe or reset, until the guest has sent a segment that only who still has the flow would send.
 *
 *     hush ──(link back, guest heard)──▶ heard ──▶ may be asked ──segment of the guest──▶ over
 *
 * A guest that only listens has nothing to send by itself, so silence on both sides would last for
 * ever. Where bytes or a FIN wait for such a guest, it is asked for a word: one bare segment that
 * carries nothing and takes no number (RFC 9293 section 3.8.4), a second after the guest was heard on
 * the link, then half as often each time. Flows are asked one after another, a thousand a second at
 * most; one that does not answer ten times is over. No flow is asked while the link is away or its
 * guest has not shown itself with its MAC.
 *
 * A handshake that the guest has begun holds a place of few. Where places run out those that are silent
 * make way as others do that nobody answers, and none outlives the time in which a guest repeats its SYN.
 *
 * A flow that ends here meanwhile (its host has reset it, or the rules have changed) stays in the table
 * without its buffers, and is asked about too: the answer is told that there is no such flow.
 *
 * @module
 */
import { TcpFlag } from "../../wire/tcp.ts";
import type { TcpReceiver } from "./receive.ts";
import type { Segment } from "./segment.ts";
import type { TcpSender } from "./send.ts";
import { seqAdd, seqLe } from "./sequence.ts";
import { TcpState } from "./state.ts";

/** A guest that has something to send does so by itself within this. */
const ASK_MS = 1_000;
const ASK_MAX_MS = 60_000;
const ASKS_MAX = 10;
/** As long as SYNs that are not answered take. */
const UNOPENED_MS = 60_000;
/** As long as a guest sends a SYN again that is not answered, whatever its system: Linux for 127 s. */
const UNCOMPLETED_MS = 130_000;
/** What lies between two flows that begin to be asked. */
const PACE_MS = 1;

/** One flow's silence. */
export class Silence {
  /** When the guest is asked for a word, if something waits for it. */
  askMs = Infinity;
  /** Since when the link has been back; `Infinity` while it is away. */
  backMs = Infinity;
  /** Since when the guest has been heard on it; `Infinity` while it has not. */
  #heardMs = Infinity;
  #asks = 0;

  /** The link is gone, once more perhaps. */
  hush(): void {
    this.askMs = Infinity;
    this.backMs = Infinity;
    this.#heardMs = Infinity;
    this.#asks = 0;
  }

  /** The guest has been heard: `place` is the flow's among those that wait for a word. */
  heard(nowMs: number, place: number, waits = true): void {
    if (this.backMs === Infinity) this.backMs = nowMs;
    this.#heardMs = nowMs;
    this.askMs = nowMs + (waits ? ASK_MS : 0) + place * PACE_MS;
  }

  /** When a client whose SYN could not be sent is given up: the guest is not heard of. */
  get unopenedMs(): number {
    return this.backMs + UNOPENED_MS;
  }

  /** When a handshake is given up with which the guest does not go on. */
  get uncompletedMs(): number {
    return this.#heardMs + UNCOMPLETED_MS;
  }

  /** The guest was asked. */
  asked(nowMs: number): void {
    this.askMs = nowMs + Math.min(ASK_MAX_MS, ASK_MS * 2 ** this.#asks);
    this.#asks++;
  }

  /** Whether it was asked often enough. */
  get isUnanswered(): boolean {
    return this.#asks >= ASKS_MAX;
  }
}

/** Whether something waits for the guest that it can't know of. */
export function owesWord(state: TcpState, sender: TcpSender): boolean {
  switch (state) {
    case TcpState.synSent:
      return true;
    case TcpState.closed:
    case TcpState.offered:
    case TcpState.timeWait:
      return false;
    case TcpState.synReceived:
      // The guest sends its SYN again, unless our answer was not what was lost.
      return sender.sndNxt !== sender.iss;
    default: {
      const { flightBytes, unsentBytes, finishing, finAcknowledged } = sender;
      return flightBytes > 0 || unsentBytes > 0 || (finishing && !finAcknowledged);
    }
  }
}

/** Whether the guest may take a flow for an open one. */
export function mayHave(state: TcpState, sender: TcpSender): boolean {
  return state !== TcpState.synSent && state !== TcpState.timeWait && sender.sndNxt !== sender.iss;
}

/**
 * Whether a segment is one that only a guest that still has the flow would send: acceptable (RFC
 * 9293 section 3.10.7), or sent again because the ACK for it was lost with the link. What would have
 * to be challenged, or answered with a reset, is none.
 */
export function isWord(
  segment: Segment,
  isOld: boolean,
  state: TcpState,
  receiver: TcpReceiver,
  sender: TcpSender,
): boolean {
  const isReset = segment.has(TcpFlag.rst);
  const isSyn = segment.has(TcpFlag.syn);
  if (state === TcpState.offered) {
    return isReset ? segment.seq === receiver.rcvNxt || segment.seq === receiver.irs : isSyn;
  }
  const acknowledgesSyn = segment.has(TcpFlag.ack) && sender.sndNxt !== sender.iss &&
    segment.ack === seqAdd(sender.iss, 1);
  if (state === TcpState.synSent) return acknowledgesSyn && (isReset || isSyn);
  if (isReset) return segment.seq === receiver.rcvNxt;
  if (isSyn) return state === TcpState.synReceived && segment.seq === receiver.irs;
  if (isOld || !segment.has(TcpFlag.ack)) return false;
  if (state === TcpState.synReceived && !acknowledgesSyn) return false;
  // What is sent again stands in front of the window, by as much as a window can be.
  const oldest = seqAdd(receiver.rcvNxt, -(0xffff << receiver.shift));
  return seqLe(oldest, segment.seq) && seqLe(segment.seq, receiver.rcvEdge) &&
    sender.hasSent(segment.ack);
}
