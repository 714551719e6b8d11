/**
 * A gateway's place in a fleet.
 *
 *     prepareFleet   credentials, folder, the copy of the policy
 *          │         ─▶ `configured`: what each guest is served with, from its first frame on
 *          ▼
 *     join           what is served by then ─▶ the engine, the policy's watch, the parts
 *          │         ─▶ `gateways`: what the control interface and the program work on
 *          ▼
 *     close          the parts, the watch, the engine; guests go on with the policy that they have
 *
 * Nothing here waits for the engine.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { FleetGuestSettings, FleetSettings } from "../config/fleet.ts";
import { resolveLimits } from "../config/limits.ts";
import { type GatewayLogger, silentLogger } from "../config/logger.ts";
import type { DnsConfig, PolicyConfig, VirtioNetworkConfig } from "../config/options.ts";
import { type FleetReport, NO_AUDIT } from "../host/fleet_report.ts";
import type { ServedGateway } from "../host/served_gateway.ts";
import type { ListensBeside, ServedGuests } from "../host/served_guests.ts";
import { auditPart } from "./audit_part.ts";
import { type Credentials, readCredentials } from "./credentials.ts";
import { type DirLock, lockDir } from "./dir_lock.ts";
import { Engine } from "./engine.ts";
import { EnginePlaces, literalsOf } from "./engine_places.ts";
import {
  FleetGateway,
  type FleetGatewayOptions,
  FleetGuests,
  FleetServer,
} from "./fleet_gateway.ts";
import { checkOptions, type FleetOptions } from "./fleet_options.ts";
import type { FleetContext, FleetPart, StartPart } from "./fleet_part.ts";
import { FleetPolicy } from "./fleet_policy.ts";
import { withFleetZone } from "./fleet_zone.ts";
import { inboxPrefix } from "./names.ts";
import { PolicyBucket } from "./policy_bucket.ts";
import { PolicyCopy, prepareFolder } from "./policy_copy.ts";
import { PolicyWatch } from "./policy_watch.ts";
import { startRegistry } from "./registry_part.ts";

/** What a gateway does in a fleet beside having its policy; how the audit stands is announced. */
const PARTS: readonly StartPart[] = [auditPart, startRegistry];

/** What can be in a fleet: a server, or several guests. For {@linkcode prepareFleet}. */
export type FleetServed = (ServedGateway & ListensBeside) | ServedGuests;

/**
 * Prepares a gateway's place in a fleet, before its guests are served.
 *
 * @param options The gateway's place and its guests'.
 * @returns What the guests are to be served with, and what joins the fleet then.
 * @throws {ConfigError} Where the settings are wrong.
 * @throws {GatewayError} Where the credentials or the folder can't be used.
 *
 * @example While nothing is known of the fleet's policy, nothing is reached
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { prepareFleet } from "@virtio/gateway/fleet";
 * import { assertEquals } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * using prepared = await prepareFleet({
 *   settings: {
 *     servers: ["nats://127.0.0.1:9"], // nobody answers there
 *     fleet: "default",
 *     gateway: "host-1",
 *     credentials: null,
 *     dir,
 *     advertise: [],
 *     auditBytes: 16 * 1024 * 1024,
 *   },
 *   guests: [{ name: "vm1", group: "ci" }],
 * });
 * const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * const config = prepared.configured("vm1", { policy: { deny: ["9.9.9.0/24"] } });
 * await using server = await serveVirtioNetwork(anyPort, config);
 * await using fleet = await prepared.join(server);
 *
 * assertEquals(fleet.report().policy.source, "closed");
 * assertEquals((await fleet.gateways.explain("1.1.1.1:443")).allowed, false);
 * await fleet.close();
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export async function prepareFleet(options: FleetOptions): Promise<PreparedFleet> {
  checkOptions(options);
  const { settings, logger = silentLogger } = options;
  const { dir, fleet, gateway } = settings;
  const credentials = settings.credentials === null
    ? null
    : await readCredentials(settings.credentials);
  await prepareFolder(dir);
  const lock = await lockDir(dir);
  if (lock.missing !== null) {
    logger.debug("the fleet's folder is not locked", { why: lock.missing });
  }
  const guests = options.guests.map(({ limits = {}, ...guest }) => {
    return { group: null, services: [], ...guest, limits: resolveLimits(limits) };
  });
  const keeper = new PolicyCopy(dir, { fleet, gateway });
  const policy = new FleetPolicy({ fleet, guests, keeper, logger }, literalsOf(settings.servers));
  await begin(policy, keeper, logger);
  return new PreparedFleet({ settings, guests, logger, credentials, policy, lock });
}

/** Begins with the copy, where there is a good one; says what is in force. */
async function begin(policy: FleetPolicy, copy: PolicyCopy, logger: GatewayLogger): Promise<void> {
  let why = "there is no copy of it here";
  try {
    const kept = await copy.read();
    if (kept !== null) {
      policy.begin(kept);
      logger.info("the fleet's policy is in force as it was kept", { revision: kept.revision });
      return;
    }
  } catch (error) {
    why = (error as Error).message.replaceAll("\n", "; ");
  }
  logger.warn("everything is closed until the fleet's engine has said its policy", { why });
}

