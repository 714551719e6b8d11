/**
 * A proxy that does what a test's script says, on the loopback, and the ways to connect through it.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  type Connect,
  connectSilently,
  Dialer,
  type DialFailure,
  type DialLimits,
} from "../../lib/host/dialer.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import { UpstreamProxy, type UpstreamProxyOptions } from "../../lib/host/upstream_proxy.ts";

const LIMITS: DialLimits = {
  tcpDials: 4,
  tcpDialsPerDestination: 4,
  tcpDialYieldMs: 3_000,
  tcpDialTimeoutMs: 30_000,
  tcpDialsPerSecond: 1_000_000,
};

export const OK = "HTTP/1.1 200 OK\r\n\r\n";
export const encoder = new TextEncoder();
export const decoder = new TextDecoder();

/** What a proxy does with one connection. */
export type Script = (peer: Peer) => Promise<void>;

/** A connection as the proxy sees it. */
export class Peer {
  constructor(readonly conn: Deno.TcpConn) {
    conn.setNoDelay(true);
  }

  async read(bytes: number): Promise<number[]> {
    const into = new Uint8Array(bytes);
    let at = 0;
    while (at < bytes) {
      const count = await this.conn.read(into.subarray(at));
      if (count === null) throw new Error(`The end after ${at} of ${bytes} octets`);
      at += count;
    }
    return [...into];
  }

  /** An HTTP head, with its blank line. */
  async head(): Promise<string> {
    let text = "";
    while (!text.endsWith("\r\n\r\n")) text += String.fromCharCode(...await this.read(1));
    return text;
  }

  async write(data: string | readonly number[]): Promise<void> {
    const bytes = typeof data === "string" ? encoder.encode(data) : Uint8Array.from(data);
    for (let at = 0; at < bytes.length;) at += await this.conn.write(bytes.subarray(at));
  }

  /** Each octet in a segment of its own. */
  async dribble(data: string | readonly number[]): Promise<void> {
    const bytes = typeof data === "string" ? [...encoder.encode(data)] : data;
    for (const octet of bytes) {
      await this.write([octet]);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Whatever comes until the other side closes. */
  async rest(): Promise<number> {
    let bytes = 0;
    const into = new Uint8Array(1_024);
    for (;;) {
      const count = await this.conn.read(into).catch(() => null); // a reset ends it as well
      if (count === null) return bytes;
      bytes += count;
    }
  }
}

/** A proxy on the loopback that runs a script with each connection, and all that is told of it. */
export class Proxy implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #script: Script;
  readonly #served: Promise<void>;
  readonly #errors: unknown[] = [];
  connections = 0;
  closed = 0;
  readonly faults: string[] = [];

  constructor(script: Script, hostname = "127.0.0.1") {
    this.#script = script;
    this.#listener = Deno.listen({ hostname, port: 0 });
    this.#served = this.#serve();
  }

  async #serve(): Promise<void> {
    const running: Promise<void>[] = [];
    for await (const conn of this.#listener) running.push(this.#run(conn));
    await Promise.all(running);
  }

  async #run(conn: Deno.TcpConn): Promise<void> {
    this.connections++;
    try {
      const peer = new Peer(conn);
      await this.#script(peer);
      await peer.rest();
    } catch (error) {
      this.#errors.push(error);
    }
    this.closed++;
    try {
      conn.close();
    } catch {
      // The script has done so.
    }
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  url(scheme: "http" | "socks5", credentials = ""): string {
    const { hostname, port } = this.#listener.addr;
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    return `${scheme}://${credentials}${host}:${port}`;
  }

  connect(scheme: "http" | "socks5", credentials = ""): Connect {
    const onFault = ({ message }: Error): void => {
      this.faults.push(message.replace(`:${this.port}:`, ":PORT:"));
    };
    return proxyConnect(this.url(scheme, credentials), connectSilently, onFault);
  }

  /** Ends it once all its connections have been closed by the other side. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#served;
    if (this.#errors.length > 0) throw this.#errors[0];
  }
}

/** A connect by way of a proxy that is not on this host. */
export function proxyConnect(
  url: string,
  connect: Connect,
  onFault: NonNullable<UpstreamProxyOptions["onFault"]> = () => {},
): Connect {
  return new UpstreamProxy(url, { connect, canBind: () => false, onFault }).connect;
}

/** Connects to a place by way of a proxy. */
export function reach(connect: Connect, hostname = "192.0.2.1", port = 22): Promise<Deno.TcpConn> {
  return connect({ hostname, port, transport: "tcp", signal: new AbortController().signal });
}

/** What a dialer makes of it. */
export async function dial(connect: Connect): Promise<DialFailure | "connected"> {
  using dialer = new Dialer(LIMITS, { ...hostSystem, connect });
  return await new Promise((resolve) => {
    dialer.dial({
      hostnames: ["192.0.2.1"],
      port: 22,
      onConnected: (conn) => {
        conn.close();
        resolve("connected");
      },
      onFailed: resolve,
    });
  });
}

/** Everything that a connection brings until its peer has nothing more, as text. */
export async function readText(conn: Deno.TcpConn, bytes: number): Promise<string> {
  return decoder.decode(Uint8Array.from(await new Peer(conn).read(bytes)));
}

/** Reads a SOCKS greeting and request without credentials, and gives the request back. */
export async function socksRequest(peer: Peer, addressBytes = 4): Promise<number[]> {
  assertEquals(await peer.read(3), [5, 1, 0]);
  await peer.write([5, 0]);
  return await peer.read(6 + addressBytes);
}

export const SOCKS_OK = [5, 0, 0, 1, 198, 51, 100, 1, 0x12, 0x34];
