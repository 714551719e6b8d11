/** What a guest's resolver lets through: questions by their name, answers by what is in them. */
import { Buffer } from "node:buffer";
import { assert, assertEquals } from "@std/assert";
import packet from "dns-packet";
import { checkQuestion, type DnsQuestion } from "../../lib/dns/question.ts";
import { type DnsCounts, noDnsCounts } from "../../lib/host/dns_counts.ts";
import { DnsFence, isDenial, type Passed } from "../../lib/host/dns_fence.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { PinKind } from "../../lib/policy/pins.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { policyOf, type PolicySpec } from "../support/policy.ts";

// deno-lint-ignore no-explicit-any
type PacketRecord = any;

/** A fence and what it has said. */
class World {
  policy: Policy;
  nowMs = 1_000;
  readonly counts: DnsCounts = noDnsCounts();
  readonly denials: Denial[] = [];
  readonly fence: DnsFence;

  constructor(spec: PolicySpec, remembersNames = false) {
    this.policy = policyOf(spec);
    this.fence = new DnsFence({
      policy: () => this.policy,
      remembersNames,
      counts: this.counts,
      onDenial: (denial) => void this.denials.push(denial),
      now: () => this.nowMs,
    });
  }

  /** An answer from upstream: what the guest gets of it, in words. */
  pass(name: string, records: readonly PacketRecord[], isOwn = false): string {
    const answer = answerOf(name, records);
    return said(this.fence.pass(answer, questionOf(name), isOwn), answer);
  }

  /** All pins that are alive: `NAME ADDRESS SECONDS`. */
  get pins(): string[] {
    return [...this.policy.pins.list(this.nowMs)].map(({ name, address, untilMs }) =>
      `${name} ${address} ${(untilMs - this.nowMs) / 1_000}`
    );
  }
}

function questionOf(name: string): DnsQuestion {
  const message = packet.encode({ type: "query", id: 1, questions: [{ type: "A", name }] });
  const check = checkQuestion(new Uint8Array(message));
  assert(check.kind === "question");
  return check.question;
}

function answerOf(name: string, answers: readonly PacketRecord[]): Uint8Array {
  return new Uint8Array(packet.encode(
    {
      type: "response",
      id: 1,
      flags: 0x1a0, // with AD: all of it was verified
      questions: [{ type: "A", name }],
      answers: answers.map((record) => ({ name, ttl: 300, ...record })),
    } as PacketRecord,
  ));
}

function said(passed: Passed, answer: Uint8Array): string {
  if (passed === null) return "malformed";
  if (isDenial(passed)) return `denied ${passed.name} by ${passed.rule}`;
  const { answers } = packet.decode(Buffer.from(passed.answer)) as PacketRecord;
  const list = answers.map(({ data, type }: PacketRecord) => `${type} ${data}`).join(", ");
  return passed.answer === answer ? `as it is: ${list}` : `without some: ${list}`;
}

const a = (data: string, more: PacketRecord = {}) => ({ type: "A", data, ...more });
const alias = (name: string, data: string) => ({ type: "CNAME", name, data });

Deno.test("dns fence: without rules nothing is asked, remembered or copied, and loopback goes all the same", () => {
  const world = new World({});
  assertEquals(world.fence.refusal(questionOf("evil.com"), false), null);
  assertEquals(world.pass("x.example", [a("8.8.8.8")]), "as it is: A 8.8.8.8");
  assertEquals(world.pins, []);
  assertEquals(
    world.pass("x.example", [a("127.0.0.1"), a("10.0.0.1")]),
    "without some: A 10.0.0.1",
  );
  assertEquals([world.counts.stripped, world.denials.length], [1, 1]);
});

Deno.test("dns fence: names are remembered for a program that judges, whatever the rules", () => {
  const world = new World({}, true);
  world.pass("x.example", [a("8.8.8.8", { ttl: 90 })]);
  assertEquals(world.pins, ["x.example 8.8.8.8 90"]);
});

