/** The relays in a guest's whole network: an embedded guest, and servers on the host's loopback. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { GuestError, type GuestErrorCode } from "../../lib/guest/guest_error.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import { writeAll } from "../guest/bulk.ts";
import { GuestRig, type RigOptions, until } from "../support/guest_rig.ts";
import { GATEWAY4, GATEWAY6, pattern } from "../support/packets.ts";
import { slowSystem } from "../support/slow_system.ts";

const MIB = 1024 * 1024;
const MIB_OF_BYTES = pattern(MIB, 7);

/** A rig with one connection from the guest to a server on loopback. */
class Joined implements AsyncDisposable {
  private constructor(
    readonly rig: GuestRig,
    readonly guest: GuestTcp,
    readonly host: Deno.TcpConn,
  ) {}

  static async start(options: RigOptions = {}, gateway = GATEWAY4): Promise<Joined> {
    const rig = await GuestRig.start(options);
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const [guest, host] = await Promise.all([
      rig.guest.connect(gateway, listener.addr.port),
      listener.accept(),
    ]);
    return new Joined(rig, guest, host);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    closeQuietly(this.host);
    await this.rig[Symbol.asyncDispose]();
  }
}

function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed by the test.
  }
}

/** Reads to the end: the bytes in one piece. */
async function readAll(conn: Deno.Conn): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const buffer = new Uint8Array(256 * 1024);
    const count = await conn.read(buffer);
    if (count === null) break;
    pieces.push(buffer.subarray(0, count));
  }
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Quick for megabytes, where `assertEquals` is not. */
function assertSame(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length);
  for (let i = 0; i < expected.length; i++) {
    if (actual[i] !== expected[i]) throw new Error(`byte ${i} differs`);
  }
}

function repeated(times: number): Uint8Array {
  const all = new Uint8Array(times * MIB);
  for (let i = 0; i < times; i++) all.set(MIB_OF_BYTES, i * MIB);
  return all;
}

async function assertFails(code: GuestErrorCode, what: () => Promise<unknown>): Promise<void> {
  const error = await assertRejects(what, GuestError);
  assertEquals((error as GuestError).code, code);
}

/** Waits until a figure stands still. */
async function standsStill(figure: () => number): Promise<number> {
  for (let last = -1, same = 0;;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const value = figure();
    if (value !== last) same = 0;
    else if (++same === 5) return value;
    last = value;
  }
}

Deno.test("tcp relay: bytes go both ways, over either family, and nothing is left", async () => {
  for (const gateway of [GATEWAY4, GATEWAY6]) {
    await using joined = await Joined.start({}, gateway);
    const { guest, host, rig } = joined;
    await guest.write(pattern(1000));
    const buffer = new Uint8Array(2000);
    assertEquals(await host.read(buffer), 1000);
    assertEquals(buffer.slice(0, 1000), pattern(1000));
    await host.write(pattern(500, 1));
    assertEquals(await guest.read(buffer), 500);
    assertEquals(buffer.slice(0, 500), pattern(500, 1));
    assertEquals(rig.network.figures().relays, 1);
    guest.finish();
    host.close();
    assertEquals(await guest.read(buffer), null);
    await rig.idle();
  }
});

/** With a guest that sends no SYN again after a stall of a second: refusals are counted. */
function startPatient(options: RigOptions = {}): Promise<GuestRig> {
  return GuestRig.start(options, slowSystem);
}

Deno.test("tcp relay: a refused connect is an RST and nothing else", async () => {
  await using rig = await startPatient();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await assertFails("refused", () => rig.guest.connect(GATEWAY4, port));
  await assertFails("refused", () => rig.guest.connect(GATEWAY6, port));
  await rig.idle();
  const { "tcp.refused": refused, "icmp.errors": icmp, "policy.refused": policy } = rig.counters;
  assertEquals([refused, icmp, policy], [2, undefined, undefined]);
});

