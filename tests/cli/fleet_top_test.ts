/** `fleet top`: what it knows of a fleet, what keys do, and what is on the screen. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  FIRST_FLEET_STATE,
  type FleetTopState,
  pressFleetKey,
} from "../../lib/cli/fleet_top_keys.ts";
import { chosenGuests, FleetTopModel, guestKey, guestRate } from "../../lib/cli/fleet_top_model.ts";
import { fleetTopLines } from "../../lib/cli/fleet_top_print.ts";
import { drawFleetTop, type FleetTopFacts } from "../../lib/cli/fleet_top_view.ts";
import { ASCII_GLYPHS } from "../../lib/cli/top_text.ts";
import { announcedGuest, announcement } from "../fleet/announcing.ts";
import { cliWords } from "./cli_process.ts";
import { fleetPermissions, FleetRig } from "./fleet_rig.ts";
import { TestTerminal } from "./test_terminal.ts";

const FACTS: FleetTopFacts = {
  fleet: "default",
  server: "127.0.0.1:4222",
  trouble: null,
  denials: [],
};

/** A gateway whose guests have carried so much. */
function said(gateway: string, bytes: Record<string, number>, change = {}) {
  const guests = Object.entries(bytes).map(([name, upBytes]) => {
    return announcedGuest(name, { upBytes, downBytes: 0, flows: upBytes % 7 });
  });
  return announcement(gateway, { revision: 3, policy: "in force", guests, ...change });
}

function rates(model: FleetTopModel): Record<string, number | null> {
  const rows = model.guests.map((row) => [guestKey(row), guestRate(row)] as const);
  return Object.fromEntries(rows.toSorted());
}

Deno.test("rates are measured between a gateway's announcements, not between two answers", () => {
  const model = new FleetTopModel();
  model.hear(0, said("h1", { web: 1_000, db: 0 }));
  assertEquals(rates(model), { "h1/db": null, "h1/web": null });
  assertEquals(model.rates, null);
  model.hear(100, said("h1", { web: 5_000, db: 0 }));
  assertEquals(rates(model), { "h1/db": null, "h1/web": null });
  assertEquals(model.guests.find(({ guest }) => guest.name === "web")?.guest.upBytes, 5_000);
  model.hear(2_000, said("h1", { web: 9_000, db: 0 }));
  assertEquals(rates(model), { "h1/db": 0, "h1/web": 4_000 });
  assertEquals(model.rates, { upBytes: 4_000, downBytes: 0 });
});

Deno.test("a gateway that was started again, and a guest whose counters go back, have no rate", () => {
  const model = new FleetTopModel();
  model.hear(0, said("h1", { web: 1_000, db: 500 }));
  model.hear(2_000, said("h1", { web: 3_000, db: 100 }));
  assertEquals(rates(model), { "h1/db": null, "h1/web": 1_000 });
  model.hear(4_000, said("h1", { web: 9_000, db: 100 }, { instance: "another0another0" }));
  assertEquals(rates(model), { "h1/db": null, "h1/web": null });
});

Deno.test("who says nothing for eight seconds is gone, unless the engine is", () => {
  const model = new FleetTopModel();
  const names = () => model.gateways.map(({ announcement }) => announcement.gateway);
  model.hear(0, said("h1", {}));
  model.hear(5_000, said("h2", {}));
  model.tick(8_000, true);
  assertEquals(names(), ["h1", "h2"]);
  model.tick(60_000, false);
  assertEquals(names(), ["h1", "h2"]);
  model.forgive(60_000);
  model.hear(66_000, said("h2", {}));
  model.tick(68_001, true);
  assertEquals(names(), ["h2"]);
  model.gone("h2");
  assertEquals(names(), []);
  assertEquals(fleetTopLines(model), ["no gateway has announced itself"]);
});

