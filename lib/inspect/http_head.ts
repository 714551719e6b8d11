/**
 * The host of an HTTP/1 request: its request line and header (RFC 9112 sections 2.2, 3 and 5, RFC
 * 9110 section 7.2), up to the empty line.
 *
 * Read strictly, since a server that reads a doubtful head in another way would serve another host:
 * lines end in CR LF, no line goes on in the next, no white space stands in front of a colon, no
 * control character stands anywhere, `Host` is there once, and where the target is a URL it names
 * the same host. A body of doubtful length is refused too (RFC 9112 section 6.3): one
 * `Content-Length`, or one `Transfer-Encoding: chunked`, or neither.
 *
 * CONNECT and HTTP/2 without TLS (RFC 9113 section 3.3) are something else: the first leads to a
 * place that no Host names, the second has its names in compressed headers.
 *
 * Not seen: the requests that follow on the same connection, and what it becomes by an `Upgrade`.
 *
 * Each line is read when its end has come, and so each byte of the flow twice.
 *
 * @module
 */
import { octetText, readHostName } from "./host_name.ts";
import { type FlowReader, INSPECT_MAX_BYTES, type Inspected, MORE } from "./inspected.ts";

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const COLON = 0x3a;
const DELETE = 0x7f;

/** Longer than any registered method. */
const METHOD_MAX_BYTES = 24;

/** Methods that tell a broken request from another protocol. */
const METHODS: ReadonlySet<string> = new Set(
  ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"],
);

