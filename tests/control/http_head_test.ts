import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ControlFault } from "../../lib/control/control_fault.ts";
import { BODY_MAX_BYTES, headEnd, parseHead } from "../../lib/control/http_head.ts";

const bytes = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const parse = (...lines: string[]) => parseHead(bytes(lines.join("\r\n")));

function fault(...lines: string[]): string {
  const error = assertThrows(() => parse(...lines), ControlFault) as ControlFault;
  assertMatch(error.hint, /^[A-Z]/, "the way out");
  return `${error.status} ${error.message}`;
}

Deno.test("a head is read with its path, its query and its headers", () => {
  const head = parse(
    "POST /v1/explain?a=b&c HTTP/1.1",
    "Host: localhost",
    "X-One:  a b\t",
    "x-one: c",
    "Content-Length: 12",
    "X-Empty:",
  );
  assertEquals([head.method, head.path, head.bodyBytes], ["POST", "/v1/explain", 12]);
  assertEquals([...head.query], [["a", "b"], ["c", ""]]);
  assertEquals(Object.fromEntries(head.headers), {
    "host": "localhost",
    "x-one": "a b, c",
    "content-length": "12",
    "x-empty": "",
  });
});

Deno.test("a whole URL is taken for its path", () => {
  assertEquals(parse("GET http://unix/v1/status?x HTTP/1.1", "Host: unix").path, "/v1/status");
  assertEquals(parse("GET /a%2f..%00/../b HTTP/1.0", "Host: a").path, "/a%2f..%00/../b");
});

Deno.test("what two readers could read in two ways is refused", () => {
  const ok = "GET / HTTP/1.1";
  const line = "400 the request line is none of HTTP/1.1";
  for (const first of ["", "GET /", "GET  / HTTP/1.1", "get / HTTP/1.1", "GET / HTTP/2.0"]) {
    assertEquals(fault(first, "Host: a"), line);
  }
  assertEquals(fault("GET /\x01 HTTP/1.1", "Host: a"), line);
  assertEquals(fault("GET /\x80 HTTP/1.1", "Host: a"), line);
  const target = "400 the request's target is no path";
  for (const path of ["*", "a", "https://a/", "http://a", "/a#b"]) {
    assertEquals(fault(`GET ${path} HTTP/1.1`, "Host: a"), target, path);
  }
  assertEquals(fault(ok), "400 the request has no Host");
  assertEquals(fault(ok, "Host: a", "HOST: a"), "400 the request has HOST twice");
  const header = "400 a header line is malformed";
  for (
    const bad of [
      "X : a",
      " folded",
      "X",
      "",
      "X: a\nY: b",
      "X: a\rY: b",
      "X: \0",
      "(X): a",
      ": a",
    ]
  ) assertEquals(fault(ok, "Host: a", bad), header, JSON.stringify(bad));
});

Deno.test("a body has one length, and not too much of it", () => {
  const put = ["PUT / HTTP/1.1", "Host: a"];
  assertEquals(parse(...put, `Content-Length: ${BODY_MAX_BYTES}`).bodyBytes, BODY_MAX_BYTES);
  assertEquals(
    fault(...put, `Content-Length: ${BODY_MAX_BYTES + 1}`),
    "413 the body has 1048577 bytes, at most 1048576 are taken",
  );
  assertEquals(fault(...put, "Transfer-Encoding: chunked"), "411 the body has no length");
  for (const length of ["-1", "+1", "1 2", "0x10", "1e3", "", "9".repeat(16)]) {
    assertEquals(fault(...put, `Content-Length: ${length}`), "400 Content-Length is no number");
  }
  assertEquals(
    fault(...put, "Content-Length: 1", "Content-Length: 1"),
    "400 the request has Content-Length twice",
  );
});

Deno.test("a head has only so many lines", () => {
  const lines = Array.from({ length: 64 }, (_, i) => `X-${i}: a`);
  assertEquals(fault("GET / HTTP/1.1", "Host: a", ...lines).split(" ")[0], "431");
  assertEquals(parse("GET / HTTP/1.1", "Host: a", ...lines.slice(1)).headers.size, 64);
});

Deno.test("the end of a head is found wherever it is cut", () => {
  const text = bytes("GET / HTTP/1.1\r\n\r\r\n\r\n\r\nx");
  assertEquals(headEnd(text, 0), 17);
  for (let cut = 0; cut < text.length; cut++) {
    const early = headEnd(text.subarray(0, cut), 0);
    assertEquals(early >= 0 ? early : headEnd(text, cut - 3), 17, `cut at ${cut}`);
  }
});

Deno.test("whatever comes is a head or a fault, and a head means one thing", () => {
  const word = fc.constantFrom(
    ...["GET ", "/", "/a?b", " HTTP/1.1", "\r\n", "Host: a", "Content-Length: 1", ": ", "\n", "\0"],
    ...["http://a/", "Transfer-Encoding: chunked", " ", "\t", "\x80", "Expect:", "X", "9"],
  );
  const text = fc.array(fc.oneof(word, fc.string({ maxLength: 3 })), { maxLength: 12 });
  const head = text.map((parts) => `GET /p HTTP/1.1\r\nHost: a\r\n${parts.join("")}`);
  fc.assert(
    fc.property(fc.oneof(text.map((parts) => parts.join("")), head), (raw) => {
      const octets = bytes(raw);
      try {
        const { method, path, headers, bodyBytes } = parseHead(octets);
        assertEquals(/^[A-Z]+$/.test(method) && path.startsWith("/"), true);
        for (const [name, value] of headers) {
          assertEquals(/^[!-9;-~]+$/.test(name) && !/[\r\n\0]/.test(value), true);
        }
        assertEquals(bodyBytes >= 0 && bodyBytes <= BODY_MAX_BYTES, true);
        assertEquals(headers.has("host") && !headers.has("transfer-encoding"), true);
      } catch (error) {
        if (!(error instanceof ControlFault)) throw error;
      }
    }),
    { numRuns: 2_000 },
  );
});
