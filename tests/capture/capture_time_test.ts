/** Moments of two clocks as nanoseconds since 1970. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { CaptureTime } from "../../lib/capture/capture_time.ts";

function nanoseconds({ high, low }: CaptureTime): bigint {
  assertEquals(high >>> 0, high);
  assertEquals(low >>> 0, low);
  return (BigInt(high) << 32n) + BigInt(low);
}

Deno.test("capture time: nanoseconds pass exactly, across the border of the lower word", () => {
  const epochMs = Date.UTC(2026, 10, 29, 3, 0, 0);
  const deltas = fc.oneof(fc.nat(1e9), fc.nat(2 ** 50));
  fc.assert(fc.property(deltas, (delta) => {
    const time = new CaptureTime(0, epochMs);
    time.set(delta / 1e6);
    assertEquals(nanoseconds(time), BigInt(epochMs) * 1_000_000n + BigInt(delta));
  }));
});

Deno.test("capture time: a clock that was set, or a host that slept, is followed", () => {
  const time = new CaptureTime(100, 5_000);
  time.check(200, 5_105);
  time.set(200);
  assertEquals(nanoseconds(time), 5_100_000_000n, "within a few milliseconds it is no news");
  time.check(300, 9_000);
  time.set(300.5);
  assertEquals(nanoseconds(time), 9_000_500_000n);
  time.check(400, 4_000);
  time.set(400);
  assertEquals(nanoseconds(time), 4_000_000_000n);
  time.set(0);
  assertEquals(nanoseconds(time), 4_000_000_000n, "never before the moment that is known");
});
