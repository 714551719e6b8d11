import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RateLimiter, type RateShare } from "../../lib/stack/rate_limiter.ts";

/** 1 MB/s: 1,000 octets a millisecond, quanta of 5,000. */
const RATE = 1_000_000;
const QUANTUM = 5_000;

/** Spends as much as is allowed at one instant, an operation after the other. */
function takeAll(share: RateShare, nowMs: number, wantedBytes = Infinity): number {
  let taken = 0;
  for (let i = 0; i < 100_000; i++) {
    const bytes = share.allow(wantedBytes, nowMs);
    if (bytes === 0) return taken;
    share.spend(bytes);
    taken += bytes;
  }
  throw new Error("No end");
}

/** Flows that always want more, each with one operation at a time, on a clock that `run` moves. */
class Hungry {
  nowMs = 1_000;
  readonly limiter: RateLimiter;
  readonly shares: RateShare[] = [];
  readonly moved: number[] = [];
  readonly #events: { atMs: number; task: () => void }[] = [];
  readonly #lateMs: () => number;
  #pollMs = Infinity;

  constructor(limiter: RateLimiter, lateMs: () => number = () => 0) {
    this.limiter = limiter;
    this.#lateMs = lateMs;
  }

  /** A flow whose operations take `latencyMs` and move a part of what they may. */
  add(latencyMs: () => number, part: () => number = () => 1): RateShare {
    const index = this.shares.length;
    const next = () => {
      const bytes = share.allow(1e9, this.nowMs);
      if (bytes === 0) return;
      this.after(latencyMs(), () => {
        const count = Math.max(1, Math.floor(bytes * part()));
        this.moved[index]! += count;
        share.spend(count);
        next();
      });
    };
    const share = this.limiter.share(next);
    this.shares.push(share);
    this.moved.push(0);
    this.after(0, next);
    return share;
  }

  after(delayMs: number, task: () => void): void {
    this.#events.push({ atMs: this.nowMs + delayMs, task });
    this.#events.sort((a, b) => a.atMs - b.atMs);
  }

  run(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const dueMs = this.limiter.pollAt();
      if (dueMs < Infinity && this.#pollMs === Infinity) {
        this.#pollMs = Math.max(dueMs, this.nowMs) + this.#lateMs();
      }
      const eventMs = this.#events[0]?.atMs ?? Infinity;
      const atMs = Math.min(this.#pollMs, eventMs);
      if (atMs > endMs) break;
      this.nowMs = atMs;
      if (eventMs <= this.#pollMs) {
        this.#events.shift()!.task();
      } else {
        this.#pollMs = Infinity;
        this.limiter.poll(atMs);
      }
    }
    this.nowMs = endMs;
  }

  get total(): number {
    return this.moved.reduce((sum, bytes) => sum + bytes, 0);
  }
}

Deno.test("a burst at once, then the rate", () => {
  let resumed = 0;
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 20_000 });
  const share = limiter.share(() => resumed++);
  assertEquals(limiter.quantumBytes, QUANTUM);
  assertEquals(takeAll(share, 0), 25_000, "the burst, and one operation that is not paid");
  assertEquals([limiter.pollAt(), limiter.waiting], [6, 1], "the whole millisecond after 5");
  limiter.poll(4);
  assertEquals(resumed, 0);
  limiter.poll(6);
  assertEquals([resumed, limiter.pollAt(), limiter.waiting], [1, Infinity, 0]);
  assertEquals(share.allow(100, 6), 100);
  share.spend(100);
});

Deno.test("an operation moves no more than a quantum, a few milliseconds' worth", () => {
  const quantum = (bytesPerSecond: number) => new RateLimiter({ bytesPerSecond }).quantumBytes;
  assertEquals(quantum(1), 1_500);
  assertEquals(quantum(2_000_000), 10_000);
  assertEquals(quantum(1e12), 256 * 1024);
});

Deno.test("the burst is a tenth of a second's rate where nothing is said", () => {
  const share = new RateLimiter({ bytesPerSecond: RATE }).share();
  assertEquals(takeAll(share, 0), 100_000 + QUANTUM);
});

Deno.test("a rest fills no more than a burst", () => {
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 20_000 });
  const share = limiter.share();
  takeAll(share, 0);
  limiter.poll(10);
  assertEquals(takeAll(share, 1e9), 20_000 + QUANTUM);
});

