/**
 * One TCP connection of the guest: the gateway plays the peer that the guest talks to, for all of
 * RFC 9293 section 3.3.2, in both opening directions.
 *
 * The states and their moves are in `state.ts`.
 *
 * A guest's SYN is held in `offered`, unanswered, until its owner says `accept` or `refuse`: the
 * handshake completes only after the host has connected. Time comes in with each call; what is due
 * later is told by `pollAt`. Events for the owner are bits that the endpoint hands over once a
 * turn. The urgent pointer is never used as an index: urgent bytes are bytes.
 *
 * @module
 */
import { assert } from "@std/assert";
import { TcpFlag } from "../../wire/tcp.ts";
import { Counter } from "../counters.ts";
import type { WheelEntry } from "../timing_wheel.ts";
import { type QuotedError, QuotedErrorKind } from "../quoted_error.ts";
import type { TcpEndpoint } from "./endpoint.ts";
import { Received, TcpReceiver } from "./receive.ts";
import { Negotiated } from "./negotiated.ts";
import { Dispatched, TcpOutput } from "./output.ts";
import { RecoveryTimer } from "./recovery.ts";
import type { Segment } from "./segment.ts";
import { isWord, mayHave, owesWord, Silence } from "./silence.ts";
import type { HeaderTemplate } from "./segment_writer.ts";
import { TcpSender } from "./send.ts";
import { seqAdd, seqLe, seqLt } from "./sequence.ts";
import { isLegalMove, type TcpCloseReason, TcpEvent, type TcpOwner, TcpState } from "./state.ts";

/** An ACK of a single small segment may wait this long for data to ride on (RFC 9293, < 500 ms). */
const DELAYED_ACK_MS = 5;
/** The same on a flow of requests and answers, where timers would be set for nothing. */
const RIDING_ACK_MS = 40;
/** So many ACKs in a row that rode on data make a flow one of requests and answers. */
const ACK_RIDES = 8;
const RETRANSMISSIONS_MAX = 15;
const SYN_TIMEOUT_MS = 1000;
const SYN_RETRANSMISSIONS_MAX = 5;
/** The longest pause of whoever sends something again, whatever its system: Linux makes 120 s. */
const REPEAT_MAX_MS = 130_000;
const CHALLENGE_INTERVAL_MS = 500 / 5;
/** What carries no data and is not in order is answered once in so long (RFC 5961 section 7). */
const INVALID_INTERVAL_MS = 500;

/** One connection. */
export class TcpConnection implements WheelEntry {
  state: TcpState;
  closeReason: TcpCloseReason = "finished";
  owner: TcpOwner | null = null;
  readonly receiver: TcpReceiver;
  readonly sender: TcpSender;
  /** Handle in the endpoint's flow table. */
  handle = -1;
  // The timing wheel's and the endpoint's lists.
  deadlineMs = Infinity;
  wheelSlot = -1;
  wheelPrevious: WheelEntry | null = null;
  wheelNext: WheelEntry | null = null;
  nextDirty: TcpConnection | null = null;
  dirty = false;
  awaitsLane = false;
  lanePrevious: TcpConnection | null = null;
  laneNext: TcpConnection | null = null;
  nextReady: TcpConnection | null = null;
  waitPrevious: TcpConnection | null = null;
  waitNext: TcpConnection | null = null;
  /** Bits of `TcpEvent` for the owner. */
  events = 0;
  /** When our first SYN went. */
  synSentMs = 0;
  /** Whether it is over and in the table still, since the guest has not been told. */
  isBuried = false;
  /** Why nothing is sent: the link was away, and the guest has not spoken for the flow since. */
  silence: Silence | null = null;
  readonly #endpoint: TcpEndpoint;
  readonly #options: Negotiated;
  readonly #output: TcpOutput;
  /** Whether our SYN is to be sent, and when it is sent again. */
  #synDue = false;
  #synMs = Infinity;
  #synRetries = 0;
  #synRetriesMax = SYN_RETRANSMISSIONS_MAX;
  /** Whether the guest has asked for our SYN again: nothing tells which one its ACK is for. */
  #synRepeated = false;
  #idleFromMs: number;
  #timeWaitMs = Infinity;
  #challengeMs = -Infinity;
  #invalidMs = -Infinity;
  #wantsSpace = false;

