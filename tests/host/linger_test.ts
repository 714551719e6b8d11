/** A guest is kept while its VMM is away: on virtual time, with segments by hand. */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { requestFor, start as startInspected } from "../hostile/inspection.ts";
import { guestPolicy } from "../support/policy.ts";
import {
  ACK,
  FIN,
  readSegment,
  RST,
  type Segment,
  segmentFrame,
  SYN,
} from "../support/hand_guest.ts";
import {
  concat,
  ethernet,
  GATEWAY4,
  GUEST4,
  GUEST_MAC,
  ip,
  ip4,
  mac,
  pattern,
  read,
  u16,
  u32,
  udp,
} from "../support/packets.ts";
import { VirtualGateway, type VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import { Socket } from "../support/published_rig.ts";
import { HOST4 } from "../support/virtual_host.ts";
import type { VirtualPeer } from "../support/virtual_socket.ts";

const LINGER_MS = 3_600_000;
const OTHER_MAC = "02:53:4d:00:00:77";
/** The guest's first number; the gateway's is learned. */
const ISN = 0xffff_ff00;

/** A gateway that waits for its VMM. */
function lingering(options: VirtualGatewayOptions = {}): VirtualGateway {
  const gw = new VirtualGateway({ lingerMs: LINGER_MS, ...options });
  gw.host.listen(HOST4, 80);
  return gw;
}

/** An established flow of the guest, its segments made and read by hand. */
class Flow {
  seq = (ISN + 1) >>> 0;
  ack = 0;
  constructor(
    readonly gw: VirtualGateway,
    readonly host: VirtualPeer,
    readonly port: number,
  ) {}

  static async open(gw: VirtualGateway, port = 40_000): Promise<Flow> {
    gw.frames();
    gw.send(segmentFrame({ destination: HOST4, sourcePort: port, flags: SYN, seq: ISN }));
    await gw.run(20);
    const [answer] = segmentsOf(gw);
    assertEquals(answer?.flags, SYN | ACK);
    const flow = new Flow(gw, gw.host.accepted.at(-1)!, port);
    flow.ack = (answer!.seq + 1) >>> 0;
    flow.send({});
    await gw.run(20);
    gw.frames();
    return flow;
  }

  /** Sends a segment, in order unless it says otherwise. */
  send(segment: Partial<Segment>): void {
    const { seq, ack, port } = this;
    this.gw.send(
      segmentFrame({ destination: HOST4, sourcePort: port, flags: ACK, seq, ack, ...segment }),
    );
  }
}

/** The gateway's segments that have come since the last look. */
function segmentsOf(gw: VirtualGateway): Segment[] {
  return gw.frames().filter((frame) => frame[12] === 8 && frame[13] === 0)
    .map((frame) => readSegment(read(frame))).filter((segment) => segment !== null);
}

/** How many of the frames are ARP questions. */
function arpQuestions(frames: readonly Uint8Array[]): number {
  return frames.filter((frame) => frame[12] === 8 && frame[13] === 6 && frame[21] === 1).length;
}

/** An ARP packet of the guest: a question for the gateway. */
function arp(source = GUEST_MAC): Uint8Array {
  const packet = concat([0, 1, 8, 0, 6, 4, 0, 1], mac(source), ip(GUEST4), u32(0), u16(0));
  return ethernet(concat(packet, ip(GATEWAY4)), { type: 0x0806, source });
}

/** A message of the guest's DHCP client: 1 is DISCOVER, 3 a REQUEST for the address it had. */
function dhcp(type: 1 | 3): Uint8Array {
  const zeros = (count: number) => new Uint8Array(count);
  const wanted = type === 3 ? concat([50, 4], ip(GUEST4)) : [];
  const message = concat(
    [1, 1, 6, 0],
    u32(0x1234_5678),
    zeros(20),
    mac(GUEST_MAC),
    zeros(202),
    [0x63, 0x82, 0x53, 0x63, 53, 1, type],
    wanted,
    [255],
  );
  const datagram = udp("0.0.0.0", 68, "255.255.255.255", 67, message);
  const addresses = { source: "0.0.0.0", destination: "255.255.255.255", protocol: 17 };
  return ethernet(ip4(datagram, addresses), { destination: "ff:ff:ff:ff:ff:ff" });
}

Deno.test("linger: a kept flow is silent until an acceptable segment, then sends again what was lost", async () => {
  await using gw = lingering();
  const flow = await Flow.open(gw);
  const bytes = pattern(4_000);
  flow.host.write(bytes);
  await gw.run(5);
  assert(segmentsOf(gw).length > 0, "the data is on its way");
  await gw.lose();
  assertEquals([gw.network.link, gw.ended], ["detached", null]);
  await gw.run(LINGER_MS / 2);
  assertEquals([flow.host.isClosed, gw.figures().tcpFlows], [false, 1]);
  assert(await gw.rejoin());
  await gw.run(120_000);
  const asked = gw.frames();
  assertEquals(arpQuestions(asked), asked.length, "nothing but who is there");
  assert(asked.length >= 5 && asked.length <= 10, `${asked.length} questions in two minutes`);
  // None of these shows that the guest still has the flow; none is answered.
  flow.send({ ack: flow.ack + 100_000 });
  flow.send({ seq: flow.seq + 100_000 });
  flow.send({ seq: flow.seq - 200_000, data: pattern(10) });
  flow.send({ flags: RST, seq: flow.seq + 1 });
  flow.send({ flags: SYN | ACK });
  flow.send({ flags: 0, data: pattern(10) });
  await gw.run(900);
  assertEquals(gw.frames(), [], "not a frame");
  assertEquals(gw.counters["drop.tcp.silent"], 6);
  flow.send({});
  await gw.run(0);
  const [first, ...rest] = segmentsOf(gw);
  assertEquals([first!.seq, first!.ack, first!.flags & ACK], [flow.ack, flow.seq, ACK]);
  const again = concat(...[first!, ...rest].map(({ data }) => data));
  assertEquals(again, bytes, "all of it, in order, within the restart window");
  assertEquals([gw.counters["tcp.resumed"], gw.counters["tcp.rto"] ?? 0], [1, 0]);
  flow.ack = (flow.ack + bytes.length) >>> 0;
  flow.send({ data: pattern(10, 3) });
  await gw.run(20);
  assertEquals(flow.host.take(), pattern(10, 3));
});

Deno.test("linger: bytes whose ACK was lost come again, and the flow goes on", async () => {
  await using gw = lingering();
  const flow = await Flow.open(gw);
  flow.send({ data: pattern(1_000) });
  await gw.run(0);
  assertEquals(flow.host.take(), pattern(1_000));
  await gw.lose();
  await gw.rejoin();
  flow.send({ data: pattern(1_000) }); // the same, since its ACK never came
  await gw.run(0);
  const answers = segmentsOf(gw);
  assertEquals(answers.at(-1)!.ack, (flow.seq + 1_000) >>> 0, "the ACK, with the window");
  flow.seq = (flow.seq + 1_000) >>> 0;
  flow.send({ data: pattern(50, 1) });
  await gw.run(20);
  assertEquals(flow.host.take(), pattern(50, 1));
});

Deno.test("linger: an end whose ACK was lost is acknowledged however late the guest sends it again", async () => {
  await using gw = lingering();
  const flow = await Flow.open(gw);
  flow.host.finish();
  await gw.run(20);
  const [end] = segmentsOf(gw);
  flow.ack = (end!.seq + 1) >>> 0;
  const last = { flags: FIN | ACK, data: pattern(700) };
  flow.send(last);
  await gw.run(0);
  assertEquals([flow.host.take(), flow.host.isEnded], [pattern(700), true]);
  await gw.lose();
  await gw.run(LINGER_MS / 2);
  assertEquals([gw.figures().relays, gw.figures().timers], [0, 0]);
  await gw.rejoin();
  await gw.run(110_000); // about the longest pause that there is between two of them
  gw.frames();
  flow.send(last);
  await gw.run(20);
  const [answer, ...more] = segmentsOf(gw);
  assertEquals([answer!.flags, answer!.ack], [ACK, (flow.seq + 701) >>> 0]);
  assertEquals(more, []);
  await gw.run(DEFAULT_LIMITS.tcpTimeWaitMs);
  assertEquals(gw.figures().tcpFlows, 0);
});

Deno.test("linger: a guest that only listens is asked once it was heard, and answers or is given up", async () => {
  await using gw = lingering();
  const flow = await Flow.open(gw);
  const other = await Flow.open(gw, 40_001);
  const idle = await Flow.open(gw, 40_002);
  for (const { host } of [flow, other]) host.write(pattern(100));
  await gw.run(5);
  gw.frames();
  await gw.lose();
  await gw.rejoin();
  await gw.run(10_000);
  assertEquals(segmentsOf(gw), [], "the guest was not heard");
  gw.send(arp());
  await gw.run(990);
  assertEquals(segmentsOf(gw), [], "it may have something to say itself");
  await gw.run(20);
  const asks = segmentsOf(gw);
  assertEquals(
    asks.map(({ destinationPort, seq, data, flags }) => [destinationPort, seq, data.length, flags]),
    [[40_000, flow.ack - 1, 0, ACK], [40_001, other.ack - 1, 0, ACK]],
    "an old number and no byte; nothing for the flow that owes nothing",
  );
  flow.send({});
  await gw.run(0);
  assertEquals(segmentsOf(gw).filter(({ data }) => data.length === 100).length, 1);
  flow.ack += 100;
  flow.send({});
  await gw.run(300_000);
  const more = segmentsOf(gw).filter(({ destinationPort }) => destinationPort === 40_001);
  assert(more.length >= 5 && more.length < 10, `${more.length} more questions in five minutes`);
  await gw.run(300_000);
  assertEquals(other.host.isClosed, true, "ten questions without an answer");
  assertEquals(segmentsOf(gw).filter(({ flags }) => (flags & RST) !== 0), []);
  assertEquals([flow.host.isClosed, idle.host.isClosed], [false, false]);
});

Deno.test("linger: a guest that was started again says so, with a reset or a new SYN", async () => {
  await using gw = lingering();
  const flow = await Flow.open(gw);
  const other = await Flow.open(gw, 40_001);
  flow.host.write(pattern(100));
  await gw.run(5);
  await gw.lose();
  await gw.rejoin();
  gw.send(arp());
  await gw.run(1_100);
  const [ask] = segmentsOf(gw);
  gw.send(segmentFrame({
    destination: HOST4,
    sourcePort: flow.port,
    flags: RST,
    seq: ask!.ack,
  }));
  gw.send(segmentFrame({
    destination: HOST4,
    sourcePort: other.port,
    flags: SYN,
    seq: 77,
  }));
  await gw.run(20);
  assertEquals([flow.host.isClosed, other.host.isClosed], [true, true]);
  const [answer, ...more] = segmentsOf(gw);
  assertEquals([answer!.flags, answer!.ack, more.length], [SYN | ACK, 78, 0]);
});

Deno.test("hostile 39: of a guest that is kept another one sees no byte", async () => {
  await using gw = lingering();
  const flow = await Flow.open(gw);
  const secret = pattern(3_000, 99);
  flow.host.write(secret);
  await gw.run(5);
  await gw.lose();
  flow.host.write(secret);
  await gw.run(1_000);
  await gw.rejoin();
  gw.frames();
  gw.send(arp(OTHER_MAC));
  await gw.run(0);
  assertEquals([flow.host.isClosed, gw.figures().tcpFlows], [true, 0]);
  const replies = gw.frames().filter((frame) => frame[21] === 2);
  assertEquals(replies.map((frame) => frame.slice(0, 6)), [mac(OTHER_MAC)], "it is served");
  // It says what the guest before it would have said: nothing comes but a reset.
  const asBefore = segmentFrame({
    destination: HOST4,
    sourcePort: flow.port,
    seq: flow.seq,
    ack: flow.ack,
  });
  asBefore.set(mac(OTHER_MAC), 6);
  gw.send(asBefore);
  await gw.run(10_000);
  const segments = segmentsOf(gw);
  assertEquals(segments.map(({ flags, data }) => [flags & RST, data.length]), [[RST, 0]]);
});

Deno.test("hostile 39: the answer to a question of a guest that was kept is not another one's", async () => {
  for (const source of [GUEST_MAC, OTHER_MAC]) {
    await using gw = lingering();
    let answer = (): void => {};
    gw.host.udp("10.0.0.53", 53, (question, reply) => {
      const bytes = question.slice();
      bytes[2]! |= 0x80;
      answer = () => reply(bytes);
    });
    const name = [1, 0x61, 4, 0x74, 0x65, 0x73, 0x74, 0]; // a.test
    const message = Uint8Array.of(0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 1, 0, 1);
    const datagram = udp(GUEST4, 5_353, GATEWAY4, 53, message);
    gw.send(ethernet(ip4(datagram, { destination: GATEWAY4, protocol: 17 })));
    await gw.run(10);
    await gw.lose();
    await gw.rejoin();
    gw.frames();
    gw.send(arp(source));
    await gw.run(10);
    answer();
    await gw.run(100);
    const answers = gw.frames().filter((frame) => frame[12] === 8 && frame[13] === 0);
    assertEquals(answers.length, source === GUEST_MAC ? 1 : 0);
  }
});

Deno.test("linger: a DHCPDISCOVER frees what the guest has not used since, a DHCPREQUEST nothing", async () => {
  await using gw = lingering();
  const flow = await Flow.open(gw);
  const alive = await Flow.open(gw, 40_001);
  gw.host.udp(HOST4, 7, () => {});
  gw.send(
    ethernet(ip4(udp(GUEST4, 5_000, HOST4, 7, pattern(5)), { destination: HOST4, protocol: 17 })),
  );
  await gw.run(0);
  assertEquals(gw.figures().udpFlows, 1);
  gw.send(dhcp(1));
  await gw.run(0);
  assertEquals(gw.figures().tcpFlows, 2, "on a link that was never lost it frees nothing");
  await gw.lose();
  await gw.rejoin();
  alive.send({});
  gw.send(dhcp(3));
  await gw.run(0);
  assertEquals([flow.host.isClosed, gw.figures().udpFlows], [false, 1]);
  gw.frames();
  gw.send(dhcp(1));
  await gw.run(0);
  assertEquals([flow.host.isClosed, alive.host.isClosed], [true, false]);
  assertEquals([gw.figures().tcpFlows, gw.figures().udpFlows], [1, 0]);
  const answers = gw.frames().map((frame) => read(frame));
  assertEquals(answers.map(({ protocol }) => protocol), [17], "an offer, and no reset");
});

Deno.test("hostile 39: a guest that is kept in vain is freed when the time has run out", async () => {
  const gw = lingering({ lingerMs: 30_000 });
  const flow = await Flow.open(gw);
  await gw.lose();
  await gw.run(29_900);
  assertEquals([gw.ended, flow.host.isClosed], [null, false]);
  await gw.run(200);
  assertEquals([gw.ended, flow.host.isClosed], ["closed by the VMM", true]);
  assertEquals(await gw.rejoin(), false);
  await gw.end();
});

Deno.test("hostile 39: a VMM that only comes and goes extends nothing, and hears no storm", async () => {
  const gw = lingering({ lingerMs: 30_000 });
  const flow = await Flow.open(gw);
  flow.host.write(pattern(60_000));
  await gw.run(5);
  await gw.lose();
  gw.frames();
  let rounds = 0;
  while (gw.ended === null && rounds < 100) {
    await gw.run(1_000);
    if (await gw.rejoin()) rounds++;
    await gw.run(0);
    await gw.lose();
  }
  assert(rounds >= 28 && rounds <= 31, `${rounds} rounds in 30 s`);
  assertEquals(flow.host.isClosed, true);
  assertEquals(segmentsOf(gw), []);
  await gw.end();
});

Deno.test("linger: partial frames, either way, are not carried into the next stream", async () => {
  await using gw = lingering({ link: { bufferBytes: 1_000 } });
  const flow = await Flow.open(gw);
  gw.takes = false;
  flow.host.write(pattern(20_000));
  await gw.run(5);
  const half = segmentFrame({ destination: HOST4, sourcePort: 1, flags: SYN, seq: 5 });
  gw.sendBytes(concat(u32(half.length), half.subarray(0, 30)));
  await gw.run(0);
  const { "rx.frames": before } = gw.counters;
  await gw.lose();
  await gw.run(200);
  gw.takes = true;
  await gw.rejoin();
  flow.send({});
  await gw.run(50);
  assertEquals(gw.counters["rx.frames"], before! + 1, "one frame, whole");
  const segments = segmentsOf(gw); // a stream out of step would not even be read
  assertEquals(segments[0]!.seq, flow.ack);
  assert(segments.every(({ sourcePort }) => sourcePort === 80));
  const opened = gw.counters["tcp.opened"];
  assertEquals(opened, 1, "the half SYN opened nothing");
});

Deno.test("linger: no timer of a flow runs out while the VMM is away", async () => {
  await using gw = lingering({ limits: { tcpIdleMs: 60_000 } });
  const flow = await Flow.open(gw);
  flow.host.write(pattern(3_000));
  await gw.run(5);
  await gw.lose();
  await gw.run(1_800_000); // thirty times the idle time, and more than all retransmissions take
  assertEquals([flow.host.isClosed, gw.counters["tcp.rto"] ?? 0], [false, 0]);
  assertEquals(gw.figures().timers, 0);
  await gw.rejoin();
  await gw.run(30_000);
  assertEquals(flow.host.isClosed, false);
  flow.ack += 3_000; // the ACK of what had come before the cut
  flow.send({});
  await gw.run(20);
  // Its round trip was half an hour, and says nothing: the next loss is repaired as ever.
  gw.frames();
  flow.host.write(pattern(100));
  await gw.run(1_500);
  const copies = segmentsOf(gw).filter(({ data }) => data.length === 100);
  assert(copies.length >= 2, `${copies.length} copies in 1.5 s`);
  await gw.run(60_000);
  assertEquals(flow.host.isClosed, true, "the idle time counts again");
});

Deno.test("linger: a host that sends on is held up by full rings, and comes whole afterwards", async () => {
  await using gw = lingering({ limits: { tcpBufferMaxBytes: 64 * 1024 } });
  const flow = await Flow.open(gw);
  await gw.lose();
  let written = 0;
  for (let i = 0; i < 100; i++) {
    written += flow.host.write(pattern(10_000));
    await gw.run(100);
  }
  assert(written > 64 * 1024 && written < 256 * 1024, `${written} bytes were taken`);
  assert(gw.figures().bufferBytes <= 128 * 1024);
  assertEquals(gw.counters["drop.link.away"] ?? 0, 0, "nothing was tried");
});

Deno.test("linger: UDP flows go on; what comes for them meanwhile is dropped and counted", async () => {
  await using gw = lingering();
  let reply: (data: Uint8Array) => void = () => {};
  gw.host.udp(HOST4, 7, (_data, answer) => reply = answer);
  const send = (data: Uint8Array) =>
    gw.send(
      ethernet(ip4(udp(GUEST4, 5_000, HOST4, 7, data), { destination: HOST4, protocol: 17 })),
    );
  send(pattern(5));
  await gw.run(0);
  await gw.lose();
  for (let i = 0; i < 50; i++) reply(pattern(20));
  await gw.run(100);
  assertEquals(gw.counters["drop.link.away"], 50);
  await gw.rejoin();
  await gw.run(0);
  assertEquals(gw.frames().length, 1, "who is there, and no datagram");
  send(pattern(6));
  await gw.run(0);
  reply(pattern(21));
  await gw.run(20);
  assertEquals(gw.frames().map((frame) => read(frame).payload.length), [8 + 21]);
  assertEquals(gw.counters["udp.opened"], 1);
});

Deno.test("linger: a client of a published port waits for the guest, or for the end", async () => {
  const gw = lingering({ lingerMs: 30_000, limits: { publishedPending: 2 } });
  gw.send(arp());
  await gw.run(0);
  await gw.lose();
  const client = gw.publish(22)!;
  assert(gw.publish(22, "10.0.0.9", 50_001) !== null);
  assertEquals(gw.publish(22, "10.0.0.9", 50_002), null, "no more than may wait ever");
  await gw.run(10_000);
  assertEquals(client.isClosed, false);
  await gw.rejoin();
  await gw.run(5_000);
  assertEquals(segmentsOf(gw), [], "the guest was not heard");
  gw.send(arp());
  await gw.run(50);
  const syns = segmentsOf(gw);
  assertEquals(syns.map(({ flags, destinationPort }) => [flags, destinationPort]), [
    [SYN, 22],
    [SYN, 22],
  ]);
  const { seq, sourcePort, source } = syns[0]!;
  gw.send(segmentFrame({
    sourcePort: 22,
    destination: source,
    destinationPort: sourcePort,
    flags: SYN | ACK,
    seq: 9,
    ack: seq + 1,
  }));
  await gw.run(20);
  client.write(pattern(7));
  await gw.run(20);
  assertEquals(segmentsOf(gw).at(-1)!.data, pattern(7));
  await gw.lose();
  await gw.run(31_000);
  assertEquals([gw.ended, client.isClosed], ["closed by the VMM", true]);
  await gw.end();
});

Deno.test("linger: flows that end while the VMM is away are silent too, until the guest asks for them", async () => {
  await using gw = lingering();
  const flow = await Flow.open(gw);
  await gw.lose();
  gw.network.setPolicy(guestPolicy({ deny: [HOST4] }));
  await gw.run(0);
  assertEquals([flow.host.isClosed, gw.figures().relays, gw.network.flows()], [true, 0, []]);
  await gw.rejoin();
  await gw.run(5_000);
  assertEquals(segmentsOf(gw), []);
  gw.send(arp());
  await gw.run(1_100);
  assertEquals(segmentsOf(gw).map(({ flags, data }) => [flags, data.length]), [[ACK, 0]]);
  flow.send({});
  await gw.run(0);
  const resets = segmentsOf(gw);
  assertEquals(resets.map(({ flags, seq }) => [flags & RST, seq]), [[RST, flow.ack]]);
  assertEquals(gw.figures().tcpFlows, 0);
});

Deno.test("linger: a flow whose host resets it meanwhile costs no memory, and is gone in the end", async () => {
  await using gw = lingering();
  const flow = await Flow.open(gw);
  flow.host.write(pattern(5_000));
  await gw.run(5);
  await gw.lose();
  flow.host.reset();
  await gw.run(10);
  const { relays, bufferBytes, tcpFlows } = gw.figures();
  assertEquals([relays, bufferBytes, tcpFlows], [0, 0, 1], "its numbers alone are kept");
  await gw.rejoin();
  gw.send(arp());
  await gw.run(600_000);
  assertEquals([gw.counters["tcp.asked"], gw.figures().tcpFlows], [10, 0]);
});

Deno.test("linger: a SYN that was held when the link went is answered when it comes again", async () => {
  await using gw = lingering();
  gw.host.listen(HOST4, 81, null, { delayMs: 500 });
  const syn = segmentFrame({ destination: HOST4, destinationPort: 81, flags: SYN, seq: 7 });
  gw.send(syn);
  await gw.run(100);
  await gw.lose();
  await gw.run(1_000);
  assertEquals(gw.host.accepted.length, 1);
  await gw.rejoin();
  gw.send(arp());
  await gw.run(3_000);
  assertEquals(segmentsOf(gw), []);
  gw.send(syn);
  await gw.run(0);
  assertEquals(segmentsOf(gw).map(({ flags, ack }) => [flags, ack]), [[SYN | ACK, 8]]);
  assertEquals(gw.host.dialed.length, 1, "one dial for both");
});

Deno.test("linger: a guest whose last ACK of the handshake was lost is asked for it", async () => {
  await using gw = lingering();
  gw.host.listen(HOST4, 81, (peer) => void peer.write(pattern(30)));
  gw.send(segmentFrame({ destination: HOST4, destinationPort: 81, flags: SYN, seq: 7 }));
  await gw.run(20);
  const [answer] = segmentsOf(gw);
  await gw.lose();
  await gw.rejoin();
  gw.send(arp());
  await gw.run(1_100);
  const [ask, ...more] = segmentsOf(gw);
  assertEquals([ask!.flags, ask!.ack, ask!.data.length, more.length], [ACK, 8, 0, 0]);
  const flow = { destination: HOST4, destinationPort: 81, seq: 8, ack: (answer!.seq + 1) >>> 0 };
  gw.send(segmentFrame(flow));
  await gw.run(20);
  assertEquals(segmentsOf(gw).at(-1)!.data, pattern(30));
});

Deno.test("linger: broken framing and an end of the gateway's own wait for nobody", async () => {
  const broken = lingering();
  await Flow.open(broken);
  broken.sendBytes(concat(u32(70_000), pattern(20)));
  await broken.run(0);
  assertEquals(broken.ended, "broken framing");
  await broken.end();
  const closed = lingering();
  const flow = await Flow.open(closed);
  await closed.lose();
  void closed.network.close(5_000);
  await closed.run(20);
  assertEquals([closed.ended, flow.host.isClosed], ["closed by the VMM", true]);
  assertEquals(await closed.rejoin(), false);
  await closed.end();
});

Deno.test("linger: an end in the moment of the return leaves nothing either", async () => {
  for (const graceMs of [0, 1_000]) {
    const gw = lingering();
    const flow = await Flow.open(gw);
    await gw.lose();
    const [conn, vmm] = gw.host.openConn();
    assert(gw.network.reattach(conn));
    void gw.network.close(graceMs);
    await gw.run(1_500);
    assertEquals([gw.ended, flow.host.isClosed, vmm.isClosed], ["closed by the VMM", true, true]);
    await gw.end();
  }
});

Deno.test("linger: a client is given up where no guest is heard on the link that came back", async () => {
  await using gw = lingering();
  gw.send(arp());
  await gw.run(0);
  await gw.lose();
  const early = gw.publish(22)!;
  await gw.run(600_000);
  assertEquals(early.isClosed, false, "the VMM is away");
  await gw.rejoin();
  const late = gw.publish(22, "10.0.0.9", 50_001)!;
  await gw.run(59_000);
  assertEquals([early.isClosed, late.isClosed], [false, false]);
  await gw.run(2_000);
  assertEquals([early.isClosed, late.isClosed], [true, true]);
});

Deno.test("linger: a flow that is to show a name has its time when the guest is back", async () => {
  const { gw, denials } = await startInspected(undefined, { lingerMs: LINGER_MS });
  await using _gw = gw;
  gw.host.listen(HOST4, 80);
  gw.send(segmentFrame({ destination: HOST4, flags: SYN, seq: ISN }));
  await gw.run(20);
  const [answer] = segmentsOf(gw);
  await gw.lose();
  await gw.run(DEFAULT_LIMITS.inspectMs * 10);
  assertEquals([gw.figures().relays, denials], [1, []], "nothing is held against it");
  await gw.rejoin();
  const at = { seq: (ISN + 1) >>> 0, ack: (answer!.seq + 1) >>> 0 };
  gw.send(segmentFrame({ destination: HOST4, data: requestFor("allowed.example"), ...at }));
  await gw.run(100);
  assertEquals(gw.host.accepted.at(-1)!.take(), requestFor("allowed.example"));
  assertEquals(denials, []);
});

Deno.test("linger: without a time, or with a guest that was never heard, nothing is kept", async () => {
  const plain = new VirtualGateway();
  plain.host.listen(HOST4, 80);
  await Flow.open(plain);
  await plain.lose();
  assertEquals(plain.ended, "closed by the VMM");
  await plain.end();
  const unheard = lingering();
  await unheard.lose();
  assertEquals(unheard.ended, "closed by the VMM");
  await unheard.end();
});

/** A question of the guest to the gateway's resolver. */
function dnsQuestion(name: string, id = 0x1234): Uint8Array {
  const labels = name.split(".").flatMap((label) => [
    [label.length],
    new TextEncoder().encode(label),
  ]);
  const head = concat(u16(id), [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  const message = concat(head, ...labels, [0, 0, 1, 0, 1]);
  const addresses = { destination: GATEWAY4, protocol: 17 };
  return ethernet(ip4(udp(GUEST4, 5_353, GATEWAY4, 53, message), addresses));
}

/** An upstream's answer: an address for an hour. */
function answerTo(question: Uint8Array, lastOctet: number): Uint8Array {
  const address = [0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, lastOctet];
  const message = concat(question, address);
  message.set([0x81, 0x80], 2);
  message[7] = 1;
  return message;
}

/** The destinations of IPv4 frames that have come since the last look. */
function receivers(gw: VirtualGateway): Uint8Array[] {
  return gw.frames().filter((frame) => frame[12] === 8 && frame[13] === 0)
    .map((frame) => frame.slice(0, 6));
}

Deno.test("hostile 39: what hosts and clients send meets nobody on a link that was not heard", async () => {
  await using gw = lingering();
  let reply: (data: Uint8Array) => void = () => {};
  gw.host.udp(HOST4, 7, (_data, answer) => reply = answer);
  const send = (data: Uint8Array) =>
    gw.send(
      ethernet(ip4(udp(GUEST4, 5_000, HOST4, 7, data), { destination: HOST4, protocol: 17 })),
    );
  send(pattern(5));
  await gw.run(0);
  await gw.lose();
  await gw.rejoin();
  const { "drop.link.away": before = 0 } = gw.counters;
  gw.frames();
  reply(pattern(21));
  const published = new Socket(22);
  gw.network.receivePublished(published, { hostname: "10.0.0.9", port: 50_000 }, pattern(9));
  await gw.run(60_000);
  const frames = gw.frames();
  assertEquals(arpQuestions(frames), frames.length, "nothing but who is there");
  assertEquals(gw.counters["drop.link.away"], before + 2);
  gw.send(arp());
  await gw.run(0);
  reply(pattern(22));
  gw.network.receivePublished(published, { hostname: "10.0.0.9", port: 50_000 }, pattern(10));
  await gw.run(20);
  const lengths = gw.frames().map((frame) => read(frame)).filter(({ protocol }) => protocol === 17)
    .map(({ payload }) => payload.length - 8);
  assertEquals(lengths.toSorted((a, b) => a - b), [10, 22], "the guest that was heard has its own");
});

Deno.test("hostile 39: a question of a kept guest is answered to it alone, once it was heard", async () => {
  for (
    const [who, answers, pins] of [[GUEST_MAC, 1, 1], [OTHER_MAC, 0, 0], [null, 0, 1]] as const
  ) {
    await using gw = lingering();
    let asked = 0;
    gw.host.udp("10.0.0.53", 53, (data, answer) => {
      asked++;
      answer(answerTo(data, 7), { delayMs: 900 });
    });
    gw.network.setPolicy(guestPolicy({ allow: ["secret.example"] }));
    gw.send(dnsQuestion("secret.example"));
    await gw.run(10);
    assertEquals(asked, 1);
    await gw.lose();
    await gw.rejoin();
    if (who !== null) gw.send(arp(who));
    await gw.run(10);
    gw.frames();
    await gw.run(5_000);
    assertEquals(receivers(gw), Array(answers).fill(mac(GUEST_MAC)), String(who));
    const { pins: kept, dnsInFlight } = gw.figures();
    assertEquals([asked, kept, dnsInFlight, gw.network.keptAnswers], [1, pins, 0, pins]);
  }
});

Deno.test("hostile 39: a question over TCP ends with the flow of the guest that asked", async () => {
  await using gw = lingering();
  let answered = false; // nobody waits any more: the gateway has ended its own question too
  gw.host.listen("10.0.0.53", 53, (peer) => {
    gw.host.setTimer(() => {
      if (peer.isClosed) return;
      const question = peer.take();
      question.set([0x81, 0x83], 4);
      peer.write(question);
      answered = true;
    }, 900);
  });
  gw.send(segmentFrame({ destination: GATEWAY4, destinationPort: 53, flags: SYN, seq: 7 }));
  await gw.run(20);
  const [answer] = segmentsOf(gw);
  const question = dnsQuestion("secret.example").subarray(14 + 20 + 8);
  const at = { destination: GATEWAY4, destinationPort: 53, seq: 8, ack: (answer!.seq + 1) >>> 0 };
  gw.send(segmentFrame({ ...at, data: concat(u16(question.length), question) }));
  await gw.run(20);
  assertEquals(gw.figures().dnsInFlight, 1);
  await gw.lose();
  await gw.rejoin();
  gw.send(arp(OTHER_MAC));
  await gw.run(10);
  gw.frames();
  assertEquals([gw.figures().tcpFlows, gw.figures().dnsInFlight], [0, 0]);
  await gw.run(5_000);
  assertEquals([receivers(gw), answered], [[], false]);
});

Deno.test("linger: a client of a published port that has waited goes to whoever came back", async () => {
  await using gw = lingering();
  gw.send(arp());
  await gw.run(0);
  await gw.lose();
  assert(gw.publish(22) !== null);
  await gw.run(1_000);
  await gw.rejoin();
  gw.send(arp(OTHER_MAC));
  await gw.run(3_000);
  const to = receivers(gw);
  assert(to.length > 0, "a SYN");
  assertEquals(to, to.map(() => mac(OTHER_MAC)));
});

Deno.test("linger: a client that was there before any guest goes to the MAC that the guest has", async () => {
  await using gw = new VirtualGateway();
  assert(gw.publish(22) !== null);
  await gw.run(10);
  gw.frames();
  gw.send(arp(OTHER_MAC));
  await gw.run(2_000);
  const to = receivers(gw);
  assert(to.length > 0, "a SYN");
  assertEquals(to, to.map(() => mac(OTHER_MAC)));
});

/** Four half-open flows of a guest whose hosts have connected while its VMM was away. */
async function halfOpenFlows(): Promise<VirtualGateway> {
  const gw = lingering({ limits: { tcpHalfOpen: 4 } });
  for (let port = 81; port < 85; port++) {
    gw.host.listen(HOST4, port, null, { delayMs: 500 });
    gw.send(segmentFrame({ destination: HOST4, destinationPort: port, flags: SYN, seq: 7 }));
  }
  await gw.run(100);
  await gw.lose();
  await gw.run(200_000); // the guest has given up by now
  assertEquals([gw.host.accepted.length, gw.figures().tcpFlows], [4, 4]);
  await gw.rejoin();
  gw.send(arp());
  await gw.run(10);
  gw.frames();
  return gw;
}

Deno.test("linger: half-open flows of before the cut make way where places run out", async () => {
  await using gw = await halfOpenFlows();
  const syn = segmentFrame({ destination: HOST4, sourcePort: 41_000, flags: SYN, seq: 9 });
  await gw.run(4_000);
  gw.send(syn);
  await gw.run(20);
  assertEquals(segmentsOf(gw).map(({ flags, ack }) => [flags, ack]), [[SYN | ACK, 10]]);
  assertEquals(gw.counters["drop.tcp.halfopen"] ?? 0, 0);
  assertEquals(gw.figures().tcpFlows, 1);
});

Deno.test("linger: half-open flows of before the cut end when their guest would not go on", async () => {
  await using gw = await halfOpenFlows();
  await gw.run(126_000);
  const last = segmentFrame({ destination: HOST4, destinationPort: 81, flags: SYN, seq: 7 });
  gw.send(last); // its last SYN
  await gw.run(20);
  assertEquals(segmentsOf(gw).map(({ flags, ack }) => [flags, ack]), [[SYN | ACK, 8]]);
  await gw.run(10_000);
  const closed = gw.host.accepted.map(({ isClosed }) => isClosed);
  assertEquals([closed, gw.figures().tcpFlows], [[false, true, true, true], 1]);
  assertEquals(segmentsOf(gw).filter(({ flags }) => (flags & RST) !== 0), []);
});

Deno.test("linger: a guest whose last bytes go to hosts has no VMM, and is about to end", async () => {
  for (const lingerMs of [0, 1_000]) {
    const gw = lingering({ lingerMs });
    gw.host.listen(HOST4, 81, null, { socket: { bufferBytes: 1_000 } });
    gw.send(segmentFrame({ destination: HOST4, destinationPort: 81, flags: SYN, seq: 7 }));
    await gw.run(20);
    const [answer] = segmentsOf(gw);
    gw.send(segmentFrame({
      destination: HOST4,
      destinationPort: 81,
      flags: ACK | FIN,
      seq: 8,
      ack: (answer!.seq + 1) >>> 0,
      data: pattern(1_400),
    }));
    await gw.run(20);
    assertEquals([gw.network.link, gw.network.isLeaving], ["attached", false]);
    await gw.lose();
    if (lingerMs > 0) assertEquals([gw.network.link, gw.network.isLeaving], ["detached", false]);
    await gw.run(lingerMs + 50);
    assertEquals([gw.ended, gw.network.link, gw.network.isLeaving], [null, "detached", true]);
    assertEquals(await gw.rejoin(), false);
    await gw.run(1_000);
    assertEquals(gw.ended, "closed by the VMM");
    await gw.end();
  }
});

Deno.test("linger: a DHCPDISCOVER forgets names of before the cut, once, and no name of after it", async () => {
  await using gw = lingering();
  let asked = 0;
  gw.host.udp("10.0.0.53", 53, (data, answer) => answer(answerTo(data, ++asked)));
  gw.network.setPolicy(guestPolicy({ allow: ["a.example", "b.example", "c.example"] }));
  const ask = async (name: string): Promise<void> => {
    gw.send(dnsQuestion(name));
    await gw.run(20);
  };
  const names = () => gw.network.pins().map(({ name }) => name);
  await ask("a.example");
  gw.send(dhcp(1));
  await gw.run(0);
  assertEquals([names(), gw.network.keptAnswers], [["a.example"], 1], "no link was lost");
  await gw.lose();
  await gw.rejoin();
  await ask("b.example");
  gw.send(dhcp(3));
  await gw.run(0);
  assertEquals([names(), gw.network.keptAnswers], [["a.example", "b.example"], 2]);
  gw.send(dhcp(1));
  await gw.run(0);
  assertEquals([names(), gw.network.keptAnswers], [["b.example"], 0]);
  await ask("c.example");
  gw.send(dhcp(1));
  await gw.run(0);
  assertEquals([names(), gw.network.keptAnswers], [["b.example", "c.example"], 1]);
});
