/**
 * The one small interface between a VMM's socket and a guest's network.
 *
 * What goes through it is always the same stream: 4 bytes of length, big-endian, then that Ethernet
 * frame. A connection that carries just this is a transport as it is; whoever speaks otherwise
 * (datagrams, hyperkit's lengths, two pipes) has one of `datagram_link.ts`, `hyperkit_transport.ts`
 * and `stdio_link.ts` that tells it so.
 *
 * @module
 */

/**
 * Something that carries a guest's frames. A `Deno.Conn` of a unix or TCP stream is one. For
 * {@linkcode startVirtioNetwork}.
 */
export interface FrameTransport {
  /**
   * Brings bytes from the VMM: how many, or `null` at the end. They may end inside a frame. `into`
   * has room for the longest frame and its length.
   */
  read(into: Uint8Array): Promise<number | null>;
  /** Takes bytes for the VMM: how many of them, at least one. They may end inside a frame. */
  write(bytes: Uint8Array): Promise<number>;
  /** Ends it; a `read` that waits comes back. */
  close(): void;
}
