/**
 * One connection of a packet script, at the gateway's side: the owner that a relay would be, with
 * two streams whose octets are known, and what the two ends have told each other so far.
 *
 * @module
 */
import { assertEquals, AssertionError } from "@std/assert";
import type { TcpConnection } from "../../lib/stack/tcp/connection.ts";
import { TcpEvent, type TcpOwner } from "../../lib/stack/tcp/state.ts";
import type { FrameMemory } from "../../lib/wire/memory.ts";
import { octet, octets } from "./tcp_segments.ts";

/** Whose stream an octet belongs to. */
export const GUEST = 1;
/** See `GUEST`. */
export const HOST = 2;
/** The guest's initial sequence number, just below the wrap. */
export const ISN = 0xffffff00;

/** One connection of the script, with the owner that a relay would be. */
export class ScriptFlow implements TcpOwner {
  readonly guestPort: number;
  /** The guest's initial sequence number. */
  isn = ISN;
  /** The gateway's, once it was seen. */
  iss = 0;
  connection: TcpConnection | null = null;
  /** Names of the events that came since they were last asked for. */
  events: string[] = [];
  /** Whether the host takes everything at once. */
  reads = false;
  /** Octets that the host has taken, and octets that it has sent. */
  taken = 0;
  given = 0;
  /** Octets that the host still wants to send, and whether it finishes then. */
  waiting = 0;
  finishes = false;
  /** The guest's window field, and its shift once both sides have one. */
  win = 65535;
  guestShift = -1;
  gatewayShift = -1;
  timestamps = false;
  /** TSval of the gateway at the script's start, and the last that was seen. */
  tsBase = -1;
  tsSeen = 0;
  /** The furthest number that the guest's window has allowed, and what the gateway has said. */
  allowedEnd = 0;
  sentEnd = 0;
  acked = -Infinity;
  edge = -Infinity;
  readonly #memory: FrameMemory;

  constructor(memory: FrameMemory, guestPort: number) {
    this.#memory = memory;
    this.guestPort = guestPort;
  }

  onTcpEvents(connection: TcpConnection, events: number): void {
    assertEquals(connection, this.connection, "events come from the flow's connection");
    for (const [name, bit] of Object.entries(TcpEvent)) {
      if ((events & bit) === 0) continue;
      this.events.push(name === "closed" ? `closed: ${connection.closeReason}` : name);
    }
    if ((events & TcpEvent.readable) !== 0 && this.reads) this.take(Infinity);
    if ((events & TcpEvent.writable) !== 0) this.pump();
  }

  /** Takes at most so many octets of the guest's stream, which must be the right ones. */
  take(limit: number, fill?: number): number {
    const { bytes } = this.#memory;
    const connection = this.connection!;
    let done = 0;
    while (done < limit) {
      const span = Math.min(connection.receiveSpan(), limit - done);
      if (span === 0) break;
      const at = connection.receiver.ring.readSpanAt;
      for (let i = 0; i < span; i++) {
        const right = fill ?? octet(this.taken + i, GUEST);
        if (bytes[at + i] !== right) {
          throw new AssertionError(
            `octet ${this.taken + i} of the guest is ${bytes[at + i]}, not ${right}`,
          );
        }
      }
      this.taken += span;
      done += span;
      connection.consume(span);
    }
    return done;
  }

  /** Hands over what the host still wants to send, as far as there is room. */
  pump(): void {
    const { bytes } = this.#memory;
    const connection = this.connection!;
    while (this.waiting > 0) {
      const span = Math.min(connection.sendSpan(), this.waiting);
      if (span === 0) return;
      bytes.set(octets(this.given, span, HOST), connection.sender.ring.writeSpanAt);
      connection.commitSend(span);
      this.given += span;
      this.waiting -= span;
    }
    if (this.finishes) connection.finish();
    this.finishes = false;
  }
}
