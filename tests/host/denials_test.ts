/** Refusals on their way to people: each is counted, kept and told; the log has what is news. */
import { assertEquals } from "@std/assert";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import { Denials } from "../../lib/host/denials.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { Counters } from "../../lib/stack/counters.ts";

const DENIAL: Denial = {
  protocol: "tcp",
  name: "pypi.org",
  destination: "192.0.2.1:443",
  rule: "default-deny",
  origin: "gateway.yaml:4:5",
  reason: "default-deny",
  detail: "no rule names pypi.org",
  hint: 'policy: { allow: ["pypi.org"] }',
};

class World {
  nowMs = 1_000;
  readonly counters = new Counters();
  readonly lines: string[] = [];
  readonly told: [Denial, number][] = [];
  readonly denials: Denials;

  constructor(kept = 8) {
    const logger: GatewayLogger = {
      ...silentLogger,
      warn: (message, fields) => void this.lines.push(`${message} ${JSON.stringify(fields)}`),
    };
    this.denials = new Denials({
      kept,
      counters: this.counters,
      logger,
      now: () => this.nowMs,
      onDenial: (denial, nowMs) => void this.told.push([denial, nowMs]),
    });
  }

  note(change: Partial<Denial> = {}): void {
    this.denials.note({ ...DENIAL, ...change });
  }
}

Deno.test("denials: one is counted, kept, told with its time, and a line that says the way out", () => {
  const world = new World();
  world.note();
  world.note({ name: null, origin: "", hint: null, detail: "no rule opens loopback addresses" });
  assertEquals(world.counters.snapshot(), { "policy.refused": 2 });
  assertEquals(world.told, [[DENIAL, 1_000], [world.told[1]![0], 1_000]]);
  assertEquals(world.denials.log.groups().map(({ denial }) => denial.name), [null, "pypi.org"]);
  assertEquals(world.lines, [
    'denied tcp pypi.org:443: no rule names pypi.org {"rule":"default-deny",' +
    '"origin":"gateway.yaml:4:5","allow":"policy: { allow: [\\"pypi.org\\"] }"}',
    'denied tcp 192.0.2.1:443: no rule opens loopback addresses {"rule":"default-deny"}',
  ]);
});

Deno.test("denials: what is no news is no line, and is counted and told all the same", () => {
  const world = new World();
  for (let i = 0; i < 100; i++) {
    world.note();
    world.nowMs += 1_000;
  }
  assertEquals([world.lines.length, world.told.length, world.denials.log.total], [1, 100, 100]);
  world.nowMs += 60_000;
  world.note();
  assertEquals(world.lines.length, 2);
});

Deno.test("denials: a guest that is refused at ever other names is news to the log each time", () => {
  const world = new World();
  for (let i = 0; i < 1_000; i++) world.note({ name: `n${i}.test` });
  assertEquals([world.told.length, world.denials.log.groups().length], [1_000, 8]);
  assertEquals(world.lines.length, 1_000); // of which limited_log.ts lets few through
});
