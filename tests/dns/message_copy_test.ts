import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import packet from "dns-packet";
import { MessageCopy } from "../../lib/dns/message_copy.ts";
import { RecordWalker } from "../../lib/dns/walker.ts";
import { answerTo, name, type RawRecord, recordsOf, two } from "./messages.ts";
import { ask, decode } from "./vectors.ts";

const copy = new MessageCopy();

/** A copy of the records that `isKept` takes, by their place. */
function copyOf(message: Uint8Array, isKept: (index: number) => boolean = () => true) {
  const walker = new RecordWalker();
  assert(walker.open(message));
  copy.begin(message);
  for (let i = 0; walker.next(); i++) if (isKept(i)) copy.copy(walker);
  assert(!walker.malformed);
  return copy.finish();
}

const host = fc.constantFrom("a.example", "b.a.example", "c.b.a.example", "example", ".", "x.test");
const data = fc.oneof(
  fc.record({ type: fc.constantFrom("NS", "CNAME", "PTR", "DNAME"), data: host }),
  fc.constant({ type: "A", data: "192.0.2.1" }),
  fc.constant({ type: "TXT", data: [Buffer.from([0xc0, 12])] }),
  host.map((exchange) => ({ type: "MX", data: { preference: 7, exchange } })),
  host.map((target) => ({ type: "SRV", data: { priority: 1, weight: 2, port: 3, target } })),
  fc.tuple(host, host).map(([mname, rname]) => ({
    type: "SOA",
    data: { mname, rname, serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 5 },
  })),
  fc.tuple(host, host).map(([mbox, txt]) => ({ type: "RP", data: { mbox, txt } })),
  host.map((replacement) => ({
    type: "NAPTR",
    data: { order: 1, preference: 2, flags: "u", services: "sip", regexp: "!a!b!", replacement },
  })),
  host.map((signersName) => ({
    type: "RRSIG",
    data: {
      typeCovered: "A",
      algorithm: 8,
      labels: 2,
      originalTTL: 60,
      expiration: 9,
      inception: 8,
      keyTag: 7,
      signersName,
      signature: Buffer.from([0xc0, 12, 5]),
    },
  })),
);
const record = fc.tuple(host, data).map(([name, rest]) => ({
  name,
  ttl: 60,
  class: "IN",
  ...rest,
}));

