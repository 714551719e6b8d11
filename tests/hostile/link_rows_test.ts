/** Rows 1 to 7: the stream of frames, Ethernet, ARP. */
import { assert, assertEquals } from "@std/assert";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import { MAX_FRAME_BYTES } from "../../lib/stack/queues.ts";
import { Dice } from "../support/dice.ts";
import {
  BROADCAST_MAC,
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_MAC,
  GUEST4,
  GUEST6,
  GUEST_MAC,
  icmp4,
  icmp6,
  ip,
  ip4,
  ip6,
  mac,
  pattern,
  tcp,
  u16,
  u32,
  udp,
} from "../support/packets.ts";
import type { VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import type { VirtualPeer } from "../support/virtual_socket.ts";
import { HOST4 } from "../support/virtual_host.ts";
import { flood } from "./flood.ts";
import { hostBytes, HostileGuest } from "./hostile_guest.ts";

/** Fields of an ARP packet that differ from a question for the gateway. */
interface Arp {
  readonly head?: readonly number[];
  readonly operation?: number;
  readonly senderMac?: string;
  readonly sender?: string;
  readonly target?: string;
}

const ARP_HEAD = [0, 1, 8, 0, 6, 4];

/** An ARP packet without its Ethernet header. */
function arpPacket(arp: Arp = {}): Uint8Array {
  return concat(
    arp.head ?? ARP_HEAD,
    u16(arp.operation ?? 1),
    mac(arp.senderMac ?? GUEST_MAC),
    ip(arp.sender ?? GUEST4),
    [0, 0, 0, 0, 0, 0],
    ip(arp.target ?? GATEWAY4),
  );
}

function arpFrame(arp: Arp = {}, source = GUEST_MAC): Uint8Array {
  return ethernet(arpPacket(arp), { type: 0x0806, destination: BROADCAST_MAC, source });
}

/** The gateway's answer to the guest's question for it. */
const ARP_ANSWER = concat(
  ARP_HEAD,
  u16(2),
  mac(GATEWAY_MAC),
  ip(GATEWAY4),
  mac(GUEST_MAC),
  ip(GUEST4),
);

/** Asks for the gateway's MAC: it is told, and the stack is well. */
async function asks(gw: HostileGuest, times = 1): Promise<void> {
  await gw.sends(...Array(times).fill(arpFrame()));
  assertEquals(answers(gw), times);
  gw.silent().counts({});
}

/** How many answers came, all of them right. */
function answers(gw: HostileGuest): number {
  const came = gw.taken((packet) => packet.type === 0x0806 ? packet : null);
  for (const { payload, destinationMac } of came) {
    assertEquals([payload, destinationMac], [ARP_ANSWER, GUEST_MAC]);
  }
  return came.length;
}

/** Frames as they stand on the wire. */
function framed(...frames: readonly Uint8Array[]): Uint8Array {
  return concat(...frames.flatMap((frame) => [u32(frame.length), frame]));
}

Deno.test("hostile 1: lengths of 0 to 13 are passed over, and the stream stays in step", async () => {
  await using gw = await HostileGuest.start();
  const runts = Array.from({ length: 14 }, (_, bytes) => pattern(bytes));
  gw.sendBytes(framed(arpFrame(), ...runts.flatMap((runt) => [runt, arpFrame()])));
  await gw.settle();
  assertEquals(answers(gw), 15);
  gw.silent().counts({ "drop.eth.short": 14 });
  // The same octet by octet; and a header alone is a frame, of a type that nobody knows.
  for (const octet of framed(pattern(13), pattern(0), ethernet(new Uint8Array(0), { type: 0 }))) {
    gw.sendBytes(Uint8Array.of(octet));
    await gw.settle();
  }
  gw.counts({ "drop.eth.short": 2, "drop.eth.type": 1 });
  await asks(gw);
  await gw.empties(0);
});

Deno.test("hostile 2: a length above 65,550 ends the link, and nothing is allocated", async () => {
  for (const length of [MAX_FRAME_BYTES + 1, 0x0100_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
    const warnings: unknown[] = [];
    const warn: GatewayLogger["warn"] = (_, fields) => void warnings.push(fields?.frameBytes);
    await using gw = await HostileGuest.start({ logger: { ...silentLogger, warn } });
    await gw.sends(ethernet(new Uint8Array(MAX_FRAME_BYTES - 14), { type: 0x1234 }));
    gw.counts({ "drop.eth.type": 1 });
    gw.sendBytes(concat(framed(arpFrame()), u32(length), framed(arpFrame())));
    await gw.settle();
    assertEquals(gw.ended, "broken framing");
    assertEquals(warnings, [length]);
    assertEquals(answers(gw), 1, "what stands in front is answered, what is behind is not read");
    gw.silent().counts({});
    await gw.empties(0);
  }
});

/** Frames of many kinds whose answers depend on nothing but the frames. */
function conversation(): Uint8Array[] {
  const data = pattern(64);
  const to = (destination: string) => ({ destination });
  return [
    arpFrame(),
    ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], data), { protocol: 1 })),
    pattern(9), // a runt
    ethernet(ip6(icmp6(GUEST6, GATEWAY6, 128, 0, [0, 1, 0, 1], data), { next: 58 })),
    ethernet(ip4(udp(GUEST4, 9, GATEWAY4, 9, data))), // nothing listens
    ethernet(ip4(data, { protocol: 47, ...to(HOST4) })),
    ethernet(ip4(tcp(GUEST4, HOST4, data), { protocol: 6, ...to(HOST4) })), // no such flow
    ethernet(data, { type: 0x88cc }),
    ethernet(ip4(icmp4(8, 0, [0, 2, 0, 1], data), { protocol: 1, id: 7, fragment: 0x2000 })),
    ethernet(ip4(pattern(40), { protocol: 1, id: 7, fragment: 9 })), // a gap is left
  ];
}

