/**
 * The rules of a policy as a configuration spells them: read, counted, and made into rules that
 * know where they stand.
 *
 * A list that is all wrong is told by its first few items: the others have the same fault.
 *
 * @module
 */
import { parseRule, type Rule, type RuleAction, type RuleTarget } from "../policy/rule.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";
import type { PolicyConfig } from "./options.ts";
import { items, type Reader, show } from "./readers.ts";

/** Most wrong rules of one list that are told one by one. */
const TOLD_MAX = 20;

/** Parts the rules of a text: a comma, but not one in front of another port of the same rule. */
export const RULE_SEPARATOR = /,(?!\s*[0-9]+(?:-[0-9]+)?(?:\/[a-z]*)?\s*(?:,|$))/i;

/** A reader of rules, into their canonical texts. */
export function readRules(action: RuleAction): Reader<string[]> {
  return (raw, fail) => {
    if (raw === null) fail("has no value; write [] for no rules");
    let wrong = 0;
    const rules = items(raw).map((item, i) => {
      const parsed = typeof item === "string"
        ? parseRule(item, action)
        : `${show(item)} is not a rule`;
      if (typeof parsed === "string" && ++wrong <= TOLD_MAX) fail(parsed, `[${i}]`);
      return typeof parsed === "string" ? "" : parsed.text;
    });
    if (wrong > TOLD_MAX) fail(`${wrong - TOLD_MAX} more rules are wrong`);
    return rules;
  };
}

/** What is wrong with a rule as the text of `--allow-cidr`, or `null`. */
export function cidrFault(text: string): string | null {
  return faultUnless(text, "prefix", "a network such as 10.0.0.0/8");
}

/** What is wrong with a rule as the text of `--allow-host`, or `null`. */
export function hostFault(text: string): string | null {
  return faultUnless(text, "domain", "a name such as pypi.org");
}

/** What is no rule at all is told by the reader. */
function faultUnless(text: string, kind: RuleTarget["kind"], what: string): string | null {
  const rule = parseRule(text, "allow");
  if (typeof rule === "string") return null;
  const isBare = rule.ports === null && rule.protocol === null;
  return isBare && rule.target.kind === kind
    ? null
    : `"${text}" is not ${what} alone; write --allow ${rule.text}`;
}

/**
 * What is wrong with the number of rules.
 *
 * @param policy The policy.
 * @param max Most rules that it may have.
 * @returns One problem or none.
 */
export function checkRuleCount(policy: PolicyConfig, max: number): ConfigProblem[] {
  const { allow = [], deny = [] } = policy;
  const count = allow.length + deny.length;
  if (count <= max) return [];
  const key = allow.length >= deny.length ? "policy.allow" : "policy.deny";
  return [{ key, text: `there are ${count} rules, at most ${max} (limits.policyRules)` }];
}

/**
 * Makes the rules of a policy.
 *
 * @param policy The policy, checked or not.
 * @returns Its rules, each with the place that messages name.
 * @throws {ConfigError} Where a rule is none.
 */
export function policyRules(policy: PolicyConfig): Rule[] {
  const problems: ConfigProblem[] = [];
  const rules: Rule[] = [];
  for (const action of ["allow", "deny"] as const) {
    let wrong = 0;
    (policy[action] ?? []).forEach((text, i) => {
      const key = `policy.${action}[${i}]`;
      const body = parseRule(text, action);
      if (typeof body !== "string") {
        rules.push({ ...body, action, origin: policy.origins?.[action]?.[i] ?? key });
      } else if (++wrong <= TOLD_MAX) problems.push({ key, text: body });
    });
    if (wrong > TOLD_MAX) {
      const text = `${wrong - TOLD_MAX} more rules are wrong`;
      problems.push({ key: `policy.${action}`, text });
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return rules;
}
