/**
 * Whether a change of one document leaves a policy that gateways would put into force: asked before
 * it is written, with the same functions by which they judge it afterwards.
 *
 * A gateway looks at the documents of its own guests only, so what is wrong in a document that is
 * not changed stops nothing here; it is told. A host's own configuration is not known, and limits
 * count with their defaults.
 *
 * Limits: `LAYERS_MAX` combinations of documents, since anybody who may announce guests says which
 * there are; what each document means by itself is among them. Gateways judge all that is theirs.
 *
 * @module
 */
import { ConfigError } from "../config/errors.ts";
import { resolveLimits } from "../config/limits.ts";
import { compilePolicy } from "../host/guest_policy.ts";
import { locksEverything } from "./lock.ts";
import { mergePolicies } from "./merge.ts";
import { parsePolicyKey } from "./names.ts";
import { parsePolicyDocument, type PolicyDocument } from "./policy_document.ts";
import { type FleetMember, keysOf } from "./policy_set.ts";
import type { PresentDocument } from "./policy_store.ts";

const LAYERS_MAX = 1_024;

/** What is to be written. For {@linkcode checkChange}. */
export interface ProposedChange {
  /** Whose document: `fleet`, `group.NAME` or `guest.NAME`. */
  readonly key: string;
  /** Its text; `null` takes it away. */
  readonly text: string | null;
}

/** A change that gateways would take. As {@linkcode checkChange} yields it. */
export interface CheckedChange {
  /** What the document says before; `null` where there is none that can be read. */
  readonly before: PolicyDocument | null;
  /** What it is to say; `null` where it is taken away. */
  readonly after: PolicyDocument | null;
  /** What is wrong with documents that stay as they are, a line each. */
  readonly faults: readonly string[];
}

/**
 * Checks a change.
 *
 * @param documents Those that there are.
 * @param change What is to be written.
 * @param members Guests of the fleet that are known, with their groups.
 * @throws {ConfigError} Where gateways would refuse it.
 *
 * @example A mistake is told before anything is written
 * ```ts
 * import { ConfigError } from "@virtio/gateway";
 * import { checkChange } from "@virtio/gateway/fleet";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const there = [{ key: "fleet", revision: 1, createdMs: 0, text: "allow: [10.1.0.0/16]" }];
 * const { after } = checkChange(there, { key: "group.ci", text: "deny: [metadata]" }, []);
 * assertEquals(after?.policy.deny, ["metadata"]);
 * const text = "deny: [10.0.0.0/8]";
 * assertThrows(() => checkChange(there, { key: "group.ci", text }, []), ConfigError);
 * ```
 */
export function checkChange(
  documents: readonly PresentDocument[],
  change: ProposedChange,
  members: readonly FleetMember[],
): CheckedChange {
  const { key, text } = change;
  const after = text === null ? null : parsePolicyDocument(text, key);
  const others = new Map<string, PolicyDocument>();
  const faults: string[] = [];
  let before: PolicyDocument | null = null;
  for (const { key: name, text, revision } of documents) {
    try {
      const document = parsePolicyDocument(text, name, { revision });
      if (name === key) before = document;
      else others.set(name, document);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      if (name !== key) faults.push(...error.message.split("\n"));
    }
  }
  const all = after === null ? others : new Map(others).set(key, after);
  for (const layers of layersWith(key, all, members)) checkLayers(layers);
  return { before, after, faults };
}

/** The documents of each kind of guest that the change is about, each combination once. */
function layersWith(
  key: string,
  all: ReadonlyMap<string, PolicyDocument>,
  members: readonly FleetMember[],
): PolicyDocument[][] {
  const found = new Map<string, PolicyDocument[]>();
  for (const member of [...impliedBy([key, ...all.keys()]), ...members]) {
    if (found.size >= LAYERS_MAX) break;
    const keys = keysOf(member);
    if (!keys.includes(key)) continue;
    const layers = keys.flatMap((each) => all.get(each) ?? []);
    if (layers.length > 0) found.set(layers.map((layer) => layer.key).join(" "), layers);
  }
  return [...found.values()];
}

/** A guest without documents of its own can't be called so. */
const NOBODY = "";

/** Guests that documents are written for, whether a gateway serves them or not. */
function impliedBy(keys: readonly string[]): FleetMember[] {
  const named = keys.flatMap((key): FleetMember[] => {
    const meant = parsePolicyKey(key);
    if (meant === null || meant.scope === "fleet") return [];
    return meant.scope === "group"
      ? [{ name: NOBODY, group: meant.name }]
      : [{ name: meant.name, group: null }];
  });
  return [{ name: NOBODY, group: null }, ...named];
}

function checkLayers(layers: readonly PolicyDocument[]): void {
  if (layers.some(({ closed }) => closed)) return;
  const merged = mergePolicies(layers, {});
  compilePolicy(merged, resolveLimits({}));
  if (!locksEverything(merged)) return;
  const keys = layers.map(({ key }) => key).join(" and ");
  const text =
    `${keys} ${layers.length > 1 ? "together close" : "closes"} everything: nothing is ` +
    "left that a guest could reach; write closed: true if that is meant";
  throw new ConfigError([{ key: "", text }]);
}
