/**
 * What the documents say is so: commands, flags, addresses, limits and verdicts of the README, the
 * examples, the file names of the architecture, links among the documents.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FLAG_SETTINGS, parseArguments } from "../lib/cli/arguments.ts";
import { COMMANDS } from "../lib/cli/commands.ts";
import { VERSION } from "../lib/cli/help.ts";
import { joinWays } from "../lib/cli/ready.ts";
import type { Endpoint } from "../lib/config/endpoint.ts";
import { DEFAULT_LIMITS, type Limits } from "../lib/config/limits.ts";
import { DEFAULT_GUEST_NETWORK, type ProtectLevel } from "../lib/config/options.ts";
import { resolveConfig } from "../lib/config/resolve.ts";
import { environmentName } from "../lib/config/settings.ts";
import { policyOf } from "./support/policy.ts";
import { parseIp, sameBytes } from "../lib/wire/address.ts";
import { CLI, Folder, runCli } from "./cli/cli_process.ts";
import { BackgroundProgram, mustRun } from "./guest/program.ts";

const ROOT = new URL("../", import.meta.url);
const DOCUMENTS = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "docs/architecture.md",
  "docs/control.md",
  "docs/fleet.md",
  "docs/guests.md",
  "docs/operate.md",
  "docs/policy.md",
  "docs/reference/commands.md",
  "docs/reference/configuration.md",
  "docs/reference/control.md",
  "docs/reference/counts.md",
  "docs/troubleshooting.md",
  "docs/vmms.md",
];

const read = (path: string): string => Deno.readTextFileSync(new URL(path, ROOT));
const readme = read("README.md");
const architecture = read("docs/architecture.md");
const texts = DOCUMENTS.map((path) => ({ path, text: read(path) }));

/** All matches of a pattern's first group in all documents, each once. */
function found(pattern: RegExp): string[] {
  return [
    ...new Set(texts.flatMap(({ text }) => [...text.matchAll(pattern)].map(([, it]) => it!))),
  ];
}

/** The rows of the table under a heading, as cells without their quotes. */
function tableUnder(text: string, heading: RegExp): string[][] {
  const from = text.search(heading);
  assert(from >= 0, `${heading} is there`);
  const [table = ""] = /(?:^\|.*\n)+/m.exec(text.slice(from)) ?? [];
  const rows = table.trim().split("\n");
  return rows.filter((row) => !/^\|[ -]*-/.test(row))
    .map((row) => row.split("|").slice(1, -1).map((cell) => cell.replaceAll("`", "").trim()));
}

/** The programs behind the tasks of deno.json, whose flags CONTRIBUTING.md names. */
function taskPrograms(): string {
  const { tasks } = JSON.parse(read("deno.json")) as { tasks: Record<string, { command: string }> };
  const paths = Object.values(tasks).flatMap(({ command }) => command.match(/\S+\.ts\b/g) ?? []);
  return [...new Set(paths)].filter((path) => path !== "cli.ts").map(read).join("\n");
}

Deno.test("every flag in the documents is one of the command line, of a task, of Deno, npx or curl", async () => {
  const helps = await Promise.all(COMMANDS.map(async (command) => {
    return (await runCli([], ...command.split(" "), "--help")).stdout;
  }));
  const known = new Set(
    [...helps.join("\n").matchAll(/(--[a-z][a-z0-9-]*)/g)].map(([flag]) => flag),
  );
  assert(known.has("--listen") && known.has("--no-ipv6"));
  const others = [
    "--allow-net",
    "--deny-net",
    "--allow-read",
    "--allow-write",
    "--allow-env",
    "--unstable-net",
    "--unstable-vsock",
  ];
  for (
    const flag of [
      ...others,
      "--allow-run",
      "--yes",
      "--filter",
      "--sanitize-ops",
      "--sanitize-resources",
      "--lint",
      "--dry-run",
      "--unix-socket",
      "--max-time",
      "--device", // krunkit's
      "--cached-only",
    ]
  ) {
    known.add(flag);
  }
  const flags = found(/(?<![\w-])(--[a-z][a-z0-9-]*)/g);
  assert(flags.length > 15);
  const programs = taskPrograms();
  const isOfTask = (flag: string) => programs.includes(`"${flag.slice(2)}"`);
  assertEquals(flags.filter((flag) => !known.has(flag) && !isOfTask(flag)), []);
});

