import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import packet from "dns-packet";
import { type AnswerFilter, filterAnswer } from "../../lib/dns/answer_filter.ts";
import { answerTo, name, type RawRecord, recordsOf, two } from "./messages.ts";
import { ask, decode, vector } from "./vectors.ts";

const A = 1;
const TXT = 16;
const AAAA = 28;
const OPT = 41;
const RRSIG = 46;
const SVCB = 64;
const HTTPS = 65;

/** Refuses 10/8 and what begins with fd. */
const FILTER: AnswerFilter = {
  keepAddress: (address) => address[0] !== (address.length === 4 ? 10 : 0xfd),
  stripHints: false,
};
const STRICT: AnswerFilter = { ...FILTER, stripHints: true };

const GOOD: RawRecord = { owner: [0xc0, 12], type: A, data: [192, 0, 2, 1] };
const BAD: RawRecord = { owner: [0xc0, 12], type: A, data: [10, 0, 0, 1] };
const BAD6: RawRecord = { owner: [0xc0, 12], type: AAAA, data: [0xfd, ...new Array(15).fill(0)] };

function signature(covered: number, owner: string): RawRecord {
  const data = [...two(covered), 8, 2, ...new Array(14).fill(0), ...name("example"), 1, 2, 3];
  return { owner, type: RRSIG, data };
}

/** Type and data of what is left. */
function left(message: Uint8Array): [number, number, number][] {
  return recordsOf(message).map(({ section, type, data }) => [section, type, data[0] ?? -1]);
}

Deno.test("filterAnswer() gives the same array back where nothing has to go", () => {
  const txt = { owner: [0xc0, 12], type: TXT, data: [1, 10] };
  for (const answers of [[], [GOOD], [txt, GOOD, signature(A, "a.example")]]) {
    const answer = answerTo(ask("a.example"), { answers, flags: 0x01a0 });
    const result = filterAnswer(answer, STRICT);
    assertStrictEquals(result.answer, answer);
    assertEquals([result.stripped, result.hintsStripped], [0, 0]);
  }
  const https = vector("answer_https");
  assertStrictEquals(filterAnswer(https, FILTER).answer, https);
});

Deno.test("filterAnswer() takes refused addresses out of every section, and clears AD", () => {
  const answer = answerTo(ask("a.example", { udpBytes: 1232 }), {
    answers: [BAD, GOOD, BAD6],
    authorities: [{ owner: "ns.example", type: A, data: [10, 0, 0, 3] }],
    additionals: [
      { owner: "b.example", type: A, data: [10, 0, 0, 2] },
      { owner: "b.example", type: AAAA, data: new Array(16).fill(1) },
      { owner: "", type: OPT, class: 1232, ttl: 0x8000, data: [0, 15, 0, 2, 0, 0] },
    ],
    flags: 0x01a0,
  });
  const { answer: filtered, stripped } = filterAnswer(answer, FILTER);
  assertEquals(stripped, 4);
  assertEquals(left(filtered!), [[0, A, 192], [2, AAAA, 1], [2, OPT, 0]]);
  const decoded = decode(filtered!);
  assertEquals([decoded.id, decoded.flag_ad, decoded.flag_rd], [0x1234, false, true]);
  assertEquals(decoded.questions, [{ name: "a.example", type: "A", class: "IN" }]);
  assertEquals([decoded.additionals[1].udpPayloadSize, decoded.additionals[1].flag_do], [
    1232,
    true,
  ]);
});

Deno.test("filterAnswer() takes an address of another class, and data that is no address", () => {
  const answers: RawRecord[] = [
    { ...BAD, class: 3 },
    { ...GOOD, data: [192, 0, 2, 1, 0] },
    { ...GOOD, data: [] },
    { owner: "a.example", type: AAAA, data: [32, 1, 2, 3] },
  ];
  const result = filterAnswer(answerTo(ask("a.example"), { answers }), FILTER);
  assertEquals([left(result.answer!), result.stripped], [[], 4]);
});

Deno.test("filterAnswer() takes the signature of a set that lost a record, and no other", () => {
  const answers = [
    GOOD,
    BAD,
    signature(A, "A.example"),
    signature(AAAA, "a.example"),
    signature(A, "b.example"),
    { ...signature(A, "a.example"), class: 3 },
    { owner: "a.example", type: RRSIG, data: [...signature(TXT, "").data] },
  ];
  const result = filterAnswer(answerTo(ask("a.example"), { answers }), FILTER);
  const kept = recordsOf(result.answer!).map(({ owner, type, data, ...rest }) =>
    type === RRSIG ? `${owner} ${rest.class} ${data[1]}` : type
  );
  assertEquals(kept, [A, "a.example 1 28", "b.example 1 1", "a.example 3 1", "a.example 1 16"]);
});

/** A binding of priority 1 for the owner's own name. */
function binding(type: number, ...params: [number, number[]][]): RawRecord {
  const octets = params.flatMap(([key, value]) => [...two(key), ...two(value.length), ...value]);
  return { owner: [0xc0, 12], type, data: [0, 1, 0, ...octets] };
}

