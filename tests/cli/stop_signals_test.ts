/** Which signals stop a gateway, which one ends it at once, and which are the same one again. */
import { assertEquals } from "@std/assert";
import { silentLogger } from "../../lib/config/logger.ts";
import { hearStops, type SignalHost } from "../../lib/cli/process_signals.ts";
import { StopSignals } from "../../lib/cli/stop_signals.ts";

/** A process that is signalled by hand. */
class FakeProcess implements SignalHost {
  nowMs = 0;
  exit: (code: number) => void = () => {};
  readonly #handlers = new Map<Deno.Signal, () => void>();

  listen(name: Deno.Signal, handler: () => void): void {
    this.#handlers.set(name, handler);
  }

  now(): number {
    return this.nowMs;
  }

  signal(name: Deno.Signal, nowMs = this.nowMs): void {
    this.nowMs = nowMs;
    this.#handlers.get(name)!();
  }
}

/** What is stopped, and what the log has heard. */
class Gateway {
  readonly process = new FakeProcess();
  readonly done: string[] = [];
  readonly signals: StopSignals;

  constructor() {
    const say = (message: string) => void this.done.push(message);
    const logger = { ...silentLogger, info: say, warn: say };
    this.signals = new StopSignals(logger, 5_000, this.process);
  }

  serve(): void {
    this.signals.stops({
      close: () => Promise.resolve(void this.done.push("close")),
      abort: () => Promise.resolve(void this.done.push("abort")),
    });
  }
}

const STOPPING = "stopping; queued bytes may drain for 5 s";

Deno.test("the same signal within a tenth of a second is one, counted from the first", () => {
  const host = new FakeProcess();
  const heard: [Deno.Signal, number][] = [];
  hearStops((name) => void heard.push([name, host.nowMs]), host);
  for (const nowMs of [0, 0, 60, 99.9, 100, 199.9]) host.signal("SIGINT", nowMs);
  assertEquals(heard, [["SIGINT", 0], ["SIGINT", 100]]);
});

Deno.test("another signal is none's echo, and comes between the two of one", () => {
  const host = new FakeProcess();
  const heard: Deno.Signal[] = [];
  hearStops((name) => void heard.push(name), host);
  for (const name of ["SIGINT", "SIGTERM", "SIGINT"] as const) host.signal(name);
  assertEquals(heard, ["SIGINT", "SIGTERM", "SIGINT"]);
});

Deno.test("a Ctrl-C that a task runner passes on stops a gateway in order", () => {
  const gateway = new Gateway();
  gateway.serve();
  for (const nowMs of [0, 1, 99]) gateway.process.signal("SIGINT", nowMs);
  assertEquals(gateway.done, [`SIGINT: ${STOPPING}`, "close"]);
  assertEquals([gateway.signals.isStopping, gateway.signals.isForced], [true, false]);
});

Deno.test("a signal that comes before there is anything to stop is kept for it", () => {
  const gateway = new Gateway();
  gateway.process.signal("SIGTERM");
  assertEquals(gateway.done, [`SIGTERM: ${STOPPING}`]);
  gateway.serve();
  assertEquals(gateway.done, [`SIGTERM: ${STOPPING}`, "close"]);
});

Deno.test("a second signal ends it at once, and the process where that takes too long", async () => {
  const gateway = new Gateway();
  gateway.serve();
  const exited = new Promise<number>((resolve) => gateway.process.exit = resolve);
  gateway.process.signal("SIGINT", 0);
  gateway.process.signal("SIGINT", 100);
  assertEquals(gateway.done, [
    `SIGINT: ${STOPPING}`,
    "close",
    "SIGINT again: exiting at once",
    "abort",
  ]);
  assertEquals(gateway.signals.isForced, true);
  assertEquals(await exited, 1);
});

Deno.test("behind the control interface's stop a signal is the first one", () => {
  const gateway = new Gateway();
  gateway.serve();
  gateway.signals.stop("stop");
  gateway.process.signal("SIGTERM");
  assertEquals(gateway.done, [
    `stop: ${STOPPING}`,
    "close",
    "SIGTERM: stopping already; another signal exits at once",
  ]);
  assertEquals(gateway.signals.isForced, false);
});

Deno.test("once all has ended signals change nothing", () => {
  const gateway = new Gateway();
  gateway.serve();
  gateway.process.signal("SIGTERM", 0);
  gateway.signals[Symbol.dispose]();
  gateway.process.signal("SIGTERM", 5_000);
  assertEquals(gateway.signals.isForced, false);
  assertEquals(gateway.done, [`SIGTERM: ${STOPPING}`, "close"]);
});
