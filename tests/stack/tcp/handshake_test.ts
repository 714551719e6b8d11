/** RFC 9293 section 3.5: opening, from both sides, and what the two agree on. */
import { assertEquals } from "@std/assert";
import { scripted, type TcpScript } from "../../support/tcp_script.ts";

scripted("a SYN is answered only once the host has connected", { linux: true }, (s) => {
  s.at(100).guest("S 0:0 win 64240 <mss 1460,sackOK,TS 1 0,wscale 7>").nothingElse();
  s.at(130).accept().expect("@130 S. 0:0 ack 1 win 65535 <mss 1460,sackOK,TS 130 1,wscale 7>");
  s.guest(". 1:1 ack 1 win 502").told("established").inState("established");
});

scripted("a SYN that is sent again while the host is dialled makes no second offer", (s) => {
  s.guest("S 0:0 <mss 1460>");
  const { connection } = s;
  s.at(1000).guest("S 0:0 <mss 1460>").nothingElse();
  s.at(3000).guest("S 0:0 <mss 1460>").nothingElse();
  assertEquals([s.endpoint.size, s.endpoint.halfOpen, s.connection === connection], [1, 1, true]);
  s.accept().expect("S. 0:0 ack 1");
});

scripted("a SYN with another number starts a held connection again", (s) => {
  s.guest("S 0:0 <mss 1460,wscale 7>");
  s.flow.isn = 5000;
  s.guest("S 0:0 <mss 536>").accept().expect("S. 0:0 ack 1 win 65535 <mss 1460>");
  assertEquals(s.endpoint.size, 1);
});

scripted("a refused SYN gets an RST that acknowledges it", { linux: true }, (s) => {
  s.guest("S 0:0 <mss 1460>").refuse().expect("R. 0:0 ack 1 win 0").told("closed: refused");
  s.counts({ "tcp.refused": 1, "tcp.reset.sent": 1 });
});

scripted("a dropped SYN gets nothing, and the next one is offered afresh", (s) => {
  s.guest("S 0:0 <mss 1460>").drop().nothingElse().told("closed: refused");
  s.at(1000).guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
});

scripted("a guest that takes its SYN back frees the flow before the host has connected", (s) => {
  s.guest("S 0:0 <mss 1460>", "R 1:1").nothingElse().told("closed: reset").inState("closed");
  assertEquals([s.endpoint.size, s.endpoint.halfOpen], [0, 0]);
  s.accept().nothingElse();
});

scripted("an RST that names another number does not free a held SYN", (s) => {
  s.guest("S 0:0 <mss 1460>", "R 7:7").nothingElse().inState("offered");
});

scripted("the SYN-ACK is sent again after 1, 2, 4, 8 and 16 s, then the guest is given up", (s) => {
  s.guest("S 0:0 <mss 1460>").accept().expect("@0 S. 0:0 ack 1");
  for (const ms of [1000, 3000, 7000, 15_000, 31_000]) {
    s.at(ms).expect(`@${ms} S. 0:0 ack 1`);
  }
  s.at(63_000).expect("@63000 R. 1:1 ack 1").told("closed: timeout");
});

scripted("a SYN-ACK without an answer is sent again, and the handshake goes on", {
  linux: true,
}, (s) => {
  s.guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
  s.at(1000).expect("@1000 S. 0:0 ack 1").at(3000).expect("@3000 S. 0:0 ack 1");
  s.guest(". 1:1 ack 1").inState("established");
});

scripted("a SYN that comes again is answered again", { linux: true }, (s) => {
  s.guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
  s.at(300).guest("S 0:0 <mss 1460>").expect("@300 S. 0:0 ack 1");
  s.guest(". 1:1 ack 1").inState("established");
});

scripted("many copies of a SYN do not use up the patience with the guest", { linux: true }, (s) => {
  s.guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
  for (let i = 1; i <= 20; i++) s.at(i).guest("S 0:0 <mss 1460>").segments();
  s.at(500).guest(". 1:1 ack 1").inState("established");
});

