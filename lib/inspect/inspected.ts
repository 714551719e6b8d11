/**
 * What the first bytes of a TCP flow say, and how many of them are looked at.
 *
 * @module
 */

/** Bytes of a flow that are looked at; what is not told by then is refused. */
export const INSPECT_MAX_BYTES = 16_384;

/**
 * What is known of a flow: not enough yet; TLS or HTTP, with the one name that it asks for, or with
 * `null` where it must be denied; or anything else. `reason` says why there is no name, as a clause
 * without a full stop and without a byte of the flow; it is empty where there is one.
 */
export type Inspected =
  | { readonly kind: "more" }
  | { readonly kind: "tls"; readonly name: string | null; readonly reason: string }
  | { readonly kind: "http"; readonly name: string | null; readonly reason: string }
  | { readonly kind: "other"; readonly reason: string };

/** Not enough yet. */
export const MORE: Inspected = Object.freeze({ kind: "more" });

/** Reads one protocol, each byte of the flow once. */
export interface FlowReader {
  /**
   * Goes on from where it stood.
   *
   * @param bytes The flow from its first byte; never shorter than before.
   * @param end Where to stop, at most {@linkcode INSPECT_MAX_BYTES}.
   */
  read(bytes: Uint8Array, end: number): Inspected;
  /** The verdict where {@linkcode INSPECT_MAX_BYTES} have not been enough. */
  tooLong(): Inspected;
}
