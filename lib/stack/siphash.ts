/**
 * SipHash-2-4 (Aumasson and Bernstein, 2012) over 32-bit words, on 32-bit arithmetic.
 *
 * A keyed hash that nobody predicts without the key: for initial sequence numbers (RFC 6528) and
 * for hash tables whose keys a guest chooses. The result is the low half of the 64-bit tag.
 *
 * Words count as little-endian, so four octets at a time. Not for messages of other lengths.
 *
 * @module
 */
import { assert } from "@std/assert";

const ROUNDS = 2;
const FINAL_ROUNDS = 4;

/** SipHash-2-4 with one key. */
export class KeyedHash {
  readonly #key: Uint32Array;

  /** `key` is 128 random bits: four words, copied. */
  constructor(key: Uint32Array) {
    assert(key.length === 4, "the key has four words");
    this.#key = key.slice();
  }

  /** The hash of the first `count` words, as an unsigned number of 32 bits. */
  hash(words: Uint32Array, count: number): number {
    const key = this.#key;
    // Each 64-bit variable as two halves: l for the low one, h for the high one.
    let l0 = key[0]! ^ 0x70736575, h0 = key[1]! ^ 0x736f6d65;
    let l1 = key[2]! ^ 0x6e646f6d, h1 = key[3]! ^ 0x646f7261;
    let l2 = key[0]! ^ 0x6e657261, h2 = key[1]! ^ 0x6c796765;
    let l3 = key[2]! ^ 0x79746573, h3 = key[3]! ^ 0x74656462;
    const blocks = (count >> 1) + 1;
    for (let block = 0; block <= blocks; block++) {
      let ml = 0;
      let mh = 0;
      let rounds = ROUNDS;
      if (block === blocks) {
        l2 ^= 0xff;
        rounds = FINAL_ROUNDS;
      } else {
        const i = 2 * block;
        ml = i < count ? words[i]! : 0;
        // The last block ends with the length in octets.
        mh = i + 1 < count ? words[i + 1]! : (count << 26);
      }
      l3 ^= ml;
      h3 ^= mh;
      for (let round = 0; round < rounds; round++) {
        let l = (l0 + l1) | 0;
        let h = (h0 + h1 + (l >>> 0 < l1 >>> 0 ? 1 : 0)) | 0;
        let t = (l1 << 13) | (h1 >>> 19);
        h1 = ((h1 << 13) | (l1 >>> 19)) ^ h;
        l1 = t ^ l;
        l0 = h;
        h0 = l;
        l2 = (l2 + l3) | 0;
        h2 = (h2 + h3 + (l2 >>> 0 < l3 >>> 0 ? 1 : 0)) | 0;
        t = (l3 << 16) | (h3 >>> 16);
        h3 = ((h3 << 16) | (l3 >>> 16)) ^ h2;
        l3 = t ^ l2;
        l0 = (l0 + l3) | 0;
        h0 = (h0 + h3 + (l0 >>> 0 < l3 >>> 0 ? 1 : 0)) | 0;
        t = (l3 << 21) | (h3 >>> 11);
        h3 = ((h3 << 21) | (l3 >>> 11)) ^ h0;
        l3 = t ^ l0;
        l = (l2 + l1) | 0;
        h = (h2 + h1 + (l >>> 0 < l1 >>> 0 ? 1 : 0)) | 0;
        t = (l1 << 17) | (h1 >>> 15);
        h1 = ((h1 << 17) | (l1 >>> 15)) ^ h;
        l1 = t ^ l;
        l2 = h;
        h2 = l;
      }
      l0 ^= ml;
      h0 ^= mh;
    }
    return (l0 ^ l1 ^ l2 ^ l3) >>> 0;
  }
}
