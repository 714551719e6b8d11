/** examples/qemu.ts as a reader starts it, to the end that the guest chooses and to Ctrl-C. */
import { assertEquals, assertMatch } from "@std/assert";
import { QEMU } from "../../examples/qemu.ts";
import { BackgroundProgram, runProgram } from "../guest/program.ts";
import { Console } from "./machine.ts";
import { guest, vmTest } from "./prerequisites.ts";

const EXAMPLE = new URL("../../examples/qemu.ts", import.meta.url).pathname;

/** The program with its VM, which at a test's failure ends too. */
class Example implements AsyncDisposable {
  readonly program: BackgroundProgram;

  constructor() {
    const flags = ["--allow-net", "--allow-read", "--allow-write", `--allow-run=${QEMU}`];
    this.program = new BackgroundProgram([
      ...[Deno.execPath(), "run", "--check", "--no-prompt", ...flags],
      ...[EXAMPLE, `${guest}/kernel`, `${guest}/initrd`, "pypi.org"],
    ]);
  }

  /** SIGKILL would leave QEMU behind, and with it the other end of the pipes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.program.end("SIGTERM", 180_000);
  }
}

vmTest("examples/qemu.ts starts a fenced VM with a published port, and ends with it", async () => {
  await using example = new Example();
  const { program } = example;
  const line = await program.line(/^the guest's port 80 is at http/, 0, 180_000);
  const console = new Console(program);
  await console.ready();
  const response = await fetch(/http:\S+/.exec(line)![0]);
  assertEquals(await response.text(), "hello from the guest\n");

  const refused = await console.run("wget -O /dev/null http://elsewhere.example/");
  assertMatch(refused.text, /bad address/);
  await program.line(/^DENY {2}dns elsewhere\.example {2}by default-deny /);
  await console.powerOff();
  assertEquals((await program.end("SIGCONT", 180_000)).code, 0);
});

vmTest("examples/qemu.ts ends its VM and leaves nothing at SIGINT", async () => {
  await using example = new Example();
  const { program } = example;
  await program.line(/^the guest's port 80 is at http/, 0, 180_000);
  const children = async () => (await runProgram(["pgrep", "-P", String(program.pid)])).stdout;
  while (await children() === "") await new Promise((resolve) => setTimeout(resolve, 50));
  const qemu = (await children()).trim();
  const { forced } = await program.end("SIGINT", 180_000);
  assertEquals(forced, false);
  assertEquals((await runProgram(["kill", "-0", qemu])).code, 1, "QEMU has ended too");
});