/** What a fleet is joined with. */
interface FleetParts {
  readonly settings: FleetSettings;
  readonly guests: readonly FleetGuestSettings[];
  readonly logger: GatewayLogger;
  readonly credentials: Credentials | null;
  readonly policy: FleetPolicy;
  readonly lock: DirLock;
}

/**
 * A gateway's place in a fleet, before its guests are served. {@linkcode prepareFleet} yields it.
 */
export class PreparedFleet implements Disposable {
  readonly #parts: FleetParts;
  #isJoined = false;

  /**
   * For `prepareFleet`.
   *
   * @internal
   */
  constructor(parts: FleetParts) {
    this.#parts = parts;
  }

  /**
   * What a guest may reach from its first frame on: what the copy of the fleet's policy makes of what
   * its host says, or nothing.
   *
   * @param name The guest's name.
   * @param host What its host says, whole; nothing when absent.
   * @throws {ConfigError} Where that is wrong.
   */
  initialPolicy(name: string, host: PolicyConfig = {}): PolicyConfig {
    return this.#parts.policy.initial(name, host);
  }

  /**
   * What a guest is to be served with.
   *
   * @param name Its name.
   * @param config What it would be served with outside of a fleet.
   * @throws {ConfigError} Where its policy is wrong.
   */
  configured<T extends Pick<VirtioNetworkConfig, "dns" | "policy">>(
    name: string,
    config: T,
  ): T & { dns: DnsConfig; policy: PolicyConfig } {
    const dns = withFleetZone(config.dns);
    return { ...config, dns, policy: this.initialPolicy(name, config.policy) };
  }

