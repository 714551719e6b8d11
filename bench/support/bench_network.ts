/**
 * A whole guest's network as the product makes it, between two made-up ends that are ready at once:
 * the VMM's connection, of which the bench is the guest, and a host's socket that takes whatever is
 * written to it and sends as much as it is told to.
 *
 * So everything above the kernel is in the figure: reader and writer, the turn, the relay, the
 * promises of their operations. The clock and the event loop are the process's own.
 *
 * @module
 */
import { RuleSet } from "../../lib/policy/rule_set.ts";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import { Arena } from "../../lib/host/gateway_memory.ts";
import { GuestNetwork } from "../../lib/host/guest_network.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import { BufferPool } from "../../lib/stack/buffer_pool.ts";
import { LENGTH_BYTES } from "../../lib/stack/queues.ts";
import { TcpFlag } from "../../lib/wire/tcp.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { DATA_AT, GUEST_FLOW_BYTES, GuestFlow, segmentBytes } from "./guest_frames.ts";

const MEMORY_BYTES = 64 * 1024 * 1024;
const PEER = Uint8Array.of(93, 184, 216, 34);
const ISN = 0x1000_0000;
/** What a read of a host's socket brings at most, as the kernel's buffers do on loopback. */
const HOST_READ_BYTES = 256 * 1024;

/** The parts of a socket that the gateway uses, and no others. */
type Used<K extends keyof Deno.TcpConn> = Pick<Deno.TcpConn, K>;

