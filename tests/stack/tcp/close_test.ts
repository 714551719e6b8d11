/** RFC 9293 section 3.6: closing, from either side, half and whole, and what comes after. */
import { assertEquals } from "@std/assert";
import { scripted } from "../../support/tcp_script.ts";

const MIB = 1024 * 1024;

scripted("the guest finishes first", { linux: true }, (s) => {
  s.established().guest("F. 1:1 ack 1").expect(". 1:1 ack 2").told("readable");
  s.inState("closeWait").hostFinishes().expect("F. 1:1 ack 2").inState("lastAck");
  s.guest(". 2:2 ack 2").nothingElse().told("closed: finished").inState("closed");
});

scripted("the host finishes first, and TIME_WAIT keeps the four-tuple for ten seconds", (s) => {
  s.timeWait();
  const { connection } = s;
  s.at(9_999).inState("timeWait").at(10_000).told("closed: finished");
  assertEquals([connection.state, s.endpoint.size, s.endpoint.timers], ["closed", 0, 0]);
});

scripted("after the guest's FIN the host still sends a mebibyte", { linux: true }, (s) => {
  s.closeWait().hostSends(MIB).guestTakes(MIB + 1);
  s.hostFinishes().expect(`F. ${MIB + 1}:${MIB + 1} ack 2`);
  s.guest(`. 2:2 ack ${MIB + 2}`).inState("closed");
});

scripted("after the host's FIN the guest still sends a mebibyte", { linux: true }, (s) => {
  s.finWait2().hostReadsAll();
  let end = 1;
  for (; end <= MIB; end += 1024) {
    s.guest(`. ${end}:${end + 1024} ack 2`);
    s.segments();
  }
  s.guest(`F. ${end}:${end} ack 2`).expect(`. 2:2 ack ${end + 1}`).inState("timeWait");
  s.gateway((own) => assertEquals(own.flow.taken, MIB));
});

scripted("both finish at once", { linux: true }, (s) => {
  s.closing().guest(". 2:2 ack 2").nothingElse().inState("timeWait");
});

scripted(
  "both finish at once, and the guest's FIN acknowledges the host's",
  { linux: true },
  (s) => {
    s.finWait1().guest("F. 1:1 ack 2").expect(". 2:2 ack 2").inState("timeWait");
  },
);

scripted("a FIN comes with data", { linux: true }, (s) => {
  s.established().guest("FP. 1:501 ack 1").expect(". 1:1 ack 502").told("readable").hostReads(500);
  s.inState("closeWait").gateway((own) => assertEquals(own.connection.guestFinished, true));
});

scripted("the FIN that comes before the data in front of it waits", { linux: true }, (s) => {
  s.established().guest("FP. 501:1001 ack 1").differs("Linux counts the FIN as an octet of SACK", {
    gateway: (s) => s.expect(". 1:1 ack 1 <sack 501:1001>"),
    linux: (s) => s.expect(". 1:1 ack 1 <sack 501:1002>"),
  });
  s.inState("established").told();
  s.guest(". 1:501 ack 1").expect(". 1:1 ack 1002").told("readable").inState("closeWait");
  s.hostReads(1000);
});

scripted("a bare FIN that comes early is answered at once, and waits", { linux: true }, (s) => {
  s.established().guest("F. 501:501 ack 1").differs("Linux counts the FIN as an octet of SACK", {
    gateway: (s) => s.expect(". 1:1 ack 1"),
    linux: (s) => s.expect(". 1:1 ack 1 <sack 501:502>"),
  });
  s.inState("established");
  s.guest("P. 1:501 ack 1").expect(". 1:1 ack 502").inState("closeWait").hostReads(500);
});

scripted("data behind the guest's FIN is not taken", (s) => {
  s.established().guest("F. 101:101 ack 1").segments();
  s.guest("P. 101:201 ack 1").segments();
  s.guest("P. 1:101 ack 1").expect(". 1:1 ack 102").hostReads(100);
  s.guest("P. 102:202 ack 1").expect(". 1:1 ack 102");
  assertEquals(s.connection.receiveSpan(), 0);
});

scripted("the host's last data and its FIN go out together", { linux: true }, (s) => {
  s.established({ mss: 500, windowBytes: 1000, wscale: null }).hostSends(1400);
  s.expect(". 1:501 ack 1", ". 501:1001 ack 1").hostFinishes().nothingElse().inState("finWait1");
  s.guest(". 1:1 ack 1001 win 1000").expect("FP. 1001:1401 ack 1");
  s.guest(". 1:1 ack 1402").inState("finWait2");
});

scripted("an ACK of the data but not of the FIN leaves the state as it is", {
  linux: true,
}, (s) => {
  s.established({ rttMs: 40 }).hostSends(100).expect("P. 1:101 ack 1").hostFinishes().expect(
    "F. 101:101 ack 1",
  );
  s.guest(". 1:1 ack 101").nothingElse().inState("finWait1");
  s.guest(". 1:1 ack 102").inState("finWait2");
});

