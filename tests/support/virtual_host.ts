/**
 * The machine of a test: virtual time, dice from a seed, and a world of made-up hosts.
 *
 * What a guest's network asks of its machine goes through `HostSystem`, so with this one in its
 * place the whole of it runs without a socket, a timer or a die of the process. Addresses that were
 * not scripted refuse TCP and swallow UDP.
 *
 *     const host = new VirtualHost();
 *     host.listen(HOST4, 80, echo);
 *     host.refuse(HOST4, 81, "EHOSTUNREACH");
 *     host.blackHole(HOST4, 82);
 *     host.udp(HOST4, 123, (data, reply) => reply(data, { delayMs: 20 }));
 *     host.ping(HOST4, { kind: "answered" }, 20);
 *
 * `HOST4` and `HOST6` are addresses that a guest may dial; those for documentation are not.
 *
 * Connections that were accepted stand in `accepted`, in their order, for a test that drives them
 * by hand: see `VirtualPeer`. `openSockets`, `dialing` and `timers` show what was left behind.
 *
 * @module
 */
import type { DatagramListener, DatagramSocket } from "../../lib/host/datagram_socket.ts";
import type { Connect } from "../../lib/host/dialer.ts";
import type { UpstreamAddress } from "../../lib/host/dns_address.ts";
import type { UdpSocket, UdpSocketHandler } from "../../lib/host/dns_socket.ts";
import type { DatagramOpeners, HostSystem } from "../../lib/host/host_system.ts";
import type { ConnectTls } from "../../lib/host/tls_connect.ts";
import { NOT_RUN, type PingProgram, type PingRequest } from "../../lib/host/ping_program.ts";
import type { PingOutcome } from "../../lib/host/ping_report.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { Dice } from "./dice.ts";
import { VirtualClock } from "./virtual_clock.ts";
import {
  openSocket,
  type SocketOptions,
  systemError,
  tcpAddress,
  type VirtualConn,
  type VirtualPeer,
} from "./virtual_socket.ts";

/** Serves a connection: sets `onChange`, or just writes and finishes. */
export type Serve = (peer: VirtualPeer) => void;

/** How a host takes connections. */
export interface ListenOptions {
  /** How long a connect takes. Default 0: to the next step. */
  readonly delayMs?: number;
  /** How the machine handles such sockets. */
  readonly socket?: SocketOptions;
}

/** Sends a datagram back. */
export type UdpReply = (
  data: Uint8Array,
  options?: {
    /** Default 0: at the next step. */
    readonly delayMs?: number;
    /** Who it says it is from. Default: who was asked. */
    readonly from?: { readonly address: string; readonly port: number };
  },
) => void;

/** Takes a datagram of the guest or of the resolver. */
export type UdpServe = (data: Uint8Array<ArrayBuffer>, reply: UdpReply) => void;

/** A place that answers connects in some way. */
interface TcpPlace {
  readonly delayMs: number;
  /** What the connect fails with; `null` where it does not. */
  readonly code: string | null;
  readonly serve: Serve | null;
  readonly socket: SocketOptions;
}

/** How a virtual host differs from the plain one. */
export interface VirtualHostOptions {
  /** Start of the dice. Default 1. */
  readonly seed?: number;
  /** A clock that other hosts share. */
  readonly clock?: VirtualClock;
}

/** An address of the world that the policy lets a guest reach. */
export const HOST4 = "93.184.216.34";
/** The same for IPv6. */
export const HOST6 = "2606:2800:220:1::34";

const OWN4 = "10.0.0.1";
const OWN6 = "2001:db8:ffff::1";
const NOBODY: TcpPlace = { delayMs: 0, code: "ECONNREFUSED", serve: null, socket: {} };

/** Datagram sockets beyond those in use: they were closed and settle at the next step. */
const CLOSING = 512;

