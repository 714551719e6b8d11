/**
 * Rules and queries out of a small world, so that they meet: few prefixes that lie in each other, few
 * names that lie below each other, few ports.
 *
 * @module
 */
import fc from "fast-check";
import { normalizeName } from "../../lib/dns/name.ts";
import { classify } from "../../lib/policy/address_class.ts";
import { parseRule, type Rule } from "../../lib/policy/rule.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { bytesOf, type Query } from "./rules.ts";

const ADDRESSES = [
  "10.0.0.1",
  "10.0.0.255",
  "10.127.3.4",
  "192.168.1.1",
  "8.8.8.8",
  "127.0.0.1",
  "169.254.169.254",
  "0.0.0.0",
  "fd00::1",
  "fd00::1:0:0",
  "2606:4700::1111",
  "64:ff9b::a00:1",
  "2002:a00:1::1",
  "2001:0:808:808::f5ff:fffe",
  "::ffff:10.0.0.1",
  "::1",
];

/** An address of the world, perhaps with a bit turned over. */
export const addresses: fc.Arbitrary<Uint8Array> = fc.tuple(
  fc.constantFrom(...ADDRESSES),
  fc.option(fc.nat(127), { freq: 2 }),
).map(([text, bit]) => {
  const bytes = bytesOf(text);
  if (bit !== null) bytes[(bit >> 3) % bytes.length]! ^= 0x80 >> (bit & 7);
  return bytes;
});

const prefixTexts: fc.Arbitrary<string> = fc.tuple(addresses, fc.nat(128), fc.boolean()).map(
  ([address, length, whole]) => {
    const bits = whole ? address.length * 8 : length % (address.length * 8 + 1);
    const base = address.map((octet, i) =>
      octet & (0xff00 >> Math.min(8, Math.max(0, bits - i * 8)))
    );
    return `${formatIp(base)}/${bits}`;
  },
);

const labels = fc.constantFrom("a", "b", "xn--bcher-kva", "public", "c_d");
const names: fc.Arbitrary<string> = fc.array(labels, { minLength: 1, maxLength: 4 })
  .map((list) => list.join("."));
const nameTexts: fc.Arbitrary<string> = fc.tuple(names, fc.constantFrom("", "*."))
  .map(([name, star]) => `${star}${name}.`);

/** Ports of the world. */
export const ports = fc.constantFrom(1, 22, 79, 80, 81, 442, 443, 444, 8000, 65_535);
const portTexts: fc.Arbitrary<string> = fc.array(
  fc.tuple(ports, ports).map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`),
  { minLength: 1, maxLength: 4 },
).map((list) => list.join(","));

/** Texts, most of which are rules. */
export const ruleTexts: fc.Arbitrary<string> = fc.tuple(
  fc.oneof(
    prefixTexts,
    nameTexts,
    fc.constantFrom("public", "private", "host", "loopback", "metadata"),
  ),
  fc.option(portTexts, { freq: 2 }),
  fc.option(fc.constantFrom("tcp", "udp", "icmp", "tls", "http"), { freq: 2 }),
).map(([target, ports, protocol]) => {
  const head = ports !== null && target.includes(":") ? `[${target}]` : target;
  return `${head}${ports === null ? "" : `:${ports}`}${protocol === null ? "" : `/${protocol}`}`;
});

/** Rules in order. */
export const ruleLists: fc.Arbitrary<Rule[]> = fc.array(
  fc.tuple(ruleTexts, fc.constantFrom("allow", "deny")),
  { maxLength: 30 },
).map((list) =>
  list.flatMap(([text, action], i): Rule[] => {
    const body = parseRule(text, action);
    return typeof body === "string" ? [] : [{ ...body, action, origin: `rule ${i + 1}` }];
  })
);

/** Names as they come out of messages: some with a dot inside a label. */
export const queryNames: fc.Arbitrary<string> = fc.oneof(
  names.map((name) => normalizeName(name)!),
  fc.tuple(names, names).map(([front, back]) => `${front}\\.${back}`),
);

/** Queries of every kind. */
export const queries: fc.Arbitrary<Query> = fc.record({
  verb: fc.constantFrom("tcp", "udp", "icmp", "any", "lookup", "tls", "http"),
  port: ports,
  isHost: fc.boolean(),
  address: addresses,
  toAddress: fc.boolean(),
  name: queryNames,
}).map(({ verb, port, isHost, address, toAddress, name }): Query => {
  const hasAddress = verb === "any" || (toAddress && ["tcp", "udp", "icmp"].includes(verb));
  return {
    verb,
    port: verb === "icmp" ? 0 : port,
    isHost,
    address: hasAddress ? address : null,
    addressClass: hasAddress ? classify(address) : 0,
    name: hasAddress ? "" : name,
  };
});
