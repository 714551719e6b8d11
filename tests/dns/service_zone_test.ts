/** Names of services: what is answered, and which places they stand for. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { OwnNames } from "../../lib/dns/own_names.ts";
import { parseRecordSpec, type RecordSpec } from "../../lib/dns/record_spec.ts";
import {
  formatServices,
  type ServiceEntry,
  SERVICES_MAX,
  ServiceZone,
} from "../../lib/dns/service_zone.ts";
import { parseIp } from "../../lib/wire/address.ts";
import { questionOf } from "./messages.ts";
import { ask, decode } from "./vectors.ts";

const ZONE = "fleet.internal";
const TEXT = [
  "web.db tcp 8080 - 10.0.0.5 fd00::5",
  "dns.db udp 53 - 10.0.0.5",
  "dns.db tcp 5353 - 10.0.0.5",
  "metrics.app tcp 9100 here 10.0.0.6",
  "raw.udp udp 7 - 10.0.0.7",
  "",
].join("\n");

const zone = new ServiceZone(ZONE, TEXT);

function namesWith(specs: Readonly<Record<string, RecordSpec>> = {}): OwnNames {
  const records = Object.entries(specs).map(([name, spec]) => {
    const parsed = parseRecordSpec(name, spec);
    assert(typeof parsed !== "string", String(parsed));
    return [name, parsed] as const;
  });
  return new OwnNames({ records: new Map(records), zones: [], services: () => zone });
}

/** The code, type and data of what is answered; SOA for what the authority section has. */
function said(name: string, type = "A", names = namesWith()): string[] | null {
  const message = ask(name, { type });
  const answer = names.answer(message, questionOf(message));
  if (answer === null) return null;
  const { rcode, answers, authorities } = decode(answer);
  // deno-lint-ignore no-explicit-any -- the package comes without types
  const text = ({ type, ttl, data }: any) =>
    type === "SOA"
      ? `SOA ${ttl} ${data.minimum}`
      : type === "SRV"
      ? `${ttl} SRV ${data.priority} ${data.weight} ${data.port} ${data.target}`
      : `${ttl} ${type} ${data}`;
  return [rcode, ...answers.map(text), ...authorities.map(text)];
}

Deno.test("a service's name has its addresses and its port, for a second", () => {
  assertEquals(said("web.db.fleet.internal"), ["NOERROR", "1 A 10.0.0.5"]);
  assertEquals(said("WEB.db.Fleet.internal", "AAAA"), ["NOERROR", "1 AAAA fd00::5"]);
  const srv = "1 SRV 0 0 8080 web.db.fleet.internal";
  assertEquals(said("web.db.fleet.internal", "SRV"), ["NOERROR", srv]);
  assertEquals(said("_web._tcp.db.fleet.internal", "SRV"), ["NOERROR", srv]);
  assertEquals(said("metrics.app.fleet.internal", "AAAA"), ["NOERROR", "SOA 1 1"]);
});

Deno.test("a name with a service of each protocol says both, and each by its own name", () => {
  const [udp, tcp] = [53, 5353].map((port) => `1 SRV 0 0 ${port} dns.db.fleet.internal`);
  assertEquals(said("dns.db.fleet.internal", "SRV"), ["NOERROR", udp!, tcp!]);
  assertEquals(said("_dns._udp.db.fleet.internal", "SRV"), ["NOERROR", udp!]);
  assertEquals(said("_dns._tcp.db.fleet.internal", "SRV"), ["NOERROR", tcp!]);
});

Deno.test("what has no service does not exist, and what stands above one is empty", () => {
  for (
    const name of [
      "no.db",
      "web.no",
      "no",
      "a.web.db",
      "_web._udp.db.x",
      "_tcp.app.x",
      "_udp.app",
      "_web._tcp.app",
      "_raw._tcp.udp",
      "web._tcp.db",
      "_x.db",
      "_tcp",
    ]
  ) assertEquals(said(`${name}.fleet.internal`), ["NXDOMAIN", "SOA 1 1"], name);
  for (const name of ["db", "app", "_tcp.db", "_udp.db", "_udp.udp"]) {
    assertEquals(said(`${name}.fleet.internal`), ["NOERROR", "SOA 1 1"], name);
  }
  assertEquals(said("fleet.internal", "SOA"), ["NOERROR", "SOA 1 1"]);
  assertEquals(said("fleet.internal"), ["NOERROR", "SOA 1 1"]);
  assertEquals(said("7.0.0.10.in-addr.arpa", "PTR"), null);
  assertEquals([said("internal"), said("xfleet.internal")], [null, null]);
});

