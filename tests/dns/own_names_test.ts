import { assert, assertEquals, assertThrows } from "@std/assert";
import { OWN_TTL_SECONDS, OwnNames, reverseName } from "../../lib/dns/own_names.ts";
import { checkQuestion } from "../../lib/dns/question.ts";
import { parseIp } from "../../lib/wire/address.ts";
import { ask, decode } from "./vectors.ts";

const own = new OwnNames(
  new Map([
    ["gateway.internal", ["100.96.0.1", "fd53:4d00::1"]],
    ["Host.Internal.", ["100.96.0.1"]],
    ["db.example", ["10.0.0.5", "10.0.0.6"]],
  ].map(([name, list]) => [name as string, (list as string[]).map((text) => parseIp(text)!)])),
);

function answer(message: Uint8Array): Uint8Array | null {
  const check = checkQuestion(message);
  assert(check.kind === "question");
  return own.answer(message, check.question);
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

Deno.test("OwnNames leaves other names, and other classes, to the upstreams", () => {
  assertEquals(answer(ask("example.com")), null);
  assertEquals(answer(ask("x.gateway.internal")), null);
  const chaos = ask("gateway.internal");
  chaos[chaos.length - 1] = 3;
  assertEquals(answer(chaos), null);
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

Deno.test("OwnNames takes host names only", () => {
  assertThrows(() => new OwnNames(new Map([["a b", []]])), RangeError, "a b");
});
