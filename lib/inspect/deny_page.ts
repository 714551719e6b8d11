/**
 * The answer that a denied HTTP request gets: one page of plain text that says what was denied, by
 * which rule, and what to do about it.
 *
 * Names, destinations and rules come from guests and files: what is no printable character is
 * replaced, and what is long is cut, so that nothing of them reaches the header and the page stays
 * below 8 KiB. A request of HEAD gets the body too, as its method is not known here; the
 * connection ends with it.
 *
 * @module
 */

/** What was denied. */
export interface Refusal {
  /** The host that was asked for; empty where there is none. */
  readonly name: string;
  /** Where the flow led to: `192.0.2.1:80`. */
  readonly destination: string;
  /** The rule that denied it, or that none allows it. */
  readonly rule: string;
  /** The way out. */
  readonly hint: string;
}

/** A name of 253 characters, with a rule around it. */
const TEXT_MAX_CHARACTERS = 512;

/** What would break a line, hide text or turn its direction. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]/gu;

/** A whole response: 403 with its page. */
export function denyPage(refusal: Refusal): Uint8Array<ArrayBuffer> {
  const rows = [
    ["host", refusal.name],
    ["address", refusal.destination],
    ["rule", refusal.rule],
    ["way out", refusal.hint],
  ] as const;
  const page = [
    "virtio-gateway denied this request.",
    "",
    ...rows.filter(([, text]) => text !== "").map(([what, text]) => row(what, text)),
  ].join("\n") + "\n";
  const encoder = new TextEncoder();
  const body = encoder.encode(page);
  const head = encoder.encode([
    "HTTP/1.1 403 Forbidden",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${body.length}`,
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Connection: close",
    "",
    "",
  ].join("\r\n"));
  const response = new Uint8Array(head.length + body.length);
  response.set(head);
  response.set(body, head.length);
  return response;
}

function row(what: string, text: string): string {
  // The cut comes first, since it may split a character.
  const cut = text.length > TEXT_MAX_CHARACTERS
    ? `${text.slice(0, TEXT_MAX_CHARACTERS - 1)}…`
    : text;
  return `${`${what}:`.padEnd(10)}${cut.replace(UNPRINTABLE, "\ufffd")}`;
}
