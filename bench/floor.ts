/**
 * The runtime's floor: plain Deno that makes the gateway's operations on the same kinds of sockets,
 * in the same sizes and with the same split into frames, and knows no TCP. A row of the comparison
 * that stands near its floor can't be had faster in this runtime.
 *
 *     deno task floor [--only PART,ROW,…] [--seconds S] [--json FILE]
 *
 * Prints lines for each row as it is measured, name, value, unit: its rate, and as `cpu.NAME` the
 * time of this process's cores for each unit. Rows are named as those of `deno task bench`; `relay`,
 * `udp.send` and `udp.receive` are bare operations, and `crr.fin` has all steps of `crr` there. At
 * both ends are C programs that
 * only produce and consume (`floor_ends.c`). Each row has a process of its own, so that none runs
 * on code that another one has warmed up. Linux, a C compiler; a machine with nothing else to do.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "@std/cli";
import { mustRun } from "../tests/guest/program.ts";
import { download, relay, upload } from "./floor_bulk.ts";
import { connects, exchange } from "./floor_exchange.ts";
import { udpDownload, udpReceive, udpSend, udpUpload } from "./floor_udp.ts";
import { buildEnds, FloorEnds, WARM_UP_MS } from "./support/floor_ends.ts";

interface Row {
  readonly part: string;
  readonly name: string;
  /** What the program at the ends calls it. */
  readonly ends: string;
  readonly mtu: number;
  readonly streams: number;
  readonly unit: "Gbit/s" | "exchanges/s" | "connections/s" | "datagrams/s";
  /** Works until the ends stop; what it counts itself it returns, a second. */
  readonly run: (ends: FloorEnds) => Promise<number | void>;
}

const GIB_BYTES = 2 ** 30;

function row(
  part: string,
  name: string,
  unit: Row["unit"],
  run: Row["run"],
  { ends = name, mtu = 1500, streams = 1 } = {},
): Row {
  return { part, name, unit, run, ends, mtu, streams };
}

function bulkRow(part: "up" | "down", mtu: number, streams: number): Row {
  const name = `${part}${streams === 1 ? "" : streams}@${mtu}`;
  const run: Row["run"] = part === "up"
    ? (ends) => upload(ends, streams)
    : (ends) => download(ends, mtu, streams);
  return row(part, name, "Gbit/s", run, { ends: part, mtu, streams });
}

const MTUS = [1500, 9000, 65_520];
const STREAMS = [1, 8];
const MANY = 1000;

const ROWS: readonly Row[] = [
  row("relay", "relay.up", "Gbit/s", (ends) => relay(ends, "relay.up")),
  row("relay", "relay.down", "Gbit/s", (ends) => relay(ends, "relay.down")),
  ...(["up", "down"] as const).flatMap((part) => [
    ...MTUS.flatMap((mtu) => STREAMS.map((streams) => bulkRow(part, mtu, streams))),
    bulkRow(part, 65_520, MANY),
  ]),
  row("rr", "rr", "exchanges/s", exchange),
  row("crr", "crr", "connections/s", (ends) => connects(ends, false)),
  row("crr", "crr.fin", "connections/s", (ends) => connects(ends, true)),
  row("udp", "udpup", "datagrams/s", udpUpload),
  row("udp", "udpdown", "datagrams/s", udpDownload),
  row("udp", "udp.send", "datagrams/s", udpSend),
  row("udp", "udp.receive", "datagrams/s", (ends) => udpReceive(ends, WARM_UP_MS)),
];

/** What a row comes to, and the line that says so. */
interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

function formatFigure({ name, value, unit }: Figure): string {
  return `${name} ${value} ${unit}`;
}

function usage(problem: string): never {
  console.error(`floor: ${problem}`);
  console.error("deno task floor [--only PART,ROW,…] [--seconds S] [--json FILE]");
  console.error(`parts: ${[...new Set(ROWS.map(({ part }) => part))].join(", ")}`);
  console.error(`rows: ${ROWS.map(({ name }) => name).join(", ")}`);
  Deno.exit(2);
}

/** Measures one row in this process: its rate and its CPU time. */
async function measure(row: Row, program: string, seconds: number): Promise<Figure[]> {
  const { name, unit, mtu, streams } = row;
  await using ends = await FloorEnds.start({ program, row: row.ends, seconds, mtu, streams });
  let own: number | void = undefined;
  const work = row.run(ends).then(
    (count) => own = count,
    (error) => ends.fail(error),
  );
  let cpuFrom = process.cpuUsage();
  let fromMs = performance.now();
  setTimeout(() => {
    cpuFrom = process.cpuUsage();
    fromMs = performance.now();
  }, WARM_UP_MS);
  const counted = await ends.rate();
  const cpu = process.cpuUsage(cpuFrom);
  const cpuShare = (cpu.user + cpu.system) / 1000 / (performance.now() - fromMs);
  if (name === "udp.receive") await work;
  const rate = own ?? counted;
  if (unit !== "Gbit/s") {
    return [
      { name, value: Math.round(rate), unit },
      { name: `cpu.${name}`, value: rounded(cpuShare * 1e6 / rate, 2), unit: "µs" },
    ];
  }
  return [
    { name, value: rounded(rate * 8 / 1e9, 2), unit },
    { name: `cpu.${name}`, value: rounded(cpuShare * GIB_BYTES / rate, 3), unit: "s/GiB" },
  ];
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** Measures one row in a process of its own. */
async function measureApart(row: Row, program: string, seconds: number): Promise<Figure[]> {
  const script = new URL(import.meta.url).pathname;
  // deno-fmt-ignore
  const words = [Deno.execPath(), "run", "--no-check", "--unstable-net", "--allow-net",
    "--allow-read", "--allow-write", "--allow-run", script, "--row", row.name, "--ends", program,
    "--seconds", `${seconds}`];
  const text = await mustRun(words, 1000 * (seconds + 30));
  return text.split("\n").map((line) => {
    const [name, value, unit] = line.split(" ");
    return { name: name!, value: Number(value), unit: unit! };
  });
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["only", "seconds", "json", "row", "ends"],
    default: { seconds: "3" },
  });
  const seconds = Number(args.seconds);
  if (!(seconds > 0)) usage("--seconds is a number above 0");
  if (args.row !== undefined) {
    const row = ROWS.find(({ name }) => name === args.row) ?? usage(`no row ${args.row}`);
    if (args.ends === undefined) usage("--row goes with --ends PROGRAM");
    for (const figure of await measure(row, String(args.ends), seconds)) {
      console.log(formatFigure(figure));
    }
    Deno.exit(0); // operations of sockets that are gone hold nobody up
  }
  const wanted = args.only === undefined ? undefined : String(args.only).split(",");
  const unknown = wanted?.find((word) => {
    return !ROWS.some(({ part, name }) => part === word || name === word);
  });
  if (unknown !== undefined) usage(`no part or row ${unknown}`);
  const rows = ROWS.filter(({ part, name }) => {
    return wanted === undefined || wanted.includes(part) || wanted.includes(name);
  });
  const directory = await Deno.makeTempDir({ prefix: "vgfloor-" });
  try {
    const program = await buildEnds(directory);
    const figures: Figure[] = [];
    for (const row of rows) {
      for (const figure of await measureApart(row, program, seconds)) {
        console.log(formatFigure(figure));
        figures.push(figure);
      }
    }
    if (args.json !== undefined) {
      await Deno.writeTextFile(String(args.json), JSON.stringify(figures, null, 2) + "\n");
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) await main();
