/**
 * Ports of the host on which the gateway itself has sockets, by what they carry: no guest is to reach
 * those. Plain data, since guests of one process may live in several isolates.
 *
 * @module
 */
import type { PublishedPort } from "./published.ts";

/** Such ports. */
export interface OwnPorts {
  readonly tcp: readonly number[];
  readonly udp: readonly number[];
}

/** The same, to be asked. */
export type OwnPortSets = Readonly<Record<keyof OwnPorts, ReadonlySet<number>>>;

/** None. */
export const NO_PORTS: OwnPorts = Object.freeze({ tcp: [], udp: [] });

/** The ports of what is published. */
export function publishedOwnPorts(published: readonly PublishedPort[]): OwnPorts {
  const ports = (wanted: keyof OwnPorts) =>
    published.filter(({ protocol }) => protocol === wanted).map(({ hostPort }) => hostPort);
  return { tcp: ports("tcp"), udp: ports("udp") };
}

/** Several lists as one, each port once and in order. */
export function joinedPorts(parts: readonly OwnPorts[]): OwnPorts {
  const join = (name: keyof OwnPorts) =>
    [...new Set(parts.flatMap((part) => part[name]))].sort((a, b) => a - b);
  return { tcp: join("tcp"), udp: join("udp") };
}

/** Several lists as sets. */
export function ownPortSets(parts: readonly OwnPorts[]): OwnPortSets {
  const { tcp, udp } = joinedPorts(parts);
  return { tcp: new Set(tcp), udp: new Set(udp) };
}
