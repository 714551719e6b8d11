/**
 * A flow's first bytes, in segments: ClientHellos, requests, and what looks like them.
 *
 * A record is a segment.
 *
 * Oracles: nothing throws; segments make no difference, neither as they come nor of one byte each; a
 * verdict stays, and is there once as much has come as is looked at; the name is the one that a
 * naive reading gives; a reason is there exactly where no name is, and has nothing of the flow in
 * it; the page that denies it is one response with nothing in it that breaks its lines.
 *
 * @module
 */
import { denyPage } from "../../../lib/inspect/deny_page.ts";
import { INSPECT_MAX_BYTES, type Inspected, Inspector } from "../../../lib/inspect/inspector.ts";
import {
  ascii,
  clientHello,
  type Extension,
  inRecords,
  PLAIN_EXTENSIONS,
  record,
  serverName,
  vector,
} from "../../inspect/hellos.ts";
import { naiveName } from "../../inspect/naive_inspector.ts";
import type { Input } from "../input.ts";
import { type Mutator, put, wordOctets } from "../mutate.ts";
import type { Random } from "../random.ts";
import { hold } from "../rig.ts";
import type { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";

const KIND_VERDICT = 80;
const KIND_REASON = 81;
const KIND_NAME = 82;
const SEGMENTS_MAX = 6;
/** Somewhat more than is looked at. */
const FLOW_MAX_BYTES = INSPECT_MAX_BYTES + 1_000;

/** The target. */
export const inspectTarget: FuzzTarget = {
  name: "inspect",
  about: "the first bytes of TLS, HTTP and other flows in segments, against a naive reading",
  form: "hex",
  seeds: () => Object.entries(SEEDS),
  mutate: mutateFlow,
  run: runFlow,
};

function runFlow(input: Input, signal: Signal): void {
  const flow = concatenated(input);
  const verdict = bySegments(flow, input.map(({ length }) => length));
  hold(same(verdict, new Inspector().inspect(flow)), "segments make no difference");
  const single = Array<number>(Math.min(flow.length, INSPECT_MAX_BYTES)).fill(1);
  hold(same(verdict, bySegments(flow, single)), "segments of one byte make no difference");
  hold(
    verdict.kind !== "more" || flow.length < INSPECT_MAX_BYTES,
    "a verdict is there once as much has come as is looked at",
  );
  const name = nameOf(verdict);
  const naive = naiveName(flow);
  hold(name === naive, () => `the name is ${name}, naively ${naive}`);
  const reason = verdict.kind === "more" ? "" : verdict.reason;
  hold(
    (reason === "") === (name !== null || verdict.kind === "more"),
    "a reason is there exactly where no name is",
  );
  hold(/^[\x20-\x7e]{0,200}$/.test(reason), "a reason is printable and short");
  checkPage(new TextDecoder().decode(flow), name ?? "");
  signal.note(KIND_VERDICT, verdict.kind.length * 32 + 31 - Math.clz32(flow.length), input.length);
  signal.noteText(KIND_REASON, `${verdict.kind} ${reason}`);
  signal.note(KIND_NAME, name?.length ?? 0, name?.split(".").length ?? 0);
}

function nameOf(verdict: Inspected): string | null {
  return verdict.kind === "tls" || verdict.kind === "http" ? verdict.name : null;
}

function bySegments(flow: Uint8Array, lengths: readonly number[]): Inspected {
  const inspector = new Inspector();
  let verdict = inspector.inspect(flow.subarray(0, 0));
  let at = 0;
  for (const length of lengths) {
    at += length;
    const next = inspector.inspect(flow.subarray(0, at));
    hold(verdict.kind === "more" || next === verdict, "a verdict stays");
    verdict = next;
  }
  return verdict;
}

function same(a: Inspected, b: Inspected): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function checkPage(foreign: string, name: string): void {
  const page = new TextDecoder().decode(
    denyPage({ name, destination: foreign, rule: foreign.slice(5), hint: foreign.slice(9) }),
  );
  const [head = "", body = "", ...rest] = page.split("\r\n\r\n");
  hold(rest.length === 0 && head.split("\r\n").length === 6, "a page is one response");
  const bodyBytes = new TextEncoder().encode(body).length;
  hold(head.includes(`\r\nContent-Length: ${bodyBytes}\r\n`), "a page is as long as it says");
  hold(!/[\p{Cc}\p{Cf}]/u.test(body.replaceAll("\n", "")), "a page is printable");
  hold(body.split("\n").length <= 7, "a page has its lines alone");
}

/** Words of both protocols. */
const DICTIONARY = [
  "Host: example.org\r\n",
  "Host: evil.test",
  "host:",
  "\r\n",
  "\r\n\r\n",
  "\r\n ",
  " HTTP/1.1",
  "http://example.org",
  "Transfer-Encoding: chunked\r\n",
  "Content-Length: 5\r\n",
  "CONNECT ",
  "192.0.2.1",
  "[::1]:80",
  "0x7f.",
  Uint8Array.of(22, 3, 1),
  Uint8Array.of(0xfe, 0x0d, 0, 0),
  Uint8Array.of(0, 0, 0, 6, 0, 4, 0, 0, 1, 0x61),
];

function mutateFlow(input: Input, mutator: Mutator): Input {
  const { random } = mutator;
  switch (random.below(6)) {
    case 0:
      return cut(someHello(random), random);
    case 1:
      return cut(someRequest(random), random);
    case 2:
      return cut(concatenated(input), random);
    case 3:
      return cut(
        fitted(concatenated(input.map((each) => mutator.bytes(each, DICTIONARY)))),
        random,
      );
    default:
      return mutator.records(input, (each) => mutator.bytes(each, DICTIONARY));
  }
}

const HOSTS = ["example.org", "EVIL.test.", "192.0.2.1", "[::1]", "", "a..b", "1.0x1", "x_-.y"];

function someHello(random: Random): Uint8Array {
  const extensions = Array.from({ length: random.below(5) }, (): Extension => {
    const name = random.pick(HOSTS);
    switch (random.below(5)) {
      case 0:
        return random.pick(PLAIN_EXTENSIONS);
      case 1:
        return serverName(name, random.once(2) ? name : [random.below(3), name]);
      case 2:
        return [random.pick([0, 0xfe0d, 0xff02, 0xffce, 0x3a3a]), new Uint8Array(random.below(4))];
      default:
        return serverName(name);
    }
  });
  if (random.once(8)) extensions.push([0x15, new Uint8Array(random.below(17_000))]);
  const hello = clientHello({
    extensions: random.once(12) ? null : extensions,
    version: random.once(6) ? random.pick([0x0300, 0x0301, 0x0304, 0xfefd]) : 0x0303,
    sessionId: new Uint8Array(random.once(6) ? random.below(40) : 32),
    trailer: random.once(10) ? random.pick([[0], [0, 5, 0, 0]]) : [],
  });
  const sizes = Array.from({ length: random.below(4) }, () => 1 + random.below(60));
  return inRecords(hello, ...sizes, random.once(8) ? 1 : 16_000);
}

function someRequest(random: Random): Uint8Array {
  const method = random.pick(["GET", "POST", "get", "OPTIONS", "CONNECT", "PRI", "EHLO"]);
  const target = random.pick(["/", "*", `http://${random.pick(HOSTS)}:80/x`, "x", "//y"]);
  const lines = Array.from({ length: random.below(5) }, () => {
    const name = random.pick(["Host", "hOST", "X", "Host ", "Content-Length", "Transfer-Encoding"]);
    return `${name}: ${random.pick([...HOSTS, "5", "chunked"])}${random.once(4) ? ":80" : ""}`;
  });
  const first = `${method} ${target} HTTP/${random.pick(["1.1", "1.1", "1.0", "2.0"])}`;
  return Uint8Array.from(ascii([first, ...lines, "", ""].join("\r\n")));
}

/** A hello in one record with the lengths of record, message and extensions as they must be. */
function fitted(flow: Uint8Array): Uint8Array {
  if (flow[0] !== 22 || flow.length < 9) return flow;
  put(flow, 3, wordOctets(flow.length - 5, 2));
  put(flow, 5, Uint8Array.of(1, ...wordOctets(flow.length - 9, 3)));
  const suitesAt = 44 + (flow[43] ?? 0);
  const compressionAt = suitesAt + 2 + (flow[suitesAt] ?? 0) * 256 + (flow[suitesAt + 1] ?? 0);
  const extensionsAt = compressionAt + 1 + (flow[compressionAt] ?? 0);
  return put(flow, extensionsAt, wordOctets(Math.max(0, flow.length - extensionsAt - 2), 2));
}

/** Cuts a flow into a few segments. */
function cut(flow: Uint8Array, random: Random): Input {
  const ends = Array.from(
    { length: random.below(SEGMENTS_MAX) },
    () => random.below(flow.length + 1),
  ).sort((a, b) => a - b);
  return [...ends, flow.length].map((end, i) => flow.slice(i === 0 ? 0 : ends[i - 1], end));
}

/** The segments in one piece, as far as any of it can matter. */
function concatenated(pieces: Input): Uint8Array {
  const flow = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    flow.set(piece, at);
    at += piece.length;
  }
  return flow.slice(0, FLOW_MAX_BYTES);
}

