/** What a guest's network does as a whole, with frames by hand and with an embedded guest. */
import { guestPolicy } from "../support/policy.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { GatewayError } from "../../lib/config/errors.ts";
import type { GatewayLogger } from "../../lib/config/logger.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { Arena } from "../../lib/host/gateway_memory.ts";
import { GuestNetwork } from "../../lib/host/guest_network.ts";
import { BufferPool, MAX_BLOCK_BYTES } from "../../lib/stack/buffer_pool.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { GuestRig, NetworkRig, type RigOptions, tcpPair, until } from "../support/guest_rig.ts";
import { ACK, HandGuest, readSegment, RST, segmentFrame, SYN } from "../support/hand_guest.ts";
import {
  concat,
  ethernet,
  GATEWAY4,
  GUEST4,
  icmp4,
  ip4,
  pattern,
  type Read,
  u16,
  u32,
  udp,
} from "../support/packets.ts";

/** Echo replies, by their sequence number. */
function pingFrame(sequence: number, dataBytes = 8): Uint8Array {
  const message = icmp4(8, 0, [0, 1, ...u16(sequence)], pattern(dataBytes));
  return ethernet(ip4(message, { protocol: 1 }));
}

function isPong(packet: Read): boolean {
  return packet.protocol === 1 && packet.payload[0] === 0;
}

/** For tests that only want an answer to each frame. */
const PINGS = { icmpEchoesPerSecond: 1_000_000, icmpEchoBurst: 100_000 };

/** A rig of which the test writes the frames. */
async function byHand(options: RigOptions = {}): Promise<[NetworkRig, HandGuest]> {
  const rig = await NetworkRig.make(options);
  return [rig, new HandGuest(rig.vmm)];
}

/** Waits until there are so many, with as much patience for each thousand as for anything else. */
async function untilCounted(what: string, count: number, counted: () => number): Promise<void> {
  for (let part = 0; part < count;) {
    part = Math.min(count, part + 1_000);
    await until(`${part}: ${what}`, () => counted() >= part);
  }
  assertEquals(counted(), count, what);
}

/** Waits until so many frames of the guest have come. */
function untilReceived(rig: NetworkRig, count: number): Promise<void> {
  return untilCounted("all came", count, () => rig.counters["rx.frames"] ?? 0);
}

/** A logger that keeps what it was told. */
class KeepingLogger implements GatewayLogger {
  readonly lines: string[] = [];
  debug = (): void => {};
  info = (message: string): void => void this.lines.push(`info ${message}`);
  warn = (message: string): void => void this.lines.push(`warn ${message}`);
  error = (message: string): void => void this.lines.push(`error ${message}`);
}

/** A port of the host's loopback where nothing listens, and none that another test can be given. */
const CLOSED_PORT = 1;
/** How long the guest's programs wait: longer than a test is held up. */
const PATIENCE_MS = 30_000;

Deno.test("guest network: more frames than a turn takes are all answered", async () => {
  const [made, guest] = await byHand({ limits: PINGS });
  await using _rig = made;
  const count = 3000;
  await guest.send(...Array.from({ length: count }, (_, i) => pingFrame(i)));
  await untilCounted("all answers", count, () => guest.packets.filter(isPong).length);
  const sequences = guest.packets.filter(isPong).map(({ payload }) =>
    (payload[6]! << 8) | payload[7]!
  );
  assertEquals(sequences, Array.from({ length: count }, (_, i) => i));
  await guest.close();
});

Deno.test("guest network: frames in pieces of one byte", async () => {
  const [made, guest] = await byHand();
  await using _rig = made;
  const frame = pingFrame(7);
  for (const octet of concat(u32(frame.length), frame)) await guest.sendBytes(Uint8Array.of(octet));
  await guest.expect("an answer", (packet) => isPong(packet) ? packet : null);
  await guest.close();
});

Deno.test("guest network: a broken length ends the link with one log line", async () => {
  const logger = new KeepingLogger();
  const [made, guest] = await byHand({ logger });
  await using rig = made;
  await guest.send(pingFrame(1));
  await guest.sendBytes(concat(u32(65_551), pingFrame(2)));
  assertEquals(await rig.ended, "broken framing");
  await guest.ended;
  assertEquals(guest.packets.filter(isPong).length, 1, "what came before it was answered");
  assertEquals(logger.lines.length, 1);
  assert(logger.lines[0]!.startsWith("warn closing the link"));
});

Deno.test("guest network: the end inside a frame frees everything", async () => {
  const [made, guest] = await byHand();
  await using rig = made;
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await guest.send(segmentFrame({ destinationPort: listener.addr.port, flags: SYN, seq: 9 }));
  const host = await listener.accept();
  await guest.sendBytes(concat(u32(1000), pattern(17)));
  await guest.close();
  assertEquals(await rig.ended, "closed by the VMM");
  assertEquals(await host.read(new Uint8Array(1)), null);
  host.close();
});

