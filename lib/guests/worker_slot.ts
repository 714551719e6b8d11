/**
 * A place for a worker and the guests that it serves. Where the worker fails, its guests' links end,
 * and another one starts in its place with the same guests, at the same endpoints and ports.
 *
 * A worker that fails again and again is started again after ever longer pauses. So is a guest that
 * can't be served again with the others of its worker, which do not wait for it.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { joinedPorts, NO_PORTS, type OwnPorts } from "../config/own_ports.ts";
import type { JudgeFunction, JudgeVerdict } from "../host/judge_hook.ts";
import { DEFAULT_GRACE_MS } from "../runtime.ts";
import { type FaultData, faultData, faultError } from "./fault_data.ts";
import type { GuestHandle, Place } from "./guest_handle.ts";
import { GuestFault, GuestWorker, type StartWorker, type WorkerHandlers } from "./guest_worker.ts";
import type { GuestWorker as WorkerState } from "../host/served_guests.ts";
import { LanRings } from "../stack/lan_rings.ts";
import type { FromWorker, GuestStart, ToWorker } from "./messages.ts";

/** What a slot is made of. */
export interface WorkerSlotOptions {
  readonly guests: readonly GuestHandle[];
  readonly start: StartWorker;
  /** What a worker is told at its start beside its guests. */
  readonly shared: () => Omit<
    Extract<ToWorker, { type: "start" }>,
    "type" | "guests" | "isWhole"
  >;
  readonly logger: GatewayLogger;
  /** A guest's judge; `null` where there is none. */
  readonly judge: ((guest: string) => JudgeFunction) | null;
  /** Hears that the ports changed on which the guests are served. */
  readonly onPorts: () => void;
}

const PAUSES_MS: readonly number[] = [50, 200, 1_000, 5_000];

function pauseMs(attempt: number): number {
  return PAUSES_MS[Math.min(attempt, PAUSES_MS.length - 1)]!;
}

/** How long the end of its guests may take beyond their grace. */
const HANG_MS = 1_000;
/** A worker that lives so long has not failed at once. */
const SETTLED_MS = 60_000;

/** A guest that is tried again. */
interface Missing {
  readonly attempt: number;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** A worker and its guests. */
export class WorkerSlot {
  /** Resolves once none of its guests is served any more; rejects where one could not go on. */
  readonly finished: Promise<void>;
  readonly #options: WorkerSlotOptions;
  readonly #finished = Promise.withResolvers<void>();
  readonly #ports: OwnPorts[];
  readonly #questions = new Map<number, AbortController>();
  /** Guests that are served no more. */
  readonly #gone = new Set<number>();
  #fault: FaultData | null = null;
  #worker: GuestWorker | null = null;
  /** A worker that does not serve its guests yet. */
  #starting: GuestWorker | null = null;
  /** Guests that its worker can't serve yet: how often that was tried, and when it is again. */
  readonly #missing = new Map<number, Missing>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #restarts = 0;
  #attempt = 0;
  #startedMs = 0;
  #isEnding = false;

  constructor(options: WorkerSlotOptions) {
    this.#options = options;
    this.#ports = options.guests.map(() => NO_PORTS);
    this.finished = this.#finished.promise;
  }

  /** How its worker fares. */
  get state(): WorkerState {
    return {
      guests: this.#options.guests.map(({ name }) => name),
      restarts: this.#restarts,
      alive: this.#worker !== null,
    };
  }

