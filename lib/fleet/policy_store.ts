/**
 * The fleet's policy documents in the engine, for whoever changes them: read, written with the
 * revision that is expected, taken away, and as they were.
 *
 * A revision is one number for the whole bucket: each change of any document is the next one. What
 * is written here is not checked; `policy_check.ts` does that first.
 *
 * Limits: the engine keeps 64 revisions of each document; what is read of the bucket at once ends
 * after `READ_MS`.
 *
 * @module
 */
import { jetstream, jetstreamManager, type StreamState } from "@nats-io/jetstream";
import { type KV, type KvEntry, Kvm, type KvWatchEntry } from "@nats-io/kv";
import type { NatsConnection, QueuedIterator } from "@nats-io/nats-core";
import { GatewayError } from "../config/errors.ts";
import type { Engine } from "./engine.ts";
import { isMissing, isOvertaken, reached, requestError } from "./engine_request.ts";
import { POLICY_DESCRIPTION, policyBucket } from "./names.ts";
import { compareNames } from "./roll_findings.ts";

/** A document at one revision. As {@linkcode PolicyStore} yields it. */
export interface StoredDocument {
  /** Whom it is for: `fleet`, `group.GROUP` or `guest.GUEST`. */
  readonly key: string;
  /** The revision with which it came to be as it is. */
  readonly revision: number;
  /** When, in milliseconds since 1970, on the engine's clock. */
  readonly createdMs: number;
  /** As the operator wrote it; `null` where it was taken away. */
  readonly text: string | null;
}

/** A document that is there. As {@linkcode PolicyStore} yields it. */
export interface PresentDocument extends StoredDocument {
  /** As the operator wrote it. */
  readonly text: string;
}

/** How a document is changed. Part of {@linkcode PolicyStore}. */
export interface ChangeOptions {
  /** The revision that the document has to have still; 0 where it has to be absent. */
  readonly ifRevision?: number;
}

const READ_MS = 10_000;
const READING = "read the fleet's policy";

/**
 * A fleet's policy documents in its engine. Check what is to be written with {@linkcode checkChange}.
 *
 * @example Without an engine there is no answer, and nobody waits longer than is said
 * ```ts
 * import { GatewayError } from "@virtio/gateway";
 * import { Engine, PolicyStore } from "@virtio/gateway/fleet";
 * import { assert, assertEquals } from "@std/assert";
 *
 * await using engine = Engine.open({ servers: ["nats://127.0.0.1:9"], name: "example" });
 * const opening = PolicyStore.open(engine, "default", AbortSignal.timeout(50));
 * const error = await opening.catch((error: unknown) => error);
 * assert(error instanceof GatewayError);
 * assertEquals(error.code, "no-engine");
 * ```
 */
export class PolicyStore {
  readonly #connection: NatsConnection;
  readonly #bucket: KV;
  readonly #fleet: string;

  private constructor(connection: NatsConnection, bucket: KV, fleet: string) {
    this.#connection = connection;
    this.#bucket = bucket;
    this.#fleet = fleet;
  }

  /**
   * Opens the documents of a fleet.
   *
   * @param engine The engine, which is waited for.
   * @param fleet The fleet's name.
   * @param signal Ends the wait; after 5 s when absent.
   * @returns The documents.
   * @throws {GatewayError} Where the engine is not reached, has none, or a bucket that is not of a
   * fleet.
   */
  static async open(engine: Engine, fleet: string, signal?: AbortSignal): Promise<PolicyStore> {
    const connection = await reached(engine, READING, signal);
    const store = await PolicyStore.#bind(connection, fleet);
    await store.revision();
    return store;
  }