Deno.test("commands in the documents are understood", () => {
  const recipes = filesUnder("examples").filter((path) => path.endsWith(".yaml")).map(read);
  const all = [...texts.map(({ text }) => text), ...recipes];
  const commands = all.flatMap((text) => [
    ...text.matchAll(/(?:cli\.ts|task run)((?: +[^\s`]+)*)/g),
  ]).map(([, words]) => words!.trim().split(/ +/).filter((word) => word !== ""));
  for (const words of commands) {
    // Prose may follow the program's name; a command's first word is a command or a flag.
    const isCommand = words.length > 0 &&
      (words[0]!.startsWith("-") || COMMANDS.some((name) => name === words[0]));
    if (isCommand) parseArguments(words);
  }
  assert(commands.some((words) => words.includes("check")));
  assert(commands.some((words) => words.includes("-p")));
});

Deno.test("tasks in the documents exist, with one version of Deno everywhere", () => {
  const { tasks } = JSON.parse(read("deno.json")) as { tasks: Record<string, unknown> };
  const named = found(/ task ([a-z]+)/g);
  assert(named.includes("demo") && named.includes("test") && named.includes("run"));
  assertEquals(named.filter((name) => !(name in tasks)), []);
  const versions = [...texts.map(({ text }) => text), read(".ci/run")]
    .flatMap((text) => [...text.matchAll(/deno@(\d+\.\d+\.\d+)/g)].map(([, version]) => version!));
  assert(versions.length > 5);
  assertEquals([...new Set(versions)].length, 1);
});

Deno.test("environment variables in the documents are settings'", () => {
  const known = ["config", ...FLAG_SETTINGS.map(({ flag }) => flag)].map(environmentName);
  const named = found(/(VIRTIO_GATEWAY_[A-Z0-9_]+)/g);
  assert(named.length > 0);
  assertEquals(named.filter((name) => !known.includes(name)), []);
});

Deno.test("the README joins a VMM as the ready line does", () => {
  const endpoint: Endpoint = { transport: "unix", path: "/path/to/vm1.sock" };
  const { guestMac } = DEFAULT_GUEST_NETWORK;
  const options = {
    mode: "listen",
    framing: "stream",
    guestMac,
    mtu: 1500,
    offload: false,
  } as const;
  const flat = readme.replace(/\s+/g, " ");
  const ways = joinWays(endpoint, options);
  assertEquals(ways.map(([vmm]) => vmm), ["QEMU", "libkrun"]);
  for (const [, way] of ways) assertStringIncludes(flat, way);
});

Deno.test("the README's addresses are the defaults", () => {
  const { guestIp, gatewayIp, guestIp6, gatewayIp6 } = DEFAULT_GUEST_NETWORK;
  const flat = readme.replace(/\s+/g, " ");
  assertStringIncludes(flat, `${guestIp} behind ${gatewayIp}`);
  assertStringIncludes(flat, `${guestIp6} behind ${gatewayIp6}`);
});

Deno.test("the README's limits are the defaults", () => {
  const [, ...rows] = tableUnder(readme, /^## Limits$/m);
  assert(rows.length >= 8);
  for (const [key, value] of rows) {
    assertEquals(Number(value), DEFAULT_LIMITS[key as keyof Limits], key);
  }
});

const SAMPLES: readonly [row: RegExp, addresses: readonly string[]][] = [
  [/^public/, ["93.184.215.14", "2606:2800:21f::1"]],
  [/^private/, ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"]],
  [/^the host's own/, ["93.184.215.99"]],
  [/metadata/, ["169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254"]],
  [/^loopback/, ["127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "240.0.0.1"]],
];

Deno.test("the README's table of protect levels is the judge's", () => {
  const [head, ...rows] = tableUnder(readme, /^What no guest reaches, by/m);
  assertEquals(rows.length, SAMPLES.length);
  const own = parseIp("93.184.215.99")!;
  rows.forEach(([label, ...verdicts], at) => {
    const [pattern, addresses] = SAMPLES[at]!;
    assert(pattern.test(label!), label);
    verdicts.forEach((verdict, column) => {
      const protect = head![column + 1]!.split(" ")[0] as ProtectLevel;
      const policy = policyOf({ protect });
      for (const text of addresses) {
        const address = parseIp(text)!;
        const isHost = () => sameBytes(address, own);
        const { kind } = policy.judgeFlow({ address, port: 443, protocol: "tcp", isHost }, 0);
        assertEquals(kind === "allow" ? "reached" : "refused", verdict, `${text} under ${protect}`);
      }
    });
  });
});

Deno.test("the README's program passes the type checker", async () => {
  const path = new URL("README.md", ROOT).pathname;
  await mustRun([Deno.execPath(), "check", "--quiet", "--doc-only", path]);
});

Deno.test("examples/embed.ts passes the type checker and serves a guest to its end", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.sock");
  const example = new URL("examples/embed.ts", ROOT).pathname;
  const permissions = ["--allow-net", `--allow-read=${path}`, `--allow-write=${path}`];
  await using program = new BackgroundProgram([
    ...[Deno.execPath(), "run", "--check", "--no-prompt", ...permissions],
    ...[example, `unix:${path}`],
  ]);
  await program.line(/^the guest's port 80 is at http:\/\/127\.0\.0\.1:\d+\/$/, 0, 120_000);
  const vmm = await Deno.connect({ transport: "unix", path });
  await program.line(/^guest attached$/);
  vmm.close();
  await program.line(/^guest left$/);
  assertEquals((await program.end("SIGCONT")).code, 0);
});

Deno.test("examples/gateway.yaml is a configuration, and sets what it says", async () => {
  const name = "examples/gateway.yaml";
  const { settings } = resolveConfig({ file: { name, text: read(name) } });
  assertEquals(settings.meeting?.endpoint, { transport: "unix", path: "./vm1.sock" });
  assertEquals(settings.network.publishedPorts, [
    { hostPort: 8080, guestPort: 80 },
    { hostPort: 2222, guestPort: 22, bind: ["127.0.0.1"] },
    {
      hostPort: 8443,
      guestPort: 443,
      bind: ["::"],
      allowFrom: ["private", "192.0.2.7"],
    },
    { hostPort: 5300, guestPort: 53, protocol: "udp" },
  ]);
  assertEquals(settings.network.hostServices, [{ gatewayPort: 5432, hostPort: 5432 }]);
  assertEquals(settings.network.policy.protect, "metadata");
  assertEquals(settings.network.policy.allow?.length, 4);
  assertEquals(settings.network.policy.deny, ["telemetry.example.com"]);
  assertEquals(settings.network.rate, { up: 10_000_000, down: 50_000_000, flowsPerSecond: 200 });
  assertEquals(settings.network.dns.zones?.["vm.internal"], "local");
  const path = new URL(name, ROOT).pathname;
  const { code, stdout } = await runCli([`--allow-read=${path}`], "check", "--config", path);
  assertEquals(code, 0, stdout);
});

/** Files below a folder, as paths from the root. */
function filesUnder(folder: string): string[] {
  return [...Deno.readDirSync(new URL(`${folder}/`, ROOT))].flatMap(({ name, isDirectory }) => {
    return isDirectory ? filesUnder(`${folder}/${name}`) : [`${folder}/${name}`];
  });
}

/** The files that the architecture names; a bare name stands in the folder of its heading. */
function namedFiles(): { named: Set<string>; absent: string[] } {
  const all = new Set(["lib", "tests", "docs", "examples"].flatMap(filesUnder));
  const named = new Set<string>();
  const absent: string[] = [];
  let folder = "";
  for (const line of architecture.split("\n")) {
    if (line.startsWith("#")) folder = /`([a-z/]+)\/`/.exec(line)?.[1] ?? "";
    for (const [word] of line.matchAll(/[\w/.-]+\.(?:ts|wat|md|yaml|html|css|svg)\b/g)) {
      const places = [`lib/${folder}/${word}`, `lib/${word}`, word];
      const place = places.find((path) => all.has(path));
      if (place === undefined) absent.push(word);
      else named.add(place);
    }
  }
  return { named, absent };
}

Deno.test("docs/architecture.md names files that exist, and every file of lib", () => {
  const { named, absent } = namedFiles();
  assertEquals(absent, []);
  const lib = filesUnder("lib");
  assert(lib.length > 100);
  assertEquals(lib.filter((path) => !named.has(path)).sort(), []);
});

Deno.test("links among the documents lead to files and headings", () => {
  const broken: string[] = [];
  for (const { path, text } of texts) {
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const { pathname, hash } = new URL(target!, new URL(path, ROOT));
      try {
        const headings = Deno.readTextFileSync(pathname).matchAll(/^#+ (.*)$/gm);
        const anchors = [...headings].map(([, heading]) => anchorOf(heading!));
        if (hash !== "" && !anchors.includes(hash)) broken.push(`${path}: ${target}`);
      } catch {
        broken.push(`${path}: ${target}`);
      }
    }
  }
  assertEquals(broken, []);
  assertEquals(CLI, new URL("cli.ts", ROOT).pathname);
});

function anchorOf(heading: string): string {
  return `#${heading.toLowerCase().replace(/[^\w -]/g, "").replaceAll(" ", "-")}`;
}

Deno.test("the changelog has the version of the module", () => {
  assertStringIncludes(read("CHANGELOG.md"), `\n## ${VERSION}`);
});
