import { assertEquals } from "@std/assert";
import { joinAnswers, questionFor } from "../../lib/dns/foreign_chain.ts";
import { nameRecord } from "../../lib/dns/own_record.ts";
import { OwnNames } from "../../lib/dns/own_names.ts";
import { answerTo, questionOf, type RawAnswer, type RawRecord } from "./messages.ts";
import { ask, decode, vector } from "./vectors.ts";

const own = new OwnNames({
  records: new Map([["www.corp", [nameRecord(5, "target.example")]]]),
  zones: [],
});

/** The joined answer to a question, of what the upstream says to the rest of it. */
function joined(message: Uint8Array, raw: RawAnswer): Uint8Array | null {
  const question = questionOf(message);
  const asked = questionFor(message, question, own.foreignTarget(question)!);
  return joinAnswers(own.answer(message, question)!, answerTo(asked, raw));
}

const ADDRESS: RawRecord = { owner: [0xc0, 12], type: 1, data: [192, 0, 2, 1], ttl: 9 };
const OPT: RawRecord = { owner: "", type: 41, class: 1232, ttl: 0, data: [] };

Deno.test("questionFor() asks for another name in the same way", () => {
  const message = ask("WWW.corp", { type: "AAAA", id: 77, udpBytes: 1400 });
  message[message.length - 4] = 0x80;
  const asked = questionFor(message, questionOf(message), "target.example");
  assertEquals(questionOf(asked), {
    ...questionOf(message),
    name: "target.example",
    end: 32,
  });
  assertEquals(decode(asked).flag_rd, true);
  const plain = ask("www.corp");
  assertEquals(questionFor(plain, questionOf(plain), "target.example"), ask("target.example"));
});

Deno.test("joinAnswers() puts the upstream's records behind the aliases", () => {
  const decoded = decode(
    joined(ask("WWW.corp", { udpBytes: 1400 }), {
      answers: [ADDRESS],
      authorities: [{ owner: "example", type: 2, data: [2, 110, 115, 0xc0, 12] }],
      additionals: [OPT],
      flags: 0x05a0,
    })!,
  );
  assertEquals([decoded.rcode, decoded.flag_aa, decoded.flag_ad], ["NOERROR", false, false]);
  assertEquals(decoded.questions, [{ name: "WWW.corp", type: "A", class: "IN" }]);
  // deno-lint-ignore no-explicit-any -- the package comes without types
  const text = ({ name, type, ttl, data }: any) => `${name} ${ttl} ${type} ${data}`;
  assertEquals(decoded.answers.map(text), [
    "WWW.corp 60 CNAME target.example",
    "target.example 9 A 192.0.2.1",
  ]);
  assertEquals(decoded.authorities.map(text), ["example 60 NS ns.target.example"]);
  // One OPT: the upstream's.
  assertEquals(decoded.additionals.map(({ type }: { type: string }) => type), ["OPT"]);
});

Deno.test("joinAnswers() says what the upstream says of the target", () => {
  const rcodes = [0x0183, 0x0182].map((flags) => decode(joined(ask("www.corp"), { flags })!).rcode);
  assertEquals(rcodes, ["NXDOMAIN", "SERVFAIL"]);
  assertEquals(decode(joined(ask("www.corp"), { flags: 0x0380 })!).flag_tc, true);
});

Deno.test("joinAnswers() has no answer of a malformed one", () => {
  const message = ask("www.corp");
  const aliases = own.answer(message, questionOf(message))!;
  assertEquals(joinAnswers(aliases, vector("answer_cut")), null);
  assertEquals(joinAnswers(aliases, new Uint8Array(3)), null);
});
