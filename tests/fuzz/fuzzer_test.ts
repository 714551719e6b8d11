/**
 * The fuzzer against targets with planted bugs: it finds them, makes them small, and does the same
 * for the same seed.
 */
import { assert, assertEquals } from "@std/assert";
import { type Finding, Fuzzer } from "./fuzzer.ts";
import { formatInput, type Input, nameOf, parseInput } from "./input.ts";
import { failureOf, minimise } from "./minimise.ts";
import { Mutator, RECORD_MAX_BYTES, RECORDS_MAX, splice } from "./mutate.ts";
import { Random } from "./random.ts";
import { inputFrom, inputInto, inputsSoFar } from "./shared_input.ts";
import { CountTrace, Signal } from "./signal.ts";
import type { FuzzTarget } from "./target.ts";

const bytes = (...octets: number[]) => Uint8Array.from(octets);

function planted(run: FuzzTarget["run"]): FuzzTarget {
  return {
    name: "planted",
    about: "a target with a bug",
    form: "hex",
    seeds: () => [],
    mutate: (input, mutator) => mutator.records(input, (record) => mutator.bytes(record)),
    run,
  };
}

/** Searches for so many inputs. */
async function search(fuzzer: Fuzzer, inputs: number): Promise<Finding | null> {
  for (let left = inputs; left > 0; left--) {
    const finding = await fuzzer.step();
    if (finding !== null) return finding;
  }
  return null;
}

Deno.test("fuzzer: a planted bug is found and made small", async () => {
  const target = planted((input) => {
    for (const record of input) {
      if (record.length > 3 && record[1] === 0xff && record[2]! > 0x7f) {
        throw new TypeError("planted 7");
      }
    }
  });
  const corpus = [[bytes(9, 8, 7, 6, 5, 4, 3, 2, 1), bytes(1, 2, 3, 4), bytes(5)]];
  const fuzzer = new Fuzzer(target, corpus, 1);
  const finding = await search(fuzzer, 50_000);
  assert(finding !== null, "the bug is found");
  const small = await fuzzer.smaller(finding);
  assertEquals(failureOf(small.error), "TypeError: planted #");
  assertEquals(small.input.length, 1);
  const [record] = small.input;
  assertEquals(record!.length, 4);
  assertEquals([record![0], record![1], record![3]], [0, 0xff, 0]);
});

Deno.test("fuzzer: signal leads through doors that chance would not open together", async () => {
  const secret = [2, 9, 7, 3];
  const target = planted((input, signal) => {
    const [record = bytes()] = input;
    let open = 0;
    while (open < secret.length && (record[open]! & 15) === secret[open]) {
      signal.note(1, open++);
    }
    if (open === secret.length) throw new Error("all doors are open");
  });
  assert(await search(new Fuzzer(target, [[bytes(0, 0, 0, 0, 0, 0)]], 3), 100_000) !== null);
  const blind = planted((input) => target.run(input, new Signal()));
  assertEquals(await search(new Fuzzer(blind, [[bytes(0, 0, 0, 0, 0, 0)]], 3), 5_000), null);
});

Deno.test("fuzzer: a rejection counts as a throw, and the corpus is run first", async () => {
  const seen: string[] = [];
  const target = planted((input) => {
    seen.push(nameOf(input));
    return seen.length === 3 ? Promise.reject(new Error("late")) : Promise.resolve();
  });
  const corpus = [[bytes(1)], [bytes(2)]];
  const finding = await search(new Fuzzer(target, corpus, 1), 10);
  assertEquals(seen.slice(0, 2), corpus.map(nameOf));
  assertEquals([finding?.after, failureOf(finding?.error)], [2, "Error: late"]);
});

Deno.test("fuzzer: one seed gives the same inputs, another gives others", async () => {
  const inputsOf = async (seed: number) => {
    const seen: string[] = [];
    const target = planted((input, signal) => {
      seen.push(nameOf(input));
      signal.note(1, input.length, input[0]?.[0] ?? 0);
    });
    await search(new Fuzzer(target, [[bytes(1, 2, 3)]], seed), 500);
    return seen;
  };
  assertEquals(await inputsOf(5), await inputsOf(5));
  const [a, b] = [await inputsOf(5), await inputsOf(6)];
  assert(a.join() !== b.join());
});

