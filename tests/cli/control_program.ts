/**
 * The real program with its control interface, and a guest in front of it, for the commands that ask
 * a running gateway.
 *
 * @module
 */
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { BackgroundProgram } from "../guest/program.ts";
import { cliWords, type Folder, runCliWith } from "./cli_process.ts";

const GUEST_MEMORY = new FrameMemory(64 * 1024 * 1024);

/** A running gateway and its folder. */
export class ControlProgram implements AsyncDisposable {
  readonly folder: Folder;
  readonly program: BackgroundProgram;
  #guest: EmbeddedGuest | null = null;

  private constructor(folder: Folder, program: BackgroundProgram) {
    this.folder = folder;
    this.program = program;
  }

  /** Starts it in a folder of its own, with more words, and waits until it is ready. */
  static start(folder: Folder, ...args: string[]): Promise<ControlProgram> {
    const files = [`--allow-read=${folder.path}`, `--allow-write=${folder.path}`];
    return ControlProgram.startWith(files, folder, ...args);
  }

  /** The same with other permissions for files. */
  static async startWith(
    files: readonly string[],
    folder: Folder,
    ...args: string[]
  ): Promise<ControlProgram> {
    const words = [
      ...["run", "--listen", `unix:${folder.file("vm.sock")}`, "--dns", "127.0.0.1:1"],
      ...args.some((word) => word.startsWith("--control"))
        ? []
        : ["--control", `unix:${folder.file("control.sock")}`],
      ...args,
    ];
    const program = new BackgroundProgram(cliWords(["--allow-net", ...files], words));
    try {
      await program.line(/\bready\b/);
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
    return new ControlProgram(folder, program);
  }

  /** The control socket as a flag's value. */
  get control(): string {
    return `unix:${this.folder.file("control.sock")}`;
  }

  /** Attaches a guest that has its address. */
  async attach(): Promise<EmbeddedGuest> {
    const conn = await Deno.connect({ transport: "unix", path: this.folder.file("vm.sock") });
    this.#guest = EmbeddedGuest.attach(conn, { memory: GUEST_MEMORY });
    await this.#guest.lease();
    return this.#guest;
  }

  /** Runs a command that asks it, with the permissions for its socket. */
  ask(command: string, ...args: string[]): ReturnType<typeof runCliWith> {
    return runCliWith({ cwd: this.folder.path }, askPermissions(this.folder), command, ...args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guest?.close();
    await this.program[Symbol.asyncDispose]();
  }
}

/** What asking a gateway of a folder takes. */
export function askPermissions(folder: Folder): string[] {
  const socket = folder.file("control.sock");
  return [
    "--allow-net",
    `--allow-read=${socket},${folder.path}`,
    `--allow-write=${socket},${folder.path}`,
    "--allow-env=VIRTIO_GATEWAY_*",
  ];
}
