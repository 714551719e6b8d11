/** The completion scripts: real shells read them, and bash completes command lines with its own. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { flagsOf } from "../../lib/cli/arguments.ts";
import { COMMANDS, membersOf } from "../../lib/cli/commands.ts";
import { completedCommands } from "../../lib/cli/completions.ts";
import { hasProgram, runWithInput } from "../support/programs.ts";
import { runCli } from "./cli_process.ts";

const GET_AND_OTHERS = ["delete", "explain", "get", "history", "put"];

/** What may stand behind the program. */
const FIRST = membersOf(null).toSorted();

const SHELLS = ["bash", "zsh", "fish"] as const;

async function scriptFor(shell: string): Promise<string> {
  const { code, stdout, stderr } = await runCli([], "completions", shell);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

for (const shell of SHELLS) {
  Deno.test({
    name: `completions: ${shell} reads its script, which has every command and flag`,
    ignore: !await hasProgram(shell),
    async fn() {
      const script = await scriptFor(shell);
      const outcome = await runWithInput([shell, "-n"], script);
      assertEquals(outcome, { code: 0, stdout: "", stderr: "" });
      for (const command of COMMANDS) {
        assertMatch(script, new RegExp(`\\b${command.replaceAll(" ", "/")}\\b`));
        for (const { flag, negated } of flagsOf(command)) {
          const name = `${negated === true ? "no-" : ""}${flag}`;
          assertStringIncludes(script, shell === "fish" ? ` -l ${name} ` : `--${name}`);
        }
      }
    },
  });
}

/** What bash offers for a line, the way that it calls a completion function. */
async function bashOffers(script: string, line: string, files: string[] = []): Promise<string[]> {
  const program = `${script}
cd "$(mktemp -d)" && touch -- ${files.join(" ")} ./ 2>/dev/null
COMP_LINE=$1 COMP_POINT=\${#1} COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
COMPREPLY=()
_virtio_gateway
printf '%s\\n' "\${COMPREPLY[@]}"
rm -rf -- "$PWD"
`;
  const outcome = await runWithInput(["bash", "-s", "--", line], program);
  assertEquals([outcome.code, outcome.stderr.replace(/.*compopt.*\n/g, "")], [0, ""]);
  return outcome.stdout.split("\n").filter((word) => word !== "").toSorted();
}

Deno.test("completions: bash completes commands, flags, words, files and sockets", async () => {
  const script = await scriptFor("bash");
  const offers = (line: string, files?: string[]) => bashOffers(script, line, files);
  assertEquals(await offers("virtio-gateway "), FIRST);
  assertEquals(await offers("virtio-gateway ex"), ["explain"]);
  assertEquals(await offers("virtio-gateway --log-l"), ["--log-level"]);
  assertEquals(await offers("virtio-gateway run --no-ip"), ["--no-ipv6"]);
  assertEquals(await offers("virtio-gateway run --mtu 9000 --onc"), ["--once"]);
  assertEquals(await offers("virtio-gateway status --onc"), []);
  assertEquals(await offers("virtio-gateway run --log-level "), ["debug", "error", "info", "warn"]);
  assertEquals(await offers("virtio-gateway run --log-level=wa"), ["warn"]);
  assertEquals(await offers("virtio-gateway run --mtu "), []);
  assertEquals(await offers("virtio-gateway run -p "), []);
  assertEquals(await offers("virtio-gateway completions "), ["bash", "fish", "zsh"]);
  assertEquals(await offers("virtio-gateway completions z"), ["zsh"]);
  assertEquals(await offers("virtio-gateway fleet p"), ["policy"]);
  assertEquals(await offers("virtio-gateway fleet policy "), GET_AND_OTHERS);
  assertEquals(await offers("virtio-gateway fleet policy put --if-r"), ["--if-revision"]);
  assertEquals(await offers("virtio-gateway fleet status --if-r"), []);
  assertEquals(await offers("virtio-gateway fleet init --replicas "), ["1", "3", "5"]);
  const files = ["vm1.yaml", "vm2.yaml", "b.sock"];
  assertEquals(await offers("virtio-gateway fleet policy put fleet vm", files), [
    "vm1.yaml",
    "vm2.yaml",
  ]);
  assertEquals(await offers("virtio-gateway check --config vm", files), ["vm1.yaml", "vm2.yaml"]);
  assertEquals(await offers("virtio-gateway run --listen "), ["tcp:", "unix:"]);
  assertEquals(await offers("virtio-gateway run --listen un"), ["unix:"]);
  // bash replaces what stands behind the colon.
  assertEquals(await offers("virtio-gateway run --listen unix:b", files), ["b.sock"]);
  assertEquals(await offers("virtio-gateway run --listen=unix:b", files), ["b.sock"]);
});

/** How a shell is started so that it has the script and a program of this name, which says its words. */
const INTERACTIVE = {
  bash: {
    file: "rc",
    setUp: (folder: string) => `source ${folder}/_virtio-gateway`,
    start: (folder: string) => `bash --noprofile --rcfile ${folder}/rc -i`,
  },
  zsh: {
    file: ".zshrc",
    setUp: (folder: string) =>
      `fpath=(${folder} $fpath)\nautoload -Uz compinit; compinit -u -d ${folder}/dump`,
    start: (folder: string) => `env ZDOTDIR=${folder} zsh -i`,
  },
};

for (const shell of ["bash", "zsh"] as const) {
  Deno.test({
    name: `completions: a key in an interactive ${shell} completes the line`,
    ignore: !await hasProgram(shell) || !await hasProgram("script"),
    async fn() {
      const folder = await Deno.makeTempDir({ prefix: "vgcomp-" });
      try {
        const { file, setUp, start } = INTERACTIVE[shell];
        await Deno.writeTextFile(`${folder}/_virtio-gateway`, await scriptFor(shell));
        const program = `virtio-gateway() { printf '%s\\n' "$@" > ${folder}/said; }`;
        await Deno.writeTextFile(`${folder}/${file}`, `${setUp(folder)}\n${program}\nPS1='> '\n`);
        const typed = async (keys: string) => {
          await runWithInput(["script", "-qec", start(folder), "/dev/null"], `${keys}\nexit\n`);
          const said = await Deno.readTextFile(`${folder}/said`);
          return said.replace(/^(--[a-z-]+)=/gm, "$1\n").trim().split("\n");
        };
        assertEquals(await typed("virtio-gateway run --log-le\twa\t --no-ip\t --once"), [
          ...["run", "--log-level", "warn", "--no-ipv6", "--once"],
        ]);
        const put = `virtio-gateway fleet poli\tpu\tfleet ${folder}/_virt\t --if-rev\t3`;
        assertEquals(await typed(put), [
          ...["fleet", "policy", "put", "fleet", `${folder}/_virtio-gateway`],
          ...["--if-revision", "3"],
        ]);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

Deno.test({
  name: "completions: fish completes commands, flags, words and sockets",
  ignore: !await hasProgram("fish"),
  async fn() {
    const script = await scriptFor("fish");
    const offers = async (line: string): Promise<string[]> => {
      const program = `${script}\ncomplete -C '${line}'\n`;
      const outcome = await runWithInput(["fish", "--no-config"], program);
      assertEquals([outcome.code, outcome.stderr], [0, ""]);
      return outcome.stdout.trimEnd().split("\n").map((each) => each.split("\t")[0]!);
    };
    assertEquals(await offers("virtio-gateway "), FIRST);
    assertEquals(await offers("virtio-gateway --onc"), ["--once"]);
    assertEquals(await offers("virtio-gateway status --onc"), [""]);
    assertEquals(await offers("virtio-gateway run --log-level w"), ["warn"]);
    assertEquals(await offers("virtio-gateway completions z"), ["zsh"]);
    assertEquals(await offers("virtio-gateway run --listen u"), ["unix:"]);
    assertEquals(await offers("virtio-gateway fleet policy "), GET_AND_OTHERS);
    assertEquals(await offers("virtio-gateway fleet policy put --if-r"), ["--if-revision"]);
    assertEquals(await offers("virtio-gateway fleet status --if-r"), [""]);
  },
});

Deno.test("completions: what stands behind a flag is known from the help's word for it", () => {
  const run = completedCommands().find(({ name }) => name === "run")!;
  const kinds = new Map(run.flags.map(({ name, value }) => [name, value]));
  assertEquals(kinds.get("--listen"), { kind: "endpoint" });
  assertEquals(kinds.get("--config"), { kind: "file" });
  assertEquals(kinds.get("--control-token"), { kind: "file" });
  assertEquals(kinds.get("--once"), { kind: "none" });
  assertEquals(kinds.get("--dns"), { kind: "text" });
  assertEquals(kinds.get("--framing"), {
    kind: "words",
    words: ["stream", "stream-vnet", "hyperkit"],
  });
  assertEquals(kinds.get("--protect"), { kind: "words", words: ["off", "metadata", "strict"] });
  // None of what goes into the scripts' quotes ends them.
  for (const { summary, flags } of completedCommands()) {
    assert(!/[\n\0]/.test(summary + flags.map(({ help }) => help).join("")));
  }
});

Deno.test("completions: another shell is refused, and none", async () => {
  const other = await runCli([], "completions", "tcsh");
  assertEquals([other.code, other.stdout], [2, ""]);
  assertStringIncludes(other.stderr, `completions are for bash, zsh and fish, not for "tcsh"`);
  const none = await runCli([], "completions");
  assertEquals(none.code, 2);
  assertStringIncludes(none.stderr, "completions needs bash, zsh or fish");
});