Deno.test("a rate is above 0, and an operation moves something", () => {
  assertThrows(() => new RateLimiter({ bytesPerSecond: 0 }));
  const share = new RateLimiter({ bytesPerSecond: 1 }).share();
  assertThrows(() => share.allow(0, 0));
});

Deno.test("what is asked for with a read pending costs nothing until something comes", () => {
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 10_000 });
  const idle = Array.from({ length: 1_000 }, () => limiter.share());
  for (const share of idle) assertEquals(share.allow(1e6, 0), QUANTUM);
  assertEquals(takeAll(limiter.share(), 0), 10_000 + QUANTUM);
});

Deno.test("who comes back does not overtake those that wait", () => {
  const order: string[] = [];
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 1 });
  const shares = ["a", "b", "c"].map((name) => limiter.share(() => order.push(name)));
  for (const share of shares) {
    assertEquals(share.allow(1e6, 0), QUANTUM);
    share.spend(QUANTUM);
  }
  for (const share of shares) assertEquals(share.allow(1e6, 0), 0);
  limiter.poll(5);
  assertEquals(order, ["a"]);
  shares[0]!.allow(1e6, 5);
  shares[0]!.spend(QUANTUM);
  assertEquals(shares[0]!.allow(1e6, 7), 0);
  for (let nowMs = 5; nowMs <= 20; nowMs++) limiter.poll(nowMs);
  assertEquals(order, ["a", "b", "c", "a"]);
});

Deno.test("a debt larger than a quantum is paid in turns", () => {
  const order: string[] = [];
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 1 });
  const large = limiter.share(() => order.push("large"));
  const small = limiter.share(() => order.push("small"));
  for (const share of [large, small]) share.allow(1, 0);
  large.spend(3 * QUANTUM);
  small.spend(QUANTUM);
  assertEquals([large.allow(1, 0), small.allow(1, 0)], [0, 0]);
  for (let nowMs = 0; nowMs <= 20; nowMs++) {
    limiter.poll(nowMs);
    if (nowMs === 5) assertEquals([large.owedBytes, order.length], [2 * QUANTUM, 0]);
    if (nowMs === 10) assertEquals(order, ["small"]);
  }
  assertEquals(order, ["small", "large"]);
});

Deno.test("who is resumed may begin one operation, also later, and also while others wait", () => {
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 1 });
  const first = limiter.share();
  const second = limiter.share();
  for (const share of [first, second]) {
    share.allow(1e6, 0);
    share.spend(QUANTUM);
    assertEquals(share.allow(1e6, 0), 0);
  }
  limiter.poll(6);
  assertEquals(limiter.waiting, 1);
  assertEquals(first.allow(700, 7), 700);
  first.spend(700);
  assertEquals(first.allow(700, 7), 0);
});

Deno.test("a flow that leaves is not resumed, and what it owes is paid before others go on", () => {
  let resumed = 0;
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 1 });
  const gone = limiter.share(() => resumed++);
  const other = limiter.share(() => resumed++);
  gone.allow(1e6, 0);
  gone.spend(QUANTUM);
  assertEquals(gone.allow(1e6, 0), 0);
  gone.leave();
  gone.leave();
  gone.spend(1_000); // an operation that was in flight
  assertEquals([limiter.waiting, gone.allow(1, 0), gone.offer(1, 0)], [0, 0, false]);
  assertEquals(other.allow(1e6, 0), 0);
  assertEquals(limiter.pollAt(), 7);
  limiter.poll(5.9);
  assertEquals(resumed, 0);
  limiter.poll(7);
  assertEquals(resumed, 1);
});

Deno.test("whoever watches hears when somebody waits and nobody did", () => {
  let heard = 0;
  const limiter = new RateLimiter({
    bytesPerSecond: RATE,
    burstBytes: 1,
    onWaiting: () => heard++,
  });
  const a = limiter.share();
  const b = limiter.share();
  takeAll(a, 0);
  assertEquals(heard, 1);
  takeAll(b, 0);
  assertEquals(heard, 1);
  limiter.poll(20);
  assertEquals(limiter.waiting, 0);
  takeAll(a, 20);
  assertEquals(heard, 2);
});

