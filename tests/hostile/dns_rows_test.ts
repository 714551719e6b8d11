/** Rows 46 to 48: malformed questions, forged answers, too many of either. */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { concat, ethernet, GATEWAY4, GUEST4, ip4, pattern, u16, udp } from "../support/packets.ts";
import { HOST4, type UdpReply } from "../support/virtual_host.ts";
import { HostileGuest } from "./hostile_guest.ts";

/** The gateway's upstream, as `VirtualGateway` sets it. */
const RESOLVER = "10.0.0.53";
const FORMAT_ERROR = 1;
const SERVER_FAILURE = 2;
const A = [0, 1, 0, 1];

/** Octets of a name in text. */
function name(text: string): number[] {
  const labels = text.split(".").filter(Boolean);
  return [...labels.flatMap((label) => [label.length, ...new TextEncoder().encode(label)]), 0];
}

/** A question message: RD is set, and the counts are as given. */
function message(id: number, body: readonly number[], counts = [1, 0, 0, 0]): Uint8Array {
  return concat(u16(id), [1, 0], counts.flatMap(u16), body);
}

function question(id: number, text: string): Uint8Array {
  return message(id, [...name(text), ...A]);
}

/** The answer of a well-behaved upstream: one address. */
function answerTo(asked: Uint8Array, lastOctet = 7): Uint8Array {
  const out = concat(asked, [0xc0, 12, ...A, 0, 0, 0, 60, 0, 4, 93, 184, 216, lastOctet]);
  out.set([0x81, 0x80], 2);
  out[7] = 1;
  return out;
}

/** The frame of a message to a resolver that the guest believes in. */
function ask(bytes: Uint8Array, guestPort = 5000, server = GATEWAY4): Uint8Array {
  return ethernet(ip4(udp(GUEST4, guestPort, server, 53, bytes), { destination: server }));
}

/** The DNS messages that came for the guest. */
function answers(gw: HostileGuest): { port: number; bytes: Uint8Array }[] {
  return gw.taken(({ protocol, payload }) => {
    if (protocol !== 17 || payload[0] !== 0 || payload[1] !== 53) return null;
    return { port: payload[2]! * 256 + payload[3]!, bytes: payload.slice(8) };
  });
}

function rcodes(gw: HostileGuest): number[] {
  return answers(gw).map(({ bytes }) => bytes[3]! & 15);
}

Deno.test("hostile 46: pointer loops, long labels and names, and any but one question get FORMERR", async () => {
  await using gw = await HostileGuest.start();
  let asked = 0;
  gw.host.udp(RESOLVER, 53, () => asked++);
  const label = (length: number) => [length, ...Array(length).fill(97)];
  const bodies: [what: string, body: number[], counts?: number[]][] = [
    ["a pointer to itself", [0xc0, 12, ...A]],
    ["two that point at each other", [0xc0, 14, 0xc0, 12, ...A]],
    ["a label, then back to it", [1, 97, 0xc0, 12, ...A]],
    ["a pointer forwards", [0xc0, 20, ...A, 0, 0, 0, 0]],
    ["a pointer into the header", [0xc0, 4, ...A]],
    ["a pointer beyond the end", [0xff, 0xff, ...A]],
    ["a chain of 20 pointers", [...Array(20).keys()].flatMap((i) => [0xc0, 10 + 2 * i]).concat(A)],
    ["a label of 64 octets", [...label(64), 0, ...A]],
    ["a label of 191 octets", [...label(191), 0, ...A]],
    ["a name of 256 octets", [...label(63), ...label(63), ...label(63), ...label(62), 0, ...A]],
    ["a name of 1,000 octets", [...Array(16).fill(label(62)).flat(), 0, ...A]],
    ["a label over the end", [20, 97, 98]],
    ["a name without an end", [1, 97]],
    ["no type", [1, 97, 0]],
    ["no question", [], [0, 0, 0, 0]],
    ["two questions", [1, 97, 0, ...A, 1, 98, 0, ...A], [2, 0, 0, 0]],
    ["65,535 questions", [1, 97, 0, ...A], [65_535, 0, 0, 0]],
  ];
  for (const [i, [what, body, counts]] of bodies.entries()) {
    for (const server of [GATEWAY4, HOST4]) {
      await gw.sends(ask(message(4660 + i, body, counts), 5000, server));
      assertEquals(answers(gw), [
        { port: 5000, bytes: concat(u16(4660 + i), [0x81, 0x80 | FORMAT_ERROR], Array(8).fill(0)) },
      ], what);
      gw.silent().counts({});
    }
  }
  assertEquals(asked, 0, "nothing of it goes upstream");
  assertEquals(gw.network.dnsCounts.malformed, 2 * bodies.length);
  // What is not even a question gets no answer, so two servers can't be made to talk.
  const response = question(1, "a.example");
  response[2] = 0x81;
  await gw.sends(ask(response), ask(pattern(11)), ask(new Uint8Array(0)));
  gw.silent();
  assertEquals([gw.network.dnsCounts.ignored, asked], [3, 0]);
  await gw.empties(0);
});