Deno.test("guests are sorted and filtered; those that are alike stand by name", () => {
  const model = new FleetTopModel();
  const first = { web: 0, db: 0, cache: 0 };
  model.hear(0, said("h10", first));
  model.hear(0, said("h9", { web: 0 }));
  model.hear(1_000, said("h10", { web: 10, db: 900, cache: 10 }));
  model.hear(1_000, said("h9", { web: 10 }));
  const keys = (change: Partial<FleetTopState>) =>
    chosenGuests(model.guests, { ...FIRST_FLEET_STATE, ...change }).map(guestKey);
  assertEquals(keys({}), ["h10/db", "h10/cache", "h9/web", "h10/web"]);
  assertEquals(keys({ isReversed: true }), ["h10/cache", "h9/web", "h10/web", "h10/db"]);
  assertEquals(keys({ sort: "name" }), ["h10/cache", "h10/db", "h9/web", "h10/web"]);
  assertEquals(keys({ filter: "H9 we" }), ["h9/web"]);
});

/** The state after keys, with the screen drawn between them as the program does. */
function pressed(model: FleetTopModel, keys: readonly string[], size = { columns: 80, rows: 24 }) {
  const form = { ...size, glyphs: ASCII_GLYPHS };
  let screen = drawFleetTop(model, FIRST_FLEET_STATE, FACTS, form);
  for (const key of keys) {
    const next = pressFleetKey(screen.state, key, screen.place);
    if (next === null) return null;
    screen = drawFleetTop(model, next, FACTS, form);
  }
  return screen;
}

function someGuests(count: number): FleetTopModel {
  const model = new FleetTopModel();
  const bytes = Object.fromEntries(Array.from({ length: count }, (_, i) => [`vm${i}`, i]));
  model.hear(0, said("h1", bytes));
  return model;
}

Deno.test("keys sort, filter, mark, show other screens and end", () => {
  const model = someGuests(50);
  assertEquals(pressed(model, ["s", "s"])?.state.sort, "flows");
  assertEquals(pressed(model, ["r"])?.state.isReversed, true);
  const typed = pressed(model, ["/", "v", "m", "4", "9", "enter"]);
  assertEquals([typed?.state.filter, typed?.place.rows.length], ["vm49", 1]);
  assertEquals(pressed(model, ["/", "x", "backspace", "escape"])?.state.filter, "");
  const marked = pressed(model, ["down", "down", "up"]);
  assertEquals([marked?.state.row, marked?.state.selected], [1, "h1/vm1"]);
  const last = pressed(model, ["end"]);
  assertEquals([last?.state.row, last?.state.selected], [49, "h1/vm49"]);
  assert(last!.lines.some(({ text, style }) => style === "marked" && text.includes("vm49")));
  assertEquals(pressed(model, ["end", "home"])?.state.row, 0);
  for (const [key, screen] of [["g", "gateways"], ["d", "denials"], ["?", "help"]] as const) {
    assertEquals(pressed(model, [key])?.state.screen, screen);
    assertEquals(pressed(model, [key, key])?.state.screen, "guests");
    assertEquals(pressed(model, [key, "escape"])?.state.screen, "guests");
  }
  assertEquals(pressed(model, ["p"])?.state.isPaused, true);
  for (const keys of [["q"], ["interrupt"], ["escape"], ["/", "a", "interrupt"]]) {
    assertEquals(pressed(model, keys), null);
  }
  // In a filter q is a letter.
  assertEquals(pressed(model, ["/", "q"])?.state.filter, "q");
});

Deno.test("no screen has more lines than rows, nor a longer line than it is wide", () => {
  const model = someGuests(30);
  for (const columns of [0, 1, 2, 17, 18, 40, 80, 110, 200]) {
    for (const rows of [0, 1, 2, 3, 5, 8, 24]) {
      for (const keys of [[], ["g"], ["d"], ["?"], ["/", "v"], ["p"]]) {
        const { lines } = pressed(model, keys, { columns, rows })!;
        assert(lines.length <= Math.max(rows, keys[0] === "/" ? 1 : 0), `${columns}x${rows}`);
        assert(lines.every(({ text }) => text.length <= columns), `${columns}x${rows} ${keys}`);
      }
    }
  }
});

