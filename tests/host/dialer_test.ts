import { systemClock } from "../../lib/host/host_clock.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import { assertEquals } from "@std/assert";
import { type Dial, Dialer, type DialFailure, type DialLimits } from "../../lib/host/dialer.ts";

const LIMITS: DialLimits = {
  tcpDials: 4,
  tcpDialsPerDestination: 2,
  tcpDialYieldMs: 3_000,
  tcpDialTimeoutMs: 30_000,
  tcpDialsPerSecond: 1_000_000,
};

/** A connect that was asked for and waits for the test to settle it. */
interface Attempt {
  readonly name: string;
  connected(): void;
  failed(reason?: string | Error): void;
  aborted: boolean;
}

/** A world in which a connect takes as long as the test says. */
class World {
  nowMs = 1_000;
  readonly attempts: Attempt[] = [];
  readonly log: string[] = [];
  readonly dialer: Dialer;
  /** Connections that were made and not closed. */
  open = 0;
  /** Whether no more flows can be half-open. */
  crowded = false;
  #heard: () => void = () => {};

  constructor(limits: Partial<DialLimits> = {}) {
    const connect = (options: Deno.ConnectOptions & { signal: AbortSignal }) =>
      this.#connect(`${options.hostname} ${options.port}`, options.signal);
    const now = () => this.nowMs;
    const host = { ...systemClock, now, connect };
    this.dialer = new Dialer({ ...LIMITS, ...limits }, host, () => this.crowded);
  }

  #connect(name: string, signal: AbortSignal): Promise<Deno.TcpConn> {
    return new Promise((resolve, reject) => {
      const attempt: Attempt = {
        name,
        aborted: false,
        connected: () => {
          this.open++;
          resolve({ close: () => void this.open-- } as Partial<Deno.TcpConn> as Deno.TcpConn);
        },
        failed: (reason = "ECONNREFUSED") => {
          const isCode = typeof reason === "string";
          reject(isCode ? Object.assign(new Error(reason), { code: reason }) : reason);
        },
      };
      signal.addEventListener("abort", () => {
        attempt.aborted = true;
        reject(signal.reason);
      });
      this.attempts.push(attempt);
    });
  }

  /** Dials by a name that the log then uses. */
  dial(name: string, hostnames: readonly string[], port = 80) {
    const say = (what: string): void => {
      this.log.push(`${name} ${what}`);
      this.#heard();
    };
    const dial: Dial = {
      hostnames,
      port,
      onConnected: () => say("connected"),
      onFailed: (reason: DialFailure) => say(reason),
    };
    return this.dialer.dial(dial);
  }

  /** What is under way, in the order in which it was begun. */
  get started(): string[] {
    return this.attempts.map((attempt) => attempt.name);
  }

  /** Waits until the dialer's own timer has led to so many lines of the log. */
  async heard(lines: number): Promise<void> {
    while (this.log.length < lines) await new Promise<void>((resolve) => this.#heard = resolve);
  }
}

/** Lets everything that has settled be heard. */
async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

Deno.test("dialer: a connect that succeeds is handed over", async () => {
  const world = new World();
  using dialer = world.dialer;
  world.dial("a", ["192.0.2.1"], 443);
  assertEquals([dialer.active, dialer.waiting], [1, 0]);
  assertEquals(world.started, ["192.0.2.1 443"]);
  world.attempts[0]!.connected();
  await settle();
  assertEquals(world.log, ["a connected"]);
  assertEquals([dialer.active, dialer.waiting, world.open], [0, 0, 1]);
});

Deno.test("dialer: failures are told apart by the system's code", async () => {
  const expected: Record<string, DialFailure> = {
    ECONNREFUSED: "refused",
    ECONNRESET: "refused",
    EHOSTUNREACH: "hostUnreachable",
    EHOSTDOWN: "hostUnreachable",
    ENETUNREACH: "networkUnreachable",
    EADDRNOTAVAIL: "resources",
    EAFNOSUPPORT: "networkUnreachable",
    ETIMEDOUT: "timeout",
    EMFILE: "resources",
    ENFILE: "resources",
    ENOBUFS: "resources",
    ENOMEM: "resources",
    "": "refused",
  };
  for (const [code, reason] of Object.entries(expected)) {
    const world = new World();
    using dialer = world.dialer;
    world.dial("a", ["192.0.2.1", "192.0.2.2"]);
    world.attempts[0]!.failed(code);
    await settle();
    if (reason === "refused") world.attempts[1]!.failed(code);
    await settle();
    assertEquals(world.log, [`a ${reason}`], code);
    assertEquals(world.started.length, reason === "refused" ? 2 : 1, code);
    assertEquals(dialer.active, 0);
  }
});

