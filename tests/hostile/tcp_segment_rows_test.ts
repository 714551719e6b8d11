/** Rows 29 to 37 and 40: what single segments of a connection may try. */
import { assert, assertEquals } from "@std/assert";
import { HOST4, HOST6, sink } from "../support/virtual_host.ts";
import { usedMs } from "./flood.ts";
import { guestBytes, hostBytes, HostileGuest } from "./hostile_guest.ts";

/** Sizes of the segments that carry `bytes` octets of the host to a guest with these options. */
async function segmentSizes(options: string, bytes: number, host = HOST4): Promise<number[]> {
  await using gw = await HostileGuest.start();
  gw.host.listen(host, 80);
  const flow = gw.flow({ host });
  const peer = await flow.opens(options);
  peer.write(hostBytes(bytes));
  const sizes: number[] = [];
  for (let turns = 0; sizes.reduce((sum, size) => sum + size, 0) < bytes; turns++) {
    assert(turns < 1000, "the transfer comes to an end");
    await gw.run(1);
    sizes.push(...flow.sent().map(({ dataBytes }) => dataBytes));
    await flow.guest(`. 1:1 ack ${flow.sentEnd}`);
  }
  await flow.guest("R 1:1");
  gw.silent().counts({ "tcp.reset.received": 1 });
  await gw.empties(0);
  return sizes;
}

// CVE-2019-11479: a peer that announces the smallest segments makes a sender split and queue every
// octet by itself; the remedy there, too, is a floor.
Deno.test("hostile 29: an MSS of 0 is the default, one of 1 is raised to 88", async () => {
  const cases: [options: string, largest: number, host: string][] = [
    ["mss 0", 536, HOST4],
    ["", 536, HOST4],
    ["mss 1", 88, HOST4],
    ["mss 87", 88, HOST4],
    ["mss 89", 89, HOST4],
    ["mss 65535", 1460, HOST4],
    ["mss 0", 1220, HOST6],
    ["mss 1", 88, HOST6],
  ];
  for (const [options, largest, host] of cases) {
    const sizes = await segmentSizes(options, 10_000, host);
    assertEquals(Math.max(...sizes), largest, options);
    // What a read of the host's socket leaves over is all that makes others.
    assert(sizes.filter((size) => size < largest).length <= 6, `${sizes}`);
  }
});

Deno.test("hostile 30: SACK blocks beyond SND.NXT, empty or turned round are ignored", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const peer = await flow.opens();
  peer.write(hostBytes(4 * 1460));
  await gw.run(1);
  flow.sent();
  assertEquals(flow.sentEnd, 5841);
  for (const block of ["1461:5842", "1461:2000000000", "5842:9000", "2921:1461", "1461:1461"]) {
    await flow.guest(`. 1:1 ack 1 <sack ${block}>`);
  }
  await gw.run(5);
  assertEquals(flow.sent(), [], "nothing counts as lost or as received");
  await flow.guest(". 1:1 ack 5841");
  peer.write(hostBytes(5841).subarray(5840));
  await gw.run(1);
  flow.expects("P. 5841:5842 ack 1");
  await flow.guest("R 1:1");
  gw.silent().counts({ "tcp.reset.received": 1 });
  await gw.empties(0);
});

// CVE-2019-11477: the smallest segments and SACK blocks that tear the queue into ever more pieces.
// There a counter of pieces ran over; here the pieces are bounded: 256 runs, so 128 SACKed ranges.
Deno.test("hostile 30: thousands of holes in the smallest segments end in a whole transfer", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const peer = await flow.opens("mss 1,sackOK,wscale 7");
  const bytes = 100_000;
  let written = 0;
  peer.onChange = () => void (written += peer.write(hostBytes(bytes).subarray(written)));
  peer.onChange();
  for (let turns = 0; flow.sentEnd < 40_000; turns++) { // a flight of some length
    assert(turns < 1000, "the window grows");
    await gw.run(1);
    flow.sent();
    await flow.guest(`. 1:1 ack ${flow.sentEnd}`);
  }
  await gw.run(1);
  flow.sent();
  const acked = flow.sentEnd;
  peer.onChange();
  await gw.run(1);
  flow.sent();
  const fromMs = usedMs();
  for (let hole = acked + 3; hole + 12 < flow.sentEnd; hole += 12) {
    const blocks = [hole, hole + 4, hole + 8].map((at) => `${at}:${at + 1}`).join(" ");
    await gw.sends(flow.frame(`. 1:1 ack ${acked} <sack ${blocks}>`));
  }
  assert(usedMs() - fromMs < 10_000, "an ACK takes a bounded time");
  for (let turns = 0; flow.sentEnd <= bytes; turns++) {
    assert(turns < 2000, "the transfer comes to an end");
    await gw.run(1);
    flow.sent();
    await flow.guest(`. 1:1 ack ${flow.sentEnd}`);
  }
  await flow.guest("R 1:1");
  await gw.run(1);
  flow.sent();
  gw.silent();
  await gw.empties(0);
});

