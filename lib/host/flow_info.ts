/**
 * A flow as people and programs see it.
 *
 * @module
 */
import { formatDestination } from "../policy/denial.ts";
import type { Grounds } from "../policy/policy.ts";
import type { UdpEnds } from "../stack/udp_flows.ts";

/**
 * One flow between the guest and a host. As {@linkcode VirtioNetworkServer.flows} and
 * {@linkcode GatewayClient.flows} yield it.
 */
export interface FlowInfo {
  /** Its number, which no other flow of this guest has had. */
  readonly id: number;
  /** How. */
  readonly protocol: "tcp" | "udp";
  /** Who began it: the guest, or a client of a published port. */
  readonly opener: "guest" | "host";
  /** The guest's end, `100.96.0.2:40000` or `[fd53:4d00::2]:40000`. */
  readonly guest: string;
  /** The other end, as the guest sees it. */
  readonly peer: string;
  /** The name that led there, where it is known. */
  readonly name: string | null;
  /** The rule that let it pass; `null` where none was needed. */
  readonly rule: string | null;
  /**
   * The state of its TCP connection, or `silent` where that was kept while the VMM was away and the
   * guest has not spoken for it since; `open` for UDP.
   */
  readonly state: string;
  /** When it began, in milliseconds since 1970. */
  readonly startedMs: number;
  /** Octets that a host has taken from the guest. */
  readonly upBytes: number;
  /** Octets that have come for the guest. */
  readonly downBytes: number;
}

/** What is known of a flow's being let through, as its `FlowInfo` has it. */
export function groundsInfo(grounds: Grounds | null): Pick<FlowInfo, "name" | "rule"> {
  return { name: grounds?.name ?? null, rule: grounds?.rule?.text ?? null };
}

/** The ends of a UDP flow, whose addresses stand in `bytes`, as its `FlowInfo` has them. */
export function udpEndsInfo(
  bytes: Uint8Array,
  { family, guestAt, guestPort, peerAt, peerPort }: UdpEnds,
): Pick<FlowInfo, "guest" | "peer"> {
  const place = (at: number, port: number): string => {
    return formatDestination(bytes.subarray(at, at + (family === 4 ? 4 : 16)), port, "udp");
  };
  return { guest: place(guestAt, guestPort), peer: place(peerAt, peerPort) };
}

/** Numbers for flows. */
export class FlowNumbers {
  #last = 0;

  /** The next one. */
  next(): number {
    return ++this.#last;
  }
}
