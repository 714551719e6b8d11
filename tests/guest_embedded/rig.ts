/**
 * The runtime and the embedded guest in one process, joined by a socket pair, with services on
 * 127.0.0.1 for the guest to reach through `hostLoopback`.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { GuestError, type GuestErrorCode } from "../../lib/guest/guest_error.ts";
import { EmbeddedGuest, type EmbeddedGuestOptions } from "../../lib/guest/embedded_guest.ts";
import { sharedPool } from "../../lib/host/gateway_memory.ts";
import {
  serveVirtioNetwork,
  type VirtioNetworkOptions,
  type VirtioNetworkRuntime,
  type VirtioNetworkServer,
} from "../../mod.ts";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { type FaultSpec, type FaultyLink, joinFaulty } from "../support/faulty_link.ts";
import { writeAll } from "../guest/bulk.ts";

const LOOPBACK = "127.0.0.1";

/** How a rig differs from the default. */
export interface RigOptions {
  readonly network?: VirtioNetworkOptions;
  readonly guest?: EmbeddedGuestOptions;
  /** A bad cable between the two. */
  readonly faults?: FaultSpec;
}

/** A gateway with its guest. */
export class Rig implements AsyncDisposable {
  readonly guest: EmbeddedGuest;
  /** The guest's end of the socket pair. */
  readonly guestEnd: Deno.Conn;
  readonly #server: VirtioNetworkServer;
  readonly #runtime: VirtioNetworkRuntime;
  readonly #link: FaultyLink | null;
  readonly #poolBytes: number;

  private constructor(
    server: VirtioNetworkServer,
    runtime: VirtioNetworkRuntime,
    options: EmbeddedGuestOptions,
    guestEnd: Deno.Conn,
    link: FaultyLink | null,
    poolBytes: number,
  ) {
    this.guest = EmbeddedGuest.attach(guestEnd, options);
    this.guestEnd = guestEnd;
    this.#server = server;
    this.#runtime = runtime;
    this.#link = link;
    this.#poolBytes = poolBytes;
  }

  /** Starts both; the guest has no lease yet. */
  static async start(options: RigOptions = {}): Promise<Rig> {
    const pool = sharedPool(DEFAULT_LIMITS.bufferBytes);
    const poolBytes = pool.usedBytes;
    const server = await serveVirtioNetwork(
      { transport: "tcp", hostname: LOOPBACK, port: 0 },
      { hostLoopback: true, once: true, ...options.network },
    );
    const { endpoint } = server;
    const port = endpoint.transport === "tcp" ? endpoint.port : 0;
    let guestEnd = await Deno.connect({ hostname: LOOPBACK, port });
    let link: FaultyLink | null = null;
    if (options.faults !== undefined) {
      const [near, far] = await socketPair();
      link = joinFaulty(far, guestEnd, options.faults);
      guestEnd = near;
    }
    while (server.guest === null) await new Promise((resolve) => setTimeout(resolve, 1));
    return new Rig(server, server.guest, options.guest ?? {}, guestEnd, link, poolBytes);
  }

  /** The gateway's side of the guest. */
  get runtime(): VirtioNetworkRuntime {
    return this.#runtime;
  }

  /** The host's port that leads to the guest. */
  get publishedPort(): number {
    return this.#server.published[0]!.hostPort;
  }

  /** Both families' address of the gateway, once there is a lease. */
  gateway(family: 4 | 6): string {
    const lease = this.guest.currentLease!;
    return family === 4 ? lease.router : lease.ip6!.dns[0]!;
  }

  /** Waits for the gateway to have let go of the guest, and holds it to that. */
  async assertNothingLeft(): Promise<void> {
    await this.runtime.finished;
    assertEquals(this.runtime.figures(), {
      tcpFlows: 0,
      udpFlows: 0,
      timers: 0,
      relays: 0,
      dials: 0,
      dnsInFlight: 0,
      pings: 0,
      fragmentSets: 0,
      bufferBytes: 0,
      pins: 0,
    });
    const pool = sharedPool(DEFAULT_LIMITS.bufferBytes);
    assertEquals(pool.lentBlocks, 0, "lent blocks");
    assertEquals(pool.usedBytes, this.#poolBytes, "bytes of the isolate's pool");
    assertEquals(this.runtime.counters()["bug.turn"], undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.guest.close();
    this.#link?.close();
    await this.#link?.done;
    await this.#server.finished;
    assertEquals(this.runtime.counters()["bug.turn"], undefined);
  }
}

/** Two connected sockets. */
export async function socketPair(): Promise<[Deno.TcpConn, Deno.TcpConn]> {
  using listener = Deno.listen({ hostname: LOOPBACK, port: 0 });
  const [near, far] = await Promise.all([
    Deno.connect({ hostname: LOOPBACK, port: listener.addr.port }),
    listener.accept(),
  ]);
  near.setNoDelay(true);
  far.setNoDelay(true);
  return [near, far];
}

/** A TCP server on 127.0.0.1 that ends with the test. */
export class HostServer implements AsyncDisposable {
  readonly port: number;
  readonly #listener: Deno.TcpListener;
  readonly #conns = new Set<Deno.TcpConn>();
  readonly #loop: Promise<void>;

  constructor(serve: (conn: Deno.TcpConn) => Promise<void>) {
    this.#listener = Deno.listen({ hostname: LOOPBACK, port: 0 });
    this.port = this.#listener.addr.port;
    this.#loop = this.#accept(serve);
  }

  /** Connections that are open. */
  get open(): number {
    return this.#conns.size;
  }

  async #accept(serve: (conn: Deno.TcpConn) => Promise<void>): Promise<void> {
    const running: Promise<void>[] = [];
    for await (const conn of this.#listener) {
      this.#conns.add(conn);
      running.push(
        serve(conn).catch(() => {}).finally(() => {
          if (this.#conns.delete(conn)) conn.close();
        }),
      );
    }
    await Promise.all(running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#conns) conn.close();
    this.#conns.clear();
    await this.#loop;
  }
}

/** Sends back what comes, then its end. */
export async function echo(conn: Deno.TcpConn): Promise<void> {
  const bytes = new Uint8Array(256 * 1024);
  for (;;) {
    const count = await conn.read(bytes);
    if (count === null) break;
    await writeAll(conn, bytes.subarray(0, count));
  }
  await conn.closeWrite();
}

/** Reads to the end. */
export async function readAll(conn: Deno.Conn): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  for (;;) {
    const chunk = new Uint8Array(256 * 1024);
    const count = await conn.read(chunk);
    if (count === null) break;
    chunks.push(chunk.subarray(0, count));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** Bytes that do not repeat, the same for a seed. */
export function noise(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 0x9e37_79b9) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state >>> 0;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** SHA-256 as text. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (octet) => octet.toString(16).padStart(2, "0")).join("");
}

/** The kind of failure that an attempt ends with. */
export async function failureOf(attempt: Promise<unknown>): Promise<GuestErrorCode | "none"> {
  try {
    await attempt;
    return "none";
  } catch (error) {
    if (error instanceof GuestError) return error.code;
    throw error;
  }
}
