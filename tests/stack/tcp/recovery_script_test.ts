/** Loss towards the guest: RACK-TLP (RFC 8985), RFC 6298, RFC 6582, RFC 3042. */
import { assert, assertEquals } from "@std/assert";
import { scripted } from "../../support/tcp_script.ts";
import type { ScriptVerbs } from "../../support/tcp_verbs.ts";

const MSS = 1000;

/** The number behind segment `n`, the first of which is 0. */
const end = (n: number) => 1 + n * MSS;
/** Segment `n` as a line. */
const segment = (n: number) => `. ${end(n)}:${end(n + 1)} ack 1`;
const ack = (n: number, ...blocks: [number, number][]) =>
  `. 1:1 ack ${end(n)}` +
  (blocks.length === 0 ? "" : ` <sack ${blocks.map(([a, b]) => `${end(a)}:${end(b)}`).join(" ")}>`);

/** An established connection with a round trip of 10 ms that has sent ten segments at 10 ms. */
function tenInFlight<S extends ScriptVerbs>(
  s: S,
  options: { sack?: boolean; more?: number } = {},
): S {
  const { sack = true, more = 0 } = options;
  s.established({ mss: MSS, sack, rttMs: 10 }).hostSends((10 + more) * MSS);
  for (let n = 0; n < 10; n++) s.expect(segment(n));
  return s.nothingElse();
}

scripted(
  "one segment lost: sent again once three behind it have arrived, without a timeout",
  { linux: true },
  (s) => {
    tenInFlight(s).at(20).guest(ack(0, [1, 2])).nothingElse();
    s.guest(ack(0, [1, 3])).nothingElse().guest(ack(0, [1, 4])).expect("@20 " + segment(0));
    s.guest(ack(0, [1, 10])).nothingElse();
    s.at(30).guest(ack(10)).at(1000).counts({ "tcp.retransmit": 1 });
  },
);

scripted("one segment lost in a short flight: sent again after the reordering window", {
  linux: true,
}, (s) => {
  s.established({ mss: MSS, rttMs: 10 }).hostSends(3 * MSS).segments();
  s.at(20).guest(ack(0, [1, 3])).nothingElse();
  s.at(100).expect("@22.5 " + segment(0)).guest(ack(3)).counts({ "tcp.retransmit": 1 });
});

scripted("two segments lost", { linux: true }, (s) => {
  tenInFlight(s).at(20).guest(ack(0, [1, 4])).expect(segment(0));
  s.guest(ack(0, [5, 10], [1, 4])).expect(segment(4));
  s.at(30).guest(ack(4, [5, 10]), ack(10)).at(1000).counts({ "tcp.retransmit": 2 });
});

scripted("every second segment lost", (s) => {
  tenInFlight(s).at(20);
  s.guest(ack(0, [1, 2]), ack(0, [3, 4], [1, 2]), ack(0, [5, 6], [3, 4], [1, 2]));
  s.expect(segment(0), segment(2), segment(4));
  s.guest(ack(0, [7, 8], [5, 6], [3, 4], [1, 2])).expect(segment(6));
  s.guest(ack(0, [9, 10], [7, 8], [5, 6], [3, 4])).expect(segment(8));
  s.at(30).guest(ack(2, [3, 4], [5, 6], [7, 8])).guest(ack(10)).at(1000);
  s.counts({ "tcp.retransmit": 5 });
});

scripted("all but the last segment lost", (s) => {
  tenInFlight(s).at(20).guest(ack(0, [9, 10])).nothingElse().after(10);
  // Half of them at once, as the reduced window allows; the rest with the ACKs.
  const first = s.segments();
  assertEquals(
    first.map(({ seq, atMs }) => [seq, atMs]),
    [0, 1, 2, 3, 4, 5, 6].map((n) => [end(n), 22.5]),
  );
  s.at(33).guest(ack(7, [9, 10])).expect(segment(7), segment(8)).at(43).guest(ack(10)).at(1000);
  s.counts({ "tcp.retransmit": 9 });
});

scripted("the last segment lost: a probe repeats it before the retransmission timer", {
  linux: true,
}, (s) => {
  tenInFlight(s).at(20).guest(ack(9));
  // 2 × SRTT + 10 ms, and 200 ms for the ACK that a lone segment may wait for, is too late here.
  s.at(219).nothingElse().at(220).expect("@220 " + segment(9)).guest(ack(10)).at(1000);
});