  constructor(
    endpoint: TcpEndpoint,
    state: TcpState,
    iss: number,
    nowMs: number,
    tsOffset: number,
  ) {
    this.#endpoint = endpoint;
    this.state = state;
    this.#idleFromMs = nowMs;
    this.#options = new Negotiated(tsOffset);
    this.receiver = new TcpReceiver(endpoint.link.memory, endpoint.pool, endpoint.receiverLimits);
    this.sender = new TcpSender(endpoint.pool, endpoint.senderLimits, iss);
    this.#output = new TcpOutput(endpoint.link, this.sender, this.receiver, this.#options);
  }

  /** The constant headers of the flow. */
  get template(): HeaderTemplate {
    return this.#output.template;
  }

  /** For the endpoint, as it takes the flow in. */
  set template(template: HeaderTemplate) {
    this.#output.template = template;
  }

  // ---- The owner's side -------------------------------------------------------------------

  /** Answers the guest's SYN: the host has connected. */
  accept(nowMs: number): void {
    if (this.state !== TcpState.offered) return;
    this.#enter(TcpState.synReceived);
    this.#idleFromMs = nowMs;
    this.#synDue = true;
    this.#endpoint.touch(this);
  }

  /** Ends a held SYN with an RST. */
  refuse(): void {
    if (this.state !== TcpState.offered) return;
    if (this.silence === null) this.#output.sendReset(true);
    this.#endpoint.counters.values[REFUSED]!++;
    this.#close("refused");
  }

  /** Forgets a held SYN without a word. */
  drop(): void {
    if (this.state === TcpState.offered) this.#close("refused");
  }

