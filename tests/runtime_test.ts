/** The module as an embedding program sees it, with embedded guests as the VMM's side. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  ConfigError,
  DEFAULT_LIMITS,
  type Endpoint,
  GatewayError,
  type GatewayErrorCode,
  type GatewayLogger,
  type ServeOptions,
  serveVirtioNetwork,
  startVirtioNetwork,
  type VirtioNetworkConfig,
  type VirtioNetworkServer,
  type VmmEndpoint,
} from "../mod.ts";
import { EmbeddedGuest } from "../lib/guest/embedded_guest.ts";
import { GuestError } from "../lib/guest/guest_error.ts";
import { sharedPool } from "../lib/host/gateway_memory.ts";
import { MAX_BLOCK_BYTES } from "../lib/stack/buffer_pool.ts";
import { FrameMemory } from "../lib/wire/memory.ts";
import { tcpPair, until } from "./support/guest_rig.ts";
import { concat, GATEWAY4, pattern, u32 } from "./support/packets.ts";

const GUEST_MEMORY = [1, 2].map(() => new FrameMemory(64 * 1024 * 1024));
const TCP: Endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 };
const POOL = sharedPool(DEFAULT_LIMITS.bufferBytes);
const QUIET: ServeOptions = { dns: { upstreams: ["127.0.0.1:1"] }, hostLoopback: true };

/** A folder of its own for a test's sockets. */
class Folder implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "vgw-runtime-" });
  readonly endpoint: Endpoint & { transport: "unix" } = {
    transport: "unix",
    path: `${this.path}/vmm.sock`,
  };

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** A logger that keeps what it was told, each line with its fields. */
class KeepingLogger implements GatewayLogger {
  readonly lines: { level: string; message: string; fields: Record<string, unknown> }[] = [];
  debug = this.#keep("debug");
  info = this.#keep("info");
  warn = this.#keep("warn");
  error = this.#keep("error");

  #keep(level: string) {
    return (message: string, fields: Record<string, unknown> = {}): void => {
      this.lines.push({ level, message, fields });
    };
  }

  /** Lines that begin so. */
  said(start: string) {
    return this.lines.filter(({ message }) => message.startsWith(start));
  }
}

function connect(endpoint: VmmEndpoint): Promise<Deno.Conn> {
  switch (endpoint.transport) {
    case "unix":
      return Deno.connect({ transport: "unix", path: endpoint.path });
    case "tcp":
      return Deno.connect({ hostname: endpoint.hostname, port: endpoint.port });
    default:
      throw new Error(`nothing connects to ${endpoint.transport}`);
  }
}

/** A guest at the endpoint; it has no lease yet. */
async function attach(endpoint: VmmEndpoint, memory = 0): Promise<EmbeddedGuest> {
  return EmbeddedGuest.attach(await connect(endpoint), { memory: GUEST_MEMORY[memory]! });
}

/** Shows that the guest is served. */
async function assertServed(guest: EmbeddedGuest): Promise<void> {
  const lease = await guest.lease();
  assertEquals([lease.address, lease.router], ["100.96.0.2", GATEWAY4]);
  await guest.ping(GATEWAY4);
}

async function assertCode(code: GatewayErrorCode, what: () => Promise<unknown>): Promise<string> {
  const error = await assertRejects(what, GatewayError) as GatewayError;
  assertEquals(error.code, code);
  return error.message;
}

