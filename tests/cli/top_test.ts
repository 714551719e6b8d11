/** `top` as a program on a terminal, in front of a real gateway with a guest. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { parseInterval } from "../../lib/cli/top.ts";
import { UsageError } from "../../lib/cli/exit.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { until } from "../guest/program.ts";
import { attachTo } from "../control/control_rig.ts";
import { GuestsRig } from "../control/guests_rig.ts";
import { cliWords, Folder } from "./cli_process.ts";
import { askPermissions, ControlProgram } from "./control_program.ts";
import { TestTerminal } from "./test_terminal.ts";

const SIZE = { columns: 80, rows: 24 };
const GATEWAY_IP = "100.96.0.1";
/** What undoes all that was done to the terminal. */
const LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/** Starts `top` before a gateway. */
function startTop(
  gateway: ControlProgram,
  size: Parameters<typeof TestTerminal.start>[1] = SIZE,
  ...args: string[]
): TestTerminal {
  const words = cliWords(askPermissions(gateway.folder), [
    ...["top", "--control", gateway.control, "--interval", "0.2", ...args],
  ]);
  return TestTerminal.start(words, size);
}

/** A server on the loopback that takes what it gets. */
class Sink implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #conns = new Set<Deno.Conn>();
  readonly #accepting: Promise<void> = this.#accept();

  get port(): number {
    return (this.#listener.addr as Deno.NetAddr).port;
  }

  async #accept(): Promise<void> {
    for await (const conn of this.#listener) {
      this.#conns.add(conn);
      void this.#drain(conn);
    }
  }

  async #drain(conn: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      while (await conn.read(buffer) !== null);
    } catch {
      // It was closed.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#accepting;
    for (const conn of this.#conns) conn.close();
  }
}

/** The rows of the table by the ports of their flows, in their order. */
function ports(lines: readonly string[]): number[] {
  return lines.flatMap((line) => {
    const [, port] = /^[ *][→>] tcp .*?\b100\.96\.0\.1:(\d+) /.exec(line) ?? [];
    return port === undefined ? [] : [Number(port)];
  });
}

const shown = (...wanted: number[]) => (lines: string[]) => ports(lines).join() === wanted.join();

async function assertRestored(top: TestTerminal): Promise<void> {
  assertEquals(await top.end(), { code: 0, isCooked: true });
  assertEquals([top.isAlternate, top.hasCursor], [false, true]);
  assertEquals(top.raw.split(LEAVE).length, 2);
}

Deno.test("top draws, sorts, filters, resizes, ends a flow and gives the terminal back", async () => {
  await using folder = await Folder.make();
  await using sink = new Sink();
  const services = [5001, 5002, 5003].flatMap((port) => ["--host-service", `${port}:${sink.port}`]);
  await using gateway = await ControlProgram.start(folder, ...services, "--deny", "10.1.2.3");
  const guest = await gateway.attach();
  const first = await guest.connect(GATEWAY_IP, 5001);
  const second = await guest.connect(GATEWAY_IP, 5002);
  const third = await guest.connect(GATEWAY_IP, 5003);
  await first.write(new Uint8Array(20_000));
  await second.write(new Uint8Array(90_000));
  await third.write(new Uint8Array(3_000));
  await assertRejects(() => guest.connect("10.1.2.3", 443), GuestError);

  await using top = startTop(gateway);
  // The last line comes last, so that the picture is whole.
  const foot = /^q quit {2}\? help {2}s sort: rate /;
  const lines = await top.shows((lines) => {
    return foot.test(lines[SIZE.rows - 1] ?? "") && shown(5001, 5002, 5003)(lines);
  });
  assert(top.isAlternate && !top.hasCursor);
  assertEquals(lines.length, SIZE.rows);
  assertMatch(lines[0]!, /^virtio-gateway \d+\.\d+\.\d+ on unix:\S+, up \d+ s$/);
  assertMatch(lines[1]!, /^guest {2}tcp 3, udp 0, /);
  assertMatch(
    lines[6]!,
    /^ {2}0:\d\d ago {5}\dx {2}DENY {2}tcp 10\.1\.2\.3:443 {2}by 10\.1\.2\.3 /,
  );

  await top.press("s");
  await top.shows(shown(5002, 5001, 5003));
  await top.press("r");
  await top.shows(shown(5003, 5001, 5002));
  await top.press("/0.1:5001");
  await top.shows(shown(5001));
  await top.press("\x1b");
  await top.shows(shown(5003, 5001, 5002));

  await top.resize(44, 9);
  await top.shows((lines) => {
    const isNarrow = lines.every((line) => line.length <= 44);
    return lines.length === 9 && isNarrow && shown(5003, 5001, 5002)(lines);
  });
  await top.resize(120, 30);
  await top.shows((lines) => lines.length === 30 && /guest +flow/.test(lines.join("\n")));

  await top.press("\x1b[Bk");
  await top.shows(/^tcp 100\.96\.0\.1:5001 \(\d+\) end\? y\/n$/);
  await top.press("y");
  await top.shows("100.96.0.1:5001 was ended");
  await until("the guest hears of it", () => first.isClosed);
  await top.shows((lines) => !ports(lines).includes(5001));
  assertEquals([second.isClosed, third.isClosed], [false, false]);

  await top.press("q");
  await assertRestored(top);
});

