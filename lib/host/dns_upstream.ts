/**
 * Forwards questions to the upstream resolvers as they are given, under another id, so every record
 * type and every EDNS option passes that the gateway has left in.
 *
 *     question ─ zone of its name ─▶ UpstreamList ─▶ DnsQuery ─▶ UDP | TCP | TLS | HTTPS
 *
 * The longest zone that a name is in has its list asked, and no other; a name in none has the
 * general list asked.
 *
 * Bounds: `dnsInFlight` questions of the guest wait at once, `dnsInFlightPerUpstream` at one
 * upstream, none for longer than `dnsTimeoutMs`. Questions that are equal but for their id share
 * one query, so that nobody gains guesses at an answer by asking again (RFC 5452 section 5). Those
 * that differ in more, in the name's spelling, flags, EDNS or transport, may have answers of their
 * own; of these 16 of one name, type and class are on their way at once.
 *
 * @module
 */
import type { Limits } from "../config/limits.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { TraceSpan } from "../config/tracer.ts";
import type { DnsQuestion } from "../dns/question.ts";
import { ZoneTable } from "../dns/zone_table.ts";
import type { Channel } from "./dns_attempt.ts";
import type { DnsCounts } from "./dns_counts.ts";
import { Deadlines } from "./dns_deadlines.ts";
import { HttpsChannel } from "./dns_https.ts";
import { type DnsOutcome, DnsQuery, type DnsTransport, type QueryHost } from "./dns_query.ts";
import { Shares } from "./dns_shares.ts";
import { DnsSocketPool } from "./dns_socket_pool.ts";
import { TcpChannel } from "./dns_tcp.ts";
import { TlsChannel } from "./dns_tls.ts";
import { type Upstream, UpstreamList } from "./dns_upstream_list.ts";
import type { HostSystem } from "./host_system.ts";
import { SystemResolvers } from "./system_resolvers.ts";

/** Most queries for one name, type and class. */
const ALIKE_MAX = 16;

/** What forwarding works with. */
export interface DnsUpstreamsOptions {
  /** Texts as `parseUpstreamUrl` reads them, in order. */
  upstreams: readonly string[];
  /** Upstreams of names in a zone, by the zone's name. */
  zones?: Readonly<Record<string, readonly string[]>>;
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
  readonly #inFlightMax: number;
  readonly #counts: DnsCounts;
  readonly #host: QueryHost;
  readonly #list: UpstreamList;
  readonly #zones: ZoneTable<UpstreamList> | null;
  readonly #udp: DnsSocketPool;
  readonly #tcp: TcpChannel;
  readonly #tls: TlsChannel;
  readonly #https: HttpsChannel;
  readonly #shares: Shares<DnsQuery>;
  /** How many queries there are for a name, type and class. */
  readonly #alike = new Map<string, number>();
  readonly #deadlines: Deadlines<DnsQuery>;
  #waiting = 0;
  #closed: Promise<void> | null = null;

