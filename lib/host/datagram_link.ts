/**
 * Meeting the VMM on a unix datagram socket: vfkit and krunkit (`unixgram`), QEMU (`-netdev dgram`).
 * Each datagram is one Ethernet frame, with nothing in front of it.
 *
 * There is no connection. The VMM is whoever sends first, from a socket that has a path: answers go
 * there. It is attached until its socket is gone, which a send that is refused shows, or a look when
 * a newcomer's datagram comes; until then a newcomer's datagrams are dropped. `VFKT` alone is vfkit's
 * greeting: a VMM that sends it begins anew.
 *
 * Deno moves one datagram an operation and calls a receive back only by closing the socket, so the
 * one that waits is the socket's own, with its own buffer, and outlives the guest. A full buffer of
 * the VMM's socket is waited for where the system says only that it is full (macOS); elsewhere the
 * system waits itself, and Deno can't give that up: while a VMM lives and takes nothing, nothing else
 * is received either.
 *
 * @module
 */
import { LENGTH_BYTES, MAX_FRAME_BYTES } from "../stack/queues.ts";
import type { FrameTransport } from "./frame_transport.ts";
import type { HalfDuplexSocket } from "./half_duplex_socket.ts";
import { type HostClock, pause } from "./host_clock.ts";

/** What the link works with. */
export interface DatagramLinkOptions {
  readonly clock: HostClock;
  /** Whether a socket at a path has somebody behind it; its file alone may be left over. */
  readonly isAlive: (path: string) => Promise<boolean>;
  /** Why a VMM at a path can't be answered; `null` where it can. */
  readonly whyNot: (path: string) => string | null;
  /** Hears why a datagram or a VMM was turned away. */
  readonly onTurnedAway: (why: string) => void;
  /** Hears that the socket is given up: at `close`, or when the guest has left after it. */
  readonly onEnd: () => void;
}

/** More than the longest frame: one that fills it was cut. */
const DATAGRAM_BYTES = MAX_FRAME_BYTES + 1;
const GREETING = new TextEncoder().encode("VFKT");
const RETRY_MS = 1;
/** A receive that fails is tried again after this. */
const FAILED_MS = 100;
/** A greeting sooner than this after the last one is a frame of four octets that a guest has made. */
const ANEW_MS = 1_000;
/** A VMM that takes nothing for so long has stopped; its frames are lost, as on a wire. */
const FULL_MAX_MS = 1_000;

interface Datagram {
  readonly bytes: Uint8Array;
  readonly path: string;
}

/** Datagrams of one VMM after another on one socket. */
export class DatagramLink {
  readonly #socket: HalfDuplexSocket;
  readonly #options: DatagramLinkOptions;
  readonly #buffer = new Uint8Array(DATAGRAM_BYTES);
  #receiving: Promise<Datagram | null> | null = null;
  /** The datagram of the VMM that comes next. */
  #held: Datagram | null = null;
  #current: DatagramTransport | null = null;
  #free: () => void = () => {};
  /** Whether no more VMMs are taken. */
  #closed = false;
  /** Whether the socket is given up. */
  #ended = false;
  #attachedMs = 0;

