/** Own names that change while a gateway runs, each change in whole or not at all. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import type { DnsConfig } from "../../lib/config/options.ts";
import { RECORDS_MAX } from "../../lib/config/record_reader.ts";
import type { RecordSpec } from "../../lib/dns/record_spec.ts";
import { GuestNames, LOCAL_ZONES_MAX } from "../../lib/host/guest_names.ts";
import { parseIp } from "../../lib/wire/address.ts";

function namesOf(dns: DnsConfig = {}): GuestNames {
  const network = parseGuestNetwork({ ipv6: false });
  return new GuestNames({ network, dns, hostLoopback: false, hostServices: [] });
}

/** All names but the gateway's own, as `name type data`. */
function texts(names: GuestNames): string[] {
  return names.list().flatMap(({ name, records }) => {
    return records.map(({ type, data }) => `${name} ${type} ${data}`);
  }).filter((text) => !text.startsWith("gateway.internal "));
}

const addresses = (...list: string[]) => list.map((text) => parseIp(text)!);

function problem(change: () => unknown): [key: string, text: string] {
  const { problems: [first] } = assertThrows(change, ConfigError) as ConfigError;
  return [first!.key, first!.text];
}

Deno.test("a name's records take the place of those it had, in whatever spelling", () => {
  const names = namesOf({ records: { "DB.internal": ["10.0.0.5"] } });
  const before = names.current;
  const set = names.set("db.INTERNAL.", { a: "10.0.0.6", ttl: 5 });
  assertEquals(set, {
    name: "db.internal",
    records: [{ type: "A", data: "10.0.0.6", ttlSeconds: 5 }],
  });
  assert(names.current !== before);
  names.set("*.dev.internal", { cname: "db.internal" });
  assertEquals(texts(names), ["db.internal A 10.0.0.6", "*.dev.internal CNAME db.internal."]);
  assert(names.current.has("a.dev.internal") && names.current.has("6.0.0.10.in-addr.arpa"));
  assert(!names.current.has("5.0.0.10.in-addr.arpa"));
  assertEquals(names.remove("Db.internal"), set);
  assertEquals([names.remove("db.internal"), names.remove("a b")], [null, null]);
  assert(!names.current.has("db.internal") && !names.current.has("6.0.0.10.in-addr.arpa"));
});

Deno.test("the gateway's own name can be given other records, and never be taken away", () => {
  const names = namesOf();
  const builtIn = names.list();
  assertEquals(names.remove("gateway.internal"), null);
  names.set("gateway.internal", ["10.0.0.9"]);
  assertEquals(names.list()[0]!.records[0]!.data, "10.0.0.9");
  names.remove("gateway.internal");
  assertEquals(names.list(), builtIn);
});

Deno.test("what is wrong changes nothing, and is said with its place", () => {
  const names = namesOf({ records: { "db.internal": ["10.0.0.5"] } });
  const before = names.current;
  const bad: [name: string, spec: unknown, key: string, text: string][] = [
    [
      "a b",
      [],
      "name",
      '"a b" is no host name; try "db.internal", or "*.internal" for all below it',
    ],
    [
      "a.*.b",
      [],
      "name",
      '"a.*.b" is no host name; try "db.internal", or "*.internal" for all ' +
      "below it",
    ],
    [
      "a.test",
      ["10.0.0"],
      "records",
      '"10.0.0" is no address; other records go into a mapping, ' +
      "as in { cname: … }",
    ],
    [
      "a.test",
      null,
      "records",
      "null is no list of addresses and no mapping of a, aaaa, cname, " +
      "ptr, txt, srv, ttl",
    ],
    ["a.test", { a: "::1" }, "records.a", '"::1" is no IPv4 address; it goes under aaaa'],
  ];
  for (const [name, spec, key, text] of bad) {
    assertEquals(problem(() => names.set(name, spec as RecordSpec)), [key, text]);
  }
  assertEquals(names.current, before);
  assertEquals(texts(names), ["db.internal A 10.0.0.5"]);
});

Deno.test("so many names have records, and no more", () => {
  const records = Object.fromEntries(
    Array.from({ length: RECORDS_MAX }, (_, i) => [`n${i}.test`, ["10.0.0.1"]]),
  );
  const names = namesOf({ records });
  const text = `${RECORDS_MAX + 1} names have records, at most ${RECORDS_MAX} can`;
  assertEquals(problem(() => names.set("one.more", [])), ["records", text]);
  const more = new Map([["one.more", addresses("10.0.0.2")]]);
  assertEquals(problem(() => names.addZone("more", more, [])), ["records", text]);
  assertEquals(names.localZones, [], "in whole or not at all");
  names.set("n7.test", ["10.0.0.9"]);
  names.remove("n8.test");
  names.addZone("more", more, []);
  assert(names.current.has("one.more"));
});

