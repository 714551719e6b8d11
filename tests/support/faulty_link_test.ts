import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { FaultDice, type FaultSpec, joinFaulty, type LinkEnd } from "./faulty_link.ts";

/** An end whose peer sends the given chunks, then closes or stays silent; it takes short writes. */
class ScriptedEnd implements LinkEnd {
  readonly received: number[] = [];
  readonly firstByteAtMs: number[] = [];
  closed = false;
  readonly #chunks: Uint8Array[];
  readonly #thenCloses: boolean;
  #stop: (() => void) | null = null;

  constructor(chunks: Uint8Array[], thenCloses: boolean) {
    this.#chunks = [...chunks];
    this.#thenCloses = thenCloses;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const chunk = this.#chunks.shift();
    if (chunk !== undefined) {
      const count = Math.min(chunk.length, into.length);
      into.set(chunk.subarray(0, count));
      if (count < chunk.length) this.#chunks.unshift(chunk.subarray(count));
      return count;
    }
    if (!this.#thenCloses && !this.closed) await new Promise<void>((stop) => this.#stop = stop);
    return null;
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.closed) return Promise.reject(new Deno.errors.BrokenPipe("closed"));
    this.firstByteAtMs.push(performance.now());
    const count = Math.min(bytes.length, 1000);
    for (const byte of bytes.subarray(0, count)) this.received.push(byte);
    return Promise.resolve(count);
  }

  close(): void {
    this.closed = true;
    this.#stop?.();
  }
}

function frame(number: number, bytes = 60): Uint8Array {
  const framed = new Uint8Array(4 + bytes);
  const view = new DataView(framed.buffer);
  view.setUint32(0, bytes);
  for (let i = 4; i < framed.length; i++) framed[i] = (number * 7 + i) & 0xff;
  view.setUint32(framed.length - 4, number);
  return framed;
}

function frames(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => frame(i));
}

function join(parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Cuts a received byte string of equal frames into the numbers at their tails. */
function numbersOf(received: number[], bytes = 60): number[] {
  assertEquals(received.length % (4 + bytes), 0, "whole frames only");
  const view = new DataView(Uint8Array.from(received).buffer);
  const numbers = [];
  for (let at = 4 + bytes; at <= received.length; at += 4 + bytes) {
    numbers.push(view.getUint32(at - 4));
  }
  return numbers;
}

async function carryUp(chunks: Uint8Array[], spec: FaultSpec) {
  const guest = new ScriptedEnd(chunks, true);
  const gateway = new ScriptedEnd([], false);
  const link = joinFaulty(guest, gateway, spec);
  const ended = await link.done;
  assert(guest.closed && gateway.closed, "both ends are closed");
  return { received: gateway.received, counts: link.toGateway, ended, gateway };
}

Deno.test("a perfect link carries every byte, however the frames are split", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 14, max: 3000 }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 700 }),
      async (sizes, step) => {
        const sent = join(sizes.map((size, i) => frame(i, size)));
        const chunks = [];
        for (let at = 0; at < sent.length; at += step) chunks.push(sent.slice(at, at + step));
        const { received, counts } = await carryUp(chunks, {});
        assertEquals(received, [...sent]);
        assertEquals(counts.frames, sizes.length);
      },
    ),
    { numRuns: 40 },
  );
});

Deno.test("frames of the gateway reach the guest", async () => {
  const guest = new ScriptedEnd([], false);
  const link = joinFaulty(guest, new ScriptedEnd(frames(5), true), {});
  assertEquals(await link.done, "the gateway closed");
  assertEquals(numbersOf(guest.received), [0, 1, 2, 3, 4]);
  assertEquals([link.toGuest.frames, link.toGateway.frames], [5, 0]);
});

Deno.test("one seed gives the same fates whatever the split, another seed others", async () => {
  const spec = { lossPercent: 20, duplicatePercent: 10, seed: 7 };
  const whole = await carryUp([join(frames(200))], spec);
  const split = await carryUp(frames(200), spec);
  const other = await carryUp(frames(200), { ...spec, seed: 8 });
  assertEquals(split.received, whole.received);
  assertNotEquals(other.received, whole.received);
});

Deno.test("the directions do not share their dice", () => {
  const spec = { lossPercent: 50, seed: 3 };
  const up = new FaultDice(spec, "toGateway");
  const down = new FaultDice(spec, "toGuest");
  const fates = (dice: FaultDice) => Array.from({ length: 64 }, () => dice.next(60).lost);
  assertNotEquals(fates(up), fates(down));
});

