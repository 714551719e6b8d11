/** Rows 26 to 28: floods of SYNs, and connects that nobody answers. */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { concat, GATEWAY4, u16, u32 } from "../support/packets.ts";
import { HOST4 } from "../support/virtual_host.ts";
import { type Flow, HostileGuest } from "./hostile_guest.ts";

const { dnsConnections, tcpDials, tcpDialTimeoutMs, tcpDialYieldMs, tcpHalfOpen } = DEFAULT_LIMITS;
const SHARE = tcpHalfOpen / 4;

/** Another host, and a port where nobody ever answers. */
const OTHER4 = "93.184.216.35";
const BLACK_HOLE = 81;

/** The same segment from many ports, framed; all come from one frame whose checksum is carried on. */
function fromPorts(flow: Flow, line: string, first: number, count: number): Uint8Array {
  const frame = flow.frame(line);
  const one = concat(u32(frame.length), frame);
  const portAt = 4 + 14 + 20;
  const view = new DataView(one.buffer);
  const out = new Uint8Array(one.length * count);
  for (let i = 0; i < count; i++) {
    const old = view.getUint16(portAt);
    const port = 1024 + (first + i) % 64_000;
    // RFC 1624: HC' = ~(~HC + ~m + m').
    let sum = (~view.getUint16(portAt + 16) & 0xffff) + (~old & 0xffff) + port;
    sum = (sum & 0xffff) + (sum >> 16);
    one.set(u16(port), portAt);
    one.set(u16(~(sum + (sum >> 16))), portAt + 16);
    out.set(one, i * one.length);
  }
  return out;
}

/** Connects, with SYNs that are repeated as a kernel would, and resets: how long the first took. */
async function connects(gw: HostileGuest, flow: Flow, everyMs = 1_000): Promise<number> {
  const startMs = gw.host.now();
  for (let tries = 0; tries < 8; tries++) {
    await flow.guest("S 0:0 <mss 1460>");
    for (let ms = 0; ms < everyMs; ms++) {
      await gw.run(1);
      if (flow.sent().some(({ flags }) => flags === "S.")) {
        await flow.guest(". 1:1 ack 1", "R 1:1");
        return gw.host.now() - startMs;
      }
    }
  }
  throw new Error("never answered");
}

/** Floods for a second, in bursts of a hundredth, and holds the limits all the while. */
async function flood(gw: HostileGuest, flows: readonly Flow[], mostHalfOpen: number) {
  const syns = 100_000;
  const burst = 1_000;
  let most = 0;
  for (let sent = 0; sent < syns; sent += burst) {
    const each = burst / flows.length;
    for (const [i, flow] of flows.entries()) {
      gw.sendBytes(fromPorts(flow, "S 0:0 <mss 1460>", sent / flows.length + i * 7_919, each));
    }
    await gw.run(10);
    const { tcpFlows, relays, dials } = gw.figures();
    most = Math.max(most, tcpFlows);
    assert(tcpFlows <= mostHalfOpen, `${tcpFlows} flows`);
    assert(relays <= mostHalfOpen && dials <= mostHalfOpen, `${relays} relays, ${dials} dials`);
    assert(gw.host.dialing <= tcpDials, `${gw.host.dialing} connects under way`);
  }
  assertEquals(most, mostHalfOpen, "the limit was met");
  assertEquals(gw.unsentBytes, 0);
  return { syns, dropped: gw.counters["drop.tcp.halfopen"] ?? 0 };
}

/** Hosts where this many ports answer after 5 ms. */
function answering(gw: HostileGuest, ports: number): Flow[] {
  return Array.from({ length: ports }, (_, i) => {
    gw.host.listen(OTHER4, 1000 + i, null, { delayMs: 5 });
    return gw.flow({ host: OTHER4, hostPort: 1000 + i });
  });
}

Deno.test("hostile 26: 100,000 SYNs a second to a host that answers", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, null, { delayMs: 5 });
  const flows = answering(gw, 1);
  const { syns, dropped } = await flood(gw, flows, SHARE);
  assert(dropped > 0.9 * syns, `${dropped} dropped`);
  // Each other SYN was dialled, or came when its port's turn came again while the flow was there.
  const repeated = syns - dropped - gw.host.dialed.length;
  assert(repeated >= 0 && repeated <= SHARE, `${repeated} came again`);
  // Everyone else is served at once, the flooded host within a second.
  assert(await connects(gw, gw.flow({ guestPort: 500 })) < 50);
  const again = gw.flow({ host: OTHER4, hostPort: 1000, guestPort: 501 });
  assert(await connects(gw, again, 100) < 1_000);
  gw.forget();
  await gw.empties();
});

Deno.test("hostile 26: 100,000 SYNs a second to 20 places that answer", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, null, { delayMs: 5 });
  const flows = answering(gw, 20);
  const { dropped, syns } = await flood(gw, flows, tcpHalfOpen);
  assert(dropped > 0.9 * syns, `${dropped} dropped`);
  assert(await connects(gw, gw.flow({ guestPort: 500 }), 100) < 1_000);
  gw.forget();
  await gw.empties();
});

