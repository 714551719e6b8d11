import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  checksumOf,
  combineSums,
  copySumBytes,
  fold,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  sumBytes,
  swapSum,
  transportSum4,
  transportSum6,
} from "../../lib/wire/checksum.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { dirtyMemory, hex, memoryWith, naiveSum } from "./guarded_view.ts";

Deno.test("the example of RFC 1071 section 3", () => {
  const octets = hex("0001 f203 f4f5 f6f7");
  assertEquals(sumBytes(new DataView(octets.buffer), 0, 8), 0xddf2);
  assertEquals(memoryWith(octets, 3).sum(3, 8), 0xddf2);
  assertEquals(checksumOf(0xddf2), 0x220d);
});

Deno.test("folding is the remainder by 0xffff, with 0 kept for 0", () => {
  assertEquals(fold(0), 0);
  assertEquals(fold(0xffff), 0xffff);
  assertEquals(fold(0xffff_ffff), 0xffff);
  fc.assert(fc.property(fc.integer({ min: 1, max: 0xffff_ffff }), (sum) => {
    assertEquals(fold(sum), sum % 0xffff === 0 ? 0xffff : sum % 0xffff);
  }));
});

Deno.test("sums of parts add up, an odd part swaps what follows it", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 200 }), (a, b) => {
      const whole = new Uint8Array([...a, ...b]);
      const second = a.length % 2 === 0 ? naiveSum(b) : swapSum(naiveSum(b));
      assertEquals(combineSums(naiveSum(a), second), naiveSum(whole));
    }),
  );
});

Deno.test("the pseudo-headers are summed as if they stood in memory", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 32, maxLength: 32 }),
    fc.nat(255),
    fc.nat(0xffff),
    (addresses, protocol, length) => {
      const memory = memoryWith(addresses, 7);
      const low = [length >> 8, length & 0xff];
      const four = new Uint8Array([
        ...addresses.subarray(0, 4),
        ...addresses.subarray(9, 13),
        0,
        protocol,
        ...low,
      ]);
      assertEquals(pseudoHeaderSum4(memory.view, 7, 16, protocol, length), naiveSum(four));
      const six = new Uint8Array([...addresses, 0, 0, ...low, 0, 0, 0, protocol]);
      assertEquals(pseudoHeaderSum6(memory.view, 7, 23, protocol, length), naiveSum(six));
    },
  ));
});

Deno.test("a segment with its checksum in place sums to 0xffff, with any bit flipped it does not", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 8, maxLength: 100 }),
    fc.nat(),
    fc.boolean(),
    (segment, bit, six) => {
      const memory = dirtyMemory();
      memory.bytes.set(segment, 64);
      memory.view.setUint16(70, 0);
      const sum = six ? transportSum6 : transportSum4;
      memory.view.setUint16(70, checksumOf(sum(memory, 0, 16, 17, 64, segment.length)));
      assertEquals(sum(memory, 0, 16, 17, 64, segment.length), 0xffff);
      const flip = bit % (segment.length * 8);
      memory.bytes[64 + (flip >> 3)]! ^= 1 << (flip & 7);
      assertEquals(sum(memory, 0, 16, 17, 64, segment.length) === 0xffff, false);
    },
  ));
});

function pair(): [FrameMemory, FrameMemory] {
  const kernel = new FrameMemory(256 * 1024);
  const plain = new FrameMemory(256 * 1024, { wasm: false });
  assertEquals([kernel.accelerated, plain.accelerated], [true, false]);
  return [kernel, plain];
}

function scramble(memory: FrameMemory): void {
  let state = 1;
  for (let i = 0; i < memory.sizeBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    memory.bytes[i] = state >>> 24;
  }
}