Deno.test("hostile 46: loops in an upstream's answer cost nothing, whether it is cut or not", async () => {
  await using gw = await HostileGuest.start();
  gw.host.udp(RESOLVER, 53, (asked, reply) => {
    const loops = Array.from({ length: 300 }, () => [0xc0, 12 + asked.length - 12]).flat();
    const out = concat(asked, loops);
    out.set([0x81, 0x80], 2);
    out.set(u16(65_535), 6);
    reply(out);
  });
  await gw.sends(ask(question(77, "loop.example")));
  const [answer] = answers(gw);
  // Nobody can tell which addresses such an answer would give: it is a failure of the upstream.
  assertEquals([answer!.bytes.slice(0, 2), answer!.bytes[3]! & 15], [Uint8Array.of(0, 77), 2]);
  assertEquals(gw.network.dnsCounts.failedAnswer, 1);
  assert(answer!.bytes.length <= 512);
  gw.silent().counts({});
  await gw.empties(0);
});

Deno.test("hostile 47: forged answers are ignored, and the wait goes on", async () => {
  await using gw = await HostileGuest.start();
  const forge = (asked: Uint8Array, reply: UdpReply) => {
    const right = answerTo(asked, 66);
    const changed = (at: number, value: number) => {
      const out = right.slice();
      out[at] = value;
      return out;
    };
    const forged: Parameters<UdpReply>[] = [
      [changed(0, right[0]! ^ 1)], // the id
      [changed(1, right[1]! + 1)],
      [right, { from: { address: RESOLVER, port: 54 } }],
      [right, { from: { address: "10.0.0.54", port: 53 } }],
      [changed(13, right[13]! + 1)], // the name
      [changed(asked.length - 3, 28)], // the type
      [changed(asked.length - 1, 3)], // the class
      [changed(2, 0x01)], // a question
      [changed(2, 0x85 | 0x28)], // another opcode
      [changed(5, 2)], // two questions
      [right.slice(0, 11)],
      [right.slice(0, 14)],
      [new Uint8Array(0)],
    ];
    for (const one of forged) reply(...one);
    return forged.length;
  };
  let forgeries = 0;
  gw.host.udp(RESOLVER, 53, (asked, reply) => {
    forgeries += forge(asked, reply);
    reply(answerTo(asked), { delayMs: 50 });
  });
  await gw.sends(ask(question(4711, "bank.example")));
  await gw.run(49);
  gw.silent();
  assertEquals(gw.network.dnsCounts.unmatched, forgeries);
  await gw.run(1);
  assertEquals(answers(gw), [{ port: 5000, bytes: answerTo(question(4711, "bank.example")) }]);
  // One that comes after the answer is of no question any more.
  gw.silent().counts({});
  assertEquals([gw.network.dnsCounts.answered, gw.network.dnsCounts.forwarded], [1, 1]);
  await gw.empties(0);
});

