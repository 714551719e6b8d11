/**
 * A guest inside the process: attach it to a connection that leads to a gateway, and it gets an
 * address, pings, resolves, opens and takes connections, through the real framing.
 *
 *     const guest = EmbeddedGuest.attach(conn);
 *     const lease = await guest.lease();
 *     const web = await guest.connect(lease.router, 80);
 *
 * A turn is as the gateway's: frames in, timers, owners told, segments out, flush. Promises wait on
 * the stack's state and are looked at after each turn.
 *
 * Limits: 128 MiB of memory of its own, of which pages cost nothing until touched.
 *
 * @module
 */
import { MTU_MAX } from "../config/network.ts";
import { FrameStreamBridge, type StreamEnd } from "../host/frame_stream.ts";
import type { FrameTransport } from "../host/frame_transport.ts";
import { Arena } from "../host/gateway_memory.ts";
import { type HostClock, systemClock, type Timer } from "../host/host_clock.ts";
import { BufferPool } from "../stack/buffer_pool.ts";
import type { CounterName } from "../stack/counters.ts";
import { NetworkFrameQueues, QUEUES_BYTES } from "../stack/queues.ts";
import { Polled } from "../stack/stack.ts";
import { FrameMemory } from "../wire/memory.ts";
import { type Dhcp4Lease, Dhcp4State } from "./dhcp4_client.ts";
import { askTcp, askUdp, type DnsReply } from "./guest_dns.ts";
import { GuestError, type GuestErrorCode } from "./guest_error.ts";
import { type GuestConnectionHandler, GuestStack } from "./guest_stack.ts";
import type { GuestTcp } from "./guest_tcp.ts";
import type { Advertised } from "./neighbors.ts";
import type { GuestUdp } from "./udp_socket.ts";

/** How a guest differs from the default. */
export interface EmbeddedGuestOptions {
  /** Its MAC. */
  readonly mac?: Uint8Array;
  /** Its device's MTU, in bytes; default 1,500. */
  readonly mtu?: number;
  /** Whether it speaks IPv6; default true. */
  readonly ipv6?: boolean;
  /** Whether it sends and takes TCP segments longer than the MTU; default false. */
  readonly offload?: boolean;
  /** Whether each frame has a virtio-net header in front; default false. */
  readonly hasHeaders?: boolean;
  /** Memory for everything of it, of its own; at least 48 MiB. */
  readonly memory?: FrameMemory;
  /** Its clock; default the process's. */
  readonly clock?: HostClock;
  /** Gives 32 random bits; default from the system. */
  readonly random?: () => number;
}

/** What the guest was given. */
export interface GuestLease extends Dhcp4Lease {
  /** What the router advertised for IPv6; `null` where none did. */
  readonly ip6: Advertised | null;
}

/** How a question is asked. */
export interface ResolveOptions {
  /** Default `udp`. */
  readonly transport?: "udp" | "tcp";
  /** The resolver; the lease's first one when absent. */
  readonly server?: string;
  /** Default 20,000. */
  readonly timeoutMs?: number;
}

const DEFAULT_MAC = Uint8Array.of(0x02, 0x53, 0x4d, 0, 0, 0x02);
const DEFAULT_MTU = 1_500;
const MEMORY_BYTES = 128 * 1024 * 1024;
const TURN_FRAMES = 256;
const LEASE_TIMEOUT_MS = 20_000;
const PING_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 30_000;
const RESOLVE_TIMEOUT_MS = 20_000;
const CLOSE_GRACE_MS = 1_000;
const DNS_PORT = 53;

interface Waiting {
  /** Looks whether the wait is over; throws where it was in vain. */
  readonly check: () => boolean;
  readonly settle: (error: unknown) => void;
}

/** A guest and its network. */
export class EmbeddedGuest implements AsyncDisposable {
  /** Resolves with why when the link is gone. */
  readonly ended: Promise<StreamEnd>;
  /** The stack underneath. */
  readonly stack: GuestStack;
  readonly #clock: HostClock;
  readonly #random: () => number;
  readonly #arena: Arena;
  readonly #queues: NetworkFrameQueues;
  readonly #bridge: FrameStreamBridge;
  readonly #waiting = new Set<Waiting>();
  #lease: GuestLease | null = null;
  #polled: Polled = Polled.empty;
  #walked: (() => void) | null = null;
  #timer: Timer | undefined;
  #timerMs = Infinity;
  #turnScheduled = false;
  #closed = false;

