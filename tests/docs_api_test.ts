/**
 * What the entry points export is documented: a description for each symbol and for each of its public
 * members, and an example that asserts something, its own or that of a symbol that it links to. Task
 * `test:docs` runs the examples of each file that has one.
 */
import { assert, assertEquals } from "@std/assert";
import { runProgram } from "./guest/program.ts";

const ROOT = new URL("../", import.meta.url);

interface Comment {
  readonly doc?: string;
  readonly tags?: readonly { readonly kind: string; readonly doc?: string }[];
}

interface Member {
  readonly name?: string;
  readonly accessibility?: string;
  readonly jsDoc?: Comment;
  readonly tsType?: TypeNode;
}

interface TypeNode {
  readonly kind: string;
  readonly value?: unknown;
}

interface Declaration {
  readonly kind: string;
  readonly location: { readonly filename: string; readonly line: number };
  readonly jsDoc?: Comment;
  readonly def?: {
    readonly constructors?: readonly Member[];
    readonly properties?: readonly Member[];
    readonly methods?: readonly Member[];
    readonly tsType?: TypeNode;
    readonly target?: { readonly filename: string; readonly line: number };
  };
}

interface ExportedSymbol {
  readonly name: string;
  readonly declarations: readonly Declaration[];
}

interface Documentation {
  readonly nodes: Readonly<Record<string, { readonly symbols?: readonly ExportedSymbol[] }>>;
}

const { exports, tasks } = JSON.parse(
  await Deno.readTextFile(new URL("deno.json", ROOT)),
) as { exports: Record<string, string>; tasks: Record<string, { command: string }> };
const entries = Object.values(exports);

/** All exported symbols; one that two entry points export is there once. */
async function exportedSymbols(): Promise<ExportedSymbol[]> {
  const files = entries.map((path) => new URL(path, ROOT).pathname);
  const { code, stdout, stderr } = await runProgram(["deno", "doc", "--json", ...files]);
  assertEquals(code, 0, stderr);
  const { nodes } = JSON.parse(stdout) as Documentation;
  const all = Object.values(nodes).flatMap(({ symbols = [] }) => symbols);
  return all.filter(({ declarations }) => declarations.every(({ kind }) => kind !== "reference"));
}

const symbols = await exportedSymbols();
const byName = new Map(symbols.map((symbol) => [symbol.name, symbol]));

const textOf = ({ jsDoc }: Declaration): string =>
  [jsDoc?.doc, ...(jsDoc?.tags ?? []).map(({ doc }) => doc)].join("\n");

/** Blocks of code that are run, whose failing would be seen. */
function hasExample({ declarations }: ExportedSymbol): boolean {
  return declarations.some(({ jsDoc }) =>
    (jsDoc?.tags ?? []).some(({ kind, doc = "" }) =>
      kind === "example" && /^```ts\n(?:.*\n)*?.*\bassert\w*\((?:.*\n)*?```/m.test(doc)
    )
  );
}

/** Symbols whose examples stand for one's own. */
function linked(symbol: ExportedSymbol): ExportedSymbol[] {
  const { declarations } = symbol;
  const linkedNames = declarations.flatMap((declaration) => [
    ...textOf(declaration).matchAll(/\{@linkcode (\w+)(?:\.\w+)?\}/g),
  ]).map(([, name]) => name!);
  return linkedNames.flatMap((name) => byName.get(name) ?? []);
}

/** The members of a type that is written out, at any depth. */
function literalMembers(type: TypeNode | undefined): Member[] {
  if (type === undefined) return [];
  if (type.kind === "union") return (type.value as TypeNode[]).flatMap(literalMembers);
  if (type.kind !== "typeLiteral") return [];
  const { properties = [], methods = [] } = type.value as {
    properties?: Member[];
    methods?: Member[];
  };
  return [...properties, ...methods];
}

function members({ def = {} }: Declaration): Member[] {
  const { constructors = [], properties = [], methods = [], tsType } = def;
  const own = [...constructors, ...properties, ...methods];
  const all = [
    ...own,
    ...literalMembers(tsType),
    ...own.flatMap((member) => literalMembers(member.tsType)),
  ];
  return all.filter(({ accessibility }) => accessibility !== "private");
}

Deno.test("each exported symbol and each of its public members has a description", () => {
  assert(symbols.length > 50, `${symbols.length} symbols`);
  const bare = symbols.filter(({ declarations }) =>
    declarations.some(({ jsDoc }) => !jsDoc?.doc?.trim())
  );
  const bareMembers = symbols.flatMap(({ name, declarations }) =>
    declarations.flatMap(members)
      .filter(({ jsDoc }) => !jsDoc?.doc?.trim())
      .map((member) => `${name}.${member.name}`)
  );
  assertEquals([...bare.map(({ name }) => name), ...bareMembers], []);
});

Deno.test("each exported symbol has an example that asserts, or links to one that has", () => {
  const without = symbols.filter((symbol) =>
    !hasExample(symbol) && !linked(symbol).some(hasExample)
  );
  assertEquals(without.map(({ name }) => name), []);
});

Deno.test("each link in a description leads to something that is exported", () => {
  const lost = symbols.flatMap(({ name, declarations }) =>
    declarations.flatMap((declaration) => [
      ...textOf(declaration).matchAll(/\{@linkcode (\w+)(?:\.\w+)?\}/g),
    ]).filter(([, to]) => !byName.has(to!)).map(([link]) => `${name}: ${link}`)
  );
  assertEquals(lost, []);
});

Deno.test("task test:docs runs every file with an example, and no example is left out", async () => {
  const run = new Set(
    tasks["test:docs"]!.command.split("--doc").slice(1).join().match(/\S+\.ts\b/g),
  );
  const files = new Set([
    ...entries.map((path) => path.replace("./", "")),
    ...symbols.flatMap(({ declarations }) =>
      declarations.map(({ location }) => location.filename.replace(ROOT.href, ""))
    ),
  ]);
  const wrong: string[] = [];
  for (const path of files) {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    if (/^ *\* ```ts (?:ignore|no-assert)/m.test(text)) {
      wrong.push(`${path} has a block that asserts nothing`);
    }
    if (text.includes("* ```ts\n") && !run.has(path)) wrong.push(`${path} is not run`);
  }
  assertEquals(wrong, []);
});