Deno.test("hostile 26: 100,000 SYNs a second to a black hole", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, null, { delayMs: 5 });
  gw.host.blackHole(OTHER4, BLACK_HOLE);
  const { dropped, syns } = await flood(
    gw,
    [gw.flow({ host: OTHER4, hostPort: BLACK_HOLE })],
    SHARE,
  );
  // The first ports have come round once more, for flows that are there.
  assertEquals(dropped, syns - 2 * SHARE);
  assert(await connects(gw, gw.flow({ guestPort: 500 })) < 50);
  gw.forget();
  await gw.empties();
});

Deno.test("hostile 26: 100,000 SYNs a second to 20 black holes", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, null, { delayMs: 5 });
  gw.host.listen(HOST4, 82, null, { delayMs: 5 });
  assert(await connects(gw, gw.flow({ guestPort: 499 })) < 50);
  const flows = Array.from({ length: 20 }, (_, i) => {
    gw.host.blackHole(OTHER4, 1000 + i);
    return gw.flow({ host: OTHER4, hostPort: 1000 + i });
  });
  await flood(gw, flows, tcpHalfOpen);
  // Where somebody has answered before a connect works within a second, elsewhere once a pending
  // dial makes way.
  assert(await connects(gw, gw.flow({ guestPort: 500 }), 100) < 1_000);
  const tookMs = await connects(gw, gw.flow({ guestPort: 501, hostPort: 82 }));
  assert(tookMs < tcpDialYieldMs + 500, `${tookMs} ms`);
  gw.forget();
  await gw.empties();
});

Deno.test("hostile 26: 100,000 SYNs a second to the resolver", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, null, { delayMs: 5 });
  await flood(gw, [gw.flow({ host: GATEWAY4, hostPort: 53 })], dnsConnections);
  assert(await connects(gw, gw.flow({ guestPort: 500 }), 100) < 1_000);
  const resolver = gw.flow({ host: GATEWAY4, hostPort: 53, guestPort: 501 });
  assert(await connects(gw, resolver, 100) < 1_000);
  gw.forget();
  await gw.empties();
});

Deno.test("hostile 27: 10,000 times SYN and RST free every slot and abort every dial", async () => {
  await using gw = await HostileGuest.start({ limits: { tcpDialsPerSecond: 1_000_000 } });
  gw.host.blackHole(HOST4, 80);
  const pairs = 10_000;
  for (let i = 0; i < pairs; i += 100) {
    for (let j = 0; j < 100; j++) {
      // A guest that gives up says so with the number that it would have gone on with.
      const flow = gw.flow({ guestPort: 1024 + i + j });
      gw.send(flow.frame("S 0:0 <mss 1460>"), flow.frame(j % 2 === 0 ? "R 1:1" : "R 0:0"));
    }
    await gw.settle();
    assert(gw.isEmpty, JSON.stringify(gw.figures()));
    assertEquals(gw.host.dialing, 0);
  }
  assertEquals(gw.host.dialed.length, pairs);
  gw.silent().counts({ "tcp.reset.received": pairs });
});

Deno.test("hostile 27: dials that the guest takes back count three times against the rate", async () => {
  await using gw = await HostileGuest.start();
  gw.host.blackHole(OTHER4, BLACK_HOLE);
  gw.host.listen(HOST4, 80, null, { delayMs: 5 });
  const { tcpDialsPerSecond } = DEFAULT_LIMITS;
  for (let i = 0; i < 10_000; i += 100) {
    for (let j = 0; j < 100; j++) {
      const flow = gw.flow({ host: OTHER4, hostPort: BLACK_HOLE, guestPort: 1024 + i + j });
      gw.send(flow.frame("S 0:0 <mss 1460>"), flow.frame("R 1:1"));
    }
    await gw.run(1);
  }
  const most = tcpDialsPerSecond / 10 + tcpDialsPerSecond / 10 / 3;
  const { length } = gw.host.dialed;
  assert(length > most / 4 && length < most, `${length} dials within a tenth of a second`);
  assert(await connects(gw, gw.flow({ guestPort: 500 })) < 500);
  await gw.empties();
});

Deno.test("hostile 27: an RST behind the SYN-ACK closes the host's socket", async () => {
  await using gw = await HostileGuest.start({ limits: { tcpDialsPerSecond: 1_000_000 } });
  gw.host.listen(HOST4, 80);
  const flows = Array.from({ length: 1_000 }, (_, i) => gw.flow({ guestPort: 1024 + i }));
  for (let i = 0; i < flows.length; i += 100) {
    const some = flows.slice(i, i + 100);
    await gw.sends(...some.map((flow) => flow.frame("S 0:0 <mss 1460>")));
    await gw.run(1);
    for (const flow of some) flow.expects("S. 0:0 ack 1");
    await gw.sends(...some.map((flow) => flow.frame("R 1:1")));
    assert(gw.isEmpty, JSON.stringify(gw.figures()));
  }
  assert(gw.host.accepted.every((peer) => peer.isClosed));
  gw.silent().counts({ "tcp.reset.received": flows.length });
});