/** A host's socket that is always ready. */
class ReadyHost
  implements Used<"read" | "write" | "close" | "closeWrite" | "setNoDelay" | "setKeepAlive"> {
  readonly localAddr: Deno.NetAddr = { transport: "tcp", hostname: "10.0.0.1", port: 50_000 };
  readonly remoteAddr: Deno.NetAddr = { transport: "tcp", hostname: "93.184.216.34", port: 80 };
  #budgetBytes = 0;
  #pending: { into: Uint8Array; resolve: (count: number | null) => void } | null = null;

  /** Sends so many bytes more. */
  send(bytes: number): void {
    this.#budgetBytes += bytes;
    const pending = this.#pending;
    if (pending === null) return;
    this.#pending = null;
    pending.resolve(this.#spend(pending.into));
  }

  #spend(into: Uint8Array): number {
    const count = Math.min(into.length, this.#budgetBytes, HOST_READ_BYTES);
    this.#budgetBytes -= count;
    return count;
  }

  read(into: Uint8Array): Promise<number | null> {
    if (this.#budgetBytes > 0) return Promise.resolve(this.#spend(into));
    return new Promise((resolve) => this.#pending = { into, resolve });
  }

  write(from: Uint8Array): Promise<number> {
    return Promise.resolve(from.length);
  }

  close(): void {
    this.#pending?.resolve(null);
    this.#pending = null;
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  setNoDelay(): void {}
  setKeepAlive(): void {}
}

/** The network, its guest with one flow, and the flow's host. */
export class BenchNetwork {
  readonly mtu: number;
  readonly flow: GuestFlow;
  readonly host: ReadyHost = new ReadyHost();
  readonly #memory: FrameMemory;
  readonly #ackEvery: number;
  /** Segments with data since the guest's last ACK. */
  #unacknowledged = 0;
  /** Data that has come to the guest. */
  #receivedBytes = 0;
  #read: { at: number; resolve: (count: number) => void } | null = null;
  /** ACK numbers that the next read brings. */
  readonly #acks: number[] = [];
  /** What the bench waits for, and whether it has come. */
  #check: (() => boolean) | null = null;
  #met: () => void = () => {};

  /** A network whose guest acknowledges every `ackEvery` segments. */
  constructor(mtu: number, ackEvery: number) {
    this.mtu = mtu;
    this.#ackEvery = ackEvery;
    this.#memory = new FrameMemory(MEMORY_BYTES);
    const pool = new BufferPool(this.#memory, 0, MEMORY_BYTES);
    const at = pool.allocate(GUEST_FLOW_BYTES + 64);
    const config = parseGuestNetwork({ mtu });
    const { bytes } = this.#memory;
    bytes.set(config.gatewayMac, at);
    bytes.set(config.guestMac, at + 8);
    bytes.set(config.guestIp4, at + 16);
    const link = {
      memory: this.#memory,
      gatewayMacAt: at,
      guestMacAt: at + 8,
      guestIp4At: at + 16,
    };
    this.flow = new GuestFlow(link, at + 64, 40_000, PEER, 80, ISN);
    const limits = { ...DEFAULT_LIMITS, tcpFlows: 1024, tcpHalfOpen: 64 };
    const network = new GuestNetwork({
      system: {
        ...hostSystem,
        connect: () => Promise.resolve(this.host as Partial<Deno.TcpConn> as Deno.TcpConn),
      },
      conn: {
        read: (into: Uint8Array) => this.#onRead(into),
        write: (from: Uint8Array) => this.#onWrite(from),
        close: () => this.#read?.resolve(0),
      } as Partial<Deno.Conn> as Deno.Conn,
      pool,
      arena: new Arena(pool),
      network: config,
      limits,
      dns: { upstreams: ["192.0.2.53"] },
      policy: { protect: "metadata", denyPage: true, ech: "refuse", rules: new RuleSet([]) },
      hostLoopback: false,
      hostServices: [],
      ipv6Upstream: false,
      ownPorts: () => new Set<number>(),
      logger: silentLogger,
    });
    void network.run();
  }

  #onRead(into: Uint8Array): Promise<number> {
    return new Promise((resolve) => {
      this.#read = { at: into.byteOffset, resolve };
      if (this.#acks.length > 0) this.#sendAcks();
      this.#look();
    });
  }

  #onWrite(from: Uint8Array): Promise<number> {
    const { view } = this.#memory;
    const { flow } = this;
    const end = from.byteOffset + from.length;
    for (let at = from.byteOffset; at < end;) {
      const length = view.getUint32(at);
      this.#onFrame(at + LENGTH_BYTES, length);
      at += LENGTH_BYTES + length;
    }
    if (this.#unacknowledged > 0) this.#acks.push(flow.ack);
    this.#unacknowledged = 0;
    if (this.#acks.length > 0 && this.#read !== null) this.#sendAcks();
    this.#look();
    return Promise.resolve(from.length);
  }

  #onFrame(at: number, length: number): void {
    // Router advertisements and the like are nothing to this guest.
    if (this.#memory.view.getUint16(at + 12) !== 0x0800) return;
    const bytes = this.flow.take(at, length);
    if (bytes === 0) return;
    this.#receivedBytes += Math.max(0, bytes);
    if (++this.#unacknowledged < this.#ackEvery && bytes > 0) return;
    this.#acks.push(this.flow.ack);
    this.#unacknowledged = 0;
  }

  #sendAcks(): void {
    const { flow } = this;
    const { at, resolve } = this.#read!;
    let end = at;
    flow.tsValue++;
    for (const ack of this.#acks) {
      flow.ack = ack;
      end += flow.segment(end, TcpFlag.ack);
    }
    this.#acks.length = 0;
    this.#read = null;
    resolve(end - at);
  }

  #look(): void {
    if (this.#check === null || !this.#check()) return;
    this.#check = null;
    this.#met();
  }

  #until(check: () => boolean): Promise<void> {
    if (check()) return Promise.resolve();
    return new Promise((resolve) => {
      this.#check = check;
      this.#met = resolve;
    });
  }

  /** Opens the flow. */
  async open(): Promise<void> {
    const { flow } = this;
    await this.#until(() => this.#read !== null);
    this.#send((at) => flow.syn(at, segmentBytes(this.mtu) + 12));
    await this.#until(() => flow.ack !== 0 && this.#read !== null);
    this.#send((at) => flow.segment(at, TcpFlag.ack));
    await this.#until(() => this.#read !== null);
  }

  #send(write: (at: number) => number): void {
    const { at, resolve } = this.#read!;
    const bytes = write(at);
    this.#read = null;
    resolve(bytes);
  }

  /**
   * Lays segments into the read that is pending.
   *
   * @returns Sends them, and resolves when the gateway has acknowledged them and takes as many.
   */
  prepareUpload(segments: number, dataBytes = segmentBytes(this.mtu)): () => Promise<void> {
    const { flow } = this;
    const { at, resolve } = this.#read!;
    const bytes = segments * dataBytes;
    let end = at;
    for (let i = 0; i < segments; i++) {
      const sum = this.#memory.sum(end + DATA_AT, dataBytes);
      end += flow.segment(end, TcpFlag.ack, dataBytes, sum);
    }
    return () => {
      this.#read = null;
      resolve(end - at);
      return this.#until(() => {
        const window = (flow.edge - flow.seq) >>> 0;
        return flow.acknowledged === flow.seq && window >= bytes && this.#read !== null;
      });
    };
  }

  /** Sends until the gateway's window takes so many bytes at once. */
  async widenUpload(bytes: number): Promise<void> {
    const { flow } = this;
    for (let i = 0; i < 400; i++) {
      const window = (flow.edge - flow.acknowledged) >>> 0;
      if (window >= bytes) return;
      const dataBytes = Math.min(window, segmentBytes(this.mtu));
      await this.prepareUpload(Math.floor(Math.min(window, bytes) / dataBytes), dataBytes)();
    }
    throw new Error(`Cannot measure: the window stays below ${bytes} bytes`);
  }

  /** The host sends so many bytes, and the guest acknowledges them. */
  async download(bytes: number): Promise<void> {
    const end = this.#receivedBytes + bytes;
    this.host.send(bytes);
    await this.#until(() => this.#receivedBytes === end && this.#read !== null);
  }
}
