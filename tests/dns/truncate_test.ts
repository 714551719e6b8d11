import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { fitUdp } from "../../lib/dns/truncate.ts";
import { decode, vector } from "./vectors.ts";

Deno.test("fitUdp() leaves an answer that fits as it is", () => {
  const answer = vector("answer_txt_long");
  assertStrictEquals(fitUdp(answer, answer.length), answer);
});

Deno.test("fitUdp() cuts to question and OPT, with TC", () => {
  const answer = vector("answer_txt_long");
  assert(answer.length > 512);
  const cut = fitUdp(answer, 512);
  const decoded = decode(cut);
  assertEquals([decoded.id, decoded.flag_tc, decoded.rcode], [0x1234, true, "NOERROR"]);
  assertEquals(decoded.questions[0].name, "www.example");
  assertEquals(decoded.answers, []);
  assertEquals(decoded.additionals[0].type, "OPT");
  assertEquals(cut.length, 29 + 11);
});

Deno.test("fitUdp() leaves OPT and question out where even they do not fit", () => {
  const answer = vector("answer_txt_long");
  assertEquals(decode(fitUdp(answer, 39)).additionals, []);
  const bare = decode(fitUdp(answer, 28));
  assertEquals([bare.flag_tc, bare.questions, bare.answers], [true, [], []]);
});

Deno.test("fitUdp() makes a message that fits of whatever came", () => {
  const message = vector("answer_txt_long");
  const mutated = fc.array(fc.tuple(fc.nat(800), fc.nat(255)), { maxLength: 8 }).map((changes) => {
    const copy = message.slice();
    for (const [at, octet] of changes) if (at < copy.length) copy[at] = octet;
    return copy;
  });
  fc.assert(fc.property(mutated, fc.integer({ min: 12, max: 790 }), (answer, maxBytes) => {
    const cut = fitUdp(answer, maxBytes);
    assert(cut.length <= maxBytes && cut.length >= 12);
    assertEquals([...cut.subarray(0, 2)], [...answer.subarray(0, 2)]);
  }));
});
