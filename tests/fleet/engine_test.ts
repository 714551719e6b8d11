/**
 * The connection to the engine against real servers: lost and back, held still, never there, one of
 * several gone, and ended at any moment.
 */
import { assert, assertEquals } from "@std/assert";
import type { GatewayLogger } from "../../lib/config/logger.ts";
import { Engine, type EngineState } from "../../lib/fleet/engine.ts";
import { EngineAddresses, placeOf } from "../../lib/fleet/engine_addresses.ts";
import { writeAll } from "../guest/bulk.ts";
import { NatsCluster, NatsServer } from "../support/nats_server.ts";
import { mustRun } from "../guest/program.ts";
import { hasProgram } from "../support/programs.ts";
import { freePort } from "../support/free_port.ts";

const ignore = !await hasProgram("nats-server");
if (ignore) console.log("tests skipped: nats-server is not here");

/** A log whose lines are kept. */
class Lines implements GatewayLogger {
  readonly all: string[] = [];
  debug(): void {}
  info(message: string): void {
    this.all.push(message);
  }
  warn = this.info;
  error = this.info;
}

/** Waits until an engine has a state. */
async function until(engine: Engine, state: EngineState): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = () => engine.state === state ? resolve() : undefined;
  const end = engine.onState(look);
  look();
  await promise;
  end();
}

/** Waits until an engine knows of a server at a port. */
async function meets(engine: Engine, at: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = () => engine.addresses().some(({ port }) => port === at) ? resolve() : undefined;
  const end = engine.onState(look);
  look();
  await promise;
  end();
}

Deno.test({
  name: "an engine that is killed comes back, and each is told once",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    const logger = new Lines();
    await using engine = Engine.open({ servers: [server.url], name: "test", logger });
    assertEquals(engine.connection(), null);
    const connection = await engine.whenConnected();
    assertEquals(engine.server, `127.0.0.1:${server.port}`);
    const heard: string[] = [];
    connection.subscribe("a", { callback: (_error, message) => void heard.push(message.string()) });
    const lost = until(engine, "connecting");
    await server.kill();
    await lost;
    assertEquals([engine.connection(), engine.server], [null, null]);
    await server.start();
    assertEquals(await engine.whenConnected(), connection);
    connection.publish("a", "after");
    await connection.flush();
    assertEquals([heard, engine.reconnects], [["after"], 1]);
    assertEquals(logger.all, [
      "connected to the fleet's engine",
      "the fleet's engine is lost; guests go on as they are",
      "the fleet's engine is back",
    ]);
  },
});

Deno.test({
  name: "an engine that is not there is waited for, and its absence told once",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await server.stop();
    const logger = new Lines();
    await using engine = Engine.open({ servers: [server.url], name: "test", logger });
    const waited = new AbortController();
    const wait = engine.whenConnected(waited.signal).catch((error: unknown) => error);
    waited.abort("enough");
    assertEquals(await wait, "enough");
    await server.start();
    await engine.whenConnected();
    assertEquals(logger.all.slice(-1), ["connected to the fleet's engine"]);
    assert(logger.all.length <= 2, logger.all.join("\n"));
  },
});

Deno.test({
  name: "a server that takes connections and says nothing is given up, with no socket left",
  ignore,
  sanitizeOps: true,
  sanitizeResources: true,
  async fn() {
    await using server = await NatsServer.start();
    await server.pause();
    const engine = Engine.open({ servers: [server.url], name: "test" });
    await new Promise((resolve) => setTimeout(resolve, 50));
    await engine.close();
    assertEquals(engine.state, "closed");
    server.resume();
  },
});

Deno.test({
  name: "a server that falls silent is lost, and found again",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using engine = Engine.open({ servers: [server.url], name: "test" });
    await engine.whenConnected();
    await server.pause();
    await until(engine, "connecting");
    server.resume();
    await until(engine, "connected");
    assertEquals(engine.reconnects, 1);
  },
});

