/**
 * What the guest talks to: servers on the host's loopback, inside the test's own process, each on
 * a free port of one family.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readRequest, receiveAll, type Received, sendPattern, writeAll } from "./bulk.ts";

/** A server's port; disposing of the server closes it and its connections. */
export interface HostServer extends AsyncDisposable {
  /** The port of the loopback address. */
  readonly port: number;
}

/** A server that moves bulk bytes, and what it received last. */
export interface BulkServer extends HostServer {
  /** What each connection that sent something delivered, in the order of their ends. */
  readonly received: Received[];
}

/** Accepts connections until it is disposed of; each is closed when its service is over. */
function tcpServer(hostname: string, serve: (conn: Deno.Conn) => Promise<void>): HostServer {
  const listener = Deno.listen({ hostname, port: 0 });
  const open = new Map<Deno.Conn, Promise<void>>();
  const accepting = (async () => {
    for await (const conn of listener) {
      const serving = serve(conn)
        .catch(() => {}) // the guest saw the connection break; its side of the test says so
        .finally(() => {
          if (open.delete(conn)) conn.close();
        });
      open.set(conn, serving);
    }
  })();
  return {
    port: (listener.addr as Deno.NetAddr).port,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      const rest = [...open];
      open.clear();
      for (const [conn] of rest) conn.close();
      await Promise.all(rest.map(([, serving]) => serving));
    },
  };
}

/** Starts the server that `guest_program.ts` uploads to and downloads from. */
export function bulkServer(hostname: string): BulkServer {
  const received: Received[] = [];
  const serve = async (conn: Deno.Conn) => {
    const { verb, bytes } = await readRequest(conn);
    if (verb !== "upload") {
      await sendPattern(conn, bytes);
      await conn.closeWrite();
    }
    const got = await receiveAll(conn);
    received.push(got);
    if (verb === "upload") await writeAll(conn, new TextEncoder().encode(JSON.stringify(got)));
  };
  return Object.assign(tcpServer(hostname, serve), { received });
}

/** Counts the connections that reach it and closes them: where none may arrive. */
export function canaryServer(hostname: string, port: number): HostServer & { reached: string[] } {
  const reached: string[] = [];
  const listener = Deno.listen({ hostname, port });
  const accepting = (async () => {
    for await (const conn of listener) {
      const { hostname, port } = conn.remoteAddr as Deno.NetAddr;
      reached.push(`${hostname} port ${port}`);
      conn.close();
    }
  })();
  return {
    port,
    reached,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
    },
  };
}

/**
 * An HTTP server whose answer to `/N` is N. It answers nobody until that many requests wait at
 * once, so that a client that is done has had them all open; after 50 s it gives up with 503.
 */
export function httpServer(hostname: string, atOnce = 1): HostServer {
  let arrived = 0;
  const { promise: allHere, resolve: open } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => open(false), 50_000);
  const answer = async (request: Request) => {
    if (++arrived === atOnce) open(true);
    if (!(await allHere)) return new Response(`only ${arrived} came\n`, { status: 503 });
    return new Response(`answer ${new URL(request.url).pathname.slice(1)}\n`);
  };
  const server = Deno.serve({ hostname, port: 0, onListen: () => {} }, answer);
  return {
    port: server.addr.port,
    async [Symbol.asyncDispose]() {
      clearTimeout(timer);
      await server.shutdown();
    },
  };
}

/** Sends every datagram back to where it came from. */
export async function udpEchoServer(hostname: string): Promise<HostServer> {
  const socket = createSocket(hostname.includes(":") ? "udp6" : "udp4");
  socket.on("message", (message: Buffer, from: { port: number; address: string }) => {
    socket.send(message, from.port, from.address);
  });
  socket.bind(0, hostname);
  await once(socket, "listening");
  return {
    port: socket.address().port,
    async [Symbol.asyncDispose]() {
      socket.close();
      await once(socket, "close");
    },
  };
}
