/** TCP between the embedded guest and the runtime, in both opening directions. */
import { assert, assertEquals } from "@std/assert";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { GuestError } from "../../lib/guest/guest_error.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import { echo, failureOf, HostServer, noise, readAll, Rig, sha256 } from "./rig.ts";
import { writeAll } from "../guest/bulk.ts";
import { freePort } from "../support/free_port.ts";

const BULK = noise(5 * 1024 * 1024);
const BULK_SHA256 = await sha256(BULK);

for (const family of [4, 6] as const) {
  for (const mtu of [1500, 65_520]) {
    Deno.test(`5 MiB each way at once over IPv${family}, MTU ${mtu}`, async () => {
      await using rig = await Rig.start({
        network: { guestNetwork: { mtu } },
        guest: { mtu },
      });
      await using server = new HostServer(async (conn) => {
        const [received] = await Promise.all([
          readAll(conn),
          writeAll(conn, BULK).then(() => conn.closeWrite()),
        ]);
        up.resolve(received);
      });
      const up = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
      await rig.guest.lease();
      using tcp = await rig.guest.connect(rig.gateway(family), server.port);
      const sent = tcp.write(BULK).then(() => tcp.finish());
      assertEquals(await sha256(await tcp.readAll()), BULK_SHA256, "to the guest");
      await sent;
      assertEquals(await sha256(await up.promise), BULK_SHA256, "to the host");
    });
  }
}

Deno.test("what follows a half-close arrives, whoever finishes first", async () => {
  const half = BULK.slice(0, 3 * 1024 * 1024);
  await using rig = await Rig.start();
  // Answers with everything once the guest has finished.
  await using after = new HostServer(async (conn) => writeAll(conn, await readAll(conn)));
  // Finishes first, then takes everything.
  const late = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  await using before = new HostServer(async (conn) => {
    await conn.closeWrite();
    late.resolve(await readAll(conn));
  });
  await rig.guest.lease();
  using first = await rig.guest.connect(rig.gateway(4), after.port);
  await first.write(half);
  first.finish();
  assertEquals(await sha256(await first.readAll()), await sha256(half));
  using second = await rig.guest.connect(rig.gateway(4), before.port);
  assertEquals(await second.read(new Uint8Array(1)), null);
  await second.write(half);
  second.finish();
  assertEquals(await sha256(await late.promise), await sha256(half));
});

Deno.test("a port where nothing listens is refused", async () => {
  await using rig = await Rig.start();
  await rig.guest.lease();
  const port = freePort();
  for (const family of [4, 6] as const) {
    assertEquals(await failureOf(rig.guest.connect(rig.gateway(family), port)), "refused");
  }
});

