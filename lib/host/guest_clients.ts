/**
 * How a client of a published port looks to the guest, and where in the guest it goes.
 *
 * The guest sees the client's own address, so that its logs and rules mean something. It sees the
 * gateway's instead where an answer would not come back through the gateway: for a client on the
 * host's loopback, one of the other family, and one whose address the guest would look for on the
 * link itself. The client's port is kept where it is free.
 *
 * The client's family is tried first, then the other one: a guest may listen on one of them only.
 *
 * @module
 */
import type { GuestAddresses } from "../stack/guest_addresses.ts";
import type { Link } from "../stack/link.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import type { TcpEndpoint } from "../stack/tcp/endpoint.ts";
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
  attempts(client: Deno.NetAddr, guestPort: number): readonly OpenAttempt[] {
    const address = unmapped(parseIp(client.hostname));
    const families: readonly (4 | 6)[] = address?.length === 16 ? [6, 4] : [4, 6];
    return families.map((family) => () => this.#open(family, address, client.port, guestPort));
  }

  #open(
    family: 4 | 6,
    client: Uint8Array | null,
    clientPort: number,
    guestPort: number,
  ): TcpConnection | null {
    const { link, at, addresses, endpoint, now } = this.#options;
    const guestAt = family === 4 ? link.guestIp4At : link.config.ipv6 ? addresses.preferredAt : -1;
    if (guestAt < 0) return null;
    let peerAt = family === 4 ? link.gatewayIp4At : link.gatewayIp6At;
    const shown = client !== null && client.length === (family === 4 ? 4 : 16) &&
      !isLoopback(client) && !this.#isOnLink(client);
    if (shown) {
      peerAt = at;
      link.memory.bytes.set(client, peerAt);
    }
    const port = this.#choosePort(family, peerAt, clientPort, guestAt, guestPort);
    return port < 0 ? null : endpoint.connect(family, peerAt, port, guestAt, guestPort, now());
  }

  #isOnLink(client: Uint8Array): boolean {
    const { config } = this.#options.link;
    if (client.length === 4) return samePrefix(client, config.guestIp4, config.prefix4);
    const isLinkLocal = client[0] === 0xfe && (client[1]! & 0xc0) === 0x80;
    return isLinkLocal || samePrefix(client, config.guestIp6, config.prefix6);
  }

  /** The client's own port where it is free, else any: -1 when none is found. */
  #choosePort(
    family: 4 | 6,
    peerAt: number,
    wish: number,
    guestAt: number,
    guestPort: number,
  ): number {
    const { endpoint } = this.#options;
    if (endpoint.isFree(family, peerAt, wish, guestAt, guestPort)) return wish;
    for (let i = 0; i < EPHEMERAL_COUNT; i++) {
      this.#ephemeral = (this.#ephemeral + 1) % EPHEMERAL_COUNT;
      const port = EPHEMERAL_FIRST + this.#ephemeral;
      if (endpoint.isFree(family, peerAt, port, guestAt, guestPort)) return port;
    }
    return -1;
  }
}

/** An IPv4 address in the form of RFC 4291 section 2.5.5.2, as dual-stack sockets show it, undone. */
function unmapped(address: Uint8Array | null): Uint8Array | null {
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

function isLoopback(bytes: Uint8Array): boolean {
  if (bytes.length === 4) return bytes[0] === 127;
  return bytes[15] === 1 && bytes.subarray(0, 15).every((octet) => octet === 0);
}
