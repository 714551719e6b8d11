import { assert, assertEquals, assertMatch } from "@std/assert";
import { INSPECT_MAX_BYTES, Inspector } from "../../lib/inspect/inspector.ts";
import { capturedFlow, inspectAll, inspectCut } from "./flows.ts";
import {
  ascii,
  clientHello,
  type Extension,
  type HelloSpec,
  inRecords,
  message,
  PLAIN_EXTENSIONS,
  record,
  serverName,
  vector,
} from "./hellos.ts";

/** A hello in one record, with these extensions. */
function helloWith(...extensions: Extension[]): Uint8Array {
  return inRecords(clientHello({ extensions }));
}

function helloOf(spec: HelloSpec): Uint8Array {
  return inRecords(clientHello(spec));
}

function assertName(flow: Uint8Array, name: string, what: string): void {
  assertEquals(inspectAll(flow), { kind: "tls", name, reason: "" }, what);
}

function assertRefused(flow: Uint8Array, reason: RegExp, what: string): void {
  const verdict = inspectAll(flow);
  assert(verdict.kind === "tls" && verdict.name === null, `${what}: ${JSON.stringify(verdict)}`);
  assertMatch(verdict.reason, reason, what);
}

Deno.test("the names of real clients' hellos", () => {
  const names = [
    ["tls10_openssl", "old.example.org"],
    ["tls12_openssl", "tls12.example.org"],
    ["tls13_openssl", "tls13.example.org"],
    ["tls_curl_alpn", "curl.example.org"],
    ["tls_deno_connect", "deno.example.org"],
    ["tls_deno_fetch", "fetch.example.org"],
    ["tls_node", "node.example.org"],
    ["tls_python", "python.example.org"],
    ["tls_node24_hybrid", "hybrid.example.org"],
  ] as const;
  for (const [flow, name] of names) assertName(capturedFlow(flow), name, flow);
});

Deno.test("real clients' hellos without a name", () => {
  assertRefused(capturedFlow("tls_openssl_no_name"), /no server_name/, "without a name");
  assertRefused(capturedFlow("tls_curl_address"), /no server_name/, "to an address");
  assertRefused(capturedFlow("tls_openssl_address"), /an address, not a name/, "an address");
});

Deno.test("a proper prefix of a hello says nothing", () => {
  for (const flow of [capturedFlow("tls13_openssl"), inRecords(clientHello(), 1, 3, 7)]) {
    for (let bytes = 0; bytes < flow.length; bytes++) {
      assertEquals(inspectAll(flow.subarray(0, bytes)), { kind: "more" });
    }
    assert(inspectAll(flow).kind === "tls");
  }
});

Deno.test("a hello may come in any number of records, each of any version 3", () => {
  const hello = clientHello();
  for (const sizes of [[1], [2, 1], [4, 1], [5], [3, 100], [hello.length - 1, 1]]) {
    assertName(inRecords(hello, ...sizes), "example.org", `records of ${sizes}`);
  }
  for (const version of [0x0300, 0x0301, 0x0303, 0x0304, 0x03ff]) {
    assertName(Uint8Array.from(record(hello, 22, version)), "example.org", `version ${version}`);
  }
});

Deno.test("what follows the hello's record is not looked at", () => {
  const flow = inRecords(clientHello());
  const changeCipherSpec = record([1], 20);
  assertName(Uint8Array.from([...flow, ...changeCipherSpec, 0xff]), "example.org", "early data");
});

Deno.test("a large hello, as post-quantum key shares make it", () => {
  const real = capturedFlow("tls_node24_hybrid");
  const segmentBytes = 1_448;
  assert(real.length > segmentBytes);
  assertEquals(inspectAll(real.subarray(0, segmentBytes)), { kind: "more" });
  assertEquals(inspectCut(real, [segmentBytes]), inspectAll(real));
  const keyShare: Extension = [0x0033, vector(new Uint8Array(1_216), 2)];
  const extensions = [...PLAIN_EXTENSIONS, keyShare, serverName("example.org")];
  assertName(helloOf({ extensions }), "example.org", "one share");
  const padding: Extension = [0x0015, new Uint8Array(INSPECT_MAX_BYTES - 200)];
  assertName(helloWith(serverName("example.org"), padding), "example.org", "nearly too long");
});