function serve(endpoint: VmmEndpoint, options: ServeOptions = {}): Promise<VirtioNetworkServer> {
  return serveVirtioNetwork(endpoint, { ...QUIET, ...options });
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

Deno.test("start: a connection of either kind is served until it is disposed of", async () => {
  using folder = new Folder();
  const used = POOL.usedBytes;
  const unix = Deno.listen({ transport: "unix", path: folder.endpoint.path });
  const pairs = [
    await tcpPair(),
    await Promise.all([connect(folder.endpoint), unix.accept()]),
  ];
  unix.close();
  for (const [vmm, conn] of pairs) {
    const guest = EmbeddedGuest.attach(vmm, { memory: GUEST_MEMORY[0]! });
    {
      await using network = await startVirtioNetwork(conn, QUIET);
      await assertServed(guest);
      assertEquals(network.endReason, "");
      assert(network.counters()["rx.frames"]! > 0);
    }
    assertEquals(await guest.ended, "closed by the VMM");
    assertEquals(POOL.usedBytes, used);
  }
});

Deno.test("start: it finishes when the VMM leaves", async () => {
  const [vmm, conn] = await tcpPair();
  const network = await startVirtioNetwork(conn, QUIET);
  vmm.close();
  await network.finished;
  assertEquals(network.endReason, "closed by the VMM");
  await network.close();
  await network.abort();
});

Deno.test("start: a signal ends it, also one that has fired already", async () => {
  for (const early of [true, false]) {
    const [vmm, conn] = await tcpPair();
    const controller = new AbortController();
    if (early) controller.abort();
    const network = await startVirtioNetwork(conn, { ...QUIET, signal: controller.signal });
    controller.abort();
    await network.finished;
    assertEquals(network.endReason, "stopped");
    vmm.close();
  }
});

Deno.test("start: published ports lead to the guest and go with it", async () => {
  const [vmm, conn] = await tcpPair();
  const guest = EmbeddedGuest.attach(vmm, { memory: GUEST_MEMORY[0]! });
  const network = await startVirtioNetwork(conn, {
    ...QUIET,
    publishedPorts: [{ hostPort: 0, guestPort: 80 }],
  });
  await guest.lease();
  guest.listen(80, (connection) => {
    void connection.write(pattern(9)).then(() => connection.finish());
  });
  const { hostPort } = network.published[0]!;
  const client = await Deno.connect({ hostname: "127.0.0.1", port: hostPort });
  assertEquals(await client.read(new Uint8Array(100)), 9);
  client.close();
  // The guest does not reach its own published port through the host's loopback.
  await assertRejects(() => guest.connect(GATEWAY4, hostPort), GuestError, "prohibited");
  await network.close();
  await guest.close();
  await assertRejects(
    () => Deno.connect({ hostname: "127.0.0.1", port: hostPort }),
    Deno.errors.ConnectionRefused,
  );
});

Deno.test("start: a published port that is taken leaves the connection to the caller", async () => {
  const used = POOL.usedBytes;
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [vmm, conn] = await tcpPair();
  const publishedPorts = [{ hostPort: taken.addr.port, guestPort: 80 }];
  await assertCode("address-in-use", () => startVirtioNetwork(conn, { publishedPorts }));
  assertEquals(POOL.usedBytes, used);
  await conn.write(Uint8Array.of(1));
  conn.close();
  vmm.close();
});

Deno.test("errors: what is wrong with the configuration is told before anything is opened", async () => {
  using folder = new Folder();
  const wrong: [VirtioNetworkConfig, string][] = [
    [{ guestNetwork: { mtu: 100 } }, "guestNetwork.mtu"],
    [{ guestNetwork: { guestIp: "300.1.1.1/24" } }, "guestNetwork.guestIp"],
    [{ limits: { tcpFlows: 0 } }, "limits.tcpFlows"],
    [{ publishedPorts: [{ hostPort: 70_000, guestPort: 80 }] }, "publishedPorts[0]"],
    [{ dns: { upstreams: ["dns.example"] } }, "dns.upstreams[0]"],
    [{ policy: { protect: "much" as "off" } }, "policy.protect"],
  ];
  for (const [config, key] of wrong) {
    const error = await assertRejects(
      () => serveVirtioNetwork(folder.endpoint, config),
      ConfigError,
    ) as ConfigError;
    assertEquals(error.code, "config");
    assert(error.problems.some((problem) => problem.key.startsWith(key)), error.message);
    assert(!isThere(folder.endpoint.path), key);
  }
});

Deno.test("errors: endpoints in use, and folders that are not there", async () => {
  using folder = new Folder();
  await using server = await serve(folder.endpoint);
  await assertCode("socket-in-use", () => serve(folder.endpoint));
  await assertCode("config", () => serve({ transport: "unix", path: "/nowhere/at/all" }));
  await using tcp = await serve(TCP);
  await assertCode("address-in-use", () => serve(tcp.endpoint));
  assertEquals(server.guest, null);
});

Deno.test("errors: a published port that is taken frees the endpoint again", async () => {
  using folder = new Folder();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const publishedPorts = [{ hostPort: taken.addr.port, guestPort: 80 }];
  await assertCode("address-in-use", () => serve(folder.endpoint, { publishedPorts }));
  await until("the socket is gone", () => !isThere(folder.endpoint.path));
});

Deno.test({
  name: "errors: a missing permission is named, and nothing prompts",
  permissions: { net: [], read: false, write: false },
  fn: async () => {
    await assertCode("permission", () => serve({ transport: "unix", path: "/nowhere/vmm.sock" }));
    await assertCode("permission", () => serve(TCP));
  },
});

Deno.test("options: all but logger and signal is plain data", async () => {
  const config: VirtioNetworkConfig = {
    guestNetwork: { mtu: 9000, guestIp: "10.7.0.2/24", gatewayIp: "10.7.0.1" },
    publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] }],
    dns: { upstreams: ["127.0.0.1:1"], search: "lab.internal", records: { "a.b": ["10.0.0.1"] } },
    hostLoopback: true,
    hostServices: [{ gatewayPort: 1, hostPort: 2 }],
    policy: { protect: "strict" },
    limits: { udpFlows: 100 },
  };
  const before = structuredClone(config);
  await using server = await serveVirtioNetwork(TCP, structuredClone(config));
  assertEquals(config, before, "it is not written to");
  await using guest = await attach(server.endpoint);
  const lease = await guest.lease();
  assertEquals([lease.address, lease.router], ["10.7.0.2", "10.7.0.1"]);
});

