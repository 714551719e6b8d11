import { scripted } from "../../support/tcp_script.ts";

scripted("a SYN is answered only once the host has connected", (s) => {
  s.at(100).guest("S 0:0 win 64240 <mss 1460,sackOK,TS 1 0,wscale 7>").nothingElse();
  s.at(130).accept().expect("@130 S. 0:0 ack 1 win 65535 <mss 1460,sackOK,TS 130 1,wscale 7>");
  s.guest(". 1:1 ack 1 win 502").told("established").inState("established");
});
