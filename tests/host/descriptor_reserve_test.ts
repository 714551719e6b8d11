import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { LogFields } from "../../lib/config/logger.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { DescriptorReserve, withReserve } from "../../lib/host/descriptor_reserve.ts";
import type { HostClock, Timer } from "../../lib/host/host_clock.ts";
import type { Connect } from "../../lib/host/dialer.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import { QUIET_MS, QuietWarning } from "../../lib/host/quiet_warning.ts";

/** A system with a limit of descriptors, and a clock that stands until it is turned. */
class Machine {
  open = 0;
  nowMs = 0;
  /** Why nothing can be opened although descriptors are left. */
  fault = "";
  readonly warnings: [string, LogFields][] = [];
  readonly limit: number;
  #task: (() => void) | null = null;

  constructor(limit: number) {
    this.limit = limit;
  }

  readonly clock: HostClock = {
    now: () => this.nowMs,
    setTimer: (task) => {
      assertEquals(this.#task, null, "one timer at a time");
      this.#task = task;
      return 1 as unknown as Timer;
    },
    clearTimer: () => this.#task = null,
    soon: () => {},
  };

  /** Takes a descriptor. */
  readonly take = (): { close(): void } => {
    const code = this.fault !== "" ? this.fault : this.open >= this.limit ? "EMFILE" : "";
    if (code !== "") throw Object.assign(new Error(code), { code });
    this.open++;
    return { close: () => this.open-- };
  };

  get waits(): boolean {
    return this.#task !== null;
  }

  /** The timer is due. */
  tick(): void {
    const task = this.#task!;
    this.#task = null;
    task();
  }

  reserve(count: number): DescriptorReserve {
    const logger = {
      ...silentLogger,
      warn: (message: string, fields: LogFields = {}) => void this.warnings.push([message, fields]),
    };
    return new DescriptorReserve({ count, logger, open: this.take, clock: this.clock });
  }
}

Deno.test("descriptor reserve: what flows leave over is there when it is asked for", () => {
  const machine = new Machine(10);
  using reserve = machine.reserve(4);
  assertEquals([reserve.held, reserve.isShort, machine.open], [4, false, 4]);
  const flows = Array.from({ length: 6 }, () => machine.take());
  assertThrows(() => machine.take(), Error, "EMFILE");
  reserve.free();
  const asked = machine.take();
  assertEquals([reserve.held, reserve.isShort], [3, true]);
  machine.tick();
  assert(reserve.isShort && machine.waits, "nothing is free yet, it is looked for again");
  flows.pop()!.close();
  machine.tick();
  assertEquals([reserve.held, reserve.isShort, machine.waits], [4, false, false]);
  asked.close();
});

Deno.test("descriptor reserve: nothing is taken from it while there are others", () => {
  const machine = new Machine(10);
  using reserve = machine.reserve(4);
  reserve.free();
  assertEquals([reserve.held, machine.open, machine.waits], [4, 4, false]);
});

Deno.test("descriptor reserve: a small limit leaves most to the flows", () => {
  const machine = new Machine(10);
  using reserve = machine.reserve(64);
  assertEquals([reserve.held, reserve.isShort, machine.open], [2, false, 2]);
});

Deno.test("descriptor reserve: a file that is gone ends the keeping, not the flows", () => {
  const machine = new Machine(5);
  using reserve = machine.reserve(4);
  machine.take();
  reserve.free();
  assertEquals([reserve.held, reserve.isShort], [3, true]);
  machine.fault = "ENOENT";
  machine.tick();
  assertEquals([reserve.held, reserve.isShort, machine.waits], [3, false, false]);
  reserve.free();
  assertEquals(reserve.held, 3);
});

Deno.test("descriptor reserve: at the end all are given back", () => {
  const machine = new Machine(4);
  {
    using reserve = machine.reserve(4);
    reserve.free();
    assertEquals([machine.open, machine.waits], [3, true]);
  }
  assertEquals([machine.open, machine.waits], [0, false]);
});

Deno.test("descriptor reserve: flows wait for it to be whole, the resolver does not", async () => {
  const machine = new Machine(4);
  using reserve = machine.reserve(4);
  let connects = 0;
  let sockets = 0;
  const connect: Connect = () => {
    connects++;
    return Promise.reject(Object.assign(new Error("no"), { code: "ECONNREFUSED" }));
  };
  const system = withReserve({
    ...hostSystem,
    connect,
    connectUpstream: connect,
    openUdpSocket: () => {
      sockets++;
      return { send: () => {}, close: () => {} };
    },
  }, reserve);
  const to = {
    hostname: "192.0.2.1",
    port: 1,
    transport: "tcp",
    signal: new AbortController().signal,
  } as const;
  await assertRejects(() => system.connect(to), Error, "no");
  system.openUdpSocket("127.0.0.1", { onDatagram: () => {}, onError: () => {} });
  assert(reserve.isShort);
  await assertRejects(() => system.connect(to), Error, "kept");
  assertThrows(
    () =>
      system.datagramSockets({ sockets: 1 }).open("127.0.0.1", 1, {
        received: () => {},
        stray: () => {},
        failed: () => {},
        ended: () => {},
      }),
    Error,
    "kept",
  );
  await assertRejects(() => system.connectUpstream(to), Error, "no");
  assertEquals([connects, sockets, reserve.held], [2, 1, 2 + 1]);
  assertEquals(machine.warnings.length, 1);
});

Deno.test("quiet warning: once a minute, with how often it was not said", () => {
  const said: LogFields[] = [];
  let nowMs = 5;
  const logger = {
    ...silentLogger,
    warn: (_: string, fields: LogFields = {}) => void said.push(fields),
  };
  const warning = new QuietWarning(logger, () => nowMs);
  for (let i = 0; i < 1000; i++) warning.warn("odd", { i });
  assertEquals(said, [{ i: 0 }]);
  nowMs += QUIET_MS;
  warning.warn("odd", { i: 1000 });
  assertEquals(said[1], { i: 1000, unsaid: 999 });
});
