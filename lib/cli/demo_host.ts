/**
 * What the demo's guest talks to on this host, all on 127.0.0.1: a resolver, a web server, and a
 * place that sends and takes bulk data.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createSocket, type Socket } from "node:dgram";
import dnsPacket from "dns-packet";
import { Blocks } from "./demo_blocks.ts";

/** The name that the demo's resolver knows, and its address. */
export const KNOWN_NAME = "service.demo.test";
export const KNOWN_ADDRESS = "192.0.2.80";
/** A name whose TXT record is too long for UDP. */
export const LONG_NAME = "long.demo.test";
/** Its strings: 4,000 octets in all. */
export const LONG_TEXT: readonly string[] = Array.from(
  { length: 20 },
  (_, i) => String.fromCharCode(0x61 + i).repeat(200),
);
/** What the web server says. */
export const PAGE_TEXT = "hello from the host\n";

const LOOPBACK = "127.0.0.1";
const BIND_TRIES = 10;
const UDP_ANSWER_BYTES = 1_232;

/** The services of the demo's host. */
export class DemoHost implements AsyncDisposable {
  /** What bulk transfers carry. */
  readonly blocks: Blocks;
  readonly #resolver: Resolver;
  readonly #web: Deno.HttpServer<Deno.NetAddr>;
  readonly #source: Deno.TcpListener;
  readonly #sink: Deno.TcpListener;

  private constructor(resolver: Resolver, blocks: Blocks) {
    this.#resolver = resolver;
    this.blocks = blocks;
    this.#web = Deno.serve(
      { hostname: LOOPBACK, port: 0, onListen() {} },
      () => new Response(PAGE_TEXT, { headers: { "content-type": "text/plain" } }),
    );
    this.#source = listen();
    this.#sink = listen();
    void serveEach(this.#source, (conn) => this.#send(conn));
    void serveEach(this.#sink, (conn) => this.#take(conn));
  }

  /** Starts the services. */
  static async start(): Promise<DemoHost> {
    const blocks = await Blocks.make();
    return new DemoHost(await Resolver.start(), blocks);
  }

  /** Port of the resolver, UDP and TCP. */
  get resolverPort(): number {
    return this.#resolver.port;
  }

  /** Port of the web server. */
  get webPort(): number {
    return this.#web.addr.port;
  }

  /** Port that sends all blocks to whoever connects. */
  get sourcePort(): number {
    return this.#source.addr.port;
  }

  /** Port that takes bytes to their end, and then answers with their digest. */
  get sinkPort(): number {
    return this.#sink.addr.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#source.close();
    this.#sink.close();
    this.#resolver.close();
    await this.#web.shutdown();
  }

  async #send(conn: Deno.TcpConn): Promise<void> {
    for (let i = 0; i < this.blocks.count; i++) await writeAll(conn, this.blocks.block(i));
    await conn.closeWrite();
  }

  async #take(conn: Deno.TcpConn): Promise<void> {
    const digest = this.blocks.digest();
    while (await digest.fill((into) => conn.read(into)) !== null);
    await writeAll(conn, await digest.finish());
    await conn.closeWrite();
  }
}

/** A port of the loopback where nothing listens. */
export function closedPort(): number {
  const listener = listen();
  listener.close();
  return listener.addr.port;
}

/** Writes all of it. */
export async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

function listen(): Deno.TcpListener {
  return Deno.listen({ hostname: LOOPBACK, port: 0 });
}

async function serveEach(
  listener: Deno.TcpListener,
  serve: (conn: Deno.TcpConn) => Promise<void>,
): Promise<void> {
  try {
    for await (const conn of listener) {
      // A guest that leaves in the middle shows in its own step.
      serve(conn).catch(() => {}).finally(() => conn.close());
    }
  } catch {
    // Closed.
  }
}

/** A resolver that knows two names. */
class Resolver {
  readonly port: number;
  readonly #tcp: Deno.TcpListener;
  readonly #udp: Socket;

  private constructor(tcp: Deno.TcpListener, udp: Socket) {
    this.port = tcp.addr.port;
    this.#tcp = tcp;
    this.#udp = udp;
    udp.on("message", (question, from) => {
      udp.send(answer(question, UDP_ANSWER_BYTES), from.port, from.address);
    });
    void serveEach(tcp, serveStream);
  }

  /** Finds a port that is free for both transports. */
  static async start(): Promise<Resolver> {
    for (let i = 1;; i++) {
      const tcp = listen();
      try {
        return new Resolver(tcp, await bindUdp(tcp.addr.port));
      } catch (error) {
        tcp.close();
        if (i === BIND_TRIES) throw error;
      }
    }
  }

  close(): void {
    this.#tcp.close();
    this.#udp.close();
  }
}

function bindUdp(port: number): Promise<Socket> {
  const socket = createSocket("udp4");
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, LOOPBACK, () => resolve(socket));
  });
}

/** Questions on a TCP connection, each behind its length. */
async function serveStream(conn: Deno.TcpConn): Promise<void> {
  let pending = Buffer.alloc(0);
  const chunk = new Uint8Array(4096);
  for (;;) {
    const count = await conn.read(chunk);
    if (count === null) return;
    pending = Buffer.concat([pending, chunk.subarray(0, count)]);
    while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
      const end = 2 + pending.readUInt16BE(0);
      const reply = answer(pending.subarray(2, end), 65_535);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      await writeAll(conn, Buffer.concat([length, reply]));
      pending = pending.subarray(end);
    }
  }
}

function answer(question: Uint8Array, limitBytes: number): Uint8Array {
  const query = dnsPacket.decode(Buffer.from(question));
  const asked = query.questions?.[0];
  const name = asked?.name.toLowerCase() ?? "";
  const isKnown = name === KNOWN_NAME || name === LONG_NAME;
  const answers = name === KNOWN_NAME && asked?.type === "A"
    ? [{ name: asked.name, type: "A" as const, ttl: 60, data: KNOWN_ADDRESS }]
    : name === LONG_NAME && asked?.type === "TXT"
    ? [{ name: asked.name, type: "TXT" as const, ttl: 60, data: [...LONG_TEXT] }]
    : [];
  const reply = {
    id: query.id ?? 0,
    type: "response" as const,
    flags: dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE | (isKnown ? 0 : NXDOMAIN),
    questions: query.questions ?? [],
  };
  const whole = dnsPacket.encode({ ...reply, answers });
  if (whole.length <= limitBytes) return whole;
  return dnsPacket.encode({ ...reply, flags: reply.flags | dnsPacket.TRUNCATED_RESPONSE });
}

const NXDOMAIN = 3;
