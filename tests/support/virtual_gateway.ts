/**
 * A guest's whole network, as the product makes it, on a virtual machine: the test is the VMM, and
 * time passes when the test says so.
 *
 *     await using gw = new VirtualGateway();
 *     gw.host.listen(HOST4, 80, echo);
 *     gw.send(ethernet(ip4(udp(GUEST4, 5000, HOST4, 7, data), { destination: HOST4 })));
 *     await gw.run(10);
 *     assertEquals(gw.frames().length, 0);
 *     assertEquals(gw.counters["udp.up"], 1);
 *
 * The end of a test is a test: `end`, or leaving the scope of `await using`, closes the link and
 * shows that every figure is 0, no socket, dial or timer is left, the pool is whole, and no bug of
 * our own was counted. Buffers come from a pool that poisons what is given back.
 *
 * @module
 */
import { guestPolicy } from "./policy.ts";
import { assertEquals } from "@std/assert";
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import type { StreamEnd } from "../../lib/host/frame_stream.ts";
import { Arena } from "../../lib/host/gateway_memory.ts";
import { type GuestFigures, GuestNetwork } from "../../lib/host/guest_network.ts";
import type { GuestNetworkOptions } from "../../lib/host/guest_options.ts";
import type { CounterName } from "../../lib/stack/counters.ts";
import { LENGTH_BYTES } from "../../lib/stack/queues.ts";
import { poisonedPool } from "./poisoned_pool.ts";
import { VirtualHost } from "./virtual_host.ts";
import { type SocketOptions, tcpAddress, type VirtualPeer } from "./virtual_socket.ts";

/** How a virtual gateway differs from the plain one. */
export interface VirtualGatewayOptions
  extends Partial<Omit<GuestNetworkOptions, "limits" | "network" | "system" | "conn">> {
  readonly limits?: Partial<Limits>;
  readonly network?: Parameters<typeof parseGuestNetwork>[0];
  /** The machine; several networks may share one. */
  readonly host?: VirtualHost;
  /** Start of the dice of a machine of its own. */
  readonly seed?: number;
  /** How the frame link behaves: room on the way, partial reads and writes. */
  readonly link?: SocketOptions;
}

const LINK_BYTES = 256 * 1024;
/** Virtual time that an end may take. */
const END_MS = 5_000;
const RESOLVER = "10.0.0.53";

/** A guest's network, its machine, and the VMM's end of the link. */
export class VirtualGateway implements AsyncDisposable {
  readonly host: VirtualHost;
  readonly network: GuestNetwork;
  /** The VMM's end of the frame link. */
  link: VirtualPeer;
  /** Why the stream ended; `null` while it has not. */
  ended: StreamEnd | null = null;
  readonly #linkOptions: SocketOptions;
  readonly #usedBytes: number;
  readonly #pool: GuestNetworkOptions["pool"];
  readonly #hostShared: boolean;
  readonly #socketsBefore: number;
  readonly #timersBefore: number;
  readonly #frames: Uint8Array<ArrayBuffer>[] = [];
  #rest: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #unsent: Uint8Array[] = [];
  #takes = true;
  #isClosing = false;

  constructor(options: VirtualGatewayOptions = {}) {
    const { host, seed = 1, limits, network, link, pool = poisonedPool(), ...rest } = options;
    this.host = host ?? new VirtualHost({ seed });
    this.#hostShared = host !== undefined;
    this.#pool = pool;
    this.#usedBytes = pool.usedBytes;
    this.#socketsBefore = this.host.openSockets;
    this.#timersBefore = this.host.timers;
    this.#linkOptions = { bufferBytes: LINK_BYTES, ...link };
    const [conn, peer] = this.host.openConn(this.#linkOptions);
    this.link = peer;
    peer.onChange = () => this.#exchange();
    this.network = new GuestNetwork({
      system: this.host,
      conn,
      pool,
      arena: new Arena(pool),
      network: parseGuestNetwork(network),
      limits: { ...DEFAULT_LIMITS, ...limits },
      dns: { upstreams: [RESOLVER] },
      policy: guestPolicy(),
      hostLoopback: false,
      hostServices: [],
      ipv6Upstream: true,
      ownPorts: () => new Set<number>(),
      logger: silentLogger,
      ...rest,
    });
    this.network.run().then((end) => this.ended = end);
  }

  /** Sends frames as the guest; they arrive as time passes. */
  send(...frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      const framed = new Uint8Array(LENGTH_BYTES + frame.length);
      new DataView(framed.buffer).setUint32(0, frame.length);
      framed.set(frame, LENGTH_BYTES);
      this.#unsent.push(framed);
    }
    this.#exchange();
  }

