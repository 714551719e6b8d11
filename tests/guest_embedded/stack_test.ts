/** The embedded guest's stack alone, on a virtual clock: retries, bad frames, the same run twice. */
import { assert, assertEquals } from "@std/assert";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_LL,
  GATEWAY_MAC,
  GUEST4,
  GUEST_MAC,
  icmp4,
  icmp6,
  ip,
  ip4,
  ip6,
  mac,
  pattern,
  u16,
  udp,
} from "../support/packets.ts";
import { StackHarness } from "../support/stack_harness.ts";
import { GuestBench } from "./bench.ts";

const GUEST6 = "fd53:4d00::53:4dff:fe00:2";
const TO_GUEST = { source: GATEWAY_MAC, destination: GUEST_MAC };

/** Carries frames both ways until neither has more to say. */
function settle(bench: GuestBench, gateway: StackHarness): Uint8Array[] {
  const seen: Uint8Array[] = [];
  for (let rounds = 0; rounds < 20; rounds++) {
    const frames = bench.sent();
    seen.push(...frames);
    for (const frame of frames) gateway.push(frame);
    const replies = gateway.sent();
    for (const frame of replies) bench.push(frame);
    if (frames.length + replies.length === 0) break;
  }
  return seen;
}

/** A guest with a lease, and its gateway. */
function leased(): { bench: GuestBench; gateway: StackHarness } {
  const bench = new GuestBench();
  const gateway = new StackHarness();
  bench.stack.dhcp.start(bench.nowMs);
  bench.stack.neighbors.solicitRouters(bench.nowMs);
  bench.work();
  settle(bench, gateway);
  return { bench, gateway };
}

Deno.test("a lease, a route and the router's MAC come without time passing", () => {
  const { bench, gateway } = leased();
  assertEquals(bench.stack.dhcp.lease?.address, GUEST4);
  assertEquals(bench.stack.neighbors.advertised?.address, GUEST6);
  assert(bench.stack.guest.hasRouterMac);
  assertEquals(bench.stack.pollAt(), Infinity);
  assertEquals(gateway.counted(), { "dhcp.leases": 1 });
  assertEquals(gateway.stack.addresses.count, 1, "the address was announced");
});

Deno.test("the same randomness gives the same frames", () => {
  const run = (seed: number): Uint8Array[] => {
    const bench = new GuestBench(seed);
    bench.stack.dhcp.start(bench.nowMs);
    bench.work();
    return settle(bench, new StackHarness());
  };
  assertEquals(run(1), run(1));
  assert(run(1)[0]!.join() !== run(2)[0]!.join(), "another transaction");
});

Deno.test("a silent link is asked again, and then given up", () => {
  const bench = new GuestBench();
  const startMs = bench.nowMs;
  bench.stack.dhcp.start(startMs);
  bench.stack.neighbors.solicitRouters(startMs);
  bench.work();
  const times: [ms: number, type: number][] = [];
  const note = () => {
    for (const frame of bench.sent()) {
      times.push([bench.nowMs - startMs, new DataView(frame.buffer).getUint16(12)]);
    }
  };
  note();
  while (bench.stack.pollAt() < Infinity) {
    bench.wait(bench.stack.pollAt() - bench.nowMs);
    note();
  }
  const at = (type: number) => times.filter((each) => each[1] === type).map(([ms]) => ms);
  assertEquals(at(0x0800), [0, 1_000, 3_000, 7_000, 15_000]);
  assertEquals(at(0x86dd), [0, 1_000, 2_000]);
  assertEquals(bench.stack.dhcp.state, "failed");
  assert(bench.stack.neighbors.hasNoRouter);
  assertEquals(bench.nowMs - startMs, 31_000);
});

Deno.test("a reply to another client or transaction is passed over", () => {
  const bench = new GuestBench();
  const gateway = new StackHarness();
  bench.stack.dhcp.start(bench.nowMs);
  bench.work();
  const [discover] = bench.sent();
  gateway.push(discover!);
  const [offer] = gateway.sent();
  const dhcpAt = 14 + 20 + 8;
  for (const field of [4, 28]) { // transaction, client's MAC
    const other = offer!.slice();
    other[dhcpAt + field]! ^= 1;
    const data = other.slice(dhcpAt);
    const packet = ip4(udp(GATEWAY4, 67, GUEST4, 68, data), {
      source: GATEWAY4,
      destination: GUEST4,
    });
    bench.push(ethernet(packet, TO_GUEST));
    assertEquals(bench.stack.dhcp.state, "selecting");
  }
  bench.push(offer!);
  assertEquals(bench.stack.dhcp.state, "requesting");
});

