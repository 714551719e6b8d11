/** Whether a change leaves a policy that gateways would put into force. */
import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { checkChange } from "../../lib/fleet/policy_check.ts";

function documents(texts: Record<string, string>) {
  return Object.entries(texts).map(([key, text], i) => {
    return { key, text, revision: i + 1, createdMs: 0 };
  });
}

function refused(
  texts: Record<string, string>,
  key: string,
  text: string | null,
  members: { name: string; group: string | null }[] = [],
): string {
  const error = assertThrows(
    () => checkChange(documents(texts), { key, text }, members),
    ConfigError,
  );
  return error.message;
}

const LOCKS = "nothing is left that a guest could reach; write closed: true if that is meant";

Deno.test("a change that closes everything by mistake is refused, with the documents that do", () => {
  assertEquals(
    refused({}, "fleet", "deny: [0.0.0.0/0, '::/0']"),
    `fleet closes everything: ${LOCKS}`,
  );
  assertEquals(
    refused({ fleet: "allow: [10.1.0.0/16]" }, "group.ci", "deny: [10.0.0.0/8]"),
    `fleet and group.ci together close everything: ${LOCKS}`,
  );
  // It takes a guest of both to see it.
  const texts = { "group.ci": "allow: [10.1.0.0/16]", "guest.web": "{}" };
  const change = { key: "guest.web", text: "deny: [10.0.0.0/8]" };
  checkChange(documents(texts), change, []);
  assertEquals(
    refused(texts, change.key, change.text, [{ name: "web", group: "ci" }]),
    `group.ci and guest.web together close everything: ${LOCKS}`,
  );
});

Deno.test("taking a document away may close everything too", () => {
  const texts = {
    fleet: "allow: [10.1.0.0/16]\ndeny: [10.0.0.0/8]",
    "group.ci": "allow: [192.0.2.1]",
  };
  assertEquals(
    refused(
      { ...texts, fleet: "allow: [10.1.0.0/16]", "guest.web": "deny: [10.0.0.0/8]" },
      "group.ci",
      null,
      [
        { name: "web", group: "ci" },
      ],
    ),
    `fleet and guest.web together close everything: ${LOCKS}`,
  );
});

Deno.test("closed on purpose is no mistake, in any of the documents", () => {
  checkChange([], { key: "fleet", text: "closed: true\ndeny: [0.0.0.0/0, '::/0']" }, []);
  checkChange(documents({ fleet: "closed: true" }), {
    key: "guest.web",
    text: "deny: [0.0.0.0/0, '::/0']",
  }, [{ name: "web", group: null }]);
});

Deno.test("a malformed change is refused; malformed documents beside it are told", () => {
  assertEquals(
    refused({}, "group.ci", "alow: [a.test]"),
    'group.ci:1:1 unknown key "alow"; did you mean "allow"?',
  );
  const texts = { fleet: "protect: most", "group.ci": "{}", "guest.web": "nonsense" };
  const checked = checkChange(documents(texts), { key: "guest.web", text: "{}" }, []);
  assertEquals(checked.before, null);
  assertEquals(checked.faults.map((line) => line.slice(0, 9)), ["fleet:1:1"]);
});

Deno.test("whoever announces guests without end keeps nobody from writing a policy", () => {
  const keys = Array.from({ length: 60 }, (_, i) => i);
  const texts = Object.fromEntries(
    keys.flatMap((i) => [[`group.g${i}`, "deny: [a.test]"], [`guest.v${i}`, "deny: [b.test]"]]),
  );
  const members = keys.flatMap((i) => keys.map((j) => ({ name: `v${i}`, group: `g${j}` })));
  const { after } = checkChange(
    documents(texts),
    { key: "fleet", text: "deny: [c.test]" },
    members,
  );
  assertEquals(after?.policy.deny, ["c.test"]);
  // What the document means by itself is looked at whatever they say.
  assertEquals(
    refused(texts, "fleet", "deny: [0.0.0.0/0, '::/0']", members),
    `fleet closes everything: ${LOCKS}`,
  );
});

Deno.test("more rules together than a gateway takes are refused", () => {
  const rules = (from: number) =>
    `deny: [${
      Array.from({ length: 9_000 }, (_, i) => `10.${from}.${i >> 8}.${i & 255}`).join(", ")
    }]`;
  assertEquals(
    refused({ fleet: rules(1) }, "group.ci", rules(2)).includes("limits.policyRules"),
    true,
  );
});
