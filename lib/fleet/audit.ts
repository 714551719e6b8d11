/**
 * The audit of one gateway: what its guests were refused and what has happened to them, from their
 * events to the fleet's stream.
 *
 *     events() ─▶ audit_record.ts ─▶ audit_spool.ts ─▶ audit_sender.ts ─▶ the engine's stream
 *                 groups of 10 s      DIR/audit/        acknowledged
 *
 * A group of denials that is over is handed on within `TICK_MS`, `TICK_RECORDS` of them at most, so a
 * flood that ends all at once is spread. Events that the reader has missed are a record of their own.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import type { EventStream, GatewayEvent } from "../host/gateway_event.ts";
import { type HostClock, systemClock, type Timer } from "../host/host_clock.ts";
import { DirFiles } from "./audit_files.ts";
import { AuditRecorder, type LifeDetail, type LifeEvent } from "./audit_record.ts";
import { AuditSender } from "./audit_sender.ts";
import { AuditSpool } from "./audit_spool.ts";
import type { Engine } from "./engine.ts";

/** Between two looks at groups that are over. */
const TICK_MS = 250;

/** Records of one look. */
const TICK_RECORDS = 256;

/** How an audit is opened. */
export interface AuditOptions {
  /** The fleet's name. */
  readonly fleet: string;
  /** This gateway's name in it. */
  readonly gateway: string;
  /** A directory that is there, and is this gateway's alone. */
  readonly dir: string;
  /** How much may wait on disk. */
  readonly maxBytes: number;
  readonly engine: Engine;
  readonly logger: GatewayLogger;
  readonly clock?: HostClock;
}

/** Where the audit stands. */
export interface AuditReport {
  /** Records that wait for the engine to acknowledge them. */
  readonly waiting: number;
  /** Octets of those. */
  readonly waitingBytes: number;
  /** When the oldest of them was, in milliseconds since 1970; `null` where none waits. */
  readonly oldestMs: number | null;
  /** Records that the engine has acknowledged. */
  readonly sent: number;
  /** Records that were dropped for want of room. */
  readonly shed: number;
  /** Events that came faster than they were noted. */
  readonly lost: number;
  /** Why it is not delivered, or not kept on disk; `null` where both are well. */
  readonly problem: string | null;
}

/** What can be listened to: a gateway, or several. */
export interface EventSource {
  events(signal?: AbortSignal): EventStream;
}

/** The audit of one gateway. */
export class Audit {
  readonly #options: AuditOptions;
  readonly #clock: HostClock;
  readonly #recorder: AuditRecorder;
  readonly #spool: AuditSpool;
  readonly #sender: AuditSender;
  readonly #reading = new Set<Promise<void>>();
  readonly #ended = new AbortController();
  #lost = 0;
  #tick: Timer | undefined;
  #closing: Promise<void> | null = null;

  private constructor(options: AuditOptions, recorder: AuditRecorder, spool: AuditSpool) {
    const { engine, fleet, gateway, logger, clock = systemClock } = options;
    this.#options = options;
    this.#clock = clock;
    this.#recorder = recorder;
    this.#spool = spool;
    this.#sender = new AuditSender({ engine, spool, fleet, gateway, clock, logger });
    this.happen("gateway-started");
  }

  /** Goes on with what an earlier start has left in the directory. */
  static async open(options: AuditOptions): Promise<Audit> {
    const { gateway, dir, maxBytes, logger, clock = systemClock } = options;
    const instance = crypto.getRandomValues(new Uint8Array(6)).toHex();
    const recorder = new AuditRecorder({ gateway, instance });
    const spool = await AuditSpool.open({
      files: new DirFiles(`${dir}/audit`),
      maxBytes,
      clock,
      logger,
      shedRecord: (count, denials) => {
        const what = { guest: null, timeMs: Date.now(), event: "shed" } as const;
        return recorder.happen(clock.now(), what, { count, denials })!;
      },
    });
    return new Audit(options, recorder, spool);
  }

  /**
   * Notes what happens at a gateway from this call on.
   *
   * @param guest Whose events they are where they don't say it.
   */
  watch(source: EventSource, guest: string): void {
    const stream = source.events(this.#ended.signal);
    const reading = this.#read(stream, guest).catch((error) => {
      const why = (error as Error).message;
      this.#options.logger.error("the audit no longer hears of guests", { guest, why });
    });
    this.#reading.add(reading);
    reading.finally(() => this.#reading.delete(reading));
  }

  /** Notes something that is about no guest. */
  happen(event: LifeEvent, detail: LifeDetail = {}): void {
    this.#happen(null, Date.now(), event, detail);
  }

  /** Where it stands. */
  report(): AuditReport {
    const { waiting, waitingBytes, oldestMs, shed, trouble } = this.#spool;
    const { sent, problem } = this.#sender;
    const why = problem ?? trouble;
    return { waiting, waitingBytes, oldestMs, sent, shed, lost: this.#lost, problem: why };
  }

  /**
   * Ends it: what has happened until now is noted and sent, as far as there is time, and what is left
   * is on disk for the next start.
   *
   * @param graceMs How long it may send.
   */
  close(graceMs: number): Promise<void> {
    return this.#closing ??= this.#close(graceMs);
  }

  async #close(graceMs: number): Promise<void> {
    this.#ended.abort();
    await Promise.all(this.#reading);
    this.#clock.clearTimer(this.#tick);
    for (const record of this.#recorder.take(Infinity, Infinity)) this.#spool.append(record);
    this.happen("gateway-stopped");
    await this.#sender.close(graceMs);
    await this.#spool.close();
  }

  async #read(stream: EventStream, whose: string): Promise<void> {
    for await (const event of stream) this.#note(event, event.guest ?? whose);
  }

  #note(event: GatewayEvent, guest: string): void {
    const nowMs = this.#clock.now();
    switch (event.type) {
      case "denial":
        this.#recorder.deny(nowMs, guest, Math.round(event.timeMs), event);
        this.#wake();
        return;
      case "events-lost":
        this.#lost += event.count;
        this.#recorder.lose(nowMs, event.guest ?? "", Date.now(), event.count);
        this.#wake();
        return;
      case "guest-attached":
        return this.#happen(guest, event.timeMs, event.type, {});
      case "guest-detached":
      case "guest-left":
        return this.#happen(guest, event.timeMs, event.type, { reason: event.reason });
      case "guest-returned":
        return this.#happen(guest, event.timeMs, event.type, { awayMs: Math.round(event.awayMs) });
      case "policy-changed":
        return this.#happen(guest, event.timeMs, event.type, { rules: event.rules });
      default:
        event satisfies never;
    }
  }

  #happen(guest: string | null, atMs: number, event: LifeEvent, detail: LifeDetail): void {
    const what = { guest, timeMs: Math.round(atMs), event };
    const record = this.#recorder.happen(this.#clock.now(), what, detail);
    if (record !== null) this.#spool.append(record);
    else this.#wake();
  }

  #wake(): void {
    const dueMs = this.#recorder.dueMs();
    if (dueMs === null) return;
    this.#tick ??= this.#clock.setTimer(() => {
      this.#tick = undefined;
      for (const record of this.#recorder.take(this.#clock.now(), TICK_RECORDS)) {
        this.#spool.append(record);
      }
      this.#wake();
    }, Math.max(dueMs - this.#clock.now(), TICK_MS));
  }
}
