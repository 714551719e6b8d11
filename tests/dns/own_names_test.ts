import { assert, assertEquals, assertThrows } from "@std/assert";
import { addressRecords, OWN_TTL_SECONDS, type OwnRecords } from "../../lib/dns/own_record.ts";
import { OwnNames, reverseName } from "../../lib/dns/own_names.ts";
import { parseRecordSpec, type RecordSpec } from "../../lib/dns/record_spec.ts";
import { parseIp } from "../../lib/wire/address.ts";
import { questionOf } from "./messages.ts";
import { ask, decode } from "./vectors.ts";

/** Own names of specs as a configuration has them. */
function ownNames(specs: Readonly<Record<string, RecordSpec>>, zones: string[] = []): OwnNames {
  const records = Object.entries(specs).map(([name, spec]): [string, OwnRecords] => {
    const parsed = parseRecordSpec(name, spec);
    assert(typeof parsed !== "string", String(parsed));
    return [name, parsed];
  });
  return new OwnNames({ records: new Map(records), zones });
}

const own = ownNames({
  "gateway.internal": ["100.96.0.1", "fd53:4d00::1"],
  "Host.Internal.": ["100.96.0.1"],
  "db.example": ["10.0.0.5", "10.0.0.6"],
});

const zoned = ownNames({
  "web.corp": { a: "10.0.0.1", txt: "hello", ttl: 300 },
  "www.corp": { cname: "web.corp" },
  "www2.corp": { cname: "www.corp", ttl: 5 },
  "out.corp": { cname: "Target.Example.net" },
  "gone.corp": { cname: "missing.corp" },
  "loop.corp": { cname: "pool.corp" },
  "pool.corp": { cname: "loop.corp" },
  "deep.down.corp": { a: ["10.0.0.2"] },
  "*.dev.corp": { a: "10.0.0.3", txt: ["wild"] },
  "api.dev.corp": { a: "10.0.0.4" },
  "deep.down.dev.corp": { a: "10.0.0.7" },
  "_sip._tcp.corp": { srv: ["10 5 5060 web.corp", "20 0 5061 ."] },
  "empty.corp": [],
  "4.0.0.10.in-addr.arpa": { ptr: ["chosen.corp", "other.corp"] },
  "*.ali.as": { cname: "web.corp" },
  "corp": { txt: "apex" },
}, ["corp", "0.10.in-addr.arpa"]);

function answer(message: Uint8Array, names = own): Uint8Array | null {
  return names.answer(message, questionOf(message));
}

/** The code, owner, type and data of what is answered, and of what the authority section has. */
function said(name: string, type = "A"): string[] | null {
  const message = answer(ask(name, { type }), zoned);
  if (message === null) return null;
  const { rcode, answers, authorities } = decode(message);
  // deno-lint-ignore no-explicit-any -- the package comes without types
  const text = ({ name, type, ttl, data }: any) =>
    type === "SOA"
      ? `SOA ${name} ${ttl} ${data.minimum}`
      : `${name} ${ttl} ${type} ${
        typeof data === "string" || Array.isArray(data) ? data : Object.values(data)
      }`;
  return [rcode, ...answers.map(text), ...authorities.map(text)];
}

function data(name: string, type: string): string[] {
  // deno-lint-ignore no-explicit-any -- the package comes without types
  return decode(answer(ask(name, { type }))!).answers.map((record: any) => record.data);
}

Deno.test("OwnNames answers A and AAAA, in the question's own spelling", () => {
  const decoded = decode(answer(ask("GateWay.internal"))!);
  assertEquals([decoded.id, decoded.type, decoded.rcode], [0x1234, "response", "NOERROR"]);
  assertEquals([decoded.flag_aa, decoded.flag_rd, decoded.flag_ra], [true, true, true]);
  assertEquals(decoded.questions, [{ name: "GateWay.internal", type: "A", class: "IN" }]);
  assertEquals(decoded.answers[0].ttl, OWN_TTL_SECONDS);
  assertEquals(data("gateway.internal", "A"), ["100.96.0.1"]);
  assertEquals(data("gateway.internal", "AAAA"), ["fd53:4d00::1"]);
  assertEquals(data("host.internal", "A"), ["100.96.0.1"]);
  assertEquals(data("db.example", "A"), ["10.0.0.5", "10.0.0.6"]);
  assertEquals(data("gateway.internal", "ANY"), ["100.96.0.1", "fd53:4d00::1"]);
});

Deno.test("OwnNames has no data for a type that an own name does not have", () => {
  for (const type of ["TXT", "UNKNOWN_65", "MX", "SOA"]) {
    const decoded = decode(answer(ask("gateway.internal", { type }))!);
    assertEquals([decoded.rcode, decoded.answers, decoded.authorities], ["NOERROR", [], []], type);
  }
  assertEquals(data("host.internal", "AAAA"), []);
});