Deno.test("guest network: runts and nonsense between honest frames are counted and harmless", async () => {
  const [made, guest] = await byHand();
  await using rig = made;
  for (let bytes = 0; bytes < 14; bytes++) await guest.send(pattern(bytes), pingFrame(bytes));
  await guest.send(
    ethernet(pattern(100), { type: 0x88cc }),
    ethernet(pattern(60), { type: 0x0800 }),
  );
  await guest.send(pingFrame(99));
  await until("15 answers", () => guest.packets.filter(isPong).length === 15);
  assertEquals([rig.counters["drop.eth.short"], rig.counters["drop.eth.type"]], [14, 1]);
  await guest.close();
});

Deno.test("guest network: a guest that does not read costs a bounded queue and goes on after", async () => {
  await using rig = await NetworkRig.make({ limits: PINGS });
  const count = 12_000;
  const batch = concat(...Array.from({ length: 100 }, (_, i) => {
    const frame = pingFrame(i, 1400);
    return concat(u32(frame.length), frame);
  }));
  for (let sent = 0; sent < count; sent += 100) {
    for (let at = 0; at < batch.length;) at += await rig.vmm.write(batch.subarray(at));
  }
  await untilReceived(rig, count);
  const { "drop.queue.full": dropped = 0, "tx.frames": queued = 0 } = rig.counters;
  assert(dropped > 0, "the answers of 17 MB can't all wait");
  assertEquals(dropped + queued, count);
  const guest = new HandGuest(rig.vmm);
  await untilCounted("what waited has come", queued, () => guest.packets.length);
  await guest.send(pingFrame(4242));
  await guest.expect("it answers again", ({ payload }) => payload[6] === 4242 >> 8 || null);
  await guest.close();
});

Deno.test("guest network: a SYN flood stays inside the half-open limit, and an honest SYN follows", async () => {
  const [made, guest] = await byHand({
    limits: { tcpHalfOpen: 64, tcpDials: 16, tcpDialsPerDestination: 8 },
  });
  await using rig = made;
  const syn = (sourcePort: number) =>
    segmentFrame({ destinationPort: CLOSED_PORT, sourcePort, flags: SYN, seq: 1 });
  const flood = concat(...Array.from({ length: 5000 }, (_, i) => {
    const frame = syn(10_000 + i);
    return concat(u32(frame.length), frame);
  }));
  await guest.sendBytes(flood);
  await untilReceived(rig, 5_000);
  assert(rig.counters["drop.tcp.halfopen"]! > 0);
  await rig.idle();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await guest.send(segmentFrame({ destinationPort: listener.addr.port, flags: SYN, seq: 1 }));
  await guest.expectSegment("a SYN-ACK", ({ flags }) => flags === (SYN | ACK));
  (await listener.accept()).close();
  await guest.close();
});

Deno.test("guest network: SYN and RST ten thousand times leave nothing behind", async () => {
  const [made, guest] = await byHand();
  await using rig = made;
  for (let round = 0; round < 10; round++) {
    await guest.send(
      ...Array.from({ length: 1000 }, (_, i) => {
        const sourcePort = 10_000 + round * 1000 + i;
        return [
          segmentFrame({ destinationPort: CLOSED_PORT, sourcePort, flags: SYN, seq: 100 }),
          segmentFrame({ destinationPort: CLOSED_PORT, sourcePort, flags: RST, seq: 101 }),
        ];
      }).flat(),
    );
  }
  await untilReceived(rig, 20_000);
  await rig.idle();
  await guest.close();
});

Deno.test("guest network: closing resets the guest's flows before the stream ends", async () => {
  const [made, guest] = await byHand();
  await using rig = made;
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await guest.send(segmentFrame({ destinationPort: listener.addr.port, flags: SYN, seq: 9 }));
  const { seq } = await guest.expectSegment("a SYN-ACK", ({ flags }) => flags === (SYN | ACK));
  await guest.send(segmentFrame({
    destinationPort: listener.addr.port,
    flags: ACK,
    seq: 10,
    ack: (seq + 1) >>> 0,
  }));
  const host = await listener.accept();
  await rig.network.close(1000);
  assertEquals(await rig.ended, "stopped");
  await guest.ended;
  const last = readSegment(guest.packets.at(-1)!);
  assertEquals(last!.flags & RST, RST);
  assertEquals(await host.read(new Uint8Array(1)), null);
  host.close();
});

Deno.test("guest network: it can be closed twice, and takes nothing afterwards", async () => {
  const [made, guest] = await byHand();
  await using rig = made;
  await Promise.all([rig.network.close(10), rig.network.close(0)]);
  const [client, conn] = await tcpPair();
  assertEquals(rig.network.acceptPublished(conn, 80), false);
  client.close();
  conn.close();
  await guest.close();
});