// CVE-2018-5390: tiny segments out of order make a receiver search and join a queue without end.
Deno.test("hostile 31: of one-octet segments out of order 256 ranges are held, inside the window", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, sink);
  const flow = gw.flow();
  const peer = await flow.opens("mss 1460");
  peer.onChange = null;
  const all: string[] = [];
  for (let at = 2; at < 65_000; at += 8) all.push(`. ${at}:${at + 1} ack 1`);
  for (let i = 0; i < all.length; i += 200) await flow.guest(...all.slice(i, i + 200));
  assert(flow.sent().every(({ flags, ack }) => flags === "." && ack === 1));
  gw.counts({ "tcp.outoforder": 256, "drop.tcp.ranges": all.length - 256 });
  const heldBytes = gw.figures().bufferBytes;
  assert(heldBytes <= 128 * 1024, `${heldBytes} bytes are held`);
  await flow.guest(
    ...Array.from({ length: 100 }, (_, i) => `. ${65_536 + 2 * i}:${65_537 + 2 * i} ack 1`),
  );
  flow.expects(...Array(1).fill(". 1:1 ack 1"));
  gw.counts({ "drop.tcp.window": 100 });
  // An honest segment closes the first gaps, and what was held counts.
  await flow.guest("P. 1:1001 ack 1");
  flow.expects(". 1:1 ack 1001");
  await gw.run(1);
  assertEquals(peer.take(), guestBytes(1000));
  gw.forget();
  await flow.guest("R 1001:1001");
  gw.silent().counts({ "tcp.reset.received": 1 });
  await gw.empties(0);
});

Deno.test("hostile 32: of overlapping segments with different octets the first copy wins", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const peer = await flow.opens();
  await flow.guest("P. 201:301 ack 1", "P. 151:351 ack 1 fill 7"); // behind a gap
  await flow.guest("P. 1:301 ack 1 fill 9"); // over it
  await flow.guest("P. 1:401 ack 1 fill 5"); // over what was acknowledged
  await gw.run(5);
  flow.sent();
  const stream = peer.take();
  const expected = new Uint8Array(400);
  expected.fill(9, 0, 150);
  expected.fill(7, 150, 350);
  expected.set(guestBytes(100, 200), 200);
  expected.fill(5, 350, 400);
  assertEquals(stream, expected);
  gw.counts({ "tcp.outoforder": 2 });
  await flow.guest("R 401:401");
  gw.silent().counts({ "tcp.reset.received": 1 });
  await gw.empties(0);
});

Deno.test("hostile 33: an RST inside the window draws a challenge ACK, the exact one aborts", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const peer = await flow.opens();
  await flow.guest("R 2:2");
  flow.expects(". 1:1 ack 1");
  gw.counts({ "tcp.challenge": 1 });
  await flow.guest("R 0:0", "R 65537:65537", "R 2000000000:2000000000");
  gw.silent().counts({ "drop.tcp.window": 3 });
  assertEquals([peer.isClosed, gw.figures().tcpFlows], [false, 1]);
  await flow.guest("R 1:1");
  gw.silent().counts({ "tcp.reset.received": 1 });
  assertEquals(peer.isClosed, true);
  await gw.empties(0);
});

Deno.test("hostile 34: a SYN in ESTABLISHED draws a challenge ACK and changes nothing", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const peer = await flow.opens();
  for (const [i, line] of ["S 1:1", "S 0:0", "S 5000:5000", "S -9999:-9999", "SF 1:1"].entries()) {
    await flow.guest(`${line} <mss 1460>`);
    flow.expects(". 1:1 ack 1");
    await gw.run(100);
    // What is outside of the window is answered as any segment there is.
    const inside = i === 0 || i === 2 || i === 4;
    gw.counts({ [inside ? "tcp.challenge" : "drop.tcp.window"]: 1 });
  }
  await flow.livesOn(peer);
});

