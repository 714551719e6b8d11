/**
 * docs/reference/ is what its generator makes, and nothing in it lacks a description.
 */
import { assert, assertEquals } from "@std/assert";
import { events, LOG_FIELDS } from "../docs/generate/control.ts";
import { families, unplaced } from "../docs/generate/counts.ts";
import { SECTIONS } from "../docs/generate/configuration.ts";
import { FOLDER, referencePages } from "../docs/generate/reference.ts";
import { flagsOf } from "../lib/cli/arguments.ts";
import { COMMANDS } from "../lib/cli/commands.ts";
import { detailsOf, summaryOf } from "../lib/cli/help.ts";
import { LIMIT_HELP } from "../lib/config/limit_help.ts";
import { DEFAULT_LIMITS } from "../lib/config/limits.ts";
import { ALL_SETTINGS } from "../lib/config/settings.ts";
import { ROUTES } from "../lib/control/routes.ts";
import { FIGURE_HELP, SCHEMAS } from "../lib/control/schemas.ts";
import { DNS_COUNT_HELP } from "../lib/host/dns_counts.ts";
import { DENIAL_REASONS } from "../lib/policy/denial.ts";
import { COUNTER_HELP } from "../lib/stack/counter_help.ts";
import { COUNTER_NAMES } from "../lib/stack/counters.ts";

/** What has no text, by name. */
function untold(entries: Iterable<readonly [name: string, text: string]>): string[] {
  return [...entries].filter(([, text]) => text.trim().length < 4).map(([name]) => name);
}

Deno.test("docs/reference/ is up to date: deno task reference writes it", async () => {
  const pages = await referencePages();
  const there = [...Deno.readDirSync(FOLDER)].map(({ name }) => name).sort();
  assertEquals(there, [...pages.keys()].sort());
  for (const [name, text] of pages) {
    const isFresh = Deno.readTextFileSync(new URL(name, FOLDER)) === text;
    assert(isFresh, `docs/reference/${name} is not what deno task reference writes`);
  }
});

Deno.test("every command, flag and key says what it is", () => {
  assertEquals(untold(COMMANDS.map((name) => [name, summaryOf(name)])), []);
  assertEquals(untold(COMMANDS.map((name) => [name, detailsOf(name)])), []);
  for (const command of COMMANDS) {
    assertEquals(untold(flagsOf(command).map(({ flag, help }) => [flag, help])), [], command);
  }
  assertEquals(untold(ALL_SETTINGS.map(({ key, help }) => [key, help])), []);
  assertEquals(Object.keys(LIMIT_HELP), Object.keys(DEFAULT_LIMITS));
});

Deno.test("every key of the file has a place in the reference", () => {
  const sections = ["limits", ...SECTIONS.map(([section]) => section)];
  const lost = ALL_SETTINGS.filter(({ key }) => {
    return !sections.includes(key.includes(".") ? key.split(".")[0]! : "");
  });
  assertEquals(lost.map(({ key }) => key), []);
});

Deno.test("every counter, outcome, figure and metric says what it counts", () => {
  assertEquals(Object.keys(COUNTER_HELP), [...COUNTER_NAMES]);
  assertEquals(unplaced(), []);
  for (const help of [COUNTER_HELP, DNS_COUNT_HELP, FIGURE_HELP, DENIAL_REASONS]) {
    assertEquals(untold(Object.entries(help)), []);
  }
  assertEquals(untold(families().map(({ name, help }) => [name, help])), []);
});

Deno.test("every route and its parameters, every event and its fields say what they are", () => {
  assertEquals(untold(ROUTES.map(({ path, summary }) => [path, summary])), []);
  const parameters = ROUTES.flatMap(({ path, params = [], query = [] }) => {
    return [...params, ...query].map(({ name, description }): [string, string] => {
      return [`${path} ${name}`, description];
    });
  });
  assertEquals(untold(parameters), []);
  const all = events();
  assertEquals(all.length, SCHEMAS.Event.oneOf.length);
  assertEquals(untold(all.map(({ type, description }) => [type, description])), []);
  assertEquals(all.flatMap(({ type, fields }) => untold(fields).map((it) => `${type} ${it}`)), []);
});

Deno.test("every field of log lines in the reference is one that the code writes", () => {
  const folders = ["lib/cli", "lib/host", "lib/control", "lib"];
  const code = folders.flatMap((folder) => {
    const url = new URL(`../${folder}/`, import.meta.url);
    return [...Deno.readDirSync(url)].filter(({ name }) => name.endsWith(".ts"))
      .map(({ name }) => Deno.readTextFileSync(new URL(name, url)));
  }).filter((text) => /\b(?:log|logger|#log|#logger|Warning)\b/i.test(text)).join("\n");
  const unknown = LOG_FIELDS.filter(([name]) => !new RegExp(`[{,\\n ]${name}\\b[,:} ]`).test(code));
  assertEquals(unknown, []);
});
