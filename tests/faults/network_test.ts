/**
 * The host's own network fails: no port is left towards a destination (EADDRNOTAVAIL), its
 * interface goes down and comes back, a neighbour does not answer. The gateway runs in a network
 * namespace of its own, with one other host at the far end of a cable.
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import type { GuestError } from "../../lib/guest/guest_error.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import { guestTest } from "../guest/prerequisites.ts";
import { BackgroundProgram, mustRun, until } from "../guest/program.ts";
import { assertEchoes, FaultGateway, PATIENCE_MS } from "./fault_gateway.ts";

const GUEST_PROGRAM = new URL("../guest/guest_program.ts", import.meta.url).pathname;
const HOST = "10.9.0.1";
const PEER = "10.9.0.2";
const NOBODY = "10.9.0.3";
const PORT = 7000;
const PORTS = 10;

/** Two namespaces with a cable between them, and an echo server in the far one. */
class Cable implements AsyncDisposable {
  readonly near: string;
  readonly #far: string;
  #server: BackgroundProgram | null = null;

  private constructor(name: string) {
    this.near = `${name}-near`;
    this.#far = `${name}-far`;
  }

  static async lay(): Promise<Cable> {
    const cable = new Cable(`vgfault-${crypto.randomUUID().slice(0, 6)}`);
    const { near } = cable;
    const far = cable.#far;
    const lines = [
      "set -e",
      `ip netns add ${near}`,
      `ip netns add ${far}`,
      `ip -n ${near} link add cable type veth peer name cable netns ${far}`,
    ];
    for (const [name, address] of [[near, HOST], [far, PEER]]) {
      lines.push(
        `ip -n ${name} link set lo up`,
        `ip -n ${name} addr add ${address}/24 dev cable`,
        `ip -n ${name} link set cable up`,
      );
    }
    try {
      await mustRun(["sh", "-c", lines.join("\n")]);
      // deno-fmt-ignore
      cable.#server = new BackgroundProgram(["ip", "netns", "exec", far, Deno.execPath(), "run",
        "--no-prompt", "--no-config", "--allow-net", GUEST_PROGRAM, "echo-server", String(PORT)]);
      await cable.#server.line(/^listening$/, 0, PATIENCE_MS);
    } catch (error) {
      await cable[Symbol.asyncDispose]();
      throw error;
    }
    return cable;
  }

  /** Runs a program at the gateway's end. */
  must(...words: string[]): Promise<string> {
    return mustRun(["ip", "netns", "exec", this.near, ...words]);
  }

  /** Starts a gateway at the near end. */
  gateway(): Promise<FaultGateway> {
    return FaultGateway.start({
      wrapper: ["ip", "netns", "exec", this.near],
      args: ["--dns", PEER],
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    await mustRun(["sh", "-c", `ip netns del ${this.near}; ip netns del ${this.#far}`]);
  }
}

/** How an attempt ends: `open`, or the guest's word for why not. */
async function attempt(guest: EmbeddedGuest, address: string): Promise<string> {
  try {
    (await guest.connect(address, PORT)).close();
    return "open";
  } catch (error) {
    return (error as GuestError).code;
  }
}

/** A flow, as soon as there can be one. */
async function connected(guest: EmbeddedGuest): Promise<GuestTcp> {
  let flow: GuestTcp | null = null;
  await until("a flow is open", async () => {
    flow = await guest.connect(PEER, PORT).catch(() => null);
    return flow !== null;
  }, PATIENCE_MS);
  return flow!;
}

guestTest(
  "hostile 59: no port is left towards a destination: RST, and flows again when some end",
  async () => {
    await using cable = await Cable.lay();
    // A port in TIME_WAIT is used again after a second.
    const settings = `echo 40001 ${40_000 + PORTS} >/proc/sys/net/ipv4/ip_local_port_range &&
    echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse`;
    await cable.must("sh", "-c", settings);
    await using gateway = await cable.gateway();
    await using guest = await gateway.guest();
    const flows: GuestTcp[] = [];
    let refused = 0;
    for (let i = 0; i < 3 * PORTS; i++) {
      try {
        flows.push(await guest.connect(PEER, PORT));
      } catch (error) {
        assertEquals((error as GuestError).code, "refused");
        refused++;
      }
    }
    assertEquals([flows.length, refused], [PORTS, 2 * PORTS]);
    for (const flow of flows) await assertEchoes(flow, 1000);
    for (const flow of flows.splice(0, PORTS / 2)) flow.close();
    flows.push(await connected(guest));
    for (const flow of flows) await assertEchoes(flow, 1000);
    await guest.close();
    const counters = await gateway.countersOfLast();
    assert(counters["drop.tcp.flows"]! >= refused);
    assertLess(gateway.log.length, 15, gateway.process.tail());
    await gateway.stop();
  },
);

guestTest("the host's interface goes down and comes back, a neighbour is silent", async () => {
  await using cable = await Cable.lay();
  await using gateway = await cable.gateway();
  await using guest = await gateway.guest();
  const flow = await connected(guest);
  await assertEchoes(flow);
  const socket = guest.udp();
  assertEquals(await attempt(guest, NOBODY), "unreachable", "ARP finds nobody: 3/1");

  await cable.must("ip", "link", "set", "cable", "down");
  assertEquals(await attempt(guest, PEER), "unreachable", "no route: 3/0");
  socket.send(PEER, PORT, Uint8Array.of(1));
  const failure = await socket.receive().then(() => "answered", (error: GuestError) => error.code);
  assertEquals(failure, "unreachable");
  const { code } = await guest.resolve("a.test", "A", { timeoutMs: PATIENCE_MS });
  assertEquals(code, "SERVFAIL");
  await guest.ping("100.96.0.1", 56, PATIENCE_MS);
  const sent = new Uint8Array(5000).fill(7);
  await flow.write(sent); // on its way while there is none

  await cable.must("ip", "link", "set", "cable", "up");
  const back = new Uint8Array(sent.length);
  for (let at = 0; at < back.length;) at += (await flow.read(back.subarray(at)))!;
  assertEquals(back, sent, "an open flow has only waited");
  await assertEchoes(await connected(guest));
  await guest.close();
  await gateway.countersOfLast();
  assertEquals(gateway.said(/^guest left$/)[0]!.flows, 0);
  assertLess(gateway.log.length, 15, gateway.process.tail());
  await gateway.stop();
});
