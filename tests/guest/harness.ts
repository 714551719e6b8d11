/**
 * A real Linux kernel as the gateway's guest: a network namespace whose tap device is bridged onto
 * the frame stream of the shipped command line.
 *
 * The namespace has its own addresses, routes, neighbours and TCP, so what the gateway meets here
 * is what a VM's kernel would do. Each namespace has a name of its own, and only those made here
 * are removed.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type FaultSpec, type FaultyListener, listenFaulty } from "../support/faulty_link.ts";
import { GatewayProcess, type GatewaySpec } from "./gateway_process.ts";
import { BackgroundProgram, mustRun, type Outcome, runProgram } from "./program.ts";

export type { GatewaySpec } from "./gateway_process.ts";

/** A compiler, or a dozen programs, on a machine that has little time for them. */
export const SETUP_MS = 120_000;
const BRIDGE_SOURCE = new URL("./tap_bridge.c", import.meta.url).pathname;
/** What runs inside a guest where no ordinary program does. */
export const GUEST_PROGRAM: string = new URL("./guest_program.ts", import.meta.url).pathname;

/** The defaults of the gateway's network, as the guest sees them. */
export const NETWORK = Object.freeze({
  guestIp: "100.96.0.2",
  gatewayIp: "100.96.0.1",
  guestIp6: "fd53:4d00::2",
  gatewayIp6: "fd53:4d00::1",
  guestMac: "02:53:4d:00:00:02",
  gatewayMac: "02:53:4d:00:00:01",
});

/** A guest's kernel set-up. */
export interface GuestSpec {
  /** MTU of the tap device. Default 1500; with DHCP and RA the gateway says. */
  mtu?: number;
  /** Where the addresses come from; `none` leaves the device without. Default `static`. */
  address?: "static" | "dhcp" | "ra" | "none";
  /**
   * The kernel offloads to its device, and takes as much from it: with the header of virtio-net in
   * the stream (`vnet`), or with the bridge losing it (`strip`).
   */
  offload?: "vnet" | "strip";
  /** Where the bridge goes instead of the gateway's own endpoint. */
  through?: GatewayProcess["endpoint"];
  /** A bad link between this guest and the gateway. */
  link?: FaultSpec;
}

let bridgeProgram: Promise<string> | null = null;

/** Compiles the bridge once; its folder goes when the test file has run. */
export function compiledBridge(): Promise<string> {
  bridgeProgram ??= (async () => {
    const directory = await Deno.makeTempDir({ prefix: "vgbridge-" });
    addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
    const program = `${directory}/tap_bridge`;
    await mustRun(
      ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, BRIDGE_SOURCE],
      SETUP_MS,
    );
    return program;
  })();
  return bridgeProgram;
}

/** The commands that make the namespace; the gateway is not joined yet. */
function namespaceScript(name: string, spec: GuestSpec): string {
  const { guestMac, guestIp, guestIp6, gatewayMac, gatewayIp, gatewayIp6 } = NETWORK;
  const inside = `ip netns exec ${name}`;
  const acceptRa = spec.address === "ra" ? 1 : 0;
  const lines = [
    "set -e",
    `ip netns add ${name}`,
    `ip -n ${name} link set lo up`,
    `${inside} sh -c 'echo ${acceptRa} >/proc/sys/net/ipv6/conf/default/accept_ra'`,
    // Most guests' default, whatever the host's is; some kernels don't let a namespace choose it.
    `${inside} sh -c 'echo cubic >/proc/sys/net/ipv4/tcp_congestion_control' 2>/dev/null || true`,
    `ip -n ${name} tuntap add tap0 mode tap`,
    `ip -n ${name} link set tap0 address ${guestMac} mtu ${spec.mtu ?? 1500} txqueuelen 10000 up`,
  ];
  if (spec.address === undefined || spec.address === "static") {
    lines.push(
      `ip -n ${name} addr add ${guestIp}/30 dev tap0`,
      `ip -n ${name} route add default via ${gatewayIp}`,
      `ip -n ${name} addr add ${guestIp6}/64 dev tap0 nodad`,
      `ip -n ${name} route add default via ${gatewayIp6} dev tap0`,
    );
  }
  // ARP has no checksum: a turned bit in a reply would cut the guest off for half a minute.
  if (spec.link !== undefined) {
    lines.push(`ip -n ${name} neigh replace ${gatewayIp} lladdr ${gatewayMac} dev tap0`);
  }
  return lines.join("\n");
}

