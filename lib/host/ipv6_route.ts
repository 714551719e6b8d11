/**
 * Whether the host has a way to the IPv6 world: connecting a datagram socket asks the routing
 * table and sends nothing.
 *
 * @module
 */
import { createSocket } from "node:dgram";

/** An address of the global unicast space that is routed wherever anything is. */
const GLOBAL_ADDRESS = "2001:4860:4860::8888";
const PORT = 53;

/** Resolves with `false` only where the system says that there is no route. */
export function hasIpv6Route(): Promise<boolean> {
  return new Promise((resolve) => {
    let socket: ReturnType<typeof createSocket>;
    try {
      socket = createSocket("udp6");
    } catch {
      return resolve(false);
    }
    const done = (result: boolean): void => {
      try {
        socket.close();
      } catch {
        // It never opened.
      }
      resolve(result);
    };
    socket.on("error", () => done(false));
    try {
      socket.connect(PORT, GLOBAL_ADDRESS, () => done(true));
    } catch {
      done(false);
    }
  });
}
