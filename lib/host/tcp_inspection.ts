/**
 * A guest's TCP flow that only a name can allow, until its first bytes have shown one.
 *
 *     SYN ─▶ accepted here ─▶ first bytes ─▶ Inspector ─▶ decided: the host is dialled, or it ends
 *
 * No byte has reached a host before the verdict. What has come stays in the flow's ring, untouched,
 * for whoever goes on with it. Bounds: 16 KiB and `inspectMs`; a guest that shows nothing in them,
 * or that ends the flow first, has shown no name. How many there are at once is the table's to bound.
 *
 * A flow that is refused is reset; the text of a refused HTTP request's answer is given to the guest
 * first (`FinalAnswer`), so that a person sees why.
 *
 * @module
 */
import { INSPECT_MAX_BYTES, Inspector } from "../inspect/inspector.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import type { TcpEndpoint } from "../stack/tcp/endpoint.ts";
import { TcpEvent, type TcpOwner } from "../stack/tcp/state.ts";
import type { HostClock, Timer } from "./host_clock.ts";

/** What the first bytes of a flow show. */
export interface Shown {
  /** TLS, HTTP, or neither. */
  readonly kind: "tls" | "http" | "other";
  /** The name in them; `null` for none. */
  readonly name: string | null;
  /** Why there is no name. */
  readonly reason: string;
}

/** What an inspection works with. */
export interface TcpInspectionOptions {
  readonly endpoint: TcpEndpoint;
  readonly clock: HostClock;
  /** How long the guest has. */
  readonly inspectMs: number;
  /** Whether a TLS hello that may hide another name is judged by the one that it shows. */
  readonly believesOuterName: () => boolean;
  /** Asks for a turn. */
  readonly wake: () => void;
  /** Called once, unless the guest resets the flow first; the flow is the callee's from then on. */
  readonly onShown: (shown: Shown) => void;
  /** Called once when it is over, whatever the end. */
  readonly onEnd: () => void;
}

/** One flow on the way to a verdict. */
export class TcpInspection implements TcpOwner {
  readonly #connection: TcpConnection;
  readonly #options: TcpInspectionOptions;
  readonly #inspector: Inspector;
  #timer: Timer;
  #ended = false;

  constructor(connection: TcpConnection, options: TcpInspectionOptions) {
    const { clock, inspectMs } = options;
    this.#connection = connection;
    this.#options = options;
    this.#inspector = new Inspector(options.believesOuterName());
    connection.owner = this;
    this.#timer = clock.setTimer(() => this.#onTime(), inspectMs);
    connection.accept(clock.now());
  }

  #onTime(): void {
    const { clock, inspectMs, wake } = this.#options;
    // A guest that is away, or has not come back to this flow, can't show anything.
    if (this.#connection.silence !== null) {
      this.#timer = clock.setTimer(() => this.#onTime(), inspectMs);
      return;
    }
    this.#show({ kind: "other", name: null, reason: `nothing in ${inspectMs / 1000} s` });
    wake();
  }

  /** The flow that is looked into. */
  get connection(): TcpConnection {
    return this.#connection;
  }

  onTcpEvents(_connection: TcpConnection, events: number): void {
    if ((events & TcpEvent.closed) !== 0) {
      this.#end();
      this.#connection.receiver.release();
      return;
    }
    if ((events & TcpEvent.readable) !== 0) this.#look();
  }

  /** Ends the flow without a verdict. */
  destroy(): void {
    this.#end();
    this.#connection.abort();
    this.#connection.receiver.release();
  }

  #look(): void {
    if (this.#ended) return;
    const connection = this.#connection;
    const bytes = Math.min(connection.receiveSpan(), INSPECT_MAX_BYTES);
    const at = connection.receiver.ring.readSpanAt;
    const { memory } = this.#options.endpoint.link;
    const found = bytes === 0
      ? MORE
      : this.#inspector.inspect(memory.bytes.subarray(at, at + bytes));
    switch (found.kind) {
      case "tls":
      case "http":
        return this.#show(found);
      case "other":
        return this.#show({ kind: "other", name: null, reason: found.reason });
      case "more":
        if (connection.guestFinished) {
          this.#show({ kind: "other", name: null, reason: "the flow ended before one came" });
        }
        return;
      default:
        found satisfies never;
    }
  }

  #show(shown: Shown): void {
    if (this.#ended) return;
    this.#end();
    this.#options.onShown(shown);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.clock.clearTimer(this.#timer);
    this.#options.onEnd();
  }
}

const MORE = { kind: "more" } as const;

/** How long a guest may take to read why it was refused. */
const ANSWER_MS = 2_000;

/** Gives a guest a last answer, and ends its flow. */
export class FinalAnswer implements TcpOwner {
  readonly #connection: TcpConnection;
  readonly #endpoint: TcpEndpoint;
  readonly #clock: HostClock;
  readonly #timer: Timer;
  #answer: Uint8Array;

  constructor(
    connection: TcpConnection,
    answer: Uint8Array,
    { endpoint, clock, wake }: Pick<TcpInspectionOptions, "endpoint" | "clock" | "wake">,
  ) {
    this.#connection = connection;
    this.#endpoint = endpoint;
    this.#clock = clock;
    this.#answer = answer;
    connection.owner = this;
    this.#timer = clock.setTimer(() => {
      connection.abort();
      wake();
    }, ANSWER_MS);
    this.#discard();
    this.#send();
  }

  onTcpEvents(_connection: TcpConnection, events: number): void {
    if ((events & TcpEvent.closed) !== 0) {
      this.#clock.clearTimer(this.#timer);
      this.#connection.receiver.release();
      return;
    }
    this.#discard();
    if ((events & TcpEvent.writable) !== 0) this.#send();
  }

  /** The rest of the request is of no interest, but unread octets would turn the end into an RST. */
  #discard(): void {
    for (let bytes; (bytes = this.#connection.receiveSpan()) > 0;) this.#connection.consume(bytes);
  }

  #send(): void {
    const { memory } = this.#endpoint.link;
    while (this.#answer.length > 0) {
      const room = this.#connection.sendSpan();
      if (room === 0) return;
      const bytes = Math.min(room, this.#answer.length);
      memory.bytes.set(this.#answer.subarray(0, bytes), this.#connection.sender.ring.writeSpanAt);
      this.#connection.commitSend(bytes);
      this.#answer = this.#answer.subarray(bytes);
    }
    this.#connection.finish();
  }
}
