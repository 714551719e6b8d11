/**
 * What runs inside the guest where no ordinary program does the job: one command, whose result is
 * one line of JSON. It uses nothing but the runtime, so that it starts fast and without a network.
 *
 *     upload HOST PORT BYTES              sends, half-closes, prints what the server received
 *     download HOST PORT BYTES              prints what arrived
 *     answer-first HOST PORT BYTES          prints what arrived; sends after the server's FIN
 *     connect PORT HOST...                  prints how each attempt went
 *     udp-echo HOST PORT SIZE...            prints the sizes that came back whole
 *     udp-flood HOST PORT                   sends datagrams until it is killed
 *     udp-server ADDRESS PORT               sends datagrams back; prints who sent the first of a flow
 *     dns-server PORT ADDRESS               answers each question with the address; prints who asked
 *     echo-server PORT                      prints a line when it listens; echoes each connection
 *     bulk-server PORT                      prints a line when it listens; takes uploads, answers downloads
 *     group-listen GROUP PORT               prints a line when it listens, and each text that comes
 *     group-send GROUP PORT TEXT            sends a text to a group
 *     dribble PORT HOST PORT                a way to there, each octet in a segment of its own
 *
 * @module
 */
import { createSocket } from "node:dgram";
import { Buffer } from "node:buffer";
import { readRequest, receiveAll, sendPattern, sendRequest, writeAll } from "./bulk.ts";

/** How one attempt to connect ended. */
export interface Attempt {
  /** The address that was tried. */
  host: string;
  /** `open`, or the error's code. */
  result: string;
}

async function readText(conn: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let text = "";
  for (;;) {
    const count = await conn.read(buffer);
    if (count === null) return text;
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
}

async function upload(hostname: string, port: number, bytes: number): Promise<unknown> {
  using conn = await Deno.connect({ hostname, port });
  await sendRequest(conn, { verb: "upload", bytes });
  await sendPattern(conn, bytes);
  await conn.closeWrite();
  return JSON.parse(await readText(conn));
}

async function download(hostname: string, port: number, bytes: number): Promise<unknown> {
  using conn = await Deno.connect({ hostname, port });
  await sendRequest(conn, { verb: "download", bytes });
  return await receiveAll(conn);
}

async function answerFirst(hostname: string, port: number, bytes: number): Promise<unknown> {
  using conn = await Deno.connect({ hostname, port });
  await sendRequest(conn, { verb: "answer-first", bytes });
  const received = await receiveAll(conn);
  await sendPattern(conn, bytes);
  await conn.closeWrite();
  return received;
}

async function attempt(hostname: string, port: number): Promise<Attempt> {
  let result = "open";
  try {
    (await Deno.connect({ hostname, port, signal: AbortSignal.timeout(60_000) })).close();
  } catch (error) {
    result = (error as { code?: string }).code ?? (error as Error).name;
  }
  return { host: hostname, result };
}

/** A datagram's content: it depends on its size, so that one can't stand in for another. */
function datagram(size: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31 + size) & 0xff));
}

/**
 * Sends each size up to three times and collects the sizes whose echo is equal. One that takes long
 * is waited for: what comes late is not lost.
 */
async function udpEcho(host: string, port: number, sizes: number[]): Promise<number[]> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  const echoed: number[] = [];
  for (const size of sizes) {
    const sent = datagram(size);
    for (let tries = 0; tries < 3 && !echoed.includes(size); tries++) {
      const echo = new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(false), 10_000);
        socket.on("message", (message: Buffer) => {
          if (!message.equals(sent)) return; // it is the echo of one that was sent again
          clearTimeout(timer);
          resolve(true);
        });
      });
      socket.send(sent, port, host);
      if (await echo) echoed.push(size);
      socket.removeAllListeners("message");
    }
  }
  socket.close();
  return echoed;
}

