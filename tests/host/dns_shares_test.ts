import { assert, assertEquals } from "@std/assert";
import { Shares } from "../../lib/host/dns_shares.ts";
import { Dice } from "../support/dice.ts";

class Question {
  shareHash = 0;
  shareNext: this | null = null;
  readonly message: Uint8Array;
  readonly isTcp: boolean;

  constructor(message: Uint8Array, isTcp: boolean) {
    this.message = message;
    this.isTcp = isTcp;
  }
}

Deno.test("Shares finds what is equal but for the id, over the same transport", () => {
  const shares = new Shares<Question>(() => 4);
  const put = (message: number[], isTcp: boolean) => {
    const question = new Question(Uint8Array.from(message), isTcp);
    shares.add(question, shares.hash(question.message, isTcp));
    return question;
  };
  const find = (message: number[], isTcp: boolean) => {
    const bytes = Uint8Array.from(message);
    return shares.find(shares.hash(bytes, isTcp), bytes, isTcp);
  };
  const one = put([1, 2, 3, 4, 5], false);
  assertEquals(find([9, 9, 3, 4, 5], false), one);
  for (const other of [[1, 2, 3, 4], [1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 6], [1, 2, 2, 4, 5]]) {
    assertEquals(find(other, false), null);
  }
  assertEquals(find([1, 2, 3, 4, 5], true), null);
  const tcp = put([1, 2, 3, 4, 5], true);
  assertEquals([find([0, 0, 3, 4, 5], true), find([0, 0, 3, 4, 5], false)], [tcp, one]);
});

Deno.test("Shares agrees with a map of texts, also where hashes meet", () => {
  const dice = new Dice(3);
  const shares = new Shares<Question>(() => dice.word() & 0xffff);
  const model = new Map<string, Question>();
  for (let step = 0; step < 20_000; step++) {
    const message = Uint8Array.of(dice.below(256), dice.below(256), dice.below(40), dice.below(2));
    const isTcp = dice.below(2) === 1;
    const key = `${isTcp} ${message.subarray(2)}`;
    // Three hashes for all, so that chains are long.
    const hash = shares.hash(message, isTcp) % 3;
    const found = shares.find(hash, message, isTcp);
    assert(found === (model.get(key) ?? null));
    if (found === null) {
      const question = new Question(message, isTcp);
      model.set(key, question);
      shares.add(question, hash);
    } else if (dice.below(3) === 0) {
      model.delete(key);
      shares.delete(found);
    }
    if (step % 500 === 0) assertEquals(new Set(shares), new Set(model.values()));
  }
  for (const question of shares) shares.delete(question);
  assertEquals([...shares], []);
});
