import { assert, assertEquals, assertMatch } from "@std/assert";
import { INSPECT_MAX_BYTES } from "../../lib/inspect/inspector.ts";
import { capturedFlow, inspectAll } from "./flows.ts";
import { ascii } from "./hellos.ts";

/** Octets of a text, one a character. */
function octets(text: string): Uint8Array {
  return Uint8Array.from(ascii(text));
}

/** A GET of `/` with these lines. */
function get(...lines: string[]): string {
  return ["GET / HTTP/1.1", ...lines, "", ""].join("\r\n");
}

function assertName(flow: string, name: string): void {
  assertEquals(inspectAll(octets(flow)), { kind: "http", name, reason: "" }, flow);
}

function assertRefused(flow: string, reason: RegExp): void {
  const verdict = inspectAll(octets(flow));
  const said = `${JSON.stringify(flow)}: ${JSON.stringify(verdict)}`;
  assert(verdict.kind === "http" && verdict.name === null, said);
  assertMatch(verdict.reason, reason, said);
}

function assertOther(flow: string, reason: RegExp): void {
  const verdict = inspectAll(octets(flow));
  const said = `${JSON.stringify(flow.slice(0, 80))}: ${JSON.stringify(verdict)}`;
  assert(verdict.kind === "other", said);
  assertMatch(verdict.reason, reason, said);
}

Deno.test("the hosts of real clients' requests", () => {
  const names = [
    ["http_curl", "curl.example.org"],
    ["http_curl_10", "old.example.org"],
    ["http_curl_proxy", "proxy.example.org"],
    ["http_curl_post", "post.example.org"],
    ["http_curl_upgrade", "upgrade.example.org"],
    ["http_deno_fetch", "fetch.example.org"],
    ["http_node", "node.example.org"],
    ["http_python", "python.example.org"],
    ["http_websocket", "socket.example.org"],
    ["http_wget", "wget.example.org"],
  ] as const;
  for (const [flow, name] of names) {
    assertEquals(inspectAll(capturedFlow(flow)), { kind: "http", name, reason: "" }, flow);
  }
});

Deno.test("real clients' flows that no host names", () => {
  const cases = [
    ["http_curl_address", "http", /an address, not a name/],
    ["http_curl_connect", "other", /a CONNECT request/],
    ["http_curl_http2", "other", /HTTP\/2 without TLS/],
    ["other_ssh", "other", /first line/],
  ] as const;
  for (const [flow, kind, reason] of cases) {
    const verdict = inspectAll(capturedFlow(flow));
    assert(verdict.kind === kind, flow);
    assertMatch(verdict.reason, reason, flow);
  }
});

Deno.test("a proper prefix of a head says nothing", () => {
  const head = octets(get("Host: example.org", "Accept: */*"));
  for (let bytes = 0; bytes < head.length; bytes++) {
    assertEquals(inspectAll(head.subarray(0, bytes)), { kind: "more" });
  }
});

Deno.test("a host is normalised, and its port is not of it", () => {
  assertName(get("Host: example.org"), "example.org");
  assertName(get("HOST:Example.ORG"), "example.org");
  assertName(get("host: \t example.org \t "), "example.org");
  assertName(get("Host: example.org:8080"), "example.org");
  assertName(get("Host: example.org:"), "example.org");
  assertName(get("Host: example.org."), "example.org");
  assertName(get("Host: example.org.:80"), "example.org");
  assertName(get("X-Host: evil.test", "Host: example.org", "Hosts: evil.test"), "example.org");
  assertName(get("Accept: */*", "Host: example.org") + "Host: evil.test\r\n", "example.org");
});

