/**
 * Data from the guest: acceptability and windows (RFC 9293 sections 3.4 and 3.8.6), timestamps and
 * PAWS (RFC 7323), ACKs (RFC 9293 section 3.8.6.3), SACK and D-SACK (RFC 2018, RFC 2883).
 */
import { assert, assertEquals } from "@std/assert";
import { scripted, type TcpScript } from "../../support/tcp_script.ts";

scripted("a second full segment is acknowledged at once", { linux: true }, (s) => {
  s.established().guest("P. 1:1461 ack 1").nothingElse();
  s.guest("P. 1461:2921 ack 1").expect("@0 . 1:1 ack 2921").hostReads(2920);
});

scripted("a single segment is acknowledged soon, well below 500 ms", { linux: true }, (s) => {
  s.established().at(10).guest("P. 1:2 ack 1").nothingElse().at(600).expect("@15 . 1:1 ack 2");
  s.hostReads(1);
});

scripted("the answer carries the ACK, and none follows", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1").hostSends(50).expect("P. 1:51 ack 101");
  s.guest(". 101:101 ack 51").at(1000).nothingElse();
});

/** So many requests of one octet, each with its answer. */
function exchange(s: TcpScript, times: number): void {
  s.established();
  for (let i = 1; i <= times; i++) {
    s.guest(`P. ${i}:${i + 1} ack ${i}`).hostSends(1).expect(`P. ${i}:${i + 1} ack ${i + 1}`);
  }
}

scripted("an ACK waits no longer after seven answers that carried one", (s) => {
  exchange(s, 7);
  s.guest("P. 8:9 ack 8").at(500).expect("@5 . 8:8 ack 9").hostReads(8);
});

scripted("an ACK by itself ends a row of answers that carried one", (s) => {
  exchange(s, 8);
  s.guest("P. 9:10 ack 9").guest("P. 10:11 ack 9").expect(". 9:9 ack 11");
  s.guest("P. 11:12 ack 9").at(500).expect("@5 . 9:9 ack 12").hostReads(11);
});

scripted("after eight of them an ACK waits longer, until one has waited in vain", (s) => {
  exchange(s, 8);
  s.guest("P. 9:10 ack 9").at(500).expect("@40 . 9:9 ack 10");
  s.guest("P. 10:11 ack 9").at(1000).expect("@505 . 9:9 ack 11").hostReads(10);
});

scripted("a batch of segments is acknowledged once", { linux: true }, (s) => {
  s.established();
  const batch = Array.from({ length: 10 }, (_, i) => `. ${1 + i * 1000}:${1001 + i * 1000} ack 1`);
  s.guest(...batch).expect(". 1:1 ack 10001").hostReads(10_000).at(100).nothingElse();
});

scripted("pure ACKs are not acknowledged", { linux: true }, (s) => {
  s.established().guest(". 1:1 ack 1", ". 1:1 ack 1").at(1000).nothingElse();
});

scripted("what lies before the window is answered with an ACK", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1", "P. 101:201 ack 1").expect(". 1:1 ack 201");
  s.guest(". 100:100 ack 1").expect(". 1:1 ack 201").counts({ "drop.tcp.window": 1 });
});

scripted("what lies behind the window is answered with an ACK", {
  linux: true,
  bufferMaxBytes: 4096,
}, (s) => {
  s.established().guest("P. 4097:4098 ack 1").expect(". 1:1 ack 1 win 32");
  s.guest(". 4098:4098 ack 1").expect(". 1:1 ack 1").counts({ "drop.tcp.window": 2 });
});

scripted("an ACK that stands exactly at the window's edge counts: the guest has used it up", {
  bufferMaxBytes: 4096,
}, (s) => {
  s.established().hostSends(100).expect("P. 1:101 ack 1").guest(". 4097:4097 ack 101")
    .nothingElse();
  assertEquals(s.connection.sender.flightBytes, 0);
});

