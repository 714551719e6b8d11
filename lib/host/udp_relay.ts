/**
 * The host's side of the guest's UDP flows: one host socket for each flow.
 *
 *     guest ─▶ UdpInput ─▶ open: judge, socket ─▶ UdpFlow
 *     guest ─▶ UdpInput ─▶ relay.send ─▶ socket ─▶ peer
 *     guest ◀─ UdpOutput ◀─ relay.received ◀─ socket ◀─ peer
 *
 * The guest sees the address that it asked for, also where the judge had another one dialled (a
 * service of the host). Only the peer's datagrams pass (RFC 4787 section 5, address and port
 * dependent filtering); others count as `drop.udp.peer`.
 *
 * At most `opensPerSecond` sockets are opened; datagrams that would need more are dropped and counted
 * (`drop.udp.rate`). Queues nothing: a datagram that finds no room at the guest is dropped by the
 * device, one that finds none at the host counts as `drop.udp.host`. A flow for which there is no
 * socket is refused (`drop.udp.flows`); errors of the host that say why become ICMP errors.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { Counter } from "../stack/counters.ts";
import { type IcmpErrors, IcmpReason } from "../stack/icmp_errors.ts";
import type { Link } from "../stack/link.ts";
import type { Packet } from "../stack/packet.ts";
import { TokenBucket } from "../stack/token_bucket.ts";
import type { UdpFlow, UdpFlowOwner, UdpFlows } from "../stack/udp_flows.ts";
import type { UdpRefusal } from "../stack/udp_input.ts";
import type { UdpOutput } from "../stack/udp_output.ts";
import type { DatagramListener, DatagramSocket } from "./datagram_socket.ts";

const REFUSED = Counter["policy.refused"];
const DROP_FLOWS = Counter["drop.udp.flows"];
const DROP_RATE = Counter["drop.udp.rate"];
const DROP_HOST = Counter["drop.udp.host"];
const DROP_PEER = Counter["drop.udp.peer"];
const UP = Counter["udp.up"];
const DOWN = Counter["udp.down"];
const BUG = Counter["bug.turn"];

/** What the judge says about a destination: what to dial for it, or why not. */
export type UdpVerdict =
  | {
    /** Canonical literal to dial. */
    readonly address: string;
    /** Port to dial. */
    readonly port: number;
  }
  | {
    /** What the guest is told; `null` for nothing. */
    readonly refuse: IcmpReason | null;
  };

/** Where sockets come from: a `DatagramSockets`. */
export interface DatagramOpener {
  /** Opens a socket for one peer, or throws. */
  open(address: string, port: number, listener: DatagramListener): DatagramSocket;
}

/** What a relay table works with. */
export interface UdpRelayOptions {
  readonly link: Link;
  readonly flows: UdpFlows;
  readonly output: UdpOutput;
  readonly errors: IcmpErrors;
  readonly sockets: DatagramOpener;
  /** Sockets that are opened in a second: one costs far more than the datagram that asks for it. */
  readonly opensPerSecond: number;
  /** Says where a destination of the guest leads; `destination` is the callee's. */
  judge(destination: Uint8Array, port: number): UdpVerdict;
  readonly logger: GatewayLogger;
  /** Asks for a turn, so that frames for the guest are flushed. */
  wake(): void;
  /** The clock, in milliseconds. */
  now(): number;
}

/** All relays of one guest. */
export class UdpRelayTable {
  readonly #options: UdpRelayOptions;
  /** Codes that were logged as a warning; as many as the system has. */
  readonly #warned = new Set<string>();
  readonly #rate: TokenBucket;

  constructor(options: UdpRelayOptions) {
    const { opensPerSecond } = options;
    this.#options = options;
    this.#rate = new TokenBucket(opensPerSecond, opensPerSecond);
  }

