/**
 * One TLS connection to an upstream resolver (RFC 7858), with many questions in it at once and
 * answers in any order (RFC 7766 section 6.2.1.1).
 *
 *     opening ──▶ open ──▶ ended        questions that come while it opens wait for it
 *         └─────────┴─ retired: takes no more, ends with the last one that somebody waits for
 *
 * What the peer may not do ends it, and nothing says what would come next: a frame without room for
 * a header, an end inside of a frame, an answer to another question under an id that is in use. An
 * answer under an id that is not in use changes nothing: it may be to a question that was given up.
 * An id stays in use until its answer has come, also when nobody waits for it any more.
 *
 * Limits: {@linkcode ABANDONED_MAX} answers that nobody waits for, then it retires; one that has
 * said nothing for {@linkcode SILENCE_MS} with questions in it is not asked more, as its peer may
 * be gone without a word; without a question it ends after {@linkcode IDLE_MS}.
 *
 * @module
 */
import type { TlsUpstream } from "../config/upstream_spec.ts";
import { isAnswerTo } from "../dns/match.ts";
import { idOf, setId } from "../dns/message.ts";
import { DnsStream, frameMessage, STREAM_BUFFER_BYTES } from "../dns/stream.ts";
import { closeQuietly } from "./close_quietly.ts";
import { writeAll } from "./dns_tcp.ts";
import type { HostSystem } from "./host_system.ts";
import type { Timer } from "./host_clock.ts";
import { certificateFault, reasonOf, type TlsLink } from "./tls_connect.ts";

/** How long a connection without a question is kept (RFC 7858 section 3.4). */
export const IDLE_MS = 10_000;

/** How long nothing may come while questions wait, before others go elsewhere. */
export const SILENCE_MS = 1_000;

/** Most answers that nobody waits for. */
export const ABANDONED_MAX = 64;

const READ_BYTES = 16 * 1024;

/** One question in a connection. */
export interface TlsQuestion {
  /** The message; it is sent under an id of its own. */
  readonly message: Uint8Array;
  /** Offset behind its question section. */
  readonly questionEnd: number;
  /** Its answer has come. */
  onAnswer(answer: Uint8Array): void;
  /** The connection has ended without its answer. */
  onEnd(end: TlsEnd): void;
}

/** How a connection ended. */
export interface TlsEnd {
  /** For the log. */
  readonly reason: string;
  /** Whether the certificate was the fault. */
  readonly isDistrusted: boolean;
  /** Whether it was in use and the peer was done with it, as peers may be at any time. */
  readonly wasServed: boolean;
}

/** What a connection is made from. */
export interface TlsConnectionOptions {
  /** Whom to ask. */
  readonly place: TlsUpstream;
  /** The machine. */
  readonly system: HostSystem;
  /** Longest time until the connection is open. */
  readonly openingMs: number;
  /** Called for each answer under an id that is not in use. */
  readonly onUnmatched: () => void;
  /** Called once when it is over, before its questions are told. */
  readonly onEnded: (connection: TlsConnection) => void;
}

interface Sent {
  readonly message: Uint8Array;
  /** `null` where nobody waits any more. */
  question: TlsQuestion | null;
}

/** A connection; it opens at once. */
export class TlsConnection {
  /** Resolves when no operation is under way any more. */
  readonly settled: Promise<void>;
  readonly #options: TlsConnectionOptions;
  readonly #stop = new AbortController();
  readonly #sent = new Map<number, Sent>();
  #conn: TlsLink | null = null;
  #toWrite: Uint8Array[] = [];
  #writing: Promise<void> | null = null;
  #waiting = 0;
  #answered = 0;
  /** Since when nothing has come that is waited for. */
  #silentSinceMs = Infinity;
  #idleSinceMs = 0;
  #idleTimer: Timer | undefined;
  #retired = false;
  #ended = false;

  /** @param options What it is made from. */
  constructor(options: TlsConnectionOptions) {
    this.#options = options;
    this.settled = this.#run();
  }

  /** How many answers have come. */
  get answered(): number {
    return this.#answered;
  }

  /** Whether it takes another question. */
  isUsable(nowMs: number): boolean {
    return !this.#ended && !this.#retired && nowMs - this.#silentSinceMs < SILENCE_MS;
  }