Deno.test("a clock that goes backwards adds nothing", () => {
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 20_000 });
  const share = limiter.share();
  takeAll(share, 1_000);
  limiter.poll(0);
  limiter.poll(1_001);
  assertEquals(limiter.waiting, 1);
  const full = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 20_000 }).share();
  full.spend(full.allow(1, 1_000));
  assertEquals(takeAll(full, 0), 20_000, "and it takes nothing");
});

Deno.test("with nothing in the bucket also who owes nothing has to wait", () => {
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: QUANTUM });
  const first = limiter.share();
  first.spend(first.allow(QUANTUM, 0));
  first.spend(first.allow(1, 0));
  assertEquals(limiter.waiting, 0);
  const second = limiter.share();
  assertEquals([second.allow(1, 0), limiter.waiting, limiter.pollAt()], [0, 1, 1]);
});

Deno.test("whoever is resumed and comes back at once has its next turn with the next poll", () => {
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 1 });
  let resumed = 0;
  for (let i = 0; i < 2; i++) {
    const share: RateShare = limiter.share(() => {
      resumed++;
      assertEquals(share.allow(1, 20), 1);
      share.spend(0);
      share.allow(1, 20);
    });
    takeAll(share, 0);
  }
  limiter.poll(20);
  assertEquals(resumed, 2);
});

Deno.test("datagrams pass while little is owed, and are the caller's to drop after that", () => {
  const limiter = new RateLimiter({ bytesPerSecond: RATE, burstBytes: 10_000 });
  const share = limiter.share(() => assert(false, "nobody waits for a datagram"));
  let passed = 0;
  while (share.offer(1_000, 0)) passed++;
  assertEquals(passed, 20, "the burst and two quanta");
  assertFalse(share.offer(1, 0));
  limiter.poll(4);
  assertFalse(share.offer(1, 4));
  limiter.poll(5);
  assert(share.offer(5_000, 5));
  assertFalse(share.offer(1, 5));
  limiter.poll(10);
  limiter.poll(15);
  assertEquals([share.owedBytes, limiter.waiting], [0, 0]);
});

Deno.test("one datagram of any size passes where nothing is owed", () => {
  const limiter = new RateLimiter({ bytesPerSecond: 1_000, burstBytes: 1 });
  const share = limiter.share();
  assert(share.offer(65_507, 0));
  assertFalse(share.offer(1, 0));
  let nowMs = 0;
  while (limiter.pollAt() < Infinity) limiter.poll(nowMs = limiter.pollAt());
  assert(nowMs >= 65_500 && nowMs < 65_600, `${nowMs}`);
  takeAll(limiter.share(), nowMs);
  assertEquals(limiter.waiting, 1);
  assert(share.offer(65_507, nowMs), "also while others wait");
});

Deno.test("datagrams have their part beside flows that always want more", () => {
  const world = new Hungry(new RateLimiter({ bytesPerSecond: RATE }));
  for (let i = 0; i < 3; i++) world.add(() => 0.1);
  const share = world.limiter.share();
  let passed = 0;
  const send = () => {
    if (share.offer(1_200, world.nowMs)) passed += 1_200;
    world.after(0.5, send); // more than twice the rate
  };
  send();
  world.run(60_000);
  const fair = RATE * 60 / 4;
  assert(Math.abs(passed / fair - 1) < 0.02, `${passed} of ${fair}`);
  for (const bytes of world.moved) assert(Math.abs(bytes / fair - 1) < 0.02, `${bytes} of ${fair}`);
});

