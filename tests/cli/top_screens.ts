/**
 * Screens of `top` that are kept in `fixtures/top/`, to be looked at. Where they are meant to
 * change: `deno run --allow-read=. --allow-write=fixtures/top tests/cli/top_screens.ts`.
 *
 * @module
 */
import { FIRST_STATE, type TopState } from "../../lib/cli/top_keys.ts";
import { nextModel, type TopModel } from "../../lib/cli/top_model.ts";
import { ASCII_GLYPHS, UNICODE_GLYPHS } from "../../lib/cli/top_text.ts";
import { drawTop, type TopForm } from "../../lib/cli/top_view.ts";
import {
  flowOf,
  guestOf,
  listingOf,
  refusalOf,
  sampleAt,
  type SampleParts,
  START_MS,
} from "./top_samples.ts";

const WAVE = [1, 3, 2, 5, 8, 6, 9, 4, 7, 10];
const REFUSALS = Array.from({ length: 8 }, (_, i) => {
  return refusalOf(`host${i}.example.org`, 8 - i, START_MS + 9_000 - 1_000 * i);
});

/** A guest that has had ten seconds of traffic. */
export function busyModel(more: SampleParts = {}): TopModel {
  let model: TopModel | null = null;
  let bytes = 0;
  for (const [second, step] of WAVE.entries()) {
    bytes += step * 1_000_000;
    const frames = Math.round(bytes / 1_000);
    const counters = {
      "rx.frames": frames,
      "rx.bytes": Math.round(bytes / 50),
      "tx.frames": frames,
      "tx.bytes": bytes,
      "drop.csum": second,
    };
    model = nextModel(
      model,
      sampleAt(second, {
        guest: guestOf(counters, 12 * second),
        flows: [
          flowOf(1, { name: "deb.debian.org", rule: "*.debian.org:443/tls", downBytes: bytes }),
          flowOf(2, { protocol: "udp", peer: "[2001:db8:1:2:3:4:5:6]:123", state: "open" }),
          flowOf(7, {
            name: "example.com",
            startedMs: START_MS - 11_000_000,
            upBytes: Math.round(bytes / 50),
            state: "closeWait",
          }),
          flowOf(9, { opener: "host", guest: "100.96.0.2:80", peer: "192.0.2.7:5555" }),
        ],
        denials: { groups: REFUSALS, byRule: { "default-deny": 36 } },
        ...more,
      }),
    );
  }
  return model!;
}

/** A screen's size. */
export const form = (columns: number, rows: number, glyphs = UNICODE_GLYPHS): TopForm => {
  return { columns, rows, glyphs };
};

/** The lines of the busy guest's screen. */
export const screen = (
  size: TopForm,
  state: Partial<TopState> = {},
  trouble: string | null = null,
): string[] =>
  drawTop(busyModel(), { ...FIRST_STATE, ...state }, trouble, size).lines
    .map(({ text }) => text.trimEnd());

/** Several guests, one of which is shown. */
export const SEVERAL: SampleParts = {
  chosen: {
    guest: "db",
    guests: [
      listingOf("web", { flows: 1_234, upBytes: 4.2e9, downBytes: 1.5e12, refused: 7 }),
      listingOf("db", { flows: 4, upBytes: 81e6, downBytes: 55e6, network: "lan" }),
      listingOf("ci", { link: null, network: "lan" }),
      listingOf("builder-of-images", {
        link: null,
        endpoint: null,
        fault: "its worker ended",
      }),
    ],
  },
};

/** The lines of a screen where there are several. */
export const guestsScreen = (size: TopForm, state: Partial<TopState> = {}): string[] =>
  drawTop(busyModel(SEVERAL), { ...FIRST_STATE, ...state }, null, size).lines
    .map(({ text }) => text.trimEnd());

/** The screens by their names. */
export const SCREENS: readonly [name: string, lines: () => string[]][] = [
  ["80x24", () => screen(form(80, 24))],
  ["20x5", () => screen(form(20, 5))],
  [
    "40x10-ascii",
    () => screen(form(40, 10, ASCII_GLYPHS), { sort: "name", selected: `2/${START_MS}` }),
  ],
  ["200x60", () => screen(form(200, 60), { sort: "age", isReversed: true })],
  ["80x24-denials", () => screen(form(80, 24), { screen: "denials" })],
  ["80x24-help", () => screen(form(80, 24), { screen: "help" })],
  ["80x24-several", () => guestsScreen(form(80, 24))],
  ["80x12-guests", () => guestsScreen(form(80, 12), { screen: "guests", guestRow: 2 })],
  ["20x5-guests", () => guestsScreen(form(20, 5), { screen: "guests", guestRow: 3 })],
  ["80x12-filter", () => screen(form(80, 12), { prompt: "filter", filter: "debian" })],
  ["80x12-lost", () => screen(form(80, 12), {}, "no gateway answers on unix:/run/c.sock: gone")],
];

/** Where a screen is kept. */
export function pathOf(name: string): URL {
  return new URL(`../../fixtures/top/${name}.txt`, import.meta.url);
}

if (import.meta.main) {
  for (const [name, lines] of SCREENS) {
    await Deno.writeTextFile(pathOf(name), `${lines().join("\n")}\n`);
  }
}