Deno.test("serve: unix and TCP, disposed of: the socket's file is gone, the port is free", async () => {
  using folder = new Folder();
  for (const endpoint of [folder.endpoint, TCP]) {
    let at: VmmEndpoint;
    {
      await using server = await serve(endpoint);
      at = server.endpoint;
      await using guest = await attach(at);
      await assertServed(guest);
    }
    assert(!isThere(folder.endpoint.path));
    await assertRejects(() => connect(at));
  }
});

Deno.test("serve: one guest after another, and every byte comes back", async () => {
  using folder = new Folder();
  const logger = new KeepingLogger();
  const used = POOL.usedBytes;
  await using server = await serve(folder.endpoint, { logger });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  for (let i = 0; i < 20; i++) {
    const guest = await attach(server.endpoint);
    await assertServed(guest);
    const [connection, host] = await Promise.all([
      guest.connect(GATEWAY4, listener.addr.port),
      listener.accept(),
    ]);
    await connection.write(pattern(10_000, i));
    assert(await host.read(new Uint8Array(100)) !== null);
    const { guest: runtime } = server;
    await guest.close(); // in the middle of everything
    await runtime!.finished;
    for (const value of Object.values(runtime!.figures())) assertEquals(value, 0);
    host.close();
    await until("the endpoint is free", () => server.guest === null);
    assertEquals(POOL.usedBytes, used);
  }
  assertEquals(logger.said("guest attached").length, 20);
  assertEquals(logger.said("guest left").map(({ fields }) => fields["reason"]), [
    ...Array.from({ length: 20 }, () => "closed by the VMM"),
  ]);
  assertEquals(logger.lines.filter(({ level }) => level === "error" || level === "warn"), []);
});

Deno.test("serve: a VMM that starts again at once is served", async () => {
  await using server = await serve(TCP);
  for (let i = 0; i < 20; i++) {
    (await connect(server.endpoint)).close();
    await using guest = await attach(server.endpoint);
    await guest.ping(GATEWAY4).catch(() => {}); // no lease: only that the link stands
    await assertServed(guest);
  }
});

Deno.test("serve: a second VMM is turned away, the first one goes on", async () => {
  const logger = new KeepingLogger();
  await using server = await serve(TCP, { logger });
  await using guest = await attach(server.endpoint);
  await assertServed(guest);
  for (let i = 0; i < 3; i++) {
    const second = await connect(server.endpoint);
    assertEquals(await second.read(new Uint8Array(1)).catch(() => null), null);
    second.close();
  }
  await guest.ping(GATEWAY4);
  assertEquals(logger.said("a second VMM was turned away").length, 3);
});

Deno.test("serve: a VMM that sends garbage is dropped, and the next one is served", async () => {
  const logger = new KeepingLogger();
  await using server = await serve(TCP, { logger });
  const garbage = [
    concat(u32(0xffff_ffff), pattern(1000)),
    new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    concat(u32(65_551)),
  ];
  for (const bytes of garbage) {
    const vmm = await connect(server.endpoint);
    await vmm.write(bytes);
    assertEquals(await vmm.read(new Uint8Array(1)).catch(() => null), null);
    vmm.close();
    await until("the endpoint is free", () => server.guest === null);
  }
  assertEquals(logger.said("guest left").map(({ fields }) => fields["reason"]), [
    "broken framing",
    "broken framing",
    "broken framing",
  ]);
  await using guest = await attach(server.endpoint);
  await assertServed(guest);
});

