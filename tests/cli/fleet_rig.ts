/**
 * A real engine and the command line that asks it, with the permissions that it needs and no more.
 *
 * @module
 */
import { jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { connectEngine } from "../../lib/fleet/engine_transport.ts";
import { auditSubject } from "../../lib/fleet/names.ts";
import { provision } from "../../lib/fleet/provision.ts";
import type { Announcement } from "../../lib/fleet/announcement.ts";
import type { DenialRecord } from "../../lib/fleet/audit_record.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { AnnouncingGateways, type OnPolicy } from "../fleet/announcing.ts";
import { until } from "../guest/program.ts";
import { NatsServer } from "../support/nats_server.ts";
import { Folder, runCliWith } from "./cli_process.ts";

/** Some commands, each with its second, on a loaded machine. */
const HEARD_MS = 120_000;

const ROOT = new URL("../../", import.meta.url).pathname;

/** What a command of a fleet needs of Deno, where its files are in a folder. */
export function fleetPermissions(folder: Folder, port: number): string[] {
  return [`--allow-net=127.0.0.1:${port}`, `--allow-read=${folder.path},${ROOT}`];
}

/** An engine with a fleet's bucket and stream. */
export class FleetRig implements AsyncDisposable {
  readonly server: NatsServer;
  readonly folder: Folder;
  readonly connection: NatsConnection;
  #numbers = 0;

  private constructor(server: NatsServer, folder: Folder, connection: NatsConnection) {
    this.server = server;
    this.folder = folder;
    this.connection = connection;
  }

  /** Starts one whose fleet is called `default`. */
  static async start(): Promise<FleetRig> {
    const server = await NatsServer.start();
    const connection = await connectEngine({ servers: server.url });
    await provision(connection, "default");
    return new FleetRig(server, await Folder.make(), connection);
  }

  /** Gateways that announce themselves. */
  gateways(
    all: readonly Announcement[],
    onPolicy?: (gateway: string) => OnPolicy,
  ): Promise<AnnouncingGateways> {
    return AnnouncingGateways.start(this.server.url, "default", all, onPolicy);
  }

  /** Writes a file and yields its path. */
  async file(name: string, text: string): Promise<string> {
    const path = this.folder.file(name);
    await Deno.writeTextFile(path, text);
    return path;
  }

  /** Runs `fleet …`. */
  ask(...args: string[]): ReturnType<typeof runCliWith> {
    return this.askWith("", ...args);
  }

  /** Runs `fleet …` with text on its standard input. */
  askWith(stdin: string, ...args: string[]): ReturnType<typeof runCliWith> {
    const { port, url } = this.server;
    const permissions = fleetPermissions(this.folder, port);
    const input = { cwd: this.folder.path, stdin };
    return runCliWith(input, permissions, "fleet", ...args, "--fleet", url);
  }

  /**
   * Runs `fleet …` until its output is so. Gateways are heard for a second: on a loaded machine some
   * of them are too late for that, and the command is asked again, which changes nothing.
   */
  async heard(
    wanted: RegExp,
    { stdin = "", words }: { stdin?: string; words: readonly string[] },
  ): ReturnType<typeof runCliWith> {
    let outcome = await this.askWith(stdin, ...words);
    await until(`${wanted} of ${words.join(" ")}`, async () => {
      if (wanted.test(outcome.stdout)) return true;
      outcome = await this.askWith(stdin, ...words);
      return false;
    }, HEARD_MS);
    return outcome;
  }

  /** Writes a document, which has to be taken. */
  async put(key: string, text: string): Promise<void> {
    const { code, stderr } = await this.askWith(text, "policy", "put", key, "-");
    if (code !== 0) throw new Error(stderr);
  }

  /** Puts a refusal into the stream. */
  async refuse(change: Partial<DenialRecord>, denial: Partial<Denial> = {}): Promise<void> {
    const record: DenialRecord = {
      v: 1,
      id: `h1-rig-${++this.#numbers}`,
      kind: "denial",
      gateway: "h1",
      guest: "web",
      timeMs: 1_790_000_000_000,
      lastMs: 1_790_000_001_000,
      count: 1,
      denial: {
        protocol: "tcp",
        name: null,
        destination: "10.0.0.5:443",
        rule: "10.0.0.0/8",
        origin: "fleet.deny[0]",
        reason: "rule",
        detail: "a rule denies it",
        hint: null,
        ...denial,
      },
      ...change,
    };
    const subject = auditSubject("default", record.gateway, "denial");
    await jetstream(this.connection).publish(subject, JSON.stringify(record));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.close();
    await this.server[Symbol.asyncDispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}
