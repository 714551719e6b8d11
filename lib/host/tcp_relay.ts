/**
 * The guest's TCP flows on host sockets: one relay for each, two operations in flight at most.
 *
 *     guest ─▶ receive ring ─▶ host.write        one write in flight
 *     guest ◀─ send ring    ◀─ host.read         one read in flight
 *
 * A guest's SYN is answered only after the host has connected; a dial that fails reaches the guest
 * as what it is. Bytes go between ring and socket without another copy: the ring is lent to the
 * operation until it has settled. A slow host fills the ring and closes the guest's window, a slow
 * guest fills the other one and the socket is not read. No byte counts as delivered before the
 * host's kernel has it, and what can't be delivered becomes an RST.
 *
 * A write to a host costs far more than what it carries. So a transfer's next small piece waits
 * until the event loop has looked at the link once more. A request on a flow of requests never does.
 *
 * A guest's RST can only be passed on as an ordinary close: `Deno.Conn` has no other.
 *
 * @module
 */
import type { FrameMemory } from "../wire/memory.ts";
import { Counter } from "../stack/counters.ts";
import { type IcmpErrors, IcmpReason } from "../stack/icmp_errors.ts";
import type { Packet } from "../stack/packet.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import { TcpEvent, type TcpOwner, TcpState } from "../stack/tcp/state.ts";
import type { TcpEndpoint } from "../stack/tcp/endpoint.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { Destinations } from "./destinations.ts";
import { HalfOpenDestinations } from "./half_open.ts";
import type { HostClock, Timer } from "./host_clock.ts";
import type { Dialer, DialFailure, DialHandle } from "./dialer.ts";

/** What the relays work with. */
export interface TcpRelayTableOptions {
  readonly endpoint: TcpEndpoint;
  readonly errors: IcmpErrors;
  readonly destinations: Destinations;
  readonly dialer: Dialer;
  /** Relays, at most: those that only wait for a slow host outlive their flow. */
  readonly relaysMax: number;
  /** Clients of published ports that wait for the guest's answer, at most. */
  readonly clientsPending: number;
  /** Half-open flows to one destination, at most. */
  readonly halfOpenPerDestination: number;
  /** Asks for a turn. */
  readonly wake: () => void;
  readonly clock: HostClock;
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

/** What becomes of a host's client whose connection to the guest is being opened. */
interface PendingClient {
  /** The guest has answered, or it has ended. */
  settled(): void;
  /** The guest did not answer: the client is given back. */
  unanswered(): void;
}

/** Opens a connection to the guest, or says with `null` that it can't. */
export type OpenAttempt = () => TcpConnection | null;

/** How long a host that takes nothing keeps the last bytes of a flow that has ended. */
const LINGER_MS = 60_000;

/** A flow whose last writes were as large as this on average is a transfer. */
const TRANSFER_BYTES = 8 * 1024;
/** So much of a transfer is a write; for less the link is looked at once more. */
const WRITE_BYTES = 64 * 1024;

const REFUSED = Counter["policy.refused"];
const DROP_FLOWS = Counter["drop.tcp.flows"];
const DROP_HALF_OPEN = Counter["drop.tcp.halfopen"];

/** Operations of host sockets that work on a flow's ring, which outlive their relay. */
class Operations {
  #count = 0;
  #onIdle: (() => void) | null = null;

  begin(): void {
    this.#count++;
  }

