/**
 * The head of an HTTP/1.1 request (RFC 9112), read strictly: what two readers could read in two ways
 * is refused rather than guessed at.
 *
 * Lines end with CRLF, nothing is folded, the target is a path or a whole URL, Host is there once, a
 * body has a Content-Length and no other framing.
 *
 * Limits: `HEAD_MAX_BYTES`, `HEADERS_MAX` lines, a body of `BODY_MAX_BYTES`.
 *
 * @module
 */
import { ControlFault } from "./control_fault.ts";

/** Longest head of a request, in bytes. */
export const HEAD_MAX_BYTES = 16_384;

/** Longest body of a request, in bytes. */
export const BODY_MAX_BYTES = 1024 * 1024;

/** Most header lines of a request. */
const HEADERS_MAX = 64;

/** A request as far as its head tells. */
export interface RequestHead {
  /** In capitals. */
  readonly method: string;
  /** The path, as it is written. */
  readonly path: string;
  /** What stands behind the question mark. */
  readonly query: URLSearchParams;
  /** Values by names in small letters. */
  readonly headers: ReadonlyMap<string, string>;
  /** How many bytes of a body follow. */
  readonly bodyBytes: number;
}

const REQUEST_LINE = /^([A-Z]{1,16}) ([!-~]+) HTTP\/1\.[01]$/;
const HEADER_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*$/;
/** What is read in two ways where it is there twice. */
const SINGLE = [
  "host",
  "authorization",
  "content-length",
  "content-type",
  "expect",
  "last-event-id",
  "origin",
  "sec-fetch-site",
];

/**
 * Reads a head.
 *
 * @param bytes The head without the empty line that ends it.
 * @returns What it says.
 * @throws {ControlFault} Where it is none, or not one that is taken here.
 */
export function parseHead(bytes: Uint8Array): RequestHead {
  const [first = "", ...lines] = latin1(bytes).split("\r\n");
  const match = REQUEST_LINE.exec(first);
  if (match === null) {
    throw badRequest("the request line is none of HTTP/1.1", "Send GET /v1/status HTTP/1.1");
  }
  const [, method = "", target = ""] = match;
  const headers = parseHeaders(lines);
  if (!headers.has("host")) {
    throw badRequest("the request has no Host", "Send Host: localhost, with the port over TCP");
  }
  return { method, ...parseTarget(target), headers, bodyBytes: bodyBytesOf(headers) };
}

function parseHeaders(lines: readonly string[]): Map<string, string> {
  if (lines.length > HEADERS_MAX) {
    throw new ControlFault("head-too-large", `the request has over ${HEADERS_MAX} header lines`, {
      hint: "Send fewer headers",
    });
  }
  const headers = new Map<string, string>();
  for (const line of lines) {
    const match = HEADER_LINE.exec(line);
    if (match === null) {
      throw badRequest("a header line is malformed", "Send Name: value, each ended by CR and LF");
    }
    const [, written = "", value = ""] = match;
    const name = written.toLowerCase();
    const earlier = headers.get(name);
    if (earlier !== undefined && SINGLE.includes(name)) {
      throw badRequest(`the request has ${written} twice`, "Send it once");
    }
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`);
  }
  return headers;
}

/** Browsers and tools send a path; a proxy is sent the whole URL. */
function parseTarget(target: string): Pick<RequestHead, "path" | "query"> {
  const whole = /^http:\/\/[^/?#]+(.*)$/i.exec(target)?.[1];
  const [, path = "", query = ""] = /^(\/[^?#]*)(?:\?([^#]*))?$/.exec(whole ?? target) ?? [];
  if (path === "") {
    throw badRequest("the request's target is no path", "Ask for one such as /v1/status");
  }
  return { path, query: new URLSearchParams(query) };
}

function bodyBytesOf(headers: ReadonlyMap<string, string>): number {
  if (headers.has("transfer-encoding")) {
    throw new ControlFault("length-required", "the body has no length", {
      hint: "Send it whole, with Content-Length",
    });
  }
  const text = headers.get("content-length");
  if (text === undefined) return 0;
  if (!/^[0-9]{1,15}$/.test(text)) {
    throw badRequest("Content-Length is no number", "Send how many bytes the body has");
  }
  const bytes = Number(text);
  if (bytes > BODY_MAX_BYTES) {
    throw new ControlFault(
      "too-large",
      `the body has ${bytes} bytes, at most ${BODY_MAX_BYTES} are taken`,
      { hint: "Send a shorter one" },
    );
  }
  return bytes;
}

function badRequest(message: string, hint: string): ControlFault {
  return new ControlFault("bad-request", message, { hint });
}

/** Each octet is a character: what is not ASCII is nobody's business here. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return text;
}

/** Where the empty line behind a head begins, or -1. */
export function headEnd(bytes: Uint8Array, from: number): number {
  for (let at = Math.max(0, from); at + 3 < bytes.length; at++) {
    const isEnd = bytes[at] === CR && bytes[at + 1] === LF && bytes[at + 2] === CR &&
      bytes[at + 3] === LF;
    if (isEnd) return at;
  }
  return -1;
}

const CR = 13;
const LF = 10;