Deno.test("guest network: bare pseudo-header sums are taken, counted, and told once", async () => {
  const logger = new KeepingLogger();
  const [made, guest] = await byHand({ logger });
  await using rig = made;
  const question = dnsQuestion("gateway.internal");
  const partial = ethernet(ip4(withPartialSum(udp(GUEST4, 5000, GATEWAY4, 53, question))));
  await guest.send(partial, partial, partial);
  await until("three answers", () => guest.packets.length === 3);
  assertEquals(rig.counters["csum.partial"], 3);
  assertEquals(logger.lines.filter((line) => line.includes("checksums")).length, 1);
  await guest.close();
});

Deno.test("guest network: checksums `verify` drops them", async () => {
  const [made, guest] = await byHand({ network: { checksums: "verify" } });
  await using rig = made;
  const datagram = udp(GUEST4, 5000, GATEWAY4, 53, dnsQuestion("gateway.internal"));
  await guest.send(ethernet(ip4(withPartialSum(datagram))), ethernet(ip4(datagram)));
  await until("the right one is answered", () => guest.packets.length === 1);
  assertEquals(rig.counters["drop.csum"], 1);
  await guest.close();
});

Deno.test("guest network: host.internal is a name only where the host can be reached", async () => {
  for (
    const [options, known] of [
      [{ hostLoopback: true }, true],
      [{ hostLoopback: false, hostServices: [{ gatewayPort: 80, hostPort: 8080 }] }, true],
      [{ hostLoopback: false }, false],
    ] as const
  ) {
    await using rig = await GuestRig.start({ ...options, limits: { dnsTimeoutMs: 50 } });
    const reply = await rig.guest.resolve("host.internal", "A", { timeoutMs: PATIENCE_MS });
    assertEquals(reply.answers.length, known ? 1 : 0);
  }
});

Deno.test("guest network: a service of the host at another port", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using rig = await GuestRig.start({
    hostLoopback: false,
    hostServices: [{ gatewayPort: 80, hostPort: listener.addr.port }],
  });
  const [guest, host] = await Promise.all([rig.guest.connect(GATEWAY4, 80), listener.accept()]);
  await guest.write(pattern(5));
  assertEquals(await host.read(new Uint8Array(10)), 5);
  host.close();
  await assertRejects(() => rig.guest.connect(GATEWAY4, listener.addr.port), GuestError, "refused");
});

Deno.test("guest network: a large MTU carries large segments both ways", async () => {
  await using rig = await GuestRig.start({ network: { mtu: 65_520 } });
  await rig.guest.ping(GATEWAY4, 1400, PATIENCE_MS);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [guest, host] = await Promise.all([
    rig.guest.connect(GATEWAY4, listener.addr.port),
    listener.accept(),
  ]);
  const bytes = pattern(1_000_000);
  const sending = (async () => {
    for (let at = 0; at < bytes.length;) at += await host.write(bytes.subarray(at));
    host.close();
  })();
  assertEquals((await guest.readAll()).length, bytes.length);
  await sending;
  guest.finish();
  await rig.idle();
});

Deno.test("guest network: what the isolate has no memory for is refused, and gives all back", async () => {
  const [vmm, conn] = await tcpPair();
  const pool = new BufferPool(new FrameMemory(MAX_BLOCK_BYTES), 0, MAX_BLOCK_BYTES);
  const arena = new Arena(pool);
  const make = () =>
    new GuestNetwork({
      system: hostSystem,
      conn,
      pool,
      arena,
      network: parseGuestNetwork(),
      limits: { ...DEFAULT_LIMITS },
      dns: {},
      policy: guestPolicy(),
      hostLoopback: false,
      hostServices: [],
      ipv6Upstream: false,
      ownPorts: () => new Set<number>(),
      logger: silentLogger,
    });
  assertThrows(make, GatewayError);
  arena[Symbol.dispose]();
  assertEquals(pool.usedBytes, 0);
  vmm.close();
  conn.close();
});

/** A question for an A record. */
function dnsQuestion(name: string): Uint8Array {
  const labels = name.split(".").map((label) => [label.length, ...new TextEncoder().encode(label)]);
  return concat(u16(1), [1, 0], u16(1), u16(0), u16(0), u16(0), ...labels, [0], u16(1), u16(1));
}

/** The datagram with the sum that a guest leaves to its device: that of the pseudo-header. */
function withPartialSum(datagram: Uint8Array): Uint8Array {
  const out = datagram.slice();
  const words = [...ip4(datagram).slice(12, 20)];
  let sum = 17 + datagram.length;
  for (let i = 0; i < words.length; i += 2) sum += (words[i]! << 8) + words[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  out.set(u16(sum), 6);
  return out;
}
