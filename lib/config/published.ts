/**
 * A published place as programs and people name it: `127.0.0.1:8080`, `127.0.0.1:5353/udp`,
 * `unix:/run/web.sock`.
 *
 * @module
 */
import { formatHostPort } from "./endpoint.ts";

/**
 * What a published port carries: connections, datagrams, or the connections of a unix socket. Part of
 * what {@linkcode VirtioNetworkServer.publish} yields.
 */
export type PublishedProtocol = "tcp" | "udp" | "unix";

/**
 * A published address that is bound. As {@linkcode VirtioNetworkServer.publish} yields it.
 */
export interface PublishedPort {
  /** What it carries. */
  readonly protocol: PublishedProtocol;
  /** The host's address, as a literal; the path of a unix socket. */
  readonly bind: string;
  /** The host's port: the one that was chosen where 0 was asked for. 0 for a unix socket. */
  readonly hostPort: number;
  /** The guest's port. */
  readonly guestPort: number;
}

/**
 * Which published ports are meant; a {@linkcode PublishedPort} is one of them. For
 * {@linkcode VirtioNetworkServer.unpublish}.
 */
export interface PublishedPlace {
  /** What it carries; `tcp` when absent. */
  readonly protocol?: PublishedProtocol;
  /** The host's port; absent or 0 for a unix socket. */
  readonly hostPort?: number;
  /** The one address that is meant, all when absent; for a unix socket its path. */
  readonly bind?: string;
}

/** The place as text. */
export function formatPublished(
  { protocol, bind, hostPort }: Pick<PublishedPort, "protocol" | "bind" | "hostPort">,
): string {
  if (protocol === "unix") return `unix:${bind}`;
  const place = formatHostPort(bind, hostPort);
  return protocol === "udp" ? `${place}/udp` : place;
}

/** A place as it may be said in short: the host's TCP port, and the one address that is meant. */
export function placeOf(place: number | PublishedPlace, bind?: string): PublishedPlace {
  if (typeof place !== "number") return place;
  return { hostPort: place, ...(bind === undefined ? {} : { bind }) };
}

/** Whether a published port is at a place. */
export function isAtPlace(port: PublishedPort, place: PublishedPlace): boolean {
  const { protocol = "tcp", hostPort, bind } = place;
  if (port.protocol !== protocol || (bind !== undefined && port.bind !== bind)) return false;
  return protocol === "unix" ? bind !== undefined : port.hostPort === hostPort;
}
