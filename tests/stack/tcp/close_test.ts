/** RFC 9293 section 3.6: closing, from either side, half and whole, and what comes after. */
import { assertEquals } from "@std/assert";
import { scripted } from "../../support/tcp_script.ts";

const MIB = 1024 * 1024;

scripted("the guest finishes first", (s) => {
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

scripted("after the guest's FIN the host still sends a mebibyte", (s) => {
  s.closeWait().hostSends(MIB);
  assertEquals(s.guestDrains(), MIB + 1);
  s.hostFinishes().expect(`F. ${MIB + 1}:${MIB + 1} ack 2`);
  s.guest(`. 2:2 ack ${MIB + 2}`).inState("closed");
});

scripted("after the host's FIN the guest still sends a mebibyte", (s) => {
  s.finWait2().hostReadsAll();
  let end = 1;
  for (; end <= MIB; end += 1024) {
    s.guest(`. ${end}:${end + 1024} ack 2`);
    s.segments();
  }
  s.guest(`F. ${end}:${end} ack 2`).expect(`. 2:2 ack ${end + 1}`).inState("timeWait");
  assertEquals(s.flow.taken, MIB);
});

scripted("both finish at once", (s) => {
  s.closing().guest(". 2:2 ack 2").nothingElse().inState("timeWait");
});

scripted("both finish at once, and the guest's FIN acknowledges the host's", (s) => {
  s.finWait1().guest("F. 1:1 ack 2").expect(". 2:2 ack 2").inState("timeWait");
});

scripted("a FIN comes with data", (s) => {
  s.established().guest("FP. 1:501 ack 1").expect(". 1:1 ack 502").told("readable").hostReads(500);
  s.inState("closeWait");
  assertEquals(s.connection.guestFinished, true);
});

scripted("the FIN that comes before the data in front of it waits", (s) => {
  s.established().guest("FP. 501:1001 ack 1").expect(". 1:1 ack 1 <sack 501:1001>");
  s.inState("established").told();
  s.guest(". 1:501 ack 1").expect(". 1:1 ack 1002").told("readable").inState("closeWait");
  s.hostReads(1000);
});

scripted("a bare FIN that comes early is answered at once, and waits", (s) => {
  s.established().guest("F. 501:501 ack 1").expect(". 1:1 ack 1").inState("established");
  s.guest("P. 1:501 ack 1").expect(". 1:1 ack 502").inState("closeWait").hostReads(500);
});

scripted("data behind the guest's FIN is not taken", (s) => {
  s.established().guest("F. 101:101 ack 1").segments();
  s.guest("P. 101:201 ack 1").segments();
  s.guest("P. 1:101 ack 1").expect(". 1:1 ack 102").hostReads(100);
  s.guest("P. 102:202 ack 1").expect(". 1:1 ack 102");
  assertEquals(s.connection.receiveSpan(), 0);
});

scripted("the host's last data and its FIN go out together", (s) => {
  s.established({ windowBytes: 1000, wscale: null }).hostSends(1500).expect(". 1:1001 ack 1");
  s.hostFinishes().nothingElse().inState("finWait1");
  s.guest(". 1:1 ack 1001 win 1000").expect("FP. 1001:1501 ack 1");
  s.guest(". 1:1 ack 1502").inState("finWait2");
});

scripted("an ACK of the data but not of the FIN leaves the state as it is", (s) => {
  s.established().hostSends(100).expect("P. 1:101 ack 1").hostFinishes().expect("F. 101:101 ack 1");
  s.guest(". 1:1 ack 101").nothingElse().inState("finWait1");
  s.guest(". 1:1 ack 102").inState("finWait2");
});

scripted("a lost FIN is sent again, doubling the time", (s) => {
  s.finWait1().at(200).expect("@200 F. 1:1 ack 1");
  s.at(600).expect("@600 F. 1:1 ack 1").at(1400).expect("@1400 F. 1:1 ack 1");
  s.guest(". 1:1 ack 2").inState("finWait2").at(5000).nothingElse();
});

scripted("lost data and its FIN are sent again together", (s) => {
  s.established({ sack: false }).hostSends(100).hostFinishes();
  s.expect("P. 1:101 ack 1", "F. 101:101 ack 1").at(200).expect("FP. 1:101 ack 1");
  s.guest(". 1:1 ack 102").inState("finWait2");
});

scripted("the host's FIN in LAST_ACK is sent again until it is acknowledged", (s) => {
  s.lastAck().at(200).expect("F. 1:1 ack 2").guest("F. 1:1 ack 1").expect(". 2:2 ack 2");
  s.guest(". 2:2 ack 2").told("closed: finished");
});

scripted("a guest's FIN that comes again is acknowledged again", (s) => {
  s.closeWait().guest("F. 1:1 ack 1").expect(". 1:1 ack 2").inState("closeWait");
});

scripted("in TIME_WAIT a FIN that comes again is acknowledged, and the wait begins anew", (s) => {
  s.timeWait().at(8000).guest("F. 1:1 ack 2").expect(". 2:2 ack 2");
  s.at(17_999).inState("timeWait").at(18_000).inState("closed");
});

scripted("in TIME_WAIT an RST is ignored", (s) => {
  s.timeWait().guest("R 2:2", "R. 2:2 ack 2").nothingElse().inState("timeWait");
});

scripted("in TIME_WAIT a new SYN with a later number opens a new connection", (s) => {
  s.timeWait();
  const { connection } = s;
  s.renew(0x1000).guest("S 0:0 <mss 1460>").accept().expect("S. 0:0 ack 1");
  s.guest(". 1:1 ack 1").inState("established");
  assertEquals([connection.state, connection.closeReason], ["closed", "finished"]);
  assertEquals(s.endpoint.size, 1);
  connection.receiver.release();
});

scripted("in TIME_WAIT a SYN with an old number and no newer timestamp is acknowledged", (s) => {
  s.timeWait().guest("S -5000:-5000 <mss 1460>").expect(". 2:2 ack 2").inState("timeWait");
});

scripted("in TIME_WAIT a SYN with an old number and a newer timestamp opens", (s) => {
  s.timeWait({ timestamps: true });
  s.renew(0x80000000).guest("S 0:0 <mss 1460,TS 99999 0>").accept().expect("S. 0:0 ack 1");
  assertEquals(s.endpoint.size, 1);
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

scripted("what came before the end can still be read after it", (s) => {
  s.finWait2().guest("FP. 1:1001 ack 2").expect(". 2:2 ack 1002").told("readable");
  s.at(10_000).told("closed: finished").hostReads(600).hostReads(400).nothingElse();
});

scripted("what came before the end can still be read in LAST_ACK and after it", (s) => {
  s.established().guest("FP. 1:1001 ack 1").expect(". 1:1 ack 1002").hostFinishes();
  s.expect("F. 1:1 ack 1002").hostReads(500).guest(". 1002:1002 ack 2").inState("closed");
  s.hostReads(500).nothingElse();
});

scripted("an evicted connection's bytes can still be read", { flows: 1 }, (s) => {
  s.finWait2().guest("FP. 1:101 ack 2").expect(". 2:2 ack 102").told("readable");
  s.port(40001).established().port(40000).told("closed: evicted").hostReads(100);
});

scripted("an abort sends an RST with the next number, and frees everything", (s) => {
  s.established().hostSends(100).expect("P. 1:101 ack 1").guest(
    "P. 1:101 ack 1",
    "P. 101:201 ack 1",
  );
  s.expect(". 101:101 ack 201").abort().expect("R. 101:101 ack 201 win 0");
  s.told("readable", "closed: aborted");
  assertEquals(s.pool.usedBytes, 0);
});

for (const state of ["finWait1", "finWait2", "closeWait", "closing", "lastAck"] as const) {
  scripted(`an abort in ${state} sends an RST`, (s) => {
    s[state]().abort().outbox.shift();
    s.inState("closed");
    s.counts({ "tcp.reset.sent": 1 });
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

scripted("keepalives are answered and keep an idle connection", { idleMs: 60_000 }, (s) => {
  s.established();
  for (const ms of [50_000, 100_000, 150_000]) {
    s.at(ms).guest(". 0:0 ack 1").expect(`. 1:1 ack 1`).guest(". 0:1 ack 1");
    s.expect(". 1:1 ack 1 <sack 0:1>");
  }
  s.at(209_999).inState("established").at(210_000).expect("R. 1:1 ack 1");
});
