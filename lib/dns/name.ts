/**
 * Names in messages and as text (RFC 1035 sections 3.1 and 4.1.4, with the bounds of RFC 9267).
 *
 * A label has at most 63 octets, a name at most 255 with its length octets and the root's, and a
 * compressed name at most 16 pointers, each of which leads to before the place where the part that
 * holds it began. So every name is read in bounded time, whatever the bytes are.
 *
 * Text is lower case without a trailing dot; the root is the empty string. Octets that would read
 * as something else are escaped as in zone files (`\.`, `\\`, `\007`), so that two names are
 * equal exactly when their texts are.
 *
 * @module
 */

/** Longest label. */
export const LABEL_MAX_BYTES = 63;

/** Longest name, with the length octets of its labels and the root's. */
export const NAME_MAX_BYTES = 255;

/** Most pointers in one name. */
export const NAME_MAX_JUMPS = 16;

/**
 * Where a name ends.
 *
 * @param message The message.
 * @param at Where the name begins.
 * @returns The offset behind the name as it stands at `at`, or -1 where it is malformed, also in
 * the part that a pointer leads to.
 */
export function nameEnd(message: Uint8Array, at: number): number {
  return walkName(message, at, null);
}

/**
 * Where a name ends that must stand in full.
 *
 * @param message The message.
 * @param at Where the name begins.
 * @returns The offset behind the name, or -1 where it is malformed or has a pointer in it.
 */
export function plainNameEnd(message: Uint8Array, at: number): number {
  const end = nameEnd(message, at);
  // A name without a pointer ends in the root's zero octet at the place where its labels lead.
  let labelAt = at;
  while (labelAt < end && message[labelAt] !== 0 && message[labelAt]! < 0xc0) {
    labelAt += message[labelAt]! + 1;
  }
  return labelAt + 1 === end && message[labelAt] === 0 ? end : -1;
}

/**
 * Reads a name as text.
 *
 * @param message The message.
 * @param at Where the name begins.
 * @returns The text, or `null` where the name is malformed.
 */
export function readName(message: Uint8Array, at: number): string | null {
  const labels: string[] = [];
  return walkName(message, at, labels) < 0 ? null : labels.join(".");
}

function walkName(message: Uint8Array, start: number, labels: string[] | null): number {
  let at = start;
  let partAt = start;
  let end = -1;
  let jumps = 0;
  let nameBytes = 1;
  while (at < message.length) {
    const length = message[at]!;
    if (length === 0) return end < 0 ? at + 1 : end;
    if (length >= 0xc0) {
      if (at + 2 > message.length || ++jumps > NAME_MAX_JUMPS) return -1;
      const target = ((length & 0x3f) << 8) | message[at + 1]!;
      if (target >= partAt) return -1;
      if (end < 0) end = at + 2;
      at = partAt = target;
      continue;
    }
    nameBytes += length + 1;
    if (length > LABEL_MAX_BYTES || nameBytes > NAME_MAX_BYTES) return -1;
    if (at + 1 + length > message.length) return -1;
    labels?.push(labelText(message, at + 1, length));
    at += length + 1;
  }
  return -1;
}

/**
 * A label as text.
 *
 * @param message The message.
 * @param at Where its octets begin, behind the length octet.
 * @param length How many there are.
 */
export function labelText(message: Uint8Array, at: number, length: number): string {
  let text = "";
  for (let i = at; i < at + length; i++) text += OCTET_TEXTS[message[i]!]!;
  return text;
}

const DOT = 0x2e;
const BACKSLASH = 0x5c;

/** Each octet as it stands in a text. A table, since an answer can be made of long names alone. */
const OCTET_TEXTS: readonly string[] = Array.from({ length: 256 }, (_, octet) => {
  if (octet === DOT || octet === BACKSLASH) return "\\" + String.fromCharCode(octet);
  if (octet > 0x20 && octet < 0x7f) return String.fromCharCode(lower(octet));
  return "\\" + String(octet).padStart(3, "0");
});

