/**
 * All documents of a fleet's policy that a gateway's guests have, at one moment, and what they come to
 * for each guest. A set is good as a whole or not at all.
 *
 * Pure.
 *
 * @module
 */
import { ConfigError } from "../config/errors.ts";
import type { FleetGuestSettings } from "../config/fleet.ts";
import type { PolicyConfig } from "../config/options.ts";
import type { EngineAddress } from "./engine.ts";
import { locksEverything } from "./lock.ts";
import { closedPolicy, mergePolicies, NO_POLICY_ORIGIN } from "./merge.ts";
import { FLEET_KEY, groupKey, guestKey } from "./names.ts";
import { parsePolicyDocument, type PolicyDocument } from "./policy_document.ts";

/** A document as the bucket has it. */
export interface DocumentText {
  /** Its text. */
  readonly text: string;
  /** The number of its change. */
  readonly revision: number;
}

/** The documents as the bucket has them. */
export interface DocumentTexts {
  /** The number of the bucket's last change. */
  readonly revision: number;
  /** By their keys; those that are not there, or were deleted, are absent. */
  readonly documents: ReadonlyMap<string, DocumentText>;
}

/** Whose documents are asked for. For {@linkcode checkChange}. */
export type FleetMember = Pick<FleetGuestSettings, "name" | "group">;

/** The keys of the documents that a guest has, the widest first. */
export function keysOf({ name, group }: FleetMember): string[] {
  return [FLEET_KEY, ...(group === null ? [] : [groupKey(group)]), guestKey(name)];
}

/** The keys of the documents that some guests have, each once. */
export function keysOfAll(guests: readonly FleetMember[]): string[] {
  return [...new Set(guests.flatMap(keysOf))];
}

/** Most characters of all documents of a gateway: a copy of them has to be kept and read again. */
export const SET_CHARACTERS_MAX = 16 * 1024 * 1024;

/** What is wrong with documents that are too much together; `null` where they are not. */
export function sizeFault({ documents }: DocumentTexts): string | null {
  const size = documents.values().reduce((sum, { text }) => sum + text.length, 0);
  if (size <= SET_CHARACTERS_MAX) return null;
  return `the documents of this gateway's guests have ${size} characters together, ` +
    `at most ${SET_CHARACTERS_MAX}`;
}

/** Documents that were read, each of them right. */
export class PolicySet {
  /** The number of the bucket's last change. */
  readonly revision: number;
  /** Those that there are, by their keys. */
  readonly documents: ReadonlyMap<string, PolicyDocument>;
  /** The keys that were looked for. */
  readonly #keys: ReadonlySet<string>;

  /**
   * Reads documents.
   *
   * @param texts The documents.
   * @param keys The keys that were looked for; what was not is not known to be absent.
   * @throws {ConfigError} With one line for each thing that is wrong.
   */
  constructor({ revision, documents }: DocumentTexts, keys: readonly string[]) {
    const lines: string[] = [];
    const read = new Map<string, PolicyDocument>();
    for (const key of keys) {
      const document = documents.get(key);
      if (document === undefined) continue;
      try {
        read.set(key, parsePolicyDocument(document.text, key, document));
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        lines.push(...error.message.split("\n"));
      }
    }
    if (lines.length > 0) throw new ConfigError(lines.map((text) => ({ key: "", text })));
    this.revision = revision;
    this.documents = read;
    this.#keys = new Set(keys);
  }

  /**
   * Looks for a set that leaves a guest nothing and does not say so.
   *
   * @throws {ConfigError} Where it does.
   */
  checkLocks(guests: readonly FleetMember[]): void {
    const checked = new Set<string>();
    for (const guest of guests) {
      const documents = this.documentsOf(guest);
      const keys = documents.map(({ key }) => key).join(" and ");
      if (documents.some(({ closed }) => closed) || checked.has(keys)) continue;
      checked.add(keys);
      if (!locksEverything(mergePolicies(documents, {}))) continue;
      const together = documents.length > 1 ? "together close" : "closes";
      const text = `${keys} ${together} everything to guest "${guest.name}"; ` +
        "write closed: true if that is meant";
      throw new ConfigError([{ key: "", text }]);
    }
  }

  /** The documents that a guest has, the widest first. */
  documentsOf(guest: FleetMember): PolicyDocument[] {
    return keysOf(guest).flatMap((key) => this.documents.get(key) ?? []);
  }

  /** Whether all documents that a guest may have were looked for. */
  covers(guest: FleetMember): boolean {
    return keysOf(guest).every((key) => this.#keys.has(key));
  }
}

/**
 * What a guest may reach.
 *
 * @param set The fleet's word; `null`, or one in which nobody looked for the guest's documents, closes
 * everything.
 * @param guest The guest.
 * @param host What its host says.
 * @param engine Where the engine listens.
 */
export function policyOf(
  set: PolicySet | null,
  guest: FleetMember,
  host: PolicyConfig,
  engine: readonly EngineAddress[],
): PolicyConfig {
  if (set === null || !set.covers(guest)) return closedPolicy(NO_POLICY_ORIGIN);
  return mergePolicies(set.documentsOf(guest), host, engine);
}
