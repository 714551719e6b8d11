/** A guest behind each transport: its lease, a name, bytes each way, a published port, its end. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { EmbeddedGuest, type EmbeddedGuestOptions } from "../../lib/guest/embedded_guest.ts";
import { formatEndpoint } from "../../lib/config/endpoint.ts";
import {
  ConfigError,
  GatewayError,
  parseEndpoint,
  parseVmmEndpoint,
  type ServeOptions,
  serveVirtioNetwork,
} from "../../mod.ts";
import type { FrameTransport, VirtioNetworkServer, VmmEndpoint, VsockEndpoint } from "../../mod.ts";
import { HostServer, noise, readAll, sha256 } from "../guest_embedded/rig.ts";
import { writeAll } from "../guest/bulk.ts";
import { hasProgram } from "../support/programs.ts";
import { datagramEnd, hyperkitEnd, pipeEnd } from "./vmm_ends.ts";

const BULK = noise(1024 * 1024);
const BULK_SHA256 = await sha256(BULK);
const hasPython = await hasProgram("python3");
const QUIET = { dns: { upstreams: ["127.0.0.1:1"] }, hostLoopback: true };
const GATEWAY = "100.96.0.1";

class Folder implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "vgtransport-" });
  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Sees that a guest has a network: what it gets, asks and moves arrives whole. */
async function assertServed(
  end: FrameTransport,
  options: EmbeddedGuestOptions = {},
): Promise<EmbeddedGuest> {
  const guest = EmbeddedGuest.attach(end, options);
  const lease = await guest.lease();
  assertEquals([lease.address, lease.router], ["100.96.0.2", GATEWAY]);
  await guest.ping(GATEWAY);
  const reply = await guest.resolve("gateway.internal", "A");
  assertEquals(reply.code, "NOERROR");
  const up = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  await using server = new HostServer(async (conn) => {
    const [received] = await Promise.all([
      readAll(conn),
      writeAll(conn, BULK).then(() => conn.closeWrite()),
    ]);
    up.resolve(received);
  });
  using tcp = await guest.connect(GATEWAY, server.port);
  const sent = tcp.write(BULK).then(() => tcp.finish());
  assertEquals(await sha256(await tcp.readAll()), BULK_SHA256, "to the guest");
  await sent;
  assertEquals(await sha256(await up.promise), BULK_SHA256, "to the host");
  return guest;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    if (tries > 2_000) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function serve(endpoint: VmmEndpoint, options: ServeOptions = {}): Promise<VirtioNetworkServer> {
  return serveVirtioNetwork(endpoint, { ...QUIET, ...options });
}

for (
  const kind of ["vfkit", "qemu"] as const
) {
  Deno.test({ name: `unixgram: a VMM such as ${kind}`, ignore: !hasPython }, async () => {
    using folder = new Folder();
    const endpoint = { transport: "unixgram", path: `${folder.path}/gateway.sock` } as const;
    await using server = await serve(endpoint, {
      publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] }],
    });
    await using guest = await assertServed(
      datagramEnd(`${folder.path}/vmm.sock`, endpoint.path, kind),
    );
    const stop = guest.listen(80, async (tcp) => {
      await tcp.write(new TextEncoder().encode("from the guest"));
      tcp.finish();
    });
    using client = await Deno.connect({
      hostname: "127.0.0.1",
      port: server.published[0]!.hostPort,
    });
    assertEquals(new TextDecoder().decode(await readAll(client)), "from the guest");
    stop();
  });
}

Deno.test({
  name: "unixgram: a VMM that comes back is served again, at its path or at another",
  ignore: !hasPython,
}, async () => {
  using folder = new Folder();
  const endpoint = { transport: "unixgram", path: `${folder.path}/gateway.sock` } as const;
  await using server = await serve(endpoint);
  for (const [name, kind] of [["a", "vfkit"], ["b", "qemu"], ["c", "vfkit"]] as const) {
    const end = datagramEnd(`${folder.path}/${name}.sock`, endpoint.path, kind);
    await using _guest = await assertServed(end);
    assert(server.guest !== null);
  }
});

