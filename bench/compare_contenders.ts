/**
 * Who is compared: the shipped command line, passt, gvproxy and slirp4netns, each with its published
 * flags and the network that those give it. All of them open the host's loopback to the guest, ask
 * the resolver of the place, and publish the same three ports.
 *
 * slirp4netns makes its tap device in the guest's namespace by itself; the others are met on a unix
 * socket, by the bridge that stands for a VMM.
 *
 * @module
 */
import { BackgroundProgram, mustRun, runProgram, until } from "../tests/guest/program.ts";
import { type Place, PORTS, PUBLISHED, type Space } from "./compare_place.ts";
import { FLOOR_MAC } from "./support/floor_guest_wire.ts";

const CLI = new URL("../cli.ts", import.meta.url).pathname;
const FLOOR_PROGRAM = new URL("./floor_guest.ts", import.meta.url).pathname;
const CONFIG = new URL("../deno.json", import.meta.url);
const READY_MS = 15_000;
const GRACE_MS = 3_000;
const JOIN_ATTEMPTS = 40;

/** The name of the module's own column. */
export const OURS = "virtio-gateway";
/** The floor in the gateway's place: it speaks to a program of its own in the guest, in few rows. */
export const FLOOR = "floor";
/** The module once more, with the guest's kernel offloading to its device. */
export const OFFLOAD = "offload";
/** As that, where the bridge loses the header that says what was left to do. */
export const OFFLOAD_BARE = "offload-bare";
/** The module once more, behind a policy of ten thousand rules: what they cost, if it is named. */
export const FENCED = "fenced";

const RULES = 10_000;

const PORT_PAIRS = Object.entries(PUBLISHED)
  .map(([name, port]) => [port, PORTS[name as keyof typeof PUBLISHED]] as const);

/** The addresses that a gateway gives its guest. */
interface Network {
  /** The guest's, with the prefix length. */
  guest: string;
  router: string;
  /** The one that leads to the host's loopback. */
  host: string;
  /** The one that questions go to. */
  dns: string;
}

/** What one start of a gateway has of its own. */
interface Spot {
  /** Where its files go. */
  directory: string;
  mtu: number;
  /** The guest's namespace. */
  guest: string;
}

interface Kind {
  network: Network;
  /** Words that print a version. */
  version(program: string): string[];
  /** Writes the files that the command reads. */
  prepare?(spot: Spot): Promise<void>;
  command(program: string, spot: Spot): string[];
  /** More words for the bridge. */
  bridge?: readonly string[];
  /** Whether it makes the guest's device itself and is met there, not on a socket. */
  makesDevice?: boolean;
  /** The rows that it can serve, by their names without MTU and streams; without it all. */
  rows?: readonly string[];
  /** The program that makes a row's streams in the guest, where it is not `traffic`. */
  streams?: string;
  /** Opens the published ports where the command line can't, or prepares the guest. */
  publish?(spot: Spot): Promise<void>;
}

/** One of the compared gateways as it is on this machine. */
export interface Contender {
  name: string;
  /** What it says of itself. */
  version: string;
  program: string;
  kind: Kind;
}

const socketOf = (spot: Spot) => `${spot.directory}/gateway.sock`;
const apiOf = (spot: Spot) => `${spot.directory}/api.sock`;
const readyFileOf = (spot: Spot) => `${spot.directory}/ready`;

const POINT_TO_POINT: Network = {
  guest: "100.96.0.2/30",
  router: "100.96.0.1",
  host: "100.96.0.1",
  dns: "100.96.0.1",
};

/** Says something to a unix socket and returns the answer, to its end. */
async function call(path: string, text: string): Promise<string> {
  using connection = await Deno.connect({ transport: "unix", path });
  await connection.write(new TextEncoder().encode(text));
  await connection.closeWrite();
  return await new Response(connection.readable).text();
}

async function exposeByHttp(spot: Spot): Promise<void> {
  for (const [hostPort, guestPort] of PORT_PAIRS) {
    const body = JSON.stringify({
      local: `127.0.0.1:${hostPort}`,
      remote: `192.168.127.2:${guestPort}`,
      protocol: "tcp",
    });
    const head = "POST /services/forwarder/expose HTTP/1.0\r\nHost: gateway\r\n" +
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    const answer = await call(apiOf(spot), head + body);
    if (!/^HTTP\/1\.\d 200/.test(answer)) throw new Error(`gvproxy: ${answer.split("\r\n")[0]}`);
  }
}

