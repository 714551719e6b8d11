/** Answers of the tests' upstreams. */
import { Buffer } from "node:buffer";
import packet from "dns-packet";
import type { Behaviour } from "./dns_fake_upstream.ts";

/** An answer to a question message: with an A record, or with another response code. */
export function answerTo(message: Uint8Array, data = "192.0.2.1", rcode = 0): Uint8Array {
  const { id, questions } = packet.decode(Buffer.from(message));
  const answers = rcode === 0 ? [{ type: "A", name: questions[0].name, ttl: 60, data }] : [];
  return new Uint8Array(
    packet.encode({ type: "response", id, flags: 0x180 | rcode, questions, answers }),
  );
}

/** An upstream that answers every question with the address. */
export const saying = (data: string): Behaviour => ({ message, reply }) =>
  reply(answerTo(message, data));

/** An upstream that answers every question with the response code. */
export const failing = (rcode: number): Behaviour => ({ message, reply }) =>
  reply(answerTo(message, "", rcode));