Deno.test("a hello longer than what is looked at is refused as soon as it says so", () => {
  const hello = clientHello();
  const padBytes = INSPECT_MAX_BYTES - hello.length - 9; // two headers
  const padded = (bytes: number) =>
    helloOf({
      extensions: [serverName("example.org"), ...PLAIN_EXTENSIONS, [0x15, new Uint8Array(bytes)]],
    });
  assertEquals(padded(padBytes).length, INSPECT_MAX_BYTES);
  assertName(padded(padBytes), "example.org", "the longest");
  assertRefused(padded(padBytes + 1).subarray(0, 9), /not whole within 16384 bytes/, "longer");
  const pieces = inRecords(clientHello({ extensions: [[0x15, new Uint8Array(4_000)]] }), 1);
  assertRefused(pieces, /not whole within 16384 bytes/, "many records");
});

Deno.test("names that are no name of a rule", () => {
  const cases: readonly [string, RegExp][] = [
    ["", /is empty/],
    ["192.0.2.1", /an address/],
    ["192.0.2.1.", /an address/],
    ["127.1", /an address/],
    ["2130706433", /an address/],
    ["0x7f000001", /an address/],
    ["example.0x", /an address/],
    ["2001:db8::1", /an address/],
    ["::ffff:192.0.2.1", /an address/],
    ["[2001:db8::1]", /an address/],
    ["example.org\0.evil.test", /no valid host name/],
    ["example.org:443", /no valid host name/],
    ["*.example.org", /no valid host name/],
    ["example..org", /no valid host name/],
    [".example.org", /no valid host name/],
    ["example.org..", /no valid host name/],
    [" example.org", /no valid host name/],
    ["example.org/", /no valid host name/],
    ["b\u00fccher.example", /no valid host name/],
    [`${"a".repeat(64)}.org`, /no valid host name/],
    ["a.".repeat(127) + "b", /no valid host name/],
  ];
  for (const [name, reason] of cases) {
    assertRefused(helloWith(serverName(name)), reason, JSON.stringify(name));
  }
});

Deno.test("a name is normalised", () => {
  assertName(helloWith(serverName("WWW.Example.ORG")), "www.example.org", "case");
  assertName(helloWith(serverName("example.org.")), "example.org", "trailing dot");
  assertName(helloWith(serverName("xn--bcher-kva.example")), "xn--bcher-kva.example", "A-label");
  assertName(helloWith(serverName("_x.1.example")), "_x.1.example", "underscore and number");
});

Deno.test("server_name must be one host name", () => {
  const one = serverName("example.org");
  const cases: readonly [string, Extension[], RegExp][] = [
    ["two extensions", [one, one], /an extension twice/],
    ["two names", [serverName("example.org", "evil.test")], /not one host name/],
    ["the same name twice", [serverName("example.org", "example.org")], /not one host name/],
    ["another type", [serverName([1, "example.org"])], /not one host name/],
    ["another type behind it", [serverName("example.org", [1, "x"])], /not one host name/],
    ["another type in front", [serverName([255, "x"], "example.org")], /not one host name/],
    ["an empty list", [serverName()], /malformed/],
    ["nothing", [[0, []]], /malformed/],
    ["half a length", [[0, [0]]], /malformed/],
    ["a list longer than the extension", [[0, [0, 9, 0, 0, 3, ...ascii("a.b")]]], /malformed/],
    ["octets behind the list", [[0, [...vector([0, 0, 1, 97], 2), 0]]], /malformed/],
    ["a name longer than the list", [[0, vector([0, 0, 4, ...ascii("a.b")], 2)]], /malformed/],
    ["octets behind the name", [[0, vector([0, 0, 1, 97, 98], 2)]], /not one host name/],
  ];
  for (const [what, extensions, reason] of cases) {
    assertRefused(helloWith(...extensions), reason, what);
    assertRefused(helloWith(...PLAIN_EXTENSIONS, ...extensions), reason, `${what}, last`);
  }
});

Deno.test("encrypted hellos are refused, GREASE or not, wherever they stand", () => {
  const outer = [0, 0, 1, 0, 1, 7, ...vector(new Uint8Array(32), 2), ...vector([1, 2, 3], 2)];
  for (const type of [0xfe0d, 0xfe08, 0xff02, 0xffce]) {
    for (const body of [outer, [1], []]) {
      const ech: Extension = [type, body];
      assertRefused(helloWith(serverName("example.org"), ech), /encrypted_client_hello/, "behind");
      assertRefused(helloWith(ech, serverName("example.org")), /switch ECH off/, "in front");
      assertRefused(helloWith(ech), /ech: outer/, "alone");
    }
  }
});