Deno.test("hostile 35: an ACK of what was never sent, or too old, is answered, and its data dropped", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const peer = await flow.opens();
  for (const ack of [2, 1000, 2_000_000_000, 1 - 65_535 * 128 - 1, -2_000_000_000]) {
    await flow.guest(`P. 1:101 ack ${ack}`);
    flow.expects(". 1:1 ack 1");
    gw.counts({ "tcp.challenge": 1 });
    await gw.run(100);
  }
  assertEquals(peer.availableBytes, 0);
  await flow.livesOn(peer);
});

// CVE-2016-5696: with one limit on challenge ACKs for all connections a stranger counts how many are
// left and so learns of other people's connections. A limit for each connection tells nothing.
Deno.test("hostile 35: challenge ACKs of one flow never use up those of another", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const noisy = gw.flow({ guestPort: 40_000 });
  const quiet = gw.flow({ guestPort: 40_001 });
  await noisy.opens();
  await quiet.opens();
  const forged = Array.from({ length: 1000 }, (_, i) => `R ${2 + i}:${2 + i}`);
  for (let second = 0; second < 3; second++) {
    await noisy.guest(...forged);
    await quiet.guest(`. 1:1 ack ${1000 + second}`);
    noisy.expects(". 1:1 ack 1");
    quiet.expects(". 1:1 ack 1");
    gw.counts({ "tcp.challenge": 2 });
    await gw.run(1000);
  }
  // In a second a flow has no more than ten of them.
  for (let ms = 0; ms < 1000; ms += 10) {
    await noisy.guest("R 2:2", ". 1:1 ack 7", "S 5:5");
    await gw.run(10);
  }
  assertEquals(noisy.sent().length, 10);
  gw.counts({ "tcp.challenge": 10 });
  await noisy.guest("R 1:1");
  await quiet.guest("R 1:1");
  gw.silent();
  await gw.empties(0);
});

Deno.test("hostile 36: data without the ACK flag is dropped and counted", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const peer = await flow.opens();
  await flow.guest("P 1:101", "- 1:101", "F 1:1", "FP 1:101", "U 1:2");
  gw.silent().counts({ "drop.tcp.noack": 5 });
  assertEquals([peer.availableBytes, peer.isEnded], [0, false]);
  await flow.guest("R 1:1");
  gw.silent();
  await gw.empties(0);
});

// CVE-2019-12255: an urgent pointer of 0 made a length go below 0. Here it is no length at all.
Deno.test("hostile 37: urgent octets are octets in line, wherever the pointer points", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  const peer = await flow.opens();
  let at = 1;
  for (const urg of [0, 1, 99, 100, 101, 32_768, 65_535]) {
    await flow.guest(
      `PU. ${at}:${at + 100} ack 1 urg ${urg}`,
      `U. ${at + 100}:${at + 100} ack 1 urg ${urg}`,
    );
    at += 100;
  }
  await flow.guest(`PU. ${at + 50}:${at + 100} ack 1 urg 0`, `PU. ${at}:${at + 50} ack 1 urg 9`);
  await gw.run(5);
  assertEquals(peer.take(), guestBytes(800));
  const sent = flow.sent();
  assertEquals(sent.at(-1)!.ack, 801);
  assert(sent.every(({ flags }) => flags === "."));
  gw.counts({ "tcp.outoforder": 1 });
  await flow.guest("R 801:801");
  gw.silent();
  await gw.empties(0);
});

Deno.test("hostile 40: an RST in TIME_WAIT is ignored", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, (peer) => peer.finish());
  const flow = gw.flow();
  await gw.host.clock.run(0);
  await flow.guest("S 0:0 <mss 1460>");
  await gw.run(1);
  flow.expects("S. 0:0 ack 1");
  await flow.guest(". 1:1 ack 1");
  await gw.run(1);
  flow.expects("F. 1:1 ack 1");
  await flow.guest("F. 1:1 ack 2");
  flow.expects(". 2:2 ack 2");
  await gw.run(1);
  gw.forget();
  await flow.guest("R 2:2", "R. 2:2 ack 2", "R 1:1", "R 3:3");
  await gw.run(1);
  assertEquals(gw.figures().tcpFlows, 1, "the four-tuple is still held");
  flow.sent(); // the last one is challenged
  await gw.run(100);
  await flow.guest("F. 1:1 ack 2"); // the guest did not get the last ACK
  flow.expects(". 2:2 ack 2");
  await gw.run(9_000);
  assertEquals(gw.figures().tcpFlows, 1);
  gw.silent();
  await gw.empties(1_100);
});
