/** RFC 9293 section 3.4 against plain integers. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { seqAdd, seqDiff, seqLe, seqLt, seqMax, seqMin } from "../../../lib/stack/tcp/sequence.ts";

const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const distance = fc.integer({ min: -(2 ** 31) + 1, max: 2 ** 31 - 1 });

Deno.test("a number and one some way ahead of it compare as their distance does", () => {
  fc.assert(fc.property(uint32, distance, (a, n) => {
    const b = seqAdd(a, n);
    assertEquals(b, Number((BigInt(a) + BigInt(n) + (1n << 33n)) % (1n << 32n)));
    assertEquals([seqDiff(b, a), seqDiff(a, b)], [n, n === 0 ? 0 : -n]);
    assertEquals([seqLt(a, b), seqLe(a, b), seqLt(b, a), seqLe(b, a)], [
      n > 0,
      n >= 0,
      n < 0,
      n <= 0,
    ]);
    assertEquals([seqMax(a, b), seqMin(a, b)], n > 0 ? [b, a] : [a, b]);
  }));
});

Deno.test("the wrap is no border", () => {
  assertEquals(seqAdd(0xffffffff, 1), 0);
  assertEquals(seqAdd(0, -1), 0xffffffff);
  assertEquals(seqLt(0xffffff00, 0x100), true);
  assertEquals(seqDiff(0x100, 0xffffff00), 0x200);
  assertEquals([seqMax(0xfffffff0, 0x10), seqMin(0xfffffff0, 0x10)], [0x10, 0xfffffff0]);
});