async function exposeByApi(spot: Spot): Promise<void> {
  for (const [host_port, guest_port] of PORT_PAIRS) {
    const words = { proto: "tcp", host_addr: "127.0.0.1", host_port, guest_port };
    const answer = await call(
      apiOf(spot),
      JSON.stringify({ execute: "add_hostfwd", arguments: words }),
    );
    if (answer.includes('"error"')) throw new Error(`slirp4netns: ${answer.trim()}`);
  }
}

const policyOf = (spot: Spot) => `${spot.directory}/policy.yaml`;

/** Rules for names, prefixes and ports, as many of each; the last ones let the questions pass. */
async function writePolicy(spot: Spot): Promise<void> {
  const rules = Array.from({ length: RULES / 4 }, (_, i) => [
    `10.${i >> 8}.${i & 255}.0/24:443`,
    `*.n${i}.example`,
    `n${i}.host.example:22`,
    `192.88.99.1:${1 + i}`,
  ]).flat();
  const policy = { policy: { allow: [...rules.slice(2), "public", "*.test"], deny: ["metadata"] } };
  await Deno.writeTextFile(policyOf(spot), JSON.stringify(policy));
}

const OURS_KIND: Kind = {
  network: POINT_TO_POINT,
  version: () => ["true"],
  command: (deno, spot) => [
    ...[deno, "run", "--no-prompt", "--unstable-net", "--allow-net", "--allow-read"],
    ...[`--allow-write=${spot.directory}`, CLI, "run", "--listen", `unix:${socketOf(spot)}`],
    ...["--host-loopback", "--mtu", String(spot.mtu), "--dns", "127.0.0.1:53"],
    ...PORT_PAIRS.flatMap(([host, guest]) => ["-p", `${host}:${guest}`]),
  ],
};

const FLOOR_KIND: Kind = {
  network: POINT_TO_POINT,
  version: () => ["true"],
  rows: ["up", "down", "rr", "crr", "rrbulk", "udpup", "udpdown"],
  streams: "floor_guest",
  command: (deno, spot) => [
    ...[deno, "run", "--no-prompt", "--unstable-net", "--allow-net", "--allow-read"],
    ...[`--allow-write=${spot.directory}`, FLOOR_PROGRAM, "--listen", socketOf(spot)],
    ...["--mtu", String(spot.mtu), "--echo", String(PORTS.echo)],
    ...["--source", String(PORTS.source), "--sink", String(PORTS.sink)],
  ],
  // It answers no ARP.
  publish: async ({ guest }) => {
    const { router } = POINT_TO_POINT;
    const words = ["neigh", "replace", router, "lladdr", FLOOR_MAC, "dev", "tap0"];
    await mustRun(["ip", "-n", guest, ...words]);
  },
};

const KINDS: Readonly<Record<string, Kind>> = {
  [OURS]: OURS_KIND,
  [FENCED]: {
    ...OURS_KIND,
    prepare: writePolicy,
    command: (deno, spot) => [...OURS_KIND.command(deno, spot), "--config", policyOf(spot)],
  },
  [OFFLOAD]: {
    ...OURS_KIND,
    bridge: ["vnet"],
    command: (
      deno,
      spot,
    ) => [...OURS_KIND.command(deno, spot), "--framing", "stream-vnet", "--offload"],
  },
  [OFFLOAD_BARE]: {
    ...OURS_KIND,
    bridge: ["strip"],
    command: (deno, spot) => [...OURS_KIND.command(deno, spot), "--offload"],
  },
  [FLOOR]: FLOOR_KIND,
  passt: {
    network: POINT_TO_POINT,
    version: (program) => [program, "--version"],
    command: (program, spot) => [
      ...[program, "-f", "-q", "-4", "-s", socketOf(spot), "-m", String(spot.mtu)],
      ...["-a", "100.96.0.2", "-n", "30", "-g", "100.96.0.1", "--map-host-loopback", "100.96.0.1"],
      ...["--dns-forward", "100.96.0.1", "--dns-host", "127.0.0.1"],
      ...PORT_PAIRS.flatMap(([host, guest]) => ["-t", `127.0.0.1/${host}:${guest}`]),
    ],
  },
  gvproxy: {
    network: {
      guest: "192.168.127.2/24",
      router: "192.168.127.1",
      host: "192.168.127.254",
      dns: "192.168.127.1",
    },
    version: (program) => [program, "-version"],
    command: (program, spot) => [
      ...[program, "-mtu", String(spot.mtu), "-listen", `unix://${apiOf(spot)}`],
      ...["-listen-qemu", `unix://${socketOf(spot)}`],
    ],
    publish: exposeByHttp,
  },
  slirp4netns: {
    network: { guest: "10.0.2.100/24", router: "10.0.2.2", host: "10.0.2.2", dns: "10.0.2.3" },
    version: (program) => [program, "--version"],
    command: (program, spot) => [
      ...["sh", "-c", 'exec "$@" 3>"$0"', readyFileOf(spot), program, "--configure"],
      ...[`--mtu=${spot.mtu}`, "--ready-fd=3", `--api-socket=${apiOf(spot)}`],
      ...["--netns-type=path", `/run/netns/${spot.guest}`, "tap0"],
    ],
    makesDevice: true,
    publish: exposeByApi,
  },
};

