/**
 * The audit of a fleet as its stream has it: the last records that somebody asks about, and those that
 * come from then on.
 *
 * What stands in the stream was written by gateways, and what stands in a record often by a guest: a
 * message that is no record is passed over and counted, texts are of bounded length, and whoever
 * prints them makes them printable. Which gateway has written it is what its subject says, as the
 * engine lets each write under its own name alone. A record that a gateway has sent twice is told once,
 * if the two are within `IDS_MAX` records.
 *
 * The engine filters by gateway and kind; a guest is looked for here, among the last `SCAN_MAX` records
 * at most. Nothing is changed in the engine but a consumer that it forgets by itself.
 *
 * @module
 */
import {
  type Consumer,
  DeliverPolicy,
  jetstream,
  jetstreamManager,
  type JsMsg,
} from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { GatewayError } from "../config/errors.ts";
import { type AuditRecord, parseAuditRecord } from "./audit_record.ts";
import { isMissing, requestError } from "./engine_request.ts";
import { AUDIT_DESCRIPTION, type AuditKind, auditStream, auditSubjects } from "./names.ts";

/** Most records that are asked for as the last ones. */
export const LAST_MAX = 10_000;

/** Most messages that are looked at for them. */
export const SCAN_MAX = 65_536;

/** Identities that are remembered. */
const IDS_MAX = 4_096;

/** More messages are looked at, so many times as before, where too few were what is asked for. */
const WIDER = 8;

/** Messages that the engine hands over at once. */
const BATCH = 256;

const ANSWER_MS = 5_000;
/** The engine forgets a consumer that nobody has asked for so long. */
const CONSUMER_MS = 30_000;

/** Which records. */
export interface AuditFilter {
  readonly kind?: AuditKind;
  readonly gateway?: string;
  readonly guest?: string;
}

/** Reads the audit of a fleet. */
export class AuditReader {
  /** Messages that were no records. */
  unreadable = 0;
  readonly #connection: NatsConnection;
  readonly #fleet: string;
  readonly #filter: AuditFilter;
  readonly #ids = new Set<string>();
  /** The stream's message after those that {@linkcode last} has seen. */
  #next: number | null = null;

  constructor(connection: NatsConnection, fleet: string, filter: AuditFilter = {}) {
    this.#connection = connection;
    this.#fleet = fleet;
    this.#filter = filter;
  }

  /**
   * The last records, the earliest first.
   *
   * @param count How many; at most {@linkcode LAST_MAX}.
   * @throws {GatewayError} Where the stream is missing or foreign.
   */
  async last(count: number): Promise<AuditRecord[]> {
    const { first, last } = await this.#bounds();
    this.#next = last + 1;
    const wanted = Math.min(count, LAST_MAX);
    for (let scanned = 2 * wanted;; scanned *= WIDER) {
      const from = Math.max(first, last + 1 - Math.min(scanned, SCAN_MAX));
      const records = wanted === 0 ? [] : await this.#span(from, last, wanted);
      const isAll = from === first || scanned >= SCAN_MAX;
      if (records.length < wanted && !isAll) continue;
      for (const record of records) this.#isNews(record);
      return records;
    }
  }

