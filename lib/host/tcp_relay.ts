/**
 * One of the guest's TCP flows on a socket of the host: two operations in flight at most.
 *
 *     guest ─▶ receive ring ─▶ host.write        one write in flight
 *     guest ◀─ send ring    ◀─ host.read         one read in flight
 *
 * A dial that fails reaches the guest as what it is. Bytes go between ring and socket without another
 * copy: the ring is lent to the operation until it has settled. A slow host fills the ring and closes
 * the guest's window, a slow guest fills the other one and the socket is not read. No byte counts as
 * delivered before the host's kernel has it, and what can't be delivered becomes an RST.
 *
 * Downloads read their hosts in turns (`read_turns.ts`), as the lane to the guest empties.
 *
 * A write to a host costs far more than what it carries. So a transfer's next small piece waits
 * until the event loop has looked at the link once more. A request on a flow of requests never does.
 *
 * A guest's RST can only be passed on as an ordinary close: `Deno.Conn` has no other.
 *
 * @module
 */
import type { FrameMemory } from "../wire/memory.ts";
import { type Denial, formatDestination } from "../policy/denial.ts";
import type { Grounds } from "../policy/policy.ts";
import { Counter } from "../stack/counters.ts";
import { type IcmpErrors, IcmpReason } from "../stack/icmp_errors.ts";
import type { RateShare } from "../stack/rate_limiter.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import { TcpEvent, type TcpOwner, TcpState } from "../stack/tcp/state.ts";
import type { TcpEndpoint } from "../stack/tcp/endpoint.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { DialTarget } from "./destinations.ts";
import { type FlowInfo, type FlowNumbers, groundsInfo } from "./flow_info.ts";
import type { GuestRates } from "./guest_rates.ts";
import type { HostClock, Timer } from "./host_clock.ts";
import type { Dialer, DialFailure, DialHandle } from "./dialer.ts";
import type { Operations } from "./operations.ts";
import type { HostReader, ReadTurns } from "./read_turns.ts";

/** What a relay works with. */
export interface TcpRelayOptions {
  readonly endpoint: TcpEndpoint;
  readonly errors: IcmpErrors;
  readonly dialer: Dialer;
  readonly rates: GuestRates;
  readonly numbers: FlowNumbers;
  /** Which downloads read their hosts next. */
  readonly reads: ReadTurns;
  /** Asks for a turn. */
  readonly wake: () => void;
  readonly clock: HostClock;
  /** Why a connection that was made must not be; `null` lets it be. */
  readonly judgeConnected: (conn: Deno.TcpConn, grounds: Grounds) => Denial | null;
  /** Hears of each refusal. */
  readonly onDenial: (denial: Denial) => void;
}

/** What the guest hears of a dial that failed: an ICMP error, or an RST where none is for it. */
const ICMP_REASONS: Readonly<Record<DialFailure, IcmpReason | null>> = {
  refused: null,
  resources: null,
  crowded: null,
  cancelled: null,
  hostUnreachable: IcmpReason.hostUnreachable,
  timeout: IcmpReason.hostUnreachable,
  networkUnreachable: IcmpReason.networkUnreachable,
  prohibited: IcmpReason.adminProhibited,
};

/** A host's stream that a flow is relayed to: a TCP connection, or one of a unix socket. */
export type HostStream = Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close">;

/** What becomes of a host's client whose connection to the guest is being opened. */
export interface PendingClient {
  /** The guest has answered, or it has ended. */
  settled(): void;
  /** The guest has refused, or has not answered in time: the client is given back. */
  unanswered(isRefused: boolean): void;
}

/** How long a host that takes nothing keeps the last bytes of a flow that has ended. */
const LINGER_MS = 60_000;

/** A flow whose last writes were as large as this on average is a transfer. */
const TRANSFER_BYTES = 8 * 1024;
/** So much of a transfer is a write, or one large segment; for less the link is looked at once more. */
const WRITE_BYTES = 64 * 1024;

