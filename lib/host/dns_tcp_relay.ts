/**
 * DNS over TCP from the guest: the gateway itself is the peer of connections to port 53.
 *
 * Questions are cut out of the receive ring, answers go into the send ring in the order in which
 * they come. A connection that breaks the framing is reset, also by a length that no question has;
 * one whose guest has finished ends when its last answer is out.
 *
 * What a connection holds beside its rings is bounded, as it counts in no other limit: a question
 * that is not whole, 16 that wait for an answer, and answers for which the ring has no room, no
 * more of them than the longest one has octets. While one of those waits no question is taken;
 * one that comes all the same, to a question before, becomes SERVFAIL. Connections that stand idle
 * (see dns_connections.ts) are finished in order, and are reset where octets of a question or an
 * answer are still there, or where the guest does not finish its side.
 *
 * @module
 */
import { errorAnswer } from "../dns/errors.ts";
import { ExtendedError, MESSAGE_MAX_BYTES, QUESTION_MAX_BYTES, Rcode } from "../dns/message.ts";
import { checkQuestion } from "../dns/question.ts";
import { DnsStream } from "../dns/stream.ts";
import { Counter } from "../stack/counters.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import type { TcpEndpoint } from "../stack/tcp/endpoint.ts";
import { TcpEvent, type TcpOwner, TcpState } from "../stack/tcp/state.ts";
import type { WheelEntry } from "../stack/timing_wheel.ts";
import type { DnsConnection } from "./dns_connections.ts";
import type { DnsGateway } from "./dns_gateway.ts";

const DROP_FLOWS = Counter["drop.tcp.flows"];

/** Questions that are taken in one go, before others have their turn. */
const GO_QUESTIONS = 64;

/** What the service works with. */
export interface DnsTcpRelayOptions {
  readonly endpoint: TcpEndpoint;
  readonly dns: DnsGateway;
  readonly wake: () => void;
  readonly now: () => number;
}

/** Serves one connection; made from the guest's SYN. */
export class DnsTcpRelay implements TcpOwner, DnsConnection {
  // What the timing wheel keeps in it.
  deadlineMs = 0;
  wheelSlot = -1;
  wheelPrevious: WheelEntry | null = null;
  wheelNext: WheelEntry | null = null;

  readonly #connection: TcpConnection;
  readonly #options: DnsTcpRelayOptions;
  readonly #stream = new DnsStream(QUESTION_MAX_BYTES);
  /** Answers for which the send ring has no room, each behind its length. */
  #answers: Uint8Array[] = [];
  #answersBytes = 0;
  /** Whether it was finished for standing idle: what the guest says from then on is passed over. */
  #isFinishing = false;
  #isContinued = false;
  #ended = false;

  constructor(connection: TcpConnection, options: DnsTcpRelayOptions) {
    this.#connection = connection;
    this.#options = options;
    if (!this.#enters()) {
      this.#ended = true;
      options.endpoint.counters.values[DROP_FLOWS]!++;
      connection.refuse();
      return;
    }
    connection.owner = this;
    connection.accept(options.now());
  }

  onTcpEvents(connection: TcpConnection, events: number): void {
    if ((events & TcpEvent.closed) !== 0) {
      this.#end();
      connection.receiver.release();
      return;
    }
    if ((events & TcpEvent.writable) !== 0) this.#send();
    this.#take();
  }

  onIdle(): void {
    this.#guard(() => this.#endIdle());
    this.#options.wake();
  }