Deno.test("a copy has exactly the records that were kept, as dns-packet reads them", () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 9 }), fc.nat(511), (records, mask) => {
      const message = new Uint8Array(packet.encode({
        type: "response",
        questions: [{ name: "c.b.a.example", type: "A" }],
        answers: records.slice(0, 4),
        authorities: records.slice(4, 6),
        additionals: records.slice(6),
      }));
      const copied = copyOf(message, (i) => (mask >> i & 1) === 0)!;
      const before = decode(message);
      const all = [...before.answers, ...before.authorities, ...before.additionals];
      const after = decode(copied);
      assertEquals(after.questions, before.questions);
      assertEquals(
        [...after.answers, ...after.authorities, ...after.additionals],
        all.filter((_, i) => (mask >> i & 1) === 0),
      );
      assert(copied.length <= message.length);
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("a copy of everything is as compressed as its source", () => {
  const answers: RawRecord[] = [
    { owner: [0xc0, 12], type: 5, data: [1, 98, 0xc0, 14] }, // a.example → b.example
    { owner: [0xc0, 39], type: 1, data: [192, 0, 2, 1] },
    { owner: [0xc0, 39], type: 15, data: [0, 5, 0xc0, 12] },
  ];
  const message = answerTo(ask("a.example"), { answers });
  assertEquals(recordsOf(message).map(({ owner }) => owner), [
    "a.example",
    "b.example",
    "b.example",
  ]);
  assertEquals(copyOf(message), message);
});

Deno.test("a name whose place is gone is written where it is first needed", () => {
  const answers: RawRecord[] = [
    { owner: "long-name.test", type: 1, data: [192, 0, 2, 1] }, // begins at 27
    { owner: [0xc0, 27], type: 1, data: [192, 0, 2, 2] },
    { owner: [1, 120, 0xc0, 27], type: 1, data: [192, 0, 2, 3] },
    { owner: [0xc0, 37], type: 1, data: [192, 0, 2, 4] },
  ];
  const message = answerTo(ask("a.example"), { answers });
  const owners = ["long-name.test", "long-name.test", "x.long-name.test", "test"];
  assertEquals(recordsOf(message).map(({ owner }) => owner), owners);
  const copied = copyOf(message, (i) => i > 0)!;
  assertEquals(recordsOf(copied).map(({ owner }) => owner), owners.slice(1));
  assertEquals(copied.length, message.length - 16);
});

Deno.test("a copy never has more pointers in a row than its readers follow", () => {
  // A name of 20 labels whose record goes, then one pointer to each label, the last label first.
  const labels = 20;
  const answers: RawRecord[] = [
    { owner: "a.".repeat(labels - 1) + "a", type: 1, data: [192, 0, 2, 1] },
    ...Array.from({ length: labels }, (_, i) => ({
      owner: [0xc0, 27 + 2 * (labels - 1 - i)],
      type: 1,
      data: [192, 0, 2, i],
    })),
  ];
  const message = answerTo(ask("a.example"), { answers });
  const copied = copyOf(message, (i) => i > 0)!;
  assertEquals(
    recordsOf(copied).map(({ owner, data }) => [owner, data]),
    recordsOf(message).slice(1).map(({ owner, data }) => [owner, data]),
  );
});

Deno.test("a copy fails where a record has not the names that its type asks for", () => {
  const malformed: [number, number[]][] = [
    [2, []],
    [5, [1, 98]],
    [6, [0, 1]],
    [15, [0]],
    [33, [0, 1, 0, 1, 0]],
    [35, [0, 1, 0, 1, 9, 0, 0, 0]],
    [35, [0, 1, 0, 1, 0, 0]],
    [35, [0, 1]],
    [46, [...two(1), 8, 2]],
  ];
  // With another record behind, into which a careless reader would go on.
  const behind: RawRecord = { owner: [0xc0, 12], type: 16, data: new Array(40).fill(0) };
  for (const [type, data] of malformed) {
    for (const more of [[], [behind]]) {
      const answers = [{ owner: "a.example", type, data }, ...more];
      assertEquals(copyOf(answerTo(ask("a.example"), { answers })), null, String(type));
    }
  }
  // The same copy goes on with the next message.
  const fine = answerTo(ask("a.example"), { answers: [{ owner: [0xc0, 12], type: 1, data: [] }] });
  assertEquals(copyOf(fine), fine);
});

Deno.test("a copy that would not fit a message fails", () => {
  // The name's place goes, and where it is needed next is beyond the reach of pointers.
  const filler: RawRecord = { owner: "a.example", type: 16, data: new Array(0x4000).fill(0) };
  const long = `${"b".repeat(63)}.`.repeat(3) + "example";
  const named: RawRecord = { owner: long, type: 1, data: [192, 0, 2, 1] };
  const pointing = (): RawRecord => ({ owner: [0xc0, 27], type: 1, data: [192, 0, 2, 1] });
  const answers = [named, filler, ...Array.from({ length: 400 }, pointing)];
  const message = answerTo(ask("a.example"), { answers });
  assertEquals(copyOf(message), message);
  assertEquals(copyOf(message, (i) => i !== 0), null);
  assertEquals(recordsOf(copyOf(message, (i) => i > 200)!).length, 201);
});

Deno.test("a copy may go on with the records of another message", () => {
  const one = answerTo(ask("a.example"), {
    answers: [{ owner: [0xc0, 12], type: 5, data: name("b.test") }],
  });
  const other = answerTo(ask("b.test"), {
    answers: [{ owner: [0xc0, 12], type: 1, data: [192, 0, 2, 1] }],
    additionals: [{ owner: "", type: 41, class: 1232, data: [] }],
  });
  const walker = new RecordWalker();
  copy.begin(one);
  for (const message of [one, other]) {
    copy.from(message);
    assert(walker.open(message));
    while (walker.next()) copy.copy(walker);
  }
  const joined = copy.finish()!;
  assertEquals(recordsOf(joined).map(({ section, owner }) => [section, owner]), [
    [0, "a.example"],
    [0, "b.test"],
    [2, ""],
  ]);
  assertEquals(decode(joined).questions[0].name, "a.example");
});

Deno.test("whatever a walker takes can be copied in part, inside the bounds of a message", () => {
  const octets = fc.array(fc.constantFrom(0, 1, 2, 12, 39, 0xc0, 0xc1, 46, 33, 64, 255), {
    minLength: 20,
    maxLength: 300,
  });
  const counts = fc.tuple(fc.nat(6), fc.nat(3), fc.nat(3));
  fc.assert(
    fc.property(octets, counts, fc.nat(255), (rest, [an, ns, ar], mask) => {
      const head = [0, 1, 0x81, 0x80, 0, 1, 0, an, 0, ns, 0, ar];
      const message = Uint8Array.from([...head, ...rest]);
      const walker = new RecordWalker();
      if (!walker.open(message)) return;
      copy.begin(message);
      const kept: number[] = [];
      for (let i = 0; walker.next(); i++) {
        if ((mask >> i & 1) !== 0) continue;
        kept.push(walker.type);
        copy.copy(walker);
      }
      const copied = copy.finish();
      if (copied !== null) assertEquals(recordsOf(copied).map(({ type }) => type), kept);
    }),
    { numRuns: 5_000 },
  );
});
