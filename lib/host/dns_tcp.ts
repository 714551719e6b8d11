/**
 * One question to an upstream over TCP: connect, one framed message each way (RFC 7766), close.
 *
 * The whole exchange is bounded in time and can be aborted. It ends in the answer or in the reason
 * why there is none; it never rejects, and the connection is closed when it has ended.
 *
 * @module
 */
import { HEADER_BYTES, setId, word } from "../dns/message.ts";
import { isAnswerTo } from "../dns/match.ts";
import { frameMessage, LENGTH_BYTES } from "../dns/stream.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { UpstreamAddress } from "./dns_address.ts";
import type { HostSystem } from "./host_system.ts";

/** An answer, or why there is none. */
export type TcpOutcome = Uint8Array | "timeout" | "network";

/** What is asked, how long it may take, and how it is given up. */
export interface TcpExchangeOptions {
  /** The machine. */
  system: HostSystem;
  /** The question message; it is sent under an id of its own. */
  message: Uint8Array;
  /** Offset behind its question section. */
  questionEnd: number;
  /** Who is asked. */
  upstream: UpstreamAddress;
  /** After this the exchange ends as `timeout`. */
  timeoutMs: number;
  /** Ends the exchange early, as `network`. */
  signal: AbortSignal;
}

/**
 * Asks one upstream.
 *
 * @param options What is asked, how long it may take, and how it is given up.
 */
export async function askOverTcp(options: TcpExchangeOptions): Promise<TcpOutcome> {
  const { upstream, signal, system } = options;
  const message = options.message.slice();
  setId(message, system.randomWord());
  const stop = new AbortController();
  const abort = () => stop.abort();
  let late = false;
  const timer = system.setTimer(() => {
    late = true;
    stop.abort();
  }, options.timeoutMs);
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  let conn: Deno.TcpConn | null = null;
  const close = () => {
    if (conn !== null) closeQuietly(conn); // the abort may have been first
  };
  stop.signal.addEventListener("abort", close);
  try {
    system.requireNet(upstream);
    const { hostname, port } = upstream;
    conn = await system.connectUpstream({ hostname, port, transport: "tcp", signal: stop.signal });
    stop.signal.throwIfAborted();
    await writeAll(conn, frameMessage(message));
    const answer = await readMessage(conn);
    if (answer !== null && isAnswerTo(message, options.questionEnd, answer)) return answer;
  } catch {
    // refused, unreachable, reset, not permitted, or aborted: there is no answer
  } finally {
    system.clearTimer(timer);
    signal.removeEventListener("abort", abort);
    stop.signal.removeEventListener("abort", close);
    close();
  }
  return late ? "timeout" : "network";
}

async function writeAll(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  let at = 0;
  while (at < bytes.length) at += await conn.write(bytes.subarray(at));
}

/** The first framed message, or `null` where the peer closes before it is whole. */
async function readMessage(conn: Deno.TcpConn): Promise<Uint8Array | null> {
  const head = new Uint8Array(LENGTH_BYTES);
  if (!await readAll(conn, head)) return null;
  const length = word(head, 0);
  if (length < HEADER_BYTES) return null;
  const message = new Uint8Array(length);
  return await readAll(conn, message) ? message : null;
}

async function readAll(conn: Deno.TcpConn, into: Uint8Array): Promise<boolean> {
  let at = 0;
  while (at < into.length) {
    const n = await conn.read(into.subarray(at));
    if (n === null) return false;
    at += n;
  }
  return true;
}
