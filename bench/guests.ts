/**
 * Several guests of one process: bulk of two at once beside one alone and beside two processes, bulk
 * from guest to guest beside bulk from guest to host, bulk beside a guest that floods, and what an
 * idle guest costs.
 *
 *     deno task guests [--rounds N] [--seconds N] [--mtu N,N] [--idle N] [--only TEXT] [--json FILE]
 *
 * Rounds take turns with what is compared; figures are medians. Each guest is a kernel behind a tap
 * with servers and clients of its own. Needs root, /dev/net/tun and a C compiler; all traffic stays in
 * namespaces that are made here.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { BackgroundProgram, memoryKib, mustRun } from "../tests/guest/program.ts";
import { begin, counts, Place, PORTS, type Space } from "./compare_place.ts";
import { cpuSeconds } from "./compare_process.ts";
import { Owner } from "./link_wire.ts";

const GUESTS_PROGRAM = new URL("./support/guests_program.ts", import.meta.url).pathname;
const RELAY_PROGRAM = new URL("./support/relay_program.ts", import.meta.url).pathname;
const WARM_MS = 700;
const SETTLE_MS = 500;
/** After so long V8 has given back what it had for the start. */
const IDLE_MS = 20_000;
const ARP_FRAME = arpFrame();
const FLOOD_SOURCE = new URL("./flood.c", import.meta.url).pathname;
const GATEWAY_MAC = "02:53:4d:00:00:01";
/** Frames that the gateway drops at its door, which shows what sending them costs, and others. */
const FLOODS = ["inert", "syn", "fragments"];
const FLOOD_PER_SECOND = 50_000;
const FLOOD_MORE_SECONDS = 3;
const HOLE_PORT = 9;

/** How guests are put into processes. */
interface Layout {
  readonly name: string;
  /** The guests of each process. */
  readonly processes: readonly number[];
  /** Workers of each process. */
  readonly workers: number;
  readonly isShared?: true;
  /** Whether two guests' devices are joined with nothing in between: what any gateway has for a bound. */
  readonly isWire?: true;
  /** Whether the guests' sockets are joined by a bare relay: what any Deno program has for a bound. */
  readonly isRelay?: true;
  /** Whether the first guest floods while the second one's bulk is measured. */
  readonly hasFlood?: true;
}

const LAYOUTS: readonly Layout[] = [
  { name: "one guest, one worker", processes: [1], workers: 1 },
  { name: "two guests, two workers", processes: [2], workers: 2 },
  { name: "two guests, two processes", processes: [1, 1], workers: 0 },
  { name: "shared network, two workers", processes: [2], workers: 2, isShared: true },
  { name: "shared network, one worker", processes: [2], workers: 1, isShared: true },
  { name: "two guests and nothing between", processes: [], workers: 0, isWire: true },
  { name: "two guests and a bare relay", processes: [], workers: 0, isRelay: true },
  { name: "a neighbour in the same worker", processes: [2], workers: 1, hasFlood: true },
  { name: "a neighbour in another worker", processes: [2], workers: 2, hasFlood: true },
];

/** A guest as it is addressed. */
interface Spot {
  readonly socket: string;
  readonly space: Space;
  readonly address: string;
  readonly router: string;
  readonly mac: string;
}

interface Options {
  rounds: number;
  seconds: number;
  mtus: number[];
  idle: number;
  /** What a layout's name has to contain. */
  only: string;
  json: string | undefined;
}

/** Figures by row. */
type Rows = Map<string, number[]>;

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Starts a process with guests on the host's side, on the sockets of a folder. */
async function startProcess(
  place: Place,
  folder: string,
  options: Record<string, unknown>,
): Promise<BackgroundProgram> {
  const words = place.insideHost([
    ...[Deno.execPath(), "run", "--no-prompt", "--unstable-net", "--allow-net", "--allow-read"],
    ...[`--allow-write=${folder}`, GUESTS_PROGRAM, JSON.stringify(options)],
  ]);
  const program = await place.owner.own(new BackgroundProgram(words));
  await program.line(/^ready$/, 0, 60_000);
  return program;
}

