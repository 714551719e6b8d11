/**
 * Scripts as lists of steps, for a peer that answers in real time; and the list of all scripts of
 * the test files that are read while scripts are collected instead of run.
 *
 * @module
 */
import type { ScriptOptions, ScriptVerbs } from "./tcp_verbs.ts";
import { REACH } from "./tcp_verbs.ts";

/** The words that a peer has to understand itself; the rest is made of them. */
export type StepVerb = Exclude<keyof ScriptVerbs, keyof typeof REACH | "gateway" | "differs">;

/** One step of a script. */
export type Step = {
  [V in StepVerb]: { verb: V; words: Parameters<ScriptVerbs[V]> };
}[StepVerb];

/** A script that was met while collecting. */
export interface CollectedScript {
  name: string;
  options: ScriptOptions;
  body: (s: ScriptVerbs) => void;
}

let collected: CollectedScript[] | null = null;

/** From now on scripts of test files that are imported are listed here, and not registered. */
export function collectScripts(): CollectedScript[] {
  return collected ??= [];
}

/** For `scripted`: whether the script was listed instead. */
export function isCollected(script: CollectedScript): boolean {
  collected?.push(script);
  return collected !== null;
}

/** The steps that a shared script takes against Linux, and where the gateway rightly differs. */
export function record(body: (s: ScriptVerbs) => void): { steps: Step[]; differences: string[] } {
  const steps: Step[] = [];
  const differences: string[] = [];
  const verbs: ScriptVerbs = new Proxy({} as ScriptVerbs, {
    get: (_, name: keyof ScriptVerbs) => (...words: unknown[]) => {
      if (name in REACH) {
        REACH[name as keyof typeof REACH](verbs, words[0] ?? {});
      } else if (name === "differs") {
        const [why, { linux }] = words as Parameters<ScriptVerbs["differs"]>;
        differences.push(why);
        linux(verbs);
      } else if (name !== "gateway") {
        steps.push({ verb: name, words } as Step);
      }
      return verbs;
    },
  });
  body(verbs);
  return { steps, differences };
}
