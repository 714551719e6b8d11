/**
 * The gateway at a glance: its state in the bar, tiles of figures, and the guest's counters.
 *
 * @module
 */
/// <reference lib="dom" />
import type { GatewayStatus } from "../api.ts";
import { byId, make, setText, showPairs } from "./dom.ts";
import { bitRate, bytesText, countText, spanText } from "./figures.ts";
import type { Rates } from "./rates.ts";
import { shown } from "./shown.ts";

const TILES = ["Up", "Down", "Packets", "Flows", "DNS questions", "Dropped frames"] as const;

const STATES = {
  waiting: "Waiting for a guest",
  attached: "Guest attached",
  detached: "VMM away, guest kept",
} as const;

/** Shows answers to `/v1/status`. */
export class OverviewView {
  readonly #figures = new Map<
    string,
    { value: HTMLElement; unit: HTMLElement; note: HTMLElement }
  >();

  /** Lays the tiles out. */
  constructor() {
    for (const name of TILES) {
      const value = make("span", "");
      const unit = make("small", "");
      const note = make("dd", "note");
      byId("tiles").append(
        make("div", "", make("dt", "", name), make("dd", "", value, unit), note),
      );
      this.#figures.set(name, { value, unit, note });
    }
  }

  /** Shows one, and the rates since the one before. */
  show(status: GatewayStatus, rates: Rates | null): void {
    const { guest, endpoint, version, startedMs } = status;
    const counters = guest?.counters ?? {};
    const drops = Object.entries(counters)
      .reduce((sum, [name, count]) => name.startsWith("drop.") ? sum + count : sum, 0);
    const state = byId("state");
    state.dataset.state = guest?.link ?? "waiting";
    setText(state, STATES[guest?.link ?? "waiting"]);
    state.title = `${shown(endpoint)}, version ${shown(version)}, up ${
      spanText(Date.now() - startedMs)
    }`;
    const none: [string, string] = ["–", ""];
    const of = (name: string) => counters[name] ?? 0;
    this.#tile(
      "Up",
      rates === null ? none : bitRate(rates.upBytes),
      `${bytesText(of("rx.bytes"))} in all`,
    );
    this.#tile(
      "Down",
      rates === null ? none : bitRate(rates.downBytes),
      `${bytesText(of("tx.bytes"))} in all`,
    );
    this.#tile(
      "Packets",
      rates === null ? none : [countText(rates.packets), "/s"],
      `${countText(of("rx.frames") + of("tx.frames"))} in all`,
    );
    const figures = guest?.figures;
    this.#tile(
      "Flows",
      figures === undefined ? none : [countText(figures.tcpFlows + figures.udpFlows), ""],
      figures === undefined ? "" : `${figures.tcpFlows} TCP, ${figures.udpFlows} UDP`,
    );
    this.#tile(
      "DNS questions",
      rates === null ? none : [countText(rates.questions), "/s"],
      `${countText(guest?.dns.questions ?? 0)} in all`,
    );
    this.#tile(
      "Dropped frames",
      guest === null ? none : [countText(drops), ""],
      figures === undefined ? "" : `${bytesText(figures.bufferBytes)} of buffers in use`,
    );
    showPairs(
      byId("counters").querySelector("dl")!,
      Object.entries(counters).toSorted().map((
        [name, count],
      ) => [name, count.toLocaleString("en")]),
    );
    byId("counters").hidden = guest === null;
  }

  /** Says that nothing is known any more. */
  lost(): void {
    const state = byId("state");
    state.dataset.state = "lost";
    setText(state, "Connection lost");
  }

  #tile(name: string, [value, unit]: [string, string], note: string): void {
    const tile = this.#figures.get(name)!;
    setText(tile.value, value);
    setText(tile.unit, unit);
    setText(tile.note, note);
  }
}