Deno.test("hosts that are no name of a rule", () => {
  for (
    const [host, reason] of [
      ["", /is empty/],
      [":80", /is empty/],
      ["192.0.2.1", /an address/],
      ["192.0.2.1:80", /an address/],
      ["[2001:db8::1]", /an address/],
      ["[2001:db8::1]:80", /an address/],
      ["127.1", /an address/],
      ["0x7f.1", /an address/],
      ["user@example.org", /no valid host name/],
      ["example.org:http", /no valid host name/],
      ["example.org:123456", /no valid host name/],
      ["example.org:80:80", /no valid host name/],
      ["example.org, evil.test", /no valid host name/],
      ["example.org evil.test", /no valid host name/],
      ["example.org/", /no valid host name/],
      ["http://example.org", /no valid host name/],
      ["ex%61mple.org", /no valid host name/],
      ["b\u00fccher.example", /no valid host name/],
      ["example..org", /no valid host name/],
      ["*.example.org", /no valid host name/],
    ] as const
  ) assertRefused(get(`Host: ${host}`), reason);
});

Deno.test("there is exactly one Host header", () => {
  assertRefused(get(), /no Host/);
  assertRefused(get("Accept: */*"), /no Host/);
  assertRefused(get("Host: example.org", "Host: evil.test"), /two Host/);
  assertRefused(get("Host: example.org", "hOST: example.org"), /two Host/);
  assertRefused(get("Host:", "Host: example.org"), /two Host/);
  assertRefused("GET / HTTP/1.0\r\n\r\n", /no Host/);
});

