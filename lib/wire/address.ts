/**
 * Text and bytes of the addresses that this project handles: IPv4, IPv6 and MAC.
 *
 * Bytes are the truth: whatever is compared, judged or dialled is a `Uint8Array` of 4 or 16
 * octets (6 for a MAC) in network order, and the text made from it is the one canonical form
 * (dotted decimal; RFC 5952 for IPv6), so that two spellings of an address never differ here.
 * Parsing is strict: no octal, no short forms, no zone, no surrounding space.
 *
 * @module
 */

/** Reads strict dotted-decimal IPv4 or RFC 4291 IPv6 text; `null` for anything else. */
export function parseIp(text: string): Uint8Array | null {
  return text.includes(":") ? parseIp6(text) : parseIp4(text);
}

/** Reads strict dotted-decimal text (four numbers of 0 to 255, no leading zeros) into 4 octets. */
export function parseIp4(text: string): Uint8Array | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i]!;
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return null;
    const value = Number(part);
    if (value > 255) return null;
    bytes[i] = value;
  }
  return bytes;
}

/** Reads RFC 4291 section 2.2 text, with `::` and a dotted tail, into 16 octets. */
export function parseIp6(text: string): Uint8Array | null {
  if (text.length > 45) return null;
  let head = text;
  const bytes = new Uint8Array(16);
  let end = 16;
  const dot = text.indexOf(".");
  if (dot >= 0) {
    const colon = text.lastIndexOf(":");
    const tail = parseIp4(text.slice(colon + 1));
    if (colon < 0 || tail === null) return null;
    bytes.set(tail, 12);
    end = 12;
    // "::1.2.3.4" keeps its "::"; "a:b:1.2.3.4" loses the colon that joins the tail.
    head = text.slice(0, colon);
    if (head.endsWith(":")) head += ":";
    else if (head === "") return null;
  }
  const gap = head.indexOf("::");
  if (gap >= 0 && head.indexOf("::", gap + 1) >= 0) return null;
  const left = words(gap < 0 ? head : head.slice(0, gap));
  const right = gap < 0 ? [] : words(head.slice(gap + 2));
  if (left === null || right === null) return null;
  const count = (left.length + right.length) * 2;
  if (gap < 0 ? count !== end : count > end - 2) return null;
  left.forEach((word, i) => put(bytes, i * 2, word));
  right.forEach((word, i) => put(bytes, end - (right.length - i) * 2, word));
  return bytes;
}

function words(text: string): number[] | null {
  if (text === "") return [];
  const values: number[] = [];
  for (const part of text.split(":")) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return null;
    values.push(parseInt(part, 16));
  }
  return values;
}

function put(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >> 8;
  bytes[at + 1] = word & 0xff;
}

/** The canonical text of 4 or 16 octets: dotted decimal, or RFC 5952 section 4. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (bytes.length !== 16) {
    throw new RangeError(`Cannot format ${bytes.length} bytes as an address`);
  }
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! << 8) | bytes[i + 1]!);
  let from = -1;
  let run = 1; // a single zero group is not shortened (section 4.2.2)
  for (let i = 0; i < 8; i++) {
    let j = i;
    while (j < 8 && groups[j] === 0) j++;
    if (j - i > run) {
      from = i;
      run = j - i;
    }
    if (j > i) i = j;
  }
  const hex = (list: number[]) => list.map((group) => group.toString(16)).join(":");
  if (from < 0) return hex(groups);
  return `${hex(groups.slice(0, from))}::${hex(groups.slice(from + run))}`;
}

/** Reads `aa:bb:cc:dd:ee:ff` into 6 octets; `null` for anything else. */
export function parseMac(text: string): Uint8Array | null {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) return null;
  return Uint8Array.from(text.split(":"), (octet) => parseInt(octet, 16));
}

/** The lower-case colon form of 6 octets. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (octet) => octet.toString(16).padStart(2, "0")).join(":");
}

/** Whether two addresses have the same length and octets. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
