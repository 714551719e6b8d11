import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import {
  NAME_MAX_BYTES,
  nameEnd,
  nameHash,
  nameOctets,
  normalizeName,
  normalizeOwner,
  parentName,
  plainNameEnd,
  readName,
} from "../../lib/dns/name.ts";
import packet from "dns-packet";
import { vector } from "./vectors.ts";

const label = fc.string({
  unit: fc.constantFrom(..."abcXYZ019-_"),
  minLength: 1,
  maxLength: 63,
});
const hostName = fc.array(label, { maxLength: 6 }).map((labels) => labels.join("."))
  .filter((name) => name.length + 2 <= NAME_MAX_BYTES);

Deno.test("nameEnd() and readName() agree with dns-packet on every host name", () => {
  fc.assert(fc.property(hostName, fc.nat(40), (name, before) => {
    const message = Buffer.alloc(before + 300);
    packet.name.encode(name, message, before);
    assertEquals(nameEnd(message, before), before + packet.name.encode.bytes);
    assertEquals(readName(message, before), name.toLowerCase());
  }));
});

Deno.test("readName() follows pointers that lead backwards", () => {
  // "b.c" at 0, "a" and a pointer to it at 5, a pointer to that at 9.
  const message = Uint8Array.from([1, 98, 1, 99, 0, 1, 97, 0xc0, 0, 0xc0, 5]);
  assertEquals(readName(message, 5), "a.b.c");
  assertEquals(nameEnd(message, 5), 9);
  assertEquals(readName(message, 9), "a.b.c");
  assertEquals(nameEnd(message, 9), 11);
});

Deno.test("readName() refuses pointers that do not lead backwards", () => {
  for (const name of ["pointer_loop", "pointer_pair", "pointer_forward", "pointer_end"]) {
    assertEquals(readName(vector(name), 12), null, name);
    assertEquals(nameEnd(vector(name), 12), -1, name);
  }
});

Deno.test("readName() takes a name of 255 octets and none of 256, also in parts", () => {
  assertEquals(readName(vector("name_255"), 12)?.length, 253);
  assertEquals(readName(vector("name_256"), 12), null);
  // Each part is short enough; the name that they make is not.
  const whole = vector("name_255");
  const parts = new Uint8Array(300);
  parts.set(whole.subarray(12, 267));
  parts.set([1, 97, 0xc0, 0], 255);
  assertEquals(nameEnd(parts, 0), 255);
  assertEquals(nameEnd(parts, 255), -1);
});

Deno.test("readName() refuses a label of 64 octets", () => {
  assertEquals(readName(vector("label_64"), 12), null);
});

Deno.test("readName() keeps names apart that differ in octets that are no letters", () => {
  const dotted = Uint8Array.from([3, 97, 46, 98, 0]);
  assertEquals(readName(dotted, 0), "a\\.b");
  assertEquals(readName(Uint8Array.from([1, 97, 1, 98, 0]), 0), "a.b");
  assertEquals(readName(Uint8Array.from([3, 0, 92, 200, 0]), 0), "\\000\\\\\\200");
});