/** What comes of many conversations over such a link, and what is counted. */
async function transcript(options: VirtualGatewayOptions): Promise<unknown> {
  await using gw = await HostileGuest.start(options);
  gw.sendBytes(framed(...Array.from({ length: 4 }, conversation).flat()));
  await gw.settle();
  const frames = gw.frames();
  const counters = gw.counters;
  await gw.run(60_000); // the incomplete datagrams are given up
  await gw.empties(0);
  return { frames, counters };
}

Deno.test("hostile 3: any split of the octets gives the same answers and the same counts", async () => {
  const whole = await transcript({});
  const { frames, counters } = whole as { frames: unknown[]; counters: Record<string, number> };
  assertEquals([frames.length, counters["drop.eth.short"]], [4 * 6, 4]);
  assertEquals(await transcript({ link: { transferBytes: () => 1 } }), whole);
  for (let seed = 1; seed <= 20; seed++) {
    const dice = new Dice(seed);
    const most = 1 << dice.below(12);
    const link = { transferBytes: () => 1 + dice.below(most) };
    assertEquals(await transcript({ link }), whole, `seed ${seed}`);
  }
});

Deno.test("hostile 3: a thousand frames in one read are all answered", async () => {
  await using gw = await HostileGuest.start();
  await asks(gw, 1000);
  await gw.empties(0);
});

Deno.test("hostile 3: megabytes in reads that all end inside a frame are walked to the last", async () => {
  await using gw = await HostileGuest.start({ link: { transferBytes: () => 4099 } });
  const count = 3000;
  await flood(gw, count, ethernet(pattern(1500), { type: 0x88cc }), () => {});
  gw.silent().counts({ "drop.eth.type": count });
  await asks(gw);
  await gw.empties(0);
});

Deno.test("hostile 3: the end inside a frame frees everything within a second", async () => {
  await using gw = await HostileGuest.start();
  const { host } = gw;
  host.listen(HOST4, 80);
  host.blackHole(HOST4, 81);
  host.udp(HOST4, 7, (data, reply) => reply(data));
  const flow = gw.flow();
  const peer = await flow.opens();
  peer.write(hostBytes(10_000));
  // The host takes nothing, so that the finished flow has octets left to be delivered.
  const stuck = gw.flow({ guestPort: 40_001, hostPort: 80 });
  await stuck.opens();
  for (let seq = 1; seq < 130_000; seq += 1000) {
    await stuck.guest(`. ${seq}:${seq + 1000} ack 1`);
    await gw.run(6);
  }
  await stuck.guest("F. 130001:130001 ack 1");
  await gw.flow({ guestPort: 40_002, hostPort: 81 }).guest("S 0:0 win 65535 <mss 1460>");
  const first = ip4(pattern(800), { destination: HOST4, id: 1, fragment: 0x2000 });
  const question = concat(u16(7), [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 0], u16(1), u16(1));
  await gw.sends(
    ethernet(ip4(udp(GUEST4, 5000, HOST4, 7, pattern(10)), { destination: HOST4 })),
    ethernet(ip4(udp(GUEST4, 5001, GATEWAY4, 53, question))),
    ethernet(first),
  );
  const { tcpFlows, udpFlows, relays, dials, dnsInFlight, fragmentSets, bufferBytes } = gw
    .figures();
  assertEquals([tcpFlows, relays, dials, udpFlows, dnsInFlight, fragmentSets], [3, 3, 1, 1, 1, 1]);
  assert(bufferBytes > 64 * 1024, `${bufferBytes}`);
  gw.sendBytes(framed(arpFrame()).slice(0, -1));
  await gw.settle();
  const cutMs = host.now();
  gw.cut();
  await host.clock.until("everything is freed", () => gw.ended !== null, 1000);
  assertEquals(gw.ended, "closed by the VMM");
  assert(host.now() - cutMs >= 800, "the host had its time");
  await gw.empties(0);
});