Deno.test("a zone is local from then on, and its records stand in front of those of before", () => {
  const names = namesOf({
    records: {
      "db.a.test": { a: ["10.0.0.1", "10.0.0.2"], aaaa: "fd00::1", txt: "kept" },
      "www.a.test": { cname: "db.a.test" },
      "*.a.test": ["10.0.0.3"],
    },
  });
  names.addZone(
    "A.test.",
    new Map([
      ["db.a.test", addresses("10.0.0.7")],
      ["www.a.test", addresses("10.0.0.8")],
      ["x.y.a.test", addresses("fd00::2")],
    ]),
    [],
  );
  assertEquals(names.localZones, ["a.test"]);
  assertEquals(texts(names), [
    "db.a.test A 10.0.0.7",
    "db.a.test AAAA fd00::1",
    'db.a.test TXT "kept"',
    "www.a.test A 10.0.0.8",
    "x.y.a.test AAAA fd00::2",
  ]);
  names.addZone("a.test", new Map(), addresses("10.0.0.9"));
  assertEquals(names.localZones, ["a.test"]);
  assertEquals(texts(names).at(-1), "*.a.test A 10.0.0.9");
});

Deno.test("a zone that has upstreams, or has one below it, is not taken from them", () => {
  const names = namesOf({ zones: { "corp.test": ["192.0.2.53"], "x.local.test": "local" } });
  const text = "corp.test has upstreams of its own, which would not be asked any more";
  for (const zone of ["corp.test", "CORP.test.", "test"]) {
    assertEquals(problem(() => names.addZone(zone, new Map(), [])), ["zone", text]);
  }
  names.addZone("db.corp.test", new Map(), []);
  names.addZone("notcorp.test", new Map(), []);
  assertEquals(names.localZones, ["x.local.test", "db.corp.test", "notcorp.test"]);
});

Deno.test("zones are bounded, in number and in what a name has room for", () => {
  const names = namesOf();
  for (let i = 0; i < LOCAL_ZONES_MAX; i++) names.addZone(`z${i}.test`, new Map(), []);
  assertEquals(problem(() => names.addZone("one.more", new Map(), [])), [
    "zone",
    `${LOCAL_ZONES_MAX + 1} zones are local, at most ${LOCAL_ZONES_MAX} can be`,
  ]);
  names.addZone("z7.test", new Map([["a.z7.test", addresses("10.0.0.1")]]), []);
  assert(names.current.has("a.z7.test"));
  const long = Array.from({ length: 126 }, () => "a").join(".") + ".b";
  assertEquals(problem(() => names.addZone(long, new Map(), []))[0], "zone");
  assertEquals(problem(() => names.addZone("a b", new Map(), [])), [
    "zone",
    '"a b" is no host name; try "dev.internal"',
  ]);
  const big = namesOf({ records: { "a.test": { txt: "x".repeat(29_860) } } });
  const more = new Map([["a.test", addresses("fd00::1", "10.0.0.1")]]);
  assertEquals(problem(() => big.addZone("test", more, [])), [
    "zone",
    "the records of a.test do not fit an answer",
  ]);
});

Deno.test("the guests of a shared network have names, which records of the same name replace", () => {
  const members = [
    { name: "web", mac: "02:53:4d:01:00:02", ip4: "10.77.0.2", ip6: "fd53:4d01::2" },
    { name: "db", mac: "02:53:4d:01:00:03", ip4: "10.77.0.3", ip6: "fd53:4d01::3" },
  ];
  const made = (ipv6: boolean) =>
    new GuestNames({
      network: parseGuestNetwork({ ipv6 }),
      dns: { records: { "db.internal": ["10.0.0.5"] } },
      hostLoopback: false,
      hostServices: [],
      members,
    });
  assertEquals(texts(made(true)), [
    "web.internal A 10.77.0.2",
    "web.internal AAAA fd53:4d01::2",
    "db.internal A 10.0.0.5",
  ]);
  const names = made(false);
  assertEquals(texts(names), ["web.internal A 10.77.0.2", "db.internal A 10.0.0.5"]);
  assert(names.current.has("2.0.77.10.in-addr.arpa"));
  names.remove("db.internal");
  assertEquals(texts(names), ["web.internal A 10.77.0.2", "db.internal A 10.77.0.3"]);
});
