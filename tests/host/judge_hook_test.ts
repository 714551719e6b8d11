import { assert, assertEquals, assertFalse } from "@std/assert";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import {
  type HookVerdict,
  type JudgedFlow,
  type JudgeFunction,
  JudgeHook,
  type JudgeQuestion,
  type PendingVerdict,
} from "../../lib/host/judge_hook.ts";
import { settled, VirtualClock } from "../support/virtual_clock.ts";

const FLOW: JudgedFlow = {
  protocol: "tcp",
  address: "192.0.2.1",
  port: 443,
  guestAddress: "100.96.0.2",
  guestPort: 40_000,
};

const ALLOWED: HookVerdict = { allow: true, reason: "" };

function denied(reason: string): HookVerdict {
  return { allow: false, reason };
}

/** A hook on a virtual clock, and what came of it. */
class World {
  readonly clock = new VirtualClock();
  readonly warnings: string[] = [];
  readonly verdicts: HookVerdict[] = [];
  readonly asked: JudgeQuestion[] = [];
  readonly hook: JudgeHook;

  constructor(judge: JudgeFunction, judgePending = 256) {
    const logger: GatewayLogger = {
      ...silentLogger,
      warn: (message, fields) => void this.warnings.push(`${message} ${JSON.stringify(fields)}`),
    };
    this.hook = new JudgeHook({
      judge: (question) => {
        this.asked.push(question);
        return judge(question);
      },
      judgePending,
      judgeMs: 1_000,
      clock: this.clock,
      logger,
    });
  }

  ask(name: string | null = null): HookVerdict | PendingVerdict {
    return this.hook.ask(FLOW, name, (verdict) => void this.verdicts.push(verdict));
  }

  /** Asks, and the question must wait. */
  askPending(): PendingVerdict {
    const pending = this.ask();
    assert("cancel" in pending);
    return pending;
  }
}

/** A judge whose verdicts come when the test says so. */
function slowJudge() {
  const answers: PromiseWithResolvers<boolean>[] = [];
  const judge = () => {
    const answer = Promise.withResolvers<boolean>();
    answers.push(answer);
    return answer.promise;
  };
  return { answers, judge };
}

Deno.test("judge hook: a verdict that is there at once is returned", () => {
  const cases: [unknown, HookVerdict][] = [
    [true, ALLOWED],
    [{ allow: true }, ALLOWED],
    [{ allow: true, reason: "for once" }, ALLOWED],
    [false, denied("the program's judge")],
    [{ allow: false }, denied("the program's judge")],
    [{ allow: false, reason: "" }, denied("the program's judge")],
    [{ allow: false, reason: "not at night" }, denied("not at night")],
    [{ allow: false, reason: "x".repeat(1_000) }, denied("x".repeat(256))],
  ];
  for (const [said, verdict] of cases) {
    const world = new World(() => said as boolean);
    assertEquals(world.ask("example.com"), verdict);
    assertEquals([world.hook.pending, world.clock.timers, world.verdicts.length], [0, 0, 0]);
    assertEquals(world.asked.map(({ flow, name }) => ({ flow, name })), [
      { flow: FLOW, name: "example.com" },
    ]);
    assertFalse(world.asked[0]!.signal.aborted);
    assertEquals(world.warnings, []);
  }
});

Deno.test("judge hook: a verdict that comes later is told, once", async () => {
  for (
    const [said, verdict] of [[true, ALLOWED], [false, denied("the program's judge")]] as const
  ) {
    const world = new World(async () => {
      await Promise.resolve();
      return said;
    });
    const { signal } = (world.askPending(), world.asked[0]!);
    assertEquals([world.hook.pending, world.clock.timers], [1, 1]);
    await settled();
    assertEquals(world.verdicts, [verdict]);
    assertEquals([world.hook.pending, world.clock.timers], [0, 0]);
    await world.clock.run(10_000);
    assertEquals(world.verdicts.length, 1);
    assertFalse(signal.aborted);
  }
});

Deno.test("judge hook: any thenable is a promise", async () => {
  const then = (resolve: (value: boolean) => void) => resolve(true);
  const world = new World(() => ({ then }) as unknown as Promise<boolean>);
  world.askPending();
  await settled();
  assertEquals(world.verdicts, [ALLOWED]);
});

Deno.test("judge hook: no verdict in time is a denial, and the signal fires", async () => {
  const { answers, judge } = slowJudge();
  const world = new World(judge);
  world.askPending();
  const { signal } = world.asked[0]!;
  await world.clock.run(999);
  assertEquals([world.verdicts.length, signal.aborted], [0, false]);
  await world.clock.run(1);
  assertEquals(world.verdicts, [denied("no verdict of the program's judge within 1000 ms")]);
  assertEquals([signal.aborted, signal.reason.name], [true, "TimeoutError"]);
  assertEquals([world.hook.pending, world.clock.timers], [0, 0]);
  answers[0]!.resolve(true);
  await settled();
  assertEquals(world.verdicts.length, 1, "what comes too late is not told");
  assertEquals(world.warnings, [
    `A flow is denied: the program's judge took too long {"judgeMs":1000}`,
  ]);
});

Deno.test("judge hook: a judge that first asks for the signal too late finds that it has fired", async () => {
  const world = new World(slowJudge().judge);
  world.askPending();
  world.askPending().cancel();
  await world.clock.run(1_000);
  assertEquals(world.asked.map(({ signal }) => signal.reason.name), ["TimeoutError", "AbortError"]);
});