const REQUEST_LINE = /^([^ ]+) ([^ \t]+) HTTP\/(\d\.\d)$/;
const ABSOLUTE_TARGET = /^https?:\/\/([^/?#]*)/i;
const PREFACE_LINE = "PRI * HTTP/2.0";

const NOT_HTTP: Inspected = {
  kind: "other",
  reason: "its first line is neither a TLS handshake nor an HTTP request",
};
const HTTP2: Inspected = {
  kind: "other",
  reason: "it is HTTP/2 without TLS, whose host stands in compressed headers",
};
const CONNECT: Inspected = {
  kind: "other",
  reason: "it is a CONNECT request, which leads to a place that no Host header names",
};

/** Whether a flow that begins with this octet may be HTTP, or would be but for empty lines. */
export function beginsHttp(octet: number): boolean {
  return isTokenOctet(octet) || octet === CR || octet === LF;
}

/** Reads a flow that begins as HTTP does. */
export class HttpHeadReader implements FlowReader {
  #at = 0;
  #lineAt = 0;
  #afterCr = false;
  /** Octets of the method, once a space has ended it. */
  #methodBytes = 0;
  #version = "";
  /** The authority of an absolute target, or `null` where the target is a path. */
  #authority: string | null = null;
  #host: string | null = null;
  #hasLength = false;
  #hasCoding = false;

  /** See {@linkcode FlowReader}. */
  read(bytes: Uint8Array, end: number): Inspected {
    for (; this.#at < end; this.#at++) {
      const verdict = this.#octet(bytes, bytes[this.#at]!);
      if (verdict !== null) return verdict;
    }
    return MORE;
  }

  /** See {@linkcode FlowReader}. */
  tooLong(): Inspected {
    return this.#version === ""
      ? { kind: "other", reason: `its first line is longer than ${INSPECT_MAX_BYTES} bytes` }
      : refuse(`the header of the request is not whole within ${INSPECT_MAX_BYTES} bytes`);
  }

  #octet(bytes: Uint8Array, octet: number): Inspected | null {
    if (this.#afterCr) {
      if (octet !== LF) return this.#fault(bytes, "a CR stands alone");
      this.#afterCr = false;
      const verdict = this.#line(bytes, this.#lineAt, this.#at - 1);
      this.#lineAt = this.#at + 1;
      return verdict;
    }
    if (this.#methodBytes === 0) return this.#methodOctet(octet);
    if (octet === CR) this.#afterCr = true;
    else if (octet === LF) return this.#fault(bytes, "a line ends without CR");
    else if (octet === 0) return this.#fault(bytes, "a NUL stands in it");
    else if ((octet < SPACE && octet !== TAB) || octet === DELETE) {
      return this.#fault(bytes, "a control character stands in it");
    }
    return null;
  }

  /** An octet of the flow's first word. */
  #methodOctet(octet: number): Inspected | null {
    if (this.#at === 0 && (octet === CR || octet === LF)) {
      return refuse("an empty line stands in front of the request");
    }
    if (octet === SPACE) {
      this.#methodBytes = this.#at;
      return null;
    }
    return isTokenOctet(octet) && this.#at < METHOD_MAX_BYTES ? null : NOT_HTTP;
  }

  /** A line without its end. */
  #line(bytes: Uint8Array, from: number, to: number): Inspected | null {
    if (this.#version === "") return this.#requestLine(bytes, octetText(bytes, from, to));
    return from === to ? this.#verdict() : this.#fieldLine(bytes, from, to);
  }

  #requestLine(bytes: Uint8Array, line: string): Inspected | null {
    if (line === PREFACE_LINE) return HTTP2;
    const [, method, target, version] = REQUEST_LINE.exec(line) ?? [];
    if (method === undefined || target === undefined || version === undefined) {
      return this.#fault(bytes, "the request line is not METHOD TARGET HTTP/1.1");
    }
    if (version !== "1.1" && version !== "1.0") {
      return refuse(`the request says HTTP/${version}, which is not read here`);
    }
    if (method.toUpperCase() === "CONNECT") return CONNECT;
    const authority = ABSOLUTE_TARGET.exec(target)?.[1];
    if (authority === undefined && !target.startsWith("/") && target !== "*") {
      return refuse("the request's target is neither a path nor a URL");
    }
    this.#version = version;
    this.#authority = authority ?? null;
    return null;
  }

  #fieldLine(bytes: Uint8Array, from: number, to: number): Inspected | null {
    if (isBlank(bytes[from]!)) return refuse("a line goes on in the next (obs-fold)");
    let colonAt = from;
    while (colonAt < to && isTokenOctet(bytes[colonAt]!)) colonAt++;
    if (colonAt < to && isBlank(bytes[colonAt]!)) {
      return refuse("white space stands in front of a colon");
    }
    if (colonAt === to || colonAt === from || bytes[colonAt] !== COLON) {
      return refuse("a line is no field");
    }
    switch (octetText(bytes, from, colonAt).toLowerCase()) {
      case "host":
        if (this.#host !== null) return refuse("there are two Host headers");
        this.#host = fieldValue(bytes, colonAt + 1, to);
        return null;
      case "content-length":
        return this.#contentLength(fieldValue(bytes, colonAt + 1, to));
      case "transfer-encoding":
        return this.#transferEncoding(fieldValue(bytes, colonAt + 1, to));
      default:
        return null;
    }
  }

  #contentLength(value: string): Inspected | null {
    if (this.#hasLength) return refuse("there are two Content-Length headers");
    if (this.#hasCoding) return LENGTH_AND_CODING;
    if (!/^[0-9]{1,15}$/.test(value)) return refuse("Content-Length is no number");
    this.#hasLength = true;
    return null;
  }

  #transferEncoding(value: string): Inspected | null {
    if (this.#hasCoding) return refuse("there are two Transfer-Encoding headers");
    if (this.#hasLength) return LENGTH_AND_CODING;
    if (this.#version === "1.0") return refuse("HTTP/1.0 has no Transfer-Encoding");
    if (value.toLowerCase() !== "chunked") return refuse("Transfer-Encoding is not chunked");
    this.#hasCoding = true;
    return null;
  }

  /** The header is whole. */
  #verdict(): Inspected {
    if (this.#host === null) return refuse("there is no Host header");
    const host = readHostName(withoutPort(this.#host), "the Host header");
    if (host.name === null || this.#authority === null) return { kind: "http", ...host };
    const target = readHostName(withoutPort(this.#authority), "the request's URL");
    if (target.name !== null && target.name !== host.name) {
      return refuse("the request's URL and its Host header name two hosts");
    }
    return { kind: "http", ...target };
  }

  /** What breaks a request, or says that a flow's first line is none. */
  #fault(bytes: Uint8Array, reason: string): Inspected {
    const isRequest = this.#version !== "" ||
      METHODS.has(octetText(bytes, 0, this.#methodBytes));
    return isRequest ? refuse(reason) : NOT_HTTP;
  }
}

function refuse(reason: string): Inspected {
  return { kind: "http", name: null, reason };
}

const LENGTH_AND_CODING = refuse("there are both Content-Length and Transfer-Encoding");

/** The text of a field between its white space. */
function fieldValue(bytes: Uint8Array, from: number, to: number): string {
  while (from < to && isBlank(bytes[from]!)) from++;
  while (to > from && isBlank(bytes[to - 1]!)) to--;
  return octetText(bytes, from, to);
}

/** A port may be empty (RFC 3986 section 3.2.3). */
function withoutPort(authority: string): string {
  return authority.replace(/:[0-9]{0,5}$/, "");
}

function isBlank(octet: number): boolean {
  return octet === SPACE || octet === TAB;
}

/** Whether an octet may stand in a method or a field's name (RFC 9110 section 5.6.2). */
function isTokenOctet(octet: number): boolean {
  return octet > SPACE && octet < DELETE && TOKEN[octet] === 1;
}

const TOKEN = Uint8Array.from(
  { length: 128 },
  (_, octet) => /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(octet)) ? 1 : 0,
);
