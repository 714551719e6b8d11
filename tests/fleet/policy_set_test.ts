/** The documents of a gateway's guests as one set. */
import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { NO_POLICY_ORIGIN } from "../../lib/fleet/merge.ts";
import { keysOf, keysOfAll, policyOf, PolicySet, sizeFault } from "../../lib/fleet/policy_set.ts";

const VM1 = { name: "vm1", group: "ci" };
const VM2 = { name: "vm2", group: null };
const KEYS = keysOfAll([VM1, VM2]);

function setOf(documents: Record<string, string>, keys = KEYS): PolicySet {
  const texts = Object.entries(documents).map(([key, text], i) => {
    return [key, { text, revision: i + 1 }] as const;
  });
  return new PolicySet({ revision: 9, documents: new Map(texts) }, keys);
}

Deno.test("policy set: a guest has the documents of the fleet, its group and itself", () => {
  assertEquals(keysOf(VM1), ["fleet", "group.ci", "guest.vm1"]);
  assertEquals(KEYS, ["fleet", "group.ci", "guest.vm1", "guest.vm2"]);
  const set = setOf({
    "guest.vm1": "deny: [9.9.9.9]",
    "group.ci": "deny: [8.8.8.8]",
    "fleet": "deny: [metadata]",
    "group.other": "deny: [",
  });
  assertEquals(set.documentsOf(VM1).map(({ key }) => key), ["fleet", "group.ci", "guest.vm1"]);
  assertEquals(set.documentsOf(VM2).map(({ key }) => key), ["fleet"]);
  assertEquals(policyOf(set, VM1, {}, []).deny, ["metadata", "8.8.8.8", "9.9.9.9"]);
  assertEquals(policyOf(set, VM2, { deny: ["1.1.1.1"] }, []).deny, ["metadata", "1.1.1.1"]);
});

Deno.test("policy set: what is wrong with any of them is wrong with all, and told of each", () => {
  const { message } = assertThrows(
    () => setOf({ fleet: "deny: [1.2.3]", "guest.vm2": "alow: []", "group.ci": "{}" }),
    ConfigError,
  );
  assertEquals(message.split("\n").map((line) => line.split(" ")[0]), [
    "fleet:1:8",
    "guest.vm2:1:1",
  ]);
});

Deno.test("policy set: a lock by mistake is told with the documents that make it", () => {
  const together = setOf({ fleet: "allow: [pypi.org]", "group.ci": "deny: [pypi.org]" });
  const { message } = assertThrows(() => together.checkLocks([VM2, VM1]), ConfigError);
  assertEquals(
    message,
    'fleet and group.ci together close everything to guest "vm1"; ' +
      "write closed: true if that is meant",
  );
  together.checkLocks([VM2]);
  const alone = setOf({ fleet: 'deny: ["0.0.0.0/0", "::/0"]' });
  assertEquals(
    assertThrows(() => alone.checkLocks([VM2]), ConfigError).message,
    'fleet closes everything to guest "vm2"; write closed: true if that is meant',
  );
  setOf({ fleet: 'deny: ["0.0.0.0/0", "::/0"]\nclosed: true' }).checkLocks([VM1, VM2]);
  setOf({}).checkLocks([VM1, VM2]);
});

Deno.test("policy set: documents can be too much together", () => {
  const texts = (count: number) => {
    const text = "#".repeat(256 * 1024);
    const documents = Array.from({ length: count }, (_, i) => {
      return [`guest.vm${i}`, { text, revision: i }] as const;
    });
    return { revision: 1, documents: new Map(documents) };
  };
  assertEquals(sizeFault(texts(64)), null);
  assertEquals(
    sizeFault(texts(65)),
    "the documents of this gateway's guests have 17039360 characters together, at most 16777216",
  );
});

Deno.test("policy set: without one, or where nobody has looked for a guest's, all is closed", () => {
  assertEquals(policyOf(null, VM2, {}, []).origins?.deny, [NO_POLICY_ORIGIN, NO_POLICY_ORIGIN]);
  const set = setOf({ fleet: "{}" }, ["fleet", "guest.vm1"]);
  assertEquals(policyOf(set, VM1, {}, []).origins?.deny?.[0], NO_POLICY_ORIGIN);
  assertEquals(policyOf(set, { name: "vm1", group: null }, {}, []).deny, []);
});