Deno.test("serve: a guest for which there is no memory is turned away, the server goes on", async () => {
  const logger = new KeepingLogger();
  await using server = await serve(TCP, { logger });
  const used = POOL.usedBytes;
  const blocks: number[] = [];
  for (let at; (at = POOL.allocate(MAX_BLOCK_BYTES)) >= 0;) blocks.push(at);
  POOL.free(blocks.pop()!, MAX_BLOCK_BYTES); // room for a part of a guest
  const vmm = await connect(server.endpoint);
  assertEquals(await vmm.read(new Uint8Array(1)).catch(() => null), null);
  vmm.close();
  for (const at of blocks) POOL.free(at, MAX_BLOCK_BYTES);
  assertEquals(POOL.usedBytes, used);
  assertEquals(logger.said("cannot serve the guest").length, 1);
  await using guest = await attach(server.endpoint);
  await assertServed(guest);
});

Deno.test("serve: once means that it ends when the guest has left", async () => {
  using folder = new Folder();
  const server = await serve(folder.endpoint, { once: true });
  const guest = await attach(server.endpoint);
  await assertServed(guest);
  await guest.close();
  await server.finished;
  assert(!isThere(folder.endpoint.path));
});

Deno.test("serve: once means one, also for a VMM that is there as soon as the first one leaves", async () => {
  const server = await serve(TCP, { once: true });
  const first = await connect(server.endpoint);
  await until("it is attached", () => server.guest !== null);
  const second = await connect(server.endpoint);
  first.close();
  await server.finished;
  assertEquals(await second.read(new Uint8Array(1)).catch(() => null), null);
  second.close();
});

Deno.test("serve: a signal ends it with its guest, also one that has fired already", async () => {
  for (const early of [true, false]) {
    const controller = new AbortController();
    if (early) controller.abort();
    const server = await serve(TCP, { signal: controller.signal });
    const guest = early ? null : await attach(server.endpoint);
    if (guest !== null) await assertServed(guest);
    controller.abort();
    await server.finished;
    if (guest !== null) assertEquals(await guest.ended, "closed by the VMM");
  }
});

Deno.test("serve: close while a VMM is on its way in", async () => {
  for (let i = 0; i < 20; i++) {
    const server = await serve(TCP);
    const vmm = await connect(server.endpoint);
    if (i % 2 === 0) await Promise.resolve();
    await server.close();
    assertEquals(await vmm.read(new Uint8Array(1)).catch(() => null), null);
    vmm.close();
  }
});

Deno.test("serve: close twice, and abort during close", async () => {
  const server = await serve(TCP);
  await using guest = await attach(server.endpoint);
  await assertServed(guest);
  await Promise.all([server.close(), server.close(), server.abort()]);
  await server.finished;
});

Deno.test("serve: published ports outlive guests; without one a client is closed at once", async () => {
  await using server = await serve(TCP, {
    publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] }],
  });
  assertEquals(server.published.length, 1);
  const { hostPort } = server.published[0]!;
  const client = () => Deno.connect({ hostname: "127.0.0.1", port: hostPort });
  for (let i = 0; i < 2; i++) {
    const alone = await client();
    assertEquals(await alone.read(new Uint8Array(1)).catch(() => null), null);
    alone.close();
    const guest = await attach(server.endpoint);
    await guest.lease();
    guest.listen(80, (connection) => {
      void connection.write(pattern(7)).then(() => connection.finish());
    });
    const served = await client();
    assertEquals(await served.read(new Uint8Array(100)), 7);
    served.close();
    await guest.close();
    await until("the endpoint is free", () => server.guest === null);
  }
});

Deno.test("serve: the guest reaches neither the frame stream nor a published port", async () => {
  await using server = await serve(TCP, { publishedPorts: [{ hostPort: 0, guestPort: 80 }] });
  await using guest = await attach(server.endpoint);
  await guest.lease();
  const framePort = server.endpoint.transport === "tcp" ? server.endpoint.port : 0;
  for (const port of [framePort, server.published[0]!.hostPort]) {
    await assertRejects(() => guest.connect(GATEWAY4, port), GuestError, "prohibited");
  }
});

Deno.test("close: what the guest has sent still reaches a slow host", async () => {
  const server = await serve(TCP, { limits: { tcpTimeWaitMs: 10 } });
  const guest = await attach(server.endpoint);
  await guest.lease();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [connection, host] = await Promise.all([
    guest.connect(GATEWAY4, listener.addr.port),
    listener.accept(),
  ]);
  const bytes = 6 * 1024 * 1024;
  const writing = connection.write(pattern(bytes)).catch(() => {});
  await until("bytes wait for the host", () => server.guest!.figures().bufferBytes > 500_000);
  const closing = server.close();
  let received = 0;
  const buffer = new Uint8Array(256 * 1024);
  for (;;) {
    const count = await host.read(buffer).catch(() => null);
    if (count === null) break;
    for (let i = 0; i < count; i += 997) {
      if (buffer[i] !== patternAt(received + i)) throw new Error(`byte ${received + i} differs`);
    }
    received += count;
  }
  await closing;
  await writing;
  host.close();
  await guest.close();
  assert(received > 500_000);
});

