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
import type { FleetAuditReport } from "../host/fleet_report.ts";
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

/** How long a gateway that ends may take to tell its last events. */
const LISTEN_MS = 1_000;

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
  /** The gateways of its guests, by the guests' names. */
  readonly guests: ReadonlyMap<string, EventSource>;
  readonly logger: GatewayLogger;
  readonly clock?: HostClock;
}

/** What can be listened to, as a gateway can. */
export interface EventSource {
  /** What happens from this call on, until the signal. */
  events(signal?: AbortSignal): EventStream;
}

/** What an audit is made of. */
interface AuditParts {
  readonly recorder: AuditRecorder;
  readonly spool: AuditSpool;
  readonly ended: AbortController;
  readonly streams: readonly (readonly [guest: string, stream: EventStream])[];
}

/** The audit of one gateway. */
export class Audit {
  readonly #logger: GatewayLogger;
  readonly #clock: HostClock;
  readonly #recorder: AuditRecorder;
  readonly #spool: AuditSpool;
  readonly #sender: AuditSender;
  readonly #reading = new Set<Promise<void>>();
  readonly #ended: AbortController;
  #lost = 0;
  #tick: Timer | undefined;
  #closing: Promise<void> | null = null;

  private constructor(options: AuditOptions, parts: AuditParts) {
    const { engine, fleet, gateway, logger, clock = systemClock } = options;
    const { recorder, spool, ended } = parts;
    this.#logger = logger;
    this.#clock = clock;
    this.#recorder = recorder;
    this.#spool = spool;
    this.#ended = ended;
    this.#sender = new AuditSender({ engine, spool, fleet, gateway, clock, logger });
    this.happen("gateway-started");
    for (const [guest, stream] of parts.streams) this.#watch(guest, stream);
  }

  /** Notes what happens from this call on, and goes on with what the directory holds. */
  static async open(options: AuditOptions): Promise<Audit> {
    const { gateway, dir, maxBytes, guests, logger, clock = systemClock } = options;
    const ended = new AbortController();
    // What happens while the disk is read waits in the streams.
    const streams = [...guests].map(([name, guest]) => [name, guest.events(ended.signal)] as const);
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
    return new Audit(options, { recorder, spool, ended, streams });
  }

  /** Notes something that is about no guest. */
  happen(event: LifeEvent, detail: LifeDetail = {}): void {
    this.#happen(null, Date.now(), event, detail);
  }

  /** Where it stands. */
  report(): FleetAuditReport {
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
    await this.#heard();
    this.#clock.clearTimer(this.#tick);
    for (const record of this.#recorder.take(Infinity, Infinity)) this.#spool.append(record);
    this.happen("gateway-stopped");
    await this.#sender.close(graceMs);
    await this.#spool.close();
  }

  /** All that has happened is read, or somebody does not give it. */
  async #heard(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#clock.setTimer(resolve, LISTEN_MS);
    await Promise.race([Promise.all(this.#reading), promise]);
    this.#clock.clearTimer(timer);
  }

  #watch(guest: string, stream: EventStream): void {
    const reading = this.#read(guest, stream).catch((error) => {
      const why = (error as Error).message;
      this.#logger.error("the audit no longer hears of a guest", { guest, why });
    });
    this.#reading.add(reading);
    void reading.then(() => this.#reading.delete(reading));
  }

  async #read(guest: string, stream: EventStream): Promise<void> {
    for await (const event of stream) this.#note(event, guest);
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
        this.#recorder.lose(nowMs, guest, Date.now(), event.count);
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
