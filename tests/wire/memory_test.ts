import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FrameMemory } from "../../lib/wire/memory.ts";

Deno.test("the size is whole pages, and bytes and view are the same octets", () => {
  for (const wasm of [true, false]) {
    assertEquals(new FrameMemory(0, { wasm }).sizeBytes, 65_536);
    assertEquals(new FrameMemory(65_536, { wasm }).sizeBytes, 65_536);
    const memory = new FrameMemory(65_537, { wasm });
    assertEquals(memory.sizeBytes, 131_072);
    assertEquals(memory.bytes.length, 131_072);
    assertEquals(memory.view.byteLength, 131_072);
    memory.view.setUint32(131_068, 0x01020304);
    assertEquals(memory.bytes.subarray(131_068), new Uint8Array([1, 2, 3, 4]));
  }
});

Deno.test("copies of any length are right, also over themselves", () => {
  const memory = new FrameMemory(65_536);
  const check = (to: number, from: number, length: number) => {
    for (let i = 0; i < 400; i++) memory.bytes[i] = i * 31;
    const expected = memory.bytes.slice(0, 400);
    expected.set(expected.slice(from, from + length), to);
    memory.copy(to, from, length);
    assertEquals(memory.bytes.slice(0, 400), expected);
  };
  for (let length = 0; length <= 20; length++) {
    for (let to = 30; to <= 70; to++) check(to, 50, length);
  }
  fc.assert(fc.property(fc.nat(200), fc.nat(200), fc.nat(100), check));
});

Deno.test("fill clears exactly the range", () => {
  const memory = new FrameMemory(65_536);
  memory.bytes.fill(7, 0, 20);
  memory.fill(3, 10);
  assertEquals(Array.from(memory.bytes.subarray(0, 20)), [
    ...[7, 7, 7],
    ...new Array(10).fill(0),
    ...[7, 7, 7, 7, 7, 7, 7],
  ]);
});