Deno.test("names in random octets are read in bounded time and never out of the message", () => {
  const octets = fc.uint8Array({ maxLength: 600 });
  // Many pointers make chains and loops likely.
  const pointers = fc.array(fc.tuple(fc.constantFrom(0xc0, 0xc1, 1, 0), fc.nat(255)), {
    maxLength: 300,
  }).map((pairs) => Uint8Array.from(pairs.flat()));
  fc.assert(
    fc.property(fc.oneof(octets, pointers), fc.nat(700), (message, at) => {
      const end = nameEnd(message, at);
      assert(end === -1 || (end > at && end <= message.length));
      const name = readName(message, at);
      assertEquals(name === null, end === -1);
      assert(name === null || name.length <= 4 * NAME_MAX_BYTES);
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("normalizeName() has one form for each host name", () => {
  assertEquals(normalizeName("Gateway.Internal."), "gateway.internal");
  assertEquals(normalizeName("a_b.example"), "a_b.example");
  assertEquals(normalizeName("a".repeat(63) + ".b"), "a".repeat(63) + ".b");
  for (const wrong of ["", ".", "a..b", "a b", "*.x", "ä.x", "a".repeat(64), "a.".repeat(128)]) {
    assertEquals(normalizeName(wrong), null, wrong);
  }
  assertEquals(normalizeName("a.".repeat(127)), "a.".repeat(126) + "a");
});

Deno.test("nameOctets() is the reverse of readName()", () => {
  const labels = fc.array(fc.uint8Array({ minLength: 1, maxLength: 63 }), { maxLength: 8 });
  fc.assert(fc.property(labels, (parts) => {
    const octets = Uint8Array.from([...parts.flatMap((part) => [part.length, ...part]), 0]);
    const text = readName(octets, 0);
    if (text === null) return;
    const again = nameOctets(text)!;
    assertEquals(readName(again, 0), text);
    assertEquals([...again].map(lowerOctet), [...octets].map(lowerOctet));
  }));
});

function lowerOctet(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet + 0x20 : octet;
}

Deno.test("nameOctets() takes no empty or long label, no long name and no wide letter", () => {
  const label = "a".repeat(63);
  assertEquals(nameOctets("")?.length, 1);
  assertEquals(nameOctets([label, label, label, "a".repeat(61)].join("."))?.length, 255);
  const wrong = [
    [label, label, label, "a".repeat(62)].join("."),
    "a".repeat(64),
    "a..b",
    ".",
    "a.",
    "\u0142",
    "a\\",
    "\\999",
    "\\2x0",
    "\\20",
  ];
  for (const text of wrong) assertEquals(nameOctets(text), null, text);
});

Deno.test("parentName() goes up label by label, and not at an escaped dot", () => {
  const table: [string, string | null][] = [
    ["a.b.example", "b.example"],
    ["example", ""],
    ["", null],
    ["a\\.b.example", "example"],
    ["a\\\\.example", "example"],
    ["\\046.example", "example"],
    ["a\\.b", ""],
  ];
  for (const [name, parent] of table) assertEquals(parentName(name), parent, name);
});

Deno.test("plainNameEnd() takes no pointer, wherever it leads", () => {
  assertEquals(plainNameEnd(Uint8Array.of(1, 97, 0, 9), 0), 3);
  assertEquals(plainNameEnd(Uint8Array.of(0, 1, 97, 0xc0, 0), 1), -1);
  assertEquals(plainNameEnd(Uint8Array.of(0, 0xc0, 0), 1), -1);
  assertEquals(plainNameEnd(Uint8Array.of(1, 97), 0), -1);
});

Deno.test("normalizeOwner() takes a wildcard for its first label alone", () => {
  assertEquals(normalizeOwner("*.Example."), "*.example");
  assertEquals(normalizeOwner("A.example"), "a.example");
  for (const wrong of ["*", "*.", "a.*.b", "*.*.a", "*a.b", `*.${"a.".repeat(127)}`]) {
    assertEquals(normalizeOwner(wrong), null, wrong);
  }
});

Deno.test("nameHash() is the same for each spelling and compression, and tells labels apart", () => {
  // "b.C" at 0, "A" and a pointer to it at 5, the same in full at 9.
  const message = Uint8Array.of(1, 98, 1, 67, 0, 1, 65, 0xc0, 0, 1, 97, 1, 66, 1, 99, 0);
  assertEquals(readName(message, 5), readName(message, 9));
  assertEquals(nameHash(message, 5), nameHash(message, 9));
  const texts = ["", "a", "b", "a.b", "ab", "a\\.b", "b.a", "aa"];
  const hashes = texts.map((text) => nameHash(nameOctets(text)!, 0));
  assertEquals(new Set(hashes).size, texts.length);
});