scripted(
  "an ACK of another number gets an RST, and the handshake goes on",
  { linux: true },
  (s) => {
    s.guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
    s.guest(". 1:1 ack 7").expect("R 7:7").inState("synReceived");
    s.guest(". 1:1 ack 1").inState("established");
  },
);

scripted(
  "data and a FIN may come with the ACK that completes the handshake",
  { linux: true },
  (s) => {
    s.guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
    s.guest("FP. 1:101 ack 1").expect(". 1:1 ack 102").inState("closeWait");
    s.told("established", "readable").hostReads(100);
  },
);

scripted("options come in any order, with unknown ones, NOPs and an end in between", {
  linux: true,
}, (s) => {
  const options = "raw fe 4 de ad,wscale 3,nop,sackOK,nop,nop,TS 9 0,raw 1c 4 0 0,mss 1000,eol";
  s.guest(`S 0:0 win 1000 <${options}>`).accept();
  s.expect("S. 0:0 ack 1 <mss 1460,sackOK,TS 0 9,wscale 7>");
  s.guest(". 1:1 ack 1 win 1000").hostSends(1976);
  s.expect(". 1:989 ack 1 <TS 0 1000>", "P. 989:1977 ack 1");
});

scripted("what the guest does not offer is not answered", { linux: true }, (s) => {
  s.guest("S 0:0").accept().expect("S. 0:0 ack 1 win 65535 <mss 1460>");
});

for (
  const [name, options, bytes] of [
    ["absent", "sackOK", 536],
    ["0", "mss 0", 536],
    ["88", "mss 88", 88],
    ["536", "mss 536", 536],
    ["above the link's", "mss 65535", 1460],
  ] as const
) {
  scripted(`an MSS that is ${name} makes segments of ${bytes} octets`, { linux: true }, (s) => {
    s.guest(`S 0:0 win 65535 <${options}>`).accept().expect("S. 0:0 ack 1").guest(". 1:1 ack 1");
    s.hostSends(2 * bytes).expect(
      `. 1:${1 + bytes} ack 1`,
      `P. ${1 + bytes}:${1 + 2 * bytes} ack 1`,
    );
  });
}

// Linux goes down to 48 octets, which makes a guest's SYN an amplifier (CVE-2019-11479).
for (const mss of [1, 87]) {
  scripted(`an MSS that is ${mss} makes segments of 88 octets`, (s) => {
    s.guest(`S 0:0 win 65535 <mss ${mss}>`).accept().expect("S. 0:0 ack 1").guest(". 1:1 ack 1");
    s.hostSends(176).expect(". 1:89 ack 1", "P. 89:177 ack 1");
  });
}

for (const [options, bytes] of [["", 1220], ["mss 1440", 1440], ["mss 9000", 1440]] as const) {
  scripted(
    `over IPv6, <${options}> makes segments of ${bytes} octets`,
    { family: 6, linux: true },
    (s) => {
      s.guest(`S 0:0 win 65535 <${options}>`).accept().expect("S. 0:0 ack 1 <mss 1440>");
      s.guest(". 1:1 ack 1").hostSends(2 * bytes);
      s.expect(`. 1:${1 + bytes} ack 1`, `P. ${1 + bytes}:${1 + 2 * bytes} ack 1`);
    },
  );
}

scripted("an MSS on a segment that is no SYN changes nothing", { linux: true }, (s) => {
  s.established().guest(". 1:1 ack 1 <mss 100>").hostSends(1460).expect("P. 1:1461 ack 1");
});

scripted("timestamps take their room from the data", { linux: true }, (s) => {
  s.established({ timestamps: true }).hostSends(1448 * 2);
  s.expect(". 1:1449 ack 1", "P. 1449:2897 ack 1");
});

scripted(
  "a jumbo link is announced, and its segments are sent",
  { linux: true, mtu: 9000 },
  (s) => {
    s.guest("S 0:0 win 65535 <mss 8960>").accept().expect("S. 0:0 ack 1 <mss 8960>");
    s.guest(". 1:1 ack 1").hostSends(8960).expect("P. 1:8961 ack 1");
  },
);

