/**
 * One stream of the floor that a kernel's TCP speaks to: the least that makes it go on.
 *
 * In order is taken, all else is dropped with an acknowledgment; what is read from the host goes out
 * within the guest's window. No timer, no retransmission, no congestion control.
 *
 * @module
 */
import { TcpFlag } from "../lib/wire/tcp.ts";
import { TcpOptions } from "../lib/wire/tcp_options.ts";
import { seqAdd, seqDiff } from "../lib/stack/tcp/sequence.ts";
import { HostWrites } from "./support/floor_host_writes.ts";
import {
  FloorSegment,
  type FloorSegments,
  type GuestSegment,
  type Template,
  WINDOW_SHIFT,
} from "./support/floor_tcp_wire.ts";
import { type FloorRing, TURN_BYTES } from "./support/floor_wire.ts";

const HOST = "127.0.0.1";
const ISS = 1;
const WINDOW_FIELD_MOST = 0xffff;
/** An acknowledgment that nothing carries waits for so many full segments, as the gateway's. */
const ACK_SEGMENTS = 2;
/** So many acknowledgments of nothing else tell of a segment that is lost. */
const DUPLICATES_MOST = 3;
/** So little, with nothing in flight, goes ahead of other streams' bulk, as at the gateway. */
const QUICK_BYTES = 4 * 1024;
const IP_TCP_BYTES = 40, OPTION_BYTES = 12;
const nothing = () => {};

/** The memory of one stream, which goes from one to the next. */
export interface Slot {
  readonly templateAt: number;
  readonly up: FloorRing;
  readonly down: FloorRing;
}

/** What all streams have of their place. */
export interface Place {
  readonly segments: FloorSegments;
  readonly mtu: number;
  /** Hears of a stream that has something to write, to acknowledge or to send. */
  onWork(flow: TcpFlow): void;
  /** Hears of a stream whose memory is free. */
  onEnd(flow: TcpFlow): void;
}

const segment = new FloorSegment();
const options = new TcpOptions();