/** The machine of a test. */
export class VirtualHost implements HostSystem {
  readonly clock: VirtualClock;
  readonly dice: Dice;
  /** The far ends of connections that were accepted, in their order. */
  readonly accepted: VirtualPeer[] = [];
  /** What the gateway asked to connect to, in order: `93.184.216.34 80`. */
  readonly dialed: string[] = [];
  /** Addresses that can be bound: the machine's own ones. */
  readonly ownAddresses: Set<string> = new Set([OWN4, OWN6, "127.0.0.1", "::1"]);
  /** What the permissions forbid, as `93.184.216.34 80`. */
  readonly forbidden: Set<string> = new Set();
  /** How sockets of published ports' clients behave, and all others that say nothing. */
  socketOptions: SocketOptions = {};
  /** Whether pings may be sent. */
  mayPing = false;
  /** What was to be sent, in order. */
  readonly pinged: (PingRequest & { readonly to: string })[] = [];
  /** Fails the start of a ping, where it is set. */
  pingFault: Error | null = null;
  /** Whether a child that is killed ends at once. */
  killsPings = true;
  readonly #pings = new Map<string, { outcome: PingOutcome; delayMs: number }>();
  #pinging = 0;
  readonly #tcp = new Map<string, TcpPlace | "black hole">();
  readonly #udp = new Map<string, UdpServe>();
  readonly #udpFailures = new Map<string, string>();
  readonly #conns = new Set<VirtualConn>();
  readonly #udpSockets = new Set<UdpEnd>();
  #dialing = 0;
  #port = 40_000;

  constructor(options: VirtualHostOptions = {}) {
    this.clock = options.clock ?? new VirtualClock();
    this.dice = new Dice(options.seed ?? 1);
    this.now = this.clock.now;
    this.setTimer = this.clock.setTimer;
    this.clearTimer = this.clock.clearTimer;
    this.soon = this.clock.soon;
  }

  // ---- What a test scripts ----------------------------------------------------------------

  /** Takes connections; without `serve` they only stand in `accepted`. */
  listen(
    address: string,
    port: number,
    serve: Serve | null = null,
    options: ListenOptions = {},
  ): void {
    const { delayMs = 0, socket = this.socketOptions } = options;
    this.#tcp.set(`${address} ${port}`, { delayMs, code: null, serve, socket });
  }

  /** Fails connects with the code of a system error. */
  refuse(address: string, port: number, code = "ECONNREFUSED", delayMs = 0): void {
    this.#tcp.set(`${address} ${port}`, { delayMs, code, serve: null, socket: {} });
  }

  /** Never answers a connect. */
  blackHole(address: string, port: number): void {
    this.#tcp.set(`${address} ${port}`, "black hole");
  }

  /** Takes datagrams. */
  udp(address: string, port: number, serve: UdpServe): void {
    this.#udp.set(`${address} ${port}`, serve);
  }

  /** Fails datagrams with the code of a system error; `null` lets them pass again. */
  failUdp(address: string, port: number, code: string | null): void {
    if (code === null) this.#udpFailures.delete(`${address} ${port}`);
    else this.#udpFailures.set(`${address} ${port}`, code);
  }

  /** What becomes of pings to an address; they are silent for ever where nothing is said. */
  ping(address: string, outcome: PingOutcome, delayMs = 0): void {
    this.mayPing = true;
    this.#pings.set(address, { outcome, delayMs });
  }

  /** Children that have not ended. */
  get pinging(): number {
    return this.#pinging;
  }

  /** A connection of the machine's own side, such as the socket of a published port's client. */
  openConn(options: SocketOptions = {}): [VirtualConn, VirtualPeer] {
    const [conn, peer] = openSocket(this.clock, {
      ...this.socketOptions,
      ...options,
      onClosed: (closed) => this.#conns.delete(closed),
    });
    this.#conns.add(conn);
    return [conn, peer];
  }

  /** Sockets that the code under test has not closed. */
  get openSockets(): number {
    return this.#conns.size + this.#udpSockets.size;
  }

