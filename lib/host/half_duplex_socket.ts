/**
 * A unix datagram socket that is sent on while somebody waits for what it receives.
 *
 * Deno does one operation at a time on such a socket: while a receive waits, a send is refused. And a
 * receive can't be called back. So whoever wants to send writes one datagram to the socket itself,
 * from a small second one; that ends the receive, the sends have the socket, and the next receive
 * comes behind them. A receive always has its turn between two turns of sends.
 *
 * @module
 */
import { closeQuietly } from "./close_quietly.ts";

/** A bound datagram socket, as `Deno.listenDatagram` makes it for `unixpacket`. */
export interface UnixDatagramSocket {
  receive(into: Uint8Array): Promise<[Uint8Array, Deno.Addr]>;
  send(datagram: Uint8Array, to: Deno.UnixAddr): Promise<number>;
  close(): void;
}

/** A socket, and the one that wakes it. */
export interface SocketPair {
  readonly socket: UnixDatagramSocket;
  readonly path: string;
  readonly waker: UnixDatagramSocket;
  readonly wakerPath: string;
}

const WORD = Uint8Array.of(0);

/** One socket for both ways. */
export class HalfDuplexSocket {
  readonly #pair: SocketPair;
  /** Resolves when the receive that is under way has ended; `null` where there is none. */
  #receiving: Promise<unknown> | null = null;
  /** Resolves when those who send have; `null` where nobody does. */
  #sending: Promise<unknown> | null = null;
  /** Resolves when a receive that has waited for the sends is under way. */
  #turn: PromiseWithResolvers<void> | null = null;
  /** Resolves when the datagram that wakes has been sent; `null` where none is under way. */
  #waking: Promise<unknown> | null = null;

  constructor(pair: SocketPair) {
    this.#pair = pair;
  }

  /** The next datagram and the path that it comes from; one call at a time. */
  async receive(into: Uint8Array): Promise<[Uint8Array, string | null]> {
    for (;;) {
      if (this.#sending !== null) {
        this.#turn ??= Promise.withResolvers();
        await this.#sending;
      }
      const receiving = this.#pair.socket.receive(into);
      this.#receiving = receiving;
      this.#turn?.resolve();
      this.#turn = null;
      try {
        const [bytes, from] = await receiving;
        const path = "path" in from && from.path ? from.path : null;
        if (path !== this.#pair.wakerPath) return [bytes, path];
      } finally {
        this.#receiving = null;
      }
    }
  }

  /** Runs `task`, which has the socket for its sends. */
  async send(
    task: (send: (datagram: Uint8Array, path: string) => Promise<unknown>) => Promise<void>,
  ): Promise<void> {
    while (this.#sending !== null || this.#turn !== null) {
      await (this.#sending ?? this.#turn?.promise);
    }
    const sent = Promise.withResolvers<void>();
    this.#sending = sent.promise;
    try {
      if (this.#receiving !== null) {
        this.#wake();
        await this.#receiving.catch(() => {});
      }
      const { socket } = this.#pair;
      await task((datagram, path) => socket.send(datagram, { transport: "unixpacket", path }));
    } finally {
      this.#sending = null;
      sent.resolve();
    }
  }

  /** Ends the receive that waits. Where this has to wait itself, datagrams are there that do. */
  #wake(): void {
    const { waker, path } = this.#pair;
    this.#waking ??= waker.send(WORD, { transport: "unixpacket", path })
      .catch(() => {})
      .finally(() => this.#waking = null);
  }

  close(): void {
    closeQuietly(this.#pair.socket);
    closeQuietly(this.#pair.waker);
    this.#turn?.resolve();
    this.#turn = null;
  }
}
