/**
 * The resolvers of a simulation: each name has one right address, made from its letters, and some
 * resolvers do not give it.
 *
 * @module
 */
import { Flag, Rcode, word } from "../../lib/dns/message.ts";
import { nameEnd, readName } from "../../lib/dns/name.ts";
import { formatIp } from "../../lib/wire/address.ts";
import type { Dice } from "../support/dice.ts";
import type { VirtualHost } from "../support/virtual_host.ts";
import type { VirtualPeer } from "../support/virtual_socket.ts";
import type { ResolverKind } from "./plan.ts";

const HEADER_BYTES = 12;
const TYPE_A = 1;
const FORGED = Uint8Array.of(6, 6, 6, 6);

/** The address that a name has. */
export function addressOf(name: string): string {
  return formatIp(addressBytes(name));
}

function addressBytes(name: string): Uint8Array {
  let hash = 17;
  for (const letter of name.toLowerCase()) {
    hash = (Math.imul(hash, 31) + letter.charCodeAt(0)) | 0;
  }
  return Uint8Array.of(198, hash >>> 16, hash >>> 8, hash);
}

/** Puts a resolver at an address, over UDP and TCP. */
export function serveDns(
  host: VirtualHost,
  address: string,
  kind: ResolverKind,
  dice: Dice,
): void {
  host.udp(address, 53, (question, reply) => {
    const delayMs = dice.below(30);
    if (kind === "silent") return;
    if (kind === "forged first") {
      const wrongId = question.slice();
      wrongId[1]! ^= 0x55;
      reply(answer(wrongId, FORGED));
      reply(answer(otherName(question), FORGED));
      reply(answer(question, FORGED), { from: { address: "198.51.100.66", port: 53 } });
    }
    reply(kind === "truncates" ? truncated(question) : answerOf(kind, question), { delayMs });
  });
  if (kind === "silent") return host.blackHole(address, 53);
  host.listen(address, 53, (peer) => serveStream(peer, kind), { delayMs: dice.below(5) });
}

function serveStream(peer: VirtualPeer, kind: ResolverKind): void {
  let bytes = new Uint8Array(0);
  peer.onChange = () => {
    const came = peer.take();
    const joined = new Uint8Array(bytes.length + came.length);
    joined.set(bytes);
    joined.set(came, bytes.length);
    bytes = joined;
    if (bytes.length >= 2 && bytes.length >= 2 + word(bytes, 0)) {
      const message = answerOf(kind, bytes.slice(2, 2 + word(bytes, 0)));
      const framed = new Uint8Array(2 + message.length);
      new DataView(framed.buffer).setUint16(0, message.length);
      framed.set(message, 2);
      bytes = bytes.slice(2 + word(bytes, 0));
      peer.write(framed);
    }
    if (peer.isEnded) peer.close();
  };
}

function answerOf(kind: ResolverKind, question: Uint8Array): Uint8Array {
  if (kind === "fails") return head(question, Rcode.serverFailure, 0);
  return answer(question, addressBytes(readName(question, HEADER_BYTES) ?? ""));
}

/** A response with one address. */
function answer(question: Uint8Array, address: Uint8Array): Uint8Array {
  const message = head(question, Rcode.noError, 1);
  const record = [0xc0, HEADER_BYTES, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4, ...address];
  const whole = new Uint8Array(message.length + record.length);
  whole.set(message);
  whole.set(record, message.length);
  return whole;
}

function truncated(question: Uint8Array): Uint8Array {
  const message = head(question, Rcode.noError, 0);
  message[2]! |= Flag.truncated >> 8;
  return message;
}

/** The question's header as a response's, and its question. */
function head(question: Uint8Array, rcode: number, answers: number): Uint8Array {
  const message = question.slice(0, nameEnd(question, HEADER_BYTES) + 4);
  message[2] = 0x81; // a response, recursion desired
  message[3] = 0x80 | rcode;
  message.set([0, 1, 0, answers, 0, 0, 0, 0], 4);
  return message;
}

/** The same question about another name. */
function otherName(question: Uint8Array): Uint8Array {
  const other = question.slice();
  other[HEADER_BYTES + 1]! ^= 1;
  return other;
}