Deno.test("tcp relay: what the policy refuses hears of it by ICMP and RST", async () => {
  await using rig = await startPatient();
  const forbidden = ["169.254.169.254", "169.254.1.1", "::ffff:127.0.0.1", "fd00:ec2::254"];
  let refused = 0;
  for (const address of forbidden) {
    await assertFails("prohibited", () => rig.guest.connect(address, 80));
    refused++;
    const counters = rig.counters;
    assertEquals(
      [counters["policy.refused"], counters["icmp.errors"], counters["tcp.refused"]],
      [refused, refused, refused],
      address,
    );
  }
  await rig.idle();
});

Deno.test("tcp relay: without hostLoopback the gateway's ports refuse like any closed port", async () => {
  await using rig = await startPatient({ hostLoopback: false });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await assertFails("refused", () => rig.guest.connect(GATEWAY4, listener.addr.port));
  const { "icmp.errors": icmp, "policy.refused": policy, "tcp.refused": refused } = rig.counters;
  assertEquals([icmp, policy, refused], [undefined, undefined, 1]);
});

Deno.test("tcp relay: the gateway's own ports can't be reached", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  await using rig = await GuestRig.start({ ownPorts: () => new Set([port]) });
  await assertFails("prohibited", () => rig.guest.connect(GATEWAY4, port));
});

Deno.test("tcp relay: the guest finishes first, its bytes and then the answer arrive", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  const request = repeated(3);
  const sending = guest.write(request).then(() => guest.finish());
  const received = await readAll(host);
  await sending;
  assertSame(received, request);
  const answer = repeated(2);
  const answering = writeAll(host, answer).then(() => host.close());
  assertSame(await guest.readAll(), answer);
  await answering;
  await rig.idle();
});

Deno.test("tcp relay: the host finishes first, the guest's bytes still arrive", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  const banner = repeated(1);
  const greeting = writeAll(host, banner).then(() => host.closeWrite());
  assertSame(await guest.readAll(), banner);
  await greeting;
  const upload = repeated(3);
  const sending = guest.write(upload).then(() => guest.finish());
  assertSame(await readAll(host), upload);
  await sending;
  await rig.idle();
});

Deno.test("tcp relay: both sides finish at once with bytes under way", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  const bytes = repeated(2);
  const [up, down] = await Promise.all([
    readAll(host),
    guest.readAll(),
    guest.write(bytes).then(() => guest.finish()),
    writeAll(host, bytes).then(() => host.closeWrite()),
  ]);
  assertSame(up, bytes);
  assertSame(down, bytes);
  await rig.idle();
});

Deno.test("tcp relay: a host that closes right after its answer loses none of it", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  const answer = repeated(3);
  const answering = writeAll(host, answer).then(() => host.close());
  assertSame(await guest.readAll(), answer);
  await answering;
  guest.finish();
  await rig.idle();
});

Deno.test("tcp relay: a host's reset is an RST for the guest", async () => {
  await using rig = await GuestRig.start();
  // Deno's own sockets close with a FIN, whatever is unread.
  const server = createServer((socket) => socket.once("data", () => socket.resetAndDestroy()));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const guest = await rig.guest.connect(GATEWAY4, port);
  await guest.write(pattern(1000));
  await assertFails("reset", () => guest.read(new Uint8Array(10)));
  await rig.idle();
  assertEquals(rig.guest.counters()["tcp.reset.received"], 1);
  server.close();
  await once(server, "close");
});

Deno.test("tcp relay: a guest's reset closes the host's side", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  await guest.write(pattern(10));
  await host.read(new Uint8Array(100));
  guest.abort();
  assertEquals(await host.read(new Uint8Array(10)), null);
  await rig.idle();
  assertEquals(rig.counters["tcp.reset.received"], 1);
});

