/**
 * Where guests are kept from the engine: at the addresses of its servers and, where one of them is on
 * this host, at the host's loopback and its other addresses as well.
 *
 * @module
 */
import { hostSystem } from "../host/host_system.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import type { EngineAddress } from "./engine.ts";
import { placeOf } from "./engine_addresses.ts";

/** The servers that are named by their addresses. */
export function literalsOf(servers: readonly string[]): EngineAddress[] {
  return withLoopback(
    servers.map(placeOf).flatMap(({ hostname, port }) => {
      const octets = parseIp(hostname);
      return octets === null ? [] : [{ address: formatIp(octets), port }];
    }),
  );
}

/** One that is on this host may be reached by the loopback as well. */
export function withLoopback(addresses: readonly EngineAddress[]): EngineAddress[] {
  return addresses.flatMap((each) => {
    const isOwn = hostSystem.canBind(each.address) ?? true;
    return isOwn ? [each, { address: LOOPBACK, port: each.port }] : [each];
  });
}

const LOOPBACK = "127.0.0.1";