scripted("the last three segments lost: the probe's SACK reveals the others", {
  linux: true,
}, (s) => {
  tenInFlight(s).at(20).guest(ack(7));
  s.at(50).expect("@50 " + segment(9)).at(60).guest(ack(7, [9, 10]));
  s.differs("Linux sends no more than was reported to have left (RFC 6937)", {
    gateway: (s) => s.expect("@60 " + segment(7), "@60 " + segment(8)),
    linux: (s) => s.expect(segment(7)).guest(ack(8, [9, 10])).expect(segment(8)),
  });
  s.guest(ack(10)).at(1000);
  s.counts({ "tcp.tlp": 1, "tcp.retransmit": 2 });
});

scripted("a probe takes new data where there is some", { linux: true }, (s) => {
  s.established({ mss: MSS, rttMs: 10, windowBytes: 12_000, wscale: null }).hostSends(20 * MSS);
  for (let n = 0; n < 10; n++) s.expect(segment(n));
  s.at(40).expect("@40 " + segment(10)).guest(". 1:1 ack 11001 win 0").nothingElse();
  s.counts({ "tcp.tlp": 1 });
});

scripted("a probe whose original arrived after all costs nothing: the D-SACK says so", (s) => {
  tenInFlight(s).at(40).expect("@40 " + segment(9)).at(41).guest(ack(10));
  const { congestion } = s.connection.sender.recovery;
  const cwnd = congestion.cwndBytes;
  s.guest(ack(10, [9, 10])).hostSends(MSS).expect(segment(10)).at(51).guest(ack(11));
  assertEquals(congestion.cwndBytes, cwnd);
});

scripted("a probe that repaired the loss of one segment leaves the window as it is", (s) => {
  tenInFlight(s).at(20).guest(ack(8)).at(50).expect("@50 " + segment(9)).at(60).guest(ack(10));
  // It may still have been the original; the next ACK decides, as no D-SACK came: it is one loss.
  const { congestion } = s.connection.sender.recovery;
  const cwnd = congestion.cwndBytes;
  s.hostSends(MSS).expect(segment(10)).at(70).guest(ack(11));
  assertEquals(congestion.cwndBytes, cwnd);
});

scripted("one probe goes out, then the timer does the rest", { linux: true }, (s) => {
  tenInFlight(s).at(40).expect("@40 " + segment(9)).at(239).nothingElse();
  s.at(240).expect("@240 " + segment(0)).counts({
    "tcp.tlp": 1,
    "tcp.rto": 1,
    "tcp.retransmit": 1,
  });
});

scripted("a probe waits for the device while that has no room", (s) => {
  tenInFlight(s).at(20).guest(ack(7)).guestStopsReading();
  s.link.device.begin(100);
  s.link.device.end(100);
  s.at(150).guestReading = true;
  s.sent(); // the frame that took the room
  s.guestReadsOn().expect("@150 " + segment(9)).nothingElse();
});

scripted("a retransmission that is lost is found by what was sent after it", (s) => {
  tenInFlight(s, { more: 10 }).at(20).guest(ack(0, [1, 4])).expect(segment(0));
  for (const n of [10, 11, 12]) s.expect(segment(n));
  s.at(21).guest(ack(0, [1, 10]));
  for (const n of [13, 14, 15, 16, 17, 18]) s.expect(segment(n));
  // What left a millisecond after the retransmission has arrived, the retransmission has not.
  s.at(31).guest(ack(0, [1, 15])).expect("@31 " + segment(0)).expect(segment(19));
  s.counts({ "tcp.retransmit": 2 }).guest(ack(20));
});

scripted("reordering within a quarter of a round trip loses nothing", { linux: true }, (s) => {
  tenInFlight(s).at(20).guest(ack(0, [1, 3])).at(22).guest(ack(4)).nothingElse();
  s.guest(ack(10)).at(1000).counts({});
});

scripted("once reordering was seen, three segments behind a gap are no proof of a loss", {
  linux: true,
}, (s) => {
  tenInFlight(s).at(20).guest(ack(0, [1, 3])).at(21).guest(ack(10)).hostSends(10 * MSS);
  // One by one: a kernel with much to do may send the last of them later.
  for (let n = 10; n < 20; n++) s.expect(segment(n));
  s.at(31).guest(ack(10, [11, 16])).nothingElse().at(32).guest(ack(20)).at(1000).counts({});
});

