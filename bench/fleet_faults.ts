/**
 * What guests, audit and memory notice of an engine that fails for a while, and what has come of all
 * records at the end.
 *
 * @module
 */
import { jetstreamManager } from "@nats-io/jetstream";
import { AuditReader } from "../lib/fleet/audit_reader.ts";
import type { AuditRecord } from "../lib/fleet/audit_record.ts";
import { auditStream, policyBucket } from "../lib/fleet/names.ts";
import type { NatsServer } from "../tests/support/nats_server.ts";
import { type BenchEngine, type BenchFleet, type Operator, persist, sleep } from "./fleet_place.ts";
import type { GatewayFigures } from "./support/fleet_program.ts";
import type { Goal, Report } from "./support/report.ts";

/** Each guest is refused something so often. */
const DENY_MS = 1_000;
const SAMPLE_MS = 2_000;
/** Denials of a kind become one record after this time. */
const WINDOW_MS = 11_000;
const MIB = 1024 * 1024;
/** What is there after a fault and was not before has to be less than that. */
const GROWTH = 1.2;

/** What a fault is tried with. */
export interface FaultPlace {
  readonly options: { readonly nodes: number; readonly outage: number; readonly still: boolean };
  readonly report: Report;
  readonly engine: BenchEngine;
  readonly operator: Operator;
  readonly fleet: BenchFleet;
}

/** Something that happens to the engine, and its end. */
interface Fault {
  readonly name: string;
  begin(): Promise<void>;
  end(): Promise<void>;
  /** The server that others do not reach, while there is one. */
  parted(): NatsServer | null;
}

/** Sizes of all processes together. */
interface Sizes {
  rssMib: number;
  heapMib: number;
  waiting: number;
  waitingKib: number;
}

/** Has the engine fail in each way. */
export class Faults {
  readonly #place: FaultPlace;
  #number = 0;

  constructor(place: FaultPlace) {
    this.#place = place;
  }

  async run(): Promise<void> {
    const { fleet, options, report } = this.#place;
    await fleet.all((each) => each.ask(`deny ${DENY_MS}`));
    await sleep(WINDOW_MS);
    await fleet.all((each) => each.ask("measure"));
    await sleep(options.outage * 1_000);
    report.part(`nothing happens, ${options.outage} s`);
    this.#addStall(await fleet.gateways());
    for (const fault of this.#faults()) await this.#try(fault);
    await fleet.all((each) => each.ask("deny 0"));
  }

  #faults(): Fault[] {
    const { engine, options: { nodes, still } } = this.#place;
    const [only] = engine.nodes;
    if (nodes === 1) {
      const killed = killing("the engine is killed", () => Promise.resolve(only!));
      return still ? [killed, holding(only!)] : [killed];
    }
    const stream = auditStream("default");
    const bucket = `KV_${policyBucket("default")}`;
    return [
      killing("the server that leads the audit is killed", () => this.#leader(stream)),
      this.#parting("the server that leads the policy is parted from the others", bucket),
    ];
  }

  #parting(name: string, stream: string): Fault {
    const { engine: { nodes, wires }, operator } = this.#place;
    let alone: NatsServer | null = null;
    return {
      name,
      parted: () => alone,
      begin: async () => {
        alone = await this.#leader(stream);
        await operator.moveTo(nodes.find((node) => node !== alone)!);
        wires!.cut(nodes.indexOf(alone));
      },
      end: () => {
        wires!.heal(nodes.indexOf(alone!));
        alone = null;
        return Promise.resolve();
      },
    };
  }

  async #leader(name: string): Promise<NatsServer> {
    return await persist(async () => {
      const manager = await jetstreamManager(this.#place.operator.connection, { checkAPI: false });
      const { cluster } = await manager.streams.info(name);
      return this.#place.engine.nodes[Number(/^n(\d)$/.exec(cluster!.leader!)![1]) - 1]!;
    });
  }

