/** What the log hears of flows that Deno's own permissions do not allow. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { LogFields } from "../../lib/config/logger.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { connectSilently } from "../../lib/host/dialer.ts";
import { DatagramSockets } from "../../lib/host/datagram_socket.ts";
import { type HostSystem, hostSystem } from "../../lib/host/host_system.ts";
import { withNetWarning } from "../../lib/host/net_permission.ts";
import { QUIET_MS } from "../../lib/host/quiet_warning.ts";

const LISTENER = { received() {}, stray() {}, failed() {}, ended() {} };
const NOT_CAPABLE = new Deno.errors.NotCapable("no net permission");

/** A machine whose sockets fail in one way, and what the log hears of it. */
class Machine {
  nowMs = 0;
  readonly said: [string, LogFields][] = [];
  readonly #system: HostSystem;

  constructor(error: Error, isAnyAllowed = false) {
    const fake: HostSystem = {
      ...hostSystem,
      now: () => this.nowMs,
      connect: () => Promise.reject(error),
      datagramSockets: () => ({
        open: () => {
          throw error;
        },
        settled: () => Promise.resolve(),
      }),
    };
    const warn = (message: string, fields: LogFields = {}) => this.said.push([message, fields]);
    this.#system = withNetWarning(fake, { ...silentLogger, warn }, () => isAnyAllowed);
  }

  connect(hostname: string, port: number): Promise<unknown> {
    const { signal } = new AbortController();
    return this.#system.connect({ hostname, port, transport: "tcp", signal });
  }

  open(address: string, port: number): void {
    this.#system.datagramSockets({ sockets: 1 }).open(address, port, LISTENER);
  }
}

const TEXT = "a guest's destination is refused by Deno, not by the policy";

Deno.test("net permission: a TCP flow that --allow-net leaves out is named with its flag", async () => {
  const machine = new Machine(NOT_CAPABLE);
  await assertRejects(() => machine.connect("2001:db8::1", 443), Deno.errors.NotCapable);
  const fields = {
    destination: "[2001:db8::1]:443/tcp",
    allow: "--allow-net=[2001:db8::1]:443",
  };
  assertEquals(machine.said, [[TEXT, fields]]);
});

Deno.test("net permission: a UDP flow needs the address of its own socket too", () => {
  const machine = new Machine(NOT_CAPABLE);
  assertThrows(() => machine.open("192.0.2.1", 53), Deno.errors.NotCapable);
  const fields = {
    destination: "192.0.2.1:53/udp",
    allow: "--allow-net=0.0.0.0:0,192.0.2.1:53",
  };
  assertEquals(machine.said, [[TEXT, fields]]);
});

Deno.test("net permission: where all but some are allowed, no flag that allows is named", () => {
  const machine = new Machine(NOT_CAPABLE, true);
  assertThrows(() => machine.open("192.0.2.1", 53), Deno.errors.NotCapable);
  assertEquals(machine.said, [[TEXT, { destination: "192.0.2.1:53/udp", deniedBy: "--deny-net" }]]);
});

Deno.test("net permission: a destination is named once a minute, with how often it was", async () => {
  const machine = new Machine(NOT_CAPABLE);
  for (let i = 0; i < 100; i++) {
    await assertRejects(() => machine.connect("192.0.2.1", 443));
    await assertRejects(() => machine.connect("192.0.2.2", 443));
  }
  assertEquals(machine.said.map(([, { destination }]) => destination), [
    "192.0.2.1:443/tcp",
    "192.0.2.2:443/tcp",
  ]);
  machine.nowMs += QUIET_MS;
  await assertRejects(() => machine.connect("192.0.2.1", 443));
  assertEquals(machine.said.map(([, { unsaid }]) => unsaid), [undefined, undefined, 99]);
});

Deno.test("net permission: of ten thousand destinations only the latest are remembered", async () => {
  const machine = new Machine(NOT_CAPABLE);
  for (let port = 1; port <= 10_000; port++) {
    await assertRejects(() => machine.connect("192.0.2.1", port));
  }
  assertEquals(machine.said.length, 10_000); // the log bounds its lines itself
  await assertRejects(() => machine.connect("192.0.2.1", 10_000));
  assertEquals(machine.said.length, 10_000);
  await assertRejects(() => machine.connect("192.0.2.1", 1));
  assertEquals(machine.said.length, 10_001);
});

Deno.test("net permission: what the system refuses is nobody's flag", async () => {
  for (const error of [new Deno.errors.PermissionDenied("EACCES"), new Error("EMFILE")]) {
    const machine = new Machine(error);
    await assertRejects(() => machine.connect("192.0.2.1", 443));
    assertThrows(() => machine.open("192.0.2.1", 53));
    assertEquals(machine.said, []);
  }
});

Deno.test({
  name: "net permission: a UDP flow that has its own address alone fails likewise",
  permissions: { net: ["0.0.0.0:0"], read: true },
  fn: () => {
    const sockets = new DatagramSockets({ sockets: 1, backend: "node" });
    assertThrows(() => sockets.open("192.0.2.1", 9, LISTENER), Deno.errors.NotCapable, "192.0.2.1");
  },
});

Deno.test({
  name: "net permission: connects and datagrams fail in the way that is looked for",
  permissions: { net: ["127.0.0.1"], read: true },
  fn: async () => {
    const { signal } = new AbortController();
    const options = { hostname: "192.0.2.1", port: 9, transport: "tcp", signal } as const;
    await assertRejects(() => connectSilently(options), Deno.errors.NotCapable);
    const sockets = new DatagramSockets({ sockets: 1, backend: "node" });
    assertThrows(() => sockets.open("192.0.2.1", 9, LISTENER), Deno.errors.NotCapable);
  },
});