/** The processes and guests of a layout, joined and ready for traffic. */
async function begun(place: Place, layout: Layout, mtu: number): Promise<{
  spots: Spot[];
  started: AsyncDisposable[];
}> {
  const started: AsyncDisposable[] = [];
  const spots: Spot[] = [];
  for (const count of layout.processes) {
    const folder = await place.folder();
    const guests = Array.from({ length: count }, (_, n) => ({
      name: `g${n}`,
      endpoint: { transport: "unix", path: `${folder}/g${n}.sock` },
      hostLoopback: true,
      ...(layout.isShared === undefined ? {} : { network: "lab" }),
      ...(layout.isShared === undefined ? { guestNetwork: { mtu } } : {}),
    }));
    const networks = layout.isShared === undefined ? {} : { networks: { lab: { mtu } } };
    started.push(
      await startProcess(place, folder, { workers: layout.workers, guests, ...networks }),
    );
    for (let n = 0; n < count; n++) {
      const [address, router] = layout.isShared === undefined
        ? [`100.96.0.${4 * n + 2}/30`, `100.96.0.${4 * n + 1}`]
        : [`10.77.0.${n + 2}/24`, "10.77.0.1"];
      const mac = layout.isShared === undefined
        ? `02:53:4d:00:0${n}:02`
        : `02:53:4d:01:00:0${n + 2}`;
      const space = await place.guest({ address, router, mtu, mac });
      started.push(await place.join(space, `${folder}/g${n}.sock`), space);
      spots.push({
        socket: `${folder}/g${n}.sock`,
        space,
        address: address.slice(0, address.indexOf("/")),
        router,
        mac,
      });
    }
  }
  return { spots, started };
}

/** Gbit/s of all counters together, while their traffic runs. */
async function bulk(
  place: Place,
  seconds: number,
  traffic: readonly BackgroundProgram[],
  counters: readonly BackgroundProgram[],
): Promise<number> {
  await sleep(WARM_MS);
  for (const counter of counters) await begin(counter);
  await sleep(seconds * 1000);
  let gigabits = 0;
  for (const counter of counters) {
    const counted = await counts(counter);
    gigabits += counted.bytes * 8 / counted.seconds / 1e9;
  }
  for (const program of traffic) await place.owner.end(program);
  await sleep(SETTLE_MS);
  return gigabits;
}

/** One turn of a layout. */
async function turn(
  place: Place,
  layout: Layout,
  mtu: number,
  seconds: number,
  note: (row: string, gigabits: number) => void,
): Promise<void> {
  if (layout.isWire !== undefined) {
    return note("guest to guest", await wire(place, mtu, seconds));
  }
  if (layout.isRelay !== undefined) return await relayed(place, mtu, seconds, note);
  const { spots, started } = await begun(place, layout, mtu);
  const inAll = (...words: (string | number)[]) =>
    Promise.all(spots.map(({ space, router }) => {
      return place.inGuest(space, [
        ...words,
        router,
        words[0] === "push" ? PORTS.sink : PORTS.source,
      ]);
    }));
  if (layout.hasFlood !== undefined) {
    const [hostile, honest] = spots as [Spot, Spot];
    for (const kind of FLOODS) {
      const flood = await flooding(place, hostile, kind, seconds);
      const push = await place.inGuest(honest.space, ["push", 1, honest.router, PORTS.sink]);
      const sink = [place.servers.get("sink")!];
      note(`up beside its ${kind} frames`, await bulk(place, seconds, [push, flood], sink));
    }
  } else if (layout.isShared === undefined) {
    const pushes = await inAll("push", 1);
    note("up", await bulk(place, seconds, pushes, [place.servers.get("sink")!]));
    const pulls = await inAll("pull", 1);
    note("down", await bulk(place, seconds, pulls, pulls));
  } else {
    const [from, to] = spots as [Spot, Spot];
    const costed = (what: string, traffic: BackgroundProgram, counter: BackgroundProgram) =>
      costedBulk(place, seconds, pid, { what, traffic, counter }, note);
    const pid = started.find((thing) => thing instanceof BackgroundProgram)!.pid;
    const sink = await place.inGuest(to.space, ["sink", PORTS.sink]);
    const push = await place.inGuest(from.space, ["push", 1, to.address, PORTS.sink]);
    await costed("guest to guest", push, sink);
    const up = await place.inGuest(from.space, ["push", 1, from.router, PORTS.sink]);
    await costed("guest to host", up, place.servers.get("sink")!);
    const down = await place.inGuest(from.space, ["pull", 1, from.router, PORTS.source]);
    await costed("host to guest", down, down);
    await place.owner.end(sink);
  }
  for (const thing of started.reverse()) await place.owner.end(thing);
}

