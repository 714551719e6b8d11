/**
 * IANA's registries of special-purpose addresses, row by row: what they mark as globally reachable is
 * public, and nothing else of them is. The first, the last and a middle address of each row count,
 * where no narrower row holds them.
 */
import { assert, assertEquals } from "@std/assert";
import { ADDRESS_CLASS_NAMES, classify, embeddedIpv4 } from "../../lib/policy/address_class.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { bytesOf } from "./rules.ts";

/** Address block, its reference, and whether it is globally reachable. */
type Row = readonly [block: string, reference: string, isGlobal: boolean];

const REGISTRY4: readonly Row[] = [
  ["0.0.0.0/8", "RFC 791", false],
  ["0.0.0.0/32", "RFC 1122", false],
  ["10.0.0.0/8", "RFC 1918", false],
  ["100.64.0.0/10", "RFC 6598", false],
  ["127.0.0.0/8", "RFC 1122", false],
  ["169.254.0.0/16", "RFC 3927", false],
  ["172.16.0.0/12", "RFC 1918", false],
  ["192.0.0.0/24", "RFC 6890", false],
  ["192.0.0.0/29", "RFC 7335", false],
  ["192.0.0.8/32", "RFC 7600", false],
  ["192.0.0.9/32", "RFC 7723", true],
  ["192.0.0.10/32", "RFC 8155", true],
  ["192.0.0.170/32", "RFC 8880", false],
  ["192.0.0.171/32", "RFC 8880", false],
  ["192.0.2.0/24", "RFC 5737", false],
  ["192.31.196.0/24", "RFC 7535", true],
  ["192.52.193.0/24", "RFC 7450", true],
  ["192.88.99.0/24", "RFC 7526", false],
  ["192.88.99.2/32", "RFC 6751", false],
  ["192.168.0.0/16", "RFC 1918", false],
  ["192.175.48.0/24", "RFC 7534", true],
  ["198.18.0.0/15", "RFC 2544", false],
  ["198.51.100.0/24", "RFC 5737", false],
  ["203.0.113.0/24", "RFC 5737", false],
  ["240.0.0.0/4", "RFC 1112", false],
  ["255.255.255.255/32", "RFC 8190", false],
];

const REGISTRY6: readonly Row[] = [
  ["::1/128", "RFC 4291", false],
  ["::/128", "RFC 4291", false],
  ["::ffff:0:0/96", "RFC 4291", false],
  ["64:ff9b:1::/48", "RFC 8215", false],
  ["100::/64", "RFC 6666", false],
  ["100:0:0:1::/64", "RFC 9780", false],
  ["2001::/23", "RFC 2928", false],
  ["2001:1::1/128", "RFC 7723", true],
  ["2001:1::2/128", "RFC 8155", true],
  ["2001:1::3/128", "RFC 9665", true],
  ["2001:2::/48", "RFC 5180", false],
  ["2001:3::/32", "RFC 7450", true],
  ["2001:4:112::/48", "RFC 7535", true],
  ["2001:10::/28", "RFC 4843", false],
  ["2001:20::/28", "RFC 7343", true],
  ["2001:30::/28", "RFC 9374", true],
  ["2001:db8::/32", "RFC 3849", false],
  ["2620:4f:8000::/48", "RFC 7534", true],
  ["3fff::/20", "RFC 9637", false],
  ["5f00::/16", "RFC 9602", false],
  ["fc00::/7", "RFC 4193", false],
  ["fe80::/10", "RFC 4291", false],
];

function edges(block: string): Uint8Array[] {
  const [text, bits] = block.split("/") as [string, string];
  const first = bytesOf(text);
  const fill = (from: number) =>
    first.map((octet, i) => octet | (0xff >> Math.min(8, Math.max(0, from - i * 8))));
  return [first, fill(Number(bits)), fill(Math.min(first.length * 8, Number(bits) + 1))];
}

function isInside(address: Uint8Array, block: string): boolean {
  const [first, last] = edges(block) as [Uint8Array, Uint8Array];
  return address.every((octet, i) => octet >= first[i]! && octet <= last[i]!);
}

const length = ([block]: Row) => Number(block.split("/")[1]);

Deno.test("special purpose: what the registries call globally reachable is public, else nothing", () => {
  for (const registry of [REGISTRY4, REGISTRY6]) {
    for (const row of registry) {
      const [block, reference, isGlobal] = row;
      for (const address of edges(block)) {
        const narrower = registry.some((each) =>
          length(each) > length(row) && isInside(address, each[0])
        );
        // Teredo has no mark of its own: what it carries decides.
        if (narrower || isInside(address, "2001::/32")) continue;
        const name = ADDRESS_CLASS_NAMES[classify(address)];
        assertEquals(name === "public", isGlobal, `${formatIp(address)} of ${reference}: ${name}`);
      }
    }
  }
});

Deno.test("special purpose: translated, tunnelled and relayed addresses are what they carry", () => {
  const carried = { "8.8.8.8": "public", "10.0.0.1": "private", "127.0.0.1": "loopback" };
  for (const [text, name] of Object.entries(carried)) {
    const octets = bytesOf(text);
    const hex = (flip: number) =>
      [0, 2].map((i) => ((octets[i]! ^ flip) << 8 | (octets[i + 1]! ^ flip)).toString(16)).join(
        ":",
      );
    const forms = [`64:ff9b::${text}`, `2002:${hex(0)}::1`, `2001:0:808:808::${hex(0xff)}`];
    for (const form of forms) {
      assertEquals(ADDRESS_CLASS_NAMES[classify(bytesOf(form))], name, form);
    }
  }
});

/** Where RFC 6052 section 2.2 puts the octets of an IPv4 address, by the length of the prefix. */
const TRANSLATED_AT: Readonly<Record<number, readonly number[]>> = {
  48: [6, 7, 9, 10],
  56: [7, 9, 10, 11],
  64: [9, 10, 11, 12],
  96: [12, 13, 14, 15],
};

Deno.test("special purpose: a local translator's prefix is reserved wherever the address stands", () => {
  for (const places of Object.values(TRANSLATED_AT)) {
    for (const text of ["8.8.8.8", "169.254.169.254", "127.0.0.1"]) {
      const address = bytesOf("64:ff9b:1::");
      bytesOf(text).forEach((octet, i) => address[places[i]!] = octet);
      assertEquals(ADDRESS_CLASS_NAMES[classify(address)], "reserved", formatIp(address));
      assert(embeddedIpv4(address).length === 0, "its place is not settled");
    }
  }
});