  end(): void {
    if (--this.#count === 0) this.#onIdle?.();
  }

  idle(): Promise<void> {
    return new Promise((resolve) => this.#count === 0 ? resolve() : this.#onIdle = resolve);
  }
}

/** All relays of one guest. */
export class TcpRelayTable {
  readonly #options: TcpRelayTableOptions;
  readonly #relays = new Set<TcpRelay>();
  readonly #halfOpen: HalfOpenDestinations;
  readonly #operations = new Operations();
  #clientsPending = 0;

  constructor(options: TcpRelayTableOptions) {
    const { endpoint, halfOpenPerDestination: most } = options;
    this.#options = options;
    const endForsaken = (nowMs: number) => endpoint.endForsaken(nowMs);
    this.#halfOpen = new HalfOpenDestinations({ most, endForsaken });
  }

  /** Relays that have not ended. */
  get size(): number {
    return this.#relays.size;
  }

  /** Whether a SYN is worth a look: not where too many to its destination are half-open. */
  admits({ family, destinationAt }: Packet, peerPort: number, nowMs: number): boolean {
    const { bytes } = this.#options.endpoint.link.memory;
    return this.#halfOpen.admits(bytes, destinationAt, family === 4 ? 4 : 16, peerPort, nowMs);
  }

  /** Judges the guest's SYN and dials. */
  offer(connection: TcpConnection, nowMs: number): void {
    const { endpoint, destinations, errors, relaysMax } = this.#options;
    const { template } = connection;
    if (this.#relays.size >= relaysMax) {
      endpoint.counters.add(DROP_FLOWS);
      connection.refuse();
      return;
    }
    const peer = peerBytes(endpoint, connection);
    const verdict = destinations.judge(peer, template.peerPort, "tcp");
    if (!verdict.allowed) {
      endpoint.counters.add(REFUSED);
      if (verdict.reason !== "nothing listens") {
        quote(endpoint, errors, connection, IcmpReason.adminProhibited, nowMs);
      }
      connection.refuse();
      return;
    }
    const key = `${verdict.hostnames[0]} ${verdict.port}`;
    if (!this.#halfOpen.enter(key, peer, template.peerPort, nowMs)) {
      endpoint.counters.add(DROP_HALF_OPEN);
      connection.drop();
      return;
    }
    const relay = this.#add(connection);
    relay.dial(verdict.hostnames, verdict.port, verdict.own, () => this.#halfOpen.leave(key));
  }

  /**
   * Joins a host's client to a connection to the guest: the first of `attempts` that the guest
   * answers. False when none could be opened, or too many clients wait for the guest already; the
   * client is then still the caller's.
   */
  adopt(conn: Deno.TcpConn, attempts: readonly OpenAttempt[]): boolean {
    const { clientsPending, relaysMax } = this.#options;
    if (this.#clientsPending >= clientsPending || this.#relays.size >= relaysMax) return false;
    for (let i = 0; i < attempts.length; i++) {
      const connection = attempts[i]!();
      if (connection === null) continue;
      const rest = attempts.slice(i + 1);
      this.#clientsPending++;
      this.#add(connection).attach(conn, {
        settled: () => this.#clientsPending--,
        unanswered: () => {
          if (!this.adopt(conn, rest)) closeQuietly(conn);
        },
      });
      return true;
    }
    return false;
  }

  /** Ends all relays at once. */
  closeAll(): void {
    for (const relay of [...this.#relays]) relay.destroy();
  }

  /** Whether a host has still to take the last bytes of a guest that has finished sending. */
  get delivering(): boolean {
    for (const relay of this.#relays) if (relay.delivering) return true;
    return false;
  }

  /** Resolves when no operation works on a ring any more: after `closeAll`, all memory is back. */
  settled(): Promise<void> {
    return this.#operations.idle();
  }

  #add(connection: TcpConnection): TcpRelay {
    const onEnd = () => this.#relays.delete(relay);
    const relay = new TcpRelay(connection, this.#options, this.#operations, onEnd);
    this.#relays.add(relay);
    return relay;
  }
}

/** One flow: a connection of the guest and a socket of the host. */
class TcpRelay implements TcpOwner {
  readonly #connection: TcpConnection;
  readonly #options: TcpRelayTableOptions;
  readonly #memory: FrameMemory;
  readonly #operations: Operations;
  readonly #onEnd: () => void;
  #host: Deno.TcpConn | null = null;
  #dial: DialHandle | null = null;
  /** Called once the flow is no longer half-open. */
  #opened: (() => void) | null = null;
  #client: PendingClient | null = null;
  #established = false;
  #reading = false;
  #writing = false;
  #hostFinished = false;
  #guestFinished = false;
  #ended = false;
  /** Whether a write waits for what the link brings next. */
  #isHeld = false;
  #meanWriteBytes = 0;
  #linger: Timer | undefined;
  readonly #onRead = (count: number | null): void => this.#guard(() => this.#read(count));
  readonly #onReadFailed = (): void => this.#guard(() => this.#readFailed());
  readonly #onWritten = (count: number): void => this.#guard(() => this.#written(count));
  readonly #onWriteFailed = (): void => this.#guard(() => this.#writeFailed());

  constructor(
    connection: TcpConnection,
    options: TcpRelayTableOptions,
    operations: Operations,
    onEnd: () => void,
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#operations = operations;
    this.#memory = options.endpoint.link.memory;
    this.#onEnd = onEnd;
    connection.owner = this;
  }

  /**
   * Connects to the host; `own` says whether an address of the host itself is fine, `opened` hears
   * that the flow is established or over.
   */
  dial(hostnames: readonly string[], port: number, own: boolean, opened: () => void): void {
    this.#opened = opened;
    this.#dial = this.#options.dialer.dial({
      hostnames,
      port,
      onConnected: (conn) => this.#guard(() => this.#connected(conn, own)),
      onFailed: (reason) => this.#guard(() => this.#dialFailed(reason)),
    });
  }

  /** Takes the socket of a host's client until the guest has answered or refused. */
  attach(conn: Deno.TcpConn, client: PendingClient): void {
    this.#client = client;
    this.#setHost(conn);
    this.#options.wake();
  }

  #setHost(conn: Deno.TcpConn): void {
    this.#host = conn;
    try {
      conn.setNoDelay(true);
      conn.setKeepAlive(true);
    } catch {
      // The peer is gone already; reading will tell.
    }
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
    const { destinations, endpoint, errors, clock } = this.#options;
    const allowed = own || !destinations.isForbiddenOwn(conn.localAddr, conn.remoteAddr);
    if (!allowed) {
      closeQuietly(conn);
      endpoint.counters.add(REFUSED);
      quote(endpoint, errors, this.#connection, IcmpReason.adminProhibited, clock.now());
      this.#connection.refuse();
      this.#end();
      this.#options.wake();
      return;
    }
    this.#setHost(conn);
    this.#connection.accept(clock.now());
    this.#pumpDown();
    this.#options.wake();
  }

  #dialFailed(reason: DialFailure): void {
    this.#dial = null;
    const { endpoint, errors, clock } = this.#options;
    if (reason === "resources") endpoint.counters.add(DROP_FLOWS);
    const icmp = ICMP_REASONS[reason];
    if (reason === "crowded") { // a SYN too many, as it turns out: no word of it either
      endpoint.counters.add(DROP_HALF_OPEN);
      this.#connection.drop();
    } else if (icmp === null) {
      this.#connection.refuse();
    } else {
      const told = quote(endpoint, errors, this.#connection, icmp, clock.now());
      // Many dials may end at once, and errors are limited: an RST is better than no word.
      if (reason === "prohibited" || !told) this.#connection.refuse();
      else this.#connection.drop();
    }
    this.#end();
    this.#options.wake();
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
    const { guestFinished } = this.#connection;
    return this.#meanWriteBytes >= TRANSFER_BYTES && !this.#writing && !guestFinished &&
      this.#connection.receiver.ring.lengthBytes < WRITE_BYTES;
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
    const bytes = this.#connection.receiveSpan();
    if (bytes > 0) {
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
    const host = this.#host;
    if (this.#reading || host === null || this.#ended || this.#hostFinished) return;
    const bytes = this.#connection.sendSpan();
    if (bytes === 0) return;
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
    if (this.#ended) return;
    if (count === null) {
      this.#hostFinished = true;
      this.#connection.finish();
      if (this.#guestFinished) this.#end();
    } else {
      this.#connection.commitSend(count);
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
      return client.unanswered();
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
    if (this.#host !== null) closeQuietly(this.#host);
    this.#connection.receiver.release();
    this.#onEnd();
  }
}

/** The octets of the address that the guest talks to, as they stand in the flow's template. */
function peerBytes(endpoint: TcpEndpoint, connection: TcpConnection): Uint8Array {
  const { template } = connection;
  const at = template.at + 14 + (template.family === 4 ? 12 : 8);
  return endpoint.link.memory.bytes.slice(at, at + (template.family === 4 ? 4 : 16));
}

function quote(
  endpoint: TcpEndpoint,
  errors: IcmpErrors,
  connection: TcpConnection,
  reason: IcmpReason,
  nowMs: number,
): boolean {
  return errors.sendQuoted(
    connection.template.family,
    endpoint.quoteAt(connection),
    endpoint.quoteBytes(connection),
    reason,
    nowMs,
  );
}