async function udpFlood(host: string, port: number): Promise<never> {
  console.log("flooding");
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  for (;;) {
    for (let i = 0; i < 8; i++) socket.send(datagram(1200), port, host);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Answers datagrams at an address of the guest, and prints a line for each new client. */
async function udpServer(
  address: string,
  port: number,
  answer: (data: Buffer) => Uint8Array,
): Promise<never> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  const clients = new Set<string>();
  socket.on("message", (data: Buffer, from) => {
    const client = `${from.address} ${from.port}`;
    if (!clients.has(client)) console.log(`client ${client}`);
    clients.add(client);
    socket.send(answer(data), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(port, address, resolve));
  console.log("listening");
  return await new Promise<never>(() => {});
}

/** A question turned into its answer: one A record for the name that stands in front. */
function answerOf(question: Buffer, address: string): Uint8Array {
  const end = question.indexOf(0, 12) + 5;
  const head = Uint8Array.of(question[0]!, question[1]!, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0);
  const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split(".").map(Number)];
  return Buffer.concat([head, question.subarray(12, end), Uint8Array.from(record)]);
}

async function echoServer(port: number): Promise<never> {
  const listener = Deno.listen({ hostname: "::", port });
  console.log("listening");
  for await (const conn of listener) {
    conn.readable.pipeTo(conn.writable).catch(() => {});
  }
  throw new Error("the listener ended");
}

async function serveBulk(conn: Deno.Conn): Promise<void> {
  const { verb, bytes } = await readRequest(conn);
  if (verb !== "upload") {
    await sendPattern(conn, bytes);
    await conn.closeWrite();
  }
  const got = await receiveAll(conn);
  if (verb === "upload") await writeAll(conn, new TextEncoder().encode(JSON.stringify(got)));
  conn.close();
}

async function bulkServer(port: number): Promise<never> {
  const listener = Deno.listen({ hostname: "::", port });
  console.log("listening");
  for await (const conn of listener) serveBulk(conn).catch(() => {});
  throw new Error("the listener ended");
}

function groupListen(group: string, port: number): Promise<never> {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  socket.on("message", (message: Buffer) => console.log(message.toString()));
  socket.bind(port, () => {
    socket.addMembership(group);
    console.log("listening");
  });
  return new Promise(() => {});
}

async function groupSend(group: string, port: number, text: string): Promise<string> {
  const socket = createSocket("udp4");
  await new Promise((resolve) => socket.send(Buffer.from(text), port, group, resolve));
  socket.close();
  return "sent";
}

/** Takes connections of this machine and sends on what comes one octet at a time. */
async function dribble(port: number, hostname: string, hostPort: number): Promise<never> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port });
  console.log("listening");
  for await (const conn of listener) {
    (async () => {
      const host = await Deno.connect({ hostname, port: hostPort });
      host.setNoDelay(true);
      const answering = host.readable.pipeTo(conn.writable);
      for await (const chunk of conn.readable) {
        for (const octet of chunk) {
          await host.write(Uint8Array.of(octet));
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      }
      await answering;
    })().catch(() => {
      try {
        conn.close();
      } catch {
        // A stream of it has closed it.
      }
    });
  }
  throw new Error("the listener ended");
}

async function main([command, ...words]: string[]): Promise<unknown> {
  const [host = "", second = "", third = ""] = words;
  switch (command) {
    case "upload":
      return await upload(host, Number(second), Number(third));
    case "download":
      return await download(host, Number(second), Number(third));
    case "answer-first":
      return await answerFirst(host, Number(second), Number(third));
    case "connect":
      return await Promise.all(words.slice(1).map((target) => attempt(target, Number(host))));
    case "udp-echo":
      return await udpEcho(host, Number(second), words.slice(2).map(Number));
    case "udp-flood":
      return await udpFlood(host, Number(second));
    case "udp-server":
      return await udpServer(host, Number(second), (data) => data);
    case "dns-server":
      return await udpServer("::", Number(host), (data) => answerOf(data, second));
    case "echo-server":
      return await echoServer(Number(host));
    case "bulk-server":
      return await bulkServer(Number(host));
    case "group-listen":
      return await groupListen(host, Number(second));
    case "group-send":
      return await groupSend(host, Number(second), third);
    case "dribble":
      return await dribble(Number(host), second, Number(third));
    default:
      throw new Error(`No command ${command}`);
  }
}

console.log(JSON.stringify(await main(Deno.args)));
Deno.exit(0);
