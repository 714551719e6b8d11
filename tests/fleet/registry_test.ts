/** Who is there, and which names there are: by what was said, on a clock that the tests turn. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { SERVICES_MAX, ServiceZone } from "../../lib/dns/service_zone.ts";
import {
  GATEWAYS_MAX,
  GUESTS_TOTAL_MAX,
  LIFE_MS,
  type NameConflict,
  Registry,
} from "../../lib/fleet/registry.ts";
import { guestOf, saying } from "./announcements.ts";

class World {
  readonly conflicts: string[] = [];
  readonly registry = new Registry("home", ({ of, name, holder, other }: NameConflict) => {
    this.conflicts.push(`${of} ${name}: ${holder}, not ${other}`);
  });
  nowMs = 1_000;

  hear(...said: Parameters<typeof saying>): void {
    this.registry.hear(this.nowMs, saying(...said));
  }

  own(guests: Parameters<typeof saying>[1]): void {
    this.registry.hearOwn(saying("home", guests));
  }

  /** So much later, with all that was said heard. */
  later(ms: number): void {
    this.nowMs += ms;
    this.registry.expire(this.nowMs);
  }

  get names(): string[] {
    return this.registry.services().split("\n").slice(0, -1);
  }
}

const WEB = { db: ["web:8080@10.0.0.5"] };

Deno.test("a gateway's services have names until it is silent for too long, or says that it ends", () => {
  const world = new World();
  world.hear("host-1", WEB);
  world.hear("host-2", { app: ["api:80@10.0.0.6,fd00::6", "dns:53/udp@10.0.0.6"] });
  const app = ["api.app tcp 80 - 10.0.0.6 fd00::6", "dns.app udp 53 - 10.0.0.6"];
  assertEquals(world.names, ["web.db tcp 8080 - 10.0.0.5", ...app]);
  assertEquals(world.registry.report(), { gateways: 2, services: 3, conflicts: 0 });
  world.later(LIFE_MS - 1);
  world.hear("host-2", { app: ["api:80@10.0.0.6,fd00::6", "dns:53/udp@10.0.0.6"] });
  assertEquals(world.names.length, 3);
  world.later(1);
  assertEquals(world.names, app);
  world.registry.leave({ gateway: "host-2", instance: "11111111" });
  assertEquals(world.names, app);
  world.registry.leave({ gateway: "host-2", instance: "00000000" });
  world.registry.leave({ gateway: "nobody", instance: "00000000" });
  assertEquals(world.names, []);
  assertEquals(world.registry.report(), { gateways: 0, services: 0, conflicts: 0 });
});

Deno.test("what a gateway no longer says has no name, nor has a guest that is not attached", () => {
  const world = new World();
  world.hear("host-1", { db: ["web:8080@10.0.0.5", "old:1@10.0.0.5"] });
  const { version } = world.registry;
  world.hear("host-1", WEB);
  assertEquals(world.names, ["web.db tcp 8080 - 10.0.0.5"]);
  assert(world.registry.version > version);
  world.hear("host-1", { "-db": ["web:8080@10.0.0.5"] });
  assertEquals(world.names, []);
  world.hear("host-1", WEB);
  assertEquals(world.names.length, 1);
});

Deno.test("the version stays where an announcement changes no name", () => {
  const world = new World();
  world.hear("host-1", WEB);
  const { version } = world.registry;
  world.hear("host-1", WEB, { revision: 9, policy: "stale" });
  world.hear("host-2", { other: [] });
  world.later(LIFE_MS - 1);
  assertEquals(world.registry.version, version);
});

Deno.test("while nothing is heard nothing ends, and afterwards each has its whole time", () => {
  const world = new World();
  world.hear("host-1", WEB);
  world.nowMs += 60_000; // nobody asks for an end: there is no engine
  assertEquals(world.names.length, 1);
  world.registry.refresh(world.nowMs);
  world.later(LIFE_MS - 1);
  assertEquals(world.names.length, 1);
  world.later(1);
  assertEquals(world.names, []);
});

