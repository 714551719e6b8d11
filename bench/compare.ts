/**
 * The module beside its peers, on one machine, in one run.
 *
 *     deno task bench [--rounds N] [--seconds S] [--rows ROW,…] [--peers DIR] [--only NAME,…]
 *                     [--json FILE]
 *
 * Takes whichever of passt, gvproxy and slirp4netns are on the PATH or in the folder of `--peers`.
 * Each of them and the shipped command line get the same guest kernel, the same servers and the
 * same traffic, in turns whose order moves on with each round. Named with `--only`, the floors
 * (`floor_guest.ts`, `floor_tcp.ts`) take their turns too, in the rows that they have. A row is
 * named as in the table, or without the MTU for all of them: `--rows up,crr`. What fails is shown
 * as that, and the run goes on. Needs Linux, root, /dev/net/tun and a C compiler, and wants a
 * machine with nothing else to do; all traffic stays in namespaces that are made here and go with
 * the bench, also after Ctrl-C.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { mustRun, runProgram } from "../tests/guest/program.ts";
import {
  Attached,
  type Contender,
  findContenders,
  serves,
  startUpMs,
} from "./compare_contenders.ts";
import { DEFAULT_NAMES, NAMES } from "./compare_kinds.ts";
import { Place } from "./compare_place.ts";
import { peakMemoryMib } from "./compare_process.ts";
import {
  type Cell,
  type Results,
  type RowResult,
  scaled,
  spell,
  terminalText,
} from "./compare_results.ts";
import { type Figure, PROCESS_ROWS, type Row, ROWS } from "./compare_rows.ts";
import { Interrupted, Owner } from "./link_wire.ts";

interface Options {
  rounds: number;
  seconds: number;
  rows: readonly Row[];
  processRows: readonly string[];
  peers: string | undefined;
  only: readonly string[];
  json: string | undefined;
}

function refuse(problem: string): never {
  console.error(`bench: ${problem}`);
  Deno.exit(2);
}

function readOptions(): Options {
  const flags = parseArgs(Deno.args, {
    string: ["rounds", "seconds", "rows", "peers", "only", "json"],
    default: { rounds: "5", seconds: "3", only: DEFAULT_NAMES.join(",") },
  });
  const whole = (name: "rounds" | "seconds") => {
    const value = Number(flags[name]);
    return Number.isInteger(value) && value > 0
      ? value
      : refuse(`--${name} is a whole number above 0, not ${flags[name]}`);
  };
  const all = [...ROWS, ...PROCESS_ROWS].map(({ id }) => id);
  const text = (name: "peers" | "json" | "rows") =>
    flags[name] === undefined ? undefined : String(flags[name]);
  const wanted = text("rows")?.split(",") ?? all;
  const names = (id: string) => [id, id.split("@")[0]!];
  const stranger = wanted.find((word) => !all.some((id) => names(id).includes(word)));
  if (stranger !== undefined) refuse(`no row ${stranger}; there are ${all.join(", ")}`);
  const only = String(flags.only).split(",");
  const nobody = only.find((name) => !NAMES.includes(name));
  if (nobody !== undefined) refuse(`${nobody} is not known; there are ${NAMES.join(", ")}`);
  const isWanted = (id: string) => names(id).some((name) => wanted.includes(name));
  return {
    rounds: whole("rounds"),
    seconds: whole("seconds"),
    rows: ROWS.filter(({ id }) => isWanted(id)),
    processRows: PROCESS_ROWS.map(({ id }) => id).filter(isWanted),
    peers: text("peers"),
    only: NAMES.filter((name) => only.includes(name)),
    json: text("json"),
  };
}

/** What is not here that the bench can't do without, or `null`. */
async function missing(): Promise<string | null> {
  if (Deno.build.os !== "linux") return "needs Linux: guests are network namespaces";
  if ((await mustRun(["id", "-u"])) !== "0") return "needs root: it makes network namespaces";
  const find = "for p in ip cc mount; do command -v $p >/dev/null || echo $p; done";
  const absent = (await runProgram(["sh", "-c", find])).stdout.trim().split("\n").join(", ");
  if (absent !== "") return `needs programs that are not here: ${absent}`;
  const { code } = await runProgram(["test", "-e", "/dev/net/tun"]);
  return code === 0 ? null : "needs /dev/net/tun";
}

async function machine(): Promise<Results["machine"]> {
  const cpu = await mustRun(["sh", "-c", "grep -m1 '^model name' /proc/cpuinfo || true"]);
  return {
    cpu: cpu.split(":")[1]?.trim() ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    kernel: await mustRun(["uname", "-sr"]),
  };
}

const firstLine = (error: unknown) =>
  (error instanceof Error ? error.message : String(error)).split("\n")[0]!;

/** Goes through all rounds and keeps what each cell came to. */
class Comparison {
  readonly #place: Place;
  readonly #options: Options;
  readonly #rows = new Map<string, RowResult>();
  #round = 0;

