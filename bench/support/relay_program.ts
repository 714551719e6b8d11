/**
 * Two VMMs' sockets joined by a bare relay: what any Deno program pays that stands between two guests,
 * with no look at a frame.
 *
 *     relay_program.ts SOCKET SOCKET
 *
 * Each way has two buffers of the size that the gateway reads into; one is read while the other is
 * written. It prints `ready` once both sockets listen, and ends with either guest.
 *
 * @module
 */
import { READ_BYTES } from "../../lib/stack/queues.ts";

/** Carries octets one way until that ends. */
async function carry(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const buffers = [new Uint8Array(READ_BYTES), new Uint8Array(READ_BYTES)] as const;
  let writing = Promise.resolve();
  for (let turn = 0;; turn ^= 1) {
    const buffer = buffers[turn]!;
    const count = await from.read(buffer);
    await writing;
    if (count === null) return;
    writing = writeAll(to, buffer.subarray(0, count));
  }
}

async function writeAll(to: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

if (import.meta.main) {
  const listeners = Deno.args.map((path) => Deno.listen({ transport: "unix", path }));
  console.log("ready");
  const [one, other] = await Promise.all(listeners.map((listener) => listener.accept()));
  const ways = [carry(one!, other!), carry(other!, one!)];
  await Promise.race(ways).catch(() => {});
  Deno.exit(0);
}
