import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  ADDRESS_CLASS_NAMES,
  AddressClass,
  classify,
  embeddedIpv4,
} from "../../lib/policy/address_class.ts";
import { formatIp, parseIp } from "../../lib/wire/address.ts";

function bytesOf(text: string): Uint8Array {
  const bytes = parseIp(text);
  assert(bytes !== null, text);
  return bytes;
}

function classOf(text: string): string {
  return ADDRESS_CLASS_NAMES[classify(bytesOf(text))]!;
}

/** IANA's IPv4 registry by block: first and last address, and the class of both. */
const BLOCKS4: [first: string, last: string, name: string][] = [
  ["0.0.0.0", "0.255.255.255", "unspecified"],
  ["1.0.0.0", "9.255.255.255", "public"],
  ["10.0.0.0", "10.255.255.255", "private"],
  ["11.0.0.0", "100.63.255.255", "public"],
  ["100.64.0.0", "100.127.255.255", "private"],
  ["100.128.0.0", "126.255.255.255", "public"],
  ["127.0.0.0", "127.255.255.255", "loopback"],
  ["128.0.0.0", "169.253.255.255", "public"],
  ["169.254.0.0", "169.254.255.255", "link-local"],
  ["169.255.0.0", "172.15.255.255", "public"],
  ["172.16.0.0", "172.31.255.255", "private"],
  ["172.32.0.0", "191.255.255.255", "public"],
  ["192.0.0.0", "192.0.0.8", "reserved"],
  ["192.0.0.9", "192.0.0.10", "public"],
  ["192.0.0.11", "192.0.0.255", "reserved"],
  ["192.0.1.0", "192.0.1.255", "public"],
  ["192.0.2.0", "192.0.2.255", "reserved"],
  ["192.0.3.0", "192.88.98.255", "public"],
  ["192.31.196.0", "192.52.193.255", "public"],
  ["192.88.99.0", "192.88.99.255", "reserved"],
  ["192.88.100.0", "192.167.255.255", "public"],
  ["192.168.0.0", "192.168.255.255", "private"],
  ["192.169.0.0", "198.17.255.255", "public"],
  ["198.18.0.0", "198.19.255.255", "reserved"],
  ["198.20.0.0", "198.51.99.255", "public"],
  ["198.51.100.0", "198.51.100.255", "reserved"],
  ["198.51.101.0", "203.0.112.255", "public"],
  ["203.0.113.0", "203.0.113.255", "reserved"],
  ["203.0.114.0", "223.255.255.255", "public"],
  ["224.0.0.0", "239.255.255.255", "multicast"],
  ["240.0.0.0", "255.255.255.254", "reserved"],
  ["255.255.255.255", "255.255.255.255", "broadcast"],
];

