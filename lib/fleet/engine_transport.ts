/**
 * One connection to a server of the engine, dialled and given up: the client's own socket, with three
 * things that it leaves open. An attempt that came to nothing keeps no socket; one that is under way
 * can be ended; and it is told which addresses are dialled.
 *
 * @module
 */
import type { ConnectionOptions, NatsConnection } from "@nats-io/nats-core";
import { NatsConnectionImpl, setTransportFactory } from "@nats-io/nats-core/internal";
import { nodeResolveHost, NodeTransport } from "@nats-io/transport-node/lib/node_transport.js";
import { isGranted } from "../host/permissions.ts";

/** Longest that an attempt may take, in milliseconds. */
export const ATTEMPT_MS = 5_000;

/** Most names of servers whose addresses are remembered. */
const NAMES_MAX = 64;

/** Told of attempts. */
export interface DialObserver {
  /** A server is dialled. */
  dialling(attempt: Attempt, address: string, port: number): void;
  /** An attempt has come to nothing, or a connection has ended by an error. */
  failed(error: Error): void;
}

/** An attempt, or the connection that came of it. */
export interface Attempt {
  /** Ends it. */
  discard(): void;
}

/** Options of a connection; the client hands all of them to its transport. */
export interface DialOptions extends ConnectionOptions {
  readonly observer: DialObserver;
}

/** Addresses that servers' names led to when they were dialled last. */
const resolved = new Map<string, readonly string[]>();

/** The addresses that a name led to; none where it was not asked for. */
export function addressesOfName(hostname: string): readonly string[] {
  return resolved.get(hostname) ?? [];
}

/**
 * Connects to one of several servers, each tried once.
 *
 * @throws {Error} Where none answers as it should.
 */
export function connectEngine(options: DialOptions): Promise<NatsConnection> {
  setTransportFactory({ factory: () => new EngineTransport(), dnsResolveFn: resolveName });
  return NatsConnectionImpl.connect(options);
}

async function resolveName(hostname: string): Promise<string[]> {
  const addresses = await nodeResolveHost(hostname);
  if (resolved.size >= NAMES_MAX && !resolved.has(hostname)) resolved.clear();
  resolved.set(hostname, addresses.slice(0, NAMES_MAX));
  return addresses;
}

type Connect = NodeTransport["connect"];

class EngineTransport extends NodeTransport implements Attempt {
  readonly #givenUp = Promise.withResolvers<never>();
  #observer: DialObserver | null = null;

  constructor() {
    super();
    this.#givenUp.promise.catch(() => {});
  }

  override async connect(...[server, options]: Parameters<Connect>): Promise<void> {
    this.#observer = (options as DialOptions).observer;
    this.#observer.dialling(this, server.hostname, server.port);
    const address = server.hostname.includes(":") ? `[${server.hostname}]` : server.hostname;
    const host = `${address}:${server.port}`;
    // Deno would ask on a terminal.
    if (!isGranted({ name: "net", host })) {
      throw new Error(`Deno may not connect to ${host}; add --allow-net=${host}`);
    }
    await Promise.race([super.connect(server, options), this.#givenUp.promise]);
  }

  override close(error?: Error): Promise<void> {
    if (error !== undefined) this.#observer?.failed(error);
    if (this.connected) return super.close(error);
    this.discard();
    return Promise.resolve();
  }

  override discard(): void {
    super.discard();
    this.#givenUp.reject(new Error("the attempt was given up"));
  }
}
