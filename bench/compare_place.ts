/**
 * Where gateways are compared: a namespace that stands for the host, with the servers and the
 * gateway, and one for each guest. Nothing leaves them, and the machine's own network, its ports
 * and its resolver stay as they are.
 *
 * Programs in the host's namespace see a resolver on its loopback as their `/etc/resolv.conf`: it
 * is bound over the file in the mount namespace that `ip netns exec` makes, so every gateway can
 * be measured with the same upstream.
 *
 * @module
 */
import { BackgroundProgram, mustRun, runProgram } from "../tests/guest/program.ts";
import type { Owner } from "./link_wire.ts";

const TRAFFIC_SOURCE = new URL("./support/traffic.c", import.meta.url).pathname;
const FLOOR_SOURCE = new URL("./support/floor_guest.c", import.meta.url).pathname;
const BRIDGE_SOURCE = new URL("../tests/guest/tap_bridge.c", import.meta.url).pathname;
const GUEST_MAC = "02:53:4d:00:00:02";
const ANSWER_MS = 15_000;
const RATE_PER_SECOND = 200_000;
const DATAGRAM_BYTES = 1_200;

/** The ports of `traffic`, in the host's namespace as in the guest's. */
export const PORTS = Object.freeze({
  echo: 9_001,
  source: 9_002,
  sink: 9_003,
  udpSink: 9_004,
  udpSource: 9_005,
});

/** Ports of the host that lead to the guest's ports of the same name. */
export const PUBLISHED = Object.freeze({ echo: 8_001, source: 8_002, sink: 8_003 });

/** What a process of `traffic` has counted since it was told to begin. */
export interface Counts {
  seconds: number;
  bytes: number;
  count: number;
  failed: number;
  p50Us: number;
  p99Us: number;
}

// A short connection keeps its port for a minute, and a round opens tens of thousands.
const PORTS_SCRIPT = `echo 16384 65000 >/proc/sys/net/ipv4/ip_local_port_range
echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse`;

/** How a guest's kernel is set up. */
export interface GuestPlan {
  /** Its address with the prefix length; without it the gateway sets up the device. */
  address?: string;
  /** The default route. */
  router?: string;
  /** The device's MAC; the default guest's when absent. */
  mac?: string;
  mtu: number;
}

/** One end of the comparison: a network namespace that goes with the bench. */
export class Space implements AsyncDisposable {
  /** The namespace's name. */
  readonly name = `vgcompare-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;

  /** Makes the namespace, with commands of its own. */
  static async make(script: (name: string) => string[]): Promise<Space> {
    const space = new Space();
    const { name } = space;
    const lines = ["set -e", `ip netns add ${name}`, `ip -n ${name} link set lo up`];
    try {
      await mustRun(["sh", "-c", [...lines, ...script(name)].join("\n")]);
      await mustRun(["ip", "netns", "exec", name, "sh", "-c", PORTS_SCRIPT]);
    } catch (error) {
      await space[Symbol.asyncDispose]();
      throw error;
    }
    return space;
  }

  /** Removes the namespace. */
  async [Symbol.asyncDispose](): Promise<void> {
    await runProgram(["ip", "netns", "del", this.name]);
  }
}

function guestScript(
  name: string,
  { address, router, mtu, mac = GUEST_MAC }: GuestPlan,
): string[] {
  const base = [
    // Most guests' default, whatever the host's is; some kernels don't let a namespace choose it.
    `ip netns exec ${name} sh -c 'echo cubic >/proc/sys/net/ipv4/tcp_congestion_control' ` +
    `2>/dev/null || true`,
    `ip netns exec ${name} sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'`,
  ];
  if (address === undefined) return base;
  return [
    ...base,
    `ip -n ${name} tuntap add tap0 mode tap`,
    `ip -n ${name} link set tap0 address ${mac} mtu ${mtu} txqueuelen 10000 up`,
    `ip -n ${name} addr add ${address} dev tap0`,
    `ip -n ${name} route add default via ${router}`,
  ];
}

/** The host's side, with its servers, and the programs that make traffic. */
export class Place {
  /** What the bench has started. */
  readonly owner: Owner;
  /** The servers of the host's side, by the name of their port. */
  readonly servers = new Map<string, BackgroundProgram>();
  readonly #host: Space;
  readonly #descriptors: string;

  private constructor(owner: Owner, host: Space, descriptors: string) {
    this.owner = owner;
    this.#host = host;
    this.#descriptors = descriptors;
  }

