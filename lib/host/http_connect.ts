/**
 * A tunnel by HTTP's CONNECT (RFC 9110 section 9.3.6), with Basic credentials (RFC 7617).
 *
 * The destination is always a literal. Any 2xx opens the tunnel, and what follows the head is the
 * destination's: whatever Content-Length says, such an answer has no body. Interim answers are
 * passed over. The end of a head is not known before it is there, so what is asked for at a time is
 * what must still come: the shortest head at first, then what is missing of the blank line.
 *
 * Limits: heads of 8 KiB in all. Lines end in CR LF; a bare LF is an error, since waiting for a
 * blank line that will not come would read the destination's octets.
 *
 * @module
 */
import type { ProxyCredentials } from "../config/proxy_url.ts";
import { formatHostPort } from "../config/endpoint.ts";
import { formatIp } from "../wire/address.ts";
import {
  ProxyFailure,
  type ProxyFailureCode,
  type ProxyStream,
  type ProxyTarget,
  readSome,
  writeAll,
} from "./proxy_handshake.ts";

/** Most octets of a head, interim ones together with the last. */
export const HEAD_MAX_BYTES = 8_192;

/** No head is shorter than this. */
const HEAD_MIN_BYTES = "HTTP/1.1 200\r\n\r\n".length;
/** So much of a status line is kept. */
const STATUS_LINE_MAX = 256;
const BLANK_LINE = "\r\n\r\n";
const PROTOCOL = "HTTP/1.";

/** What an answer that opens no tunnel means for the guest. */
const CODES: Readonly<Record<number, ProxyFailureCode>> = {
  403: "EACCES",
  407: "EACCES",
  502: "EHOSTUNREACH",
  503: "EHOSTUNREACH",
  504: "ETIMEDOUT",
};

/**
 * Opens the tunnel.
 *
 * @param stream A fresh connection to the proxy.
 * @param target Where to.
 * @param credentials Who asks, or `null`.
 * @throws {ProxyFailure} Where there is no tunnel.
 */
export async function httpConnect(
  stream: ProxyStream,
  target: ProxyTarget,
  credentials: ProxyCredentials | null,
): Promise<void> {
  const place = formatHostPort(formatIp(target.address), target.port);
  const lines = [`CONNECT ${place} HTTP/1.1`, `Host: ${place}`];
  if (credentials !== null) lines.push(`Proxy-Authorization: Basic ${basic(credentials)}`);
  await writeAll(stream, new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
  const head = new HeadReader(stream);
  let status = 100;
  while (status >= 100 && status < 200) status = await head.status();
  if (status >= 200 && status < 300) return;
  const isFault = status === 407;
  const why = isFault ? ": it wants another user and password" : "";
  const code = CODES[status] ?? "ECONNREFUSED";
  throw new ProxyFailure(code, `the proxy answered ${status}${why}`, isFault);
}

/** Base64 of the UTF-8 octets of `user:password`. */
function basic({ user, password }: ProxyCredentials): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(`${user}:${password}`)));
}

/** Reads one head after the other, and no octet behind the last one. */
class HeadReader {
  readonly #stream: ProxyStream;
  readonly #chunk = new Uint8Array(HEAD_MIN_BYTES);
  #totalBytes = 0;
  /** Octets of the head so far. */
  #headBytes = 0;
  /** Octets of the blank line, with the end of the line before it, that have come last. */
  #blankBytes = 0;
  #statusLine = "";
  #isStatusLine = true;

  constructor(stream: ProxyStream) {
    this.#stream = stream;
  }

  /** The status of the next head. */
  async status(): Promise<number> {
    this.#headBytes = 0;
    this.#blankBytes = 0;
    this.#statusLine = "";
    this.#isStatusLine = true;
    while (this.#blankBytes < BLANK_LINE.length) {
      const missing = Math.max(
        BLANK_LINE.length - this.#blankBytes,
        HEAD_MIN_BYTES - this.#headBytes,
      );
      const most = Math.min(missing, HEAD_MAX_BYTES - this.#totalBytes);
      if (most <= 0) {
        throw new ProxyFailure(
          "ECONNREFUSED",
          `the proxy's answer has a head of more than ${HEAD_MAX_BYTES} octets`,
          true,
        );
      }
      const count = await readSome(this.#stream, this.#chunk.subarray(0, most));
      this.#totalBytes += count;
      for (let i = 0; i < count; i++) this.#take(this.#chunk[i]!);
    }
    const match = /^HTTP\/1\.[0-9] ([1-9][0-9]{2})(?: |$)/.exec(this.#statusLine);
    if (match === null) throw notHttp();
    return Number(match[1]);
  }

  #take(octet: number): void {
    if (this.#blankBytes === BLANK_LINE.length) throw notHttp(); // it had no room for a status
    const char = String.fromCharCode(octet);
    const isAfterCr = this.#blankBytes % 2 === 1;
    if (char === "\n" && !isAfterCr) throw notHttp();
    if (char === BLANK_LINE[this.#blankBytes]) this.#blankBytes++;
    else this.#blankBytes = char === "\r" ? 1 : 0;
    if (this.#headBytes < PROTOCOL.length && char !== PROTOCOL[this.#headBytes]) throw notHttp();
    this.#headBytes++;
    if (!this.#isStatusLine) return;
    if (char === "\r") this.#isStatusLine = false;
    else if (this.#statusLine.length < STATUS_LINE_MAX) this.#statusLine += char;
  }
}

function notHttp(): ProxyFailure {
  return new ProxyFailure("ECONNREFUSED", "what answered at the proxy's port is not HTTP", true);
}
