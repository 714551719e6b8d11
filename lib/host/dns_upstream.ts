/**
 * Forwards questions to the upstream resolvers as they are, under another id, so every record type
 * and every EDNS option passes.
 *
 * Bounds: `dnsInFlight` questions of the guest wait at once, `dnsInFlightPerUpstream` at one
 * upstream, none for longer than `dnsTimeoutMs`. Questions that are equal but for their id share
 * one query, so that nobody gains guesses at an answer by asking again (RFC 5452 section 5).
 *
 * @module
 */
import type { Limits } from "../config/limits.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { setId } from "../dns/message.ts";
import type { DnsQuestion } from "../dns/question.ts";
import type { DnsCounts } from "./dns_counts.ts";
import {
  type DnsOutcome,
  type DnsTransport,
  type Query,
  type QueryOptions,
  TcpQuery,
  UdpQuery,
} from "./dns_query.ts";
import type { HostSystem } from "./host_system.ts";
import { DnsSocketPool } from "./dns_socket_pool.ts";
import { UpstreamList } from "./dns_upstream_list.ts";

/** What forwarding works with. */
export interface DnsUpstreamsOptions {
  /** `system` or `ADDR[:PORT]` each, in order. */
  upstreams: readonly string[];
  /** The guest's limits. */
  limits: Limits;
  /** Where outcomes are counted. */
  counts: DnsCounts;
  /** Where the log lines go. */
  logger: GatewayLogger;
  /** The machine. */
  system: HostSystem;
  /** The file for `system`, where it is another than the host's. */
  resolvConfPath?: string;
}

/** Forwards questions to the upstream resolvers. */
export class DnsUpstreams implements Disposable {
  readonly #limits: Limits;
  readonly #counts: DnsCounts;
  readonly #list: UpstreamList;
  readonly #system: HostSystem;
  readonly #pool: DnsSocketPool;
  readonly #queries = new Map<string, Query>();
  #waiting = 0;
  #closed = false;

  /**
   * @param options What forwarding works with.
   * @throws {ConfigError} Where an upstream is no address.
   */
  constructor(options: DnsUpstreamsOptions) {
    this.#system = options.system;
    this.#limits = options.limits;
    this.#counts = options.counts;
    this.#list = new UpstreamList({ ...options, now: options.system.now });
    this.#pool = new DnsSocketPool({
      system: options.system,
      onUnmatched: () => this.#counts.unmatched++,
    });
  }

  /** How many questions wait for an answer. */
  get inFlight(): number {
    return this.#waiting;
  }

  /** How many UDP sockets are open. */
  get openSockets(): number {
    return this.#pool.openSockets;
  }

  /**
   * Asks the upstreams.
   *
   * @param message The question message, left as it is.
   * @param question What it asks.
   * @param transport How the upstreams are asked.
   * @returns The answer as it came, under the question's id and the asker's to keep, or why there
   * is none. It never rejects.
   */
  async ask(
    message: Uint8Array,
    question: DnsQuestion,
    transport: DnsTransport,
  ): Promise<DnsOutcome> {
    if (this.#closed) return "closed";
    if (this.#waiting >= this.#limits.dnsInFlight) return "busy";
    const query = this.#share(message, question, transport);
    this.#waiting++;
    const outcome = await query.outcome;
    this.#waiting--;
    if (typeof outcome === "string") return outcome;
    const answer = outcome.slice();
    setId(answer, question.id);
    return answer;
  }

  /** Ends all questions with `closed`, and closes all sockets; resolves when they have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    const queries = [...this.#queries.values()];
    for (const query of queries) query.close();
    this.#pool.close();
    await Promise.all(queries.map((query) => query.outcome));
  }

  [Symbol.dispose](): void {
    void this.close();
  }

  #share(message: Uint8Array, question: DnsQuestion, transport: DnsTransport): Query {
    const key = transport + String.fromCharCode(...message.subarray(2));
    const underWay = this.#queries.get(key);
    if (underWay !== undefined) {
      this.#counts.shared++;
      return underWay;
    }
    this.#counts.forwarded++;
    const options: QueryOptions = {
      message,
      question,
      system: this.#system,
      list: this.#list,
      pool: this.#pool,
      timeoutMs: this.#limits.dnsTimeoutMs,
      inFlightPerUpstream: this.#limits.dnsInFlightPerUpstream,
      onTryFailed: () => this.#counts.triesFailed++,
    };
    const query = transport === "udp" ? new UdpQuery(options) : new TcpQuery(options);
    this.#queries.set(key, query);
    query.outcome.then(() => this.#queries.delete(key));
    return query;
  }
}
