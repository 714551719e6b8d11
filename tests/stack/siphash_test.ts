import { assertEquals, assertNotEquals } from "@std/assert";
import { KeyedHash } from "../../lib/stack/siphash.ts";

/** The octets 0, 1, 2 … as little-endian words, whatever the order of the machine. */
function countingWords(count: number): Uint32Array {
  const octets = new DataView(new ArrayBuffer(4 * count));
  for (let i = 0; i < 4 * count; i++) octets.setUint8(i, i);
  return Uint32Array.from({ length: count }, (_, i) => octets.getUint32(4 * i, true));
}

function octetsOf(tag: number): string {
  const octets = [tag, tag >>> 8, tag >>> 16, tag >>> 24].map((word) => word & 0xff);
  return octets.map((octet) => octet.toString(16).padStart(2, "0")).join("");
}

/** Of the authors' vectors: key 00 01 … 0f, message 00 01 …, the tag's first four octets. */
const VECTORS: [octets: number, tag: string][] = [
  [0, "310e0edd"],
  [4, "b7877127"],
  [8, "6224939a"],
  [12, "fbe50e86"],
  [16, "db9bc257"],
  [20, "98eea21a"],
  [24, "94af49f6"],
  [28, "a5c91da7"],
  [32, "ce7cf272"],
  [36, "b4a31508"],
  [40, "d0a70453"],
  [44, "f21df2e4"],
  [48, "51a9cb9e"],
  [52, "b274cb8e"],
  [56, "bd838d3a"],
  [60, "e1915f5c"],
];

Deno.test("SipHash-2-4 gives the tags of the authors' vectors", () => {
  const hash = new KeyedHash(countingWords(4));
  const words = countingWords(16);
  for (const [octets, tag] of VECTORS) {
    assertEquals(octetsOf(hash.hash(words, octets / 4)), tag, `${octets} octets`);
  }
});

Deno.test("the key is copied, and each of its words counts", () => {
  const words = countingWords(3);
  const key = countingWords(4);
  const hash = new KeyedHash(key);
  const tag = hash.hash(words, 3);
  for (let i = 0; i < 4; i++) {
    key[i]! ^= 1;
    assertNotEquals(new KeyedHash(key).hash(words, 3), tag, `word ${i}`);
    key[i]! ^= 1;
  }
  key.fill(0);
  assertEquals(hash.hash(words, 3), tag);
});
