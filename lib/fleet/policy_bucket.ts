/**
 * The bucket of a fleet's policy, read as one whole: the leader is asked for what the bucket is, for
 * each document, and again for what the bucket is. Where the two differ, something has changed
 * between, and all is read again; so no set is made of two moments.
 *
 * Limits: documents of `DOCUMENT_BYTES_MAX`; longer ones are told as they are, and are no policy.
 *
 * @module
 */
import type { NatsConnection } from "@nats-io/nats-core";
import {
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  type StreamInfo,
} from "@nats-io/jetstream";
import { POLICY_DESCRIPTION, policyBucket } from "./names.ts";
import { DOCUMENT_BYTES_MAX, tooLarge } from "./policy_document.ts";
import type { DocumentText, DocumentTexts } from "./policy_set.ts";

/** What a bucket is at one moment. */
export type BucketState =
  | {
    readonly kind: "set";
    /** Differs whenever something has changed, in another bucket of the same name too. */
    readonly id: string;
    readonly texts: DocumentTexts;
    /** Documents that can't be texts, and why; no other one is looked at then. */
    readonly faults: readonly string[];
  }
  /** There is none. */
  | { readonly kind: "missing" }
  /** It is not one of a fleet's policy. */
  | { readonly kind: "foreign"; readonly why: string }
  /** Nothing was ever put into it. */
  | { readonly kind: "unused"; readonly id: string };

const ANSWER_MS = 2_000;
/** So often it is read again because it has changed meanwhile. */
const READS_MAX = 8;
/** Documents that are asked for at a time. */
const ASKED_MAX = 32;

/** A fleet's bucket, as a gateway reads it. */
export class PolicyBucket {
  /** The stream behind the bucket. */
  readonly stream: string;
  readonly #bucket: string;
  readonly #keys: readonly string[];

  /** Takes the fleet's name, and the keys that are looked for. */
  constructor(fleet: string, keys: readonly string[]) {
    this.#bucket = policyBucket(fleet);
    this.stream = `KV_${this.#bucket}`;
    this.#keys = keys;
  }

  /** Where changes of the documents are published. */
  get subjects(): string[] {
    return this.#keys.map((key) => this.#subject(key));
  }

  #subject(key: string): string {
    return `$KV.${this.#bucket}.${key}`;
  }

  /**
   * Reads what there is.
   *
   * @param connection The engine.
   * @param known The `id` that was read last: where it is the same, nothing more is asked.
   * @returns What there is; `null` where it is as it was.
   * @throws {Error} Where the engine does not answer, or not with what was asked.
   */
  async read(connection: NatsConnection, known: string | null): Promise<BucketState | null> {
    const manager = await jetstreamManager(connection, { checkAPI: false, timeout: ANSWER_MS });
    let info = await this.#info(manager);
    for (let reads = 0; reads < READS_MAX; reads++) {
      const strange = kindOf(info);
      if (strange !== null) return strange;
      const id = idOf(info!);
      if (id === known) return null;
      const { last_seq: revision } = info!.state;
      if (revision === 0) return { kind: "unused", id };
      const read = await this.#documents(manager);
      info = await this.#info(manager);
      if (info === null || idOf(info) !== id) continue;
      return { kind: "set", id, ...textsOf(revision, read) };
    }
    throw new Error(`the bucket ${this.#bucket} changes faster than it is read`);
  }

  async #info(manager: JetStreamManager): Promise<StreamInfo | null> {
    try {
      const info = await manager.streams.info(this.stream);
      if (info.config.name === this.stream) return info;
      throw new Error(`the engine has answered for ${shown(info.config.name)}`);
    } catch (error) {
      if (isNoStream(error)) return null;
      throw error;
    }
  }

  async #documents(manager: JetStreamManager): Promise<Map<string, StoredDocument>> {
    const documents = new Map<string, StoredDocument>();
    for (let at = 0; at < this.#keys.length; at += ASKED_MAX) {
      const keys = this.#keys.slice(at, at + ASKED_MAX);
      const stored = await Promise.all(keys.map((key) => this.#document(manager, key)));
      stored.forEach((document, i) => {
        if (document !== null) documents.set(keys[i]!, document);
      });
    }
    return documents;
  }

  async #document(manager: JetStreamManager, key: string): Promise<StoredDocument | null> {
    const subject = this.#subject(key);
    const message = await manager.streams.getMessage(this.stream, { last_by_subj: subject });
    // An answer can be sent to whoever is named, also by somebody else who has asked something else.
    if (message !== null && message.subject !== subject) {
      throw new Error(
        `the engine has answered for ${shown(message.subject)} instead of ${subject}`,
      );
    }
    if (message === null || isDeletion(message.header)) return null;
    return { bytes: message.data, revision: message.seq };
  }
}

interface StoredDocument {
  readonly bytes: Uint8Array;
  readonly revision: number;
}

function isNoStream(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound;
}

/** What a bucket is that is none of a fleet's policy; `null` where it is one. */
function kindOf(info: StreamInfo | null): BucketState | null {
  if (info === null) return { kind: "missing" };
  const { description = "", subjects = [] } = info.config;
  if (description === POLICY_DESCRIPTION) return null;
  const what = description === "" ? "it has no description" : `it is "${shown(description)}"`;
  return { kind: "foreign", why: `${what} (${shown(subjects.join(", "))})` };
}

/**
 * Differs between two states of a bucket, and between two buckets; and, by the time of the last change,
 * where an engine has lost one when it was killed, or got an older store back, and another one came.
 */
function idOf({ created, state }: StreamInfo): string {
  const { first_seq, last_seq, last_ts, messages, num_deleted = 0 } = state;
  return [created, first_seq, last_seq, last_ts, messages, num_deleted].join(" ");
}

function isDeletion(header: { get(name: string): string } | undefined): boolean {
  if (header === undefined) return false;
  // What a server of 2.11 and later leaves where it has removed the last one itself.
  if (header.get("Nats-Marker-Reason") !== "") return true;
  const operation = header.get("KV-Operation");
  return operation === "DEL" || operation === "PURGE";
}

function textsOf(
  revision: number,
  stored: ReadonlyMap<string, StoredDocument>,
): { texts: DocumentTexts; faults: string[] } {
  const documents = new Map<string, DocumentText>();
  const faults: string[] = [];
  for (const [key, { bytes, revision }] of stored) {
    if (bytes.length > DOCUMENT_BYTES_MAX) faults.push(`${key} ${tooLarge(bytes.length)}`);
    else {
      try {
        const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
        documents.set(key, { text, revision });
      } catch {
        faults.push(`${key} is not text in UTF-8`);
      }
    }
  }
  return { texts: { revision, documents }, faults };
}

const SHOWN_MAX = 80;

function shown(text: string): string {
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}
