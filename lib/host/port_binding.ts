/**
 * A published port at each of its addresses, or at none, for sockets of any kind.
 *
 * Where the system is to choose the port, all addresses get the same one. A socket on `::` takes IPv4
 * too where the system has it so (Linux does unless `bindv6only` is set). So `::` is bound first, and
 * an IPv4 address that is in use then is one that it has taken already. A host without IPv6 has no
 * `::1`, which is no error where it was not asked for.
 *
 * @module
 */
import { formatHostPort } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { PortMapping } from "../config/options.ts";
import { DEFAULT_BIND } from "../config/port_spec.ts";
import { formatPublished, type PublishedPort } from "../config/published.ts";
import { isNoDescriptors } from "./no_descriptors.ts";

/** A mapping whose port is a number. */
type AddressMapping = PortMapping & { readonly hostPort: number };

/** A socket and what it is published as. */
export interface Bound<S> {
  readonly socket: S;
  readonly published: PublishedPort;
  readonly allowFrom: readonly string[] | undefined;
}

/** What binds sockets of one kind. */
export interface PortBinder<S> {
  readonly protocol: "tcp" | "udp";
  /** Binds one address, or throws what Deno throws. */
  bind(hostname: string, port: number): S;
  portOf(socket: S): number;
  close(socket: S): void;
}

const PORT_MAX = 65_535;
/** How often the system is asked for a port that is free at all addresses. */
const CHOICES_MAX = 16;
/** All addresses. */
const ANY = "::";

/**
 * Binds a port at all its addresses, beside those that are bound.
 *
 * @throws {GatewayError} Where an address is in use, is none of the host's, or is not permitted;
 * nothing of the port is then bound.
 */
export function bindPort<S>(
  mapping: PortMapping,
  binder: PortBinder<S>,
  others: readonly Bound<S>[],
): Bound<S>[] {
  const { hostPort = 0 } = mapping;
  for (let choice = 1;; choice++) {
    try {
      return bindOnce({ ...mapping, hostPort }, binder, others);
    } catch (error) {
      const isTaken = (error as Error).cause instanceof Deno.errors.AddrInUse;
      if (hostPort !== 0 || !isTaken || choice === CHOICES_MAX) throw error;
    }
  }
}

function bindOnce<S>(
  mapping: AddressMapping,
  binder: PortBinder<S>,
  others: readonly Bound<S>[],
): Bound<S>[] {
  const { guestPort, allowFrom } = mapping;
  const { protocol } = binder;
  const bound: Bound<S>[] = [];
  let { hostPort } = mapping;
  try {
    for (const bind of (mapping.bind ?? DEFAULT_BIND).toSorted(anyAddressFirst)) {
      const socket = bindAddress(bind, { ...mapping, hostPort }, binder, [...others, ...bound]);
      if (socket === null) continue;
      hostPort = binder.portOf(socket); // the other addresses get the port that was chosen
      bound.push({ socket, allowFrom, published: { protocol, bind, hostPort, guestPort } });
    }
    return bound;
  } catch (error) {
    for (const { socket } of bound) binder.close(socket);
    throw error;
  }
}

function bindAddress<S>(
  bind: string,
  mapping: AddressMapping,
  binder: PortBinder<S>,
  bound: readonly Bound<S>[],
): S | null {
  try {
    return binder.bind(bind, mapping.hostPort);
  } catch (error) {
    const isTaken = error instanceof Deno.errors.AddrInUse;
    if (mapping.bind === undefined && bind === "::1" && !isTaken) return null;
    if (isTaken && !bind.includes(":") && isTakenByAny(mapping, bound)) return null;
    throw publishError(error, bind, mapping, binder.protocol);
  }
}

/** Whether `::` leads where an IPv4 address of the same port is to lead. */
function isTakenByAny(
  { hostPort, guestPort, allowFrom }: AddressMapping,
  bound: readonly Bound<unknown>[],
): boolean {
  return bound.some(({ published, ...each }) =>
    published.bind === ANY && published.hostPort === hostPort &&
    published.guestPort === guestPort && String(each.allowFrom) === String(allowFrom)
  );
}

function anyAddressFirst(a: string, b: string): number {
  return Number(b === ANY) - Number(a === ANY);
}

/** An order in which `::` comes before what it takes. */
export function anyFirst(a: PortMapping, b: PortMapping): number {
  return Number(b.bind?.includes(ANY) ?? false) - Number(a.bind?.includes(ANY) ?? false);
}

function publishError(
  error: unknown,
  bind: string,
  { hostPort, guestPort, bind: wished }: AddressMapping,
  protocol: "tcp" | "udp",
): GatewayError {
  const place = formatPublished({ protocol, bind, hostPort });
  const suffix = protocol === "udp" ? "/udp" : "";
  const spec = (port: number): string => {
    const host = wished === undefined ? port : formatHostPort(bind, port);
    return `-p ${host}:${guestPort}${suffix}`;
  };
  const cause = { cause: error };
  if (error instanceof Deno.errors.AddrInUse) {
    return new GatewayError("address-in-use", `cannot publish ${place}: the address is in use`, {
      hint: `Try ${spec(neighbour(hostPort))}, or ${spec(0)} to pick a free port`,
      ...cause,
    });
  }
  if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.PermissionDenied) {
    const privileged = error instanceof Deno.errors.PermissionDenied;
    return new GatewayError("permission", `cannot publish ${place}: permission denied`, {
      hint: privileged
        ? `Ports below 1024 belong to root; try ${spec(8000 + hostPort)}`
        : `Add --allow-net=${formatHostPort(bind, hostPort)}`,
      ...cause,
    });
  }
  return new GatewayError(
    "address-in-use",
    `cannot publish ${place}: ${(error as Error).message}`,
    {
      hint: isNoDescriptors(error)
        ? "Raise the limit of open files (ulimit -n), or publish fewer ports"
        : "Is it an address of this host?",
      ...cause,
    },
  );
}

/** Another port, for someone to try. */
function neighbour(port: number): number {
  return port < PORT_MAX ? port + 1 : port - 1;
}
