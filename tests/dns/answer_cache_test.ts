import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { AnswerCache, ENTRY_BYTES, KEPT_ANSWER_MAX_BYTES } from "../../lib/dns/answer_cache.ts";
import { answerLifetime } from "../../lib/dns/answer_lifetime.ts";
import { errorAnswer } from "../../lib/dns/errors.ts";
import { ExtendedError, putWord, Rcode } from "../../lib/dns/message.ts";
import { answerTo, four, name, questionOf, type RawRecord, recordsOf } from "./messages.ts";
import { ask, type AskOptions, decode } from "./vectors.ts";

const A = 1;
const SOA = 6;
const OPT = 41;
const SECOND = 1_000;

function cache(entries = 100, bytes = 100_000): AnswerCache {
  return new AnswerCache({ entries, bytes });
}

function a(ttl: number, last = 1): RawRecord {
  return { owner: [0xc0, 12], type: A, data: [192, 0, 2, last], ttl };
}

function put(into: AnswerCache, message: Uint8Array, answers: RawRecord[], nowMs = 0): void {
  into.put(message, questionOf(message), answerTo(message, { answers }), nowMs);
}

function get(from: AnswerCache, message: Uint8Array, nowMs = 0): Uint8Array | null {
  return from.get(message, questionOf(message), nowMs)?.answer ?? null;
}

/** A question with a flag, by its bits in the flags word. */
function flagged(message: Uint8Array, bits: number): Uint8Array {
  const copy = message.slice();
  putWord(copy, 2, (copy[2]! << 8 | copy[3]!) | bits);
  return copy;
}

/** A question with an EDNS option. */
function withOption(code: number, data: number[]): Uint8Array {
  const message = ask("a.example", { udpBytes: 1232 });
  const option = [code >> 8, code & 0xff, 0, data.length, ...data];
  message[message.length - 1] = option.length;
  return Uint8Array.from([...message, ...option]);
}

Deno.test("AnswerCache gives an answer again until its time is over", () => {
  const kept = cache();
  const message = ask("a.example");
  assertEquals(get(kept, message), null);
  put(kept, message, [a(60), a(90, 2)], 5_000);
  const ttlsAt = (nowMs: number) => recordsOf(get(kept, message, nowMs)!).map(({ ttl }) => ttl);
  assertEquals(ttlsAt(5_000), [60, 90]);
  assertEquals(ttlsAt(5_999), [60, 90]);
  assertEquals(ttlsAt(6_000), [59, 89]);
  assertEquals(ttlsAt(64_999), [1, 31]);
  // A clock that stands behind the one that put it does not make it older or younger.
  assertEquals(ttlsAt(4_000), [60, 90]);
  assertEquals(get(kept, message, 65_000), null);
  assertEquals([kept.size, kept.usedBytes], [0, 0]);
});

Deno.test("AnswerCache gives each asker its own id, spelling, RD and CD, and what was said", () => {
  const kept = cache();
  put(kept, ask("a.example", { id: 1 }), [a(60)]);
  const message = ask("A.exAMPLE", { id: 0xabcd });
  const answer = get(kept, message)!;
  assertEquals(answer, answerTo(message, { answers: [a(60)] }));
  assert(get(kept, message) !== answer);
  message[2] = 0; // without RD
  assertEquals(decode(get(kept, message)!).flag_rd, false);
});

Deno.test("AnswerCache takes away AA and keeps AD", () => {
  const kept = cache();
  const message = ask("a.example");
  kept.put(message, questionOf(message), answerTo(message, { answers: [a(60)], flags: 0x05a0 }), 0);
  const { flag_aa, flag_ad, flag_ra } = decode(get(kept, message)!);
  assertEquals([flag_aa, flag_ad, flag_ra], [false, true, true]);
});

