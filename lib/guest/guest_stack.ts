/**
 * The network stack of a small guest, to put behind the gateway where no kernel is at hand: in the
 * demo, in tests, in a simulation.
 *
 *     device ─▶ Ethernet ─┬─ ARP, neighbor discovery (`neighbors.ts`)
 *                         ├─ IPv4, IPv6 (`ip_input.ts`) ─┬─ TCP endpoint, opened or listening
 *                         │                              ├─ UDP sockets, DHCPv4 client
 *                         │                              └─ ICMP
 *
 *     poll(), advance(), dispatch()   frames in, timers, segments out
 *     pollAt()                        when the next timer is due
 *
 * Its own: address resolution, DHCP client, ICMP, sockets. Shared with the gateway: the wire
 * formats, queues, fragments, and the TCP endpoint on a link with its ends swapped. So a fault in
 * those shows against real kernels only.
 *
 * Sans-I/O: clock and randomness are handed in. The router is the only neighbor, and is trusted no
 * further than that every length is checked.
 *
 * @module
 */
import type { Arena } from "../host/gateway_memory.ts";
import type { BufferPool } from "../stack/buffer_pool.ts";
import { Counter, Counters } from "../stack/counters.ts";
import { VirtioNetworkDevice } from "../stack/device.ts";
import { IcmpErrors, IcmpReason } from "../stack/icmp_errors.ts";
import { Packet } from "../stack/packet.ts";
import { type NetworkFrameQueues, NextFrame } from "../stack/queues.ts";
import { Reassembly, reassemblyBytes } from "../stack/reassembly.ts";
import { Polled } from "../stack/stack.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import { endpointBytes, TcpEndpoint } from "../stack/tcp/endpoint.ts";
import { UDP_OUTPUT_BYTES, UdpOutput } from "../stack/udp_output.ts";
import { parseIp, sameBytes } from "../wire/address.ts";
import { DHCP4_CLIENT_PORT } from "../wire/dhcp4.ts";
import {
  ETHERNET_HEADER_BYTES,
  ethernetDestinationAt,
  EtherType,
  etherType,
  isGroupMac,
  sameMac,
} from "../wire/ethernet.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import {
  UDP_HEADER_BYTES,
  udpDestinationPort,
  udpLengthBytes,
  udpSourcePort,
} from "../wire/udp.ts";
import { DHCP4_CLIENT_BYTES, Dhcp4Client } from "./dhcp4_client.ts";
import { GuestError } from "./guest_error.ts";
import { GUEST_LINK_BYTES, GuestLink, type GuestLinkConfig } from "./guest_link.ts";
import { GuestTcp } from "./guest_tcp.ts";
import { type Echo, GUEST_ICMP_BYTES, GuestIcmp, type IcmpFailure } from "./icmp.ts";
import { GuestIpInput } from "./ip_input.ts";
import { Neighbors, NEIGHBORS_BYTES } from "./neighbors.ts";
import { type GuestDatagram, GuestUdp } from "./udp_socket.ts";

/** Settings of a guest's stack. */
export interface GuestStackOptions {
  readonly queues: NetworkFrameQueues;
  /** Where TCP buffers come from; its memory holds the queues too. */
  readonly pool: BufferPool;
  /** Where the fixed regions come from, in the same memory. */
  readonly arena: Arena;
  readonly link: GuestLinkConfig;
  /** Whether the gateway takes TCP segments longer than the MTU; default false. */
  readonly offload?: boolean;
  /** Gives 32 random bits. */
  readonly random: () => number;
  /** Asks for a turn: poll, advance, dispatch. */
  readonly wake: () => void;
  readonly nowMs: number;
}

/** Takes a connection that came to a listening port. */
export type GuestConnectionHandler = (connection: GuestTcp) => void;

const TCP_FLOWS = 2_048;
const TCP_BUFFER_MIN_BYTES = 64 * 1024;
const TCP_BUFFER_MAX_BYTES = 4 * 1024 * 1024;
const TIME_WAIT_MS = 1_000;
const IDLE_MS = 7_440_000;
const REASSEMBLY = {
  fragmentSets: 16,
  fragmentBytes: 1024 * 1024,
  fragmentMs: 30_000,
  fragment6Ms: 60_000,
};
const ICMP_ERRORS = { icmpErrorsPerSecond: 1_000, icmpErrorBurst: 50 };
const ADDRESS_BYTES = 16;
const EPHEMERAL_FIRST = 32_768;
const EPHEMERAL_COUNT = 28_232;

