/**
 * SACK blocks on data (RFC 2018 section 4): while octets of the guest are missing, every segment
 * that acknowledges less than the highest octet received says which ranges are there, data too.
 * A side that only sends bare ACKs with them tells a guest that is being answered too little.
 */
import { scripted } from "../../support/tcp_script.ts";

scripted("data carry the guest's early ranges while there is a gap", { linux: true }, (s) => {
  s.established().guest("P. 101:201 ack 1").expect(". 1:1 ack 1 <sack 101:201>");
  s.hostSends(50).expect("P. 1:51 ack 1 <sack 101:201>");
  s.guest("P. 1:101 ack 51").expect(". 51:51 ack 201").hostReads(200);
  s.hostSends(50).expect("P. 51:101 ack 201").guest(". 201:201 ack 101").nothingElse();
});

scripted("on data the most recent range stands first too", { linux: true }, (s) => {
  s.established().guest("P. 101:201 ack 1").expect(". 1:1 ack 1 <sack 101:201>");
  s.guest("P. 301:401 ack 1").expect(". 1:1 ack 1 <sack 301:401 101:201>");
  s.hostSends(50).expect("P. 1:51 ack 1 <sack 301:401 101:201>");
  s.guest("P. 1:101 ack 51").expect(". 51:51 ack 201 <sack 301:401>");
  s.guest("P. 201:301 ack 51").expect(". 51:51 ack 401").hostReads(400);
});

scripted("a full segment leaves room for the ranges: no packet grows beyond the path", {
  linux: true,
}, (s) => {
  s.established().guest("P. 101:201 ack 1").expect(". 1:1 ack 1 <sack 101:201>");
  s.hostSends(1460).expect(". 1:1449 ack 1 <sack 101:201>", "P. 1449:1461 ack 1 <sack 101:201>");
  s.guest("P. 1:101 ack 1461").expect(". 1461:1461 ack 201").hostReads(200);
  s.hostSends(1460).expect("P. 1461:2921 ack 201").guest(". 201:201 ack 2921").nothingElse();
});

scripted("with timestamps a full segment leaves room for both", { linux: true }, (s) => {
  s.established({ timestamps: true });
  s.guest("P. 101:201 ack 1 <TS 2000 0>").expect(". 1:1 ack 1 <sack 101:201>");
  s.hostSends(1448).expect(". 1:1437 ack 1 <sack 101:201>", "P. 1437:1449 ack 1 <sack 101:201>");
  s.guest("P. 1:101 ack 1449 <TS 2001 0>").expect(". 1449:1449 ack 201").hostReads(200);
});

scripted("with timestamps data carry at most three ranges", { linux: true }, (s) => {
  s.established({ timestamps: true });
  for (const [i, seq] of [101, 301, 501, 701].entries()) {
    s.guest(`P. ${seq}:${seq + 100} ack 1 <TS ${2000 + i} 0>`).segments();
  }
  s.hostSends(50).expect("P. 1:51 ack 1 <sack 701:801 501:601 301:401>");
  s.guest("P. 1:101 ack 51 <TS 2010 0>").segments();
});

scripted("a FIN carries them as well", { linux: true }, (s) => {
  s.established().guest("P. 101:201 ack 1").expect(". 1:1 ack 1 <sack 101:201>");
  s.hostFinishes().expect("F. 1:1 ack 1 <sack 101:201>");
  s.guest("P. 1:101 ack 2").expect(". 2:2 ack 201").hostReads(200);
});

scripted("a guest that did not offer SACK gets none", { linux: true }, (s) => {
  s.established({ sack: false }).guest("P. 101:201 ack 1").expect(". 1:1 ack 1");
  s.hostSends(1460).expect("P. 1:1461 ack 1").guest("P. 1:101 ack 1461");
  s.expect(". 1461:1461 ack 201").hostReads(200);
});

scripted("what is sent again carries the ranges of that time", (s) => {
  s.established().hostSends(100).expect("P. 1:101 ack 1");
  s.guest("P. 101:201 ack 1").expect(". 101:101 ack 1 <sack 101:201>");
  // Tail loss probe or timeout, whichever is first.
  s.at(300).expect("P. 1:101 ack 1 <sack 101:201>").guest("P. 1:101 ack 101");
  s.expect(". 101:101 ack 201").hostReads(200);
});