Deno.test("hostile 28: 1,000 dials into a black hole leave connects quick, and end after 30 s in 3/1", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, null, { delayMs: 2 });
  gw.host.blackHole(OTHER4, BLACK_HOLE);
  const startMs = gw.host.now();
  const lost = gw.flow({ host: OTHER4, hostPort: BLACK_HOLE });
  const latencies: number[] = [];
  const told: { atMs: number; code: string; port: number }[] = [];
  const listen = () => {
    for (const { code, quote } of gw.errors()) {
      told.push({ atMs: gw.host.now() - startMs, code, port: quote[20]! * 256 + quote[21]! });
    }
  };
  for (let tenth = 0; tenth < 420; tenth++) {
    if (tenth < 100) gw.sendBytes(fromPorts(lost, "S 0:0 <mss 1460>", 10 * tenth, 10));
    const flow = gw.flow({ guestPort: 30_000 + tenth });
    latencies.push(await connects(gw, flow));
    await gw.host.clock.run(100 - (gw.host.now() - startMs) % 100);
    listen();
    assert(gw.host.dialing <= tcpDials);
  }
  latencies.sort((a, b) => a - b);
  assert(latencies[Math.ceil(latencies.length * 0.99) - 1]! < 50, `${latencies.slice(-10)}`);
  // What came beyond the destination's share was dropped; each dial had its 30 s and its answer.
  assertEquals(gw.counters["drop.tcp.halfopen"], 1_000 - SHARE);
  assertEquals(told.length, SHARE);
  for (const { atMs, code, port } of told) {
    assertEquals(code, "3/1");
    const askedMs = Math.floor((port - 1024) / 10) * 100;
    const pendingMs = atMs - askedMs;
    assert(pendingMs >= tcpDialTimeoutMs && pendingMs < tcpDialTimeoutMs + 500, `${pendingMs} ms`);
  }
  gw.silent();
  await gw.empties(0);
});

Deno.test("hostile 28: pending dials into many black holes make way after 3 s", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, null, { delayMs: 2 });
  gw.host.listen(HOST4, 82, null, { delayMs: 2 });
  assert(await connects(gw, gw.flow({ guestPort: 498, hostPort: 82 })) < 50);
  for (let i = 0; i < 10; i++) {
    gw.host.blackHole(OTHER4, 2000 + i);
    gw.sendBytes(fromPorts(gw.flow({ host: OTHER4, hostPort: 2000 + i }), "S 0:0", 100 * i, 100));
  }
  await gw.settle();
  assertEquals([gw.host.dialing, gw.figures().dials], [tcpDials - tcpDials / 8, 1_000]);
  // An eighth is left for where somebody has answered before.
  for (let i = 0; i < 50; i++) {
    const known = gw.flow({ guestPort: 600 + i, hostPort: 82 });
    assert(await connects(gw, known) < 50);
  }
  const healthy = gw.flow({ guestPort: 500 });
  const tookMs = await connects(gw, healthy, 10_000);
  assert(tookMs < 2 * tcpDialYieldMs + 1_000, `${tookMs} ms`);
  await gw.run(tcpDialTimeoutMs);
  // Every one of them has heard: by an ICMP error, or by an RST where too many were due at once.
  const codes = gw.errors().map(({ code }) => code);
  assert(codes.length >= 50 && codes.every((code) => code === "3/1"));
  const resets = gw.packets().filter(({ protocol, payload }) => {
    return protocol === 6 && (payload[13]! & 4) !== 0;
  });
  assertEquals(codes.length + resets.length, 1_000);
  await gw.empties(0);
});

Deno.test("hostile 28: 512 dials that end at once are all told, by ICMP or RST", async () => {
  await using gw = await HostileGuest.start();
  gw.host.blackHole(HOST4, BLACK_HOLE);
  gw.sendBytes(fromPorts(gw.flow({ hostPort: BLACK_HOLE }), "S 0:0", 0, 512));
  await gw.run(tcpDialTimeoutMs + 250);
  const { icmpErrorBurst } = DEFAULT_LIMITS;
  const codes = gw.errors().map(({ code }) => code);
  assertEquals(codes, Array(icmpErrorBurst).fill("3/1"));
  const rest = gw.packets();
  assertEquals(rest.length, 512 - icmpErrorBurst);
  assert(rest.every(({ protocol, payload }) => protocol === 6 && payload[13] === 0x14));
  gw.counts({
    "icmp.errors": icmpErrorBurst,
    "drop.icmp.limit": rest.length,
    "tcp.refused": rest.length,
    "tcp.reset.sent": rest.length,
  });
  await gw.empties(0);
});