Deno.test("the rates are those asked for, within a fifth", () => {
  const spec = { lossPercent: 3, duplicatePercent: 1, reorderPercent: 5, flipPercent: 0.5 };
  const dice = new FaultDice(spec, "toGateway");
  const count = 200_000;
  const seen = { lost: 0, duplicated: 0, reordered: 0, flipped: 0 };
  for (let i = 0; i < count; i++) {
    const fate = dice.next(1514);
    seen.lost += Number(fate.lost);
    seen.duplicated += Number(fate.duplicated);
    seen.reordered += Number(fate.reordered);
    seen.flipped += Number(fate.flippedBit >= 0);
  }
  const near = (actual: number, percent: number) =>
    assert(Math.abs(actual / count * 100 - percent) < percent / 5, `${actual} for ${percent} %`);
  near(seen.lost, 3);
  near(seen.duplicated, 1);
  near(seen.reordered, 5);
  near(seen.flipped, 0.5);
});

Deno.test("a flip turns one bit, behind the Ethernet header", async () => {
  const sent = frames(300);
  const { received, counts } = await carryUp(sent, { flipPercent: 100 });
  assertEquals(counts.flipped, 300);
  sent.forEach((original, n) => {
    const got = received.slice(n * 64, n * 64 + 64);
    assertEquals(got.slice(0, 18), [...original.subarray(0, 18)], "prefix and header are whole");
    const turned = got.map((byte, i) => byte ^ original[i]!).filter((bits) => bits !== 0);
    assertEquals(turned.length, 1);
    assertEquals(turned[0]! & (turned[0]! - 1), 0, "a single bit");
  });
});

Deno.test("a frame without payload has no bit to turn", async () => {
  const { received, counts } = await carryUp([frame(1, 14)], { flipPercent: 100 });
  assertEquals(received, [...frame(1, 14)]);
  assertEquals(counts.flipped, 0);
});

Deno.test("loss takes frames out, duplicates add them, the rest keeps its order", async () => {
  const { received, counts } = await carryUp(frames(400), {
    lossPercent: 10,
    duplicatePercent: 10,
  });
  const numbers = numbersOf(received);
  assert(counts.lost > 0 && counts.duplicated > 0);
  assertEquals(numbers.length, 400 - counts.lost + counts.duplicated);
  assertEquals(numbers, numbers.toSorted((a, b) => a - b));
  assertEquals(new Set(numbers).size, 400 - counts.lost);
});

Deno.test("reordering loses nothing and lets later frames overtake", async () => {
  const { received, counts } = await carryUp(frames(400), { reorderPercent: 10 });
  const numbers = numbersOf(received);
  assert(counts.reordered > 0);
  assertNotEquals(numbers, numbers.toSorted((a, b) => a - b));
  assertEquals(numbers.toSorted((a, b) => a - b), Array.from({ length: 400 }, (_, i) => i));
});

Deno.test("every frame is delayed", async () => {
  const startMs = performance.now();
  const { gateway } = await carryUp(frames(3), { delayMs: 30 });
  assertEquals(numbersOf(gateway.received), [0, 1, 2]);
  assert(gateway.firstByteAtMs[0]! - startMs >= 29, "not before its time");
});

for (const length of [0, 13, 65_551, 0xffffffff]) {
  Deno.test(`a length of ${length} ends the link, after the frames before it`, async () => {
    const bad = new Uint8Array(100);
    new DataView(bad.buffer).setUint32(0, length);
    const { received, ended } = await carryUp([frame(1), bad], {});
    assertEquals(numbersOf(received), [1]);
    assertStringIncludes(ended, `the guest sent a frame of ${length} bytes`);
  });
}

Deno.test("half a frame at the end is not passed on", async () => {
  const { received, ended } = await carryUp([frame(1), frame(2).subarray(0, 30)], {});
  assertEquals(numbersOf(received), [1]);
  assertEquals(ended, "the guest closed");
});

Deno.test("when the receiving end fails, the link ends and the sender is closed", async () => {
  const guest = new ScriptedEnd(frames(10), false);
  const gateway = new ScriptedEnd([], false);
  gateway.write = () => Promise.reject(new Deno.errors.BrokenPipe("gone"));
  await joinFaulty(guest, gateway, {}).done;
  assert(guest.closed && gateway.closed);
});
