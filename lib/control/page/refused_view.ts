/**
 * What the guest was refused, why, and the line that would allow it, to be copied.
 *
 * What is copied is what is shown: a name of a guest's puts nothing on the clipboard that nobody saw.
 *
 * @module
 */
/// <reference lib="dom" />
import type { DenialGroup } from "../../policy/denial_log.ts";
import type { DenialReport } from "../api.ts";
import { button, byId, KeyedList, make, setText, showPairs } from "./dom.ts";
import { timeText } from "./figures.ts";
import { shown } from "./shown.ts";
import { copy } from "./talk.ts";

const ROWS_MAX = 100;
const RULES_MAX = 50;
/** A rule that is cut would be another rule. */
const HINT_MAX = 2_048;

/** Shows answers to `/v1/denials`. */
export class RefusedView {
  readonly #list = new KeyedList<DenialGroup, HTMLLIElement>(byId("refused-list"), {
    key: ({ denial: { protocol, name, destination, reason, rule, origin, hint }, firstMs }) => {
      return JSON.stringify([protocol, name, destination, reason, rule, origin, hint, firstMs]);
    },
    make: row,
    update: (element, { count, lastMs }) => {
      setText(element.querySelector("time")!, timeText(lastMs));
      setText(element.querySelector(".times")!, `${count}×`);
    },
  });

  /** Shows one. */
  show({ groups, byRule }: DenialReport): void {
    this.#list.show(groups.slice(0, ROWS_MAX));
    const total = groups.reduce((sum, { count }) => sum + count, 0);
    setText(byId("refused-count"), total === 0 ? "" : `${total} in ${groups.length} kinds`);
    byId("refused-empty").hidden = groups.length > 0;
    const rules = Object.entries(byRule).toSorted(([, a], [, b]) => b - a).slice(0, RULES_MAX);
    byId("by-rule").hidden = rules.length === 0;
    showPairs(
      byId("by-rule").querySelector("dl")!,
      rules.map(([rule, count]) => [shown(rule), String(count)]),
    );
  }
}

function row({ denial }: DenialGroup): HTMLLIElement {
  const { protocol, name, destination, rule, origin, detail, hint } = denial;
  const target = shown(
    name === null ? destination : destination === "" ? name : `${name} (${destination})`,
  );
  const by = origin === "" ? shown(rule) : `${shown(rule)}, ${shown(origin)}`;
  const what = make("div", "grow", target, make("small", "", `${shown(detail)} · ${by}`));
  const line = make(
    "li",
    "",
    make("time", ""),
    make("span", "times"),
    make("span", "tag no", protocol),
    what,
  );
  if (hint !== null) {
    const text = shown(hint, HINT_MAX);
    what.append(make("code", "hint", text));
    // Against a deny rule or a level no allow rule helps: the way out is another line.
    const word = hint.includes("allow:") ? "Copy allow rule" : "Copy way out";
    line.append(button(word, {
      name: `${word} for ${target}`,
      run: () => void copy(text),
    }));
  }
  return line;
}
