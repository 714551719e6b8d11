/**
 * Every input of the corpus, and every one that has ever broken something, breaks nothing; nor does
 * what a short search makes of them, and that goes further than they do.
 */
import { assert, assertEquals } from "@std/assert";
import { readCorpus } from "./corpus.ts";
import { Fuzzer } from "./fuzzer.ts";
import { Signal } from "./signal.ts";
import { TARGETS } from "./targets.ts";

/** Inputs of a short search. */
const SEARCHED = 80;

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
    const names = new Set(files.map(({ path }) => path.replace(/^.*\//, "").replace(/\.\w+$/, "")));
    const lost = [...target.seeds()].filter(([name]) => !names.has(name));
    assertEquals(lost.map(([name]) => name), [], `deno task fuzz ${target.name} --write-seeds`);
  });

  Deno.test(`fuzz: a short search through ${target.name}`, async () => {
    const corpus = readCorpus(target).map(({ input }) => input);
    const fuzzer = new Fuzzer(target, corpus, 1);
    let reached = 0;
    for (let runs = 0; runs < corpus.length + SEARCHED; runs++) {
      if (runs === corpus.length) reached = fuzzer.signal.total;
      const finding = await fuzzer.step();
      if (finding !== null) throw (await fuzzer.smaller(finding)).error;
    }
    assert(fuzzer.signal.total > reached, "the search reaches more than the corpus");
    assert(fuzzer.kept > corpus.length, "what reaches more is kept");
  });
}
