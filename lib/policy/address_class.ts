/**
 * What an address is, decided on its bytes: the fence between a guest and what it must not reach.
 *
 * The tables follow IANA's registries of special-purpose addresses (RFC 6890) for IPv4 and IPv6,
 * and the IPv6 address space registry: outside 2000::/3 nothing is global unicast. What the
 * registries do not mark as globally reachable, and what is no class of its own, is `reserved`:
 * documentation, benchmarking, discard-only and protocol assignments. Nobody serves there, so a
 * packet that goes there leaks to whoever happens to route it. The longest prefix decides.
 *
 * Addresses that carry an IPv4 address are as strict as the stricter of wrapper and content:
 *
 *     ::a.b.c.d, ::ffff:a.b.c.d   reserved: neither is a destination on a wire (RFC 4291 2.5.5)
 *     64:ff9b::a.b.c.d            the content's: a translator leads there (RFC 6052)
 *     64:ff9b:1::/48              reserved: the content's place is the operator's choice (RFC 8215)
 *     2002:AABB:CCDD::/48         the content's: the end of a 6to4 tunnel (RFC 3056)
 *     2001:0:server:…:~client     both contents': the ends of a Teredo tunnel (RFC 4380)
 *
 * Does not know an operator's own NAT64 prefix, nor which addresses are the host's: who asks does.
 *
 * @module
 */
import { parseIp } from "../wire/address.ts";

/** The classes, from the least to the most strictly judged. */
export const AddressClass = {
  /** Globally reachable. */
  public: 0,
  /** RFC 1918, shared (CGNAT), unique-local, site-local. */
  private: 1,
  /** 169.254.0.0/16, fe80::/10. */
  linkLocal: 2,
  /** Where clouds hand out an instance's credentials. */
  metadata: 3,
  /** Not for use, or not globally reachable and no other class. */
  reserved: 4,
  /** 255.255.255.255. */
  broadcast: 5,
  /** 224.0.0.0/4, ff00::/8. */
  multicast: 6,
  /** 0.0.0.0/8, `::`: leads to the host itself on many systems. */
  unspecified: 7,
  /** 127.0.0.0/8, `::1`. */
  loopback: 8,
} as const;
/** One of `AddressClass`. */
export type AddressClass = typeof AddressClass[keyof typeof AddressClass];

/** Each class as messages name it. */
export const ADDRESS_CLASS_NAMES: readonly string[] = [
  "public",
  "private",
  "link-local",
  "metadata",
  "reserved",
  "broadcast",
  "multicast",
  "unspecified",
  "loopback",
];

const { broadcast, linkLocal, loopback, metadata, multicast, reserved, unspecified } = AddressClass;
const global = AddressClass.public;
const local = AddressClass.private;

type PrefixList = readonly (readonly [prefix: string, addressClass: AddressClass])[];

const IPV4: PrefixList = [
  ["0.0.0.0/0", global],
  ["0.0.0.0/8", unspecified],
  ["10.0.0.0/8", local],
  ["100.64.0.0/10", local],
  ["100.100.100.200/32", metadata], // Alibaba Cloud
  ["127.0.0.0/8", loopback],
  ["168.63.129.16/32", metadata], // Azure's WireServer, a public address that only its hosts answer
  ["169.254.0.0/16", linkLocal],
  ["169.254.0.23/32", metadata], // Tencent Cloud
  ["169.254.10.10/32", metadata], // Tencent Cloud
  ["169.254.42.42/32", metadata], // Scaleway
  ["169.254.169.254/32", metadata], // AWS, Azure, Google, Oracle, OpenStack and most others
  ["169.254.170.2/32", metadata], // AWS ECS task credentials
  ["169.254.170.23/32", metadata], // AWS EKS pod identity
  ["172.16.0.0/12", local],
  ["192.0.0.0/24", reserved], // protocol assignments
  ["192.0.0.9/32", global], // port control anycast (RFC 7723)
  ["192.0.0.10/32", global], // TURN anycast (RFC 8155)
  ["192.0.2.0/24", reserved], // documentation
  ["192.88.99.0/24", reserved], // 6to4 relay anycast, withdrawn (RFC 7526)
  ["192.168.0.0/16", local],
  ["198.18.0.0/15", reserved], // benchmarking
  ["198.51.100.0/24", reserved], // documentation
  ["203.0.113.0/24", reserved], // documentation
  ["224.0.0.0/4", multicast],
  ["240.0.0.0/4", reserved],
  ["255.255.255.255/32", broadcast],
];

