/**
 * What goes wrong for a program inside the embedded guest, as it would see it on a real one.
 *
 * @module
 */

/** The kinds of failure. */
export type GuestErrorCode =
  /** An RST to a SYN, or "port unreachable". */
  | "refused"
  /** An RST to an open connection. */
  | "reset"
  /** No answer in time. */
  | "timeout"
  /** ICMP: no way to the network or host. */
  | "unreachable"
  /** ICMP: administratively prohibited. */
  | "prohibited"
  /** The connection or the guest's link is closed. */
  | "closed"
  /** The guest has no address, or no port or room is left. */
  | "unavailable";

/** A failure inside the embedded guest. */
export class GuestError extends Error {
  override readonly name = "GuestError";
  /** The kind of failure. */
  readonly code: GuestErrorCode;

  /** A failure of a kind, described by a whole message. */
  constructor(code: GuestErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
