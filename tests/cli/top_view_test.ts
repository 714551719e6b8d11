/** The screens of `top`: whole ones, and what holds at every size. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { FIRST_STATE, type TopState } from "../../lib/cli/top_keys.ts";
import { nextModel, type TopModel } from "../../lib/cli/top_model.ts";
import { ASCII_GLYPHS, UNICODE_GLYPHS } from "../../lib/cli/top_text.ts";
import { drawTop } from "../../lib/cli/top_view.ts";
import { flowOf, listingOf, refusalOf, sampleAt, START_MS } from "./top_samples.ts";
import { busyModel, form, pathOf, screen, SCREENS, SEVERAL } from "./top_screens.ts";

for (const [name, lines] of SCREENS) {
  Deno.test(`the screen ${name} is as it was looked at`, async () => {
    assertEquals(`${lines().join("\n")}\n`, await Deno.readTextFile(pathOf(name)));
  });
}

const states: fc.Arbitrary<TopState> = fc.record({
  screen: fc.constantFrom("flows", "denials", "guests", "help"),
  guestRow: fc.nat(9),
  prompt: fc.constantFrom(null, "filter", "end"),
  filter: fc.constantFrom("", "debian", "none\x1bü", "x".repeat(64)),
  isPaused: fc.boolean(),
  row: fc.nat(6),
  firstLine: fc.nat(40),
  note: fc.constantFrom("", "93.184.215.14:443 was ended\x1b[2J"),
}).map((some) => ({ ...FIRST_STATE, ...some, doomed: busyModel().flows[0]! }));

Deno.test("no line is wider than the screen and there are as many as rows, at every size", () => {
  const hostile = "a\x1b[31m\u202e\u4e2d\ud83d\ude00.test";
  const models = [
    busyModel(),
    busyModel(SEVERAL),
    busyModel({ chosen: { guest: hostile, guests: [listingOf(hostile, { network: hostile })] } }),
    busyModel({ guest: null, flows: [], endpoint: `unix:/run/${hostile}` }),
    busyModel({
      flows: [flowOf(1, { name: hostile, rule: hostile, downBytes: 9e15, startedMs: 0 })],
      denials: { groups: [refusalOf(hostile, 1e9, 0)], byRule: { [hostile]: 1e12 } },
    }),
  ];
  const sizes = fc.tuple(fc.integer({ min: 1, max: 250 }), fc.integer({ min: 1, max: 70 }));
  const glyphs = fc.constantFrom(UNICODE_GLYPHS, ASCII_GLYPHS);
  const trouble = fc.constantFrom(null, `no gateway answers on ${hostile}`);
  fc.assert(fc.property(
    fc.constantFrom(...models),
    sizes,
    states,
    glyphs,
    trouble,
    (model, [columns, rows], state, glyphs, trouble) => {
      const { lines } = drawTop(model, state, trouble, { columns, rows, glyphs });
      assertEquals(lines.length, rows);
      const allowed = glyphs === ASCII_GLYPHS ? /^[ -~]*$/ : /^[ -~▁-█…↑↓→←]*$/;
      for (const { text } of lines) {
        assert(text.length <= columns, text);
        assert(allowed.test(text), text);
      }
    },
  ));
});

Deno.test("the marked flow is on the screen at every size that has a table", () => {
  const flows = Array.from({ length: 50 }, (_, i) => flowOf(i + 1));
  const model = busyModel({ flows });
  for (let rows = 5; rows < 60; rows++) {
    const state = { ...FIRST_STATE, selected: `30/${START_MS}` };
    const { lines, state: { row } } = drawTop(model, state, null, form(80, rows));
    const [marked, ...more] = lines.filter(({ style }) => style === "marked");
    assertEquals([row, more.length], [29, 0]);
    assert(marked!.text.startsWith("*→"), marked!.text);
  }
});

Deno.test("the marked guest is on the screen at every size that has a row, and the keys know all", () => {
  const guests = Array.from({ length: 40 }, (_, i) => listingOf(`vm${i}`));
  const model = busyModel({ chosen: { guest: "vm3", guests } });
  for (let rows = 4; rows < 60; rows++) {
    const state = { ...FIRST_STATE, screen: "guests", guestRow: 33 } as const;
    const { lines, place } = drawTop(model, state, null, form(80, rows));
    const [marked, ...more] = lines.filter(({ style }) => style === "marked");
    assertStringIncludes(marked!.text, "vm33 ");
    assertEquals([more.length, place.guests?.length], [0, 40]);
  }
  assertEquals(drawTop(busyModel(), FIRST_STATE, null, form(80, 24)).place.guests, undefined);
});

Deno.test("without a guest, without flows and with a filter that fits none the table says so", () => {
  const all = (model: TopModel, state: Partial<TopState> = {}) =>
    drawTop(model, { ...FIRST_STATE, ...state }, null, form(80, 24)).lines
      .map(({ text }) => text).join("\n");
  assertStringIncludes(all(busyModel({ guest: null, flows: [] })), "no guest is attached");
  assertStringIncludes(all(busyModel({ flows: [] })), "no flows");
  assertStringIncludes(all(busyModel(), { filter: "nope" }), 'none of 4 flows has "nope"');
});

Deno.test("what was not measured yet is no figure", () => {
  const first = nextModel(null, sampleAt(0));
  const lines = drawTop(first, FIRST_STATE, null, form(80, 24)).lines.map(({ text }) => text);
  assertStringIncludes(lines.join("\n"), "frames -  drops -  dns -  refused 0");
});

Deno.test("a pause is said, and what is to end is asked about by its name", () => {
  assert(screen(form(80, 24), { isPaused: true })[0]!.endsWith(" paused"));
  const doomed = busyModel().flows[0]!;
  const asked = (columns: number) => screen(form(columns, 24), { prompt: "end", doomed }).at(-1);
  assertEquals(asked(80), "tcp deb.debian.org:443 (1) end? y/n");
  assertEquals(asked(24), "tcp deb.debian… end? y/n");
});