Deno.test("AnswerCache tells questions apart by name, type, class, DO, CD and AD", () => {
  const message = ask("a.example");
  const chaos = message.slice();
  chaos[chaos.length - 1] = 3;
  const dnssec = ask("a.example", { udpBytes: 1232 });
  dnssec[dnssec.length - 4] = 0x80;
  const others: [string, Uint8Array][] = [
    ["name", ask("b.example")],
    ["type", ask("a.example", { type: "AAAA" })],
    ["class", chaos],
    ["DO", dnssec],
    ["CD", flagged(message, 0x0010)],
    ["AD", flagged(message, 0x0020)],
  ];
  for (const [what, other] of others) {
    const kept = cache();
    put(kept, message, [a(60)]);
    assert(get(kept, message) !== null);
    assertEquals(get(kept, other), null, what);
  }
});

Deno.test("AnswerCache answers EDNS with a new OPT, and no EDNS without one", () => {
  const padding = [0, 12, 0, 3, 0, 0, 0];
  const opt: RawRecord = { owner: "", type: OPT, class: 4096, ttl: 0, data: padding };
  const message = ask("a.example", { udpBytes: 1400 });
  for (const additionals of [[opt], [opt, { ...a(60), owner: "a.a.example" }], []]) {
    const kept = cache();
    const answer = answerTo(message, { answers: [a(60)], additionals });
    kept.put(message, questionOf(message), answer, 0);
    const plain = recordsOf(get(kept, ask("a.example"))!);
    assertEquals(plain.filter(({ type }) => type === OPT), []);
    assertEquals(plain.length, Math.max(1, additionals.length));
    const { additionals: got } = decode(get(kept, message)!);
    const { type, udpPayloadSize, options, flag_do } = got.at(-1);
    assertEquals([type, udpPayloadSize, options, flag_do], ["OPT", 1232, [], false]);
  }
});

Deno.test("AnswerCache gives DO back to who sent it", () => {
  const kept = cache();
  const message = ask("a.example", { udpBytes: 1232 });
  message[message.length - 4] = 0x80;
  put(kept, message, [a(60)]);
  assertEquals(decode(get(kept, message)!).additionals[0].flag_do, true);
});

Deno.test("AnswerCache lets questions by whose options depends the answer", () => {
  const table: [number, number[], boolean][] = [
    [10, [1, 2, 3, 4, 5, 6, 7, 8], true], // cookie
    [12, [0, 0], true], // padding
    [8, [0, 1, 24, 0, 192, 0, 2], false], // client subnet
    [3, [], false], // server id
    [65_001, [1], false],
  ];
  for (const [code, data, isKept] of table) {
    const kept = cache();
    const message = withOption(code, data);
    put(kept, message, [a(60)]);
    assertEquals(kept.size, isKept ? 1 : 0, String(code));
    put(kept, ask("a.example"), [a(60)]);
    assertEquals(get(kept, message) !== null, isKept, String(code));
  }
  const cut = withOption(10, [1, 2]);
  cut[cut.length - 3] = 9; // an option that leads out of its record
  const kept = cache();
  put(kept, cut, [a(60)]);
  assertEquals(kept.size, 0);
});

Deno.test("AnswerCache keeps no answer to another question, and none that was not asked for", () => {
  const kept = cache();
  const message = ask("a.example");
  const question = questionOf(message);
  kept.put(message, question, answerTo(ask("b.example"), { answers: [a(60)] }), 0);
  kept.put(message, question, answerTo(ask("a.example", { type: "AAAA" }), {}), 0);
  kept.put(message, question, new Uint8Array(12), 0);
  kept.put(message, question, new Uint8Array(0), 0);
  const cold = message.slice();
  cold[2] = 0; // without RD: a referral, or what somebody else has asked for
  put(kept, cold, [a(60)]);
  put(kept, message, [a(0)]);
  kept.put(message, question, answerTo(message, { answers: [a(60)], flags: 0x0380 }), 0);
  assertEquals(kept.size, 0);
  // A different id is all the difference that there may be.
  kept.put(message, question, answerTo(ask("A.example", { id: 9 }), { answers: [a(60)] }), 0);
  assertEquals(kept.size, 1);
});

