/**
 * Tells a service manager that the gateway is ready: one datagram to `NOTIFY_SOCKET` (sd_notify).
 *
 * Deno sends unix datagrams only under `--unstable-net` and only from a bound socket, so a file
 * beside the endpoint's stands for a moment; where that is not permitted the manager hears nothing,
 * as if it had not asked.
 *
 * @module
 */
import type { VmmEndpoint } from "../config/endpoint.ts";
import { isGranted, mayUseUnixSocket } from "../host/permissions.ts";

/**
 * Sends a state to the service manager.
 *
 * @param socket Value of `NOTIFY_SOCKET`; abstract addresses are beyond Deno.
 * @param endpoint Where the gateway listens; the sending socket stands beside a unix one.
 * @param state What to say, such as `READY=1`.
 * @returns Whether it was sent.
 */
export async function notifyManager(
  socket: string,
  endpoint: VmmEndpoint,
  state: string,
): Promise<boolean> {
  const own = endpoint.transport === "unix" ? `${endpoint.path}.notify` : "./virtio-gateway.notify";
  const isOffered = typeof Deno.listenDatagram === "function"; // under --unstable-net
  if (!isOffered || !socket.startsWith("/") || !maySend(own, socket)) return false;
  try {
    const sender = Deno.listenDatagram({ transport: "unixpacket", path: own });
    try {
      await sender.send(new TextEncoder().encode(state), { transport: "unixpacket", path: socket });
    } finally {
      sender.close();
      await Deno.remove(own);
    }
    return true;
  } catch {
    return false; // a manager that has gone away does not stop the gateway
  }
}

function maySend(...paths: string[]): boolean {
  return paths.every((path) =>
    mayUseUnixSocket(path) && isGranted({ name: "read", path }) &&
    isGranted({ name: "write", path })
  );
}
