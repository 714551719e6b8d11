/**
 * The addresses of the servers of an engine, as far as they are known: those that a configuration
 * names, those that names led to, and those that a cluster announces. No guest may reach them.
 *
 * @module
 */
import { mayUseAnyAddress } from "../host/permissions.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import { addressesOfName, resolveName } from "./engine_names.ts";

/** A server's place as it is dialled. A property of an {@linkcode Engine}. */
export interface EngineAddress {
  /** Its address, a canonical literal. */
  readonly address: string;
  /** Its port. */
  readonly port: number;
}

const ADDRESSES_MAX = 256;
const DEFAULT_PORT = 4222;

/** The addresses of one engine. */
export class EngineAddresses {
  readonly #known = new Map<string, EngineAddress>();

  /** All of them. */
  list(): readonly EngineAddress[] {
    return [...this.#known.values()];
  }

  /**
   * Remembers the servers of a configuration. Of several one is dialled, and no guest may reach the
   * others either, so their names are looked up.
   *
   * @param servers The servers.
   * @param onMet Called for each that a name has led to.
   */
  meetAll(servers: readonly string[], onMet: () => void): void {
    for (const server of servers) {
      this.meetServer(server);
      const { hostname } = placeOf(server);
      // Where Deno lets nobody ask, it would ask on a terminal.
      if (parseIp(hostname) !== null || !mayUseAnyAddress()) continue;
      resolveName(hostname).then(() => {
        this.meetServer(server);
        onMet();
      }, () => {}); // who dials it hears why
    }
  }

  /** Remembers a server that is named as in a configuration, or by `HOST:PORT`. */
  meetServer(server: string): void {
    const { hostname, port } = placeOf(server);
    this.meet(hostname, port);
  }

  /** Remembers a server; of a name what it led to last. */
  meet(hostname: string, port: number): void {
    const literals = parseIp(hostname) === null ? addressesOfName(hostname) : [hostname];
    for (const literal of literals) {
      const bytes = parseIp(literal);
      if (bytes === null) continue;
      const address = formatIp(bytes);
      const id = `${address} ${port}`;
      this.#known.delete(id);
      this.#known.set(id, { address, port });
      // The one that was met least lately: a cluster may announce other servers for years.
      if (this.#known.size > ADDRESSES_MAX) {
        this.#known.delete(this.#known.keys().next().value!);
      }
    }
  }
}

/** The host and the port of a server, with or without a scheme. */
export function placeOf(server: string): { hostname: string; port: number } {
  const place = server.replace(/^[a-z]+:\/\//, "");
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(place) ?? [];
  return {
    hostname: bracketed ?? plain ?? place,
    port: port === undefined ? DEFAULT_PORT : Number(port),
  };
}
