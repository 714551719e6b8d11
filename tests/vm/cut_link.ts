/**
 * A VMM's link that is cut: a socket between it and the gateway, whose connections end on both sides
 * at once after so many octets, wherever in a frame that is.
 *
 * @module
 */
import type { Endpoint } from "../../lib/config/endpoint.ts";

/** A link between a VMM and a gateway. */
export interface CutLink extends AsyncDisposable {
  /** How many more connections are to be cut; those that follow stay. */
  cutsLeft: number;
}

type UnixEndpoint = Extract<Endpoint, { transport: "unix" }>;

/** Listens for the VMM, and goes to the gateway for each of its connections. */
export function cutLink(vmm: UnixEndpoint, gateway: Endpoint, eachBytes: number): CutLink {
  const listener = Deno.listen({ transport: "unix", path: vmm.path });
  const open = new Set<Deno.Conn>();
  const link: CutLink = {
    cutsLeft: 0,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const conn of open) close(conn);
      await serving;
    },
  };
  const close = (conn: Deno.Conn): void => {
    if (open.delete(conn)) conn.close();
  };
  const serving = serve();
  return link;

  async function serve(): Promise<void> {
    const pairs: Promise<unknown>[] = [];
    for (;;) {
      const inner = await listener.accept().catch(() => null);
      if (inner === null) break;
      const outer = await Deno.connect(gateway as Deno.UnixConnectOptions).catch(() => null);
      if (outer === null) {
        inner.close();
        continue;
      }
      open.add(inner).add(outer);
      const passed = { bytes: 0, isCut: false };
      const end = (): void => [inner, outer].forEach(close);
      pairs.push(pass(inner, outer, passed, end), pass(outer, inner, passed, end));
    }
    await Promise.all(pairs);
  }

  /** Passes one way on until the link ends, or is to be cut in the middle of what was read. */
  async function pass(
    from: Deno.Conn,
    to: Deno.Conn,
    passed: { bytes: number; isCut: boolean },
    end: () => void,
  ): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      for (;;) {
        const count = await from.read(buffer);
        if (count === null) break;
        passed.bytes += count;
        // Once for a link: the other way may be read while this one's last piece is written.
        const isCut = link.cutsLeft > 0 && passed.bytes >= eachBytes && open.has(from) &&
          !passed.isCut;
        if (isCut) link.cutsLeft--;
        passed.isCut ||= isCut;
        let at = 0;
        const length = isCut ? count >> 1 : count;
        while (at < length) at += await to.write(buffer.subarray(at, length));
        if (isCut) break;
      }
    } catch {
      // The other end has gone.
    }
    end();
  }
}