const ALPN: [number, number[]] = [1, [2, 104, 50]];
const ECH: [number, number[]] = [5, [1, 2, 3]];

Deno.test("filterAnswer() takes all hints and ECH keys where connections are inspected", () => {
  for (const type of [SVCB, HTTPS]) {
    const full = binding(
      type,
      [0, [0, 1, 0, 5]],
      ALPN,
      [4, [192, 0, 2, 1]],
      ECH,
      [6, new Array(16).fill(1)],
    );
    const answers = [full, binding(type, ALPN), signature(type, "a.example"), GOOD];
    const result = filterAnswer(answerTo(ask("a.example"), { answers }), STRICT);
    assertEquals([result.stripped, result.hintsStripped], [0, 1]);
    const records = recordsOf(result.answer!);
    assertEquals(records.map((record) => record.type), [type, type, A]);
    assertEquals(records[0]!.data, binding(type, [0, [0, 1]], ALPN).data);
  }
});

Deno.test("filterAnswer() takes hints with a refused address in any case", () => {
  const hints = (...addresses: number[][]) => binding(HTTPS, ALPN, [4, addresses.flat()], ECH);
  const cases: [RawRecord, RawRecord][] = [
    [hints([192, 0, 2, 1], [10, 0, 0, 1]), binding(HTTPS, ALPN, ECH)],
    [hints([192, 0, 2, 1, 5]), binding(HTTPS, ALPN, ECH)],
    [hints([192, 0, 2, 1]), hints([192, 0, 2, 1])],
    [binding(HTTPS, [6, [...BAD6.data]]), binding(HTTPS)],
  ];
  for (const [before, after] of cases) {
    const answer = answerTo(ask("a.example"), { answers: [before] });
    assertEquals(recordsOf(filterAnswer(answer, FILTER).answer!)[0]!.data, after.data);
  }
});

Deno.test("filterAnswer() takes a malformed binding as a whole", () => {
  const twice = binding(HTTPS, ALPN, ALPN);
  const result = filterAnswer(answerTo(ask("a.example"), { answers: [twice, GOOD] }), STRICT);
  assertEquals([left(result.answer!), result.hintsStripped], [[[0, A, 192]], 1]);
});

Deno.test("filterAnswer() has no answer for a malformed message", () => {
  assertEquals(filterAnswer(new Uint8Array(11), FILTER).answer, null);
  assertEquals(filterAnswer(vector("answer_cut"), FILTER).answer, null);
  assertEquals(filterAnswer(vector("answer_17_jumps"), FILTER).answer, null);
  // Counts that lie about what follows: another reader may find an address there.
  const lie = answerTo(ask("a.example"), { answers: [GOOD] });
  lie[7] = 2;
  assertEquals(filterAnswer(lie, FILTER).answer, null);
  // Names that can't be written again.
  const answers = [BAD, { owner: "a.example", type: 5, data: [1, 98] }];
  assertEquals(filterAnswer(answerTo(ask("a.example"), { answers }), FILTER).answer, null);
});

Deno.test("filterAnswer() leaves exactly the records that it keeps, as dns-packet reads them", () => {
  const owner = fc.constantFrom("a.example", "b.a.example", "other.test");
  const record = fc.tuple(
    owner,
    fc.oneof(
      fc.constantFrom("10.0.0.1", "192.0.2.1", "10.1.1.1").map((data) => ({ type: "A", data })),
      fc.constantFrom("fd00::1", "2001:db8::1").map((data) => ({ type: "AAAA", data })),
      owner.map((data) => ({ type: "CNAME", data })),
      owner.map((exchange) => ({ type: "MX", data: { preference: 1, exchange } })),
      fc.constant({ type: "TXT", data: [Buffer.from("10.0.0.1")] }),
    ),
  ).map(([name, rest]) => ({ name, ttl: 60, class: "IN", ...rest }));
  const part = fc.array(record, { maxLength: 5 });
  fc.assert(
    fc.property(part, part, part, (answers, authorities, additionals) => {
      const opt = { type: "OPT", name: ".", udpPayloadSize: 1232, flags: 0, options: [] };
      const message = new Uint8Array(packet.encode({
        type: "response",
        id: 7,
        questions: [{ name: "a.example", type: "A" }],
        answers,
        authorities,
        additionals: [...additionals, opt],
      }));
      const { answer, stripped } = filterAnswer(message, FILTER);
      const isKept = ({ type, data }: { type: string; data: unknown }) =>
        !((type === "A" && String(data).startsWith("10.")) ||
          (type === "AAAA" && String(data).startsWith("fd")));
      const before = decode(message);
      const after = decode(answer!);
      for (const section of ["answers", "authorities", "additionals"]) {
        assertEquals(after[section], before[section].filter(isKept), section);
      }
      const all = [...answers, ...authorities, ...additionals];
      assertEquals(stripped, all.filter((each) => !isKept(each)).length);
      assert(answer!.length <= message.length);
      assertEquals(answer === message, stripped === 0);
      assertStrictEquals(filterAnswer(answer!, FILTER).answer, answer);
    }),
    { numRuns: 1_000 },
  );
});