Deno.test("OwnNames leaves other names to the upstreams", () => {
  assertEquals(answer(ask("example.com")), null);
  assertEquals(answer(ask("x.gateway.internal")), null);
});

Deno.test("OwnNames refuses an own name in another class, and leaves it to nobody", () => {
  for (const each of [0, 3, 4, 254]) {
    const inClass = (name: string) => {
      const message = ask(name);
      message[message.length - 1] = each;
      return message;
    };
    // A name with records, one of a local zone without any, and an alias that leads out of it.
    for (const own of ["web.corp", "secret.project.corp", "out.corp", "x.dev.corp", "corp"]) {
      const message = inClass(own);
      const { rcode, flag_aa, answers, authorities } = decode(answer(message, zoned)!);
      assertEquals([rcode, flag_aa, answers, authorities], ["REFUSED", false, [], []], own);
      assertEquals(zoned.foreignTarget(questionOf(message)), null);
    }
    assertEquals(answer(inClass("version.bind"), zoned), null);
  }
});

Deno.test("OwnNames leads an address back to the first name that has it", () => {
  assertEquals(data("1.0.96.100.in-addr.arpa", "PTR"), ["gateway.internal"]);
  assertEquals(data("6.0.0.10.in-addr.arpa", "PTR"), ["db.example"]);
  const six = reverseName(parseIp("fd53:4d00::1")!);
  assertEquals(six.length, 72);
  assertEquals(data(six.toUpperCase(), "PTR"), ["gateway.internal"]);
  assertEquals(data("1.0.96.100.in-addr.arpa", "TXT"), []);
  assertEquals(answer(ask("2.0.96.100.in-addr.arpa", { type: "PTR" })), null);
});

Deno.test("OwnNames answers EDNS with EDNS", () => {
  const message = ask("gateway.internal", { udpBytes: 1400 });
  message[message.length - 4] = 0x80; // the DO bit
  const { additionals } = decode(answer(message)!);
  assertEquals([additionals[0].type, additionals[0].udpPayloadSize], ["OPT", 1232]);
  assertEquals(additionals[0].flag_do, true);
  assertEquals(decode(answer(ask("gateway.internal"))!).additionals, []);
});

Deno.test("OwnNames takes host names only, and no more records than fit a message", () => {
  const none = { records: new Map(), zones: [] };
  assertThrows(() => new OwnNames({ ...none, records: new Map([["a b", []]]) }), RangeError, "a b");
  assertThrows(() => new OwnNames({ ...none, zones: ["*.x"] }), RangeError, "*.x");
  const many = new Map([["a.b", addressRecords(new Array(2_000).fill(new Uint8Array(4)))]]);
  assertThrows(() => new OwnNames({ ...none, records: many }), RangeError, "a.b");
});

const NXDOMAIN = ["NXDOMAIN", "SOA corp 60 60"];
const NODATA = ["NOERROR", "SOA corp 60 60"];

Deno.test("OwnNames has records of all types, each with its TTL", () => {
  assertEquals(said("web.corp"), ["NOERROR", "web.corp 300 A 10.0.0.1"]);
  assertEquals(said("web.corp", "TXT"), ["NOERROR", "web.corp 300 TXT hello"]);
  assertEquals(said("web.corp", "ANY")?.length, 3);
  assertEquals(said("_sip._tcp.corp", "SRV"), [
    "NOERROR",
    "_sip._tcp.corp 60 SRV 10,5,5060,web.corp",
    "_sip._tcp.corp 60 SRV 20,0,5061,.",
  ]);
});

Deno.test("OwnNames follows aliases through its own records", () => {
  const web = "web.corp 300 A 10.0.0.1";
  assertEquals(said("www.corp"), ["NOERROR", "www.corp 60 CNAME web.corp", web]);
  assertEquals(said("www2.corp"), [
    "NOERROR",
    "www2.corp 5 CNAME www.corp",
    "www.corp 60 CNAME web.corp",
    web,
  ]);
  assertEquals(said("www.corp", "CNAME"), ["NOERROR", "www.corp 60 CNAME web.corp"]);
  assertEquals(said("www.corp", "ANY"), ["NOERROR", "www.corp 60 CNAME web.corp"]);
  assertEquals(said("www.corp", "MX"), [
    "NOERROR",
    "www.corp 60 CNAME web.corp",
    "SOA corp 60 60",
  ]);
  assertEquals(said("gone.corp"), [
    "NXDOMAIN",
    "gone.corp 60 CNAME missing.corp",
    "SOA corp 60 60",
  ]);
});

Deno.test("OwnNames ends a loop of aliases, and a chain of more than 16", () => {
  assertEquals(said("loop.corp"), [
    "NOERROR",
    "loop.corp 60 CNAME pool.corp",
    "pool.corp 60 CNAME loop.corp",
  ]);
  const specs = Array.from({ length: 30 }, (_, i) => [`n${i}.x`, { cname: `n${i + 1}.x` }]);
  const names = ownNames(Object.fromEntries(specs));
  assertEquals(decode(answer(ask("n0.x"), names)!).answers.length, 17);
  assertEquals(names.foreignTarget(questionOf(ask("n0.x"))), null);
});

