/**
 * A VM in QEMU and the shell on its console, by which a test has commands run in the guest.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type Machine, QEMU, qemuArguments } from "../../examples/qemu.ts";
import { BackgroundProgram, until } from "../guest/program.ts";
import { guest } from "./prerequisites.ts";

/** An emulated processor on a busy machine takes its time. */
const BOOT_MS = 600_000;
const COMMAND_MS = 600_000;
const NUDGE_MS = 200;

/** What a command in the guest said, and its exit code. */
export interface Said {
  readonly code: number;
  readonly text: string;
}

/** A shell on a console: a program's standard input and output, or a file's. */
export class Console {
  readonly program: BackgroundProgram;
  #commands = 0;
  #sent: Promise<void> = Promise.resolve();

  /** @param program Whose standard input and output are the console. */
  constructor(program: BackgroundProgram) {
    this.program = program;
  }

  /** Waits until the guest is up, and makes its shell one for programs. */
  async ready(): Promise<string> {
    const line = await this.program.line(/^the guest is up: /, 0, BOOT_MS);
    // A shell that reads a pipe prompts for nothing and edits no lines.
    await this.type("stty -echo; cat | sh\n");
    await this.run("true");
    return line.trim();
  }

  /** Types something, after what was typed before. */
  type(text: string): Promise<void> {
    return this.#sent = this.#sent.then(() => this.program.send(text));
  }

  /** Runs a command in the guest's shell. */
  async run(command: string): Promise<Said> {
    const mark = `== ${++this.#commands}`;
    const { lines } = this.program;
    const from = lines.length;
    await this.type(`{ ${command}\n} </dev/null 2>&1; printf '\\n${mark} %s\\n' $?\n`);
    const pattern = new RegExp(`^${mark} (\\d+)\\s*$`);
    // QEMU's serial port may keep the last octets back until the next ones come.
    const nudge = setInterval(() => void this.type("\n"), NUDGE_MS);
    const end = await this.program.line(pattern, from, COMMAND_MS)
      .finally(() => clearInterval(nudge));
    const text = lines.slice(from, lines.indexOf(end, from));
    return {
      code: Number(pattern.exec(end)![1]),
      text: text.join("\n").replaceAll("\r", "").trim(),
    };
  }

  /** Turns the VM off from inside, and waits until QEMU has ended. */
  async powerOff(): Promise<void> {
    await this.type("poweroff -f\n");
    await until("the VM is off", async () => {
      if (!this.program.ended) await this.type("\n");
      return this.program.ended;
    }, COMMAND_MS);
  }

  /** Runs a command that has to succeed, and gives what it said. */
  async must(command: string): Promise<string> {
    const { code, text } = await this.run(command);
    assertEquals(code, 0, `${command}: ${text}\n${this.program.tail()}`);
    return text;
  }
}

/** A running VM. */
export class VirtualMachine implements AsyncDisposable {
  readonly console: Console;
  readonly #program: BackgroundProgram;

  private constructor(program: BackgroundProgram) {
    this.#program = program;
    this.console = new Console(program);
  }

  /**
   * Starts one and waits until it has its network; `addresses` is what it says of that. `link` is
   * another `-netdev` than the example's, `qemu` another QEMU than the machine's.
   */
  static async start(
    { link, qemu = QEMU, ...machine }: Omit<Machine, "kernel" | "initrd"> & {
      readonly link?: string;
      readonly qemu?: string;
    },
  ): Promise<VirtualMachine & { readonly addresses: string }> {
    const words = { kernel: `${guest}/kernel`, initrd: `${guest}/initrd`, ...machine };
    const args = qemuArguments(words);
    if (link !== undefined) args[args.indexOf("-netdev") + 1] = link;
    const vm = new VirtualMachine(new BackgroundProgram([qemu, ...args]));
    try {
      return Object.assign(vm, { addresses: await vm.console.ready() });
    } catch (error) {
      await vm[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Ends the VM as the loss of power would. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program.end("SIGTERM");
  }
}
