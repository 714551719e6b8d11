/**
 * Everything that a guest's network takes from the machine it runs on: time, dice and sockets.
 *
 * The one seam between the gateway and the world. The program hands in `hostSystem`; a simulation
 * hands in one of its own, and the whole network then runs from one seed.
 *
 * @module
 */
import type { Tracer } from "../config/tracer.ts";
import { DatagramSockets, type DatagramSocketsOptions } from "./datagram_socket.ts";
import { type Connect, connectSilently } from "./dialer.ts";
import { canBind } from "./destinations.ts";
import { requireNet, type UpstreamAddress } from "./dns_address.ts";
import { openUdpSocket, type UdpSocket, type UdpSocketHandler } from "./dns_socket.ts";
import { type HostClock, systemClock } from "./host_clock.ts";
import { type PingProgram, pingProgram } from "./ping_program.ts";
import { type ConnectTls, type HttpsClient, openHttpsClient, tlsConnector } from "./tls_connect.ts";
import type { DatagramOpener } from "./udp_relay.ts";

/** Sockets for UDP flows, and when all of them are gone. */
export interface DatagramOpeners extends DatagramOpener {
  /** Resolves once every socket has been closed and every operation has settled. */
  settled(): Promise<void>;
}

/** The machine, as a guest's network sees it. */
export interface HostSystem extends HostClock {
  /** Sixteen bits that nobody can foretell. */
  randomWord(): number;
  /** Throws where the permissions do not allow an address; it never asks a person. */
  requireNet(address: UpstreamAddress): void;
  /** Connects to a canonical literal. */
  readonly connect: Connect;
  /** Connects to a resolver. */
  readonly connectUpstream: Connect;
  /** Connects to a resolver over TLS; who answers has shown the right certificate. */
  readonly connectTls: ConnectTls;
  /** A client for questions to a resolver over HTTPS. */
  openHttps(): HttpsClient;
  /** Whether a socket can be bound to a literal; `null` where the system has no answer. */
  canBind(hostname: string): boolean | null;
  /** A UDP socket for questions to resolvers. */
  openUdpSocket(hostname: string, handler: UdpSocketHandler): UdpSocket;
  /** Sockets for the UDP flows of one guest. */
  datagramSockets(options: DatagramSocketsOptions): DatagramOpeners;
  /** Who sends echo requests to the world. */
  readonly pings: PingProgram;
  /** Where spans go; nowhere when absent. Connects are traced where they are made. */
  readonly tracer?: Tracer | null;
}

const dice = new Uint16Array(256);
let diceLeft = 0;

/** The machine itself. */
export const hostSystem: HostSystem = {
  ...systemClock,
  randomWord() {
    if (diceLeft === 0) {
      crypto.getRandomValues(dice);
      diceLeft = dice.length;
    }
    return dice[--diceLeft]!;
  },
  requireNet,
  connect: connectSilently,
  connectUpstream: connectSilently,
  connectTls: tlsConnector(),
  openHttps: openHttpsClient,
  canBind,
  openUdpSocket,
  datagramSockets: (options) => new DatagramSockets(options),
  pings: pingProgram,
};