  /** Judges a destination and opens a socket for it: the `open` of `UdpHandlers`. */
  open(packet: Packet, peerPort: number): UdpFlowOwner | UdpRefusal {
    const { link, sockets } = this.#options;
    const { counters, memory: { bytes } } = link;
    const { destinationAt } = packet;
    const addressBytes = packet.family === 4 ? 4 : 16;
    const destination = bytes.slice(destinationAt, destinationAt + addressBytes);
    const verdict = this.#options.judge(destination, peerPort);
    if ("refuse" in verdict) {
      const { refuse } = verdict;
      if (refuse === null || refuse === IcmpReason.adminProhibited) counters.values[REFUSED]!++;
      return refuse;
    }
    if (!this.#rate.take(this.#options.now())) {
      counters.values[DROP_RATE]!++;
      return null;
    }
    const relay = new UdpRelay(this.#options, (error) => this.#warn(error));
    try {
      relay.socket = sockets.open(verdict.address, verdict.port, relay);
      return relay;
    } catch (error) {
      this.#warn(error);
      const reason = icmpReasonOf(error);
      if (reason === null) counters.values[DROP_FLOWS]!++;
      return reason;
    }
  }

  /** Says once for each kind of failure that flows are lost to it. */
  #warn(error: unknown): void {
    const code = codeOf(error);
    if (this.#warned.has(code)) return;
    this.#warned.add(code);
    const text = error instanceof Error ? error.message : String(error);
    this.#options.logger.warn("A UDP flow got no socket; later ones are only counted", {
      code,
      reason: text,
    });
  }
}

/** The owner of a flow, and the listener of its socket. */
class UdpRelay implements UdpFlowOwner, DatagramListener {
  socket: DatagramSocket | null = null;
  readonly #options: UdpRelayOptions;
  readonly #warn: (error: unknown) => void;
  #flow: UdpFlow | null = null;

  constructor(options: UdpRelayOptions, warn: (error: unknown) => void) {
    this.#options = options;
    this.#warn = warn;
  }

  opened(flow: UdpFlow): void {
    this.#flow = flow;
  }

  send(dataAt: number, dataBytes: number): void {
    const { link } = this.#options;
    const taken = this.socket!.send(link.memory.bytes, dataAt, dataBytes);
    link.counters.values[taken ? UP : DROP_HOST]!++;
  }

  close(): void {
    this.#flow = null;
    this.socket!.close();
  }

  received(data: Uint8Array): void {
    const flow = this.#flow;
    if (flow === null) return;
    const { link, flows, output } = this.#options;
    const { family, peerAt, guestAt, peerPort, guestPort } = flow;
    if (output.sendFromBytes(family, peerAt, guestAt, peerPort, guestPort, data)) {
      link.counters.values[DOWN]!++;
    }
    // Also where the guest has no room: the peer has answered.
    flows.usedByPeer(flow, this.#options.now());
    this.#options.wake();
  }

  stray(): void {
    this.#options.link.counters.values[DROP_PEER]!++;
  }

  failed(error: unknown): void {
    this.#options.link.counters.values[DROP_HOST]!++;
    this.#tell(error);
  }

  ended(error: unknown): void {
    const { link: { counters }, flows } = this.#options;
    const flow = this.#flow;
    if (flow === null) return;
    this.#warn(error);
    // What the system says has a code; anything else is a fault of ours.
    counters.values[codeOf(error) === "" ? BUG : DROP_FLOWS]!++;
    this.#tell(error);
    flows.close(flow);
  }

  /** Tells the guest what the host was told, where there is an ICMP error for it. */
  #tell(error: unknown): void {
    const flow = this.#flow;
    const reason = icmpReasonOf(error);
    if (flow === null || reason === null) return;
    const { errors, output } = this.#options;
    const { family } = flow;
    const quoteAt = output.quote(flow);
    const bytes = output.quoteBytes(family);
    if (errors.sendQuoted(family, quoteAt, bytes, reason, this.#options.now())) {
      this.#options.wake();
    }
  }
}

/** What the guest is told about a failure of the host; `null` where it is none of its business. */
export function icmpReasonOf(error: unknown): IcmpReason | null {
  switch (codeOf(error)) {
    case "ECONNREFUSED":
      return IcmpReason.portUnreachable;
    case "EHOSTUNREACH":
      return IcmpReason.hostUnreachable;
    case "ENETUNREACH":
    case "EADDRNOTAVAIL":
    case "EAFNOSUPPORT":
      return IcmpReason.networkUnreachable;
    case "EACCES":
    case "EPERM":
      return IcmpReason.adminProhibited;
    default:
      return null;
  }
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : "";
}
