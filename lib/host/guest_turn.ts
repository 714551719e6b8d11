/**
 * The turn that drives one guest's network, and the stream of frames that it works on.
 *
 *     turn:   frames (256 or 1 ms) → timers → events to the relays → segments out, and frames of
 *             other guests → flush → reads of hosts
 *
 * A turn runs when frames have come, when a host socket has made progress, when the writer has
 * room again, or when the stack's one timer is due. A turn that leaves frames over yields to the
 * event loop before the next one. An exception in a turn is our own bug: it is counted, logged and
 * survived.
 *
 * Which stream it is may change; the parts that are driven stay the same. Why streams come and go
 * is not known here.
 *
 * @module
 */
import { MTU_MAX } from "../config/network.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { Counter, type Counters } from "../stack/counters.ts";
import type { VirtioNetworkDevice } from "../stack/device.ts";
import { Drained } from "../stack/lan_receiver.ts";
import { MAX_FRAME_BYTES, type NetworkFrameQueues } from "../stack/queues.ts";
import { type GatewayStack, Polled } from "../stack/stack.ts";
import type { TcpEndpoint } from "../stack/tcp/endpoint.ts";
import type { UdpFlows } from "../stack/udp_flows.ts";
import { FrameStreamBridge } from "./frame_stream.ts";
import type { FrameTransport } from "./frame_transport.ts";
import { Gathering } from "./gathering.ts";
import type { GuestLan } from "./guest_lan.ts";
import type { GuestNetworkOptions } from "./guest_options.ts";
import type { GuestParts } from "./guest_parts.ts";
import type { Timer } from "./host_clock.ts";
import type { HostSystem } from "./host_system.ts";
import type { LinkLife } from "./link_life.ts";
import type { TcpRelayTable } from "./tcp_relay_table.ts";

/** What a turn is made of. */
export interface GuestTurnOptions
  extends Pick<GuestNetworkOptions, "conn" | "network" | "system" | "logger"> {
  readonly parts: GuestParts;
  /** When the link is asked who is there. */
  readonly life: LinkLife;
}

const TURN_FRAMES = 256;
const TURN_MS = 1;
const WALK_FRAMES = 64;
/** So much of the lane of datagrams may wait for more of them. */
const GATHER_BYTES = 64 * 1024;
const BUG = Counter["bug.turn"];
const PARTIAL = Counter["csum.partial"];