Deno.test("hostile 47: ids and sockets are drawn by lot, the guest's own id never goes out", async () => {
  await using gw = await HostileGuest.start();
  const ids: number[] = [];
  gw.host.udp(RESOLVER, 53, (asked, reply) => {
    ids.push(asked[0]! * 256 + asked[1]!);
    reply(answerTo(asked));
  });
  for (let i = 0; i < 1000; i++) await gw.sends(ask(question(i, `n${i}.example`), 5000 + i));
  assertEquals(answers(gw).map(({ bytes }) => bytes[0]! * 256 + bytes[1]!), [
    ...Array(1000).keys(),
  ]);
  const steps = ids.slice(1).map((id, i) => (id - ids[i]!) & 0xffff);
  const buckets = new Array<number>(16).fill(0);
  for (const step of steps) buckets[step >> 12]!++;
  assert(Math.max(...buckets) < 110 && Math.min(...buckets) > 25, `${buckets}`);
  assert(ids.filter((id, i) => id === i).length < 5);
  assert(gw.host.openSockets - 1 > 24, "questions leave from many ports");
  await gw.empties(0);
});

Deno.test("hostile 47: equal questions share one query, so asking again gains no guesses", async () => {
  await using gw = await HostileGuest.start();
  let asked = 0;
  gw.host.udp(RESOLVER, 53, (bytes, reply) => {
    asked++;
    reply(answerTo(bytes), { delayMs: 20 });
  });
  const ids = Array.from({ length: 200 }, (_, i) => i);
  await gw.sends(...ids.map((id) => ask(question(id, "bank.example"), 6000 + id)));
  await gw.run(20);
  assertEquals(asked, 1);
  const expected = ids.map((id) => ({
    port: 6000 + id,
    bytes: answerTo(question(id, "bank.example")),
  }));
  assertEquals(answers(gw), expected);
  assertEquals(gw.network.dnsCounts.shared, 199);
  await gw.empties(0);
});

Deno.test("hostile 48: of 10,000 questions a second 256 at most are in flight, the rest hears SERVFAIL", async () => {
  // Three, so that what is in flight at each of them is not what binds.
  const upstreams = [RESOLVER, "10.0.0.54", "10.0.0.55"];
  await using gw = await HostileGuest.start({ dns: { upstreams } });
  const { dnsInFlight, dnsTimeoutMs } = DEFAULT_LIMITS;
  let asked = 0;
  for (const upstream of upstreams) gw.host.udp(upstream, 53, () => asked++);
  let most = 0;
  const all = 10_000;
  for (let i = 0; i < all; i += 100) {
    const ids = Array.from({ length: 100 }, (_, j) => i + j);
    gw.send(...ids.map((id) => ask(question(id, `n${id}.example`), 1024 + id)));
    await gw.run(10);
    most = Math.max(most, gw.figures().dnsInFlight);
  }
  assertEquals(most, dnsInFlight);
  const early = rcodes(gw);
  assertEquals(early.length, all - most, "those that don't wait have heard at once");
  assert(early.every((rcode) => rcode === SERVER_FAILURE));
  assertEquals(gw.network.dnsCounts.failedBusy, early.length);
  // The gateway's own names are answered all the same.
  await gw.sends(ask(question(1, "gateway.internal")));
  assertEquals(rcodes(gw), [0]);
  await gw.run(dnsTimeoutMs);
  assertEquals(rcodes(gw), Array(most).fill(SERVER_FAILURE));
  gw.silent().counts({});
  // And then it is as if nothing had been.
  for (const upstream of upstreams) {
    gw.host.udp(upstream, 53, (bytes, reply) => reply(answerTo(bytes), { delayMs: 5 }));
  }
  await gw.sends(ask(question(2, "honest.example")));
  await gw.run(5);
  assertEquals(rcodes(gw), [0]);
  await gw.empties(0);
});
