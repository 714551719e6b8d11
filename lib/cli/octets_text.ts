/**
 * Octets as a person reads them.
 *
 * @module
 */

const UNITS = ["kB", "MB", "GB", "TB", "PB"];

/** Octets in three figures, such as `999 B`, `1.23 kB`, `45.6 MB`. */
export function octetsText(octets: number): string {
  let unit = "B";
  let left = octets;
  for (const next of UNITS) {
    if (left < 999.5) break;
    left /= 1_000;
    unit = next;
  }
  return `${unit === "B" ? left : left.toPrecision(3)} ${unit}`;
}
