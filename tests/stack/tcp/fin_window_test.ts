/**
 * A FIN and the window (RFC 9293 sections 3.4 and 3.10.7.4): one behind octets that were cut off is
 * not there yet, and comes again with them. One at the edge needs no room, and is taken as Linux does.
 */
import { scripted } from "../../support/tcp_script.ts";

scripted("a FIN behind data beyond the window is cut off with them", {
  bufferMaxBytes: 4096,
}, (s) => {
  s.established().guest("FP. 1:5001 ack 1").expect(". 1:1 ack 4097 win 0").told("readable");
  s.inState("established").hostReads(4096).expect(". 1:1 ack 4097 win 32");
  s.guest("FP. 4097:5001 ack 1").expect(". 1:1 ack 5002").told("readable").inState("closeWait");
  s.hostReads(904);
});

scripted("a FIN right behind the last octet of the window is taken with it", {
  linux: true,
  bufferMaxBytes: 4096,
}, (s) => {
  s.established().guest("FP. 1:4097 ack 1").expect(". 1:1 ack 4098 win 0").told("readable");
  s.inState("closeWait").hostReads(4096);
});

scripted("a FIN there that came early is taken in its turn", { bufferMaxBytes: 4096 }, (s) => {
  s.established().guest("FP. 2049:4097 ack 1").expect(". 1:1 ack 1 <sack 2049:4097>");
  s.guest("P. 1:2049 ack 1").expect(". 1:1 ack 4098 win 0").told("readable");
  s.inState("closeWait").hostReads(4096);
});

scripted("a bare FIN into the closed window is answered, and taken once there is room", {
  bufferMaxBytes: 4096,
}, (s) => {
  s.established().guest(". 1:2049 ack 1", ". 2049:4097 ack 1").expect(". 1:1 ack 4097 win 0");
  s.told("readable").guest("F. 4097:4097 ack 1").expect(". 1:1 ack 4097 win 0");
  s.inState("established").at(600).guest("F. 4097:4097 ack 1").expect(". 1:1 ack 4097 win 0");
  s.hostReads(4096).expect(". 1:1 ack 4097 win 32");
  s.guest("F. 4097:4097 ack 1").expect(". 1:1 ack 4098").told("readable").inState("closeWait");
});

scripted("a FIN far behind the window is answered and not taken", { linux: true }, (s) => {
  s.established().guest("F. 100001:100001 ack 1").expect(". 1:1 ack 1").inState("established");
  s.guest("P. 1:101 ack 1").hostReads(100).at(600).expect(". 1:1 ack 101").inState("established");
  s.guest("F. 101:101 ack 1").expect(". 1:1 ack 102").inState("closeWait");
});

scripted("the last number of the window is still in it: a FIN there is taken", {
  linux: true,
  bufferMaxBytes: 4096,
}, (s) => {
  s.established().guest("FP. 1:4096 ack 1").expect(". 1:1 ack 4097").inState("closeWait");
  s.hostReads(4095);
});
