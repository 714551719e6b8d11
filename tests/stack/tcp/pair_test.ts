/**
 * Whole transfers between two endpoints over a wire that loses, repeats, delays, reorders and flips
 * bits: everything arrives, within a bounded number of steps, and nothing stays behind.
 */
import { assertEquals } from "@std/assert";
import { dice, type PairOptions, TcpPair } from "../../support/tcp_pair.ts";

const SEEDS = 30;
const BYTES = 200_000;

/** The wire and the ends of a seed. */
function optionsOf(seed: number): PairOptions {
  const roll = dice(seed + 0x5eed);
  const one = <T>(...choices: T[]): T => choices[Math.floor(roll() * choices.length)]!;
  return {
    seed,
    bytes: BYTES,
    loss: one(0, 0.01, 0.03, 0.1, 0.2, 0.3),
    duplicate: one(0, 0.01, 0.1),
    reorder: one(0, 0.05, 0.3),
    flip: one(0, 0.01),
    delayMs: one(0.05, 1, 20),
    jitterMs: one(0, 1, 30),
    mtu: one(576, 1500, 9000),
    poolBytes: one(64 * 1024, 256 * 1024, 4 * 1024 * 1024),
    strip: one([], [], [8], [4], [4, 8], [3], [3, 4, 8]),
    pendingMs: one(0, 2, 100),
  };
}

/** Runs one pair and holds that everything arrived and nothing is left. */
function transfer(options: PairOptions): number {
  const pair = new TcpPair(options);
  const tookMs = pair.run();
  for (const end of pair.ends) {
    end.release();
    const { endpoint, pool, harness } = end;
    assertEquals(
      {
        given: end.given,
        taken: end.taken,
        flows: endpoint.size,
        halfOpen: endpoint.halfOpen,
        timers: endpoint.timers,
        usedBytes: pool.usedBytes,
        bugs: harness.counters.get("bug.turn") + harness.counters.get("bug.tcp"),
      },
      {
        given: options.bytes,
        taken: options.bytes,
        flows: 0,
        halfOpen: 0,
        timers: 0,
        usedBytes: 0,
        bugs: 0,
      },
    );
  }
  return tookMs;
}

for (let seed = 1; seed <= SEEDS; seed++) {
  const options = optionsOf(seed);
  Deno.test(`two ends over a bad wire, seed ${seed}: ${JSON.stringify(options)}`, () => {
    transfer(options);
  });
}

for (const large of ["headers", "bare"] as const) {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const options = { ...optionsOf(1000 + seed), large };
    Deno.test(`two ends in large segments, ${JSON.stringify(options)}`, () => {
      transfer(options);
    });
  }
}

Deno.test("the same seed gives the same transfer", () => {
  const options = { ...optionsOf(7), bytes: 50_000 };
  assertEquals(transfer(options), transfer(options));
});
