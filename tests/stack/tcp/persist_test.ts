/** The guest's window: probes, silly windows, Nagle (RFC 9293 sections 3.7.4, 3.8.6). */
import { assert, assertEquals } from "@std/assert";
import { scripted } from "../../support/tcp_script.ts";

const PROBE = ". 0:0 ack 1";

scripted("small writes leave at once: Nagle's algorithm is off", { linux: true }, (s) => {
  s.established().hostSends(1).expect("P. 1:2 ack 1").hostSends(2).expect("P. 2:4 ack 1");
  s.hostSends(3).expect("P. 4:7 ack 1");
});

scripted(
  "a window that closes stops the data; probes follow, each later than the one before",
  (s) => {
    s.established({ wscale: null, windowBytes: 1000 }).hostSends(3000).expect(". 1:1001 ack 1");
    s.guest(". 1:1 ack 1001 win 0").nothingElse();
    const probe = ". 1000:1000 ack 1";
    for (const ms of [200, 600, 1400, 3000, 6200, 12_600, 25_400, 51_000, 102_200, 162_200]) {
      s.at(ms).expect(`@${ms} ${probe}`);
    }
    s.guest(". 1:1 ack 1001 win 3000").expect(". 1001:2461 ack 1", "P. 2461:3001 ack 1");
    s.counts({ "tcp.probe": 10 });
  },
);

scripted("a window that closes stops the data, and is probed, later each time", {
  linux: true,
}, (s) => {
  s.established({ mss: 500, wscale: null, windowBytes: 1000 }).hostSends(3000);
  s.expect(". 1:501 ack 1", ". 501:1001 ack 1").guest(". 1:1 ack 1001 win 0").nothingElse();
  const probe = ". 1000:1000 ack 1";
  for (const ms of [200, 600, 1400]) {
    s.at(ms).expect(`@${ms} ${probe}`).guest(". 1:1 ack 1001 win 0");
  }
  s.guest(". 1:1 ack 1001 win 1000").expect(". 1001:1501 ack 1", ". 1501:2001 ack 1");
  s.nothingElse();
});

scripted("probes that are answered go on for as long as the guest likes, and back off too", (s) => {
  s.established({ wscale: null, windowBytes: 0 }).hostSends(100);
  let probes = 0;
  let lastMs = 0;
  let longestMs = 0;
  for (let ms = 100; ms <= 3_600_000; ms += 100) {
    s.at(ms - ms % 100);
    for (const { seq, dataBytes, atMs } of s.segments()) {
      assertEquals([seq, dataBytes], [0, 0]);
      probes++;
      longestMs = atMs - lastMs;
      lastMs = atMs;
      s.guest(". 1:1 ack 1 win 0");
    }
  }
  assertEquals(longestMs, 60_000);
  assert(probes < 80, `${probes} probes in an hour`);
  s.guest(". 1:1 ack 1 win 100").expect("P. 1:101 ack 1");
});

scripted("a window update that was lost is found by the probe's answer", { linux: true }, (s) => {
  s.established({ wscale: null, windowBytes: 0 }).hostSends(100).nothingElse();
  s.at(200).expect(PROBE).guest(". 1:1 ack 1 win 500").expect("P. 1:101 ack 1");
});

scripted("a guest that never opens its window is probed until the idle limit", {
  idleMs: 600_000,
}, (s) => {
  s.established({ wscale: null, windowBytes: 0 }).hostSends(100);
  for (let ms = 1000; ms < 600_000; ms += 1000) {
    s.at(ms);
    for (const { flags } of s.segments()) assertEquals(flags, ".");
  }
  s.at(600_000).expect("@600000 R. 1:1 ack 1");
});

scripted("a window of a few octets is not used up in crumbs", { linux: true }, (s) => {
  s.established({ mss: 1000, wscale: null, windowBytes: 10_000 }).hostSends(14_000).segments();
  s.guest(". 1:1 ack 10001 win 100").nothingElse();
  // The override: after a while what fits is sent (RFC 9293 section 3.8.6.2.1).
  s.at(200).expect("@200 . 10001:10101 ack 1");
  s.guest(". 1:1 ack 10101 win 10000").expect(". 10101:11101 ack 1");
  s.segments();
});

scripted(
  "a window that is at least half of the largest is used although no segment fills it",
  (s) => {
    s.established({ wscale: null, windowBytes: 1000 }).hostSends(3000).expect(". 1:1001 ack 1");
    s.guest(". 1:1 ack 1001 win 500").expect(". 1001:1501 ack 1");
    s.guest(". 1:1 ack 1501 win 499").nothingElse().at(200).expect("@200 . 1501:2000 ack 1");
  },
);

