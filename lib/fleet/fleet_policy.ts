/**
 * What a fleet's policy comes to for the guests of a gateway, and that it stays so.
 *
 *     the bucket ─▶ a set of documents ─▶ merged for each guest with what its host says, compiled
 *                                         with its limits ─▶ all good: in force for all, then kept
 *                                                         └▶ else: the last good one stays, and why
 *
 * Before the engine has said anything the copy counts, and without one everything is closed. What is
 * said on this host alone (control interface, reload, program) is a layer of its own beneath the
 * documents. One change at a time, each for all guests or for none.
 *
 * @module
 */
import { ConfigError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { PolicyConfig } from "../config/options.ts";
import type { FleetPolicyReport, FleetRejection } from "../host/fleet_report.ts";
import type { EngineAddress } from "./engine.ts";
import { GuestPolicies, type PolicyGuest, type PolicyTaker } from "./guest_policies.ts";
import { policyBucket } from "./names.ts";
import type { BucketState } from "./policy_bucket.ts";
import type { KeptPolicy } from "./policy_copy.ts";
import { type DocumentTexts, keysOfAll, PolicySet, sizeFault } from "./policy_set.ts";
import type { WatchHandlers } from "./policy_watch.ts";

export type { PolicyGuest, PolicyTaker } from "./guest_policies.ts";

/** Where the last good policy is kept. */
export interface PolicyKeeper {
  /** Puts another one in its place. */
  write(kept: KeptPolicy): Promise<void>;
}

/** What it is made of. */
export interface FleetPolicyOptions {
  readonly fleet: string;
  readonly guests: readonly PolicyGuest[];
  readonly keeper: PolicyKeeper;
  readonly logger: GatewayLogger;
  /** The time of day, in milliseconds since 1970. */
  readonly nowMs?: () => number;
}

/** When the copy is tried again. */
const KEEP_AGAIN_MS = 30_000;
const WHY_MAX = 1_024;

/** A fleet's policy at one gateway. */
export class FleetPolicy implements WatchHandlers, Disposable {
  readonly #options: FleetPolicyOptions;
  readonly #guests: GuestPolicies;
  /** All keys that any of the guests has. */
  readonly keys: readonly string[];
  /** The texts of the set that is in force. */
  #texts: DocumentTexts | null = null;
  /** Those that were taken or refused last; `null` where something else was refused since. */
  #seen: DocumentTexts | null = null;
  #source: FleetPolicyReport["source"] = "closed";
  #revision: number | null = null;
  #rejected: FleetRejection | null = null;
  #atMs: number;
  /** Why the bucket could not be read the last time. */
  #fault = "";
  #turn: Promise<unknown> = Promise.resolve();
  #keepTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #listeners = new Set<() => void>();

  /**
   * Begins closed.
   *
   * @param options What it is made of.
   * @param engine Where the engine listens, as far as that is known.
   */
  constructor(options: FleetPolicyOptions, engine: readonly EngineAddress[]) {
    this.#options = options;
    this.keys = keysOfAll(options.guests);
    this.#guests = new GuestPolicies(options.guests, { set: null, engine }, options.logger);
    this.#atMs = this.#now();
  }

  /** Ends what is due later. */
  [Symbol.dispose](): void {
    clearTimeout(this.#keepTimer);
  }

  /** What there is to say of it. */
  report(): FleetPolicyReport {
    const documents = [...this.#guests.shared.set?.documents.values() ?? []];
    return {
      source: this.#source,
      revision: this.#revision,
      documents: documents.map(({ key, revision }) => ({ key, revision })),
      rejected: this.#rejected,
      atMs: this.#atMs,
    };
  }

  /**
   * Tells of changes of what is in force, or of what is not.
   *
   * @returns Ends that.
   */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // ---- Before guests are served -----------------------------------------------------------------

  /**
   * Begins with what was kept.
   *
   * @throws {ConfigError} Where that is no policy; everything stays closed then.
   */
  begin(kept: KeptPolicy): void {
    const set = new PolicySet(kept, kept.keys);
    this.#guests.begin({ set, engine: joined(this.#guests.shared.engine, kept.engine) });
    this.#texts = kept;
    this.#source = "copy";
    this.#revision = kept.revision;
  }

  /**
   * What a guest may reach from its first frame on.
   *
   * @param name Its name.
   * @param host What its host says.
   * @throws {ConfigError} Where that is wrong.
   */
  initial(name: string, host: PolicyConfig): PolicyConfig {
    return this.#guests.initial(name, host);
  }

  /** A guest is served, with its initial policy. */
  serve(name: string, taker: PolicyTaker): void {
    this.#guests.serve(name, taker);
  }

  // ---- While guests are served ------------------------------------------------------------------

  /** What the guest's host says, without the fleet's part. */
  hostPolicy(name: string): PolicyConfig {
    return this.#guests.host(name);
  }

  /**
   * Puts another word of a guest's host into force, beneath the fleet's. What of it was only read off
   * what is in force, and is the fleet's, is not the host's.
   *
   * @throws {ConfigError} Where it is wrong, or does not fit; what was in force then stays.
   */
  setHost(name: string, policy: PolicyConfig): Promise<void> {
    return this.#inTurn(async () => {
      await this.#guests.putHost(name, policy);
      // What was refused may fit beside the host's new word.
      const refused = this.#seen;
      if (this.#rejected === null || refused === null) return;
      this.#seen = null;
      await this.#takeSet(refused, []);
    });
  }

  /** Keeps guests from the engine wherever it listens. */
  setEngine(addresses: readonly EngineAddress[]): Promise<void> {
    return this.#inTurn(async () => {
      const { set, engine: known } = this.#guests.shared;
      const ids = new Set(known.map(idOf));
      if (addresses.every((each) => ids.has(idOf(each)))) return;
      const engine = joined(known, addresses);
      try {
        await this.#guests.put({ set, engine });
        if (this.#source === "engine") await this.#keep();
      } catch (error) {
        const why = (error as Error).message;
        this.#options.logger.error("guests are not kept from the fleet's engine", { why });
      }
    });
  }

  /**
   * Takes what the bucket is.
   *
   * @returns False where it is good, and yet not in force for a reason that may pass.
   */
  onState(state: BucketState): Promise<boolean> {
    return this.#inTurn(async () => {
      if (state.kind === "set") return await this.#takeSet(state.texts, state.faults);
      this.#seen = null;
      this.#reject(...this.#refusal(state));
      return true;
    });
  }

  /** What there is instead of documents: its revision, what it is, and the way out. */
  #refusal(state: Exclude<BucketState, { kind: "set" }>): [number | null, string, string] {
    switch (state.kind) {
      case "missing":
        return [null, `there is no bucket ${this.#bucket}`, INIT_HINT];
      case "foreign":
        return [null, `the bucket ${this.#bucket} is foreign: ${state.why}`, FOREIGN_HINT];
      case "unused":
        return [0, `the bucket ${this.#bucket} never had a document`, PUT_HINT];
    }
  }

  /** The bucket was read: what keeps it from that is news again. */
  onRead(): void {
    this.#fault = "";
  }

  /** The bucket could not be read: that is said once, and nothing changes. */
  onFault({ message }: Error): void {
    if (this.#fault === message) return;
    this.#fault = message;
    this.#options.logger.warn("the fleet's policy can't be read; guests keep what they have", {
      why: message,
    });
  }

  async #takeSet(texts: DocumentTexts, faults: readonly string[]): Promise<boolean> {
    const { revision } = texts;
    const size = sizeFault(texts);
    const wrong = size === null ? faults : [...faults, size];
    if (wrong.length > 0) {
      this.#seen = null;
      this.#reject(revision, wrong.join("; "), "");
      return true;
    }
    const isKnown = this.#source === "engine" && this.#texts !== null && same(this.#texts, texts);
    if (isKnown) {
      this.#revision = revision;
      if (this.#rejected !== null) this.#sayInForce();
      this.#tell();
      return true;
    }
    if (this.#rejected !== null && this.#seen !== null && same(this.#seen, texts)) {
      this.#rejected = { ...this.#rejected, revision };
      return true;
    }
    this.#seen = texts;
    try {
      const set = new PolicySet(texts, this.keys);
      set.checkLocks(this.#options.guests);
      await this.#guests.put({ set, engine: this.#guests.shared.engine });
    } catch (error) {
      const isFinal = error instanceof ConfigError;
      if (!isFinal) this.#seen = null;
      this.#reject(revision, (error as Error).message.replaceAll("\n", "; "), "");
      return isFinal;
    }
    this.#texts = texts;
    this.#source = "engine";
    this.#revision = revision;
    this.#atMs = this.#now();
    this.#sayInForce();
    this.#tell();
    await this.#keep();
    return true;
  }

  #sayInForce(): void {
    this.#rejected = null;
    const documents = [...this.#guests.shared.set!.documents.keys()].join(", ");
    this.#options.logger.info("the fleet's policy is in force", {
      revision: this.#revision,
      documents: documents === "" ? "none" : documents,
    });
  }

  #reject(revision: number | null, why: string, hint: string): void {
    const text = why.length > WHY_MAX ? `${why.slice(0, WHY_MAX)}…` : why;
    const isNew = this.#rejected?.why !== text;
    this.#rejected = { revision, why: text };
    if (isNew) {
      const stays = this.#guests.shared.set === null
        ? "everything stays closed"
        : "the last good one stays in force";
      this.#options.logger.error(`the fleet's policy is refused; ${stays}`, {
        ...(revision === null ? {} : { revision }),
        why: text,
        ...(hint === "" ? {} : { hint }),
      });
    }
    this.#tell();
  }

  async #keep(): Promise<void> {
    clearTimeout(this.#keepTimer);
    if (this.#texts === null) return;
    try {
      const { engine } = this.#guests.shared;
      await this.#options.keeper.write({ ...this.#texts, keys: this.keys, engine });
    } catch (error) {
      const why = (error as Error).message;
      this.#options.logger.error("the fleet's policy is in force but can't be kept", { why });
      this.#keepTimer = setTimeout(() => void this.#inTurn(() => this.#keep()), KEEP_AGAIN_MS);
    }
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#turn.then(run);
    this.#turn = next.catch(() => {});
    return next;
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #now(): number {
    return (this.#options.nowMs ?? Date.now)();
  }

  get #bucket(): string {
    return policyBucket(this.#options.fleet);
  }
}

const INIT_HINT = "Make it with: virtio-gateway fleet init";
const FOREIGN_HINT = "Name another fleet with --fleet-name, or take that bucket away";
const PUT_HINT = "Put one with: virtio-gateway fleet policy put fleet FILE";

/** Whether two sets have the same documents. */
function same(a: DocumentTexts, b: DocumentTexts): boolean {
  if (a.documents.size !== b.documents.size) return false;
  return [...a.documents].every(([key, { text, revision }]) => {
    const other = b.documents.get(key);
    return other !== undefined && other.text === text && other.revision === revision;
  });
}

/** Those that were met last behind the others; where there are too many, the first ones go. */
function joined(known: readonly EngineAddress[], more: readonly EngineAddress[]): EngineAddress[] {
  const all = new Map(known.map((each) => [idOf(each), each]));
  for (const each of more) {
    all.delete(idOf(each));
    all.set(idOf(each), each);
  }
  return [...all.values()].slice(-ENGINE_ADDRESSES_MAX);
}

function idOf({ address, port }: EngineAddress): string {
  return `${address} ${port}`;
}

/** As many as the engine's connection itself remembers, each perhaps with the loopback. */
const ENGINE_ADDRESSES_MAX = 512;
