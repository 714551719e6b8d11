/**
 * The readers of DNS messages alone: records, names, questions, cuts, and what answers go through.
 *
 * @module
 */
import { isAnswerTo } from "../../lib/dns/match.ts";
import { setId } from "../../lib/dns/message.ts";
import { nameEnd, normalizeName, readName } from "../../lib/dns/name.ts";
import { checkQuestion } from "../../lib/dns/question.ts";
import { fitUdp } from "../../lib/dns/truncate.ts";
import { RecordWalker } from "../../lib/dns/walker.ts";
import { judgeAnswer } from "./dns_answers.ts";
import { answerOf } from "./dns_messages.ts";
import { hold } from "./rig.ts";
import type { Signal } from "./signal.ts";

const KIND_READ = 51;
const WALK_MAX = 8192;

/** The readers of messages, each beside a naive one. */
export function readAlone(message: Uint8Array, signal: Signal): void {
  const walker = new RecordWalker();
  let records = 0;
  if (walker.open(message)) { while (walker.next()) records++; }
  hold(records <= message.length / 11, "records are bounded by octets");
  hold(walker.malformed || walker.at <= message.length, "a walk stays inside");
  const starts = Math.min(message.length, WALK_MAX);
  for (let at = 0; at < starts; at += 1 + (at >> 6)) {
    const name = readName(message, at);
    const naive = naiveName(message, at);
    hold(name === naive, () => `a name is read as ${name}, naively ${naive}`);
    hold((nameEnd(message, at) < 0) === (name === null), "a name has an end exactly if it is one");
  }
  for (const bytes of [12, 40, 512, 1232]) {
    const cut = fitUdp(message, bytes);
    hold(cut === message || cut.length <= bytes, "what is cut fits");
  }
  const check = checkQuestion(message);
  signal.note(KIND_READ, records, check.kind.length + (walker.malformed ? 64 : 0));
  if (check.kind === "question") {
    const answer = answerOf(message, new Uint8Array(0));
    setId(answer, check.question.id);
    hold(isAnswerTo(message, check.question.end, answer), "an answer fits its question");
  }
  judgeAnswer(message, signal);
  const text = new TextDecoder().decode(message.subarray(0, 300));
  const normal = normalizeName(text);
  hold(normal === null || normalizeName(normal) === normal, "a normal name is normal");
}

/** RFC 1035 as one would write it on paper, with the bounds of RFC 9267. */
function naiveName(message: Uint8Array, start: number): string | null {
  const labels: string[] = [];
  let at = start;
  let bytes = 1;
  let jumps = 0;
  let before = start;
  for (;;) {
    const length = message[at];
    if (length === undefined) return null;
    if (length === 0) return labels.join(".");
    if (length >= 0xc0) {
      const low = message[at + 1];
      if (low === undefined || ++jumps > 16) return null;
      const target = (length % 64) * 256 + low;
      if (target >= before) return null;
      at = before = target;
      continue;
    }
    bytes += 1 + length;
    if (length > 63 || bytes > 255 || at + 1 + length > message.length) {
      return null;
    }
    labels.push(Array.from(message.subarray(at + 1, at + 1 + length), octetText).join(""));
    at += 1 + length;
  }
}

function octetText(octet: number): string {
  const letter = String.fromCharCode(octet).replace(/[A-Z]/, (each) => each.toLowerCase());
  if (letter === "." || letter === "\\") return `\\${letter}`;
  return octet > 32 && octet < 127 ? letter : `\\${octet.toString().padStart(3, "0")}`;
}
