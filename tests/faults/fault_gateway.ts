/**
 * The shipped command line under a host that fails it: started inside whatever a fault takes (a
 * limit of descriptors, a namespace of the network, another place for its log), with guests of the
 * embedded kind on its socket, and with what the system says about the process.
 *
 * Nothing here is measured against the clock: time limits only end a test that hangs.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { cliWords, Folder } from "../cli/cli_process.ts";
import { writeAll } from "../guest/bulk.ts";
import { BackgroundProgram, memoryKib, mustRun, until } from "../guest/program.ts";

/** How long a test waits for what must come, on a slow machine too. */
export const PATIENCE_MS = 30_000;

/** What a gateway is started with. */
export interface FaultSpec {
  /** Words before the command, as `prlimit --nofile=128`. */
  readonly wrapper?: readonly string[];
  /** Arguments of `run` after the endpoint. */
  readonly args?: readonly string[];
  /** A configuration file's text. */
  readonly config?: string;
  /** Flags of Deno besides the permissions. */
  readonly denoFlags?: readonly string[];
  /** Whether the VMM listens and the gateway goes there. */
  readonly connects?: boolean;
}

/** A line of the log, as `--log-format json` writes it. */
export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

/** The words of `run` on `vm.sock` of a folder, with the permissions that the README names. */
export function gatewayWords(folder: Folder, spec: FaultSpec = {}): string[] {
  const flags = [
    "--allow-net",
    "--allow-read",
    `--allow-write=${folder.path}`,
    ...(spec.denoFlags ?? ["--unstable-net"]),
  ];
  const words = cliWords(flags, [
    "run",
    spec.connects === true ? "--connect" : "--listen",
    `unix:${folder.file("vm.sock")}`,
    "--log-level",
    "debug",
    "--log-format",
    "json",
    ...(spec.args ?? []),
  ]);
  // The runtime itself says it on stderr where it finds no descriptor for more certificates.
  return ["env", "-u", "NODE_EXTRA_CA_CERTS", ...(spec.wrapper ?? []), ...words];
}

/** A gateway that runs amid a fault. */
export class FaultGateway implements AsyncDisposable {
  /** The process. */
  readonly process: BackgroundProgram;
  /** Its folder. */
  readonly folder: Folder;
  #stopped = false;

  private constructor(process: BackgroundProgram, folder: Folder) {
    this.process = process;
    this.folder = folder;
  }