Deno.test("a screen says which fleet, where the policy is in force, and what is wrong", () => {
  const model = new FleetTopModel();
  model.hear(0, said("h1", { web: 0 }));
  model.hear(
    0,
    said("h2", { web: 0 }, {
      policy: "rejected",
      rejected: { revision: 4, why: "web: too many rules" },
    }),
  );
  model.hear(0, said("h3", { db: 0 }, { policy: "closed", revision: null }));
  const text = (screen: ReturnType<typeof pressed>) => screen!.lines.map(({ text }) => text);
  const lines = text(pressed(model, [], { columns: 100, rows: 20 }));
  assertEquals(lines[0], "fleet default on 127.0.0.1:4222: 3 gateways, 3 guests");
  assertStringIncludes(
    lines.join("\n"),
    "policy in force at 1 of 3 gateways; rejected: h2; closed: h3; 1 name conflict",
  );
  const gateways = text(pressed(model, ["g"], { columns: 100, rows: 20 })).map((line) =>
    line.trim()
  );
  assert(gateways.some((line) => /^h2 +rejected, 3 in force +1 /.test(line)), gateways.join("\n"));
  assert(gateways.includes("web: too many rules"));
  const trouble = "no engine on nats://127.0.0.1:4222: refused";
  const form = { columns: 100, rows: 20, glyphs: ASCII_GLYPHS };
  const screen = drawFleetTop(model, FIRST_FLEET_STATE, { ...FACTS, trouble }, form);
  assertEquals(screen.lines[0], { style: "warning", text: `trying again: ${trouble}` });
  assert(screen.lines.some(({ text }) => text.includes("web")));
});

Deno.test("on a terminal it shows guests as they are announced, takes keys, and gives the terminal back", async () => {
  await using rig = await FleetRig.start();
  await rig.refuse({ guest: "web" }, { name: "pypi.org", hint: "a hint" });
  await using gateways = await rig.gateways([
    announcement("h1", { revision: 4, policy: "in force", guests: [announcedGuest("web")] }),
    announcement("h2", { revision: 4, policy: "in force", guests: [announcedGuest("db")] }),
  ]);
  // As gateways do: who says nothing for eight seconds is gone.
  const speaking = setInterval(() => gateways.announce(), 1_000);
  using _silence = { [Symbol.dispose]: () => clearInterval(speaking) };
  const permissions = fleetPermissions(rig.folder, rig.server.port);
  const words = cliWords(permissions, ["fleet", "top", "--fleet", rig.server.url]);
  await using terminal = TestTerminal.start(words, { columns: 100, rows: 24 });
  await terminal.shows(/^fleet default on 127\.0\.0\.1:\d+: 2 gateways, 2 guests$/);
  await terminal.shows(/policy in force at 2 of 2 gateways/);
  gateways.say("h2", { guests: [announcedGuest("db", { upBytes: 5_000_000, flows: 9 })] });
  await terminal.shows((lines) => lines.some((line) => /^\* db +h2 .* 9 .*\d[kM]?B/.test(line)));
  await terminal.press("/web\r");
  await terminal.shows((lines) => {
    return lines.some((line) => /web +h1/.test(line)) && !lines.some((line) => /db +h2/.test(line));
  });
  await terminal.press("d");
  await terminal.shows(/web at h1 {2}DENY {2}tcp pypi\.org:443/);
  await terminal.press("g");
  await terminal.shows(/^h1 +in force: 4 +1 /);
  gateways.leave("h2");
  await terminal.shows(/: 1 gateway, 1 guest$/);
  await terminal.resize(60, 12);
  await terminal.shows(/^fleet default on/);
  await rig.server.kill();
  await terminal.shows(/^trying again: no engine on nats:/);
  await rig.server.start();
  await terminal.shows(/^fleet default on 127\.0\.0\.1:\d+: 1 gateway, 1 guest$/);
  await terminal.press("q");
  assertEquals(await terminal.end(), { code: 0, isCooked: true });
  assertEquals([terminal.isAlternate, terminal.hasCursor], [false, true]);
});

Deno.test("a signal ends it with the terminal as before", async () => {
  await using rig = await FleetRig.start();
  const permissions = fleetPermissions(rig.folder, rig.server.port);
  const words = cliWords(permissions, ["fleet", "top", "--fleet", rig.server.url]);
  await using terminal = TestTerminal.start(words, { columns: 80, rows: 24 });
  await terminal.shows(/no gateway has announced itself/);
  await terminal.signal("SIGTERM");
  assertEquals(await terminal.end(), { code: 0, isCooked: true });
  assertEquals([terminal.isAlternate, terminal.hasCursor], [false, true]);
});