  /**
   * @param options What forwarding works with.
   * @throws {ConfigError} Where an upstream is none.
   */
  constructor(options: DnsUpstreamsOptions) {
    const { system, limits, counts, zones = {} } = options;
    this.#counts = counts;
    this.#inFlightMax = limits.dnsInFlight;
    const onUnmatched = () => this.#counts.unmatched++;
    this.#udp = new DnsSocketPool({ system, onUnmatched });
    this.#tcp = new TcpChannel(system);
    this.#tls = new TlsChannel({ system, onUnmatched, openingMs: limits.dnsTimeoutMs });
    this.#https = new HttpsChannel(system);
    this.#shares = new Shares(() => system.randomWord());
    this.#deadlines = new Deadlines(system, (query) => query.onDue());
    this.#host = {
      timeoutMs: limits.dnsTimeoutMs,
      inFlightPerUpstream: limits.dnsInFlightPerUpstream,
      now: system.now,
      channelTo: (upstream, isTcp) => this.#channelTo(upstream, isTcp),
      schedule: (query, atMs) => this.#deadlines.schedule(query, atMs),
      onTryFailed: () => this.#counts.triesFailed++,
      onEnded: (query, askers) => this.#onEnded(query, askers),
    };
    const lists = makeLists(options);
    this.#list = lists.list(options.upstreams, "dns.upstreams");
    const entries = Object.entries(zones).map(([zone, upstreams]): [string, UpstreamList] => [
      zone,
      lists.list(upstreams, `dns.zones.${zone}`),
    ]);
    this.#zones = entries.length === 0 ? null : new ZoneTable(entries);
  }

  /** How many questions wait for an answer. */
  get inFlight(): number {
    return this.#waiting;
  }

  /** How many UDP sockets are open. */
  get openSockets(): number {
    return this.#udp.openSockets;
  }

  /** How many TLS connections are open or about to be. */
  get openConnections(): number {
    return this.#tls.openConnections;
  }

  /**
   * Asks the upstreams.
   *
   * @param message The question message; it stays as it is until the outcome is there.
   * @param question What it asks.
   * @param transport How the guest asked.
   * @param span What the guest's question is traced by, if it is.
   * @returns The answer as it came, under the question's id and the asker's to keep, or why there
   * is none. It never rejects.
   */
  ask(
    message: Uint8Array,
    question: DnsQuestion,
    transport: DnsTransport,
    span: TraceSpan | null = null,
  ): Promise<DnsOutcome> {
    if (this.#closed !== null) return Promise.resolve("closed");
    if (this.#waiting >= this.#inFlightMax) return Promise.resolve("busy");
    const isTcp = transport === "tcp";
    const hash = this.#shares.hash(message, isTcp);
    const underWay = this.#shares.find(hash, message, isTcp);
    if (underWay !== null) {
      this.#waiting++;
      this.#counts.shared++;
      return underWay.join(question.id);
    }
    const key = keyOf(question);
    const alike = this.#alike.get(key) ?? 0;
    if (alike >= ALIKE_MAX) return Promise.resolve("busy");
    this.#alike.set(key, alike + 1);
    this.#waiting++;
    this.#counts.forwarded++;
    const list = this.#listFor(question);
    const query = new DnsQuery({ message, question, isTcp, list, span }, this.#host);
    this.#shares.add(query, hash);
    const outcome = query.join(question.id);
    query.start();
    return outcome;
  }

  /** Ends all questions with `recalled`: who waits for one has to judge anew whether it may go. */
  recall(): void {
    for (const query of [...this.#shares]) query.end("recalled");
  }

  /** Ends all questions with `closed`: whoever asked them is gone. */
  forget(): void {
    for (const query of [...this.#shares]) query.end("closed");
  }

  /** Ends all questions with `closed`, and closes all sockets; resolves when they have ended. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  [Symbol.dispose](): void {
    void this.close();
  }

  #channelTo({ place }: Upstream, isTcp: boolean): Channel {
    switch (place.kind) {
      case "plain":
        return isTcp ? this.#tcp : this.#udp;
      case "tls":
        return this.#tls;
      case "https":
        return this.#https;
    }
  }

  #onEnded(query: DnsQuery, askers: number): void {
    this.#waiting -= askers;
    this.#deadlines.cancel(query);
    this.#shares.delete(query);
    const key = keyOf(query.question);
    const alike = this.#alike.get(key)!;
    if (alike > 1) this.#alike.set(key, alike - 1);
    else this.#alike.delete(key);
  }

  #listFor(question: DnsQuestion): UpstreamList {
    return this.#zones?.find(question.name)?.value ?? this.#list;
  }

  async #close(): Promise<void> {
    this.forget();
    this.#deadlines.close();
    const channels: readonly Channel[] = [this.#udp, this.#tcp, this.#tls, this.#https];
    await Promise.all(channels.map((channel) => channel.close()));
  }
}

function keyOf({ name, type, class: klass }: DnsQuestion): string {
  return `${type} ${klass} ${name}`;
}

/** Makes lists that look at the host's own resolvers together. */
function makeLists(options: DnsUpstreamsOptions) {
  const { logger, system: { now }, resolvConfPath } = options;
  const resolvers = new SystemResolvers({
    logger,
    now,
    ...(resolvConfPath === undefined ? {} : { path: resolvConfPath }),
  });
  return {
    list: (upstreams: readonly string[], key: string) =>
      new UpstreamList({ upstreams, key, logger, now, resolvers }),
  };
}
