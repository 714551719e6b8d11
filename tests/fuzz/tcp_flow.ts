/**
 * One connection under the fuzzer: the owner that a relay would be, with two streams whose octets
 * are known, operations that are under way, and what the guest has been told so far.
 *
 * @module
 */
import type { TcpConnection } from "../../lib/stack/tcp/connection.ts";
import { TcpEvent, type TcpOwner, TcpState } from "../../lib/stack/tcp/state.ts";
import type { FrameMemory } from "../../lib/wire/memory.ts";
import { octet } from "../support/tcp_segments.ts";
import { hold } from "./rig.ts";

const GUEST = 1;
const HOST = 2;
/** The most that one step sends. */
const SEND_MAX_BYTES = 65_536;

/** One connection. */
export class FuzzFlow implements TcpOwner {
  readonly connection: TcpConnection;
  readonly guestPort: number;
  /** Whether the guest has sent octets that are not its stream's: what comes can't be foretold. */
  tainted = false;
  reads = false;
  echoes = false;
  closed = false;
  /** Octets that the host has taken and sent. */
  taken = 0;
  given = 0;
  /** How far the guest's windows have ever allowed, as an offset in the host's stream. */
  allowedEnd = 0;
  /** What the guest was told: furthest ACK and window edge. */
  acked = -Infinity;
  edge = -Infinity;
  readonly #memory: FrameMemory;
  #writing = 0;
  #writeAt = 0;
  #reading = 0;
  #readAt = 0;
  #told = false;

  constructor(connection: TcpConnection, memory: FrameMemory) {
    this.connection = connection;
    this.guestPort = connection.template.guestPort;
    this.#memory = memory;
  }

  onTcpEvents(connection: TcpConnection, events: number): void {
    hold(connection === this.connection, "events come from the flow's own connection");
    hold(!this.#told, "nothing comes after the end");
    if ((events & TcpEvent.closed) !== 0) {
      hold(connection.state === TcpState.closed, "a closed connection is closed");
      this.#told = this.closed = true;
      return;
    }
    if (this.reads && (events & TcpEvent.readable) !== 0) this.take(Infinity);
  }

  /** Takes at most so many octets of the guest's, which must be the right ones. */
  take(limit: number): void {
    const { connection } = this;
    for (let left = limit; left > 0 && this.#writing === 0;) {
      const span = Math.min(connection.receiveSpan(), left);
      if (span === 0) break;
      this.#look(connection.receiver.ring.readSpanAt, span);
      this.taken += span;
      left -= span;
      connection.consume(span);
      if (this.echoes) this.send(span);
    }
    if (
      this.echoes && connection.guestFinished && connection.receiveSpan() === 0
    ) {
      connection.finish();
    }
  }

  #look(at: number, bytes: number): void {
    if (this.tainted) return;
    const memory = this.#memory.bytes;
    for (let i = 0; i < bytes; i++) {
      hold(memory[at + i] === octet(this.taken + i, GUEST), "the host gets the guest's octets");
    }
  }

  /** Sends at most so many octets, as far as there is room. */
  send(limit: number): void {
    for (
      let left = Math.min(limit, SEND_MAX_BYTES);
      left > 0 && this.#reading === 0;
    ) {
      const span = Math.min(this.connection.sendSpan(), left);
      if (span === 0) return;
      this.#fill(this.connection.sender.ring.writeSpanAt, span);
      this.connection.commitSend(span);
      this.given += span;
      left -= span;
    }
  }

  #fill(at: number, bytes: number): void {
    const memory = this.#memory.bytes;
    for (let i = 0; i < bytes; i++) {
      memory[at + i] = octet(this.given + i, HOST);
    }
  }

  /** A write of the host's socket begins, on the receive ring. */
  beginWrite(): void {
    const { ring } = this.connection.receiver;
    const span = this.connection.receiveSpan();
    if (this.#writing > 0 || ring.lent || span === 0) return;
    this.#writeAt = ring.readSpanAt;
    ring.lendToReader();
    this.#writing = span;
  }

  /** It has settled with so many octets; meanwhile nobody else may have written there. */
  endWrite(count: number): void {
    if (this.#writing === 0) return;
    const bytes = Math.min(this.#writing, Math.max(1, count));
    this.#look(this.#writeAt, bytes);
    this.#writing = 0;
    const { ring } = this.connection.receiver;
    ring.giveBack();
    if (ring.at < 0) return;
    this.taken += bytes;
    this.connection.consume(bytes);
  }

  /** A read of the host's socket begins, into the send ring. */
  beginRead(): void {
    const { ring } = this.connection.sender;
    if (this.#reading > 0 || ring.lent) return;
    const span = this.connection.sendSpan();
    if (span === 0) return;
    this.#readAt = ring.writeSpanAt;
    ring.lendToWriter();
    this.#reading = span;
  }

  /** It has settled: the kernel has written up to now, whatever became of the flow. */
  endRead(count: number): void {
    if (this.#reading === 0) return;
    const bytes = Math.min(this.#reading, Math.max(1, count));
    this.#fill(this.#readAt, bytes);
    this.#reading = 0;
    this.connection.sender.ring.giveBack();
    if (this.connection.state === TcpState.closed) return;
    const before = this.connection.sender.ring.lengthBytes;
    this.connection.commitSend(bytes);
    this.given += this.connection.sender.ring.lengthBytes - before;
  }

  /** The owner gives up what is left of it. */
  release(): void {
    this.endWrite(1);
    this.endRead(1);
    if (this.connection.state === TcpState.closed) {
      this.connection.receiver.release();
    }
  }

  /** The guest has allowed this much of the host's stream. */
  allow(ack: number, windowBytes: number): void {
    this.allowedEnd = Math.max(
      this.allowedEnd,
      ((ack - this.connection.sender.iss) | 0) - 1 + windowBytes,
    );
  }

  /** A segment for the guest carries these octets of the host's stream: are they the right ones? */
  carries(seq: number, data: Uint8Array): boolean {
    const from = ((seq - this.connection.sender.iss) | 0) - 1;
    if (from < 0 || from + data.length > this.given) return false;
    for (let i = 0; i < data.length; i++) {
      if (data[i] !== octet(from + i, HOST)) return false;
    }
    hold(from + data.length <= this.allowedEnd, "nothing goes beyond the guest's window");
    return true;
  }

  /** A segment for the guest says this: an ACK never goes back, nor does the window's edge. */
  says(ack: number, window: number, syn: boolean): void {
    const { receiver } = this.connection;
    const at = (ack - receiver.irs) | 0;
    hold(at >= this.acked, "an ACK never goes back");
    this.acked = at;
    const shift = syn ? 0 : receiver.shift;
    const edge = at + window * 2 ** shift;
    hold(edge > this.edge - 2 ** shift, "the window's edge never moves left");
    this.edge = Math.max(this.edge, edge);
  }
}
