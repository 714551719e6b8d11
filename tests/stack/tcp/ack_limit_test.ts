/**
 * How often a flow answers what is outside its window or cannot be (RFC 5961 section 7): segments
 * without data are answered once in 500 ms, as Linux does (`tcp_invalid_ratelimit`), so that two
 * ends which disagree about their numbers do not answer each other for ever. Segments with data
 * always are: each tells of an ACK that was lost.
 */
import { scripted } from "../../support/tcp_script.ts";

scripted("old segments without data are answered twice a second at most", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1", "P. 101:201 ack 1").expect(". 1:1 ack 201");
  s.hostReads(200).at(1000).guest(". 100:100 ack 1").expect(". 1:1 ack 201");
  s.at(1200).guest(". 100:100 ack 1", ". 150:150 ack 1").nothingElse();
  s.at(1400).guest(". 100:100 ack 1").nothingElse();
  s.at(1700).guest(". 100:100 ack 1").expect(". 1:1 ack 201");
  s.at(1800).guest(". 100:100 ack 1").nothingElse();
});

scripted("segments without data behind the window are answered by the same measure", {
  linux: true,
}, (s) => {
  s.established().at(1000).guest(". 100001:100001 ack 1").expect(". 1:1 ack 1");
  s.at(1200).guest(". 100001:100001 ack 1", ". 200001:200001 ack 1").nothingElse();
  s.at(1700).guest(". 100001:100001 ack 1").expect(". 1:1 ack 1");
});

scripted("two ends that disagree stop answering each other", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1", "P. 101:201 ack 1").expect(". 1:1 ack 201");
  s.hostReads(200).at(1000).guest(". 100:100 ack 1").expect(". 1:1 ack 201");
  // The other end answers each answer: within half a second none comes any more.
  for (let i = 1; i <= 8; i++) s.at(1000 + 50 * i).guest(". 100:100 ack 1").nothingElse();
});

scripted("old data are answered every time: the ACK was lost", { linux: true }, (s) => {
  s.established().guest("P. 1:101 ack 1", "P. 101:201 ack 1").expect(". 1:1 ack 201");
  s.hostReads(200);
  for (let i = 1; i <= 3; i++) {
    s.at(1000 + 50 * i).guest("P. 1:101 ack 1").expect(". 1:1 ack 201 <sack 1:101>");
  }
});

scripted("data behind the window are answered every time", {
  linux: true,
  bufferMaxBytes: 4096,
}, (s) => {
  s.established();
  for (let i = 1; i <= 3; i++) s.at(50 * i).guest("P. 9001:9002 ack 1").expect(". 1:1 ack 1");
});

scripted("segments that PAWS drops are answered by the same measure", { linux: true }, (s) => {
  s.established({ timestamps: true }).guest("P. 1:101 ack 1 <TS 2000 0>").at(100);
  s.expect(". 1:1 ack 101").hostReads(100);
  s.at(1000).guest(". 101:101 ack 1 <TS 1990 0>").expect(". 1:1 ack 101");
  s.at(1200).guest(". 101:101 ack 1 <TS 1990 0>").nothingElse();
  s.at(1700).guest(". 101:101 ack 1 <TS 1990 0>").expect(". 1:1 ack 101");
});

scripted("a keepalive, one number back, is always answered at its usual pace", {
  linux: true,
}, (s) => {
  s.established();
  for (let i = 1; i <= 3; i++) s.at(1000 * i).guest(". 0:0 ack 1").expect(". 1:1 ack 1");
});

scripted("one flow's measure is not another's", { linux: true }, (s) => {
  s.established().at(1000).guest(". 100001:100001 ack 1").expect(". 1:1 ack 1");
  s.port(40001).established().guest(". 100001:100001 ack 1").expect(". 1:1 ack 1");
  s.guest(". 100001:100001 ack 1").nothingElse();
});

scripted("a FIN that comes again is always answered: the ACK was lost", { linux: true }, (s) => {
  s.established({ sack: false }).guest("F. 1:1 ack 1").expect(". 1:1 ack 2").inState("closeWait");
  for (let i = 1; i <= 3; i++) {
    s.at(1000 + 100 * i).guest("F. 1:1 ack 1").expect(". 1:1 ack 2");
  }
});
