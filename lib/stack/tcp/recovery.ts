/**
 * Loss recovery towards the guest: RACK-TLP (RFC 8985) over a SACK scoreboard (RFC 6675), the
 * retransmission timer (RFC 6298), and duplicate ACKs for a guest without SACK (RFC 6582).
 *
 *     open ──loss found──▶ recovery ──ACK of the recovery point──▶ open
 *       └──timer expired──▶ timeout ──ACK of the recovery point──▶ open
 *
 * Says which runs are lost and when to look again; it never sends. Undo after a spurious timeout
 * (RFC 5682) is not done: the congestion window recovers within few round trips of a local link.
 *
 * @module
 */
import { Cubic } from "./cubic.ts";
import { LossTolerance } from "./loss_tolerance.ts";
import { RttEstimator } from "./rtt.ts";
import { seqDiff, seqLe, seqLt } from "./sequence.ts";
import { RunFlag, Transmissions } from "./transmissions.ts";

/** Phases of recovery. */
export const RecoveryPhase = { open: 0, recovery: 1, timeout: 2 } as const;
/** One of `RecoveryPhase`. */
export type RecoveryPhase = typeof RecoveryPhase[keyof typeof RecoveryPhase];

/** What the recovery timer will do. */
export const RecoveryTimer = { none: 0, reorder: 1, probe: 2, rto: 3 } as const;
/** One of `RecoveryTimer`. */
export type RecoveryTimer = typeof RecoveryTimer[keyof typeof RecoveryTimer];

const DEFAULT_MSS_BYTES = 536;
const DUPLICATE_THRESHOLD = 3;
const PROBE_SLACK_MS = 10;
const DELAYED_ACK_MS = 200;
const REORDER_WINDOWS_MAX = 16;
/** An echo of something older is no measurement. */
const ECHO_MAX_MS = 120_000;

/** Recovery of one connection's data towards the guest. */
export class LossRecovery {
  readonly runs: Transmissions = new Transmissions();
  readonly rtt: RttEstimator = new RttEstimator();
  readonly congestion: Cubic = new Cubic(DEFAULT_MSS_BYTES);
  readonly #tolerance: LossTolerance = new LossTolerance();
  phase: RecoveryPhase = RecoveryPhase.open;
  /** When the timer is due, and what it does then. */
  timerMs = Infinity;
  timer: RecoveryTimer = RecoveryTimer.none;
  #mssBytes: number = DEFAULT_MSS_BYTES;
  #sack = false;
  #recoveryPoint = 0;
  #duplicateAcks = 0;
  #mustResend = false;
  // RFC 8985 section 5.2: the most recently sent segment that is known to have arrived.
  #rackSentMs = -1;
  #rackEnd = 0;
  #rackRttMs = 0;
  #forwardAck = 0;
  /** `#forwardAck` as the ACK at hand found it: what one ACK reports has no order. */
  #forwardBefore = 0;
  #reorderingSeen = false;
  #reorderWindows = 1;
  #reorderAtMs = Infinity;
  #dsackRound = -1;
  // Section 7: the tail loss probe that is out, if any.
  #probeEnd = -1;
  #probeRepeats = false;
  #rtoFromMs = 0;
  #lastSentMs = 0;
  /** When the link came back last: what was sent before measures nothing. */
  #absenceMs = -Infinity;

  /** The options are settled: nothing was sent before the number `firstSeq`. */
  begin(mssBytes: number, sack: boolean, firstSeq: number): void {
    this.#mssBytes = mssBytes;
    this.#sack = sack;
    this.#forwardAck = firstSeq;
    this.congestion.begin(mssBytes);
    this.#tolerance.begin(firstSeq);
  }

