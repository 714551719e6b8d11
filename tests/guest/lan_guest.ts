/**
 * A kernel guest of a shared network: a namespace of its own with the addresses of a member, bridged
 * onto that member's endpoint.
 *
 * @module
 */
import type { LanMember } from "../../lib/config/lan_member.ts";
import { compiledBridge, GUEST_PROGRAM, SETUP_MS } from "./harness.ts";
import { BackgroundProgram, mustRun, type Outcome, runProgram } from "./program.ts";

/** What the gateway is for all members. */
export const LAN = Object.freeze({ gateway4: "10.77.0.1", gateway6: "fd53:4d01::1" });

/** How a guest is set up. */
export interface LanGuestSpec {
  /** Who it is. */
  readonly member: LanMember;
  /** Where its VMM joins, such as `unix:/path`. */
  readonly endpoint: string;
  /** Whether it takes its address by DHCP, and by router advertisements; static otherwise. */
  readonly isAutomatic?: boolean;
  /** How its kernel offloads to its device. */
  readonly offload?: "vnet" | "strip";
}

function script(name: string, { member, isAutomatic = false }: LanGuestSpec): string {
  const lines = [
    "set -e",
    `ip netns add ${name}`,
    `ip -n ${name} link set lo up`,
    `ip netns exec ${name} sh -c 'echo ${
      isAutomatic ? 1 : 0
    } >/proc/sys/net/ipv6/conf/default/accept_ra'`,
    `ip -n ${name} tuntap add tap0 mode tap`,
    `ip -n ${name} link set tap0 address ${member.mac} mtu 1500 txqueuelen 10000 up`,
  ];
  if (!isAutomatic) {
    lines.push(
      `ip -n ${name} addr add ${member.ip4}/24 dev tap0`,
      `ip -n ${name} route add default via ${LAN.gateway4}`,
      `ip -n ${name} addr add ${member.ip6}/64 dev tap0 nodad`,
      `ip -n ${name} route add default via ${LAN.gateway6} dev tap0`,
    );
  }
  return lines.join("\n");
}

const LEASE = `#!/bin/sh
[ "$1" = bound ] || exit 0
set -e
ip addr add "$ip/$mask" dev "$interface"
for r in $router; do ip route add default via "$r" dev "$interface"; done
`;

/** One kernel in the network. */
export class LanGuest implements AsyncDisposable {
  /** Who it is. */
  readonly member: LanMember;
  readonly #namespace: string;
  readonly #bridge: BackgroundProgram;
  readonly #started: BackgroundProgram[] = [];

  private constructor(member: LanMember, namespace: string, bridge: BackgroundProgram) {
    this.member = member;
    this.#namespace = namespace;
    this.#bridge = bridge;
  }

  /** Makes the namespace and joins it. */
  static async join(spec: LanGuestSpec): Promise<LanGuest> {
    const namespace = `vgtest-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;
    const program = await compiledBridge();
    try {
      await mustRun(["sh", "-c", script(namespace, spec)], SETUP_MS);
      const words = [program, namespace, "tap0", "connect", spec.endpoint];
      if (spec.offload !== undefined) words.push(spec.offload);
      const bridge = new BackgroundProgram(words);
      const guest = new LanGuest(spec.member, namespace, bridge);
      try {
        await bridge.line(/^joined$/);
        if (spec.isAutomatic) await guest.#configure();
      } catch (error) {
        await bridge.end("SIGKILL");
        throw error;
      }
      return guest;
    } catch (error) {
      await runProgram(["ip", "netns", "del", namespace]);
      throw error;
    }
  }

  async #configure(): Promise<void> {
    const file = await Deno.makeTempFile({ prefix: "vglease-" });
    await Deno.writeTextFile(file, LEASE);
    await Deno.chmod(file, 0o755);
    // deno-fmt-ignore
    await this.must("busybox", "udhcpc", "-i", "tap0", "-f", "-n", "-q", "-t", "30", "-T", "1", "-s", file);
    await Deno.remove(file);
    const wait = `for i in $(seq 300); do
      ip -6 -o addr show dev tap0 scope global -tentative | grep -q inet6 && exit 0; sleep 0.1
    done; ip -6 addr show dev tap0; exit 1`;
    await this.must("sh", "-c", wait);
  }

  #inside(words: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.#namespace, ...words];
  }

  /** Runs a program to its end, whatever the exit code. */
  run(...words: string[]): Promise<Outcome> {
    return runProgram(this.#inside(words), 120_000);
  }

  /** Runs a program that has to succeed: what it said. */
  must(...words: string[]): Promise<string> {
    return mustRun(this.#inside(words), 120_000);
  }

  #programWords(words: readonly string[]): string[] {
    // deno-fmt-ignore
    return this.#inside([Deno.execPath(), "run", "--no-prompt", "--no-config", "--allow-net",
      GUEST_PROGRAM, ...words]);
  }

  /** Runs a command of `guest_program.ts`: the JSON that it printed. */
  async program<T>(...words: string[]): Promise<T> {
    return JSON.parse(await mustRun(this.#programWords(words), 300_000)) as T;
  }

  /** Starts a command of `guest_program.ts`; it ends with the guest. */
  launch(...words: string[]): BackgroundProgram {
    const program = new BackgroundProgram(this.#programWords(words));
    this.#started.push(program);
    return program;
  }

  /** Starts any program; it ends with the guest. */
  background(...words: string[]): BackgroundProgram {
    const program = new BackgroundProgram(this.#inside(words));
    this.#started.push(program);
    return program;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#bridge.end("SIGTERM");
    for (const program of this.#started) await program.end("SIGKILL");
    await mustRun(["ip", "netns", "del", this.#namespace]);
  }
}