  /** Starts a gateway and waits for its ready line. */
  static async start(spec: FaultSpec = {}): Promise<FaultGateway> {
    const folder = await Folder.make();
    const config = folder.file("gateway.yaml");
    if (spec.config !== undefined) await Deno.writeTextFile(config, spec.config);
    const args = spec.config === undefined ? [] : ["--config", config];
    const words = gatewayWords(folder, { ...spec, args: [...args, ...(spec.args ?? [])] });
    const process = new BackgroundProgram(words);
    const gateway = new FaultGateway(process, folder);
    try {
      await process.line(/"ready /, 0, PATIENCE_MS);
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw error;
    }
    return gateway;
  }

  /** The path where the VMM and the gateway meet. */
  get path(): string {
    return this.folder.file("vm.sock");
  }

  /** The log so far; a line that is none of the log's is an error of the gateway. */
  get log(): LogLine[] {
    return this.process.lines.map((line) => {
      assert(line.startsWith("{"), `not a line of the log: ${line}\n${this.process.tail()}`);
      return JSON.parse(line) as LogLine;
    });
  }

  /** Lines of the log whose message fits. */
  said(pattern: RegExp): LogLine[] {
    return this.log.filter(({ message }) => pattern.test(message));
  }

  /** Waits for a line of the log. */
  async line(pattern: RegExp, count = 1): Promise<LogLine> {
    const what = `${pattern} ${count} times\n${this.process.tail()}`;
    await until(what, () => this.said(pattern).length >= count, PATIENCE_MS);
    return this.said(pattern)[count - 1]!;
  }

  /** What was counted for the guest that left last, its bugs of our own being none. */
  async countersOfLast(guests = 1): Promise<Record<string, number>> {
    const line = await this.line(/^what the guest did$/, guests);
    const counters = line as unknown as Record<string, number>;
    assertEquals([counters["bug.turn"] ?? 0, counters["bug.tcp"] ?? 0], [0, 0], "our own bugs");
    return counters;
  }

  /** A guest on the gateway's socket, with its addresses. */
  async guest(): Promise<EmbeddedGuest> {
    const conn = await Deno.connect({ transport: "unix", path: this.path });
    const guest = attachGuest(conn);
    try {
      await guest.lease();
    } catch (error) {
      await guest.close();
      (error as Error).message += `\n-- gateway's log --\n${this.process.tail()}`;
      throw error;
    }
    return guest;
  }

  /** Open descriptors of the process. */
  async descriptors(): Promise<number> {
    return (await mustRun(["ls", `/proc/${this.process.pid}/fd`])).split("\n").length;
  }

  /** Processor time that the process has used, in ticks of 10 ms. */
  async cpuTicks(): Promise<number> {
    const fields = await this.#stat();
    return Number(fields[11]) + Number(fields[12]);
  }

  /** Waits until what is under way has come to rest, which takes longer beside others. */
  async rests(): Promise<void> {
    let ticks = await this.cpuTicks();
    await until("the gateway comes to rest", async () => {
      await pause(500);
      const before = ticks;
      ticks = await this.cpuTicks();
      // One that waits for a processor uses none either.
      return (await this.#stat())[0] === "S" && ticks - before <= 1;
    }, PATIENCE_MS);
  }

  /** What the system says of the process, from its state on. */
  async #stat(): Promise<string[]> {
    const stat = await mustRun(["cat", `/proc/${this.process.pid}/stat`]);
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  }

  /** Memory of the process that is resident, in bytes. */
  async residentBytes(): Promise<number> {
    return await memoryKib(this.process.pid, "VmRSS") * 1024;
  }

  /** Ends it with SIGTERM and checks that it goes with code 0 and blames itself for nothing. */
  async stop(): Promise<void> {
    this.#stopped = true;
    assertEquals(this.process.ended, false, `the gateway has ended\n${this.process.tail()}`);
    const { code, forced } = await this.process.end("SIGTERM", PATIENCE_MS);
    assertEquals({ code, forced }, { code: 0, forced: false }, this.process.tail());
    const complaint = this.process.lines.find((line) => /\buncaught\b|"bug|\bassert/i.test(line));
    assertEquals(complaint, undefined, "the gateway blames itself");
  }

  /** Kills it where it still runs and removes its folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#stopped) await this.process.end("SIGKILL");
    await this.folder[Symbol.asyncDispose]();
  }
}

/** Memories of guests that have ended, for those to come. */
const memories: FrameMemory[] = [];
const GUEST_BYTES = 128 * 1024 * 1024;

/** A guest behind a connection; its memory serves the next one when it has ended. */
export function attachGuest(conn: Deno.Conn): EmbeddedGuest {
  const memory = memories.pop() ?? new FrameMemory(GUEST_BYTES);
  const guest = EmbeddedGuest.attach(conn, { memory });
  void guest.ended.then(() => memories.push(memory));
  return guest;
}

/** Where an embedded guest finds the host's loopback. */
export const GATEWAY = "100.96.0.1";

/** Sends bytes through an echo and compares what comes back. */
export async function assertEchoes(
  conn: {
    write(data: Uint8Array): Promise<unknown>;
    read(into: Uint8Array): Promise<number | null>;
  },
  bytes = 1000,
): Promise<void> {
  const dice = crypto.getRandomValues(new Uint8Array(997));
  const sent = Uint8Array.from({ length: bytes }, (_, i) => dice[i % dice.length]! + i / 997);
  await conn.write(sent);
  const back = new Uint8Array(bytes);
  for (let at = 0; at < bytes;) {
    const count = await conn.read(back.subarray(at));
    assert(count !== null, `the echo ended after ${at} of ${bytes} bytes`);
    at += count;
  }
  assertEquals(back, sent);
}

/** Echoes what each connection sends. */
export class EchoHost implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Deno.Conn>();
  readonly #loops: Promise<void>[] = [this.#accept()];

  /** Its port of 127.0.0.1. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#open.size;
  }

  async #accept(): Promise<void> {
    for await (const conn of this.#listener) {
      this.#open.add(conn);
      this.#loops.push(this.#serve(conn));
    }
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    try {
      for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
        await writeAll(conn, buffer.subarray(0, count));
      }
    } catch {
      // The guest's side of the test says what became of it.
    }
    if (this.#open.delete(conn)) conn.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#open) conn.close();
    this.#open.clear();
    await Promise.all(this.#loops);
  }
}

/** Stops and continues a process, whatever runs in it. */
export async function signal(pid: number, name: "STOP" | "CONT"): Promise<void> {
  await mustRun(["kill", `-${name}`, String(pid)]);
}

/** Waits. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
