import { assert, assertEquals } from "@std/assert";
import { LanRig, madeAddress, tcpSegment } from "../support/lan_rig.ts";
import {
  assertL4,
  concat,
  ethernet,
  icmp4,
  icmp6,
  ip,
  ip4,
  ip6,
  mac,
  onesSum,
  pattern,
  pseudoHeader,
  sealed,
  u16,
  udp,
} from "../support/packets.ts";
import { delivered, headerOf, readHeader } from "../support/large_frames.ts";

const [SYN, ACK, PSH] = [0x02, 0x10, 0x08];

/** An ARP packet over Ethernet. */
function arp(
  lan: LanRig,
  from: number,
  to: number,
  operation: number,
  senderIp: string,
  targetIp: string,
): Uint8Array {
  const sender = mac(lan.members[from]!.mac);
  const target = to < 0 ? new Uint8Array(6) : mac(lan.members[to]!.mac);
  const fixed = [0, 1, 8, 0, 6, 4, 0, operation];
  return ethernet(concat(fixed, sender, ip(senderIp), target, ip(targetIp)), {
    ...lan.macs(from, to),
    type: 0x0806,
  });
}

Deno.test("a datagram goes to the guest that it is for, as it is, over both families", async () => {
  await using lan = new LanRig(3);
  await lan.settle();
  await lan.passes(0, lan.udp(0, 1), [1]);
  await lan.passes(1, lan.udp(1, 0, [7, 5_000]), [0]);
  await lan.passes(2, lan.udp6(2, 1), [1]);
  assertEquals(lan.guests[0]!.counters["lan.rx.frames"], 1);
  assertEquals(lan.guests[0]!.counters["lan.tx.frames"], 1);
  assertEquals(lan.guests[1]!.counters["lan.tx.frames"], 2);
  assertEquals(lan.guests[1]!.counters["lan.rx.bytes"], lan.udp(1, 0).length);
});

Deno.test("a broadcast question and its answer find their way", async () => {
  await using lan = new LanRig(3);
  await lan.settle();
  await lan.passes(0, arp(lan, 0, -1, 1, "10.77.0.2", "10.77.0.3"), [1, 2]);
  await lan.passes(1, arp(lan, 1, 0, 2, "10.77.0.3", "10.77.0.2"), [0]);
  await lan.passes(1, arp(lan, 1, -1, 1, "0.0.0.0", "10.77.0.3"), [0, 2]); // a probe
});

Deno.test("a question for the gateway is answered by it, and by each guest's own alone", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  const question = arp(lan, 0, -1, 1, "10.77.0.2", "10.77.0.1");
  lan.send(0, question);
  await lan.settle();
  assertEquals(lan.frames(1), [question], "the other guest hears the broadcast");
  const [answer] = lan.frames(0);
  assertEquals([...answer!.subarray(20, 32)], [0, 2, ...mac("02:53:4d:00:00:01"), 10, 77, 0, 1]);
});

Deno.test("neighbor discovery goes to all, and an answer to whoever asked", async () => {
  await using lan = new LanRig(3);
  await lan.settle();
  const [a, b] = [lan.members[0]!, lan.members[1]!];
  const group = "ff02::1:ff00:3";
  const option = concat([1, 1], mac(a.mac));
  const question = icmp6(a.ip6!, group, 135, 0, [0, 0, 0, 0], concat(ip(b.ip6!), option));
  const frame = ethernet(
    ip6(question, { source: a.ip6!, destination: group, next: 58, hopLimit: 255 }),
    { source: a.mac, destination: "33:33:ff:00:00:03" },
  );
  await lan.passes(0, frame, [1, 2]);
  const own = concat([2, 1], mac(b.mac));
  const answer = icmp6(b.ip6!, a.ip6!, 136, 0, [0x60, 0, 0, 0], concat(ip(b.ip6!), own));
  await lan.passes(1, lan.ip6(1, 0, 58, answer, { hopLimit: 255 }), [0]);
});

