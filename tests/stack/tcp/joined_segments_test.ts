/** Large segments: what is in one, and that everything else goes on in single ones. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { BufferPool } from "../../../lib/stack/buffer_pool.ts";
import { TcpSender } from "../../../lib/stack/tcp/send.ts";
import { FrameMemory } from "../../../lib/wire/memory.ts";
import { concat, ethernet, GUEST4, icmp4, ip4, u16, u32, WORLD4 } from "../../support/packets.ts";
import { scripted, type TcpScript } from "../../support/tcp_script.ts";

const memory = new FrameMemory(4 * 1024 * 1024);

/** A sender of which everything that matters is set. */
function senderOf(
  state: { unsent: number; window: number; maxWindow: number; cwnd: number; flight: number },
): TcpSender {
  const bytes = memory.sizeBytes;
  const limits = { minBytes: 1024 * 1024, maxBytes: 1024 * 1024, longMaxBytes: 1024 * 1024 };
  const sender = new TcpSender(new BufferPool(memory, 0, bytes).quota(bytes), limits, 0xfffffff0);
  sender.begin(MSS, true);
  sender.setWindow(0, 0, state.maxWindow);
  sender.sndWnd = state.window;
  sender.prepareSpan();
  sender.ring.commit(state.flight + state.unsent);
  send(sender, state.flight);
  sender.recovery.congestion.cwndBytes = state.cwnd;
  return sender;
}

function send(sender: TcpSender, bytes: number): void {
  if (bytes === 0) return;
  const end = (sender.sndNxt + bytes) >>> 0;
  sender.recovery.onSent(sender.sndNxt, end, 1);
  sender.sndNxt = end;
}

const MSS = 1000;

/** The segments that go out, as the lengths of their data. */
function segmentsOf(sender: TcpSender, largestBytes: number): number[] {
  const lengths: number[] = [];
  for (;;) {
    const bytes = sender.sendableBytes(MSS, largestBytes);
    if (bytes === 0) return lengths;
    for (let at = 0; at < bytes; at += MSS) lengths.push(Math.min(MSS, bytes - at));
    send(sender, bytes);
    assert(lengths.length < 2000, "it comes to an end");
  }
}

Deno.test("large segments stand for exactly those that would go out one by one", () => {
  const amount = fc.oneof(
    fc.integer({ min: 0, max: 90_000 }),
    fc.integer({ min: 0, max: 90 }).map((segments) => segments * MSS),
  );
  const any = fc.record({
    unsent: amount,
    window: amount,
    maxWindow: amount,
    cwnd: amount,
    flight: fc.oneof(fc.constant(0), amount),
  });
  fc.assert(
    fc.property(any, fc.integer({ min: 1, max: 65 }), (state, largest) => {
      const single = senderOf(state);
      const joined = senderOf(state);
      assertEquals(segmentsOf(joined, largest * MSS), segmentsOf(single, MSS));
      assertEquals(joined.cwndLimited, single.cwndLimited);
    }),
    { numRuns: 1000 },
  );
});

/** What the guest got, as the lengths of its segments' data. */
function lengths(s: TcpScript): number[] {
  return s.segments().map(({ dataBytes }) => dataBytes);
}

scripted("a large segment is as many as may go, and what is sent again is single ones", {
  large: "bare",
}, (s) => {
  s.established({ mss: 1460, rttMs: 10 }).hostSends(20_000).expect(". 1:14601 ack 1");
  s.at(20).guest(". 1:1 ack 1 <sack 4381:14601>").expect(". 1:1461 ack 1");
  s.expect(". 1461:2921 ack 1", ". 2921:4381 ack 1", "P. 14601:20001 ack 1");
  s.guest(". 1:1 ack 20001").counts({ "tcp.retransmit": 3 });
});

scripted("no packet is longer than IPv4 can say", { large: "bare" }, (s) => {
  s.established({ mss: 1460, rttMs: 10, windowBytes: 4_000_000, wscale: 7 }).hostSends(2_000_000);
  let largest = 0;
  for (let round = 0; round < 6; round++) {
    largest = Math.max(largest, ...lengths(s));
    s.after(10).guest(`. 1:1 ack ${s.flow.sentEnd}`);
  }
  assertEquals(largest, 44 * 1460);
  s.guestDrains();
});

scripted("it ends where the guest's window ends", { large: "bare" }, (s) => {
  s.established({ mss: 1000, windowBytes: 4_300 }).hostSends(20_000);
  s.expect(". 1:4001 ack 1").nothingElse();
  s.guest(". 1:1 ack 4001 win 20").expect(". 4001:6001 ack 1").nothingElse();
  s.guest(". 1:1 ack 6001 win 500").guestTakes(20_001);
});

scripted("a FIN goes with the last of it", { large: "bare" }, (s) => {
  s.established({ mss: 1000 });
  s.guestStopsReading().hostSends(4_500).hostFinishes();
  s.guestReadsOn().segments();
  s.guest(`. 1:1 ack ${s.flow.sentEnd}`);
});

/** The guest could not pass on a packet. */
function tooBig(s: TcpScript, seq: number, bytes: number, mtu: number): void {
  const l4 = concat(u16(80), u16(s.flow.guestPort), u32((s.flow.iss + seq) >>> 0));
  const quoted = ip4(l4, { source: WORLD4, destination: GUEST4, protocol: 6, totalBytes: bytes });
  const message = icmp4(3, 4, [0, 0, ...u16(mtu)], quoted);
  s.push(ethernet(ip4(message, { protocol: 1, source: GUEST4, destination: WORLD4 })));
  s.run();
}

scripted("a guest that can't pass it on gets single segments from there", {
  large: "bare",
}, (s) => {
  s.established({ mss: 1460, rttMs: 10 }).hostSends(8_000).expect("P. 1:8001 ack 1");
  tooBig(s, 1, 8_040, 1500);
  s.expect(". 1:1461 ack 1").guest(". 1:1 ack 1461");
  s.guestDrains();
  s.counts({ "icmp.toobig": 1, "tcp.retransmit": 6 });
  s.hostSends(4_000).expect(". 8001:9461 ack 1", ". 9461:10921 ack 1", "P. 10921:12001 ack 1");
  s.guest(". 1:1 ack 12001");
});

scripted("one that says so of a single segment that fits changes nothing", {
  large: "bare",
}, (s) => {
  s.established({ mss: 1460 }).hostSends(8_000).expect("P. 1:8001 ack 1");
  tooBig(s, 1, 1_500, 1_499);
  s.segments();
  s.guest(". 1:1 ack 8001").hostSends(8_000);
  assertEquals(lengths(s).length, 1);
  s.guest(". 1:1 ack 16001");
});

scripted("where the header says where to cut, the guest's kernel cuts what it passes on", {
  large: "headers",
}, (s) => {
  s.established({ mss: 1460 }).hostSends(8_000).segments();
  tooBig(s, 1, 8_040, 1500);
  s.nothingElse().guest(". 1:1 ack 8001");
  s.counts({ "drop.icmp": 1 });
});

scripted("a large segment of the guest is acknowledged at once: it is more than two", (s) => {
  s.established({ mss: 1000 }).guest("P. 1:5001 ack 1").expect(". 1:1 ack 5001").hostReads(5_000);
});