Deno.test("AnswerCache says of what there is not how long that is so", () => {
  const kept = cache();
  const message = ask("a.example");
  const times = [1, 2, 3, 4, 300].flatMap(four);
  const soa = { owner: "example", type: SOA, data: [...name("example"), 0, ...times], ttl: 7_200 };
  const answer = answerTo(message, { authorities: [soa], flags: 0x0183 });
  kept.put(message, questionOf(message), answer, 0);
  const at = (nowMs: number) => decode(get(kept, message, nowMs)!);
  assertEquals([at(0).rcode, at(0).authorities[0].ttl], ["NXDOMAIN", 300]);
  assertEquals(at(299 * SECOND).authorities[0].ttl, 1);
  assertEquals(get(kept, message, 300 * SECOND), null);
});

Deno.test("AnswerCache keeps a failure for a second (RFC 9520)", () => {
  const kept = cache();
  const message = ask("a.example", { udpBytes: 1232 });
  const question = questionOf(message);
  const failure = (rcode: Rcode) =>
    errorAnswer(message, question, { rcode, extended: ExtendedError.networkError, text: "why" });
  for (const rcode of [Rcode.refused, Rcode.notImplemented, Rcode.noError]) {
    kept.putFailure(message, question, failure(rcode), 0);
  }
  kept.put(message, question, failure(Rcode.serverFailure), 0);
  kept.putFailure(message, question, new Uint8Array(3), 0);
  assertEquals(kept.size, 0);
  kept.putFailure(message, question, failure(Rcode.serverFailure), 0);
  assertEquals(decode(get(kept, message, 999)!).rcode, "SERVFAIL");
  assertEquals(get(kept, message, 1_000), null);
});

Deno.test("AnswerCache forgets what was used longest ago, by number and by octets", () => {
  const byNumber = cache(2);
  for (const each of ["a.example", "b.example"]) put(byNumber, ask(each), [a(60)]);
  assert(get(byNumber, ask("a.example")) !== null);
  put(byNumber, ask("c.example"), [a(60)]);
  assertEquals(
    ["a.example", "b.example", "c.example"].map((each) => get(byNumber, ask(each)) !== null),
    [true, false, true],
  );
  const entryBytes = byNumber.usedBytes / 2;
  const byOctets = cache(100, 3 * entryBytes);
  for (const each of ["a.example", "b.example", "c.example", "d.example"]) {
    put(byOctets, ask(each), [a(60)]);
  }
  assertEquals([byOctets.size, byOctets.usedBytes], [3, 3 * entryBytes]);
  assertEquals(get(byOctets, ask("a.example")), null);
});

Deno.test("AnswerCache holds nothing that is larger than itself, or of no entries", () => {
  const small = cache(10, ENTRY_BYTES + 50);
  put(small, ask("a.example"), [a(60)]);
  const none = cache(0);
  put(none, ask("a.example"), [a(60)]);
  assertEquals([small.size, none.size, none.usedBytes], [0, 0, 0]);
});

Deno.test("AnswerCache keeps no answer above 8 KiB, nor the shorter one that it replaces", () => {
  const message = ask("a.example");
  const records = (count: number) => Array.from({ length: count }, (_, i) => a(60, i & 255));
  const fitting = Math.floor((KEPT_ANSWER_MAX_BYTES - message.length) / 16);
  const kept = cache();
  put(kept, message, records(fitting));
  assertEquals(kept.size, 1);
  put(kept, message, records(fitting + 1));
  assertEquals([kept.size, kept.usedBytes], [0, 0]);
});

Deno.test("AnswerCache gives what was found in an answer with it, and counts its octets", () => {
  const kept = new AnswerCache<string>({ entries: 10, bytes: 10_000 });
  const message = ask("a.example");
  const question = questionOf(message);
  const answer = answerTo(message, { answers: [a(60)] });
  kept.put(message, question, answer, 0);
  const { usedBytes } = kept;
  assertEquals(kept.get(message, question, 0)?.value, null);
  kept.put(message, question, answer, 0, { value: "found", bytes: 5_000 });
  assertEquals(kept.usedBytes, usedBytes + 5_000);
  const again = kept.get(message, question, 2_500);
  assertEquals([again?.value, again?.ageSeconds], ["found", 2]);
  kept.put(message, question, answer, 0, { value: "found", bytes: 10_000 });
  assertEquals([kept.size, kept.usedBytes], [0, 0]);
});

