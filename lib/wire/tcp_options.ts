/**
 * TCP options: MSS (RFC 9293), window scale and timestamps (RFC 7323), SACK (RFC 2018).
 *
 * Read in any order, unknown kinds skipped, at most the 40 octets that a header has room for.
 * Which options count on which segment (MSS only on a SYN, …) is the caller's matter. Of a kind
 * that comes twice the later one holds.
 *
 * Writers add the padding that keeps the next option on a word, and return its position.
 *
 * @module
 */

/** Most SACK blocks that fit into a header. */
export const MAX_SACK_BLOCKS = 4;
/** Octets that `writeMssOption` writes. */
export const MSS_OPTION_BYTES = 4;
/** Octets that `writeWindowScaleOption` writes. */
export const WINDOW_SCALE_OPTION_BYTES = 4;
/** Octets that `writeSackPermittedOption` writes. */
export const SACK_PERMITTED_OPTION_BYTES = 4;
/** Octets that `writeTimestampsOption` writes. */
export const TIMESTAMPS_OPTION_BYTES = 12;

const Kind = {
  end: 0,
  nop: 1,
  mss: 2,
  windowScale: 3,
  sackPermitted: 4,
  sack: 5,
  timestamps: 8,
} as const;

/** The options of a segment; one object is used again for every segment. */
export class TcpOptions {
  /** The sender's maximum segment size; 0 where absent. */
  mss = 0;
  /** The shift of the sender's window, as sent; -1 where absent. */
  windowScale: number = -1;
  /** Whether SACK may be sent. */
  sackPermitted = false;
  /** Whether timestamps are there. */
  timestamps = false;
  /** TSval. */
  timestampValue = 0;
  /** TSecr. */
  timestampEcho = 0;
  /** SACK blocks in `sackEdges`. */
  sackBlocks = 0;
  /** Left and right edge of each block in turn; only the first `2 * sackBlocks` hold. */
  readonly sackEdges: Uint32Array<ArrayBuffer> = new Uint32Array(2 * MAX_SACK_BLOCKS);

  /** Forgets the last segment's. */
  clear(): void {
    this.mss = 0;
    this.windowScale = -1;
    this.sackPermitted = false;
    this.timestamps = false;
    this.timestampValue = 0;
    this.timestampEcho = 0;
    this.sackBlocks = 0;
  }
}

/**
 * Reads the `lengthBytes` of options at `at`; `false` where a length is below 2, runs over the
 * end, or is not the one that its kind has.
 */
export function parseTcpOptions(
  view: DataView,
  at: number,
  lengthBytes: number,
  into: TcpOptions,
): boolean {
  into.clear();
  const end = at + lengthBytes;
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === Kind.end) return true;
    if (kind === Kind.nop) {
      at++;
      continue;
    }
    if (at + 2 > end) return false;
    const bytes = view.getUint8(at + 1);
    if (bytes < 2 || at + bytes > end) return false;
    if (!takeOption(view, kind, at, bytes, into)) return false;
    at += bytes;
  }
  return true;
}

function takeOption(
  view: DataView,
  kind: number,
  at: number,
  bytes: number,
  into: TcpOptions,
): boolean {
  switch (kind) {
    case Kind.mss:
      if (bytes !== 4) return false;
      into.mss = view.getUint16(at + 2);
      return true;
    case Kind.windowScale:
      if (bytes !== 3) return false;
      into.windowScale = view.getUint8(at + 2);
      return true;
    case Kind.sackPermitted:
      if (bytes !== 2) return false;
      into.sackPermitted = true;
      return true;
    case Kind.timestamps:
      if (bytes !== 10) return false;
      into.timestamps = true;
      into.timestampValue = view.getUint32(at + 2);
      into.timestampEcho = view.getUint32(at + 6);
      return true;
    case Kind.sack:
      return takeSack(view, at, bytes, into);
    default:
      return true;
  }
}

function takeSack(view: DataView, at: number, bytes: number, into: TcpOptions): boolean {
  const blocks = (bytes - 2) >> 3;
  if ((bytes & 7) !== 2 || blocks < 1 || blocks > MAX_SACK_BLOCKS) return false;
  for (let i = 0; i < 2 * blocks; i++) into.sackEdges[i] = view.getUint32(at + 2 + 4 * i);
  into.sackBlocks = blocks;
  return true;
}

/** Writes a maximum segment size. */
export function writeMssOption(view: DataView, at: number, mss: number): number {
  view.setUint16(at, (Kind.mss << 8) | 4);
  view.setUint16(at + 2, mss);
  return at + MSS_OPTION_BYTES;
}

/** Writes a window scale behind a NOP. */
export function writeWindowScaleOption(view: DataView, at: number, shift: number): number {
  view.setUint32(at, (Kind.nop << 24) | (Kind.windowScale << 16) | (3 << 8) | shift);
  return at + WINDOW_SCALE_OPTION_BYTES;
}

/** Writes "SACK permitted" behind two NOPs. */
export function writeSackPermittedOption(view: DataView, at: number): number {
  view.setUint32(at, (Kind.nop << 24) | (Kind.nop << 16) | (Kind.sackPermitted << 8) | 2);
  return at + SACK_PERMITTED_OPTION_BYTES;
}

/** Writes timestamps behind two NOPs. */
export function writeTimestampsOption(
  view: DataView,
  at: number,
  value: number,
  echo: number,
): number {
  view.setUint32(at, (Kind.nop << 24) | (Kind.nop << 16) | (Kind.timestamps << 8) | 10);
  view.setUint32(at + 4, value);
  view.setUint32(at + 8, echo);
  return at + TIMESTAMPS_OPTION_BYTES;
}

/** Octets that `writeSackOption` writes. */
export function sackOptionBytes(blocks: number): number {
  return 4 + 8 * blocks;
}

/** Writes the first `blocks` (1 to 4) pairs of `edges` as SACK behind two NOPs. */
export function writeSackOption(
  view: DataView,
  at: number,
  edges: Uint32Array,
  blocks: number,
): number {
  view.setUint32(at, (Kind.nop << 24) | (Kind.nop << 16) | (Kind.sack << 8) | (2 + 8 * blocks));
  for (let i = 0; i < 2 * blocks; i++) view.setUint32(at + 4 + 4 * i, edges[i]!);
  return at + sackOptionBytes(blocks);
}
