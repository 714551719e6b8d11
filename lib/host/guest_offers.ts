/**
 * Where a guest's new TCP connections go: questions to the gateway's resolver, all else to a relay.
 *
 * @module
 */
import type { Link } from "../stack/link.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import { DnsTcpRelay, type DnsTcpRelayOptions } from "./dns_tcp_relay.ts";
import type { TcpRelayTable } from "./tcp_relay_table.ts";

/** What new connections are brought to. */
export interface GuestOffersOptions extends DnsTcpRelayOptions {
  readonly link: Link;
  readonly relays: TcpRelayTable;
  /** Whether questions to any address are the gateway's to answer, or only those to its own. */
  readonly intercept: boolean;
}

const DNS_PORT = 53;

/** Takes a guest's new connections. */
export class GuestOffers {
  readonly #options: GuestOffersOptions;

  constructor(options: GuestOffersOptions) {
    this.#options = options;
  }

  /** Takes a connection that is held unanswered. */
  take(connection: TcpConnection, nowMs: number): void {
    if (connection.template.peerPort === DNS_PORT && this.#answersDns(connection)) {
      new DnsTcpRelay(connection, this.#options);
      return;
    }
    this.#options.relays.offer(connection, nowMs);
  }

  #answersDns(connection: TcpConnection): boolean {
    const { link, intercept } = this.#options;
    if (intercept) return true;
    const { bytes } = link.memory;
    const { at, family } = connection.template;
    if (family === 4) return sameRange(bytes, at + 26, link.gatewayIp4At, 4);
    return sameRange(bytes, at + 22, link.gatewayIp6At, 16) ||
      sameRange(bytes, at + 22, link.gatewayLinkLocalAt, 16);
  }
}

function sameRange(bytes: Uint8Array, aAt: number, bAt: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[aAt + i] !== bytes[bAt + i]) return false;
  return true;
}
