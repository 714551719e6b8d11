/**
 * Which destinations a guest may dial at all, whatever its rules say: the `--protect` levels.
 *
 *                   metadata,     host's own   private,      loopback, unspecified, broadcast,
 *                   link-local    addresses    CGNAT, ULA    multicast, reserved, own sockets
 *     off           allow         allow        allow         refuse
 *     metadata      refuse        allow        allow         refuse
 *     strict        refuse        refuse       refuse        refuse
 *
 * Three questions, in the order of a flow's life: `judge` before the dial; `judgeOwn` once the
 * dialled address has turned out to be the host's own (its addresses are not always known
 * before); `judgeLoopback` in place of both where the operator has mapped the gateway's address to
 * the host's loopback. In each of them a socket of the gateway itself is refused: a guest must not
 * talk to its own link, to the control interface or to its own published ports.
 *
 * Resolves no names and dials nothing. A verdict is one of a few constants.
 *
 * @module
 */
import { sameBytes } from "../wire/address.ts";
import type { IpProtocol } from "../wire/ipv4.ts";
import { ADDRESS_CLASS_NAMES, AddressClass, classify, embeddedIpv4 } from "./address_class.ts";

/** What no guest reaches whatever else is set. */
export type ProtectLevel = "off" | "metadata" | "strict";

/** A guest may dial a destination, or may not and why. */
export type Verdict =
  | { readonly allow: true }
  | {
    readonly allow: false;
    /** What the destination is: the name of its class, `host` or `own socket`. */
    readonly reason: string;
  };

/** The verdict that lets a flow pass. */
export const ALLOW: Verdict = Object.freeze({ allow: true });

const REFUSE_CLASS: readonly Verdict[] = ADDRESS_CLASS_NAMES.map(refuse);
const REFUSE_HOST = refuse("host");
const REFUSE_OWN_SOCKET = refuse("own socket");

/** The first class that each level refuses; all stricter ones follow. */
const FIRST_REFUSED: Readonly<Record<ProtectLevel, AddressClass>> = {
  off: AddressClass.reserved,
  metadata: AddressClass.linkLocal,
  strict: AddressClass.private,
};

/** What a judge goes by. */
export interface JudgeOptions {
  /** The level. */
  readonly protect: ProtectLevel;
  /** Addresses of the host, 4 or 16 octets each, as far as they are known. */
  readonly own?: readonly Uint8Array[];
}

interface OwnSocket {
  /** Absent where the socket listens at all addresses. */
  readonly address: Uint8Array | undefined;
  readonly port: number;
  readonly protocol: IpProtocol;
}

/** Judges the destinations of one guest. */
export class Judge {
  readonly #firstRefused: AddressClass;
  readonly #refusesHost: boolean;
  readonly #own: readonly Uint8Array[];
  readonly #ownSockets: OwnSocket[] = [];

  /** Judges by a level and by what is known of the host; own sockets are added as they open. */
  constructor(options: JudgeOptions) {
    this.#firstRefused = FIRST_REFUSED[options.protect];
    this.#refusesHost = options.protect === "strict";
    this.#own = options.own ?? [];
  }

  /** Keeps the guest from a socket that the gateway listens at; an unspecified address means all. */
  addOwnSocket(address: Uint8Array, port: number, protocol: IpProtocol): void {
    const everywhere = address.every((octet) => octet === 0);
    this.#ownSockets.push({ address: everywhere ? undefined : address, port, protocol });
  }

  /**
   * Judges a destination before it is dialled.
   *
   * @param destination 4 or 16 octets.
   * @param port The port; 0 where the protocol has none.
   * @param protocol The protocol.
   */
  judge(destination: Uint8Array, port: number, protocol: IpProtocol): Verdict {
    const addressClass = classify(destination);
    if (addressClass >= this.#firstRefused) return REFUSE_CLASS[addressClass]!;
    const carried = destination.length === 16 ? embeddedIpv4(destination) : [];
    for (const address of [destination, ...carried]) {
      const verdict = this.#own.some((own) => sameBytes(own, address))
        ? this.judgeOwn(address, port, protocol)
        : this.#judgeSocket(address, port, protocol, false);
      if (!verdict.allow) return verdict;
    }
    return ALLOW;
  }

  /** Judges a destination that is an address of the host: known, or found out by dialling it. */
  judgeOwn(destination: Uint8Array, port: number, protocol: IpProtocol): Verdict {
    if (this.#refusesHost) return REFUSE_HOST;
    return this.#judgeSocket(destination, port, protocol, true);
  }

  /** Judges a place at the host's loopback that the gateway's address has been mapped to. */
  judgeLoopback(destination: Uint8Array, port: number, protocol: IpProtocol): Verdict {
    return this.#judgeSocket(destination, port, protocol, true);
  }

  /** `isHost`: sockets that listen at all addresses listen here too. */
  #judgeSocket(
    destination: Uint8Array,
    port: number,
    protocol: IpProtocol,
    isHost: boolean,
  ): Verdict {
    for (const own of this.#ownSockets) {
      if (own.port !== port || own.protocol !== protocol) continue;
      const here = own.address === undefined ? isHost : sameBytes(own.address, destination);
      if (here) return REFUSE_OWN_SOCKET;
    }
    return ALLOW;
  }
}

function refuse(reason: string): Verdict {
  return Object.freeze({ allow: false, reason });
}
