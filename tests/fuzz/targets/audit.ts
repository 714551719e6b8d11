/**
 * Files of a fleet's audit as a start finds them, and messages of its stream as a command reads them.
 *
 * The one record is a segment's file.
 *
 * Oracles: nothing throws; what is read is of bounded length, has an identity that a header may carry,
 * and is read the same when it is written again; the lines that are read stand in the file in that
 * order; and a file cut anywhere has the lines that end before the cut.
 *
 * @module
 */
import {
  encodeAuditRecord,
  parseAuditRecord,
  RECORD_MAX_BYTES,
} from "../../../lib/fleet/audit_record.ts";
import { bytesOf, readLines, Segment } from "../../../lib/fleet/audit_segment.ts";
import { DENIAL, Records } from "../../fleet/audit_rig.ts";
import { hold } from "../rig.ts";
import type { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";

const KIND_LINE = 110;
const KIND_FILE = 111;

/** The target. */
export const auditTarget: FuzzTarget = {
  name: "audit",
  about: "files of a fleet's audit, torn and spoiled, and what is read of them",
  form: "txt",
  *seeds() {
    for (const [name, text] of Object.entries(SEEDS)) yield [name, [encode(text)]];
  },
  mutate: ([file = encode("")], mutator) => [mutator.bytes(file, WORDS)],
  run: ([file = encode("")], signal) => runFile(file, signal),
};

function runFile(file: Uint8Array, signal: Signal): void {
  const read = readLines(file);
  signal.note(KIND_FILE, Math.min(read.lines.length, 8), Math.min(read.broken, 8));
  let at = 0;
  const ends: number[] = [];
  for (const { octets, id } of read.lines) {
    hold(octets.length <= RECORD_MAX_BYTES, "a record has a bound");
    hold(/^[a-z0-9-]{1,128}$/.test(id), "an identity is fit for a header");
    const found = indexOf(file, octets, at);
    hold(found >= 0, "a line that is read stands in the file, behind those before it");
    at = found + octets.length;
    ends.push(at);
    checkLine(octets, signal);
  }
  const cut = Math.floor(file.length / 2);
  const before = ends.filter((end) => end <= cut).length;
  hold(readLines(file.subarray(0, cut)).lines.length === before, "a cut takes what is behind it");

  const segment = Segment.of(1, read, 1);
  hold(segment.count === read.lines.length, "all lines are counted");
  hold(segment.bytes === bytesOf(read.lines), "and their octets");
  hold(segment.unwrittenBytes === 0 && segment.done <= segment.count, "all of them are on disk");
}

function checkLine(octets: Uint8Array, signal: Signal): void {
  const record = parseAuditRecord(octets);
  if (record === null) throw new Error("a line that was read is none");
  signal.noteText(KIND_LINE, record.kind === "life" ? record.event : record.denial?.reason ?? "");
  const written = encodeAuditRecord(record);
  hold(written.length <= RECORD_MAX_BYTES, "what is written has a bound");
  const again = parseAuditRecord(written);
  hold(again !== null && again.id === record.id, "what is written is read");
  if (octets.length > RECORD_MAX_BYTES / 8) return;
  hold(JSON.stringify(again) === JSON.stringify(record), "and is the same");
}

function indexOf(file: Uint8Array, part: Uint8Array, from: number): number {
  for (let at = from; at + part.length <= file.length; at++) {
    if (part.every((octet, i) => file[at + i] === octet)) return at;
  }
  return -1;
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

const records = new Records("a1");
const line = (value: unknown): string => `${JSON.stringify(value)}\n`;

const SEEDS: Readonly<Record<string, string>> = {
  denials: line(records.denial()) + line({ ...records.denial(7), denial: null }),
  life: line(records.life()) + line(records.shed(9, 12)) + line(records.life("policy-changed")),
  torn: line(records.life()) + line(records.denial()).slice(0, 60),
  spoiled: line({ ...records.denial(), v: 2 }) + "\n{}\nnull\n" + line(records.life()),
  names: line({ ...records.denial(), denial: { ...DENIAL, name: "\u0000\u202e\\", hint: null } }),
};

const WORDS = [
  "\n",
  '"v":1,',
  '"id":"',
  '"kind":"life",',
  '"kind":"denial",',
  '"denial":null,',
  '"guest":null,',
  '"event":"shed",',
  '"count":0,',
  '"count":9007199254740993,',
  '"timeMs":1e3,',
  '"reason":"',
  "\\u0000",
  "}\n{",
];