  /** Sequence space that is believed to be on its way. */
  inFlightBytes(flightBytes: number): number {
    const inFlight = flightBytes - this.runs.sackedBytes - this.runs.lostBytes;
    if (this.#sack || this.#duplicateAcks === 0) return inFlight;
    // Each duplicate ACK is a segment that has left the network (RFC 5681 section 3.2).
    return Math.max(0, inFlight - this.#duplicateAcks * this.#mssBytes);
  }

  /** Whether a lost segment goes out now: the first of an episode whatever the window says. */
  mayResend(flightBytes: number, bytes: number): boolean {
    if (this.#mustResend) return true;
    const inFlight = this.inFlightBytes(flightBytes);
    return inFlight <= 0 || inFlight + bytes <= this.congestion.cwndBytes;
  }

  /** Something may be sent: a window from before a pause is no measure for how much. */
  beforeSending(nowMs: number): void {
    if (this.runs.count > 0 || nowMs - this.#lastSentMs <= this.rtt.rtoMs) return;
    this.congestion.onIdle();
  }

  /** Notes that [start, end) was sent for the first time. */
  onSent(start: number, end: number, nowMs: number): void {
    this.beforeSending(nowMs);
    if (this.runs.count === 0) this.#rtoFromMs = nowMs;
    this.#lastSentMs = nowMs;
    this.runs.append(start, end, nowMs);
  }

  /**
   * An acceptable ACK: `ack` lies in [sndUna, sndNxt]; `sacks` holds `sackCount` pairs. `echoedMs`
   * is the send time that a timestamp echo names, or -1. Returns whether anything was learned.
   */
  onAck(
    sndUna: number,
    ack: number,
    sndNxt: number,
    sacks: Uint32Array,
    sackCount: number,
    duplicate: boolean,
    cwndLimited: boolean,
    echoedMs: number,
    nowMs: number,
  ): void {
    const { runs } = this;
    const ackedBytes = seqDiff(ack, sndUna);
    let rttMs = -1;
    this.#forwardBefore = this.#forwardAck;
    while (runs.count > 0 && seqLt(runs.start(0), ack)) {
      const end = seqLt(ack, runs.end(0)) ? ack : runs.end(0);
      if (!runs.has(0, RunFlag.sacked)) {
        if (!runs.has(0, RunFlag.retransmitted)) rttMs = nowMs - runs.sentMs(0);
        this.#delivered(0, end, echoedMs, nowMs);
      }
      runs.trimFirst(ack);
    }
    const dsack = this.#takeSacks(ack, sndNxt, sacks, sackCount, echoedMs, nowMs);
    if (ackedBytes > 0 && rttMs < 0) rttMs = this.#echoedRttMs(echoedMs, nowMs);
    if (rttMs >= 0) this.rtt.sample(rttMs);
    if (ackedBytes > 0) {
      this.#rtoFromMs = nowMs;
      this.#duplicateAcks = 0;
      this.rtt.answered();
      if (seqLt(this.#forwardAck, ack)) this.#forwardAck = ack;
    } else if (duplicate) {
      this.#duplicateAcks++;
    }
    if (dsack) this.#onDsack(ack, sndNxt);
    if (this.phase !== RecoveryPhase.open && seqLe(this.#recoveryPoint, ack)) this.#leave();
    this.#tolerance.onAck(ack, sndNxt);
    this.#endProbe(ack, dsack, duplicate, sndNxt);
    this.#detectLoss(sndUna, ack, sndNxt, nowMs);
    const grows = this.phase === RecoveryPhase.timeout ||
      (cwndLimited && (this.phase === RecoveryPhase.open || !this.#tolerance.hasShrunk(ack)));
    if (ackedBytes > 0 && grows) {
      this.congestion.onAck(ackedBytes, nowMs, this.rtt.srttMs);
    }
  }

  /** Sets `timer` and `timerMs` from what is in flight; called after each ACK and each sending. */
  arm(flightBytes: number): void {
    if (this.runs.count === 0) {
      this.timer = RecoveryTimer.none;
      this.timerMs = Infinity;
      return;
    }
    const rtoAtMs = this.#rtoFromMs + this.rtt.rtoMs;
    this.timer = RecoveryTimer.rto;
    this.timerMs = rtoAtMs;
    if (this.#reorderAtMs < rtoAtMs) {
      this.timer = RecoveryTimer.reorder;
      this.timerMs = this.#reorderAtMs;
    } else if (this.mayProbe) {
      const srttMs = this.rtt.srttMs;
      const delayedMs = flightBytes <= this.#mssBytes ? DELAYED_ACK_MS : 0;
      const fromMs = Math.max(this.#rtoFromMs, this.runs.sentMs(this.runs.count - 1));
      const atMs = fromMs + 2 * srttMs + PROBE_SLACK_MS + delayedMs;
      if (atMs < rtoAtMs) {
        this.timer = RecoveryTimer.probe;
        this.timerMs = atMs;
      }
    }
  }

  /** The reordering timer is due: marks what is lost by now. */
  onReorderTimer(sndUna: number, sndNxt: number, nowMs: number): void {
    this.#reorderAtMs = Infinity;
    this.#detectLoss(sndUna, sndUna, sndNxt, nowMs);
  }

  /** A tail loss probe goes out; `repeats` says that it carries the last run's bytes again. */
  onProbe(sndNxt: number, repeats: boolean, nowMs: number): void {
    this.#probeEnd = sndNxt;
    this.#probeRepeats = repeats;
    this.#rtoFromMs = nowMs;
  }

  /** The path takes smaller segments only: what is out is lost, which says nothing of congestion. */
  lowerMss(mssBytes: number): void {
    const { runs } = this;
    this.#mssBytes = mssBytes;
    this.congestion.lowerMss(mssBytes);
    for (let i = 0; i < runs.count; i++) {
      if (!runs.has(i, RunFlag.sacked)) runs.mark(i, RunFlag.lost, 0);
    }
    this.#mustResend = runs.lostBytes > 0;
    this.#probeEnd = -1;
  }

  /** The retransmission timer expired: what must have arrived by now is lost (section 6.3). */
  onTimeout(sndUna: number, sndNxt: number, nowMs: number): void {
    const { runs } = this;
    // What was selectively acknowledged may be dropped again: a head that is sacked and still not
    // acknowledged says that it was, so nothing of it counts any more (RFC 2018 section 8).
    const reneged = runs.count > 0 && runs.has(0, RunFlag.sacked);
    for (let i = 0; i < runs.count; i++) {
      if (reneged) runs.mark(i, RunFlag.lost, RunFlag.sacked);
      if (runs.has(i, RunFlag.sacked | RunFlag.lost)) continue;
      const old = runs.sentMs(i) + this.#rackRttMs + this.#reorderWindowMs() <= nowMs;
      if (i === 0 || old) runs.mark(i, RunFlag.lost, 0);
    }
    this.#mustResend = true;
    if (this.phase !== RecoveryPhase.timeout) {
      this.congestion.onTimeout(seqDiff(sndNxt, sndUna));
      this.phase = RecoveryPhase.timeout;
    }
    this.#recoveryPoint = sndNxt;
    this.#probeEnd = -1;
    this.#reorderAtMs = Infinity;
    this.#duplicateAcks = 0;
    this.#rtoFromMs = nowMs;
    this.rtt.backOff();
  }

  /**
   * The link was away, and all that was under way is lost with it. As after a timeout, but from the
   * restart window (RFC 5681 section 4.1): that the link was cut says nothing of how much it carries.
   */
  afterAbsence(sndNxt: number, nowMs: number): void {
    const { runs } = this;
    const reneged = runs.count > 0 && runs.has(0, RunFlag.sacked);
    const lost = RunFlag.lost | RunFlag.retransmitted;
    for (let i = 0; i < runs.count; i++) {
      if (reneged) runs.mark(i, lost, RunFlag.sacked);
      else if (!runs.has(i, RunFlag.sacked)) runs.mark(i, lost, 0);
    }
    this.congestion.onIdle();
    this.rtt.reopened();
    this.#absenceMs = nowMs;
    this.#rtoFromMs = nowMs;
    this.#probeEnd = -1;
    this.#reorderAtMs = Infinity;
    this.#duplicateAcks = 0;
    this.#mustResend = runs.lostBytes > 0;
    if (runs.count === 0) return;
    this.phase = RecoveryPhase.timeout;
    this.#recoveryPoint = sndNxt;
  }

  /** Notes a retransmission of run `i`: the timer counts from here if it is the first one. */
  onResent(i: number, nowMs: number): void {
    this.#mustResend = false;
    this.runs.resent(i, nowMs);
    if (i === 0) this.#rtoFromMs = nowMs;
  }

  /** Index of the first run that is lost, or -1. */
  firstLost(): number {
    const { runs } = this;
    if (runs.lostBytes === 0) return -1;
    for (let i = 0; i < runs.count; i++) if (runs.has(i, RunFlag.lost)) return i;
    return -1;
  }

  /** Whether it is open what a tail loss probe has found out. */
  get probing(): boolean {
    return this.#probeEnd >= 0;
  }

  /** Whether a tail loss probe makes sense now (RFC 8985 section 7.2). */
  get mayProbe(): boolean {
    return this.#sack && this.runs.count > 0 && this.phase === RecoveryPhase.open &&
      this.#probeEnd < 0 &&
      this.rtt.srttMs > 0 && this.runs.sackedBytes === 0 && this.runs.lostBytes === 0;
  }

  /** A timestamp's echo tells the copies apart (RFC 7323 section 4.1); it counts in milliseconds. */
  #echoedRttMs(echoedMs: number, nowMs: number): number {
    if (echoedMs < this.#absenceMs) return -1;
    if (echoedMs < 0 || echoedMs > nowMs || nowMs - echoedMs > ECHO_MAX_MS) return -1;
    const { minRttMs } = this.rtt;
    return Math.max(nowMs - echoedMs, minRttMs === Infinity ? 1 : minRttMs);
  }

  #delivered(i: number, end: number, echoedMs: number, nowMs: number): void {
    const { runs } = this;
    const sentMs = runs.sentMs(i);
    const rttMs = nowMs - sentMs;
    if (sentMs < this.#absenceMs) {
      if (seqLt(this.#forwardAck, end)) this.#forwardAck = end;
      return;
    }
    if (runs.has(i, RunFlag.retransmitted)) {
      // Section 6.2 step 2: an ACK that may be of the first copy says nothing about the second.
      if (echoedMs >= 0 && echoedMs < sentMs - 1) return;
      if (rttMs < Math.min(this.rtt.minRttMs, 1e9)) return;
    } else if (seqLt(end, this.#forwardBefore)) {
      this.#reorderingSeen = true;
    }
    if (seqLt(this.#forwardAck, end)) this.#forwardAck = end;
    if (sentMs > this.#rackSentMs || (sentMs === this.#rackSentMs && seqLt(this.#rackEnd, end))) {
      this.#rackRttMs = rttMs;
      this.#rackSentMs = sentMs;
      this.#rackEnd = end;
    }
  }

  /** Marks the runs that the blocks name; returns whether the first was a D-SACK (RFC 2883). */
  #takeSacks(
    ack: number,
    sndNxt: number,
    sacks: Uint32Array,
    sackCount: number,
    echoedMs: number,
    nowMs: number,
  ): boolean {
    let dsack = false;
    for (let n = 0; n < sackCount; n++) {
      const start = sacks[2 * n]!;
      const end = sacks[2 * n + 1]!;
      if (!seqLt(start, end)) continue;
      if (seqLe(end, ack)) {
        dsack ||= n === 0;
        continue;
      }
      if (seqLt(start, ack) || seqLt(sndNxt, end)) continue;
      if (n === 0 && sackCount > 1 && seqLe(sacks[2]!, start) && seqLe(end, sacks[3]!)) {
        dsack = true;
      }
      this.#takeSack(start, end, echoedMs, nowMs);
    }
    return dsack;
  }

  #takeSack(start: number, end: number, echoedMs: number, nowMs: number): void {
    const { runs } = this;
    let i = runs.find(start);
    while (i < runs.count && seqLt(runs.start(i), end)) {
      if (runs.has(i, RunFlag.sacked)) {
        i++;
        continue;
      }
      if (seqLt(runs.start(i), start)) {
        if (!runs.split(i, start)) return;
        i++;
      }
      if (seqLt(end, runs.end(i)) && !runs.split(i, end)) return;
      this.#delivered(i, runs.end(i), echoedMs, nowMs);
      runs.mark(i, RunFlag.sacked, RunFlag.lost);
      if (i > 0 && runs.has(i - 1, RunFlag.sacked)) i--;
      runs.joinSacked(i);
      i++;
    }
  }

  #onDsack(ack: number, sndNxt: number): void {
    // One step wider for each round trip with a needless retransmission (section 6.2 step 4).
    if (this.#dsackRound >= 0 && seqLt(ack, this.#dsackRound)) return;
    this.#dsackRound = sndNxt;
    this.#reorderingSeen = true;
    this.#reorderWindows = Math.min(REORDER_WINDOWS_MAX, this.#reorderWindows + 1);
  }

  #reorderWindowMs(): number {
    const minRttMs = this.rtt.minRttMs;
    if (minRttMs === Infinity) return 0;
    if (!this.#reorderingSeen) {
      const many = this.runs.sackedBytes >= DUPLICATE_THRESHOLD * this.#mssBytes;
      if (this.phase !== RecoveryPhase.open || many) return 0;
    }
    return Math.min(this.#reorderWindows * minRttMs / 4, this.rtt.srttMs);
  }

  #detectLoss(sndUna: number, ack: number, sndNxt: number, nowMs: number): void {
    const { runs } = this;
    this.#reorderAtMs = Infinity;
    if (runs.count === 0) return;
    const before = runs.lostBytes;
    if (!this.#sack) {
      this.#detectByDuplicates(sndUna, ack);
    } else if (runs.sackedBytes > 0 || runs.retransmittedRuns > 0) {
      this.#detectByTime(nowMs);
    }
    const lostBytes = runs.lostBytes - before;
    if (lostBytes === 0) return;
    if (!this.#sack || this.phase === RecoveryPhase.open) this.#mustResend = true;
    if (this.phase === RecoveryPhase.open) {
      this.phase = RecoveryPhase.recovery;
      this.#recoveryPoint = sndNxt;
      this.#probeEnd = -1;
    }
    if (this.phase === RecoveryPhase.recovery) this.#judgeLoss(lostBytes, ack, sndNxt);
  }

  #judgeLoss(lostBytes: number, ack: number, sndNxt: number): void {
    if (!this.#tolerance.isCongestion(lostBytes, ack, sndNxt, this.#mssBytes)) return;
    this.congestion.onLoss(seqDiff(sndNxt, ack));
  }

  #detectByTime(nowMs: number): void {
    const { runs } = this;
    const windowMs = this.#reorderWindowMs();
    for (let i = 0; i < runs.count; i++) {
      if (runs.has(i, RunFlag.sacked | RunFlag.lost)) continue;
      const sentMs = runs.sentMs(i);
      const before = sentMs < this.#rackSentMs ||
        (sentMs === this.#rackSentMs && seqLt(runs.end(i), this.#rackEnd));
      if (!before) continue;
      const dueMs = sentMs + this.#rackRttMs + windowMs;
      if (dueMs <= nowMs) {
        runs.mark(i, RunFlag.lost, 0);
      } else if (dueMs < this.#reorderAtMs) {
        this.#reorderAtMs = dueMs;
      }
    }
  }

  #detectByDuplicates(sndUna: number, ack: number): void {
    const { runs } = this;
    const partial = this.phase === RecoveryPhase.recovery && seqLt(sndUna, ack);
    if (!partial && this.#duplicateAcks !== DUPLICATE_THRESHOLD) return;
    if (runs.has(0, RunFlag.lost)) return;
    if (runs.length(0) > this.#mssBytes) runs.split(0, (runs.start(0) + this.#mssBytes) >>> 0);
    runs.mark(0, RunFlag.lost, 0);
  }

  /** Section 7.4: whether the probe found out that the tail had been lost. */
  #endProbe(ack: number, dsack: boolean, duplicate: boolean, sndNxt: number): void {
    if (this.#probeEnd < 0 || seqLt(ack, this.#probeEnd)) return;
    const beyond = seqLt(this.#probeEnd, ack);
    // An ACK of exactly the probe may be for either copy; the next one tells.
    if (this.#probeRepeats && !dsack && !duplicate && !beyond) return;
    this.#probeEnd = -1;
    if (this.#probeRepeats && !dsack && beyond) this.#judgeLoss(this.#mssBytes, ack, sndNxt);
  }

  #leave(): void {
    this.phase = RecoveryPhase.open;
    this.#duplicateAcks = 0;
    if (this.#reorderWindows > 1) this.#reorderWindows--;
  }
}