for (const odd of [1001, 999, 3, 1]) {
  for (const window of [1, odd >> 1, (odd >> 1) + 1, odd]) {
    scripted(`no window hangs: the largest was ${odd} octets, then it is ${window}`, (s) => {
      s.established({ wscale: null, windowBytes: odd }).hostSends(5000).segments();
      s.guest(`. 1:1 ack ${1 + odd} win ${window}`);
      s.segments();
      s.at(1000).segments();
      let { sentEnd } = s.flow;
      for (let turns = 0; sentEnd < 5001; turns++) {
        assert(turns < 10_000, "the transfer comes to an end");
        s.guest(`. 1:1 ack ${sentEnd} win ${Math.max(1, window)}`);
        s.segments();
        s.after(500).segments();
        sentEnd = s.flow.sentEnd;
      }
    });
  }
}

scripted("a window that shrinks below what is in flight is tolerated", (s) => {
  s.established({ wscale: null, windowBytes: 10_000 }).hostSends(20_000).segments();
  const end = s.flow.sentEnd;
  s.guest(". 1:1 ack 1461 win 1000").nothingElse().at(20).segments();
  s.guest(`. 1:1 ack ${end} win 10000`);
  assert(s.segments().length > 0);
});

scripted("a window that shrinks below what is in flight lets nothing more out", {
  linux: true,
}, (s) => {
  s.established({ mss: 500, wscale: null, windowBytes: 2000 }).hostSends(4000);
  for (const seq of [1, 501, 1001, 1501]) s.expect(`. ${seq}:${seq + 500} ack 1`);
  s.guest(". 1:1 ack 501 win 500").nothingElse().guest(". 1:1 ack 2001 win 1000");
  s.expect(". 2001:2501 ack 1", ". 2501:3001 ack 1").nothingElse();
});

scripted("a window that shrinks to nothing below what is in flight never gives up", {
  idleMs: 3_600_000,
}, (s) => {
  s.established({ wscale: null, windowBytes: 3000 }).hostSends(3000).segments();
  s.guest(". 1:1 ack 1 win 0");
  for (let ms = 100; ms < 900_000; ms += 100) {
    s.at(ms);
    if (s.segments().length > 0) s.guest(". 1:1 ack 1 win 0");
  }
  s.inState("established").segments();
  s.guest(". 1:1 ack 3001 win 3000").nothingElse();
});

scripted("an old window update does not close the window again", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1 win 600", "P. 101:201 ack 1 win 600").segments();
  // What was sent before those, with another window, arrives behind them.
  s.guest(". 1:1 ack 1 win 0").expect(". 1:1 ack 201");
  s.hostSends(100).expect("P. 1:101 ack 201");
});

scripted("the FIN goes out into a closed window", { linux: true }, (s) => {
  s.established({ wscale: null, windowBytes: 0 }).hostFinishes();
  s.differs("Linux waits for a window, and probes it: the FIN has a number like an octet", {
    gateway: (s) => s.expect("F. 1:1 ack 1"),
    linux: (s) => s.expect(". 0:0 ack 1").guest(". 1:1 ack 1 win 1").expect("F. 1:1 ack 1"),
  });
  s.guest(". 1:1 ack 2 win 0").inState("finWait2").at(5000).nothingElse();
});

scripted("the host's data waits for a window, its FIN for the data", { linux: true }, (s) => {
  s.established({ wscale: null, windowBytes: 0 }).hostSends(100).hostFinishes().nothingElse();
  s.guest(". 1:1 ack 1 win 200").expect("FP. 1:101 ack 1");
});

scripted("the FIN goes with the last octet that the window has room for", { linux: true }, (s) => {
  s.established({ wscale: null, windowBytes: 0 }).hostSends(100).hostFinishes().nothingElse();
  s.guest(". 1:1 ack 1 win 100");
  s.differs("Linux keeps back a FIN whose number the window does not hold", {
    gateway: (s) => s.expect("FP. 1:101 ack 1"),
    linux: (s) =>
      s.expect("P. 1:101 ack 1").guest(". 1:1 ack 101 win 1").expect("F. 101:101 ack 1"),
  });
});

scripted("a full send ring tells when there is room again", {
  bufferMinBytes: 4096,
  bufferMaxBytes: 4096,
}, (s) => {
  s.established({ mss: 1000 }).hostSends(10_000);
  assertEquals(s.flow.waiting, 10_000 - 4096);
  s.told().guest(". 1:1 ack 1001").told("writable");
  assertEquals(s.guestDrains(), 10_001);
});

scripted("the send ring of a guest that takes nothing does not grow", {
  bufferMinBytes: 4096,
}, (s) => {
  s.established({ wscale: null, windowBytes: 0 }).hostSends(100_000).nothingElse();
  assertEquals([s.flow.given, s.pool.usedBytes], [4096, 4096]);
  s.guest(". 1:1 ack 1 win 65535");
  assertEquals(s.guestDrains(), 100_001);
});

