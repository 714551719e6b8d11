/**
 * A host's peer that resets (an RST instead of a FIN): at once, and while bytes are queued both
 * ways. The guest sees a reset, never an orderly end, and other flows go on.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { GuestError } from "../../lib/guest/guest_error.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import { until } from "../guest/program.ts";
import { assertEchoes, EchoHost, FaultGateway, GATEWAY, PATIENCE_MS } from "./fault_gateway.ts";

const ROUNDS = 10;
const GUEST_PORT = 80;

/** A server that hands each socket to the test; it reads nothing by itself. */
class ResettingHost implements AsyncDisposable {
  readonly sockets: Socket[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(atOnce: boolean): Promise<ResettingHost> {
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      socket.on("error", () => {});
      if (atOnce) socket.resetAndDestroy();
      else host.sockets.push(socket);
    });
    const host = new ResettingHost(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return host;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** The socket of the n-th connection. */
  async socket(n: number): Promise<Socket> {
    await until("the host has the connection", () => this.sockets.length > n, PATIENCE_MS);
    return this.sockets[n]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** Reads until the flow breaks; an orderly end is the failure. */
async function readToReset(flow: GuestTcp): Promise<number> {
  const into = new Uint8Array(64 * 1024);
  let bytes = 0;
  const error = await assertRejects(async () => {
    for (let count = await flow.read(into); count !== null; count = await flow.read(into)) {
      bytes += count;
    }
  }, GuestError) as GuestError;
  assertEquals(error.code, "reset");
  return bytes;
}

Deno.test("a host that resets at once, and with bytes queued both ways", async () => {
  await using echo = new EchoHost();
  await using hasty = await ResettingHost.start(true);
  await using host = await ResettingHost.start(false);
  await using gateway = await FaultGateway.start({ args: ["--host-loopback"] });
  const guest = await gateway.guest();
  const honest = await guest.connect(GATEWAY, echo.port);
  await assertEchoes(honest);
  const atStart = await gateway.descriptors();
  for (let round = 0; round < ROUNDS; round++) {
    // Before anything was sent: the SYN may meet the reset already.
    const early = await guest.connect(GATEWAY, hasty.port).catch((error: GuestError) => error);
    if (early instanceof GuestError) assert(["refused", "reset"].includes(early.code), early.code);
    else assertEquals(await readToReset(early), 0);

    const flow = await guest.connect(GATEWAY, host.port);
    const socket = await host.socket(round);
    socket.write(new Uint8Array(2 * 1024 * 1024));
    const writing = flow.write(new Uint8Array(16 * 1024 * 1024)).catch((error: GuestError) =>
      error
    );
    const into = new Uint8Array(1000);
    for (let bytes = 0; bytes < 100_000;) bytes += (await flow.read(into))!;
    socket.resetAndDestroy();
    await readToReset(flow);
    assertEquals((await writing as GuestError).code, "reset");
    await assertEchoes(honest);
  }
  const isBack = async () => await gateway.descriptors() <= atStart;
  await until("descriptors are back", isBack, PATIENCE_MS);
  await guest.close();
  await gateway.countersOfLast();
  assertEquals(gateway.said(/^guest left$/)[0]!.flows, 0);
  await gateway.stop();
});

Deno.test("a client of a published port that resets in mid-transfer", async () => {
  await using gateway = await FaultGateway.start({ args: ["-p", "127.0.0.1:0:80"] });
  const guest = await gateway.guest();
  const served: GuestTcp[] = [];
  guest.listen(GUEST_PORT, (flow) => void served.push(flow));
  const { message } = gateway.said(/^published 127/)[0]!;
  const port = Number(/:(\d+) as/.exec(message)![1]);
  for (let round = 0; round < ROUNDS; round++) {
    const client = connect(port, "127.0.0.1");
    client.on("error", () => {});
    client.pause();
    await once(client, "connect");
    client.write(new Uint8Array(2 * 1024 * 1024));
    await until("the guest has it", () => served.length > round, PATIENCE_MS);
    const flow = served[round]!;
    const writing = flow.write(new Uint8Array(16 * 1024 * 1024)).catch((error: GuestError) =>
      error
    );
    await flow.read(new Uint8Array(1000));
    client.resetAndDestroy();
    await readToReset(flow);
    assertEquals((await writing as GuestError).code, "reset");
  }
  await guest.close();
  await gateway.countersOfLast();
  assertEquals(gateway.said(/^guest left$/)[0]!.flows, 0);
  await gateway.stop();
});
