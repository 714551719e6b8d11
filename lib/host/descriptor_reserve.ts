/**
 * Descriptors that are kept for what must go on when flows have used up all others: the VMM's
 * socket and the resolver.
 *
 *     system's limit:  | runtime, listeners | flows of the guest …      | kept |
 *                                                       EMFILE: RST  ──▶|      |◀── DNS, VMM
 *
 * How many a process may have can't be asked under ordinary permissions, so the kept ones are held:
 * files that are opened for nothing else. A flow that meets the end of the others is refused. Who
 * may use a kept one asks `free` first, which closes such a file where no descriptor is left; it is
 * opened again when one is free, and until all are back no new flow is begun.
 *
 * Where no file for it can be read nothing is kept, and nothing else changes.
 *
 * Limits: `count` files, a quarter of what can be had where that is less; looked after every
 * `RETRY_MS` while some are missing.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import type { DatagramOpeners, HostSystem } from "./host_system.ts";
import { type HostClock, systemClock, type Timer } from "./host_clock.ts";
import { isNoDescriptors, noDescriptors } from "./no_descriptors.ts";
import { isGranted } from "./permissions.ts";
import { QuietWarning } from "./quiet_warning.ts";
import { RESOLV_CONF } from "./system_resolvers.ts";

/** What holds a descriptor. */
export interface Held {
  /** Gives it back, at once. */
  close(): void;
}

/** How a reserve differs from that of the process. */
export interface ReserveOptions {
  /** How many descriptors are kept. */
  readonly count: number;
  /** Where the log lines go. */
  readonly logger: GatewayLogger;
  /** Opens something, or throws; `null` where the permissions allow nothing. Files when absent. */
  readonly open?: (() => Held) | null;
  /** Time; the process's own when absent. */
  readonly clock?: HostClock;
}

const RETRY_MS = 100;

/** Files that cost nothing to hold, of which one is most often granted. */
const SPARE_FILES: readonly string[] = ["/dev/null", RESOLV_CONF];

/** Descriptors that are held for others than flows. */
export class DescriptorReserve implements Disposable {
  readonly #open: (() => Held) | null;
  readonly #clock: HostClock;
  readonly #warning: QuietWarning;
  readonly #held: Held[] = [];
  #count: number;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: ReserveOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#warning = new QuietWarning(options.logger, this.#clock.now);
    this.#open = options.open === undefined ? fileOpener() : options.open;
    this.#count = options.count;
    this.#fill();
    if (!this.isShort) return;
    this.#count = this.#held.length >> 2;
    for (const one of this.#held.splice(this.#count)) one.close();
  }

  /** How many are held. */
  get held(): number {
    return this.#held.length;
  }

  /** Whether some were given away and are not back yet: no time for new flows. */
  get isShort(): boolean {
    return this.#held.length < this.#count;
  }

  /** Sees to it that a descriptor is free for who may use a kept one. */
  free(): void {
    if (this.#closed || this.#open === null) return;
    try {
      this.#open().close();
    } catch (error) {
      if (!isNoDescriptors(error)) return;
      this.#held.pop()?.close();
      this.#arm();
    }
  }

  /** Says, once in a while, that flows are refused. */
  exhausted(): void {
    this.#warning.warn(
      "no descriptors are left: new flows are refused until others end; raise the limit (ulimit -n)",
    );
  }

  /** Gives all of them back, for good. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#clock.clearTimer(this.#timer);
    for (const one of this.#held.splice(0)) one.close();
  }

  #fill(): void {
    try {
      while (this.#open !== null && this.isShort) this.#held.push(this.#open());
      this.#count = this.#held.length;
    } catch (error) {
      // A file that is gone must not keep flows from being begun.
      if (!isNoDescriptors(error)) this.#count = this.#held.length;
    }
  }

  #arm(): void {
    this.#timer ??= this.#clock.setTimer(() => {
      this.#timer = undefined;
      this.#fill();
      if (this.isShort) this.#arm();
    }, RETRY_MS);
  }
}

/** Opens the first of the files that may be read. */
function fileOpener(): (() => Held) | null {
  for (const path of SPARE_FILES) {
    if (!isGranted({ name: "read", path })) continue;
    try {
      Deno.openSync(path).close();
      return () => Deno.openSync(path);
    } catch {
      // It is not there, or there is no descriptor at all.
    }
  }
  return null;
}

/**
 * The machine as a guest's network sees it beside a reserve: flows leave the kept descriptors
 * alone, questions to resolvers may use them.
 */
export function withReserve(system: HostSystem, reserve: DescriptorReserve): HostSystem {
  return {
    ...system,
    connect: (options) => {
      if (reserve.isShort) {
        reserve.exhausted();
        return Promise.reject(tooMany());
      }
      return system.connect(options).catch((error) => {
        if (isNoDescriptors(error)) reserve.exhausted();
        throw error;
      });
    },
    connectUpstream: (options) => {
      reserve.free();
      return system.connectUpstream(options);
    },
    connectTls: (options) => {
      reserve.free();
      return system.connectTls(options);
    },
    openHttps: () => {
      const client = system.openHttps();
      return {
        post: (url, post) => {
          reserve.free();
          return client.post(url, post);
        },
        close: () => client.close(),
      };
    },
    openUdpSocket: (hostname, handler) => {
      reserve.free();
      return system.openUdpSocket(hostname, handler);
    },
    datagramSockets: (options): DatagramOpeners => {
      const sockets = system.datagramSockets(options);
      return {
        open: (address, port, listener) => {
          if (reserve.isShort) throw tooMany();
          return sockets.open(address, port, listener);
        },
        settled: () => sockets.settled(),
      };
    },
  };
}

function tooMany(): Error {
  return noDescriptors("The descriptors that are left are kept");
}