Deno.test("dns fence: a refused name is told once each time, and by the policy in force", () => {
  const world = new World({ allow: ["pypi.org"] });
  const question = questionOf("evil.com");
  for (let i = 1; i < 4; i++) {
    const denial = world.fence.refusal(question, false);
    assertEquals([denial?.name, denial?.reason], ["evil.com", "default-deny"]);
    assertEquals(world.denials.length, i);
    assertEquals(world.denials.at(-1), denial);
  }
  assertEquals(world.fence.refusal(question, true), null, "the gateway's own");
  assertEquals(world.fence.refusal(questionOf("PyPI.org"), false), null);
  world.policy = policyOf({ deny: ["pypi.org"] });
  assertEquals(world.fence.refusal(question, false), null);
  assertEquals(world.fence.refusal(questionOf("PyPI.org"), true)?.rule, "pypi.org");
});

Deno.test("dns fence: each address of a chain's end is tied to the name that was asked for", () => {
  const world = new World({ allow: ["pypi.org"] });
  const records = [
    alias("pypi.org", "cdn.example"),
    alias("cdn.example", "pop.example"),
    a("8.8.8.8", { name: "pop.example", ttl: 400 }),
    a("8.8.4.4", { name: "pop.example", ttl: 200 }),
    a("9.9.9.9", { name: "elsewhere.example" }),
    a("9.9.9.9", { name: "cdn.example" }),
  ];
  const passed = world.pass("pypi.org", records);
  assertEquals(passed.startsWith("as it is"), true, passed);
  // The links live for 300 s.
  assertEquals(world.pins, ["pypi.org 8.8.8.8 300", "pypi.org 8.8.4.4 200"]);
});

Deno.test("dns fence: what was taken out is tied to nothing", () => {
  const world = new World({ allow: ["pypi.org"] });
  const passed = world.pass("pypi.org", [a("10.0.0.1"), a("8.8.8.8"), a("169.254.169.254")]);
  assertEquals(passed, "without some: A 8.8.8.8");
  assertEquals(world.pins, ["pypi.org 8.8.8.8 300"]);
  assertEquals(world.counts.stripped, 2);
  assertEquals(world.denials.map(({ reason, detail }) => [reason, detail]), [
    ["rebind", "its answer leads to 10.0.0.1, a private address"],
  ]);
});

Deno.test("dns fence: an answer that lost a record is no longer one that was verified", () => {
  const world = new World({});
  const question = questionOf("x.example");
  const whole = answerOf("x.example", [a("8.8.8.8")]);
  const less = answerOf("x.example", [a("8.8.8.8"), a("127.0.0.1")]);
  const isVerified = (passed: Passed) => {
    assert(passed !== null && !isDenial(passed));
    return (passed.answer[3]! & 0x20) !== 0;
  };
  assert(isVerified(world.fence.pass(whole, question, false)));
  assert(!isVerified(world.fence.pass(less, question, false)));
});

Deno.test("dns fence: an answer whose alias is denied is refused as a whole, and ties nothing", () => {
  const world = new World({ allow: ["*.example"], deny: ["evil.com", "half.com:443"] });
  const records = (target: string) => [alias("x.example", target), a("8.8.8.8", { name: target })];
  assertEquals(world.pass("x.example", records("EVIL.com")), "denied evil.com by evil.com");
  assertEquals(world.pins, []);
  assertEquals(world.denials.map(({ name }) => name), ["evil.com"]);
  // Of these only a port is denied; and an alias needs no rule that allows it.
  for (const target of ["half.com", "notevil.com", "www.evil.com"]) {
    assert(world.pass("x.example", records(target)).startsWith("as it is"), target);
  }
});

Deno.test("dns fence: who is named by the operator may give private addresses, and no loopback", () => {
  const world = new World({ allow: ["*.example"], deny: ["10.9.0.0/16"] });
  const records = [a("10.0.0.1"), a("127.0.0.1"), a("10.9.0.1"), a("8.8.8.8")];
  assertEquals(world.pass("x.example", records, true), "without some: A 10.0.0.1, A 8.8.8.8");
  assertEquals(world.pass("x.example", records, false), "without some: A 8.8.8.8");
});

