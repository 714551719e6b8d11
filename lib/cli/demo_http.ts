/**
 * As much HTTP/1.1 (RFC 9112) as the demo speaks by hand: one GET, one answer, then the end.
 *
 * @module
 */

/** The request for a page. */
export function requestFor(host: string, path: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
}

/** An answer with a text. */
export function responseWith(text: string): Uint8Array<ArrayBuffer> {
  const length = encoder.encode(text).length;
  const head = [
    "HTTP/1.1 200 OK",
    "Content-Type: text/plain",
    `Content-Length: ${length}`,
    "Connection: close",
  ];
  return encoder.encode(`${head.join("\r\n")}\r\n\r\n${text}`);
}

/** Where the head of a message ends; -1 where it does not yet. */
export function headBytes(bytes: Uint8Array): number {
  const end = decoder.decode(bytes).indexOf("\r\n\r\n");
  return end < 0 ? -1 : end + 4;
}

/** An answer, taken apart. */
export interface HttpAnswer {
  /** The status code; 0 where the bytes are no answer. */
  readonly status: number;
  readonly text: string;
}

/** Takes a whole answer apart. */
export function parseAnswer(bytes: Uint8Array): HttpAnswer {
  const text = decoder.decode(bytes);
  const end = text.indexOf("\r\n\r\n");
  const status = /^HTTP\/1\.[01] ([0-9]{3}) /.exec(text)?.[1];
  return { status: Number(status ?? 0), text: end < 0 ? "" : text.slice(end + 4) };
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");