/** The same for IPv6, without the blocks that carry IPv4 addresses. */
const BLOCKS6: [first: string, last: string, name: string][] = [
  ["::", "::", "unspecified"],
  ["::1", "::1", "loopback"],
  ["0:1::", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["100::", "100::ffff:ffff:ffff:ffff", "reserved"],
  ["100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", "reserved"],
  ["1fff::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "public"],
  ["2001:1::", "2001:1::", "reserved"],
  ["2001:1::1", "2001:1::3", "public"],
  ["2001:1::4", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff", "public"],
  ["2001:4:111:ffff::", "2001:4:111:ffff:ffff::", "reserved"],
  ["2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff", "public"],
  ["2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", "public"],
  ["2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff", "public"],
  ["2001:40::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "public"],
  ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["2001:db9::", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "public"],
  ["2003::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "public"],
  ["2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "public"],
  ["3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "public"],
  ["4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"],
  ["fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"],
  ["fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"],
  ["fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"],
  ["ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"],
];

Deno.test("each block of the registries has its class from its first to its last address", () => {
  for (const [first, last, name] of [...BLOCKS4, ...BLOCKS6]) {
    assertEquals(classOf(first), name, first);
    assertEquals(classOf(last), name, last);
  }
});

Deno.test("the metadata services of the clouds are known, their neighbours are not", () => {
  const services = {
    "169.254.169.254": "link-local",
    "169.254.170.2": "link-local",
    "169.254.170.23": "link-local",
    "169.254.42.42": "link-local",
    "169.254.0.23": "link-local",
    "169.254.10.10": "link-local",
    "100.100.100.200": "private",
    "168.63.129.16": "public",
    "fd00:42::42": "private",
    "fd00:100::100:200": "private",
    "fd00:a9fe:a9fe::1": "private",
    "fd00:c1::a9fe:a9fe": "private",
    "fd20:ce::254": "private",
    "fe80::a9fe:a9fe": "link-local",
  };
  for (const [text, around] of Object.entries(services)) {
    assertEquals(classOf(text), "metadata", text);
    for (const step of [1, 0xff]) {
      const neighbour = bytesOf(text);
      neighbour[neighbour.length - 1]! += step;
      assertEquals(ADDRESS_CLASS_NAMES[classify(neighbour)], around, formatIp(neighbour));
    }
  }
  for (const text of ["fd00:ec2::254", "fd00:ec2::23", "fd00:ec2::253"]) {
    assertEquals(classOf(text), "metadata");
  }
  assertEquals([classOf("fd00:ec1::254"), classOf("fd00:ec3::254")], ["private", "private"]);
});

const VECTORS: Record<string, string> = {
  "::127.0.0.1": "loopback",
  "::ffff:127.0.0.1": "loopback",
  "::ffff:0.0.0.0": "unspecified",
  "::ffff:169.254.169.254": "reserved",
  "::ffff:8.8.8.8": "reserved",
  "::ffff:0:127.0.0.1": "loopback",
  "::8.8.8.8": "reserved",
  "64:ff9b::8.8.8.8": "public",
  "64:ff9b::127.0.0.1": "loopback",
  "64:ff9b::10.1.2.3": "private",
  "64:ff9b::169.254.169.254": "metadata",
  "64:ff9b::1:0:0": "reserved",
  "64:ff9b:1::8.8.8.8": "reserved",
  "2002:808:808::1": "public",
  "2002:7f00:1::": "loopback",
  "2002:a9fe:a9fe::1": "metadata",
  "2002:c0a8:101::1": "private",
  "2002:0:1::8.8.8.8": "unspecified",
  "2001:0:808:808:0:0:f7f7:f7f7": "public",
  "2001:0:808:808:0:0:80ff:fffe": "loopback", // client 127.0.0.1, inverted
  "2001:0:7f00:1:0:0:f7f7:f7f7": "loopback", // server 127.0.0.1
  "2001:0:808:808:0:0:f5ff:fffe": "private", // client 10.0.0.1
};

Deno.test("a carried address is judged with what carries it", () => {
  for (const [text, name] of Object.entries(VECTORS)) assertEquals(classOf(text), name, text);
});

Deno.test("what is no address is a bug", () => {
  for (const length of [0, 3, 5, 15, 17]) {
    assertThrows(() => classify(new Uint8Array(length)), RangeError, "Cannot classify");
  }
});

const octets4 = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.constantFrom(...BLOCKS4.flatMap(([first, last]) => [first, last])).map(bytesOf),
);

function filled(prefix: string, at: number, content: Uint8Array): Uint8Array {
  const bytes = bytesOf(prefix);
  bytes.set(content, at);
  return bytes;
}

/** The forms that settle where the IPv4 address stands, `filler` where they leave octets free. */
function settled(octets: Uint8Array, filler: Uint8Array): Uint8Array[] {
  const sixToFour = filled("2002::", 2, octets);
  sixToFour.set(filler.subarray(6), 6);
  const teredoServer = filled("2001::", 4, octets);
  teredoServer.set(filler.subarray(8), 8);
  const teredoClient = filled("2001::", 12, octets.map((octet) => octet ^ 0xff));
  teredoClient.set(filler.subarray(4, 12), 4);
  return [
    filled("::", 12, octets),
    filled("::ffff:0:0", 12, octets),
    filled("::ffff:0:0:0", 12, octets),
    filled("64:ff9b::", 12, octets),
    sixToFour,
    teredoServer,
    teredoClient,
  ];
}

/** The local-use prefix with the IPv4 address in one of the places that an operator may choose. */
function localNat64(octets: Uint8Array, filler: Uint8Array): Uint8Array {
  const bytes = filled("64:ff9b:1::", 12, octets);
  bytes.set(filler.subarray(6, 12), 6);
  return bytes;
}

Deno.test("no embedding is judged less strictly than what it carries", () => {
  const filler = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(octets4, filler, (octets, filler) => {
      // From `reserved` up a class is refused at every level.
      const least = Math.min(classify(octets), AddressClass.reserved);
      for (const bytes of settled(octets, filler)) {
        assert(classify(bytes) >= least, `${formatIp(bytes)} carries ${formatIp(octets)}`);
        assert(embeddedIpv4(bytes).map(formatIp).includes(formatIp(octets)), formatIp(bytes));
      }
      assertEquals(classify(localNat64(octets, filler)), AddressClass.reserved);
    }),
    { numRuns: 500 },
  );
});

/** An oracle that shares nothing with the classifier: bits as text, prefixes as text. */
function bitsOf(address: Uint8Array): string {
  return Array.from(address, (octet) => octet.toString(2).padStart(8, "0")).join("");
}

const NAMED4: [prefix: string, bits: number, name: string][] = [
  ["168.63.129.16", 32, "metadata"],
  ["100.100.100.200", 32, "metadata"],
  ...["0.23", "10.10", "42.42", "169.254", "170.2", "170.23"].map((tail) =>
    [`169.254.${tail}`, 32, "metadata"] as [string, number, string]
  ),
  ["192.0.0.9", 32, "public"],
  ["192.0.0.10", 32, "public"],
  ["255.255.255.255", 32, "broadcast"],
  ["0.0.0.0", 8, "unspecified"],
  ["127.0.0.0", 8, "loopback"],
  ["10.0.0.0", 8, "private"],
  ["172.16.0.0", 12, "private"],
  ["192.168.0.0", 16, "private"],
  ["100.64.0.0", 10, "private"],
  ["169.254.0.0", 16, "link-local"],
  ["224.0.0.0", 4, "multicast"],
  ["240.0.0.0", 4, "reserved"],
  ["192.0.0.0", 24, "reserved"],
  ["192.0.2.0", 24, "reserved"],
  ["198.51.100.0", 24, "reserved"],
  ["203.0.113.0", 24, "reserved"],
  ["192.88.99.0", 24, "reserved"],
  ["198.18.0.0", 15, "reserved"],
];

function naiveClass4(address: Uint8Array): string {
  const bits = bitsOf(address);
  const found = NAMED4.find(([prefix, length]) =>
    bits.startsWith(bitsOf(bytesOf(prefix)).slice(0, length))
  );
  return found?.[2] ?? "public";
}

Deno.test("every IPv4 address has the class that a search by text finds", () => {
  const near = fc.tuple(
    fc.constantFrom(...NAMED4.map(([prefix]) => prefix)),
    fc.integer({ min: 0, max: 31 }),
  ).map(([prefix, bit]) => {
    const bytes = bytesOf(prefix);
    bytes[bit >> 3]! ^= 0x80 >> (bit & 7);
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(octets4, near), (octets) => {
      assertEquals(ADDRESS_CLASS_NAMES[classify(octets)], naiveClass4(octets), formatIp(octets));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("outside its tables an IPv6 address is public inside 2000::/3 and reserved elsewhere", () => {
  const special = ["2001", "2002", "3fff"];
  fc.assert(fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (octets) => {
    const text = formatIp(octets);
    const head = text.split(":")[0]!;
    const first = octets[0]!;
    if (special.includes(head) || first >= 0xfc || first === 0) return;
    const expected = (first & 0xe0) === 0x20 ? "public" : "reserved";
    assertEquals(classOf(text), expected, text);
  }));
});