Deno.test("dialer: real sockets, accepted and refused", async () => {
  using dialer = new Dialer(LIMITS, hostSystem);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dial = (port: number) =>
    new Promise<string | Deno.TcpConn>((resolve) =>
      dialer.dial({ hostnames: ["127.0.0.1"], port, onConnected: resolve, onFailed: resolve })
    );
  const accepting = listener.accept();
  const conn = await dial(listener.addr.port);
  (await accepting).close();
  listener.close();
  if (typeof conn === "string") throw new Error(conn);
  conn.close();
  assertEquals(await dial(1), "refused"); // the other port may be another test's by now
  assertEquals(dialer.active, 0);
});

Deno.test("dialer: the second literal is tried only when the first one refuses", async () => {
  const world = new World();
  using dialer = world.dialer;
  world.dial("a", ["127.0.0.1", "::1"]);
  assertEquals(world.started, ["127.0.0.1 80"]);
  world.attempts[0]!.failed();
  await settle();
  assertEquals(world.started, ["127.0.0.1 80", "::1 80"]);
  assertEquals(dialer.active, 1);
  world.attempts[1]!.connected();
  await settle();
  assertEquals(world.log, ["a connected"]);
});

Deno.test("dialer: a literal that is not permitted says less than the other one", async () => {
  const notPermitted = new Deno.errors.NotCapable("no net permission");
  const cases: [first: string | Error, second: string | Error, failure: DialFailure][] = [
    [notPermitted, "ECONNREFUSED", "refused"],
    ["ECONNREFUSED", notPermitted, "refused"],
    [notPermitted, "ETIMEDOUT", "timeout"],
    [notPermitted, notPermitted, "prohibited"],
  ];
  for (const [first, second, failure] of cases) {
    const world = new World();
    using _dialer = world.dialer;
    world.dial("a", ["::1", "127.0.0.1"]);
    world.attempts[0]!.failed(first);
    await settle();
    world.attempts[1]!.failed(second);
    await settle();
    assertEquals(world.log, [`a ${failure}`]);
  }
  const world = new World();
  using _dialer = world.dialer;
  world.dial("a", ["::1", "127.0.0.1"]);
  world.attempts[0]!.failed(notPermitted);
  await settle();
  world.attempts[1]!.connected();
  await settle();
  assertEquals(world.log, ["a connected"]);
});

Deno.test("dialer: no more than the limit are under way, the rest waits in order", async () => {
  const world = new World();
  using dialer = world.dialer;
  const names = Array.from({ length: 9 }, (_, i) => `${i}`);
  for (const name of names) world.dial(name, [`192.0.2.${name}`]);
  assertEquals([dialer.active, dialer.waiting], [4, 5]);
  for (let i = 0; i < 9; i++) {
    world.attempts[i]!.connected();
    await settle();
    assertEquals(world.started.length, Math.min(9, 5 + i));
  }
  assertEquals(world.started, names.map((name) => `192.0.2.${name} 80`));
  assertEquals(world.log, names.map((name) => `${name} connected`));
});

Deno.test("dialer: once half are in use a destination gets no more than its share", async () => {
  const world = new World();
  using dialer = world.dialer;
  for (const name of ["x1", "x2", "x3", "x4"]) world.dial(name, ["192.0.2.1"]);
  assertEquals([dialer.active, dialer.waiting], [2, 2]);
  world.dial("other port", ["192.0.2.1"], 81); // another destination
  world.dial("y", ["192.0.2.2"]);
  assertEquals([dialer.active, dialer.waiting], [4, 2]);
  world.dial("z", ["192.0.2.3"]);
  assertEquals([dialer.active, dialer.waiting], [4, 3]);
  world.attempts[3]!.failed(); // y makes room: the x have their share, so z goes first
  await settle();
  assertEquals(world.started.at(-1), "192.0.2.3 80");
  world.attempts[0]!.failed();
  await settle();
  assertEquals(world.started.at(-1), "192.0.2.1 80");
  assertEquals([dialer.active, dialer.waiting], [4, 1]);
});