const DROP_TYPE = Counter["drop.eth.type"];
const DROP_DESTINATION = Counter["drop.eth.dst"];

/** Everything of the guest between its network device and its programs. */
export class GuestStack {
  readonly guest: GuestLink;
  readonly counters: Counters = new Counters();
  readonly tcp: TcpEndpoint;
  readonly dhcp: Dhcp4Client;
  readonly neighbors: Neighbors;
  readonly icmp: GuestIcmp;
  readonly #options: GuestStackOptions;
  readonly #device: VirtioNetworkDevice;
  readonly #reassembly: Reassembly;
  readonly #errors: IcmpErrors;
  readonly #input: GuestIpInput;
  readonly #udpOutput: UdpOutput;
  readonly #addressAt: number;
  readonly #packet = new Packet();
  readonly #udp = new Map<number, GuestUdp>();
  readonly #listeners = new Map<number, GuestConnectionHandler>();
  #ephemeral: number;

  constructor(options: GuestStackOptions) {
    this.#options = options;
    const { arena, pool, queues, random, nowMs } = options;
    const { memory } = pool;
    this.#device = new VirtioNetworkDevice(queues, this.counters, options.offload);
    const linkAt = arena.take(GUEST_LINK_BYTES);
    this.guest = new GuestLink(memory, linkAt, this.#device, this.counters, options.link);
    const { link } = this.guest;
    this.#errors = new IcmpErrors(link, ICMP_ERRORS);
    const reassemblyAt = arena.take(reassemblyBytes(REASSEMBLY));
    this.#reassembly = new Reassembly(link, reassemblyAt, REASSEMBLY, this.#errors);
    this.#input = new GuestIpInput(this.guest, this.#reassembly);
    this.dhcp = new Dhcp4Client(this.guest, arena.take(DHCP4_CLIENT_BYTES), random);
    this.neighbors = new Neighbors(this.guest, arena.take(NEIGHBORS_BYTES));
    this.icmp = new GuestIcmp(
      this.guest,
      arena.take(GUEST_ICMP_BYTES),
      random() & 0xffff,
      (failure) => this.#onIcmpFailure(failure),
    );
    this.#udpOutput = new UdpOutput(link, arena.take(UDP_OUTPUT_BYTES));
    this.#addressAt = arena.take(ADDRESS_BYTES);
    this.#ephemeral = random() % EPHEMERAL_COUNT;
    this.tcp = new TcpEndpoint({
      link,
      pool: pool.quota(pool.memory.sizeBytes),
      at: arena.take(endpointBytes(TCP_FLOWS)),
      flows: TCP_FLOWS,
      halfOpen: TCP_FLOWS,
      timeWaitMs: TIME_WAIT_MS,
      idleMs: IDLE_MS,
      bufferMinBytes: TCP_BUFFER_MIN_BYTES,
      bufferMaxBytes: TCP_BUFFER_MAX_BYTES,
      seed: Uint32Array.from({ length: 4 }, random),
      nowMs,
      onOffer: (connection, now) => this.#offer(connection, now),
    });
  }

  // ---- The driver's side ------------------------------------------------------------------

  /** Walks at most `frames` frames. */
  poll(frames: number, nowMs: number): Polled {
    const device = this.#device;
    for (let i = 0; i < frames; i++) {
      const next = device.receive();
      if (next === NextFrame.none) return Polled.empty;
      if (next === NextFrame.tooLong) return Polled.broken;
      if (next === NextFrame.refused) continue;
      this.#processFrame(device.frameAt, device.frameBytes, nowMs);
    }
    return Polled.more;
  }

  /** Runs the timers that are due. */
  advance(nowMs: number): void {
    this.#reassembly.advance(nowMs);
    this.dhcp.advance(nowMs);
    this.neighbors.advance(nowMs);
    this.tcp.advance(nowMs);
  }

  /** Tells the connections' owners, then sends what TCP has; true where the device is full. */
  dispatch(nowMs: number): boolean {
    this.tcp.handOver();
    return this.tcp.dispatch(nowMs);
  }

  /** When `advance` has something to do. */
  pollAt(): number {
    return Math.min(
      this.#reassembly.pollAt(),
      this.dhcp.pollAt(),
      this.neighbors.pollAt(),
      this.tcp.pollAt(),
    );
  }

  /** Ends all connections and sockets. */
  closeAll(): void {
    this.#listeners.clear();
    for (const socket of [...this.#udp.values()]) socket.close();
    this.tcp.closeAll();
    this.tcp.handOver();
  }

  // ---- The programs' side -----------------------------------------------------------------

  /** Asks for an echo; see `Echo` for what becomes of it. */
  ping(address: string, dataBytes: number, nowMs: number): Echo {
    const family = this.#write(address);
    const echo = this.icmp.send(family, this.#addressAt, dataBytes, nowMs);
    if (echo === null) throw this.#unavailable(`ping ${address}`);
    return echo;
  }

  /** Binds a UDP port; 0 chooses one. */
  udp(port: number): GuestUdp {
    let chosen = port;
    for (let i = 0; chosen === 0 && i < EPHEMERAL_COUNT; i++) {
      const candidate = this.#nextEphemeral();
      if (!this.#udp.has(candidate)) chosen = candidate;
    }
    if (chosen === 0 || this.#udp.has(chosen)) throw this.#unavailable(`bind UDP port ${port}`);
    const socket = new GuestUdp(chosen, {
      send: (from, address, peerPort, data) => this.#sendUdp(from, address, peerPort, data),
      close: (closed) => this.#udp.delete(closed.port),
    });
    this.#udp.set(chosen, socket);
    return socket;
  }

  /** Opens a connection; it is not established yet. */
  connect(address: string, port: number, nowMs: number): GuestTcp {
    const family = this.#write(address);
    const sourceAt = this.guest.sourceFor(family, this.#addressAt);
    if (sourceAt < 0 || !this.guest.hasRouterMac) throw this.#unavailable(`connect to ${address}`);
    for (let i = 0; i < EPHEMERAL_COUNT; i++) {
      const from = this.#nextEphemeral();
      if (!this.tcp.isFree(family, sourceAt, from, this.#addressAt, port)) continue;
      const connection = this.tcp.connect(family, sourceAt, from, this.#addressAt, port, nowMs);
      if (connection !== null) return this.#own(connection, `to ${address} port ${port}`);
      break;
    }
    throw this.#unavailable(`connect to ${address}`);
  }

  /** Takes connections to a port; the function that is returned stops it. */
  listen(port: number, handler: GuestConnectionHandler): () => void {
    if (this.#listeners.has(port)) throw this.#unavailable(`listen on port ${port}`);
    this.#listeners.set(port, handler);
    return () => this.#listeners.delete(port);
  }

  // ---- Inside -----------------------------------------------------------------------------

  #processFrame(at: number, bytes: number, nowMs: number): void {
    const { guest } = this;
    const { view } = guest.memory;
    const packet = this.#packet;
    packet.linkMulticast = isGroupMac(view, ethernetDestinationAt(at));
    if (!packet.linkMulticast && !sameMac(view, ethernetDestinationAt(at), guest.macAt)) {
      this.counters.add(DROP_DESTINATION);
      return;
    }
    const payloadAt = at + ETHERNET_HEADER_BYTES;
    const payloadBytes = bytes - ETHERNET_HEADER_BYTES;
    switch (etherType(view, at)) {
      case EtherType.ipv4:
        if (this.#input.process4(payloadAt, payloadBytes, packet, nowMs)) {
          this.#processPacket(packet, nowMs);
        }
        return;
      case EtherType.ipv6:
        if (!guest.link.config.ipv6) return;
        if (this.#input.process6(payloadAt, payloadBytes, packet, nowMs)) {
          this.#processPacket(packet, nowMs);
        }
        return;
      case EtherType.arp:
        this.neighbors.processArp(payloadAt, payloadBytes);
        return;
      default:
        this.counters.add(DROP_TYPE);
    }
  }

  #processPacket(packet: Packet, nowMs: number): void {
    switch (packet.protocol) {
      case IpProtocol.tcp:
        this.tcp.process(packet, nowMs);
        return;
      case IpProtocol.udp:
        this.#processUdp(packet, nowMs);
        return;
      case IpProtocol.icmp6:
        if (!this.neighbors.processNdp(packet)) this.icmp.process(packet, nowMs);
        return;
      default:
        this.icmp.process(packet, nowMs);
    }
  }

  #processUdp(packet: Packet, nowMs: number): void {
    const { memory } = this.guest;
    const at = packet.payloadAt;
    const port = udpDestinationPort(memory.view, at);
    const socket = this.#udp.get(port);
    if (socket !== undefined) {
      const datagram: GuestDatagram = {
        address: this.guest.text(packet.family, packet.sourceAt),
        port: udpSourcePort(memory.view, at),
        data: memory.bytes.slice(at + UDP_HEADER_BYTES, at + udpLengthBytes(memory.view, at)),
      };
      socket.deliver(datagram);
    } else if (port === DHCP4_CLIENT_PORT && packet.family === 4) {
      this.dhcp.process(packet, nowMs);
      if (this.dhcp.lease !== null) this.neighbors.requestRouterMac(nowMs);
    } else {
      this.#errors.send(packet, IcmpReason.portUnreachable, nowMs);
    }
  }

  #sendUdp(socket: GuestUdp, address: string, port: number, data: Uint8Array): boolean {
    const family = this.#write(address);
    const to = this.#addressAt;
    const from = this.guest.sourceFor(family, to);
    if (from < 0) return false;
    const sent = this.#udpOutput.sendFromBytes(family, from, to, socket.port, port, data);
    this.#options.wake();
    return sent;
  }

  #offer(connection: TcpConnection, nowMs: number): void {
    const { template } = connection;
    const handler = this.#listeners.get(template.peerPort);
    if (handler === undefined) return connection.refuse();
    const tcp = this.#own(connection, `at port ${template.peerPort}`);
    connection.accept(nowMs);
    tcp.opened.then(() => handler(tcp), () => {});
  }

  #own(connection: TcpConnection, name: string): GuestTcp {
    this.#options.wake();
    return new GuestTcp(connection, this.guest.memory, this.#options.wake, name);
  }

  #onIcmpFailure(failure: IcmpFailure): void {
    const { code, family, protocol, localPort, remotePort, remoteAt } = failure;
    if (protocol === IpProtocol.udp) {
      this.#udp.get(localPort)?.fail(code, this.guest.text(family, remoteAt), remotePort);
      return;
    }
    if (protocol !== IpProtocol.tcp) return;
    for (const connection of this.tcp.connections()) {
      const { template, owner } = connection;
      const isIt = template.family === family && template.peerPort === localPort &&
        template.guestPort === remotePort && this.#leadsTo(connection, remoteAt);
      if (isIt && owner instanceof GuestTcp) return owner.fail(code);
    }
  }

  /** Whether the connection's packets go to the address at a position. */
  #leadsTo(connection: TcpConnection, addressAt: number): boolean {
    const { at, family } = connection.template;
    const { bytes } = this.guest.memory;
    const destinationAt = at + ETHERNET_HEADER_BYTES + (family === 4 ? 16 : 24);
    const length = family === 4 ? 4 : 16;
    return sameBytes(
      bytes.subarray(destinationAt, destinationAt + length),
      bytes.subarray(addressAt, addressAt + length),
    );
  }

  /** Writes an address literal to the scratch position. */
  #write(address: string): 4 | 6 {
    const bytes = parseIp(address);
    if (bytes === null) throw new RangeError(`Cannot use "${address}": not an address literal`);
    this.guest.memory.bytes.set(bytes, this.#addressAt);
    return bytes.length === 4 ? 4 : 6;
  }

  #nextEphemeral(): number {
    this.#ephemeral = (this.#ephemeral + 1) % EPHEMERAL_COUNT;
    return EPHEMERAL_FIRST + this.#ephemeral;
  }

  #unavailable(doing: string): GuestError {
    const why = this.guest.hasIp4 || this.guest.hasIp6
      ? "no address of that family, no port, or no room"
      : "no address yet";
    return new GuestError("unavailable", `Cannot ${doing}: ${why}`);
  }
}