/** A connection of the guest and a socket of the host. */
export class TcpFlow {
  readonly guestPort: number;
  readonly hostPort: number;
  readonly slot: Slot;
  readonly #place: Place;
  readonly #template: Template;
  readonly #segmentBytes: number;
  readonly #windowScale: number;
  #host: Deno.TcpConn | null = null;
  #writes: HostWrites | null = null;
  /** What is expected next of the guest, the newest TSval, and what is not acknowledged. */
  #expected: number;
  #echo: number;
  #dueSegments = 0;
  #hasFullDue = false;
  /** The right edge of the window that was told last. */
  #edge = 0;
  /** The first octet that the guest has not acknowledged, and what of the ring is in flight. */
  #first: number = seqAdd(ISS, 1);
  #sentBytes = 0;
  #windowBytes = 0;
  #duplicates = 0;
  #isReading = false;
  #guestFinished = false;
  #hostFinished = false;
  #hasFinishedUp = false;
  #finSent = false;
  #finAcknowledged = false;
  #ended = false;
  #isFree = false;
  /** Whether it is in the lists of the program: of what has come, of what can be sent. */
  isListed = false;
  isReady = false;
  readonly #onRead = (count: number | null): void => this.#read(count);
  readonly #onReadFailed = (error: unknown): void => {
    this.#isReading = this.slot.down.isLent = false;
    this.#failed(error);
  };

  constructor(place: Place, slot: Slot, syn: GuestSegment) {
    this.#place = place;
    this.slot = slot;
    this.guestPort = syn.guestPort;
    this.hostPort = syn.hostPort;
    slot.up.clear();
    slot.down.clear();
    this.#template = place.segments.template(slot.templateAt, syn);
    syn.options(options);
    this.#windowScale = options.windowScale;
    this.#echo = options.timestampValue;
    this.#expected = seqAdd(syn.sequence, 1);
    this.#segmentBytes = Math.min(options.mss, place.mtu - IP_TCP_BYTES) - OPTION_BYTES;
    if (!options.timestamps || options.windowScale < 0) {
      throw new Error("Cannot go on: the guest's TCP has no timestamps or no window scale");
    }
  }

  /** Connects to the host, and answers the SYN then. */
  async open(): Promise<void> {
    const { segments, mtu } = this.#place;
    const host = await Deno.connect({ hostname: HOST, port: this.hostPort });
    host.setNoDelay(true);
    host.setKeepAlive(true);
    if (this.#ended) {
      host.close();
      return this.#free();
    }
    this.#host = host;
    this.#writes = new HostWrites(
      host,
      this.slot.up,
      () => this.#written(),
      (error) => this.#failed(error),
    );
    this.#fill(TcpFlag.syn | TcpFlag.ack);
    segment.sequence = ISS;
    segment.window = Math.min(WINDOW_FIELD_MOST, this.slot.up.capacityBytes);
    segments.open(this.#template, segment, mtu - IP_TCP_BYTES);
    this.#saidAll();
    this.#readMore();
    this.#place.onWork(this);
  }

  /** Takes a segment of the guest's. */
  take(from: GuestSegment): void {
    const { flags } = from;
    if ((flags & TcpFlag.rst) !== 0) return this.#end();
    if (this.#writes === null) return; // a SYN once more
    const windowBytes = from.window << this.#windowScale, bytes = from.dataBytes;
    const acknowledged = seqDiff(from.acknowledgment, this.#first);
    const isNews = acknowledged > 0 || bytes > 0 || windowBytes !== this.#windowBytes;
    this.#duplicates = isNews || this.#sentBytes === 0 ? 0 : this.#duplicates + 1;
    if (this.#duplicates === DUPLICATES_MOST) {
      throw new Error(`Cannot go on: a segment to port ${this.guestPort} is lost`);
    }
    this.#windowBytes = windowBytes;
    if (acknowledged > 0) this.#acknowledged(acknowledged);
    if (this.#ended) return;
    const { up } = this.slot;
    const isInOrder = from.sequence === this.#expected;
    if (isInOrder && bytes > 0 && bytes <= up.capacityBytes - up.lengthBytes) {
      up.append(from.dataAt, bytes);
      this.#took(from, bytes);
      this.#dueSegments += Math.max(1, Math.floor(bytes / this.#segmentBytes));
      this.#hasFullDue ||= bytes >= this.#segmentBytes;
    } else if (!isInOrder || bytes > 0) {
      this.#dueSegments = ACK_SEGMENTS; // dropped; the guest sends it again
      return this.#place.onWork(this);
    }
    if ((flags & TcpFlag.fin) !== 0) {
      this.#took(from, 1);
      this.#guestFinished = true;
      this.#dueSegments = ACK_SEGMENTS;
    }
    if (acknowledged > 0 || this.#dueSegments > 0 || this.canSend) this.#place.onWork(this);
  }

  #took({ stamp }: GuestSegment, count: number): void {
    this.#expected = seqAdd(this.#expected, count);
    this.#echo = stamp;
  }

  #acknowledged(count: number): void {
    const bytes = Math.min(count, this.#sentBytes);
    this.#first = seqAdd(this.#first, count);
    this.slot.down.consume(bytes);
    this.#sentBytes -= bytes;
    if (count > bytes) this.#finAcknowledged = true;
    this.#endIfOver();
  }

  /** What one look at the link has brought goes to the host, and what it made room for is read. */
  pump(): void {
    if (this.#ended || this.#writes === null) return;
    this.#writes.pump();
    this.#finishUp();
    if (!this.#ended) this.#readMore();
  }

  #written(): void {
    if (this.#ended) return this.#free();
    this.#finishUp();
    if (this.#ended) return;
    const { up } = this.slot;
    const free = up.capacityBytes - up.lengthBytes;
    const gain = seqDiff(seqAdd(this.#expected, free), this.#edge);
    if (!this.#hasFullDue && gain < up.capacityBytes / 4) return;
    this.#dueSegments = ACK_SEGMENTS;
    this.#place.onWork(this);
  }

  /** Passes the guest's end on behind its last octet. */
  #finishUp(): void {
    if (!this.#guestFinished || this.#hasFinishedUp || this.slot.up.lengthBytes > 0) return;
    this.#hasFinishedUp = true;
    if (this.#hostFinished) this.#close();
    else this.#host!.closeWrite().catch(nothing);
    this.#endIfOver();
  }

  #readMore(): void {
    const { down } = this.slot;
    if (this.#isReading || this.#hostFinished || down.lengthBytes === down.capacityBytes) return;
    this.#isReading = down.isLent = true;
    this.#host!.read(down.free).then(this.#onRead, this.#onReadFailed);
  }

  #read(count: number | null): void {
    this.#isReading = this.slot.down.isLent = false;
    if (this.#ended) return this.#free();
    if (count === null) {
      this.#hostFinished = true;
      if (this.#hasFinishedUp) this.#close();
    } else {
      this.slot.down.commit(count);
      this.#readMore();
    }
    this.#place.onWork(this);
  }

  /** Whether a segment with data, or the end, can go out. */
  get canSend(): boolean {
    return !this.#ended && (this.#sendable() > 0 || this.#isEndDue);
  }

  get #isEndDue(): boolean {
    return this.#hostFinished && !this.#finSent && this.slot.down.lengthBytes === this.#sentBytes;
  }

  /** Octets of the next segment: a full one, or the last, or what nothing in flight makes room for. */
  #sendable(): number {
    const sent = this.#sentBytes;
    const wanted = Math.min(this.slot.down.lengthBytes - sent, this.#segmentBytes);
    const room = this.#windowBytes - sent;
    return room >= wanted ? wanted : sent === 0 ? room : 0;
  }

  /** Whether what it has to send is little enough to find room in any write. */
  get isQuick(): boolean {
    const mostBytes = Math.min(QUICK_BYTES, this.#segmentBytes);
    return this.#sentBytes === 0 && this.slot.down.lengthBytes <= mostBytes;
  }

  /** Sends for one turn: whether the writer had room for it. */
  send(): boolean {
    if (this.#ended) return true;
    const { down } = this.slot, { segments } = this.#place;
    for (let turn = 0; turn < TURN_BYTES;) {
      const bytes = this.#sendable();
      if (bytes === 0) break;
      const isLast = this.#sentBytes + bytes === down.lengthBytes;
      this.#fill(isLast ? TcpFlag.ack | TcpFlag.psh : TcpFlag.ack);
      const { isQuick } = this;
      if (!segments.data(this.#template, segment, down, this.#sentBytes, bytes, isQuick)) {
        return false;
      }
      this.#saidAll();
      this.#sentBytes += bytes;
      turn += bytes;
    }
    if (this.#isEndDue) {
      this.#fill(TcpFlag.fin | TcpFlag.ack);
      segments.small(this.#template, segment);
      this.#saidAll();
      this.#finSent = true;
    }
    return true;
  }

  /** Says what has come and where the free space ends, where that is due. */
  acknowledge(): void {
    if (this.#dueSegments < ACK_SEGMENTS || this.#ended) return;
    this.#fill(TcpFlag.ack);
    this.#place.segments.small(this.#template, segment);
    this.#saidAll();
  }

  #fill(flags: number): void {
    const { up } = this.slot;
    segment.sequence = seqAdd(
      this.#first,
      this.#sentBytes + (this.#finSent && !this.#finAcknowledged ? 1 : 0),
    );
    segment.acknowledgment = this.#expected;
    segment.flags = flags;
    segment.window = (up.capacityBytes - up.lengthBytes) >> WINDOW_SHIFT;
    segment.echo = this.#echo;
  }

  #saidAll(): void {
    const { up } = this.slot;
    this.#dueSegments = 0;
    this.#hasFullDue = false;
    this.#edge = seqAdd(this.#expected, up.capacityBytes - up.lengthBytes);
    this.#endIfOver();
  }

  #failed(error: unknown): void {
    if (!this.#ended) throw error; // which ends the program: a row must not go on without it
    this.#free();
  }

  #close(): void {
    this.#host?.close();
    this.#host = null;
  }

  #endIfOver(): void {
    if (this.#finAcknowledged && this.#hasFinishedUp && this.#dueSegments === 0) this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#close();
    if (this.#writes === null) return; // `open` does the rest
    this.#writes.end();
    this.#free();
  }

  /** Gives the memory back, once no operation works on it. */
  #free(): void {
    if (this.#isFree || this.#isReading || this.#writes?.isWriting) return;
    this.#isFree = true;
    this.#place.onEnd(this);
  }
}