/** The octet in lower case, where it is an ASCII letter (RFC 4343). */
export function lower(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet;
}

/**
 * A name's octets, in full.
 *
 * @param text The name as {@linkcode readName} gives it.
 * @returns The octets with length octets and the root's, or `null` where a label is empty or too
 * long, or the name is.
 */
export function nameOctets(text: string): Uint8Array | null {
  if (text === "") return new Uint8Array(1);
  const octets = new Uint8Array(NAME_MAX_BYTES);
  let labelAt = 0;
  let at = 1;
  for (let i = 0; i <= text.length; i++) {
    let octet = i === text.length ? DOT : text.charCodeAt(i);
    if (octet === DOT) {
      const length = at - labelAt - 1;
      if (length === 0 || length > LABEL_MAX_BYTES) return null;
      octets[labelAt] = length;
      labelAt = at++;
      continue;
    }
    if (octet === BACKSLASH) {
      octet = text.charCodeAt(++i);
      if (isDigit(octet)) {
        octet = decimal(text, i);
        i += 2;
      }
    }
    if (at >= NAME_MAX_BYTES || !(octet < 0x100)) return null;
    octets[at++] = octet;
  }
  return at > NAME_MAX_BYTES ? null : octets.slice(0, at);
}

function isDigit(char: number): boolean {
  return char >= 0x30 && char <= 0x39;
}

/** The number in three digits, or NaN. */
function decimal(text: string, at: number): number {
  let value = 0;
  for (let i = at; i < at + 3; i++) {
    const char = text.charCodeAt(i);
    value = isDigit(char) ? 10 * value + char - 0x30 : NaN;
  }
  return value;
}

/**
 * A number for a name: the same for each spelling and compression of it. Two names may have the
 * same one; to compare the numbers first is what keeps an answer of long names cheap.
 *
 * @param message The message.
 * @param start Where the name begins, which is well-formed.
 */
export function nameHash(message: Uint8Array, start: number): number {
  let hash = FNV_OFFSET;
  let at = start;
  for (let length = message[at]!; length !== 0; length = message[at]!) {
    if (length >= 0xc0) {
      at = ((length & 0x3f) << 8) | message[at + 1]!;
      continue;
    }
    // The length octet is below 64, and so no letter.
    for (const end = at + 1 + length; at < end; at++) {
      hash = Math.imul(hash ^ lower(message[at]!), FNV_PRIME);
    }
  }
  return hash >>> 0;
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/**
 * The name above a name.
 *
 * @param name The name as {@linkcode readName} gives it.
 * @returns The name without its first label, or `null` for the root.
 */
export function parentName(name: string): string | null {
  if (name === "") return null;
  for (let at = 0; at < name.length; at++) {
    const char = name.charCodeAt(at);
    if (char === DOT) return name.slice(at + 1);
    // An escaped dot is part of its label.
    if (char === BACKSLASH) at++;
  }
  return "";
}

/**
 * The one text form of a host name from a configuration: lower case, without the trailing dot.
 *
 * @param text A name of letters, digits, hyphens and underscores in labels.
 * @returns Its text as {@linkcode readName} gives it, or `null` where it is no such name.
 */
export function normalizeName(text: string): string | null {
  const name = (text.endsWith(".") ? text.slice(0, -1) : text).toLowerCase();
  // One length octet in front of each label stands for each dot and the front; one for the root.
  if (name.length + 2 > NAME_MAX_BYTES) return null;
  return name.split(".").every((label) => LABEL.test(label)) ? name : null;
}

const LABEL = /^[a-z0-9_-]{1,63}$/;

/**
 * The one text form of a name that has records: a host name, or `*.` and a host name for all names
 * below it that do not exist themselves (RFC 4592).
 *
 * @param text The name as somebody wrote it.
 * @returns Its text, or `null` where it is no such name.
 */
export function normalizeOwner(text: string): string | null {
  if (!text.startsWith("*.")) return normalizeName(text);
  const above = normalizeName(text.slice(2));
  return above === null || above.length + 4 > NAME_MAX_BYTES ? null : `*.${above}`;
}
