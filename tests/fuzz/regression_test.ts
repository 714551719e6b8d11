/**
 * Every input of the corpus, and every one that has ever broken something, breaks nothing.
 */
import { assert, assertEquals } from "@std/assert";
import { readCorpus } from "./corpus.ts";
import { nameOf } from "./input.ts";
import { Signal } from "./signal.ts";
import { TARGETS } from "./targets.ts";

for (const target of TARGETS) {
  Deno.test(`fuzz: the corpus of ${target.name}`, async () => {
    const files = readCorpus(target);
    const signal = new Signal();
    for (const { path, input } of files) {
      try {
        await target.run(input, signal);
      } catch (cause) {
        throw new Error(`${path} breaks ${target.name}`, { cause });
      }
    }
    assert(signal.total > 0, "the corpus reaches something");
    const kept = new Set(files.map(({ input }) => nameOf(input)));
    const lost = [...target.seeds()].filter(([, input]) => !kept.has(nameOf(input)));
    assertEquals(lost.map(([name]) => name), [], `deno task fuzz ${target.name} --write-seeds`);
  });
}
