/**
 * What docs/reliability.md says of hostile inputs and limits is so: each of the rows is there, the
 * tests that it names exist, none is missing, and the limits are the code's.
 */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS, type Limits } from "../lib/config/limits.ts";

const ROOT = new URL("../", import.meta.url);
const ROWS = 60;

const read = (path: string): string => Deno.readTextFileSync(new URL(path, ROOT));
const page = read("docs/reliability.md");

/** A row of the page: the tests that it names. */
interface Row {
  readonly tests: readonly string[];
}

/** The rows by their numbers. */
function rowsOfPage(): Map<number, Row> {
  const [, part = ""] = page.split(/^## Rows$/m);
  const [rows = ""] = part.split(/^## /m);
  const found = new Map<number, Row>();
  for (const piece of rows.split(/^(?=\*\*\d+\. |###)/m)) {
    const [, number] = /^\*\*(\d+)\. /.exec(piece) ?? [];
    if (number === undefined) continue;
    assert(!found.has(Number(number)), `row ${number} is there once`);
    const text = piece.replace(/\s+/g, " ");
    const tests = [...text.matchAll(/- (`+)(hostile .*?)\1(?!`)/g)].map(([, , name]) => name!);
    found.set(Number(number), { tests });
  }
  return found;
}

/** Names of all tests in the tree that are named after a row; `…` is what a loop puts in. */
function testsOfTree(): string[] {
  const names: string[] = [];
  const walk = (folder: string): void => {
    for (const { name, isDirectory } of Deno.readDirSync(new URL(folder, ROOT))) {
      if (isDirectory) walk(`${folder}${name}/`);
      if (!name.endsWith("_test.ts")) continue;
      for (const [, , test] of read(`${folder}${name}`).matchAll(/\(\s*(["`])(hostile \d.*?)\1/g)) {
        names.push(test!.replace(/\$\{.*?\}/g, "…"));
      }
    }
  };
  walk("tests/");
  return names;
}

Deno.test("docs/reliability.md has all rows, each with its tests", () => {
  const rows = rowsOfPage();
  assertEquals([...rows.keys()], Array.from({ length: ROWS }, (_, i) => i + 1));
  const withoutTest = [...rows].filter(([, { tests }]) => tests.length === 0);
  assertEquals(withoutTest.map(([number]) => number), []);
});

const there = testsOfTree();

// The counts stand in the name, so that every run of the suite shows them.
Deno.test(`hostile inputs: ${ROWS} rows, ${there.length} tests, all in docs/reliability.md`, () => {
  const rows = rowsOfPage();
  const named = [...rows].flatMap(([number, { tests }]) => {
    for (const test of tests) assert(test.startsWith(`hostile ${number}: `), `${number}: ${test}`);
    return tests;
  });
  assertEquals(new Set(there).size, there.length, "each name is one test's");
  assertEquals(named.toSorted(), there.toSorted());
});

Deno.test("docs/reliability.md lists every limit with its default and its meaning", () => {
  const source = read("lib/config/limits.ts");
  const [, fields = ""] = /^export interface Limits \{\n([\s\S]*?)^\}/m.exec(source) ?? [];
  const meanings = [...fields.matchAll(/\/\*\* (.*?) \*\/\n {2}(\w+): number;/g)];
  const expected = meanings.map((
    [, text, key],
  ) => [key, DEFAULT_LIMITS[key as keyof Limits], text]);
  assertEquals(expected.length, Object.keys(DEFAULT_LIMITS).length);
  const lines = [...page.matchAll(/^\| `(\w+)` +\| (\d+) +\| (.*?) +\|$/gm)];
  assertEquals(lines.map(([, key, value, text]) => [key, Number(value), text]), expected);
});

Deno.test("files, folders and tasks that docs/reliability.md names are there", () => {
  const quoted = [...page.matchAll(/`((?:lib|tests|bench|docs|fixtures)\/[\w/.]*)`/g)];
  const linked = [...page.matchAll(/\]\(\.\.\/([^)\s]+)\)/g)];
  const paths = [...quoted, ...linked].map(([, path]) => path!);
  assert(paths.length >= 8);
  for (const path of paths) assert(Deno.statSync(new URL(path, ROOT)), path);
  const { tasks } = JSON.parse(read("deno.json")) as { tasks: Record<string, unknown> };
  const named = [...page.matchAll(/deno task (\w+)/g)].map(([, name]) => name!);
  assert(named.length >= 6);
  assertEquals(named.filter((name) => !(name in tasks)), []);
});
