/** What another text of a policy document changes. */
import { assertEquals } from "@std/assert";
import { changeLine, changesText, policyChanges } from "../../lib/fleet/policy_changes.ts";
import { parsePolicyDocument } from "../../lib/fleet/policy_document.ts";

function changed(before: string | null, after: string | null) {
  const read = (text: string | null) => text === null ? null : parsePolicyDocument(text, "fleet");
  const changes = policyChanges(read(before), read(after));
  return { lines: changes.map(changeLine), text: changesText(changes) };
}

Deno.test("rules that come and go, and settings that are another, are told", () => {
  assertEquals(
    changed(
      'protect: metadata\ndeny: [10.0.0.0/8]\nallow: ["a.test", "b.test:22"]\n',
      'protect: strict\nech: refuse\ndeny: []\nallow: ["b.test:22", "c.test"]\n',
    ),
    {
      lines: [
        "~ protect: strict, was metadata",
        "+ ech: refuse",
        "- deny 10.0.0.0/8",
        "- allow a.test",
        "+ allow c.test",
      ],
      text: "1 rule added, 2 rules removed, protect changed, ech set",
    },
  );
});

Deno.test("order, spelling and comments change nothing", () => {
  const { lines, text } = changed(
    "deny: [PUBLIC, a.test, 10.0.0.0/8]\n",
    "# why\ndeny:\n  - 10.0.0.0/8\n  - public\n  - A.test\n",
  );
  assertEquals([lines, text], [[], ""]);
});

Deno.test("a document that comes has all its words, one that goes loses them", () => {
  assertEquals(changed(null, "closed: true").lines, ["+ closed: true"]);
  assertEquals(changed("closed: true\ndenyPage: false\n", null).lines, [
    "- closed: true",
    "- denyPage: false",
  ]);
  assertEquals(changed("{}", "closed: false"), { lines: [], text: "" });
});
