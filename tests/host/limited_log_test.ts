/** How many lines of each kind come through, what is said of the others, and which kinds there are. */
import { assert, assertEquals } from "@std/assert";
import type { GatewayLogger, LogFields } from "../../lib/config/logger.ts";
import { createLogger } from "../../lib/host/log.ts";
import {
  BURST,
  kindOf,
  LimitedLog,
  LINES_PER_MINUTE,
  TELL_MS,
} from "../../lib/host/limited_log.ts";
import { serveVirtioNetwork } from "../../mod.ts";

type Level = keyof GatewayLogger;
type Said = [level: Level, message: string, fields: LogFields | undefined];
const LEVELS: readonly Level[] = ["debug", "info", "warn", "error"];

/** A log on a clock that the test turns. */
class World {
  nowMs = 0;
  readonly lines: Said[] = [];
  readonly log: LimitedLog;
  #timer: { atMs: number; task: () => void } | undefined;

  constructor() {
    const say = (level: Level) => (message: string, fields?: LogFields) =>
      void this.lines.push([level, message, fields]);
    this.log = new LimitedLog(
      { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") },
      {
        now: () => this.nowMs,
        setTimer: (task, delayMs) => {
          this.#timer = { atMs: this.nowMs + delayMs, task };
          return 1 as unknown as ReturnType<typeof setTimeout>;
        },
        clearTimer: () => this.#timer = undefined,
        soon: (task) => task(),
      },
    );
  }

  pass(ms: number): void {
    this.nowMs += ms;
    const timer = this.#timer;
    if (timer === undefined || timer.atMs > this.nowMs) return;
    this.#timer = undefined;
    timer.task();
  }

  get hasTimer(): boolean {
    return this.#timer !== undefined;
  }

  /** How many lines were let through or said to be missing. */
  get accounted(): number {
    return this.lines.reduce((sum, [, message, fields]) => {
      return sum + Number(fields?.unsaid ?? 0) + (message.startsWith("lines like") ? 0 : 1);
    }, 0);
  }
}

/** Where lib says something, by the text of the message as it stands there. */
async function messagesOfLib(): Promise<{ place: string; level: Level; text: string }[]> {
  const found: { place: string; level: Level; text: string }[] = [];
  const lib = new URL("../../lib/", import.meta.url);
  async function look(folder: URL): Promise<void> {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      if (isDirectory) await look(new URL(`${name}/`, folder));
      else if (name.endsWith(".ts")) {
        const source = await Deno.readTextFile(new URL(name, folder));
        for (const [, level, text] of source.matchAll(SAID)) {
          found.push({ place: name, level: level as Level, text: text!.slice(1, -1) });
        }
      }
    }
  }
  await look(lib);
  return found;
}