scripted("of a segment across the window's edge the part inside counts", {
  bufferMaxBytes: 4096,
}, (s) => {
  s.established().guest("P. 1:5001 ack 1").expect(". 1:1 ack 4097 win 0").hostReads(4096);
  s.expect(". 1:1 ack 4097 win 32");
});

scripted(
  "a window that is full is told as 0, and answers probes",
  { bufferMaxBytes: 4096 },
  (s) => {
    s.established().guest(". 1:2049 ack 1", ". 2049:4097 ack 1").expect(". 1:1 ack 4097 win 0");
    s.at(200).guest(". 4097:4098 ack 1").expect(". 1:1 ack 4097 win 0");
    s.at(400).guest(". 4096:4096 ack 1").expect(". 1:1 ack 4097 win 0");
    s.hostReads(4096).expect(". 1:1 ack 4097 win 32");
    s.guest("P. 4097:4098 ack 1").hostReads(1).at(500).expect(". 1:1 ack 4098");
  },
);

scripted("a closed window is told as 0, and every probe into it answered", { linux: true }, (s) => {
  s.established().guestFills().guest(". 1:2 ack 1").expect(". 1:1 ack 1 win 0");
  s.guest(". 0:0 ack 1").expect(". 1:1 ack 1 win 0").hostReadsAll().expect(". 1:1 ack 1 win 512");
  s.guest("P. 1:2 ack 1").expect(". 1:1 ack 2");
});

scripted("the window of a reader that takes crumbs stays closed", { linux: true }, (s) => {
  s.established().guestFills().hostReads(100).hostReads(1000).nothingElse();
  s.guest(". 0:0 ack 1").expect(". 1:1 ack 1 win 0").hostReadsAll().expect(". 1:1 ack 1 win 512");
});

scripted("an ACK counts on a probe into the closed window", { bufferMaxBytes: 4096 }, (s) => {
  s.established().hostSends(100).expect("P. 1:101 ack 1");
  s.guest(". 1:2049 ack 1", ". 2049:4097 ack 1").expect(". 101:101 ack 4097 win 0");
  s.guest(". 4097:4098 ack 101").expect(". 101:101 ack 4097 win 0");
  assertEquals(s.connection.sender.flightBytes, 0);
});

scripted("a window update that is lost is found by the guest's probe", {
  bufferMaxBytes: 4096,
}, (s) => {
  s.established().guest(". 1:2049 ack 1", ". 2049:4097 ack 1").expect(". 1:1 ack 4097 win 0");
  s.hostReads(4096).segments(); // lost
  s.at(200).guest(". 4096:4096 ack 1").expect(". 1:1 ack 4097 win 32");
});

scripted("a closed window opens once there is room for a segment, not for crumbs", {
  bufferMaxBytes: 8192,
}, (s) => {
  s.established().guest(". 1:4097 ack 1", ". 4097:8193 ack 1").expect(". 1:1 ack 8193 win 0");
  for (let i = 0; i < 14; i++) s.hostReads(100).nothingElse();
  s.hostReads(700).expect(". 1:1 ack 8193 win 16").hostReads(6092).segments();
});

scripted("a quarter of the buffer that has become free is told", { bufferMaxBytes: 65536 }, (s) => {
  s.established();
  for (let seq = 1; seq < 40_000; seq += 2000) {
    s.guest(`. ${seq}:${seq + 1000} ack 1`, `. ${seq + 1000}:${seq + 2000} ack 1`).segments();
  }
  s.hostReads(16_000).nothingElse().hostReads(16_384).expect(". 1:1 ack 40001 win 452");
});

