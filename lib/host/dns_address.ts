/**
 * Addresses of plain upstream resolvers, and the permission to ask them.
 *
 * @module
 */
import { formatHostPort } from "../config/endpoint.ts";
import { parseUpstreamUrl } from "../config/upstream_spec.ts";

/** Where an upstream resolver is asked. */
export interface UpstreamAddress {
  /** Canonical IPv4 or IPv6 literal, as the host's sockets report it. */
  readonly hostname: string;
  /** Port, 1 to 65,535. */
  readonly port: number;
}

/**
 * Reads the address of an upstream resolver.
 *
 * @param text `ADDR`, `ADDR:PORT`, `V6` or `[V6]:PORT`.
 * @returns The address, or `null` where the text is none or no resolver can be there.
 */
export function parseUpstream(text: string): UpstreamAddress | null {
  const spec = parseUpstreamUrl(text);
  if (typeof spec === "string" || spec.kind !== "plain") return null;
  return { hostname: spec.hostname, port: spec.port };
}

/** The text that {@linkcode parseUpstream} reads back. */
export function formatUpstream({ hostname, port }: UpstreamAddress): string {
  return formatHostPort(hostname, port);
}

/**
 * Checks that the runtime may use an address, since without the permission it would ask on the
 * terminal.
 *
 * @param address The address to be asked, or with port 0 the one to be bound.
 * @throws Where it may not.
 */
export function requireNet(address: UpstreamAddress): void {
  const host = formatUpstream(address);
  const { state } = Deno.permissions.querySync({ name: "net", host });
  if (state !== "granted") throw new Error(`needs --allow-net=${host}`);
}