const SAID =
  /\b(?:log|logger|#log|#logger|#warning|warning|#crowded|#late|#wrong|#failed|#cannotAccept|#cannotListen)\.(debug|info|warn|error)\(\s*("[^"\n]*"|`[^`]*`)/g;

/** What of a message's first two words is not written there: words of few, or the operator's own. */
const WORDS_OF_FEW: Readonly<Record<string, readonly string[]>> = {
  "denials.ts": ["denied ${what}:"], // a protocol begins it
  "reload.ts": ["${asker}: "],
  "ready_line.ts": ["${text}; ", "${text} there", "published ${formatPublished(port)} "],
  "stop_signals.ts": ["${name}", "${why}: "],
  "vmm_arrivals.ts": ["${conn.message}; "], // of the endpoint that was configured
};

const messages = await messagesOfLib();

Deno.test("limited log: no one outside chooses the kind of a line", () => {
  assert(messages.length > 40, `${messages.length} messages`);
  for (const { place, text } of messages) {
    const isKnown = WORDS_OF_FEW[place]?.some((words) => text.startsWith(words)) ?? false;
    assert(!kindOf(text).includes("${") || isKnown, `${place}: ${text}`);
  }
  const kinds = new Set(messages.map(({ level, text }) => `${level} ${kindOf(text)}`));
  assert(kinds.size <= 100, `${kinds.size} kinds`);
});

for (const kind of new Set(messages.map(({ level, text }) => `${level} ${kindOf(text)}`))) {
  Deno.test(`limited log: "${kind} …" is bounded, and what is missing is said`, () => {
    const world = new World();
    const [level = "", ...words] = kind.split(" ");
    for (let i = 0; i < 100_000; i++) {
      world.log[level as Level](`${words.join(" ")} 192.0.2.${i}`);
      world.pass(6); // ten minutes
    }
    world.log.flush();
    assert(world.lines.length <= BURST + 10 * LINES_PER_MINUTE + 11, `${world.lines.length} lines`);
    assertEquals(world.accounted, 100_000);
    assertEquals(new Set(world.lines.map(([each]) => each)), new Set([level]));
  });
}

Deno.test("limited log: few lines pass as they are", () => {
  const world = new World();
  const fields = { port: 80 };
  for (const level of LEVELS) world.log[level]("guest attached", fields);
  world.log.info("ready");
  assertEquals(world.lines, [
    ...LEVELS.map((level): Said => [level, "guest attached", fields]),
    ["info", "ready", undefined],
  ]);
  assertEquals([world.hasTimer, LimitedLog.of(world.log)], [false, world.log]);
});

Deno.test("limited log: the next line that passes says how many did not, or else a line of its own", () => {
  const world = new World();
  for (let i = 0; i < BURST + 5; i++) world.log.warn(`denied tcp ${i}`, { rule: "r" });
  world.log.warn("denied udp x");
  assertEquals(world.lines.at(-1), ["warn", "denied udp x", undefined]);
  world.nowMs += TELL_MS / LINES_PER_MINUTE;
  world.log.warn("denied tcp next", { rule: "r", unsaid: 2 });
  assertEquals(world.lines.at(-1), ["warn", "denied tcp next", { rule: "r", unsaid: 7 }]);
  for (let i = 0; i < 3; i++) world.log.warn(`denied tcp ${i}`);
  world.pass(TELL_MS);
  assertEquals(world.lines.at(-1), [
    "warn",
    "lines like others were left out of the log",
    { like: "denied tcp", unsaid: 3 },
  ]);
  const { length } = world.lines;
  world.pass(TELL_MS);
  world.log.flush();
  assertEquals([world.lines.length, world.hasTimer], [length, false]);
});

Deno.test("limited log: kinds are bounded, whatever makes them up", () => {
  const world = new World();
  for (let i = 0; i < 100_000; i++) world.log.warn(`${i} x`);
  world.log.flush();
  assert(world.lines.length <= 128 + BURST + 1, `${world.lines.length} lines`);
  assertEquals(world.accounted, 100_000);
});

for (const format of ["text", "json"] as const) {
  Deno.test(`limited log: as ${format}, the number stands beside the line`, () => {
    const lines: string[] = [];
    const write = (line: string) => void lines.push(line);
    const log = new LimitedLog(createLogger({ level: "info", format, color: false, write }));
    for (let i = 0; i < BURST + 2; i++) log.warn("denied dns x.test");
    log.flush();
    assertEquals(lines.length, BURST + 1);
    const last = lines.at(-1)!;
    if (format === "json") {
      const { level, like, unsaid } = JSON.parse(last);
      assertEquals([level, like, unsaid], ["warn", "denied dns", 2]);
    } else {
      const said = 'warning: lines like others were left out of the log like="denied dns" unsaid=2';
      assertEquals(last, said);
    }
  });
}

Deno.test("limited log: VMMs that come and go do not fill the log of a program", async () => {
  const lines: { message: string; fields: LogFields }[] = [];
  const say = (message: string, fields: LogFields = {}) => void lines.push({ message, fields });
  const server = await serveVirtioNetwork({ transport: "tcp", hostname: "127.0.0.1", port: 0 }, {
    logger: { debug: () => {}, info: say, warn: say, error: say },
  });
  const { endpoint } = server;
  const port = endpoint.transport === "tcp" ? endpoint.port : 0;
  const times = BURST + 20;
  for (let i = 0; i < times; i++) {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    await conn.closeWrite();
    await conn.readable.pipeTo(new WritableStream());
  }
  await server.close();
  for (const kind of ["guest attached", "guest left"]) {
    const said = lines.filter(({ message }) => message.startsWith(kind));
    assert(said.length >= BURST && said.length < times, `${said.length} of ${kind}`);
    // Where that took seconds, the number may stand in a line that came through meanwhile.
    const told = lines.filter((line) => said.includes(line) || line.fields.like === kind);
    const unsaid = told.reduce((sum, { fields }) => sum + Number(fields.unsaid ?? 0), 0);
    assertEquals(said.length + unsaid, times, kind);
  }
});
