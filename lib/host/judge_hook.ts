/**
 * The embedding program's own word on a flow, asked for by a function of its.
 *
 * Whatever that function does, a flow gets one verdict: what it says within `judgeMs`, else a
 * denial that says why. At most `judgePending` flows wait for it; those beyond are denied without
 * being asked about. A function that throws, or says something that is no verdict, denies the flow,
 * and the log has a line about it now and then.
 *
 * A verdict that is there when the function returns is the caller's at once. The signal fires when
 * the time is up or the flow has gone away; a function that goes on in spite of it is not waited
 * for. What a flow is, and what its denial leads to, is the caller's.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { type Denial, formatDestination } from "../policy/denial.ts";
import { parseIp } from "../wire/address.ts";
import type { HostClock, Timer } from "./host_clock.ts";
import { QuietWarning } from "./quiet_warning.ts";

/**
 * A flow that a program judges. For {@linkcode JudgeFunction}.
 */
export interface JudgedFlow {
  /** How. */
  readonly protocol: "tcp" | "udp" | "icmp";
  /** Where the guest wants to go, as a canonical literal. */
  readonly address: string;
  /** The port there; 0 for ICMP. */
  readonly port: number;
  /** The guest's own address, as a canonical literal. */
  readonly guestAddress: string;
  /** The guest's port; 0 for ICMP. */
  readonly guestPort: number;
}

/**
 * What a program says of a flow: whether it may pass, and why not. Of {@linkcode JudgeFunction}.
 */
export type JudgeVerdict = boolean | {
  /** Whether it may pass. */
  readonly allow: boolean;
  /** Why not, for the denial; its first 256 characters are kept. */
  readonly reason?: string;
};

/**
 * What a program is asked. For {@linkcode JudgeFunction}.
 */
export interface JudgeQuestion {
  /** The flow. */
  readonly flow: JudgedFlow;
  /** The name that the guest means, where it is known. */
  readonly name: string | null;
  /** Fires when nobody waits for the verdict any more. */
  readonly signal: AbortSignal;
}

/**
 * A program's own judge.
 *
 * @example Ask before anything but HTTPS
 * ```ts
 * import { type JudgeFunction, serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const judge: JudgeFunction = ({ flow, name }) =>
 *   flow.port === 443 ? true : { allow: false, reason: `${name ?? flow.address} is not HTTPS` };
 *
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(endpoint, { judge });
 *
 * // What the gateway asks where the guest connects to 192.0.2.1:80.
 * const flow = { protocol: "tcp", address: "192.0.2.1", port: 80 } as const;
 * const from = { guestAddress: "100.96.0.2", guestPort: 40_000 };
 * const { signal } = new AbortController();
 * assertEquals(judge({ flow: { ...flow, ...from }, name: null, signal }), {
 *   allow: false,
 *   reason: "192.0.2.1 is not HTTPS",
 * });
 * ```
 */
export type JudgeFunction = (question: JudgeQuestion) => JudgeVerdict | Promise<JudgeVerdict>;

/** What became of a question. */
export interface HookVerdict {
  readonly allow: boolean;
  /** Why the flow is denied; empty where it is not. */
  readonly reason: string;
}

/** A question that waits for its verdict. */
export interface PendingVerdict {
  /** The flow has gone away: the signal fires, and nobody is told of a verdict. */
  cancel(): void;
}

/** What a hook works with. */
export interface JudgeHookOptions {
  readonly judge: JudgeFunction;
  /** Flows that wait for a verdict, at most. */
  readonly judgePending: number;
  /** How long one waits. */
  readonly judgeMs: number;
  readonly clock: HostClock;
  readonly logger: GatewayLogger;
}

const ALLOWED: HookVerdict = Object.freeze({ allow: true, reason: "" });
const CLOSED = denied("the network is closing");

/** So much of a program's reason is kept. */
const REASON_MAX = 256;

/** Asks one program about the flows of one guest. */
export class JudgeHook implements Disposable {
  readonly #options: JudgeHookOptions;
  readonly #pending = new Set<Question>();
  readonly #failed: QuietWarning;
  readonly #wrong: QuietWarning;
  readonly #late: QuietWarning;
  readonly #crowded: QuietWarning;
  #isClosed = false;

  constructor(options: JudgeHookOptions) {
    const { logger, clock } = options;
    this.#options = options;
    this.#failed = new QuietWarning(logger, clock.now);
    this.#wrong = new QuietWarning(logger, clock.now);
    this.#late = new QuietWarning(logger, clock.now);
    this.#crowded = new QuietWarning(logger, clock.now);
  }

  /** Flows that wait for a verdict. */
  get pending(): number {
    return this.#pending.size;
  }