Deno.test("tcp relay: a guest's reset frees a flow whose host does not read", async () => {
  await using joined = await Joined.start({ limits: { tcpBufferMaxBytes: MIB } });
  const { guest, rig } = joined;
  let written = 0;
  const writing = (async () => {
    for (;;) {
      await guest.write(MIB_OF_BYTES);
      written++;
    }
  })();
  await standsStill(() => written);
  await until("its memory is in use", () => rig.network.figures().bufferBytes >= MIB);
  guest.abort();
  await assertRejects(() => writing, GuestError);
  await rig.idle(); // the write that was stuck has given its memory back
});

Deno.test("tcp relay: bytes for a host that has closed are not lost without a word", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  host.close();
  assertEquals(await guest.read(new Uint8Array(1)), null);
  await assertRejects(async () => {
    for (;;) await guest.write(MIB_OF_BYTES); // the first bytes come back as a reset of the host
  }, GuestError);
  await rig.idle();
});

Deno.test("tcp relay: a slow host closes the guest's window, memory stays bounded", async () => {
  await using joined = await Joined.start({ limits: { tcpBufferMaxBytes: MIB } });
  const { guest, host, rig } = joined;
  const total = 24;
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < total; i++) {
      await guest.write(MIB_OF_BYTES);
      written++;
    }
    guest.finish();
  })();
  const stuckAt = await standsStill(() => written);
  assert(stuckAt < total, "the guest had to wait");
  const { bufferBytes } = rig.network.figures();
  assert(bufferBytes <= 2 * MIB, `${bufferBytes} bytes of buffers`);
  assertEquals(rig.guest.stack.tcp.size, 1);
  assertSame(await readAll(host), repeated(total));
  await writing;
  host.close();
  assertEquals((await guest.readAll()).length, 0);
  await rig.idle();
});

Deno.test("tcp relay: for a slow guest the host is not read, memory stays bounded", async () => {
  await using joined = await Joined.start({ limits: { tcpBufferMaxBytes: MIB } });
  const { guest, host, rig } = joined;
  const total = 24;
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < total; i++) {
      await writeAll(host, MIB_OF_BYTES);
      written++;
    }
    host.closeWrite();
  })();
  const stuckAt = await standsStill(() => written);
  assert(stuckAt < total, "the host had to wait");
  const { bufferBytes } = rig.network.figures();
  assert(bufferBytes <= 2 * MIB, `${bufferBytes} bytes of buffers`);
  assertSame(await guest.readAll(), repeated(total));
  await writing;
  guest.finish();
  assertEquals(await host.read(new Uint8Array(1)), null);
  await rig.idle();
});

Deno.test("tcp relay: a slow flow does not hold up another one", async () => {
  await using joined = await Joined.start({ limits: { tcpBufferMaxBytes: MIB } });
  const { guest, rig } = joined;
  let written = 0;
  const writing = (async () => {
    for (;;) {
      await guest.write(MIB_OF_BYTES);
      written++;
    }
  })();
  await standsStill(() => written);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  for (let i = 0; i < 5; i++) {
    const [other, host] = await Promise.all([
      rig.guest.connect(GATEWAY4, listener.addr.port),
      listener.accept(),
    ]);
    await other.write(pattern(100, i));
    other.finish();
    assertEquals(await readAll(host), pattern(100, i));
    host.close();
    assertEquals(await other.read(new Uint8Array(1)), null);
  }
  guest.abort();
  await assertRejects(() => writing, GuestError);
});

Deno.test("tcp relay: an orderly close with unread bytes delivers them all to a slow host", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  await host.closeWrite();
  assertEquals(await guest.read(new Uint8Array(1)), null);
  const upload = repeated(8);
  let written = 0;
  const sending = (async () => {
    for (let at = 0; at < upload.length; at += MIB / 4) {
      await guest.write(upload.subarray(at, at + MIB / 4));
      written = at;
    }
    guest.finish();
  })();
  await standsStill(() => written);
  // Read slowly: the guest's side is closed and out of TIME_WAIT long before the last byte.
  const pieces: Uint8Array[] = [];
  let received = 0;
  for (;;) {
    const buffer = new Uint8Array(256 * 1024);
    const count = await host.read(buffer);
    if (count === null) break;
    pieces.push(buffer.subarray(0, count));
    received += count;
    if (received > 6 * MIB) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await sending;
  const all = new Uint8Array(received);
  pieces.reduce((at, piece) => {
    all.set(piece, at);
    return at + piece.length;
  }, 0);
  assertSame(all, upload);
  await rig.idle();
});

