/**
 * Lists of domain names as DHCP and router advertisements carry them: RFC 1035 section 3.1 labels,
 * never compressed (RFC 8106 section 5.2, RFC 8415 section 10).
 *
 * Limits of RFC 1035: 63 octets a label, 255 a name. Names here are ASCII text without the final
 * dot. This is configuration, not the frame's way: it allocates.
 *
 * @module
 */

const MAX_LABEL_BYTES = 63;
const MAX_NAME_BYTES = 255;

/** The octets of the names, one behind the other; `null` where one is not a domain name. */
export function encodeDomainNames(names: readonly string[]): Uint8Array<ArrayBuffer> | null {
  const octets: number[] = [];
  for (const name of names) {
    const from = octets.length;
    for (const label of name.replace(/\.$/, "").split(".")) {
      if (label.length === 0 || label.length > MAX_LABEL_BYTES) return null;
      // Printable ASCII; what else a label may hold is the configuration's matter.
      if (!/^[\x21-\x7e]+$/.test(label)) return null;
      octets.push(label.length);
      for (let i = 0; i < label.length; i++) octets.push(label.charCodeAt(i));
    }
    octets.push(0);
    if (octets.length - from > MAX_NAME_BYTES) return null;
  }
  return Uint8Array.from(octets);
}

/**
 * The names between `at` and `end`, lower case. Zeros behind the last name are padding. `null`
 * where a label runs over the end or is a compression pointer, or a name is too long.
 */
export function decodeDomainNames(view: DataView, at: number, end: number): string[] | null {
  const names: string[] = [];
  while (at < end && view.getUint8(at) !== 0) {
    const from = at;
    let name = "";
    for (;;) {
      if (at >= end) return null;
      const bytes = view.getUint8(at++);
      if (bytes === 0) break;
      if (bytes > MAX_LABEL_BYTES || at + bytes > end) return null;
      if (at + bytes - from >= MAX_NAME_BYTES) return null;
      if (name !== "") name += ".";
      for (const last = at + bytes; at < last; at++) name += asciiOctet(view.getUint8(at));
    }
    names.push(name);
  }
  for (; at < end; at++) if (view.getUint8(at) !== 0) return null;
  return names;
}

/** Lower-case text; what is not a letter, digit or one of `-_` is escaped as in RFC 1035 5.1. */
function asciiOctet(octet: number): string {
  const character = String.fromCharCode(octet);
  if (/^[A-Za-z0-9_-]$/.test(character)) return character.toLowerCase();
  return `\\${octet.toString().padStart(3, "0")}`;
}
