/**
 * The names of the fleet's services at the gateways of its guests: `SERVICE.GUEST.fleet.internal`.
 *
 * Each guest's gateway is told all names at once, at most four times a second, the next time once it
 * has taken the last ones, and later where that took long: however often names change, this costs a
 * tenth of the time at most. A worker that takes longer than half a second does something else, and
 * is told after `PAUSE_MAX_MS` at the latest; one that hangs costs its own guests alone. Where one
 * can't be told, it is tried again.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import { type GatewayLogger, silentLogger } from "../config/logger.ts";
import { FLEET_ZONE } from "../config/fleet.ts";
import type { DnsConfig } from "../config/options.ts";
import { type HostClock, systemClock, type Timer } from "../host/host_clock.ts";
import type { ServedGateway } from "../host/served_gateway.ts";

/** Between two times that a gateway is told. */
const PAUSE_MS = 250;
/** The same where it could not be told. */
const RETRY_MS = 1_000;
/** How long the end may take. */
const CLOSE_MS = 1_000;
/** How many times as long as it took to tell is waited. */
const PAUSE_SHARE = 10;
const PAUSE_MAX_MS = 5_000;

/**
 * How names are resolved where there is a fleet: nothing of its zone is asked of upstreams, from the
 * first frame on.
 */
export function withFleetZone(dns: DnsConfig = {}): DnsConfig {
  return { ...dns, zones: { ...dns.zones, [FLEET_ZONE]: "local" } };
}

/** What the gateways are told by. */
export interface FleetZoneOptions {
  /** The guests' gateways. */
  readonly gateways: readonly Pick<ServedGateway, "setZoneNames">[];
  /** The services at this moment, as dns/service_zone.ts reads them. */
  readonly services: () => string;
  readonly logger?: GatewayLogger;
  readonly clock?: HostClock;
}

/** Tells the gateways the names. */
export class FleetZone {
  readonly #options: FleetZoneOptions;
  readonly #logger: GatewayLogger;
  readonly #clock: HostClock;
  /** What each of them was told last; `null` where that is not known. */
  readonly #told: (string | null)[];
  /** Those that are being told, or were a moment ago. */
  readonly #busy = new Set<number>();
  readonly #timers = new Map<number, Timer>();
  #isClosed = false;

  constructor(options: FleetZoneOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    this.#clock = options.clock ?? systemClock;
    this.#told = options.gateways.map(() => null);
  }

  /** The names may have changed. */
  changed(): void {
    for (const at of this.#told.keys()) if (!this.#busy.has(at)) void this.#tell(at);
  }

  /** Takes all names away, as nobody keeps them right any more; a worker that hangs keeps them. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers.values()) this.#clock.clearTimer(timer);
    const taken = Promise.all(this.#options.gateways.map((gateway) => takeAway(gateway)));
    await new Promise<void>((resolve) => {
      const late = this.#clock.setTimer(resolve, CLOSE_MS);
      taken.then(() => {
        this.#clock.clearTimer(late);
        resolve();
      });
    });
  }

  async #tell(at: number): Promise<void> {
    const services = this.#options.services();
    if (services === this.#told[at]) return;
    const gateway = this.#options.gateways[at]!;
    this.#busy.add(at);
    const fromMs = this.#clock.now();
    try {
      await gateway.setZoneNames(FLEET_ZONE, services);
      this.#told[at] = services;
    } catch (error) {
      this.#told[at] = null;
      this.#sayFailed(error as Error);
    }
    if (this.#isClosed) return;
    const tookMs = this.#clock.now() - fromMs;
    const timer = this.#clock.setTimer(() => {
      this.#timers.delete(at);
      this.#busy.delete(at);
      void this.#tell(at);
    }, pauseMs(tookMs, this.#told[at] === null ? RETRY_MS : PAUSE_MS));
    this.#timers.set(at, timer);
  }

  /** A worker that has failed is told by whoever starts it again, and that is said already. */
  #sayFailed(error: Error): void {
    if (error instanceof GatewayError && error.code === "closed") return;
    this.#logger.warn("names of the fleet's services can't be taken by a guest's resolver", {
      why: error.message,
    });
  }
}

function pauseMs(tookMs: number, leastMs: number): number {
  return Math.max(leastMs, Math.min(PAUSE_SHARE * tookMs, PAUSE_MAX_MS));
}

async function takeAway(gateway: Pick<ServedGateway, "setZoneNames">): Promise<void> {
  try {
    await gateway.setZoneNames(FLEET_ZONE, "");
  } catch {
    // It ends as well.
  }
}