Deno.test("judge hook: a flow that goes away fires the signal, and nobody is told", async () => {
  const { answers, judge } = slowJudge();
  const world = new World(judge);
  const pending = world.askPending();
  const { signal } = world.asked[0]!;
  pending.cancel();
  pending.cancel();
  assertEquals([signal.aborted, signal.reason.name], [true, "AbortError"]);
  assertEquals([world.hook.pending, world.clock.timers], [0, 0]);
  answers[0]!.reject(new Error("aborted"));
  await world.clock.run(5_000);
  assertEquals([world.verdicts, world.warnings], [[], []]);
});

Deno.test("judge hook: to cancel what is decided does nothing", async () => {
  const { answers, judge } = slowJudge();
  const world = new World(judge);
  const pending = world.askPending();
  const { signal } = world.asked[0]!;
  answers[0]!.resolve(true);
  await settled();
  pending.cancel();
  assertEquals([world.verdicts, signal.aborted], [[ALLOWED], false]);
});

Deno.test("judge hook: so many wait, and those beyond are denied without being asked about", async () => {
  const { answers, judge } = slowJudge();
  const world = new World(judge, 3);
  const first = world.askPending();
  for (let i = 0; i < 2; i++) world.askPending();
  for (let i = 0; i < 2; i++) {
    assertEquals(world.ask(), denied("3 flows wait for the program's judge already"));
  }
  assertEquals([world.asked.length, world.hook.pending], [3, 3]);
  assertEquals(world.warnings, [
    `Flows are denied: too many wait for the program's judge {"judgePending":3}`,
  ]);
  first.cancel();
  world.askPending();
  answers[1]!.resolve(true);
  await settled();
  world.askPending();
  assertEquals(world.asked.length, 5);
  await world.clock.run(1_000);
  assertEquals([world.hook.pending, world.verdicts.length], [0, 4]);
});

Deno.test("judge hook: a judge that throws or rejects denies, and the log says so once", async () => {
  const world = new World(() => {
    throw new TypeError("oops");
  });
  for (let i = 0; i < 3; i++) assertEquals(world.ask(), denied("the program's judge failed"));
  const rejecting = new World(() => Promise.reject("no"));
  for (let i = 0; i < 3; i++) rejecting.askPending();
  await settled();
  assertEquals(rejecting.verdicts, Array(3).fill(denied("the program's judge failed")));
  assertEquals(world.warnings, [
    `A flow is denied: the program's judge failed {"reason":"TypeError: oops"}`,
  ]);
  assertEquals(rejecting.warnings, [
    `A flow is denied: the program's judge failed {"reason":"no"}`,
  ]);
  assertEquals([world.hook.pending, rejecting.hook.pending, rejecting.clock.timers], [0, 0, 0]);
});

Deno.test("judge hook: what is no verdict is a denial, and the log says what it was", async () => {
  const wrong: [unknown, string][] = [
    [undefined, "undefined"],
    [null, "null"],
    [1, "number"],
    ["allow", "string"],
    [{}, "object"],
    [{ allow: 1 }, "object"],
    [{ allow: true, reason: 7 }, "object"],
    [{ allow: false, reason: null }, "object"],
    [() => true, "function"],
  ];
  for (const [said, type] of wrong) {
    const world = new World(() => said as boolean);
    assertEquals(world.ask(), denied("the program's judge gave no verdict"));
    assertEquals(world.warnings, [
      `A flow is denied: the program's judge said neither true, false nor { allow, reason } {"type":"${type}"}`,
    ]);
    const later = new World(() => Promise.resolve(said as boolean));
    later.askPending();
    await settled();
    assertEquals(later.verdicts, [denied("the program's judge gave no verdict")]);
  }
});

Deno.test("judge hook: getters and texts that throw are a failure like any other", async () => {
  const trap = () => {
    throw { toString: () => trap() };
  };
  const bad: unknown[] = [
    Object.defineProperty({}, "allow", { get: trap }),
    Object.defineProperty({}, "then", { get: trap }),
  ];
  for (const said of bad) {
    const world = new World(() => said as boolean);
    assertEquals(world.ask(), denied("the program's judge failed"));
  }
  const later = new World(() => ({ then: trap }) as unknown as Promise<boolean>);
  later.askPending();
  await settled();
  assertEquals(later.verdicts, [denied("the program's judge failed")]);
  assertEquals(later.warnings, [
    `A flow is denied: the program's judge failed {"reason":"an error without a text"}`,
  ]);
});

Deno.test("judge hook: dispose gives up all questions, and what comes later is denied", async () => {
  const { answers, judge } = slowJudge();
  const world = new World(judge);
  for (let i = 0; i < 3; i++) world.askPending();
  const signals = world.asked.map(({ signal }) => signal);
  world.hook[Symbol.dispose]();
  assertEquals(signals.map(({ aborted }) => aborted), [true, true, true]);
  assertEquals([world.hook.pending, world.clock.timers], [0, 0]);
  for (const { resolve } of answers) resolve(true);
  await settled();
  assertEquals(world.verdicts, []);
  assertEquals(world.ask(), denied("the network is closing"));
  assertEquals(world.asked.length, 3);
});

Deno.test("judge hook: a judge that closes the network meanwhile has no say any more", async () => {
  const sync: World = new World(() => {
    sync.hook[Symbol.dispose]();
    return true;
  });
  assertEquals(sync.ask(), denied("the network is closing"));
  const later: World = new World(() => {
    later.hook[Symbol.dispose]();
    return Promise.resolve(true);
  });
  assertEquals(later.ask(), denied("the network is closing"));
  await settled();
  assertEquals([later.verdicts, later.clock.timers], [[], 0]);
  assert(later.asked[0]!.signal.aborted);
});