Deno.test("a guest may look for duplicates of each of its own addresses", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  const [a] = lan.members;
  for (const target of [a!.ip6!, madeAddress(a!), madeAddress(a!, "fd53:4d01::")]) {
    const octets = ip(target);
    const message = icmp6("::", "ff02::1", 135, 0, [0, 0, 0, 0], octets);
    const frame = ethernet(
      ip6(message, { source: "::", destination: "ff02::1", next: 58, hopLimit: 255 }),
      {
        source: a!.mac,
        destination: `33:33:ff:00:00:${octets[15]!.toString(16).padStart(2, "0")}`,
      },
    );
    lan.send(0, frame);
    await lan.settle();
    assertEquals(lan.frames(1), [frame], target);
  }
});

Deno.test("pings go there and back over both families", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  const data = pattern(56);
  await lan.passes(0, lan.ip4(0, 1, 1, icmp4(8, 0, [0, 7, 0, 1], data)), [1]);
  await lan.passes(1, lan.ip4(1, 0, 1, icmp4(0, 0, [0, 7, 0, 1], data)), [0]);
  const [a, b] = [lan.members[0]!.ip6!, lan.members[1]!.ip6!];
  await lan.passes(0, lan.ip6(0, 1, 58, icmp6(a, b, 128, 0, [0, 8, 0, 1], data)), [1]);
  await lan.passes(1, lan.ip6(1, 0, 58, icmp6(b, a, 129, 0, [0, 8, 0, 1], data)), [0]);
});

Deno.test("a multicast of one guest comes to the others where there are no rules", async () => {
  await using lan = new LanRig(3);
  await lan.settle();
  const datagram = udp("10.77.0.2", 5_353, "224.0.0.251", 5_353, pattern(40));
  const packet = ip4(datagram, { source: "10.77.0.2", destination: "224.0.0.251", ttl: 255 });
  const to = { source: lan.members[0]!.mac, destination: "01:00:5e:00:00:fb" };
  await lan.passes(0, ethernet(packet, to), [1, 2]);
  const datagram6 = udp("fd53:4d01::2", 5_353, "ff02::fb", 5_353, pattern(40));
  const packet6 = ip6(datagram6, { source: "fd53:4d01::2", destination: "ff02::fb" });
  await lan.passes(0, ethernet(packet6, { ...to, destination: "33:33:00:00:00:fb" }), [1, 2]);
});

Deno.test("what a guest asks of DHCP and of routers no other guest hears", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  const discover = udp("0.0.0.0", 68, "255.255.255.255", 67, pattern(240));
  const frame = ethernet(
    ip4(discover, { source: "0.0.0.0", destination: "255.255.255.255" }),
    lan.macs(0, -1),
  );
  const solicitation = icmp6("fe80::1", "ff02::2", 133, 0, [0, 0, 0, 0], new Uint8Array(0));
  const options = { source: madeAddress(lan.members[0]!), destination: "ff02::2", next: 58 };
  const groups = { source: lan.members[0]!.mac, destination: "33:33:00:00:00:02" };
  lan.send(0, frame, ethernet(ip6(solicitation, { ...options, hopLimit: 255 }), groups));
  await lan.settle();
  assertEquals(lan.frames(1), []);
});

Deno.test("many frames in one read come whole and in order, whatever their lengths", async () => {
  await using lan = new LanRig(3);
  await lan.settle();
  const frames = Array.from({ length: 300 }, (_, i) => {
    const data = [...pattern(1 + (i * 137) % 1_400, i)];
    return { to: i % 7 === 0 ? 2 : 1, frame: lan.udp(0, i % 7 === 0 ? 2 : 1, [5_000, 7], data) };
  });
  lan.send(0, ...frames.map(({ frame }) => frame));
  await lan.settle();
  for (const guest of [1, 2]) {
    assertEquals(
      lan.frames(guest),
      frames.filter(({ to }) => to === guest).map(({ frame }) => frame),
    );
  }
  assertEquals(lan.guests[0]!.counters["lan.rx.frames"], 300);
});

