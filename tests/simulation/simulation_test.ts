import { assert, assertEquals } from "@std/assert";
import { makePlan } from "./plan.ts";
import { REGRESSION_SEEDS } from "./regression_seeds.ts";
import { addTally, emptyTally, type Outcome, simulate } from "./simulation.ts";

const SEEDS = 200;
/** Seeds that are run twice, to compare the traces. */
const TWICE = 5;

/** What is to be read where a seed fails. */
function report({ seed, faults, description }: Outcome): string {
  const lines = [...faults.map((fault) => `  ✗ ${fault}`), ...description.split("\n")];
  return `seed ${seed}; deno task simulate --seed ${seed} --verbose\n${lines.join("\n")}`;
}

Deno.test(`simulation: ${SEEDS} seeds`, async () => {
  const failed: string[] = [];
  const tally = emptyTally();
  for (let seed = 1; seed <= SEEDS; seed++) {
    const outcome = await simulate(seed);
    addTally(tally, outcome.tally);
    if (outcome.faults.length > 0) failed.push(report(outcome));
  }
  assertEquals(failed.join("\n\n"), "");
  assert(tally.streams > 3 * SEEDS, "there were streams to judge");
  assert(tally.whole > tally.streams / 3, "many of them arrived whole");
  assert(tally.returns > SEEDS / 4, "links were lost and came back");
  assert(tally.cut > 0 && tally.lateReturns > 0, "links were cut, buffers given up while lent");
});

for (const [what, seeds] of Object.entries(REGRESSION_SEEDS)) {
  Deno.test(`simulation: seeds that found ${what}`, async () => {
    for (const seed of seeds) {
      for (const plan of [makePlan(seed, false), makePlan(seed)]) {
        const outcome = await simulate(seed, { plan });
        assertEquals(outcome.faults, [], report(outcome));
      }
    }
  });
}

Deno.test("simulation: the same seed gives the same trace, another one another", async () => {
  const digests = new Set<string>();
  for (let seed = 1; seed <= TWICE; seed++) {
    const first = await simulate(seed);
    const again = await simulate(seed);
    assertEquals([again.digest, again.steps], [first.digest, first.steps], `seed ${seed}`);
    digests.add(first.digest);
  }
  assertEquals(digests.size, TWICE);
});
