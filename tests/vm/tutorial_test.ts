/** docs/tutorial.md: its commands are run as they stand there, in a clone, with a real VM. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { Folder } from "../cli/cli_process.ts";
import { fakeResolver } from "../guest/fake_resolver.ts";
import { BackgroundProgram, mustRun, type Outcome, runProgram, until } from "../guest/program.ts";
import { hasProgram } from "../support/programs.ts";
import { Console } from "./machine.ts";
import { guest, vmTest } from "./prerequisites.ts";
import { freePort } from "../support/free_port.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const TEXT = Deno.readTextFileSync(`${ROOT}docs/tutorial.md`);
const PARTS = ["cli.ts", "mod.ts", "lib", "offline", "examples", "deno.json", "deno.lock"];

/** The blocks of a kind, in their order: a language, and what stands behind it. */
function blocks(kind: string): string[] {
  return [...TEXT.matchAll(/^```(.*)\n([^]*?)^```$/gm)].filter(([, head]) => head === kind)
    .map(([, , block]) => block!);
}

/** The lines of a kind of block; one that ends in a backslash goes on. */
const lines = (kind: string): string[] => {
  return blocks(kind).flatMap((block) => block.replaceAll("\\\n", "").trim().split("\n"));
};

/** A clone as a reader has it, and the ports and the resolver that this machine can spare. */
class Clone {
  readonly #folder: Folder;
  readonly #port = String(freePort());

  private constructor(folder: Folder) {
    this.#folder = folder;
  }

  static async make(folder: Folder): Promise<Clone> {
    await mustRun(["cp", "-r", ...PARTS.map((name) => `${ROOT}${name}`), folder.path]);
    await Deno.symlink(guest, folder.file("guest"));
    return new Clone(folder);
  }

  /** Writes what the document shows into its file. */
  async write(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(this.#folder.file(name), text.replace("8080", this.#port));
  }

  /** The words that run a line in the clone. */
  words(line: string): string[] {
    const command = line.replace(/^deno /, `${Deno.execPath()} `).replace("8080", this.#port);
    return ["sh", "-c", `cd ${this.#folder.path} && exec ${command}`];
  }

  run(line: string): Promise<Outcome> {
    return runProgram(this.words(line), 180_000);
  }
}

/** How large a file is; -1 where there is none. */
function sizeOf(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return -1;
    throw error;
  }
}

/** A program in the background that at a test's failure takes its own programs with it. */
class Terminal extends BackgroundProgram {
  override async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGTERM", 60_000);
  }
}

/** What lines say that have something to say. */
const SAYS: readonly [line: RegExp, text: RegExp][] = [
  [/ check /, /^ {2}allow:/m],
  [/ explain /, /allow/i],
  [/^curl /, /^hello from the guest$/m],
  [/ status$/, /attached/],
  [/ denials$/, /example\.com/],
  [/ reload$/, /in force/],
  [/^tshark /, /telemetry\.example\.net[^]*default-deny/],
  [/^ping /, /1 packets received/],
  [/^nslookup pypi\.org/, /203\.0\.113\.7/],
  [/^wget .*example\.com/, /bad address/],
  [/^nslookup example\.com/, /203\.0\.113\.8/],
  [/^nslookup telemetry/, /REFUSED/],
];

function assertSays(line: string, text: string): void {
  for (const [pattern, said] of SAYS) if (pattern.test(line)) assertMatch(text, said, line);
}

/** Runs the lines of the n-th block of a kind, each to its success. */
async function runOnHost(clone: Clone, block: string): Promise<void> {
  for (const line of block.trim().split("\n")) {
    const { code, stdout, stderr } = await clone.run(line);
    assertEquals(code, 0, `${line}\n${stdout}\n${stderr}`);
    assertSays(line, stdout + stderr);
  }
}

async function runInGuest(console: Console, block: string): Promise<void> {
  for (const line of block.trim().split("\n")) {
    // The one line that needs the Internet.
    if (line.includes("http://pypi.org/")) continue;
    assertSays(line, (await console.run(line)).text);
  }
}

