import { assert, assertEquals, assertFalse } from "@std/assert";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import packet from "dns-packet";
import { RecordWalker, Section } from "../../lib/dns/walker.ts";
import { vector } from "./vectors.ts";

Deno.test("RecordWalker reads what dns-packet wrote", () => {
  const sections = [Section.answer, Section.authority, Section.additional];
  const record = fc.record({
    name: fc.constantFrom("a.example", "b.a.example", "."),
    type: fc.constantFrom("A", "AAAA", "TXT", "UNKNOWN_65"),
    ttl: fc.nat(0x7fff_ffff),
  });
  const part = fc.array(record, { maxLength: 4 });
  fc.assert(fc.property(part, part, part, (answers, authorities, additionals) => {
    const data: Record<string, unknown> = {
      A: "1.2.3.4",
      AAAA: "2001:db8::1",
      TXT: ["x"],
      UNKNOWN_65: Buffer.from([0, 1, 0]),
    };
    const numbers: Record<string, number> = { A: 1, AAAA: 28, TXT: 16, UNKNOWN_65: 65 };
    const [an, ns, ar] = [answers, authorities, additionals].map((records) =>
      records.map((one) => ({ ...one, class: "IN", data: data[one.type] }))
    );
    const message = new Uint8Array(packet.encode({
      type: "response",
      questions: [{ name: "a.example", type: "A" }],
      answers: an,
      authorities: ns,
      additionals: ar,
    }));
    const walker = new RecordWalker();
    assert(walker.open(message));
    const seen = [];
    while (walker.next()) seen.push([walker.section, walker.type, walker.class, walker.ttl]);
    const wanted = [answers, authorities, additionals].flatMap((records, i) =>
      records.map(({ type, ttl }) => [sections[i], numbers[type], 1, ttl])
    );
    assertEquals(seen, wanted);
    assertFalse(walker.malformed);
    assertEquals(walker.at, message.length);
  }));
});

Deno.test("RecordWalker gives the place of a record's data", () => {
  const walker = new RecordWalker();
  const message = vector("answer_https");
  assert(walker.open(message) && walker.next());
  assertEquals(walker.type, 65);
  assertEquals([...message.subarray(walker.dataAt, walker.dataAt + 3)], [0, 1, 0]);
  assertEquals(walker.dataBytes, 21);
});

Deno.test("RecordWalker follows 16 pointers and not 17", () => {
  const walker = new RecordWalker();
  assert(walker.open(vector("answer_16_jumps")));
  assert(walker.next() && walker.next());
  assertFalse(walker.next() || walker.malformed);
  assert(walker.open(vector("answer_17_jumps")));
  assert(walker.next());
  assertFalse(walker.next());
  assert(walker.malformed);
});

Deno.test("RecordWalker stops where a record leads out of the message", () => {
  const walker = new RecordWalker();
  assert(walker.open(vector("answer_cut")));
  assertFalse(walker.next());
  assert(walker.malformed);
  assert(walker.open(vector("arcount_lie")));
  assert(walker.next());
  assertFalse(walker.next());
  assert(walker.malformed);
});

Deno.test("RecordWalker goes through random octets in bounded steps, inside the message", () => {
  const noise = fc.uint8Array({ maxLength: 700 });
  const messages = ["question_edns", "answer_16_jumps", "answer_txt_long", "answer_https"];
  // A real message with some octets changed reaches deeper than noise.
  const mutated = fc.tuple(
    fc.constantFrom(...messages.map(vector)),
    fc.array(fc.tuple(fc.nat(900), fc.nat(255)), { maxLength: 8 }),
  ).map(([message, changes]) => {
    const copy = message.slice();
    for (const [at, octet] of changes) if (at < copy.length) copy[at] = octet;
    return copy;
  });
  const walker = new RecordWalker();
  fc.assert(
    fc.property(fc.oneof(noise, mutated), (message) => {
      let steps = 0;
      if (!walker.open(message)) return;
      while (walker.next()) {
        steps++;
        assert(walker.dataAt + walker.dataBytes <= message.length);
        assert(walker.at <= message.length && walker.nameAt < walker.dataAt);
      }
      assert(steps <= message.length / 11);
    }),
    { numRuns: 3_000 },
  );
});
