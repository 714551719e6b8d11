/**
 * Questions to a resolver from inside the guest, over UDP and TCP, encoded by `npm:dns-packet`.
 *
 * One question, one answer: no retries, no cache, no search list.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import dnsPacket from "dns-packet";
import { GuestError } from "./guest_error.ts";
import type { GuestTcp } from "./guest_tcp.ts";
import type { GuestUdp } from "./udp_socket.ts";

/** An answer, as far as programs ask for it. */
export interface DnsReply {
  /** The response code's name, such as `NOERROR`. */
  readonly code: string;
  /** Whether the answer was cut. */
  readonly isTruncated: boolean;
  /** The records of the answer section. */
  readonly answers: readonly DnsRecord[];
  /** Octets of the message. */
  readonly bytes: number;
}

/** A record; `data` is as `dns-packet` has it for the type. */
export interface DnsRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  readonly data: unknown;
}

/** A question. */
export interface DnsAsk {
  readonly name: string;
  /** The type's name, such as `A`. */
  readonly type: string;
  readonly id: number;
}

const DNS_PORT = 53;
const UDP_BYTES = 1_232;

/** Asks over UDP; resolves with the answer that has the question's id. */
export async function askUdp(socket: GuestUdp, server: string, ask: DnsAsk): Promise<DnsReply> {
  socket.send(server, DNS_PORT, encode(ask));
  for (;;) {
    const { data, address } = await socket.receive();
    const reply = decode(data, ask);
    if (reply !== null && address === server) return reply;
  }
}

/** Asks over a TCP connection, which is then finished. */
export async function askTcp(connection: GuestTcp, ask: DnsAsk): Promise<DnsReply> {
  const question = encode(ask);
  const framed = new Uint8Array(2 + question.length);
  new DataView(framed.buffer).setUint16(0, question.length);
  framed.set(question, 2);
  await connection.write(framed);
  const head = new Uint8Array(2);
  await readExactly(connection, head);
  const message = new Uint8Array(new DataView(head.buffer).getUint16(0));
  await readExactly(connection, message);
  connection.finish();
  const reply = decode(message, ask);
  if (reply === null) throw new GuestError("reset", `The answer for ${ask.name} has another id`);
  return reply;
}

async function readExactly(connection: GuestTcp, into: Uint8Array): Promise<void> {
  for (let at = 0; at < into.length;) {
    const count = await connection.read(into.subarray(at));
    if (count === null) throw new GuestError("closed", "The resolver closed the connection");
    at += count;
  }
}

function encode({ name, type, id }: DnsAsk): Uint8Array {
  return dnsPacket.encode({
    type: "query",
    id,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ name, type: type as "A" }],
    additionals: [{
      type: "OPT",
      name: ".",
      udpPayloadSize: UDP_BYTES,
      extendedRcode: 0,
      ednsVersion: 0,
      flags: 0,
      flag_do: false,
      options: [],
    }],
  });
}

/** The answer to a question; `null` for one to another. */
function decode(bytes: Uint8Array, ask: DnsAsk): DnsReply | null {
  const message = dnsPacket.decode(Buffer.from(bytes));
  if (message.id !== ask.id || message.type !== "response") return null;
  return {
    code: (message as unknown as { rcode: string }).rcode,
    isTruncated: message.flag_tc,
    answers: (message.answers ?? []) as unknown as DnsRecord[],
    bytes: bytes.length,
  };
}