  /** Free contiguous bytes at `sender.ring.writeSpanAt`; 0 asks for a `writable` event. */
  sendSpan(): number {
    if (!this.#mayStillSend()) return 0;
    const bytes = this.sender.prepareSpan();
    if (this.sender.ring.at < 0) this.#endpoint.starves(this);
    this.#wantsSpace = bytes === 0;
    return bytes;
  }

  /** The host's bytes stand in the send span. */
  commitSend(bytes: number): void {
    if (!this.#mayStillSend()) return;
    this.sender.commit(bytes);
    this.#endpoint.touch(this);
  }

  /** The guest's bytes in order: their length, at `receiver.ring.readSpanAt`. */
  receiveSpan(): number {
    return this.receiver.readySpanBytes;
  }

  /** The host has taken `bytes` of the receive span. */
  consume(bytes: number): void {
    this.receiver.consume(bytes);
    if (this.receiver.ackNow) this.#endpoint.touch(this);
  }

  /** Whether every byte and the FIN of the guest have come. */
  get guestFinished(): boolean {
    return this.receiver.finished;
  }

  /** Memory may be had again: the owner asks once more. */
  retrySpan(): void {
    if (!this.#wantsSpace || !this.#mayStillSend()) return;
    this.#wantsSpace = false;
    this.#raise(TcpEvent.writable);
  }

  /** Since when the guest takes nothing of what waits for it; `Infinity` where it does. */
  get stalledSinceMs(): number {
    if (this.silence === null) return this.#output.stalledSinceMs;
    if (this.state === TcpState.closed) return Infinity;
    return this.owesWord ? this.silence.backMs : Infinity;
  }

  /** Nothing more comes from the host: FIN after what is queued. */
  finish(): void {
    if (!this.#mayStillSend() || this.sender.finishing) return;
    this.sender.finishing = true;
    if (this.state === TcpState.established) {
      this.#enter(TcpState.finWait1);
    } else if (this.state === TcpState.closeWait) {
      this.#enter(TcpState.lastAck);
    }
    this.#endpoint.touch(this);
  }

  /** Ends it now, with an RST for the guest unless it is silent. */
  abort(reason: TcpCloseReason = "aborted"): void {
    if (this.state === TcpState.closed) return;
    if (this.state !== TcpState.timeWait && this.silence === null) {
      this.#output.sendReset(this.state === TcpState.offered);
    }
    this.#close(reason);
  }

  /**
   * Ends a handshake whose SYN-ACK nobody answers, without a word: a guest that answers after all
   * hears of it with its next segment.
   */
  forsake(): void {
    if (this.state === TcpState.synReceived) this.#close("timeout");
  }

  /** Ends it now, without a word: for when even an RST fails. */
  vanish(): void {
    this.#close("aborted");
  }

  /** Sends the SYN of a connection that the host side opens, and as often again as is said. */
  open(synRetransmissionsMax = SYN_RETRANSMISSIONS_MAX): void {
    this.#synRetriesMax = synRetransmissionsMax;
    this.#synDue = true;
    this.#endpoint.touch(this);
  }

  // ---- A link that goes away --------------------------------------------------------------

  /** The link is gone: nothing more is sent until the guest has spoken for this flow. */
  hush(): void {
    this.silence ??= new Silence();
    this.silence.hush();
  }

  /** The link is back after `awayMs`, which count for no timer. */
  back(awayMs: number, nowMs: number): void {
    this.#idleFromMs += awayMs;
    if (this.silence === null) return;
    this.silence.backMs = nowMs;
    // What it has not heard to be there it sends again, but after so long not soon.
    if (this.state === TcpState.timeWait) this.#timeWaitMs = nowMs + REPEAT_MAX_MS;
  }

  /** The guest was heard on the link that is back. */
  heard(place: number, nowMs: number): void {
    // Of our SYN it knows nothing: that goes out as a first one does.
    this.silence?.heard(nowMs, place, this.state !== TcpState.synSent);
  }

  /** Whether something waits for the guest that it can't know of. */
  get owesWord(): boolean {
    return this.isBuried || owesWord(this.state, this.sender);
  }

  /** Whether a SYN says that the guest has forgotten this flow, as one that was started again has. */
  isForgotten(segment: Segment): boolean {
    return this.silence !== null && this.state !== TcpState.offered &&
      segment.seq !== this.receiver.irs;
  }

  /** The guest has spoken for the flow: it goes on, as after a timeout. */
  #resume(nowMs: number): void {
    this.silence = null;
    this.#idleFromMs = nowMs;
    this.#endpoint.counters.values[RESUMED]!++;
    this.#synMs = Infinity;
    this.#synRetries = 0;
    this.#synRepeated = true;
    this.sender.recovery.afterAbsence(this.sender.sndNxt, nowMs);
    this.#output.afterAbsence();
    if (this.state === TcpState.offered || this.state === TcpState.synSent) return;
    this.#acknowledgeNow(); // with the window
  }

  #onSilentTimer(nowMs: number): void {
    if (this.state === TcpState.closed) return this.#onBuriedTimer(this.silence!, nowMs);
    if (this.#timeWaitMs <= nowMs && !this.#endpoint.isAway) return this.#close("finished");
    const idleMs = this.#endpoint.isAway ? Infinity : this.#idleFromMs + this.#endpoint.idleMs;
    if (idleMs <= nowMs && this.state !== TcpState.timeWait) return this.abort("timeout");
    const { askMs, isUnanswered, unopenedMs, uncompletedMs } = this.silence!;
    if (askMs <= nowMs && isUnanswered) return this.abort("timeout");
    if (this.state === TcpState.synSent && unopenedMs <= nowMs) return this.abort("timeout");
    if (this.state === TcpState.synReceived && uncompletedMs <= nowMs) return this.forsake();
    this.#endpoint.touch(this);
  }

  /** A guest that answers hears that the flow is no more. */
  #onBuriedTimer(silence: Silence, nowMs: number): void {
    if (silence.isUnanswered) return this.#endpoint.exhume(this);
    this.#output.ask(nowMs);
    silence.asked(nowMs);
  }

  #dispatchSilent(silence: Silence, nowMs: number): Dispatched {
    if (silence.askMs > nowMs || !this.owesWord) return Dispatched.done;
    if (this.state === TcpState.synSent) {
      this.silence = null;
      this.#synDue = true;
      this.#synMs = Infinity;
      this.#synRetries = 0;
      return this.#dispatchSyn(nowMs);
    }
    if (!this.#output.ask(nowMs)) return Dispatched.blocked;
    silence.asked(nowMs);
    return Dispatched.done;
  }

  // ---- Segments ---------------------------------------------------------------------------

  /** The guest's SYN that made this connection. */
  takeSyn(segment: Segment, nowMs: number): void {
    const options = this.#options;
    const endpoint = this.#endpoint;
    const { family } = this.template;
    this.receiver.synchronise(segment.seq);
    options.take(segment.options, family, endpoint.largestSegment(family), nowMs);
    this.sender.begin(options.mssBytes, options.sack);
    this.sender.shift = Math.max(0, options.peerShift);
    this.receiver.mssBytes = options.mssBytes;
    this.receiver.shift = options.peerShift < 0 ? 0 : endpoint.windowShift;
    this.sender.setWindow(segment.seq, segment.ack, segment.window);
  }

  /** A segment of the guest for this connection (RFC 9293 section 3.10.7). */
  process(segment: Segment, nowMs: number): void {
    if (this.silence !== null) {
      const isOld = this.#options.isOld(segment.options, nowMs);
      if (!isWord(segment, isOld, this.state, this.receiver, this.sender)) {
        this.#endpoint.counters.values[SILENT]!++;
        return;
      }
      if (!segment.has(TcpFlag.rst)) this.#resume(nowMs);
    }
    switch (this.state) {
      case TcpState.offered:
        return this.#inOffered(segment, nowMs);
      case TcpState.synSent:
        return this.#inSynSent(segment, nowMs);
      case TcpState.closed:
        return;
      default:
        return this.#inSynchronised(segment, nowMs);
    }
  }

  /**
   * An ICMP error of the guest about our segment with the number `seq`. Only one about what is in
   * flight counts. It ends nothing but an opening that the guest has not answered yet; to everything
   * else an error is soft (RFC 5927 section 5, RFC 9293 section 3.9.2.2).
   *
   * @returns Whether the error fits this connection.
   */
  processError(error: QuotedError, seq: number): boolean {
    const { sender } = this;
    const { values } = this.#endpoint.counters;
    if (this.state === TcpState.offered || this.state === TcpState.closed) return false;
    if (this.silence !== null) return false;
    if (!seqLe(sender.sndUna, seq) || !seqLt(seq, sender.sndNxt)) return false;
    if (error.kind === QuotedErrorKind.tooBig) {
      if (this.state === TcpState.synSent || this.state === TcpState.synReceived) return false;
      if (error.packetBytes <= error.mtuBytes) return false;
      const stopsJoining = this.#output.stopJoining(error.packetBytes);
      if (!this.#options.lowerMtu(error.mtuBytes, error.family) && !stopsJoining) return false;
      values[TOO_BIG]!++;
      sender.recovery.lowerMss(this.#options.mssBytes);
      this.#endpoint.touch(this);
      return true;
    }
    values[SOFT]!++;
    if (this.state === TcpState.synSent && error.kind === QuotedErrorKind.unreachable) {
      this.#close("refused");
    }
    return true;
  }

  #inOffered(segment: Segment, nowMs: number): void {
    if (segment.has(TcpFlag.rst)) {
      if (segment.seq === this.receiver.rcvNxt || segment.seq === this.receiver.irs) {
        this.#resetByGuest();
      }
    } else if (segment.has(TcpFlag.syn) && segment.seq !== this.receiver.irs) {
      this.takeSyn(segment, nowMs); // the guest starts again; the dial is still good
    }
  }

  #inSynSent(segment: Segment, nowMs: number): void {
    const acknowledges = segment.has(TcpFlag.ack);
    const right = acknowledges && segment.ack === seqAdd(this.sender.iss, 1);
    if (acknowledges && !right) {
      if (!segment.has(TcpFlag.rst)) this.#endpoint.resetAgainst(segment, this.template);
      return;
    }
    if (segment.has(TcpFlag.rst)) {
      if (right) this.#resetByGuest("refused");
      return;
    }
    if (!segment.has(TcpFlag.syn)) return;
    this.takeSyn(segment, nowMs);
    this.sender.sndNxt = seqAdd(this.sender.iss, 1);
    if (!right) {
      this.#enter(TcpState.synReceived); // both sides opened at once
      this.#synDue = true;
      this.#endpoint.touch(this);
      return;
    }
    this.sender.sndUna = segment.ack;
    this.#synMs = Infinity;
    this.#sampleSyn(nowMs);
    this.receiver.ackNow = true;
    this.#becomeEstablished();
    this.#endpoint.touch(this);
  }

  #inSynchronised(segment: Segment, nowMs: number): void {
    const { receiver } = this;
    const { options } = segment;
    if (!segment.has(TcpFlag.rst) && this.#options.isOld(options, nowMs)) {
      this.#endpoint.counters.values[PAWS]!++;
      return this.#answerInvalid(segment, nowMs);
    }
    if (
      this.state === TcpState.synReceived && segment.has(TcpFlag.syn) &&
      segment.seq === receiver.irs
    ) {
      return this.#inRepeatedSyn(segment, nowMs);
    }
    const sequenceBytes = segment.sequenceBytes;
    if (!receiver.acceptable(segment.seq, sequenceBytes)) {
      return this.#inUnacceptable(segment, nowMs);
    }
    if (segment.has(TcpFlag.rst)) return this.#inReset(segment, nowMs);
    if (segment.has(TcpFlag.syn)) return this.#challenge(nowMs); // RFC 5961 section 4
    if (!segment.has(TcpFlag.ack)) {
      this.#endpoint.counters.values[NOACK]!++;
      return;
    }
    if (this.state === TcpState.synReceived && !this.#acknowledgesSyn(segment, nowMs)) return;
    if (!this.#takeAck(segment, nowMs)) return;
    if (
      options.timestamps && this.#options.timestamps && seqLe(segment.seq, receiver.lastAckSent)
    ) {
      this.#options.remember(options.timestampValue, nowMs); // RFC 7323 section 4.3
    }
    this.#idleFromMs = nowMs;
    if (sequenceBytes > 0) this.#takeData(segment, nowMs);
    this.#afterAck(nowMs);
    this.#endpoint.touch(this);
  }

  /** The guest's SYN again: our answer was lost, or both sides opened at once. */
  #inRepeatedSyn(segment: Segment, nowMs: number): void {
    if (segment.has(TcpFlag.ack) && segment.ack === seqAdd(this.sender.iss, 1)) {
      this.#acknowledgesSyn(segment, nowMs);
      this.receiver.ackNow = true;
    } else {
      this.#synDue = true;
      this.#synRepeated = true;
    }
    this.#endpoint.touch(this);
  }

  /** A segment outside the window: an ACK says where we are, except to a reset. */
  #inUnacceptable(segment: Segment, nowMs: number): void {
    const { receiver } = this;
    if (segment.has(TcpFlag.rst)) {
      this.#endpoint.counters.values[WINDOW]!++;
      return;
    }
    if (this.state === TcpState.timeWait && segment.has(TcpFlag.fin)) this.#startTimeWait(nowMs);
    const end = seqAdd(segment.seq, segment.dataBytes);
    if (segment.dataBytes > 0 && seqLe(end, receiver.rcvNxt)) {
      this.#endpoint.counters.values[DUPLICATE]!++;
      receiver.noteDuplicate(segment.seq, end);
    } else {
      this.#endpoint.counters.values[WINDOW]!++;
    }
    // A zero-window probe, a keepalive, and what a guest says that has used the window up (its
    // number is the edge) carry a good ACK that must count.
    if (
      segment.has(TcpFlag.ack) && !segment.has(TcpFlag.syn) && this.state !== TcpState.synReceived
    ) {
      const limit = segment.dataBytes === 0 ? receiver.rcvEdge : receiver.rcvNxt;
      if (seqLe(segment.seq, limit) && this.#takeAck(segment, nowMs)) {
        this.#idleFromMs = nowMs;
        this.#afterAck(nowMs);
      }
    }
    this.#answerInvalid(segment, nowMs);
  }

  /**
   * An ACK for what is not in order. What takes no number may be an answer to an answer, and two ends
   * that disagree would go on for ever; data, and a FIN, tell of an ACK that was lost.
   */
  #answerInvalid(segment: Segment, nowMs: number): void {
    if (segment.sequenceBytes === 0) {
      if (nowMs - this.#invalidMs < INVALID_INTERVAL_MS) return;
      this.#invalidMs = nowMs;
    }
    this.#acknowledgeNow();
  }

  #inReset(segment: Segment, nowMs: number): void {
    if (segment.seq !== this.receiver.rcvNxt) return this.#challenge(nowMs); // RFC 5961 section 3
    if (this.state === TcpState.timeWait) return; // RFC 1337
    this.#resetByGuest();
  }

