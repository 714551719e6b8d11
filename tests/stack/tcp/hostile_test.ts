/** Segments that try what RFC 5961, RFC 9293 section 3.10.7 and known holes of others are about. */
import { assertEquals } from "@std/assert";
import { scripted, type TcpScript } from "../../support/tcp_script.ts";

scripted("an RST at exactly the next number ends the connection", { linux: true }, (s) => {
  s.established().hostSends(100).expect("P. 1:101 ack 1").guest("R 1:1").nothingElse();
  s.told("closed: reset").inState("closed").counts({ "tcp.reset.received": 1 });
  s.gateway((own) => assertEquals([own.endpoint.size, own.pool.usedBytes], [0, 0]));
});

scripted("an RST inside the window but not at the next number gets a challenge ACK", {
  linux: true,
}, (s) => {
  s.established().guest("R 2:2").expect(". 1:1 ack 1").inState("established");
  s.counts({ "tcp.challenge": 1 });
  s.at(1).guest("R 1:1").told("closed: reset");
});

scripted("an RST outside of the window is dropped without a word", { linux: true }, (s) => {
  s.established().guest("R 0:0", "R 65537:65537", "R 2000000000:2000000000").nothingElse();
  s.inState("established").counts({ "drop.tcp.window": 3 });
});

scripted("into a closed window only the exact RST counts", { linux: true }, (s) => {
  s.established().guestFills().guest("R 2:2", "R 0:0").nothingElse().inState("established");
  s.guest("R 1:1").nothingElse().told("closed: reset").inState("closed");
});

scripted("while the window is closed only the exact RST counts", { bufferMaxBytes: 2048 }, (s) => {
  s.established().guest(". 1:1025 ack 1", ". 1025:2049 ack 1").expect(". 1:1 ack 2049 win 0");
  s.guest("R 2050:2050").nothingElse().guest("R 2049:2049").told("readable", "closed: reset");
});

scripted(
  "a SYN in ESTABLISHED gets a challenge ACK, wherever its number is",
  { linux: true },
  (s) => {
    s.established().guest("S 5:5 <mss 1460>").expect(". 1:1 ack 1").inState("established");
    s.at(600).guest("S 0:0 <mss 1460>").expect(". 1:1 ack 1");
    s.at(1200).guest("S -9999:-9999 <mss 1460>").expect(". 1:1 ack 1").inState("established");
    s.hostSends(10).expect("P. 1:11 ack 1");
  },
);

scripted("a SYN-ACK that comes again is acknowledged again", { linux: true }, (s) => {
  s.connect().expect("S 0:0").guest("S. 0:0 ack 1 <mss 1460>").expect(". 1:1 ack 1");
  s.guest("S. 0:0 ack 1 <mss 1460>").expect(". 1:1 ack 1").inState("established");
});

scripted("challenge ACKs are limited for each flow and never across flows", (s) => {
  s.established().port(40001).established().port(40000);
  for (let i = 2; i < 1000; i++) s.guest(`R ${i}:${i}`);
  s.expect(". 1:1 ack 1").nothingElse();
  s.port(40001).guest("R 2:2").expect(". 1:1 ack 1");
  s.at(100).port(40000).guest("R 2:2").expect(". 1:1 ack 1");
  s.counts({ "tcp.challenge": 3 });
});

scripted("an ACK of what was never sent is answered, and its data discarded", (s) => {
  s.established().hostSends(100).expect("P. 1:101 ack 1");
  s.guest("P. 1:101 ack 102").expect(". 101:101 ack 1");
  assertEquals(s.connection.receiveSpan(), 0);
  s.guest("P. 1:101 ack 2000000000", "P. 1:101 ack 102").nothingElse();
  s.at(100).guest("P. 1:101 ack 101").hostReads(100).at(200).expect(". 101:101 ack 101");
});

scripted("data with an ACK of what was never sent is not taken", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 2").expect(". 1:1 ack 1").after(100);
  s.guest("P. 1:101 ack 1 fill 7").hostReads(100, 7).after(100).expect(". 1:1 ack 101");
});

scripted("data with an ACK older than any window is not taken", { linux: true }, (s) => {
  s.established({ wscale: 0 }).guest("P. 1:101 ack -70000").expect(". 1:1 ack 1").after(100);
  s.guest("P. 1:101 ack 1 fill 7").hostReads(100, 7).after(100).expect(". 1:1 ack 101");
});

scripted(
  "an ACK older than any window that was offered is answered, and its data discarded",
  (s) => {
    s.established({ windowBytes: 70_000, wscale: 3 });
    s.guest(`P. 1:101 ack ${1 - 70_001}`).expect(". 1:1 ack 1");
    assertEquals(s.connection.receiveSpan(), 0);
    s.guest("P. 1:101 ack -69990").hostReads(100);
    s.counts({ "tcp.challenge": 1 }).at(10).expect(". 1:1 ack 101");
  },
);

