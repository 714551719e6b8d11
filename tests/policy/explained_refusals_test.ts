/** What refuses a guest's attempts, explained beforehand: the same line allows them. */
import { assert, assertEquals } from "@std/assert";
import { explain, type Explanation, parseTarget } from "../../lib/policy/explain.ts";
import { HOST } from "../guest/outside.ts";
import { explainedTarget, type Refused } from "../guest/policy_attempts.ts";
import { DENIED, FENCE, REFUSED, REFUSED_BY_DENIAL } from "../guest/policy_refusals.ts";
import { policyOf, type PolicySpec } from "../support/policy.ts";
import { bytesOf } from "./rules.ts";

const OWN = [HOST.ip, HOST.ip6].map((address) => bytesOf(address).join("."));

function explained(spec: PolicySpec, text: string): Explanation {
  const target = parseTarget(text);
  assert(typeof target !== "string", String(target));
  return explain(
    policyOf(spec),
    target,
    { isHost: (address) => OWN.includes(address.join(".")) },
    0,
  );
}

/** A policy with a hint followed. */
function followed(spec: PolicySpec, hint: string): PolicySpec {
  const { allow = [], deny = [] } = spec;
  const rule = /^policy: \{ allow: \["(.*)"\] \}$/.exec(hint)?.[1];
  if (rule !== undefined) return { ...spec, allow: [...allow, rule] };
  const level = /^policy: \{ protect: (off|metadata) \}$/.exec(hint)?.[1];
  if (level !== undefined) return { ...spec, protect: level as "off" | "metadata" };
  const without = /^policy: \{ deny: \[\] \} without "(.*)" \(.*\)$/.exec(hint)?.[1];
  assert(without !== undefined, hint);
  return { ...spec, deny: deny.filter((rule) => rule !== without) };
}

const hintsOf = ({ findings }: Explanation) => findings.flatMap(({ hint }) => hint ?? []);

/** Where the lines stand is another matter. */
const withoutOrigin = (hint: string | null) => hint?.replace(/ \([^)]*\)$/, "") ?? null;

function checkExplained(refused: readonly Refused[], spec: PolicySpec): void {
  for (const attempt of refused) {
    const target = explainedTarget(attempt);
    if (target === null) continue;
    const explanation = explained(spec, target);
    assert(!explanation.allowed, target);
    const [hint = null] = hintsOf(explanation);
    assertEquals(withoutOrigin(hint), withoutOrigin(attempt.hint ?? null), target);
    if (hint === null) continue;
    const changed = followed(spec, hint);
    const then = explained(changed, target);
    // Behind the level that protects stand the rules, with a way out of their own.
    const isAllowed = then.allowed ||
      hint.includes("protect") && explained(followed(changed, hintsOf(then)[0]!), target).allowed;
    assert(isAllowed, `${target}: ${hint}`);
  }
}

Deno.test("explain: what a fence refuses, and that its way out leads there", () => {
  checkExplained(REFUSED, { allow: FENCE });
});

Deno.test("explain: what levels and deny rules refuse, and that its way out leads there", () => {
  checkExplained(REFUSED_BY_DENIAL, { protect: "strict", deny: DENIED });
});