  /** Sends bytes as they are: a part of a frame, a wrong length. */
  sendBytes(bytes: Uint8Array): void {
    this.#unsent.push(bytes);
    this.#exchange();
  }

  /** Bytes that the link has not taken yet. */
  get unsentBytes(): number {
    return this.#unsent.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  /** The frames that came for the guest since the last call. */
  frames(): Uint8Array<ArrayBuffer>[] {
    return this.#frames.splice(0);
  }

  /** Whether the guest takes frames, as it does until it is told to stop. */
  set takes(takes: boolean) {
    this.#takes = takes;
    this.#exchange();
  }

  /** Lets `ms` of virtual time pass. */
  run(ms: number): Promise<void> {
    return this.host.clock.run(ms);
  }

  /** Lets everything happen that takes no time. */
  settle(): Promise<void> {
    return this.run(0);
  }

  /** What was counted and is not 0. */
  get counters(): Partial<Record<CounterName, number>> {
    return this.network.counters.snapshot();
  }

  /** What the guest uses. */
  figures(): GuestFigures {
    return this.network.figures();
  }

  /**
   * Connects to a published port of the guest.
   *
   * @returns The client's end; `null` where the gateway refuses it.
   */
  publish(guestPort: number, hostname = "10.0.0.9", port = 50_000): VirtualPeer | null {
    const [conn, peer] = this.host.openConn({
      local: tcpAddress("10.0.0.1", guestPort),
      remote: tcpAddress(hostname, port),
    });
    if (this.network.acceptPublished(conn, guestPort)) return peer;
    conn.close();
    return null;
  }

  /** The VMM goes away, between frames or inside one, and may come again. */
  async lose(): Promise<void> {
    this.#unsent = [];
    this.#rest = new Uint8Array(0);
    this.link.onChange = null;
    this.link.take();
    this.link.close();
    await this.settle();
  }

  /** A VMM comes again; false where nobody waits for it. */
  async rejoin(): Promise<boolean> {
    const [conn, peer] = this.host.openConn(this.#linkOptions);
    if (!this.network.reattach(conn)) {
      conn.close();
      return false;
    }
    this.link = peer;
    peer.onChange = () => this.#exchange();
    await this.settle();
    return true;
  }

  /** Closes the link as a VMM does that is gone. */
  cut(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#unsent = [];
    this.link.take();
    this.link.close();
  }

  /** Closes the link and shows that nothing is left behind. */
  async end(): Promise<void> {
    const { host } = this;
    this.cut();
    await host.clock.run(0);
    if (this.network.link === "detached") void this.network.close(0);
    await host.clock.until("the network ends", () => this.ended !== null, END_MS);
    await host.clock.run(0);
    // Names of addresses are no resource: they go with the network itself.
    const { pins: _pins, ...figures } = this.figures();
    const zero = Object.fromEntries(Object.keys(figures).map((key) => [key, 0]));
    assertEquals(figures, zero as typeof figures, "figures after the end");
    const { "bug.turn": turn = 0, "bug.tcp": tcp = 0 } = this.counters;
    assertEquals([turn, tcp], [0, 0], "bugs of our own");
    if (this.#hostShared) return; // others may use the machine and the pool
    assertEquals(this.#pool.usedBytes, this.#usedBytes, "the pool has every byte again");
    assertEquals(host.openSockets, this.#socketsBefore, "sockets of the host left open");
    assertEquals(host.timers, this.#timersBefore, "timers left running");
    assertEquals(host.dialing, 0, "connects left under way");
    assertEquals(host.pinging, 0, "children left running");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  /** Moves bytes both ways over the link, as far as it takes them. */
  #exchange(): void {
    while (this.#unsent.length > 0) {
      const first = this.#unsent[0]!;
      const count = this.link.write(first);
      if (count < first.length) {
        this.#unsent[0] = first.subarray(count);
        break;
      }
      this.#unsent.shift();
    }
    if (!this.#takes || this.link.availableBytes === 0) return;
    const came = this.link.take();
    const bytes = new Uint8Array(this.#rest.length + came.length);
    bytes.set(this.#rest);
    bytes.set(came, this.#rest.length);
    const view = new DataView(bytes.buffer);
    let at = 0;
    while (bytes.length - at >= LENGTH_BYTES) {
      const end = at + LENGTH_BYTES + view.getUint32(at);
      if (end > bytes.length) break;
      this.#frames.push(bytes.slice(at + LENGTH_BYTES, end));
      at = end;
    }
    this.#rest = bytes.slice(at);
  }
}
