import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { NAME_MAX_BYTES, nameEnd, nameOctets, readName } from "../../lib/dns/name.ts";
import { NameTree, textOf } from "../../lib/dns/name_tree.ts";
import { name } from "./messages.ts";

Deno.test("NameTree reads each name as readName() does, and equal ones as one node", () => {
  // Few kinds of octets: short labels, pointers to near places, letters in both cases.
  const octet = fc.oneof(
    fc.constantFrom(0, 1, 2, 3, 0x41, 0x61, 0x2e, 0x5c, 0xc0),
    fc.integer({ min: 0, max: 40 }),
  );
  fc.assert(fc.property(fc.array(octet, { maxLength: 60 }), (octets) => {
    const message = Uint8Array.from(octets);
    const tree = new NameTree(message);
    const byText = new Map<string, unknown>();
    for (let at = 0; at < message.length; at++) {
      if (nameEnd(message, at) < 0) continue;
      const text = readName(message, at)!;
      const node = tree.at(at);
      assertEquals(textOf(node), text);
      assertEquals(node.bytes, nameOctets(text)!.length);
      if (byText.has(text)) assertStrictEquals(node, byText.get(text));
      assertStrictEquals(tree.of(text), node);
      byText.set(text, node);
    }
    assertEquals(new Set(byText.values()).size, byText.size);
  }));
});

Deno.test("NameTree puts another end to a name, where it is not too long then", () => {
  const tree = new NameTree(new Uint8Array(0));
  const of = (text: string) => tree.of(text)!;
  const moved = (text: string, end: string, instead: string) => {
    const node = tree.moved(of(text), of(end), of(instead));
    return node === null ? null : textOf(node);
  };
  assertEquals(moved("a.b.example", "example", "test"), "a.b.test");
  assertEquals(moved("a.b.example", "", "test"), "a.b.example.test");
  assertEquals(moved("a.b.example", "b.example", ""), "a");
  assertEquals(moved("a\\.b.example", "example", "x.test"), "a\\.b.x.test");
  const long = [63, 63, 63].map((length) => "a".repeat(length)).join(".");
  // The last one that fits: 255 octets with all length octets.
  const rest = NAME_MAX_BYTES - nameOctets(long)!.length - 1;
  assertEquals(moved(`${"b".repeat(rest)}.example`, "example", long)?.length, 253);
  assertEquals(moved(`${"b".repeat(rest + 1)}.example`, "example", long), null);
  assertEquals(tree.of(`${"a".repeat(64)}.example`), null);
});

Deno.test("NameTree reads each octet of a message about once, where names of 255 end in each other", () => {
  const end = name(Array(120).fill("d").join("."));
  const octets = [...end];
  const starts = [0];
  while (octets.length < 60_000) {
    starts.push(octets.length);
    octets.push(
      1,
      97 + starts.length % 26,
      1,
      97 + starts.length % 25,
      0xc0,
      starts.length % 50 * 2,
    );
  }
  let reads = 0;
  const message = new Proxy(Uint8Array.from(octets), {
    get(target, key) {
      reads++;
      return Reflect.get(target, key, target);
    },
  });
  const tree = new NameTree(message);
  for (const at of starts) assert(tree.at(at).bytes > 100);
  assert(reads <= 3 * octets.length, `${reads} reads of ${octets.length} octets`);
});