scripted("an old ACK within the window does not move anything back", { linux: true }, (s) => {
  s.established().hostSends(200).expect("P. 1:201 ack 1").guest(". 1:1 ack 201");
  s.guest(". 1:1 ack 101", ". 1:1 ack 1").hostSends(10).expect("P. 201:211 ack 1");
});

scripted("a segment without ACK is dropped and counted", { linux: true }, (s) => {
  s.established().guest("P 1:101", "- 1:101", "F 1:1", "U 1:2").nothingElse();
  s.counts({ "drop.tcp.noack": 4 }).inState("established");
  s.guest("P. 1:101 ack 1 fill 7").hostReads(100, 7).after(100).expect(". 1:1 ack 101");
});

scripted("urgent octets are octets in line, wherever the pointer points", { linux: true }, (s) => {
  s.established().guest("PU. 1:101 ack 1 urg 0", "PU. 101:201 ack 1 urg 100");
  s.guest("PU. 201:301 ack 1 urg 65535", "U. 301:301 ack 1 urg 9").segments();
  s.hostReads(300).at(10).segments();
});

for (
  const [what, options] of [
    ["of length 0", "raw 2 0 5 b4"],
    ["of length 1", "raw 2 1 5 b4"],
    ["that runs over the end", "raw fe 28 0 0"],
    ["MSS of a wrong length", "raw 2 3 5 1"],
    ["window scale of a wrong length", "raw 3 4 1 1"],
    ["timestamps of a wrong length", "raw 8 4 1 1"],
    ["SACK of no block", "raw 5 2 1 1"],
    ["SACK of half a block", "raw 5 6 0 0 0 0 1 1"],
  ] as const
) {
  scripted(`an option ${what} drops the segment`, (s) => {
    s.guest(`S 0:0 <${options}>`).nothingElse().counts({ "drop.tcp.hdr": 1 });
    assertEquals(s.endpoint.size, 0);
    s.established().guest(`P. 1:101 ack 1 <${options}>`).nothingElse();
    s.counts({ "drop.tcp.hdr": 1 });
    assertEquals(s.connection.receiveSpan(), 0);
  });
}

for (const words of [0, 1, 4, 15]) {
  scripted(`a data offset of ${words} words in 20 octets drops the segment`, (s) => {
    const frame = s.frameOf({ flags: "S", seq: 0, dataBytes: 0 });
    const offsetAt = 14 + 20 + 12;
    // The sum of the words stays right: what the offset loses the reserved checksum field gains.
    const old = frame[offsetAt]! << 8;
    const changed = (words << 12) - old;
    frame[offsetAt] = words << 4;
    const view = new DataView(frame.buffer);
    const sum = ((view.getUint16(offsetAt + 4) - changed) % 0xffff + 0xffff) % 0xffff;
    view.setUint16(offsetAt + 4, sum);
    s.push(frame);
    s.run().nothingElse().counts({ "drop.tcp.hdr": 1 });
  });
}

scripted("options of no known kind are passed over in any segment", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1 <raw fe 4 de ad,nop,raw fd 2,eol>").hostReads(100);
  s.after(100).expect(". 1:1 ack 101");
});

scripted("a wrong checksum drops the segment", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1 sum 1", "R 1:1 sum 128").nothingElse();
  s.inState("established").counts({ "drop.csum": 2 });
  s.guest("P. 1:101 ack 1 fill 7").hostReads(100, 7).after(100).expect(". 1:1 ack 101");
});

scripted("the first copy of an octet counts, before and behind a gap", { linux: true }, (s) => {
  s.established().guest("P. 201:301 ack 1", "P. 151:351 ack 1 fill 7").segments();
  s.guest("P. 1:301 ack 1 fill 9").segments();
  s.differs("of early octets Linux keeps the copy that covers more, whichever came first", {
    gateway: (s) => {
      s.hostReads(150, 9).hostReads(50, 7).gateway((own) => own.flow.taken = 200);
      s.hostReads(100).hostReads(50, 7);
    },
    linux: (s) => s.hostReads(300, 9).hostReads(50, 7),
  });
});

scripted("octets that were acknowledged are not taken a second time", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1", "P. 1:201 ack 1 fill 7").expect(
    ". 1:1 ack 201 <sack 1:101>",
  );
  s.hostReads(100).hostReads(100, 7);
});

scripted("a SACK block that ends beyond what was sent is ignored", { linux: true }, (s) => {
  const nothing = (own: TcpScript) =>
    assertEquals(own.connection.sender.recovery.runs.sackedBytes, 0);
  s.established({ rttMs: 40 }).hostSends(4 * 1460).segments();
  s.guest(". 1:1 ack 1 <sack 2921:5842>", ". 1:1 ack 1 <sack 2921:2000000000>");
  s.gateway(nothing).guest(". 1:1 ack 1 <sack 5841:2921>", ". 1:1 ack 1 <sack 1:1>");
  s.gateway(nothing).nothingElse().guest(". 1:1 ack 5841").hostSends(1).expect(
    "P. 5841:5842 ack 1",
  );
});