const IPV6: PrefixList = [
  ["::/0", reserved], // not allocated, and ::/8 with its mapped, compatible and translated forms
  ["::/128", unspecified],
  ["::1/128", loopback],
  ["64:ff9b::/96", global], // NAT64: the content decides
  ["2000::/3", global],
  ["2001::/23", reserved], // protocol assignments
  ["2001::/32", global], // Teredo: the contents decide
  ["2001:1::1/128", global], // port control anycast (RFC 7723)
  ["2001:1::2/128", global], // TURN anycast (RFC 8155)
  ["2001:1::3/128", global], // service registration anycast (RFC 9665)
  ["2001:3::/32", global], // multicast tunnels (RFC 7450)
  ["2001:4:112::/48", global], // AS112 (RFC 7535)
  ["2001:20::/28", global], // ORCHIDv2 (RFC 7343)
  ["2001:30::/28", global], // drone identities (RFC 9374)
  ["2001:db8::/32", reserved], // documentation
  ["3fff::/20", reserved], // documentation (RFC 9637)
  ["fc00::/7", local],
  ["fd00:42::42/128", metadata], // Scaleway
  ["fd00:100::100:200/128", metadata], // Alibaba Cloud
  ["fd00:a9fe:a9fe::1/128", metadata], // Akamai
  ["fd00:c1::a9fe:a9fe/128", metadata], // Oracle Cloud
  ["fd00:ec2::/32", metadata], // AWS: ::254 and ::23, and the block that it keeps for the like
  ["fd20:ce::254/128", metadata], // Google Cloud
  ["fe80::/10", linkLocal],
  ["fe80::a9fe:a9fe/128", metadata], // OpenStack
  ["fec0::/10", local], // site-local (RFC 3879)
  ["ff00::/8", multicast],
];

interface Prefix {
  readonly bytes: Uint8Array;
  readonly bits: number;
}

interface ClassedPrefix extends Prefix {
  readonly addressClass: AddressClass;
}

const PREFIXES4 = compile(IPV4);
const PREFIXES6 = compile(IPV6);

/** Where an IPv4 address stands inside an IPv6 address, and what its octets are xor-ed with. */
const EMBEDDINGS = ([
  ["::/96", 12, 0], // compatible
  ["::ffff:0:0/96", 12, 0], // mapped
  ["::ffff:0:0:0/96", 12, 0], // translated (RFC 2765)
  ["64:ff9b::/96", 12, 0], // NAT64
  ["2002::/16", 2, 0], // 6to4
  ["2001::/32", 4, 0], // Teredo's server
  ["2001::/32", 12, 0xff], // Teredo's client
] as const).map(([text, at, mask]) => ({ prefix: readPrefix(text), at, mask }));

/**
 * The class of an address.
 *
 * @param address 4 or 16 octets.
 * @returns Its class; that of the strictest part where addresses are embedded.
 */
export function classify(address: Uint8Array): AddressClass {
  if (address.length === 4) return lookUp(PREFIXES4, address);
  if (address.length !== 16) {
    throw new RangeError(`Cannot classify ${address.length} octets: not an address`);
  }
  let addressClass = lookUp(PREFIXES6, address);
  for (const embedded of embeddedIpv4(address)) {
    const content = lookUp(PREFIXES4, embedded);
    if (content > addressClass) addressClass = content;
  }
  return addressClass;
}

/**
 * The IPv4 addresses that an IPv6 address carries in a place that its prefix settles.
 *
 * @param address 16 octets.
 * @returns None, one, or two for Teredo: server and client.
 */
export function embeddedIpv4(address: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (const { prefix, at, mask } of EMBEDDINGS) {
    if (!contains(prefix, address)) continue;
    found.push(address.slice(at, at + 4).map((octet) => octet ^ mask));
  }
  return found;
}

/** Reads a list, longest prefixes first. */
/**
 * Where classes begin, of IPv4 or of IPv6: the first addresses of all stretches in each of which every
 * address has the same class, as far as none carries another.
 */
export function classEdges(length: 4 | 16): Uint8Array[] {
  const prefixes = length === 4 ? PREFIXES4 : PREFIXES6;
  return prefixes.flatMap(({ bytes, bits }) => prefixEdges(bytes, bits));
}

/** A prefix's first address, and the first one behind it where there is one. */
export function prefixEdges(bytes: Uint8Array, bits: number): Uint8Array[] {
  const behind = bytes.slice();
  for (let at = bits - 1; at >= 0; at--) {
    const bit = 0x80 >> (at & 7);
    const octet = behind[at >> 3]!;
    behind[at >> 3] = octet ^ bit;
    if ((octet & bit) === 0) return [bytes, behind];
  }
  return [bytes];
}

function compile(list: PrefixList): ClassedPrefix[] {
  const prefixes = list.map(([text, addressClass]) => ({ ...readPrefix(text), addressClass }));
  return prefixes.sort((a, b) => b.bits - a.bits);
}

function readPrefix(text: string): Prefix {
  const [address, bits] = text.split("/") as [string, string];
  const bytes = parseIp(address);
  if (bytes === null) throw new Error(`Cannot read the prefix ${text}`);
  return { bytes, bits: Number(bits) };
}

function lookUp(prefixes: readonly ClassedPrefix[], address: Uint8Array): AddressClass {
  for (const prefix of prefixes) if (contains(prefix, address)) return prefix.addressClass;
  return reserved;
}

function contains({ bytes, bits }: Prefix, address: Uint8Array): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (bytes[i] !== address[i]) return false;
  const rest = bits & 7;
  return rest === 0 || ((bytes[whole]! ^ address[whole]!) >> (8 - rest)) === 0;
}
