/**
 * The audit's way to the engine: records in order, `IN_FLIGHT_MAX` at once, each kept until the stream
 * has acknowledged it.
 *
 *     connected ─▶ is the stream there, and ours? ─▶ publish ─▶ acknowledged: done
 *          ▲               │ no                         │ refused, or no answer in time
 *          └── 1 s … 30 s ─┴────────────────────────────┘
 *
 * A record that was sent and not answered is sent again under the same identity, and the stream takes
 * it once, if that is within its window (10 minutes). After a longer outage one may stand there twice;
 * who reads goes by the identity.
 *
 * Nothing is handed to the client while it is not connected. Why nothing is delivered is said once,
 * and again when it becomes something else; a lost engine is the engine's to say.
 *
 * @module
 */
import {
  jetstream,
  JetStreamApiError,
  type JetStreamClient,
  jetstreamManager,
} from "@nats-io/jetstream";
import { type NatsConnection, TimeoutError } from "@nats-io/nats-core";
import type { GatewayLogger } from "../config/logger.ts";
import type { HostClock } from "../host/host_clock.ts";
import { Waiters } from "../host/waiters.ts";
import type { SpoolRecord } from "./audit_queue.ts";
import type { AuditSpool } from "./audit_spool.ts";
import type { Engine } from "./engine.ts";
import { isMissing } from "./engine_request.ts";
import { AUDIT_DESCRIPTION, auditStream, auditSubject } from "./names.ts";

/** Records that are published and not acknowledged. */
export const IN_FLIGHT_MAX = 64;

/** How long an answer of the engine may take. */
export const ANSWER_MS = 5_000;

/** Between two attempts: at first, and at most. */
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 30_000;

/** How soon records that the disk did not give are asked for again. */
const READ_AGAIN_MS = 1_000;

/** Longest text of others in a message. */
const TEXT_MAX = 200;

/** What a sender works with. */
export interface SenderOptions {
  readonly engine: Engine;
  readonly spool: AuditSpool;
  readonly fleet: string;
  readonly gateway: string;
  readonly clock: HostClock;
  readonly logger: GatewayLogger;
}

/** What keeps the audit from being delivered, in words of this program. */
class Obstacle extends Error {}

/** Records that are published on one connection, until one of them comes back. */
interface Round {
  inFlight: number;
  failure: { readonly error: unknown } | null;
}