/** A flow whose last reads were as large as this on average is a download, which reads in turns. */
const DOWNLOAD_BYTES = 32 * 1024;

const DROP_FLOWS = Counter["drop.tcp.flows"];
const DROP_HALF_OPEN = Counter["drop.tcp.halfopen"];

/** One flow: a connection of the guest and a socket of the host. */
export class TcpRelay implements TcpOwner, HostReader {
  readonly #connection: TcpConnection;
  readonly #options: TcpRelayOptions;
  readonly #memory: FrameMemory;
  readonly #operations: Operations;
  readonly #onEnd: () => void;
  #host: HostStream | null = null;
  #dial: DialHandle | null = null;
  /** Called once the flow is no longer half-open. */
  #opened: (() => void) | null = null;
  #client: PendingClient | null = null;
  #established: boolean;
  /** The flow's number. */
  readonly id: number;
  readonly #startMs: number;
  #upBytes = 0;
  #downBytes = 0;
  #peer: Uint8Array | null = null;
  #grounds: Grounds | null = null;
  #reading = false;
  #writing = false;
  #hostFinished = false;
  #guestFinished = false;
  #ended = false;
  /** Whether a write waits for what the link brings next. */
  #isHeld = false;
  #meanWriteBytes = 0;
  #meanReadBytes = 0;
  #linger: Timer | undefined;
  /** The flow's parts of the guest's rates; `null` where there is none. */
  readonly #upShare: RateShare | null;
  readonly #downShare: RateShare | null;
  readonly #onRead = (count: number | null): void => this.#guard(() => this.#read(count));
  readonly #onReadFailed = (): void => this.#guard(() => this.#readFailed());
  readonly #onWritten = (count: number): void => this.#guard(() => this.#written(count));
  readonly #onWriteFailed = (): void => this.#guard(() => this.#writeFailed());