scripted("SACK blocks that arrive in one ACK are no sign of reordering", { linux: true }, (s) => {
  tenInFlight(s).at(20).guest(ack(0, [5, 6], [3, 4], [1, 2]));
  // The three are proof at once.
  s.expect("@20 " + segment(0), "@20 " + segment(2), "@20 " + segment(4));
});

scripted("a D-SACK widens the reordering window", (s) => {
  tenInFlight(s).at(20).guest(ack(0, [1, 4])).expect(segment(0)).at(21).guest(ack(10));
  s.guest(ack(10, [0, 1])).hostSends(10 * MSS).segments();
  // Two quarters of the shortest round trip now, and no proof by counting.
  s.at(31).guest(ack(10, [11, 16]));
  assert(s.segments().every(({ seq }) => seq > end(10)));
  s.at(60).expect("@36 " + segment(10)).segments();
});

scripted(
  "an original that comes late does not condemn what was sent behind it",
  (s) => {
    tenInFlight(s).at(20).guest(ack(0, [1, 4])).expect(segment(0));
    // A millisecond is less than any round trip: this is no ACK of the retransmission.
    s.at(21).guest(ack(4)).nothingElse().at(22).guest(ack(10)).at(1000).nothingElse();
  },
);

scripted("an echo of the original's timestamp says that the retransmission was needless", (s) => {
  s.established({ mss: MSS + 12, timestamps: true, rttMs: 10 }).hostSends(10 * MSS).segments();
  s.at(20).guest(". 1:1 ack 1 <TS 1020 10,sack 1001:4001>").expect(segment(0));
  s.at(31).guest(". 1:1 ack 4001 <TS 1021 10>").nothingElse();
  s.guest(". 1:1 ack 10001 <TS 1022 10>").at(1000).nothingElse();
});

scripted("octets that SACK has taken back are sent again", (s) => {
  tenInFlight(s).at(20).guest(ack(0, [1, 10])).expect("@20 " + segment(0));
  // The guest had the rest, and has dropped it again: its ACK stops where its SACK began.
  s.at(30).guest(ack(1)).at(230);
  const again = s.segments();
  assertEquals(again[0]!.seq, end(1));
  for (let turns = 0; s.connection.sender.flightBytes > 0; turns++) {
    assert(turns < 20);
    s.guest(`. 1:1 ack ${again.at(-1)!.seq + again.at(-1)!.dataBytes}`);
    again.push(...s.segments());
  }
  s.counts({ "tcp.rto": 1, "tcp.retransmit": 10 });
});

// ---- Without SACK -------------------------------------------------------------------------

scripted("without SACK three duplicates send the first segment again", { linux: true }, (s) => {
  tenInFlight(s, { sack: false }).at(20).guest(ack(0)).guest(ack(0)).nothingElse();
  s.guest(ack(0)).expect("@20 " + segment(0)).guest(ack(0), ack(0), ack(0)).nothingElse();
  s.at(30).guest(ack(10)).at(1000).counts({ "tcp.retransmit": 1 });
});

scripted("without SACK a partial ACK sends the next segment again", { linux: true }, (s) => {
  tenInFlight(s, { sack: false }).at(20).guest(ack(0), ack(0), ack(0)).expect(segment(0));
  s.at(30).guest(ack(3)).expect("@30 " + segment(3)).at(40).guest(ack(7)).expect(
    "@40 " + segment(7),
  );
  s.at(50).guest(ack(10)).at(1000).counts({ "tcp.retransmit": 3 });
});

scripted("the first duplicates let new segments out (limited transmit)", (s) => {
  tenInFlight(s, { sack: false, more: 5 }).at(20).guest(ack(0)).expect(segment(10));
  s.guest(ack(0)).expect(segment(11)).guest(ack(0)).expect(segment(0)).expect(segment(12))
    .nothingElse();
});

scripted("with SACK, too, the first duplicates let new segments out", { linux: true }, (s) => {
  tenInFlight(s, { more: 5 }).at(20).guest(ack(0, [1, 2])).expect(segment(10));
  s.guest(ack(0, [1, 3])).expect(segment(11)).guest(ack(12)).segments();
});