  /** The host's ports on which its guests are served. */
  get ports(): OwnPorts {
    return joinedPorts(this.#ports);
  }

  /**
   * Starts its worker and all of its guests.
   *
   * @throws Where one of them can't be served; none is then.
   */
  start(): Promise<void> {
    return this.#start(true);
  }

  /** `isWhole`: none is served where one can't be; else those that can't be come later. */
  async #start(isWhole: boolean): Promise<void> {
    const { guests, start, shared } = this.#options;
    const served = guests.map((_, at) => at).filter((at) => !this.#gone.has(at));
    const worker = this.#starting = new GuestWorker(start, this.#handlers(served));
    this.#startedMs = performance.now();
    for (const [at, guest] of served.entries()) guests[guest]!.coming({ worker, at });
    const started = await worker.start({
      type: "start",
      guests: served.map((at) => guests[at]!.wanted),
      isWhole,
      ...shared(),
    }).catch((error) => {
      throw error instanceof GuestFault ? new GuestFault(served[error.guest]!, error.fault) : error;
    }).finally(() => this.#starting = null);
    this.#worker = worker;
    for (const [at, guest] of served.entries()) this.#came({ worker, at }, guest, started[at]!);
    worker.post({ type: "avoid", ports: shared().avoid }); // what came while it was starting
    this.#endWhereEmpty();
    if (this.#isEnding) worker.post({ type: "end", how: "abort" });
  }

  /** What became of a guest that its worker was to serve. */
  #came(place: Place, at: number, start: GuestStart): void {
    if (this.#gone.has(at) || this.#worker !== place.worker) return;
    const attempt = (this.#missing.get(at)?.attempt ?? 0) + 1;
    this.#missing.delete(at);
    const guest = this.#options.guests[at]!;
    if (!("kind" in start)) return guest.placed(place, start);
    this.#options.logger.error("a guest can't be served again; trying later", {
      guest: guest.name,
      why: faultError(start).message,
    });
    const timer = setTimeout(() => {
      place.worker.post({ type: "again", guest: place.at, wanted: guest.wanted });
      guest.coming(place);
    }, pauseMs(attempt));
    this.#missing.set(at, { attempt, timer });
  }

  /** Tells its guests which ports of the host others of the program listen on. */
  avoid(ports: OwnPorts): void {
    this.#worker?.post({ type: "avoid", ports });
  }

  /** Ends its guests, in order or at once; `finished` says when. A worker that hangs is given up. */
  end(how: "close" | "abort"): void {
    this.#isEnding = true;
    clearTimeout(this.#timer);
    if (this.#worker === null) return this.#giveUp();
    this.#worker.post({ type: "end", how });
    for (const at of this.#forgetMissing()) this.#guestOver(at);
    const graces = this.#options.guests.map(({ wanted }) => {
      return wanted.options.graceMs ?? DEFAULT_GRACE_MS;
    });
    const graceMs = how === "abort" ? 0 : Math.max(...graces);
    this.#timer = setTimeout(() => this.#giveUp(), graceMs + HANG_MS);
  }

  /** Ends what was started where another slot could not be. */
  async undo(): Promise<void> {
    this.finished.catch(() => {}); // the other one's fault is told
    this.end("abort");
    await this.finished.catch(() => {});
  }

  /** Tries them no more; which ones those were. */
  #forgetMissing(): number[] {
    const missing = [...this.#missing.keys()];
    for (const { timer } of this.#missing.values()) clearTimeout(timer);
    this.#missing.clear();
    return missing;
  }

  #giveUp(): void {
    this.#forgetMissing();
    this.#starting?.terminate();
    this.#worker?.terminate();
    for (const at of this.#options.guests.keys()) this.#guestOver(at);
  }

  #handlers(served: readonly number[]): WorkerHandlers {
    const { guests, logger, onPorts } = this.#options;
    return {
      judge: (message, reply) => void this.#judge(served[message.guest]!, message, reply),
      judged: (id) => {
        this.#questions.get(id)?.abort();
        this.#questions.delete(id);
      },
      log: ({ guest, level, message, fields }) =>
        logger[level](message, { guest: guests[served[guest]!]!.name, ...fields }),
      ports: (guest, ports) => {
        this.#ports[served[guest]!] = ports;
        onPorts();
      },
      came: (guest, start) => {
        if (this.#worker === null) return;
        this.#came({ worker: this.#worker, at: guest }, served[guest]!, start);
      },
      finished: (guest, fault) => {
        const at = served[guest]!;
        if (fault !== null && !this.#isEnding) {
          const { message } = faultError(fault);
          logger.error("a guest can't be served any more", { guest: guests[at]!.name, message });
        }
        this.#fault ??= fault;
        this.#guestOver(at);
      },
      failed: (why) => this.#failed(why),
    };
  }

  #guestOver(at: number): void {
    this.#gone.add(at);
    this.#ports[at] = NO_PORTS;
    this.#options.guests[at]!.over();
    this.#endWhereEmpty();
  }

  #endWhereEmpty(): void {
    if (this.#gone.size < this.#options.guests.length) return;
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = null;
    if (this.#fault === null) this.#finished.resolve();
    else this.#finished.reject(faultError(this.#fault));
  }

  #failed(why: string): void {
    const { guests, logger } = this.#options;
    const wasServing = this.#worker !== null;
    this.#worker = null;
    this.#forgetMissing();
    for (const question of this.#questions.values()) question.abort();
    this.#questions.clear();
    for (const guest of guests) guest.lost();
    this.#detach();
    if (!wasServing) return; // `start` tells
    logger.error("a worker failed: its guests have lost their links, and are served again", {
      guests: this.state.guests.join(", "),
      why,
    });
    if (performance.now() - this.#startedMs >= SETTLED_MS) this.#attempt = 0;
    this.#startLater();
  }

  /** What the worker would have done at its guests' end: others send nothing more to them. */
  #detach(): void {
    const { networks } = this.#options.shared();
    for (const { lan } of this.#options.guests) {
      if (lan === null) continue;
      const { buffer, members } = networks[lan.network]!;
      new LanRings(buffer, members.length).detach(lan.self);
    }
  }

  #startLater(): void {
    if (this.#isEnding) {
      for (const at of this.#options.guests.keys()) this.#guestOver(at);
      return;
    }
    this.#timer = setTimeout(() => void this.#startAgain(), pauseMs(this.#attempt++));
  }

  async #startAgain(): Promise<void> {
    this.#restarts++;
    try {
      await this.#start(false);
    } catch (error) {
      if (this.#isEnding) return;
      this.#options.logger.error("a worker can't start again; trying later", {
        guests: this.state.guests.join(", "),
        why: (error as Error).message,
      });
      this.#startLater();
    }
  }

  async #judge(
    at: number,
    { id, flow, name }: Extract<FromWorker, { type: "judge" }>,
    reply: (verdict: JudgeVerdict | FaultData) => void,
  ): Promise<void> {
    const over = new AbortController();
    this.#questions.set(id, over);
    try {
      const judge = this.#options.judge!(this.#options.guests[at]!.name);
      reply(await judge({ flow, name, signal: over.signal }));
    } catch (error) {
      reply(faultData(error));
    } finally {
      if (this.#questions.get(id) === over) this.#questions.delete(id);
    }
  }
}
