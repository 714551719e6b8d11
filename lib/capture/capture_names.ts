/**
 * Which names lead to which addresses, as a capture tells its reader: out of the answers that pass
 * to the guest in a datagram from port 53, whole and not cut.
 *
 * A name is told once in a file; all that are known are told again at the start of the next one.
 * What an answer calls an address by is the name that was asked for, not the aliases behind it.
 * Answers over TCP, or in fragments, are not read. Limits: `NAMES_MAX` names and `NAMES_MAX_BYTES` of
 * their blocks, the oldest go.
 *
 * @module
 */
import { answerChain } from "../dns/answer_chain.ts";
import { Flag, flagsOf, HEADER_BYTES, questionCount } from "../dns/message.ts";
import { readName } from "../dns/name.ts";
import { BLOCK_NAMES_MAX, joinBlocks, type NamedAddress, namesBlock } from "./pcapng.ts";

/** Most names that are known. */
export const NAMES_MAX = 1_024;

/** Most bytes of their blocks. */
export const NAMES_MAX_BYTES: number = 128 * 1024;

/** The names of one capture. */
export class CaptureNames {
  /** By address and name, the oldest first. */
  readonly #known = new Map<string, { readonly named: NamedAddress; readonly bytes: number }>();
  #bytes = 0;

  /** Those of some names that are not known yet; they are from here on. */
  learn(names: readonly NamedAddress[]): NamedAddress[] {
    return names.filter((named) => {
      const key = `${named.address.join(".")} ${named.name}`;
      if (this.#known.has(key)) return false;
      const bytes = namesBlock([named]).length;
      this.#known.set(key, { named, bytes });
      this.#bytes += bytes;
      this.#forgetOldest();
      return true;
    });
  }

  #forgetOldest(): void {
    for (const [key, { bytes }] of this.#known) {
      if (this.#known.size <= NAMES_MAX && this.#bytes <= NAMES_MAX_BYTES) return;
      this.#known.delete(key);
      this.#bytes -= bytes;
    }
  }

  /** Blocks of all names that are known; empty where there are none. */
  blocks(): Uint8Array {
    const names = [...this.#known.values()].map(({ named }) => named);
    const blocks: Uint8Array[] = [];
    for (let at = 0; at < names.length; at += BLOCK_NAMES_MAX) {
      blocks.push(namesBlock(names.slice(at, at + BLOCK_NAMES_MAX)));
    }
    return joinBlocks(blocks);
  }
}

/**
 * The names of an answer.
 *
 * @param message A DNS message.
 * @returns The name that was asked for with each address that it leads to; none where the message is
 * no answer, or malformed.
 */
export function answerNames(message: Uint8Array): NamedAddress[] {
  const name = askedName(message);
  if (name === null || name === "") return [];
  const addresses = answerChain(message, { name })?.addresses ?? [];
  return addresses.map(({ address }) => ({ address, name }));
}

/** The name that an answer is about; `null` where the message is none. */
export function askedName(message: Uint8Array): string | null {
  if (message.length < HEADER_BYTES || (flagsOf(message) & Flag.response) === 0) return null;
  return questionCount(message) === 1 ? readName(message, HEADER_BYTES) : null;
}
