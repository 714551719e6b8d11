/**
 * Resolvers of the host's that do what an input says, over UDP and TCP, without any socket.
 *
 * @module
 */
import type { UdpSocket, UdpSocketHandler } from "../../lib/host/dns_socket.ts";
import type { Connect } from "../../lib/host/dialer.ts";
import type { HostSystem } from "../../lib/host/host_system.ts";
import { NOT_RUN } from "../../lib/host/ping_program.ts";
import { Random } from "./random.ts";
import { hold } from "./rig.ts";
import type { VirtualClock } from "../support/virtual_clock.ts";

/** A question on the wire. */
export interface Asked {
  readonly message: Uint8Array;
  readonly hostname: string;
  readonly port: number;
  /** Sends a datagram back to the socket that asked. */
  reply(message: Uint8Array, hostname?: string, port?: number): void;
  /** The socket breaks. */
  fail(): void;
}

/** What the next TCP connection to a resolver does. */
export interface TcpScript {
  /** `refuse`, `hang` while connecting, or serve. */
  readonly how: "refuse" | "hang" | "serve";
  /** Makes what is sent back, from the question with its length. */
  readonly answer: (asked: Uint8Array) => Uint8Array;
  /** Octets of one read; the end comes behind the answer unless `open`. */
  readonly readBytes: number;
  readonly open: boolean;
}

/** Most questions that are remembered; older ones can't be answered any more. */
const ASKED_MAX = 64;

/** The machine before these resolvers. */
export class FakeUpstreams {
  /** Questions over UDP, the latest last. */
  readonly asked: Asked[] = [];
  tcp: TcpScript = { how: "refuse", answer: (asked) => asked, readBytes: 1, open: false };
  openSockets = 0;
  openConns = 0;
  /** Whether no socket can be opened. */
  exhausted = false;
  readonly system: HostSystem;
  readonly #random = new Random(7);

  constructor(clock: VirtualClock) {
    const connect: Connect = ({ signal }) => this.#connect(signal);
    this.system = {
      now: clock.now,
      setTimer: clock.setTimer,
      clearTimer: clock.clearTimer,
      soon: clock.soon,
      randomWord: () => this.#random.below(65_536),
      requireNet: () => {},
      connect,
      connectUpstream: connect,
      connectTls: () => Promise.reject(new Error("nobody speaks TLS here")),
      openHttps: () => {
        throw new Error("nobody speaks HTTPS here");
      },
      canBind: () => false,
      pings: {
        obstacle: () => NOT_RUN,
        start: () => {
          throw new Error("nobody is pinged here");
        },
      },
      openUdpSocket: (_hostname, handler) => this.#open(handler),
      datagramSockets: () => {
        throw new Error("no guest's socket is opened here");
      },
    };
  }

  #open(handler: UdpSocketHandler): UdpSocket {
    if (this.exhausted) throw new Error("Too many open files (os error 24)");
    this.openSockets++;
    let closed = false;
    return {
      send: (message, hostname, port) => {
        hold(!closed, "nothing is sent on a closed socket");
        this.asked.push({
          message: message.slice(),
          hostname,
          port,
          reply: (bytes, from = hostname, fromPort = port) => {
            if (!closed) handler.onDatagram(bytes, from, fromPort);
          },
          fail: () => {
            if (!closed) handler.onError(new Error("the socket broke"));
          },
        });
        if (this.asked.length > ASKED_MAX) this.asked.shift();
      },
      close: () => {
        if (!closed) this.openSockets--;
        closed = true;
      },
    };
  }

  #connect(signal: AbortSignal): Promise<Deno.TcpConn> {
    const { tcp } = this;
    if (tcp.how === "refuse") {
      return Promise.reject(new Deno.errors.ConnectionRefused("refused"));
    }
    if (tcp.how === "serve") {
      this.openConns++;
      const conn = new FakeConn(tcp, () => this.openConns--);
      return Promise.resolve(conn as Partial<Deno.TcpConn> as Deno.TcpConn);
    }
    return new Promise((_, reject) =>
      signal.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")))
    );
  }
}

class FakeConn {
  readonly #script: TcpScript;
  readonly #onClose: () => void;
  #answer: Uint8Array | null = null;
  #closed = false;
  #waiting: ((error: Error) => void) | null = null;

  constructor(script: TcpScript, onClose: () => void) {
    this.#script = script;
    this.#onClose = onClose;
  }

  write(bytes: Uint8Array): Promise<number> {
    this.#answer = this.#script.answer(bytes.slice());
    return Promise.resolve(bytes.length);
  }

  read(into: Uint8Array): Promise<number | null> {
    if (this.#closed) {
      return Promise.reject(new Deno.errors.BadResource("closed"));
    }
    const left = this.#answer ?? new Uint8Array(0);
    if (left.length === 0) {
      if (!this.#script.open) return Promise.resolve(null);
      return new Promise((_, reject) => this.#waiting = reject);
    }
    const bytes = Math.min(into.length, left.length, Math.max(1, this.#script.readBytes));
    into.set(left.subarray(0, bytes));
    this.#answer = left.subarray(bytes);
    return Promise.resolve(bytes);
  }

  close(): void {
    if (this.#closed) throw new Deno.errors.BadResource("closed");
    this.#closed = true;
    this.#onClose();
    this.#waiting?.(new Deno.errors.Interrupted("closed"));
  }
}
