/**
 * The SYN-ACKs that the guest has not answered, and which of them it never will: when places for
 * half-open flows run out, those make way (RFC 4987 section 3.3).
 *
 * Age alone does not tell. Under load a guest's ACK may stand for long in the link's buffers or
 * behind a thousand frames, and its connection is established there: closing it here resets an
 * honest client. But a link keeps order, so a guest that has answered a later SYN-ACK has passed
 * over the earlier ones. Only a guest that answers none at all is judged by the clock, and then in
 * two steps: a process that was not run for a while finds the answers of that while unread.
 *
 * @module
 */
import { FlowQueue, type Waiting } from "./flow_queue.ts";

/** How much earlier than one that was answered a SYN-ACK must have gone: CPUs of the guest differ. */
const PASSED_OVER_MS = 100;
/** A guest that has answered nothing for so long does not mean to (one on this machine, mostly). */
const SILENCE_MS = 500;
/** Nobody needs so long, however busy: it is forsaken whatever else the guest has answered. */
const CEILING_MS = 3_000;
/** What has come in the meantime is read in so long. */
const SUSPICION_MS = 50;
/** A suspicion that nobody looked into for so long begins anew. */
const SUSPICION_MAX_MS = 10_000;

/** A handshake that waits for its last ACK. */
export interface Handshake<T> extends Waiting<T> {
  /** When its first SYN-ACK went. */
  readonly synSentMs: number;
}

/** The handshakes that wait for their last ACK, in the order of their SYN-ACKs. */
export class UnansweredHandshakes<T extends Handshake<T>> {
  readonly #queue = new FlowQueue<T>();
  /** When the latest SYN-ACK that was answered had gone. */
  #answeredMs = -Infinity;
  /** When the latest answer came. */
  #heardMs = -Infinity;
  /** Since when silence is held against the guest; an answer clears it. */
  #suspectedMs = -Infinity;

  /** Its first SYN-ACK has gone. */
  push(handshake: T): void {
    this.#queue.push(handshake);
  }

  /** Its ACK has come. */
  answered(handshake: T, nowMs: number): void {
    this.#queue.remove(handshake);
    this.#heardMs = nowMs;
    this.#suspectedMs = -Infinity;
    this.#answeredMs = Math.max(this.#answeredMs, handshake.synSentMs);
  }

  /** It has ended otherwise. */
  remove(handshake: T): void {
    this.#queue.remove(handshake);
  }

  /** The oldest one, if the guest will not answer it any more. */
  forsaken(nowMs: number): T | null {
    const oldest = this.#queue.first;
    if (oldest === null) return null;
    const passedOver = oldest.synSentMs + PASSED_OVER_MS <= this.#answeredMs;
    const isTooOld = oldest.synSentMs + CEILING_MS <= nowMs;
    const silentFromMs = Math.max(oldest.synSentMs, this.#heardMs) + SILENCE_MS;
    return passedOver || isTooOld || this.#isSilent(silentFromMs, nowMs) ? oldest : null;
  }

  /** Whether it was still silent a while after it was first found to be. */
  #isSilent(silentFromMs: number, nowMs: number): boolean {
    if (nowMs < silentFromMs) return false;
    const suspectedForMs = nowMs - this.#suspectedMs;
    if (this.#suspectedMs < silentFromMs || suspectedForMs > SUSPICION_MAX_MS) {
      this.#suspectedMs = nowMs;
      return false;
    }
    return SUSPICION_MS <= suspectedForMs;
  }
}
