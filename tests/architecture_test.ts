/**
 * The folders are layers: an import goes down, the pure layers name nothing of the outside, and
 * whoever imports the module gets no command line and no HTTP.
 */
import { assert, assertEquals } from "@std/assert";
import { mustRun } from "./guest/program.ts";

const ROOT = new URL("../", import.meta.url);

/** Lowest first; each may import what stands before it. */
const LAYERS = [
  "wire",
  "stack",
  "dns",
  "policy",
  "inspect",
  "capture",
  "config",
  "host",
  "guest",
  "prepared.ts",
  "runtime.ts",
  "server.ts",
  "guests",
  "guests.ts",
  "fleet",
  "control",
  "cli",
];

/** The layers that do no I/O, read no clock and roll no dice; `config` is as pure. */
const PURE = LAYERS.slice(0, LAYERS.indexOf("host"));

/** Packages that a layer may import. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  dns: ["dns-packet"],
  config: ["@std/yaml"],
  host: ["@std/log", "dns-packet", "node:"],
  guest: ["dns-packet", "node:"],
  fleet: ["@nats-io/", "node:"],
  cli: ["@std/cli", "dns-packet", "node:"],
};

const OUTSIDE =
  /\bDeno\s*\.|\bsetTimeout\b|\bsetInterval\b|\bsetImmediate\b|\bqueueMicrotask\b|\bDate\b\s*[.(]|\bnew Date\b|\bMath\s*\.\s*random\b|\bperformance\s*\.|\bcrypto\s*\.|\bconsole\s*\.|\bfetch\s*\(|["']node:/;

interface Source {
  /** Path from the root, such as `lib/wire/arp.ts`. */
  readonly path: string;
  /** Its text without comments. */
  readonly code: string;
  /** What it imports, as it is written. */
  readonly imports: readonly string[];
}

