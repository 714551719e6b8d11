/** Row 48, over TCP: what connections to port 53 hold, how many there are, and for how long. */
import { assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { nameOctets } from "../../lib/dns/name.ts";
import { DNS_IDLE_MS } from "../../lib/host/dns_connections.ts";
import { concat, GATEWAY4, pattern, u16 } from "../support/packets.ts";
import { type Flow, HostileGuest } from "./hostile_guest.ts";
import { RESOLVER } from "./resolver.ts";

const SYN = "S 0:0 <mss 1460>";
/** Octets of an upstream's long answer. */
const LONG_BYTES = 60_000;

/** A question behind its length. */
function framed(id: number, text: string): Uint8Array {
  const question = concat(u16(id), [1, 0, 0, 1, 0, 0, 0, 0, 0, 0], nameOctets(text)!, [
    0,
    16,
    0,
    1,
  ]);
  return concat(u16(question.length), question);
}

/** An answer of `bytes` octets: records of no meaning. */
function longAnswer(asked: Uint8Array, bytes: number): Uint8Array {
  const records: number[] = [];
  let count = 0;
  for (; asked.length + records.length < bytes; count++) {
    const dataBytes = Math.min(1_000, bytes - asked.length - records.length - 12);
    records.push(0xc0, 12, 0, 99, 0, 1, 0, 0, 0, 9, ...u16(dataBytes), ...pattern(dataBytes));
  }
  const answer = concat(asked, records);
  answer.set([0x81, 0x80], 2);
  answer.set(u16(count), 6);
  return answer;
}

function flowTo53(gw: HostileGuest, guestPort = 40_000): Flow {
  return gw.flow({ host: GATEWAY4, hostPort: 53, guestPort });
}

/** Lengths and response codes of the messages in a stream. */
function messagesIn(stream: Uint8Array): [bytes: number, rcode: number][] {
  const messages: [number, number][] = [];
  for (let at = 0; at < stream.length;) {
    const bytes = stream[at]! * 256 + stream[at + 1]!;
    messages.push([bytes, stream[at + 5]! & 15]);
    at += 2 + bytes;
  }
  return messages;
}

Deno.test("hostile 48: a length over TCP that no question has is a reset at once", async () => {
  await using gw = await HostileGuest.start();
  for (const length of [0, 11, 4_097, 65_535]) {
    const flow = await flowTo53(gw).opensToSay(concat(u16(length), pattern(10)));
    await flow.guest("P. 1:3 ack 1");
    assertEquals(flow.sent().map(({ flags }) => flags), ["R."], `length ${length}`);
    gw.forget();
    await gw.empties(0);
  }
  // The longest that one may have is waited for, and judged like any other.
  const flow = await flowTo53(gw).opensToSay(concat(u16(4_096), new Uint8Array(4_096)));
  await flow.speaks();
  flow.sent();
  assertEquals(messagesIn(flow.heard), [[12, 1]]);
  await flow.guest("R 4099:4099");
  await gw.empties(0);
});

Deno.test("hostile 48: of answers that nobody reads one connection holds one, the rest is SERVFAIL", async () => {
  await using gw = await HostileGuest.start();
  gw.host.udp(RESOLVER, 53, (_, reply) => reply(new Uint8Array(0)));
  let asked = 0;
  gw.host.listen(RESOLVER, 53, (peer) => {
    let held: Uint8Array = new Uint8Array(0);
    peer.onChange = () => {
      held = concat(held, peer.take());
      const bytes = held.length < 2 ? Infinity : held[0]! * 256 + held[1]!;
      if (held.length < 2 + bytes) return;
      asked++;
      const answer = longAnswer(held.slice(2, 2 + bytes), LONG_BYTES);
      held = held.slice(2 + bytes);
      peer.write(concat(u16(answer.length), answer));
    };
  });
  const says = concat(...Array.from({ length: 16 }, (_, i) => framed(i, `n${i}.example`)));
  const flow = await flowTo53(gw).opensToSay(says);
  await flow.guest(`P. 1:${says.length + 1} ack 1 win 0`);
  await gw.run(1_000);
  assertEquals([asked, gw.figures().dnsInFlight], [16, 0]);
  const end = says.length + 1;
  for (let i = 0; i < 200; i++) {
    await flow.guest(`. ${end}:${end} ack ${flow.sentEnd} win 65535`);
    await gw.run(5);
    flow.sent();
  }
  const [first, ...rest] = messagesIn(flow.heard);
  assertEquals(first, [LONG_BYTES, 0]);
  assertEquals(rest.map(([, rcode]) => rcode), Array(15).fill(2));
  await flow.guest(`R ${end}:${end}`);
  gw.forget();
  await gw.empties(0);
});

Deno.test("hostile 48: 256 connections to port 53 at once, the SYN of another one is refused", async () => {
  await using gw = await HostileGuest.start();
  const { dnsConnections } = DEFAULT_LIMITS;
  const flows = Array.from({ length: dnsConnections }, (_, i) => flowTo53(gw, 10_000 + i));
  for (const flow of flows) {
    await flow.guest(SYN);
    flow.expects("S. 0:0 ack 1");
    await flow.guest(". 1:1 ack 1");
  }
  gw.silent().counts({});
  const more = flowTo53(gw, 20_000);
  await more.guest(SYN);
  more.expects("R. 0:0 ack 1");
  gw.silent().counts({ "drop.tcp.flows": 1, "tcp.refused": 1, "tcp.reset.sent": 1 });
  // Of the others none is the worse for it, and one that ends makes room.
  await flows[0]!.guest("R 1:1");
  const next = flowTo53(gw, 20_001);
  await next.guest(SYN);
  next.expects("S. 0:0 ack 1");
  assertEquals(gw.figures().tcpFlows, dnsConnections);
  gw.forget();
  await gw.empties(3 * DNS_IDLE_MS);
});

Deno.test("hostile 48: a connection to port 53 without a question is finished after 10 s, whatever trickles in", async () => {
  await using gw = await HostileGuest.start();
  // Nothing, and nobody who finishes it.
  const idle = await flowTo53(gw, 1).opensToSay(new Uint8Array(0));
  // An octet of a question a second.
  const slow = await flowTo53(gw, 2).opensToSay(framed(1, "gateway.internal"));
  // A SYN that is never followed up.
  await flowTo53(gw, 3).guest(SYN);
  // A question every nine seconds, which is what it is there for.
  const questions = concat(...Array.from({ length: 3 }, (_, i) => framed(i, "gateway.internal")));
  const busy = await flowTo53(gw, 4).opensToSay(questions);
  const questionBytes = questions.length / 3;
  gw.forget();
  const ends: string[] = [];
  for (let second = 1; second <= 25; second++) {
    await gw.run(1_000);
    if (second < 10) await slow.guest(`P. ${second}:${second + 1} ack 1`);
    if (second % 9 === 0) {
      const from = questionBytes * (second / 9 - 1) + 1;
      await busy.guest(`P. ${from}:${from + questionBytes} ack ${busy.sentEnd}`);
    }
    for (const [name, flow] of [["idle", idle], ["slow", slow], ["busy", busy]] as const) {
      for (const { flags } of flow.sent()) {
        if (/[RF]/.test(flags)) ends.push(`${name} ${flags} ${second}`);
      }
    }
  }
  // In order, but for one inside a question; nobody answers the FIN, and ten seconds later that ends.
  const first = (end: string) => ends.find((each) => each.startsWith(end));
  assertEquals([first("idle F."), first("slow R."), first("idle R.")], [
    "idle F. 10",
    "slow R. 10",
    "idle R. 20",
  ]);
  assertEquals([first("slow F."), first("busy")], [undefined, undefined]);
  assertEquals(messagesIn(busy.heard).map(([, rcode]) => rcode), [0, 0]);
  assertEquals(gw.figures().tcpFlows, 1);
  gw.forget();
  await gw.empties(3 * DNS_IDLE_MS);
});

Deno.test("hostile 48: an answer that nobody reads for 10 s is reset with its connection", async () => {
  await using gw = await HostileGuest.start({
    dns: { upstreams: [RESOLVER], records: { "many.internal": Array(900).fill("10.0.0.1") } },
  });
  const says = concat(framed(1, "many.internal"), framed(2, "many.internal"));
  says.set([0, 1], says.length / 2 - 4);
  says.set([0, 1], says.length - 4);
  const flow = await flowTo53(gw).opensToSay(says);
  await flow.guest(`P. 1:${says.length + 1} ack 1 win 0`);
  await gw.run(DNS_IDLE_MS - 100);
  assertEquals(gw.figures().tcpFlows, 1);
  flow.sent();
  await gw.run(200);
  assertEquals(flow.sent().map(({ flags }) => flags).at(-1), "R.");
  gw.forget();
  await gw.empties(0);
});
