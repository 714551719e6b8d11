/**
 * The upstream resolvers in the order in which they are asked: as configured, but one that did not
 * answer stands behind the others for {@linkcode DOWN_MS}. Where all are down, the order is the
 * configured one again, so there is always someone to ask.
 *
 * That one could not show who it is (its certificate is for another name, or of nobody who is
 * trusted) is told for itself, whatever was told of it before.
 *
 * @module
 */
import { ConfigError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import {
  formatUpstreamSpec,
  parseUpstreamUrl,
  type UpstreamPlace,
  type UpstreamSpec,
} from "../config/upstream_spec.ts";
import type { UpstreamAddress } from "./dns_address.ts";
import { SystemResolvers } from "./system_resolvers.ts";

/** How long an upstream that did not answer stands behind the others. */
export const DOWN_MS = 15_000;

/** How long the log says nothing of another failure of the same upstream. */
export const QUIET_MS = 60_000;

/** One upstream resolver and how it does. */
export interface Upstream {
  /** Where and how it is asked. */
  readonly place: UpstreamPlace;
  /** Its place as text. */
  readonly name: string;
  /** Questions that it has not answered yet. */
  inFlight: number;
  /** Until when it stands behind the others. */
  downUntilMs: number;
  /** Whether the log has it that it does not answer. */
  failing: boolean;
  /** Until when the log says nothing of another failure. */
  quietUntilMs: number;
  /** Whether the log has it that it is not who it should be. */
  distrusted: boolean;
  /** Until when the log says nothing more of that. */
  distrustQuietUntilMs: number;
  /** Until when the permission to ask it needs no other look. */
  allowedUntilMs: number;
}

/** What the list is made from. */
export interface UpstreamListOptions {
  /** Texts as `parseUpstreamUrl` reads them, in order. */
  upstreams: readonly string[];
  /** Where they stand in the configuration; `dns.upstreams` when absent. */
  key?: string;
  /** Where the log lines go. */
  logger: GatewayLogger;
  /** The clock, in milliseconds. */
  now: () => number;
  /** The file for `system`, where it is another than the host's. */
  resolvConfPath?: string;
  /** The host's own resolvers, where other lists look at them too. */
  resolvers?: SystemResolvers;
}

/** The upstream resolvers in the order in which they are asked. */
export class UpstreamList {
  readonly #sources: readonly UpstreamSpec[];
  readonly #usesSystem: boolean;
  readonly #system: SystemResolvers;
  readonly #logger: GatewayLogger;
  readonly #now: () => number;
  #systemList: readonly UpstreamAddress[] | null = null;
  #upstreams: Upstream[] | null = null;
  /** From here on none is down. */
  #allUpAtMs = -Infinity;

  /**
   * @param options What the list is made from.
   * @throws {ConfigError} Where one is no upstream.
   */
  constructor(options: UpstreamListOptions) {
    const key = options.key ?? "dns.upstreams";
    this.#sources = options.upstreams.map((text, i) => readSource(text, `${key}[${i}]`));
    this.#usesSystem = this.#sources.some(({ kind }) => kind === "system");
    this.#logger = options.logger;
    this.#now = options.now;
    this.#system = options.resolvers ?? new SystemResolvers({
      logger: options.logger,
      now: options.now,
      ...(options.resolvConfPath === undefined ? {} : { path: options.resolvConfPath }),
    });
  }

  /** The upstreams, the next to be asked first; the array is not the caller's. */
  order(nowMs: number = this.#now()): readonly Upstream[] {
    const upstreams = this.#current(nowMs);
    if (nowMs >= this.#allUpAtMs) return upstreams;
    const up = upstreams.filter((upstream) => upstream.downUntilMs <= nowMs);
    return [...up, ...upstreams.filter((upstream) => upstream.downUntilMs > nowMs)];
  }

  /** Notes that an upstream did not answer, or could not show that it is who it should be. */
  failed(upstream: Upstream, reason: string, isDistrusted = false): void {
    const nowMs = this.#now();
    upstream.downUntilMs = this.#allUpAtMs = nowMs + DOWN_MS;
    if (isDistrusted) return this.#distrust(upstream, reason, nowMs);
    // A guest can ask for names that no resolver answers in time; its log lines are bounded.
    if (upstream.failing || nowMs < upstream.quietUntilMs) return;
    upstream.failing = true;
    upstream.quietUntilMs = nowMs + QUIET_MS;
    this.#logger.warn(`upstream DNS ${upstream.name}: ${reason}`);
  }

  /** Notes that an upstream answered. */
  answered(upstream: Upstream): void {
    upstream.downUntilMs = 0;
    if (!upstream.failing) return;
    upstream.failing = upstream.distrusted = false;
    this.#logger.info(`upstream DNS ${upstream.name} answers again`);
  }

  #distrust(upstream: Upstream, reason: string, nowMs: number): void {
    if (upstream.distrusted || nowMs < upstream.distrustQuietUntilMs) return;
    upstream.distrusted = upstream.failing = true;
    upstream.quietUntilMs = upstream.distrustQuietUntilMs = nowMs + QUIET_MS;
    this.#logger.error(
      `upstream DNS ${upstream.name} is not trusted: ${reason}; its certificate must be for the ` +
        "name or address there, by an authority that Deno trusts (DENO_CERT=FILE adds one)",
    );
  }

  #current(nowMs: number): Upstream[] {
    const systemList = this.#usesSystem ? this.#system.list(nowMs) : this.#systemList;
    if (this.#upstreams !== null && systemList === this.#systemList) return this.#upstreams;
    this.#systemList = systemList;
    const known = new Map(this.#upstreams?.map((upstream) => [upstream.name, upstream]));
    const listed = new Map<string, Upstream>();
    for (const source of this.#sources) {
      for (const place of source.kind === "system" ? plain(systemList ?? []) : [source]) {
        const name = formatUpstreamSpec(place);
        listed.set(name, known.get(name) ?? makeUpstream(place, name));
      }
    }
    return this.#upstreams = [...listed.values()];
  }
}

function plain(addresses: readonly UpstreamAddress[]): UpstreamPlace[] {
  return addresses.map(({ hostname, port }) => ({ kind: "plain", hostname, port }));
}

function makeUpstream(place: UpstreamPlace, name: string): Upstream {
  return {
    place,
    name,
    inFlight: 0,
    downUntilMs: 0,
    failing: false,
    quietUntilMs: 0,
    distrusted: false,
    distrustQuietUntilMs: 0,
    allowedUntilMs: -Infinity,
  };
}

function readSource(text: string, key: string): UpstreamSpec {
  const spec = parseUpstreamUrl(text);
  if (typeof spec === "object") return spec;
  throw new ConfigError([{ key, text: spec }]);
}
