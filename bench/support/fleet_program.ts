/**
 * Some gateways of a fleet in one process, each with a server and a link of its own, and a guest with
 * a live flow through a real socket.
 *
 *     fleet_program.ts OPTIONS      {@linkcode FleetProgramOptions} as JSON
 *
 * It prints `ready`, a line of JSON for each policy in force, and takes commands of one line on its
 * standard input, each of which it answers with one line of JSON: `figures`, `collect`, `measure`,
 * `deny MS`, `known NAME`, `gone NAME`, `end`. It wants `--v8-flags=--expose-gc`.
 *
 * @module
 */
import { FlowingGateway } from "../../tests/support/flowing_gateway.ts";
import { EchoHost } from "../../tests/support/live_flow.ts";

/** Which gateways. */
export interface FleetProgramOptions {
  readonly names: readonly string[];
  readonly servers: readonly string[];
  /** A folder in which each has one. */
  readonly dir: string;
  /** Between two blocks of a flow. */
  readonly pauseMs: number;
  /** Whether they are in the fleet, or what they are without it. */
  readonly isMember: boolean;
}

/** A policy has come into force. */
export interface InForce {
  readonly name: string;
  readonly revision: number;
  /** When, in milliseconds since 1970. */
  readonly atMs: number;
}

/** How a gateway stands. */
export interface GatewayFigures {
  readonly name: string;
  /** The server of the engine that it is connected to; `null` while there is none. */
  readonly server: string | null;
  readonly revision: number | null;
  readonly known: number;
  readonly refusals: number;
  readonly rounds: number;
  readonly stallMs: number;
  readonly failure: string | null;
  readonly waiting: number;
  readonly waitingBytes: number;
  readonly sent: number;
  readonly shed: number;
  readonly lost: number;
}

/** How the process stands. */
export interface ProcessFigures {
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly gateways: readonly GatewayFigures[];
}

declare function gc(): void;

/** Where a service would be reached; nobody goes there. */
const ADVERTISED = ["10.77.0.1"];
const ASK_MS = 100;
const ZONE = "fleet.internal";

const encoder = new TextEncoder();

/** The time of day, finer than it is usually told. */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

function print(value: unknown): void {
  Deno.stdout.writeSync(encoder.encode(`${JSON.stringify(value)}\n`));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The gateways of the process. */
class Gateways {
  readonly #all: FlowingGateway[] = [];
  #denying: { isOver: boolean; ended: Promise<unknown> } | null = null;

  async start(options: FleetProgramOptions, echoPort: number): Promise<void> {
    for (const name of options.names) {
      const dir = `${options.dir}/${name}`;
      await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
      const { servers, pauseMs, isMember } = options;
      const onPolicy = (revision: number): void => print({ name, revision, atMs: epochMs() });
      const place = { name, servers, dir, echoPort, pauseMs, isMember, onPolicy };
      this.#all.push(await FlowingGateway.start({ ...place, advertise: ADVERTISED }));
    }
  }

  /** Waits for policies, without which no guest reaches anything. */
  async open(): Promise<void> {
    for (const each of this.#all) {
      while (each.fleet?.report().policy.source === "closed") await pause(ASK_MS);
      await each.flow();
    }
  }

  async figures(): Promise<ProcessFigures> {
    const { rss: rssBytes, heapUsed: heapBytes } = Deno.memoryUsage();
    const gateways = await Promise.all(this.#all.map(async (each) => {
      const { name, refusals, fleet } = each;
      const { rounds, stallMs, failure } = await each.flow();
      const report = fleet?.report();
      const { waiting = 0, waitingBytes = 0, sent = 0, shed = 0, lost = 0 } = report?.audit ?? {};
      return {
        ...{ name, refusals, rounds, stallMs, failure, waiting, waitingBytes, sent, shed, lost },
        server: report?.engine.server ?? null,
        revision: report?.policy.revision ?? null,
        known: report?.registry.gateways ?? 0,
      };
    }));
    return { rssBytes, heapBytes, gateways };
  }

  /** Forgets how long flows stood still. */
  async measure(): Promise<void> {
    for (const each of this.#all) (await each.flow()).measure();
  }

  /** Has each guest refused something each so many milliseconds, until it is called with 0. */
  async deny(everyMs: number): Promise<void> {
    const before = this.#denying;
    if (before !== null) before.isOver = true;
    await before?.ended;
    this.#denying = null;
    if (everyMs === 0) return;
    const denying = { isOver: false, ended: Promise.resolve() as Promise<unknown> };
    denying.ended = Promise.all(this.#all.map(async (each) => {
      while (!denying.isOver) {
        await each.beRefused(1);
        await pause(everyMs);
      }
    }));
    this.#denying = denying;
  }

  /** Waits until each guest resolves a service, or none does; when the last of them was there. */
  async resolved(guest: string, isThere: boolean): Promise<number[]> {
    return await Promise.all(this.#all.map(async (each) => {
      for (;;) {
        const { code } = await each.guest.resolve(`web.${guest}.${ZONE}`, "A");
        if ((code === "NOERROR") === isThere) return epochMs();
        await pause(ASK_MS);
      }
    }));
  }

  /** Ends all of them in order. */
  async end(): Promise<void> {
    await this.deny(0);
    await Promise.all(this.#all.map((each) => each.close()));
  }
}

async function* commands(): AsyncGenerator<[string, string]> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of Deno.stdin.readable) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const [word = "", argument = ""] = line.split(" ");
      yield [word, argument];
    }
  }
}

if (import.meta.main) {
  await using echo = new EchoHost();
  const gateways = new Gateways();
  await gateways.start(JSON.parse(Deno.args[0]!), echo.port);
  await gateways.open();
  console.log("ready");
  const run: Readonly<Record<string, (argument: string) => Promise<unknown>>> = {
    figures: () => gateways.figures(),
    // Garbage says nothing of what there is.
    collect: () => Promise.resolve(gc()),
    measure: () => gateways.measure(),
    deny: (everyMs) => gateways.deny(Number(everyMs)),
    known: (guest) => gateways.resolved(guest, true),
    gone: (guest) => gateways.resolved(guest, false),
    end: () => gateways.end(),
  };
  for await (const [word, argument] of commands()) {
    print({ answer: await run[word]!(argument) ?? null });
    if (word === "end") break;
  }
  // Where it was not asked to end, whoever had started it is gone.
  await gateways.end();
}
