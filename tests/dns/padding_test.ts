import { assertEquals } from "@std/assert";
import { PAD_BLOCK_BYTES, padQuestion, unpadAnswer } from "../../lib/dns/padding.ts";
import { checkQuestion } from "../../lib/dns/question.ts";
import { ask, decode, vector } from "./vectors.ts";

/** A message with one more record at its end, whose options are given. */
function withOpt(message: Uint8Array, options: number[], behind: number[] = []): Uint8Array {
  const opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, options.length >> 8, options.length & 0xff];
  const whole = Uint8Array.from([...message, ...opt, ...options, ...behind]);
  whole[11]! += behind.length > 0 ? 2 : 1;
  return whole;
}

Deno.test("padQuestion() fills questions with EDNS up to the next 128 octets", () => {
  for (let labels = 1; labels <= 110; labels++) {
    const name = Array.from({ length: labels }, () => "a").join(".");
    const message = ask(name, { udpBytes: 1232 });
    const padded = padQuestion(message);
    assertEquals(padded.length % PAD_BLOCK_BYTES, 0);
    assertEquals(padded.length - message.length >= 4, true);
    assertEquals(padded.length - message.length < 4 + PAD_BLOCK_BYTES, true);
    const check = checkQuestion(padded);
    assertEquals(check.kind === "question" && check.question.name, name);
    assertEquals(decode(padded).additionals[0].options.length, 1);
    assertEquals(unpadAnswer(padded), message);
  }
});

Deno.test("padQuestion() keeps what the question says, and pads behind it", () => {
  const subnet = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
  const message = withOpt(ask("a.example"), subnet);
  const padded = padQuestion(message);
  assertEquals(padded.length, PAD_BLOCK_BYTES);
  const [opt] = decode(padded).additionals;
  assertEquals(opt.options.map(({ code }: { code: number }) => code), [8, 12]);
  assertEquals(unpadAnswer(padded), message);
});

Deno.test("padQuestion() leaves alone what can't be padded, or is", () => {
  const cases = [
    ask("a.example"),
    withOpt(ask("a.example"), [0, 12, 0, 2, 0, 0]),
    withOpt(ask("a.example"), [0, 12, 0, 0]),
    // A signature over all before it.
    withOpt(ask("a.example"), [], [0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 1, 0]),
    vector("opt_twice").subarray(0, 20),
    new Uint8Array(3),
  ];
  for (const message of cases) assertEquals(padQuestion(message) === message, true);
});

Deno.test("unpadAnswer() takes the padding out from among other options, and nothing else", () => {
  const cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
  const error = [0, 15, 0, 2, 0, 3];
  const answer = vector("answer_https");
  const bare = withOpt(answer, [...cookie, ...error]);
  for (const octets of [0, 1, 300, 468]) {
    const padding = [0, 12, octets >> 8, octets & 0xff, ...new Array<number>(octets).fill(0)];
    assertEquals(unpadAnswer(withOpt(answer, [...padding, ...cookie, ...error])), bare);
    assertEquals(unpadAnswer(withOpt(answer, [...cookie, ...padding, ...error])), bare);
    assertEquals(unpadAnswer(withOpt(answer, [...cookie, ...error, ...padding])), bare);
  }
  const left = [
    bare,
    answer,
    withOpt(answer, [0, 12, 0, 9, 0]), // longer than the record
    withOpt(answer, [0, 12, 0]),
    withOpt(answer, [0, 12, 0, 1, 0], [0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 1, 0]),
    vector("pointer_loop"),
    vector("arcount_lie"),
    new Uint8Array(0),
  ];
  for (const message of left) assertEquals(unpadAnswer(message) === message, true);
});