/** The end of an import or export statement, or a call of `import`. */
const IMPORT =
  /^(?:import|export|\})(?:[^"\n]* from)? "([^"\n]+)"(?:;| with)|\bimport\(\s*"([^"\n]+)"/gm;

async function readSource(path: string): Promise<Source> {
  const text = await Deno.readTextFile(new URL(path, ROOT));
  const code = text.replace(/\/\*[^]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1");
  const imports = [...code.matchAll(IMPORT)].map(([, from, call]) => (from ?? call)!);
  return { path, code, imports };
}

async function* sourcesUnder(folder: string): AsyncGenerator<Source> {
  for await (const { name, isDirectory } of Deno.readDir(new URL(`${folder}/`, ROOT))) {
    if (isDirectory) yield* sourcesUnder(`${folder}/${name}`);
    else if (name.endsWith(".ts")) yield await readSource(`${folder}/${name}`);
  }
}

const sources: Source[] = await Array.fromAsync(sourcesUnder("lib"));

/** The layer of a path, or -1 where it is in none. */
function layerOf(path: string): number {
  return LAYERS.indexOf(path.split("/")[1] ?? "");
}

/** Path of an import from the root, or `null` for a package. */
function resolveImport(from: string, specifier: string): string | null {
  if (!specifier.startsWith(".")) return null;
  return new URL(specifier, new URL(from, "file:///")).pathname.slice(1);
}

Deno.test("every file of lib is in a layer", () => {
  assert(sources.length > 20);
  assertEquals(sources.filter(({ path }) => layerOf(path) < 0).map(({ path }) => path), []);
});

Deno.test("an import goes down", () => {
  const upward: string[] = [];
  for (const { path, imports } of sources) {
    for (const specifier of imports) {
      const target = resolveImport(path, specifier);
      if (target === null || target === "deno.json") continue;
      const layer = layerOf(target);
      if (layer < 0 || layer > layerOf(path)) upward.push(`${path} imports ${target}`);
    }
  }
  assertEquals(upward, []);
});

Deno.test("the control interface is told of a fleet as plain data", () => {
  const wrong = sources.filter(({ path }) => path.startsWith("lib/control/"))
    .flatMap(({ path, imports }) => imports.map((each) => resolveImport(path, each)))
    .filter((target) => target?.startsWith("lib/fleet/"));
  assertEquals(wrong, []);
});

Deno.test("a layer imports only its packages", () => {
  const foreign: string[] = [];
  for (const { path, imports } of sources) {
    const layer = LAYERS[layerOf(path)]!;
    const allowed = ["@std/assert", ...(PACKAGES[layer] ?? [])];
    for (const specifier of imports) {
      if (specifier.startsWith(".")) continue;
      if (!allowed.some((name) => specifier.startsWith(name))) {
        foreign.push(`${path}: ${specifier}`);
      }
    }
  }
  assertEquals(foreign, []);
});

Deno.test("the pure layers name nothing of the outside", () => {
  const found: string[] = [];
  for (const { path, code } of sources) {
    if (!PURE.includes(LAYERS[layerOf(path)]!)) continue;
    code.split("\n").forEach((line) => {
      if (OUTSIDE.test(line)) found.push(`${path}: ${line.trim()}`);
    });
  }
  assertEquals(found, []);
});

Deno.test("the search for outside names finds them", () => {
  for (
    const line of [
      "Deno.now()",
      "x = new Date()",
      "Date.now()",
      "Math.random()",
      'import x from "node:net";',
      "setTimeout(f)",
      "performance.now()",
      "crypto.getRandomValues(x)",
    ]
  ) assert(OUTSIDE.test(line), line);
  assert(!OUTSIDE.test("const updated = candidate.update(dateline);"));
});

Deno.test("the module brings no command line, no guest, no control and no HTTP", async () => {
  const seen = new Map<string, Source>();
  const pending = ["mod.ts"];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (seen.has(path)) continue;
    const source = await readSource(path);
    seen.set(path, source);
    for (const specifier of source.imports) {
      const target = resolveImport(path, specifier);
      if (target?.endsWith(".ts")) pending.push(target);
    }
  }
  assert(seen.size > 20);
  const forbidden: string[] = [];
  for (const { path, code, imports } of seen.values()) {
    if (/^lib\/(cli|control|guest)\//.test(path)) forbidden.push(path);
    if (/\bDeno\s*\.\s*serve\b/.test(code)) forbidden.push(`${path}: Deno.serve`);
    for (const name of imports) {
      if (/node:https?$|^@std\/(cli|http)/.test(name)) forbidden.push(`${path}: ${name}`);
    }
  }
  assertEquals(forbidden, []);
});

/** A module as `deno info --json` describes it. */
interface Module {
  readonly specifier: string;
  readonly dependencies?: readonly { readonly code?: { readonly specifier?: string } }[];
}

/** Packages that Deno fetches where a module is run: by what it imports, at once or later. */
async function fetchedPackages(entry: string): Promise<string[]> {
  const path = new URL(entry, ROOT).pathname;
  const { modules } = JSON.parse(await mustRun(["deno", "info", "--json", "--no-lock", path])) as {
    modules: readonly Module[];
  };
  const byUrl = new Map(modules.map((module) => [module.specifier, module]));
  const seen = new Set<string>();
  const pending = [new URL(entry, ROOT).href];
  for (let url = pending.pop(); url !== undefined; url = pending.pop()) {
    if (seen.has(url)) continue;
    seen.add(url);
    // What only types need is not fetched: it has no code.
    const imports = byUrl.get(url)?.dependencies?.map(({ code }) => code?.specifier) ?? [];
    pending.push(...imports.filter((each) => each !== undefined));
  }
  return [...seen].filter((url) => url.startsWith("npm:"));
}

Deno.test("nobody fetches the client of a fleet's engine without asking for a fleet", async () => {
  const isOfEngine = (url: string): boolean => url.includes("@nats-io");
  assert((await fetchedPackages("lib/fleet/mod.ts")).some(isOfEngine), "the fleet's entry does");
  for (const entry of ["mod.ts", "cli.ts", "lib/control/control.ts", "lib/control/client.ts"]) {
    const packages = await fetchedPackages(entry);
    assertEquals(packages.filter(isOfEngine), [], `${entry} fetches it: see lib/cli/apart.ts`);
  }
});