Deno.test("dns fence: what has passed, or the operator has written, is tied again and not filtered", () => {
  const world = new World({ allow: ["db.internal"], deny: ["evil.com"] });
  const question = questionOf("db.internal");
  const answer = answerOf("db.internal", [a("127.0.0.1"), a("10.0.0.5")]);
  assertEquals(
    said(world.fence.pin(answer, question), answer),
    "as it is: A 127.0.0.1, A 10.0.0.5",
  );
  assertEquals(world.pins, ["db.internal 127.0.0.1 300", "db.internal 10.0.0.5 300"]);
  world.nowMs += 200_000;
  world.fence.pin(answer, question);
  assertEquals(world.pins[0], "db.internal 127.0.0.1 300");
  const led = answerOf("db.internal", [alias("db.internal", "evil.com")]);
  assert(isDenial(world.fence.pin(led, question)));
  assertEquals(world.counts.stripped, 0);
});

Deno.test("dns fence: a kept answer is tied for the time that is left of it, without a look into it", () => {
  const world = new World({ allow: ["a.example"], deny: ["evil.com"] });
  const question = questionOf("a.example");
  const answer = answerOf("a.example", [
    alias("a.example", "b.test"),
    a("8.8.8.8", {
      name: "b.test",
    }),
  ]);
  const passed = world.fence.pass(answer, question, false);
  assert(passed !== null && !isDenial(passed) && passed.chain !== null);
  world.nowMs += 500_000;
  assertEquals(world.pins, []);
  // Whatever its octets are: who keeps an answer keeps its chain with it.
  const kept = { answer: new Uint8Array(3), value: passed.chain, ageSeconds: 100 };
  assertEquals(world.fence.passAgain(kept, question, false), { ...passed, answer: kept.answer });
  assertEquals(world.pins, ["a.example 8.8.8.8 200"]);
  world.policy = policyOf({ allow: ["a.example"], deny: ["b.test"] });
  assert(isDenial(world.fence.passAgain(kept, question, false)));
  assertEquals(world.pins, []);
});

Deno.test("dns fence: an own alias ties what a stranger has answered as a stranger's", () => {
  for (const leadsOut of [true, false]) {
    const world = new World({ allow: ["db.internal"] });
    const question = questionOf("db.internal");
    const answer = answerOf("db.internal", [
      alias("db.internal", "b.test"),
      a("8.8.8.8", {
        name: "b.test",
      }),
    ]);
    assert(!isDenial(world.fence.pin(answer, question, leadsOut)));
    const { pins } = world.policy;
    const address = Uint8Array.of(8, 8, 8, 8);
    assertEquals(pins.has("db.internal", address, world.nowMs, PinKind.own), !leadsOut);
    assert(pins.has("db.internal", address, world.nowMs, PinKind.asked));
  }
});

Deno.test("dns fence: an answer that can't be read is given to nobody", () => {
  const world = new World({ allow: ["x.example"] });
  const whole = answerOf("x.example", [a("8.8.8.8"), a("8.8.4.4")]);
  const question = questionOf("x.example");
  for (let bytes = 12; bytes < whole.length; bytes++) {
    assertEquals(world.fence.pass(whole.slice(0, bytes), question, false), null, `${bytes} octets`);
  }
  assertEquals([world.pins, world.denials], [[], []]);
});

Deno.test("dns fence: hints go where names are fenced, and are counted", () => {
  const data = Buffer.from([0, 1, 0, 0, 1, 0, 3, 2, 0x68, 0x32, 0, 4, 0, 4, 8, 8, 8, 8]);
  for (
    const [spec, count] of [[{ allow: ["x.example"] }, 1], [{ allow: ["public"] }, 0]] as const
  ) {
    const world = new World({ allow: [...spec.allow] });
    const answer = answerOf("x.example", [{ type: "UNKNOWN_65", data }]);
    const passed = world.fence.pass(answer, questionOf("x.example"), false);
    assert(passed !== null && !isDenial(passed));
    assertEquals(answer.length - passed.answer.length, count * 8);
    assertEquals([world.counts.hintsStripped, world.counts.stripped], [count, 0]);
    assertEquals([world.pins, world.denials], [[], []]);
  }
});