/** A host that always has more to say, up to a number of octets. */
function talks(peer: VirtualPeer, bytes: Uint8Array): { written: number } {
  const state = { written: 0 };
  peer.onChange = () => void (state.written += peer.write(bytes.subarray(state.written)));
  peer.onChange();
  return state;
}

Deno.test("hostile 4: a guest that acknowledges and does not read stops its hosts", async () => {
  await using gw = await HostileGuest.start();
  const { host } = gw;
  host.listen(HOST4, 80);
  const datagram = pattern(1400);
  host.udp(HOST4, 7, (_, reply) => {
    for (let i = 0; i < 200; i++) reply(datagram);
  });
  const bytes = hostBytes(512 * 1024);
  const flows = [];
  for (let i = 0; i < 4; i++) {
    const flow = gw.flow({ guestPort: 40_000 + i });
    flows.push({ flow, talk: talks(await flow.opens(), bytes) });
  }
  await gw.run(1);
  for (const { flow } of flows) flow.sent();
  gw.silent().grown();
  const sentBytes = () => gw.counters["tx.bytes"]! + 4 * gw.counters["tx.frames"]!;
  const before = sentBytes();
  gw.takes = false;
  // It acknowledges what it has not read, so that windows grow and there is always more to send.
  const acked = flows.map(({ flow }) => flow.sentEnd);
  for (let turns = 0; turns < 40; turns++) {
    for (const [i, { flow }] of flows.entries()) {
      const lines = Array.from({ length: 20 }, () => `. 1:1 ack ${acked[i]! += 1460}`);
      await flow.guest(...lines);
      acked[i]! -= 10 * 1460;
    }
    await gw.sends(ethernet(ip4(udp(GUEST4, 5000, HOST4, 7, pattern(9)), { destination: HOST4 })));
    await gw.run(1);
  }
  const onTheLink = gw.link.availableBytes;
  const queued = sentBytes() - before - onTheLink;
  assert(queued > 512 * 1024 && queued < 4 * 1024 * 1024, `${queued} octets wait`);
  assert(gw.grown()["drop.queue.full"]! > 7000, "what datagrams find no room are dropped");
  await gw.run(10_000);
  const written = flows.map(({ talk }) => talk.written);
  assert(Math.max(...written) < bytes.length, `hosts could write ${written}`);
  // Nothing spins, and nothing grows.
  const { steps } = host.clock;
  await gw.run(60_000);
  assert(host.clock.steps - steps < 600, `${host.clock.steps - steps} steps in a minute`);
  assertEquals(flows.map(({ talk }) => talk.written), written);
  assertEquals(sentBytes() - before - onTheLink, queued);
  // The guest reads again: every octet of every flow comes, and is held against its place.
  gw.takes = true;
  for (let turns = 0; flows.some(({ flow }) => flow.sentEnd <= bytes.length); turns++) {
    assert(turns < 2000, "the transfers come to their end");
    await gw.run(1);
    for (const { flow } of flows) {
      if (flow.sent().length > 0) await flow.guest(`. 1:1 ack ${flow.sentEnd}`);
    }
  }
  for (const { flow } of flows) await flow.guest("R 1:1");
  await gw.empties();
});