function patternAt(i: number): number {
  return (i * 31 + (i >> 8)) & 0xff;
}

Deno.test("close: a host that takes nothing holds it up for no longer than the grace", async () => {
  const server = await serve(TCP, { graceMs: 50 });
  const guest = await attach(server.endpoint);
  await guest.lease();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [connection, host] = await Promise.all([
    guest.connect(GATEWAY4, listener.addr.port),
    listener.accept(),
  ]);
  const writing = connection.write(new Uint8Array(32 * 1024 * 1024)).catch(() => {});
  await until("bytes wait for the host", () => server.guest!.figures().bufferBytes > 500_000);
  await server.close();
  await writing;
  host.close();
  await guest.close();
});

Deno.test("connect: it goes to the VMM, and tries again until it is there", async () => {
  using folder = new Folder();
  const logger = new KeepingLogger();
  const { endpoint } = folder;
  await using server = await serve(endpoint, { mode: "connect", logger });
  await until("it has tried", () => logger.lines.length > 0);
  for (let i = 0; i < 2; i++) { // the VMM leaves and comes back
    const vmm = Deno.listen({ transport: "unix", path: endpoint.path });
    const guest = EmbeddedGuest.attach(await vmm.accept(), { memory: GUEST_MEMORY[0]! });
    await assertServed(guest);
    vmm.close();
    await guest.close();
    await until("it has noticed", () => server.guest === null);
  }
  const tries = logger.said(`cannot reach the VMM at unix:${endpoint.path}`);
  assert(tries.length >= 1 && tries.length <= 3, "one line for each time that it is away");
});

Deno.test("connect: once, and a signal while it waits for the VMM", async () => {
  using folder = new Folder();
  const vmm = Deno.listen({ transport: "unix", path: folder.endpoint.path });
  const server = await serve(folder.endpoint, { mode: "connect", once: true });
  (await vmm.accept()).close();
  await server.finished;
  vmm.close();
  const controller = new AbortController();
  const waiting = await serve(folder.endpoint, { mode: "connect", signal: controller.signal });
  controller.abort();
  await waiting.finished;
});

Deno.test("two servers in one process do not disturb each other", async () => {
  await using first = await serve(TCP);
  await using second = await serve(TCP, {
    guestNetwork: { guestIp: "10.9.0.2/30", gatewayIp: "10.9.0.1" },
  });
  await using one = await attach(first.endpoint, 0);
  await using two = await attach(second.endpoint, 1);
  await assertServed(one);
  assertEquals((await two.lease()).address, "10.9.0.2");
  await two.ping("10.9.0.1");
  await two.close();
  await one.ping(GATEWAY4);
});

Deno.test("ports are published and taken back while a guest is served, and flows listed and ended", async () => {
  await using server = await serve(TCP);
  await using guest = await attach(server.endpoint);
  await assertServed(guest);
  guest.listen(80, (served) => void served.write(pattern(5)));
  const [port] = await server.publish({ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] });
  const { hostPort } = port!;
  assertEquals(server.published, [
    { protocol: "tcp", bind: "127.0.0.1", hostPort, guestPort: 80 },
  ]);
  using client = await Deno.connect({ hostname: "127.0.0.1", port: hostPort });
  const into = new Uint8Array(8);
  assertEquals(await client.read(into), 5);
  const runtime = server.guest!;
  const [flow, ...others] = runtime.flows();
  assertEquals(others, []);
  const { id, opener, state, upBytes, downBytes } = flow!;
  assertEquals([opener, state, upBytes, downBytes], ["host", "established", 5, 0]);
  assert(Math.abs(flow!.startedMs - Date.now()) < 60_000, "the time of day");
  // The gateway's own port is no way into it, as long as it is one.
  await assertRejects(() => guest.connect(GATEWAY4, hostPort), GuestError);
  assertEquals(server.unpublish(hostPort), [port!]);
  assertEquals([server.published, server.unpublish(hostPort)], [[], []]);
  await assertRejects(() => Deno.connect({ hostname: "127.0.0.1", port: hostPort }));
  assertEquals(runtime.flows().map((one) => one.id), [id], "what came through it goes on");
  assertEquals([runtime.endFlow(id), runtime.endFlow(id)], [true, false]);
  assertEquals(await client.read(into).catch(() => null), null);
  assertEquals(runtime.flows(), []);
  await assertRejects(() => server.publish({ hostPort: 70_000, guestPort: 80 }), ConfigError);
});
