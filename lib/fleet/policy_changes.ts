/**
 * What another text of a policy document changes: the rules that come and go, and the settings that
 * are another. Pure.
 *
 * Rules are compared in their canonical form, so another order, spelling or comment changes nothing.
 *
 * @module
 */
import type { PolicyConfig } from "../config/options.ts";

/** What of a document is compared. */
export interface ComparedDocument {
  readonly policy: PolicyConfig;
  /** Whether it closes everything. */
  readonly closed: boolean;
}

/** One thing that changes. */
export type PolicyChange =
  | { readonly kind: "added" | "removed"; readonly list: "allow" | "deny"; readonly rule: string }
  | {
    readonly kind: "set";
    readonly key: "protect" | "denyPage" | "ech" | "closed";
    /** The value before; `null` where the document does not say. */
    readonly before: string | null;
    /** The value after, likewise. */
    readonly after: string | null;
  };

/**
 * Compares two states of a document.
 *
 * @param before What it says; `null` where there is none.
 * @param after What it is to say; `null` where it is taken away.
 * @returns Settings first, then rules, those that go in front of those that come.
 */
export function policyChanges(
  before: ComparedDocument | null,
  after: ComparedDocument | null,
): PolicyChange[] {
  const old = settingsOf(before);
  const settings = Object.entries(settingsOf(after)).flatMap(([name, value]): PolicyChange[] => {
    const key = name as SettingKey;
    return old[key] === value ? [] : [{ kind: "set", key, before: old[key], after: value }];
  });
  const lists = (["deny", "allow"] as const).flatMap((list): PolicyChange[] => {
    const from = new Set(before?.policy[list]);
    const to = new Set(after?.policy[list]);
    return [
      ...[...from.difference(to)].map((rule) => ({ kind: "removed", list, rule }) as const),
      ...[...to.difference(from)].map((rule) => ({ kind: "added", list, rule }) as const),
    ];
  });
  return [...settings, ...lists];
}

type SettingKey = Extract<PolicyChange, { kind: "set" }>["key"];

function settingsOf(document: ComparedDocument | null): Record<SettingKey, string | null> {
  const { protect, denyPage, ech } = document?.policy ?? {};
  return {
    closed: document?.closed === true ? "true" : null,
    protect: protect ?? null,
    denyPage: denyPage === undefined ? null : String(denyPage),
    ech: ech ?? null,
  };
}

/**
 * A change as a line: `+ deny 10.0.0.0/8`, `- allow pypi.org`, `protect: metadata, was strict`.
 */
export function changeLine(change: PolicyChange): string {
  if (change.kind !== "set") {
    return `${change.kind === "added" ? "+" : "-"} ${change.list} ${change.rule}`;
  }
  const { key, before, after } = change;
  if (after === null) return `- ${key}: ${before}`;
  return before === null ? `+ ${key}: ${after}` : `~ ${key}: ${after}, was ${before}`;
}

/** The same of many in a few words: `2 rules added, 1 rule removed, protect set`; empty for none. */
export function changesText(changes: readonly PolicyChange[]): string {
  const count = (kind: string) => changes.filter((change) => change.kind === kind).length;
  const rules = (kind: string) => {
    const found = count(kind);
    return found === 0 ? [] : [`${found} rule${found === 1 ? "" : "s"} ${kind}`];
  };
  const set = changes.flatMap((change) => {
    if (change.kind !== "set") return [];
    const { key, before, after } = change;
    return [`${key} ${after === null ? "removed" : before === null ? "set" : "changed"}`];
  });
  return [...rules("added"), ...rules("removed"), ...set].join(", ");
}