scripted("ACKs with data, and window updates, are no duplicates", { linux: true }, (s) => {
  tenInFlight(s, { sack: false }).at(20);
  s.guest("P. 1:101 ack 1", "P. 101:201 ack 1", "P. 201:301 ack 1").expect(". 10001:10001 ack 301");
  s.guest(". 301:301 ack 1 win 400", ". 301:301 ack 1 win 401", ". 301:301 ack 1 win 402");
  s.nothingElse().counts({});
});

// ---- The retransmission timer -------------------------------------------------------------

scripted("the timer is a second before the first round trip is known", { linux: true }, (s) => {
  // The SYN-ACK was sent twice, so that its ACK says nothing (Karn).
  s.guest("S 0:0 <mss 1000>").accept().expect("S. 0:0 ack 1").at(1000).expect("S. 0:0 ack 1");
  s.guest(". 1:1 ack 1").hostSends(100).expect("P. 1:101 ack 1");
  s.at(1999).nothingElse().at(2000).expect("P. 1:101 ack 1");
});

scripted("the timer is never below 200 ms, and doubles", (s) => {
  s.established({ mss: MSS, sack: false }).hostSends(100).expect("P. 1:101 ack 1");
  for (const ms of [200, 600, 1400, 3000, 6200]) s.at(ms).expect(`@${ms} P. 1:101 ack 1`);
  s.guest(". 1:1 ack 101").at(60_000).nothingElse();
});

scripted("the doubling stays until a segment that was sent once is acknowledged (Karn)", {
  linux: true,
}, (s) => {
  s.established({ sack: false }).port(40001).established({ sack: false });
  s.port(40000).hostSends(100).expect("P. 1:101 ack 1");
  s.at(200).expect("@200 P. 1:101 ack 1").at(600).expect("@600 P. 1:101 ack 1");
  // Which copy this is for nobody knows: twice doubled the timer stays, at 800 ms.
  s.guest(". 1:1 ack 101").hostSends(100).expect("P. 101:201 ack 1");
  s.port(40001).hostSends(100).expect("P. 1:101 ack 1");
  s.at(800).expect("@800 P. 1:101 ack 1").guest(". 1:1 ack 101");
  s.port(40000).at(1400).expect("@1400 P. 101:201 ack 1").guest(". 1:1 ack 201");
  s.hostSends(100).expect("P. 201:301 ack 1").guest(". 1:1 ack 301").at(1500);
  // That was a sample.
  s.hostSends(100).expect("P. 301:401 ack 1").at(1700).expect("@1700 P. 301:401 ack 1");
});

scripted("with timestamps the ACK of a segment that was sent twice is a sample as well", {
  linux: true,
}, (s) => {
  s.established({ sack: false, timestamps: true }).port(40001).established({ sack: false });
  s.port(40000).hostSends(100).expect("P. 1:101 ack 1").at(200).expect("@200 P. 1:101 ack 1");
  s.at(600).expect("@600 P. 1:101 ack 1").guest(". 1:1 ack 101").after(10);
  s.port(40001).hostSends(100).expect("P. 1:101 ack 1").after(100);
  s.port(40000).hostSends(100).expect("P. 101:201 ack 1");
  s.port(40001).at(810).expect("@810 P. 1:101 ack 1").guest(". 1:1 ack 101");
  // 800 ms would it be if the doubling stood.
  s.port(40000).at(910).expect("@910 P. 101:201 ack 1").guest(". 1:1 ack 201");
});

scripted("the timer follows the round trip and its variation", { linux: true }, (s) => {
  s.established({ mss: MSS, sack: false, rttMs: 400 }).hostSends(100).expect("P. 1:101 ack 1");
  // SRTT 400, RTTVAR 200: 400 + 4 × 200.
  s.at(1599).nothingElse().at(1600).expect("@1600 P. 1:101 ack 1");
});

scripted("what was sent twice gives no sample of the round trip (Karn)", (s) => {
  s.established({ mss: MSS, sack: false, rttMs: 100 }).hostSends(100).expect("P. 1:101 ack 1");
  s.at(400).expect("@400 P. 1:101 ack 1").at(401).guest(". 1:1 ack 101");
  assertEquals(s.connection.sender.recovery.rtt.srttMs, 100);
});