  /**
   * Asks.
   *
   * @param question What is asked.
   * @returns Takes the question back.
   */
  ask(question: TlsQuestion): () => void {
    const { system } = this.#options;
    const message = question.message.slice();
    let id = system.randomWord();
    while (this.#sent.has(id)) id = system.randomWord();
    setId(message, id);
    const sent: Sent = { message, question };
    this.#sent.set(id, sent);
    this.#waiting++;
    if (this.#silentSinceMs === Infinity) this.#silentSinceMs = system.now();
    this.#toWrite.push(frameMessage(message));
    this.#write();
    return () => this.#abandon(sent);
  }

  /** Takes no more questions, and ends when nobody waits for an answer. */
  retire(): void {
    this.#retired = true;
    this.#onFewerWaiting();
  }

  /** Ends it; its questions are told so. */
  end(reason: string, how: { isDistrusted?: boolean; wasServed?: boolean } = {}): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.system.clearTimer(this.#idleTimer);
    this.#stop.abort();
    if (this.#conn !== null) closeQuietly(this.#conn);
    const sent = [...this.#sent.values()];
    this.#sent.clear();
    this.#toWrite = [];
    this.#options.onEnded(this);
    const { isDistrusted = false, wasServed = false } = how;
    for (const one of sent) {
      const { question } = one; // it may have been taken back by what those before it did
      one.question = null;
      question?.onEnd({ reason, isDistrusted, wasServed });
    }
  }

  async #run(): Promise<void> {
    const conn = await this.#open();
    if (conn === null) return;
    this.#conn = conn;
    this.#write();
    await this.#read(conn);
    await this.#writing;
  }

  async #open(): Promise<TlsLink | null> {
    const { system, place, openingMs } = this.#options;
    const { hostname, port, serverName } = place;
    await Promise.resolve(); // so that nobody hears of an end before its question is in
    const timer = system.setTimer(() => this.end("no TLS connection in time"), openingMs);
    try {
      const { signal } = this.#stop;
      const conn = await system.connectTls({ hostname, port, serverName, signal });
      if (!this.#ended) return conn;
      closeQuietly(conn);
    } catch (error) {
      const fault = certificateFault(error);
      this.end(fault ?? `no TLS connection: ${reasonOf(error)}`, { isDistrusted: fault !== null });
    } finally {
      system.clearTimer(timer);
    }
    return null;
  }

  /** Whatever waits to be written goes out in one piece. */
  #write(): void {
    if (this.#conn === null || this.#writing !== null || this.#toWrite.length === 0) return;
    const bytes = join(this.#toWrite);
    this.#toWrite = [];
    this.#writing = writeAll(this.#conn, bytes)
      .catch((error) => this.end(`the connection broke: ${reasonOf(error)}`, this.#inUse()))
      .then(() => {
        this.#writing = null;
        this.#write();
      });
  }

  async #read(conn: TlsLink): Promise<void> {
    const stream = new DnsStream();
    const buffer = new Uint8Array(READ_BYTES);
    try {
      while (!this.#ended) {
        const n = await conn.read(buffer.subarray(0, Math.min(READ_BYTES, stream.roomBytes)));
        if (this.#ended) return;
        if (n === null) return this.#onPeerDone("the peer closed the connection", stream);
        stream.push(buffer.subarray(0, n));
        this.#take(stream);
      }
    } catch (error) {
      this.#onPeerDone(`the connection broke: ${reasonOf(error)}`, stream);
    }
  }

  #take(stream: DnsStream): void {
    this.#silentSinceMs = this.#waiting > 0 ? this.#options.system.now() : Infinity;
    for (let answer = stream.next(); answer !== null; answer = stream.next()) {
      stream.drop();
      this.#onMessage(answer);
      if (this.#ended) return;
    }
    if (stream.failed) this.end("what it sent is no DNS message");
  }

  #onMessage(answer: Uint8Array): void {
    const id = idOf(answer);
    const sent = this.#sent.get(id);
    if (sent === undefined) return this.#options.onUnmatched();
    const { question } = sent;
    if (question === null) {
      this.#sent.delete(id);
      return;
    }
    if (!isAnswerTo(sent.message, question.questionEnd, answer)) {
      return this.end("it answered another question");
    }
    this.#sent.delete(id);
    sent.question = null;
    this.#waiting--;
    this.#answered++;
    question.onAnswer(answer);
    this.#onFewerWaiting();
  }

  #onPeerDone(reason: string, stream: DnsStream): void {
    const isCut = stream.roomBytes < STREAM_BUFFER_BYTES;
    this.end(isCut ? `${reason} inside of an answer` : reason, isCut ? {} : this.#inUse());
  }

  #inUse(): { wasServed: boolean } {
    return { wasServed: this.#answered > 0 };
  }

  #abandon(sent: Sent): void {
    if (sent.question === null) return;
    sent.question = null;
    if (this.#ended) return;
    this.#waiting--;
    if (this.#sent.size - this.#waiting > ABANDONED_MAX) this.#retired = true;
    this.#onFewerWaiting();
  }

  #onFewerWaiting(): void {
    if (this.#waiting > 0 || this.#ended) return;
    if (this.#retired || !this.isUsable(this.#options.system.now())) {
      return this.end("it is not needed any more");
    }
    this.#silentSinceMs = Infinity;
    this.#idleSinceMs = this.#options.system.now();
    this.#idleTimer ??= this.#options.system.setTimer(() => this.#onIdle(), IDLE_MS);
  }

  #onIdle(): void {
    this.#idleTimer = undefined;
    if (this.#waiting > 0) return;
    const { system } = this.#options;
    const leftMs = this.#idleSinceMs + IDLE_MS - system.now();
    if (leftMs <= 0) this.end("it was not needed any more");
    else this.#idleTimer = system.setTimer(() => this.#onIdle(), Math.ceil(leftMs));
  }
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (parts.length === 1 && first !== undefined) return first;
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
