/**
 * The one form of a name that a client gives in the clear, in a ClientHello or a Host header: as
 * `dns/name.ts` normalises it, so that names of rules, of lookups and of flows compare as texts.
 *
 * An address is no name, in none of the forms in which a resolver takes one (`127.1`, `0x7f000001`):
 * whatever ends in a number is read as an address (URL Standard, "ends in a number").
 *
 * @module
 */
import { normalizeName } from "../dns/name.ts";

/** A name, or why there is none. */
export interface HostName {
  readonly name: string | null;
  /** A clause; empty where there is a name. */
  readonly reason: string;
}

/**
 * Reads a host name.
 *
 * @param text What the client gave, one character an octet, without a port.
 * @param where What gave it, for the reason: `the Host header`.
 */
export function readHostName(text: string, where: string): HostName {
  if (text === "") return { name: null, reason: `${where} is empty` };
  const name = normalizeName(text);
  if (text.startsWith("[") || ADDRESS6.test(text) || (name !== null && ADDRESS4.test(name))) {
    return { name: null, reason: `${where} gives an address, not a name` };
  }
  if (name === null) return { name: null, reason: `${where} gives no valid host name` };
  return { name, reason: "" };
}

/** Only an address has two colons. */
const ADDRESS6 = /^[0-9a-fA-F.]*:[0-9a-fA-F.]*:[0-9a-fA-F:.]*$/;
const ADDRESS4 = /(^|\.)([0-9]+|0x[0-9a-f]*)$/;

/** Octets that become text in one go; one by one, a long text would take twenty times its length. */
const TEXT_PIECE = 1024;

/** Octets as text, one character each. */
export function octetText(octets: Uint8Array, from: number, to: number): string {
  let text = "";
  for (let at = from; at < to; at += TEXT_PIECE) {
    text += String.fromCharCode(...octets.subarray(at, Math.min(at + TEXT_PIECE, to)));
  }
  return text;
}