Deno.test("hostile 5: VLAN, 802.3, LLDP and every other unknown type are dropped", async () => {
  await using gw = await HostileGuest.start();
  const payload = arpPacket();
  const known = [0x0800, 0x0806, 0x86dd];
  const unknown = Array.from({ length: 0x10000 }, (_, type) => type).filter((type) =>
    !known.includes(type)
  );
  await flood(gw, unknown.length, ethernet(payload, { type: 0 }), (_, view, i) => {
    view.setUint16(12, unknown[i]!);
  });
  gw.silent().counts({ "drop.eth.type": 0x10000 - 3 });
  // What stands behind a tag or an LLC header is not looked for.
  const tagged = concat(u16(7), u16(0x0806), payload);
  for (const type of [0x8100, 0x88a8, 0x9100]) await gw.sends(ethernet(tagged, { type }));
  const llc = concat([0xaa, 0xaa, 3, 0, 0, 0], u16(0x0806), payload);
  await gw.sends(ethernet(llc, { type: llc.length }));
  for (const destination of ["01:80:c2:00:00:0e", "01:80:c2:00:00:00", BROADCAST_MAC]) {
    await gw.sends(ethernet(pattern(46), { type: 0x88cc, destination }));
  }
  gw.silent().counts({ "drop.eth.type": 7 });
  await asks(gw);
  await gw.empties(0);
});

Deno.test("hostile 6: of a million source MACs the first is the link's", async () => {
  await using gw = await HostileGuest.start();
  // None of these can be a guest's: the gateway's own, groups, none.
  const others = [GATEWAY_MAC, BROADCAST_MAC, "33:33:00:00:00:01", "00:00:00:00:00:00"];
  await gw.sends(...others.map((source) => arpFrame({ senderMac: source }, source)));
  gw.silent().counts({ "drop.eth.src": others.length });
  await asks(gw);
  const count = 1 << 20;
  await flood(gw, count, arpFrame(), (frame, view, i) => {
    view.setUint32(8, i); // the source's last octets
    frame.copyWithin(22, 6, 12);
  });
  gw.silent().counts({ "drop.eth.src": count });
  await gw.sends(...others.map((source) => arpFrame({ senderMac: source }, source)));
  gw.silent().counts({ "drop.eth.src": others.length });
  await asks(gw);
  await gw.empties(0);
});

// CVE-2020-29130: header fields were read although the frame ended in front of them.
Deno.test("hostile 7: ARP of every length below its own, and with other sizes, is dropped", async () => {
  await using gw = await HostileGuest.start();
  await asks(gw);
  const whole = arpPacket();
  for (let bytes = 0; bytes < whole.length; bytes++) {
    await gw.sends(ethernet(whole.slice(0, bytes), { type: 0x0806 }));
  }
  gw.silent().counts({ "drop.arp": whole.length });
  let wrong = 0;
  for (let octet = 0; octet < ARP_HEAD.length; octet++) {
    for (const value of [0, 1, 2, 4, 5, 6, 7, 8, 16, 255]) {
      if (value === ARP_HEAD[octet]) continue;
      await gw.sends(arpFrame({ head: ARP_HEAD.with(octet, value) }));
      wrong++;
    }
  }
  for (const operation of [0, 3, 4, 8, 9, 256, 257, 65_535]) {
    await gw.sends(arpFrame({ operation }));
    wrong++;
  }
  gw.silent().counts({ "drop.arp": wrong });
  await gw.sends(ethernet(concat(whole, pattern(18)), { type: 0x0806 })); // padded as cards do
  assertEquals(answers(gw), 1);
  gw.silent().counts({});
  await gw.empties(0);
});

Deno.test("hostile 7: nobody is spoken for but the gateway, and nobody takes its place", async () => {
  await using gw = await HostileGuest.start();
  await asks(gw);
  for (const target of [GUEST4, "100.96.0.0", "100.96.0.3", HOST4, "0.0.0.0", "255.255.255.255"]) {
    await gw.sends(arpFrame({ target }), arpFrame({ target, operation: 2 }));
    await gw.sends(arpFrame({ target, sender: target })); // an announcement
  }
  gw.silent().counts({});
  for (const operation of [1, 2]) {
    for (const target of [GATEWAY4, GUEST4, HOST4]) {
      await gw.sends(arpFrame({ operation, sender: GATEWAY4, target }));
      await gw.sends(arpFrame({ operation, senderMac: GATEWAY_MAC, target }));
    }
  }
  gw.silent().counts({ "drop.arp": 12 });
  await asks(gw);
  // A probe for the gateway's address finds it taken.
  await gw.sends(arpFrame({ sender: "0.0.0.0" }));
  const [answer] = gw.packets();
  assertEquals(answer!.payload.slice(8, 18), concat(mac(GATEWAY_MAC), ip(GATEWAY4)));
  gw.silent().counts({});
  await gw.empties(0);
});