scripted("a lost FIN is sent again, doubling the time", { linux: true }, (s) => {
  s.finWait1().at(200).expect("@200 F. 1:1 ack 1");
  s.at(600).expect("@600 F. 1:1 ack 1").at(1400).expect("@1400 F. 1:1 ack 1");
  s.guest(". 1:1 ack 2").inState("finWait2").at(5000).nothingElse();
});

scripted("lost data and its FIN are sent again together", { linux: true }, (s) => {
  s.established({ sack: false }).hostSends(100).hostFinishes();
  s.expect("P. 1:101 ack 1", "F. 101:101 ack 1").at(200).expect("FP. 1:101 ack 1");
  s.guest(". 1:1 ack 102").inState("finWait2");
});

scripted("the host's FIN in LAST_ACK is sent again until it is acknowledged", {
  linux: true,
}, (s) => {
  s.lastAck().at(200).expect("F. 1:1 ack 2").guest("F. 1:1 ack 1");
  s.differs("Linux reports the FIN that came twice as an octet of D-SACK", {
    gateway: (s) => s.expect(". 2:2 ack 2"),
    linux: (s) => s.expect(". 2:2 ack 2 <sack 1:2>"),
  });
  s.guest(". 2:2 ack 2").told("closed: finished");
});

scripted("a guest's FIN that comes again is acknowledged again", { linux: true }, (s) => {
  s.closeWait().guest("F. 1:1 ack 1");
  s.differs("Linux reports the FIN that came twice as an octet of D-SACK", {
    gateway: (s) => s.expect(". 1:1 ack 2"),
    linux: (s) => s.expect(". 1:1 ack 2 <sack 1:2>"),
  });
  s.inState("closeWait");
});

scripted("in TIME_WAIT a FIN that comes again is acknowledged, and the wait begins anew", (s) => {
  s.timeWait().at(8000).guest("F. 1:1 ack 2").expect(". 2:2 ack 2");
  s.at(17_999).inState("timeWait").at(18_000).inState("closed");
});

scripted("in TIME_WAIT a FIN that comes again is acknowledged again", { linux: true }, (s) => {
  s.timeWait().guest("F. 1:1 ack 2").expect(". 2:2 ack 2").inState("timeWait");
});

scripted("in TIME_WAIT an RST is ignored", { linux: true }, (s) => {
  s.timeWait().guest("R 2:2", "R. 2:2 ack 2").nothingElse().inState("timeWait");
});

scripted("in TIME_WAIT a new SYN with a later number is another connection", {
  linux: true,
}, (s) => {
  s.timeWait().renew(0x1000).guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
  s.guest(". 1:1 ack 1").inState("established").guest("P. 1:101 ack 1").hostReads(100);
  s.after(100).expect(". 1:1 ack 101");
});

scripted("in TIME_WAIT a new SYN with a later number ends the old connection", (s) => {
  s.timeWait();
  const { connection } = s;
  s.renew(0x1000).guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
  s.guest(". 1:1 ack 1").inState("established");
  assertEquals([connection.state, connection.closeReason], ["closed", "finished"]);
  assertEquals(s.endpoint.size, 1);
  connection.receiver.release();
});

scripted("in TIME_WAIT a SYN with an old number and no newer timestamp is acknowledged", {
  linux: true,
}, (s) => {
  s.timeWait().guest("S -5000:-5000 <mss 1460>").expect(". 2:2 ack 2").inState("timeWait");
});

scripted("in TIME_WAIT a SYN with an old number and a newer timestamp opens", {
  linux: true,
}, (s) => {
  s.timeWait({ timestamps: true });
  s.renew(0x80000000).guest("S 0:0 <mss 1460,TS 99999 0>").accept().expect("S. 0:0 ack 1");
  s.gateway((own) => assertEquals(own.endpoint.size, 1));
});

scripted("a full table ends the oldest TIME_WAIT for a new connection", { flows: 2 }, (s) => {
  s.timeWait().after(1).port(40001).timeWait();
  // The older one's wait begins anew, which does not make it younger.
  s.after(1).port(40000).guest("F. 1:1 ack 2").expect(". 2:2 ack 2");
  s.port(40002).established();
  s.port(40000).told("closed: evicted").port(40001).inState("timeWait");
  assertEquals(s.endpoint.size, 2);
});

scripted("a guest that repeats its FIN in TIME_WAIT costs no memory for it", { flows: 2 }, (s) => {
  s.timeWait();
  // Remembered a million times over, each of these would take longer than the one before.
  const push = s.frameOf({ flags: "F.", seq: 1, dataBytes: 0, ack: 2 });
  for (let i = 0; i < 100_000; i++) s.push(push);
  s.run().expect(". 2:2 ack 2");
});