scripted(
  "without a window scale of the guest's both windows are what they say",
  { linux: true },
  (s) => {
    s.guest("S 0:0 win 2000 <mss 1000>").accept().expect("S. 0:0 ack 1 win 65535 <mss 1460>");
    s.guest(". 1:1 ack 1 win 2000", "P. 1:1001 ack 1 win 2000", "P. 1001:2001 ack 1 win 2000");
    s.expect(". 1:1 ack 2001 win 63535");
    s.hostSends(5000).expect(". 1:1001 ack 2001", ". 1001:2001 ack 2001").nothingElse();
  },
);

scripted("the window of a SYN is never scaled", { linux: true }, (s) => {
  s.guest("S 0:0 win 100 <mss 100,wscale 7>").accept().expect("S. 0:0 ack 1");
  // The SYN-ACK's answer is: 2 × 128.
  s.guest(". 1:1 ack 1 win 2").hostSends(1000);
  s.expect(". 1:101 ack 1", ". 101:201 ack 1").nothingElse();
});

scripted("a window scale above 14 counts as 14", (s) => {
  s.guest("S 0:0 win 10 <mss 1460,wscale 255>").accept().expect("S. 0:0 ack 1");
  s.guest(". 1:1 ack 1 win 1").hostSends(17_000);
  const sent = s.segments();
  const end = Math.max(...sent.map(({ seq, dataBytes }) => seq + dataBytes));
  // The initial congestion window is the lower bound of the two.
  assertEquals(end, 1 + 10 * 1460);
});

scripted("ECN and fast open are declined: the SYN counts without them", { linux: true }, (s) => {
  s.guest("SEW 0:0 <mss 1460,sackOK,raw 22 a 1 2 3 4 5 6 7 8>").accept();
  s.expect("S. 0:0 ack 1 <mss 1460,sackOK>");
  s.guest(". 1:1 ack 1").hostSends(1).expect("P. 1:2 ack 1");
});

scripted("data on a SYN is not taken: the guest sends it again", { linux: true }, (s) => {
  s.guest("S 0:100 <mss 1460>").accept().expect("S. 0:0 ack 1");
  s.guest(". 1:1 ack 1").told("established").guest("P. 1:101 ack 1").hostReads(100);
  s.at(10).expect(". 1:1 ack 101");
});

scripted("a published port: the gateway opens, the guest answers", { linux: true }, (s) => {
  s.connect().expect("@0 S 0:0 win 65535 <mss 1460,sackOK,TS 0 0,wscale 7>").inState("synSent");
  s.at(2).guest("S. 0:0 ack 1 win 65535 <mss 1460,sackOK,TS 5 0,wscale 7>");
  s.expect("@2 . 1:1 ack 1 <TS 2 5>").told("established").inState("established");
  s.hostSends(10).expect("P. 1:11 ack 1");
});

scripted("what the guest's answer does not have the connection does without", {
  linux: true,
}, (s) => {
  s.connect().expect("S 0:0 <mss 1460,sackOK,TS 0 0,wscale 7>");
  s.guest("S. 0:0 ack 1 win 1000 <mss 500>").expect(". 1:1 ack 1").hostSends(3000);
  s.expect(". 1:501 ack 1", ". 501:1001 ack 1").guest("P. 101:201 ack 1").expect(
    ". 1001:1001 ack 1",
  );
  s.nothingElse();
});

scripted("a SYN of the gateway's without an answer is sent again", { linux: true }, (s) => {
  s.connect().expect("@0 S 0:0").at(1000).expect("@1000 S 0:0").guest("S. 0:0 ack 1");
  s.expect(". 1:1 ack 1").inState("established");
});

scripted("a published port that the guest refuses", { linux: true }, (s) => {
  s.connect().expect("S 0:0").guest("R. 0:0 ack 1").nothingElse().told("closed: refused");
  s.counts({ "tcp.reset.received": 1 });
});