/** Bulk, and what it costs the process that carries it. */
async function costedBulk(
  place: Place,
  seconds: number,
  pid: number,
  { what, traffic, counter }: {
    readonly what: string;
    readonly traffic: BackgroundProgram;
    readonly counter: BackgroundProgram;
  },
  note: (row: string, value: number) => void,
): Promise<void> {
  const before = await cpuSeconds(pid);
  const gigabits = await bulk(place, seconds, [traffic], [counter]);
  // Of the warm-up too, whose rate is taken for the same.
  const gibibytes = gigabits * 1e9 / 8 / 2 ** 30 * (seconds + WARM_MS / 1000);
  note(what, gigabits);
  note(`${what}, s/GiB`, (await cpuSeconds(pid) - before) / gibibytes);
}

/** Two guests of one subnet. */
function pair(place: Place, mtu: number): Promise<Space[]> {
  return Promise.all([2, 3].map((n) => {
    const mac = `02:53:4d:01:00:0${n}`;
    return place.guest({ address: `10.77.0.${n}/24`, router: "10.77.0.1", mtu, mac });
  }));
}

/** Bulk between two guests whose sockets a bare relay joins. */
async function relayed(
  place: Place,
  mtu: number,
  seconds: number,
  note: (row: string, value: number) => void,
): Promise<void> {
  const folder = await place.folder();
  const sockets = [2, 3].map((n) => `${folder}/g${n}.sock`);
  const words = place.insideHost([
    ...[
      Deno.execPath(),
      "run",
      "--no-prompt",
      "--allow-net",
      "--allow-read",
      `--allow-write=${folder}`,
    ],
    ...[RELAY_PROGRAM, ...sockets],
  ]);
  const relay = await place.owner.own(new BackgroundProgram(words));
  await relay.line(/^ready$/, 0, 60_000);
  const spaces = await pair(place, mtu);
  const started: AsyncDisposable[] = [relay];
  for (const [n, space] of spaces.entries()) {
    started.push(await place.join(space, sockets[n]!), space);
  }
  const counter = await place.inGuest(spaces[1]!, ["sink", PORTS.sink]);
  const traffic = await place.inGuest(spaces[0]!, ["push", 1, "10.77.0.3", PORTS.sink]);
  await costedBulk(
    place,
    seconds,
    relay.pid,
    { what: "guest to guest", traffic, counter },
    note,
  );
  for (const thing of [counter, ...started.reverse()]) await place.owner.end(thing);
}

/** Bulk between two guests whose bridges are each other's peer. */
async function wire(place: Place, mtu: number, seconds: number): Promise<number> {
  const socket = `${await place.folder()}/wire.sock`;
  const [from, to] = await pair(place, mtu);
  const listening = place.join(from!, socket, [], "listen");
  while (!await isThere(socket)) await sleep(20);
  const started: AsyncDisposable[] = [await place.join(to!, socket), await listening, from!, to!];
  const sink = await place.inGuest(to!, ["sink", PORTS.sink]);
  const push = await place.inGuest(from!, ["push", 1, "10.77.0.3", PORTS.sink]);
  const gigabits = await bulk(place, seconds, [push], [sink]);
  for (const thing of [sink, ...started]) await place.owner.end(thing);
  return gigabits;
}

function isThere(path: string): Promise<boolean> {
  return Deno.lstat(path).then(() => true, () => false);
}

/** A guest that sends frames of a kind for as long as bulk is measured. */
async function flooding(
  place: Place,
  { space, address, router, mac }: Spot,
  kind: string,
  seconds: number,
): Promise<BackgroundProgram> {
  const program = `${place.owner.directory}/flood`;
  // deno-fmt-ignore
  const words = [program, kind, "tap0", mac, GATEWAY_MAC, address, router, HOLE_PORT,
    Math.ceil(seconds + FLOOD_MORE_SECONDS), FLOOD_PER_SECOND];
  const inside = place.inside(space, words.map(String));
  return await place.owner.own(new BackgroundProgram(inside));
}

/** An announcement, as a guest's kernel sends it when its device comes up. */
function arpFrame(): Uint8Array {
  const mac = [0x02, 0x53, 0x4d, 0, 0, 2];
  const ip = [100, 96, 0, 2];
  const arp = [0, 1, 8, 0, 6, 4, 0, 1, ...mac, ...ip, 0, 0, 0, 0, 0, 0, ...ip];
  return Uint8Array.of(0, 0, 0, 42, 255, 255, 255, 255, 255, 255, ...mac, 8, 6, ...arp);
}