Deno.test("a partial checksum is completed on the way, a right one is left alone", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  for (const [protocol, sumAt] of [[17, 6], [6, 16]] as const) {
    const whole = protocol === 17 ? lan.udp(0, 1) : lan.tcp(0, 1, SYN);
    const l4 = whole.slice(34);
    const partial = whole.slice();
    const sum = onesSum(pseudoHeader("10.77.0.2", "10.77.0.3", protocol, l4.length));
    partial.set(u16(sum), 34 + sumAt);
    lan.send(0, partial);
    await lan.settle();
    assertEquals(lan.frames(1), [whole]);
    assertEquals(lan.counted(0), { "csum.partial": 1 });
  }
  const zero = lan.udp(0, 1);
  zero.set([0, 0], 40); // UDP without a sum
  await lan.passes(0, zero, [1]);
});

Deno.test("partial sums are refused where sums are verified", async () => {
  await using lan = new LanRig(2, { network: { checksums: "verify" } });
  await lan.settle();
  const partial = lan.udp(0, 1);
  partial.set(u16(onesSum(pseudoHeader("10.77.0.2", "10.77.0.3", 17, 11))), 40);
  await lan.drops(0, partial, "drop.csum");
});

Deno.test("where sums are verified, one that a header leaves to do is completed all the same", async () => {
  const guest = { network: { checksums: "verify" as const }, hasHeaders: true };
  await using lan = new LanRig(2, { guests: [guest, guest] });
  await lan.settle();
  for (const [protocol, sumAt] of [[17, 6], [6, 16]] as const) {
    const whole = protocol === 17 ? lan.udp(0, 1) : lan.tcp(0, 1, SYN);
    const partial = whole.slice();
    const { length } = whole.subarray(34);
    partial.set(u16(onesSum(pseudoHeader("10.77.0.2", "10.77.0.3", protocol, length))), 34 + sumAt);
    const left = { flags: 1, checksumStart: 34, checksumOffset: sumAt };
    lan.send(0, concat(headerOf(left), partial));
    await lan.settle();
    assertEquals(lan.frames(1).map((frame) => frame.slice(-whole.length)), [whole]);
    assertEquals(lan.counted(0), { "csum.partial": 1 });
    const elsewhere = { ...left, checksumStart: 14 };
    await lan.drops(0, concat(headerOf(elsewhere), partial), "drop.csum");
    await lan.drops(0, concat(headerOf({}), partial), "drop.csum");
  }
});

Deno.test("a long TCP segment is cut for the other guest; anything else so long is dropped", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  for (const family of [4, 6] as const) {
    const [source, destination] = family === 4
      ? ["10.77.0.2", "10.77.0.3"]
      : ["fd53:4d01::2", "fd53:4d01::3"];
    const data = pattern(20_000);
    const plain = tcpSegment(source, destination, ACK | PSH | 0x01, [40_000, 80], data);
    plain.set([0xff, 0xff, 0xff, 0x00], 4); // the number wraps
    const segment = sealed(plain, 16, source, destination, 6);
    const frame = family === 4 ? lan.ip4(0, 1, 6, segment) : lan.ip6(0, 1, 6, segment);
    lan.send(0, frame);
    await lan.settle();
    const pieces = lan.frames(1);
    const headerBytes = family === 4 ? 54 : 74;
    assertEquals(pieces.map((piece) => piece.length <= 1_514), pieces.map(() => true));
    assertEquals(concat(...pieces.map((piece) => piece.subarray(headerBytes))), data);
    pieces.forEach((piece, i) => {
      const l4 = piece.slice(headerBytes - 20);
      assertL4({ source, destination, protocol: 6, payload: l4 });
      const view = new DataView(piece.buffer, headerBytes - 20);
      assertEquals(view.getUint32(4), (0xffff_ff00 + i * (1_500 - headerBytes + 14)) >>> 0);
      assertEquals(view.getUint8(13), i === pieces.length - 1 ? ACK | PSH | 0x01 : ACK);
      if (family === 4) {
        assertEquals(onesSum(piece.slice(14, 34)), 0xffff);
        assertEquals(new DataView(piece.buffer).getUint16(16), piece.length - 14);
      }
    });
    assertEquals(lan.counted(0), {});
  }
  await lan.drops(0, lan.udp(0, 1, [5_000, 7], [...pattern(1_473)]), "drop.lan.long");
  const broken = lan.tcp(0, 1, ACK, [40_000, 80], pattern(3_000));
  broken[1_000]! ^= 1;
  await lan.drops(0, broken, "drop.csum"); // cut, it would have right sums
});

