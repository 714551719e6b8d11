/**
 * A DHCPv4 client (RFC 2131 section 4.4): one lease, asked for until it is there.
 *
 *     idle ──start()──▶ selecting ──OFFER──▶ requesting ──ACK──▶ bound
 *                           ▲                    │ NAK
 *                           └────────────────────┘
 *                       no answer after 5 tries ──▶ failed
 *
 * Takes the first offer. Does not renew: what it serves lives shorter than a lease. Sans-I/O.
 *
 * @module
 */
import type { Packet } from "../stack/packet.ts";
import {
  DHCP4_CLIENT_PORT,
  DHCP4_MIN_BYTES,
  DHCP4_SERVER_PORT,
  dhcp4ClientMacAt,
  Dhcp4Message,
  Dhcp4Op,
  dhcp4Op,
  Dhcp4Option,
  Dhcp4Options,
  dhcp4TransactionId,
  dhcp4YourIpAt,
  parseDhcp4,
  writeDhcp4End,
  writeDhcp4Header,
  writeDhcp4Option16,
  writeDhcp4Option8,
  writeDhcp4OptionBytes,
  writeDhcp4OptionFrom,
} from "../wire/dhcp4.ts";
import { sameMac } from "../wire/ethernet.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import {
  UDP_HEADER_BYTES,
  udpLengthBytes,
  writeUdpChecksum4,
  writeUdpHeader,
} from "../wire/udp.ts";
import type { GuestLink } from "./guest_link.ts";

/** States of the client. */
export const Dhcp4State = {
  idle: "idle",
  selecting: "selecting",
  requesting: "requesting",
  bound: "bound",
  failed: "failed",
} as const;
/** One of `Dhcp4State`. */
export type Dhcp4State = typeof Dhcp4State[keyof typeof Dhcp4State];

/** What the server gave. */
export interface Dhcp4Lease {
  readonly address: string;
  readonly prefix: number;
  readonly router: string;
  readonly dns: readonly string[];
  /** The link's MTU as the server has it; 0 where it did not say. */
  readonly mtu: number;
  readonly domain: string;
  readonly leaseSeconds: number;
}

/** Octets of frame memory that a `Dhcp4Client` takes: the offered address and its server. */
export const DHCP4_CLIENT_BYTES = 8;

const TRIES = 5;
const FIRST_RETRY_MS = 1_000;
const MAX_MESSAGE_BYTES = 1_472;
const WANTED = Uint8Array.of(
  Dhcp4Option.subnetMask,
  Dhcp4Option.router,
  Dhcp4Option.dnsServers,
  Dhcp4Option.domainName,
  Dhcp4Option.mtu,
);

/** The guest's DHCPv4 client. */
export class Dhcp4Client {
  readonly #guest: GuestLink;
  readonly #offeredAt: number;
  readonly #serverAt: number;
  readonly #random: () => number;
  readonly #options = new Dhcp4Options();
  #state: Dhcp4State = Dhcp4State.idle;
  #lease: Dhcp4Lease | null = null;
  #transaction = 0;
  #tries = 0;
  #retryMs = Infinity;

  /** `at` is a region of `DHCP4_CLIENT_BYTES`; `random` gives 32 random bits. */
  constructor(guest: GuestLink, at: number, random: () => number) {
    this.#guest = guest;
    this.#offeredAt = at;
    this.#serverAt = at + 4;
    this.#random = random;
  }

  /** Where the client stands. */
  get state(): Dhcp4State {
    return this.#state;
  }

  /** The lease, once bound. */
  get lease(): Dhcp4Lease | null {
    return this.#lease;
  }

  /** Asks for a lease, from the beginning. */
  start(nowMs: number): void {
    this.#transaction = this.#random() >>> 0;
    this.#enter(Dhcp4State.selecting, nowMs);
  }

  /** When `advance` has something to do. */
  pollAt(): number {
    return this.#retryMs;
  }