scripted("an RST without an ACK does not refuse a published port", { linux: true }, (s) => {
  s.connect().expect("S 0:0").guest("R 0:0").nothingElse().inState("synSent");
});

scripted("a SYN-ACK of another connection gets an RST, and the gateway's SYN stands", {
  linux: true,
}, (s) => {
  s.connect().expect("S 0:0").guest("S. 0:0 ack 77").expect("R 77:77").inState("synSent");
  s.differs("Linux sends its SYN again at once", {
    gateway: (s) => s.nothingElse(),
    linux: (s) => s.expect("S 0:0"),
  });
  s.guest("R. 0:0 ack 77").nothingElse().inState("synSent");
  s.at(1000).expect("@1000 S 0:0").guest("S. 0:0 ack 1").expect(". 1:1 ack 1");
});

scripted("a guest that does not answer a published port is given up after six SYNs", (s) => {
  s.connect().expect("@0 S 0:0");
  for (const ms of [1000, 3000, 7000, 15_000, 31_000]) s.at(ms).expect(`@${ms} S 0:0`);
  s.at(63_000).segments();
  s.told("closed: timeout").inState("closed");
});

scripted("both sides open at once", { linux: true }, (s) => {
  s.connect().expect("S 0:0");
  s.at(1).guest("S 0:0 win 65535 <mss 1460,wscale 7>").inState("synReceived");
  s.differs("Linux repeats what its own SYN has offered", {
    gateway: (s) => s.expect("S. 0:0 ack 1 <mss 1460,wscale 7>"),
    linux: (s) => s.expect("S. 0:0 ack 1 <mss 1460,sackOK,TS 0 0,wscale 7>"),
  });
  s.at(2).guest("S. 0:0 ack 1 win 1 <mss 1460,wscale 7>").inState("established").expect(
    ". 1:1 ack 1",
  );
  s.told("established");
});

scripted("the window of the SYN-ACK is not scaled either when both sides open at once", (s) => {
  s.connect().expect("S 0:0").guest("S 0:0 win 200 <mss 100,wscale 7>").expect("S. 0:0 ack 1");
  s.guest("S. 0:0 ack 1 win 200 <mss 100,wscale 7>").expect(". 1:1 ack 1").hostSends(1000);
  s.expect(". 1:101 ack 1", ". 101:201 ack 1").nothingElse();
});

scripted("what the host sends before the guest has answered goes out with the handshake", {
  linux: true,
}, (s) => {
  s.connect().expect("S 0:0").hostSends(100).nothingElse();
  s.guest("S. 0:0 ack 1 win 65535 <mss 1460>").expect("P. 1:101 ack 1").told("established");
});

scripted("a host that finishes before the guest has answered still sends all it had", (s) => {
  s.guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
  s.hostSends(100).hostFinishes().nothingElse().inState("synReceived");
  s.at(1000).expect("@1000 S. 0:0 ack 1");
  s.guest(". 1:1 ack 1").expect("FP. 1:101 ack 1").told("established").inState("finWait1");
  assertEquals(s.endpoint.halfOpen, 0);
  s.guest("F. 1:1 ack 102").expect(". 102:102 ack 2").inState("timeWait");
});

scripted(
  "a host that finishes in the turn in which it connected lets the handshake happen",
  (s) => {
    s.guest("S 0:0 <mss 1460>");
    s.connection.accept(s.nowMs);
    s.hostFinishes().expect("S. 0:0 ack 1").guest(". 1:1 ack 1").expect("F. 1:1 ack 1");
    s.inState("finWait1");
  },
);

scripted("a published connection whose client has gone sends its FIN after the handshake", (s) => {
  s.connect().expect("S 0:0").hostSends(5).hostFinishes().nothingElse();
  s.guest("S. 0:0 ack 1").expect("FP. 1:6 ack 1").inState("finWait1");
});

