/**
 * Changes that suit any bytes: bits, boundary values in 8, 16 and 32 bits, words of a dictionary,
 * pieces of other inputs, cuts; and changes of a list of records. Targets that know the structure
 * of their records mix these with their own.
 *
 * Limits: 64 records an input, 8 KiB a record that grows.
 *
 * @module
 */
import type { Input } from "./input.ts";
import type { Random } from "./random.ts";

/** Most records of an input that grows. */
export const RECORDS_MAX = 64;
/** Longest record that grows. */
export const RECORD_MAX_BYTES = 8192;

const BOUNDARIES8 = [0, 1, 2, 4, 5, 0x0f, 0x10, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xfe, 0xff];
const BOUNDARIES16 = [
  0,
  1,
  7,
  8,
  20,
  40,
  255,
  256,
  512,
  1280,
  1460,
  1500,
  0x7fff,
  0x8000,
  0xfffe,
  0xffff,
];
const BOUNDARIES32 = [
  0,
  1,
  0xffff,
  0x10000,
  0x7ffffffe,
  0x7fffffff,
  0x80000000,
  0x80000001,
  0xfffffffe,
  0xffffffff,
];

/** Octets as they are, or text. */
export type DictionaryWord = Uint8Array | string;

/** Makes inputs from inputs. */
export class Mutator {
  readonly random: Random;
  readonly #others: () => Input;

  /** `others` gives some other input of the corpus. */
  constructor(random: Random, others: () => Input) {
    this.random = random;
    this.#others = others;
  }

  /** Some other input. */
  other(): Input {
    return this.#others();
  }

  /** A number that breaks things: a boundary, or anything. */
  number(bits: 8 | 16 | 32): number {
    const { random } = this;
    if (random.once(3)) {
      return bits === 32 ? random.word() : random.below(2 ** bits);
    }
    const list = bits === 8 ? BOUNDARIES8 : bits === 16 ? BOUNDARIES16 : BOUNDARIES32;
    return random.pick(list);
  }

  /** A record changed in one to four places. */
  bytes(record: Uint8Array, dictionary: readonly DictionaryWord[] = []): Uint8Array {
    let out: Uint8Array = record.slice();
    for (let left = 1 + this.random.below(4); left > 0; left--) {
      out = this.#change(out, dictionary);
    }
    return out;
  }

  #change(record: Uint8Array, dictionary: readonly DictionaryWord[]): Uint8Array {
    const { random } = this;
    const at = random.below(record.length + 1);
    switch (random.below(dictionary.length > 0 ? 12 : 10)) {
      case 0:
        return this.#flip(record, at);
      case 1:
        return put(record, at, [this.number(8)]);
      case 2:
        return put(record, at, wordOctets(this.number(16), 2));
      case 3:
        return put(record, at, wordOctets(this.number(32), 4));
      case 4:
        return this.#add(record, at);
      case 5:
        return splice(record, at, random.below(9), new Uint8Array(0));
      case 6:
        return splice(
          record,
          at,
          0,
          Uint8Array.from({ length: random.below(9) }, () => random.word()),
        );
      case 7: {
        const from = random.below(record.length + 1);
        const piece = record.slice(from, from + 1 + random.below(32));
        return random.once(2) ? put(record, at, piece) : splice(record, at, 0, piece);
      }
      case 8:
        return record.slice(0, at);
      case 9: {
        const other = this.other();
        const piece = other.length === 0 ? record : random.pick(other);
        const from = random.below(piece.length + 1);
        const bytes = piece.slice(from, from + 1 + random.below(64));
        return random.once(2) ? put(record, at, bytes) : splice(record, at, random.below(9), bytes);
      }
      default: {
        const word = random.pick(dictionary);
        const bytes = typeof word === "string" ? new TextEncoder().encode(word) : word;
        return random.once(2) ? put(record, at, bytes) : splice(record, at, 0, bytes);
      }
    }
  }

  #flip(record: Uint8Array, at: number): Uint8Array {
    if (at < record.length) record[at]! ^= 1 << this.random.below(8);
    return record;
  }

  /** Adds a little to a number of one, two or four octets. */
  #add(record: Uint8Array, at: number): Uint8Array {
    const bytes = this.random.pick([1, 2, 4]);
    if (at + bytes > record.length) return record;
    let value = 0;
    for (let i = 0; i < bytes; i++) value = value * 256 + record[at + i]!;
    return put(record, at, wordOctets(value + this.random.below(17) - 8, bytes));
  }

  /** A list of records changed; `one` changes a record. */
  records(input: Input, one: (record: Uint8Array) => Uint8Array): Input {
    const { random } = this;
    if (input.length === 0) return this.other();
    const out = [...input];
    const at = random.below(out.length);
    switch (random.below(12)) {
      case 0:
        if (out.length > 1) {
          out.splice(at, 1 + random.below(Math.min(4, out.length - 1)));
        }
        break;
      case 1:
        for (let left = 1 + random.below(4); left > 0; left--) {
          out.splice(at, 0, out[at]!);
        }
        break;
      case 2: {
        const to = random.below(out.length);
        [out[at], out[to]] = [out[to]!, out[at]!];
        break;
      }
      case 3: {
        const other = this.other();
        out.splice(
          at,
          random.once(2) ? out.length : 0,
          ...other.slice(random.below(other.length + 1)),
        );
        break;
      }
      case 4: {
        const other = this.other();
        if (other.length > 0) out.splice(at, 0, random.pick(other));
        break;
      }
      default:
        for (let left = 1 + random.below(3); left > 0; left--) {
          const which = random.below(out.length);
          out[which] = limited(one(out[which]!), out[which]!.length);
        }
    }
    return out.slice(0, Math.max(RECORDS_MAX, input.length));
  }
}

/** A record may stay as long as it was, and not grow beyond the limit. */
function limited(record: Uint8Array, before: number): Uint8Array {
  return record.length > RECORD_MAX_BYTES
    ? record.slice(0, Math.max(before, RECORD_MAX_BYTES))
    : record;
}

/** The octets of a number in network order. */
export function wordOctets(value: number, bytes: number): Uint8Array {
  const out = new Uint8Array(bytes);
  for (
    let i = bytes - 1, left = value;
    i >= 0;
    i--, left = Math.floor(left / 256)
  ) out[i] = left;
  return out;
}

/** Writes over what is there, as far as it goes. */
export function put(record: Uint8Array, at: number, bytes: ArrayLike<number>): Uint8Array {
  for (let i = 0; i < bytes.length && at + i < record.length; i++) {
    record[at + i] = bytes[i]!;
  }
  return record;
}

/** Takes octets out and puts others in their place. */
export function splice(
  record: Uint8Array,
  at: number,
  remove: number,
  insert: Uint8Array,
): Uint8Array {
  const rest = record.subarray(Math.min(record.length, at + remove));
  const out = new Uint8Array(at + insert.length + rest.length);
  out.set(record.subarray(0, at));
  out.set(insert, at);
  out.set(rest, at + insert.length);
  return out;
}