  /**
   * Asks about a flow.
   *
   * @param flow The flow.
   * @param name The name that the guest means, or `null`.
   * @param decided Hears of the verdict, unless that is returned; must not throw.
   * @returns The verdict, or the question that waits for it.
   */
  ask(
    flow: JudgedFlow,
    name: string | null,
    decided: (verdict: HookVerdict) => void,
  ): HookVerdict | PendingVerdict {
    const { judge, judgePending, judgeMs, clock } = this.#options;
    if (this.#isClosed) return CLOSED;
    if (this.#pending.size >= judgePending) {
      this.#crowded.warn("Flows are denied: too many wait for the program's judge", {
        judgePending,
      });
      return denied(`${judgePending} flows wait for the program's judge already`);
    }
    const question = new Question(flow, name, () => this.#pending.delete(question), clock);
    let said: unknown;
    try {
      said = judge(question.asked);
      if (!isThenable(said)) {
        question.end();
        return this.#isClosed ? CLOSED : this.#verdictOf(said);
      }
    } catch (error) {
      question.end();
      return this.#isClosed ? CLOSED : this.#failure(error);
    }
    const tell = (verdictOf: (value: unknown) => HookVerdict) => (value: unknown): void => {
      if (question.end()) decided(verdictOf(value));
    };
    Promise.resolve(said).then(
      tell((value) => this.#verdictOf(value)),
      tell((error) => this.#failure(error)),
    );
    if (this.#isClosed) {
      question.cancel();
      return CLOSED;
    }
    this.#pending.add(question);
    question.timer = clock.setTimer(() => {
      if (!question.end()) return;
      question.abort(new DOMException("The verdict took too long", "TimeoutError"));
      this.#late.warn("A flow is denied: the program's judge took too long", { judgeMs });
      decided(denied(`no verdict of the program's judge within ${judgeMs} ms`));
    }, judgeMs);
    return question;
  }

  /** Gives up all questions without telling anyone but their signals. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    for (const question of [...this.#pending]) question.cancel();
  }

  #verdictOf(said: unknown): HookVerdict {
    try {
      if (said === true) return ALLOWED;
      if (said === false) return denied("the program's judge");
      if (typeof said === "object" && said !== null) {
        const { allow, reason } = said as { allow?: unknown; reason?: unknown };
        const isReason = reason === undefined || typeof reason === "string";
        if (allow === true && isReason) return ALLOWED;
        if (allow === false && isReason) {
          return denied(reason ? reason.slice(0, REASON_MAX) : "the program's judge");
        }
      }
    } catch (error) { // of a getter
      return this.#failure(error);
    }
    this.#wrong.warn(
      "A flow is denied: the program's judge said neither true, false nor { allow, reason }",
      { type: said === null ? "null" : typeof said },
    );
    return denied("the program's judge gave no verdict");
  }

  #failure(error: unknown): HookVerdict {
    this.#failed.warn("A flow is denied: the program's judge failed", { reason: textOf(error) });
    return denied("the program's judge failed");
  }
}

/** One question on its way. */
class Question implements PendingVerdict {
  /** What the program is handed. */
  readonly asked: JudgeQuestion;
  timer: Timer | undefined;
  readonly #onEnd: () => void;
  readonly #clock: HostClock;
  #abort: AbortController | null = null;
  /** Why the signal has fired, if it was to. */
  #abortReason: unknown;
  #isOver = false;

  constructor(flow: JudgedFlow, name: string | null, onEnd: () => void, clock: HostClock) {
    this.#onEnd = onEnd;
    this.#clock = clock;
    const signal = () => this.#signal();
    this.asked = {
      flow,
      name,
      // Most judges need none, and a signal costs more than their verdict.
      get signal() {
        return signal();
      },
    };
  }

  /** Ends it: false where it was over. */
  end(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#clock.clearTimer(this.timer);
    this.#onEnd();
    return true;
  }

  abort(reason: unknown): void {
    this.#abortReason = reason;
    this.#abort?.abort(reason);
  }

  cancel(): void {
    if (this.end()) this.abort(new DOMException("The flow has gone away", "AbortError"));
  }

  #signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      if (this.#abortReason !== undefined) this.#abort.abort(this.#abortReason);
    }
    return this.#abort.signal;
  }
}

/** The refusal of a flow that a program has denied. */
export function judgeDenial(flow: JudgedFlow, name: string | null, reason: string): Denial {
  const { protocol, address, port } = flow;
  return {
    protocol,
    name,
    destination: formatDestination(parseIp(address)!, port, protocol),
    rule: "judge",
    origin: "",
    reason: "judge",
    detail: reason,
    hint: null,
  };
}

function denied(reason: string): HookVerdict {
  return { allow: false, reason };
}

function isThenable(value: unknown): boolean {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}

function textOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    return "an error without a text";
  }
}
