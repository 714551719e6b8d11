/**
 * Makes a changed frame's checksums right again, and its lengths where that is asked for, as far as
 * its headers still make sense: so changes get past the first gate. Fragments keep their L4
 * checksum. Written apart from `lib/wire`.
 *
 * @module
 */

const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMP6 = 58;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION = 60;
const ETHERNET_BYTES = 14;
const CHECKSUM_AT: Readonly<Record<number, number>> = {
  [TCP]: 16,
  [UDP]: 6,
  [ICMP]: 2,
  [ICMP6]: 2,
};

/** Seals a frame in place; `lengths`: IP and UDP say how long they are. */
export function seal(frame: Uint8Array, lengths = false): Uint8Array {
  const type = word(frame, 12);
  if (type === 0x0800) seal4(frame, lengths);
  else if (type === 0x86dd) seal6(frame, lengths);
  return frame;
}

function seal4(frame: Uint8Array, lengths: boolean): void {
  const at = ETHERNET_BYTES;
  if (frame.length < at + 20) return;
  const headerBytes = (frame[at]! & 15) * 4;
  if (headerBytes < 20 || at + headerBytes > frame.length) return;
  if (lengths) setWord(frame, at + 2, Math.min(0xffff, frame.length - at));
  setWord(frame, at + 10, 0);
  setWord(frame, at + 10, ~fold(sum(frame, at, at + headerBytes)));
  if ((word(frame, at + 6) & 0x3fff) !== 0) return;
  const end = Math.min(frame.length, at + word(frame, at + 2));
  const addresses = sum(frame, at + 12, at + 20);
  sealL4(frame, at + headerBytes, end, frame[at + 9]!, addresses, lengths);
}

function seal6(frame: Uint8Array, lengths: boolean): void {
  const at = ETHERNET_BYTES;
  if (frame.length < at + 40) return;
  if (lengths) setWord(frame, at + 4, Math.min(0xffff, frame.length - at - 40));
  const end = Math.min(frame.length, at + 40 + word(frame, at + 4));
  let next = frame[at + 6]!;
  let payloadAt = at + 40;
  while (
    next === HOP_BY_HOP || next === ROUTING || next === DESTINATION ||
    next === FRAGMENT
  ) {
    if (payloadAt + 8 > end) return;
    if (next === FRAGMENT && (word(frame, payloadAt + 2) & 0xfff9) !== 0) {
      return;
    }
    const bytes = next === FRAGMENT ? 8 : (frame[payloadAt + 1]! + 1) * 8;
    next = frame[payloadAt]!;
    payloadAt += bytes;
  }
  sealL4(frame, payloadAt, end, next, sum(frame, at + 8, at + 40), lengths);
}

function sealL4(
  frame: Uint8Array,
  at: number,
  end: number,
  protocol: number,
  addresses: number,
  lengths: boolean,
): void {
  const offset = CHECKSUM_AT[protocol];
  if (offset === undefined || at + offset + 2 > end) return;
  if (protocol === UDP && lengths) setWord(frame, at + 4, end - at);
  // A UDP length that lies is what the sum is made over, as far as there are octets.
  const covered = protocol === UDP ? Math.min(end, at + Math.max(8, word(frame, at + 4))) : end;
  const pseudo = protocol === ICMP ? 0 : addresses + protocol + covered - at;
  setWord(frame, at + offset, 0);
  const checksum = ~fold(pseudo + sum(frame, at, covered)) & 0xffff;
  setWord(frame, at + offset, checksum === 0 && protocol === UDP ? 0xffff : checksum);
}

/** The 16-bit word at `at`; octets beyond the end are zeros. */
export function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

/** Puts a 16-bit word at `at`. */
export function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >> 8) & 0xff;
  bytes[at + 1] = value & 0xff;
}

/** The sum of the words in [from, to), an odd octet padded; not folded. */
export function sum(bytes: Uint8Array, from: number, to: number): number {
  let total = 0;
  let at = from;
  for (; at + 1 < to; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!;
  return at < to ? total + (bytes[at]! << 8) : total;
}

/** A sum with its carries added. */
export function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) {
    folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  }
  return folded;
}
