/**
 * What the guest hears of a datagram that its host did not take: an ICMP error where there is one for
 * what the system says.
 *
 * @module
 */
import { type IcmpErrors, IcmpReason } from "../stack/icmp_errors.ts";
import type { UdpFlow } from "../stack/udp_flows.ts";
import type { UdpOutput } from "../stack/udp_output.ts";

/** What is needed to tell it. */
export interface TellOptions {
  readonly errors: IcmpErrors;
  readonly output: UdpOutput;
  /** Asks for a turn. */
  wake(): void;
  /** The clock, in milliseconds. */
  now(): number;
}

/** Tells the guest of a flow why its datagrams go nowhere; `null` where that is none of its business. */
export function tellGuest(
  { errors, output, wake, now }: TellOptions,
  flow: UdpFlow | null,
  reason: IcmpReason | null,
): void {
  if (flow === null || reason === null) return;
  const { family } = flow;
  const quoteAt = output.quote(flow);
  const bytes = output.quoteBytes(family);
  if (errors.sendQuoted(family, quoteAt, bytes, reason, now())) wake();
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

/** The system's code of an error; empty where it has none. */
export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : "";
}
