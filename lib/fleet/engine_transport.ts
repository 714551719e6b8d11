/**
 * One connection to a server of the engine, under the client: dialled, read, written and given up.
 *
 * The client brings a transport of its own, which this one stands in for: there an attempt that comes
 * to nothing may leave its socket, one that is under way can't be ended, and an error between two of
 * its steps is heard by nobody and ends the process. Here a socket has its listeners for as long as
 * it lives, and whatever comes of an attempt is told once.
 *
 * @module
 */
import { createConnection, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { ConnectionOptions, NatsConnection, Server, ServerInfo } from "@nats-io/nats-core";
import {
  checkOptions,
  NatsConnectionImpl,
  setTransportFactory,
  type Transport,
} from "@nats-io/nats-core/internal";
import { formatHostPort } from "../config/endpoint.ts";
import { mayUseAddress } from "../host/permissions.ts";
import { parseIp } from "../wire/address.ts";
import { EngineFrames, LINE_MAX_BYTES } from "./engine_frames.ts";
import { ClosedEarlyError, NoTlsError } from "./engine_fault.ts";
import { resolveName } from "./engine_names.ts";

/** Longest that an attempt may take, in milliseconds. */
export const ATTEMPT_MS = 5_000;

/** Between two attempts to come back, as the client has it; a gateway says its own. */
const RETRY_MS = 2_000;

/** From here on a server is not read until the client has taken what is there. */
const UNREAD_MAX_BYTES = 4 * 1024 * 1024;

/** A server that has so much left to take is given up. */
const UNSENT_MAX_BYTES = 4 * 1024 * 1024;

/** Told of attempts. */
export interface DialObserver {
  /** A server is dialled. */
  dialling(attempt: Attempt, address: string, port: number): void;
  /** A server is there, at this address. */
  met(address: string, port: number): void;
  /** An attempt has come to nothing. */
  failed(error: Error): void;
  /** Whether the engine has let the client in. */
  isLetIn(): boolean;
}

/** An attempt, or the connection that came of it. */
export interface Attempt {
  /** Ends it. */
  discard(): void;
}

/** Options of a connection; the client hands all of them to its transport. */
export interface DialOptions extends ConnectionOptions {
  readonly observer?: DialObserver;
}

/**
 * Connects to one of several servers, each tried once; between attempts to come back it waits as it
 * is told, or two seconds.
 *
 * @throws {Error} Where none answers as it should.
 */
export function connectEngine(options: DialOptions): Promise<NatsConnection> {
  const reconnectDelayHandler = (): number => {
    takeDialling();
    return options.reconnectDelayHandler?.() ?? options.reconnectTimeWait ?? RETRY_MS;
  };
  takeDialling();
  return NatsConnectionImpl.connect({ ...options, reconnectDelayHandler });
}

/**
 * The client has one transport for all connections of a program. Another user of it may have put its
 * own there, so it is taken before each attempt; theirs get along with this one.
 */
function takeDialling(): void {
  setTransportFactory({ factory: () => new EngineTransport(), dnsResolveFn: resolveName });
}

/** The client forgets servers that did not answer its first attempt. */
export function restoreServers(connection: NatsConnection, servers: readonly string[]): void {
  const known = connection.getServers().map(({ listen }) => listen);
  const places = servers.map((server) => server.replace(/^[a-z]+:\/\//, ""));
  const forgotten = places.filter((place) => !known.includes(place));
  if (forgotten.length > 0) connection.setServers([...known, ...forgotten]);
}

class EngineTransport implements Transport, Attempt {
  readonly lang = "deno";
  readonly version: string = Deno.version.deno;
  closeError?: Error;
  readonly #closed = Promise.withResolvers<void | Error>();
  /** Rejected where the attempt, or the connection, has ended. */
  readonly #end = Promise.withResolvers<never>();
  #observer: DialObserver | null = null;
  #socket: Socket | null = null;
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  #wake = (): void => {};
  #isUp = false;
  #isDone = false;
  /** Whether it was told that the attempt came to nothing. */
  #isTold = false;

  constructor() {
    this.#end.promise.catch(() => {});
  }

  get isClosed(): boolean {
    return this.#isDone;
  }

  async connect(server: Server, options: ConnectionOptions): Promise<void> {
    const { hostname, port } = server;
    this.#observer = (options as Partial<DialOptions>).observer ?? null;
    this.#observer?.dialling(this, hostname, port);
    // Deno would ask on a terminal.
    if (!mayUseAddress(hostname, port)) {
      const place = formatHostPort(hostname, port);
      throw new Error(`Deno may not connect to ${place}; add --allow-net=${place}`);
    }
    await Promise.race([this.#open(server, options), this.#end.promise]);
    if (this.#isDone) await this.#end.promise;
    this.#isUp = true;
  }

  async #open({ hostname, port, tlsName }: Server, options: ConnectionOptions): Promise<void> {
    const socket = createConnection({ host: hostname, port, noDelay: true });
    const isThere = Promise.withResolvers<void>();
    socket.once("connect", () => isThere.resolve());
    this.#listen(socket);
    await isThere.promise;
    // Of a name that Deno itself has looked up.
    if (socket.remoteAddress !== undefined) this.#observer?.met(socket.remoteAddress, port);
    const { info, length } = await this.#greeting();
    const hasTls = info.tls_required === true || info.tls_available === true;
    if (options.tls && !hasTls) throw new NoTlsError();
    checkOptions(info, options);
    if (!hasTls) return;
    // What came behind the greeting came from anybody.
    this.#cut(length);
    const tlsSocket = this.#startTls(socket, options, tlsName || hostname);
    const isSecure = Promise.withResolvers<void>();
    tlsSocket.once("secureConnect", () => isSecure.resolve());
    this.#listen(tlsSocket);
    await isSecure.promise;
    if (!tlsSocket.authorized) throw tlsSocket.authorizationError;
  }

  #startTls(socket: Socket, { tls }: ConnectionOptions, name: string): TLSSocket {
    socket.removeAllListeners();
    // Its end is that of the other one.
    socket.on("error", () => {});
    const { ca, cert, key } = tls ?? {};
    return connectTls({
      socket,
      host: name,
      ...(parseIp(name) === null ? { servername: name } : {}),
      rejectUnauthorized: true,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
    });
  }

  #listen(socket: Socket): void {
    this.#socket = socket;
    let failure: Error | undefined;
    socket.on("data", (chunk: Uint8Array) => this.#read(chunk));
    socket.on("error", (error: Error) => failure = error);
    socket.on("end", () => socket.destroy());
    socket.on("close", () => this.#ended(failure));
  }

  #read(chunk: Uint8Array): void {
    this.#unread.push(chunk);
    this.#unreadBytes += chunk.length;
    if (this.#isUp && this.#unreadBytes > UNREAD_MAX_BYTES) this.#socket?.pause();
    this.#wake();
  }

  /** The first line of a server, which is left to the client too. */
  async #greeting(): Promise<{ info: ServerInfo; length: number }> {
    for (;;) {
      const bytes = joined(this.#unread);
      const length = bytes.indexOf(10) + 1;
      if (length > 0) {
        const [, json] = /^INFO\s+(\{.*\})\s*$/i.exec(decode(bytes.subarray(0, length))) ?? [];
        if (json === undefined) throw new Error("what answers there is no NATS server");
        return { info: JSON.parse(json), length };
      }
      if (bytes.length > LINE_MAX_BYTES) {
        throw new Error("what answers there is no NATS server");
      }
      await this.#more();
    }
  }

  #cut(length: number): void {
    this.#unread = [joined(this.#unread).slice(0, length)];
    this.#unreadBytes = length;
  }

  #more(): Promise<void> {
    return new Promise((resolve) => this.#wake = resolve);
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    const frames = new EngineFrames();
    try {
      while (!this.#isDone || this.#unread.length > 0) {
        const chunk = this.#unread.shift();
        if (chunk === undefined) {
          await this.#more();
          continue;
        }
        this.#unreadBytes -= chunk.length;
        if (this.#unreadBytes === 0) this.#socket?.resume();
        if (!frames.takes(chunk)) {
          return this.#ended(new Error("what the server sends is too long"));
        }
        yield chunk;
      }
    } finally {
      // The client reads no more where it can't follow, and would notice by its pings alone.
      this.#ended(new Error("what the server sends is not understood"));
    }
  }

  isEncrypted(): boolean {
    return this.#socket !== null && "encrypted" in this.#socket;
  }

  /** What is lost with the connection is told by its end. */
  send(frame: Uint8Array): void {
    if (this.#isDone) return;
    this.#socket?.write(frame);
    // The client answers each ping, whether its answers are taken or not.
    if ((this.#socket?.writableLength ?? 0) <= UNSENT_MAX_BYTES) return;
    this.#ended(new Error("the server does not take what it is sent"));
  }

  close(error?: Error): Promise<void> {
    if (error !== undefined) this.#tell(error);
    this.#ended(error);
    return Promise.resolve();
  }

  #tell(error: Error): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#observer?.failed(error);
  }

  disconnect(): void {
    this.#ended(undefined);
  }

  discard(): void {
    this.#finish(undefined);
  }

  closed(): Promise<void | Error> {
    return this.#closed.promise;
  }

  /** Ends it; a connection that was there tells the client so. */
  #ended(error: Error | undefined): void {
    if (this.#isDone) return;
    this.#finish(error);
    if (!this.#isUp) return;
    // The client would find out by its time limit.
    if (this.#observer?.isLetIn() === false) this.#tell(new ClosedEarlyError(this.isEncrypted()));
    if (error !== undefined) this.closeError = error;
    this.#closed.resolve(error);
  }

  #finish(error: Error | undefined): void {
    this.#isDone = true;
    this.#socket?.destroy();
    this.#end.reject(error ?? new Error("the server has closed the connection"));
    this.#wake();
  }
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  if (chunks.length === 1) return chunks[0]!;
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