  static async #bind(connection: NatsConnection, fleet: string): Promise<PolicyStore> {
    try {
      const bucket = await new Kvm(jetstream(connection)).open(policyBucket(fleet));
      return new PolicyStore(connection, bucket, fleet);
    } catch (error) {
      throw requestError(READING, error);
    }
  }

  /**
   * The latest revision of the whole bucket; 0 where nothing was ever written.
   *
   * @throws {GatewayError} Where the engine has no bucket of a fleet.
   */
  async revision(): Promise<number> {
    return (await this.#state()).last_seq;
  }

  async #state(): Promise<StreamState> {
    const bucket = policyBucket(this.#fleet);
    try {
      const manager = await jetstreamManager(this.#connection);
      const { config, state } = await manager.streams.info(`KV_${bucket}`);
      if (config.description === POLICY_DESCRIPTION) return state;
    } catch (error) {
      if (!isMissing(error)) throw requestError(READING, error);
      throw new GatewayError(
        "fleet",
        `fleet "${this.#fleet}" has no policy on this engine: there is no bucket ${bucket}`,
        { hint: "Make it with: fleet init; or name another fleet with --fleet-name" },
      );
    }
    throw new GatewayError(
      "fleet",
      `the bucket ${bucket} on this engine is not one of virtio-gateway: ` +
        `its description is not "${POLICY_DESCRIPTION}"`,
      { hint: "Name another fleet with --fleet-name, or take that bucket away" },
    );
  }

  /**
   * A document.
   *
   * @param key Whom it is for.
   * @param revision As it was with that change; as it is when absent.
   * @returns `null` where there is none, or that change was not one of it.
   */
  async get(key: string, revision?: number): Promise<StoredDocument | null> {
    try {
      const entry = await this.#bucket.get(key, revision === undefined ? undefined : { revision });
      return entry === null ? null : documentOf(entry);
    } catch (error) {
      throw requestError(`read the policy document ${key}`, error);
    }
  }

  /** The latest change of each document, also of those that were taken away, in the order of keys. */
  async latest(): Promise<StoredDocument[]> {
    // Where nothing is kept nothing ever comes.
    if ((await this.#state()).messages === 0) return [];
    const latest = await this.#read(() => this.#bucket.watch(), ({ delta }) => delta === 0);
    return latest.sort((a, b) => compareNames(a.key, b.key));
  }

  /** All documents that are there, in the order of their keys. */
  async all(): Promise<PresentDocument[]> {
    return (await this.latest()).filter(isPresent);
  }

  /**
   * Revisions, the earliest first.
   *
   * @param key Those of one document; of all when absent.
   */
  async history(key?: string): Promise<StoredDocument[]> {
    return await this.#read(() => this.#bucket.history(key === undefined ? {} : { key }));
  }

  /** Reads entries up to the last one, by their revisions. */
  async #read(
    ask: () => Promise<QueuedIterator<KvWatchEntry>>,
    isLast: (entry: KvWatchEntry) => boolean = () => false,
  ): Promise<StoredDocument[]> {
    const found: StoredDocument[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const entries = await ask();
      let isLate = false;
      timer = setTimeout(() => {
        isLate = true;
        entries.stop();
      }, READ_MS);
      for await (const entry of entries) {
        found.push(documentOf(entry));
        if (isLast(entry)) break;
      }
      if (isLate) throw new GatewayError("no-engine", "the engine has stopped answering");
    } catch (error) {
      throw requestError(READING, error);
    } finally {
      clearTimeout(timer);
    }
    return found.toSorted((a, b) => a.revision - b.revision);
  }

  /**
   * Writes a document.
   *
   * @param key Whom it is for.
   * @param text Its text.
   * @param options The revision that is expected.
   * @returns The revision that it has now.
   * @throws {GatewayError} Where it has another revision than was expected.
   */
  async put(key: string, text: string, { ifRevision }: ChangeOptions = {}): Promise<number> {
    try {
      return await this.#bucket.put(key, text, await this.#expecting(key, ifRevision));
    } catch (error) {
      if (isOvertaken(error)) throw await this.#overtaken(key, ifRevision!);
      throw requestError(`write the policy document ${key}`, error);
    }
  }

  /**
   * Takes a document away; its history stays.
   *
   * @param key Whom it is for.
   * @param options The revision that is expected.
   * @returns The revision with which it went.
   * @throws {GatewayError} Where it is not there, or has another revision than was expected.
   */
  async delete(key: string, { ifRevision }: ChangeOptions = {}): Promise<number> {
    const before = await this.require(key);
    try {
      const expected = ifRevision ?? before.revision;
      await this.#bucket.delete(key, { previousSeq: expected });
    } catch (error) {
      if (isOvertaken(error)) throw await this.#overtaken(key, ifRevision ?? before.revision);
      throw requestError(`take the policy document ${key} away`, error);
    }
    return (await this.get(key))?.revision ?? before.revision;
  }

  /**
   * Looks whether a document has the revision that is expected, before anything is done with it.
   *
   * @param key Whose.
   * @param expected The revision; 0 where it is to be absent.
   * @throws {GatewayError} Where it has another one.
   */
  async requireRevision(key: string, expected: number): Promise<void> {
    const document = await this.get(key);
    const revision = document === null || document.text === null ? 0 : document.revision;
    if (revision !== expected) throw await this.#overtaken(key, expected);
  }

  /**
   * A document that has to be there.
   *
   * @throws {GatewayError} Where it is not.
   */
  async require(key: string): Promise<StoredDocument> {
    const document = await this.get(key);
    if (document !== null && document.text !== null) return document;
    throw new GatewayError("fleet", `fleet "${this.#fleet}" has no policy document ${key}`, {
      hint: "fleet policy get lists those that it has",
    });
  }

  /** To the engine a document that was taken away has the revision of that. */
  async #expecting(key: string, ifRevision?: number): Promise<{ previousSeq?: number }> {
    if (ifRevision === undefined) return {};
    if (ifRevision !== 0) return { previousSeq: ifRevision };
    const before = await this.get(key);
    return { previousSeq: before?.text === null ? before.revision : 0 };
  }

  async #overtaken(key: string, expected: number): Promise<GatewayError> {
    const { revision = 0, text = null } = await this.get(key) ?? {};
    const is = text === null ? "is not there" : `has revision ${revision}`;
    const wanted = expected === 0 ? "it was to be absent" : `revision ${expected} was expected`;
    return new GatewayError(
      "fleet",
      `the policy document ${key} ${is}, where ${wanted}: somebody else has changed it`,
      { hint: `fleet policy history ${key} shows what; nothing was written` },
    );
  }
}

function documentOf(entry: KvEntry): StoredDocument {
  const { key, revision, created, operation } = entry;
  const text = operation === "PUT" ? new TextDecoder().decode(entry.value) : null;
  return { key, revision, createdMs: created.getTime(), text };
}

/** Whether a document is there. */
export function isPresent(document: StoredDocument): document is PresentDocument {
  return document.text !== null;
}
