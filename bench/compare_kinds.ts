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
import { mustRun } from "../tests/guest/program.ts";
import { PORTS, PUBLISHED } from "./compare_place.ts";
import { FLOOR_MAC } from "./support/floor_guest_wire.ts";

const CLI = new URL("../cli.ts", import.meta.url).pathname;
const FLOOR_PROGRAM = new URL("./floor_guest.ts", import.meta.url).pathname;
const FLOOR_TCP_PROGRAM = new URL("./floor_tcp.ts", import.meta.url).pathname;

/** The name of the module's own column. */
export const OURS = "virtio-gateway";
/** The floor in the gateway's place: it speaks to a program of its own in the guest, in few rows. */
export const FLOOR = "floor";
/** As that, where the guest is everyone's: its kernel's TCP and `traffic`. */
export const FLOOR_TCP = "floor-tcp";
/** The floors in the gateway's place, which are no peers. */
export const FLOORS: readonly string[] = [FLOOR, FLOOR_TCP];
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
export interface Network {
  /** The guest's, with the prefix length. */
  guest: string;
  router: string;
  /** The one that leads to the host's loopback. */
  host: string;
  /** The one that questions go to. */
  dns: string;
}

/** What one start of a gateway has of its own. */
export interface Spot {
  /** Where its files go. */
  directory: string;
  mtu: number;
  /** The guest's namespace. */
  guest: string;
}

/** How a gateway is started and met. */
export interface Kind {
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

/** Where the VMM's socket of a gateway is. */
export const socketOf = (spot: Spot) => `${spot.directory}/gateway.sock`;
const apiOf = (spot: Spot) => `${spot.directory}/api.sock`;
/** What has text once a gateway that makes its device is ready. */
export const readyFileOf = (spot: Spot) => `${spot.directory}/ready`;

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

/** The floors answer no ARP. */
async function nameNeighbour({ guest }: Spot): Promise<void> {
  const words = ["neigh", "replace", POINT_TO_POINT.router, "lladdr", FLOOR_MAC, "dev", "tap0"];
  await mustRun(["ip", "-n", guest, ...words]);
}

const floorWords = (deno: string, spot: Spot, program: string) => [
  ...[deno, "run", "--no-prompt", "--unstable-net", "--allow-net", "--allow-read"],
  ...[`--allow-write=${spot.directory}`, program, "--listen", socketOf(spot)],
  ...["--mtu", String(spot.mtu)],
];

const FLOOR_KIND: Kind = {
  network: POINT_TO_POINT,
  version: () => ["true"],
  rows: ["up", "down", "rr", "crr", "rrbulk", "udpup", "udpdown"],
  streams: "floor_guest",
  command: (deno, spot) => [
    ...floorWords(deno, spot, FLOOR_PROGRAM),
    ...["--echo", String(PORTS.echo)],
    ...["--source", String(PORTS.source), "--sink", String(PORTS.sink)],
  ],
  publish: nameNeighbour,
};

const FLOOR_TCP_KIND: Kind = {
  network: POINT_TO_POINT,
  version: () => ["true"],
  rows: ["up", "down", "rr", "crr", "rrbulk"],
  command: (deno, spot) => floorWords(deno, spot, FLOOR_TCP_PROGRAM),
  publish: nameNeighbour,
};

/** All of them by name, the module's own first. */
export const KINDS: Readonly<Record<string, Kind>> = {
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
  [FLOOR_TCP]: FLOOR_TCP_KIND,
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

/** What the module is compared with. */
export const PEERS: readonly string[] = NAMES.filter((name) =>
  name !== OURS && !FLOORS.includes(name)
);

/** Whether a contender is Deno with a program of this repository. */
export function isOwn(name: string): boolean {
  return isGateway(name) || FLOORS.includes(name);
}

/** Whether a contender is the module itself, in whichever setting. */
export function isGateway(name: string): boolean {
  return name === OURS || name === FENCED || name === OFFLOAD || name === OFFLOAD_BARE;
}
