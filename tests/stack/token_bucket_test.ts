import { assert, assertEquals, assertFalse } from "@std/assert";
import { TokenBucket } from "../../lib/stack/token_bucket.ts";

function takeAll(bucket: TokenBucket, nowMs: number): number {
  let taken = 0;
  while (taken < 1_000 && bucket.take(nowMs)) taken++;
  return taken;
}

Deno.test("a burst at once, then the rate", () => {
  const bucket = new TokenBucket(100, 5);
  assertEquals(takeAll(bucket, 50), 5);
  assertFalse(bucket.take(59));
  assert(bucket.take(60));
  assertFalse(bucket.take(60));
  assertEquals(takeAll(bucket, 90), 3);
});

Deno.test("idle time fills no more than a burst", () => {
  const bucket = new TokenBucket(100, 5);
  bucket.take(0, 5);
  assertEquals(takeAll(bucket, 1e9), 5);
});

Deno.test("several tokens are taken all or none", () => {
  const bucket = new TokenBucket(1000, 10);
  assert(bucket.take(0, 7));
  assertFalse(bucket.take(0, 4));
  assert(bucket.take(0, 3));
  assertFalse(bucket.take(1e6, 11), "more than a burst never");
});

Deno.test("a clock that goes backwards adds nothing, and nothing twice", () => {
  const bucket = new TokenBucket(1000, 10);
  assertEquals(takeAll(bucket, 1000), 10);
  assertEquals(takeAll(bucket, 0), 0);
  assertEquals(takeAll(bucket, 1000), 0);
  assertEquals(takeAll(bucket, 1003), 3);
});

Deno.test("a rate of 0 gives the burst once", () => {
  const bucket = new TokenBucket(0, 2);
  assertEquals(takeAll(bucket, 10), 2);
  assertEquals(takeAll(bucket, 1e12), 0);
});

Deno.test("a debt is paid off by the rate, and is no larger than a burst", () => {
  const bucket = new TokenBucket(1000, 10);
  assertEquals(takeAll(bucket, 0), 10);
  bucket.charge(3);
  assertEquals(takeAll(bucket, 3), 0);
  assertEquals(takeAll(bucket, 4), 1);
  bucket.charge(1e6);
  assertEquals(takeAll(bucket, 14), 0);
  assertEquals(takeAll(bucket, 15), 1);
});
