import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { decodeDomainNames, encodeDomainNames } from "../../lib/wire/domain_names.ts";
import { guarded, hex } from "./guarded_view.ts";

function decode(octets: Uint8Array): string[] | null {
  return decodeDomainNames(guarded(octets), 5, 5 + octets.length);
}

Deno.test("names are labels behind their lengths, each name ends with a 0", () => {
  const octets = hex("04636f7270 076578616d706c65 00 0161 00");
  assertEquals(encodeDomainNames(["corp.example", "a"]), octets);
  assertEquals(encodeDomainNames(["corp.example.", "a."]), octets);
  assertEquals(decode(octets), ["corp.example", "a"]);
  assertEquals(encodeDomainNames([]), new Uint8Array(0));
});

Deno.test("padding behind the last name is zeros", () => {
  assertEquals(decode(hex("0161 00 0000000000")), ["a"]);
  assertEquals(decode(hex("")), []);
  assertEquals(decode(hex("0161 00 000001")), null);
});

Deno.test("labels to 63 and names to 255 octets, none longer", () => {
  const label = "a".repeat(63);
  const longest = [label, label, label, "a".repeat(61)].join(".");
  assertEquals(encodeDomainNames([longest])?.length, 255);
  assertEquals(decode(encodeDomainNames([longest])!), [longest]);
  assertEquals(encodeDomainNames([`${longest}a`]), null);
  assertEquals(encodeDomainNames(["a".repeat(64)]), null);
  assertEquals(
    decode(new Uint8Array([...encodeDomainNames([longest])!.subarray(0, 254), 1, 97, 0])),
    null,
  );
});

Deno.test("what is no name is not written", () => {
  for (const name of ["", ".", "a..b", ".a", "a b", "ä.example", "a\u0000b", "a.."]) {
    assertEquals(encodeDomainNames(["ok", name]), null, JSON.stringify(name));
  }
});

Deno.test("compression, overruns and missing ends are not read", () => {
  for (const octets of ["c000", "0161 c000", "40" + "61".repeat(64) + "00", "0561", "0161", "01"]) {
    assertEquals(decode(hex(octets)), null, octets);
  }
});

Deno.test("octets that are no host name's come out escaped, so that no dot is forged", () => {
  assertEquals(decode(hex("03 612e62 02 5c0a 00")), ["a\\046b.\\092\\010"]);
  assertEquals(decode(hex("0141 025a2d 00")), ["a.z-"]);
});

Deno.test("lists of names survive; any octets end inside their range", () => {
  const label = fc.stringMatching(/^[a-z0-9_-]{1,20}$/);
  const name = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => labels.join("."));
  fc.assert(fc.property(fc.array(name, { maxLength: 5 }), (names) => {
    assertEquals(decode(encodeDomainNames(names)!), names);
  }));
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(6), fc.nat(255)), { maxLength: 60 }), (octets) => {
      decode(Uint8Array.from(octets));
    }),
    { numRuns: 1_000 },
  );
});
