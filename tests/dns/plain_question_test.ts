import { assertEquals } from "@std/assert";
import { putWord, word } from "../../lib/dns/message.ts";
import { plainQuestion } from "../../lib/dns/plain_question.ts";
import { name, questionOf } from "./messages.ts";
import { ask, vector } from "./vectors.ts";

Deno.test("plainQuestion() gives a question without options as it is", () => {
  for (
    const message of [vector("question_a"), ask("WwW.ExamPle"), ask("a.b", { udpBytes: 4096 })]
  ) {
    assertEquals(plainQuestion(message, questionOf(message)), message);
  }
});

Deno.test("plainQuestion() leaves out options, signatures, and every bit that asks for nothing", () => {
  const plain = ask("SpeLLing.example", { udpBytes: 1232 });
  const option = [0xff, 0x01, 0, 4, 1, 2, 3, 4];
  const signed = [3, 107, 101, 121, 0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 2, 9, 9];
  const message = Uint8Array.from([...plain, ...option, ...signed]);
  message[plain.length - 1] = option.length;
  message[11] = 2;
  message[plain.length - 3] = 0x7f; // flags of the OPT record that nobody knows
  putWord(message, 2, word(message, 2) | 0x064f); // AA, TC, Z and a response code
  const question = questionOf(message);
  assertEquals(plainQuestion(message, question), plain);
  assertEquals(questionOf(plain).end, question.end);
});

Deno.test("plainQuestion() keeps DO, RD, CD and AD, and asks for another name", () => {
  const message = ask("a.example", { udpBytes: 4096 });
  message[message.length - 4] = 0x80;
  putWord(message, 2, 0x0130);
  const other = plainQuestion(message, questionOf(message), Uint8Array.from(name("b.test")));
  const { name: asked, udpBytes, dnssecOk } = questionOf(other);
  assertEquals([asked, udpBytes, dnssecOk, word(other, 2)], ["b.test", 4096, true, 0x0130]);
});