  /** Connects that are under way. */
  get dialing(): number {
    return this.#dialing;
  }

  /** Timers of the code under test that run. */
  get timers(): number {
    return this.clock.timers;
  }

  // ---- HostSystem -------------------------------------------------------------------------

  readonly now: VirtualClock["now"];
  readonly setTimer: VirtualClock["setTimer"];
  readonly clearTimer: VirtualClock["clearTimer"];
  readonly soon: VirtualClock["soon"];
  readonly randomWord = (): number => this.dice.word() & 0xffff;
  readonly canBind = (hostname: string): boolean | null => this.ownAddresses.has(hostname);

  readonly requireNet = ({ hostname, port }: UpstreamAddress): void => {
    if (!this.forbidden.has(`${hostname} ${port}`)) return;
    throw new Deno.errors.NotCapable(`no net permission for ${hostname}:${port}`);
  };

  readonly connect: Connect = ({ hostname = "127.0.0.1", port, signal }) => {
    const key = `${hostname} ${port}`;
    this.dialed.push(key);
    if (this.forbidden.has(key)) {
      return Promise.reject(new Deno.errors.NotCapable(`no net permission for ${key}`));
    }
    if (signal.aborted) return Promise.reject(signal.reason);
    const place = this.#tcp.get(key) ?? NOBODY;
    const { promise, resolve, reject } = Promise.withResolvers<VirtualConn>();
    let isOver = false;
    const end = () => {
      isOver = true;
      this.#dialing--;
      signal.removeEventListener("abort", abort);
    };
    const abort = () => {
      end();
      reject(signal.reason);
    };
    this.#dialing++;
    signal.addEventListener("abort", abort);
    if (place !== "black hole") {
      this.clock.after(place.delayMs, () => {
        if (isOver) return;
        end();
        if (place.code !== null) reject(systemError(place.code));
        else resolve(this.#accept(place, hostname, port));
      });
    }
    return promise;
  };

  readonly pings: PingProgram = {
    obstacle: () => this.mayPing ? null : NOT_RUN,
    start: (request) => {
      if (this.pingFault !== null) throw this.pingFault;
      const to = formatIp(request.address);
      this.pinged.push({ ...request, to });
      this.#pinging++;
      const { promise: outcome, resolve } = Promise.withResolvers<PingOutcome>();
      let isOver = false;
      const end = (said: PingOutcome) => {
        if (isOver) return;
        isOver = true;
        this.#pinging--;
        resolve(said);
      };
      const place = this.#pings.get(to);
      if (place !== undefined) this.clock.after(place.delayMs, () => end(place.outcome));
      return {
        outcome,
        kill: () => {
          this.clock.after(this.killsPings ? 0 : 500, () => end({ kind: "silent" }));
        },
      };
    },
  };

  /** Resolvers are hosts as others are. */
  readonly connectUpstream: Connect = this.connect;

  /** Nobody speaks TLS here. */
  readonly connectTls: ConnectTls = () => Promise.reject(systemError("ECONNREFUSED"));

  /** Nor HTTPS. */
  openHttps(): never {
    throw new Error("no resolver is asked over HTTPS here");
  }

  #accept(place: TcpPlace, hostname: string, port: number): VirtualConn {
    const own = this.ownAddresses.has(hostname) ? hostname : hostname.includes(":") ? OWN6 : OWN4;
    this.#port = this.#port === 65_535 ? 40_000 : this.#port + 1;
    const [conn, peer] = this.openConn({
      ...place.socket,
      local: tcpAddress(own, this.#port),
      remote: tcpAddress(hostname, port),
    });
    peer.label = `${hostname} ${port}`;
    this.accepted.push(peer);
    if (place.serve !== null) place.serve(peer);
    return conn;
  }

  /** A socket for questions to resolvers. */
  openUdpSocket(_hostname: string, handler: UdpSocketHandler): UdpSocket {
    const end = this.#openUdp((data, address, port) => handler.onDatagram(data, address, port));
    return {
      send: (bytes, hostname, port, onError) => {
        this.clock.soon(() => {
          if (end.isClosed) return;
          const code = this.#sendUdp(end, bytes, hostname, port);
          if (code !== null) onError(systemError(code));
        });
      },
      close: () => this.#closeUdp(end),
    };
  }

  /** Sockets for the UDP flows of one guest. */
  datagramSockets(options: { readonly sockets: number }): DatagramOpeners {
    const open = new Set<UdpEnd>();
    let waiting: (() => void)[] = [];
    const settle = (end: UdpEnd) => {
      open.delete(end);
      if (open.size > 0) return;
      for (const resolve of waiting) resolve();
      waiting = [];
    };
    return {
      open: (address, port, listener) => {
        if (open.size >= options.sockets + CLOSING) throw systemError("EMFILE");
        if (this.forbidden.has(`${address} ${port}`)) throw systemError("EACCES");
        const { end, socket } = this.#openFlow(address, port, listener, settle);
        open.add(end);
        return socket;
      },
      settled: () =>
        open.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve)),
    };
  }

  #openFlow(
    address: string,
    port: number,
    listener: DatagramListener,
    settled: (end: UdpEnd) => void,
  ): { end: UdpEnd; socket: DatagramSocket } {
    const end = this.#openUdp((data, fromAddress, fromPort) => {
      if (fromAddress === address && fromPort === port) listener.received(data);
      else listener.stray();
    });
    const socket: DatagramSocket = {
      send: (from, at, length) => {
        if (end.isClosed) return false;
        const copy = from.slice(at, at + length);
        this.clock.soon(() => {
          const code = end.isClosed ? null : this.#sendUdp(end, copy, address, port);
          if (code !== null) listener.failed(systemError(code));
        });
        return true;
      },
      close: () => {
        if (end.isClosed) return;
        this.#closeUdp(end);
        this.clock.soon(() => settled(end)); // what was under way settles after the close
      },
    };
    return { end, socket };
  }

  #openUdp(receive: UdpEnd["receive"]): UdpEnd {
    const end: UdpEnd = { receive, isClosed: false };
    this.#udpSockets.add(end);
    return end;
  }

  #closeUdp(end: UdpEnd): void {
    end.isClosed = true;
    this.#udpSockets.delete(end);
  }

  /** Brings a datagram to its host; the code where that fails. */
  #sendUdp(end: UdpEnd, bytes: Uint8Array, address: string, port: number): string | null {
    const key = `${address} ${port}`;
    const code = this.#udpFailures.get(key);
    if (code !== undefined) return code;
    this.#udp.get(key)?.(bytes.slice(), (data, options = {}) => {
      const { delayMs = 0, from = { address, port } } = options;
      const copy = data.slice();
      this.clock.after(delayMs, () => {
        if (end.isClosed) return;
        end.receive(copy, from.address, from.port);
        copy.fill(0xdb); // the octets were good during the call only
      });
    });
    return null;
  }
}

interface UdpEnd {
  readonly receive: (data: Uint8Array, address: string, port: number) => void;
  isClosed: boolean;
}

/** Sends back what comes, then its end. */
export function echo(peer: VirtualPeer): void {
  peer.onChange = () => {
    while (peer.availableBytes > 0 && peer.roomBytes > 0) peer.write(peer.take(peer.roomBytes));
    if (peer.isEnded) peer.close();
  };
}

/** Takes what comes, and answers the end with an end. */
export function sink(peer: VirtualPeer): void {
  peer.onChange = () => {
    peer.take();
    if (peer.isEnded) peer.close();
  };
}

/** Sends these bytes, then its end; takes nothing. */
export function source(bytes: Uint8Array): Serve {
  return (peer) => {
    let at = 0;
    peer.onChange = () => {
      if (at === bytes.length) return;
      at += peer.write(bytes.subarray(at));
      if (at === bytes.length) peer.finish();
    };
    peer.onChange();
  };
}