  /** Compiles the programs, makes the host's namespace and starts its servers. */
  static async open(owner: Owner): Promise<Place> {
    const directory = owner.directory;
    await Deno.chmod(directory, 0o755); // a gateway may give its rights away before it comes here
    for (const source of [TRAFFIC_SOURCE, FLOOR_SOURCE, BRIDGE_SOURCE]) {
      const program = `${directory}/${source.slice(source.lastIndexOf("/") + 1, -2)}`;
      // deno-fmt-ignore
      await mustRun(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", program,
        source]);
    }
    await Deno.writeTextFile(`${directory}/resolv.conf`, "nameserver 127.0.0.1\n");
    const host = await owner.own(Space.make(() => []));
    const place = new Place(owner, host, await mustRun(["sh", "-c", "ulimit -Hn"]));
    for (const [name, port] of Object.entries({ ...PORTS, dns: 53 })) {
      const words = name === "udpSource" ? [RATE_PER_SECOND, DATAGRAM_BYTES, port] : [port];
      place.servers.set(name, await place.onHost(role(name), ...words));
    }
    return place;
  }

  /** A folder that a gateway may write to, whichever user it becomes. */
  async folder(): Promise<string> {
    const path = await Deno.makeTempDir({ dir: this.owner.directory });
    await Deno.chmod(path, 0o777);
    return path;
  }

  /** The words that start a program in a namespace, with as many descriptors as there may be. */
  inside(space: Space, words: readonly string[]): string[] {
    const script = 'ulimit -n "$0"; mount --bind "$1" /etc/resolv.conf; shift; exec "$@"';
    const resolver = `${this.owner.directory}/resolv.conf`;
    // deno-fmt-ignore
    return ["ip", "netns", "exec", space.name, "sh", "-c", script, this.#descriptors, resolver,
      ...words];
  }

  /** The words that start a program on the host's side. */
  insideHost(words: readonly string[]): string[] {
    return this.inside(this.#host, words);
  }

  /** Makes a guest that nothing is joined to. */
  guest(plan: GuestPlan): Promise<Space> {
    return this.owner.own(Space.make((name) => guestScript(name, plan)));
  }

  /**
   * Bridges a guest's device onto a gateway's unix socket, or onto one of its own that another bridge
   * connects to; `more` words go to the bridge.
   */
  async join(
    guest: Space,
    socket: string,
    more: readonly string[] = [],
    role: "connect" | "listen" = "connect",
  ): Promise<BackgroundProgram> {
    const program = `${this.owner.directory}/tap_bridge`;
    const words = [program, guest.name, "tap0", role, `unix:${socket}`, ...more];
    return await this.#start(words, /^joined/);
  }

  /** Starts a role of `traffic`, or of another program, in a guest and waits until it is ready. */
  inGuest(
    guest: Space,
    words: readonly (string | number)[],
    program = "traffic",
  ): Promise<BackgroundProgram> {
    return this.#traffic(guest, words, program);
  }

  /** Starts a role of `traffic` on the host's side and waits until it is ready. */
  onHost(...words: (string | number)[]): Promise<BackgroundProgram> {
    return this.#traffic(this.#host, words, "traffic");
  }

  #traffic(
    space: Space,
    words: readonly (string | number)[],
    program: string,
  ): Promise<BackgroundProgram> {
    const all = [`${this.owner.directory}/${program}`, ...words.map(String)];
    return this.#start(this.inside(space, all), /^ready$/);
  }

  async #start(words: string[], ready: RegExp): Promise<BackgroundProgram> {
    const program = await this.owner.own(new BackgroundProgram(words));
    try {
      await program.line(ready, 0, ANSWER_MS);
      return program;
    } catch {
      await this.owner.end(program);
      throw new Error(program.lines.at(-1) ?? `${words.at(-1)} is not ready`);
    }
  }
}

/** The role of `traffic` behind a port's name: `udpSink` is `udp-sink`. */
export function role(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The words of a guest that sends datagrams. */
export const UDP_PUSH: readonly (string | number)[] = ["udp-push", RATE_PER_SECOND, DATAGRAM_BYTES];

/** Sets what a process has counted to zero. */
export async function begin(program: BackgroundProgram): Promise<void> {
  await program.send("begin\n");
}

/** Asks a process what it has counted. */
export async function counts(program: BackgroundProgram): Promise<Counts> {
  const from = program.lines.length;
  await program.send("count\n");
  const line = await program.line(/^\{|^traffic:/, from, ANSWER_MS).catch(() => program.tail(1));
  if (!line.startsWith("{")) throw new Error(line);
  return JSON.parse(line);
}
