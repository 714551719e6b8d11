/** The window's growth by time (RFC 9438), apart from any connection. */
import { assert, assertEquals } from "@std/assert";
import { Cubic } from "../../../lib/stack/tcp/cubic.ts";

const MSS = 1000;

Deno.test("after a loss CUBIC comes back to the old window in K seconds, then goes beyond", () => {
  const cubic = new Cubic(MSS);
  cubic.cwndBytes = 1000 * MSS;
  cubic.onLoss(1000 * MSS);
  assertEquals(cubic.cwndBytes, 700 * MSS);
  // K = cbrt(1000 × 0.3 / 0.4) = 9.09 s
  const at = (seconds: number) => {
    for (let ms = 0; ms < seconds * 1000; ms += 100) cubic.onAck(cubic.cwndBytes, now += 100, 100);
    return cubic.cwndBytes / MSS;
  };
  let now = 0;
  const five = at(5);
  assert(five > 900 && five < 990, `${five} segments after 5 s`);
  const nine = at(4);
  assert(nine > 990 && nine < 1010, `${nine} segments after 9 s`);
  assert(at(6) > 1050);
});

Deno.test("a small window grows at least as Reno's would", () => {
  const cubic = new Cubic(MSS);
  cubic.onLoss(10 * MSS);
  assertEquals(cubic.cwndBytes, 7 * MSS);
  let now = 0;
  // Below the last maximum Reno's share is 3 × 0.3 / 1.7 of a segment each round trip.
  for (let round = 0; round < 5; round++) cubic.onAck(cubic.cwndBytes, now += 1, 1);
  const segments = cubic.cwndBytes / MSS;
  assert(segments > 7 + 5 * 0.5 && segments < 7 + 5 * 0.6, `${segments} segments`);
});

Deno.test("a second loss before the old window was reached remembers less (fast convergence)", () => {
  const cubic = new Cubic(MSS);
  cubic.cwndBytes = 1000 * MSS;
  cubic.onLoss(1000 * MSS);
  cubic.onLoss(700 * MSS);
  // W_max is 700 × 0.85 now: K = cbrt((595 − 490) / 0.4) = 6.4 s.
  let now = 0;
  for (let ms = 0; ms < 6400; ms += 100) cubic.onAck(cubic.cwndBytes, now += 100, 100);
  const segments = cubic.cwndBytes / MSS;
  assert(Math.abs(segments - 595) < 5, `${segments} segments`);
});

Deno.test("the window never falls below two segments by a loss, below one by a timeout", () => {
  const cubic = new Cubic(MSS);
  for (let i = 0; i < 50; i++) cubic.onLoss(1);
  assertEquals(cubic.cwndBytes, 2 * MSS);
  cubic.onTimeout(1);
  assertEquals(cubic.cwndBytes, MSS);
});
