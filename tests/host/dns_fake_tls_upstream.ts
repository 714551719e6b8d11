/** An upstream resolver of the tests over TLS on the loopback, which does as it is told. */
import { formatHostPort } from "../../lib/config/endpoint.ts";
import { frameMessage } from "../../lib/dns/stream.ts";
import { writeAll } from "../guest/bulk.ts";
import { pem } from "./dns_upstreams_rig.ts";

/** A question as it came in. */
export interface TlsReceived {
  /** The message, without its length. */
  readonly message: Uint8Array;
  /** The number of its connection, from 0. */
  readonly connection: number;
  /** Sends a message back in its frame. */
  reply(message: Uint8Array): void;
  /** Sends octets back as they are. */
  raw(bytes: Uint8Array): void;
  /** Closes the connection, once all is sent. */
  hangUp(): void;
}

/** What an upstream does with a question. */
export type TlsBehaviour = (received: TlsReceived) => void;

/** A running upstream. */
export class FakeTlsUpstream implements AsyncDisposable {
  /** What came in so far. */
  readonly received: TlsReceived[] = [];
  /** What is done with a question. */
  behaviour: TlsBehaviour;
  /** Connections whose handshake was completed, and how many of those have ended. */
  connections = 0;
  ended = 0;
  readonly #listener: Deno.TlsListener;
  readonly #open = new Set<Deno.TlsConn>();
  readonly #running: Promise<void>;

  private constructor(listener: Deno.TlsListener, behaviour: TlsBehaviour) {
    this.#listener = listener;
    this.behaviour = behaviour;
    this.#running = this.#accept();
  }

  /** Starts one with the certificate of that name, on a free port. */
  static start(
    behaviour: TlsBehaviour = () => {},
    { certificate = "dns", hostname = "127.0.0.1" } = {},
  ): FakeTlsUpstream {
    const listener = Deno.listenTls({
      hostname,
      port: 0,
      cert: pem(`${certificate}.pem`),
      key: pem(`${certificate}.key`),
    });
    return new FakeTlsUpstream(listener, behaviour);
  }

  /** `127.0.0.1:PORT`. */
  get place(): string {
    const { hostname, port } = this.#listener.addr as Deno.NetAddr;
    return formatHostPort(hostname, port);
  }

  /** Where it is, as an option of the gateway. */
  get address(): string {
    return `tls://${this.place}#dns.test`;
  }

  /** Closes every connection that is open. */
  hangUp(): void {
    for (const conn of this.#open) conn.close();
    this.#open.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.hangUp();
    await this.#running;
  }

  async #accept(): Promise<void> {
    const serving: Promise<void>[] = [];
    try {
      for await (const conn of this.#listener) serving.push(this.#serve(conn));
    } catch {
      // closed
    }
    await Promise.all(serving);
  }

  async #serve(conn: Deno.TlsConn): Promise<void> {
    this.#open.add(conn);
    let writing = Promise.resolve();
    const raw = (bytes: Uint8Array) => {
      writing = writing.then(() => writeAll(conn, bytes)).catch(() => {});
    };
    const close = () => {
      if (this.#open.delete(conn)) conn.close();
    };
    try {
      await conn.handshake();
      const connection = this.connections++;
      for (;;) {
        const head = await read(conn, 2);
        const message = await read(conn, (head[0]! << 8) | head[1]!);
        const received: TlsReceived = {
          message,
          connection,
          raw,
          reply: (answer) => raw(frameMessage(answer)),
          hangUp: () => void writing.then(close),
        };
        this.received.push(received);
        this.behaviour(received);
      }
    } catch {
      // the peer or the test ended it, or does not trust it
    } finally {
      this.ended++;
      await writing;
      close();
    }
  }
}

async function read(conn: Deno.TlsConn, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const n = await conn.read(bytes.subarray(at));
    if (n === null) throw new Error("The peer has closed");
    at += n;
  }
  return bytes;
}
