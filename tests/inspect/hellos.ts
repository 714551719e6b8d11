/**
 * ClientHellos by hand: any of their fields, with lengths that add up, in records of any sizes.
 *
 * @module
 */

/** An extension: its type and what stands in it. */
export type Extension = readonly [type: number, body: ArrayLike<number>];

/** What differs from an ordinary hello. */
export interface HelloSpec {
  version?: number;
  sessionId?: ArrayLike<number>;
  suites?: ArrayLike<number>;
  compression?: ArrayLike<number>;
  /** `null`: no block of extensions at all. */
  extensions?: readonly Extension[] | null;
  /** What stands behind the extensions. */
  trailer?: ArrayLike<number>;
}

/** Extensions beside the name, as clients send them. */
export const PLAIN_EXTENSIONS: readonly Extension[] = [
  [0x0a0a, []],
  [0x0017, []],
  [0x000a, [0, 4, 0, 0x1d, 0, 0x17]],
  [0x0010, [0, 12, 2, 0x68, 0x32, 8, ...ascii("http/1.1")]],
  [0x002b, [4, 3, 4, 3, 3]],
];

/** A handshake message. */
export function clientHello(spec: HelloSpec = {}): Uint8Array {
  const { extensions = [serverName("example.org"), ...PLAIN_EXTENSIONS] } = spec;
  const block = extensions === null ? [] : vector(
    extensions.flatMap(([type, body]) => [...number(type, 2), ...vector(body, 2)]),
    2,
  );
  return message(1, [
    ...number(spec.version ?? 0x0303, 2),
    ...Array.from({ length: 32 }, (_, i) => i),
    ...vector(spec.sessionId ?? new Uint8Array(32), 1),
    ...vector(spec.suites ?? [0x13, 0x01, 0xc0, 0x2f], 2),
    ...vector(spec.compression ?? [0], 1),
    ...block,
    ...Array.from(spec.trailer ?? []),
  ]);
}

/** A handshake message of any type. */
export function message(type: number, body: ArrayLike<number>): Uint8Array {
  return Uint8Array.from([type, ...vector(body, 3)]);
}

/** A `server_name` with these host names; a pair is a name of another type. */
export function serverName(...names: (string | readonly [type: number, name: string])[]) {
  const entries = names.map((name) => typeof name === "string" ? [0, name] as const : name);
  return [
    0,
    vector(entries.flatMap(([type, name]) => [type, ...vector(ascii(name), 2)]), 2),
  ] satisfies Extension;
}

/** The octets in handshake records of these sizes; the last size goes on. */
export function inRecords(octets: Uint8Array, ...sizes: number[]): Uint8Array {
  const out: number[] = [];
  for (let at = 0, i = 0; at < octets.length; i++) {
    const size = sizes[Math.min(i, sizes.length - 1)] ?? octets.length;
    out.push(...record(octets.subarray(at, at + size)));
    at += Math.max(size, 1);
  }
  return Uint8Array.from(out);
}

/** One record. */
export function record(body: ArrayLike<number>, type = 22, version = 0x0301): number[] {
  return [type, ...number(version, 2), ...vector(body, 2)];
}

/** Octets behind their length. */
export function vector(octets: ArrayLike<number>, lengthBytes: number): number[] {
  return [...number(octets.length, lengthBytes), ...Array.from(octets)];
}

/** The octets of a text, one a character. */
export function ascii(text: string): number[] {
  return Array.from(text, (character) => character.charCodeAt(0));
}

function number(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, i) => (value >> (8 * (bytes - 1 - i))) & 0xff);
}
