/**
 * What a connection says: builds its segments and decides which of them are due (RFC 9293 sections
 * 3.8.4 to 3.8.6, RFC 8985 section 7.3).
 *
 * In this order: SACK news, lost segments, new data, FIN, window probe, a bare ACK if no segment
 * has carried it. Every segment carries the latest ACK and window. Stops where the device has no
 * room, and changes nothing then, or after `TURN_BYTES`, so that other connections have their turn.
 *
 * Does not know the state machine: that calls `sendSyn`, `dispatch` or `sendReset`.
 *
 * @module
 */
import { TcpFlag } from "../../wire/tcp.ts";
import { sackOptionBytes } from "../../wire/tcp_options.ts";
import { Counter } from "../counters.ts";
import type { Link } from "../link.ts";
import { JoinedSegments } from "./joined_segments.ts";
import type { Negotiated } from "./negotiated.ts";
import type { TcpReceiver } from "./receive.ts";
import { type HeaderTemplate, OutgoingSegment, sendSegment } from "./segment_writer.ts";
import type { TcpSender } from "./send.ts";
import { seqAdd, seqDiff, seqLt } from "./sequence.ts";

/** The most that one connection sends before others have their turn. */
export const TURN_BYTES: number = 64 * 1024;

/** How a call of `dispatch` ended. */
export const Dispatched = { done: 0, more: 1, blocked: 2 } as const;
/** One of `Dispatched`. */
export type Dispatched = typeof Dispatched[keyof typeof Dispatched];

/** The most that a quiet flow sends ahead of others' bulk: an answer, not a transfer. */
const QUICK_DATA_BYTES = 4 * 1024;
/** A guest that lets no more than this through while it is stalled is stalled still. */
const CRUMBS_BYTES = 4 * 1024;
const PERSIST_MIN_MS = 200;
const PERSIST_MAX_MS = 60_000;
const PERSIST_DOUBLINGS_MAX = 10;
const out = new OutgoingSegment();
const NO_TEMPLATE: HeaderTemplate = {
  at: 0,
  headerBytes: 0,
  family: 4,
  ipSum: 0,
  pseudoSum: 0,
  peerPort: 0,
  guestPort: 0,
};

/** The sending of one connection. */
export class TcpOutput {
  /** The constant headers of the flow; the endpoint writes them as it takes the flow in. */
  template: HeaderTemplate = NO_TEMPLATE;
  /** When a delayed ACK is due. */
  delayedAckMs = Infinity;
  /** How many delayed ACKs in a row have found data to ride on. */
  ackRides = 0;
  /** When a zero-window probe is due. */
  persistMs = Infinity;
  /** Since when the guest's window lets nothing but crumbs of what waits through. */
  stalledSinceMs = Infinity;
  readonly #link: Link;
  readonly #sender: TcpSender;
  readonly #receiver: TcpReceiver;
  readonly #options: Negotiated;
  /** What is left of a turn that the device cut short. */
  #turnBytes = TURN_BYTES;
  #persistBackoff = 0;
  #stalledAtSeq = 0;
  #probeDue = false;
  #tailProbeDue = false;
  readonly #joined: JoinedSegments;

  constructor(link: Link, sender: TcpSender, receiver: TcpReceiver, options: Negotiated) {
    this.#link = link;
    this.#sender = sender;
    this.#receiver = receiver;
    this.#options = options;
    this.#joined = new JoinedSegments(link.device);
  }

  /** The guest could not pass a packet on; whether each segment goes alone because of it. */
  stopJoining(packetBytes: number): boolean {
    return this.#joined.stop(this.template, packetBytes, this.#options.mssBytes);
  }

  /** Sends the SYN (`opening`) or the SYN-ACK; false without room. */
  sendSyn(opening: boolean, mssBytes: number, shift: number, nowMs: number): boolean {
    const sender = this.#sender;
    const receiver = this.#receiver;
    const options = this.#options;
    out.seq = sender.iss;
    out.ack = opening ? 0 : receiver.rcvNxt;
    out.flags = opening ? TcpFlag.syn : TcpFlag.syn | TcpFlag.ack;
    out.mss = mssBytes;
    out.windowScale = opening || options.peerShift >= 0 ? shift : -1;
    out.sackPermitted = opening || options.sack;
    out.window = Math.min(0xffff, opening ? 0xffff : receiver.windowBytes);
    this.#setTimestamps(opening || options.timestamps, nowMs);
    out.sackBlocks = 0;
    out.dataBytes = 0;
    const sent = this.#send();
    out.mss = 0;
    out.windowScale = -1;
    out.sackPermitted = false;
    if (sent) sender.sndNxt = seqAdd(sender.iss, 1);
    return sent;
  }