Deno.test("dialer: less than half in use, a destination may have more than its share", () => {
  const world = new World({ tcpDials: 100 });
  using dialer = world.dialer;
  for (let i = 0; i < 60; i++) world.dial("x", ["192.0.2.1"]);
  assertEquals([dialer.active, dialer.waiting], [50, 10]);
});

Deno.test("dialer: a pending dial makes way, the oldest of the greediest destination first", async () => {
  const world = new World({ tcpDialsPerDestination: 3 });
  using dialer = world.dialer;
  world.dial("y", ["192.0.2.2"]);
  world.nowMs += 10;
  world.dial("x1", ["192.0.2.1"]);
  world.nowMs += 10;
  world.dial("x2", ["192.0.2.1"]);
  world.nowMs += 10;
  world.dial("x3", ["192.0.2.1"]);
  world.dial("z", ["192.0.2.3"]);
  assertEquals([dialer.active, dialer.waiting], [4, 1]);
  world.nowMs += 3_000;
  await world.heard(1);
  assertEquals(world.log, ["x1 timeout"]);
  assertEquals(world.attempts.map((attempt) => attempt.aborted), [
    false,
    true,
    false,
    false,
    false,
  ]);
  assertEquals(world.started.at(-1), "192.0.2.3 80");
  assertEquals([dialer.active, dialer.waiting], [4, 0]);
});

Deno.test("dialer: an eighth is left for destinations that have answered before", async () => {
  const world = new World({ tcpDials: 16, tcpDialsPerDestination: 3 });
  using dialer = world.dialer;
  world.dial("known", ["192.0.2.1"]);
  world.attempts[0]!.connected();
  await settle();
  for (let i = 0; i < 20; i++) world.dial(`${i}`, [`198.51.100.${i}`]);
  assertEquals([dialer.active, dialer.waiting], [14, 6]);
  for (let i = 0; i < 3; i++) world.dial(`known ${i}`, ["192.0.2.1"]);
  assertEquals([dialer.active, dialer.waiting], [16, 7]);
  world.attempts[1]!.failed(); // one place: for the known one, which waits behind six others
  await settle();
  assertEquals([world.started.at(-1), dialer.active, dialer.waiting], ["192.0.2.1 80", 16, 6]);
  for (const attempt of world.attempts.slice(-3)) attempt.connected();
  await settle();
  assertEquals([dialer.active, dialer.waiting], [14, 5]);
});

Deno.test("dialer: of the destinations that have answered so many are remembered", async () => {
  const world = new World({ tcpDials: 8 });
  using dialer = world.dialer;
  for (let i = 0; i < 1_025; i++) {
    world.dial(`${i}`, ["192.0.2.1"], 1 + i);
    world.attempts.at(-1)!.connected();
    await settle();
  }
  for (let i = 0; i < 7; i++) world.dial("flood", [`198.51.100.${i}`]);
  world.dial("forgotten", ["192.0.2.1"], 1);
  assertEquals([dialer.active, dialer.waiting], [7, 1]);
  world.dial("remembered", ["192.0.2.1"], 2);
  assertEquals([dialer.active, dialer.waiting], [8, 1]);
});

Deno.test("dialer: while no more flows can be half-open nobody waits for long", async () => {
  const world = new World();
  using dialer = world.dialer;
  for (let i = 0; i < 6; i++) world.dial(`${i}`, [`192.0.2.${i}`]);
  world.nowMs += 499;
  await new Promise((resolve) => setTimeout(resolve, 300));
  world.crowded = true;
  world.dial("late", ["192.0.2.9"]);
  world.nowMs++;
  await world.heard(2);
  assertEquals(world.log, ["4 crowded", "5 crowded"]);
  assertEquals([dialer.active, dialer.waiting], [4, 1]);
});

