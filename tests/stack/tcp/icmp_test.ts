/**
 * ICMP errors of the guest about segments of the gateway: path MTU (RFC 1191, RFC 8201), soft
 * errors (RFC 9293 section 3.9.2.2), and forged ones (RFC 5927).
 */
import { assertEquals } from "@std/assert";
import { scripted, type TcpScript } from "../../support/tcp_script.ts";
import {
  concat,
  ethernet,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip4,
  ip6,
  u16,
  u32,
  WORLD4,
  WORLD6,
} from "../../support/packets.ts";

/** What a forged or real error says, and what it quotes. */
interface Quote {
  type?: number;
  code?: number;
  mtu?: number;
  /** The quoted segment's number, relative as in the scripts. */
  seq: number;
  /** Octets of the quoted packet, by its own header. */
  bytes?: number;
  guestPort?: number;
  /** Whom the error is sent to, where it is not the quoted sender. */
  to?: string;
}

/** The guest sends an ICMP error about a segment. */
function complain(s: TcpScript, quote: Quote): void {
  const { mtu = 1000, bytes = 1500 } = quote;
  const four = s.family === 4;
  const { type = four ? 3 : 2, code = four ? 4 : 0 } = quote;
  const l4 = concat(
    u16(80),
    u16(quote.guestPort ?? s.flow.guestPort),
    u32((s.flow.iss + quote.seq) >>> 0),
  );
  const source = four ? GUEST4 : GUEST6;
  const destination = quote.to ?? (four ? WORLD4 : WORLD6);
  if (four) {
    const quoted = ip4(l4, { source: WORLD4, destination: GUEST4, protocol: 6, totalBytes: bytes });
    const message = icmp4(type, code, [0, 0, ...u16(mtu)], quoted);
    s.push(ethernet(ip4(message, { protocol: 1, source, destination })));
  } else {
    const payloadBytes = bytes - 40;
    const quoted = ip6(l4, { source: WORLD6, destination: GUEST6, next: 6, payloadBytes });
    const message = icmp6(source, destination, type, code, [...u32(mtu)], quoted);
    s.push(ethernet(ip6(message, { next: 58, source, destination })));
  }
  s.run();
}

