/**
 * The upstream resolvers in the order in which they are asked: as configured, but one that did not
 * answer stands behind the others for {@linkcode DOWN_MS}. Where all are down, the order is the
 * configured one again, so there is always someone to ask.
 *
 * @module
 */
import { ConfigError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { formatUpstream, parseUpstream, type UpstreamAddress } from "./dns_address.ts";
import { SystemResolvers } from "./system_resolvers.ts";

/** How long an upstream that did not answer stands behind the others. */
export const DOWN_MS = 15_000;

/** How long the log says nothing of another failure of the same upstream. */
export const QUIET_MS = 60_000;

/** One upstream resolver and how it does. */
export interface Upstream {
  /** Where it is asked. */
  readonly address: UpstreamAddress;
  /** Its address as text. */
  readonly name: string;
  /** Questions that it has not answered yet. */
  inFlight: number;
  /** Until when it stands behind the others. */
  downUntilMs: number;
  /** Whether the log has it that it does not answer. */
  failing: boolean;
  /** Until when the log says nothing of another failure. */
  quietUntilMs: number;
}

/** What the list is made from. */
export interface UpstreamListOptions {
  /** `system` or `ADDR[:PORT]` each, in order. */
  upstreams: readonly string[];
  /** Where the log lines go. */
  logger: GatewayLogger;
  /** The clock, in milliseconds. */
  now: () => number;
  /** The file for `system`, where it is another than the host's. */
  resolvConfPath?: string;
}

/** The upstream resolvers in the order in which they are asked. */
export class UpstreamList {
  readonly #sources: (UpstreamAddress | "system")[];
  readonly #system: SystemResolvers;
  readonly #logger: GatewayLogger;
  readonly #now: () => number;
  #systemList: readonly UpstreamAddress[] | null = null;
  #upstreams: Upstream[] | null = null;

  /**
   * @param options What the list is made from.
   * @throws {ConfigError} Where an address is none.
   */
  constructor(options: UpstreamListOptions) {
    this.#sources = options.upstreams.map(readSource);
    this.#logger = options.logger;
    this.#now = options.now;
    this.#system = new SystemResolvers({
      logger: options.logger,
      now: options.now,
      ...(options.resolvConfPath === undefined ? {} : { path: options.resolvConfPath }),
    });
  }

  /** The upstreams, the next to be asked first. */
  order(): Upstream[] {
    const nowMs = this.#now();
    const upstreams = this.#current();
    const up = upstreams.filter((upstream) => upstream.downUntilMs <= nowMs);
    if (up.length === upstreams.length) return up;
    return [...up, ...upstreams.filter((upstream) => upstream.downUntilMs > nowMs)];
  }

  /** Notes that an upstream did not answer. */
  failed(upstream: Upstream, reason: string): void {
    upstream.downUntilMs = this.#now() + DOWN_MS;
    // A guest can ask for names that no resolver answers in time; its log lines are bounded.
    if (upstream.failing || this.#now() < upstream.quietUntilMs) return;
    upstream.failing = true;
    upstream.quietUntilMs = this.#now() + QUIET_MS;
    this.#logger.warn(`upstream DNS ${upstream.name}: ${reason}`);
  }

  /** Notes that an upstream answered. */
  answered(upstream: Upstream): void {
    upstream.downUntilMs = 0;
    if (!upstream.failing) return;
    upstream.failing = false;
    this.#logger.info(`upstream DNS ${upstream.name} answers again`);
  }

  #current(): Upstream[] {
    const usesSystem = this.#sources.includes("system");
    const systemList = usesSystem ? this.#system.list() : this.#systemList;
    if (this.#upstreams !== null && systemList === this.#systemList) return this.#upstreams;
    this.#systemList = systemList;
    const known = new Map(this.#upstreams?.map((upstream) => [upstream.name, upstream]));
    const listed = new Map<string, Upstream>();
    for (const source of this.#sources) {
      for (const address of source === "system" ? systemList ?? [] : [source]) {
        const name = formatUpstream(address);
        listed.set(name, known.get(name) ?? makeUpstream(address, name));
      }
    }
    return this.#upstreams = [...listed.values()];
  }
}

function makeUpstream(address: UpstreamAddress, name: string): Upstream {
  return { address, name, inFlight: 0, downUntilMs: 0, failing: false, quietUntilMs: 0 };
}

function readSource(text: string, index: number): UpstreamAddress | "system" {
  if (text === "system") return text;
  const address = parseUpstream(text);
  if (address !== null) return address;
  throw new ConfigError([{
    key: `dns.upstreams[${index}]`,
    text: `"${text}" is not "system" or a resolver's ADDRESS[:PORT], such as 1.1.1.1 or [::1]:53`,
  }]);
}
