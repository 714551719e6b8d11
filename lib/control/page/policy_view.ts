/**
 * The policy in force, rule by rule, and an answer to whether the guest would reach a target.
 *
 * @module
 */
/// <reference lib="dom" />
import type { PolicyConfig } from "../../config/options.ts";
import type { Finding } from "../../policy/explain.ts";
import type { LiveExplanation } from "../api.ts";
import { button, byId, KeyedList, make, setText } from "./dom.ts";
import type { Gateway } from "./gateway.ts";
import { shown } from "./shown.ts";
import { copy } from "./talk.ts";

const RULES_MAX = 300;
const HINT_MAX = 2_048;

/** A rule, what it does, and where it stands. */
interface Line {
  readonly word: "allow" | "deny";
  readonly rule: string;
  readonly origin: string;
}

/** Shows answers to `/v1/policy` and `/v1/explain`. */
export class PolicyView {
  readonly #gateway: Gateway;
  readonly #rules = new KeyedList<Line, HTMLLIElement>(byId("policy-rules"), {
    key: (line) => JSON.stringify(line),
    make: ({ word, rule, origin }) =>
      make(
        "li",
        "",
        make("span", `tag ${word === "allow" ? "yes" : "no"}`, word),
        make("div", "grow", make("code", "", shown(rule)), make("small", "", shown(origin))),
      ),
  });

  /** Takes the section over. */
  constructor(gateway: Gateway) {
    this.#gateway = gateway;
    const form = byId<HTMLFormElement>("explain-form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#explain(String(new FormData(form).get("target")));
    });
  }

  /** Shows one. */
  show({ protect, allow = [], deny = [], origins = {} }: PolicyConfig): void {
    const lines = (word: Line["word"], rules: readonly string[]): Line[] =>
      rules.map((rule, i) => ({ word, rule, origin: origins[word]?.[i] ?? "" }));
    const all = [...lines("deny", deny), ...lines("allow", allow)];
    const most = all.length > RULES_MAX ? `, the first ${RULES_MAX} below` : "";
    const others = allow.length > 0 ? "refuses all else" : "allows all else";
    setText(
      byId("policy-count"),
      `protect ${protect ?? "metadata"} · ${all.length} rules, ${others}${most}`,
    );
    this.#rules.show(all.slice(0, RULES_MAX));
  }

  /** Another guest is shown from here on. */
  forget(): void {
    byId("explain-answer").replaceChildren();
  }

  async #explain(target: string): Promise<void> {
    const place = byId("explain-answer");
    const { guest } = this.#gateway;
    const isOver = (): boolean => guest !== this.#gateway.guest;
    try {
      const body = { target };
      const { findings } = await this.#gateway.askGuest<LiveExplanation>("POST", "/explain", body);
      if (isOver()) return;
      place.replaceChildren(make("ul", "rows", ...findings.map(findingRow)));
    } catch (fault) {
      if (isOver()) return;
      place.replaceChildren(make("p", "error", shown((fault as Error).message)));
    }
  }
}

function findingRow({ what, allowed, rule, origin, detail, hint }: Finding): HTMLLIElement {
  const by = [rule, origin].filter((text) => text !== "").map((text) => shown(text)).join(", ");
  const text = make("div", "grow", shown(what), make("small", "", shown(detail)));
  if (by !== "") text.append(make("small", "", `by ${by}`));
  const row = make(
    "li",
    "",
    make("span", `tag ${allowed ? "yes" : "no"}`, allowed ? "yes" : "no"),
    text,
  );
  if (hint !== null) {
    const line = shown(hint, HINT_MAX);
    text.append(make("code", "hint", line));
    row.append(button("Copy rule", {
      name: `Copy rule for ${shown(what)}`,
      run: () => void copy(line),
    }));
  }
  return row;
}
