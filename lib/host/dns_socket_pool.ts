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
import {
  type Asked,
  type Attempt,
  type AttemptOwner,
  type Channel,
  textOf,
} from "./dns_attempt.ts";
import type { UpstreamAddress } from "./dns_address.ts";
import type { HostSystem } from "./host_system.ts";
import type { UdpSocket, UdpSocketHandler } from "./dns_socket.ts";
import type { Upstream } from "./dns_upstream_list.ts";

/** Sockets of each family; those towards the host's loopback are a family of their own. */
export const POOL_SOCKETS = 32;

/** A socket is replaced after so many questions, */
const SOCKET_MAX_QUESTIONS = 256;

/** or when it is drawn this long after it was opened. */
const SOCKET_MAX_AGE_MS = 60_000;

/** How long a look at the permissions is good for: a look takes longer than all else of a question. */
const ALLOWED_MS = 1_000;

/** Sockets that ask upstream resolvers. */
export class DnsSocketPool implements Channel {
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

  ask(asked: Asked, upstream: Upstream, owner: AttemptOwner): Attempt {
    const { nowMs } = asked;
    if (nowMs >= upstream.allowedUntilMs) {
      this.#system.requireNet(upstream.place);
      upstream.allowedUntilMs = nowMs + ALLOWED_MS;
    }
    return this.#draw(bindAddress(upstream.place.hostname), nowMs).ask(asked, upstream, owner);
  }

  close(): Promise<void> {
    for (const socket of this.#open) socket.close();
    this.#open.clear();
    this.#families.clear();
    return Promise.resolve();
  }

  #draw(hostname: string, nowMs: number): PooledSocket {
    let family = this.#families.get(hostname);
    if (family === undefined) {
      family = new Array<PooledSocket | null>(POOL_SOCKETS).fill(null);
      this.#families.set(hostname, family);
    }
    const index = this.#system.randomWord() % POOL_SOCKETS;
    const drawn = family[index] ?? null;
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

/** A question that was sent out of a socket and may be answered. */
class UdpAttempt implements Attempt {
  readonly upstream: Upstream;
  readonly mayLinger = true;
  /** As it was sent. */
  readonly message: Uint8Array;
  readonly questionEnd: number;
  readonly owner: AttemptOwner;
  readonly #socket: PooledSocket;

  constructor(
    socket: PooledSocket,
    message: Uint8Array,
    asked: Asked,
    upstream: Upstream,
    owner: AttemptOwner,
  ) {
    this.upstream = upstream;
    this.message = message;
    this.questionEnd = asked.question.end;
    this.owner = owner;
    this.#socket = socket;
  }

  get place(): UpstreamAddress {
    return this.upstream.place;
  }

  cancel(): void {
    this.#socket.settle(this);
  }
}

interface PooledSocketOptions {
  system: HostSystem;
  openedAtMs: number;
  onUnmatched: () => void;
  onClosed: () => void;
}

class PooledSocket implements UdpSocketHandler {
  readonly #options: PooledSocketOptions;
  readonly #pending = new Map<number, UdpAttempt>();
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

  ask(asked: Asked, upstream: Upstream, owner: AttemptOwner): Attempt {
    this.#asked++;
    const message = asked.message.slice();
    // At most 256 of 65,536 ids are taken, so a free one is soon drawn.
    const { system } = this.#options;
    let id = system.randomWord();
    while (this.#pending.has(id)) id = system.randomWord();
    setId(message, id);
    const attempt = new UdpAttempt(this, message, asked, upstream, owner);
    this.#pending.set(id, attempt);
    const { hostname, port } = upstream.place;
    try {
      this.#socket.send(message, hostname, port, (error) => {
        if (this.settle(attempt)) fail(attempt, error);
      });
    } catch (error) {
      this.settle(attempt);
      throw error;
    }
    return attempt;
  }

  onDatagram(bytes: Uint8Array, hostname: string, port: number): void {
    const attempt = bytes.length < 2 ? undefined : this.#pending.get(idOf(bytes));
    if (
      attempt === undefined || attempt.place.port !== port ||
      attempt.place.hostname !== hostname ||
      !isAnswerTo(attempt.message, attempt.questionEnd, bytes)
    ) {
      this.#options.onUnmatched();
      return;
    }
    const answer = new Uint8Array(bytes);
    this.settle(attempt);
    attempt.owner.onAnswer(attempt, answer);
  }

  onError(error: unknown): void {
    this.#retired = true;
    // What the first ones do about it may take others back.
    for (const attempt of this.#pending.values()) if (this.settle(attempt)) fail(attempt, error);
    this.#closeIfDone();
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
  settle(attempt: UdpAttempt): boolean {
    const id = idOf(attempt.message);
    if (this.#pending.get(id) !== attempt) return false;
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

function fail(attempt: UdpAttempt, error: unknown): void {
  attempt.owner.onFailed(attempt, `can't be asked: ${textOf(error)}`);
}
