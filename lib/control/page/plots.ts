/**
 * The two plots of the last minutes, drawn by uPlot, which the page loads in front of this.
 *
 * @module
 */
/// <reference lib="dom" />
import { bitRate, countText } from "./figures.ts";
import type { Moment, Rates } from "./rates.ts";

/** What of uPlot is used; its own types are for who installs it. */
interface Plot {
  setData(data: readonly (readonly (number | null)[])[]): void;
  setSize(size: { width: number; height: number }): void;
  destroy(): void;
}
declare const uPlot: new (options: unknown, data: unknown, parent: HTMLElement) => Plot;

const HEIGHT_PX = 190;
/** There is no half a flow. */
const WHOLE_STEPS = [1, 2, 5].flatMap((step) => [1, 10, 100, 1_000].map((ten) => step * ten))
  .sort((a, b) => a - b);
const FONT = "12px system-ui, sans-serif";

/** One line of a plot. */
interface Line {
  readonly key: string;
  readonly of: (rates: Rates) => number;
  /** The axis that it is read from, where the plot has two. */
  readonly side?: "right";
}

/** A plot of some lines. */
class RatePlot {
  readonly #parent: HTMLElement;
  readonly #lines: readonly Line[];
  readonly #text: (value: number) => string;
  #plot: Plot | null = null;
  #data: (number | null)[][] = [];

  constructor(parent: HTMLElement, lines: readonly Line[], text: (value: number) => string) {
    this.#parent = parent;
    this.#lines = lines;
    this.#text = text;
    new ResizeObserver(() => this.#fit()).observe(parent);
  }

  show(moments: readonly Moment[], label: string): void {
    const values = this.#lines.map(({ of }) => {
      return moments.map(({ rates }) => rates === null ? null : of(rates));
    });
    this.#data = [moments.map(({ atSeconds }) => atSeconds), ...values];
    this.#parent.setAttribute("aria-label", label);
    if (this.#plot === null) this.draw();
    else this.#plot.setData(this.#data);
  }

  /** Draws it anew, in the colours of the moment. */
  draw(): void {
    const width = this.#parent.clientWidth;
    this.#plot?.destroy();
    this.#plot = null;
    if (width === 0 || this.#data.length === 0) return;
    this.#plot = new uPlot(this.#options(width), this.#data, this.#parent);
  }

  #fit(): void {
    if (this.#plot === null) this.draw();
    else this.#plot.setSize({ width: this.#parent.clientWidth, height: HEIGHT_PX });
  }

  #options(width: number): unknown {
    const ink = getComputedStyle(this.#parent).color;
    const axis = { stroke: ink, font: FONT, ticks: { show: false } };
    const range = (_: unknown, _least: number, most: number) => [0, Math.max(most * 1.1, 8)];
    const values = (_: unknown, splits: readonly number[]) => splits.map(this.#text);
    const hasRight = this.#lines.some(({ side }) => side === "right");
    const grid = { stroke: colorOf(".plots .card", "border-top-color"), width: 1 };
    const right = { ...axis, scale: "right", side: 1, size: 46, grid: { show: false }, space: 36 };
    return {
      width,
      height: HEIGHT_PX,
      legend: { show: false },
      cursor: { show: false },
      padding: [10, hasRight ? 0 : 34, 0, 0],
      scales: { y: { range }, ...(hasRight ? { right: { range } } : {}) },
      axes: [
        { ...axis, size: 28, grid: { show: false }, space: 90, values: timeValues },
        { ...axis, size: 78, grid, space: 36, values },
        ...(hasRight ? [{ ...right, values, incrs: WHOLE_STEPS }] : []),
      ],
      series: [
        {},
        ...this.#lines.map(({ key, side }) => ({
          scale: side ?? "y",
          stroke: colorOf(`.key.${key}`, "color"),
          width: 2,
          points: { show: false },
        })),
      ],
    };
  }
}

function colorOf(selector: string, property: string): string {
  return getComputedStyle(document.querySelector(selector)!).getPropertyValue(property);
}

function timeValues(_: unknown, splits: readonly number[]): string[] {
  const two = (value: number) => String(value).padStart(2, "0");
  return splits.map((at) => {
    const time = new Date(at * 1000);
    return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  });
}

/** Both plots. */
export class Plots {
  readonly #bytes = new RatePlot(
    document.getElementById("plot-bytes")!,
    [{ key: "up", of: ({ upBytes }) => upBytes }, {
      key: "down",
      of: ({ downBytes }) => downBytes,
    }],
    (bytes) => bitRate(bytes).join(" "),
  );
  readonly #packets = new RatePlot(
    document.getElementById("plot-packets")!,
    [{ key: "packets", of: ({ packets }) => packets }, {
      key: "flows",
      of: ({ flows }) => flows,
      side: "right",
    }],
    countText,
  );

  /** Shows a history, and says in words where it stands. */
  show(moments: readonly Moment[]): void {
    const rates = moments.at(-1)?.rates ?? null;
    const bytes = rates === null
      ? "no figures yet"
      : `up ${bitRate(rates.upBytes).join(" ")}, down ${bitRate(rates.downBytes).join(" ")}`;
    const packets = rates === null
      ? "no figures yet"
      : `${countText(rates.packets)} packets a second, ${countText(rates.flows)} flows`;
    this.#bytes.show(moments, `Throughput of the last minutes: ${bytes}`);
    this.#packets.show(moments, `Packets and flows of the last minutes: ${packets}`);
  }

  /** Draws both in other colours. */
  recolor(): void {
    this.#bytes.draw();
    this.#packets.draw();
  }
}
