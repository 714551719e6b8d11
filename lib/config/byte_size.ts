/**
 * Numbers of bytes as people write them: `10MB`, `512KiB`, `1.5MB`, or plain bytes.
 *
 * Decimal and binary units are told apart by their `i`, and every unit ends in `B`: `10M` could be
 * either, `10Mb` would be bits.
 *
 * @module
 */

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
};

const SIZE = /^([0-9]{1,15}(\.[0-9]{1,3})?)(|B|[kKMG]B|[KMG]iB)$/;

/**
 * Reads a number of bytes.
 *
 * @param text The number with its unit; a fraction needs a unit above `B`.
 * @returns Whole bytes, or `null`.
 */
export function parseByteSize(text: string): number | null {
  const [, number = "", fraction, unit = ""] = SIZE.exec(text) ?? [];
  const factor = UNITS[unit]!;
  if (number === "" || (fraction !== undefined && factor === 1)) return null;
  const bytes = Math.round(Number(number) * factor);
  return Number.isSafeInteger(bytes) ? bytes : null;
}
