/**
 * Closing what the other side, or a pending operation's failure, may have closed already.
 *
 * @module
 */

/** Closes a socket; that it is closed already is no error. */
export function closeQuietly(conn: { close(): void }): void {
  try {
    conn.close();
  } catch {
    // It was closed in the meantime.
  }
}