/** All names, the module's own first. */
export const NAMES: readonly string[] = Object.keys(KINDS);

/** Those that are compared where none is named. */
export const DEFAULT_NAMES: readonly string[] = NAMES.filter((name) =>
  name === OURS || !isOwn(name)
);

/** What the module is compared with: the floor is no peer. */
export const PEERS: readonly string[] = NAMES.filter((name) => name !== OURS && name !== FLOOR);

/** Whether a contender is Deno with a program of this repository. */
function isOwn(name: string): boolean {
  return isGateway(name) || name === FLOOR;
}

/** Whether a contender is the module itself, in whichever setting. */
function isGateway(name: string): boolean {
  return name === OURS || name === FENCED || name === OFFLOAD || name === OFFLOAD_BARE;
}

/** Whether a contender can serve a row. */
export function serves({ kind }: Contender, row: string): boolean {
  return kind.rows === undefined || kind.rows.includes(row.replace(/\d*@\d+$/, ""));
}

async function findProgram(name: string, folder: string | undefined): Promise<string | null> {
  if (isOwn(name)) return Deno.execPath();
  const find = 'for p in "$0/$1" "$1"; do command -v "$p" && exit; done';
  const { stdout } = await runProgram(["sh", "-c", find, folder ?? "/nowhere", name]);
  return stdout.trim().split("\n")[0] || null;
}

async function versionOf(name: string, kind: Kind, program: string): Promise<string> {
  if (isOwn(name)) {
    const { version } = JSON.parse(await Deno.readTextFile(CONFIG));
    return `${version}, Deno ${Deno.version.deno}`;
  }
  const { stdout, stderr } = await runProgram(kind.version(program));
  return /version\s+(\S+)|^\S+\s+(\S*\d\S*)/m.exec(stdout + stderr)?.slice(1).find(Boolean) ??
    "unknown";
}

/**
 * Looks for the gateways on this machine.
 *
 * @param wanted Their names.
 * @param folder Where executables of those names are looked for before the `PATH`.
 * @returns Those that are here, and the names of the others.
 */
export async function findContenders(
  wanted: readonly string[],
  folder: string | undefined,
): Promise<{ here: Contender[]; absent: string[] }> {
  const here: Contender[] = [], absent: string[] = [];
  for (const name of wanted) {
    const kind = KINDS[name]!, program = await findProgram(name, folder);
    if (program === null) absent.push(name);
    else here.push({ name, kind, program, version: await versionOf(name, kind, program) });
  }
  return { here, absent };
}

/** A gateway that runs, with a guest joined to it. */
export class Attached {
  /** The gateway's process. */
  readonly gateway: BackgroundProgram;
  /** The guest's namespace. */
  readonly guest: Space;
  /** The addresses that the guest sees. */
  readonly network: Network;
  readonly #place: Place;
  readonly #bridge: BackgroundProgram | null;
  readonly #streams: string;

