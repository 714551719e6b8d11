import { assertEquals, assertFalse, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  formatIp,
  formatMac,
  parseIp,
  parseIp4,
  parseIp6,
  parseMac,
  sameBytes,
} from "../../lib/wire/address.ts";
import { hex } from "./guarded_view.ts";

Deno.test("the canonical text of RFC 5952 section 4", () => {
  const vectors: [string, string][] = [
    // 4.1: leading zeros go.
    ["2001:0db8:0000:0000:0000:0000:0002:0001", "2001:db8::2:1"],
    ["2001:db8:aaaa:bbbb:cccc:dddd:eeee:0001", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1"],
    // 4.2.1: as short as it gets; 4.2.2: not for one group.
    ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"],
    ["2001:db8::0:1", "2001:db8::1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    // 4.2.3: the longest run, the first of two equal ones.
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    // 4.3: lower case.
    ["2001:DB8:AAAA::ABCD", "2001:db8:aaaa::abcd"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["fe80:0:0:0:0:0:0:0", "fe80::"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
    ["::ffff:192.0.2.128", "::ffff:c000:280"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["::1.2.3.4", "::102:304"],
    ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
    ["1::1.2.3.4", "1::102:304"],
  ];
  for (const [text, canonical] of vectors) {
    const bytes = parseIp(text);
    assertEquals(bytes?.length, 16, text);
    assertEquals(formatIp(bytes!), canonical, text);
  }
});

Deno.test("every IPv6 address survives its own text and the eight plain groups", () => {
  fc.assert(fc.property(
    fc.array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 }),
    (groups) => {
      const plain = groups.map((group) => group.toString(16).padStart(4, "0")).join(":");
      const bytes = parseIp6(plain)!;
      assertEquals(parseIp6(formatIp(bytes)), bytes);
      assertEquals(
        Array.from(new Uint16Array(8), (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!),
        groups,
      );
    },
  ));
});

Deno.test("every IPv4 address survives its own text", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (bytes) => {
    assertEquals(parseIp4(formatIp(bytes)), new Uint8Array(bytes));
  }));
});

Deno.test("no short, octal, hexadecimal, signed, spaced or overlong IPv4 text is read", () => {
  const refused =
    "1|1.2|1.2.3|1.2.3.4.5|01.2.3.4|1.2.3.00|0x1.2.3.4|256.1.1.1|1.2.3.999|1.2.3.1000|-1.2.3.4|" +
    "+1.2.3.4|1.2.3.4 | 1.2.3.4|1..2.3|.1.2.3.4|1.2.3.4.|1.2.3.a|1e1.2.3.4|1.2.3.4\n|2130706433||१.2.3.4";
  for (const text of refused.split("|")) assertEquals(parseIp(text), null, JSON.stringify(text));
});

Deno.test("no half, doubled, zoned, bracketed or overfull IPv6 text is read", () => {
  const refused = [
    ":",
    ":::",
    "1:",
    ":1",
    "1::2::3",
    "1:::2",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "1:2:3:4::5:6:7:8",
    "12345::",
    "g::",
    "::1%eth0",
    "[::1]",
    "::1/64",
    " ::1",
    "::1 ",
    ":1.2.3.4",
    "1:2:3:4:5:6:7:1.2.3.4",
    "::1:2:3:4:5:6:1.2.3.4",
    "1:2:3:4:5:1.2.3.4",
    "::1.2.3",
    "::01.2.3.4",
    "::1.2.3.4:5",
    "1.2.3.4::",
    "::ffff:256.1.1.1",
    "::-1",
    "::0x1",
    "::1.2.3.4.5",
    "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
  ];
  for (const text of refused) assertEquals(parseIp(text), null, JSON.stringify(text));
});

Deno.test("any text is either refused or read into one canonical form", () => {
  const pieces = fc.constantFrom(
    ":",
    "::",
    ".",
    "0",
    "1",
    "ff",
    "255",
    "256",
    "abcd",
    "g",
    "%",
    "",
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 18 }), (parts) => {
      const bytes = parseIp(parts.join(""));
      if (bytes === null) return;
      assertEquals(parseIp(formatIp(bytes)), bytes);
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("formatting anything but 4 or 16 octets is our own mistake", () => {
  for (const length of [0, 3, 5, 6, 15, 17]) {
    assertThrows(
      () => formatIp(new Uint8Array(length)),
      RangeError,
      `Cannot format ${length} bytes`,
    );
  }
});

Deno.test("MAC addresses: six pairs, any case in, lower case out", () => {
  assertEquals(parseMac("02:53:4D:00:00:02"), hex("02534d000002"));
  assertEquals(formatMac(hex("02534DABCDEF")), "02:53:4d:ab:cd:ef");
  for (
    const text of [
      "",
      "02:53:4d:00:00",
      "02:53:4d:00:00:02:03",
      "2:53:4d:0:0:2",
      "02-53-4d-00-00-02",
      "02:53:4d:00:00:0g",
    ]
  ) {
    assertEquals(parseMac(text), null, text);
  }
  fc.assert(fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
    assertEquals(parseMac(formatMac(bytes)), new Uint8Array(bytes));
  }));
});

Deno.test("addresses are the same only with the same length and octets", () => {
  assertEquals(sameBytes(hex("01020304"), hex("01020304")), true);
  assertFalse(sameBytes(hex("01020304"), hex("01020305")));
  assertFalse(sameBytes(hex("01020304"), hex("0102030400")));
});