  #acknowledgesSyn(segment: Segment, nowMs: number): boolean {
    const { sender } = this;
    // Whoever acknowledges a SYN that still waits for room in the device has guessed its number.
    if (sender.sndNxt === sender.iss || segment.ack !== seqAdd(sender.iss, 1)) {
      this.#endpoint.resetAgainst(segment, this.template);
      return false;
    }
    // The window of a SYN is never scaled (RFC 7323 section 2.2).
    const shift = segment.has(TcpFlag.syn) ? 0 : sender.shift;
    sender.setWindow(segment.seq, segment.ack, segment.window << shift);
    sender.sndUna = segment.ack;
    this.#synMs = Infinity;
    this.#sampleSyn(nowMs);
    this.#becomeEstablished();
    return true;
  }

  /** ACK, window and SACK of an acceptable segment; false when the segment must be dropped. */
  #takeAck(segment: Segment, nowMs: number): boolean {
    const { sender } = this;
    const { recovery } = sender;
    const ack = segment.ack;
    if (!sender.hasSent(ack)) {
      this.#challenge(nowMs); // RFC 5961 section 5
      return false;
    }
    const window = segment.window << sender.shift;
    const wasClosed = sender.sndWnd === 0;
    const windowChanged = sender.updateWindow(segment.seq, ack, window);
    if (seqLt(ack, sender.sndUna)) return true;
    const { options } = segment;
    const advanced = ack !== sender.sndUna;
    const awaiting = recovery.runs.count > 0 || recovery.probing;
    if (!advanced && options.sackBlocks === 0 && !awaiting) {
      if (windowChanged) this.#output.windowChanged();
      return true;
    }
    const duplicate = !advanced && segment.dataBytes === 0 && !windowChanged && awaiting;
    recovery.onAck(
      sender.sndUna,
      ack,
      sender.sndNxt,
      options.sackEdges,
      this.#options.sack ? options.sackBlocks : 0,
      duplicate,
      sender.cwndLimited,
      this.#options.echoedMs(options, nowMs),
      nowMs,
    );
    if (advanced) {
      sender.acknowledge(ack);
      if (this.#wantsSpace && this.#mayStillSend()) {
        this.#wantsSpace = false;
        this.#raise(TcpEvent.writable);
      }
    } else if (sender.sndWnd === 0) {
      recovery.rtt.answered(); // that never counts towards giving up
    } else if (wasClosed) {
      recovery.rtt.reopened(); // what went out into the closed window is lost: it goes out at once
    }
    recovery.arm(sender.flightBytes);
    return true;
  }

  #takeData(segment: Segment, nowMs: number): void {
    const { receiver } = this;
    const fin = segment.has(TcpFlag.fin);
    switch (this.state) {
      case TcpState.established:
      case TcpState.finWait1:
      case TcpState.finWait2: {
        const before = receiver.finished;
        const result = receiver.accept(segment.seq, segment.dataAt, segment.dataBytes, fin);
        if (result === Received.inOrder) this.#raise(TcpEvent.readable);
        else if (result === Received.early) this.#endpoint.counters.values[OUT_OF_ORDER]!++;
        else if (result === Received.duplicate) this.#endpoint.counters.values[DUPLICATE]!++;
        else if (result === Received.refused) this.#endpoint.refusedForMemory();
        else if (result === Received.scattered) this.#endpoint.counters.values[RANGES]!++;
        if (receiver.finished && !before) this.#takeFin(nowMs);
        if (
          !receiver.ackNow && receiver.unacknowledged > 0 && this.#output.delayedAckMs === Infinity
        ) {
          const delayMs = this.#output.ackRides < ACK_RIDES ? DELAYED_ACK_MS : RIDING_ACK_MS;
          this.#output.delayedAckMs = nowMs + delayMs;
        }
        return;
      }
      default:
        receiver.ackNow = true; // the guest sends again what it has finished already
        if (this.state === TcpState.timeWait && fin) this.#startTimeWait(nowMs);
    }
  }

  #takeFin(nowMs: number): void {
    this.#raise(TcpEvent.readable);
    if (this.state === TcpState.established) {
      this.#enter(TcpState.closeWait);
    } else if (this.state === TcpState.finWait1) {
      this.#enter(this.sender.finAcknowledged ? TcpState.timeWait : TcpState.closing);
    } else {
      this.#enter(TcpState.timeWait);
    }
    if (this.state === TcpState.timeWait) this.#startTimeWait(nowMs);
  }

  /** Moves that follow from the guest having acknowledged our FIN. */
  #afterAck(nowMs: number): void {
    if (!this.sender.finAcknowledged) return;
    if (this.state === TcpState.finWait1) {
      this.#enter(TcpState.finWait2);
    } else if (this.state === TcpState.closing) {
      this.#enter(TcpState.timeWait);
      this.#startTimeWait(nowMs);
    } else if (this.state === TcpState.lastAck) {
      this.#close("finished");
    }
  }

  /** Whether a SYN in TIME_WAIT may open a new connection (RFC 6191, RFC 9293 section 3.6.1). */
  mayReopen(segment: Segment): boolean {
    if (this.state !== TcpState.timeWait) return false;
    const { options } = segment;
    if (
      this.#options.timestamps && options.timestamps &&
      seqLt(this.#options.tsRecent, options.timestampValue)
    ) return true;
    return seqLt(this.receiver.rcvNxt, segment.seq);
  }

  // ---- Timers -----------------------------------------------------------------------------

  /** The earliest time at which `onTimer` has something to do. */
  pollAt(): number {
    if (this.state === TcpState.closed) return this.isBuried ? this.silence!.askMs : Infinity;
    if (this.state === TcpState.timeWait) {
      if (this.silence !== null) return this.#endpoint.isAway ? Infinity : this.#timeWaitMs;
      return Math.min(this.#timeWaitMs, this.#output.delayedAckMs);
    }
    const idleMs = this.#idleFromMs + this.#endpoint.idleMs;
    if (this.silence !== null) {
      if (this.state === TcpState.synSent) {
        return Math.min(this.silence.askMs, this.silence.unopenedMs);
      }
      const askMs = this.owesWord ? this.silence.askMs : Infinity;
      const endMs = this.state === TcpState.synReceived ? this.silence.uncompletedMs : idleMs;
      return Math.min(askMs, this.#endpoint.isAway ? Infinity : Math.min(endMs, idleMs));
    }
    return Math.min(
      this.sender.recovery.timerMs,
      this.#output.delayedAckMs,
      this.#output.persistMs,
      this.#synMs,
      this.#timeWaitMs,
      idleMs,
    );
  }

  /** Does what is due. */
  onTimer(nowMs: number): void {
    if (this.silence !== null) return this.#onSilentTimer(nowMs);
    const output = this.#output;
    if (this.#timeWaitMs <= nowMs) return this.#close("finished");
    if (this.#idleFromMs + this.#endpoint.idleMs <= nowMs && this.state !== TcpState.timeWait) {
      return this.abort("timeout");
    }
    if (this.#synMs <= nowMs) {
      if (this.#synRetries >= this.#synRetriesMax) return this.abort("timeout");
      this.#synRetries++;
      this.#synMs = nowMs + SYN_TIMEOUT_MS * 2 ** this.#synRetries;
      this.#synDue = true;
    }
    if (output.delayedAckMs <= nowMs) {
      output.delayedAckMs = Infinity;
      output.ackRides = 0;
      if (this.receiver.unacknowledged > 0) this.receiver.ackNow = true;
    }
    if (output.persistMs <= nowMs) output.onPersistTimer();
    if (this.sender.recovery.timerMs <= nowMs && !this.#onRecoveryTimer(nowMs)) return;
    this.#endpoint.touch(this);
  }

  #onRecoveryTimer(nowMs: number): boolean {
    const { sender } = this;
    const { recovery } = sender;
    if (recovery.timer === RecoveryTimer.reorder) {
      recovery.onReorderTimer(sender.sndUna, sender.sndNxt, nowMs);
    } else if (recovery.timer === RecoveryTimer.probe) {
      this.#output.onTailProbeTimer();
    } else if (recovery.timer === RecoveryTimer.rto) {
      if (recovery.rtt.unanswered >= RETRANSMISSIONS_MAX) {
        this.abort("timeout");
        return false;
      }
      this.#endpoint.counters.values[RTO]!++;
      recovery.onTimeout(sender.sndUna, sender.sndNxt, nowMs);
    }
    recovery.arm(sender.flightBytes);
    return true;
  }

  // ---- Sending ----------------------------------------------------------------------------

  /** Writes what is due to the device, at most `TURN_BYTES` of data. */
  dispatch(nowMs: number): Dispatched {
    if (this.silence !== null) return this.#dispatchSilent(this.silence, nowMs);
    switch (this.state) {
      case TcpState.closed:
      case TcpState.offered:
        return Dispatched.done;
      case TcpState.synSent:
      case TcpState.synReceived:
        return this.#dispatchSyn(nowMs);
      default:
        return this.#output.dispatch(nowMs);
    }
  }

  #dispatchSyn(nowMs: number): Dispatched {
    if (!this.#synDue) return Dispatched.done;
    const endpoint = this.#endpoint;
    const opening = this.state === TcpState.synSent;
    const mssBytes = endpoint.largestSegment(this.template.family);
    if (!this.#output.sendSyn(opening, mssBytes, endpoint.windowShift, nowMs)) {
      return Dispatched.blocked;
    }
    this.#synDue = false;
    if (this.#synMs === Infinity) {
      this.synSentMs = nowMs;
      this.#synMs = nowMs + SYN_TIMEOUT_MS;
      if (!opening) endpoint.awaitsAnswer(this);
    }
    this.receiver.acknowledged();
    return Dispatched.done;
  }

  // ---- States -----------------------------------------------------------------------------

  #acknowledgeNow(): void {
    this.receiver.ackNow = true;
    this.#endpoint.touch(this);
  }

  /** An ACK that only the real guest makes use of; limited for each flow (RFC 5961 section 7). */
  #challenge(nowMs: number): void {
    if (nowMs - this.#challengeMs < CHALLENGE_INTERVAL_MS) return;
    this.#challengeMs = nowMs;
    this.#endpoint.counters.values[CHALLENGE]!++;
    this.#acknowledgeNow();
  }

  #sampleSyn(nowMs: number): void {
    if (this.#synRetries === 0 && !this.#synRepeated) {
      this.sender.recovery.rtt.sample(Math.max(0.01, nowMs - this.synSentMs));
    }
    this.#idleFromMs = nowMs;
  }

  #becomeEstablished(): void {
    const finishing = this.sender.finishing;
    this.#enter(finishing ? TcpState.finWait1 : TcpState.established);
    this.#endpoint.completed(this);
    this.#raise(TcpEvent.established);
  }

  #mayStillSend(): boolean {
    switch (this.state) {
      case TcpState.synSent:
      case TcpState.synReceived:
      case TcpState.established:
      case TcpState.closeWait:
        return true;
      default:
        return false;
    }
  }

  #startTimeWait(nowMs: number): void {
    if (this.#timeWaitMs === Infinity) this.#endpoint.entersTimeWait(this);
    this.#timeWaitMs = nowMs + this.#endpoint.timeWaitMs;
  }

  #resetByGuest(reason: TcpCloseReason = "reset"): void {
    this.#endpoint.counters.values[RESET_RECEIVED]!++;
    this.#close(reason);
  }

  #raise(event: number): void {
    this.events |= event;
    this.#endpoint.ready(this);
  }

  #enter(next: TcpState): void {
    assert(isLegalMove(this.state, next), `Cannot go from ${this.state} to ${next}`);
    this.state = next;
  }

  #close(reason: TcpCloseReason): void {
    if (this.state === TcpState.closed) return;
    const halfOpen = this.state === TcpState.offered || this.state === TcpState.synSent ||
      this.state === TcpState.synReceived;
    if (halfOpen) this.#endpoint.failed(this);
    this.isBuried = this.silence !== null && reason === "aborted" &&
      mayHave(this.state, this.sender);
    this.#enter(TcpState.closed);
    this.closeReason = reason;
    // What a guest has finished sending is owed to the host, also where nobody answers for it any
    // more: the owner takes it and releases the receiver then.
    const isOwed = this.receiver.finished && reason !== "aborted";
    if (!isOwed) this.receiver.release();
    this.sender.release();
    if (this.isBuried) this.#endpoint.bury(this);
    else this.#endpoint.remove(this);
    this.#raise(TcpEvent.closed);
  }
}

const TOO_BIG = Counter["icmp.toobig"];
const SOFT = Counter["icmp.soft"];
const RESUMED = Counter["tcp.resumed"];
const SILENT = Counter["drop.tcp.silent"];
const PAWS = Counter["drop.tcp.paws"];
const NOACK = Counter["drop.tcp.noack"];
const WINDOW = Counter["drop.tcp.window"];
const RANGES = Counter["drop.tcp.ranges"];
const DUPLICATE = Counter["tcp.duplicate"];
const OUT_OF_ORDER = Counter["tcp.outoforder"];
const RTO = Counter["tcp.rto"];
const CHALLENGE = Counter["tcp.challenge"];
const REFUSED = Counter["tcp.refused"];
const RESET_RECEIVED = Counter["tcp.reset.received"];
