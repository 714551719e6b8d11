/**
 * What Deno lets this process do, asked without ever prompting.
 *
 * On a terminal Deno stops the whole process to ask when a permission is missing, so every use is
 * preceded by a query here, and anything but "granted" counts as missing. `Deno.errors.NotCapable`
 * (a flag is missing) and `PermissionDenied` (the system says no) are two errors.
 *
 * @module
 */
import { formatEndpoint, formatHostPort, type VmmEndpoint, wakerPath } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { PortMapping } from "../config/options.ts";
import { shellQuote } from "../config/permission_line.ts";
import { DEFAULT_BIND } from "../config/port_spec.ts";
import { formatPublished } from "../config/published.ts";

/** Whether a permission is there. */
export function isGranted(descriptor: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(descriptor).state === "granted";
}

/** Whether Deno lets the process reach or listen on any address (but for `--deny-net`). */
export function mayUseAnyAddress(): boolean {
  return isGranted({ name: "net" });
}

/** Whether Deno lets the process reach or listen on one address. */
export function mayUseAddress(hostname: string, port: number): boolean {
  return isGranted({ name: "net", host: formatHostPort(hostname, port) });
}

/** Whether Deno's net permission covers a unix socket; reading and writing its file is apart. */
export function mayUseUnixSocket(path: string): boolean {
  const absolute = path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
  return isGranted({ name: "net", host: `unix:${absolute}` });
}

/**
 * The one flag that lacks for an endpoint.
 *
 * @param endpoint Where to listen or connect.
 * @returns A flag such as `--allow-write=/run/vm1.sock`, or `null` where nothing lacks.
 */
export function missingFlag(endpoint: VmmEndpoint): string | null {
  if (endpoint.transport === "stdio") return null;
  if (endpoint.transport === "vsock") {
    const host = `vsock:${endpoint.cid}:${endpoint.port}`;
    return isGranted({ name: "net", host }) ? null : `--allow-net=${host}`;
  }
  if (endpoint.transport === "tcp") {
    const { hostname, port } = endpoint;
    return mayUseAddress(hostname, port)
      ? null
      : shellQuote(`--allow-net=${formatHostPort(hostname, port)}`);
  }
  const net = mayUseUnixSocket(endpoint.path) ? [] : ["--allow-net"];
  const isLacking = endpoint.transport === "unixgram" && !("listenDatagram" in Deno);
  const unstable = isLacking ? ["--unstable-net"] : [];
  const waker = endpoint.transport === "unixgram" ? missingFileFlags(wakerPath(endpoint.path)) : [];
  const flags = [...unstable, ...net, ...missingFileFlags(endpoint.path), ...waker];
  return flags.length === 0 ? null : flags.map(shellQuote).join(" ");
}

/** The flags that lack for reading and writing a file, as a unix socket's must be. */
export function missingFileFlags(path: string): string[] {
  const missing = (["read", "write"] as const).filter((name) => !isGranted({ name, path }));
  return missing.map((name) => `--allow-${name}=${path.replaceAll(",", ",,")}`);
}

/**
 * Checks the permissions of an endpoint before it is used.
 *
 * @param endpoint Where to listen or connect.
 * @param doing What it is for, as in "listen on".
 * @throws {GatewayError} With code `permission` and the flag to add as hint.
 */
export function requireEndpoint(endpoint: VmmEndpoint, doing: "listen on" | "connect to"): void {
  const flag = missingFlag(endpoint);
  if (flag !== null) throw permissionError(`${doing} ${formatEndpoint(endpoint)}`, flag);
}

/**
 * Checks the permissions of published ports before they are bound.
 *
 * @param ports The ports.
 * @throws {GatewayError} With code `permission` and the flag to add as hint.
 */
export function requirePublished(ports: readonly PortMapping[]): void {
  for (const { hostPort = 0, unix, bind = DEFAULT_BIND, protocol = "tcp" } of ports) {
    if (unix !== undefined) {
      const flag = missingFlag({ transport: "unix", path: unix });
      if (flag !== null) throw permissionError(`publish unix:${unix}`, flag);
      continue;
    }
    for (const address of bind) {
      if (mayUseAddress(address, hostPort)) continue;
      const place = formatPublished({ protocol, bind: address, hostPort });
      const flag = shellQuote(`--allow-net=${formatHostPort(address, hostPort)}`);
      throw permissionError(`publish ${place}`, flag);
    }
  }
}

/**
 * The error of a missing permission.
 *
 * @param doing What can't be done, as in "read gateway.yaml".
 * @param flag The flag that would allow it.
 * @param cause The error underneath.
 * @returns An error with code `permission`.
 */
export function permissionError(doing: string, flag: string, cause?: unknown): GatewayError {
  return new GatewayError("permission", `cannot ${doing}: Deno has no permission for it`, {
    hint: `Add ${flag}`,
    cause,
  });
}

/** The error that stands for Deno's own where it would refuse an address, or ask a person. */
export function noNetPermission(hostname: string, port: number): Error {
  const text = `no net permission for ${formatHostPort(hostname, port)}`;
  return Object.assign(new Deno.errors.NotCapable(text), { code: "EACCES" });
}

/** Whether an error says that a permission is missing: a flag of Deno, or the system's own. */
export function isPermissionError(error: unknown): boolean {
  return error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.PermissionDenied;
}

/** An environment variable, or `undefined` where it is not set or may not be read. */
export function readEnvironment(variable: string): string | undefined {
  return isGranted({ name: "env", variable }) ? Deno.env.get(variable) : undefined;
}