  constructor(socket: HalfDuplexSocket, options: DatagramLinkOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  /** The next VMM, once there is none; `null` when closed. */
  async accept(): Promise<FrameTransport | null> {
    while (this.#current !== null && !this.#closed) {
      await new Promise<void>((resolve) => this.#free = resolve);
    }
    while (!this.#closed) {
      const first = this.#held ?? await this.#receive();
      if (first === null || this.#closed) break;
      this.#held = null;
      const why = this.#options.whyNot(first.path);
      if (why !== null) {
        this.#options.onTurnedAway(why);
        continue;
      }
      this.#held = isGreeting(first.bytes) ? null : first;
      this.#attachedMs = this.#options.clock.now();
      return this.#current = new DatagramTransport(first.path, this);
    }
    return null;
  }

  /** Takes no more VMMs; one that is there may end in order. */
  close(): void {
    this.#closed = true;
    this.#free();
    if (this.#current === null) this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.close();
    this.#options.onEnd();
  }

  /** The next frame of the VMM that is attached; `null` where there is none any more. */
  async next(transport: DatagramTransport): Promise<Uint8Array | null> {
    const { path } = transport;
    while (this.#current === transport) {
      const datagram = this.#held ?? await this.#receive();
      if (this.#current !== transport || datagram === null) return null;
      this.#held = null;
      const isAnew = isGreeting(datagram.bytes) &&
        this.#options.clock.now() - this.#attachedMs >= ANEW_MS;
      if (datagram.path === path && !isAnew) return datagram.bytes;
      this.#held = datagram; // the next one's, if this one is over
      if (datagram.path === path || !await this.#options.isAlive(path)) return null;
      if (this.#current !== transport) return null;
      this.#held = null;
      this.#options.onTurnedAway(`a second VMM, at ${datagram.path}: one is attached already`);
    }
    return null;
  }

  /** Sends the frames of a stream; throws where the VMM's socket is gone. */
  send(stream: Uint8Array, transport: DatagramTransport): Promise<void> {
    const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
    return this.#socket.send(async (send) => {
      for (let at = 0; at < stream.length && this.#current === transport;) {
        const length = view.getUint32(at);
        // A copy: a send that is given up goes on, when what was here may be another guest's.
        const frame = stream.slice(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
        await this.#sendFrame(() => send(frame, transport.path), transport.path);
        at += LENGTH_BYTES + length;
      }
    });
  }

  async #sendFrame(send: () => Promise<unknown>, path: string): Promise<void> {
    const { clock } = this.#options;
    const startMs = clock.now();
    for (;;) {
      try {
        await send();
        return;
      } catch (error) {
        if (error instanceof Deno.errors.NotCapable) throw notAllowed(path);
        const { code } = error as { code?: string };
        if (code === "EMSGSIZE") return; // longer than its socket takes: lost, as on a wire
        if (code !== "ENOBUFS" && code !== "EAGAIN") throw error;
        if (clock.now() - startMs >= FULL_MAX_MS) return;
        await pause(clock, RETRY_MS);
      }
    }
  }

  /** The VMM is given up. */
  left(transport: DatagramTransport): void {
    if (this.#current !== transport) return;
    if (!transport.wasRead) this.#held = null;
    this.#current = null;
    this.#free();
    if (this.#closed) this.#end();
  }

  #receive(): Promise<Datagram | null> {
    return this.#receiving ??= this.#receiveNamed().finally(() => this.#receiving = null);
  }

  async #receiveNamed(): Promise<Datagram | null> {
    while (!this.#ended) {
      let bytes: Uint8Array;
      let path: string | null;
      try {
        [bytes, path] = await this.#socket.receive(this.#buffer);
      } catch (error) {
        if (this.#ended) break;
        this.#options.onTurnedAway((error as Error).message); // such as a path that is no text
        await pause(this.#options.clock, FAILED_MS);
        continue;
      }
      if (path === null) {
        this.#options.onTurnedAway("its socket has no path, so it can't be answered");
      } else if (bytes.length < DATAGRAM_BYTES) return { bytes, path };
      else this.#options.onTurnedAway("its datagram is longer than a frame can be");
    }
    return null;
  }
}

/** One VMM's frames. */
class DatagramTransport implements FrameTransport {
  readonly path: string;
  readonly #link: DatagramLink;
  #closed = false;
  /** Whether anything was asked for. */
  wasRead = false;
  /** What `close` makes come back. */
  #cancelRead = () => {};
  #cancelWrite = () => {};

  constructor(path: string, link: DatagramLink) {
    this.path = path;
    this.#link = link;
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (this.#closed) return null;
    this.wasRead = true;
    const frame = await new Promise<Uint8Array | null>((resolve, reject) => {
      this.#cancelRead = () => resolve(null);
      this.#link.next(this).then(resolve, reject);
    });
    if (frame === null || this.#closed) return null;
    new DataView(into.buffer, into.byteOffset).setUint32(0, frame.length);
    into.set(frame, LENGTH_BYTES);
    return LENGTH_BYTES + frame.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#cancelWrite = resolve;
      this.#link.send(bytes, this).then(resolve, reject);
    });
    return bytes.length;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelRead();
    this.#cancelWrite();
    this.#link.left(this);
  }
}

function notAllowed(path: string): Error {
  return new Error(
    `Deno may not write the VMM's own socket: add --allow-read=${path} --allow-write=${path}`,
  );
}

function isGreeting(bytes: Uint8Array): boolean {
  return bytes.length === GREETING.length && GREETING.every((octet, i) => bytes[i] === octet);
}
