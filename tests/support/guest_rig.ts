/**
 * A guest's whole network on loopback sockets, for tests: the gateway's side as the runtime makes
 * it, and on the other end of the frame stream an embedded guest, or frames by hand.
 *
 * A rig that is disposed of has shown that nothing is left behind: all figures are zero, the pool
 * has every byte again, and no bug of our own was counted.
 *
 * @module
 */
import { guestPolicy } from "./policy.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import { assertEquals } from "@std/assert";
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import type { StreamEnd } from "../../lib/host/frame_stream.ts";
import { Arena, sharedPool } from "../../lib/host/gateway_memory.ts";
import { GuestNetwork } from "../../lib/host/guest_network.ts";
import { type HostClock, systemClock } from "../../lib/host/host_clock.ts";
import type { GuestNetworkOptions } from "../../lib/host/guest_options.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";

const GUEST_MEMORY = new FrameMemory(128 * 1024 * 1024);
/** How long a test waits for what must come. */
const PATIENCE_MS = 30_000;

/** How a rig differs from the plain one. */
export interface RigOptions extends Partial<Omit<GuestNetworkOptions, "limits" | "network">> {
  limits?: Partial<Limits>;
  network?: Parameters<typeof parseGuestNetwork>[0];
}

/** Waits until `check` holds; `what` names it where it never does. */
export async function until(what: string, check: () => boolean): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!check()) {
    if (performance.now() > endMs) throw new Error(`In vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Two ends of a TCP connection on loopback. */
export async function tcpPair(): Promise<[Deno.TcpConn, Deno.TcpConn]> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const ends = await Promise.all([
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    listener.accept(),
  ]);
  for (const end of ends) end.setNoDelay(true);
  return ends;
}

/** A guest's network, and the other end of its frame stream. */
export class NetworkRig implements AsyncDisposable {
  readonly network: GuestNetwork;
  /** The VMM's end of the stream. */
  readonly vmm: Deno.TcpConn;
  /** Resolves when the network has ended. */
  readonly ended: Promise<StreamEnd>;
  readonly #usedBytes: number;

  protected constructor(network: GuestNetwork, vmm: Deno.TcpConn, usedBytes: number) {
    this.network = network;
    this.vmm = vmm;
    this.#usedBytes = usedBytes;
    this.ended = network.run();
  }

  /** Makes a network with TIME_WAIT cut short, the host's loopback open and no IPv6 upstream. */
  static async make(options: RigOptions = {}): Promise<NetworkRig> {
    const [vmm, conn] = await tcpPair();
    return new NetworkRig(...NetworkRig.parts(options, vmm, conn));
  }

  protected static parts(
    options: RigOptions,
    vmm: Deno.TcpConn,
    conn: Deno.TcpConn,
  ): [GuestNetwork, Deno.TcpConn, number] {
    const pool = sharedPool(DEFAULT_LIMITS.bufferBytes);
    const { usedBytes } = pool;
    const { limits, network, ...rest } = options;
    const guest = new GuestNetwork({
      system: hostSystem,
      conn,
      pool,
      arena: new Arena(pool),
      network: parseGuestNetwork(network),
      limits: { ...DEFAULT_LIMITS, tcpTimeWaitMs: 20, ...limits },
      dns: { upstreams: ["127.0.0.1:1"] },
      policy: guestPolicy(),
      hostLoopback: true,
      hostServices: [],
      ipv6Upstream: false,
      ownPorts: () => new Set<number>(),
      logger: silentLogger,
      ...rest,
    });
    return [guest, vmm, usedBytes];
  }

  /** What was counted. */
  get counters() {
    return this.network.counters.snapshot();
  }

  /** Waits until nothing of any flow is left. */
  async idle(): Promise<void> {
    await until("no flow is left", () => {
      const figures = this.network.figures();
      return Object.values(figures).every((value) => value === 0);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.vmm.close();
    } catch {
      // Its owner has closed it.
    }
    await this.ended;
    const zero = Object.fromEntries(Object.keys(this.network.figures()).map((key) => [key, 0]));
    assertEquals({ ...this.network.figures() }, zero, "figures after the end");
    const pool = sharedPool(DEFAULT_LIMITS.bufferBytes);
    await until("the pool has every byte again", () => pool.usedBytes === this.#usedBytes);
    const { "bug.turn": turn = 0, "bug.tcp": tcp = 0 } = this.counters;
    assertEquals([turn, tcp], [0, 0], "bugs of our own");
  }
}

/** A guest's network with an embedded guest. */
export class GuestRig extends NetworkRig {
  readonly guest: EmbeddedGuest;

  private constructor(
    parts: [GuestNetwork, Deno.TcpConn, number],
    ipv6: boolean,
    clock: HostClock,
  ) {
    super(...parts);
    this.guest = EmbeddedGuest.attach(this.vmm, { memory: GUEST_MEMORY, ipv6, clock });
  }

  /** A guest that has its addresses; `clock` is the guest's own. */
  static async start(options: RigOptions = {}, clock = systemClock): Promise<GuestRig> {
    const [vmm, conn] = await tcpPair();
    const parts = NetworkRig.parts(options, vmm, conn);
    const rig = new GuestRig(parts, options.network?.ipv6 ?? true, clock);
    await rig.guest.lease();
    return rig;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.guest.close();
    await super[Symbol.asyncDispose]();
  }
}
