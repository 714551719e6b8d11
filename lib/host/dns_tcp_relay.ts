/**
 * DNS over TCP from the guest: the gateway itself is the peer of connections to port 53.
 *
 * Questions are cut out of the receive ring, answers go into the send ring in the order in which
 * they come. A connection that breaks the framing is reset; one whose guest has finished ends when
 * its last answer is out. Answers that find no room wait, and no question is taken while they do.
 *
 * @module
 */
import { DnsStream } from "../dns/stream.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import { TcpEvent, type TcpOwner } from "../stack/tcp/state.ts";
import type { TcpEndpoint } from "../stack/tcp/endpoint.ts";
import type { DnsGateway } from "./dns_gateway.ts";

/** What the service works with. */
export interface DnsTcpRelayOptions {
  readonly endpoint: TcpEndpoint;
  readonly dns: DnsGateway;
  readonly wake: () => void;
  readonly now: () => number;
}

/** Serves one connection; made from the guest's SYN. */
export class DnsTcpRelay implements TcpOwner {
  readonly #connection: TcpConnection;
  readonly #options: DnsTcpRelayOptions;
  readonly #stream = new DnsStream();
  #answers: Uint8Array[] = [];
  #ended = false;

  constructor(connection: TcpConnection, options: DnsTcpRelayOptions) {
    this.#connection = connection;
    this.#options = options;
    connection.owner = this;
    connection.accept(options.now());
  }

  onTcpEvents(connection: TcpConnection, events: number): void {
    if ((events & TcpEvent.closed) !== 0) {
      this.#ended = true;
      connection.receiver.release();
      return;
    }
    if ((events & TcpEvent.writable) !== 0) this.#send();
    this.#take();
  }

  #take(): void {
    const { memory } = this.#options.endpoint.link;
    while (!this.#ended && this.#answers.length === 0) {
      const bytes = Math.min(this.#connection.receiveSpan(), this.#stream.roomBytes);
      if (bytes > 0) {
        const at = this.#connection.receiver.ring.readSpanAt;
        this.#stream.push(memory.bytes.subarray(at, at + bytes));
        this.#connection.consume(bytes);
      }
      const question = this.#stream.next();
      if (this.#stream.failed) {
        this.#ended = true;
        this.#connection.abort();
        return;
      }
      if (question !== null) this.#answer(question).catch((error) => this.#fail(error));
      else if (bytes === 0) break;
    }
    this.#finishIfDone();
  }

  async #answer(question: Uint8Array): Promise<void> {
    const answer = await this.#options.dns.answer(question, "tcp", 0xffff);
    if (this.#ended) return;
    if (answer === null) this.#stream.drop();
    else this.#answers.push(this.#stream.frame(answer));
    this.#send();
    this.#take();
    this.#options.wake();
  }

  /** A bug of ours costs this connection only. */
  #fail(error: unknown): void {
    this.#ended = true;
    this.#options.endpoint.reportBug(error);
    this.#connection.abort();
    this.#options.wake();
  }

  #send(): void {
    const { memory } = this.#options.endpoint.link;
    while (!this.#ended && this.#answers.length > 0) {
      const answer = this.#answers[0]!;
      const room = this.#connection.sendSpan();
      if (room === 0) return;
      const bytes = Math.min(room, answer.length);
      memory.bytes.set(answer.subarray(0, bytes), this.#connection.sender.ring.writeSpanAt);
      this.#connection.commitSend(bytes);
      if (bytes === answer.length) this.#answers.shift();
      else this.#answers[0] = answer.subarray(bytes);
    }
  }

  #finishIfDone(): void {
    if (this.#ended || !this.#connection.guestFinished) return;
    if (this.#connection.receiveSpan() > 0 || this.#stream.outstanding > 0) return;
    if (this.#answers.length === 0) this.#connection.finish();
  }
}