Deno.test("minimise: what is not needed goes, within the tries", async () => {
  const input = Array.from({ length: 20 }, (_, i) => new Uint8Array(30).fill(i + 1));
  const fails = (candidate: Input) => {
    const all = candidate.map((record) => [...record]);
    return Promise.resolve(all.some((r) => r.includes(5)) && all.some((r) => r.includes(18)));
  };
  assertEquals((await minimise(input, fails)).map((record) => [...record]), [[5], [18]]);
  let tries = 0;
  const counted = (candidate: Input) => (tries++, fails(candidate));
  assert(await fails(await minimise(input, counted, { triesMax: 10 })));
  assertEquals(tries, 10);
});

Deno.test("minimise: a repair keeps the failure where octets depend on each other", async () => {
  const sum = (record: Uint8Array) =>
    record.slice(1).reduce((total, each) => (total + each) & 0xff, 0);
  const fails = (input: Input) =>
    Promise.resolve(input.some((r) => r.length > 1 && r[0] === sum(r) && r.includes(77, 1)));
  const repair = (input: Input) =>
    input.map((r) => bytes(...(r.length > 0 ? [sum(r), ...r.slice(1)] : [])));
  const record = bytes(0, 1, 2, 3, 77, 4, 5, 6);
  const input = repair([record]);
  assertEquals((await minimise(input, fails, { repair })).map((r) => [...r]), [[77, 77]]);
});

Deno.test("mutate: every kind of change comes up, and inputs stay bounded", () => {
  const random = new Random(9);
  const corpus: Input[] = [[bytes(1, 2, 3, 4), bytes(5, 6)], [bytes(7)]];
  const mutator = new Mutator(random, () => random.pick(corpus));
  const lengths = new Set<number>();
  const counts = new Set<number>();
  let words = 0;
  let input: Input = corpus[0]!;
  for (let i = 0; i < 5_000; i++) {
    input = mutator.records(input, (record) => mutator.bytes(record, ["word"]));
    counts.add(input.length);
    for (const record of input) {
      lengths.add(record.length);
      if (new TextDecoder().decode(record).includes("word")) words++;
      assert(record.length <= RECORD_MAX_BYTES);
    }
    assert(input.length <= RECORDS_MAX);
    if (i % 50 === 0) input = random.pick(corpus);
  }
  assert(lengths.size > 50 && counts.size > 5 && words > 25);
  assertEquals(
    corpus,
    [[bytes(1, 2, 3, 4), bytes(5, 6)], [bytes(7)]],
    "nothing is changed in place",
  );
});

Deno.test("mutate: splice takes out and puts in", () => {
  assertEquals(splice(bytes(1, 2, 3), 1, 1, bytes(8, 9)), bytes(1, 8, 9, 3));
  assertEquals(splice(bytes(1, 2), 2, 5, bytes(3)), bytes(1, 2, 3));
});

Deno.test("inputs: files and shared memory give back what was put in", () => {
  const input = [bytes(0, 255, 16), bytes(), bytes(7)];
  assertEquals(parseInput("hex", formatInput("hex", input, "why\nand how")), input);
  assertEquals(parseInput("txt", formatInput("txt", [bytes(97, 10)])), [bytes(97, 10)]);
  const shared = new SharedArrayBuffer(64);
  inputInto(shared, [bytes(1)]);
  inputInto(shared, input);
  assertEquals([inputsSoFar(shared), inputFrom(shared)], [2, input]);
  inputInto(shared, [bytes(1), new Uint8Array(100)]);
  assertEquals(inputFrom(shared), [bytes(1)], "as much as fits");
});

Deno.test("signal: counters that grow for the first time are fresh, then no more", () => {
  const signal = new Signal();
  const counters = new Float64Array(8);
  const trace = new CountTrace(signal, counters);
  const fresh = (index: number) => {
    counters[index]!++;
    signal.begin();
    trace.step();
    return signal.fresh > 0;
  };
  assert(fresh(5) && fresh(6) && fresh(5));
  for (let i = 0; i < 200; i++) fresh(5);
  assert(!fresh(5) && fresh(7));
});