  private constructor(conn: FrameTransport, options: EmbeddedGuestOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    const memory = options.memory ?? new FrameMemory(MEMORY_BYTES);
    const pool = new BufferPool(memory, 0, memory.sizeBytes);
    this.#arena = new Arena(pool);
    const mtu = options.mtu ?? DEFAULT_MTU;
    this.#queues = new NetworkFrameQueues(memory, this.#arena.take(QUEUES_BYTES), {
      write: () => this.#flush(),
      turn: () => queueMicrotask(() => this.#runTurn()),
    }, options.hasHeaders);
    const offload = options.offload ?? false;
    this.stack = new GuestStack({
      queues: this.#queues,
      pool,
      arena: this.#arena,
      link: { mac: options.mac ?? DEFAULT_MAC, mtu, ipv6: options.ipv6 ?? true },
      offload,
      random: this.#random,
      wake: () => this.#wake(),
      nowMs: this.#clock.now(),
    });
    const largestBytes = offload ? MTU_MAX : mtu;
    this.#bridge = new FrameStreamBridge(conn, memory, this.#queues, largestBytes, {
      onFrames: () => this.#onFrames(),
      onRoom: () => this.#wake(),
    }, this.#clock);
    this.ended = this.#bridge.run().then(async (end) => {
      await this.#free(0);
      return end;
    });
  }

  /** Puts a guest behind a connection to a gateway; the connection is the guest's from here on. */
  static attach(conn: FrameTransport, options: EmbeddedGuestOptions = {}): EmbeddedGuest {
    if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay(true);
    return new EmbeddedGuest(conn, options);
  }

  /** What `lease` got last; `null` before. */
  get currentLease(): GuestLease | null {
    return this.#lease;
  }

  /** What the stack has counted. */
  counters(): Partial<Record<CounterName, number>> {
    return this.stack.counters.snapshot();
  }

  /**
   * Asks for an IPv4 lease and for an IPv6 router, and finds the router's MAC.
   *
   * @throws {GuestError} Where no DHCP server or no router answers.
   */
  async lease(): Promise<GuestLease> {
    const { dhcp, neighbors, guest } = this.stack;
    const nowMs = this.#clock.now();
    dhcp.start(nowMs);
    if (guest.link.config.ipv6) neighbors.solicitRouters(nowMs);
    this.#wake();
    await this.#until("get a lease", LEASE_TIMEOUT_MS, () => {
      if (dhcp.state === Dhcp4State.failed) {
        throw new GuestError("timeout", "No DHCP server answers");
      }
      if (neighbors.hasNoMac) throw new GuestError("timeout", "The router does not answer ARP");
      const knows6 = !guest.link.config.ipv6 || neighbors.advertised !== null ||
        neighbors.hasNoRouter;
      return dhcp.lease !== null && guest.hasRouterMac && knows6;
    });
    this.#lease = { ...dhcp.lease!, ip6: neighbors.advertised };
    return this.#lease;
  }

  /**
   * Sends an echo request.
   *
   * @returns The round trip, in milliseconds.
   * @throws {GuestError} Where the answer is an error, or none.
   */
  async ping(address: string, dataBytes = 56, timeoutMs = PING_TIMEOUT_MS): Promise<number> {
    const echo = this.stack.ping(address, dataBytes, this.#clock.now());
    this.#wake();
    try {
      await this.#until(`ping ${address}`, timeoutMs, () => {
        if (echo.failure !== null) {
          throw new GuestError(echo.failure, `Cannot ping ${address}: ${echo.failure}`);
        }
        return echo.rttMs >= 0;
      });
    } finally {
      this.stack.icmp.forget(echo);
    }
    return echo.rttMs;
  }

  /** Binds a UDP port; 0 chooses one. */
  udp(port = 0): GuestUdp {
    this.#demandOpen();
    return this.stack.udp(port);
  }

  /**
   * Opens a connection.
   *
   * @throws {GuestError} Where it is refused, prohibited or not answered.
   */
  async connect(
    address: string,
    port: number,
    timeoutMs = CONNECT_TIMEOUT_MS,
  ): Promise<GuestTcp> {
    this.#demandOpen();
    const tcp = this.stack.connect(address, port, this.#clock.now());
    const timer = this.#clock.setTimer(() => {
      tcp.fail("timeout");
      this.#wake();
    }, timeoutMs);
    try {
      await tcp.opened;
      return tcp;
    } catch (error) {
      const { code } = error as GuestError;
      throw new GuestError(code, `Cannot connect to ${address} port ${port}: ${code}`);
    } finally {
      this.#clock.clearTimer(timer);
    }
  }

  /** Takes connections to a port; the function that is returned stops it. */
  listen(port: number, handler: GuestConnectionHandler): () => void {
    this.#demandOpen();
    return this.stack.listen(port, handler);
  }

  /**
   * Asks a resolver.
   *
   * @throws {GuestError} Where it does not answer.
   */
  async resolve(name: string, type: string, options: ResolveOptions = {}): Promise<DnsReply> {
    const server = options.server ?? this.#lease?.dns[0];
    if (server === undefined) throw new GuestError("unavailable", "No resolver is known");
    const timeoutMs = options.timeoutMs ?? RESOLVE_TIMEOUT_MS;
    const ask = { name, type, id: this.#random() & 0xffff };
    if (options.transport === "tcp") {
      using connection = await this.connect(server, DNS_PORT, timeoutMs);
      return await this.#within(timeoutMs, () => connection.close(), askTcp(connection, ask));
    }
    using socket = this.udp();
    return await this.#within(timeoutMs, () => socket.close(), askUdp(socket, server, ask));
  }

  /** Resets what is open, lets the last frames out and closes the link. */
  async close(): Promise<void> {
    await this.#free(CLOSE_GRACE_MS);
    await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // ---- Waiting ----------------------------------------------------------------------------

  /** Waits until `check` is true; it is called after each turn. */
  async #until(doing: string, timeoutMs: number, check: () => boolean): Promise<void> {
    this.#demandOpen();
    if (check()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting: Waiting = {
      check,
      settle: (error) => error === null ? resolve() : reject(error),
    };
    this.#waiting.add(waiting);
    const timer = this.#clock.setTimer(
      () => reject(new GuestError("timeout", `Cannot ${doing}: no answer in ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      await promise;
    } finally {
      this.#clock.clearTimer(timer);
      this.#waiting.delete(waiting);
    }
  }

  /** Gives up what `result` waits for when the time is over. */
  async #within<T>(timeoutMs: number, giveUp: () => void, result: Promise<T>): Promise<T> {
    let code: GuestErrorCode | null = null;
    const timer = this.#clock.setTimer(() => {
      code = "timeout";
      giveUp();
    }, timeoutMs);
    try {
      return await result;
    } catch (error) {
      if (code === null) throw error;
      throw new GuestError(code, `No answer in ${timeoutMs} ms`);
    } finally {
      this.#clock.clearTimer(timer);
    }
  }

  #lookAround(): void {
    for (const { check, settle } of this.#waiting) {
      try {
        if (check()) settle(null);
      } catch (error) {
        settle(error);
      }
    }
  }

  #demandOpen(): void {
    if (this.#closed) throw new GuestError("closed", "The guest's link is closed");
  }

  // ---- Turns ------------------------------------------------------------------------------

  #wake(): void {
    if (!this.#closed) this.#queues.relayWake.set();
  }

  #onFrames(): Promise<void> | null {
    this.#runTurn();
    if (this.#polled !== Polled.more) return null;
    return new Promise((resolve) => this.#walked = resolve);
  }

  #runTurn(): void {
    this.#queues.relayWake.clear();
    if (this.#closed) return;
    const nowMs = this.#clock.now();
    this.#polled = this.stack.poll(TURN_FRAMES, nowMs);
    this.stack.advance(nowMs);
    this.stack.dispatch(nowMs);
    this.#afterWalk();
    this.#lookAround();
    this.#flush();
    this.#arm();
  }

  #afterWalk(): void {
    if (this.#polled === Polled.more) {
      this.#runTurnLater();
      return;
    }
    if (this.#polled === Polled.broken) this.#bridge.end("broken framing");
    this.#walked?.();
    this.#walked = null;
  }

  #runTurnLater(): void {
    if (this.#turnScheduled) return;
    this.#turnScheduled = true;
    this.#clock.soon(() => {
      this.#turnScheduled = false;
      this.#runTurn();
    });
  }

  #flush(): void {
    this.#queues.guestWake.clear();
    this.#bridge.flush();
  }

  #arm(): void {
    const atMs = this.stack.pollAt();
    if (this.#closed || atMs >= this.#timerMs) return; // the earlier timer will look again
    this.#clock.clearTimer(this.#timer);
    this.#timerMs = atMs;
    const delayMs = Math.max(1, Math.ceil(atMs - this.#clock.now()));
    this.#timer = this.#clock.setTimer(() => {
      this.#timer = undefined;
      this.#timerMs = Infinity;
      this.#runTurn();
    }, delayMs);
  }

  async #free(graceMs: number): Promise<void> {
    if (this.#closed) return;
    this.stack.closeAll();
    if (graceMs > 0) this.#flush();
    this.#closed = true;
    this.#clock.clearTimer(this.#timer);
    this.#walked?.();
    const error = new GuestError("closed", "The guest's link is closed");
    for (const { settle } of this.#waiting) settle(error);
    await this.#bridge.close(graceMs);
    this.#arena[Symbol.dispose]();
  }
}

function systemRandom(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}
