/** Rows 38, 39 and 41: what a guest may try with connections that are open, and with the next one. */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { BufferPool } from "../../lib/stack/buffer_pool.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import {
  concat,
  ethernet,
  fragment6,
  GATEWAY4,
  GUEST4,
  GUEST6,
  icmp4,
  ip4,
  ip6,
  pattern,
  read,
  udp,
} from "../support/packets.ts";
import { HOST4, HOST6, source, VirtualHost } from "../support/virtual_host.ts";
import { hostBytes, HostileGuest } from "./hostile_guest.ts";

Deno.test("hostile 38: a window of 0 for ever is probed with backoff, and costs no more", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, source(hostBytes(1_000_000)));
  const flow = gw.flow();
  await flow.opens("mss 1460", 0);
  const probes: number[] = [];
  const startMs = gw.host.now();
  while (gw.host.now() - startMs < 3_600_000) {
    await gw.run(100);
    for (const { seq, dataBytes, flags, atMs } of flow.sent()) {
      assertEquals([seq, dataBytes, flags], [0, 0, "."]);
      probes.push(Math.round((atMs - startMs) / 100) / 10);
      await flow.guest(". 1:1 ack 1 win 0");
    }
  }
  assertEquals(probes.slice(0, 9).map((at, i) => Math.round(at - (probes[i - 1] ?? 0))), [
    0,
    0,
    1,
    2,
    3,
    6,
    13,
    26,
    51,
  ]);
  assert(probes.length < 80, `${probes.length} probes in an hour`);
  const { bufferBytes, tcpFlows } = gw.figures();
  assertEquals(tcpFlows, 1);
  assert(bufferBytes <= 64 * 1024, `${bufferBytes} bytes are held`);
  gw.counts({ "tcp.probe": probes.length });
  await flow.guest("R 1:1");
  gw.silent();
  await gw.empties(0);
});

// CVE-2008-4609: many connections whose windows are closed, or let one octet through now and then,
// so that what was sent to them stays in memory.
Deno.test("hostile 38: under memory pressure who was stalled for longest makes way, after 120 s", async () => {
  await using gw = await HostileGuest.start({
    limits: { bufferBytes: 256 * 1024, tcpBufferMaxBytes: 64 * 1024 },
  });
  gw.host.listen(HOST4, 80, source(hostBytes(200_000)));
  gw.host.listen(HOST4, 81, source(hostBytes(3_000)));
  // Memory grows scarcer the more of it is used: so many that there is none.
  const stalled = Array.from({ length: 300 }, (_, i) => gw.flow({ guestPort: 1024 + i }));
  for (const [i, flow] of stalled.entries()) {
    await gw.sends(flow.frame(`S 0:0 win ${i % 2} <mss 1460>`));
    await gw.run(1);
    flow.sent();
    await gw.sends(flow.frame(`. 1:1 ack 1 win ${i % 2}`));
  }
  const startMs = gw.host.now();
  const crumbs = async (ms: number) => {
    for (const endMs = gw.host.now() + ms; gw.host.now() < endMs;) {
      await gw.run(5_000);
      for (let i = 1; i < stalled.length; i += 50) {
        const flow = stalled[i]!;
        flow.sent();
        await flow.guest(`. 1:1 ack ${flow.sentEnd} win 1`);
      }
      gw.packets();
    }
  };
  assert(gw.figures().bufferBytes > 250_000, "memory is used up");
  const honest = gw.flow({ guestPort: 500, hostPort: 81 });
  await honest.opens("mss 1460");
  await crumbs(100_000);
  assertEquals(
    gw.counters["tcp.reset.sent"] ?? 0,
    0,
    "nobody is ended before two minutes are over",
  );
  assertEquals(gw.figures().tcpFlows, stalled.length + 1);
  const before = gw.host.now();
  while (honest.sentEnd < 3_002) {
    await gw.run(100);
    honest.sent();
    await honest.guest(`. 1:1 ack ${honest.sentEnd}`);
    assert(gw.host.now() - before < 30_000, "the honest flow is served in the end");
  }
  assert(gw.host.now() - startMs >= 118_000);
  const resets = gw.counters["tcp.reset.sent"] ?? 0;
  // One for each that found no memory at all: the quota is 256 of the smallest buffers.
  assert(resets >= 1 && resets <= stalled.length + 1 - 256, `${resets} flows made way`);
  assertEquals(stalled[0]!.sent().map(({ flags }) => flags).includes("R."), true, "the oldest one");
  gw.forget();
  await gw.empties();
});

