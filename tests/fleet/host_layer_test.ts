/** What a host says beneath its fleet's documents, and what it only echoes of them. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { PolicyConfig } from "../../lib/config/options.ts";
import { withoutFleet } from "../../lib/fleet/host_layer.ts";
import { closedPolicy, mergePolicies, NO_POLICY_ORIGIN } from "../../lib/fleet/merge.ts";
import type { PolicyDocument } from "../../lib/fleet/policy_document.ts";
import { ruleLists } from "../policy/arbitrary_rules.ts";

function documentOf(policy: PolicyConfig): PolicyDocument {
  const places = (name: string, rules: readonly string[] = []) =>
    rules.map((_, i) => `fleet.${name}[${i}]`);
  const origins = {
    allow: places("allow", policy.allow),
    deny: places("deny", policy.deny),
    ...(policy.protect === undefined ? {} : { protect: "fleet.protect" }),
  };
  return { key: "fleet", revision: 1, closed: false, policy: { ...policy, origins } };
}

Deno.test("host layer: an echo is the fleet's, a change is the host's", () => {
  const fleet = documentOf({ protect: "strict", allow: ["pypi.org"], deny: ["9.9.9.9"] });
  const before: PolicyConfig = { protect: "off", deny: ["8.8.8.8"] };
  const theirs = mergePolicies([fleet], {});
  const shown = mergePolicies([fleet], before);
  const changed = {
    ...shown,
    allow: [...shown.allow!, "github.com"],
    deny: shown.deny!.filter((rule) => rule !== "8.8.8.8"),
    origins: { ...shown.origins, deny: ["fleet.deny[0]"] },
  };
  assertEquals(withoutFleet(changed, theirs, before), {
    protect: "off",
    allow: ["github.com"],
    deny: [],
    denyPage: true,
    ech: "refuse",
    origins: { allow: ["policy.allow[1]"], deny: [] },
  });
  // Without places everything is the host's own word, the same rules too.
  const said = withoutFleet({ allow: ["pypi.org"], protect: "strict" }, theirs, before);
  assertEquals([said.allow, said.protect], [["pypi.org"], "strict"]);
});

Deno.test("host layer: what both say stays the host's when it is echoed", () => {
  const before: PolicyConfig = { deny: ["9.9.9.9"], origins: { deny: ["gateway.yaml:2:3"] } };
  const fleet = documentOf({ deny: ["9.9.9.9", "8.8.8.8"] });
  const shown = mergePolicies([fleet], before);
  assertEquals(shown.origins?.deny, ["fleet.deny[0]", "fleet.deny[1]"]);
  const own = withoutFleet(shown, mergePolicies([fleet], {}), before);
  assertEquals([own.deny, own.origins?.deny], [["9.9.9.9"], ["gateway.yaml:2:3"]]);
});

Deno.test("host layer: to put back what is closed leaves the host's hidden rules as they are", () => {
  const closed = closedPolicy(NO_POLICY_ORIGIN);
  const before: PolicyConfig = { protect: "off", allow: ["pypi.org"], deny: ["9.9.9.9"] };
  const own = withoutFleet(closed, closed, before);
  assertEquals([own.allow, own.deny, own.protect], [["pypi.org"], ["9.9.9.9"], "off"]);
  const more = { ...closed, deny: [...closed.deny!, "8.8.8.8"] };
  assertEquals(withoutFleet(more, closed, before).deny, ["9.9.9.9", "8.8.8.8"]);
  // Another one is another one.
  const other = withoutFleet({ allow: ["github.com"] }, closed, before);
  assertEquals([other.allow, other.deny], [["github.com"], []]);
});

Deno.test("host layer: to put back what is in force changes nothing, whatever anybody says", () => {
  const layers = ruleLists.map((rules): PolicyConfig => ({
    allow: rules.filter(({ action }) => action === "allow").map(({ text }) => text),
    deny: rules.filter(({ action }) => action === "deny").map(({ text }) => text),
  }));
  fc.assert(
    fc.property(layers, layers, layers, (said, before, later) => {
      const fleet = [documentOf(said)];
      const shown = mergePolicies(fleet, before);
      const own = withoutFleet(shown, mergePolicies(fleet, {}), before);
      const rules = ({ allow, deny }: PolicyConfig) => [new Set(allow), new Set(deny)];
      assertEquals(rules(mergePolicies(fleet, own)), rules(shown));
      // And the fleet's next word meets the host as it was.
      const next = [documentOf(later)];
      assertEquals(rules(mergePolicies(next, own)), rules(mergePolicies(next, before)));
    }),
    { numRuns: 1_000 },
  );
});
