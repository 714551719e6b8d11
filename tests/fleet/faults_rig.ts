/**
 * A fleet for tests of faults: an engine with what `fleet init` makes, gateways with guests that have
 * work to do, and what has to hold of them whatever has happened.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { Kvm } from "@nats-io/kv";
import { AuditReader } from "../../lib/fleet/audit_reader.ts";
import type { AuditRecord } from "../../lib/fleet/audit_record.ts";
import { connectEngine } from "../../lib/fleet/engine_transport.ts";
import { auditStream, FLEET_KEY, policyBucket } from "../../lib/fleet/names.ts";
import { provision, type ProvisionOptions } from "../../lib/fleet/provision.ts";
import { FlowingGateway, REFUSED } from "../support/flowing_gateway.ts";
import { EchoHost } from "../support/live_flow.ts";
import { storedRecords } from "./audit_stream_rig.ts";
import { until } from "./policy_rig.ts";

/** How long a flow is watched to go on. */
const ROUNDS = 5;
const AGAIN_MS = 100;

/** Which policy documents say that an address is refused. */
export function refusing(...more: string[]): string {
  return `deny: [${[REFUSED, ...more].map((each) => `"${each}"`).join(", ")}]\n`;
}

/** Runs parts of a test at the same time. */
export async function together(
  t: Deno.TestContext,
  parts: Readonly<Record<string, () => Promise<void>>>,
): Promise<void> {
  const sanitize = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false };
  await Promise.all(Object.entries(parts).map(([name, fn]) => t.step({ name, fn, ...sanitize })));
}

