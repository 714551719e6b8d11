/**
 * An own record as a person reads it: its type and its data as a zone file has them.
 *
 * Knows the types that a configuration can name (see record_spec.ts); the data of others is written
 * as RFC 3597 section 5 has it.
 *
 * @module
 */
import { formatIp } from "../wire/address.ts";
import { RecordType, word } from "./message.ts";
import { readName } from "./name.ts";
import type { OwnRecord } from "./own_record.ts";

/**
 * A record as text. As {@linkcode VirtioNetworkServer.ownNames} yields it.
 */
export interface RecordText {
  /** Such as `A`. */
  readonly type: string;
  /** Its data. */
  readonly data: string;
  /** How long an asker may keep it. */
  readonly ttlSeconds: number;
}

/** Octets of a service's record before its target. */
const SERVICE_HEAD_BYTES = 6;

/** Makes the text of a record. */
export function recordText({ type, data, ttlSeconds }: OwnRecord): RecordText {
  const [name, text] = typeAndData(type, data);
  return { type: name, data: text, ttlSeconds };
}

function typeAndData(type: number, data: Uint8Array): [type: string, data: string] {
  switch (type) {
    case RecordType.a:
      return ["A", formatIp(data)];
    case RecordType.aaaa:
      return ["AAAA", formatIp(data)];
    case RecordType.cname:
      return ["CNAME", nameText(data, 0)];
    case RecordType.ptr:
      return ["PTR", nameText(data, 0)];
    case RecordType.txt:
      return ["TXT", strings(data).map(quoted).join(" ")];
    case RecordType.srv:
      return [
        "SRV",
        [word(data, 0), word(data, 2), word(data, 4), nameText(data, SERVICE_HEAD_BYTES)].join(" "),
      ];
    default:
      return [`TYPE${type}`, `\\# ${data.length} ${hex(data)}`];
  }
}

function nameText(data: Uint8Array, at: number): string {
  return `${readName(data, at) ?? ""}.`;
}

/** The character strings of a text record. */
function strings(data: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += data[at]! + 1) {
    parts.push(data.subarray(at + 1, at + 1 + data[at]!));
  }
  return parts;
}

/** A character string in quotes (RFC 1035 section 5.1). */
function quoted(octets: Uint8Array): string {
  const text = Array.from(octets, (octet) => {
    const char = String.fromCharCode(octet);
    if (char === '"' || char === "\\") return `\\${char}`;
    const isPlain = octet >= 0x20 && octet < 0x7f;
    return isPlain ? char : `\\${String(octet).padStart(3, "0")}`;
  });
  return `"${text.join("")}"`;
}

function hex(data: Uint8Array): string {
  return Array.from(data, (octet) => octet.toString(16).padStart(2, "0")).join("");
}
