/**
 * This gateway's place in the fleet's registry: it says what its guests and services are, every 2 s
 * and with each change, hears what the others say, and hands the names of all services to the
 * resolvers of its guests.
 *
 *     own guests ─▶ announcement ─▶ engine ─▶ other gateways
 *                        └─▶ registry ◀─ hearing budget ◀─ engine
 *                               └─▶ names ─▶ each guest's resolver
 *
 * Whether a gateway that is silent is gone, only who hears the engine can say. So twice a second the
 * engine is asked for a sign of life, behind which everything stands that it had to say; without one
 * nothing expires, and after a gap each gateway is given its whole time again. Nothing is published
 * while there is no connection. A guest's services have names at home also without an engine.
 *
 * @module
 */
import type { Msg, NatsConnection, Subscription } from "@nats-io/nats-core";
import { type GatewayLogger, silentLogger } from "../config/logger.ts";
import { type HostClock, systemClock, type Timer } from "../host/host_clock.ts";
import { LimitedLog } from "../host/limited_log.ts";
import {
  type Announcement,
  encodeAnnouncement,
  encodeDeparture,
  readAnnouncement,
  readDeparture,
} from "./announcement.ts";
import type { Engine } from "./engine.ts";
import { FleetZone } from "./fleet_zone.ts";
import { HearingBudget } from "./hearing_budget.ts";
import { aliveSubject, gatewayOfSubject, goneSubject, whoSubject } from "./names.ts";
import { type FleetGuest, OwnGuests } from "./own_guests.ts";
import { type NameConflict, Registry, type RegistryReport } from "./registry.ts";

/** Between two announcements, and how much more or less at random. */
const ANNOUNCE_MS = 2_000;
const ANNOUNCE_JITTER_MS = 200;
/** Between two announcements of changes. */
const CHANGE_MS = 250;
/** Between two looks whether something has changed at the own guests. */
const LOOK_MS = 500;
/** A question to all gateways is answered within this time, at random, and so often at most. */
const WHO_JITTER_MS = 300;
const WHO_MS = 500;
/** Between two questions whether the engine is heard. */
const PROOF_MS = 500;
/** A longer time without an answer is a gap. */
const GAP_MS = 3_000;

/** How this gateway stands to the fleet's policy, and how much of its audit is not delivered. */
export type PolicyStanding = Pick<Announcement, "revision" | "policy" | "rejected" | "audit">;

/** What a heartbeat is made from. */
export interface HeartbeatOptions {
  readonly engine: Pick<Engine, "connection" | "onState">;
  /** The fleet's name, and this gateway's. */
  readonly fleet: string;
  readonly gateway: string;
  /** Where others reach the ports that are published at all addresses of the host. */
  readonly advertise: readonly string[];
  readonly guests: readonly FleetGuest[];
  readonly policy: () => PolicyStanding;
  readonly logger?: GatewayLogger;
  readonly clock?: HostClock;
  /** A number from 0 to below 1. */
  readonly random?: () => number;
}

/** What the registry has come to, and what was heard in vain. */
export interface HeartbeatReport extends RegistryReport {
  /** Announcements that were wrong, too many, or had no place. */
  readonly refused: number;
}

