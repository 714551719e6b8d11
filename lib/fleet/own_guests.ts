/**
 * What this gateway's guests are at a moment, as the fleet is told. Guests in workers are asked for
 * it; one that does not answer within a second is told of as it was, and after 8 s as not attached,
 * as nobody reaches it then.
 *
 * @module
 */
import type { FleetGuestSettings } from "../config/fleet.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { HostClock } from "../host/host_clock.ts";
import type { ServedGateway } from "../host/served_gateway.ts";
import type { AnnouncedGuest } from "./announcement.ts";
import { servicesOf } from "./services.ts";

/** How long an answer is waited for. */
const PATIENCE_MS = 1_000;
/** How long an old answer stands for one that does not come. */
const STALE_MS = 8_000;

/** A guest of this gateway. */
export interface FleetGuest {
  /** What it is called, its group and its services. */
  readonly settings: FleetGuestSettings;
  /** Its gateway. */
  readonly gateway: Pick<ServedGateway, "pulse" | "setZoneNames">;
}

/** What is known of a guest. */
interface Known {
  guest: AnnouncedGuest;
  atMs: number;
  /** A question that is under way. */
  asked: Promise<void> | null;
  /** What keeps its services from being announced, as it was said. */
  missing: ReadonlyMap<string, string>;
}

/** Looks at this gateway's guests. */
export class OwnGuests {
  readonly #guests: readonly FleetGuest[];
  readonly #advertise: readonly string[];
  readonly #logger: GatewayLogger;
  readonly #clock: HostClock;
  readonly #known: readonly Known[];

  constructor(
    guests: readonly FleetGuest[],
    advertise: readonly string[],
    logger: GatewayLogger,
    clock: HostClock,
  ) {
    this.#guests = guests;
    this.#advertise = advertise;
    this.#logger = logger;
    this.#clock = clock;
    this.#known = guests.map(({ settings: { name, group } }) => ({
      guest: {
        name,
        group,
        attached: false,
        flows: 0,
        denials: 0,
        upBytes: 0,
        downBytes: 0,
        services: [],
      },
      atMs: -Infinity,
      asked: null,
      missing: new Map(),
    }));
  }

  /** What they are. */
  async look(): Promise<readonly AnnouncedGuest[]> {
    const asked = Promise.all(this.#known.map((known, at) => known.asked ??= this.#ask(known, at)));
    await new Promise<void>((resolve) => {
      const late = this.#clock.setTimer(resolve, PATIENCE_MS);
      asked.then(() => {
        this.#clock.clearTimer(late);
        resolve();
      });
    });
    const nowMs = this.#clock.now();
    return this.#known.map(({ guest, atMs }) => {
      return nowMs - atMs < STALE_MS ? guest : { ...guest, attached: false };
    });
  }

  async #ask(known: Known, at: number): Promise<void> {
    const { gateway, settings } = this.#guests[at]!;
    try {
      const { published, refused, ...pulse } = await gateway.pulse();
      const { services, missing } = servicesOf(settings.services, published, this.#advertise);
      const { name, group } = settings;
      known.guest = { name, group, ...pulse, denials: refused, services };
      known.atMs = this.#clock.now();
      this.#sayMissing(settings.name, known, missing);
    } catch {
      // Its worker starts again, or it ends: what was known of it gets old.
      known.guest = { ...known.guest, attached: false };
    } finally {
      known.asked = null;
    }
  }

  #sayMissing(guest: string, known: Known, missing: ReadonlyMap<string, string>): void {
    for (const [service, why] of missing) {
      if (known.missing.get(service) === why) continue;
      this.#logger.warn("a service has no name in the fleet", { service, guest, why });
    }
    known.missing = missing;
  }
}
