/**
 * One worker, seen from the main isolate: calls and streams by number, what it says on its own, and
 * its end. A worker that fails takes with it what waits for it, and nothing else.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { OwnPorts } from "../config/own_ports.ts";
import { shellQuote } from "../config/permission_line.ts";
import { isGranted } from "../host/permissions.ts";
import type { JudgeVerdict } from "../host/judge_hook.ts";
import { type FaultData, faultError } from "./fault_data.ts";
import type {
  CallName,
  FromWorker,
  GuestStart,
  StreamItem,
  StreamKind,
  ToWorker,
} from "./messages.ts";

/** What a worker says on its own. */
export interface WorkerHandlers {
  /** A guest's question to the program's judge, and that nobody waits for the answer any more. */
  judge(
    message: Extract<FromWorker, { type: "judge" }>,
    reply: (verdict: JudgeVerdict | FaultData) => void,
  ): void;
  judged(id: number): void;
  log(message: Extract<FromWorker, { type: "log" }>): void;
  ports(guest: number, ports: OwnPorts): void;
  /** What another start of a guest came to. */
  came(guest: number, start: GuestStart): void;
  finished(guest: number, fault: FaultData | null): void;
  /** It has failed: nothing more comes of it. */
  failed(why: string): void;
}

/** What of a worker is used here. */
export interface WorkerLike {
  onmessage: ((event: MessageEvent<FromWorker>) => void) | null;
  onmessageerror: ((event: MessageEvent) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  postMessage(message: ToWorker): void;
  terminate(): void;
}

/** How a worker is started. */
export type StartWorker = () => WorkerLike;

/** A guest of the worker that could not be served. */
export class GuestFault extends Error {
  constructor(readonly guest: number, readonly fault: Error) {
    super(fault.message, { cause: fault });
  }
}

interface Wait {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/**
 * Starts a worker of this module.
 *
 * @throws {GatewayError} Where Deno may not read the module, which a worker does anew.
 */
export function startWorker(): WorkerLike {
  const entry = new URL("./worker.ts", import.meta.url);
  if (entry.protocol === "file:" && !isGranted({ name: "read", path: fromFileUrl(entry) })) {
    const folder = fromFileUrl(new URL("../..", import.meta.url));
    throw new GatewayError("permission", "Deno may not read what a worker runs", {
      hint: `Add --allow-read=${
        shellQuote(folder)
      }; or serve all guests without workers: workers 0`,
    });
  }
  return new Worker(entry, { type: "module" });
}

function fromFileUrl(url: URL): string {
  return decodeURIComponent(url.pathname);
}

/** A worker that serves guests. */
export class GuestWorker {
  readonly #worker: WorkerLike;
  readonly #handlers: WorkerHandlers;
  readonly #waits = new Map<number, Wait>();
  readonly #started = Promise.withResolvers<readonly GuestStart[]>();
  #numbers = 0;
  #isOver = false;

  constructor(start: StartWorker, handlers: WorkerHandlers) {
    this.#handlers = handlers;
    this.#worker = start();
    this.#worker.onmessage = ({ data }) => this.#take(data);
    this.#worker.onmessageerror = () => this.#fail("a message of it can't be read");
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else the program would end with it
      this.#fail(event.message);
    };
  }

  /**
   * Has it serve its guests.
   *
   * @returns What was chosen for each, or why it can't be served yet where that is allowed.
   * @throws {GuestFault} Where it is not, or none of them can be served; the worker is over then.
   */
  async start(message: Extract<ToWorker, { type: "start" }>): Promise<readonly GuestStart[]> {
    this.post(message);
    try {
      return await this.#started.promise;
    } catch (error) {
      this.terminate();
      throw error;
    }
  }

  /** Sends a message that has no answer. */
  post(message: ToWorker): void {
    if (!this.#isOver) this.#worker.postMessage(message);
  }

  /** Asks a guest's server. */
  call(guest: number, method: CallName, args: readonly unknown[]): Promise<unknown> {
    return this.#ask((id) => ({ type: "call", id, guest, method, args }));
  }

  /** Opens a stream of a guest, which is read by `next` and given up by `leave`. */
  open(guest: number, stream: StreamKind): WorkerStream {
    const id = this.#numbers++;
    this.post({ type: "open", id, guest, stream });
    return {
      next: () => this.#ask(() => ({ type: "next", id }), id) as Promise<StreamItem | null>,
      leave: () => {
        this.#waits.get(id)?.resolve(null);
        this.#waits.delete(id);
        this.post({ type: "leave", id });
      },
    };
  }

  /** Ends it at once. */
  terminate(): void {
    this.#isOver = true;
    this.#worker.terminate();
    this.#rejectAll(over());
  }

  #ask(message: (id: number) => ToWorker, id: number = this.#numbers++): Promise<unknown> {
    if (this.#isOver) return Promise.reject(over());
    return new Promise((resolve, reject) => {
      this.post(message(id)); // throws where an argument is no plain data
      this.#waits.set(id, { resolve, reject });
    });
  }

  #take(message: FromWorker): void {
    if (this.#isOver) return;
    const handlers = this.#handlers;
    switch (message.type) {
      case "started":
        return this.#started.resolve(message.guests);
      case "failed":
        return this.#started.reject(new GuestFault(message.guest, faultError(message.fault)));
      case "answer":
        return this.#settle(message.id)?.resolve(message.value);
      case "item":
        return this.#settle(message.id)?.resolve(message.item);
      case "fault":
        return this.#settle(message.id)?.reject(faultError(message.fault));
      case "judge":
        return handlers.judge(message, (verdict) => {
          this.post({ type: "verdict", id: message.id, verdict });
        });
      case "judged":
        return handlers.judged(message.id);
      case "log":
        return handlers.log(message);
      case "ports":
        return handlers.ports(message.guest, message.ports);
      case "came":
        return handlers.came(message.guest, message.start);
      case "finished":
        return handlers.finished(message.guest, message.fault);
    }
  }

  #settle(id: number): Wait | undefined {
    const wait = this.#waits.get(id);
    this.#waits.delete(id);
    return wait;
  }

  #fail(why: string): void {
    if (this.#isOver) return;
    this.#started.promise.catch(() => {}); // whoever waits hears of it
    this.#started.reject(
      new GatewayError("closed", `a worker for guests can't start: ${why}`, {
        hint: "Without workers (workers 0) all guests are served in the isolate that asks for it",
      }),
    );
    this.terminate();
    this.#handlers.failed(why);
  }

  #rejectAll(error: Error): void {
    this.#started.promise.catch(() => {}); // whoever waits hears of it
    this.#started.reject(error);
    for (const wait of this.#waits.values()) wait.reject(error);
    this.#waits.clear();
  }
}

/** A stream of a guest in a worker. */
export interface WorkerStream {
  /** The next item; `null` at the end. One call at a time. */
  next(): Promise<StreamItem | null>;
  /** Gives it up; a `next` that waits then has the end. */
  leave(): void;
}

function over(): GatewayError {
  return new GatewayError("closed", "the guest's worker has ended", {
    hint: "It starts again by itself unless the gateway is stopping; ask again in a moment",
  });
}
