/**
 * A guest's TCP connection that does everything right, for after others have done everything wrong:
 * it opens, carries octets both ways, and closes.
 *
 * @module
 */
import type { TcpConnection } from "../../lib/stack/tcp/connection.ts";
import { TcpState } from "../../lib/stack/tcp/state.ts";
import { GATEWAY_MAC, GUEST4, GUEST_MAC, ip, mac, WORLD4 } from "../support/packets.ts";
import { octets } from "../support/tcp_segments.ts";
import { wordOctets } from "./mutate.ts";
import { hold, type Rig } from "./rig.ts";
import { seal, setWord } from "./seal.ts";
import { at32 } from "./tcp_steps.ts";

const PEER_PORT = 80;
const ISN = 0x7fffffff;
const GUEST_BYTES = 900;
const HOST_BYTES = 3000;
/** What both send. */
const GUEST_STREAM = octets(0, GUEST_BYTES, 1);
const HOST_STREAM = octets(0, HOST_BYTES, 2);
const FIN = 1;
const SYN = 2;
const PSH = 8;
const ACK = 16;
const HEAD = Uint8Array.from([
  ...mac(GATEWAY_MAC),
  ...mac(GUEST_MAC),
  ...[8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0],
  ...ip(GUEST4),
  ...ip(WORLD4),
]);

/** One honest connection. */
export class HonestFlow {
  readonly guestPort: number;
  connection: TcpConnection | null = null;
  readonly #rig: Rig;
  #seq = ISN;
  /** What the guest expects next of the host. */
  #ack = 0;
  #got = 0;
  #finished = false;
  #acked = ISN;

  constructor(rig: Rig, guestPort: number) {
    this.#rig = rig;
    this.guestPort = guestPort;
  }

  /** The gateway's side: this flow was offered. */
  offered(connection: TcpConnection, nowMs: number): void {
    this.connection = connection;
    connection.accept(nowMs);
  }

  /** Opens it. */
  open(): void {
    this.#send(SYN, new Uint8Array(0));
    hold(this.#ack !== 0, "an honest SYN is answered");
    this.#send(ACK, new Uint8Array(0));
    hold(this.connection?.state === TcpState.established, "an honest flow is established");
  }

  /** Carries octets both ways. */
  talk(): void {
    const rig = this.#rig;
    const connection = this.connection!;
    hold(connection.state === TcpState.established, "the honest flow lives on");
    this.#send(ACK | PSH, GUEST_STREAM);
    let taken = 0;
    for (
      let span = connection.receiveSpan();
      span > 0;
      span = connection.receiveSpan()
    ) {
      const at = connection.receiver.ring.readSpanAt;
      hold(isAt(rig.memory.bytes, at, GUEST_STREAM, taken, span), "the honest guest's octets");
      connection.consume(span);
      taken += span;
    }
    hold(taken === GUEST_BYTES, () => `the host got ${taken} of ${GUEST_BYTES} octets`);
    rig.wait(50);
    hold(((this.#acked - this.#seq) | 0) === 0, "the honest guest's octets are acknowledged");
    this.#hostSends(connection);
  }

  #hostSends(connection: TcpConnection): void {
    const rig = this.#rig;
    for (let given = 0; given < HOST_BYTES;) {
      const span = Math.min(connection.sendSpan(), HOST_BYTES - given);
      hold(span > 0, "the host may send to an honest guest");
      rig.memory.bytes.set(
        HOST_STREAM.subarray(given, given + span),
        connection.sender.ring.writeSpanAt,
      );
      connection.commitSend(span);
      given += span;
      rig.turn();
      this.#send(ACK, new Uint8Array(0));
    }
    for (let turns = 0; this.#got < HOST_BYTES; turns++) {
      hold(turns < 32, () => `the honest guest got ${this.#got} of ${HOST_BYTES} octets`);
      rig.wait(1);
      this.#send(ACK, new Uint8Array(0));
    }
  }

  /** Closes it from both sides. */
  close(): void {
    const connection = this.connection!;
    this.#send(ACK | FIN, new Uint8Array(0));
    hold(connection.guestFinished, "an honest FIN is taken");
    connection.finish();
    this.#rig.turn();
    hold(this.#finished, "the host's FIN comes");
    this.#send(ACK, new Uint8Array(0));
    hold((connection.state as TcpState) === TcpState.closed, "an honest flow closes");
  }

  /** Gives up what is left of it. */
  release(): void {
    this.connection?.receiver.release();
  }

  /** A segment for the guest, whose TCP header is at `at`. */
  got(frame: Uint8Array, at: number): void {
    const flags = frame[at + 13]!;
    const seq = at32(frame, at + 4);
    if ((flags & ACK) !== 0) this.#acked = at32(frame, at + 8);
    if ((flags & SYN) !== 0) this.#ack = (seq + 1) >>> 0;
    const data = frame.subarray(at + (frame[at + 12]! >> 4) * 4);
    if (seq === this.#ack && data.length > 0) {
      hold(isAt(data, 0, HOST_STREAM, this.#got, data.length), "the honest host's octets");
      this.#got += data.length;
      this.#ack = (seq + data.length) >>> 0;
    }
    if (
      (flags & FIN) !== 0 && ((seq + data.length) >>> 0) === this.#ack &&
      !this.#finished
    ) {
      this.#finished = true;
      this.#ack = (this.#ack + 1) >>> 0;
    }
  }

  #send(flags: number, data: Uint8Array): void {
    const at = HEAD.length;
    const frame = new Uint8Array(at + 20 + data.length);
    frame.set(HEAD);
    setWord(frame, at, this.guestPort);
    setWord(frame, at + 2, PEER_PORT);
    frame.set(wordOctets(this.#seq, 4), at + 4);
    frame.set(wordOctets(this.#ack, 4), at + 8);
    frame[at + 12] = 0x50;
    frame[at + 13] = flags;
    setWord(frame, at + 14, 65_535);
    frame.set(data, at + 20);
    const grows = data.length + ((flags & (SYN | FIN)) !== 0 ? 1 : 0);
    this.#seq = (this.#seq + grows) >>> 0;
    this.#rig.push(seal(frame, true));
    this.#rig.turn();
  }
}

/** Whether the octets at `at` are those of the stream from `from` on. */
function isAt(bytes: Uint8Array, at: number, stream: Uint8Array, from: number, count: number) {
  for (let i = 0; i < count; i++) {
    if (bytes[at + i] !== stream[from + i]) return false;
  }
  return true;
}
