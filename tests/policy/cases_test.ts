/**
 * The tables of `cases.ts`, through the compiled rules and through a linear scan.
 */
import { assert, assertEquals } from "@std/assert";
import { RuleSet } from "../../lib/policy/rule_set.ts";
import { CASES } from "./cases.ts";
import { NaiveMatcher } from "./naive_matcher.ts";
import { outcomeOf, queryOf, rulesOf } from "./rules.ts";

for (const { title, rules: text, queries } of CASES) {
  Deno.test(`rules: ${title}`, () => {
    const rules = rulesOf(text);
    const compiled = new RuleSet(rules);
    const naive = new NaiveMatcher(rules);
    for (const [query, expected] of Object.entries(queries)) {
      assertEquals(outcomeOf(compiled, queryOf(query)), expected, `${text} <- ${query}`);
      assertEquals(outcomeOf(naive, queryOf(query)), expected, `by scan: ${text} <- ${query}`);
    }
  });
}

Deno.test("rules: the tables are no shorter than they were, and say nothing twice", () => {
  const said = CASES.flatMap(({ rules, queries }) =>
    Object.keys(queries).map((query) => `${rules} <- ${query}`)
  );
  assert(said.length >= 320, `${said.length} cases`);
  assertEquals(new Set(said).size, said.length);
});