Deno.test({
  name: "unixgram: what is under way to the guest arrives before the gateway ends",
  ignore: !hasPython,
}, async () => {
  using folder = new Folder();
  const endpoint = { transport: "unixgram", path: `${folder.path}/gateway.sock` } as const;
  const server = await serve(endpoint);
  const end = datagramEnd(`${folder.path}/vmm.sock`, endpoint.path, "qemu");
  await using guest = EmbeddedGuest.attach(end);
  await guest.lease();
  await using host = new HostServer(async (conn) => {
    await writeAll(conn, BULK);
    await conn.closeWrite();
    await readAll(conn);
  });
  using tcp = await guest.connect(GATEWAY, host.port);
  const first = new Uint8Array(1);
  await tcp.read(first);
  const closing = server.close();
  const rest = await tcp.readAll();
  tcp.finish();
  assertEquals(await sha256(Uint8Array.from([...first, ...rest])), BULK_SHA256);
  await closing;
  assertEquals([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["vmm.sock"]);
});

Deno.test("hyperkit: its framing on a unix socket, and what it is told of the link", async () => {
  using folder = new Folder();
  const endpoint = { transport: "unix", path: `${folder.path}/gateway.sock` } as const;
  await using server = await serve(endpoint, { framing: "hyperkit" });
  const end = await hyperkitEnd(await Deno.connect(endpoint));
  assertEquals([...end.link.subarray(5, 11)], [0x02, 0x53, 0x4d, 0, 0, 0x02]);
  {
    await using _guest = await assertServed(end);
  }
  await until("the guest has left", () => server.guest === null);
});

Deno.test("hyperkit: a VMM that speaks something else is cut off, and the log says so", async () => {
  const lines: string[] = [];
  const say = (message: string, fields: Record<string, unknown> = {}): void => {
    lines.push(`${message} ${JSON.stringify(fields)}`);
  };
  const logger = { debug: () => {}, info: say, warn: say, error: say };
  const loopback = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
  await using server = await serve(loopback, { framing: "hyperkit", logger });
  if (server.endpoint.transport !== "tcp") throw new Error("a TCP port was asked for");
  using conn = await Deno.connect(server.endpoint);
  await conn.write(
    new TextEncoder().encode("GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n"),
  );
  assertEquals(await conn.read(new Uint8Array(100)), null);
  await until("it is said", () => lines.some((line) => line.includes("does not begin with VMN3T")));
});

Deno.test("stdio: a guest on the program's own pipes, and its end with them", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    // deno-fmt-ignore
    args: ["run", "--quiet", "--allow-net", new URL("../../cli.ts", import.meta.url).pathname,
      "run", "--listen", "stdio:", "--host-loopback", "--dns", "127.0.0.1:1"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const log = new Response(child.stderr).text();
  {
    await using _guest = await assertServed(pipeEnd(child));
  }
  const { code } = await child.status;
  const said = await log;
  assertEquals(code, 0, said);
  assert(said.includes("ready listening on stdio:"), said);
});

Deno.test("what can't be of an endpoint and its options is said", async () => {
  const gram = { transport: "unixgram", path: "/nowhere/gateway.sock" } as const;
  const stdio = { transport: "stdio" } as const;
  for (
    const [endpoint, options, why] of [
      [gram, { mode: "connect" }, "unixgram:/nowhere/gateway.sock can only be listened on"],
      [stdio, { mode: "connect" }, "stdio: can only be listened on"],
      [gram, { framing: "hyperkit" }, "has a frame in each datagram"],
    ] as const
  ) {
    await assertRejects(() => serve(endpoint, options), ConfigError, why);
  }
  const error = await serve(gram).catch((error: unknown) => error);
  assert(error instanceof GatewayError);
  assertEquals(error.code, "config");
  assert(error.message.startsWith("cannot listen on unixgram:/nowhere/gateway.sock: "));
});

for (const framing of ["stream", "stream-vnet"] as const) {
  Deno.test(`transport: ${framing} with large segments both ways`, async () => {
    await using server = await serve({ transport: "tcp", hostname: "127.0.0.1", port: 0 }, {
      framing,
      guestNetwork: { offload: true },
    });
    assert(server.endpoint.transport === "tcp");
    const hasHeaders = framing === "stream-vnet";
    const end = await Deno.connect(server.endpoint);
    await using guest = await assertServed(end, { offload: true, hasHeaders });
    const { counters } = server.totals();
    const mean = (name: "rx" | "tx") => counters[`${name}.bytes`] / counters[`${name}.frames`];
    assert(mean("rx") > 2_000 && mean("tx") > 2_000, `${mean("rx")} and ${mean("tx")} octets`);
    assertEquals(counters["csum.partial"] > 0, hasHeaders);
    await guest.close();
  });
}

/** VM sockets for this machine, which may have none: ports of a kind, over TCP on the loopback. */
class FakeVsock implements Disposable {
  readonly #listen = Deno.listen;
  readonly #connect = Deno.connect;
  readonly #ports = new Map<string, number>();
  /** What was listened on and gone to, by the words of `Deno`. */
  readonly seen: string[] = [];

  constructor() {
    const words = (what: string, { transport, cid, port }: VsockEndpoint) => {
      this.seen.push(`${what} ${transport} ${cid} ${port}`);
      return String(port);
    };
    Deno.listen = ((options: VsockEndpoint | Deno.TcpListenOptions) => {
      if (!("cid" in options)) return this.#listen(options);
      const port = words("listen", options);
      if (this.#ports.has(port)) throw new Deno.errors.AddrInUse("in use");
      const listener = this.#listen({ hostname: "127.0.0.1", port: 0 });
      this.#ports.set(port, listener.addr.port);
      return listener;
    }) as typeof Deno.listen;
    Deno.connect = ((options: VsockEndpoint | Deno.ConnectOptions) => {
      if (!("cid" in options)) return this.#connect(options);
      const port = this.#ports.get(words("connect", options));
      if (port === undefined) {
        return Promise.reject(new Deno.errors.ConnectionReset("no one there"));
      }
      return this.#connect({ hostname: "127.0.0.1", port });
    }) as typeof Deno.connect;
  }

  [Symbol.dispose](): void {
    Deno.listen = this.#listen;
    Deno.connect = this.#connect;
  }
}

Deno.test("transport: a VM socket that the gateway listens on, one VMM after another", async () => {
  using vsock = new FakeVsock();
  const endpoint = parseVmmEndpoint("vsock:any:1024");
  await using server = await serve(endpoint);
  assertEquals(server.endpoint, endpoint);
  for (let i = 0; i < 2; i++) {
    const end = await Deno.connect({ transport: "vsock", cid: 2, port: 1024 });
    await using guest = await assertServed(end);
    await guest.close();
    await until("the guest has left", () => server.guest === null);
  }
  const error = await assertRejects(() => serve(endpoint), GatewayError);
  assertEquals(error.message, "cannot listen on vsock:any:1024: the port is in use");
  await server.close();
  assertEquals(vsock.seen[0], "listen vsock 4294967295 1024");
});

Deno.test("transport: a VMM's own VM socket, tried until it is there", async () => {
  using vsock = new FakeVsock();
  await using server = await serve(parseVmmEndpoint("vsock:3:7"), { mode: "connect" });
  await until("it was tried", () => vsock.seen.length >= 2);
  using listener = Deno.listen({ transport: "vsock", cid: 1, port: 7 });
  await using guest = await assertServed(await listener.accept());
  assertEquals(server.guest !== null, true);
  assertEquals(vsock.seen[0], "connect vsock 3 7");
  await guest.close();
});

Deno.test("transport: VM sockets are named by CID and port, and for a VMM alone", () => {
  for (const text of ["vsock:any:1024", "vsock:0:0", "vsock:4294967294:4294967294"]) {
    assertEquals(formatEndpoint(parseVmmEndpoint(text)), text);
  }
  for (
    const text of [
      "vsock:",
      "vsock:2",
      "vsock:2:",
      "vsock::1",
      "vsock:-1:1",
      "vsock:any:any",
      "vsock:4294967295:1",
      "vsock:2:4294967295",
      "vsock:2:1:1",
      "vsock:0x2:1",
    ]
  ) {
    assertThrows(() => parseVmmEndpoint(text), ConfigError, "such as vsock:any:1024");
  }
  assertThrows(() => parseEndpoint("vsock:2:1"), ConfigError, "is only for a VMM");
});