vmTest("docs/tutorial.md, each command of its first part", async () => {
  assert(await hasProgram("tshark"), "tshark is installed");
  await using folder = await Folder.make();
  const clone = await Clone.make(folder);
  await using resolver = await fakeResolver({
    "pypi.org": [{ type: "A", data: "203.0.113.7" }],
    "example.com": [{ type: "A", data: "203.0.113.8" }],
  });
  const dns = `dns: { upstreams: ["127.0.0.1:${resolver.port}"] }\n`;
  await clone.write("vm1.yaml", `${blocks("yaml vm1.yaml")[0]}${dns}`);
  const [before, curl, live, change, shark, stop, ...moreHost] = blocks("sh");
  const [first, changed, captured, ...moreGuest] = blocks("sh guest");
  assertEquals([moreHost, moreGuest], [[], []], "all blocks have their turn");
  assertEquals(lines("sh guest-image"), ["deno task guest"], "made before the tests");

  await runOnHost(clone, before!);
  await using gateway = new Terminal(clone.words(lines("sh gateway")[0]!));
  await gateway.line(/\bready\b/, 0, 180_000);
  await using vm = new Terminal(clone.words(lines("sh vm")[0]!));
  const console = new Console(vm);
  const [up] = /^ +the guest is up: .*$/m.exec(TEXT) ?? [];
  assertEquals(await console.ready(), up!.trim());
  await gateway.line(/guest attached/);

  await runInGuest(console, first!);
  await gateway.line(/denied dns example\.com: no rule names example\.com/);
  await runOnHost(clone, curl!);
  await runOnHost(clone, live!);
  await runOnHost(clone, change!);
  await runInGuest(console, changed!);

  await using capture = new Terminal(clone.words(lines("sh capture")[0]!));
  const file = folder.file("vm1.pcapng");
  await until("the file begins", () => sizeOf(file) > 0, 180_000);
  await runInGuest(console, captured!);
  // Other frames may be in it long before, where the machine is busy.
  const isIn = () => new TextDecoder().decode(Deno.readFileSync(file)).includes("default-deny");
  await until("the refusal is in it", isIn, 180_000);
  assertEquals((await capture.end("SIGINT")).code, 0);
  await runOnHost(clone, shark!);

  await console.powerOff();
  assertEquals((await vm.end("SIGCONT", 180_000)).code, 0);
  await gateway.line(/guest left/);
  await runOnHost(clone, stop!);
  assertEquals((await gateway.end("SIGCONT", 180_000)).code, 0);
});

Deno.test("docs/tutorial.md: tool.ts runs a VMM, prints its events and captures it", async () => {
  await using folder = await Folder.make();
  await mustRun(["cp", "-r", ...PARTS.map((name) => `${ROOT}${name}`), folder.path]);
  const program = blocks("ts tool.ts")[0]!.replace("8080", String(freePort()));
  await Deno.writeTextFile(folder.file("tool.ts"), program);
  const flags = ["--check", "--no-prompt", "--allow-net", "--allow-read", "--allow-write"];
  const words = [Deno.execPath(), "run", ...flags, "--allow-run", "tool.ts", "head", "-n", "1"];
  // In a VMM's place a program that ends when it has read a line.
  await using tool = new BackgroundProgram([
    "sh",
    "-c",
    `cd ${folder.path} && exec ${words.join(" ")}`,
  ]);
  const path = folder.file("tool.sock");
  await until("its socket is there", () => sizeOf(path) >= 0, 180_000);
  const embedded = EmbeddedGuest.attach(await Deno.connect({ transport: "unix", path }));
  await embedded.lease();
  await tool.line(/^the guest is attached$/);
  assertEquals((await embedded.resolve("elsewhere.example", "A")).code, "REFUSED");
  await tool.line(/^DENY {2}dns elsewhere\.example/);
  await embedded.close();
  await tool.line(/^the guest has left: /);
  await tool.send("\n");
  await tool.line(/^head has ended with 0$/);
  assertEquals((await tool.end("SIGCONT")).code, 0);
  assert((await Deno.stat(folder.file("tool.pcapng"))).size > 1_000);
});

/** The part of libkrun's interface that the document uses, so that its program can be checked. */
const LIBKRUN = `#include <stdint.h>
#define NET_FLAG_DHCP_CLIENT (1 << 1)
int32_t krun_create_ctx();
int32_t krun_set_vm_config(uint32_t, uint8_t, uint32_t);
int32_t krun_set_root(uint32_t, const char *);
int32_t krun_add_net_unixstream(uint32_t, const char *, int, uint8_t *const, uint32_t, uint32_t);
int32_t krun_set_exec(uint32_t, const char *, const char *const[], const char *const[]);
int32_t krun_start_enter(uint32_t);
`;

Deno.test({
  name: "docs/tutorial.md: the program for libkrun is one",
  ignore: !await hasProgram("cc"),
  async fn() {
    await using folder = await Folder.make();
    await Deno.writeTextFile(folder.file("libkrun.h"), LIBKRUN);
    await Deno.writeTextFile(folder.file("vm.c"), blocks("c")[0]!);
    const words = ["cc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", `-I${folder.path}`];
    await mustRun([...words, folder.file("vm.c")]);
    assertStringIncludes(TEXT, "krun_add_net_unixstream(context, NULL, fd, mac, 0, 0)");
  },
});
