/**
 * The shipped command line as a subprocess, under the permissions that the README names: what the
 * tests talk to is exactly what a user starts.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { BackgroundProgram, mustRun, runProgram } from "./program.ts";
import { freePort } from "../support/free_port.ts";

/** The shipped command line. */
export const CLI: string = new URL("../../cli.ts", import.meta.url).pathname;

/** Where the gateway meets its VMM: its own listening socket, or the VMM's. */
export interface GatewayLink {
  /** Who listens; the other one connects. Default `gateway`. */
  listener?: "gateway" | "vmm";
  /** A unix socket, or a port of 127.0.0.1. Default `unix`. */
  transport?: "unix" | "tcp";
}

/** What a gateway is started with. */
export interface GatewaySpec extends GatewayLink {
  /** Arguments of `run` after the endpoint. */
  gatewayArgs?: string[];
  /** Whether it has a control interface, at `GatewayProcess.control`. */
  hasControl?: boolean;
  /** A configuration file's text; it comes as `--config`. */
  config?: string;
  /** Flags of Deno itself besides the permissions, e.g. `--unstable-net`. */
  denoFlags?: string[];
  /** What starts it, e.g. `ip netns exec NAME`; it must become the gateway's process. */
  prefix?: readonly string[];
  /** Another program in the command line's place, called with the same words. */
  program?: string;
}

function controlPath(directory: string): string {
  return `${directory}/control.sock`;
}

/** A running `virtio-gateway run` with a directory of its own. */
export class GatewayProcess implements AsyncDisposable {
  /** Its log, line by line. */
  readonly log: BackgroundProgram;
  /** The endpoint where it and the VMM meet. */
  readonly endpoint: `unix:${string}` | `tcp:${number}`;
  /** Whether the VMM is the one that listens. */
  readonly vmmListens: boolean;
  /** Files of this run; removed with the process. */
  readonly directory: string;
  #stopped = false;

  private constructor(
    log: BackgroundProgram,
    endpoint: GatewayProcess["endpoint"],
    vmmListens: boolean,
    directory: string,
  ) {
    this.log = log;
    this.endpoint = endpoint;
    this.vmmListens = vmmListens;
    this.directory = directory;
  }

  /**
   * Starts a gateway and waits until it says that it is ready.
   *
   * @param spec What it is started with.
   * @returns The running gateway.
   */
  static async start(spec: GatewaySpec): Promise<GatewayProcess> {
    const directory = await Deno.makeTempDir({ prefix: "vgtest-" });
    const vmmListens = spec.listener === "vmm";
    const endpoint = spec.transport === "tcp"
      ? `tcp:${freePort()}` as const
      : `unix:${directory}/gateway.sock` as const;
    const spelled = endpoint.replace(/^tcp:/, "tcp:127.0.0.1:");
    const configFile = `${directory}/gateway.yaml`;
    if (spec.config !== undefined) await Deno.writeTextFile(configFile, spec.config);
    const log = new BackgroundProgram([
      ...(spec.prefix ?? []),
      Deno.execPath(),
      "run",
      "--no-prompt",
      "--allow-net",
      "--allow-read",
      `--allow-write=${directory}`,
      ...(spec.denoFlags ?? []),
      spec.program ?? CLI,
      "run",
      vmmListens ? "--connect" : "--listen",
      spelled,
      "--log-level",
      "debug",
      ...(spec.config === undefined ? [] : ["--config", configFile]),
      ...(spec.hasControl ? ["--control", `unix:${controlPath(directory)}`] : []),
      ...(spec.gatewayArgs ?? []),
    ]);
    const gateway = new GatewayProcess(log, endpoint, vmmListens, directory);
    try {
      await log.line(/\bready\b/, 0, 60_000);
    } catch (error) {
      await gateway[Symbol.asyncDispose]();
      throw error;
    }
    return gateway;
  }

  /** Where the control interface is, where one was asked for: a socket's path. */
  get control(): string {
    return controlPath(this.directory);
  }

  /** How many sockets the process has open, and how many descriptors of other kinds. */
  async descriptors(): Promise<{ sockets: number; others: number }> {
    // 1 is what it says where a descriptor was closed since it has read the directory.
    const script = 'ls -l "$0" || [ $? = 1 ]';
    const listed = await mustRun(["sh", "-c", script, `/proc/${this.log.pid}/fd`]);
    const targets = listed.split("\n").filter((line) => line.includes(" -> "));
    const sockets = targets.filter((line) => line.includes("socket:[")).length;
    return { sockets, others: targets.length - sockets };
  }

  /**
   * Waits until the log says that the guest has left, and checks that nothing of it is left.
   *
   * @param from Index of the first log line that counts.
   */
  async guestLeft(from: number): Promise<void> {
    const line = await this.log.line(/guest left/, from);
    assertMatch(line, /\bflows=0\b/);
    assertMatch(line, /\btimers=0\b/);
  }

  /** Sends SIGTERM and checks that the gateway goes as it promises: quietly, and with code 0. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const { code, forced } = await this.log.end("SIGTERM");
    assert(!forced, `the gateway did not stop after SIGTERM\n${this.log.tail()}`);
    assertEquals(code, 0, `exit code after SIGTERM\n${this.log.tail()}`);
    const complaint = this.log.lines.find((line) => /\bbug\.|\buncaught\b|\bassert/i.test(line));
    assertEquals(complaint, undefined, "the gateway blames itself");
    if (this.endpoint.startsWith("unix:") && !this.vmmListens) {
      const { code } = await runProgram(["test", "-e", this.endpoint.slice(5)]);
      assertEquals(code, 1, "the socket file is gone");
    }
  }

  /** Ends the process where it still runs and removes its directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#stopped) await this.log.end("SIGKILL");
    await Deno.remove(this.directory, { recursive: true });
  }
}