  constructor(
    connection: TcpConnection,
    options: TcpRelayOptions,
    operations: Operations,
    onEnd: () => void,
  ) {
    this.#connection = connection;
    this.#established = connection.state === TcpState.established ||
      connection.state === TcpState.closeWait;
    this.#options = options;
    this.#operations = operations;
    this.#memory = options.endpoint.link.memory;
    this.#onEnd = onEnd;
    const { rates, numbers, clock } = options;
    this.id = numbers.next();
    this.#startMs = clock.now();
    // Functions of its own for each flow only where there is a rate to wait for.
    this.#upShare = rates.limitsUp ? rates.up(() => this.#guard(() => this.#pumpUp())) : null;
    this.#downShare = rates.limitsDown
      ? rates.down(() => this.#guard(() => this.#pumpDown()))
      : null;
    connection.owner = this;
  }

  /** The flow that is relayed. */
  get connection(): TcpConnection {
    return this.#connection;
  }

  /** Why the guest's flow was let through; `null` where a client of the host opened it. */
  get grounds(): Grounds | null {
    return this.#grounds;
  }

  /**
   * The address that the guest asked for. The relay has a copy: it may outlive its flow, and then
   * the flow's headers are another one's.
   */
  get peer(): Uint8Array | null {
    return this.#peer;
  }

  /** Connects to the host; `opened` hears that the flow is established or over. */
  dial(target: DialTarget, grounds: Grounds, peer: Uint8Array, opened: () => void): void {
    this.#opened = opened;
    this.#peer = peer;
    this.#grounds = grounds;
    const { hostnames, port, own } = target;
    this.#dial = this.#options.dialer.dial({
      hostnames,
      port,
      onConnected: (conn) => this.#guard(() => this.#connected(conn, own)),
      onFailed: (reason) => this.#guard(() => this.#dialFailed(reason)),
    });
  }

  /** Takes the socket of a host's client until the guest has answered or refused. */
  attach(conn: HostStream, client: PendingClient): void {
    this.#client = client;
    this.#setHost(conn);
    this.#options.wake();
  }

  #setHost(conn: HostStream | Deno.TcpConn): void {
    this.#host = conn;
    if (!("setNoDelay" in conn)) return;
    try {
      conn.setNoDelay(true);
      conn.setKeepAlive(true);
    } catch {
      // The peer is gone already; reading will tell.
    }
  }

  /** The flow as people see it; its time is on the clock of the host. */
  info(): FlowInfo {
    const { endpoint } = this.#options;
    const { peerPort, guestPort } = this.#connection.template;
    const peer = this.#peer ?? peerBytes(endpoint, this.#connection);
    return {
      id: this.id,
      protocol: "tcp",
      opener: this.#grounds === null ? "host" : "guest",
      guest: formatDestination(guestBytes(endpoint, this.#connection), guestPort, "tcp"),
      peer: formatDestination(peer, peerPort, "tcp"),
      ...groundsInfo(this.#grounds),
      state: this.#connection.silence === null ? this.#connection.state : "silent",
      startedMs: this.#startMs,
      upBytes: this.#upBytes,
      downBytes: this.#downBytes,
    };
  }

  /** Whether the guest has sent all it wanted to, and the host has not taken all of it. */
  get delivering(): boolean {
    const { guestFinished, receiver } = this.#connection;
    return guestFinished && receiver.ring.lengthBytes > 0;
  }

  onTcpEvents(connection: TcpConnection, events: number): void {
    if ((events & TcpEvent.closed) !== 0) return this.#closed(connection);
    if ((events & TcpEvent.established) !== 0) {
      this.#established = true;
      this.#leaveHalfOpen();
      this.#settleClient();
    }
    if ((events & (TcpEvent.readable | TcpEvent.established)) !== 0) {
      if (this.#isWorthWaiting()) this.#pumpUpLater();
      else this.#pumpUp();
    }
    if ((events & (TcpEvent.writable | TcpEvent.established)) !== 0) this.#pumpDown();
  }

  /** Ends both sides now. */
  destroy(): void {
    this.#connection.abort();
    this.#end();
  }

  /** Runs what an operation's end leads to: a bug of ours in there costs this flow only. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#options.endpoint.reportBug(error);
      this.destroy();
      this.#options.wake();
    }
  }

  #connected(conn: Deno.TcpConn, own: boolean): void {
    this.#dial = null;
    const { clock, judgeConnected, onDenial, wake } = this.#options;
    const denial = own ? null : judgeConnected(conn, this.#grounds!);
    if (denial !== null) {
      closeQuietly(conn);
      onDenial(denial);
      this.#refuse(IcmpReason.adminProhibited, true);
    } else {
      this.#setHost(conn);
      if (this.#established) {
        this.#leaveHalfOpen();
        this.#pumpUp();
      } else {
        this.#connection.accept(clock.now());
      }
      this.#pumpDown();
    }
    wake();
  }

  #dialFailed(reason: DialFailure): void {
    this.#dial = null;
    const { endpoint, wake } = this.#options;
    if (reason === "resources") endpoint.counters.add(DROP_FLOWS);
    if (reason === "crowded" && !this.#established) { // a SYN too many, as it turns out
      endpoint.counters.add(DROP_HALF_OPEN);
      this.#connection.drop();
      this.#end();
    } else {
      this.#refuse(ICMP_REASONS[reason], reason === "prohibited");
    }
    wake();
  }

  /** Ends a flow for which there is no host: an ICMP error, an RST or, with `both`, the two of them. */
  #refuse(icmp: IcmpReason | null, both: boolean): void {
    const { endpoint, errors, clock } = this.#options;
    if (this.#established) {
      this.#connection.abort();
    } else {
      const told = icmp !== null && quote(endpoint, errors, this.#connection, icmp, clock.now());
      // Many dials may end at once, and errors are limited: an RST is better than no word.
      if (both || !told) this.#connection.refuse();
      else this.#connection.drop();
    }
    this.#end();
  }

  #leaveHalfOpen(): void {
    this.#opened?.();
    this.#opened = null;
  }

  #settleClient(): void {
    this.#client?.settled();
    this.#client = null;
  }

  /** Whether more of a transfer is likely to come before a write of what there is would be done. */
  #isWorthWaiting(): boolean {
    const { guestFinished, receiver } = this.#connection;
    const { mssBytes, ring } = receiver;
    const enoughBytes = mssBytes > WRITE_BYTES >> 1 ? mssBytes : WRITE_BYTES;
    return this.#meanWriteBytes >= TRANSFER_BYTES && !this.#writing && !guestFinished &&
      ring.lengthBytes < enoughBytes;
  }

  #pumpUpLater(): void {
    if (this.#isHeld) return;
    this.#isHeld = true;
    this.#options.clock.soon(() => {
      this.#isHeld = false;
      this.#guard(() => this.#pumpUp());
    });
  }

  /** The guest's bytes to the host. */
  #pumpUp(): void {
    const host = this.#host;
    if (this.#writing || host === null || this.#ended || !this.#established) return;
    let bytes = this.#connection.receiveSpan();
    if (bytes > 0) {
      if (this.#upShare !== null) {
        bytes = this.#upShare.allow(bytes, this.#options.clock.now());
        if (bytes === 0) return;
      }
      const { ring } = this.#connection.receiver;
      const at = ring.readSpanAt;
      this.#meanWriteBytes += (Math.min(bytes, WRITE_BYTES) - this.#meanWriteBytes) / 4;
      ring.lendToReader();
      this.#operations.begin();
      this.#writing = true;
      host.write(this.#memory.bytes.subarray(at, at + bytes)).then(
        this.#onWritten,
        this.#onWriteFailed,
      );
    } else if (this.#connection.guestFinished && !this.#guestFinished) {
      this.#guestFinished = true;
      if (this.#hostFinished || this.#connection.state === TcpState.closed) return this.#end();
      host.closeWrite().catch(() => {});
    }
  }

  #written(count: number): void {
    this.#writing = false;
    this.#connection.receiver.ring.giveBack();
    this.#operations.end();
    this.#upBytes += count;
    this.#upShare?.spend(count);
    if (this.#ended || this.#connection.receiver.ring.at < 0) return;
    this.#connection.consume(count);
    if (this.#linger !== undefined) this.#startLinger();
    this.#pumpUp();
    if (this.#connection.dirty) this.#options.wake(); // a window update is due, or the flow is over
  }

  #writeFailed(): void {
    this.#writing = false;
    this.#connection.receiver.ring.giveBack();
    this.#operations.end();
    this.#fail();
  }

  /** The host's bytes to the guest. */
  #pumpDown(): void {
    const host = this.#hostToRead();
    if (host === null) return;
    if (this.#takesTurns() && !this.#options.reads.ask(this)) return;
    this.#readHost(host);
  }

  /** The host, where there may be more to read and no read is under way. */
  #hostToRead(): HostStream | null {
    return this.#reading || this.#ended || this.#hostFinished ? null : this.#host;
  }

  /** A download does; but what it has begun to read into a first small ring it goes on with. */
  #takesTurns(): boolean {
    return this.#isDownload && !this.#connection.sender.isBeginning;
  }

  get #isDownload(): boolean {
    return this.#meanReadBytes >= DOWNLOAD_BYTES;
  }

  /**
   * Whether what a download has read waits for a turn or for room in the lane to the guest. One whose
   * reads have become small takes no turns any more, so nobody may wait for it.
   */
  get awaitsRoom(): boolean {
    return this.#isDownload && (this.#connection.dirty || this.#connection.awaitsLane);
  }

  /** Its turn has come, for which it waited. */
  readHost(): void {
    const host = this.#hostToRead();
    if (host !== null) this.#guard(() => this.#readHost(host));
  }

  #readHost(host: HostStream): void {
    let bytes = this.#connection.sendSpan();
    if (bytes === 0) {
      // Outside a turn nobody else looks at when memory is to be asked for again.
      if (this.#connection.sender.ring.at < 0) this.#options.wake();
      return;
    }
    if (this.#downShare !== null) {
      bytes = this.#downShare.allow(bytes, this.#options.clock.now());
      if (bytes === 0) return;
    }
    const { ring } = this.#connection.sender;
    const at = ring.writeSpanAt;
    ring.lendToWriter();
    this.#operations.begin();
    this.#reading = true;
    host.read(this.#memory.bytes.subarray(at, at + bytes)).then(this.#onRead, this.#onReadFailed);
  }

  #read(count: number | null): void {
    this.#reading = false;
    this.#connection.sender.ring.giveBack();
    this.#operations.end();
    this.#downBytes += count ?? 0;
    this.#downShare?.spend(count ?? 0);
    if (this.#ended) return;
    if (count === null) {
      this.#hostFinished = true;
      this.#connection.finish();
      if (this.#guestFinished) this.#end();
    } else {
      this.#meanReadBytes += (Math.min(count, WRITE_BYTES) - this.#meanReadBytes) / 4;
      this.#connection.commitSend(count);
      if (this.#isDownload) this.#options.reads.hasRead(this);
      this.#pumpDown();
    }
    this.#options.wake();
  }

  #readFailed(): void {
    this.#reading = false;
    this.#connection.sender.ring.giveBack();
    this.#operations.end();
    this.#fail();
  }

  /** The host's side broke: the guest hears of it. */
  #fail(): void {
    if (this.#ended) return;
    this.#connection.abort();
    this.#end();
    this.#options.wake();
  }

  #closed(connection: TcpConnection): void {
    const { closeReason } = connection;
    const client = this.#client;
    if (client !== null && (closeReason === "refused" || closeReason === "timeout")) {
      this.#host = null; // the client's socket lives on
      this.#end();
      return client.unanswered(closeReason === "refused");
    }
    const orderly = closeReason === "finished" || closeReason === "evicted";
    if (!(orderly || this.delivering) || !this.#established) return this.#end();
    this.#pumpUp(); // the last bytes may still have to go to the host: that ends the relay
    if (!this.#ended) this.#startLinger();
  }

  /** The flow is over but for bytes that the host has not taken: it has so long for the next ones. */
  #startLinger(): void {
    this.#options.clock.clearTimer(this.#linger);
    this.#linger = this.#options.clock.setTimer(() => this.#end(), LINGER_MS);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#dial?.cancel();
    this.#dial = null;
    this.#leaveHalfOpen();
    this.#settleClient();
    this.#options.clock.clearTimer(this.#linger);
    this.#upShare?.leave();
    this.#downShare?.leave();
    this.#options.reads.leave(this);
    if (this.#host !== null) closeQuietly(this.#host);
    this.#connection.receiver.release();
    this.#onEnd();
  }
}

/** The octets of the address that the guest talks to, as they stand in the flow's template. */
export function peerBytes(endpoint: TcpEndpoint, connection: TcpConnection): Uint8Array {
  const { template } = connection;
  const at = template.at + 14 + (template.family === 4 ? 12 : 8);
  return endpoint.link.memory.bytes.slice(at, at + (template.family === 4 ? 4 : 16));
}

/** The octets of the guest's own address, as they stand in the flow's template. */
export function guestBytes(endpoint: TcpEndpoint, connection: TcpConnection): Uint8Array {
  const { template } = connection;
  const at = template.at + 14 + (template.family === 4 ? 16 : 24);
  return endpoint.link.memory.bytes.slice(at, at + (template.family === 4 ? 4 : 16));
}

/** Tells the guest by an ICMP error why its SYN leads nowhere; false where errors are at their limit. */
export function quote(
  endpoint: TcpEndpoint,
  errors: IcmpErrors,
  connection: TcpConnection,
  reason: IcmpReason,
  nowMs: number,
): boolean {
  if (connection.silence !== null) return false; // nothing is said of it
  return errors.sendQuoted(
    connection.template.family,
    endpoint.quoteAt(connection),
    endpoint.quoteBytes(connection),
    reason,
    nowMs,
  );
}
