/**
 * What the two sides agreed on in their SYNs: segment size, window scale, SACK, timestamps; and
 * the timestamps' state (RFC 7323 sections 2 to 5, RFC 9293 section 3.7.1, RFC 2018 section 2).
 *
 * A segment size below 88 octets is taken as 88 (CVE-2019-11479), one that is absent or 0 as the
 * default of the family. The size falls with the path MTU, to no less than packets of 552 octets
 * (IPv6: 1,280). TSval counts milliseconds from a random offset.
 *
 * @module
 */
import type { TcpOptions } from "../../wire/tcp_options.ts";
import { seqDiff, seqLt } from "./sequence.ts";

const DEFAULT_MSS_BYTES: Readonly<Record<4 | 6, number>> = { 4: 536, 6: 1220 };
const HEADER_BYTES: Readonly<Record<4 | 6, number>> = { 4: 40, 6: 60 };
/** No error makes segments smaller than this (RFC 5927 section 7.2). */
const MIN_MTU_BYTES: Readonly<Record<4 | 6, number>> = { 4: 552, 6: 1280 };
const MIN_MSS_BYTES = 88;
const MAX_SHIFT = 14;
const TIMESTAMP_BYTES = 12;
/** RFC 7323 section 5.5: a timestamp older than 24 days says nothing. */
const TIMESTAMP_VALID_MS = 24 * 86_400_000;

/** The options of one connection. */
export class Negotiated {
  /** Data of a full segment, without options. */
  mssBytes = 536;
  sack = false;
  timestamps = false;
  /** The guest's window shift; -1 where it offered none. */
  peerShift = -1;
  /** TS.Recent. */
  tsRecent = 0;
  readonly #tsOffset: number;
  #tsRecentMs = 0;

  constructor(tsOffset: number) {
    this.#tsOffset = tsOffset;
  }

  /** Takes the options of the guest's SYN; `largestBytes` is what the link carries. */
  take(options: TcpOptions, family: 4 | 6, largestBytes: number, nowMs: number): void {
    this.sack = options.sackPermitted;
    this.timestamps = options.timestamps;
    if (options.timestamps) this.remember(options.timestampValue, nowMs);
    this.peerShift = options.windowScale < 0 ? -1 : Math.min(MAX_SHIFT, options.windowScale);
    const offered = options.mss === 0 ? DEFAULT_MSS_BYTES[family] : options.mss;
    const usable = Math.max(MIN_MSS_BYTES, Math.min(offered, largestBytes));
    this.mssBytes = usable - (options.timestamps ? TIMESTAMP_BYTES : 0);
  }

  /** Takes a smaller path MTU (RFC 1191, RFC 8201); false where it is none. */
  lowerMtu(mtuBytes: number, family: 4 | 6): boolean {
    const usable = Math.max(mtuBytes, MIN_MTU_BYTES[family]) - HEADER_BYTES[family];
    const mssBytes = usable - (this.timestamps ? TIMESTAMP_BYTES : 0);
    if (mssBytes >= this.mssBytes) return false;
    this.mssBytes = mssBytes;
    return true;
  }

  /** TSval for a segment that leaves at `nowMs`. */
  tsNow(nowMs: number): number {
    return (Math.floor(nowMs) + this.#tsOffset) >>> 0;
  }

  /** When the segment left that the echo names; -1 where there is no echo. */
  echoedMs(options: TcpOptions, nowMs: number): number {
    if (!this.timestamps || !options.timestamps) return -1;
    return Math.floor(nowMs) - seqDiff(this.tsNow(nowMs), options.timestampEcho);
  }

  /** Sets TS.Recent. */
  remember(value: number, nowMs: number): void {
    this.tsRecent = value;
    this.#tsRecentMs = nowMs;
  }

  /** PAWS: whether the segment is older than what was seen (RFC 7323 section 5). */
  isOld(options: TcpOptions, nowMs: number): boolean {
    return this.timestamps && options.timestamps &&
      seqLt(options.timestampValue, this.tsRecent) &&
      nowMs - this.#tsRecentMs < TIMESTAMP_VALID_MS;
  }
}