Deno.test({
  name: "of several servers one is enough, and one that was down at first is not forgotten",
  ignore,
  async fn() {
    await using cluster = await NatsCluster.start(3);
    const [first, second, third] = cluster.nodes;
    await first!.kill();
    await using engine = Engine.open({ servers: [first!.url, second!.url], name: "test" });
    await engine.whenConnected();
    assertEquals(engine.server, `127.0.0.1:${second!.port}`);
    // The third is announced by the second, as soon as that knows of it.
    await meets(engine, third!.port);
    const ports = new Set(engine.addresses().map(({ port }) => port));
    assertEquals(ports, new Set([first!.port, second!.port, third!.port]));
    await first!.start();
    const lost = until(engine, "connecting"); // it may be back before both have ended
    await Promise.all([second!.kill(), third!.kill()]);
    await lost;
    await engine.whenConnected();
    assertEquals(engine.server, `127.0.0.1:${first!.port}`);
  },
});

Deno.test({
  name: "servers that are named and were never dialled are known by their addresses too",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    const servers = [server.url, "nats://localhost:9"];
    // Which of the two is dialled first is a matter of luck.
    const engines = Array.from({ length: 8 }, () => Engine.open({ servers, name: "test" }));
    for (const engine of engines) {
      await engine.whenConnected();
      await meets(engine, 9);
    }
    for (const engine of engines) await engine.close();
  },
});

Deno.test("whatever answers in an engine's place, the gateway lives and says what it is", async () => {
  const info = 'INFO {"server_id":"a","version":"2.9.10","max_payload":1000,"proto":1}\r\n';
  const answers: [answer: string, told: RegExp][] = [
    ["", /the server has closed the connection/],
    ["HTTP/1.1 400 Bad Request\r\n\r\n", /what answers there is no NATS server/],
    ["INFO {}}\r\n", /JSON/],
    [`INFO ${"a".repeat(300_000)}`, /what answers there is no NATS server/],
    [info, /the server has closed the connection/],
    [`${info}-ERR 'Unknown Protocol Operation'\r\n`, /closed|Unknown Protocol/i],
  ];
  for (const [answer, told] of answers) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    const serving = (async () => {
      for await (const conn of listener) {
        await writeAll(conn, new TextEncoder().encode(answer)).catch(() => {});
        conn.close();
      }
    })().catch(() => {});
    const logger = new Lines();
    {
      await using engine = Engine.open({
        servers: [`nats://127.0.0.1:${port}`],
        name: "test",
        logger,
      });
      const { promise, resolve } = Promise.withResolvers<void>();
      engine.onState(() => engine.failures > 0 ? resolve() : undefined);
      await promise;
      assertEquals(engine.state, "connecting");
      assert(told.test(engine.lastError!), `${answer.slice(0, 40)}: ${engine.lastError}`);
    }
    assert(logger.all.length <= 2, logger.all.join("\n"));
    listener.close();
    await serving;
  }
});

/** How often a server that lets an engine in, and then does something else, is pinged before the end. */
async function pingsOf(then: (conn: Deno.TcpConn) => Promise<unknown>): Promise<number> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const encode = (text: string) => new TextEncoder().encode(text);
  await using engine = Engine.open({
    servers: [`nats://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`],
    name: "test",
  });
  using conn = await listener.accept();
  await conn.write(encode('INFO {"server_id":"a","version":"2.9.10","max_payload":1000}\r\n'));
  const into = new Uint8Array(65_536);
  for (let heard = ""; !heard.includes("PING");) {
    heard += new TextDecoder().decode(into.subarray(0, (await conn.read(into))!));
  }
  await conn.write(encode("PONG\r\n"));
  await engine.whenConnected();
  let pings = 0;
  await then(conn).catch(() => {}); // it may be given up meanwhile
  for (let length; (length = await conn.read(into).catch(() => null)) !== null;) {
    pings += new TextDecoder().decode(into.subarray(0, length!)).split("PING").length - 1;
  }
  if (engine.state === "connected") await until(engine, "connecting");
  return pings;
}

