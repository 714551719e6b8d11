/** What holds for every flow: segments, changes, cuts, cost; and that a naive reading agrees. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { INSPECT_MAX_BYTES, type Inspected, Inspector } from "../../lib/inspect/inspector.ts";
import { capturedFlow, inspectAll, inspectCut } from "./flows.ts";
import { ascii, clientHello, type Extension, inRecords, serverName } from "./hellos.ts";
import { naiveName } from "./naive_inspector.ts";

const CAPTURED = [...Deno.readDirSync(new URL("../../fixtures/inspect/", import.meta.url))]
  .filter(({ name }) => name.endsWith(".hex"))
  .map(({ name }) => capturedFlow(name.replace(/\.hex$/, "")));

const host = fc.constantFrom("example.org", "EVIL.test.", "192.0.2.1", "", "a b", "x\0.y");

const extension: fc.Arbitrary<Extension> = fc.oneof(
  fc.array(host, { maxLength: 2 }).map((names) => serverName(...names)),
  host.map((name) => serverName(name)),
  fc.tuple(fc.constantFrom(0, 5, 0x0a0a, 0xfe0d, 0xffce), fc.uint8Array({ maxLength: 8 })),
);

const hello = fc.record({
  version: fc.constantFrom(0x0303, 0x0301, 0x0300),
  extensions: fc.array(extension, { maxLength: 4 }),
  sizes: fc.array(fc.nat(90), { maxLength: 4 }),
}).map(({ sizes, ...spec }) => inRecords(clientHello(spec), ...sizes, 4_000));

const line = fc.oneof(
  host.map((name) => `Host: ${name}`),
  fc.constantFrom("Accept: */*", "Content-Length: 5", "Transfer-Encoding: chunked", " x", "X : y"),
);
const request = fc.record({
  first: fc.constantFrom(
    "GET / HTTP/1.1",
    "GET http://example.org/ HTTP/1.1",
    "POST http://evil.test:80 HTTP/1.0",
    "CONNECT example.org:80 HTTP/1.1",
    "PRI * HTTP/2.0",
    "EHLO x",
  ),
  lines: fc.array(line, { maxLength: 4 }),
  end: fc.constantFrom("\r\n", "\r\n", "\r\n", "\n", "\r"),
}).map(({ first, lines, end }) => Uint8Array.from(ascii([first, ...lines, "", ""].join(end))));

const flow = fc.oneof(
  fc.constantFrom(...CAPTURED),
  hello,
  request,
  fc.uint8Array({ maxLength: 60 }),
);

function nameOf(verdict: Inspected): string | null {
  return verdict.kind === "tls" || verdict.kind === "http" ? verdict.name : null;
}

function assertSound(octets: Uint8Array, verdict: Inspected): void {
  const name = nameOf(verdict);
  assertEquals(name, naiveName(octets));
  if (verdict.kind === "more") return;
  assertEquals(verdict.reason === "", name !== null);
  assert(/^[\x20-\x7e]{0,200}$/.test(verdict.reason));
}

Deno.test("segments make no difference", () => {
  fc.assert(
    fc.property(flow, fc.array(fc.nat(600), { maxLength: 8 }), (octets, ends) => {
      const whole = inspectAll(octets);
      assertSound(octets, whole);
      const cuts = ends.map((end) => Math.min(end, octets.length)).sort((a, b) => a - b);
      assertEquals(inspectCut(octets, cuts), whole);
      assertEquals(inspectCut(octets, Array(octets.length).keys()), whole);
    }),
    { numRuns: 500 },
  );
});

Deno.test("changed octets never make a name that does not stand there", () => {
  const change = fc.tuple(fc.nat(), fc.nat(255));
  fc.assert(
    fc.property(flow, fc.array(change, { minLength: 1, maxLength: 3 }), (octets, changes) => {
      const changed = octets.slice();
      for (const [at, octet] of changes) {
        if (changed.length > 0) changed[at % changed.length] = octet;
      }
      assertSound(changed, inspectAll(changed));
    }),
    { numRuns: 3_000 },
  );
});