Deno.test("a guest's name belongs to whoever had it first, until that one has it no more", () => {
  const world = new World();
  world.hear("host-1", WEB);
  world.later(2_000);
  world.hear("host-2", { db: ["web:9090@10.0.0.9", "evil:22@10.0.0.9"] });
  world.hear("host-2", { db: ["web:9090@10.0.0.9", "evil:22@10.0.0.9"] });
  assertEquals(world.names, ["web.db tcp 8080 - 10.0.0.5"]);
  assertEquals(world.conflicts, ["guest db: host-1, not host-2"]);
  assertEquals(world.registry.report().conflicts, 1);
  const { version } = world.registry;
  world.hear("host-1", { "-db": ["web:8080@10.0.0.5"] });
  assertEquals(world.names, ["web.db tcp 9090 - 10.0.0.9", "evil.db tcp 22 - 10.0.0.9"]);
  assert(world.registry.version > version);
  assertEquals(world.registry.report().conflicts, 0);
  world.hear("host-1", WEB);
  assertEquals(world.names.length, 2);
  assertEquals(world.conflicts[1], "guest db: host-2, not host-1");
  world.hear("host-1", {});
  assertEquals(world.registry.report().conflicts, 0);
});

Deno.test("a name passes on when its gateway is gone without a word", () => {
  const world = new World();
  world.hear("host-1", WEB);
  world.later(4_000);
  world.hear("host-2", { db: ["web:9090@10.0.0.9"] });
  world.later(LIFE_MS - 4_000);
  assertEquals(world.names, ["web.db tcp 9090 - 10.0.0.9"]);
});

Deno.test("who comes later sees names as those do that were there before", () => {
  const world = new World();
  world.own({ mine: [] });
  world.hear("host-2", { db: ["web:2@10.0.0.2"], mine: ["x:1@10.0.0.2"] }, { startedMs: 20 });
  world.hear("host-3", { db: ["web:3@10.0.0.3"] }, { startedMs: 30 });
  world.hear("host-1", { db: ["web:1@10.0.0.1"], mine: ["x:1@10.0.0.1"] }, { startedMs: 10 });
  assertEquals(world.names, ["web.db tcp 1 - 10.0.0.1"]);
  world.later(2_000);
  world.hear("host-0", { db: ["web:9@10.0.0.9"] }, { startedMs: 0 });
  assertEquals(world.names, ["web.db tcp 1 - 10.0.0.1"]);
  world.registry.leave({ gateway: "host-1", instance: "00000000" });
  assertEquals(world.names, ["web.db tcp 2 - 10.0.0.2"]);
});

Deno.test("nobody says for this gateway what it publishes, before its own first word too", () => {
  const world = new World();
  world.hear("home", { db: ["web:9090@10.0.0.5"] }, { instance: "11111111", startedMs: 9 });
  assertEquals(world.names, []);
  assertEquals(world.conflicts, ["gateway home: home, not 11111111"]);
  world.own({ db: ["web:80@10.0.0.1"] });
  assertEquals(world.names, ["web.db tcp 80 here 10.0.0.1"]);
  world.registry.leave({ gateway: "home", instance: "11111111" });
  assertEquals(world.registry.report(), { gateways: 1, services: 1, conflicts: 1 });
});

Deno.test("the own guests come first, are known as such, and never end", () => {
  const world = new World();
  world.hear("host-1", WEB);
  world.own({ db: ["web:80@10.0.0.1"] });
  assertEquals(world.names, ["web.db tcp 80 here 10.0.0.1"]);
  assertEquals(world.conflicts, ["guest db: home, not host-1"]);
  world.later(3_600_000);
  assertEquals(world.names, ["web.db tcp 80 here 10.0.0.1"]);
  world.registry.leave({ gateway: "home", instance: "00000000" });
  world.own({});
  assertEquals(world.names, []);
});

