/** hyperkit's handshake and lengths, however the bytes are cut, against the gateway's own stream. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { HyperkitTransport } from "../../lib/host/hyperkit_transport.ts";
import type { FrameTransport } from "../../lib/host/frame_transport.ts";

const LINK = { guestMac: Uint8Array.of(2, 0x53, 0x4d, 0, 0, 2), mtu: 1500 };
const HELLO = Uint8Array.from({ length: 49 }, (_, i) => i < 5 ? "VMN3T".charCodeAt(i) : i);
const COMMAND = Uint8Array.from({ length: 41 }, (_, i) => i === 0 ? 1 : 0x61);

/** A VMM whose bytes come in pieces of given sizes, and which keeps what it is sent. */
class FakeVmm implements FrameTransport {
  readonly sent: number[] = [];
  isClosed = false;
  #at = 0;

  constructor(readonly bytes: Uint8Array, readonly pieces: number[] = []) {}

  read(into: Uint8Array): Promise<number | null> {
    if (this.#at === this.bytes.length) return Promise.resolve(null);
    const piece = this.pieces.shift() ?? this.bytes.length;
    const count = Math.min(piece, into.length, this.bytes.length - this.#at);
    into.set(this.bytes.subarray(this.#at, this.#at += count));
    return Promise.resolve(count);
  }

  write(bytes: Uint8Array): Promise<number> {
    const count = Math.max(1, bytes.length >> 1); // as a kernel may: not all at once
    this.sent.push(...bytes.subarray(0, count));
    return Promise.resolve(count);
  }

  close(): void {
    this.isClosed = true;
  }
}

function concat(...parts: (Uint8Array | number[])[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** A frame behind its length, in hyperkit's order of octets and in the gateway's. */
function short(frame: Uint8Array): number[] {
  return [frame.length & 0xff, frame.length >> 8, ...frame];
}
function long(frame: Uint8Array): number[] {
  return [0, 0, frame.length >> 8, frame.length & 0xff, ...frame];
}

async function readAll(transport: FrameTransport): Promise<number[]> {
  const all: number[] = [];
  const into = new Uint8Array(70_000);
  for (;;) {
    const count = await transport.read(into);
    if (count === null) return all;
    assert(count > 0);
    all.push(...into.subarray(0, count));
  }
}

const frames = fc.array(fc.uint8Array({ minLength: 0, maxLength: 80 }), { maxLength: 12 });
const pieces = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 40 });

Deno.test("hyperkit's frames come out as the stream's, however they are cut", async () => {
  await fc.assert(fc.asyncProperty(frames, pieces, async (list, cuts) => {
    const vmm = new FakeVmm(concat(HELLO, COMMAND, ...list.map(short)), [...cuts]);
    assertEquals(await readAll(new HyperkitTransport(vmm, LINK)), list.flatMap(long));
  }));
});

Deno.test("the stream's frames go out as hyperkit's, however they are cut", async () => {
  await fc.assert(fc.asyncProperty(frames, pieces, async (list, cuts) => {
    const vmm = new FakeVmm(concat(HELLO, COMMAND));
    const transport = new HyperkitTransport(vmm, LINK);
    const stream = Uint8Array.from(list.flatMap(long));
    for (let at = 0; at < stream.length;) {
      at += await transport.write(stream.subarray(at, at + (cuts.shift() ?? stream.length)));
    }
    if (stream.length === 0) await transport.write(stream);
    assertEquals(vmm.sent.slice(49 + 258), list.flatMap(short));
  }));
});

Deno.test("the longest frame passes both ways", async () => {
  const frame = new Uint8Array(65_535).fill(7);
  const vmm = new FakeVmm(concat(HELLO, COMMAND, short(frame)), [90, 1, 40_000]);
  const transport = new HyperkitTransport(vmm, LINK);
  const into = new Uint8Array(70_000);
  assertEquals(await transport.read(into), frame.length + 4);
  assertEquals(await transport.write(Uint8Array.from(long(frame))), frame.length + 4);
  assertEquals(vmm.sent.length, 49 + 258 + frame.length + 2);
});

Deno.test("the handshake: its own greeting back, then the link", async () => {
  const vmm = new FakeVmm(concat(HELLO, COMMAND), [3, 46, 41]);
  const transport = new HyperkitTransport(vmm, LINK);
  assertEquals(await transport.read(new Uint8Array(70_000)), null);
  assertEquals(vmm.sent.slice(0, 49), [...HELLO]);
  const answer = vmm.sent.slice(49);
  assertEquals(answer.length, 258);
  // 1: a link; the MTU 1,500, the longest frame 1,514, the MAC
  assertEquals(answer.slice(0, 11), [1, 0xdc, 0x05, 0xea, 0x05, 2, 0x53, 0x4d, 0, 0, 2]);
  assertEquals(new Set(answer.slice(11)), new Set([0]));
  transport.close();
  assert(vmm.isClosed);
});

for (
  const [name, bytes, why] of [
    [
      "another protocol",
      concat(new TextEncoder().encode("GET / HTTP/1.1"), new Uint8Array(80)),
      "does not begin with VMN3T",
    ],
    ["an unknown command", concat(HELLO, [9], COMMAND.subarray(1)), "asks for command 9"],
    ["an end in the greeting", HELLO.subarray(0, 20), "ended in the middle of its greeting"],
  ] as const
) {
  Deno.test(`a VMM that is none of hyperkit's: ${name}`, async () => {
    const transport = new HyperkitTransport(new FakeVmm(bytes), LINK);
    await assertRejects(() => transport.read(new Uint8Array(70_000)), Error, why);
    await assertRejects(() => transport.write(Uint8Array.of(0, 0, 0, 0)), Error, why);
  });
}
