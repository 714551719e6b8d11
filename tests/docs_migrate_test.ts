/**
 * docs/migrate.md is whole and true: every flag that the help of a peer names has its row, every flag
 * that is named as ours exists, and every rule is one.
 */
import { assert, assertEquals } from "@std/assert";
import { completedCommands } from "../lib/cli/completions.ts";
import { parseRule } from "../lib/policy/rule.ts";

const ROOT = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, ROOT));
const TEXT = read("docs/migrate.md");
const PEERS = ["smolvm", "gvproxy", "passt", "pasta", "slirp4netns"];
/** The flags of `run`, `--help` and `--version` among them. */
const OURS = new Set([
  "--help",
  "--version",
  ...completedCommands().filter(({ name }) => name === "run")
    .flatMap(({ flags }) => flags.map(({ name }) => name)),
]);

/** The text below a heading. */
function section(name: string): string {
  const [, text] = TEXT.split(`\n## ${name}\n`);
  assert(text !== undefined, `docs/migrate.md has a part about ${name}`);
  return text.split("\n## ")[0]!;
}

/** The rows of its table: cells without their edges. */
function rows(name: string): string[][] {
  return section(name).split("\n").filter((line) => /^\| `/.test(line))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

function quoted(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code!);
}

/** What a peer's help names, one line for each of its options. */
function listed(name: string): string[][] {
  const [head, ...lines] = read(`fixtures/peers/${name}.txt`).trimEnd().split("\n");
  assert(head!.startsWith(`# ${name}`), `fixtures/peers/${name}.txt says of which version it is`);
  return lines.map((line) => line.split(" "));
}

for (const name of PEERS) {
  Deno.test(`every option of ${name} has its row, and no other has`, () => {
    const shared = name === "pasta" ? listed("passt").map((flags) => flags.join(" ")) : [];
    const wanted = listed(name).filter((flags) => !shared.includes(flags.join(" ")));
    const told = rows(name).map(([first]) => quoted(first!).join(" "));
    assertEquals(told.toSorted(), wanted.map((flags) => flags.join(" ")).toSorted());
  });

  Deno.test(`each row of ${name} has an equal here, or says why not`, () => {
    for (const [theirs, ours, more] of rows(name)) {
      const isNone = ours === "none";
      assert(isNone || ours === "run it" || quoted(ours!).length > 0, theirs);
      assert(!isNone || more !== "", `${theirs} says why`);
    }
  });
}

Deno.test("every flag that is named as ours exists, and every rule is one", () => {
  const cells = PEERS.flatMap((name) => rows(name).flatMap(([, ...rest]) => rest));
  const [intro] = TEXT.split("\n## ");
  const prose = PEERS.map((name) => {
    return section(name).split("\n").filter((line) => !line.startsWith("|")).join("\n");
  });
  let rules = 0;
  for (const code of [intro!, ...prose, ...cells].flatMap(quoted)) {
    const words = code.split(/\s+/);
    for (const word of words) {
      if (!word.startsWith("-") || /^-(p|netdev|L)$/.test(word)) continue;
      assert(OURS.has(word), `${word} in \`${code}\` is a flag of run`);
    }
    words.forEach((word, i) => {
      if (!["--allow", "--deny"].includes(word) || words[i + 1] === undefined) return;
      const rule = parseRule(words[i + 1]!, word === "--allow" ? "allow" : "deny");
      assert(typeof rule !== "string", `${words[i + 1]}: ${rule}`);
      rules++;
    });
  }
  assert(rules > 5, "rules were read");
});