Deno.test("no way leads to the host's loopback or to metadata", async () => {
  await using rig = await Rig.start();
  await using server = new HostServer(echo);
  await rig.guest.lease();
  const forbidden = ["127.0.0.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "169.254.169.254"];
  for (const address of forbidden) {
    const failure = await failureOf(rig.guest.connect(address, server.port));
    assertEquals(failure, "prohibited", address);
  }
  assertEquals(server.open, 0);
});

Deno.test("50 connections at once, each with its own bytes", async () => {
  await using rig = await Rig.start();
  await using server = new HostServer(echo);
  await rig.guest.lease();
  const run = async (_: unknown, i: number): Promise<void> => {
    using tcp = await rig.guest.connect(rig.gateway(i % 2 === 0 ? 4 : 6), server.port);
    const bytes = noise(200_000, i + 1);
    const sent = tcp.write(bytes).then(() => tcp.finish());
    assertEquals(await sha256(await tcp.readAll()), await sha256(bytes));
    await sent;
  };
  await Promise.all(Array.from({ length: 50 }, run));
});

for (const way of ["close", "abort"] as const) {
  Deno.test(`${way} of a connection that waits ends the host's socket too`, async () => {
    await using rig = await Rig.start();
    const ended = Promise.withResolvers<number | null>();
    await using server = new HostServer(async (conn) => {
      ended.resolve(await conn.read(new Uint8Array(1)));
    });
    await rig.guest.lease();
    const tcp = await rig.guest.connect(rig.gateway(4), server.port);
    const reading = failureOf(tcp.read(new Uint8Array(1)));
    tcp[way]();
    assertEquals(await reading, "closed");
    assertEquals(await ended.promise, null);
    assertEquals(await failureOf(tcp.read(new Uint8Array(1))), "closed");
    assertEquals(await failureOf(tcp.write(new Uint8Array(1))), "closed");
    const resets = way === "abort" ? 1 : undefined;
    assertEquals(rig.guest.counters()["tcp.reset.sent"], resets);
  });
}

Deno.test("what comes after close is answered with a reset", async () => {
  await using rig = await Rig.start();
  const closed = Promise.withResolvers<void>();
  await using server = new HostServer(async (conn) => {
    await closed.promise;
    for (;;) await writeAll(conn, BULK);
  });
  await rig.guest.lease();
  const tcp = await rig.guest.connect(rig.gateway(4), server.port);
  tcp.close();
  closed.resolve();
  while (server.open > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  // Of a few segments that were under way each is answered.
  assert((rig.guest.counters()["tcp.reset.sent"] ?? 0) >= 1);
});

Deno.test("a host that resets is a reset for the guest", async () => {
  await using rig = await Rig.start();
  const server = createServer((socket) => {
    socket.once("data", () => socket.resetAndDestroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await rig.guest.lease();
  using tcp = await rig.guest.connect(rig.gateway(4), port);
  await tcp.write(new Uint8Array(1));
  assertEquals(await failureOf(tcp.read(new Uint8Array(1))), "reset");
  server.close();
  await once(server, "close");
});

Deno.test("bytes that a reset took are no end of the stream, though the end had come", async () => {
  await using rig = await Rig.start();
  await using server = new HostServer(async (conn) => {
    await writeAll(conn, new Uint8Array(1_000));
    await conn.closeWrite();
    await conn.read(new Uint8Array(1)); // the guest takes nothing before its end has come
  });
  await rig.guest.lease();
  const tcp = await rig.guest.connect(rig.gateway(4), server.port);
  while (!tcp.connection.guestFinished) await new Promise((resolve) => setTimeout(resolve, 5));
  tcp.connection.abort();
  await rig.guest.ping(rig.gateway(4));
  const failure = await failureOf(tcp.read(new Uint8Array(2_000)));
  assertEquals(failure, "closed");
});

Deno.test("a client of a published port reaches the guest, 20 at once", async () => {
  await using rig = await Rig.start({
    network: { publishedPorts: [{ hostPort: 0, guestPort: 8080, bind: ["127.0.0.1"] }] },
  });
  await rig.guest.lease();
  rig.guest.listen(8080, (tcp) => void serveEcho(tcp));
  const hostPort = rig.publishedPort;
  const call = async (_: unknown, i: number): Promise<void> => {
    using client = await Deno.connect({ hostname: "127.0.0.1", port: hostPort });
    const bytes = noise(100_000, i + 1);
    const sent = writeAll(client, bytes).then(() => client.closeWrite());
    assertEquals(await sha256(await readAll(client)), await sha256(bytes));
    await sent;
  };
  await Promise.all(Array.from({ length: 20 }, call));
});

Deno.test("a published port that the guest does not serve closes the client", async () => {
  await using rig = await Rig.start({
    network: { publishedPorts: [{ hostPort: 0, guestPort: 8081, bind: ["127.0.0.1"] }] },
  });
  await rig.guest.lease();
  const hostPort = rig.publishedPort;
  using client = await Deno.connect({ hostname: "127.0.0.1", port: hostPort });
  assertEquals(await client.read(new Uint8Array(1)).catch(() => null), null);
});

Deno.test("over a bad link every byte arrives, both ways", async () => {
  await using rig = await Rig.start({
    faults: {
      lossPercent: 2,
      duplicatePercent: 1,
      reorderPercent: 3,
      flipPercent: 0.2,
      delayMs: 1,
      seed: 7,
    },
  });
  await using server = new HostServer(echo);
  await rig.guest.lease();
  using tcp = await rig.guest.connect(rig.gateway(4), server.port);
  const bytes = BULK.slice(0, 1024 * 1024);
  const sent = tcp.write(bytes).then(() => tcp.finish());
  assertEquals(await sha256(await tcp.readAll()), await sha256(bytes));
  await sent;
  assert((rig.runtime.counters()["tcp.retransmit"] ?? 0) > 0, "the gateway sent again");
  assert((rig.guest.counters()["tcp.retransmit"] ?? 0) > 0, "the guest sent again");
});

Deno.test("a guest that vanishes in the middle of everything leaves nothing behind", async () => {
  const rig = await Rig.start({
    network: { publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] }] },
  });
  const endless = noise(256 * 1024);
  await using source = new HostServer(async (conn) => {
    for (;;) await writeAll(conn, endless);
  });
  await using sink = new HostServer(async (conn) => void await readAll(conn));
  const released = Promise.withResolvers<void>();
  await using stalled = new HostServer(() => released.promise);
  const { guest, runtime } = rig;
  await guest.lease();
  guest.listen(80, (tcp) => void forever(() => tcp.write(endless)));
  const buffer = new Uint8Array(64 * 1024);
  let moved = 0;
  for (let i = 0; i < 10; i++) {
    const family = i % 2 === 0 ? 4 : 6;
    const down = await guest.connect(rig.gateway(family), source.port);
    void forever(async () => void (moved += await down.read(buffer) ?? 0));
    const up = await guest.connect(rig.gateway(family), sink.port);
    void forever(() => up.write(endless));
    const blocked = await guest.connect(rig.gateway(family), stalled.port);
    void forever(() => blocked.write(endless));
  }
  using socket = guest.udp();
  socket.send(rig.gateway(4), source.port, new Uint8Array(20_000));
  const client = await Deno.connect({
    hostname: "127.0.0.1",
    port: rig.publishedPort,
  });
  // The client's flow may come last, and what is buffered come and go.
  const isBusy = () => runtime.figures().tcpFlows >= 31 && runtime.figures().bufferBytes > 0;
  while (moved < 5 * 1024 * 1024 || !isBusy()) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  rig.guestEnd.close();
  await rig.assertNothingLeft();
  await guest.ended;
  assertEquals(guest.stack.tcp.size, 0);
  assertEquals(guest.stack.tcp.pool.usedBytes, 0);
  await readAll(client).catch(() => {});
  client.close();
  released.resolve();
});

async function serveEcho(tcp: GuestTcp): Promise<void> {
  const bytes = new Uint8Array(64 * 1024);
  for (;;) {
    const count = await tcp.read(bytes);
    if (count === null) break;
    await tcp.write(bytes.subarray(0, count));
  }
  tcp.finish();
}

/** Repeats until it fails. */
async function forever(step: () => Promise<void>): Promise<void> {
  try {
    for (;;) await step();
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
  }
}
