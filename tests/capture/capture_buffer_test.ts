/** Where blocks wait: order, room, and what is lost. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { CaptureBuffer } from "../../lib/capture/capture_buffer.ts";

function put(buffer: CaptureBuffer, bytes: number, octet: number): boolean {
  const at = buffer.begin(bytes);
  if (at < 0) return false;
  buffer.bytes.fill(octet, at, at + bytes);
  buffer.end(bytes);
  return true;
}

Deno.test("capture buffer: what was taken stays while the other half is filled", () => {
  const buffer = new CaptureBuffer(8);
  put(buffer, 4, 1);
  const taken = buffer.take();
  put(buffer, 8, 2);
  assertEquals([...taken], [1, 1, 1, 1]);
  assertEquals([...buffer.take()], Array(8).fill(2));
  assertEquals(buffer.filledBytes, 0);
  assertEquals(buffer.take().length, 0);
});

Deno.test("capture buffer: what finds no room is counted up to the next that does", () => {
  const buffer = new CaptureBuffer(8);
  assertEquals([put(buffer, 6, 1), put(buffer, 3, 2), put(buffer, 9, 3)], [true, false, false]);
  assertEquals(buffer.lost, 2);
  assertEquals(buffer.push(new Uint8Array(3)), false);
  assertEquals(buffer.push(new Uint8Array(2)), true);
  assertEquals(buffer.lost, 2);
  buffer.take();
  assertEquals(put(buffer, 8, 4), true);
  assertEquals(buffer.lost, 0);
});

Deno.test("capture buffer: everything comes out in order, or was counted", () => {
  const step = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constant("take" as const));
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const buffer = new CaptureBuffer(16);
    const wanted: number[] = [];
    const got: number[] = [];
    steps.forEach((step, i) => {
      if (step === "take") got.push(...buffer.take());
      else if (put(buffer, step, i)) wanted.push(...Array(step).fill(i));
    });
    got.push(...buffer.take());
    assertEquals(got, wanted);
  }));
});