  /**
   * The records that come after those of {@linkcode last}, or from this call on. It goes on over lost
   * connections, until the signal.
   *
   * @throws {GatewayError} Where the stream is missing or foreign.
   */
  async *follow(signal: AbortSignal): AsyncGenerator<AuditRecord, void> {
    const start = this.#next ?? (await this.#bounds()).last + 1;
    const messages = await (await this.#consumer(start)).consume({ max_messages: BATCH });
    const end = () => void messages.close();
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
    try {
      for await (const message of messages) {
        const record = this.#read(message);
        if (record !== null && this.#isNews(record)) yield record;
      }
    } finally {
      signal.removeEventListener("abort", end);
      await messages.close();
    }
  }

  /** Records between two messages, so many of the last ones. */
  async #span(from: number, to: number, wanted: number): Promise<AuditRecord[]> {
    const records = new Map<string, AuditRecord>();
    const end = Math.min(to, await this.#lastOfKind());
    if (from > end) return [];
    this.unreadable = 0;
    const messages = await (await this.#consumer(from)).consume({ max_messages: BATCH });
    let isLate = false;
    const giveUp = (): void => {
      isLate = true;
      void messages.close();
    };
    let timer = setTimeout(giveUp, ANSWER_MS);
    try {
      // Not what the engine says to be left: the server that it hands it over from may be behind.
      for await (const message of messages) {
        clearTimeout(timer);
        timer = setTimeout(giveUp, ANSWER_MS);
        const record = message.seq > to ? null : this.#read(message);
        if (record !== null) records.set(identityOf(record), record);
        for (const identity of records.keys()) {
          if (records.size <= wanted) break;
          records.delete(identity);
        }
        if (message.seq >= end) break;
      }
    } finally {
      clearTimeout(timer);
    }
    await messages.close();
    if (isLate) {
      throw new GatewayError("no-engine", "the engine has stopped in the middle of the audit", {
        hint: "One of its servers may be behind the others; ask again in a moment",
      });
    }
    return [...records.values()];
  }

  /** The stream's last message that is asked for, as its leader has it; 0 where there is none. */
  async #lastOfKind(): Promise<number> {
    const manager = await jetstreamManager(this.#connection, {
      checkAPI: false,
      timeout: ANSWER_MS,
    });
    try {
      const query = { last_by_subj: auditSubjects(this.#fleet, this.#place) };
      return (await manager.streams.getMessage(auditStream(this.#fleet), query))?.seq ?? 0;
    } catch (error) {
      throw requestError("read the fleet's audit", error);
    }
  }

  #read(message: JsMsg): AuditRecord | null {
    const { guest } = this.#filter;
    const [kind, gateway = ""] = message.subject.split(".").reverse();
    const record = parseAuditRecord(message.data);
    if (record === null || record.kind !== kind) {
      this.unreadable++;
      return null;
    }
    return guest === undefined || record.guest === guest ? { ...record, gateway } : null;
  }

  #isNews(record: AuditRecord): boolean {
    const identity = identityOf(record);
    if (this.#ids.has(identity)) return false;
    this.#ids.add(identity);
    for (const oldest of this.#ids) {
      if (this.#ids.size <= IDS_MAX) break;
      this.#ids.delete(oldest);
    }
    return true;
  }

  /** What the engine filters by. */
  get #place(): { kind?: AuditKind; gateway?: string } {
    const { kind, gateway } = this.#filter;
    return {
      ...(kind === undefined ? {} : { kind }),
      ...(gateway === undefined ? {} : { gateway }),
    };
  }

  async #bounds(): Promise<{ first: number; last: number }> {
    const name = auditStream(this.#fleet);
    const manager = await jetstreamManager(this.#connection, {
      checkAPI: false,
      timeout: ANSWER_MS,
    });
    const { config, state } = await manager.streams.info(name).catch((error) => {
      if (!isMissing(error)) throw requestError("read the fleet's audit", error);
      throw new GatewayError("fleet", `the engine has no stream ${name}`, {
        hint: "Make it with: virtio-gateway fleet init",
      });
    });
    if (config.description !== AUDIT_DESCRIPTION) {
      throw new GatewayError("fleet", `the stream ${name} is not an audit of a fleet`, {
        hint: "Name another fleet with --fleet-name, or remove that stream",
      });
    }
    return { first: Math.max(state.first_seq, 1), last: state.last_seq };
  }

  async #consumer(from: number): Promise<Consumer> {
    const client = jetstream(this.#connection, { timeout: ANSWER_MS });
    const consumer = client.consumers.get(auditStream(this.#fleet), {
      filter_subjects: auditSubjects(this.#fleet, this.#place),
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: from,
      inactive_threshold: CONSUMER_MS * 1_000_000,
    });
    return await consumer.catch((error) => {
      throw requestError("read the fleet's audit", error);
    });
  }
}

/** What tells a record from all others, whoever else uses its identity. */
function identityOf({ gateway, id }: AuditRecord): string {
  return `${gateway} ${id}`;
}