Deno.test("OwnNames says where an alias leads out of its own names", () => {
  assertEquals(said("out.corp"), ["NOERROR", "out.corp 60 CNAME target.example.net"]);
  const target = (name: string, type = "A") => zoned.foreignTarget(questionOf(ask(name, { type })));
  assertEquals(target("out.corp"), "target.example.net");
  assertEquals(target("out.corp", "CNAME"), null);
  assertEquals([target("www.corp"), target("gone.corp"), target("b.test")], [null, null, null]);
});

Deno.test("OwnNames denies what a local zone has not, with the zone's SOA", () => {
  assertEquals(said("missing.corp"), NXDOMAIN);
  assertEquals(said("a.b.missing.corp", "AAAA"), NXDOMAIN);
  assertEquals(said("x.web.corp"), NXDOMAIN);
  assertEquals(said("web.corp", "AAAA"), NODATA);
  assertEquals(said("empty.corp"), NODATA);
  assertEquals(said("9.9.0.10.in-addr.arpa", "PTR"), [
    "NXDOMAIN",
    "SOA 0.10.in-addr.arpa 60 60",
  ]);
  assertEquals(said("badcorp"), null);
  assertEquals(said("arpa", "NS"), null);
});

Deno.test("OwnNames has no data where only names below have records", () => {
  assertEquals(said("down.corp"), NODATA);
  assertEquals(said("_tcp.corp", "SRV"), NODATA);
  assertEquals(said("0.0.10.in-addr.arpa", "PTR"), [
    "NOERROR",
    "SOA 0.10.in-addr.arpa 60 60",
  ]);
  // Outside of zones such a name is another's.
  assertEquals(said("ali.as"), null);
});

Deno.test("OwnNames answers for the zone itself", () => {
  assertEquals(said("corp", "SOA"), ["NOERROR", "SOA corp 60 60"]);
  assertEquals(said("corp", "TXT"), ["NOERROR", "corp 60 TXT apex"]);
  assertEquals(said("corp"), NODATA);
});

Deno.test("OwnNames answers wildcards as RFC 4592 section 2.2.1 has it", () => {
  assertEquals(said("x.dev.corp"), ["NOERROR", "x.dev.corp 60 A 10.0.0.3"]);
  assertEquals(said("A.b.x.dev.corp", "TXT"), ["NOERROR", "A.b.x.dev.corp 60 TXT wild"]);
  assertEquals(said("*.dev.corp"), ["NOERROR", "*.dev.corp 60 A 10.0.0.3"]);
  assertEquals(said("x.dev.corp", "MX"), NODATA);
  // Not for the name itself, not for an own name, not below one.
  assertEquals(said("dev.corp"), NODATA);
  assertEquals(said("api.dev.corp"), ["NOERROR", "api.dev.corp 60 A 10.0.0.4"]);
  assertEquals(said("api.dev.corp", "TXT"), NODATA);
  assertEquals(said("down.dev.corp"), NODATA);
  assertEquals(said("x.down.dev.corp"), NXDOMAIN);
  assertEquals(said("x.api.dev.corp"), NXDOMAIN);
  assertEquals(said("x.ali.as"), [
    "NOERROR",
    "x.ali.as 60 CNAME web.corp",
    "web.corp 300 A 10.0.0.1",
  ]);
});

Deno.test("OwnNames puts a wildcard's name as it was asked, whatever octets it has", () => {
  const message = ask("xyz.dev.corp");
  message.set([0x2e, 0, 0xff], 13);
  const bytes = answer(message, zoned)!;
  assertEquals([...bytes.subarray(12, 12 + 18)], [...message.subarray(12, 12 + 18)]);
  assertEquals(decode(bytes).answers[0].data, "10.0.0.3");
});

Deno.test("OwnNames prefers a reverse record to the one that an address makes", () => {
  assertEquals(said("4.0.0.10.in-addr.arpa", "PTR"), [
    "NOERROR",
    "4.0.0.10.in-addr.arpa 60 PTR chosen.corp",
    "4.0.0.10.in-addr.arpa 60 PTR other.corp",
  ]);
  assertEquals(said("1.0.0.10.in-addr.arpa", "PTR"), [
    "NOERROR",
    "1.0.0.10.in-addr.arpa 300 PTR web.corp",
  ]);
  // A wildcard is no name to lead back to.
  assertEquals(said("3.0.0.10.in-addr.arpa", "PTR")?.[0], "NXDOMAIN");
});

Deno.test("OwnNames answers the largest records of a name in one message", () => {
  const names = ownNames({ "many.corp": { a: new Array(1_875).fill("10.0.0.1") } });
  assertEquals(decode(answer(ask("many.corp"), names)!).answers.length, 1_875);
});
