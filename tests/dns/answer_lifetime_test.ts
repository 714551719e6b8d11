import { assertEquals } from "@std/assert";
import {
  answerLifetime,
  NEGATIVE_MAX_SECONDS,
  POSITIVE_MAX_SECONDS,
} from "../../lib/dns/answer_lifetime.ts";
import { answerTo, four, name, questionOf, type RawAnswer, type RawRecord } from "./messages.ts";
import { ask } from "./vectors.ts";

const A = 1;
const NS = 2;
const CNAME = 5;
const SOA = 6;
const OPT = 41;
const NXDOMAIN = 0x0183;

function a(ttl: number): RawRecord {
  return { owner: [0xc0, 12], type: A, data: [192, 0, 2, 1], ttl };
}

function soa(ttl: number, minimum: number): RawRecord {
  const times = [1, 2, 3, 4, minimum].flatMap(four);
  return { owner: "example", type: SOA, data: [...name("example"), 0, ...times], ttl };
}

const alias: RawRecord = { owner: [0xc0, 12], type: CNAME, data: name("b.example"), ttl: 20 };
const ns: RawRecord = { owner: "example", type: NS, data: name("ns.example"), ttl: 60 };

function lifetime(raw: RawAnswer, type = "A"): [number, boolean] | null {
  const message = ask("a.example", { type });
  const judged = answerLifetime(answerTo(message, raw), questionOf(message));
  return judged && [judged.seconds, judged.negative];
}

Deno.test("an answer lives as long as its shortest TTL, a day at most", () => {
  const table: [RawAnswer, number | null][] = [
    [{ answers: [a(300)] }, 300],
    [{ answers: [a(300), a(30)] }, 30],
    [{ answers: [alias, { ...a(300), owner: "b.example" }] }, 20],
    [{ answers: [a(300)], additionals: [{ ...a(7), owner: "ns.example" }] }, 7],
    [{ answers: [a(1)] }, 1],
    [{ answers: [a(0)] }, null],
    [{ answers: [a(300), a(0)] }, null],
    [{ answers: [a(0x7fff_ffff)] }, POSITIVE_MAX_SECONDS],
    [{ answers: [a(0x8000_0000)] }, null],
    // The SOA in a positive answer says nothing of its lifetime but its own TTL.
    [{ answers: [a(300)], authorities: [soa(200, 5)] }, 200],
  ];
  for (const [raw, seconds] of table) {
    assertEquals(lifetime(raw), seconds === null ? null : [seconds, false]);
  }
});

Deno.test("what there is not lives as its SOA says (RFC 2308 section 5)", () => {
  const table: [RawAnswer, number | null][] = [
    // NXDOMAIN, section 2.1.
    [{ flags: NXDOMAIN, authorities: [soa(600, 300)] }, 300],
    [{ flags: NXDOMAIN, authorities: [soa(60, 300)] }, 60],
    [{ flags: NXDOMAIN, authorities: [soa(86_400, 86_400)] }, NEGATIVE_MAX_SECONDS],
    [{ flags: NXDOMAIN, authorities: [soa(600, 300), ns] }, 60],
    [{ flags: NXDOMAIN, authorities: [soa(600, 0)] }, null],
    [{ flags: NXDOMAIN, authorities: [soa(0, 300)] }, null],
    [{ flags: NXDOMAIN }, null],
    [{ flags: NXDOMAIN, authorities: [ns] }, null],
    [{ flags: NXDOMAIN, answers: [alias], authorities: [soa(600, 300)] }, 20],
    // NODATA, section 2.2; the last two are a referral and type 3.
    [{ authorities: [soa(600, 300)] }, 300],
    [{ answers: [alias], authorities: [soa(600, 300)] }, 20],
    [{ authorities: [ns] }, null],
    [{}, null],
    // An SOA elsewhere, or without its words, is none.
    [{ additionals: [soa(600, 300)] }, null],
    [{ authorities: [{ owner: "example", type: SOA, data: [0, 0, 1] }] }, null],
  ];
  for (const [raw, seconds] of table) {
    assertEquals(lifetime(raw), seconds === null ? null : [seconds, true]);
  }
});

Deno.test("an alias is the answer to who asks for it, and to who asks for anything", () => {
  assertEquals(lifetime({ answers: [alias] }), null);
  assertEquals(lifetime({ answers: [alias] }, "CNAME"), [20, false]);
  assertEquals(lifetime({ answers: [alias] }, "ANY"), [20, false]);
});

Deno.test("failures, truncated and malformed answers are never kept", () => {
  const answers = [a(300)];
  for (const flags of [0x8182, 0x8185, 0x8184, 0x8181, 0x8380, 0x8980]) {
    assertEquals(lifetime({ answers, flags: flags & 0x7fff }), null, flags.toString(16));
  }
  const message = ask("a.example");
  const question = questionOf(message);
  const query = answerTo(message, { answers });
  query[2]! &= 0x7f;
  assertEquals(answerLifetime(query, question), null);
  const lie = answerTo(message, { answers });
  lie[11] = 1;
  assertEquals(answerLifetime(lie, question), null);
  assertEquals(answerLifetime(lie.subarray(0, 11), question), null);
  const opt = (ttl: number) => [{ owner: "", type: OPT, class: 1232, ttl, data: [] }];
  assertEquals(lifetime({ answers, additionals: opt(0x8000) }), [300, false]);
  assertEquals(lifetime({ answers, additionals: opt(0x0100_0000) }), null);
});