scripted("SYNs beyond the half-open limit are dropped and counted", { halfOpen: 2 }, (s) => {
  s.guest("S 0").port(40001).guest("S 0").port(40002).guest("S 0").nothingElse();
  assertEquals([s.endpoint.size, s.endpoint.halfOpen, s.flow.connection], [2, 2, null]);
  s.counts({ "drop.tcp.halfopen": 1 });
  s.port(40000).accept().expect("S. 0:0 ack 1").guest(". 1:1 ack 1").inState("established");
  s.port(40002).guest("S 0").accept().expect("S. 0:0 ack 1");
});

/** So many ports of the guest, the next ones after `from`, have a SYN-ACK and have not answered it. */
function unanswered(s: TcpScript, from: number, count: number): void {
  for (let port = from; port < from + count; port++) {
    s.port(port).guest("S 0").accept().expect("S. 0:0 ack 1");
  }
}

scripted("a guest that has been silent for half a second gives the places back that others need", {
  halfOpen: 4,
}, (s) => {
  unanswered(s, 1, 4);
  s.at(499).port(5).guest("S 0").nothingElse();
  s.at(500).guest("S 0").nothingElse();
  s.at(549).guest("S 0").nothingElse(); // the answers may stand unread
  assertEquals(s.endpoint.halfOpen, 4);
  s.at(550).guest("S 0").accept().expect("S. 0:0 ack 1").guest(". 1:1 ack 1");
  s.told("established");
  for (let port = 1; port < 5; port++) s.port(port).told("closed: timeout");
  assertEquals(s.endpoint.halfOpen, 0);
  s.counts({ "drop.tcp.halfopen": 3 });
});

scripted("a guest that answers late, but in order, loses no handshake", { halfOpen: 4 }, (s) => {
  unanswered(s, 1, 4);
  s.at(600).port(5).guest("S 0").nothingElse();
  s.port(1).guest(". 1:1 ack 1").told("established");
  s.at(900).port(5).guest("S 0").accept().expect("S. 0:0 ack 1");
  s.port(6).guest("S 0").nothingElse();
  for (const port of [2, 3, 4, 5]) s.port(port).guest(". 1:1 ack 1").told("established");
  s.counts({ "drop.tcp.halfopen": 2 });
});

scripted("who has answered a later SYN-ACK has passed over the earlier ones", {
  halfOpen: 4,
}, (s) => {
  unanswered(s, 1, 2);
  s.at(99);
  unanswered(s, 3, 1);
  s.at(100);
  unanswered(s, 4, 1);
  s.port(3).guest(". 1:1 ack 1").told("established");
  unanswered(s, 5, 1); // in its place
  s.port(6).guest("S 0").nothingElse(); // the answers may come within a tenth of a second
  s.port(4).guest(". 1:1 ack 1").told("established");
  unanswered(s, 7, 1);
  s.port(6).guest("S 0").accept().expect("S. 0:0 ack 1");
  for (const port of [1, 2]) s.port(port).told("closed: timeout");
  assertEquals(s.endpoint.halfOpen, 3);
  s.counts({ "drop.tcp.halfopen": 1 });
});

scripted("while there is room a SYN-ACK is repeated, however many are half-open", {
  halfOpen: 4,
}, (s) => {
  unanswered(s, 1, 4);
  s.at(1000);
  for (let port = 1; port < 5; port++) s.port(port).expect("@1000 S. 0:0 ack 1");
  s.port(1).guest(". 1:1 ack 1").inState("established");
});

scripted("a flood of SYNs and RSTs leaves no slot taken", { flows: 4 }, (s) => {
  for (let port = 1; port <= 10_000; port++) {
    s.port(port).guest("S 0", "R 1");
    s.told("closed: reset");
  }
  assertEquals([s.endpoint.size, s.endpoint.halfOpen, s.endpoint.timers], [0, 0, 0]);
});

scripted("a full table drops SYNs while nothing waits for its end", { flows: 2 }, (s) => {
  s.established().port(40001).established().port(40002).guest("S 0").nothingElse();
  s.counts({ "drop.tcp.flows": 1 });
});

scripted("ports of 0 are no connection", (s) => {
  s.port(0).guest("S 0").expect("R. 0:0 ack 1");
  assertEquals(s.endpoint.size, 0);
});
