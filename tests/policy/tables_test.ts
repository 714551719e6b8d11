/**
 * The tables under a rule set, each against a search of its list.
 */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { DomainTable } from "../../lib/policy/domain_table.ts";
import { PortTable } from "../../lib/policy/port_table.ts";
import { type PrefixEntry, PrefixTable } from "../../lib/policy/prefix_table.ts";
import { bytesOf } from "./rules.ts";

const PORT_MAX = 65_535;

Deno.test("port table: the first interval of the list has a port that several cover", () => {
  const port = fc.oneof(
    fc.nat(30),
    fc.constantFrom(0, 1, PORT_MAX - 1, PORT_MAX),
    fc.nat(PORT_MAX),
  );
  const intervals = fc.array(
    fc.tuple(port, port, fc.nat(3)).map(([a, b, value]) => ({
      first: Math.min(a, b),
      last: Math.max(a, b),
      value,
    })),
    { maxLength: 20 },
  );
  fc.assert(
    fc.property(intervals, fc.array(port, { maxLength: 30 }), (list, ports) => {
      const table = new PortTable(list);
      for (const each of [...ports, ...list.flatMap(({ first, last }) => [first, last])]) {
        const found = list.find(({ first, last }) => first <= each && each <= last);
        assertEquals(table.find(each), found?.value ?? null, `${each}`);
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("port table: with no interval, and with one that has every port", () => {
  assertEquals(new PortTable([]).find(80), null);
  const all = new PortTable([{ first: 0, last: PORT_MAX, value: "all" }]);
  assertEquals([0, 1, PORT_MAX].map((port) => all.find(port)), ["all", "all", "all"]);
});

function prefixes(list: readonly string[]): PrefixEntry<string>[] {
  return list.map((text) => {
    const [address, bits] = text.split("/") as [string, string];
    return { address: bytesOf(address), bits: Number(bits), value: text };
  });
}

Deno.test("prefix table: those that cover an address, the longest first", () => {
  const table = new PrefixTable(
    4,
    prefixes(["10.0.0.0/8", "0.0.0.0/0", "10.1.0.0/16", "10.1.0.0/32", "10.0.0.0/9", "11.0.0.0/8"]),
  );
  const covering = (text: string) => table.covering(bytesOf(text)).join(" ");
  assertEquals(covering("10.1.0.0"), "10.1.0.0/32 10.1.0.0/16 10.0.0.0/9 10.0.0.0/8 0.0.0.0/0");
  assertEquals(covering("10.200.0.0"), "10.0.0.0/8 0.0.0.0/0");
  assertEquals(covering("12.0.0.0"), "0.0.0.0/0");
  assertEquals(new PrefixTable(16, []).covering(bytesOf("::1")), []);
});

Deno.test("prefix table: every length at once, in each other", () => {
  const bitsOf = (bits: number) =>
    Uint8Array.from({ length: 16 }, (_, i) => 0xff00 >> Math.min(8, Math.max(0, bits - i * 8)));
  const lengths = Array.from({ length: 129 }, (_, bits) => bits);
  const table = new PrefixTable(
    16,
    lengths.map((bits) => ({ address: bitsOf(bits), bits, value: bits })),
  );
  assertEquals(table.covering(bitsOf(128)), lengths.toReversed());
  assertEquals(table.covering(bitsOf(64)), lengths.slice(0, 65).toReversed());
});

/** Addresses of few bits that differ, so that prefixes of all lengths lie in each other. */
const addresses = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) =>
  bytes.map((octet) => octet & 0x81)
);

Deno.test("prefix table: any prefixes, against a search by bits", () => {
  const bitText = (bytes: Uint8Array) =>
    Array.from(bytes, (octet) => octet.toString(2).padStart(8, "0")).join("");
  const lists = fc.array(fc.tuple(addresses, fc.nat(32)), { maxLength: 60 });
  fc.assert(
    fc.property(lists, fc.array(addresses, { minLength: 1, maxLength: 20 }), (list, asked) => {
      const texts = new Set(list.map(([bytes, bits]) => bitText(bytes).slice(0, bits)));
      const entries = [...texts].map((text) => ({
        address: Uint8Array.from(
          text.padEnd(32, "0").match(/.{8}/g)!,
          (octet) => parseInt(octet, 2),
        ),
        bits: text.length,
        value: text,
      }));
      const table = new PrefixTable(4, entries);
      for (const address of asked) {
        const expected = [...texts].filter((text) => bitText(address).startsWith(text))
          .sort((a, b) => b.length - a.length);
        assertEquals(table.covering(address), expected);
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("domain table: the name, then wildcards, the longest first", () => {
  const entry = (text: string) => ({
    name: text.replace("*.", ""),
    wildcard: text.startsWith("*."),
    value: text,
  });
  const texts = ["*.c", "b.c", "*.b.c", "a.b.c", "*.a.b.c"];
  const table = new DomainTable(texts.map(entry));
  assertEquals(table.covering("a.b.c"), ["a.b.c", "*.a.b.c", "*.b.c", "*.c"]);
  assertEquals(table.covering("x.a.b.c"), ["*.a.b.c", "*.b.c", "*.c"]);
  assertEquals(table.covering("b.c"), ["b.c", "*.b.c", "*.c"]);
  assertEquals(table.covering("xb.c"), ["*.c"]);
  assertEquals(table.covering("x\\.b.c"), ["*.c"]);
  assertEquals(table.covering("x\\\\.b.c"), ["*.b.c", "*.c"]);
  assertEquals(table.covering(""), []);
  assertEquals(new DomainTable([entry("a.b")]).covering("x.a.b"), []);
});