Deno.test("flows that always want more get the rate, no more and no less, however late the polls", () => {
  fc.assert(
    fc.property(
      fc.record({
        bytesPerSecond: fc.integer({ min: 3_000, max: 100_000_000 }),
        burstBytes: fc.option(fc.integer({ min: 1, max: 10_000_000 }), { nil: undefined }),
        flows: fc.integer({ min: 1, max: 12 }),
        latencyMs: fc.array(fc.double({ min: 0.01, max: 1, noNaN: true }), { minLength: 1 }),
        lateMs: fc.array(fc.double({ min: 0, max: 40, noNaN: true }), { minLength: 1 }),
      }),
      ({ bytesPerSecond, burstBytes, flows, latencyMs, lateMs }) => {
        let dice = 0;
        const limiter = new RateLimiter({ bytesPerSecond, burstBytes });
        const world = new Hungry(limiter, () => lateMs[dice++ % lateMs.length]!);
        for (let i = 0; i < flows; i++) world.add(() => latencyMs[dice++ % latencyMs.length]!);
        world.run(1_000);
        const before = world.total;
        const ms = Math.max(4_000, 4_000 * limiter.quantumBytes / bytesPerSecond * 1_000);
        world.run(ms);
        const total = world.total - before;
        const fair = bytesPerSecond * ms / 1_000;
        const inFlight = flows * limiter.quantumBytes;
        const burst = Math.max(burstBytes ?? 0, bytesPerSecond / 10 + limiter.quantumBytes);
        assert(total <= fair + burst + inFlight, `${total} of ${fair}`);
        assert(total >= fair * 0.99 - inFlight, `${total} of ${fair}`);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("flows that always want more get equal parts, however quick each is", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 3_000, max: 50_000_000 }),
      fc.array(fc.double({ min: 0.01, max: 1, noNaN: true }), { minLength: 2, maxLength: 12 }),
      (bytesPerSecond, latencyMs) => {
        const limiter = new RateLimiter({ bytesPerSecond, burstBytes: 1 });
        const world = new Hungry(limiter);
        for (const ms of latencyMs) world.add(() => ms);
        world.run(2_000 * limiter.quantumBytes / bytesPerSecond * 1_000);
        const difference = Math.max(...world.moved) - Math.min(...world.moved);
        assert(difference <= 2 * limiter.quantumBytes, `${world.moved}`);
      },
    ),
    { numRuns: 40 },
  );
});

Deno.test("in the long run it is the rate to 1 %, whatever comes in with an operation", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1 }),
      fc.array(fc.double({ min: 0, max: 20, noNaN: true }), { minLength: 1 }),
      (flows, parts, lateMs) => {
        let dice = 0;
        const limiter = new RateLimiter({ bytesPerSecond: 200_000 });
        const world = new Hungry(limiter, () => lateMs[dice++ % lateMs.length]!);
        // The smallest operations still come to more than the rate.
        const part = () => 0.2 + 0.8 * parts[dice++ % parts.length]!;
        for (let i = 0; i < flows; i++) world.add(() => 0.5, part);
        world.run(60_000);
        const fair = 200_000 * 60;
        const burst = 20_000 + flows * limiter.quantumBytes;
        assert(world.total >= fair * 0.99, `${world.total} of ${fair}`);
        assert(world.total <= fair * 1.01 + burst, `${world.total} of ${fair}`);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("flows that come and go do not get around the rate", () => {
  const world = new Hungry(new RateLimiter({ bytesPerSecond: RATE }));
  let passed = 0;
  const visit = () => {
    const go = () => {
      const bytes = share.allow(1e6, world.nowMs);
      if (bytes === 0) return;
      world.after(0.2, () => {
        passed += bytes;
        share.spend(bytes);
        share.leave();
        visit();
      });
    };
    const share = world.limiter.share(go);
    go();
  };
  for (let i = 0; i < 20; i++) visit();
  world.add(() => 0.2);
  world.run(60_000);
  const total = passed + world.total;
  assert(Math.abs(total / (RATE * 60) - 1) < 0.01, `${total}`);
  const fair = RATE * 60 / 21;
  assert(Math.abs(world.total / fair - 1) < 0.05, `${world.total} of ${fair}`);
});

Deno.test("a poll at the time that was promised makes progress", () => {
  fc.assert(fc.property(
    fc.double({ min: 1, max: 1e9, noNaN: true }),
    fc.double({ min: 0, max: 1e10, noNaN: true }),
    fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 20 }),
    (bytesPerSecond, startMs, debts) => {
      const limiter = new RateLimiter({ bytesPerSecond, burstBytes: 1 });
      const shares = debts.map((bytes) => {
        const share = limiter.share();
        share.allow(bytes, startMs);
        share.spend(bytes);
        return share;
      });
      for (const share of shares) share.allow(1, startMs);
      const owed = () => shares.reduce((sum, share) => sum + share.owedBytes, limiter.waiting);
      let nowMs = startMs;
      for (let last = owed(); limiter.waiting > 0; last = owed()) {
        const atMs = limiter.pollAt();
        assert(atMs >= nowMs);
        limiter.poll(nowMs = atMs);
        assert(owed() < last, `at ${nowMs} nothing was paid`);
      }
    },
  ));
});