scripted("SACK blocks from a guest that did not offer SACK are ignored", { linux: true }, (s) => {
  s.established({ sack: false, rttMs: 40 }).hostSends(4 * 1460).segments();
  s.guest(". 1:1 ack 1 <sack 1461:5841>").nothingElse();
  s.gateway((own) => assertEquals(own.connection.sender.recovery.runs.sackedBytes, 0));
});

scripted("holes of one octet in a long flight stay within the bound on runs", (s) => {
  s.established({ timestamps: true });
  // 200 kB in flight needs a window that has grown.
  s.hostSends(400_000);
  while (s.flow.sentEnd < 200_000) {
    s.segments();
    s.after(1).guest(`. 1:1 ack ${s.flow.sentEnd}`);
  }
  s.segments();
  const una = s.connection.sender.recovery.runs.start(0) - s.flow.iss >>> 0;
  const { recovery } = s.connection.sender;
  for (let hole = una + 5; hole < s.flow.sentEnd - 20; hole += 12) {
    s.guest(
      `. 1:1 ack ${una} <sack ${hole}:${hole + 1} ${hole + 4}:${hole + 5} ${hole + 8}:${hole + 9}>`,
    );
    assertEquals(recovery.runs.count <= 256, true);
  }
  s.segments();
  // The transfer goes on as if nothing had been.
  s.guest(`. 1:1 ack ${s.flow.sentEnd}`);
  assertEquals(s.guestDrains(), 400_001);
});

scripted("at most 256 early ranges are held: more octets count as lost", (s) => {
  s.established();
  for (let i = 0; i < 300; i++) s.guest(`. ${2 + 2 * i}:${3 + 2 * i} ack 1`).segments();
  assertEquals(s.connection.receiver.earlyRanges, 256);
  s.counts({ "tcp.outoforder": 256, "drop.tcp.ranges": 44 });
  s.guest("P. 1:602 ack 1").expect(". 1:1 ack 602").hostReads(601);
});

scripted("a range that touches one that is held is taken although there are 256", (s) => {
  s.established();
  for (let i = 0; i < 256; i++) s.guest(`. ${2 + 2 * i}:${3 + 2 * i} ack 1`).segments();
  s.guest(". 513:520 ack 1", ". 3:4 ack 1").expect(
    ". 1:1 ack 1 <sack 2:5 512:520 510:511 508:509>",
  );
  assertEquals(s.connection.receiver.earlyRanges, 255);
});

scripted(
  "a FIN at two places ends in nothing worse than the guest's own loss",
  { linux: true },
  (s) => {
    s.established().guest("FP. 101:201 ack 1", "F. 51:51 ack 1", "P. 1:101 ack 1").segments();
    s.guest("P. 201:301 ack 1", "F. 301:301 ack 1").segments();
    s.hostReads(200);
  },
);

/** States with RCV.NXT and SND.NXT in them. */
const STATES = [
  ["established", 1, 1],
  ["finWait1", 1, 2],
  ["finWait2", 1, 2],
  ["closeWait", 2, 1],
  ["closing", 2, 2],
  ["lastAck", 2, 2],
] as const;

for (const [state, next, own] of STATES) {
  const answer = `. ${own}:${own} ack ${next}`;

  scripted(`in ${state} an exact RST frees everything, one beside it is challenged`, {
    linux: true,
  }, (s) => {
    // Behind the guest's FIN the window is still open, as far as the guest was told.
    s[state]().guest(`R ${next + 1}:${next + 1}`).expect(answer);
    s.inState(state).guest(`R ${next}:${next}`).nothingElse().told("closed: reset");
    s.inState("closed").gateway(({ endpoint, pool }) =>
      assertEquals([endpoint.size, endpoint.timers, pool.usedBytes], [0, 0, 0])
    );
  });

  scripted(`in ${state} a SYN changes nothing`, { linux: true }, (s) => {
    s[state]().guest(`S ${next}:${next} <mss 1460>`).expect(answer).inState(state);
  });

  scripted(`in ${state} an ACK of what was never sent changes nothing`, { linux: true }, (s) => {
    s[state]().guest(`. ${next}:${next} ack 1000`).expect(answer).inState(state);
  });
}

scripted("in SYN_RECEIVED an exact RST frees the flow", { linux: true }, (s) => {
  s.guest("S 0:0").accept().expect("S. 0:0 ack 1").inState("synReceived").guest("R 1:1");
  s.inState("closed").gateway((own) => {
    own.told("closed: reset");
    assertEquals([own.endpoint.size, own.endpoint.halfOpen], [0, 0]);
  });
});
