import { assert, assertEquals, assertFalse } from "@std/assert";
import { isAnswerTo } from "../../lib/dns/match.ts";
import { ask, vector } from "./vectors.ts";

const asked = vector("question_edns");
const END = 29;

function answer(change: (message: Uint8Array) => void = () => {}): Uint8Array {
  const message = vector("answer_https");
  change(message);
  return message;
}

Deno.test("isAnswerTo() takes the answer to the question, in any letter case", () => {
  assert(isAnswerTo(asked, END, answer()));
  assert(isAnswerTo(asked, END, answer((message) => message[13]! ^= 0x20)));
});

Deno.test("isAnswerTo() takes no other message", () => {
  const forged: [string, (message: Uint8Array) => void][] = [
    ["id", (message) => message[1]! ^= 1],
    ["a query", (message) => message[2]! &= 0x7f],
    ["opcode", (message) => message[2]! |= 0x10],
    ["name", (message) => message[13] = 0x78],
    ["length octet", (message) => message[12] = 4],
    ["type", (message) => message[26]! ^= 1],
    ["class", (message) => message[28]! ^= 1],
    ["no question", (message) => message[5] = 0],
    ["two questions", (message) => message[5] = 2],
  ];
  for (const [what, change] of forged) assertFalse(isAnswerTo(asked, END, answer(change)), what);
  for (let length = 0; length < END; length++) {
    assertFalse(isAnswerTo(asked, END, answer().subarray(0, length)));
  }
});

Deno.test("isAnswerTo() folds letters only: `@` and backquote differ", () => {
  const at = ask("x.example");
  const other = at.slice();
  at[13] = 0x40;
  other[13] = 0x60;
  other[2] = 0x80;
  assertFalse(isAnswerTo(at, at.length, other));
});

Deno.test("isAnswerTo() takes an error without a question, and nothing else without one", () => {
  const bare = (rcode: number) =>
    Uint8Array.from([0x12, 0x34, 0x81, rcode, 0, 0, 0, 0, 0, 0, 0, 0]);
  assertEquals(
    [0, 1, 2, 3, 4, 5, 6].filter((rcode) => isAnswerTo(asked, END, bare(rcode))),
    [1, 2, 4, 5],
  );
});