Deno.test("a URL as target names the host that the header names", () => {
  const request = (target: string, host = "example.org") =>
    `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  assertName(request("http://example.org/"), "example.org");
  assertName(request("HTTP://Example.org:80"), "example.org");
  assertName(request("https://example.org.?x"), "example.org");
  assertName(request("/http://evil.test/"), "example.org");
  assertName("OPTIONS * HTTP/1.1\r\nHost: example.org\r\n\r\n", "example.org");
  assertRefused(request("http://evil.test/"), /name two hosts/);
  assertRefused(request("http://evil.test/", "evil.test:80, example.org"), /no valid host name/);
  assertRefused(request("http://example.org@evil.test/"), /URL gives no valid host name/);
  assertRefused(request("http://example.org\\@evil.test/"), /URL gives no valid host name/);
  assertRefused(request("http:///"), /URL is empty/);
  assertRefused(request("http://192.0.2.1/"), /URL gives an address/);
  for (const target of ["example.org", "example.org:80", "http:/example.org/", "ftp://x/", "**"]) {
    assertRefused(request(target), /neither a path nor a URL/);
  }
});

Deno.test("request lines that are not what RFC 9112 says", () => {
  const lines = [
    "GET  / HTTP/1.1",
    "GET /  HTTP/1.1",
    "GET / HTTP/1.1 ",
    "GET /\tHTTP/1.1",
    "GET\t/ HTTP/1.1".replace("\t", " \t"),
    "GET /a b HTTP/1.1",
    "GET / http/1.1",
    "GET / HTTP/1",
    "GET / HTTP/1.10",
    "GET /",
    "GET ",
  ];
  for (const line of lines) assertRefused(`${line}\r\nHost: example.org\r\n\r\n`, /request line/);
  for (const version of ["0.9", "1.2", "2.0", "3.0"]) {
    assertRefused(`GET / HTTP/${version}\r\n`, new RegExp(`HTTP/${version}, which is not read`));
  }
});

Deno.test("lines that are not what RFC 9112 says", () => {
  const host = "Host: example.org";
  const cases: readonly [string, RegExp][] = [
    [get(host, " evil.test"), /obs-fold/],
    [get(host, "\tevil.test"), /obs-fold/],
    [get(" Host: example.org"), /obs-fold/],
    [get("Host : example.org"), /white space/],
    [get("Host\t: example.org"), /white space/],
    [get("Host"), /no field/],
    [get(": example.org"), /no field/],
    [get("Ho(st: example.org"), /no field/],
    [get("Host\u00a0: example.org"), /no field/],
    ["GET / HTTP/1.1\nHost: example.org\r\n\r\n", /without CR/],
    ["GET / HTTP/1.1\r\nHost: example.org\n\n", /without CR/],
    ["GET / HTTP/1.1\r\nHost: example.org\r\n\n", /without CR/],
    ["GET / HTTP/1.1\rHost: example.org\r\n\r\n", /a CR stands alone/],
    ["FOO / HTTP/1.1\r\nHost: example.org\n\n", /without CR/],
    [get("X: a\rHost: evil.test", host), /a CR stands alone/],
    [get("X: a\r", host), /a CR stands alone/],
    [get("X: a\0", host), /a NUL/],
    [get("Host: example.org\0.evil.test"), /a NUL/],
    ["GET /\0 HTTP/1.1\r\n", /a NUL/],
    [get("X: \x0b", host), /a control character/],
    [get("X: \x7f", host), /a control character/],
    ["\r\nGET / HTTP/1.1\r\nHost: example.org\r\n\r\n", /empty line/],
    ["\nGET / HTTP/1.1\r\n", /empty line/],
  ];
  for (const [flow, reason] of cases) assertRefused(flow, reason);
});

Deno.test("bodies of doubtful length", () => {
  const post = (...lines: string[]) => get("Host: example.org", ...lines);
  assertName(post("Content-Length: 12"), "example.org");
  assertName(post("Transfer-Encoding: chunked"), "example.org");
  assertName(post("transfer-encoding:CHUNKED "), "example.org");
  const cases: readonly [string, RegExp][] = [
    [post("Content-Length: 1", "Transfer-Encoding: chunked"), /both/],
    [post("Transfer-Encoding: chunked", "Content-Length: 1"), /both/],
    [post("Content-Length: 1", "Content-Length: 1"), /two Content-Length/],
    [post("Content-Length: 1, 1"), /no number/],
    [post("Content-Length: +1"), /no number/],
    [post("Content-Length: 0x1"), /no number/],
    [post("Content-Length:"), /no number/],
    [post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), /two Transfer-Encoding/],
    [post("Transfer-Encoding: chunked, chunked"), /not chunked/],
    [post("Transfer-Encoding: gzip"), /not chunked/],
    [post("Transfer-Encoding: xchunked"), /not chunked/],
    [post("Transfer-Encoding: identity"), /not chunked/],
    [post("Transfer-Encoding:"), /not chunked/],
    ["POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", /HTTP\/1\.0 has no/],
  ];
  for (const [flow, reason] of cases) assertRefused(flow, reason);
});

Deno.test("tunnels, HTTP/2 and other protocols are something else", () => {
  assertOther("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n", /CONNECT/);
  assertOther("connect example.org:443 HTTP/1.1\r\n", /CONNECT/);
  assertOther("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", /HTTP\/2 without TLS/);
  const others = [
    "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "EHLO example.org\r\n",
    "QUIT\r\n",
    "USER a\n",
    "{",
    " GET / HTTP/1.1\r\n",
    "a".repeat(25),
    "GET\t/ HTTP/1.1\r\n",
    "FOO \0",
  ];
  for (const flow of others) assertOther(flow, /nor an HTTP request/);
});

Deno.test("a head that is not whole within what is looked at", () => {
  const lines = "X: y\r\n".repeat(INSPECT_MAX_BYTES / 6 + 1);
  assertRefused(`GET / HTTP/1.1\r\n${lines}`, /not whole within 16384 bytes/);
  assertRefused(`GET / HTTP/1.1\r\nX: ${"y".repeat(INSPECT_MAX_BYTES)}`, /not whole within/);
  assertOther(`GET /${"x".repeat(INSPECT_MAX_BYTES)}`, /first line is longer than 16384/);
  const head = get("Host: example.org", "X: ");
  const longest = head.replace("X: ", `X: ${"y".repeat(INSPECT_MAX_BYTES - head.length)}`);
  assertEquals(longest.length, INSPECT_MAX_BYTES);
  assertName(longest, "example.org");
  assertRefused(longest.replace("X: ", "X: y"), /not whole within/);
});