Deno.test("nobody else speaks for this gateway", () => {
  const world = new World();
  world.own(WEB);
  world.hear("home", { db: ["evil:22@10.0.0.9"] }, { instance: "99999999", startedMs: 9 });
  assertEquals(world.names, ["web.db tcp 8080 here 10.0.0.5"]);
  assertEquals(world.conflicts, ["gateway home: 00000000, not 99999999"]);
  assertEquals(world.registry.report().conflicts, 1);
  world.later(LIFE_MS);
  assertEquals(world.registry.report().conflicts, 0);
});

Deno.test("of two gateways of one name the one that was started later counts", () => {
  const world = new World();
  world.hear("host-1", WEB, { instance: "aaaaaaaa", startedMs: 5 });
  world.hear("host-1", { db: ["web:81@10.0.0.5"] }, { instance: "bbbbbbbb", startedMs: 6 });
  assertEquals(world.names, ["web.db tcp 81 - 10.0.0.5"]);
  world.hear("host-1", WEB, { instance: "aaaaaaaa", startedMs: 5 });
  world.hear("host-1", WEB, { instance: "cccccccc", startedMs: 6 });
  assertEquals(world.names, ["web.db tcp 81 - 10.0.0.5"]);
  assertEquals(world.conflicts, ["gateway host-1: bbbbbbbb, not aaaaaaaa"]);
  world.registry.leave({ gateway: "host-1", instance: "aaaaaaaa" });
  assertEquals(world.names.length, 1);
  world.later(LIFE_MS);
  world.hear("host-1", WEB, { instance: "aaaaaaaa", startedMs: 5 });
  assertEquals(world.names, ["web.db tcp 8080 - 10.0.0.5"]);
});

Deno.test("gateways have so many places, and who has one keeps it", () => {
  const world = new World();
  world.own({});
  for (let at = 1; at <= GATEWAYS_MAX; at++) world.hear(`host-${at}`);
  assertEquals(world.registry.report().gateways, GATEWAYS_MAX);
  assertEquals(world.registry.left.gateways, 1);
  world.hear("host-1", WEB);
  assertEquals(world.names.length, 1);
  world.registry.leave({ gateway: "host-2", instance: "00000000" });
  world.hear(`host-${GATEWAYS_MAX}`, { app: ["x:1@10.0.0.1"] });
  assertEquals(world.names.length, 2);
});

Deno.test("services have so many places, and who has one keeps it", () => {
  const world = new World();
  const many = (count: number, from = 0) =>
    Object.fromEntries(
      Array.from({ length: count / 64 }, (_, guest) => [
        `g${from + guest}`,
        Array.from({ length: 64 }, (_, at) => `s${at}:${1 + at}@10.0.0.1`),
      ]),
    );
  world.hear("host-1", WEB);
  world.hear("host-2", many(SERVICES_MAX));
  assertEquals(world.names.length, SERVICES_MAX);
  assertEquals(world.registry.left.services, 1);
  world.hear("host-3", { app: ["x:1@10.0.0.3"] });
  assert(!world.names.includes("x.app tcp 1 - 10.0.0.3"));
  world.hear("host-1", { db: ["web:8080@10.0.0.5", "more:1@10.0.0.5"] });
  assert(world.names.includes("web.db tcp 8080 - 10.0.0.5"));
  assert(!world.names.includes("more.db tcp 1 - 10.0.0.5"));
  world.hear("host-2", many(64));
  world.hear("host-3", { app: ["x:1@10.0.0.3"] });
  assert(world.names.includes("x.app tcp 1 - 10.0.0.3"));
  new ServiceZone("fleet.internal", world.registry.services());
});

Deno.test("guests have so many places", () => {
  const world = new World();
  const guests = (from: number) => Array.from({ length: 256 }, (_, at) => guestOf(`g${from + at}`));
  for (let at = 0; at < GUESTS_TOTAL_MAX / 256; at++) {
    world.hear(`host-${at}`, {}, { guests: guests(256 * at) });
  }
  world.hear("late", WEB);
  assertEquals([world.names.length, world.registry.left.guests], [0, 1]);
  world.later(LIFE_MS);
  world.hear("late", WEB);
  assertEquals(world.names.length, 1);
});