  private constructor(
    place: Place,
    gateway: BackgroundProgram,
    guest: Space,
    bridge: BackgroundProgram | null,
    { network, streams }: Kind,
  ) {
    this.#place = place;
    this.gateway = gateway;
    this.guest = guest;
    this.#bridge = bridge;
    this.network = network;
    this.#streams = streams ?? "traffic";
  }

  /** Starts streams of a role in the guest, to a port of the host, and waits until it is ready. */
  streams(...words: (string | number)[]): Promise<BackgroundProgram> {
    const at = words.length - 1; // HOST stands before PORT
    const all = [...words.slice(0, at), this.network.host, words[at]!];
    return this.#place.inGuest(this.guest, all, this.#streams);
  }

  /** Starts a gateway, makes a guest, joins the two and publishes the guest's ports. */
  static async begin(
    place: Place,
    { name, kind, program }: Contender,
    mtu: number,
  ): Promise<Attached> {
    const { network, makesDevice } = kind;
    const address = { address: network.guest, router: network.router };
    const guest = await place.guest({ mtu, ...(makesDevice ? {} : address) });
    const spot = { directory: await place.folder(), mtu, guest: guest.name };
    const quiet = isGateway(name) ? ["--log-level", "error"] : [];
    await kind.prepare?.(spot);
    const gateway = await place.owner.own(
      new BackgroundProgram(place.insideHost([...kind.command(program, spot), ...quiet])),
    );
    try {
      await until("the gateway is ready", () => {
        if (gateway.ended) throw new Error(`it ended: ${gateway.tail(1)}`);
        return makesDevice ? hasText(readyFileOf(spot)) : isSocket(socketOf(spot));
      }, READY_MS);
      const bridge = makesDevice ? null : await joinSoon(place, guest, socketOf(spot), kind);
      await kind.publish?.(spot);
      return new Attached(place, gateway, guest, bridge, kind);
    } catch (error) {
      await place.owner.end(gateway);
      await place.owner.end(guest);
      throw error;
    }
  }

  /** Takes the guest away and ends the gateway. */
  async end(): Promise<void> {
    if (this.#bridge !== null) await this.#place.owner.end(this.#bridge);
    await this.gateway.end("SIGTERM", GRACE_MS);
    await this.#place.owner.end(this.gateway);
    await this.#place.owner.end(this.guest);
  }
}

async function hasText(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ size }) => size > 0, () => false);
}

async function isSocket(path: string): Promise<boolean> {
  return await Deno.lstat(path).then((info) => info.isSocket === true, () => false);
}

async function accepts(path: string): Promise<boolean> {
  const connecting = Deno.connect({ transport: "unix", path });
  return await connecting.then((connection) => (connection.close(), true), () => false);
}

/** Joins a guest to a socket that may be bound, but not be listened at. */
async function joinSoon(
  place: Place,
  guest: Space,
  socket: string,
  { bridge = [] }: Kind,
): Promise<BackgroundProgram> {
  for (let attempt = 1;; attempt++) {
    try {
      return await place.join(guest, socket, bridge);
    } catch (error) {
      if (attempt === JOIN_ATTEMPTS || place.owner.closing) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/**
 * Starts a gateway for nothing but the time that it takes: until its socket accepts, until the
 * command line prints its ready line, until slirp4netns has set up the device.
 *
 * @returns Milliseconds.
 */
export async function startUpMs(place: Place, contender: Contender): Promise<number> {
  const { name, kind, program } = contender;
  const mtu = 1_500;
  const guest = await place.guest({ mtu });
  const spot = { directory: await place.folder(), mtu, guest: guest.name };
  await kind.prepare?.(spot);
  const startMs = performance.now();
  const gateway = await place.owner.own(
    new BackgroundProgram(place.insideHost(kind.command(program, spot))),
  );
  try {
    if (isGateway(name)) {
      await gateway.line(/\bready\b/, 0, READY_MS);
    } else {
      const isReady = () => kind.makesDevice ? hasText(readyFileOf(spot)) : accepts(socketOf(spot));
      while (!(await isReady())) {
        if (gateway.ended) throw new Error(`it ended: ${gateway.tail(1)}`);
        if (performance.now() - startMs > READY_MS) throw new Error("it is not ready");
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    return performance.now() - startMs;
  } finally {
    await gateway.end("SIGTERM", GRACE_MS);
    await place.owner.end(gateway);
    await place.owner.end(guest);
  }
}
