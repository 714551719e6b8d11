/**
 * Whether the host has a way to the IPv6 world.
 *
 * The routing table can't be read under ordinary permissions, so the kernel is asked by a connect
 * to an address of the discard-only prefix (RFC 6666), which is given up at once: without a route
 * it fails before anything is sent. Where it can't be asked the answer is yes, and a guest that
 * tries hears that the network is unreachable.
 *
 * @module
 */

const DISCARD_ADDRESS = "100::1";
const DISCARD_PORT = 9;
/** A missing route shows inside the call; one event loop turn would do. */
const WAIT_MS = 20;
const NO_ROUTE = new Set(["ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EHOSTUNREACH"]);

/** Resolves with `false` only where the system says that there is no route. */
export async function hasIpv6Route(): Promise<boolean> {
  const host = `[${DISCARD_ADDRESS}]:${DISCARD_PORT}`;
  if (Deno.permissions.querySync({ name: "net", host }).state !== "granted") return true;
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), WAIT_MS);
  try {
    const { signal } = giveUp;
    const conn = await Deno.connect({ hostname: DISCARD_ADDRESS, port: DISCARD_PORT, signal });
    conn.close();
    return true;
  } catch (error) {
    return !NO_ROUTE.has((error as { code?: string }).code ?? "");
  } finally {
    clearTimeout(timer);
  }
}
