/**
 * What rules say of a flow, with 10 rules and with 10,000: prefixes, names, classes, and ports of one
 * target.
 *
 *     deno task microbench
 */
import { AddressClass } from "../lib/policy/address_class.ts";
import { parseRule, type Rule } from "../lib/policy/rule.ts";
import { type AddressQuery, RuleSet } from "../lib/policy/rule_set.ts";
import { parseIp } from "../lib/wire/address.ts";

/** Rules of every kind in turn; the first ten are in every set, and are what is looked up. */
function rulesOf(count: number): Rule[] {
  return Array.from({ length: count }, (_, i) => {
    const [action, text] = ([
      ["allow", `10.${i >> 8}.${i & 255}.0/24:443`],
      ["allow", `*.n${i}.example`],
      ["deny", `[fd00:${i.toString(16)}::/32]:${1 + i}`],
      ["allow", `host${i}.n1.example:22`],
      ["allow", i < 5 ? "public:443/tcp" : `192.0.2.1:${i}`],
    ] as const)[i % 5]!;
    const body = parseRule(text, action);
    if (typeof body === "string") throw new Error(body);
    return { ...body, action, origin: "bench" };
  });
}

function query(text: string, port: number, addressClass: AddressClass): AddressQuery {
  const address = parseIp(text)!;
  return { address, addressClass, port, protocol: "tcp", isHost: () => false };
}

const local = query("10.0.5.7", 443, AddressClass.private);
const local6 = query("fd00:2::1", 3, AddressClass.private);
const open = query("1.1.1.1", 443, AddressClass.public);
const missed = query("172.16.0.1", 443, AddressClass.private);
const ported = query("192.0.2.1", 9, AddressClass.reserved);

for (const count of [10, 10_000]) {
  const rules = rulesOf(count);
  const set = new RuleSet(rules);
  const baseline = count === 10;
  const with_ = `${count.toLocaleString("en")} rules`;
  Deno.bench(`compile ${with_}`, { group: "compile", baseline }, () => {
    new RuleSet(rules);
  });
  Deno.bench(`IPv4 prefix, ${with_}`, { group: "IPv4 prefix", baseline }, () => {
    set.address("allow", local);
  });
  Deno.bench(`IPv6 prefix, ${with_}`, { group: "IPv6 prefix", baseline }, () => {
    set.address("deny", local6);
  });
  Deno.bench(`port of one target, ${with_}`, { group: "port", baseline }, () => {
    set.address("allow", ported);
  });
  Deno.bench(`class, ${with_}`, { group: "class", baseline }, () => {
    set.address("allow", open);
  });
  Deno.bench(`no rule, ${with_}`, { group: "no rule", baseline }, () => {
    set.address("deny", missed);
  });
  Deno.bench(`name, ${with_}`, { group: "name", baseline }, () => {
    set.name("allow", "host3.n1.example", 22, "tcp");
  });
  Deno.bench(`below a wildcard, ${with_}`, { group: "wildcard", baseline }, () => {
    set.name("allow", "a.b.c.n6.example", 443, "tcp");
  });
  Deno.bench(`look-up of no name, ${with_}`, { group: "no name", baseline }, () => {
    set.lookup("allow", "www.other.example");
  });
}
