/**
 * How a client of a published port looks to the guest, and where in the guest it goes.
 *
 * The guest sees the client's own address, so that its logs and rules mean something. It sees the
 * gateway's instead where an answer would not come back through the gateway: for a client on the
 * host's loopback, one of the other family, one of a unix socket, and one whose address the guest
 * would look for on the link itself or can't answer. The client's port is kept where it is free.
 *
 * The client's family is tried first, then the other one: a guest may listen on one of them only, or
 * have no addresses of one. Where it says nothing at all they take turns, each with more patience than
 * the one before, as it may be about to start.
 *
 * @module
 */
import type { GuestAddresses } from "../stack/guest_addresses.ts";
import type { Link } from "../stack/link.ts";
import type { TcpEndpoint } from "../stack/tcp/endpoint.ts";
import type { UdpEnds } from "../stack/udp_flows.ts";
import { parseIp } from "../wire/address.ts";
import type { OpenAttempt } from "./tcp_relay_table.ts";

/** Octets of frame memory for a client's address. */
export const GUEST_CLIENTS_BYTES = 16;

/** What is needed to open connections to the guest. */
export interface GuestClientsOptions {
  readonly link: Link;
  /** A region of `GUEST_CLIENTS_BYTES` in the link's memory. */
  readonly at: number;
  readonly addresses: GuestAddresses;
  readonly endpoint: TcpEndpoint;
  readonly now: () => number;
  /** Sixteen bits that nobody can foretell. */
  readonly randomWord: () => number;
}

/** A client of a published port, as its socket names it. */
export interface HostClient {
  /** An address literal; empty for a client that has none. */
  readonly hostname: string;
  /** 0 for a client that has none. */
  readonly port: number;
}

/** How often the SYN of each turn is sent again: after 1, 3, 7, 15 and 63 s the turn is over. */
const PATIENCE: readonly number[] = [0, 1, 2, 3, 5];
const EPHEMERAL_FIRST = 49_152;
const EPHEMERAL_COUNT = 16_384;

/** Opens connections to the guest in the name of hosts' clients. */
export class GuestClients {
  readonly #options: GuestClientsOptions;
  #ephemeral: number;

  constructor(options: GuestClientsOptions) {
    this.#options = options;
    this.#ephemeral = options.randomWord();
  }

  /** The ways to open a connection for a client, to be tried in order. */
  attempts(client: HostClient, guestPort: number): readonly OpenAttempt[] {
    const { endpoint, now } = this.#options;
    const isFree = ({ family, peerAt, peerPort, guestAt }: UdpEnds) =>
      endpoint.isFree(family, peerAt, peerPort, guestAt, guestPort);
    const attempt = (family: 4 | 6, synRetransmissionsMax: number): OpenAttempt => ({
      family,
      open: () => {
        const ends = this.ends(family, client, guestPort, isFree);
        if (ends === null) return null;
        const { peerAt, peerPort, guestAt } = ends;
        return endpoint.connect(
          family,
          peerAt,
          peerPort,
          guestAt,
          guestPort,
          now(),
          synRetransmissionsMax,
        );
      },
    });
    const families = familiesOf(client).filter((family) => this.#guestAt(family) >= 0);
    if (families.length < 2) return families.map((family) => attempt(family, PATIENCE.at(-1)!));
    return PATIENCE.map((times, turn) => attempt(families[turn % families.length]!, times));
  }

  /**
   * Both ends of a client's flow as the guest will see them, good until the next call; `null` where the
   * guest has no address of the family, or all ports are taken.
   */
  ends(
    family: 4 | 6,
    client: HostClient,
    guestPort: number,
    isFree: (ends: UdpEnds) => boolean,
  ): UdpEnds | null {
    const { link, at } = this.#options;
    const guestAt = this.#guestAt(family);
    if (guestAt < 0) return null;
    const address = addressOf(client);
    let peerAt = family === 4 ? link.gatewayIp4At : link.gatewayIp6At;
    const shown = address !== null && address.length === (family === 4 ? 4 : 16) &&
      isAnswerable(address) && !this.#isOnLink(address);
    if (shown) {
      peerAt = at;
      link.memory.bytes.set(address, peerAt);
    }
    const ends = { family, guestAt, guestPort, peerAt, peerPort: client.port };
    if (ends.peerPort !== 0 && isFree(ends)) return ends;
    for (let i = 0; i < EPHEMERAL_COUNT; i++) {
      this.#ephemeral = (this.#ephemeral + 1) % EPHEMERAL_COUNT;
      ends.peerPort = EPHEMERAL_FIRST + this.#ephemeral;
      if (isFree(ends)) return ends;
    }
    return null;
  }

  /** Where the guest's address of a family stands; -1 where it has none. */
  #guestAt(family: 4 | 6): number {
    const { link, addresses } = this.#options;
    if (family === 4) return link.guestIp4At;
    return link.config.ipv6 ? addresses.preferredAt : -1;
  }

  #isOnLink(client: Uint8Array): boolean {
    const { config } = this.#options.link;
    if (client.length === 4) return samePrefix(client, config.guestIp4, config.prefix4);
    const isLinkLocal = client[0] === 0xfe && (client[1]! & 0xc0) === 0x80;
    return isLinkLocal || samePrefix(client, config.guestIp6, config.prefix6);
  }
}

/** The families to try, in order. */
export function familiesOf(client: HostClient): readonly (4 | 6)[] {
  return addressOf(client)?.length === 16 ? [6, 4] : [4, 6];
}

/** A client's address without the form of RFC 4291 section 2.5.5.2 that dual-stack sockets show. */
export function addressOf({ hostname }: HostClient): Uint8Array | null {
  const address = parseIp(hostname.replace(/%.*$/, ""));
  if (address?.length !== 16 || address[10] !== 0xff || address[11] !== 0xff) return address;
  return address.subarray(0, 10).every((octet) => octet === 0) ? address.slice(12) : address;
}

function samePrefix(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  for (let i = 0; i < bits; i++) {
    const mask = 0x80 >> (i & 7);
    if (((a[i >> 3]! ^ b[i >> 3]!) & mask) !== 0) return false;
  }
  return true;
}

/** Whether a guest can send to an address: not the loopback, a group, or none at all. */
function isAnswerable(bytes: Uint8Array): boolean {
  if (bytes.length === 4) return bytes[0] !== 127 && bytes[0] !== 0 && bytes[0]! < 224;
  const isNoneOrLoopback = bytes[15]! <= 1 && bytes.subarray(0, 15).every((octet) => octet === 0);
  return !isNoneOrLoopback && bytes[0] !== 0xff;
}