scripted("what came before the end can still be read after it", { linux: true }, (s) => {
  s.finWait2().guest("FP. 1:1001 ack 2").expect(". 2:2 ack 1002").told("readable");
  s.at(10_000).told("closed: finished").hostReads(600).hostReads(400).nothingElse();
});

scripted(
  "what came before the end can still be read in LAST_ACK and after it",
  { linux: true },
  (s) => {
    s.established().guest("FP. 1:1001 ack 1").expect(". 1:1 ack 1002").hostFinishes();
    s.expect("F. 1:1 ack 1002").hostReads(500).guest(". 1002:1002 ack 2").inState("closed");
    s.hostReads(500).nothingElse();
  },
);

scripted("an evicted connection's bytes can still be read", { flows: 1 }, (s) => {
  s.finWait2().guest("FP. 1:101 ack 2").expect(". 2:2 ack 102").told("readable");
  s.port(40001).established().port(40000).told("closed: evicted").hostReads(100);
});

scripted("an abort sends an RST with the next number, and frees everything", {
  linux: true,
}, (s) => {
  s.established().hostSends(100).expect("P. 1:101 ack 1").guest(
    "P. 1:101 ack 1",
    "P. 101:201 ack 1",
  );
  s.expect(". 101:101 ack 201").abort().expect("R. 101:101 ack 201 win 0");
  s.told("readable", "closed: aborted");
  s.gateway((own) => assertEquals(own.pool.usedBytes, 0));
});

scripted("an end of the host's with octets that it has not taken is an RST", {
  linux: true,
}, (s) => {
  s.established().guest("P. 1:101 ack 1").abort().expect("R. 1:1 ack 101").nothingElse();
  s.inState("closed").told("readable", "closed: aborted");
});

for (
  const [state, reset] of [
    ["finWait1", "R. 2:2 ack 1"],
    ["finWait2", "R. 2:2 ack 1"],
    ["closeWait", "R. 1:1 ack 2"],
  ] as const
) {
  scripted(`an abort in ${state} sends an RST`, { linux: true }, (s) => {
    s[state]().abort().expect(reset).inState("closed").counts({ "tcp.reset.sent": 1 });
  });
}

// Linux leaves these two to the guest's last ACK.
for (const state of ["closing", "lastAck"] as const) {
  scripted(`an abort in ${state} sends an RST`, (s) => {
    s[state]().abort().expect("R. 2:2 ack 2").inState("closed").counts({ "tcp.reset.sent": 1 });
  });
}

scripted("an abort in TIME_WAIT sends nothing", (s) => {
  s.timeWait().abort().nothingElse().inState("closed");
});

scripted("a segment for a connection that is gone gets an RST, an RST gets nothing", (s) => {
  s.established().abort().expect("R. 1:1 ack 1");
  s.guest("P. 1:101 ack 7").expect("R 7:7");
  s.guest("- 1:101").expect("R. 0:0 ack 101");
  s.guest("F 1:1").expect("R. 0:0 ack 2").guest("R 1:1").nothingElse();
  s.counts({ "drop.tcp.state": 3, "tcp.reset.sent": 4 });
});

scripted("a segment for a connection that never was gets an RST, an RST gets nothing", {
  linux: true,
}, (s) => {
  s.guest("P. 1:101 ack 7").expect("R 7:7").guest("- 1:101").expect("R. 0:0 ack 101");
  s.guest("F 1:1").expect("R. 0:0 ack 2").guest("R 1:1", "R. 1:1 ack 7").nothingElse();
  s.counts({ "drop.tcp.state": 3, "tcp.reset.sent": 3 });
});

scripted("nothing is sent to a host's stream that has finished", (s) => {
  s.finWait1();
  s.connection.commitSend(0);
  s.hostFinishes().nothingElse().inState("finWait1");
});

scripted("a silent connection ends after the idle limit", { idleMs: 60_000 }, (s) => {
  s.established().at(59_999).inState("established").at(60_000);
  s.expect("@60000 R. 1:1 ack 1").inState("closed");
  s.run().told("closed: timeout");
});

scripted("a keepalive is answered, with an octet and without one", { linux: true }, (s) => {
  s.established().at(300).guest(". 0:0 ack 1").expect(". 1:1 ack 1");
  s.guest(". 0:1 ack 1").expect(". 1:1 ack 1 <sack 0:1>").inState("established");
});

scripted("keepalives are answered and keep an idle connection", { idleMs: 60_000 }, (s) => {
  s.established();
  for (const ms of [50_000, 100_000, 150_000]) {
    s.at(ms).guest(". 0:0 ack 1").expect(`. 1:1 ack 1`).guest(". 0:1 ack 1");
    s.expect(". 1:1 ack 1 <sack 0:1>");
  }
  s.at(209_999).inState("established").at(210_000).expect("R. 1:1 ack 1");
});
