/** Policy documents: what is read, and what is refused with its place. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { DOCUMENT_BYTES_MAX, parsePolicyDocument } from "../../lib/fleet/policy_document.ts";

function faultOf(text: string, key = "fleet"): string {
  return assertThrows(() => parsePolicyDocument(text, key), ConfigError).message;
}

Deno.test("policy document: what it names, with the places of its rules", () => {
  const text = `# for everybody
protect: strict
allow: ["pypi.org", "10.0.0.0/8:5432/tcp"]
deny:
  - metadata
`;
  assertEquals(parsePolicyDocument(text, "group.ci", { revision: 7 }), {
    key: "group.ci",
    revision: 7,
    closed: false,
    policy: {
      protect: "strict",
      allow: ["pypi.org", "10.0.0.0/8:5432/tcp"],
      deny: ["metadata"],
      origins: {
        allow: ["group.ci.allow[0]", "group.ci.allow[1]"],
        deny: ["group.ci.deny[0]"],
        protect: "group.ci.protect",
      },
    },
  });
});

Deno.test("policy document: what it does not name is not said", () => {
  const { policy, closed } = parsePolicyDocument("{}", "fleet");
  assertEquals(policy, { origins: { allow: [], deny: [] } });
  assertEquals(closed, false);
  assert(parsePolicyDocument("closed: true", "fleet").closed);
  assertEquals(parsePolicyDocument("closed: false", "fleet").closed, false);
  const words = parsePolicyDocument("denyPage: false\nech: outer", "fleet").policy;
  assertEquals([words.denyPage, words.ech], [false, "outer"]);
});

Deno.test("policy document: what is wrong is told with its place", () => {
  const cases: [text: string, fault: RegExp][] = [
    ["allow: [pypi.org]\nalow: []", /^fleet:2:1 unknown key "alow"; did you mean "allow"\?$/],
    ["policy:\n  allow: []", /^fleet:1:1 unknown key "policy"/],
    ["deny:\n  - 10.0.0.0/8\n  - 10.0.0.1/8", /^fleet:3:3 deny: "10\.0\.0\.1\/8": .*did you mean/],
    ["protect: paranoid", /^fleet:1:1 protect: "paranoid" is not off, metadata or strict$/],
    ["closed: yes", /^fleet:1:1 closed: "yes" is not true or false$/],
    ["allow:", /^fleet:1:1 allow: has no value; write \[\] for no rules$/],
    ["allow: [", /^fleet:\d+:\d+ /],
    ["allow: []\nallow: []", /^fleet:\d+:\d+ duplicated mapping key/],
    ["", /^fleet:1:1 the document is empty; write \{\} for one that says nothing$/],
    ["# nothing\n", /^fleet:1:1 the document is empty/],
    ["- pypi.org", /^fleet:1:1 the document is no mapping/],
    ["just text", /^fleet:1:1 the document is no mapping/],
    ["__proto__: {}", /^fleet:1:1 unknown key "__proto__"/],
    ["constructor: {}", /^fleet:1:1 unknown key "constructor"/],
    ["deny: [[[10.0.0.0/8]]]", /^fleet:1:\d+ deny: a list is not a rule$/],
    ["? {a: b}\n: c", /a mapping is no key/],
  ];
  for (const [text, fault] of cases) {
    const said = faultOf(text);
    assert(fault.test(said), `${JSON.stringify(text)}: ${said}`);
  }
});

Deno.test("policy document: all that is wrong is told at once, each with its line", () => {
  assertEquals(
    faultOf("protect: no\ndeny: [10.0.0.0/33]\nlog: {}", "guest.vm1").split("\n").map(
      (line) => line.slice(0, 14),
    ),
    ["guest.vm1:1:1 ", "guest.vm1:2:8 ", "guest.vm1:3:1 "],
  );
});

Deno.test("policy document: one that is too large, too deep or full of references is refused", () => {
  assertEquals(
    faultOf("#".repeat(DOCUMENT_BYTES_MAX + 1)),
    "fleet has 262145 bytes, at most 262144",
  );
  // Characters of two octets count twice.
  assertEquals(
    faultOf("#" + "ä".repeat(DOCUMENT_BYTES_MAX / 2)),
    "fleet has 262145 bytes, at most 262144",
  );
  assert(faultOf("[".repeat(DOCUMENT_BYTES_MAX)).startsWith("fleet:"));
  const laughs = ["a0: &a0 [x, x]"];
  for (let i = 1; i < 30; i++) laughs.push(`a${i}: &a${i} [*a${i - 1}, *a${i - 1}]`);
  assert(faultOf(`${laughs.join("\n")}\ndeny: *a29`).includes("unknown key"));
});