/** A guest that has something of every kind under way, all of it made of `secret`. */
async function busyGuest(gw: HostileGuest, secret: Uint8Array): Promise<void> {
  const { host } = gw;
  host.listen(HOST4, 80, source(secret));
  host.listen(HOST4, 82); // takes nothing
  host.listen(HOST6, 80, source(secret));
  host.blackHole(HOST4, 81);
  await gw.flow().opens("mss 1460", 0); // the send ring is full
  await gw.flow({ host: HOST6 }).opens("mss 1440", 0);
  const up = gw.flow({ guestPort: 40_001, hostPort: 82 });
  await up.opens();
  for (let at = 1; at < 60_000; at += 1000) { // the receive ring, too, and gaps in it
    await up.guest(
      `P. ${at + 500 * (at % 3000 === 1 ? 1 : 0)}:${at + 1000} ack 1 fill ${secret[0]}`,
    );
  }
  await gw.flow({ guestPort: 40_002, hostPort: 81 }).guest("S 0:0");
  const data = secret.slice(0, 1000);
  const query = concat([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 60], data.slice(0, 60), [
    0,
    0,
    1,
    0,
    1,
  ]);
  const piece = (id: number) => ip4(data, { destination: HOST4, fragment: 0x2000, id });
  await gw.sends(
    ethernet(ip4(udp(GUEST4, 5000, HOST4, 7, data), { destination: HOST4 })),
    ethernet(ip4(udp(GUEST4, 5001, GATEWAY4, 53, query))),
    ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], data), { protocol: 1 })),
    ethernet(piece(1)),
    ethernet(piece(2)),
    ethernet(ip6(fragment6(data, 17, 0, true, 3), { next: 44, destination: HOST6 })),
  );
  await gw.run(10);
  const { tcpFlows, udpFlows, dials, dnsInFlight, fragmentSets, bufferBytes } = gw.figures();
  assertEquals([tcpFlows, udpFlows, dials, dnsInFlight, fragmentSets], [4, 1, 1, 1, 3]);
  assert(bufferBytes > 64 * 1024);
}

Deno.test("hostile 39: a guest that vanishes with everything under way leaves nothing behind", async () => {
  const gw = await HostileGuest.start();
  await busyGuest(gw, new Uint8Array(100_000).fill(0xa5));
  gw.sendBytes(Uint8Array.of(0, 0, 1, 0, 1, 2, 3)); // amid a frame
  await gw.settle();
  const startMs = gw.host.now();
  await gw.end();
  assert(gw.host.now() - startMs <= 1_000);
  assert(gw.host.accepted.every((peer) => peer.isClosed));
});

Deno.test("hostile 39: a guest that dies behind a link that stays is freed by the idle limits", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const peer = await flow.opens();
  await gw.sends(
    ethernet(ip4(udp(GUEST4, 5000, HOST4, 7, pattern(10)), { destination: HOST4 })),
    ethernet(ip4(pattern(16), { destination: HOST4, fragment: 0x2000 })),
  );
  gw.forget();
  const { fragmentMs, tcpIdleMs, udpUnrepliedMs } = DEFAULT_LIMITS;
  await gw.run(Math.max(fragmentMs, udpUnrepliedMs) + 10);
  const { tcpFlows, udpFlows, fragmentSets } = gw.figures();
  assertEquals([tcpFlows, udpFlows, fragmentSets, peer.isClosed], [1, 0, 0, false]);
  await gw.run(tcpIdleMs - 60_000);
  assertEquals(peer.isClosed, false);
  await gw.run(60_000);
  assertEquals(peer.isClosed, true);
  flow.expects("R. 1:1 ack 1");
  gw.counts({ "drop.frag.timeout": 1, "icmp.errors": 1, "tcp.reset.sent": 1 });
  await gw.empties(0);
});

Deno.test("hostile 39: the next guest on the same socket never sees its bytes", async () => {
  const SECRET = 0xa5;
  const host = new VirtualHost();
  const bytes = 512 * 1024 * 1024;
  const pool = new BufferPool(new FrameMemory(bytes), 0, bytes); // one that hides nothing
  const first = await HostileGuest.start({ host, pool });
  await busyGuest(first, new Uint8Array(100_000).fill(SECRET));
  await first.end();
  assertEquals(pool.usedBytes, 0);

  const second = await HostileGuest.start({ host, pool });
  assertEquals(second.figures().tcpFlows, 0);
  host.listen(HOST4, 80, source(hostBytes(50_000)));
  host.udp(HOST4, 7, (data, reply) => reply(data));
  const flow = second.flow();
  const seen: Uint8Array[] = [];
  const keep = () => {
    for (const frame of second.frames()) seen.push(frame);
  };
  for (const port of [40_000, 40_001, 40_002]) { // the first guest's own four-tuples
    second.send(second.flow({ guestPort: port }).frame(". 500:500 ack 1"));
  }
  second.send(flow.frame("S 0:0 win 65535 <mss 1460,sackOK>"));
  await second.run(5);
  const synAck = second.frames().map(read).find(({ payload }) => payload[13] === 0x12)!;
  flow.iss = new DataView(synAck.payload.buffer).getUint32(4);
  for (let at = 1; at < 50_000; at += 1000) {
    second.send(
      flow.frame(`. 1:1 ack ${at}`),
      flow.frame(`P. ${at % 700}:${at % 700 + 10} ack ${at}`),
    );
    await second.run(5);
    keep();
  }
  const later = new Uint8Array(100);
  second.send(
    ethernet(ip4(udp(GUEST4, 5000, HOST4, 7, later), { destination: HOST4 })),
    ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], later), { protocol: 1 })),
    // The rest of what the first guest began: its own octets would have made it whole.
    ethernet(ip4(later.slice(0, 96), { destination: HOST4, fragment: 1000 >> 3, id: 1 })),
    ethernet(
      ip4(udp(GUEST4, 5000, "169.254.169.254", 7, later), { destination: "169.254.169.254" }),
    ),
    ethernet(ip6(udp(GUEST6, 5000, HOST6, 7, later), { destination: HOST6 })),
  );
  await second.run(100_000);
  keep();
  assert(seen.length > 50, `${seen.length} frames were looked at`);
  for (const frame of seen) {
    assert(!hasRun(frame, SECRET, 8), `a frame has the first guest's octets: ${frame}`);
  }
  for (const peer of host.accepted) {
    if (!peer.isClosed) assert(!hasRun(peer.take(), SECRET, 8));
  }
  await second.end();
  assertEquals([pool.usedBytes, host.openSockets, host.timers], [0, 0, 0]);
});