Deno.test("SIGTERM and Ctrl-C give the terminal back, with colours too", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  for (const end of ["SIGTERM", "SIGINT", "\x03"] as const) {
    await using top = startTop(gateway, { ...SIZE, color: true });
    await top.shows("no guest is attached");
    await top.shows(() => top.raw.includes("\x1b[1;4m"));
    if (end === "\x03") await top.press(end);
    else await top.signal(end);
    await assertRestored(top);
  }
});

Deno.test("a gateway that goes away is asked again until it is back, or q", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  await using top = startTop(gateway);
  await top.shows(/^virtio-gateway /);
  assertEquals(await gateway.program.end("SIGTERM"), { code: 0, forced: false });
  await top.shows(/^trying again: no gateway answers on unix:/);
  {
    await using _gateway = await ControlProgram.start(folder);
    await top.shows(/^virtio-gateway /);
  }
  await top.shows(/^trying again: no gateway answers on unix:/);
  await top.press("q");
  await assertRestored(top);
});

Deno.test("what a guest makes up does nothing to the terminal", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder, "--allow", "a.test");
  const guest = await gateway.attach();
  for (const name of ["a\x1b[31m.test", "\u202eb.test", "\x9bc.test", "d\ne.test"]) {
    assertEquals((await guest.resolve(name, "A")).code, "REFUSED");
  }
  await using top = startTop(gateway, SIZE, "--ascii");
  await top.shows(/DENY {2}dns/);
  await top.press("d");
  const lines = await top.shows(/a\\+027\[31m\.test/);
  assert(lines.every((line) => /^[ -~]*$/.test(line)), lines.join("\n"));
  assert(!top.raw.includes("\x1b[31m") && !top.raw.includes("\u202e"), top.tail());
  await top.press("q");
  await assertRestored(top);
});

for (const way of ["throw", "reject", "exit"]) {
  Deno.test(`a bug gives the terminal back before it is told: ${way}`, async () => {
    const program = new URL("./terminal_crash.ts", import.meta.url).pathname;
    await using top = TestTerminal.start([Deno.execPath(), "run", program, way], SIZE);
    await top.shows("taken");
    assertEquals(await top.end(), { code: 1, isCooked: true });
    assertEquals(top.raw.split(LEAVE).length, 2);
    if (way === "exit") return;
    assert(top.raw.indexOf("a crash") > top.raw.indexOf(LEAVE), top.tail());
  });
}

Deno.test("without a terminal top says what to use", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  const { code, stdout, stderr } = await gateway.ask("top", "--control", gateway.control);
  assertEquals([code, stdout, stderr], [
    2,
    "",
    "top needs a terminal for its screen and its keys; without one use flows --follow, " +
    "or status --json\n",
  ]);
});

Deno.test("without a gateway top ends as the other commands do, on the normal screen", async () => {
  await using folder = await Folder.make();
  const control = `unix:${folder.file("control.sock")}`;
  const words = cliWords(askPermissions(folder), ["top", "--control", control]);
  await using top = TestTerminal.start(words, SIZE);
  assertEquals(await top.end(), { code: 4, isCooked: true });
  assert(top.raw.includes("there is no such file. Start one with: run --control"), top.tail());
  assert(!top.raw.includes("\x1b[?1049h"), top.tail());
});

Deno.test("an interval is a number of seconds", () => {
  const good: [string | undefined, number][] = [[undefined, 1_000], ["0.2", 200], ["3600", 3.6e6]];
  for (const [text, ms] of good) assertEquals(parseInterval(text), ms);
  for (const text of ["0", "0.1", "3601", "1s", "-1", "", "1e3", "NaN"]) {
    try {
      parseInterval(text);
      throw new Error(`"${text}" was taken`);
    } catch (error) {
      assert(error instanceof UsageError, String(error));
      assertMatch(error.message, /^--interval: .* is no number of seconds from 0\.2 to 3600$/);
    }
  }
});

Deno.test("of several guests one is chosen, and another one by g", async () => {
  await using rig = await GuestsRig.open({ web: {}, db: { hostLoopback: true } });
  const { endpoint } = rig.control;
  if (endpoint.transport !== "unix") throw new Error("it is on a unix socket");
  const { path } = endpoint;
  const words = (...args: string[]) =>
    cliWords(["--allow-net", `--allow-read=${path}`, `--allow-write=${path}`], [
      ...["top", "--control", `unix:${path}`, "--interval", "0.2", ...args],
    ]);
  const guest = await attachTo(rig.server("db"));
  await using sink = new Sink();
  const flow = await guest.connect(GATEWAY_IP, sink.port);
  {
    await using top = TestTerminal.start(words(), SIZE);
    const lines = await top.shows(/^ {3}db +attached +1 /);
    assertMatch(lines[1]!, /^ {3}GUEST +IS +FLOWS /);
    assertMatch(lines[0]!, /^web: virtio-gateway /);
    await top.press("\x1b[B\r");
    await top.shows(/^db: virtio-gateway /);
    await top.shows(shown(sink.port));
    await top.press("k");
    await top.shows(/end\? y\/n$/);
    await top.press("y");
    await until("the guest hears of it", () => flow.isClosed);
    await top.press("g\x1b[A\r");
    await top.shows("no guest is attached");
    await top.press("q");
    await assertRestored(top);
  }
  await using top = TestTerminal.start(words("--guest", "db"), SIZE);
  await top.shows(/^db: virtio-gateway /);
  await top.press("q");
  await assertRestored(top);
  await guest.close();
});
