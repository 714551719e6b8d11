/**
 * DHCPv4 for the one guest (RFC 2131, RFC 2132, RFC 3397, RFC 6842): the link's address, router,
 * resolver, MTU and search domain.
 *
 * There is exactly one lease, for the link's MAC; a message for another client, through a relay,
 * or with a field that lies is `drop.dhcp` (CVE-2021-3592), a server's is `drop.role`. The lease
 * time is a formality, as nobody else wants the address. After a decline the same address is
 * offered again, for there is no other. BOOTP without a message type is not served.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import { Dhcp4Reply, Dhcp4ReplyKind } from "./dhcp4_reply.ts";
import type { Link } from "./link.ts";
import type { Packet } from "./packet.ts";
import {
  DHCP4_CLIENT_PORT,
  DHCP4_SERVER_PORT,
  dhcp4ClientIpAt,
  dhcp4ClientMacAt,
  Dhcp4Message,
  Dhcp4Op,
  dhcp4Op,
  Dhcp4Options,
  dhcp4RelayIpAt,
  dhcp4WantsBroadcast,
  parseDhcp4,
} from "../wire/dhcp4.ts";
import { sameMac } from "../wire/ethernet.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import {
  UDP_HEADER_BYTES,
  udpLengthBytes,
  writeUdpChecksum4,
  writeUdpHeader,
} from "../wire/udp.ts";

const DROP = Counter["drop.dhcp"];
const DROP_ROLE = Counter["drop.role"];
const LEASES = Counter["dhcp.leases"];

/** Octets of frame memory that a `Dhcp4` takes: the broadcast addresses. */
export const DHCP4_BYTES = 8;

/** What the server says beyond the link's addresses. */
export interface Dhcp4ServerOptions {
  /** The search domains from `encodeDomainNames`; empty for none. */
  readonly search: Uint8Array<ArrayBuffer>;
  /** Hears that the guest looks for a server, as one does that was started again. */
  readonly onDiscover?: () => void;
}

/** The guest's DHCPv4 server. */
export class Dhcp4 {
  readonly #link: Link;
  readonly #broadcastAt: number;
  readonly #message: Dhcp4Reply;
  readonly #options = new Dhcp4Options();
  readonly #onDiscover: (() => void) | undefined;
  #leased = false;

  /** `at` is a region of `DHCP4_BYTES` in the link's memory. */
  constructor(link: Link, at: number, options: Dhcp4ServerOptions) {
    this.#link = link;
    this.#broadcastAt = at;
    this.#onDiscover = options.onDiscover;
    this.#message = new Dhcp4Reply(link, options.search);
    link.memory.bytes.fill(0xff, at, at + DHCP4_BYTES);
  }

  /** Whether the guest has taken the address and has not given it back. */
  get leased(): boolean {
    return this.#leased;
  }

  /** Takes a UDP datagram to port 67 whose UDP header was checked. */
  process(packet: Packet): void {
    const { view } = this.#link.memory;
    const at = packet.payloadAt + UDP_HEADER_BYTES;
    const end = packet.payloadAt + udpLengthBytes(view, packet.payloadAt);
    if (!parseDhcp4(view, at, end, this.#options)) return this.#count(DROP);
    const type = this.#options.messageType;
    if (dhcp4Op(view, at) === Dhcp4Op.reply || isServerMessage(type)) return this.#count(DROP_ROLE);
    if (!this.#isFromGuest(at)) return this.#count(DROP);
    switch (type) {
      case Dhcp4Message.discover:
        this.#leased = false;
        this.#onDiscover?.();
        this.#reply(at, Dhcp4ReplyKind.offer);
        break;
      case Dhcp4Message.request:
        this.#request(at);
        break;
      case Dhcp4Message.inform:
        this.#inform(at);
        break;
      case Dhcp4Message.decline:
      case Dhcp4Message.release:
        if (this.#isForUs()) this.#leased = false;
        break;
      default:
        this.#count(DROP);
    }
  }

  #isFromGuest(at: number): boolean {
    const { memory, guestMacAt } = this.#link;
    const { view } = memory;
    return dhcp4Op(view, at) === Dhcp4Op.request && view.getUint32(dhcp4RelayIpAt(at)) === 0 &&
      sameMac(view, dhcp4ClientMacAt(at), guestMacAt);
  }

  /** RFC 2131 section 4.3.2: the address is in an option or, on renewal, in the client's field. */
  #request(at: number): void {
    const { memory, guestIp4At } = this.#link;
    const { view } = memory;
    const { requestedIpAt } = this.#options;
    // Else the client has taken another server's offer.
    if (!this.#isForUs()) return;
    const wanted = view.getUint32(requestedIpAt >= 0 ? requestedIpAt : dhcp4ClientIpAt(at));
    if (wanted === 0) return this.#count(DROP);
    if (wanted !== view.getUint32(guestIp4At)) {
      this.#reply(at, Dhcp4ReplyKind.refusal);
      return;
    }
    if (!this.#reply(at, Dhcp4ReplyKind.lease)) return;
    if (!this.#leased) this.#count(LEASES);
    this.#leased = true;
  }

  /** A guest that has its address asks for the rest (section 4.3.5). */
  #inform(at: number): void {
    const { memory, guestIp4At } = this.#link;
    const clientIp = memory.view.getUint32(dhcp4ClientIpAt(at));
    if (clientIp !== memory.view.getUint32(guestIp4At)) return this.#count(DROP);
    this.#reply(at, Dhcp4ReplyKind.parameters);
  }

  #isForUs(): boolean {
    const { memory, gatewayIp4At } = this.#link;
    const { serverIdAt } = this.#options;
    return serverIdAt < 0 ||
      memory.view.getUint32(serverIdAt) === memory.view.getUint32(gatewayIp4At);
  }

  /** Answers the message at `requestAt` (section 4.1 says where to); whether it was queued. */
  #reply(requestAt: number, kind: Dhcp4ReplyKind): boolean {
    const link = this.#link;
    const { memory, gatewayIp4At } = link;
    const { view } = memory;
    const hasAddress = view.getUint32(dhcp4ClientIpAt(requestAt)) !== 0;
    const broadcast = kind === Dhcp4ReplyKind.refusal ||
      (!hasAddress && dhcp4WantsBroadcast(view, requestAt));
    const destinationAt = broadcast ? this.#broadcastAt : link.guestIp4At;
    const bytes = UDP_HEADER_BYTES + this.#message.plan(kind, this.#options);
    const at = link.beginIpv4(gatewayIp4At, destinationAt, IpProtocol.udp, bytes);
    if (at < 0) return false;
    if (broadcast) link.setDestinationMac(this.#broadcastAt);
    writeUdpHeader(view, at, DHCP4_SERVER_PORT, DHCP4_CLIENT_PORT, bytes);
    this.#message.write(at + UDP_HEADER_BYTES, requestAt, kind, this.#options);
    writeUdpChecksum4(memory, at, bytes, gatewayIp4At, destinationAt);
    link.end();
    return true;
  }

  #count(counter: number): void {
    this.#link.counters.values[counter]!++;
  }
}

function isServerMessage(type: number): boolean {
  return type === Dhcp4Message.offer || type === Dhcp4Message.ack || type === Dhcp4Message.nak;
}
