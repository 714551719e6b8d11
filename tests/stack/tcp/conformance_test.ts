/** The table of what TCP promises a guest can't go stale: every test that it names is there. */
import { assert, assertEquals } from "@std/assert";
import { CONFORMANCE } from "./conformance.ts";

const TESTS = new URL("../../", import.meta.url);

/** The sources of all tests. */
function* sources(folder: URL = TESTS): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* sources(new URL(`${name}/`, folder));
    else if (name.endsWith("_test.ts")) yield Deno.readTextFileSync(new URL(name, folder));
  }
}

/** What is said to whatever registers a test: the string that is the first argument of a call. */
function namesIn(source: string): string[] {
  const calls = source.matchAll(/^ *[\w.]+\(\s*(?:"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`),/gm);
  return [...calls].map(([, plain, template]) => (plain ?? template)!.replaceAll(/\\(.)/g, "$1"));
}

const named = CONFORMANCE.flatMap(({ tests }) => tests);

Deno.test(`${CONFORMANCE.length} promises of TCP have ${named.length} tests by name`, () => {
  const known = new Set([...sources()].flatMap(namesIn));
  assert(known.size > 1000, `${known.size} names were found`);
  assertEquals(named.filter((name) => !known.has(name)), [], "tests that are not there");
  assertEquals(new Set(named).size, named.length, "a test stands for one promise");
  for (const { item, source, tests } of CONFORMANCE) {
    assert(tests.length > 0 && source !== "", item);
  }
});