scripted("the send ring of a guest that has not answered the SYN-ACK does not grow", {
  bufferMinBytes: 4096,
}, (s) => {
  s.guest("S 0:0 win 65535 <mss 1460>").accept().expect("S. 0:0 ack 1").hostSends(100_000);
  assertEquals([s.flow.given, s.pool.usedBytes], [4096, 4096]);
  s.guest(". 1:1 ack 1");
  assertEquals(s.guestDrains(), 100_001);
});

scripted("a flow that finds no memory for the host's data gets it once there is some", {
  poolBytes: 64 * 1024,
}, (s) => {
  s.established();
  const taken = s.pool.allocate(64 * 1024);
  s.hostSends(1000).nothingElse();
  assertEquals(s.flow.waiting, 1000);
  s.at(1000).nothingElse();
  s.pool.free(taken, 64 * 1024);
  s.at(1100).expect("P. 1:1001 ack 1");
});

scripted("while memory is short the flow that was stalled longest makes way", {
  poolBytes: 64 * 1024,
  bufferMaxBytes: 64 * 1024,
}, (s) => {
  s.established({ wscale: null, windowBytes: 0 }).hostSends(10_000);
  const blocks: number[] = [];
  for (let at = s.pool.allocate(1024); at >= 0; at = s.pool.allocate(1024)) blocks.push(at);
  s.port(40001).established().hostSends(1000).nothingElse();
  for (let ms = 1000; ms <= 119_000; ms += 1000) s.at(ms).segments();
  s.port(40000).inState("established");
  for (let ms = 120_000; ms <= 121_000; ms += 100) s.at(ms).segments();
  s.inState("closed").port(40001).inState("established");
  assertEquals(s.flow.given, 1000);
  for (const at of blocks) s.pool.free(at, 1024);
});

for (const [what, largest] of [["after a large one", 65_535], ["from the start", 1]] as const) {
  scripted(`a window of one octet ${what} is a stall too, while memory is short`, {
    poolBytes: 64 * 1024,
    bufferMaxBytes: 64 * 1024,
  }, (s) => {
    s.established({ wscale: null, windowBytes: largest });
    const crumb = () => {
      s.segments();
      if (s.connection.state === "closed") return;
      s.guest(`. 1:1 ack ${s.flow.sentEnd} win 1`).segments();
    };
    s.guest(". 1:1 ack 1 win 1").hostSends(10_000);
    const blocks: number[] = [];
    for (let at = s.pool.allocate(1024); at >= 0; at = s.pool.allocate(1024)) blocks.push(at);
    s.segments();
    s.port(40001).established().hostSends(1000).nothingElse().port(40000);
    for (let ms = 200; ms <= 119_000; ms += 200) {
      s.at(ms);
      crumb();
    }
    s.inState("established");
    assert(s.flow.sentEnd > 100, "octets went through one by one");
    for (let ms = 119_200; ms <= 121_000; ms += 200) {
      s.at(ms);
      crumb();
    }
    s.inState("closed").port(40001).inState("established");
    assertEquals(s.flow.given, 1000);
    for (const at of blocks) s.pool.free(at, 1024);
  });
}

scripted("a guest with a small buffer that takes what it can is never stalled", {
  poolBytes: 64 * 1024,
  bufferMaxBytes: 64 * 1024,
}, (s) => {
  s.established({ wscale: null, windowBytes: 200 }).hostSends(60_000);
  const blocks: number[] = [];
  for (let at = s.pool.allocate(1024); at >= 0; at = s.pool.allocate(1024)) blocks.push(at);
  s.segments();
  s.port(40001).established().hostSends(1000).nothingElse().port(40000);
  for (let ms = 1000; ms <= 240_000; ms += 1000) {
    s.at(ms).segments();
    s.guest(`. 1:1 ack ${s.flow.sentEnd} win 200`).segments();
  }
  s.inState("established");
  for (const at of blocks) s.pool.free(at, 1024);
});

scripted("a window that closes with bytes that the guest sends again closes all the same", (s) => {
  s.established({ wscale: null, windowBytes: 1000 }).hostSends(3000).expect(". 1:1001 ack 1");
  s.guest("P. 1:101 ack 1 win 1000", "P. 101:201 ack 1 win 1000").expect(". 1001:1001 ack 201");
  s.guest("P. 1:101 ack 1001 win 0").expect(". 1001:1001 ack 201 <sack 1:101>").nothingElse();
  s.guest(". 201:201 ack 1001 win 1000").expect(". 1001:2001 ack 201").hostReads(200);
});
