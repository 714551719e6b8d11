/**
 * What the tests of a fleet's policy share: the fleet's bucket on a real server, and gateways that have
 * joined, with an embedded guest that dials a service of the host.
 *
 * @module
 */
import type { NatsConnection } from "@nats-io/nats-core";
import { jetstreamManager } from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { connectEngine } from "../../lib/fleet/engine_transport.ts";
import { type Fleet, type PreparedFleet, prepareFleet } from "../../lib/fleet/fleet.ts";
import type { FleetGuest } from "../../lib/fleet/fleet_options.ts";
import { POLICY_DESCRIPTION, policyBucket } from "../../lib/fleet/names.ts";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import type { VirtioNetworkConfig, VmmEndpoint } from "../../mod.ts";
import { serveVirtioNetwork, type VirtioNetworkServer } from "../../mod.ts";
import { ANY_PORT, attach, keepingLogger, QUIET } from "../guests/guests_rig.ts";

/** How long a test waits for what must come. */
const PATIENCE_MS = 60_000;

/** Waits until something holds; `what` names it where it never does. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!await holds()) {
    if (performance.now() > endMs) throw new Error(`In vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The operator's side of a fleet's policy. */
export class Operator implements AsyncDisposable {
  readonly #connection: NatsConnection;
  #bucket: KV;

  private constructor(connection: NatsConnection, bucket: KV) {
    this.#connection = connection;
    this.#bucket = bucket;
  }

  /** Makes the bucket. */
  static async start(
    url: string | string[],
    options: { replicas?: number; description?: string } = {},
  ) {
    // A server that stands still is given up within the patience of a test.
    const connection = await connectEngine({
      servers: url,
      maxReconnectAttempts: -1,
      pingInterval: 2_000,
    });
    return new Operator(connection, await Operator.#create(connection, options));
  }

  static #create(
    connection: NatsConnection,
    { replicas = 1, description = POLICY_DESCRIPTION }: { replicas?: number; description?: string },
  ): Promise<KV> {
    const options = { history: 64, description, replicas };
    return new Kvm(connection).create(policyBucket("default"), options);
  }

  /** Puts a document; its revision. Tried again while the engine is on its way back. */
  async put(key: string, text: string | Uint8Array): Promise<number> {
    const endMs = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        return await this.#bucket.put(key, text);
      } catch (error) {
        if (performance.now() > endMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  /** Takes all changes out of the bucket, which is told to nobody. */
  async purge(): Promise<void> {
    const manager = await jetstreamManager(this.#connection);
    await manager.streams.purge(`KV_${policyBucket("default")}`);
  }

  /** Deletes a document. */
  delete(key: string): Promise<void> {
    return this.#bucket.delete(key);
  }

  /** Deletes the bucket. */
  async destroy(): Promise<void> {
    await this.#bucket.destroy();
  }

  /** Makes it anew. */
  async create(options: { description?: string } = {}): Promise<void> {
    this.#bucket = await Operator.#create(this.#connection, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }
}

/** A folder that goes with the test. */
export class FleetFolder implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "vgw-fleet-" });

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** How a gateway differs from the plain one. */
export interface MemberOptions {
  readonly dir: string;
  readonly servers: readonly string[];
  readonly guests?: readonly FleetGuest[];
  readonly network?: VirtioNetworkConfig;
}

/** Prepares a gateway. */
export async function prepareMember(
  { dir, servers, guests = [{ name: "vm1", group: "ci" }] }: MemberOptions,
  logger = keepingLogger(),
): Promise<PreparedFleet> {
  return await prepareFleet({
    settings: {
      servers,
      fleet: "default",
      gateway: "host-1",
      credentials: null,
      dir,
      advertise: [],
      auditBytes: 16 * 1024 * 1024,
    },
    guests,
    logger,
  });
}

/** A gateway with one guest, in a fleet. */
export class Member implements AsyncDisposable {
  readonly log: ReturnType<typeof keepingLogger>;
  readonly fleet: Fleet<VirtioNetworkServer>;
  readonly server: VirtioNetworkServer;
  readonly #ends: (() => Promise<unknown>)[] = [];

  private constructor(
    server: VirtioNetworkServer,
    fleet: Fleet<VirtioNetworkServer>,
    log: ReturnType<typeof keepingLogger>,
  ) {
    this.server = server;
    this.fleet = fleet;
    this.log = log;
  }

  /** Starts one. */
  static async start(options: MemberOptions): Promise<Member> {
    const log = keepingLogger();
    using prepared = await prepareMember(options, log);
    const config = { ...QUIET, hostLoopback: true, ...options.network };
    const server = await serveVirtioNetwork(ANY_PORT, {
      ...prepared.configured("vm1", config),
      logger: log,
    });
    return new Member(server, await prepared.join(server), log);
  }

  /** What it says of its policy. */
  get policy() {
    return this.fleet.report().policy;
  }

  /** Waits until a revision is in force. */
  async inForce(revision: number): Promise<void> {
    await until(`revision ${revision} in force, not ${JSON.stringify(this.policy)}`, () => {
      return this.policy.source === "engine" && this.policy.revision === revision;
    });
  }

  /** Waits until something is refused; why. */
  async rejected(why: RegExp): Promise<string> {
    await until(`a refusal ${why}`, () => why.test(this.policy.rejected?.why ?? ""));
    return this.policy.rejected!.why;
  }

  /** A guest with a lease. */
  async guest(): Promise<EmbeddedGuest> {
    return await guestAt(this.server.endpoint, this.#ends);
  }

  /** Lines of the log that begin so. */
  said(start: string) {
    return this.log.lines.filter(({ message }) => message.startsWith(start));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends) await end();
    await this.fleet.close();
    await this.server.abort();
  }
}

/** A guest with a lease; `ends` gets what ends it. */
export async function guestAt(
  endpoint: VmmEndpoint,
  ends: (() => Promise<unknown>)[],
): Promise<EmbeddedGuest> {
  const guest = await attach(endpoint);
  ends.push(() => guest.close());
  await guest.lease();
  return guest;
}

/** Whether a guest reaches a port of the gateway's address. */
export async function reaches(guest: EmbeddedGuest, port: number): Promise<boolean> {
  try {
    using conn = await guest.connect(guest.currentLease!.router, port);
    void conn;
    return true;
  } catch {
    return false;
  }
}