Deno.test("dialer: nobody makes way while nobody waits", async () => {
  const world = new World();
  using _dialer = world.dialer;
  for (const name of ["1", "2", "3", "4"]) world.dial(name, [`192.0.2.${name}`]);
  world.nowMs += 29_999;
  // The sweep that makes way for "5" shows that those before it made nobody give up.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assertEquals(world.log, []);
  world.dial("5", ["192.0.2.5"]);
  await world.heard(1);
  assertEquals(world.log, ["1 timeout"]);
});

Deno.test("dialer: a dial under way and one that waits are given up after the time limit", async () => {
  const world = new World({ tcpDials: 1, tcpDialYieldMs: 30_000 });
  using dialer = world.dialer;
  world.dial("active", ["192.0.2.1"]);
  world.dial("waiting", ["192.0.2.1"]);
  world.nowMs += 30_000;
  await world.heard(2);
  assertEquals(world.log.sort(), ["active timeout", "waiting timeout"]);
  assertEquals(world.attempts.every((attempt) => attempt.aborted), true);
  assertEquals([dialer.active, dialer.waiting], [0, 0]);
});

Deno.test("dialer: time spent waiting counts", async () => {
  const world = new World({ tcpDials: 1 });
  using _dialer = world.dialer;
  const first = world.dial("first", ["192.0.2.1"]);
  world.dial("second", ["192.0.2.2"]);
  world.nowMs += 2_000;
  first.cancel();
  assertEquals(world.started.length, 2);
  world.nowMs += 28_000;
  await world.heard(1);
  assertEquals(world.log, ["second timeout"]);
});

Deno.test("dialer: a cancelled dial is aborted and says nothing", async () => {
  const world = new World();
  using dialer = world.dialer;
  const handle = world.dial("a", ["192.0.2.1", "192.0.2.2"]);
  handle.cancel();
  handle.cancel();
  assertEquals(world.attempts[0]!.aborted, true);
  await settle();
  assertEquals(world.log, []);
  assertEquals(world.started.length, 1, "the second literal is not tried");
  assertEquals(dialer.active, 0);
});

Deno.test("dialer: a connect that succeeds after its dial was cancelled is closed", async () => {
  const world = new World();
  using _dialer = world.dialer;
  const handle = world.dial("a", ["192.0.2.1"]);
  world.attempts[0]!.connected(); // it has settled, but nobody has heard yet
  handle.cancel();
  await settle();
  assertEquals([world.log, world.open], [[], 0]);
});

Deno.test("dialer: 10,000 dials that are cancelled while they wait leave nothing", async () => {
  const world = new World();
  using dialer = world.dialer;
  const handles = Array.from({ length: 10_000 }, (_, i) => world.dial(`${i}`, ["192.0.2.1"]));
  assertEquals([dialer.active, dialer.waiting], [2, 9_998]);
  for (const handle of handles.slice(2)) handle.cancel();
  assertEquals([dialer.active, dialer.waiting], [2, 0]);
  for (const handle of handles) handle.cancel();
  await settle();
  assertEquals([dialer.active, dialer.waiting, world.log.length, world.started.length], [
    0,
    0,
    0,
    2,
  ]);
  world.dial("honest", ["192.0.2.1"]);
  assertEquals(dialer.active, 1);
});

Deno.test("dialer: dispose ends all silently, and what comes later fails as cancelled", async () => {
  const world = new World({ tcpDials: 2 });
  const { dialer } = world;
  for (const name of ["1", "2", "3"]) world.dial(name, [`192.0.2.${name}`]);
  dialer[Symbol.dispose]();
  assertEquals([dialer.active, dialer.waiting], [0, 0]);
  assertEquals(world.attempts.map((attempt) => attempt.aborted), [true, true]);
  await settle();
  assertEquals(world.log, []);
  world.dial("late", ["192.0.2.4"]);
  await settle();
  assertEquals(world.log, ["late cancelled"]);
  assertEquals(world.started.length, 2);
});

