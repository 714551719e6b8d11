/**
 * The options of several guests in one process: each a network of its own, alone or with others on
 * a shared one. Plain data, like those of a single guest.
 *
 * @module
 */
import type { Framing, VmmEndpoint } from "./endpoint.ts";
import type { VirtioNetworkConfig } from "./options.ts";

/**
 * A network that several guests share. What is absent has a default: network number k of all has
 * 10.77.k.0/24 and fd53:4d01:0:k::/64. For {@linkcode serveGuests}.
 */
export interface SharedNetworkConfig {
  /**
   * The IPv4 network, such as `10.77.0.0/24`: its first address is the gateway's, the next ones the
   * guests' in their order.
   */
  ip?: string;
  /** The IPv6 network, such as `fd53:4d01::/64`, divided likewise. */
  ip6?: string;
  /** Whether its guests are given IPv6. Default true. */
  ipv6?: boolean;
  /** Largest IP packet on its links, in bytes. Default 1,500. */
  mtu?: number;
}

/**
 * One guest among several: where its VMM is met, and its network. For
 * {@linkcode serveGuests}.
 */
export interface GuestConfig extends VirtioNetworkConfig {
  /** Its name: lower-case letters, digits and hyphens; unique. */
  name: string;
  /** Where its VMM is met. */
  endpoint: VmmEndpoint;
  /** Whether to wait for the VMM or to go to it. Default `listen`. */
  mode?: "listen" | "connect";
  /** How frames are told apart in a stream. Default `stream`. */
  framing?: Framing;
  /** Whether its endpoint is left once the guest has disconnected. Default false. */
  once?: boolean;
  /** How long it is kept for a VMM that leaves and comes again, in milliseconds. Default 0. */
  lingerMs?: number;
  /** How long its end lets queued bytes drain, in milliseconds. Default 5,000. */
  graceMs?: number;
  /** The shared network that it is a member of; a network of its own when absent. */
  network?: string;
}

/**
 * Several guests, and the networks that some of them share. For {@linkcode serveGuests}.
 */
export interface GuestsConfig {
  /** The guests, 1 to 256. */
  guests: GuestConfig[];
  /** Shared networks by their names. */
  networks?: Record<string, SharedNetworkConfig>;
  /**
   * How many workers serve them; 0 serves all in this isolate. As many as there are cores, or
   * guests where these are fewer, when absent.
   */
  workers?: number;
}