Deno.test("the operator's own records stand above the services, and aliases lead to them", () => {
  const names = namesWith({
    "web.db.fleet.internal": ["10.9.9.9"],
    "below.metrics.app.fleet.internal": ["10.9.9.8"],
    "db.corp": { cname: "metrics.app.fleet.internal" },
    "gone.corp": { cname: "no.db.fleet.internal" },
  });
  assertEquals(said("web.db.fleet.internal", "A", names), ["NOERROR", "60 A 10.9.9.9"]);
  assertEquals(said("metrics.app.fleet.internal", "A", names), ["NOERROR", "1 A 10.0.0.6"]);
  const alias = "60 CNAME metrics.app.fleet.internal";
  assertEquals(said("db.corp", "A", names), ["NOERROR", alias, "1 A 10.0.0.6"]);
  assertEquals(said("gone.corp", "A", names)?.[0], "NXDOMAIN");
  const part = (name: string) => names.servicePart(questionOf(ask(name)));
  assertEquals(part("metrics.app.fleet.internal"), "all");
  assertEquals(part("no.app.fleet.internal"), "all");
  assertEquals(part("web.db.fleet.internal"), "none");
  assertEquals(part("db.corp"), "end");
  assertEquals(part("example.com"), "none");
});

Deno.test("a name stands for its places, and for nothing else at its addresses", () => {
  const at = (address: string, port: number, protocol: string) =>
    zone.names(parseIp(address)!, port, protocol);
  assertEquals(at("10.0.0.5", 8080, "tcp"), ["web.db.fleet.internal"]);
  assertEquals(at("fd00::5", 8080, "tcp"), ["web.db.fleet.internal"]);
  assertEquals(at("10.0.0.5", 8080, "udp"), []);
  assertEquals(at("10.0.0.5", 8080, "icmp"), []);
  assertEquals(at("10.0.0.5", 22, "tcp"), []);
  assertEquals(zone.isHere(parseIp("10.0.0.6")!, 9100, "tcp"), true);
  assertEquals(zone.isHere(parseIp("10.0.0.5")!, 8080, "tcp"), false);
  assertEquals(zone.addresses("web.db.fleet.internal"), [
    parseIp("10.0.0.5")!,
    parseIp("fd00::5")!,
  ]);
  assertEquals(zone.addresses("web.db.example"), []);
});

Deno.test("services go into a text and come out of it; what is none is refused", () => {
  const entries: ServiceEntry[] = [
    { service: "a", guest: "b", protocol: "tcp", port: 1, isHere: true, addresses: ["10.0.0.1"] },
    { service: "a", guest: "b", protocol: "udp", port: 2, isHere: false, addresses: ["fd00::1"] },
  ];
  assertEquals(formatServices(entries), "a.b tcp 1 here 10.0.0.1\na.b udp 2 - fd00::1\n");
  assertEquals(new ServiceZone(ZONE, formatServices(entries)).size, 1);
  assertEquals(new ServiceZone(ZONE, "").find("a.fleet.internal").exists, false);
  for (
    const line of [
      "a.b tcp 1 - 10.0.0.1",
      "a tcp 1 - 10.0.0.1\n",
      "a.b.c tcp 1 - 10.0.0.1\n",
      "A.b tcp 1 - 10.0.0.1\n",
      "a.b icmp 1 - 10.0.0.1\n",
      "a.b tcp 0 - 10.0.0.1\n",
      "a.b tcp 65536 - 10.0.0.1\n",
      "a.b tcp 1.5 - 10.0.0.1\n",
      "a.b tcp 1 no 10.0.0.1\n",
      "a.b tcp 1 -\n",
      "a.b tcp 01 - 10.0.0.1\n",
      "a.b tcp 1 - host\n",
      "a.b tcp 1 - 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5\n",
      "a.b tcp 1 - 10.0.0.1\na.b tcp 2 - 10.0.0.1\n",
      "\n",
    ]
  ) assertThrows(() => new ServiceZone(ZONE, line), RangeError, "Cannot", JSON.stringify(line));
  assertThrows(() => new ServiceZone("a b", ""), RangeError, "a b");
  const many = Array.from({ length: SERVICES_MAX + 1 }, (_, i) => `s${i}.g tcp 1 - 10.0.0.1\n`);
  assertThrows(() => new ServiceZone(ZONE, many.join("")), RangeError, "at most");
  assertEquals(new ServiceZone(ZONE, many.slice(1).join("")).size, SERVICES_MAX);
});