Deno.test("a flow that ends early has no other name", () => {
  for (const octets of CAPTURED) {
    const name = nameOf(inspectAll(octets));
    for (let bytes = 0; bytes < octets.length; bytes++) {
      const early = nameOf(inspectAll(octets.subarray(0, bytes)));
      assert(early === null || early === name);
    }
  }
});

Deno.test("a verdict stays, whatever follows", () => {
  fc.assert(fc.property(flow, fc.uint8Array({ maxLength: 100 }), (octets, more) => {
    const longer = Uint8Array.from([...octets, ...more]);
    const inspector = new Inspector();
    const verdict = inspector.inspect(octets);
    const later = inspector.inspect(longer);
    if (verdict.kind !== "more") assert(later === verdict);
    assertEquals(later, inspectAll(longer));
  }));
});

Deno.test("no flow waits for more than what is looked at", () => {
  for (const begin of [[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0], ascii("GET "), ascii("G"), [0x80]]) {
    const octets = new Uint8Array(INSPECT_MAX_BYTES + 100).fill(0x61);
    octets.set(begin);
    assert(inspectAll(octets).kind !== "more");
    assert(inspectAll(octets.subarray(0, INSPECT_MAX_BYTES)).kind !== "more");
    assertEquals(inspectAll(octets.subarray(0, INSPECT_MAX_BYTES)), inspectAll(octets));
  }
});

Deno.test("nothing is known of a flow without bytes", () => {
  const inspector = new Inspector();
  assertEquals(inspector.inspect(new Uint8Array(0)), { kind: "more" });
  assertEquals(inspector.inspect(Uint8Array.of(0)).kind, "other");
});

/** Octets that count how often one of them is looked at or copied. */
function counted(octets: Uint8Array, count: { looks: number }): Uint8Array {
  return new Proxy(octets, {
    get(target, key) {
      if (key === "subarray") {
        return (from: number, to: number) => {
          count.looks += to - from;
          return target.subarray(from, to);
        };
      }
      if (typeof key === "string" && /^[0-9]+$/.test(key)) count.looks++;
      else assert(key === "length", `${String(key)} is not counted`);
      return Reflect.get(target, key, target);
    },
  });
}

Deno.test("one-byte segments cost no more looks at a byte than a few", () => {
  const padding: Extension = [0x15, new Uint8Array(16_000)];
  const large = clientHello({ extensions: [serverName("example.org"), padding] });
  const head = "GET / HTTP/1.1\r\nHost: example.org\r\n";
  const flows = [
    inRecords(large),
    inRecords(large.subarray(0, 2_700), 1),
    Uint8Array.from(ascii(`${head}${"X: y\r\n".repeat(2_600)}\r\n`)),
    Uint8Array.from(ascii(`${head}X: ${"y".repeat(16_000)}\r\n\r\n`)),
    Uint8Array.from(ascii(`${head.trim()}${" ".repeat(16_000)}\r\n\r\n`)),
    Uint8Array.from(ascii(`GET /${"y".repeat(16_000)} HTTP/1.1\r\n\r\n`)),
    new Uint8Array(16_000).fill(0x61),
  ];
  for (const octets of flows) {
    const count = { looks: 0 };
    const inspector = new Inspector();
    for (let bytes = 1; bytes <= octets.length; bytes++) {
      inspector.inspect(counted(octets.subarray(0, bytes), count));
    }
    assert(count.looks <= 4 * octets.length, `${count.looks} looks at ${octets.length} octets`);
  }
});

// In a program of its own that may collect garbage: what counts is what is held, not what was used.
Deno.test("flows whose first bytes are awaited hold little more memory than those bytes", async () => {
  const program = new URL("./waiting_flows.ts", import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--v8-flags=--expose-gc", program],
    stdout: "piped",
    stderr: "piped",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const held = JSON.parse(new TextDecoder().decode(stdout));
  assert(held.shortRecordBytes < 1_024, "a record that says it is long, of which 10 octets came");
  assert(held.shortHelloBytes < 1_024, "a hello that says it is long, of which 10 octets came");
  assert(held.longLineBytes < 32_768, `a line of 16 KiB: ${held.longLineBytes}`);
});
