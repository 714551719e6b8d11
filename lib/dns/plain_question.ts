/**
 * A question without anything in it but what it asks: header, name, type, class, and of EDNS the
 * size of answers and the DO bit.
 *
 * Where names are fenced, only such ones go upstream. An allowed name's own servers never see the
 * options of who asks, but whoever runs the upstream resolver does, and everybody on the way to it:
 * an option of any number may hold some thousand octets of anything, and a client subnet is even
 * handed on to servers behind the resolver. A guest loses little by it. Options count for one hop
 * only (RFC 6891 section 6.1.1): a cookie, padding or a keep-alive time is between the guest and
 * the gateway, which need none of them; nobody may rely on a server that knows an option; and a
 * client subnet tells a server far away where a guest is that is elsewhere.
 *
 * The spelling of the name stays, since askers compare it with the answer's (0x20). It reaches the
 * servers of a name that is allowed, which hear more in names below it.
 *
 * @module
 */
import { OPT_BYTES, putOpt } from "./edns.ts";
import { Flag, flagsOf, HEADER_BYTES, putWord } from "./message.ts";
import type { DnsQuestion } from "./question.ts";

/** Flags of a question that change its answer. */
const KEPT_FLAGS = Flag.recursionDesired | Flag.checkingDisabled | Flag.authenticData;

/**
 * Makes a question plain.
 *
 * @param message The guest's question message.
 * @param question What it asks, from `checkQuestion`.
 * @param name The octets of another name to ask for.
 * @returns A question message of the same id, type, class, flags and EDNS parameters. Where the name
 * is its own, offsets into it are the same.
 */
export function plainQuestion(
  message: Uint8Array,
  question: DnsQuestion,
  name: Uint8Array = message.subarray(HEADER_BYTES, question.end - 4),
): Uint8Array {
  const end = HEADER_BYTES + name.length + 4;
  const out = new Uint8Array(end + (question.edns ? OPT_BYTES : 0));
  out.set(message.subarray(0, 2));
  putWord(out, 2, flagsOf(message) & KEPT_FLAGS);
  putWord(out, 4, 1);
  putWord(out, 10, question.edns ? 1 : 0);
  out.set(name, HEADER_BYTES);
  putWord(out, end - 4, question.type);
  putWord(out, end - 2, question.class);
  if (question.edns) {
    putOpt(out, end, { dnssecOk: question.dnssecOk, udpBytes: question.udpBytes });
  }
  return out;
}
