/**
 * How much is in flight: CUBIC (RFC 9438) from ten segments (RFC 6928), once down for a flight of
 * which more than the tolerated part was lost.
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import { scripted, type TcpScript } from "../../support/tcp_script.ts";

const MSS = 1000;

function window(s: TcpScript): number {
  return s.connection.sender.recovery.congestion.cwndBytes;
}

/** A transfer that fills the window, with a round trip of 10 ms. */
function busy(s: TcpScript): TcpScript {
  return s.established({ mss: MSS, rttMs: 10 }).hostSends(10_000_000);
}

/** One round trip: the guest acknowledges all that it was sent. */
function round(s: TcpScript): number {
  const count = s.segments().length;
  s.after(10).guest(`. 1:1 ack ${s.flow.sentEnd}`);
  return count;
}

scripted("ten segments may leave before the first ACK, and twenty after it", {
  linux: true,
}, (s) => {
  s.established({ mss: MSS, rttMs: 10 }).hostSends(100 * MSS);
  const line = (n: number) => `. ${1 + n * MSS}:${1 + (n + 1) * MSS} ack 1`;
  for (let n = 0; n < 10; n++) s.expect(line(n));
  s.nothingElse().after(10).guest(`. 1:1 ack ${1 + 10 * MSS}`);
  for (let n = 10; n < 30; n++) s.expect(line(n));
  s.nothingElse();
});

scripted("it begins with ten segments and doubles each round trip", (s) => {
  busy(s);
  assertEquals([round(s), round(s), round(s), round(s)], [10, 20, 40, 80]);
  s.segments();
});

scripted("it grows no further than it is used", (s) => {
  s.established({ mss: MSS, rttMs: 10 });
  for (let i = 0; i < 50; i++) {
    s.hostSends(MSS);
    round(s);
  }
  assertEquals(window(s), 10 * MSS);
});

scripted("after a pause longer than the timeout it begins with ten segments again", (s) => {
  s.established({ mss: MSS, rttMs: 10 }).hostSends(70_000);
  assertEquals([round(s), round(s), round(s)], [10, 20, 40]);
  s.after(190).hostSends(200_000);
  assertEquals(s.segments().length, 40);
  s.after(10).guest(`. 1:1 ack ${s.flow.sentEnd}`);
  s.guestDrains();
  s.after(1000).hostSends(200_000);
  assertEquals(s.segments().length, 10);
});

scripted("a loss takes it to seven tenths, once for all losses of the flight", (s) => {
  busy(s);
  for (let i = 0; i < 3; i++) round(s);
  s.segments();
  const una = s.flow.sentEnd - 80 * MSS;
  const hole = (n: number) => una + n * MSS;
  s.after(10).guest(`. 1:1 ack ${una} <sack ${hole(25)}:${hole(28)}>`);
  assertEquals(window(s), 56 * MSS);
  s.guest(`. 1:1 ack ${una} <sack ${hole(29)}:${hole(40)} ${hole(25)}:${hole(28)}>`);
  s.guest(`. 1:1 ack ${una} <sack ${hole(42)}:${hole(80)} ${hole(29)}:${hole(40)}>`);
  assertEquals(window(s), 56 * MSS);
  s.segments();
  s.after(10).guest(`. 1:1 ack ${hole(80)}`).segments();
  assert(window(s) >= 56 * MSS && window(s) < 57 * MSS);
  // The next flight's losses are another episode.
  s.after(10).guest(`. 1:1 ack ${hole(80)} <sack ${hole(97)}:${hole(110)}>`).segments();
  assertLess(window(s), 56 * MSS);
});

scripted("a bad link is not a full one: a few losses in each round trip shrink nothing", (s) => {
  busy(s);
  for (let i = 0; i < 3; i++) round(s);
  for (let rounds = 0; rounds < 5; rounds++) {
    const flight = s.segments().filter((sent) => sent.dataBytes > 0);
    const before = window(s);
    const [lost, from, to] = [flight[20]!.seq, flight[21]!.seq, s.flow.sentEnd];
    s.after(10).guest(`. 1:1 ack ${lost} <sack ${from}:${to}>`);
    assert(s.segments().some((sent) => sent.seq === lost), "the hole goes out again");
    s.guest(`. 1:1 ack ${s.flow.sentEnd}`);
    assert(window(s) >= before, `the window is still ${before}`);
  }
  s.segments();
});

scripted("a timeout takes it to one segment", (s) => {
  busy(s);
  round(s);
  s.segments();
  s.after(400).segments();
  assertEquals(window(s), MSS);
});

scripted("after the overflow of a guest's queue the transfer goes on at full window", (s) => {
  // The guest's queue holds 64 segments of a round trip; the rest of a flight is lost.
  s.established({ mss: MSS, rttMs: 10 }).hostSends(1_500_000);
  const held = new Set<number>();
  let next = 1;
  let rounds = 0;
  for (; next <= 1_500_000; rounds++) {
    assert(rounds < 500, "the transfer comes to an end");
    for (const { seq } of s.segments().slice(0, 64)) held.add(seq);
    while (held.delete(next)) next += MSS;
    const ranges: string[] = [];
    const early = [...held].filter((seq) => seq > next).sort((a, b) => a - b);
    for (let i = 0; i < early.length && ranges.length < 4;) {
      let j = i;
      while (early[j + 1] === early[j]! + MSS) j++;
      ranges.unshift(`${early[i]}:${early[j]! + MSS}`);
      i = j + 1;
    }
    s.after(10).guest(`. 1:1 ack ${next}${ranges.length ? ` <sack ${ranges.join(" ")}>` : ""}`);
  }
  // 1,500 segments at 64 a round would take 24.
  assertLess(rounds, 60);
  s.segments();
});