scripted("the window follows a reader that keeps up, up to the largest buffer", {
  poolBytes: 32 * 1024 * 1024,
}, (s) => {
  s.established().hostReadsAll();
  let widest = 0;
  for (let seq = 1; seq < 9_000_000; seq += 8000) {
    s.guest(
      ...Array.from({ length: 8 }, (_, i) => `. ${seq + i * 1000}:${seq + i * 1000 + 1000} ack 1`),
    );
    for (const { win } of s.segments()) widest = Math.max(widest, win * 128);
  }
  assertEquals(widest, 4 * 1024 * 1024);
  assertEquals(s.pool.usedBytes, 0, "an empty ring goes back to the pool");
});

scripted("sequence numbers wrap in the middle of a segment and of a gap", { linux: true }, (s) => {
  // The guest's number 256 is 0.
  s.established().guest("P. 301:401 ack 1").expect(". 1:1 ack 1 <sack 301:401>");
  s.guest("P. 201:251 ack 1").expect(". 1:1 ack 1 <sack 201:251 301:401>");
  s.guest("P. 251:301 ack 1").expect(". 1:1 ack 1 <sack 201:401>");
  s.guest("P. 1:201 ack 1").expect(". 1:1 ack 401").hostReads(400);
});

// ---- Timestamps ---------------------------------------------------------------------------

scripted("timestamps echo what the last acknowledged segment carried", { linux: true }, (s) => {
  s.established({ timestamps: true });
  s.at(10).guest("P. 1:101 ack 1 <TS 2000 0>", "P. 101:201 ack 1 <TS 2001 0>");
  s.expect(". 1:1 ack 201 <TS 10 2000>").hostReads(200);
  // The segment that fills a gap is echoed, not the one that came early.
  s.at(20).guest("P. 301:401 ack 1 <TS 2003 0>").expect(". 1:1 ack 201 <TS 20 2000,sack 301:401>");
  s.at(30).guest("P. 201:301 ack 1 <TS 2005 0>").expect(". 1:1 ack 401 <TS 30 2005>");
});

scripted("PAWS: a segment with an older timestamp is answered and dropped", {
  linux: true,
}, (s) => {
  s.established({ timestamps: true }).guest("P. 1:101 ack 1 <TS 2000 0>").at(5).expect(
    ". 1:1 ack 101",
  );
  s.guest("P. 101:201 ack 1 <TS 1990 0>").expect(". 1:1 ack 101 <TS 5 2000>");
  s.counts({ "drop.tcp.paws": 1 });
  s.hostReads(100).guest("P. 101:201 ack 1 <TS 2000 0>").hostReads(100).at(20).expect(
    ". 1:1 ack 201",
  );
});

scripted("PAWS goes on after hours of idleness", (s) => {
  s.established({ timestamps: true }).guest("P. 1:101 ack 1 <TS 2000 0>").at(5).expect(
    ". 1:1 ack 101",
  );
  s.at(7_000_000).guest("P. 101:201 ack 1 <TS 1999 0>").expect(". 1:1 ack 101");
  s.guest("P. 101:201 ack 1 <TS 7002000 0>").at(7_000_010).expect(". 1:1 ack 201");
});

scripted("PAWS: a timestamp of more than 24 days ago says nothing", {
  idleMs: 90 * 86_400_000,
}, (s) => {
  s.established({ timestamps: true });
  s.nowMs += 25 * 86_400_000;
  s.guest("P. 1:101 ack 1 <TS 5 0>").hostReads(100).counts({});
  s.endpoint.advance(s.nowMs + 10);
  s.run().expect(". 1:1 ack 101 <TS -2134967296 5>");
});

scripted("PAWS does not stop an RST", { linux: true }, (s) => {
  s.established({ timestamps: true }).guest("R 1:1 <TS 1 0>").told("closed: reset");
});

scripted("timestamps wrap", { linux: true }, (s) => {
  s.guest("S 0:0 <mss 1460,TS 4294967295 0>").accept().expect(
    "S. 0:0 ack 1 <mss 1460,TS 0 4294967295>",
  );
  s.guest(". 1:1 ack 1 <TS 4294967295 0>").guest("P. 1:101 ack 1 <TS 3 0>").hostReads(100);
  s.at(5).expect(". 1:1 ack 101 <TS 5 3>");
});