scripted("after fifteen retransmissions in vain the connection is given up", (s) => {
  s.established({ sack: false }).hostSends(100).expect("P. 1:101 ack 1");
  let dueMs = 0;
  let rtoMs = 200;
  for (let i = 0; i < 15; i++) {
    dueMs += rtoMs;
    s.at(dueMs).expect(`@${dueMs} P. 1:101 ack 1`);
    rtoMs = Math.min(120_000, 2 * rtoMs);
  }
  s.at(dueMs + rtoMs).expect(`@${dueMs + rtoMs} R. 101:101 ack 1`).run().told("closed: timeout");
  s.counts({ "tcp.rto": 15, "tcp.retransmit": 15, "tcp.reset.sent": 1 });
});

scripted(
  "a timeout sends one segment, then two, then four: a new slow start",
  { linux: true },
  (s) => {
    tenInFlight(s, { sack: false }).at(210).expect("@210 " + segment(0));
    s.at(220).guest(ack(1)).expect(segment(1), segment(2)).at(230).guest(ack(3));
    s.expect(segment(3), segment(4), segment(5), segment(6)).at(240).guest(ack(7));
    s.expect(segment(7), segment(8), segment(9)).at(250).guest(ack(10)).at(1000).nothingElse();
    s.counts({ "tcp.rto": 1, "tcp.retransmit": 10 });
  },
);

scripted("a retransmission of the first segment starts the timer anew", { linux: true }, (s) => {
  tenInFlight(s).at(20).guest(ack(0, [1, 4])).expect("@20 " + segment(0));
  s.at(219).nothingElse().at(220).expect("@220 " + segment(0)).segments();
  s.counts({ "tcp.rto": 1, "tcp.retransmit": 2 });
});

scripted("further timeouts of an episode do not reduce the threshold again", (s) => {
  tenInFlight(s, { sack: false }).at(210).expect(segment(0)).at(610).expect(segment(0));
  const { congestion } = s.connection.sender.recovery;
  assertEquals([congestion.ssthreshBytes, congestion.cwndBytes], [7 * MSS, MSS]);
});

scripted("a timeout whose ACK covers all sends nothing more", { linux: true }, (s) => {
  tenInFlight(s, { sack: false }).at(210).expect(segment(0)).at(211).guest(ack(10)).at(1000);
  s.nothingElse();
});

scripted("the timer begins again with each ACK of new data", { linux: true }, (s) => {
  tenInFlight(s, { sack: false }).at(150).guest(ack(5)).at(300).guest(ack(6)).at(400).nothingElse();
});

scripted("a lost segment beside a FIN: both are sent again", (s) => {
  s.established({ mss: MSS, rttMs: 10 }).hostSends(3 * MSS).hostFinishes().segments();
  // The probe is the FIN with the segment in front of it.
  s.at(40).expect("@40 FP. 2001:3001 ack 1").at(50).guest(". 1:1 ack 1 <sack 2001:3002>");
  s.expect(segment(0), "P. 1001:2001 ack 1").guest(". 1:1 ack 3002").inState("finWait2");
});

scripted("when there are too many runs to tell apart, everything still arrives", {
  poolBytes: 32 * 1024 * 1024,
}, (s) => {
  s.established({ mss: 100, rttMs: 5 }).hostSends(200_000);
  // One segment each millisecond: as many runs as segments.
  for (let ms = 6; s.flow.sentEnd < 60_000; ms++) {
    s.segments();
    s.at(ms).guest(`. 1:1 ack ${s.flow.sentEnd}`);
  }
  const una = s.flow.sentEnd - s.connection.sender.flightBytes;
  for (let n = 0; n < 900; n++) {
    const at = una + 30 + 60 * n;
    if (at + 30 > s.flow.sentEnd) break;
    s.guest(`. 1:1 ack ${una} <sack ${at}:${at + 30}>`);
    s.segments();
  }
  let ms = s.elapsedMs;
  for (let acked = una; acked < 200_001;) {
    ms += 50;
    const got = s.segments();
    for (const { seq, dataBytes } of got) {
      if (seq <= acked) acked = Math.max(acked, seq + dataBytes);
    }
    s.at(ms).guest(`. 1:1 ack ${acked}`);
    assert(ms < 600_000, "the transfer comes to an end");
  }
});
