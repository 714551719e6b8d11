/** A guest's rates: one timer for both directions, nothing asked where nothing is set. */
import { assert, assertEquals } from "@std/assert";
import type { RateConfig } from "../../lib/config/options.ts";
import { GuestRates } from "../../lib/host/guest_rates.ts";
import type { RateShare } from "../../lib/stack/rate_limiter.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

class World {
  readonly clock = new VirtualClock();
  readonly rates: GuestRates;

  constructor(rate: RateConfig) {
    this.rates = new GuestRates(rate, this.clock);
  }

  /** A flow that always wants more: what it has moved. */
  greedy(direction: "up" | "down", operationBytes = 1_500): { bytes: number; share: RateShare } {
    const flow = { bytes: 0, share: null as unknown as RateShare };
    const move = () => {
      for (;;) {
        const bytes = flow.share.allow(operationBytes, this.clock.now());
        if (bytes === 0) return;
        flow.bytes += bytes;
        flow.share.spend(bytes);
      }
    };
    flow.share = this.rates[direction](move)!;
    move();
    return flow;
  }
}

function near(actual: number, expected: number, by: number): void {
  assert(Math.abs(actual - expected) <= by, `${actual} is not ${expected} ± ${by}`);
}

Deno.test("guest rates: where nothing is set there is no share, no timer and no limit", () => {
  const { rates, clock } = new World({});
  assertEquals([rates.up(), rates.down(() => {})], [null, null]);
  for (let i = 0; i < 100_000; i++) assert(rates.admitsFlow(clock.now()));
  assertEquals(clock.timers, 0);
});

Deno.test("guest rates: each direction has its own rate, or none", async () => {
  const up = new World({ up: 100_000 });
  assertEquals(up.rates.down(), null);
  const one = up.greedy("up");
  await up.clock.run(10_000);
  near(one.bytes, 1_010_000, 5_000);
  const both = new World({ up: 100_000, down: 3_000_000, upBurst: 1_500, downBurst: 1_500 });
  const uphill = both.greedy("up");
  const downhill = both.greedy("down", 15_000);
  assertEquals(both.clock.timers, 1, "one timer for both");
  await both.clock.run(1_000);
  near(uphill.bytes, 100_000, 5_000);
  near(downhill.bytes, 3_000_000, 40_000);
});

Deno.test("guest rates: a direction that waits for minutes holds up the other by nothing", async () => {
  for (const [fast, slow] of [["up", "down"], ["down", "up"]] as const) {
    const world = new World({ [fast]: 1_000_000, [slow]: 10 });
    const crawl = world.greedy(slow);
    assertEquals(world.clock.timers, 1);
    const run = world.greedy(fast, 5_000);
    await world.clock.run(1_000);
    near(run.bytes, 1_100_000, 20_000);
    assert(crawl.bytes <= 1_500 + 10, `${crawl.bytes}`);
    // And it has its turn all the same.
    const before = crawl.bytes;
    run.share.leave();
    await world.clock.run(200_000);
    assert(crawl.bytes > before);
  }
});

Deno.test("guest rates: a burst may come at once, a tenth of a second's where none is named", () => {
  for (
    const [rate, bytes] of [[{ up: 1_000_000 }, 100_000], [
      { up: 1_000_000, upBurst: 7_000 },
      7_000,
    ]] as const
  ) {
    const world = new World(rate);
    near(world.greedy("up", 500).bytes, bytes, 500);
  }
});

Deno.test("guest rates: while nobody waits there is no timer, and a wait wakes nobody for nothing", async () => {
  const world = new World({ up: 1_000_000, down: 1_000_000 });
  const share = world.rates.up(() => {})!;
  share.spend(share.allow(1_000, world.clock.now()));
  assertEquals(world.clock.timers, 0);
  const flow = world.greedy("down");
  assertEquals(world.clock.timers, 1);
  flow.share.leave();
  const before = world.clock.steps;
  await world.clock.run(60_000);
  assert(world.clock.steps - before < 10, "an end of waiting ends the timer");
  assertEquals(world.clock.timers, 0);
});

Deno.test("guest rates: flows begin at their rate, as many at once as the burst says", () => {
  for (
    const [rate, burst] of [
      [{ flowsPerSecond: 200 }, 20],
      [{ flowsPerSecond: 200, flowsBurst: 3 }, 3],
      [{ flowsPerSecond: 3 }, 1],
      [{ flowsPerSecond: 0.5 }, 1],
    ] as const
  ) {
    const { rates } = new World(rate);
    const begin = (nowMs: number) => {
      let count = 0;
      while (rates.admitsFlow(nowMs)) count++;
      return count;
    };
    assertEquals(begin(1_000), burst, JSON.stringify(rate));
    assertEquals(begin(1_000), 0);
    let later = 0;
    for (let ms = 1_001; ms <= 21_000; ms++) later += begin(ms);
    near(later, rate.flowsPerSecond * 20, 1);
    assertEquals(begin(1_000_000), burst, "a rest is worth a burst");
  }
});

Deno.test("guest rates: once disposed of it serves nobody, and has no timer", async () => {
  const world = new World({ up: 1_000, down: 1_000 });
  const up = world.greedy("up");
  world.rates[Symbol.dispose]();
  assertEquals(world.clock.timers, 0);
  const down = world.greedy("down");
  assertEquals(world.clock.timers, 0);
  const before = [up.bytes, down.bytes];
  await world.clock.run(60_000);
  assertEquals([up.bytes, down.bytes], before);
});