// ---- Reassembly, SACK ---------------------------------------------------------------------

scripted("a gap is answered at once, and every segment behind it", { linux: true }, (s) => {
  s.established().guest("P. 101:201 ack 1").expect(". 1:1 ack 1 <sack 101:201>");
  s.guest("P. 201:301 ack 1").expect(". 1:1 ack 1 <sack 101:301>").told();
  s.guest("P. 1:101 ack 1").expect(". 1:1 ack 301").told("readable").hostReads(300);
});

scripted("the most recent range stands first, at most four without timestamps", {
  linux: true,
}, (s) => {
  s.established();
  s.guest("P. 101:201 ack 1").expect(". 1:1 ack 1 <sack 101:201>");
  s.guest("P. 501:601 ack 1").expect(". 1:1 ack 1 <sack 501:601 101:201>");
  s.guest("P. 301:401 ack 1").expect(". 1:1 ack 1 <sack 301:401 501:601 101:201>");
  s.guest("P. 701:801 ack 1").expect(". 1:1 ack 1 <sack 701:801 301:401 501:601 101:201>");
  s.guest("P. 901:1001 ack 1").expect(". 1:1 ack 1 <sack 901:1001 701:801 301:401 501:601>");
  s.guest("P. 201:301 ack 1").differs("Linux has forgotten the fifth", {
    gateway: (s) => s.expect(". 1:1 ack 1 <sack 101:401 901:1001 701:801 501:601>"),
    linux: (s) => s.expect(". 1:1 ack 1 <sack 201:401 901:1001 701:801 501:601>"),
  });
});

scripted("ranges that grow downwards leave room for the others", { linux: true }, (s) => {
  s.established();
  s.guest("P. 901:1001 ack 1").expect(". 1:1 ack 1 <sack 901:1001>");
  s.guest("P. 701:801 ack 1").expect(". 1:1 ack 1 <sack 701:801 901:1001>");
  s.guest("P. 450:500 ack 1").expect(". 1:1 ack 1 <sack 450:500 701:801 901:1001>");
  for (let seq = 400; seq >= 200; seq -= 50) s.guest(`P. ${seq}:${seq + 50} ack 1`).segments();
  s.guest("P. 150:200 ack 1").expect(". 1:1 ack 1 <sack 150:500 701:801 901:1001>");
});

scripted("with timestamps there is room for three", { linux: true }, (s) => {
  s.established({ timestamps: true });
  for (const seq of [101, 301, 501]) s.guest(`P. ${seq}:${seq + 100} ack 1`).segments();
  s.guest("P. 701:801 ack 1").expect(". 1:1 ack 1 <sack 701:801 501:601 301:401>");
});

scripted("without SACK a gap is answered with plain duplicates", { linux: true }, (s) => {
  s.established({ sack: false }).guest("P. 101:201 ack 1").expect(". 1:1 ack 1");
  s.guest("P. 201:301 ack 1").expect(". 1:1 ack 1").guest("P. 1:101 ack 1").expect(". 1:1 ack 301");
});

scripted("D-SACK reports octets that came twice, once", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1", "P. 101:201 ack 1").expect(". 1:1 ack 201");
  s.guest("P. 1:101 ack 1").expect(". 1:1 ack 201 <sack 1:101>").counts({ "tcp.duplicate": 1 });
  s.guest("P. 151:301 ack 1").expect(". 1:1 ack 301 <sack 151:201>");
  s.guest("P. 401:501 ack 1").expect(". 1:1 ack 301 <sack 401:501>");
});