  #endIdle(): void {
    const { connections } = this.#options.dns;
    const connection = this.#connection;
    const isWaitedFor = this.#answers.length > 0 || this.#stream.heldBytes > 0;
    if (this.#stream.outstanding > 0 && this.#answers.length === 0) {
      connections.touch(this); // it is us who are slow
    } else if (connection.state === TcpState.synReceived) {
      connection.forsake();
    } else if (isWaitedFor || this.#isFinishing) {
      this.#abort();
    } else {
      this.#isFinishing = true;
      connection.finish();
      connections.touch(this);
    }
  }

  /** Takes one of the places; handshakes that the guest will not complete make way. */
  #enters(): boolean {
    const { endpoint, dns: { connections }, now } = this.#options;
    if (connections.enter(this)) return true;
    endpoint.endForsaken(now());
    return connections.enter(this);
  }

  #take(): void {
    const { memory } = this.#options.endpoint.link;
    let taken = 0;
    while (!this.#ended && this.#answers.length === 0) {
      if (this.#isFinishing) return this.#passOver();
      if (taken === GO_QUESTIONS) return this.#continueSoon();
      const bytes = Math.min(this.#connection.receiveSpan(), this.#stream.roomBytes);
      if (bytes > 0) {
        const at = this.#connection.receiver.ring.readSpanAt;
        this.#stream.push(memory.bytes.subarray(at, at + bytes));
        this.#connection.consume(bytes);
      }
      const question = this.#stream.next();
      if (this.#stream.failed) return this.#abort();
      if (question !== null) {
        this.#ask(question);
        taken++;
      } else if (bytes === 0) break;
    }
    this.#finishIfDone();
  }

  /** Goes on with what the guest has sent when everybody else has had a turn. */
  #continueSoon(): void {
    if (this.#isContinued) return;
    this.#isContinued = true;
    this.#options.dns.connections.soon(() => {
      this.#isContinued = false;
      this.#guard(() => this.#take());
      this.#options.wake();
    });
  }

  #passOver(): void {
    const connection = this.#connection;
    for (let bytes = connection.receiveSpan(); bytes > 0; bytes = connection.receiveSpan()) {
      connection.consume(bytes);
    }
  }

  #ask(question: Uint8Array): void {
    const { dns } = this.#options;
    dns.connections.touch(this);
    this.#guard(() => {
      const answer = dns.answer(question, "tcp", MESSAGE_MAX_BYTES);
      if (!(answer instanceof Promise)) return this.#settle(question, answer);
      answer.then((late) => this.#settleLate(question, late)).catch((error) => this.#fail(error));
    });
  }

  #settleLate(question: Uint8Array, answer: Uint8Array | null): void {
    if (this.#ended) return;
    this.#options.dns.connections.touch(this);
    this.#settle(question, answer);
    this.#take();
    this.#options.wake();
  }

  #settle(question: Uint8Array, answer: Uint8Array | null): void {
    if (answer === null) {
      this.#stream.drop();
      return;
    }
    const framed = this.#stream.frame(this.#hasRoomFor(answer) ? answer : tooMany(question));
    this.#answers.push(framed);
    this.#answersBytes += framed.length;
    this.#send();
  }

  /** One answer is taken whatever its length; those that wait are no more than one. */
  #hasRoomFor(answer: Uint8Array): boolean {
    return this.#answersBytes === 0 || this.#answersBytes + answer.length <= MESSAGE_MAX_BYTES;
  }

  #guard(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A bug of ours costs this connection only. */
  #fail(error: unknown): void {
    if (!this.#ended) this.#abort();
    this.#options.endpoint.reportBug(error);
    this.#options.wake();
  }

  #abort(): void {
    this.#end();
    this.#connection.abort();
  }

  #end(): void {
    this.#ended = true;
    this.#answers = [];
    this.#options.dns.connections.leave(this);
  }

  #send(): void {
    const { endpoint, dns } = this.#options;
    const { memory } = endpoint.link;
    while (!this.#ended && this.#answers.length > 0) {
      const answer = this.#answers[0]!;
      const room = this.#connection.sendSpan();
      if (room === 0) return;
      const bytes = Math.min(room, answer.length);
      memory.bytes.set(answer.subarray(0, bytes), this.#connection.sender.ring.writeSpanAt);
      this.#connection.commitSend(bytes);
      this.#answersBytes -= bytes;
      if (bytes === answer.length) this.#answers.shift();
      else this.#answers[0] = answer.subarray(bytes);
      dns.connections.touch(this);
    }
  }

  #finishIfDone(): void {
    if (this.#ended || !this.#connection.guestFinished) return;
    if (this.#connection.receiveSpan() > 0 || this.#stream.outstanding > 0) return;
    if (this.#answers.length === 0) this.#connection.finish();
  }
}

/** What is said to a question whose answer finds others before it that nobody reads. */
function tooMany(question: Uint8Array): Uint8Array {
  const check = checkQuestion(question);
  return errorAnswer(question, check.kind === "ignore" ? null : check.question, {
    rcode: Rcode.serverFailure,
    extended: ExtendedError.other,
    text: "too many answers wait to be read on this connection",
  });
}