  async #try(fault: Fault): Promise<void> {
    const { fleet, operator, options: { nodes, outage }, report } = this.#place;
    await fleet.all((each) => each.ask("collect"));
    const before = await this.#sizes();
    await fleet.all((each) => each.ask("measure"));
    const samples: Sizes[] = [];
    await fault.begin();
    const putting = nodes === 1 ? null : this.#putMeanwhile(fault.parted());
    for (let leftMs = outage * 1_000; leftMs > 0; leftMs -= SAMPLE_MS) {
      await sleep(Math.min(SAMPLE_MS, leftMs));
      samples.push(await this.#sizes());
    }
    const during = await fleet.gateways();
    await fault.end();
    const backMs = performance.now();
    await fleet.until((each) => each.server !== null);
    const connectedMs = performance.now() - backMs;
    const meanwhileMs = await putting;
    const startMs = performance.now();
    await fleet.inForce(await operator.put(this.#document()));
    const inForceMs = performance.now() - startMs;
    await fleet.until((each) => each.waiting < 5);
    const deliveredMs = performance.now() - backMs;
    const gateways = await fleet.gateways();
    await sleep(SAMPLE_MS);
    await fleet.all((each) => each.ask("collect"));
    report.part(`${fault.name}, ${outage} s`);
    this.#addStall(gateways);
    if (meanwhileMs !== null) {
      report.add("a policy put meanwhile, in force where most are", meanwhileMs, "ms");
    }
    report.add("until all are connected again", connectedMs, "ms");
    report.add("until the next policy is in force at all", inForceMs, "ms");
    report.add("until the audit is delivered", deliveredMs, "ms");
    report.add(
      "gateways that were without the engine",
      during.filter((each) => {
        return each.server === null;
      }).length,
      "",
    );
    addSizes(report, before, samples, await this.#sizes());
  }

  /** How long a policy takes to those gateways that reach most of the servers. */
  async #putMeanwhile(parted: NatsServer | null): Promise<number> {
    const { fleet, operator } = this.#place;
    const startMs = performance.now();
    const revision = await operator.put(this.#document());
    const cut = parted === null ? "" : `127.0.0.1:${parted.port}`;
    await fleet.until((each) => each.server === cut || (each.revision ?? 0) >= revision);
    return performance.now() - startMs;
  }

  /** With something that the one before has not. */
  #document(): string {
    return `deny:\n  - 10.203.0.0/16\n  - 10.98.0.${++this.#number}\n`;
  }

  #addStall(gateways: readonly GatewayFigures[]): void {
    const { report } = this.#place;
    const failed = gateways.filter(({ failure }) => failure !== null);
    report.add(
      "longest time without an octet of a flow",
      Math.max(...gateways.map((each) => {
        return each.stallMs;
      })),
      "ms",
    );
    report.add("flows that broke", failed.length, "", { exactly: 0 });
  }

  async #sizes(): Promise<Sizes> {
    const { fleet } = this.#place;
    const { rssBytes, heapBytes } = await fleet.memory();
    const gateways = await fleet.gateways();
    const sum = (name: "waiting" | "waitingBytes") =>
      gateways.reduce((all, each) => {
        return all + each[name];
      }, 0);
    return {
      rssMib: rssBytes / MIB,
      heapMib: heapBytes / MIB,
      waiting: sum("waiting"),
      waitingKib: sum("waitingBytes") / 1_024,
    };
  }
}

function killing(name: string, choose: () => Promise<NatsServer>): Fault {
  let server: NatsServer | null = null;
  return {
    name,
    parted: () => null,
    begin: async () => {
      server = await choose();
      await server.kill();
    },
    end: async () => await server!.start(),
  };
}

function holding(server: NatsServer): Fault {
  return {
    name: "the engine stands still",
    parted: () => null,
    begin: () => server.pause(),
    end: () => Promise.resolve(server.resume()),
  };
}

function addSizes(report: Report, before: Sizes, during: readonly Sizes[], after: Sizes): void {
  const row = (name: keyof Sizes, what: string, unit: string, goal?: Goal): void => {
    report.add(`${what}, before`, before[name], unit);
    report.add(`${what}, most meanwhile`, Math.max(...during.map((each) => each[name])), unit);
    report.add(`${what}, after`, after[name], unit, goal);
  };
  row("rssMib", "memory of all", "MiB");
  row("heapMib", "heaps of all", "MiB", { atMost: GROWTH * before.heapMib });
  row("waiting", "records that wait", "");
  row("waitingKib", "their octets", "KiB");
}

/** What has come of the records of all gateways that were not killed. */
export async function auditPart({ operator, fleet, report }: FaultPlace): Promise<void> {
  await sleep(WINDOW_MS);
  await fleet.until((each) => each.waiting === 0);
  const gateways = await fleet.gateways();
  let [records, missing, doubled, noted] = [0, 0, 0, 0];
  for (const { name } of gateways) {
    const found = await persist(() => {
      return new AuditReader(operator.connection, "default", { gateway: name }).last(10_000);
    });
    const numbers = found.map(({ id }) => Number(id.slice(id.lastIndexOf("-") + 1)));
    const unique = new Set(numbers).size;
    records += found.length;
    doubled += found.length - unique;
    // A gateway numbers its records from 1 on.
    missing += Math.max(0, ...numbers) - unique;
    noted += refusalsOf(found);
  }
  const sum = (name: "sent" | "shed" | "lost" | "refusals") =>
    gateways.reduce((all, each) => all + each[name], 0);
  report.part("the audit of all, at the end");
  report.add("records in the stream", records, "");
  report.add("acknowledged and not there", Math.max(0, sum("sent") - records), "", { exactly: 0 });
  report.add("missing", missing, "", { exactly: 0 });
  report.add("there twice", doubled, "", { exactly: 0 });
  report.add("dropped for want of room, or not heard", sum("shed") + sum("lost"), "", {
    exactly: 0,
  });
  report.add("refusals of guests", sum("refusals"), "");
  report.add("of those, not in a record", sum("refusals") - noted, "", { exactly: 0 });
}

function refusalsOf(records: readonly AuditRecord[]): number {
  return records.reduce((sum, each) => each.kind === "denial" ? sum + each.count : sum, 0);
}