Deno.test("kernel, JavaScript and definition agree for every length to 300 at every alignment", () => {
  const [kernel, plain] = pair();
  scramble(kernel);
  scramble(plain);
  for (let at = 100; at < 116; at++) {
    for (let length = 0; length <= 300; length++) {
      const expected = naiveSum(plain.bytes.subarray(at, at + length));
      if (kernel.sum(at, length) !== expected || plain.sum(at, length) !== expected) {
        throw new Error(`sum(${at}, ${length}) differs`);
      }
    }
  }
});

Deno.test("copies with a sum move exactly the range, for every length to 300 at every alignment", () => {
  const [kernel, plain] = pair();
  const source = 1_000;
  for (const memory of [kernel, plain]) {
    scramble(memory);
    for (let length = 0; length <= 300; length++) {
      for (let shift = 0; shift < 16; shift++) {
        const from = source + shift;
        const to = 3_000 + ((shift * 7) & 15);
        memory.bytes.fill(0x5a, 2_980, 3_400);
        const sum = memory.copySum(to, from, length);
        const copied = memory.bytes.subarray(to, to + length);
        const around = memory.bytes[to - 1] === 0x5a && memory.bytes[to + length] === 0x5a;
        const same = copied.every((octet, i) => octet === memory.bytes[from + i]);
        if (sum !== naiveSum(copied) || !around || !same) {
          throw new Error(`copySum(${to}, ${from}, ${length})`);
        }
      }
    }
  }
});

Deno.test("the longest packets, all ones and all zeros sum alike everywhere", () => {
  const [kernel, plain] = pair();
  for (const octet of [0x00, 0xff, 0x80, 0x01]) {
    for (const memory of [kernel, plain]) {
      memory.bytes.fill(octet);
      for (const length of [65_520, 65_534, 65_535, 131_072]) {
        const expected = naiveSum(memory.bytes.subarray(9, 9 + length));
        assertEquals(memory.sum(9, length), expected);
        assertEquals(
          memory.copySum(131_072 + 20, 9, Math.min(length, 65_535)),
          naiveSum(memory.bytes.subarray(9, 9 + Math.min(length, 65_535))),
        );
      }
    }
  }
});

Deno.test("ranges longer than one kernel call take are summed in pieces", () => {
  for (const wasm of [true, false]) {
    const memory = new FrameMemory(2 * 1024 * 1024, { wasm });
    for (const octet of [0xff, 0x37]) {
      memory.bytes.fill(octet, 0, 900_001);
      const expected = naiveSum(memory.bytes.subarray(0, 900_001));
      assertEquals(memory.sum(0, 900_001), expected);
      assertEquals(memory.copySum(1_000_000, 0, 900_001), expected);
      assertEquals(memory.bytes[1_900_000], octet);
    }
  }
});

Deno.test("a range that leaves the memory throws and does not wrap", () => {
  for (const memory of pair()) {
    const { sizeBytes } = memory;
    for (
      const act of [
        () => memory.sum(sizeBytes - 10, 11),
        () => memory.sum(sizeBytes - 100, 164),
        () => memory.copySum(0, sizeBytes - 10, 11),
        () => memory.copySum(sizeBytes - 10, 0, 11),
        () => memory.copySum(sizeBytes - 10, 0, 80),
      ]
    ) {
      let thrown = false;
      try {
        act();
      } catch {
        thrown = true;
      }
      assertEquals(thrown, true);
    }
    memory.sum(sizeBytes - 10, 10);
  }
});

Deno.test("random ranges and copies agree between kernel and JavaScript", () => {
  const [kernel, plain] = pair();
  scramble(kernel);
  scramble(plain);
  fc.assert(fc.property(fc.nat(60_000), fc.nat(65_535), fc.nat(1_000), (from, length, gap) => {
    const to = 60_000 + 65_535 + gap;
    assertEquals(kernel.sum(from, length), plain.sum(from, length));
    assertEquals(kernel.copySum(to, from, length), copySumBytes(plain.view, to, from, length));
    assertEquals(kernel.sum(to - 3, length), sumBytes(plain.view, to - 3, length));
  }));
});
