/**
 * Hosts that speak UDP, on real loopback sockets, for tests. By `node:dgram`, which needs no flag.
 *
 * @module
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";

/** A host that keeps what it gets. */
export interface DatagramHost extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  readonly got: { data: Uint8Array; from: RemoteInfo }[];
  /** Sends to whoever. */
  send(data: Uint8Array, port: number, address: string): Promise<void>;
}

/** Opens a host; with `echo` it sends back what it gets. */
export async function datagramHost(
  address: "127.0.0.1" | "::1",
  options: { echo?: boolean } = {},
): Promise<DatagramHost> {
  const socket: Socket = createSocket(address === "::1" ? "udp6" : "udp4");
  const got: DatagramHost["got"] = [];
  socket.on("message", (data, from) => {
    got.push({ data: new Uint8Array(data), from });
    if (options.echo) socket.send(data, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, address, resolve));
  return {
    address,
    port: socket.address().port,
    got,
    send: (data, port, to) =>
      new Promise((resolve, reject) =>
        socket.send(data, port, to, (error) => error ? reject(error) : resolve())
      ),
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        socket.close(() => resolve());
      }),
  };
}

/** Waits until something holds, for a while. */
export async function until(holds: () => boolean, what: string, forMs = 30_000): Promise<void> {
  const endMs = performance.now() + forMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`Waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
