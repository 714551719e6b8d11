/**
 * A log that can't be written: a disk that is full, a reader that has gone, one that does not
 * read. The guest is served as ever, and what was lost is said when it can be.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Folder } from "../cli/cli_process.ts";
import { missing } from "../guest/prerequisites.ts";
import { mustRun, until } from "../guest/program.ts";
import { hasProgram } from "../support/programs.ts";
import {
  assertEchoes,
  attachGuest,
  EchoHost,
  GATEWAY,
  gatewayWords,
  PATIENCE_MS,
} from "./fault_gateway.ts";

const hasPython = await hasProgram("python3");
const LOST = "lines of the log were lost";

/** Runs a program whose stderr, a pipe, holds 4 KiB: lines of a kind are limited, and would not fill more. */
const SMALL_PIPE = "import fcntl, os, sys; fcntl.fcntl(2, 1031, 4096); " +
  "os.execvp(sys.argv[1], sys.argv[1:])";

/** A gateway whose stderr is the test's own affair. */
class MuteGateway implements AsyncDisposable {
  readonly folder: Folder;
  readonly child: Deno.ChildProcess;
  #stopped = false;

  private constructor(folder: Folder, words: string[], stderr: "null" | "piped") {
    this.folder = folder;
    const options = { args: words.slice(1), stdin: "null", stdout: "null", stderr } as const;
    this.child = new Deno.Command(words[0]!, options).spawn();
  }

  /** Starts one; `redirect` is a file for its log. */
  static async start(redirect: string | null): Promise<MuteGateway> {
    const folder = await Folder.make();
    const wrapper = redirect === null
      ? ["python3", "-c", SMALL_PIPE]
      : ["sh", "-c", `exec "$@" 2>>${redirect}`, "sh"];
    const words = gatewayWords(folder, { wrapper, args: ["--host-loopback"] });
    const gateway = new MuteGateway(folder, words, redirect === null ? "piped" : "null");
    // It is made private when it is listened at, which it is not yet when its file appears.
    const isPrivate = ({ mode }: Deno.FileInfo) => (mode! & 0o777) === 0o600;
    const isThere = () => Deno.lstat(gateway.path).then(isPrivate, () => false);
    await until("the socket is there", isThere, PATIENCE_MS);
    return gateway;
  }

  get path(): string {
    return this.folder.file("vm.sock");
  }

  /** Shows that a guest gets its bytes through. */
  async assertServes(): Promise<void> {
    await using host = new EchoHost();
    await using guest = attachGuest(await Deno.connect({ transport: "unix", path: this.path }));
    await guest.lease();
    await assertEchoes(await guest.connect(GATEWAY, host.port), 100_000);
  }

  /** A VMM that comes and goes, which is worth some lines; the next one comes when it was served. */
  async chatter(times: number): Promise<void> {
    for (let i = 0; i < times; i++) {
      using conn = await Deno.connect({ transport: "unix", path: this.path });
      await conn.closeWrite();
      while (await conn.read(new Uint8Array(4096)) !== null);
    }
  }

  /** Ends it, which goes as ever. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.child.kill("SIGTERM");
    const { code, signal } = await this.child.status;
    assertEquals([code, signal], [0, null]);
    assertEquals(await Deno.lstat(this.path).catch(() => "gone"), "gone");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#stopped) {
      this.child.kill("SIGKILL");
      await this.child.status;
    }
    await this.folder[Symbol.asyncDispose]();
  }
}

Deno.test("a full disk under the log from the beginning", async () => {
  await using gateway = await MuteGateway.start("/dev/full");
  await gateway.assertServes();
  await gateway.chatter(20);
  await gateway.assertServes();
  await gateway.stop();
});

Deno.test({
  name: "a disk that becomes full and has room again: lost lines are said",
  ignore: missing !== null,
  fn: async () => {
    await using place = await Folder.make();
    await mustRun(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place.path]);
    try {
      const log = place.file("log");
      const filler = place.file("filler");
      await using gateway = await MuteGateway.start(log);
      await gateway.assertServes();
      await Deno.writeFile(filler, new Uint8Array(512 * 1024)).catch(() => {});
      // The log has the rest of its last page.
      await until("the log is full", async () => {
        await gateway.chatter(5); // no more than it takes: the last guest's lines are of these kinds
        return (await Deno.stat(log)).size % 4096 === 0;
      }, PATIENCE_MS);
      await gateway.assertServes();
      await Deno.remove(filler);
      await gateway.assertServes();
      await gateway.stop();
      const lines = (await Deno.readTextFile(log)).trim().split("\n");
      const whole = lines.filter((line) => line.endsWith("}"));
      assert(lines.length - whole.length <= 1, "one line was cut off, none spoils another");
      const said = whole.map((line) => JSON.parse(line) as { message: string; reason?: string });
      const messages = said.map(({ message }) => message);
      const lostAt = messages.indexOf(LOST);
      assertEquals(messages.filter((message) => message === LOST).length, 1);
      assertMatch(said[lostAt]!.reason!, /No space left/);
      // The guest of the time after has all of its lines.
      const attachedAt = messages.indexOf("guest attached", lostAt);
      assert(attachedAt > 0 && messages.indexOf("guest left", attachedAt) > 0, messages.join("\n"));
    } finally {
      await mustRun(["umount", place.path]);
    }
  },
});

Deno.test({
  name: "a reader of the log that goes after the first line",
  ignore: !hasPython,
  fn: async () => {
    await using gateway = await MuteGateway.start(null);
    const reader = gateway.child.stderr.getReader();
    await reader.read();
    await reader.cancel();
    await gateway.assertServes();
    await gateway.chatter(20);
    await gateway.assertServes();
    await gateway.stop();
  },
});

Deno.test({
  name: "a reader of the log that stops reading holds nobody up",
  ignore: !hasPython,
  fn: async () => {
    await using gateway = await MuteGateway.start(null);
    await gateway.chatter(50); // more than its pipe holds
    await gateway.assertServes();
    const { child } = gateway;
    const reading = Array.fromAsync(child.stderr.pipeThrough(new TextDecoderStream()));
    await gateway.assertServes();
    await gateway.stop();
    const lines = (await reading).join("").trim().split("\n");
    for (const line of lines) JSON.parse(line);
    assert(lines.length > 50, `${lines.length} lines`);
  },
});