/** What udhcpc runs: keeps the lease and sets the device up as a distribution's script would. */
function leaseScript(leaseFile: string): string {
  return `#!/bin/sh
[ "$1" = bound ] || exit 0
set -e
env >${leaseFile}
ip link set "$interface" mtu "\${mtu:-1500}"
ip addr add "$ip/$mask" dev "$interface"
for r in $router; do ip route add default via "$r" dev "$interface"; done
`;
}

/** A kernel guest joined to a gateway. */
export class Guest implements AsyncDisposable {
  /** The namespace's name. */
  readonly namespace: string;
  /** The gateway it is joined to. */
  readonly gateway: GatewayProcess;
  /** What the DHCP server gave, by udhcpc's names; empty without DHCP. */
  lease: Record<string, string> = {};
  /** The bad link, where one was asked for. */
  readonly faults: FaultyListener | null;
  readonly #bridge: BackgroundProgram;
  readonly #started: BackgroundProgram[] = [];
  #removed = false;

  private constructor(
    namespace: string,
    gateway: GatewayProcess,
    bridge: BackgroundProgram,
    faults: FaultyListener | null,
  ) {
    this.namespace = namespace;
    this.gateway = gateway;
    this.#bridge = bridge;
    this.faults = faults;
  }

  /**
   * Makes a namespace and joins it to the gateway.
   *
   * @param gateway A running gateway.
   * @param spec The guest's set-up.
   * @returns The guest, with its addresses.
   */
  static async join(gateway: GatewayProcess, spec: GuestSpec = {}): Promise<Guest> {
    const namespace = `vgtest-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;
    const program = await compiledBridge();
    let faults: FaultyListener | null = null;
    try {
      await mustRun(["sh", "-c", namespaceScript(namespace, spec)], SETUP_MS);
      let endpoint = spec.through ?? gateway.endpoint;
      if (spec.link !== undefined) {
        endpoint = `unix:${gateway.directory}/${namespace}.sock`;
        faults = listenFaulty(endpoint, gateway.endpoint, spec.link);
      }
      const role = gateway.vmmListens ? "listen" : "connect";
      const words = [program, namespace, "tap0", role, endpoint];
      if (spec.offload !== undefined) words.push(spec.offload);
      const bridge = new BackgroundProgram(words);
      const guest = new Guest(namespace, gateway, bridge, faults);
      try {
        await bridge.line(/^joined$/);
        if (spec.address === "dhcp") await guest.#takeLease();
        if (spec.address === "ra") await guest.#awaitAutoconfiguration();
      } catch (error) {
        await bridge.end("SIGKILL");
        throw error;
      }
      return guest;
    } catch (error) {
      await faults?.[Symbol.asyncDispose]();
      await runProgram(["ip", "netns", "del", namespace]);
      throw error;
    }
  }

  async #takeLease(): Promise<void> {
    const script = `${this.gateway.directory}/${this.namespace}.sh`;
    const leaseFile = `${this.gateway.directory}/${this.namespace}.lease`;
    await Deno.writeTextFile(script, leaseScript(leaseFile), { mode: 0o755 });
    // deno-fmt-ignore
    await this.must("busybox", "udhcpc", "-i", "tap0", "-f", "-n", "-q", "-t", "30", "-T", "1",
      "-O", "mtu", "-O", "search", "-s", script);
    for (const line of (await Deno.readTextFile(leaseFile)).split("\n")) {
      const at = line.indexOf("=");
      if (at > 0) this.lease[line.slice(0, at)] = line.slice(at + 1).trim();
    }
  }

  /** Router solicitation, advertisement, duplicate detection: all the kernel's own doing. */
  async #awaitAutoconfiguration(): Promise<void> {
    const wait = `for i in $(seq 300); do
      ip -6 -o addr show dev tap0 scope global -tentative | grep -q inet6 && exit 0; sleep 0.1
    done; ip -6 addr show dev tap0; exit 1`;
    await this.must("sh", "-c", wait);
  }

  #inside(words: string[]): string[] {
    return ["ip", "netns", "exec", this.namespace, ...words];
  }

  /** Runs a program in the guest to its end, whatever the exit code. */
  run(...words: string[]): Promise<Outcome> {
    return runProgram(this.#inside(words), 120_000);
  }

  /** Runs a program in the guest that has to succeed, and returns what it said. */
  must(...words: string[]): Promise<string> {
    return mustRun(this.#inside(words), 120_000);
  }

  /** Runs a program with the given lines as the guest's `/etc/resolv.conf`. */
  async mustWithResolver(resolvConf: string, ...words: string[]): Promise<string> {
    const file = `${this.gateway.directory}/${this.namespace}.resolv`;
    await Deno.writeTextFile(file, resolvConf);
    // `ip netns exec` has given the shell a mount namespace of its own.
    const bind = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
    return await this.must("sh", "-c", bind, file, ...words);
  }

  #programWords(words: string[]): string[] {
    // deno-fmt-ignore
    return this.#inside([Deno.execPath(), "run", "--no-prompt", "--no-config", "--allow-net",
      GUEST_PROGRAM, ...words]);
  }

  /** Runs a command of `guest_program.ts` in the guest and returns the JSON that it printed. */
  async program<T>(...words: string[]): Promise<T> {
    return JSON.parse(await mustRun(this.#programWords(words), 300_000)) as T;
  }

  /** Starts a command of `guest_program.ts` in the guest; it ends with the guest. */
  launch(...words: string[]): BackgroundProgram {
    const program = new BackgroundProgram(this.#programWords(words));
    this.#started.push(program);
    return program;
  }

  /** The guest dies at once, with all that runs in it: no FIN, no RST, the stream just ends. */
  async kill(): Promise<void> {
    await this.#bridge.end("SIGKILL");
    await this[Symbol.asyncDispose]();
  }

  /** Ends what runs in the guest and removes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#removed) return;
    this.#removed = true;
    await this.#bridge.end("SIGTERM");
    await this.faults?.[Symbol.asyncDispose]();
    for (const program of this.#started) await program.end("SIGKILL");
    await mustRun(["ip", "netns", "del", this.namespace]);
  }
}

/**
 * Starts a gateway, runs the test, and checks that the gateway stops as it should. A failing test's
 * message ends with the tail of the gateway's log.
 *
 * @param spec What the gateway is started with.
 * @param fn The test.
 */
export async function withGateway(
  spec: GatewaySpec,
  fn: (gateway: GatewayProcess) => Promise<void>,
): Promise<void> {
  await using gateway = await GatewayProcess.start(spec);
  try {
    await fn(gateway);
    assertEquals(gateway.log.ended, false, "the gateway still runs");
  } catch (error) {
    if (error instanceof Error) error.message += `\n-- gateway's log --\n${gateway.log.tail()}`;
    throw error;
  }
  await gateway.stop();
}

/**
 * Starts a gateway with one guest, runs the test, and takes both down.
 *
 * @param spec The set-up of the guest and of the gateway; the MTU goes to both.
 * @param fn The test.
 */
export async function withGuest(
  spec: GuestSpec & GatewaySpec,
  fn: (guest: Guest) => Promise<void>,
): Promise<void> {
  const mtuArgs = spec.mtu === undefined ? [] : ["--mtu", String(spec.mtu)];
  const gatewayArgs = [...mtuArgs, ...(spec.gatewayArgs ?? [])];
  await withGateway({ ...spec, gatewayArgs }, async (gateway) => {
    await using guest = await Guest.join(gateway, spec);
    await fn(guest);
  });
}