/** Resident memory of a process with so many guests, each attached and idle, in MiB. */
async function idleMib(place: Place, guests: number): Promise<number> {
  const folder = await place.folder();
  const sockets = Array.from({ length: guests }, (_, n) => `${folder}/g${n}.sock`);
  const program = await startProcess(place, folder, {
    workers: 2,
    guests: sockets.map((path, n) => ({ name: `g${n}`, endpoint: { transport: "unix", path } })),
  });
  const vmms = await Promise.all(sockets.map((path) => Deno.connect({ transport: "unix", path })));
  for (const vmm of vmms) await vmm.write(ARP_FRAME);
  await sleep(IDLE_MS);
  const residentKib = await memoryKib(program.pid, "VmRSS");
  for (const vmm of vmms) vmm.close();
  await place.owner.end(program);
  return residentKib / 1024;
}

async function measure(owner: Owner, options: Options): Promise<void> {
  const place = await Place.open(owner);
  // deno-fmt-ignore
  await mustRun(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", `${owner.directory}/flood`,
    FLOOD_SOURCE]);
  const layouts = LAYOUTS.filter(({ name }) => name.includes(options.only));
  const rows: Rows = new Map();
  const note = (row: string, value: number): void => {
    console.error(`  ${row}: ${value.toFixed(2)}`);
    rows.set(row, [...rows.get(row) ?? [], value]);
  };
  for (let round = 0; round < options.rounds; round++) {
    for (const mtu of options.mtus) {
      for (let n = 0; n < layouts.length; n++) {
        const layout = layouts[(round + n) % layouts.length]!;
        await turn(place, layout, mtu, options.seconds, (what, gigabits) => {
          note(`${layout.name}, ${what}, MTU ${mtu}`, gigabits);
        });
      }
    }
  }
  if (options.idle > 0) {
    const few = await idleMib(place, 2);
    const many = await idleMib(place, 2 + options.idle);
    note("resident with 2 idle guests, MiB", few);
    note(`resident with ${2 + options.idle} idle guests, MiB`, many);
    note("for each idle guest more, MiB", (many - few) / options.idle);
  }
  const medians = Object.fromEntries([...rows].map(([row, values]) => [row, median(values)]));
  const width = Math.max(...Object.keys(medians).map(({ length }) => length));
  for (const [row, value] of Object.entries(medians)) {
    console.log(`${row.padEnd(width)}  ${value.toFixed(2)}`);
  }
  for (const mtu of options.mtus) ratios(medians, mtu);
  if (options.json !== undefined) {
    await Deno.writeTextFile(
      options.json,
      `${JSON.stringify(Object.fromEntries(rows), null, 1)}\n`,
    );
  }
}

function ratios(medians: Readonly<Record<string, number>>, mtu: number): void {
  const ratio = (what: string, a: string, b: string): void => {
    const value = medians[`${a}, MTU ${mtu}`]! / medians[`${b}, MTU ${mtu}`]!;
    if (!Number.isNaN(value)) console.log(`${what}, MTU ${mtu}: ${value.toFixed(2)}`);
  };
  for (const way of ["up", "down"]) {
    const two = `two guests, two workers, ${way}`;
    ratio(`two guests / one, ${way}`, two, `one guest, one worker, ${way}`);
    ratio(`two guests / two processes, ${way}`, two, `two guests, two processes, ${way}`);
  }
  for (const where of ["the same worker", "another worker"]) {
    for (const kind of FLOODS.slice(1)) {
      const beside = `a neighbour in ${where}, up beside its`;
      ratio(
        `beside ${kind} / beside inert frames, ${where}`,
        `${beside} ${kind} frames`,
        `${beside} inert frames`,
      );
    }
  }
  for (const workers of ["two workers", "one worker"]) {
    const shared = `shared network, ${workers}`;
    ratio(
      `guest to guest / to host, ${workers}`,
      `${shared}, guest to guest`,
      `${shared}, guest to host`,
    );
    ratio(
      `guest to guest / by a bare relay, ${workers}`,
      `${shared}, guest to guest`,
      "two guests and a bare relay, guest to guest",
    );
  }
}

if (import.meta.main) {
  const args = parseArgs(Deno.args, {
    string: ["rounds", "seconds", "mtu", "idle", "only", "json"],
    default: { rounds: "5", seconds: "2", mtu: "1500,65520", idle: "64", only: "" },
  });
  await using owner = new Owner();
  const stop = () => void owner[Symbol.asyncDispose]();
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
  await mustRun(["sh", "-c", "test $(id -u) = 0 && test -c /dev/net/tun"]);
  await measure(owner, {
    rounds: Number(args.rounds),
    seconds: Number(args.seconds),
    mtus: String(args.mtu).split(",").map(Number),
    idle: Number(args.idle),
    only: String(args.only),
    json: args.json === undefined ? undefined : String(args.json),
  });
}