/** Refusals and changes of the policy, all the time, until it is ended. */
export function busy(fleet: FaultFleet): { end(): Promise<void> } {
  let isOver = false;
  const denying = (async () => {
    while (!isOver) {
      await fleet.refuse(2);
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  })();
  const putting = (async () => {
    for (let n = 1; !isOver; n++) await fleet.put(refusing(`10.99.1.${n % 250}`));
  })();
  return {
    end: async () => {
      isOver = true;
      await Promise.all([denying, putting]);
    },
  };
}

/** Does something until the engine, which may be choosing a leader, has it done. */
export async function persist<T>(what: string, task: () => Promise<T>): Promise<T> {
  let result: { readonly value: T } | null = null;
  let last: unknown;
  await until(`${what}, done`, async () => {
    try {
      result = { value: await task() };
    } catch (error) {
      last = error;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
    return result !== null;
  }).catch((error) => {
    throw new Error(`${(error as Error).message}: ${last}`);
  });
  return result!.value;
}

/** Gateways, and the operator's connection to their engine. */
export class FaultFleet implements AsyncDisposable {
  readonly members: FlowingGateway[] = [];
  readonly #echo = new EchoHost();
  readonly #folder = Deno.makeTempDirSync({ prefix: "vgw-faults-" });
  readonly #closed: FlowingGateway[] = [];
  #connection: NatsConnection;

  private constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  /** With a first policy, and gateways that have it in force. */
  static async start(
    places: readonly (readonly string[])[],
    options: ProvisionOptions = {},
  ): Promise<FaultFleet> {
    const connection = await connectEngine({
      servers: [...places[0]!],
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
    });
    const fleet = new FaultFleet(connection);
    try {
      await fleet.provision(options);
      await fleet.put(refusing());
      for (const [i, servers] of places.entries()) await fleet.add(`g${i}`, servers);
      return fleet;
    } catch (error) {
      await fleet[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The operator's connection. */
  get connection(): NatsConnection {
    return this.#connection;
  }

  /** The operator goes on with another server. */
  async moveTo(url: string): Promise<void> {
    await this.#connection.close();
    this.#connection = await connectEngine({ servers: url, maxReconnectAttempts: -1 });
  }

  /** Makes bucket and stream, where they are not there. */
  async provision(options: ProvisionOptions = {}): Promise<void> {
    await persist("bucket and stream", () => provision(this.#connection, "default", options));
  }

  /** Starts a gateway, or one of that name again. */
  async add(name: string, servers: readonly string[]): Promise<FlowingGateway> {
    const dir = `${this.#folder}/${name}`;
    const member = await FlowingGateway.start({ name, servers, dir, echoPort: this.#echo.port });
    this.members.push(member);
    await until(`a policy at ${name}`, () => member.fleet!.report().policy.source !== "closed");
    await member.flow();
    return member;
  }

  /** Ends a gateway in order. */
  async remove(member: FlowingGateway): Promise<void> {
    this.members.splice(this.members.indexOf(member), 1);
    this.#closed.push(member);
    await member.close();
  }

  /** Puts the fleet's document; the revision. */
  async put(text: string): Promise<number> {
    return await persist("a document", async () => {
      const bucket = await new Kvm(this.#connection).open(policyBucket("default"));
      return await bucket.put(FLEET_KEY, text);
    });
  }

  /** Waits until all have what was put last, and nothing is refused. */
  async converge(revision: number, address: string, members = this.members): Promise<void> {
    for (const { name, fleet, server } of members) {
      await until(`revision ${revision} at ${name}: ${JSON.stringify(fleet!.report())}`, () => {
        const { policy } = fleet!.report();
        // A put that was not answered in time may have been two.
        return policy.source === "engine" && (policy.revision ?? 0) >= revision;
      });
      assertEquals(fleet!.report().policy.rejected, null, name);
      assertEquals((await server.explain(`${address}:443`)).allowed, false, name);
    }
  }

  /** Each guest is refused so often, all at once. */
  async refuse(times: number): Promise<void> {
    await Promise.all(this.members.map((member) => member.beRefused(times)));
  }

  /** All guests' flows are whole, and move on. */
  async flowing(): Promise<void> {
    await Promise.all(this.members.map(async (member) => {
      const flow = await member.flow();
      const { rounds } = flow;
      await until(`octets of ${member.name}, ${flow.failure}`, () => {
        return flow.failure !== null || flow.rounds >= rounds + ROUNDS;
      });
      assertEquals(flow.failure, null, member.name);
    }));
  }

  /** The node that leads the policy's bucket, or the audit's stream, as the operator's engine says. */
  async leaderOf(what: "policy" | "audit"): Promise<number> {
    const name = what === "audit" ? auditStream("default") : `KV_${policyBucket("default")}`;
    return await persist(`a leader of ${name}`, async () => {
      const manager = await jetstreamManager(this.#connection, { checkAPI: false });
      const { cluster } = await manager.streams.info(name);
      const [, number] = /^n(\d+)$/.exec(cluster?.leader ?? "") ?? [];
      if (number === undefined) throw new Error("none is chosen");
      return Number(number) - 1;
    });
  }

  /** All that is in the audit's stream, as its leader has it. */
  async records(): Promise<AuditRecord[]> {
    return await persist("the audit", () => storedRecords(this.#connection, "default"));
  }

  /**
   * Ends all gateways, and starts those once more that have not delivered all of their audit by then:
   * each record is in the stream, once, and every refusal is in one of them.
   *
   * @param servers Where the gateways that are left find the engine.
   * @param isWhole Whether the stream has all records from the beginning.
   */
  async auditWhole(servers: readonly string[], isWhole = true): Promise<void> {
    await Promise.all([...this.members].map((member) => this.remove(member)));
    for (let left = this.#undelivered(); left.length > 0; left = this.#undelivered()) {
      const { name } = left[0]!;
      const last = await this.add(name, servers);
      await until(`the audit of ${name}: ${JSON.stringify(last.fleet!.report().audit)}`, () => {
        return last.fleet!.report().audit.waiting === 0;
      });
      await this.remove(last);
    }
    const all = this.#closed;
    const records = await this.records();
    const ids = records.map(({ id }) => id);
    assertEquals(new Set(ids).size, ids.length, "no record is there twice");
    for (const { shed, lost } of all.map(({ fleet }) => fleet!.report().audit)) {
      assertEquals([shed, lost], [0, 0]);
    }
    // Who asks for the last ones is told all of them, whichever server that is read from.
    const read = await persist("the last records", () => {
      return new AuditReader(this.#connection, "default").last(10_000);
    });
    assertEquals(read.map(({ id }) => id), ids);
    if (isWhole) this.#checkWhole(all, records);
  }

  /** Gateways with something in their folders still; who comes later has what was left before. */
  #undelivered(): FlowingGateway[] {
    const last = new Map(this.#closed.map((member) => [member.name, member]));
    return [...last.values()].filter(({ fleet }) => fleet!.report().audit.waiting > 0);
  }

  #checkWhole(all: readonly FlowingGateway[], records: readonly AuditRecord[]): void {
    // The records of a start are numbered from 1 on.
    const lives = Map.groupBy(records, ({ id }) => id.slice(0, id.lastIndexOf("-")));
    for (const [life, { length }] of lives) {
      const numbers = lives.get(life)!.map(({ id }) => Number(id.slice(life.length + 1)));
      assertEquals(Math.max(...numbers), length, `records of ${life} are missing`);
    }
    const refusedBy = new Map<string, number>();
    for (const { name, refused, refusals } of all) {
      assert(refused >= refusals, name);
      refusedBy.set(name, (refusedBy.get(name) ?? 0) + refused);
    }
    for (const [name, refused] of refusedBy) {
      const noted = records.reduce((sum, record) => {
        return record.kind === "denial" && record.gateway === name ? sum + record.count : sum;
      }, 0);
      assertEquals(noted, refused, `refusals of ${name}`);
    }
    assert(records.length > 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.map((member) => member.close()));
    await this.#echo[Symbol.asyncDispose]();
    await this.#connection.close();
    await Deno.remove(this.#folder, { recursive: true });
  }
}