Deno.test("tcp relay: what a guest has finished reaches a slow host though its kernel forgets the flow", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  const bytes = repeated(4);
  await guest.write(bytes);
  guest.finish();
  // All is acknowledged, and more than the host's kernel takes waits in the gateway.
  await until("the end is acknowledged", () => guest.connection.sender.finAcknowledged);
  assert(rig.network.figures().bufferBytes > 0);
  guest.abort(); // as the RST of a kernel whose TIME_WAIT is over
  assertSame(await readAll(host), bytes);
  await rig.idle();
});

Deno.test("tcp relay: a guest's reset after its end frees a flow with nothing left to deliver", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  await guest.write(pattern(100));
  guest.finish();
  await until("the end is acknowledged", () => guest.connection.sender.finAcknowledged);
  assertEquals(await readAll(host), pattern(100));
  guest.abort();
  await rig.idle();
});

Deno.test("tcp relay: when the link goes, the host's sides are closed at once", async () => {
  await using joined = await Joined.start();
  const { guest, host, rig } = joined;
  await guest.write(pattern(10));
  await host.read(new Uint8Array(100));
  rig.vmm.close();
  assertEquals(await host.read(new Uint8Array(10)), null);
  assertEquals(await rig.ended, "closed by the VMM");
  await assertRejects(() => guest.read(new Uint8Array(1)), GuestError);
});

Deno.test("tcp relay: 200 connections at once leave nothing behind", async () => {
  await using rig = await GuestRig.start();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const count = 200;
  const serving = (async () => {
    for (let i = 0; i < count; i++) {
      const host = await listener.accept();
      void readAll(host).then(async (bytes) => {
        await writeAll(host, bytes);
        host.close();
      });
    }
  })();
  await Promise.all(Array.from({ length: count }, async (_, i) => {
    const connection = await rig.guest.connect(i % 2 ? GATEWAY4 : GATEWAY6, listener.addr.port);
    await connection.write(pattern(5000, i));
    connection.finish();
    assertSame(await connection.readAll(), pattern(5000, i));
  }));
  await serving;
  await rig.idle();
});

/**
 * A guest that has been told that all it sent is there has left, and its host begins to read. A
 * moment in which the test stands still is none of the 800 ms that it has for that.
 */
async function leaveBehind(): Promise<[Joined, written: number, arrived: Promise<Uint8Array>]> {
  const joined = await Joined.start({ system: slowSystem });
  const { guest, host, rig } = joined;
  const chunk = new Uint8Array(256 * 1024).fill(7);
  let written = 0;
  // Until the host's kernel is full and the rest stands in the gateway's own ring.
  for (let held = 0; held < 3;) {
    await guest.write(chunk);
    written += chunk.length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    held = rig.network.figures().bufferBytes > chunk.length ? held + 1 : 0;
  }
  guest.finish();
  await until("the end is acknowledged", () => guest.connection.sender.finAcknowledged);
  rig.vmm.close();
  return [joined, written, readAll(host)];
}

Deno.test("tcp relay: what a guest has sent and closed reaches the host although the VMM leaves", async () => {
  const [joined, written, arrived] = await leaveBehind();
  await using _joined = joined;
  assertEquals((await arrived).length, written);
  await joined.rig.ended;
});

Deno.test("tcp relay: it reaches the host too where the gateway is closed meanwhile", async () => {
  const [joined, written, arrived] = await leaveBehind();
  await using _joined = joined;
  const closed = joined.rig.network.close(5_000);
  assertEquals((await arrived).length, written);
  await Promise.all([closed, joined.rig.ended]);
});