Deno.test("the guest answers for its own addresses and for no other", () => {
  const { bench } = leased();
  const arp = (target: string) =>
    ethernet(
      concat(
        [0, 1, 8, 0, 6, 4, 0, 1],
        mac(GATEWAY_MAC),
        ip(GATEWAY4),
        new Uint8Array(6),
        ip(target),
      ),
      { source: GATEWAY_MAC, destination: BROADCAST_MAC, type: 0x0806 },
    );
  bench.push(arp(GUEST4));
  assertEquals(bench.sent().map((frame) => frame.subarray(20, 22).join()), ["0,2"]);
  bench.push(arp("100.96.0.3"));
  assertEquals(bench.sent(), []);
  const solicit = (target: string) =>
    ethernet(
      ip6(icmp6(GATEWAY_LL, GUEST6, 135, 0, [0, 0, 0, 0], ip(target)), {
        source: GATEWAY_LL,
        destination: GUEST6,
        next: 58,
        hopLimit: 255,
      }),
      TO_GUEST,
    );
  bench.push(solicit(GUEST6));
  assertEquals(bench.sent().map((frame) => frame[14 + 40]), [136]);
  bench.push(solicit(GATEWAY6));
  assertEquals(bench.sent(), []);
});

Deno.test("the guest answers an echo and refuses a datagram to a closed port", () => {
  const { bench } = leased();
  const options = { source: GATEWAY4, destination: GUEST4 };
  const echo = icmp4(8, 0, [1, 2, 3, 4], pattern(40));
  bench.push(ethernet(ip4(echo, { ...options, protocol: 1 }), TO_GUEST));
  assertEquals(bench.sent().map((frame) => frame[34]), [0]);
  const datagram = ip4(udp(GATEWAY4, 1, GUEST4, 9, pattern(8)), options);
  bench.push(ethernet(datagram, TO_GUEST));
  assertEquals(bench.sent().map((frame) => [frame[34], frame[35]]), [[3, 3]]);
});

Deno.test("what is damaged or not for the guest is dropped and counted", () => {
  const { bench } = leased();
  const options = { source: GATEWAY4, destination: GUEST4 };
  const good = udp(GATEWAY4, 1, GUEST4, 2, pattern(20));
  const damaged = good.slice();
  damaged[12]! ^= 1;
  const cases: [frame: Uint8Array, counter: string][] = [
    [ethernet(ip4(damaged, options), TO_GUEST), "drop.csum"],
    [ethernet(ip4(good, { ...options, badChecksum: true }), TO_GUEST), "drop.csum"],
    [ethernet(ip4(good, { ...options, totalBytes: 2_000 }), TO_GUEST), "drop.ip.hdr"],
    [ethernet(ip4(good, { ...options, ihl: 4 }), TO_GUEST), "drop.ip.hdr"],
    [ethernet(ip4(good, { ...options, destination: "100.96.0.3" }), TO_GUEST), "drop.ip.dst"],
    [ethernet(ip4(good, options), { ...TO_GUEST, destination: GATEWAY_MAC }), "drop.eth.dst"],
    [ethernet(ip4(good, options), { ...TO_GUEST, type: 0x8100 }), "drop.eth.type"],
    [ethernet(ip4(good, { ...options, protocol: 47 }), TO_GUEST), "drop.ip.protocol"],
    [ethernet(ip4(good, { ...options, protocol: 58 }), TO_GUEST), "drop.ip.protocol"],
    [ethernet(concat([0x60], u16(0)), TO_GUEST), "drop.ip.hdr"],
  ];
  for (const [frame, counter] of cases) {
    const before = bench.stack.counters.get(counter as "drop.csum");
    bench.push(frame);
    assertEquals(bench.stack.counters.get(counter as "drop.csum"), before + 1, counter);
    assertEquals(bench.sent(), []);
  }
});