for (const family of [4, 6] as const) {
  const headers = family === 4 ? 40 : 60;
  const full = 1500 - headers;

  scripted(
    `packet too big over IPv${family}: what is out goes again in segments that fit`,
    { family },
    (s) => {
      s.established({ mss: full }).hostSends(2 * full);
      s.expect(`. 1:${1 + full} ack 1`).expect(`P. ${1 + full}:${1 + 2 * full} ack 1`);
      complain(s, { seq: 1, mtu: 1300 });
      const small = 1300 - headers;
      s.expect(`P. 1:${1 + small} ack 1`).expect(`P. ${1 + small}:${1 + 2 * small} ack 1`);
      s.expect(`P. ${1 + 2 * small}:${1 + 2 * full} ack 1`).nothingElse();
      s.counts({ "icmp.toobig": 1, "tcp.retransmit": 3 });
      s.guest(`. 1:1 ack ${1 + 2 * full}`).hostSends(small + 10);
      s.expect(`. ${1 + 2 * full}:${1 + 2 * full + small} ack 1`);
      s.expect(`P. ${1 + 2 * full + small}:${1 + 2 * full + small + 10} ack 1`);
    },
  );

  scripted(
    `packet too big over IPv${family}: no error makes packets smaller than the floor`,
    { family },
    (s) => {
      s.established({ mss: full }).hostSends(full).expect(`P. 1:${1 + full} ack 1`);
      complain(s, { seq: 1, mtu: 68 });
      const floor = (family === 4 ? 552 : 1280) - headers;
      s.expect(`P. 1:${1 + floor} ack 1`).segments();
      s.guest(`. 1:1 ack ${1 + full}`).hostSends(full);
      s.expect(`. ${1 + full}:${1 + full + floor} ack 1`).segments();
      s.guest(`. 1:1 ack ${1 + 2 * full}`);
    },
  );

  scripted(
    `packet too big over IPv${family}: only what quotes a segment in flight is believed`,
    { family },
    (s) => {
      s.established({ mss: full }).hostSends(2 * full).segments();
      s.guest(`. 1:1 ack ${1 + full}`);
      complain(s, { seq: 1 }); // acknowledged already
      complain(s, { seq: 1 + 2 * full }); // never sent
      complain(s, { seq: 1 + full + 2 ** 31 });
      complain(s, { seq: 1 + full, guestPort: 40_001 }); // another flow's
      complain(s, { seq: 1 + full, bytes: 900 }); // would have fitted
      complain(s, { seq: 1 + full, mtu: 1500 }); // fits
      complain(s, { seq: 1 + full, to: family === 4 ? "100.96.0.1" : "fd53:4d00::1" });
      s.nothingElse().counts({ "drop.icmp": 7 });
      s.guest(`. 1:1 ack ${1 + 2 * full}`).hostSends(full);
      s.expect(`P. ${1 + 2 * full}:${1 + 3 * full} ack 1`);
    },
  );

  scripted(`soft errors over IPv${family} end no connection`, { family }, (s) => {
    s.established({ mss: full }).hostSends(100).expect("P. 1:101 ack 1");
    const errors = family === 4
      ? [[3, 0], [3, 1], [3, 2], [3, 3], [3, 5], [3, 13], [11, 0], [11, 1], [12, 0]]
      : [[1, 0], [1, 1], [1, 3], [1, 4], [3, 0], [3, 1], [4, 0], [4, 1]];
    for (const [type, code] of errors) complain(s, { seq: 1, type: type!, code: code! });
    s.nothingElse().inState("established").counts({ "icmp.soft": errors.length });
    s.guest(". 1:1 ack 101").hostSends(100).expect("P. 101:201 ack 1");
  });

  scripted(
    `an opening that the guest's firewall rejects over IPv${family} has failed at once`,
    { family },
    (s) => {
      s.connect().expect("S 0:0");
      const [type, code] = family === 4 ? [3, 3] : [1, 4];
      complain(s, { seq: 1, type, code }); // not the SYN's number
      s.inState("synSent");
      complain(s, { seq: 0, type: family === 4 ? 11 : 3, code: 0 }); // may pass: the SYN goes again
      s.inState("synSent");
      complain(s, { seq: 0, type, code });
      s.nothingElse().told("closed: refused").counts({ "icmp.soft": 2, "drop.icmp": 1 });
      assertEquals(s.endpoint.size, 0);
    },
  );
}

scripted("a router that names no MTU means the next smaller size of RFC 1191", (s) => {
  s.established({ mss: 1460 }).hostSends(1460).expect("P. 1:1461 ack 1");
  complain(s, { seq: 1, mtu: 0 });
  s.expect("P. 1:1453 ack 1").expect("P. 1453:1461 ack 1");
  complain(s, { seq: 1, mtu: 0, bytes: 1492 });
  s.expect("P. 1:967 ack 1").expect("P. 967:1461 ack 1").counts({
    "icmp.toobig": 2,
    "tcp.retransmit": 4,
  });
});

scripted("a held SYN is not touched by errors", (s) => {
  s.guest("S 0:0 win 64240 <mss 1460>");
  for (const code of [1, 3, 4]) complain(s, { seq: 0, code });
  s.inState("offered").counts({ "drop.icmp": 3 }).refuse().expect("R. 0:0 ack 1");
});

scripted("packets that became too big while the window is large all go again", (s) => {
  s.established({ mss: 1460, windowBytes: 1_000_000, wscale: 7 });
  s.hostSends(300_000).guestDrains();
  const from = s.flow.sentEnd;
  s.hostSends(300_000);
  const sent = s.segments().length;
  complain(s, { seq: from, mtu: 552 });
  s.guestDrains();
  assertEquals(s.flow.sentEnd >= from + sent, true);
});
