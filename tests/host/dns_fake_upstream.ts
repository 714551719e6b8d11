/** An upstream resolver of the tests on 127.0.0.1, which does as it is told, over UDP and TCP. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { frameMessage } from "../../lib/dns/stream.ts";

/** A question as it came in. */
export interface Received {
  /** The message. */
  message: Uint8Array;
  /** How it came. */
  over: "udp" | "tcp";
  /** The asker's port. */
  port: number;
  /** Sends a message back, over TCP in its frame. */
  reply(message: Uint8Array): void;
}

/** What an upstream does with a question. */
export type Behaviour = (received: Received) => void | Promise<void>;

/** A running upstream. */
export class FakeUpstream implements AsyncDisposable {
  /** What came in so far. */
  readonly received: Received[] = [];
  /** What is done with a question. */
  behaviour: Behaviour;
  readonly #udp: Socket;
  readonly #tcp: Deno.TcpListener;
  readonly #conns = new Set<Deno.TcpConn>();
  readonly #running: Promise<void>;

  private constructor(udp: Socket, tcp: Deno.TcpListener, behaviour: Behaviour) {
    this.#udp = udp;
    this.#tcp = tcp;
    this.behaviour = behaviour;
    udp.on("message", (bytes, from) => {
      this.#take({
        message: new Uint8Array(bytes),
        over: "udp",
        port: from.port,
        reply: (message) => udp.send(message, from.port, from.address),
      });
    });
    this.#running = this.#accept();
  }

  /** Starts an upstream on a free port. */
  static async start(behaviour: Behaviour = () => {}): Promise<FakeUpstream> {
    for (;;) {
      const tcp = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const udp = createSocket("udp4");
      try {
        udp.bind(tcp.addr.port, "127.0.0.1");
        await once(udp, "listening");
        return new FakeUpstream(udp, tcp, behaviour);
      } catch {
        // the UDP port of that number was taken
        udp.close();
        tcp.close();
      }
    }
  }

  /** Where it is, as an option of the gateway. */
  get address(): string {
    return `127.0.0.1:${this.#tcp.addr.port}`;
  }

  /** What it received over one transport. */
  over(transport: "udp" | "tcp"): Received[] {
    return this.received.filter(({ over }) => over === transport);
  }

  /** Sends a datagram to a port of 127.0.0.1 that has not asked. */
  sendTo(port: number, message: Uint8Array): void {
    this.#udp.send(message, port, "127.0.0.1");
  }

  /** Writes octets into every TCP connection that is open. */
  async sendRaw(bytes: Uint8Array): Promise<void> {
    for (const conn of this.#conns) await conn.write(bytes);
  }

  /** Closes every TCP connection that is open. */
  hangUp(): void {
    for (const conn of this.#conns) conn.close();
    this.#conns.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#udp, "close");
    this.#udp.close();
    this.#tcp.close();
    this.hangUp();
    await Promise.all([closed, this.#running]);
  }

  #take(received: Received): void | Promise<void> {
    this.received.push(received);
    return this.behaviour(received);
  }

  async #accept(): Promise<void> {
    const serving: Promise<void>[] = [];
    try {
      for await (const conn of this.#tcp) serving.push(this.#serve(conn));
    } catch {
      // closed
    }
    await Promise.all(serving);
  }

  async #serve(conn: Deno.TcpConn): Promise<void> {
    this.#conns.add(conn);
    try {
      const head = await read(conn, 2);
      const message = await read(conn, (head[0]! << 8) | head[1]!);
      await this.#take({
        message,
        over: "tcp",
        port: conn.remoteAddr.port,
        reply: (answer) => void conn.write(frameMessage(answer)).catch(() => {}),
      });
      await read(conn, 1); // until the asker closes
    } catch {
      // the peer or the test ended it
    } finally {
      if (this.#conns.delete(conn)) conn.close();
    }
  }
}

async function read(conn: Deno.TcpConn, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const n = await conn.read(bytes.subarray(at));
    if (n === null) throw new Error("The peer has closed");
    at += n;
  }
  return bytes;
}

/** A loaded machine may take so long. */
const PATIENCE_MS = 60_000;

/** Waits until something is so. */
export async function until(what: () => boolean): Promise<void> {
  const lateMs = performance.now() + PATIENCE_MS;
  while (!what()) {
    if (performance.now() > lateMs) throw new Error(`Never so: ${what}`);
    await new Promise((done) => setTimeout(done, 2));
  }
}