/** A gateway's announcements, and what it hears of the others. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #clock: HostClock;
  readonly #random: () => number;
  readonly #logger: GatewayLogger;
  readonly #instance = crypto.randomUUID().replaceAll("-", "");
  readonly #startedMs = Date.now();
  readonly #registry: Registry;
  readonly #budget = new HearingBudget();
  readonly #own: OwnGuests;
  readonly #zone: FleetZone;
  readonly #ended = new AbortController();
  #unfollow = (): void => {};
  /** Where it listens. */
  #heard: NatsConnection | null = null;
  #subscriptions: readonly Subscription[] = [];
  #isConnected = false;
  /** Whether it has asked who is there. */
  #hasAsked = false;
  /** When the engine has shown last that all that is said is heard. */
  #provenMs = -Infinity;
  /** The sign of life that is waited for. */
  #proving: object | null = null;
  #proofTimer: Timer | undefined;
  #watchTimer: Timer | undefined;
  #announceTimer: Timer | undefined;
  #announceAtMs = Infinity;
  #announcedMs = -Infinity;
  /** What the fleet was told of the own guests, as far as it has to know at once. */
  #saidKey = "";
  #isAnnouncing = false;
  #isDue = false;
  #services = { version: -1, text: "" };
  #toldVersion = -1;
  #wrong = 0;
  #leftBehind = 0;

  constructor(options: HeartbeatOptions) {
    const { advertise, clock = systemClock, gateway, guests, logger = silentLogger } = options;
    this.#options = options;
    this.#clock = clock;
    this.#random = options.random ?? Math.random;
    this.#logger = LimitedLog.of(logger);
    this.#registry = new Registry(gateway, (conflict) => this.#sayConflict(conflict));
    this.#own = new OwnGuests(guests, advertise, this.#logger, clock);
    this.#zone = new FleetZone({
      gateways: guests.map((guest) => guest.gateway),
      services: () => this.#servicesText(),
      logger: this.#logger,
      clock,
    });
  }

  /** Begins; the zone of the fleet is there from now on. */
  start(): void {
    this.#zone.changed();
    this.#unfollow = this.#options.engine.onState(() => this.#look());
    this.#look();
    this.#announceIn(0);
    this.#prove();
    this.#watch();
  }

  /** Guests, ports or the policy have changed: the fleet is told at once. */
  changed(): void {
    this.#announceIn(Math.max(0, this.#announcedMs + CHANGE_MS - this.#clock.now()));
  }

  /** What the registry has come to. */
  report(): HeartbeatReport {
    const { gateways, guests } = this.#registry.left;
    const refused = this.#wrong + this.#budget.passedOver + gateways + guests;
    return { ...this.#registry.report(), refused };
  }

  /** Says that this gateway ends, and forgets the names of the fleet. */
  async close(): Promise<void> {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    this.#unfollow();
    this.#clock.clearTimer(this.#announceTimer);
    this.#clock.clearTimer(this.#proofTimer);
    this.#clock.clearTimer(this.#watchTimer);
    const { fleet, gateway } = this.#options;
    const departure = { gateway, instance: this.#instance };
    this.#publish(goneSubject(fleet, gateway), encodeDeparture(departure));
    this.#unsubscribe();
    await this.#zone.close();
  }

  /** Looks now and then whether something has changed that others have to know at once. */
  #watch(): void {
    this.#watchTimer = this.#clock.setTimer(async () => {
      const guests = await this.#own.look();
      if (this.#ended.signal.aborted) return;
      if (keyOf(guests) !== this.#saidKey) this.changed();
      this.#watch();
    }, LOOK_MS);
  }

  /** The connection may be lost, another one, or there again. */
  #look(): void {
    const connection = this.#options.engine.connection();
    const wasConnected = this.#isConnected && connection === this.#heard;
    this.#isConnected = connection !== null;
    if (connection === null || wasConnected || this.#ended.signal.aborted) return;
    // Nothing says what was missed.
    this.#proving = null;
    this.#provenMs = -Infinity;
    try {
      if (connection !== this.#heard) this.#subscribe(connection);
    } catch {
      // It was closed just then: the next one is looked for before the next sign of life.
      this.#unsubscribe();
      this.#isConnected = false;
      return;
    }
    this.changed();
    // Over an engine that was lost all say so by themselves, as this one does.
    if (!this.#hasAsked) this.#publish(whoSubject(this.#options.fleet), new Uint8Array(0));
    this.#hasAsked = true;
  }

  #subscribe(connection: NatsConnection): void {
    const { fleet } = this.#options;
    this.#unsubscribe();
    this.#heard = connection;
    const on = (subject: string, take: (message: Msg) => void): Subscription =>
      connection.subscribe(subject, {
        // An error here is a permission that is missing, which the engine has told of.
        callback: (error, message) => {
          if (error !== null) return;
          try {
            take(message);
          } catch (bug) {
            this.#logger.error("the fleet's registry has failed at a message", { bug: `${bug}` });
          }
        },
      });
    this.#subscriptions = [
      on(aliveSubject(fleet), (message) => this.#hearAlive(message)),
      on(goneSubject(fleet), (message) => this.#hearGone(message)),
      on(whoSubject(fleet), () => this.#answer()),
    ];
  }

  #unsubscribe(): void {
    for (const subscription of this.#subscriptions) {
      if (!subscription.isClosed()) subscription.unsubscribe();
    }
    this.#subscriptions = [];
    this.#heard = null;
  }

  #hearAlive({ subject, data }: Msg): void {
    const gateway = gatewayOfSubject(subject);
    const nowMs = this.#clock.now();
    if (!this.#budget.admits(nowMs, gateway, data.length)) return;
    const read = readAnnouncement(data, gateway);
    if (typeof read === "string") return this.#sayWrong(gateway, read);
    if (read.instance === this.#instance) return; // its own
    this.#registry.hear(nowMs, read);
    this.#tell();
  }

  #hearGone({ subject, data }: Msg): void {
    const gateway = gatewayOfSubject(subject);
    if (!this.#budget.admits(this.#clock.now(), gateway, data.length)) return;
    const read = readDeparture(data, gateway);
    if (typeof read === "string") return this.#sayWrong(gateway, read);
    this.#registry.leave(read);
    this.#tell();
  }

  /** Somebody has asked who is there. */
  #answer(): void {
    const restMs = this.#announcedMs + WHO_MS - this.#clock.now();
    this.#announceIn(Math.max(restMs, this.#random() * WHO_JITTER_MS));
  }

  /** Announces in so many milliseconds at the latest. */
  #announceIn(delayMs: number): void {
    if (this.#ended.signal.aborted) return;
    const atMs = Math.max(this.#clock.now() + delayMs, this.#announcedMs + CHANGE_MS);
    if (atMs >= this.#announceAtMs) return;
    this.#clock.clearTimer(this.#announceTimer);
    this.#announceAtMs = atMs;
    this.#announceTimer = this.#clock.setTimer(() => {
      this.#announceAtMs = Infinity;
      void this.#announce();
    }, Math.max(0, atMs - this.#clock.now()));
  }

  async #announce(): Promise<void> {
    this.#isDue = true;
    if (this.#isAnnouncing) return;
    this.#isAnnouncing = true;
    while (this.#isDue && !this.#ended.signal.aborted) {
      this.#isDue = false;
      this.#announcedMs = this.#clock.now();
      const guests = await this.#own.look();
      if (this.#ended.signal.aborted) return;
      this.#say(guests);
    }
    this.#isAnnouncing = false;
    const jitterMs = (2 * this.#random() - 1) * ANNOUNCE_JITTER_MS;
    this.#announceIn(this.#announcedMs + ANNOUNCE_MS + jitterMs - this.#clock.now());
  }

  #say(guests: Announcement["guests"]): void {
    const { fleet, gateway, policy } = this.#options;
    const announcement: Announcement = {
      gateway,
      instance: this.#instance,
      startedMs: this.#startedMs,
      ...policy(),
      guests,
    };
    this.#registry.hearOwn(announcement);
    this.#tell();
    this.#saidKey = keyOf(guests);
    const { data, left } = encodeAnnouncement(announcement);
    if (left !== this.#leftBehind && left > 0) {
      this.#logger.warn("more services than an announcement has room for; the fleet is not told", {
        services: left,
      });
    }
    this.#leftBehind = left;
    this.#publish(aliveSubject(fleet, gateway), data);
  }

  /** Asks the engine for a sign of life; what it had to say before has been heard by then. */
  #prove(): void {
    if (this.#ended.signal.aborted) return;
    this.#proofTimer = this.#clock.setTimer(() => this.#prove(), PROOF_MS);
    const connection = this.#options.engine.connection();
    if (connection !== this.#heard) this.#look();
    if (connection === null || this.#proving !== null) return;
    const asked = this.#proving = {};
    connection.flush().then(
      () => {
        if (this.#proving === asked) this.#proven();
      },
      () => {
        if (this.#proving === asked) this.#proving = null;
      },
    );
  }

  #proven(): void {
    this.#proving = null;
    if (this.#ended.signal.aborted) return;
    const nowMs = this.#clock.now();
    if (nowMs - this.#provenMs > GAP_MS) this.#registry.refresh(nowMs);
    this.#provenMs = nowMs;
    this.#registry.expire(nowMs);
    this.#tell();
  }

  /** Has the guests' resolvers told, where names have changed. */
  #tell(): void {
    const { version } = this.#registry;
    if (version === this.#toldVersion) return;
    this.#toldVersion = version;
    this.#zone.changed();
  }

  #servicesText(): string {
    const { version } = this.#registry;
    if (version !== this.#services.version) {
      this.#services = { version, text: this.#registry.services() };
    }
    return this.#services.text;
  }

  #publish(subject: string, data: Uint8Array): void {
    try {
      this.#options.engine.connection()?.publish(subject, data);
    } catch {
      // It was closed just then; the engine says so.
    }
  }

  #sayWrong(gateway: string, why: string): void {
    this.#wrong++;
    this.#logger.warn("a message of the fleet's registry is not taken", {
      gateway: gateway.slice(0, 64),
      why,
    });
  }

  #sayConflict({ of, name, holder, other }: NameConflict): void {
    if (of === "guest") {
      const fields = { guest: name, gateway: holder, alsoAt: other };
      this.#logger.warn("two gateways of the fleet have a guest of one name", fields);
    } else if (name === this.#options.gateway) {
      this.#logger.error("another gateway of the fleet has the name of this one", { name });
    } else this.#logger.warn("two gateways of the fleet have one name", { name });
  }
}

/** What others have to know at once: which services there are. */
function keyOf(guests: Announcement["guests"]): string {
  return JSON.stringify(guests.map(({ name, attached, services }) => [name, attached, services]));
}