Deno.test("a long TCP segment stays whole for a guest that takes it, with a header and without", async () => {
  const large = { network: { offload: true } };
  const guests = [{ ...large, hasHeaders: true }, { ...large, hasHeaders: true }, large];
  await using lan = new LanRig(3, { guests });
  await lan.settle();
  for (const to of [1, 2]) {
    for (const family of [4, 6] as const) {
      const [source, destination] = family === 4
        ? [lan.members[0]!.ip4, lan.members[to]!.ip4]
        : [lan.members[0]!.ip6!, lan.members[to]!.ip6!];
      const data = pattern(60_000);
      const segment = tcpSegment(source, destination, ACK | PSH, [40_000, 80], data);
      const frame = family === 4 ? lan.ip4(0, to, 6, segment) : lan.ip6(0, to, 6, segment);
      const partial = frame.slice(); // as the device leaves it
      const sum = onesSum(pseudoHeader(source, destination, 6, segment.length));
      const tcpAt = family === 4 ? 34 : 54;
      partial.set(u16(sum), tcpAt + 16);
      const header = headerOf({
        flags: 1,
        gsoType: family === 4 ? 1 : 4,
        headersBytes: tcpAt + 20,
        segmentBytes: 1_514 - tcpAt - 20,
        checksumStart: tcpAt,
        checksumOffset: 16,
      });
      lan.send(0, concat(header, partial));
      await lan.settle();
      const [came, ...more] = lan.frames(to);
      assertEquals(more, []);
      if (to === 2) assertEquals(came, frame, "its sum is done");
      else {
        const whole = readHeader(came!.slice(0, 12));
        assertEquals([whole.flags, whole.gsoType, whole.segmentBytes], [
          1,
          family === 4 ? 1 : 4,
          1_514 - tcpAt - 20,
        ]);
        const pieces = delivered(came!);
        assertEquals(concat(...pieces.map((piece) => piece.subarray(tcpAt + 20))), data);
      }
      assertEquals(lan.counted(0), { "csum.partial": 1 });
    }
  }
  // Short frames of a link with headers come as they are, whatever stood in front of them.
  const datagram = lan.udp(0, 1);
  lan.send(0, concat(headerOf(), datagram), concat(headerOf(), lan.udp(0, 1, [5_000, 8])));
  await lan.settle();
  assertEquals(lan.frames(1).flatMap(delivered), [datagram, lan.udp(0, 1, [5_000, 8])]);
});

Deno.test("frames for who is not there are dropped, and never seen by who comes", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  await lan.leave(1);
  lan.send(0, lan.udp(0, 1));
  await lan.settle();
  assertEquals(lan.counted(0), { "drop.lan.away": 1 });
  lan.come(1);
  await lan.settle();
  assertEquals(lan.frames(1), []);
  await lan.passes(0, lan.udp(0, 1), [1]);
});

Deno.test("what waits for a guest that leaves is not for the next one", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  lan.guests[1]!.takes = false;
  const frames = Array.from(
    { length: 400 },
    (_, i) => lan.udp(0, 1, [5_000, 7], [...pattern(1_000, i)]),
  );
  lan.send(0, ...frames);
  await lan.host.clock.run(10);
  await lan.leave(1);
  lan.come(1);
  await lan.host.clock.run(10);
  assertEquals(lan.frames(1), []);
  await lan.passes(0, lan.udp(0, 1), [1]);
});

