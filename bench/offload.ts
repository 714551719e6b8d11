/**
 * What a guest that offloads gains: bulk at an MTU of 1500 without and with large segments.
 *
 *     deno task offload [--rounds N] [--seconds S] [--mtu N] [--json]
 *
 * The same kernel guest behind the same bridge, in turns: without offload; with the header of
 * virtio-net in the stream; and with the header lost on the way, as libkrun loses it. Each turn is a
 * gateway of its own, and the order moves on with each round. The last line of each direction is the
 * ratio of the medians, and whether it doubles. Needs Linux, root, /dev/net/tun and a C compiler;
 * everything stays in namespaces that are made here, and goes with the bench.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { Attached, type Contender, findContenders } from "./compare_contenders.ts";
import { OFFLOAD, OFFLOAD_BARE, OURS } from "./compare_kinds.ts";
import { Place } from "./compare_place.ts";
import { type Figure, ROWS } from "./compare_rows.ts";
import { Interrupted, Owner } from "./link_wire.ts";

const WAYS: readonly { id: string; title: string }[] = [
  { id: "up", title: "guest → host" },
  { id: "down", title: "host → guest" },
];
const TITLES: Readonly<Record<string, string>> = {
  [OURS]: "without",
  [OFFLOAD]: "--framing stream-vnet --offload",
  [OFFLOAD_BARE]: "--offload",
};
const GOAL = 2;

interface Options {
  rounds: number;
  seconds: number;
  mtu: number;
  json: boolean;
}

/** What one contender came to in one direction. */
interface Result {
  way: string;
  contender: string;
  gbits: number[];
  /** CPU time of the gateway, in seconds for each GiB. */
  cpu: number[];
}

function readOptions(): Options {
  const flags = parseArgs(Deno.args, {
    string: ["rounds", "seconds", "mtu"],
    boolean: ["json"],
    default: { rounds: "5", seconds: "3", mtu: "1500" },
  });
  const whole = (name: "rounds" | "seconds" | "mtu") => {
    const value = Number(flags[name]);
    if (Number.isInteger(value) && value > 0) return value;
    console.error(`offload: --${name} is a whole number above 0, not ${flags[name]}`);
    return Deno.exit(2);
  };
  return {
    rounds: whole("rounds"),
    seconds: whole("seconds"),
    mtu: whole("mtu"),
    json: flags.json === true,
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** One turn: a gateway of its own, and bulk both ways. */
async function turn(place: Place, contender: Contender, options: Options): Promise<Figure[]> {
  const { mtu, seconds } = options;
  const attached = await Attached.begin(place, contender, mtu);
  const figures: Figure[] = [];
  for (const { id } of WAYS) {
    const row = ROWS.find((row) => row.id === `${id}@1500`)!;
    figures.push(await row.measure({ place, attached, seconds }));
  }
  await attached.end();
  return figures;
}

async function measure(owner: Owner, options: Options): Promise<Result[]> {
  const { here } = await findContenders([OURS, OFFLOAD, OFFLOAD_BARE], undefined);
  const place = await Place.open(owner);
  const results: Result[] = WAYS.flatMap(({ id }) =>
    here.map(({ name }) => ({ way: id, contender: name, gbits: [], cpu: [] }))
  );
  for (let round = 0; round < options.rounds; round++) {
    for (let i = 0; i < here.length; i++) {
      const contender = here[(round + i) % here.length]!;
      const figures = await turn(place, contender, options);
      figures.forEach(({ value, cpu }, way) => {
        const id = WAYS[way]!.id;
        const result = results.find((it) => it.way === id && it.contender === contender.name)!;
        result.gbits.push(value);
        if (cpu !== undefined) result.cpu.push(cpu);
        const rate = `${value.toFixed(2)} Gbit/s`;
        console.error(`round ${round + 1}  ${id.padEnd(4)}  ${rate}  ${TITLES[contender.name]}`);
      });
    }
  }
  return results;
}

function report(results: readonly Result[], { mtu, rounds, seconds }: Options): string {
  const lines = [`MTU ${mtu}, medians of ${rounds} rounds of ${seconds} s (least to most)`];
  for (const { id, title } of WAYS) {
    const rows = results.filter(({ way }) => way === id);
    const base = median(rows.find(({ contender }) => contender === OURS)!.gbits);
    lines.push("", title);
    for (const { contender, gbits, cpu } of rows) {
      const spread = `${Math.min(...gbits).toFixed(2)}–${Math.max(...gbits).toFixed(2)}`;
      const ratio = median(gbits) / base;
      const verdict = contender === OURS
        ? ""
        : `  ${ratio.toFixed(2)} times${ratio < GOAL ? "" : ", doubles"}`;
      const load = cpu.length === 0 ? "" : `  ${median(cpu).toFixed(2)} s/GiB`;
      lines.push(
        `  ${TITLES[contender]!.padEnd(32)} ${median(gbits).toFixed(2)} Gbit/s (${spread})` +
          load + verdict,
      );
    }
  }
  return lines.join("\n");
}

async function main(options: Options): Promise<number> {
  await using owner = new Owner();
  const stop = () => void owner[Symbol.asyncDispose]();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, stop);
  }
  try {
    const results = await measure(owner, options);
    console.log(options.json ? JSON.stringify(results, null, 1) : report(results, options));
    return 0;
  } catch (error) {
    if (!(owner.closing || error instanceof Interrupted)) throw error;
    return 130;
  }
}

if (import.meta.main) Deno.exit(await main(readOptions()));
