import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { OwnRecord } from "../../lib/dns/own_record.ts";
import { parseRecordSpec } from "../../lib/dns/record_spec.ts";
import { name } from "./messages.ts";

/** Type, TTL and data of each record, or what is wrong. */
function parsed(spec: unknown, owner = "a.example"): unknown {
  const records = parseRecordSpec(owner, spec);
  if (typeof records === "string") return records;
  return records.map(({ type, ttlSeconds, data }: OwnRecord) => [type, ttlSeconds, ...data]);
}

const octets = (text: string) => [...new TextEncoder().encode(text)];

Deno.test("parseRecordSpec() reads a list of addresses", () => {
  assertEquals(parsed(["10.0.0.5", "::1"]), [
    [1, 60, 10, 0, 0, 5],
    [28, 60, ...new Array(15).fill(0), 1],
  ]);
  assertEquals(parsed([]), []);
  assertEquals(parsed({}), []);
});

Deno.test("parseRecordSpec() reads records by type", () => {
  const table: [unknown, unknown][] = [
    [{ a: "10.0.0.5" }, [[1, 60, 10, 0, 0, 5]]],
    [{ a: ["10.0.0.5", "10.0.0.6"], ttl: 0 }, [[1, 0, 10, 0, 0, 5], [1, 0, 10, 0, 0, 6]]],
    [{ aaaa: ["::2"], ttl: 86_400 }, [[28, 86_400, ...new Array(15).fill(0), 2]]],
    [{ cname: "Web.Example." }, [[5, 60, ...name("web.example")]]],
    [{ ptr: ["a.b", "c.d"] }, [[12, 60, ...name("a.b")], [12, 60, ...name("c.d")]]],
    [{ txt: "hé" }, [[16, 60, 3, ...octets("hé")]]],
    [{ txt: "" }, [[16, 60, 0]]],
    [{ srv: "1 2 65535 a.b" }, [[33, 60, 0, 1, 0, 2, 255, 255, ...name("a.b")]]],
    [{ srv: ["0  0 0 ."] }, [[33, 60, 0, 0, 0, 0, 0, 0, 0]]],
    [{ a: undefined, txt: ["x"], ttl: undefined }, [[16, 60, 1, 120]]],
  ];
  for (const [spec, records] of table) assertEquals(parsed(spec), records);
});

Deno.test("parseRecordSpec() goes on in another string behind 255 octets of a text", () => {
  const lengths = (text: string) => {
    const [record] = parsed({ txt: text }) as number[][];
    const found: number[] = [];
    for (let at = 2; at < record!.length; at += 1 + record![at]!) found.push(record![at]!);
    return found;
  };
  assertEquals(lengths("x".repeat(255)), [255]);
  assertEquals(lengths("x".repeat(256)), [255, 1]);
  assertEquals(lengths("é".repeat(300)), [255, 255, 90]);
});

Deno.test("parseRecordSpec() says what is wrong and the way out", () => {
  const fields = "a, aaaa, cname, ptr, txt, srv, ttl";
  const table: [unknown, string][] = [
    [
      ["10.0.0.5", "10.0.0"],
      '"10.0.0" is no address; other records go into a mapping, as in { cname: … }',
    ],
    [[5], "5 is no address; other records go into a mapping, as in { cname: … }"],
    ["10.0.0.5", `"10.0.0.5" is no list of addresses and no mapping of ${fields}`],
    [null, `null is no list of addresses and no mapping of ${fields}`],
    [{ mx: "a" }, `unknown record type "mx"; known: ${fields}`],
    [{ toString: "a" }, `unknown record type "toString"; known: ${fields}`],
    [{ a: "::1" }, 'a: "::1" is no IPv4 address; it goes under aaaa'],
    [{ aaaa: "10.0.0.1" }, 'aaaa: "10.0.0.1" is no IPv6 address; it goes under a'],
    [{ a: ["x"] }, 'a: "x" is no IPv4 address'],
    [{ a: [["10.0.0.1"]] }, 'a: ["10.0.0.1"] is no text'],
    [{ txt: 5 }, "txt: 5 is no text"],
    [{ cname: "a b" }, 'cname: "a b" is no host name'],
    [{ ptr: "" }, 'ptr: "" is no host name'],
    [
      { srv: "1 2 a.b" },
      'srv: "1 2 a.b" is no service; write "priority weight port target", as in ' +
      '"10 5 5060 sip.internal"',
    ],
    [
      { srv: "1 2 65536 a.b" },
      'srv: "1 2 65536 a.b" is no service; write "priority weight port target", as in ' +
      '"10 5 5060 sip.internal"',
    ],
    [{ a: [], ttl: -1 }, "ttl: -1 is no number of seconds from 0 to 86400"],
    [{ ttl: 1.5 }, "ttl: 1.5 is no number of seconds from 0 to 86400"],
    [{ ttl: "60" }, 'ttl: "60" is no number of seconds from 0 to 86400'],
    [
      { cname: "b.c", txt: "x" },
      "cname: an alias has one target and no other records (RFC 1034 section 3.6.2)",
    ],
    [
      { cname: ["b.c", "d.e"] },
      "cname: an alias has one target and no other records (RFC 1034 section 3.6.2)",
    ],
    [
      { a: new Array(1_876).fill("10.0.0.1") },
      "its records make 30016 octets, at most 30000 fit an answer",
    ],
  ];
  for (const [spec, text] of table) assertEquals(parsed(spec), text);
});

Deno.test("parseRecordSpec() takes names of hosts, services and wildcards", () => {
  for (const owner of ["a.example", "*.a.example", "_sip._tcp.a", "5.0.0.10.in-addr.arpa"]) {
    assertEquals(parsed([], owner), [], owner);
  }
  for (const owner of ["", "a b", "*", "a.*.b", "ä.example"]) {
    assertEquals(
      parsed([], owner),
      `"${owner}" is no host name; try "db.internal", or "*.internal" for all below it`,
    );
  }
});

Deno.test("parseRecordSpec() has records or a text for whatever a file holds", () => {
  fc.assert(fc.property(fc.jsonValue(), fc.constantFrom("a", "cname", "srv", "ttl"), (any, key) => {
    for (const spec of [any, { [key]: any }, { [key]: [any] }]) {
      const result = parseRecordSpec("a.example", spec);
      assertEquals(typeof result === "string" ? result !== "" : Array.isArray(result), true);
    }
  }));
});