Deno.test("encrypted hellos are judged by the name that they show where that is wished", () => {
  const ech: Extension = [0xfe0d, [0, 1, 2, 3]];
  const believe = (hello: Uint8Array) => new Inspector(true).inspect(hello);
  const shown = believe(helloWith(serverName("example.org"), ech));
  assertEquals(shown, { kind: "tls", name: "example.org", reason: "" });
  assertEquals(believe(helloWith(ech)).kind, "tls");
  assert(/no server_name/.test((believe(helloWith(ech)) as { reason: string }).reason));
});

Deno.test("an extension twice is refused, GREASE values are not", () => {
  const name = serverName("example.org");
  assertRefused(helloWith(name, [5, []], [6, []], [5, []]), /an extension twice/, "twice");
  assertName(helloWith([0x0a0a, []], name, [0xfafa, [0]]), "example.org", "GREASE");
  const grease = { suites: [0x1a, 0x1a, 0x13, 1], version: 0x0303 };
  assertName(helloOf(grease), "example.org", "a suite of GREASE");
});

Deno.test("the hello's own fields", () => {
  for (const version of [0x0301, 0x0302, 0x0303, 0x0304]) {
    assertName(helloOf({ version, sessionId: [] }), "example.org", `version ${version}`);
  }
  const cases: readonly [string, HelloSpec, RegExp][] = [
    ["SSL 3.0", { version: 0x0300 }, /SSL 3\.0/],
    ["version 2", { version: 0x0200 }, /malformed/],
    ["DTLS", { version: 0xfefd }, /malformed/],
    ["a long session id", { sessionId: new Uint8Array(33) }, /malformed/],
    ["no suite", { suites: [] }, /malformed/],
    ["half a suite", { suites: [0x13, 1, 0] }, /malformed/],
    ["no compression", { compression: [] }, /malformed/],
    ["no extensions", { extensions: null }, /no server_name/],
    ["an empty block of extensions", { extensions: [] }, /no server_name/],
    ["octets behind the extensions", { trailer: [0] }, /malformed/],
    ["an extension behind the extensions", { trailer: [0, 5, 0, 0] }, /malformed/],
    ["octets in place of extensions", { extensions: null, trailer: [0] }, /malformed/],
  ];
  for (const [what, spec, reason] of cases) assertRefused(helloOf(spec), reason, what);
});

Deno.test("lengths within a hello that say too much or too little", () => {
  const hello = clientHello();
  for (let bytes = 0; bytes < hello.length - 4; bytes++) {
    const short = inRecords(message(1, hello.subarray(4, 4 + bytes)));
    // The one shorter hello that is whole ends in front of the extensions.
    assertRefused(short, /malformed|no server_name/, `cut to ${bytes}`);
  }
});

Deno.test("records that are no part of a hello", () => {
  const hello = clientHello();
  const first = record(hello.subarray(0, 50));
  const rest = hello.subarray(50);
  const flows: readonly [string, number[], RegExp][] = [
    ["an alert", [...first, ...record([1, 0], 21)], /another record/],
    ["application data", [...first, ...record(rest, 23)], /another record/],
    ["another version", [...first, ...record(rest, 22, 0x0201)], /another record/],
    ["an empty record", [...first, ...record([]), ...record(rest)], /empty/],
    ["an empty first record", record([]), /empty/],
    ["a long record", [22, 3, 1, 0x40, 1], /longer than 16384/],
    ["a second message in the record", record([...hello, ...message(1, [])]), /goes on behind/],
    ["an octet behind it in the record", record([...hello, 0]), /goes on behind/],
    ["a server's hello", record(message(2, hello.subarray(4))), /no ClientHello/],
    ["a hello request", record(message(0, [])), /no ClientHello/],
    ["an empty hello", record(message(1, [])), /malformed/],
  ];
  for (const [what, flow, reason] of flows) assertRefused(Uint8Array.from(flow), reason, what);
});

Deno.test("what only looks like TLS is something else", () => {
  const dtls = Uint8Array.from([22, 0xfe, 0xfd, 0, 0]);
  assertEquals(inspectAll(dtls), {
    kind: "other",
    reason: "it begins with a record of DTLS, which is no stream",
  });
  for (const flow of [[22, 2], [22, 4, 1, 0, 5], [0x80, 0x2e, 1, 3, 1], [21, 3, 1, 0, 2, 1, 0]]) {
    assertEquals(inspectAll(Uint8Array.from(flow)).kind, "other");
  }
});
