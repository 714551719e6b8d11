/**
 * Run by a test under a low limit of descriptors: opens sockets until there are no more, closes
 * them, and opens one again that works.
 *
 * @module
 */
import { type DatagramListener, DatagramSockets } from "../../lib/host/datagram_socket.ts";
import { datagramHost, until } from "./datagram_hosts.ts";

const codes: string[] = [];
let echoes = 0;
const note = (error: unknown): void => void codes.push((error as { code?: string }).code ?? "");
const listener: DatagramListener = {
  received: () => echoes++,
  stray: () => {},
  failed: () => {},
  ended: note,
};

// Half a second after its start Deno itself listens for signals, and panics where it has no descriptors
// for that: it has them now.
const ignore = (): void => {};
Deno.addSignalListener("SIGINT", ignore);
Deno.removeSignalListener("SIGINT", ignore);

await using host = await datagramHost("127.0.0.1", { echo: true });
const sockets = new DatagramSockets({ sockets: 100 });
console.log(sockets.backendName);
const open = [];
for (let i = 0; i < 60; i++) {
  try {
    open.push(sockets.open(host.address, host.port, listener));
  } catch (error) {
    note(error);
  }
}
await until(() => codes.length > 0, "a failure");
await new Promise((resolve) => setTimeout(resolve, 50));
for (const socket of open) socket.close();
await sockets.settled();
if (codes.some((code) => code !== "EMFILE")) throw new Error(`Unexpected: ${codes.join()}`);
const socket = sockets.open(host.address, host.port, listener);
socket.send(Uint8Array.of(1, 2, 3), 0, 3);
await until(() => echoes === 1, "an echo");
socket.close();
await sockets.settled();
console.log("survived");
