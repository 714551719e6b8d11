/**
 * Moments and spans as a person reads them.
 *
 * @module
 */

/** A moment in UTC, such as `2026-11-29 02:13:01Z`. */
export function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString().replace("T", " ").replace(/\.[0-9]+Z$/, "Z");
}

const UNITS: readonly [name: string, seconds: number][] = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
  ["s", 1],
];

/** A span in its two largest units, such as `3 h 5 min`. */
export function spanText(ms: number): string {
  let left = Math.max(0, Math.floor(ms / 1000));
  const parts: string[] = [];
  for (const [name, seconds] of UNITS) {
    const count = Math.floor(left / seconds);
    left -= count * seconds;
    if (count > 0 || (name === "s" && parts.length === 0)) parts.push(`${count} ${name}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}
