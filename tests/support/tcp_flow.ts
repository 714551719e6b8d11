/**
 * One connection of a packet script, at the gateway's side: the owner that a relay would be, with
 * two streams whose octets are known.
 *
 * @module
 */
import { assertEquals, AssertionError } from "@std/assert";
import type { TcpConnection } from "../../lib/stack/tcp/connection.ts";
import { TcpEvent, type TcpOwner } from "../../lib/stack/tcp/state.ts";
import type { FrameMemory } from "../../lib/wire/memory.ts";
import { GUEST, GuestFlow, HOST } from "./tcp_guest.ts";
import { octet, octets } from "./tcp_segments.ts";

/** One connection of the script, with the owner that a relay would be. */
export class ScriptFlow extends GuestFlow implements TcpOwner {
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
  readonly #memory: FrameMemory;

  constructor(memory: FrameMemory, guestPort: number) {
    super(guestPort);
    this.#memory = memory;
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