Deno.test("AnswerCache takes the later of two answers", () => {
  const kept = cache();
  put(kept, ask("a.example"), [a(60, 1)]);
  const { usedBytes } = kept;
  put(kept, ask("A.example"), [a(60, 2)]);
  assertEquals([kept.size, kept.usedBytes], [1, usedBytes]);
  assertEquals(decode(get(kept, ask("a.example"))!).answers[0].data, "192.0.2.2");
});

Deno.test("AnswerCache forgets a name, or all", () => {
  const kept = cache();
  for (const [each, type] of [["a.example", "A"], ["a.example", "ANY"], ["b.example", "A"]]) {
    put(kept, ask(each!, { type: type! }), [a(60)]);
  }
  assertEquals(kept.size, 3);
  kept.delete("a.example");
  assertEquals([kept.size, get(kept, ask("b.example")) !== null], [1, true]);
  kept.clear();
  assertEquals([kept.size, kept.usedBytes], [0, 0]);
});

Deno.test("AnswerCache stays in its bounds with a hundred thousand names", () => {
  const kept = cache(1_000, 200_000);
  const message = ask("n00000.example");
  const answer = answerTo(message, { answers: [a(60)] });
  for (let i = 0; i < 100_000; i++) {
    const digits = new TextEncoder().encode(String(i).padStart(5, "0"));
    for (const each of [message, answer]) each.set(digits, 14);
    kept.put(message, questionOf(message), answer, i);
    assert(kept.size <= 1_000 && kept.usedBytes <= 200_000);
  }
  assert(get(kept, ask("n99999.example"), 100_000) !== null);
  assertEquals(get(kept, ask("n00000.example"), 100_000), null);
});

Deno.test("AnswerCache never gives a TTL larger than it was given, nor one that is over", () => {
  const step = fc.record({
    name: fc.constantFrom("a.example", "b.example", "A.Example"),
    ttls: fc.array(fc.constantFrom(0, 1, 2, 5, 60, 90_000, 0x8000_0001), { maxLength: 3 }),
    minimum: fc.option(fc.constantFrom(0, 1, 30, 100_000), { nil: null }),
    waitMs: fc.nat(3_000),
    isPut: fc.boolean(),
    options: fc.constantFrom<AskOptions>({}, { udpBytes: 1232 }, { id: 7 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const kept = cache(2, 1_000);
      const putAt = new Map<string, { nowMs: number; ttls: number[] }>();
      let nowMs = 0;
      for (const each of steps) {
        nowMs += each.waitMs;
        const message = ask(each.name, each.options);
        const key = each.name.toLowerCase();
        if (each.isPut) {
          const authorities = each.minimum === null ? [] : [{
            owner: "example",
            type: SOA,
            data: [0, 0, ...[1, 2, 3, 4, each.minimum].flatMap(four)],
            ttl: 90_000,
          }];
          const answers = each.ttls.map((ttl) => a(ttl));
          const answer = answerTo(message, { answers, authorities });
          kept.put(message, questionOf(message), answer, nowMs);
          if (answerLifetime(answer, questionOf(message)) !== null) {
            putAt.set(key, { nowMs, ttls: recordsOf(answer).map(({ ttl }) => ttl) });
          }
        }
        const got = get(kept, message, nowMs);
        assert(kept.size <= 2 && kept.usedBytes <= 1_000);
        if (got === null) continue;
        const records = recordsOf(got).filter(({ type }) => type !== OPT);
        const { ttls, nowMs: thenMs } = putAt.get(key)!;
        const ageSeconds = Math.floor((nowMs - thenMs) / 1_000);
        records.forEach(({ ttl }, i) => assert(ttl > 0 && ttl <= ttls[i]! - ageSeconds));
      }
    }),
    { numRuns: 1_000 },
  );
});
