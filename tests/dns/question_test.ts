import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { errorAnswer } from "../../lib/dns/errors.ts";
import { ExtendedError, Rcode } from "../../lib/dns/message.ts";
import { checkQuestion, type DnsQuestion } from "../../lib/dns/question.ts";
import { ask, decode, vector } from "./vectors.ts";

function question(message: Uint8Array): DnsQuestion {
  const check = checkQuestion(message);
  if (check.kind !== "question") throw new Error(`not a question: ${JSON.stringify(check)}`);
  return check.question;
}

Deno.test("checkQuestion() reads a question without EDNS", () => {
  assertEquals(question(vector("question_a")), {
    id: 0x1234,
    name: "www.example",
    type: 1,
    class: 1,
    end: 29,
    edns: false,
    udpBytes: 512,
    dnssecOk: false,
    signed: false,
  });
});

Deno.test("checkQuestion() reads the EDNS parameters", () => {
  const { name, type, edns, udpBytes, dnssecOk } = question(vector("question_edns"));
  assertEquals([name, type, edns, udpBytes, dnssecOk], ["www.example", 65, true, 4096, true]);
});

Deno.test("checkQuestion() takes no announced size below 512 for true", () => {
  assertEquals(question(ask("a.example", { udpBytes: 1 })).udpBytes, 512);
  assertEquals(question(ask("a.example", { udpBytes: 513 })).udpBytes, 513);
});

Deno.test("checkQuestion() takes the longest name and the root", () => {
  assertEquals(question(vector("name_255")).name.length, 253);
  assertEquals(question(ask(".", { type: "NS" })).name, "");
});

Deno.test("checkQuestion() answers malformed questions with FORMERR", () => {
  const malformed = [
    "pointer_loop",
    "pointer_pair",
    "pointer_forward",
    "pointer_end",
    "label_64",
    "name_256",
    "qdcount_0",
    "qdcount_2",
    "qdcount_lie",
    "arcount_lie",
    "opt_twice",
    "trailing",
  ];
  for (const name of malformed) {
    const message = vector(name);
    const check = checkQuestion(message);
    assert(check.kind === "error", name);
    assertEquals(check.rcode, Rcode.formatError, name);
    const answer = decode(errorAnswer(message, check.question, check));
    assertEquals([answer.id, answer.type, answer.rcode], [0x1234, "response", "FORMERR"], name);
  }
});

Deno.test("checkQuestion() takes no compressed name, wherever its pointer leads", () => {
  // "a", then a pointer to the header's octets 4 and 5: a root name, if one looks at it so.
  const message = vector("question_a");
  const compressed = new Uint8Array([...message.subarray(0, 12), 1, 97, 0xc0, 4, 0, 1, 0, 1]);
  assertEquals(checkQuestion(compressed).kind, "error");
});

