/**
 * One UDP socket of the host: `Deno.listenDatagram` where the runtime offers it (with
 * `--unstable-net`), else `node:dgram`, behind one small interface.
 *
 * A socket closes at once and quietly: what is under way then ends without a callback. Every
 * failure goes to `onError`, none to the caller's promise chain.
 *
 * @module
 */
import process from "node:process";
import type { Socket } from "node:dgram";

/** What a socket tells its owner. */
export interface UdpSocketHandler {
  /** A datagram came; `bytes` is only valid during the call. */
  onDatagram(bytes: Uint8Array, hostname: string, port: number): void;
  /** The socket is of no more use; `close` it. */
  onError(error: unknown): void;
}

/** A UDP socket of the host. */
export interface UdpSocket {
  /**
   * Sends a datagram.
   *
   * @param bytes Left as they are until they have been sent.
   * @param hostname Address literal.
   * @param port Port.
   * @param onError Called where the datagram could not be sent.
   */
  send(bytes: Uint8Array, hostname: string, port: number, onError: (error: unknown) => void): void;
  /** Closes the socket; it may be called again. */
  close(): void;
}

/** Largest datagram that is received: what a 16-bit length can say. */
const DATAGRAM_MAX_BYTES = 65_535;

/**
 * Opens a UDP socket on a port that the system chooses.
 *
 * @param hostname Address literal to bind.
 * @param handler Told what happens.
 * @throws Where the socket can't be opened (with `node:dgram`, `onError` is told instead).
 */
export function openUdpSocket(hostname: string, handler: UdpSocketHandler): UdpSocket {
  return typeof Deno.listenDatagram === "function"
    ? new DatagramSocket(hostname, handler)
    : new NodeSocket(hostname, handler);
}

class DatagramSocket implements UdpSocket {
  readonly #conn: Deno.DatagramConn;
  #closed = false;

  constructor(hostname: string, handler: UdpSocketHandler) {
    this.#conn = Deno.listenDatagram({ hostname, port: 0, transport: "udp" });
    this.#receive(handler);
  }

  async #receive(handler: UdpSocketHandler): Promise<void> {
    const buffer = new Uint8Array(DATAGRAM_MAX_BYTES);
    while (!this.#closed) {
      try {
        const [bytes, from] = await this.#conn.receive(buffer);
        if (!this.#closed && from.transport === "udp") {
          handler.onDatagram(bytes, from.hostname, from.port);
        }
      } catch (error) {
        if (!this.#closed) handler.onError(error);
        return;
      }
    }
  }

  send(bytes: Uint8Array, hostname: string, port: number, onError: (error: unknown) => void): void {
    this.#conn.send(bytes, { transport: "udp", hostname, port }).catch((error) => {
      if (!this.#closed) onError(error);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#conn.close();
  }
}

class NodeSocket implements UdpSocket {
  readonly #socket: Socket;
  #closed = false;

  constructor(hostname: string, handler: UdpSocketHandler) {
    // Loaded here since its 10 ms are lost where Deno's own sockets serve.
    const { createSocket } = process.getBuiltinModule("node:dgram");
    this.#socket = createSocket(hostname.includes(":") ? "udp6" : "udp4");
    this.#socket.on("message", (bytes, from) => {
      if (!this.#closed) handler.onDatagram(bytes, from.address, from.port);
    });
    this.#socket.on("error", (error) => {
      if (!this.#closed) handler.onError(error);
    });
    this.#socket.bind({ address: hostname, port: 0, exclusive: true });
  }

  send(bytes: Uint8Array, hostname: string, port: number, onError: (error: unknown) => void): void {
    this.#socket.send(bytes, port, hostname, (error) => {
      if (error && !this.#closed) onError(error);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }
}
