/**
 * The bytes of a stream, made from its key and their place, so that a byte that is lost, repeated,
 * changed or of another stream shows at once.
 *
 * @module
 */

/** Writes the bytes of stream `key` that begin at `offset`. */
export function fillPattern(key: number, offset: number, into: Uint8Array): void {
  for (let i = 0; i < into.length;) {
    const at = offset + i;
    const word = wordAt(key, Math.floor(at / 4));
    for (let octet = at & 3; octet < 4 && i < into.length; octet++, i++) {
      into[i] = word >>> (8 * octet);
    }
  }
}

/** The bytes of stream `key` from `offset` on. */
export function patternBytes(key: number, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  fillPattern(key, offset, bytes);
  return bytes;
}

/** The index of the first byte that is not of stream `key` at `offset`; -1 where all are. */
export function findForeign(key: number, offset: number, bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length;) {
    const at = offset + i;
    const word = wordAt(key, Math.floor(at / 4));
    for (let octet = at & 3; octet < 4 && i < bytes.length; octet++, i++) {
      if (bytes[i] !== ((word >>> (8 * octet)) & 0xff)) return i;
    }
  }
  return -1;
}

function wordAt(key: number, index: number): number {
  let x = (key + Math.imul(index, 0x9e37_79b9)) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85eb_ca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2_ae35);
  return x ^ (x >>> 16);
}
