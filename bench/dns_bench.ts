/**
 * What a question costs the resolver beside the sockets: reading it, answering an own name,
 * holding an upstream's answer against it, and cutting an answer for UDP.
 *
 *     deno task microbench
 */
import { addressRecords } from "../lib/dns/own_record.ts";
import { errorAnswer } from "../lib/dns/errors.ts";
import { isAnswerTo } from "../lib/dns/match.ts";
import { ExtendedError, Flag, putWord, Rcode, UDP_DEFAULT_BYTES } from "../lib/dns/message.ts";
import { OwnNames } from "../lib/dns/own_names.ts";
import { checkQuestion, type DnsQuestion } from "../lib/dns/question.ts";
import { fitUdp } from "../lib/dns/truncate.ts";

const A = [0, 1, 0, 1] as const;
/** EDNS with answers of up to 1,232 octets. */
const OPT = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0] as const;

function name(text: string): number[] {
  const labels = text.split(".").flatMap((label) => {
    return [label.length, ...new TextEncoder().encode(label)];
  });
  return [...labels, 0];
}

/** A question for an address, with EDNS. */
function question(text: string): Uint8Array {
  return Uint8Array.of(0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, ...name(text), ...A, ...OPT);
}

/** An upstream's answer with so many addresses, the name compressed. */
function answer(text: string, addresses: number): Uint8Array {
  const records = Array.from({ length: addresses }, (_, i) => {
    return [0xc0, 12, ...A, 0, 0, 0, 60, 0, 4, 192, 0, 2, i & 0xff];
  });
  const head = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, addresses, 0, 0, 0, 1, ...name(text), ...A];
  return Uint8Array.from([...head, ...records.flat(), ...OPT]);
}

function asked(message: Uint8Array): DnsQuestion {
  const check = checkQuestion(message);
  if (check.kind !== "question") throw new Error(`Cannot measure: the question is ${check.kind}`);
  return check.question;
}

const ownNames = new OwnNames({
  records: new Map([["gateway.internal", addressRecords([Uint8Array.of(100, 96, 0, 1)])]]),
  zones: [],
});
const own = question("gateway.internal");
const foreign = question("www.example.com");
const small = answer("www.example.com", 4);
const large = answer("www.example.com", 60);
const { end } = asked(foreign);

if (!isAnswerTo(foreign, end, small)) throw new Error("Cannot measure: the answer does not fit");

Deno.bench("read a question", { group: "question", baseline: true }, () => {
  checkQuestion(foreign);
});

Deno.bench("answer an own name: read, look up, encode, fit", { group: "question" }, () => {
  fitUdp(ownNames.answer(own, asked(own))!, UDP_DEFAULT_BYTES);
});

Deno.bench("pass an upstream's answer: read, look up, match, fit", { group: "question" }, () => {
  const given = asked(foreign);
  if (ownNames.answer(foreign, given) !== null) {
    throw new Error("Cannot measure: it is an own name");
  }
  isAnswerTo(foreign, given.end, small);
  fitUdp(small, given.udpBytes);
});

Deno.bench("cut an answer of 60 addresses for UDP", { group: "answer" }, () => {
  putWord(large, 2, Flag.response);
  fitUdp(large, UDP_DEFAULT_BYTES);
});

Deno.bench("say that no upstream has answered", { group: "answer" }, () => {
  errorAnswer(foreign, asked(foreign), {
    rcode: Rcode.serverFailure,
    extended: ExtendedError.noReachableAuthority,
    text: "no upstream resolver answered in time",
  });
});
