/**
 * The host on the loopback with which a VM moves bytes in bulk, over HTTP: whoever asks gets them,
 * and who sends some is told how many came and their MD5 sum.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** A host of a test; disposing of it closes its port. */
export interface BulkHost extends AsyncDisposable {
  /** The port of 127.0.0.1. */
  readonly port: number;
}

/**
 * Bytes that no two of their parts have in common, so that none is missed or comes twice. None is 0:
 * busybox's wget sends a file as text, to its first NUL.
 */
export function bulkBytes(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes.map((byte) => byte || 1);
}

/** The MD5 sum as md5sum prints it. */
export function md5(bytes: Uint8Array): string {
  return createHash("md5").update(bytes).digest("hex");
}

/** Starts the host. */
export function bulkHost(bytes: Uint8Array<ArrayBuffer>): BulkHost {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      if (request.body === null) return new Response(bytes);
      const hash = createHash("md5");
      let total = 0;
      for await (const part of request.body) {
        hash.update(part);
        total += part.length;
      }
      return new Response(`${total} ${hash.digest("hex")}\n`);
    },
  );
  return { port: server.addr.port, [Symbol.asyncDispose]: () => server.shutdown() };
}