Deno.test("dialer: nobody makes way before the time that each is given", async () => {
  const world = new World();
  using dialer = world.dialer;
  for (const name of ["1", "2", "3", "4", "5"]) world.dial(name, [`192.0.2.${name}`]);
  world.nowMs += 2_999;
  await new Promise((resolve) => setTimeout(resolve, 300));
  assertEquals([world.log, dialer.waiting], [[], 1]);
  world.nowMs += 1;
  await world.heard(1);
  assertEquals([world.log, dialer.waiting], [["1 timeout"], 0]);
});

Deno.test({
  name: "dialer: without the permission a dial fails as prohibited, and nothing prompts",
  permissions: { net: [] },
  fn: async () => {
    using dialer = new Dialer(LIMITS, { ...hostSystem, now: () => 0 });
    const reason = await new Promise((resolve) =>
      dialer.dial({ hostnames: ["127.0.0.1"], port: 1, onConnected: resolve, onFailed: resolve })
    );
    assertEquals(reason, "prohibited");
  },
});

Deno.test("dialer: no more than the rate begin, the others wait and begin by themselves", async () => {
  const world = new World({ tcpDialsPerSecond: 40 });
  using dialer = world.dialer;
  for (let i = 0; i < 4; i++) world.dial(`${i}`, [`192.0.2.${i}`]);
  for (const attempt of world.attempts) attempt.connected();
  await settle();
  world.dial("4", ["192.0.2.4"]);
  world.dial("5", ["192.0.2.5"]);
  assertEquals([dialer.active, dialer.waiting], [0, 2]);
  world.nowMs += 25;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals([dialer.active, dialer.waiting], [1, 1]);
  assertEquals(world.attempts.at(-1)!.name, "192.0.2.4 80");
});

Deno.test("dialer: what is refused or taken back counts three times", async () => {
  for (const waste of ["refused", "taken back"]) {
    const world = new World({ tcpDialsPerSecond: 40 });
    using dialer = world.dialer;
    const handle = world.dial("wasted", ["192.0.2.1"]);
    if (waste === "refused") world.attempts[0]!.failed();
    else handle.cancel();
    await settle();
    world.dial("next", ["192.0.2.2"]);
    world.dial("later", ["192.0.2.3"]);
    assertEquals([dialer.active, dialer.waiting], [1, 1], waste);
  }
});

Deno.test("dialer: a signal is used again unless it has ended its dial", async () => {
  const world = new World({ tcpDials: 40, tcpDialsPerDestination: 40 });
  using _dialer = world.dialer;
  world.dial("first", ["192.0.2.1"]).cancel();
  world.dial("second", ["192.0.2.2"]);
  assertEquals(world.attempts.map(({ aborted }) => aborted), [true, false]);
  world.attempts[1]!.connected();
  await settle();
  const third = world.dial("third", ["192.0.2.3"]);
  third.cancel();
  assertEquals(world.attempts[2]!.aborted, true);
  await settle();
  assertEquals(world.log, ["second connected"]);
});

Deno.test("dialer: under the rate nobody overtakes, and known and unknown destinations take turns", async () => {
  const world = new World({ tcpDials: 64, tcpDialsPerDestination: 64, tcpDialsPerSecond: 100 });
  using dialer = world.dialer;
  world.dial("known", ["192.0.2.1"]);
  world.attempts[0]!.connected();
  await settle();
  for (let i = 0; i < 9; i++) world.dial(`first ${i}`, ["192.0.2.1"]);
  for (let i = 0; i < 20; i++) world.dial(`k${i}`, ["192.0.2.1"]);
  for (let i = 0; i < 3; i++) world.dial(`u${i}`, ["192.0.2.9"], 90 + i);
  assertEquals([dialer.active, dialer.waiting], [9, 23]);
  world.nowMs += 60;
  world.dial("late", ["192.0.2.1"]);
  assertEquals(dialer.waiting, 24, "who comes late does not take what others wait for");
  await new Promise((resolve) => setTimeout(resolve, 50));
  const begun = world.attempts.slice(10).map(({ name }) => name);
  assertEquals(begun, [
    "192.0.2.1 80",
    "192.0.2.9 90",
    "192.0.2.1 80",
    "192.0.2.9 91",
    "192.0.2.1 80",
    "192.0.2.9 92",
  ]);
});