  /** Asks again where no answer came. */
  advance(nowMs: number): void {
    if (nowMs < this.#retryMs) return;
    if (this.#tries >= TRIES) {
      this.#state = Dhcp4State.failed;
      this.#retryMs = Infinity;
      return;
    }
    this.#send(nowMs);
  }

  /** Takes a datagram to the client's port, its checksum right. */
  process(packet: Packet, nowMs: number): void {
    const { view } = this.#guest.memory;
    const at = packet.payloadAt + UDP_HEADER_BYTES;
    const end = packet.payloadAt + udpLengthBytes(view, packet.payloadAt);
    const options = this.#options;
    if (!parseDhcp4(view, at, end, options)) return;
    if (dhcp4Op(view, at) !== Dhcp4Op.reply) return;
    if (dhcp4TransactionId(view, at) !== this.#transaction) return;
    if (!sameMac(view, dhcp4ClientMacAt(at), this.#guest.macAt) || options.serverIdAt < 0) return;
    if (this.#state === Dhcp4State.selecting && options.messageType === Dhcp4Message.offer) {
      this.#guest.memory.copy(this.#offeredAt, dhcp4YourIpAt(at), 4);
      this.#guest.memory.copy(this.#serverAt, options.serverIdAt, 4);
      this.#enter(Dhcp4State.requesting, nowMs);
    } else if (this.#state === Dhcp4State.requesting) {
      if (options.messageType === Dhcp4Message.ack) this.#bind(at);
      else if (options.messageType === Dhcp4Message.nak) this.start(nowMs);
    }
  }

  #enter(state: Dhcp4State, nowMs: number): void {
    this.#state = state;
    this.#tries = 0;
    this.#send(nowMs);
  }

  #send(nowMs: number): void {
    this.#retryMs = nowMs + FIRST_RETRY_MS * 2 ** this.#tries;
    this.#tries++;
    const { link, memory, broadcastAt, unspecifiedAt, macAt } = this.#guest;
    const { view } = memory;
    const lengthBytes = UDP_HEADER_BYTES + DHCP4_MIN_BYTES;
    const at = link.beginIpv4(unspecifiedAt, broadcastAt, IpProtocol.udp, lengthBytes);
    if (at < 0) return;
    link.setDestinationMac(broadcastAt);
    writeUdpHeader(view, at, DHCP4_CLIENT_PORT, DHCP4_SERVER_PORT, lengthBytes);
    this.#writeMessage(at + UDP_HEADER_BYTES, macAt);
    writeUdpChecksum4(memory, at, lengthBytes, unspecifiedAt, broadcastAt);
    link.end();
  }

  /** A message of `DHCP4_MIN_BYTES`: the options that are written here fit. */
  #writeMessage(at: number, macAt: number): void {
    const { memory } = this.#guest;
    const { view } = memory;
    const requests = this.#state === Dhcp4State.requesting;
    let next = writeDhcp4Header(memory, at, Dhcp4Op.request, this.#transaction, 0, macAt);
    const type = requests ? Dhcp4Message.request : Dhcp4Message.discover;
    next = writeDhcp4Option8(view, next, Dhcp4Option.messageType, type);
    if (requests) {
      const { requestedAddress, serverIdentifier } = Dhcp4Option;
      next = writeDhcp4OptionFrom(memory, next, requestedAddress, this.#offeredAt, 4);
      next = writeDhcp4OptionFrom(memory, next, serverIdentifier, this.#serverAt, 4);
    }
    next = writeDhcp4Option16(view, next, Dhcp4Option.maxMessageBytes, MAX_MESSAGE_BYTES);
    next = writeDhcp4OptionBytes(memory, next, Dhcp4Option.parameterList, WANTED);
    writeDhcp4End(memory, next, at);
  }

  #bind(at: number): void {
    const guest = this.#guest;
    const { memory } = guest;
    const options = this.#options;
    memory.copy(guest.ip4At, dhcp4YourIpAt(at), 4);
    memory.copy(guest.router4At, options.routerAt < 0 ? this.#serverAt : options.routerAt, 4);
    guest.hasIp4 = true;
    const mask = options.subnetMaskAt < 0
      ? 0xffff_ffff
      : memory.view.getUint32(options.subnetMaskAt);
    this.#lease = {
      address: guest.text(4, guest.ip4At),
      prefix: Math.clz32(~mask),
      router: guest.text(4, guest.router4At),
      dns: Array.from(
        { length: options.dnsServersCount },
        (_, i) => guest.text(4, options.dnsServersAt + 4 * i),
      ),
      mtu: options.mtu,
      domain: this.#domain(),
      leaseSeconds: options.leaseSeconds,
    };
    this.#state = Dhcp4State.bound;
    this.#retryMs = Infinity;
  }

  #domain(): string {
    const { domainNameAt: at, domainNameBytes: bytes } = this.#options;
    return at < 0 ? "" : decoder.decode(this.#guest.memory.bytes.slice(at, at + bytes));
  }
}

const decoder = new TextDecoder();
