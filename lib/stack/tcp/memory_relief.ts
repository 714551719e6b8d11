/**
 * What happens while buffer memory is short: connections whose owners found none for a send ring
 * are asked again, a few at a time, and whoever has been stalled the longest makes way
 * (CVE-2008-4609).
 *
 * A flow counts as stalled when its guest's window has let nothing but crumbs through for two
 * minutes. Only as often as `RETRY_MS`, and only while somebody lacks memory, are the flows looked
 * through.
 *
 * @module
 */
import type { BufferQuota } from "../buffer_pool.ts";
import type { TcpConnection } from "./connection.ts";

const RETRY_MS = 50;
const RETRIES = 64;
const STALLED_MS = 120_000;

/** The connections of one endpoint that lack memory. */
export class MemoryRelief {
  readonly #pool: BufferQuota;
  readonly #leastBytes: number;
  readonly #starving = new Set<TcpConnection>();
  #atMs = Infinity;

  /** `leastBytes` is the smallest buffer that helps anyone. */
  constructor(pool: BufferQuota, leastBytes: number) {
    this.#pool = pool;
    this.#leastBytes = leastBytes;
  }

  /** When `advance` has something to do. */
  pollAt(): number {
    return this.#atMs;
  }

  /** A connection found no memory for what the host sends. */
  starves(connection: TcpConnection, nowMs: number): void {
    this.#starving.add(connection);
    this.#atMs = Math.min(this.#atMs, nowMs + RETRY_MS);
  }

  /** Bytes of the guest found no memory: it sends them again by itself. */
  refused(nowMs: number): void {
    if (this.#pool.mayGrowTo(this.#leastBytes)) return; // refused for another reason
    this.#atMs = Math.min(this.#atMs, nowMs + RETRY_MS);
  }

  /** A connection is gone; `left` are still there. */
  forget(connection: TcpConnection, left: number): void {
    this.#starving.delete(connection);
    if (left === 0) this.#atMs = Infinity;
  }

  /** Makes room if there is none, and asks those that starve once more. */
  advance(flows: Iterable<TcpConnection>, nowMs: number): void {
    if (nowMs < this.#atMs) return;
    this.#atMs = Infinity;
    if (!this.#pool.mayGrowTo(this.#leastBytes)) longestStalled(flows, nowMs)?.abort("timeout");
    let asked = 0;
    for (const connection of this.#starving) {
      this.#starving.delete(connection);
      connection.retrySpan();
      if (++asked >= RETRIES) break;
    }
    if (this.#starving.size > 0) this.#atMs = nowMs + RETRY_MS;
  }
}

function longestStalled(flows: Iterable<TcpConnection>, nowMs: number): TcpConnection | null {
  let longest: TcpConnection | null = null;
  let sinceMs = nowMs - STALLED_MS;
  for (const connection of flows) {
    if (connection.stalledSinceMs > sinceMs) continue;
    longest = connection;
    sinceMs = connection.stalledSinceMs;
  }
  return longest;
}
