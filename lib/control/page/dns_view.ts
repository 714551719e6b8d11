/**
 * How names are answered: what became of the guest's questions, own names, and the end of answers
 * that are kept.
 *
 * @module
 */
/// <reference lib="dom" />
import type { DnsCounts } from "../../host/dns_counts.ts";
import type { DnsReport, FlushReport } from "../api.ts";
import { byId, KeyedList, make, showPairs } from "./dom.ts";
import type { Gateway } from "./gateway.ts";
import { shown } from "./shown.ts";
import { say } from "./talk.ts";

const NAMES_MAX = 200;

const COUNTS: readonly (readonly [string, (counts: DnsCounts) => number])[] = [
  ["Questions", ({ questions }) => questions],
  ["From upstreams", ({ answered }) => answered],
  ["From kept answers", ({ cached }) => cached],
  ["Own names", ({ own }) => own],
  ["Denied", ({ denied }) => denied],
  ["No answer in time", ({ failedTimeout }) => failedTimeout],
  ["Network failed", ({ failedNetwork }) => failedNetwork],
  ["Addresses cut", ({ stripped }) => stripped],
];

/** Shows answers to `/v1/dns`. */
export class DnsView {
  readonly #names = new KeyedList<DnsReport["names"][number], HTMLLIElement>(byId("dns-names"), {
    key: (name) => JSON.stringify(name),
    make: ({ name, records }) => {
      const lines = records.map(({ type, data, ttlSeconds }) => {
        return make("small", "", `${shown(type)} ${shown(data)} · ${ttlSeconds} s`);
      });
      return make("li", "", make("div", "grow", make("code", "", shown(name)), ...lines));
    },
  });

  /** Takes the section over. */
  constructor(gateway: Gateway, changed: () => void) {
    byId("dns-flush").addEventListener("click", async () => {
      try {
        const { hasGuest } = await gateway.askGuest<FlushReport>("POST", "/dns/flush");
        say(hasGuest ? "Kept answers are forgotten" : "No guest is attached: no answers are kept");
      } catch (fault) {
        say((fault as Error).message);
      }
      changed();
    });
  }

  /** Shows one. */
  show({ counts, inFlight, names }: DnsReport): void {
    showPairs(
      byId("dns-figures"),
      counts === null
        ? [["Questions", "no guest is attached"]]
        : [...COUNTS.map(([name, of]) => [name, String(of(counts))] as const), [
          "In flight",
          String(inFlight),
        ]],
    );
    this.#names.show(names.slice(0, NAMES_MAX));
  }
}
