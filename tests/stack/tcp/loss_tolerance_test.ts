import { assertEquals } from "@std/assert";
import { LossTolerance } from "../../../lib/stack/tcp/loss_tolerance.ts";
import { seqAdd } from "../../../lib/stack/tcp/sequence.ts";

const MSS = 1000;
const BASE = 0xffff_f000;
const seq = (segments: number) => seqAdd(BASE, segments * MSS);

/** A round trip with a flight of so many segments, of which so many are lost one by one. */
function shrinks(flight: number, lost: number): number {
  const tolerance = new LossTolerance();
  tolerance.begin(seq(0));
  tolerance.onAck(seq(0), seq(flight));
  let times = 0;
  for (let i = 0; i < lost; i++) {
    if (tolerance.isCongestion(MSS, seq(0), seq(flight), MSS)) times++;
  }
  assertEquals(tolerance.hasShrunk(seq(0)), times > 0);
  return times;
}

Deno.test("loss tolerance: three segments and a fifth of the flight may be lost", () => {
  assertEquals([shrinks(10, 5), shrinks(10, 6), shrinks(10, 10)], [0, 1, 1]);
  assertEquals([shrinks(1000, 203), shrinks(1000, 204), shrinks(1000, 900)], [0, 1, 1]);
});

Deno.test("loss tolerance: each round trip counts for itself", () => {
  const tolerance = new LossTolerance();
  tolerance.begin(seq(0));
  for (let round = 0; round < 100; round++) {
    const [una, next] = [seq(100 * round), seq(100 * round + 100)];
    tolerance.onAck(una, next);
    for (let i = 0; i < 23; i++) {
      assertEquals(tolerance.isCongestion(MSS, una, next, MSS), false, `round ${round}`);
    }
  }
});

Deno.test("loss tolerance: what was out when the window shrank makes it shrink no further", () => {
  const tolerance = new LossTolerance();
  tolerance.begin(seq(0));
  tolerance.onAck(seq(0), seq(100));
  assertEquals(tolerance.isCongestion(50 * MSS, seq(0), seq(100), MSS), true);
  tolerance.onAck(seq(50), seq(120));
  assertEquals(tolerance.isCongestion(50 * MSS, seq(50), seq(120), MSS), false);
  assertEquals(tolerance.hasShrunk(seq(99)), true);
  tolerance.onAck(seq(120), seq(180));
  assertEquals(tolerance.hasShrunk(seq(120)), false);
  assertEquals(tolerance.isCongestion(50 * MSS, seq(120), seq(180), MSS), true);
});

Deno.test("loss tolerance: after gigabytes without a loss one still counts", () => {
  const tolerance = new LossTolerance();
  tolerance.begin(seq(0));
  const flight = 1_000_000;
  for (let una = 0; una < 5_000_000; una += flight) {
    tolerance.onAck(seq(una), seq(una + flight));
    assertEquals(tolerance.hasShrunk(seq(una)), false, `${una} segments on`);
  }
  const [una, next] = [seq(5_000_000), seq(5_000_100)];
  tolerance.onAck(una, next);
  assertEquals(tolerance.isCongestion(50 * MSS, una, next, MSS), true);
  assertEquals(tolerance.hasShrunk(una), true);
});