function hasRun(bytes: Uint8Array, octet: number, length: number): boolean {
  let run = 0;
  for (const one of bytes) {
    run = one === octet ? run + 1 : 0;
    if (run === length) return true;
  }
  return false;
}

/** The initial numbers of SYN-ACKs to these ports of the guest, at a gateway with these dice. */
async function initialNumbers(seed: number, ports: number, everyMs: number): Promise<number[]> {
  await using gw = await HostileGuest.start({ seed });
  gw.host.listen(HOST4, 80);
  const numbers: number[] = [];
  for (let i = 0; i < ports; i++) {
    const flow = gw.flow({ guestPort: 1024 + i });
    await flow.guest("S 0:0");
    await gw.settle();
    assertEquals(flow.sent().map(({ flags }) => flags), ["S."]);
    numbers.push(flow.iss);
    await flow.guest("R 1:1");
    await gw.run(everyMs);
  }
  await gw.empties(0);
  return numbers;
}

Deno.test("hostile 41: initial numbers of other ports, and under other dice, are unrelated", async () => {
  const [one, two] = [await initialNumbers(1, 500, 0), await initialNumbers(2, 500, 0)];
  for (const numbers of [one, two, one.map((number, i) => (number - two[i]!) >>> 0)]) {
    assertEquals(new Set(numbers).size, numbers.length);
    // The distance to the next port's number is anything: no sixteenth of the range is favoured.
    const buckets = new Array<number>(16).fill(0);
    for (let i = 1; i < numbers.length; i++) {
      buckets[((numbers[i]! - numbers[i - 1]!) >>> 0) >>> 28]!++;
    }
    assert(Math.max(...buckets) < 70 && Math.min(...buckets) > 8, `${buckets}`);
  }
  // Nor is the difference between two ports a constant that can be learned elsewhere.
  const differences = new Set(one.map((number, i) => (number - one[0]! - two[i]! + two[0]!) >>> 0));
  assert(differences.size > 490);
});

Deno.test("hostile 41: for one four-tuple the number moves on with the clock, by 250 each ms", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  let last = -1;
  let lastMs = 0;
  for (const pauseMs of [0, 1, 10, 1_000, 60_000, 3_600_000, 5]) {
    await gw.run(pauseMs);
    const flow = gw.flow();
    await flow.guest("S 0:0");
    await gw.settle();
    flow.expects("S. 0:0 ack 1");
    const nowMs = gw.host.now();
    if (last >= 0) {
      assertEquals(
        (flow.iss - last) >>> 0,
        (250 * (nowMs - lastMs)) % 2 ** 32,
        `${pauseMs} ms later`,
      );
    }
    last = flow.iss;
    lastMs = nowMs;
    await flow.guest("R 1:1");
  }
  gw.silent();
  await gw.empties(0);
});

Deno.test("hostile 41: resolver questions and clients' ports begin where nobody can foretell", async () => {
  const firstPorts = new Set<number>();
  for (let seed = 1; seed <= 20; seed++) {
    await using gw = await HostileGuest.start({ seed });
    // Two clients from one place: the second one's port is chosen by the gateway.
    const clients = [gw.publish(80, "127.0.0.1", 5000), gw.publish(80, "127.0.0.1", 5000)];
    assert(clients.every((client) => client !== null));
    await gw.settle();
    const ports = gw.taken(({ protocol, payload }) => {
      return protocol === 6 && payload[13] === 2 ? payload[0]! * 256 + payload[1]! : null;
    });
    assertEquals([ports.length, ports[0]], [2, 5000]);
    firstPorts.add(ports[1]!);
  }
  assert(firstPorts.size > 15, `${[...firstPorts]}`);
});
