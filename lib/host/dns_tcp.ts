/**
 * Questions to plain upstreams over TCP: each connects, sends one framed message each way
 * (RFC 7766), and closes.
 *
 * The connection is closed when the exchange has ended, whoever ended it. What comes back and is
 * not the answer ends it too: nobody else can speak in this connection.
 *
 * @module
 */
import { HEADER_BYTES, setId, word } from "../dns/message.ts";
import { isAnswerTo } from "../dns/match.ts";
import { frameMessage, LENGTH_BYTES } from "../dns/stream.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { Asked, Attempt, AttemptOwner, Channel } from "./dns_attempt.ts";
import type { HostSystem } from "./host_system.ts";
import type { Upstream } from "./dns_upstream_list.ts";

/** Asks over a connection for each question. */
export class TcpChannel implements Channel {
  readonly #system: HostSystem;
  readonly #running = new Map<TcpAttempt, Promise<void>>();

  /** @param system The machine. */
  constructor(system: HostSystem) {
    this.#system = system;
  }

  ask(asked: Asked, upstream: Upstream, owner: AttemptOwner): Attempt {
    this.#system.requireNet(upstream.place);
    const attempt = new TcpAttempt(upstream);
    const running = attempt.run(this.#system, asked, owner);
    this.#running.set(attempt, running);
    running.then(() => this.#running.delete(attempt));
    return attempt;
  }

  async close(): Promise<void> {
    for (const attempt of this.#running.keys()) attempt.cancel();
    await Promise.all(this.#running.values());
  }
}

class TcpAttempt implements Attempt {
  readonly upstream: Upstream;
  readonly mayLinger = false;
  readonly #stop = new AbortController();
  #conn: Deno.TcpConn | null = null;

  constructor(upstream: Upstream) {
    this.upstream = upstream;
  }

  cancel(): void {
    this.#stop.abort();
    if (this.#conn !== null) closeQuietly(this.#conn);
  }

  /** The exchange; it never rejects. */
  async run(system: HostSystem, asked: Asked, owner: AttemptOwner): Promise<void> {
    const message = asked.message.slice();
    setId(message, system.randomWord());
    const answer = await this.#exchange(system, frameMessage(message));
    if (this.#stop.signal.aborted) return;
    if (answer !== null && isAnswerTo(message, asked.question.end, answer)) {
      owner.onAnswer(this, answer);
    } else {
      owner.onFailed(this, "no answer over TCP");
    }
  }

  /** The first message that comes back; `null` where none does. */
  async #exchange(system: HostSystem, framed: Uint8Array): Promise<Uint8Array | null> {
    const { signal } = this.#stop;
    const { hostname, port } = this.upstream.place;
    let conn: Deno.TcpConn | null = null;
    try {
      conn = await system.connectUpstream({ hostname, port, transport: "tcp", signal });
      this.#conn = conn;
      signal.throwIfAborted();
      await writeAll(conn, framed);
      return await readMessage(conn);
    } catch {
      return null; // refused, unreachable, reset, not permitted, or cancelled
    } finally {
      if (conn !== null) closeQuietly(conn);
    }
  }
}

/** Writes all of it. */
export async function writeAll(
  conn: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
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
