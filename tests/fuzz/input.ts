/**
 * What a target is fed with: a list of records, each some octets. What a record means is the
 * target's business: a frame, a read, a step. Files hold one input each, so that a change of one
 * can be read in a diff:
 *
 *     NAME.hex   one record a line in hexadecimal; `-` is an empty one, `#` begins a comment
 *     NAME.txt   the one record is the file's text
 *
 * @module
 */

/** Records. Nobody writes to them. */
export type Input = readonly Uint8Array[];

/** How the inputs of a target are written. */
export type InputForm = "hex" | "txt";

/** Reads a file's text. */
export function parseInput(form: InputForm, text: string): Input {
  if (form === "txt") return [new TextEncoder().encode(text)];
  return text.split("\n")
    .map((line) => line.replace(/#.*/, "").replace(/\s+/g, ""))
    .filter((line) => line !== "")
    .map(octetsOf);
}

function octetsOf(digits: string): Uint8Array {
  if (digits === "-") return new Uint8Array(0);
  if (!/^([0-9a-f]{2})+$/i.test(digits)) {
    throw new Error(`not octets: "${digits.slice(0, 40)}"`);
  }
  return Uint8Array.from(digits.match(/../g)!, (pair) => parseInt(pair, 16));
}

/** The text of a file; `comment` goes in front where the form has comments. */
export function formatInput(form: InputForm, input: Input, comment = ""): string {
  if (form === "txt") {
    return new TextDecoder().decode(input[0] ?? new Uint8Array(0));
  }
  const head = comment === "" ? [] : comment.split("\n").map((line) => `# ${line}`);
  return [...head, ...input.map(hexOf)].join("\n") + "\n";
}

function hexOf(record: Uint8Array): string {
  if (record.length === 0) return "-";
  return Array.from(record, (octet) => octet.toString(16).padStart(2, "0"))
    .join("");
}

/** A short name for an input, from its octets. */
export function nameOf(input: Input): string {
  let a = 0x811c9dc5;
  let b = 0x9747b28c;
  const mix = (octet: number) => {
    a = Math.imul(a ^ octet, 0x01000193);
    b = Math.imul(b ^ octet ^ (a >>> 24), 0x85ebca6b);
  };
  for (const record of input) {
    for (let shift = 0; shift < 32; shift += 8) {
      mix((record.length >> shift) & 0xff);
    }
    record.forEach(mix);
  }
  return [a, b].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

/** Octets of all records. */
export function inputBytes(input: Input): number {
  return input.reduce((sum, record) => sum + record.length, 0);
}