/** One guest's turns, one after another. */
export class GuestTurn {
  readonly #counters: Counters;
  readonly #queues: NetworkFrameQueues;
  readonly #device: VirtioNetworkDevice;
  readonly #stack: GatewayStack;
  readonly #tcp: TcpEndpoint;
  readonly #relays: Pick<TcpRelayTable, "readHosts">;
  readonly #udpFlows: UdpFlows;
  readonly #lan: GuestLan | null;
  readonly #life: LinkLife;
  readonly #logger: GatewayLogger;
  readonly #system: HostSystem;
  readonly #now: () => number;
  readonly #wake: () => void;
  /** The largest packet that goes to the guest. */
  readonly #largestBytes: number;
  readonly #scheduledTurn = (): void => {
    this.#turnScheduled = false;
    this.run();
  };
  readonly #datagrams: Gathering;
  #bridge: FrameStreamBridge;
  #timer: Timer | undefined;
  #timerMs = Infinity;
  #turnScheduled = false;
  #walked: (() => void) | null = null;
  #walkedPromise: Promise<void> | null = null;
  #polled: Polled = Polled.empty;
  /** Whether TCP or other guests have more to send than the queue had room for. */
  #blocked = false;
  /** Whether frames of other guests come before TCP in this turn. */
  #isLanFirst = false;
  #bugLogged = false;
  #partialLogged = false;
  #closed = false;

  constructor({ parts, life, conn, network, system, logger }: GuestTurnOptions) {
    this.#counters = parts.counters;
    this.#queues = parts.queues;
    this.#device = parts.device;
    this.#stack = parts.stack;
    this.#tcp = parts.tcp;
    this.#relays = parts.relays;
    this.#udpFlows = parts.udpFlows;
    this.#lan = parts.lan;
    this.#wake = parts.wake;
    this.#life = life;
    this.#logger = logger;
    this.#system = system;
    this.#now = system.now;
    this.#largestBytes = network.offload ? MTU_MAX : network.mtu;
    const { hostToGuest } = this.#queues;
    const hasRoom = (): boolean => hostToGuest.queuedBytes < GATHER_BYTES;
    this.#datagrams = new Gathering(system, () => this.run(), hasRoom);
    this.#bridge = this.#bridgeOf(conn);
  }

  /** The stream that it works on. */
  get bridge(): FrameStreamBridge {
    return this.#bridge;
  }

  /** Whether no turn runs any more. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Works on another stream; the one before is closed. */
  attach(conn: FrameTransport): void {
    this.#bridge = this.#bridgeOf(conn);
  }

  #bridgeOf(conn: FrameTransport): FrameStreamBridge {
    return new FrameStreamBridge(conn, this.#queues.memory, this.#queues, this.#largestBytes, {
      onFrames: () => this.#onFrames(),
      onRoom: () => {
        if (this.#blocked) this.#wake();
      },
    }, this.#system);
  }

  /** Room in the queues means nothing until something is sent again. */
  unblock(): void {
    this.#blocked = false;
  }

  /** Drops the frames that are in the queues either way; no stream works on them. */
  dropFrames(): void {
    this.#queues.reset();
    this.#polled = Polled.empty;
  }

  /** No turn runs any more. */
  close(): void {
    this.#closed = true;
    this.#system.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#walked?.();
  }

  /**
   * A datagram for the guest is queued: a turn for all that come together, and one write. Returns
   * when the first of them came.
   */
  runForDatagram(): number {
    return this.#datagrams.add();
  }

  #runSoon(): void {
    if (this.#turnScheduled) return;
    this.#turnScheduled = true;
    this.#system.soon(this.#scheduledTurn);
  }

  /** Runs a turn. */
  run(): void {
    this.#queues.relayWake.clear();
    if (this.#closed) return;
    try {
      this.#turn();
    } catch (error) {
      this.caught(error);
      this.#lan?.port.forget();
    }
    this.#afterWalk();
    this.flush();
    this.#relays.readHosts();
    this.#arm();
  }

  /** Starts the writer, unless it is at it. */
  flush(): void {
    this.#queues.guestWake.clear();
    this.#bridge.flush();
  }

  /** Our own fault, out of what belongs to turns. */
  caught(error: unknown): void {
    this.#counters.values[BUG]!++;
    this.logBug(error);
  }

  /** Our own fault, which is counted already: said once. */
  logBug(error: unknown): void {
    if (this.#bugLogged) return;
    this.#bugLogged = true;
    this.#logger.error("the gateway caught a bug of its own; please report it", {
      error: (error as Error).stack ?? String(error),
    });
  }

  #onFrames(): Promise<void> | null {
    this.#queues.hostWake.clear();
    this.run();
    if (this.#polled !== Polled.more) return null;
    this.#walkedPromise ??= new Promise((resolve) => this.#walked = resolve);
    return this.#walkedPromise;
  }

  #turn(): void {
    const nowMs = this.#now();
    this.#polled = Polled.more; // stays so if a frame shows a bug: the rest is walked next
    this.#polled = this.#walk(nowMs);
    this.#lan?.port.flush();
    this.#advanceLink(nowMs);
    this.#tcp.advance(nowMs);
    this.#udpFlows.advance(nowMs);
    this.#tcp.handOver();
    this.#blocked = this.#dispatch(nowMs);
    this.#logPartial();
  }

  #advanceLink(nowMs: number): void {
    if (this.#life.askMs <= nowMs) {
      this.#life.asked(nowMs);
      this.#device.isAway = false; // for the question alone: it tells nothing of what is kept
      try {
        this.#stack.askGuest();
      } finally {
        this.#device.isAway = true;
      }
    }
    if (!this.#device.isAway) this.#stack.advance(nowMs);
  }

  /** Fills the guest's lane; TCP and other guests take turns at being first. True where it is full. */
  #dispatch(nowMs: number): boolean {
    const lan = this.#lan;
    if (lan === null) return this.#tcp.dispatch(nowMs);
    const isFirst = this.#isLanFirst = !this.#isLanFirst;
    const early = isFirst ? lan.drain(nowMs) : Drained.empty;
    const isBlocked = this.#tcp.dispatch(nowMs);
    const drained = isFirst ? early : lan.drain(nowMs);
    if (drained === Drained.more) this.#runSoon();
    return isBlocked || drained === Drained.blocked;
  }

  #walk(nowMs: number): Polled {
    let polled: Polled = Polled.more;
    for (let frames = 0; frames < TURN_FRAMES; frames += WALK_FRAMES) {
      polled = this.#stack.poll(WALK_FRAMES, nowMs);
      if (polled !== Polled.more || this.#now() - nowMs >= TURN_MS) break;
    }
    return polled;
  }

  #afterWalk(): void {
    if (this.#polled === Polled.more) {
      this.#runSoon();
      return;
    }
    if (this.#polled === Polled.broken && !this.#bridge.ended) {
      this.#logger.warn(
        "closing the link: a frame's length is beyond what the framing allows",
        {
          frameBytes: this.#queues.guestToHost.frameBytes,
          maxFrameBytes: MAX_FRAME_BYTES + this.#queues.headerBytes,
        },
      );
      this.#bridge.end("broken framing");
    }
    this.#walked?.();
    this.#walked = null;
    this.#walkedPromise = null;
  }

  /** Keeps the one timer at the earliest deadline. */
  #arm(): void {
    const stackMs = this.#device.isAway ? Infinity : this.#stack.pollAt();
    const atMs = Math.min(
      stackMs,
      this.#life.askMs,
      this.#tcp.pollAt(),
      this.#udpFlows.pollAt(),
    );
    if (this.#timer !== undefined && atMs >= this.#timerMs) return;
    this.#system.clearTimer(this.#timer);
    this.#timer = undefined;
    this.#timerMs = atMs;
    if (atMs === Infinity || this.#closed) return;
    const delayMs = Math.min(60_000, Math.max(1, Math.ceil(atMs - this.#now())));
    this.#timer = this.#system.setTimer(() => {
      this.#timer = undefined;
      this.#timerMs = Infinity;
      this.run();
    }, delayMs);
  }

  #logPartial(): void {
    if (this.#partialLogged || this.#counters.values[PARTIAL] === 0) return;
    this.#partialLogged = true;
    this.#logger.info("the guest leaves checksums to the device; they are completed here");
  }
}