function text(...lines: string[]): Input {
  return [Uint8Array.from(ascii([...lines, "", ""].join("\r\n")))];
}

function halves(flow: Uint8Array): Input {
  return [flow.slice(0, flow.length >> 1), flow.slice(flow.length >> 1)];
}

const NAME = serverName("www.example.org");

const SEEDS: Readonly<Record<string, Input>> = {
  hello: [inRecords(clientHello())],
  hello_segments: halves(inRecords(clientHello())),
  hello_records: halves(inRecords(clientHello(), 3, 1, 60)),
  hello_old: [inRecords(clientHello({ version: 0x0301, sessionId: [], extensions: [NAME] }))],
  hello_nameless: [inRecords(clientHello({ extensions: PLAIN_EXTENSIONS }))],
  hello_bare: [inRecords(clientHello({ extensions: null }))],
  hello_names: [inRecords(clientHello({ extensions: [serverName("a.b", "c.d")] }))],
  hello_address: [inRecords(clientHello({ extensions: [serverName("192.0.2.1")] }))],
  hello_ech: [inRecords(clientHello({ extensions: [NAME, [0xfe0d, [0, 0, 1, 0, 1, 7, 0, 0]]] }))],
  hello_twice: [inRecords(clientHello({ extensions: [NAME, NAME] }))],
  hello_alert: [Uint8Array.from([...record(clientHello().slice(0, 40)), ...record([1, 0], 21)])],
  hello_large: halves(
    inRecords(clientHello({ extensions: [[0x33, vector(new Uint8Array(1_216), 2)], NAME] })),
  ),
  get: text("GET / HTTP/1.1", "Host: www.example.org", "Accept: */*"),
  get_url: text("GET http://www.example.org:80/ HTTP/1.1", "Host: www.example.org"),
  get_folded: text("GET / HTTP/1.1", "Host: www.example.org", " evil.test"),
  get_hosts: text("GET / HTTP/1.1", "Host: www.example.org", "Host: evil.test"),
  post: text("POST / HTTP/1.1", "Host: www.example.org:80", "Transfer-Encoding: chunked"),
  post_both: text("POST / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked"),
  connect: text("CONNECT www.example.org:443 HTTP/1.1", "Host: www.example.org"),
  http2: text("PRI * HTTP/2.0", "", "SM"),
  ssh: text("SSH-2.0-OpenSSH_9.2p1 Debian-2"),
  sslv2: [Uint8Array.of(0x80, 0x2e, 1, 3, 1, 0, 0x15)],
};