Deno.test("whoever claims a name in vain costs little, and may have it in the end", () => {
  const world = new World();
  for (let at = 0; at < 40; at++) world.hear(`host-${at}`, { db: [`web:${at + 1}@10.0.0.1`] });
  assertEquals(world.conflicts.length, 7);
  assertEquals(world.registry.report().conflicts, 1);
  for (let at = 0; at < 39; at++) {
    world.registry.leave({ gateway: `host-${at}`, instance: "00000000" });
  }
  world.hear("host-39", { db: ["web:40@10.0.0.1"] });
  assertEquals(world.names, ["web.db tcp 40 - 10.0.0.1"]);
  assertEquals(world.registry.report().conflicts, 0);
});

Deno.test("whatever is said, names are those of a naive registry, and never break the zone", () => {
  const gateway = fc.constantFrom("home", "a", "b", "c");
  const guests = fc.dictionary(
    fc.constantFrom("x", "y", "-x", "z"),
    fc.uniqueArray(fc.constantFrom("s:1@10.0.0.1", "t:2@10.0.0.2", "s:1/udp@10.0.0.1")),
    { maxKeys: 3, noNullPrototype: true },
  );
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("hear"), gateway, guests }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("leave"), gateway, guests }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("pass"), gateway, guests }) },
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const world = new World();
    world.hear("a");
    world.registry.leave({ gateway: "a", instance: "00000000" });
    world.later(2_000); // by then it has heard what was there before
    const naive = new Map<string, { untilMs: number; guests: Map<string, readonly string[]> }>();
    /** Guests' names, each with those that have it in the order in which they came. */
    let claims: [guest: string, gateway: string][] = [];
    const forget = (name: string): void => {
      naive.delete(name);
      claims = claims.filter(([, each]) => each !== name);
    };
    let { version } = world.registry;
    let before = "";
    for (const { kind, gateway, guests: said } of steps) {
      // A name is there once.
      const named = Object.fromEntries(
        Object.entries(said).filter(([name]) => !(name === "-x" && "x" in said)),
      );
      if (kind === "pass") {
        world.later(3_000);
        for (const [name, { untilMs }] of [...naive]) if (untilMs <= world.nowMs) forget(name);
      } else if (kind === "leave") {
        world.registry.leave({ gateway, instance: "00000000" });
        if (gateway !== "home") forget(gateway);
      } else {
        if (gateway === "home") world.own(named);
        else world.hear(gateway, named);
        const there = new Map(Object.entries(named).filter(([name]) => !name.startsWith("-")));
        const untilMs = gateway === "home" ? Infinity : world.nowMs + LIFE_MS;
        naive.set(gateway, { untilMs, guests: there });
        claims = claims.filter(([guest, each]) => each !== gateway || there.has(guest));
        for (const guest of there.keys()) {
          if (claims.some(([a, b]) => a === guest && b === gateway)) continue;
          if (gateway === "home") claims.unshift([guest, gateway]);
          else claims.push([guest, gateway]);
        }
      }
      const expected = new Set<string>();
      for (const guest of new Set(claims.map(([guest]) => guest))) {
        const [, holder] = claims.find(([each]) => each === guest)!;
        for (const service of naive.get(holder)!.guests.get(guest)!) {
          const [name, place = ""] = service.split(":");
          const [port = "", address] = place.split("@");
          const [number, udp = "tcp"] = port.split("/");
          const where = holder === "home" ? "here" : "-";
          expected.add(`${name}.${guest} ${udp} ${number} ${where} ${address}`);
        }
      }
      assertEquals(new Set(world.names), expected);
      const text = [...world.names].sort().join("\n");
      assert(text === before || world.registry.version > version, "a change has another version");
      ({ version } = world.registry);
      before = text;
      const { services, gateways } = world.registry.report();
      assertEquals([services, gateways], [expected.size, naive.size]);
      new ServiceZone("fleet.internal", world.registry.services());
    }
  }));
});