/** Delivers what a spool holds. */
export class AuditSender {
  /** Records that the stream has acknowledged. */
  sent = 0;
  /** Why nothing is delivered; `null` where something is, or the engine is not connected. */
  problem: string | null = null;
  readonly #options: SenderOptions;
  readonly #stream: string;
  /** Wakes when there is more to do: records, room, another state of the engine, the end. */
  readonly #change = new Waiters();
  /** How often that was. */
  #changes = 0;
  /** Wakes at another state of the engine, and at the end. */
  readonly #turn = new Waiters();
  /** Attempts in a row without a record that was acknowledged. */
  #vain = 0;
  readonly #ended = new AbortController();
  readonly #running: Promise<void>;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#stream = auditStream(options.fleet);
    options.spool.onMore = () => this.#changed();
    this.#running = this.#run();
  }

  /**
   * Sends what waits for so long at the most, and ends. What was not acknowledged stays in the spool.
   *
   * @param graceMs How long; it ends earlier where nothing can be delivered.
   */
  async close(graceMs: number): Promise<void> {
    const { clock, engine, spool } = this.#options;
    const untilMs = clock.now() + graceMs;
    for (let leftMs = graceMs; leftMs > 0; leftMs = untilMs - clock.now()) {
      if (spool.waiting === 0 || engine.connection() === null || this.problem !== null) break;
      await this.#wait(leftMs);
    }
    this.#ended.abort(new Error("the audit ends"));
    this.#changed();
    this.#turn.wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { engine, spool, clock } = this.#options;
    const { signal } = this.#ended;
    const endState = engine.onState(() => {
      this.#changed();
      this.#turn.wake();
    });
    while (!signal.aborted && engine.state !== "closed") {
      const before = this.sent;
      try {
        const connection = await engine.whenConnected(signal);
        await this.#orEnd(this.#checkStream(connection));
        await this.#pump(connection);
        this.#vain = 0;
      } catch (error) {
        this.#vain = this.sent > before ? 1 : this.#vain + 1;
        if (!signal.aborted && engine.connection() !== null) this.#say(error);
      }
      spool.back();
      if (signal.aborted || engine.connection() === null) continue;
      const delayMs = Math.min(RETRY_MS * 2 ** Math.min(this.#vain, 10), RETRY_MAX_MS) / 2;
      const timer = clock.setTimer(() => this.#turn.wake(), delayMs * (1 + Math.random()));
      await this.#turn.wait(signal);
      clock.clearTimer(timer);
    }
    endState();
  }

  /** The stream is there, and it is a fleet's audit. */
  async #checkStream(connection: NatsConnection): Promise<void> {
    const name = this.#stream;
    const manager = await jetstreamManager(connection, {
      checkAPI: false,
      timeout: ANSWER_MS,
    });
    const { config } = await manager.streams.info(name).catch((error) => {
      if (!isMissing(error)) throw error;
      throw new Obstacle(
        `the engine has no stream ${name}. Make it with: virtio-gateway fleet init`,
      );
    });
    if (config.description === AUDIT_DESCRIPTION) return;
    throw new Obstacle(`the stream ${name} of the engine is not an audit that fleet init has made`);
  }

  /** Publishes until the connection is lost, a record comes back, or the end. */
  async #pump(connection: NatsConnection): Promise<void> {
    const { engine, spool } = this.#options;
    const client = jetstream(connection, { timeout: ANSWER_MS });
    const round: Round = { inFlight: 0, failure: null };
    // What was under way when the connection was lost is not waited for.
    const isThere = () => !this.#ended.signal.aborted && engine.connection() === connection;
    while (isThere() && round.failure === null) {
      const changes = this.#changes;
      const records = await spool.next(IN_FLIGHT_MAX - round.inFlight);
      for (const record of records) {
        if (!isThere()) break;
        void this.#publish(client, record, round);
      }
      if (records.length > 0 || changes !== this.#changes) continue;
      await this.#wait(spool.waiting > round.inFlight ? READ_AGAIN_MS : null);
    }
    while (isThere() && round.inFlight > 0) await this.#wait(null);
    if (round.failure !== null) throw round.failure.error;
  }

  async #publish(client: JetStreamClient, record: SpoolRecord, round: Round): Promise<void> {
    const { fleet, gateway, spool } = this.#options;
    const { id, kind, octets } = record;
    round.inFlight++;
    try {
      // Not the gateway of the record: the right to publish is the one of this connection.
      const subject = auditSubject(fleet, gateway, kind);
      const { stream } = await client.publish(subject, octets.subarray(0, -1), {
        msgID: id,
        expect: { streamName: this.#stream },
        timeout: ANSWER_MS,
      });
      if (stream !== this.#stream) {
        throw new Error(`${stream} has taken records of ${this.#stream}`);
      }
      if (spool.done(record)) this.#delivered();
    } catch (error) {
      round.failure = { error };
    }
    round.inFlight--;
    this.#changed();
  }

  #delivered(): void {
    this.sent++;
    if (this.problem === null) return;
    this.problem = null;
    this.#options.logger.info("the audit is delivered again");
  }

  #say(error: unknown): void {
    const why = whyOf(error);
    // While the engine's servers choose a leader, nobody answers for a moment.
    if (!(error instanceof Obstacle) && this.#vain < 2) return;
    if (this.problem === why) return;
    this.problem = why;
    this.#options.logger.warn("the audit cannot be delivered, it is kept on disk", { why });
  }

  /** Waits for something that the engine may never answer, but not beyond the end. */
  async #orEnd(task: Promise<void>): Promise<void> {
    const { signal } = this.#ended;
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = (): void => resolve();
    signal.addEventListener("abort", end);
    try {
      await Promise.race([task, promise]);
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  #changed(): void {
    this.#changes++;
    this.#change.wake();
  }

  async #wait(forMs: number | null): Promise<void> {
    const { clock } = this.#options;
    const timer = forMs === null ? undefined : clock.setTimer(() => this.#changed(), forMs);
    await this.#change.wait(this.#ended.signal);
    clock.clearTimer(timer);
  }
}

/** Why something came back, in one line of a bounded length. */
function whyOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const line = text.replace(/[\p{C}\s]+/gu, " ").trim().slice(0, TEXT_MAX);
  if (error instanceof TimeoutError) return "the engine does not answer in time";
  return error instanceof JetStreamApiError ? `the engine refuses records: ${line}` : line;
}