Deno.test("checkQuestion() takes no answer records and no message beyond the limit", () => {
  const answered = vector("answer_txt_long");
  answered[2] = 1; // as if it asked
  assertEquals(checkQuestion(answered).kind, "error");
  const authority = new Uint8Array([...vector("question_a"), 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
  authority[9] = 1;
  assertEquals(checkQuestion(authority).kind, "error");
  const long = new Uint8Array(4_097);
  long.set(ask("a.example"));
  assertEquals(checkQuestion(long).kind, "error");
});

/** A question with additional records: of a type, with a name's octets and data. */
function withRecords(...records: [type: number, owner: number[], data: number[]][]): Uint8Array {
  const message = Uint8Array.from([
    ...vector("question_a"),
    ...records.flatMap(([type, owner, data]) => {
      return [...owner, 0, type, 0, 255, 0, 0, 0, 0, 0, data.length, ...data];
    }),
  ]);
  message[11] = records.length;
  return message;
}

Deno.test("checkQuestion() takes OPT and a signature of the whole, and no record that rides along", () => {
  const ROOT = [0];
  const KEY = [3, 107, 101, 121, 0];
  const opt: [number, number[], number[]] = [41, ROOT, []];
  const tsig: [number, number[], number[]] = [250, KEY, [1, 2, 3]];
  const sig0: [number, number[], number[]] = [24, ROOT, [0, 0, 8]];
  assertEquals(question(withRecords(opt)).signed, false);
  for (const last of [tsig, sig0]) {
    for (const records of [[last], [opt, last]]) {
      const { signed, edns } = question(withRecords(...records));
      assertEquals([signed, edns], [true, records.length > 1]);
    }
    for (const wrong of [[last, opt], [last, last], [last, [1, ROOT, [1, 2, 3, 4]]]]) {
      assertEquals(checkQuestion(withRecords(...wrong as typeof opt[])).kind, "error");
    }
  }
  // Any other, of a known type or none; a SIG that covers a type, or nothing.
  for (const type of [1, 5, 16, 24, 25, 46, 99, 249]) {
    for (const records of [[[type, KEY, [0, 1, 0, 0]]], [opt, [type, ROOT, [7]]]]) {
      const check = checkQuestion(withRecords(...records as typeof opt[]));
      assertEquals(check.kind === "error" && check.rcode, Rcode.formatError, `type ${type}`);
    }
  }
});

Deno.test("checkQuestion() tells what is not malformed but can't be answered", () => {
  const cases = [
    ["opcode_update", Rcode.notImplemented],
    ["opt_version_1", Rcode.badVersion],
    ["axfr", Rcode.refused],
  ] as const;
  for (const [name, rcode] of cases) {
    const check = checkQuestion(vector(name));
    assert(check.kind === "error", name);
    assertEquals(check.rcode, rcode, name);
  }
});

Deno.test("checkQuestion() never answers a response or less than a header", () => {
  assertEquals(checkQuestion(vector("response")), { kind: "ignore" });
  for (let length = 0; length < 12; length++) {
    assertEquals(checkQuestion(vector("question_a").subarray(0, length)), { kind: "ignore" });
  }
});

Deno.test("whatever a guest sends, the error answer to it is a message of its id", () => {
  const messages = ["question_edns", "axfr", "opt_twice", "pointer_loop"].map(vector);
  const mutated = fc.tuple(
    fc.constantFrom(...messages),
    fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 6 }),
    fc.nat(60),
  ).map(([message, changes, length]) => {
    const copy = message.slice(0, length + 12);
    for (const [at, octet] of changes) if (at < copy.length) copy[at] = octet;
    return copy;
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 400 }), mutated), (message) => {
      const check = checkQuestion(message);
      if (check.kind === "ignore") return;
      const rcode = check.kind === "error" ? check.rcode : Rcode.serverFailure;
      const answer = errorAnswer(message, check.question, {
        rcode,
        extended: ExtendedError.networkError,
        text: "why",
      });
      assertEquals([...answer.subarray(0, 2)], [...message.subarray(0, 2)]);
      assert((answer[2]! & 0x80) !== 0);
      assertEquals(answer[3]! & 0x0f, rcode & 0x0f);
      assert(answer.length <= 12 + 259 + 11 + 6 + 3);
    }),
    { numRuns: 3_000 },
  );
});

Deno.test("an error answer repeats the question and says why to an asker with EDNS", () => {
  const message = vector("question_edns");
  const text = "ä".repeat(100); // 200 octets: cut before the character that does not fit
  const answer = errorAnswer(message, question(message), {
    rcode: Rcode.refused,
    extended: ExtendedError.prohibited,
    text,
  });
  const decoded = decode(answer);
  assertEquals(decoded.rcode, "REFUSED");
  assertEquals(decoded.questions[0].name, "WWW.Example");
  assertEquals([decoded.flag_rd, decoded.flag_ra, decoded.flag_tc], [true, true, false]);
  const opt = decoded.additionals[0];
  assertEquals([opt.type, opt.udpPayloadSize, opt.flag_do], ["OPT", 1232, true]);
  const option = opt.options[0];
  assertEquals(option.code, 15);
  assertEquals([...option.data.subarray(0, 2)], [0, 18]);
  assertEquals(new TextDecoder().decode(option.data.subarray(2)), "ä".repeat(64));
});

Deno.test("an error answer has no OPT for an asker without EDNS", () => {
  const message = vector("question_a");
  const answer = errorAnswer(message, question(message), {
    rcode: Rcode.serverFailure,
    extended: ExtendedError.networkError,
  });
  assertEquals(answer.length, message.length);
  assertEquals(decode(answer).additionals, []);
});

Deno.test("BADVERS takes the extended bits of the response code", () => {
  const message = vector("opt_version_1");
  const check = checkQuestion(message);
  assert(check.kind === "error");
  const decoded = decode(errorAnswer(message, check.question, check));
  assertEquals(decoded.rcode, "NOERROR");
  assertEquals(decoded.additionals[0].extendedRcode, 1);
  assertEquals(decoded.additionals[0].ednsVersion, 0);
});
