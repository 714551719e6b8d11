/**
 * The name that a flow asks for, as one would read it on paper: no state, no care for cost. What
 * the inspector gives must be this.
 *
 * @module
 */
import { INSPECT_MAX_BYTES } from "../../lib/inspect/inspector.ts";

/** The name, or `null` where the flow has none that may pass. */
export function naiveName(flow: Uint8Array): string | null {
  const octets = Array.from(flow.subarray(0, INSPECT_MAX_BYTES));
  const name = octets[0] === 22 ? naiveServerName(octets) : naiveHost(textOf(octets));
  return name === null ? null : naiveHostName(name);
}

function textOf(octets: readonly number[]): string {
  return octets.map((octet) => String.fromCharCode(octet)).join("");
}

function naiveHostName(text: string): string | null {
  const name = text.toLowerCase().replace(/\.$/, "");
  const labels = name.split(".");
  if (name.length > 253 || !labels.every((label) => /^[a-z0-9_-]{1,63}$/.test(label))) return null;
  return /^(\d+|0x[0-9a-f]*)$/.test(labels.at(-1)!) ? null : name;
}

function naiveHost(text: string): string | null {
  const end = text.indexOf("\r\n\r\n");
  const lines = text.slice(0, Math.max(end, 0)).split("\r\n");
  const isPlain = (character: string) => character === "\t" || character >= " ";
  if (!lines.every((line) => [...line].every(isPlain) && !line.includes("\x7f"))) return null;
  const [, method, target, minor] =
    /^([!#$%&'*+.^_`|~\w-]{1,24}) ([^ \t]+) HTTP\/1\.([01])$/.exec(lines[0]!) ?? [];
  if (method === undefined || method.toLowerCase() === "connect") return null;
  const fields = lines.slice(1);
  if (!fields.every((line) => /^[!#$%&'*+.^_`|~\w-]+:/.test(line))) return null;
  const valuesOf = (name: string) =>
    fields.filter((line) => line.toLowerCase().startsWith(`${name}:`))
      .map((line) => line.slice(name.length + 1).replace(/^[ \t]+|[ \t]+$/g, ""));
  const lengths = valuesOf("content-length");
  const codings = valuesOf("transfer-encoding");
  if (lengths.length + codings.length > 1) return null;
  if (!lengths.every((length) => /^\d{1,15}$/.test(length))) return null;
  if (!codings.every((coding) => minor === "1" && coding.toLowerCase() === "chunked")) return null;
  const hosts = valuesOf("host").map((host) => host.replace(/:\d{0,5}$/, ""));
  if (hosts.length !== 1) return null;
  if (/^(\/|\*$)/.test(target!)) return hosts[0]!;
  const [, authority] = /^https?:\/\/([^/?#]*)/i.exec(target!) ?? [];
  if (authority === undefined) return null;
  const other = naiveHostName(authority.replace(/:\d{0,5}$/, ""));
  return other !== null && other === naiveHostName(hosts[0]!) ? other : null;
}

/** Takes octets from the front of a list; throws where there are too few. */
class Pile {
  constructor(readonly octets: readonly number[]) {}
  #at = 0;

  get isEmpty(): boolean {
    return this.#at === this.octets.length;
  }

  take(count: number): readonly number[] {
    this.#at += count;
    if (this.#at > this.octets.length) throw new RangeError("too short");
    return this.octets.slice(this.#at - count, this.#at);
  }

  number(bytes: number): number {
    return this.take(bytes).reduce((sum, octet) => sum * 256 + octet, 0);
  }

  vector(lengthBytes: number): readonly number[] {
    return this.take(this.number(lengthBytes));
  }
}

function naiveServerName(octets: readonly number[]): string | null {
  try {
    return naiveHelloName(naiveMessage(new Pile(octets)));
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function need(condition: boolean): void {
  if (!condition) throw new RangeError("not so");
}

/** The body of the first handshake message. */
function naiveMessage(flow: Pile): readonly number[] {
  const message: number[] = [];
  for (;;) {
    need(flow.number(1) === 22);
    need(flow.number(1) === 3);
    flow.take(1);
    const payload = flow.vector(2);
    need(payload.length > 0 && payload.length <= 16_384);
    message.push(...payload);
    if (message.length < 4) continue;
    const pile = new Pile(message);
    need(pile.number(1) === 1);
    const length = pile.number(3);
    need(message.length <= 4 + length);
    if (message.length === 4 + length) return pile.take(length);
  }
}

function naiveHelloName(octets: readonly number[]): string | null {
  const hello = new Pile(octets);
  const version = hello.number(2);
  need(version >> 8 === 3 && version !== 0x0300);
  hello.take(32);
  need(hello.vector(1).length <= 32);
  const suites = hello.vector(2).length;
  need(suites > 0 && suites % 2 === 0);
  need(hello.vector(1).length > 0);
  if (hello.isEmpty) return null;
  const block = new Pile(hello.vector(2));
  need(hello.isEmpty);
  const extensions = new Map<number, readonly number[]>();
  while (!block.isEmpty) {
    const type = block.number(2);
    need(!extensions.has(type));
    extensions.set(type, block.vector(2));
  }
  for (const type of [0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09, 0xfe08, 0xff02, 0xffce]) {
    need(!extensions.has(type));
  }
  const names = extensions.get(0);
  if (names === undefined) return null;
  const list = new Pile(names);
  const entries = new Pile(list.vector(2));
  need(list.isEmpty && entries.number(1) === 0);
  const name = entries.vector(2);
  need(entries.isEmpty);
  return textOf(name);
}