  /**
   * Joins the fleet with what is served by now.
   *
   * @param served The server of the only guest, or the several guests.
   * @returns The fleet's side of it; it ends this one's use.
   * @throws {GatewayError} Where other guests are served than were prepared, or something of the
   * folder can't be used.
   */
  async join<T extends FleetServed>(served: T): Promise<Fleet<T>> {
    if (this.#isJoined) throw new GatewayError("closed", "the fleet has been joined already");
    const fleet = new Fleet(this.#parts, served);
    this.#isJoined = true;
    try {
      await fleet.start();
      return fleet;
    } catch (error) {
      await fleet.close();
      throw error;
    }
  }

  /** Gives the folder back where the fleet was not joined. */
  [Symbol.dispose](): void {
    if (this.#isJoined) return;
    this.#parts.policy[Symbol.dispose]();
    this.#parts.lock[Symbol.dispose]();
  }
}

/**
 * A gateway in its fleet. {@linkcode prepareFleet} leads to it.
 */
export class Fleet<T extends FleetServed = FleetServed> implements AsyncDisposable {
  /**
   * What the control interface, a reload and the program work on, in place of what is served: a policy
   * that is put into force there is the host's own, beneath the fleet's.
   */
  readonly gateways: T extends ServedGuests ? FleetGuests : FleetServer;
  readonly #parts: FleetParts;
  readonly #engine: Engine;
  readonly #places: EnginePlaces;
  readonly #watch: PolicyWatch;
  readonly #served: ReadonlyMap<string, ServedGateway>;
  readonly #running: FleetPart[] = [];
  readonly #gateways = new Map<string, FleetGateway>();
  #closed: Promise<void> | null = null;

  /**
   * For `PreparedFleet.join`.
   *
   * @internal
   */
  constructor(parts: FleetParts, served: T) {
    this.#parts = parts;
    const { settings: { servers, fleet, gateway }, guests, credentials, policy, logger } = parts;
    const byName = this.#served = servedByName(served, guests);
    for (const [name, each] of byName) policy.serve(name, each);
    this.gateways = this.#decorate(served, byName) as typeof this.gateways;
    const name = `virtio-gateway ${fleet}/${gateway}`;
    const inbox = inboxPrefix(fleet, gateway);
    const engine = this.#engine = Engine.open({ servers, name, inbox, auth: credentials, logger });
    this.#places = new EnginePlaces(engine, (places) => policy.setEngine(places));
    this.#watch = new PolicyWatch(engine, new PolicyBucket(fleet, policy.keys), policy);
  }

  /**
   * For `PreparedFleet.join`: starts what else the gateway does in its fleet.
   *
   * @internal
   */
  async start(): Promise<void> {
    const { settings, guests, policy, logger } = this.#parts;
    const served = this.#served;
    const context: FleetContext = {
      ...{ settings, guests, engine: this.#engine, served, policy, logger },
      report: () => this.report(),
    };
    for (const start of PARTS) this.#running.push(await start(context));
  }

  /** How the gateway stands in its fleet. */
  report(): FleetReport {
    const { settings: { fleet, gateway }, policy } = this.#parts;
    const { state, server, lastError } = this.#engine;
    return {
      fleet,
      gateway,
      engine: { state, server, error: lastError },
      policy: policy.report(),
      registry: { gateways: 0, services: 0, conflicts: 0, refused: 0 },
      audit: NO_AUDIT,
      ...Object.assign({}, ...this.#running.map((part) => part.report())),
    };
  }

  /**
   * What the host says of a guest's policy, as something of which a reload puts another one into force.
   *
   * @param name The guest's name; the only one's when absent.
   */
  hostLayer(name: string = this.#gateways.keys().next().value!): FleetHostLayer {
    const gateway = this.#gateways.get(name);
    if (gateway === undefined) throw new GatewayError("config", `there is no guest "${name}"`);
    return {
      snapshot: () => ({ policy: gateway.hostPolicy }),
      setPolicy: (policy) => gateway.setPolicy(policy),
    };
  }

  /** Leaves the fleet; the guests keep the policy that they have. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#running.map((part) => part.close()));
    await Promise.allSettled([this.#watch.close(), this.#engine.close()]);
    this.#places[Symbol.dispose]();
    this.#parts.policy[Symbol.dispose]();
    this.#parts.lock[Symbol.dispose]();
  }

  #decorate(served: FleetServed, byName: ReadonlyMap<string, ServedGateway>) {
    const onPorts = (): void => {
      for (const part of this.#running) part.portsChanged?.();
    };
    const { policy } = this.#parts;
    const optionsOf = (name: string): FleetGatewayOptions => ({ name, policy, onPorts });
    if ("names" in served) {
      for (const [name, each] of byName) {
        this.#gateways.set(name, new FleetGateway(each, optionsOf(name)));
      }
      return new FleetGuests(served, this.#gateways);
    }
    const [name] = byName.keys();
    const server = new FleetServer(served, optionsOf(name!));
    this.#gateways.set(name!, server);
    return server;
  }
}

/** What a host says of a guest's policy. {@linkcode prepareFleet} leads to it. */
export interface FleetHostLayer {
  /** What it says. */
  snapshot(): { readonly policy: PolicyConfig };
  /** Puts another word of it into force, beneath the fleet's. */
  setPolicy(policy: PolicyConfig): Promise<void>;
}

/** What serves each of the guests. */
function servedByName(
  served: FleetServed,
  guests: readonly FleetGuestSettings[],
): Map<string, ServedGateway> {
  const wanted = guests.map(({ name }) => name);
  if (!("names" in served)) {
    const [name, ...others] = wanted;
    if (name !== undefined && others.length === 0) return new Map([[name, served]]);
    throw new GatewayError(
      "config",
      `a server has one guest, and the fleet's settings name ${wanted.length}`,
    );
  }
  const { names } = served;
  if (names.length === wanted.length && names.every((name) => wanted.includes(name))) {
    return new Map(names.map((name) => [name, served.guest(name)]));
  }
  const text = `the fleet's settings name the guests ${wanted.join(", ")}, and there are ${
    names.join(", ")
  }`;
  throw new GatewayError("config", text);
}
