/**
 * What runs outside of the guest in a namespace of its own, since a test can't enter one: every
 * server that a policy lets pass or keeps away, and the host's resolver.
 *
 *     internet CERTIFICATE KEY ADDRESS...    every server at every address, and two proxies
 *     host RECORDS                           the resolver, and one server that nobody may reach
 *
 * Each line on standard output is one event as JSON (`OutsideEvent`); the line `ready` comes first.
 * A line on standard input is printed again: what happened before it has been told by then.
 *
 * @module
 */
import { createSocket, type RemoteInfo } from "node:dgram";
import { once } from "node:events";
import { writeAll } from "./bulk.ts";
import { fakeResolver, type RecordTable } from "./fake_resolver.ts";

/** What happened outside. */
export type OutsideEvent =
  /** The program serves; `port` is the resolver's. */
  | { event: "ready"; port: number }
  /** A connection, or a datagram of UDP, came to a server. */
  | { event: "reached"; protocol: "tcp" | "udp"; to: string }
  /** A proxy was asked to connect there. */
  | { event: "proxied"; by: "http" | "socks5"; to: string }
  /** The resolver was asked. */
  | { event: "asked"; name: string; type: string }
  /** A line of standard input. */
  | { event: "said"; text: string };

function tell(event: OutsideEvent): void {
  console.log(JSON.stringify(event));
}

function place(hostname: string, port: number): string {
  const address = hostname.replace(/^::ffff:(?=[0-9.]+$)/i, "");
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Serves each connection to a port, at every address of either family. */
function serveTcp(port: number, serve: (conn: Deno.TcpConn) => Promise<void>): void {
  const listener = Deno.listen({ hostname: "::", port });
  (async () => {
    for await (const conn of listener) {
      conn.setNoDelay(true);
      const { hostname, port } = conn.localAddr;
      tell({ event: "reached", protocol: "tcp", to: place(hostname, port) });
      serve(conn).catch(() => {}).finally(() => {
        try {
          conn.close();
        } catch {
          // A stream of it has closed it.
        }
      });
    }
  })();
}

/** Joins two connections until both directions have ended. */
async function join(one: Deno.TcpConn, other: Deno.TcpConn): Promise<void> {
  await Promise.all([one.readable.pipeTo(other.writable), other.readable.pipeTo(one.writable)]);
}

/** A server of `Deno.serve` behind one that tells of its connections. */
function behind(server: { readonly addr: Deno.NetAddr }): (conn: Deno.TcpConn) => Promise<void> {
  const { port } = server.addr;
  return async (conn) => await join(conn, await Deno.connect({ hostname: "127.0.0.1", port }));
}

/** A page that tells for which host it was asked; `/bytes/N` has N bytes. */
function page(request: Request): Response {
  const { hostname, pathname } = new URL(request.url);
  const bytes = /^\/bytes\/([0-9]+)$/.exec(pathname)?.[1];
  if (bytes !== undefined) return new Response(new Uint8Array(Number(bytes)));
  return new Response(`hello from ${hostname}`);
}

async function banner(conn: Deno.TcpConn): Promise<void> {
  await writeAll(conn, new TextEncoder().encode("SSH-2.0-forge\r\n"));
  while (await conn.read(new Uint8Array(256)) !== null);
}

async function readExactly(conn: Deno.TcpConn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const read = await conn.read(bytes.subarray(at));
    if (read === null) throw new Error("The client left");
    at += read;
  }
  return bytes;
}

async function httpProxy(conn: Deno.TcpConn): Promise<void> {
  let head = "";
  while (!head.endsWith("\r\n\r\n")) head += String.fromCharCode(...await readExactly(conn, 1));
  const to = head.split(" ")[1]!;
  tell({ event: "proxied", by: "http", to });
  const { hostname, port } = new URL(`tcp://${to}`);
  const target = await Deno.connect({
    hostname: hostname.replace(/[[\]]/g, ""),
    port: Number(port),
  });
  await writeAll(conn, new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\n"));
  await join(conn, target);
}

/** RFC 1928 without authentication. */
async function socksProxy(conn: Deno.TcpConn): Promise<void> {
  const [, methods = 0] = await readExactly(conn, 2);
  await readExactly(conn, methods);
  await writeAll(conn, Uint8Array.of(5, 0));
  const [, , , type = 0] = await readExactly(conn, 4);
  const octets = await readExactly(conn, type === 1 ? 4 : type === 4 ? 16 : 0);
  const view = new DataView(octets.buffer);
  const groups = Array.from({ length: octets.length / 2 }, (_, i) => {
    return view.getUint16(2 * i).toString(16);
  });
  // The shortest spelling is the parser's.
  const hostname = type === 1
    ? octets.join(".")
    : new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
  const port = new DataView((await readExactly(conn, 2)).buffer).getUint16(0);
  tell({ event: "proxied", by: "socks5", to: place(hostname, port) });
  const target = await Deno.connect({ hostname, port });
  await writeAll(conn, Uint8Array.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0));
  await join(conn, target);
}

/** Echoes datagrams. A socket of all addresses would not answer from the one that was meant. */
async function serveUdp(address: string, port: number): Promise<void> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("message", (message: Uint8Array, from: RemoteInfo) => {
    tell({ event: "reached", protocol: "udp", to: place(address, port) });
    socket.send(message, from.port, from.address);
  });
  socket.bind(port, address);
  await once(socket, "listening");
}

async function internet([certificate = "", key = "", ...addresses]: string[]): Promise<number> {
  const loopback = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const cert = await Deno.readTextFile(certificate);
  const tls = Deno.serve({ ...loopback, cert, key: await Deno.readTextFile(key) }, page);
  const web = Deno.serve(loopback, page);
  for (const port of [443, 8443]) serveTcp(port, behind(tls));
  for (const port of [80, 8080]) serveTcp(port, behind(web));
  for (const port of [22, 5432, 5433]) serveTcp(port, banner);
  for (const address of addresses) await serveUdp(address, 443);
  serveTcp(3128, httpProxy);
  serveTcp(1080, socksProxy);
  return 0;
}

async function host([records = ""]: string[]): Promise<number> {
  const table = JSON.parse(await Deno.readTextFile(records)) as RecordTable;
  const resolver = await fakeResolver(table, ({ name, type }) => {
    tell({ event: "asked", name, type });
  });
  for (const port of [22, 80, 443]) serveTcp(port, banner);
  return resolver.port;
}

const [role, ...words] = Deno.args;
const port = await (role === "internet" ? internet : host)(words);
tell({ event: "ready", port });
let rest = "";
for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split("\n");
  rest = lines.pop()!;
  for (const text of lines) tell({ event: "said", text });
}
Deno.exit(0);
