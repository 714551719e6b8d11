import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  DnsStream,
  frameMessage,
  STREAM_BUFFER_BYTES,
  STREAM_MAX_OUTSTANDING,
} from "../../lib/dns/stream.ts";

Deno.test("DnsStream gives the same messages however the bytes are split", () => {
  const messages = fc.array(fc.uint8Array({ minLength: 12, maxLength: 3_000 }), { maxLength: 12 });
  fc.assert(fc.property(messages, fc.array(fc.integer({ min: 1, max: 999 })), (sent, sizes) => {
    const bytes = Uint8Array.from(sent.flatMap((message) => [...frameMessage(message)]));
    const stream = new DnsStream();
    const got: number[][] = [];
    let at = 0;
    for (let i = 0; at < bytes.length; i++) {
      const size = sizes.length === 0 ? bytes.length : sizes[i % sizes.length]!;
      stream.push(bytes.subarray(at, at + size));
      at += size;
      for (let message = stream.next(); message !== null; message = stream.next()) {
        got.push([...message]);
      }
    }
    assertEquals(got, sent.map((message) => [...message]));
    assertEquals(stream.outstanding, sent.length);
    assertFalse(stream.failed);
  }));
});

Deno.test("DnsStream holds questions back while too many are outstanding", () => {
  const stream = new DnsStream();
  const framed = frameMessage(new Uint8Array(12));
  for (let i = 0; i < STREAM_MAX_OUTSTANDING + 2; i++) stream.push(framed);
  for (let i = 0; i < STREAM_MAX_OUTSTANDING; i++) assert(stream.next() !== null);
  assertEquals(stream.next(), null);
  assertEquals(stream.roomBytes, STREAM_BUFFER_BYTES - 2 * framed.length);
  assertEquals(stream.frame(new Uint8Array(3)), Uint8Array.from([0, 3, 0, 0, 0]));
  assert(stream.next() !== null);
  assertEquals(stream.next(), null);
  stream.drop();
  assert(stream.next() !== null);
});

Deno.test("DnsStream takes the longest message, and no byte more than it has room for", () => {
  const stream = new DnsStream();
  stream.push(frameMessage(new Uint8Array(65_535)));
  assertEquals(stream.roomBytes, 0);
  stream.push(new Uint8Array(0));
  assertFalse(stream.failed);
  assertEquals(stream.next()?.length, 65_535);
  assertEquals(stream.roomBytes, STREAM_BUFFER_BYTES);
  stream.push(new Uint8Array(STREAM_BUFFER_BYTES + 1));
  assert(stream.failed);
  assertEquals([stream.next(), stream.roomBytes], [null, 0]);
});

Deno.test("DnsStream fails at a length that no question has", () => {
  for (const length of [0, 1, 11]) {
    const stream = new DnsStream();
    stream.push(frameMessage(new Uint8Array(length)));
    assertEquals(stream.next(), null);
    assert(stream.failed);
    stream.push(frameMessage(new Uint8Array(12)));
    assertEquals(stream.next(), null);
  }
});

Deno.test("DnsStream takes no length above the longest question's, and no byte more than one of those", () => {
  const stream = new DnsStream(100);
  assertEquals([stream.roomBytes, stream.heldBytes], [102, 0]);
  stream.push(frameMessage(new Uint8Array(100)));
  assertEquals([stream.roomBytes, stream.heldBytes], [0, 102]);
  assertEquals(stream.next()?.length, 100);
  assertEquals([stream.roomBytes, stream.heldBytes], [102, 0]);
  // The length alone is enough, whether the rest comes or not.
  stream.push(Uint8Array.of(0, 101));
  assertEquals(stream.next(), null);
  assert(stream.failed);
});

Deno.test("DnsStream settles no question that is not outstanding", () => {
  assertThrows(() => new DnsStream().drop(), RangeError);
});
