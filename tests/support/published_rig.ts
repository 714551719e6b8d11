/**
 * A guest's network with published sockets in the hands of a test: clients' datagrams go in by call,
 * the guest's answers and errors as frames, on virtual time.
 *
 * @module
 */
import type { HostClient } from "../../lib/host/guest_clients.ts";
import type { PublishedSocket } from "../../lib/host/published_udp.ts";
import { neighborSolicitation } from "../guest/frames.ts";
import { ethernet, GATEWAY6, GUEST6, icmp4, icmp6, ip4, ip6, read, udp } from "./packets.ts";
import { VirtualGateway, type VirtualGatewayOptions } from "./virtual_gateway.ts";

/** The guest's port that is published. */
export const PORT = 53;
/** A client on the host itself. */
export const LOOPBACK: HostClient = { hostname: "127.0.0.1", port: 40_000 };
/** A client of somewhere else. */
export const CLIENT: HostClient = { hostname: "198.51.100.7", port: 4321 };
/** The same over IPv6. */
export const CLIENT6: HostClient = { hostname: "2001:db8::7", port: 4321 };

/** A published socket in the hands of the test. */
export class Socket implements PublishedSocket {
  readonly guestPort: number;
  readonly sent: { to: string; data: Uint8Array }[] = [];
  lets = true;
  takes = true;
  /** What a send fails with, later. */
  failure: unknown = null;

  constructor(guestPort = PORT) {
    this.guestPort = guestPort;
  }

  admits(): boolean {
    return this.lets;
  }

  send(
    to: HostClient,
    from: Uint8Array,
    at: number,
    length: number,
    failed: (error: unknown) => void,
  ): boolean {
    if (!this.takes) return false;
    this.sent.push({ to: `${to.hostname} ${to.port}`, data: from.slice(at, at + length) });
    if (this.failure !== null) failed(this.failure);
    return true;
  }
}

/** What the guest was sent. */
export interface Datagram {
  source: string;
  sourcePort: number;
  destination: string;
  destinationPort: number;
  data: Uint8Array;
}

/** A gateway whose guest is at both of its addresses. */
export class Rig {
  readonly gw: VirtualGateway;
  readonly socket = new Socket();

  constructor(options: VirtualGatewayOptions = {}) {
    this.gw = new VirtualGateway(options);
  }

  static async start(options: VirtualGatewayOptions = {}): Promise<Rig> {
    const rig = new Rig(options);
    rig.gw.send(neighborSolicitation(GUEST6, GATEWAY6));
    await rig.gw.run(1);
    rig.gw.frames();
    return rig;
  }

  /** A client's datagram; the data is good for the call only. */
  client(client: HostClient, data: Uint8Array, socket = this.socket): void {
    const lent = data.slice();
    this.gw.network.receivePublished(socket, client, lent);
    lent.fill(0xdb);
  }

  /** What the guest was sent, whole datagrams. */
  async guestGets(): Promise<Datagram[]> {
    await this.gw.run(1);
    return this.gw.frames().map((frame) => read(frame)).filter(({ protocol }) => protocol === 17)
      .map(({ source, destination, payload }) => {
        const view = new DataView(payload.buffer, payload.byteOffset);
        return {
          source,
          sourcePort: view.getUint16(0),
          destination,
          destinationPort: view.getUint16(2),
          data: payload.slice(8),
        };
      });
  }

  /** The guest answers a datagram. */
  async answers(asked: Datagram, data: Uint8Array): Promise<void> {
    const { source, sourcePort, destination, destinationPort } = asked;
    const payload = udp(destination, destinationPort, source, sourcePort, data);
    const ends = { source: destination, destination: source };
    this.gw.send(ethernet(source.includes(":") ? ip6(payload, ends) : ip4(payload, ends)));
    await this.gw.run(1);
  }

  /** The guest says that nothing listens where a datagram was sent. */
  async refuses({ source, sourcePort, destination, destinationPort, data }: Datagram) {
    const quoted = udp(source, sourcePort, destination, destinationPort, data);
    const ends = { source: destination, destination: source };
    if (source.includes(":")) {
      const quote = ip6(quoted, { source, destination });
      const error = icmp6(destination, source, 1, 4, [0, 0, 0, 0], quote);
      this.gw.send(ethernet(ip6(error, { ...ends, next: 58 })));
    } else {
      const quote = ip4(quoted, { source, destination });
      this.gw.send(ethernet(ip4(icmp4(3, 3, [0, 0, 0, 0], quote), { ...ends, protocol: 1 })));
    }
    await this.gw.run(1);
  }

  get flows(): number {
    return this.gw.figures().udpFlows;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gw.end();
  }
}
