/**
 * The host's own resolvers, from resolv.conf(5).
 *
 * The file is read where reading it is granted (asked with a query, never with a prompt) and again
 * once it has changed: a laptop that moves to another network keeps its guests' names. It is
 * looked at on demand and at most every {@linkcode RECHECK_MS}, so nothing has to be stopped or
 * closed. Where it can't be read or names no usable resolver, `DEFAULT_DNS_ADDR` is used.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { DEFAULT_DNS_ADDR } from "../config/options.ts";
import { formatUpstream, parseUpstream, type UpstreamAddress } from "./dns_address.ts";
import { isNoDescriptors } from "./no_descriptors.ts";

/** The file that names the host's resolvers. */
export const RESOLV_CONF = "/etc/resolv.conf";

/** How long the list is used without a look at the file. */
export const RECHECK_MS = 3_000;

/** Most resolvers that are taken from the file. */
const RESOLVERS_MAX = 8;

/** Largest file that is read. */
const FILE_MAX_BYTES = 64 * 1024;

/** The host's own resolvers, as they are at the moment. */
export class SystemResolvers {
  readonly #path: string;
  readonly #logger: GatewayLogger;
  readonly #now: () => number;
  #list: readonly UpstreamAddress[] = FALLBACK;
  #stamp = "";
  #recheckAtMs = -Infinity;

  /**
   * @param options Where the log lines go, the clock in milliseconds, and the file.
   */
  constructor(options: { logger: GatewayLogger; now: () => number; path?: string }) {
    this.#path = options.path ?? RESOLV_CONF;
    this.#logger = options.logger;
    this.#now = options.now;
  }

  /**
   * The resolvers in the order of the file, at least one.
   *
   * @returns The same array until the file has changed.
   */
  list(nowMs: number = this.#now()): readonly UpstreamAddress[] {
    if (nowMs < this.#recheckAtMs) return this.#list;
    this.#recheckAtMs = nowMs + RECHECK_MS;
    const stamp = fileStamp(this.#path);
    if (stamp === this.#stamp) return this.#list;
    this.#stamp = stamp;
    const found = stamp === UNREADABLE ? [] : readResolvers(this.#path);
    if (found === null) {
      this.#stamp = ""; // is looked at again: names must not go elsewhere for a passing trouble
      return this.#list;
    }
    this.#list = found.length > 0 ? found : FALLBACK;
    const servers = this.#list.map(formatUpstream).join(" ");
    const why = found.length > 0 ? "" : `, as ${this.#path} names none that can be used`;
    this.#logger.info(`upstream DNS: ${servers}${why}`);
    return this.#list;
  }
}

const FALLBACK: readonly UpstreamAddress[] = [parseUpstream(DEFAULT_DNS_ADDR)!];

const UNREADABLE = "unreadable";

/** Changes whenever the file does: it is most often replaced, or the target of a link that moves. */
function fileStamp(path: string): string {
  try {
    const { state } = Deno.permissions.querySync({ name: "read", path });
    if (state !== "granted") return UNREADABLE;
    const info = Deno.statSync(path);
    if (!info.isFile || info.size > FILE_MAX_BYTES) return UNREADABLE;
    return `${info.mtime?.getTime()} ${info.ino} ${info.size}`;
  } catch {
    return UNREADABLE;
  }
}

/** `null` where the system has no descriptor for it at the moment. */
function readResolvers(path: string): UpstreamAddress[] | null {
  try {
    return parseResolvConf(Deno.readTextFileSync(path));
  } catch (error) {
    return isNoDescriptors(error) ? null : []; // it vanished since, or is not UTF-8
  }
}

/**
 * The usable resolvers of a resolv.conf(5).
 *
 * @param text The file's text.
 * @returns Each `nameserver` that is a literal, once, in order; never more than eight.
 */
export function parseResolvConf(text: string): UpstreamAddress[] {
  const found = new Map<string, UpstreamAddress>();
  for (const line of text.split("\n")) {
    const address = /^nameserver[ \t]+([^ \t\r#;]+)/.exec(line)?.[1];
    // A literal alone: the file has no syntax for ports.
    const upstream = address === undefined ? null : parseUpstream(`[${address}]`);
    if (upstream === null) continue;
    found.set(formatUpstream(upstream), upstream);
    if (found.size === RESOLVERS_MAX) break;
  }
  return [...found.values()];
}
