/**
 * The host's UDP sockets towards upstream resolvers. Each question goes out of a socket drawn by
 * lot from {@linkcode POOL_SOCKETS}, each with a port chosen by the system, under an id drawn by
 * lot, so that a forged answer has to guess both (RFC 5452 section 9.2). Sockets are opened when
 * drawn and replaced after some questions or some time; a replaced one closes with its last
 * question.
 *
 * An answer is handed on only where it comes from the address and port that were asked and fits
 * the question. Everything else is counted and changes nothing: the wait goes on.
 *
 * @module
 */
import { idOf, setId } from "../dns/message.ts";
import { isAnswerTo } from "../dns/match.ts";
import type { UpstreamAddress } from "./dns_address.ts";
import type { HostSystem } from "./host_system.ts";
import type { UdpSocket, UdpSocketHandler } from "./dns_socket.ts";

/** Sockets of each family; those towards the host's loopback are a family of their own. */
export const POOL_SOCKETS = 32;

/** A socket is replaced after so many questions, */
const SOCKET_MAX_QUESTIONS = 256;

/** or when it is drawn this long after it was opened. */
const SOCKET_MAX_AGE_MS = 60_000;

/** What becomes of a question that was sent. */
export interface PendingHandler {
  /** The answer came; `answer` is the owner's to keep. The question is then no longer pending. */
  onAnswer(answer: Uint8Array): void;
  /** The question could not be sent, or its socket failed. It is then no longer pending. */
  onError(error: unknown): void;
}

/** A question that was sent and may be answered. */
export interface PendingQuestion {
  /** Stops waiting. */
  cancel(): void;
}

/** Sockets that ask upstream resolvers. */
export class DnsSocketPool {
  readonly #system: HostSystem;
  readonly #onUnmatched: () => void;
  readonly #families = new Map<string, (PooledSocket | null)[]>();
  readonly #open = new Set<PooledSocket>();

  /**
   * @param options The machine, and what is called for each datagram that answers
   * no question: forged, or too late.
   */
  constructor(options: { system: HostSystem; onUnmatched: () => void }) {
    this.#system = options.system;
    this.#onUnmatched = options.onUnmatched;
  }

  /** How many sockets are open. */
  get openSockets(): number {
    return this.#open.size;
  }

  /**
   * Sends a question.
   *
   * @param message The question message; it is copied, under an id of its own.
   * @param questionEnd Offset behind its question section.
   * @param upstream Who is asked.
   * @param handler Told what becomes of it, never during this call.
   * @throws Where no socket can be opened, or the runtime's permissions do not allow it.
   */
  ask(
    message: Uint8Array,
    questionEnd: number,
    upstream: UpstreamAddress,
    handler: PendingHandler,
  ): PendingQuestion {
    this.#system.requireNet(upstream);
    return this.#draw(bindAddress(upstream.hostname)).ask(message, questionEnd, upstream, handler);
  }

  /** Closes all sockets; no handler is called any more. */
  close(): void {
    for (const socket of this.#open) socket.close();
    this.#open.clear();
    this.#families.clear();
  }

  #draw(hostname: string): PooledSocket {
    let family = this.#families.get(hostname);
    if (family === undefined) {
      family = new Array<PooledSocket | null>(POOL_SOCKETS).fill(null);
      this.#families.set(hostname, family);
    }
    const index = this.#system.randomWord() % POOL_SOCKETS;
    const drawn = family[index] ?? null;
    const nowMs = this.#system.now();
    if (drawn !== null && drawn.isFresh(nowMs)) return drawn;
    family[index] = null;
    drawn?.retire();
    this.#system.requireNet({ hostname, port: 0 });
    const opened = new PooledSocket(hostname, {
      system: this.#system,
      openedAtMs: nowMs,
      onUnmatched: this.#onUnmatched,
      onClosed: () => this.#open.delete(opened),
    });
    family[index] = opened;
    this.#open.add(opened);
    return opened;
  }
}

/**
 * Where to bind, by whom is asked: towards the host's loopback nothing else needs to reach the
 * socket, and `--allow-net=127.0.0.1` is then enough.
 */
function bindAddress(upstream: string): string {
  if (upstream === "::1") return "::1";
  if (upstream.includes(":")) return "::";
  return upstream.startsWith("127.") ? "127.0.0.1" : "0.0.0.0";
}

interface Pending {
  readonly message: Uint8Array;
  readonly questionEnd: number;
  readonly upstream: UpstreamAddress;
  readonly handler: PendingHandler;
}

interface PooledSocketOptions {
  system: HostSystem;
  openedAtMs: number;
  onUnmatched: () => void;
  onClosed: () => void;
}

class PooledSocket implements UdpSocketHandler {
  readonly #options: PooledSocketOptions;
  readonly #pending = new Map<number, Pending>();
  readonly #socket: UdpSocket;
  #asked = 0;
  #retired = false;
  #closed = false;

  constructor(hostname: string, options: PooledSocketOptions) {
    this.#options = options;
    this.#socket = options.system.openUdpSocket(hostname, this);
  }

  /** Whether it takes another question. */
  isFresh(nowMs: number): boolean {
    return !this.#retired && this.#asked < SOCKET_MAX_QUESTIONS &&
      nowMs - this.#options.openedAtMs < SOCKET_MAX_AGE_MS;
  }

  ask(
    message: Uint8Array,
    questionEnd: number,
    upstream: UpstreamAddress,
    handler: PendingHandler,
  ): PendingQuestion {
    this.#asked++;
    const copy = message.slice();
    // At most 256 of 65,536 ids are taken, so a free one is soon drawn.
    const { system } = this.#options;
    let id = system.randomWord();
    while (this.#pending.has(id)) id = system.randomWord();
    setId(copy, id);
    const pending: Pending = { message: copy, questionEnd, upstream, handler };
    this.#pending.set(id, pending);
    try {
      this.#socket.send(copy, upstream.hostname, upstream.port, (error) => {
        if (this.#settle(id, pending)) handler.onError(error);
      });
    } catch (error) {
      this.#settle(id, pending);
      throw error;
    }
    return { cancel: () => void this.#settle(id, pending) };
  }

  onDatagram(bytes: Uint8Array, hostname: string, port: number): void {
    const pending = bytes.length < 2 ? undefined : this.#pending.get(idOf(bytes));
    if (
      pending === undefined || pending.upstream.hostname !== hostname ||
      pending.upstream.port !== port ||
      !isAnswerTo(pending.message, pending.questionEnd, bytes)
    ) {
      this.#options.onUnmatched();
      return;
    }
    const answer = new Uint8Array(bytes);
    this.#settle(idOf(bytes), pending);
    pending.handler.onAnswer(answer);
  }

  onError(error: unknown): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    this.retire();
    for (const { handler } of pending) handler.onError(error);
  }

  /** Takes no more questions, and closes with the last one that is pending. */
  retire(): void {
    this.#retired = true;
    this.#closeIfDone();
  }

  close(): void {
    this.#pending.clear();
    this.retire();
  }

  /** Whether the question was still pending; it no longer is. */
  #settle(id: number, pending: Pending): boolean {
    if (this.#pending.get(id) !== pending) return false;
    this.#pending.delete(id);
    this.#closeIfDone();
    return true;
  }

  #closeIfDone(): void {
    if (!this.#retired || this.#closed || this.#pending.size > 0) return;
    this.#closed = true;
    this.#socket.close();
    this.#options.onClosed();
  }
}