scripted(
  "D-SACK of early octets stands in front of the range that holds them",
  { linux: true },
  (s) => {
    s.established().guest("P. 101:201 ack 1").segments();
    s.guest("P. 201:301 ack 1").segments();
    s.guest("P. 501:601 ack 1").expect(". 1:1 ack 1 <sack 501:601 101:301>");
    s.guest("P. 151:251 ack 1").expect(". 1:1 ack 1 <sack 151:251 101:301 501:601>");
  },
);

scripted("SACK tells of a gap even while data goes the other way", { linux: true }, (s) => {
  s.established().hostSends(100).expect("P. 1:101 ack 1");
  s.guest("P. 101:201 ack 1").expect(". 101:101 ack 1 <sack 101:201>");
  s.hostSends(10).expect("P. 101:111 ack 1 <sack 101:201>");
});

// ---- Memory -------------------------------------------------------------------------------

scripted("a full pool drops data, which comes again and is delivered whole", {
  poolBytes: 64 * 1024,
}, (s) => {
  const blocks: number[] = [];
  s.established();
  for (let at = s.pool.allocate(4096); at >= 0; at = s.pool.allocate(4096)) blocks.push(at);
  s.guest("P. 1:1001 ack 1").expect(". 1:1 ack 1").guest("P. 1:1001 ack 1").expect(". 1:1 ack 1");
  s.counts({ "drop.tcp.memory": 2 });
  for (const at of blocks) s.pool.free(at, 4096);
  s.at(200).guest("P. 1:1001 ack 1").hostReads(1000).at(300).expect(". 1:1 ack 1001");
});

scripted("a pool with little left holds as much as fits, and the rest comes again", {
  poolBytes: 64 * 1024,
}, (s) => {
  s.established();
  const taken = s.pool.allocate(32 * 1024);
  assert(taken >= 0);
  const small = s.pool.allocate(8 * 1024);
  assert(small >= 0);
  s.guest(...Array.from({ length: 30 }, (_, i) => `. ${1 + i * 1000}:${1001 + i * 1000} ack 1`));
  const got = s.segments().at(-1)!.ack! - 1;
  assertEquals(got, 16 * 1024);
  s.pool.free(taken, 32 * 1024);
  s.pool.free(small, 8 * 1024);
  s.hostReads(got);
  s.segments();
  for (let seq = 1 + got; seq < 60_000; seq += 1000) s.guest(`. ${seq}:${seq + 1000} ack 1`);
  s.segments();
  s.hostReads(s.connection.receiveSpan());
  s.segments();
  assert(s.flow.taken > 43_000);
});

scripted("a flow of small messages has a small ring, and the window promises more", (s) => {
  s.established().guest("P. 1:101 ack 1").at(5).expect("@5 . 1:1 ack 101 win 511");
  const { ring } = s.connection.receiver;
  assertEquals(ring.capacityBytes, 1024);
  ring.lendToReader();
  const lentAt = ring.at;
  const host = s.pool.memory.bytes.slice(lentAt, lentAt + 100);
  s.guest("P. 101:1001 ack 1", "P. 1001:2001 ack 1").segments(); // the ring moves under the write
  assertEquals([ring.capacityBytes, ring.lengthBytes], [65_536, 2000]);
  assertEquals(s.pool.memory.bytes.slice(lentAt, lentAt + 100), host);
  ring.giveBack();
  s.hostReadsAll();
  assertEquals([s.flow.taken, s.pool.usedBytes], [2000, 0]);
  s.flow.reads = false;
  s.guest("P. 2001:2002 ack 1");
  assertEquals(ring.capacityBytes, 65_536, "it has been too small before");
});

scripted(
  "a ring that was given up while it was lent goes back to the pool with the operation",
  (s) => {
    s.established().guest("P. 1:101 ack 1");
    const { ring } = s.connection.receiver;
    ring.lendToReader();
    s.guest("R 101:101").told("readable", "closed: reset");
    assert(s.pool.usedBytes > 0);
    ring.giveBack();
    assertEquals(s.pool.usedBytes, 0);
  },
);