  constructor(place: Place, options: Options) {
    this.#place = place;
    this.#options = options;
    for (const { id, title, unit } of [...options.rows, ...PROCESS_ROWS]) {
      const isWanted = options.rows.some((row) => row.id === id) ||
        options.processRows.includes(id);
      if (isWanted) this.#rows.set(id, { id, title, unit, cells: {} });
    }
  }

  /** The rows as far as they are. */
  get rows(): RowResult[] {
    return [...this.#rows.values()];
  }

  #cell(id: string, name: string): Cell {
    return this.#rows.get(id)!.cells[name] ??= { figures: [], errors: [] };
  }

  async #measure(id: string, name: string, measuring: () => Promise<Figure>): Promise<void> {
    const { by, unit } = scaled(this.#rows.get(id)!.unit);
    try {
      const figure = await measuring();
      this.#cell(id, name).figures.push({ round: this.#round, ...figure });
      console.error(`    ${id.padEnd(16)} ${spell(figure.value * by)} ${unit}`);
    } catch (error) {
      if (this.#place.owner.closing) throw new Interrupted();
      this.#cell(id, name).errors.push(firstLine(error));
      console.error(`    ${id.padEnd(16)} failed: ${firstLine(error)}`);
    }
  }

  /** One turn of one contender: a gateway for each MTU, with the rows that want it. */
  async turn(contender: Contender, round: number): Promise<void> {
    this.#round = round;
    const { name } = contender;
    const { processRows } = this.#options;
    const rows = this.#options.rows.filter(({ id }) => serves(contender, id));
    if (processRows.includes("startup") && serves(contender, "startup")) {
      const start = async () => ({ value: await startUpMs(this.#place, contender) });
      await this.#measure("startup", name, start);
    }
    let peakMib = 0;
    for (const mtu of new Set(rows.map((row) => row.mtu))) {
      const here = rows.filter((row) => row.mtu === mtu)
        .toSorted((a, b) => Number(b.isFirst ?? false) - Number(a.isFirst ?? false));
      peakMib = Math.max(peakMib, await this.#withGateway(contender, mtu, here));
    }
    if (processRows.includes("memory") && peakMib > 0 && serves(contender, "memory")) {
      await this.#measure("memory", name, () => Promise.resolve({ value: peakMib }));
    }
  }

  async #withGateway(contender: Contender, mtu: number, rows: Row[]): Promise<number> {
    const { name } = contender;
    let attached: Attached;
    try {
      attached = await Attached.begin(this.#place, contender, mtu);
    } catch (error) {
      for (const { id } of rows) await this.#measure(id, name, () => Promise.reject(error));
      return 0;
    }
    const bench = { place: this.#place, attached, seconds: this.#options.seconds };
    for (const row of rows) {
      await this.#measure(row.id, name, () => {
        if (!attached.gateway.ended) return row.measure(bench);
        throw new Error(`the gateway has ended: ${attached.gateway.tail(1)}`);
      });
    }
    const peakMib = attached.gateway.ended ? 0 : await peakMemoryMib(attached.gateway.pid);
    await attached.end();
    return peakMib;
  }
}

async function compare(owner: Owner, options: Options): Promise<void> {
  const { here, absent } = await findContenders(options.only, options.peers);
  for (const { name, version } of here) console.error(`${name} ${version}`);
  for (const name of absent) console.error(`${name} is not here: no column for it`);
  const comparison = new Comparison(await Place.open(owner), options);
  for (let round = 0; round < options.rounds; round++) {
    for (let turn = 0; turn < here.length; turn++) {
      const contender = here[(round + turn) % here.length]!;
      console.error(`round ${round + 1} of ${options.rounds}, ${contender.name}`);
      await comparison.turn(contender, round);
    }
  }
  const results: Results = {
    date: new Date().toISOString().slice(0, 10),
    rounds: options.rounds,
    seconds: options.seconds,
    machine: await machine(),
    contenders: here.map(({ name, version }) => ({ name, version })),
    absent,
    rows: comparison.rows,
  };
  console.log(terminalText(results));
  if (options.json !== undefined) {
    await Deno.writeTextFile(options.json, `${JSON.stringify(results, null, 1)}\n`);
  }
}

/** Runs the comparison; whatever it has started is gone when it returns the exit code. */
async function main(options: Options): Promise<number> {
  const problem = await missing();
  if (problem !== null) refuse(problem);
  await using owner = new Owner();
  // What it waits for ends with what it owns, so the bench comes to its end by itself.
  const stop = () => void owner[Symbol.asyncDispose]();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, stop);
  }
  try {
    await compare(owner, options);
    return 0;
  } catch (error) {
    if (!(owner.closing || error instanceof Interrupted)) throw error;
    return 130;
  }
}

if (import.meta.main) Deno.exit(await main(readOptions()));