  /** The persist timer is due: a probe goes out with the next sending. */
  onPersistTimer(): void {
    this.persistMs = Infinity;
    this.#probeDue = true;
  }

  /** The tail loss probe is due: it goes out with the next sending. */
  onTailProbeTimer(): void {
    this.#tailProbeDue = true;
  }

  /** The guest's window has moved: probes start again from the shortest interval. */
  windowChanged(): void {
    this.#persistBackoff = 0;
  }

  /** The link was away: what was due on it is not due any more. */
  afterAbsence(): void {
    this.delayedAckMs = Infinity;
    this.ackRides = 0;
    this.persistMs = Infinity;
    this.#persistBackoff = 0;
    this.#probeDue = false;
    this.#tailProbeDue = false;
  }

  /** Asks the guest for a word about the flow, as a keepalive does: an old number, no byte. */
  ask(nowMs: number): boolean {
    this.#header(seqAdd(this.#sender.sndUna, -1), TcpFlag.ack, nowMs);
    if (!this.#send()) return false;
    this.#link.counters.values[ASKED]!++;
    return true;
  }

  /** Sends what is due: lost segments, new data, FIN, probe, ACK; at most `TURN_BYTES` of data. */
  dispatch(nowMs: number): Dispatched {
    const sender = this.#sender;
    const { recovery } = sender;
    let budgetBytes = this.#turnBytes;
    this.#turnBytes = TURN_BYTES;
    let result: Dispatched = Dispatched.done;
    const news = this.#options.sack && this.#receiver.hasSack && this.#receiver.ackNow;
    if (news && !this.#sendAck(nowMs)) return Dispatched.blocked;
    while (recovery.runs.lostBytes > 0) {
      const bytes = this.#retransmit(nowMs);
      if (bytes < 0) return Dispatched.blocked;
      if (bytes === 0) break;
      if ((budgetBytes -= bytes) <= 0) return Dispatched.more;
    }
    if (this.#tailProbeDue && !this.#sendTailProbe(nowMs)) return Dispatched.blocked;
    recovery.beforeSending(nowMs);
    let sent = 0;
    for (;;) {
      const segmentBytes = this.#fullSegmentBytes();
      const leftBytes = budgetBytes - sent;
      const largestBytes = this.#joined.largestBytes(this.template, segmentBytes, leftBytes);
      const bytes = sender.sendableBytes(segmentBytes, largestBytes);
      if (bytes === 0) break;
      if (!this.#sendData(sender.sndNxt, bytes, nowMs)) {
        result = Dispatched.blocked;
        this.#turnBytes = budgetBytes - sent;
        break;
      }
      sent += bytes;
      // What is left of a turn beside a largest frame is not worth one of its own.
      if (budgetBytes - sent < (this.#joined.isOn ? segmentBytes : 1)) {
        result = Dispatched.more;
        break;
      }
    }
    if (result === Dispatched.done) result = this.#dispatchTail(nowMs);
    else if (result === Dispatched.blocked && this.#receiver.ackNow) this.#sendAck(nowMs);
    recovery.arm(sender.flightBytes);
    this.#noteStall(nowMs);
    this.#armPersist(nowMs);
    return result;
  }

  /** FIN, probe and bare ACK: what may follow the data. */
  #dispatchTail(nowMs: number): Dispatched {
    const sender = this.#sender;
    const receiver = this.#receiver;
    if (
      sender.finishing && !sender.finSent && !sender.finAcknowledged && sender.unsentBytes === 0
    ) {
      if (!this.#sendFin(sender.sndNxt, nowMs)) return Dispatched.blocked;
      sender.recovery.onSent(sender.sndNxt, seqAdd(sender.sndNxt, 1), nowMs);
      sender.sndNxt = seqAdd(sender.sndNxt, 1);
    }
    if (this.#probeDue && !this.#sendWindowProbe(nowMs)) return Dispatched.blocked;
    if (receiver.ackNow && !this.#sendAck(nowMs)) return Dispatched.blocked;
    return Dispatched.done;
  }

  /** Sends one lost segment again: its bytes, 0 when the window forbids it, -1 without room. */
  #retransmit(nowMs: number): number {
    const sender = this.#sender;
    const { recovery } = sender;
    const { runs } = recovery;
    const i = recovery.firstLost();
    if (i < 0) return 0;
    const bytes = Math.min(this.#fullSegmentBytes(), runs.length(i));
    if (!recovery.mayResend(sender.flightBytes, bytes)) return 0;
    const start = runs.start(i);
    if (!this.#sendRange(start, bytes, nowMs)) return -1;
    if (bytes < runs.length(i)) {
      if (!runs.split(i, seqAdd(start, bytes))) {
        recovery.onResent(i, nowMs); // too many runs: the rest counts as sent with this part
        return bytes;
      }
    }
    recovery.onResent(i, nowMs);
    this.#link.counters.values[RETRANSMIT]!++;
    return bytes;
  }

  /** Sends [start, start + bytes) of the flight again, where the last number may be the FIN. */
  #sendRange(start: number, bytes: number, nowMs: number): boolean {
    const sender = this.#sender;
    const end = seqAdd(start, bytes);
    const withFin = sender.finishing && seqLt(sender.dataEnd, end);
    const dataBytes = withFin ? bytes - 1 : bytes;
    if (dataBytes === 0) return this.#sendFin(start, nowMs);
    this.#header(start, TcpFlag.ack | TcpFlag.psh | (withFin ? TcpFlag.fin : 0), nowMs);
    out.ringOffset = seqDiff(start, sender.sndUna);
    out.dataBytes = dataBytes;
    out.quick = true; // what repairs a loss
    return this.#send(true);
  }

  #sendData(seq: number, bytes: number, nowMs: number): boolean {
    const sender = this.#sender;
    const last = bytes === sender.unsentBytes;
    const withFin = last && sender.finishing;
    let flags = TcpFlag.ack;
    if (last) flags |= TcpFlag.psh;
    if (withFin) flags |= TcpFlag.fin;
    this.#header(seq, flags, nowMs);
    out.ringOffset = seqDiff(seq, sender.sndUna);
    out.dataBytes = bytes;
    // Nothing of this flow is under way that it could overtake.
    out.quick = last && bytes <= QUICK_DATA_BYTES && sender.flightBytes === 0;
    if (!this.#send(true)) return false;
    const end = seqAdd(seq, bytes + (withFin ? 1 : 0));
    sender.recovery.onSent(seq, end, nowMs);
    sender.sndNxt = end;
    return true;
  }

  #sendFin(seq: number, nowMs: number): boolean {
    this.#header(seq, TcpFlag.ack | TcpFlag.fin, nowMs);
    return this.#send();
  }

  #sendAck(nowMs: number): boolean {
    this.#header(this.#sender.sndNxt, TcpFlag.ack, nowMs);
    return this.#send();
  }

  /** RFC 9293 section 3.8.6.1, in the form that carries no byte: an old number, which asks for an ACK. */
  #sendWindowProbe(nowMs: number): boolean {
    const sender = this.#sender;
    if (!sender.stalled) {
      this.#probeDue = false;
      return true;
    }
    if (sender.sndWnd > 0) {
      const bytes = Math.min(sender.unsentBytes, sender.sndWnd, this.#fullSegmentBytes());
      if (!this.#sendData(sender.sndNxt, bytes, nowMs)) return false;
    } else {
      this.#header(seqAdd(sender.sndUna, -1), TcpFlag.ack, nowMs);
      if (!this.#send()) return false;
      this.#persistBackoff++;
      this.#link.counters.values[PROBE]!++;
    }
    this.#probeDue = false;
    return true;
  }

  /** RFC 8985 section 7.3: something new if there is any, else the last segment again. */
  #sendTailProbe(nowMs: number): boolean {
    const sender = this.#sender;
    const { recovery } = sender;
    this.#tailProbeDue = false;
    if (!recovery.mayProbe) return true; // an ACK came between the timer and this turn
    this.#tailProbeDue = true;
    const bytes = Math.min(
      sender.unsentBytes,
      sender.sndWnd - sender.flightBytes,
      this.#fullSegmentBytes(),
    );
    if (bytes > 0) {
      if (!this.#sendData(sender.sndNxt, bytes, nowMs)) return false;
      recovery.onProbe(sender.sndNxt, false, nowMs);
      this.#link.counters.values[TLP]!++;
      this.#tailProbeDue = false;
      return true;
    }
    const { runs } = recovery;
    let i = runs.count - 1;
    // A FIN takes a number, but no room from the data in front of it.
    const tail = Math.min(this.#fullSegmentBytes() + (sender.finSent ? 1 : 0), runs.length(i));
    const start = seqAdd(runs.end(i), -tail);
    if (!this.#sendRange(start, tail, nowMs)) return false;
    this.#tailProbeDue = false;
    if (start !== runs.start(i) && runs.split(i, start)) i++;
    recovery.onResent(i, nowMs);
    recovery.onProbe(sender.sndNxt, true, nowMs);
    this.#link.counters.values[TLP]!++;
    return true;
  }

  /** A window of one octet would keep a buffer for ever if each octet began the time anew. */
  #noteStall(nowMs: number): void {
    const { sndWnd, sndUna, unsentBytes } = this.#sender;
    if (sndWnd >= Math.min(unsentBytes, this.#options.mssBytes)) {
      this.stalledSinceMs = Infinity;
    } else if (
      this.stalledSinceMs === Infinity || seqDiff(sndUna, this.#stalledAtSeq) > CRUMBS_BYTES
    ) {
      this.stalledSinceMs = nowMs;
      this.#stalledAtSeq = sndUna;
    }
  }

  #armPersist(nowMs: number): void {
    if (!this.#sender.stalled) {
      this.persistMs = Infinity;
      this.#persistBackoff = 0;
      return;
    }
    if (this.persistMs === Infinity) {
      const base = Math.max(PERSIST_MIN_MS, this.#sender.recovery.rtt.rtoMs);
      this.persistMs = nowMs +
        Math.min(PERSIST_MAX_MS, base * 2 ** Math.min(PERSIST_DOUBLINGS_MAX, this.#persistBackoff));
    }
  }

  #header(seq: number, flags: number, nowMs: number): void {
    out.seq = seq;
    out.flags = flags;
    out.ack = this.#receiver.rcvNxt;
    out.window = this.#receiver.advertise();
    out.ringOffset = 0;
    out.dataBytes = 0;
    const blocks = this.#findSackBlocks();
    out.sackBlocks = blocks;
    out.segmentBytes = this.#options.mssBytes - (blocks === 0 ? 0 : sackOptionBytes(blocks));
    this.#setTimestamps(this.#options.timestamps, nowMs);
  }

  /** What a segment says of early octets, data or not (RFC 2018 section 4): how many blocks. */
  #findSackBlocks(): number {
    const { sack, timestamps } = this.#options;
    if (!sack || !this.#receiver.hasSack) return 0;
    return this.#receiver.sackBlocks(out.sackEdges, timestamps ? 3 : 4);
  }

  /** The data of a full segment beside the SACK blocks that it carries. */
  #fullSegmentBytes(): number {
    const blocks = this.#findSackBlocks();
    return this.#options.mssBytes - (blocks === 0 ? 0 : sackOptionBytes(blocks));
  }

  #setTimestamps(on: boolean, nowMs: number): void {
    out.timestamps = on;
    if (!on) return;
    out.timestampValue = this.#options.tsNow(nowMs);
    out.timestampEcho = this.#options.tsRecent;
  }

  #send(withData = false): boolean {
    if (!sendSegment(this.#link, this.template, out, withData ? this.#sender.ring : null)) {
      return false;
    }
    if ((out.flags & TcpFlag.ack) !== 0) {
      this.#receiver.acknowledged();
      if (this.delayedAckMs !== Infinity) this.ackRides = withData ? this.ackRides + 1 : 0;
      this.delayedAckMs = Infinity;
    }
    return true;
  }

  /** Sends an RST; one for a SYN that was never answered has the number 0. */
  sendReset(offered: boolean): void {
    const sender = this.#sender;
    const receiver = this.#receiver;
    out.seq = offered ? 0 : sender.sndNxt;
    out.ack = receiver.rcvNxt;
    out.flags = TcpFlag.rst | TcpFlag.ack;
    out.window = 0;
    out.timestamps = false;
    out.sackBlocks = 0;
    out.dataBytes = 0;
    if (sendSegment(this.#link, this.template, out, null)) {
      this.#link.counters.values[RESET_SENT]!++;
    }
  }
}

const RETRANSMIT = Counter["tcp.retransmit"];
const TLP = Counter["tcp.tlp"];
const ASKED = Counter["tcp.asked"];
const PROBE = Counter["tcp.probe"];
const RESET_SENT = Counter["tcp.reset.sent"];
