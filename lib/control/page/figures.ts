/**
 * Figures as people read them.
 *
 * @module
 */

const SCALES = ["", "k", "M", "G", "T", "P"];

/** A figure in three digits and its scale. */
export function scaled(value: number): [figure: string, scale: string] {
  let left = value;
  let at = 0;
  while (left >= 999.5 && at < SCALES.length - 1) {
    left /= 1000;
    at++;
  }
  const digits = at === 0 ? String(Math.round(left)) : left.toPrecision(3);
  return [digits, SCALES[at]!];
}

/** A count, such as `1.23M`. */
export function countText(value: number): string {
  return scaled(value).join("");
}

/** Octets, such as `1.23 MB`. */
export function bytesText(bytes: number): string {
  const [figure, scale] = scaled(bytes);
  return `${figure} ${scale}B`;
}

/** Bits a second of octets a second, such as `[45.6, "Mbit/s"]`. */
export function bitRate(bytesPerSecond: number): [figure: string, unit: string] {
  const [figure, scale] = scaled(bytesPerSecond * 8);
  return [figure, `${scale}bit/s`];
}

/** A span, such as `42 s`, `12 min`, `3 h 05`, `12 d 3 h`. */
export function spanText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")}`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** The time of day. */
export function timeText(ms: number): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const time = new Date(ms);
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
}