Deno.test("a server that lets a gateway in and then talks without end is given up at once", async () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const mib = encode("a".repeat(1024 * 1024));
  const endless = (start: string) => async (conn: Deno.TcpConn) => {
    await conn.write(encode(start));
    for (;;) await writeAll(conn, mib);
  };
  const pings = encode("PING\r\n".repeat(100_000));
  const cases: [then: (conn: Deno.TcpConn) => Promise<unknown>, name: string][] = [
    [(conn) => conn.write(encode("QUUX\r\n")), "no word of the protocol"],
    [(conn) => conn.write(encode("INFO {]\r\n")), "no JSON"],
    [endless("INFO {"), "a line without an end"],
    [endless("MSG a 1 60000000\r\n"), "a message of 60 MB"],
    [async (conn) => {
      for (;;) await writeAll(conn, pings);
    }, "pings whose answers it does not take"],
  ];
  for (const [then, name] of cases) {
    // The client's own pings come each 5 s; where they are what finds out, two of them were missed.
    assert(await pingsOf(then) < 2, name);
  }
});

Deno.test("a connection can be closed before there was one, and twice", async () => {
  const port = freePort();
  const engine = Engine.open({ servers: [`nats://127.0.0.1:${port}`], name: "test" });
  const waits = engine.whenConnected().catch((error: Error) => error.message);
  await engine.close();
  await engine.close();
  assertEquals(await waits, "the engine's connection is closed");
});

Deno.test("a server's place is read with and without scheme and port", () => {
  assertEquals(placeOf("nats://127.0.0.1:4333"), { hostname: "127.0.0.1", port: 4333 });
  assertEquals(placeOf("tls://[fd00::1]:4333"), { hostname: "fd00::1", port: 4333 });
  assertEquals(placeOf("nats.example"), { hostname: "nats.example", port: 4222 });
});

Deno.test("addresses are remembered within a bound, those that are met again for longest", () => {
  const addresses = new EngineAddresses();
  addresses.meetServer("nats://10.0.0.1:4222");
  for (let i = 0; i < 300; i++) {
    addresses.meet(`10.1.${i >> 8}.${i & 255}`, 4222);
    addresses.meet("10.0.0.1", 4222);
  }
  const list = addresses.list();
  assertEquals(list.length, 256);
  assert(list.some(({ address }) => address === "10.0.0.1"));
  assert(!list.some(({ address }) => address === "10.1.0.0"));
});

/** Connects in a process that may reach no more than it is told. */
const NARROW = `
  import { Engine } from "${new URL("../../lib/fleet/engine.ts", import.meta.url)}";
  await using engine = Engine.open({ servers: [Deno.args[0]], name: "test" });
  const { promise, resolve } = Promise.withResolvers();
  engine.onState(() => engine.state === "connected" || engine.failures > 0 ? resolve() : undefined);
  await promise;
  console.log(JSON.stringify([engine.state, engine.lastError, engine.addresses()]));
`;

Deno.test({
  name: "a permission for one server is enough, by address or by name; a missing one is named",
  ignore,
  async fn() {
    await using cluster = await NatsCluster.start(3);
    const port = cluster.nodes[0]!.port;
    const folder = await Deno.makeTempDir();
    const file = `${folder}/narrow.ts`;
    await Deno.writeTextFile(file, NARROW);
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const run = async (permission: string, host: string): Promise<unknown> => {
      const words = ["deno", "run", "--quiet", "--no-check", "--no-prompt", `--config=${config}`];
      const url = `nats://${host}:${port}`;
      return JSON.parse(await mustRun([...words, `--allow-net=${permission}`, file, url]));
    };
    // What the cluster announces is not dialled, and the one that was has its address.
    const one = [{ address: "127.0.0.1", port }];
    assertEquals(await run(`127.0.0.1:${port}`, "127.0.0.1"), ["connected", null, one]);
    assertEquals(await run(`localhost:${port}`, "localhost"), ["connected", null, one]);
    assertEquals(await run("127.0.0.2", "127.0.0.1"), [
      "connecting",
      `Deno may not connect to 127.0.0.1:${port}; add --allow-net=127.0.0.1:${port}`,
      one,
    ]);
    await Deno.remove(folder, { recursive: true });
  },
});