Deno.test("a guest that takes nothing costs drops of the frames for it, and nothing else", async () => {
  await using lan = new LanRig(3);
  await lan.settle();
  lan.guests[1]!.takes = false;
  const count = 6_000; // more than a ring holds
  const numbered = (i: number): Uint8Array => {
    return lan.udp(0, 1, [5_000, 7], [i >> 8, i & 255, ...pattern(1_000)]);
  };
  for (let i = 0; i < count; i += 100) {
    const flood = Array.from({ length: 100 }, (_, j) => numbered(i + j));
    lan.send(0, ...flood, lan.udp(0, 2, [5_000, 7], [i / 100]));
    await lan.host.clock.run(1);
  }
  assertEquals(lan.frames(2).length, count / 100, "the third guest got all that was for it");
  const dropped = lan.guests[0]!.counters["drop.lan.full"]!;
  assert(dropped > 0 && dropped < count, `${dropped} frames found no room`);
  lan.guests[1]!.takes = true;
  await lan.host.clock.run(100);
  const numbers = lan.frames(1).map((frame) => frame[42]! << 8 | frame[43]!);
  assertEquals(numbers.length, count - dropped, "all others came");
  assertEquals(numbers, numbers.toSorted((a, b) => a - b), "in order");
});

Deno.test("a link that comes back has nothing of before, and goes on", async () => {
  await using lan = new LanRig(2, { guests: [undefined, { lingerMs: 60_000 }] });
  await lan.settle();
  await lan.passes(1, lan.udp(1, 0, [7, 5_000]), [0]);
  const guest = lan.guests[1]!;
  guest.takes = false;
  lan.send(0, ...Array.from({ length: 400 }, () => lan.udp(0, 1, [5_000, 7], [...pattern(1_000)])));
  await lan.host.clock.run(10);
  await guest.lose();
  lan.counted(0);
  await lan.drops(0, lan.udp(0, 1), "drop.lan.away");
  guest.takes = true;
  assertEquals(await guest.rejoin(), true);
  const ofOthers = lan.frames(1).filter((frame) => frame[11] === 2);
  assertEquals(ofOthers, [], "only the gateway asks who is there");
  await lan.drops(0, lan.udp(0, 1), "drop.lan.away"); // whoever that is has not been heard
  const stranger = lan.udp(1, 0);
  stranger.set(mac("02:00:00:00:00:99"), 6);
  await lan.drops(1, stranger, "drop.eth.src");
  await lan.passes(1, lan.udp(1, 0, [7, 5_000]), [0]);
  await lan.passes(0, lan.udp(0, 1), [1]);
});

Deno.test("an orderly end does not wait for what others send", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  const closing = lan.guests[1]!.network.close(5_000);
  lan.send(0, lan.udp(0, 1));
  await lan.settle();
  assertEquals(lan.counted(0), { "drop.lan.away": 1 });
  await lan.host.clock.run(20);
  await closing;
});

Deno.test("frames to groups are limited", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  const frame = arp(lan, 0, -1, 1, "10.77.0.2", "10.77.0.3");
  for (let i = 0; i < 20; i++) {
    lan.send(0, ...Array.from({ length: 100 }, () => frame));
    await lan.settle();
  }
  const dropped = lan.guests[0]!.counters["drop.lan.storm"]!;
  assertEquals(dropped, 2_000 - 1_024);
  assertEquals(lan.frames(1).length, 1_024);
});

Deno.test("both guests see their frames in a capture of their own links", async () => {
  await using lan = new LanRig(2);
  await lan.settle();
  const seen: string[] = [];
  lan.guests.forEach(({ network }, guest) =>
    network.setTap({
      received: (_at, bytes) => void seen.push(`${guest} received ${bytes}`),
      sent: (_at, bytes) => void seen.push(`${guest} sent ${bytes}`),
    })
  );
  const frames = [lan.udp(0, 1), lan.udp(0, 1, [5_000, 7], [...pattern(100)])];
  lan.send(0, ...frames);
  await lan.settle();
  assertEquals(seen, ["0 received 45", "0 received 142", "1 sent 45", "1 sent 142"]);
  assertEquals(lan.frames(1), frames);
});
