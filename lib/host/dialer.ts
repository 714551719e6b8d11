/**
 * Host connects under way: bounded, fair between destinations, and told apart when they fail.
 *
 * A guest may ask for more connects than the host should have pending, and for connects that
 * never answer. At most `tcpDials` are under way; once half of them are in use a destination gets
 * no more than its share, and a dial that has been pending for long makes way, from the greediest
 * destination first. The rest waits its turn, in order. An eighth is left for destinations that have
 * answered before, so that connects to where nobody answers, in whatever number and to however many
 * places, do not hold those up; and while no more flows can be half-open, who waits does not do so
 * for long. No more than `tcpDialsPerSecond` begin: a connect costs far more than the SYN that asks
 * for it, and a flood of SYNs would leave the other flows no time. One that is refused, or taken back
 * by the guest, counts three times. Those that wait for the rate begin in their order, in turns with
 * those to known destinations.
 *
 * Only canonical literals are dialled, so no resolver is ever asked here.
 *
 * @module
 */
import { TokenBucket } from "../stack/token_bucket.ts";
import type { HostClock, Timer } from "./host_clock.ts";
import {
  isPermissionError,
  mayUseAddress,
  mayUseAnyAddress,
  noNetPermission,
} from "./permissions.ts";

/** Why a dial failed, as the guest will be told. */
export type DialFailure =
  | "refused"
  | "hostUnreachable"
  | "networkUnreachable"
  | "timeout"
  | "prohibited"
  | "resources"
  | "crowded"
  | "cancelled";

/** Bounds of a dialer. */
export interface DialLimits {
  readonly tcpDials: number;
  readonly tcpDialsPerDestination: number;
  readonly tcpDialYieldMs: number;
  readonly tcpDialTimeoutMs: number;
  readonly tcpDialsPerSecond: number;
}

/** One dial, from asking to its end. */
export interface Dial {
  /** Where to, as literals to try in order (the second only if the first one refuses). */
  readonly hostnames: readonly string[];
  readonly port: number;
  /** The connection; the receiver owns it. */
  readonly onConnected: (conn: Deno.TcpConn) => void;
  readonly onFailed: (reason: DialFailure) => void;
}

/** Takes a dial back. */
export interface DialHandle {
  /** Ends the dial; neither of its functions is called afterwards. */
  cancel(): void;
}

interface Pending extends DialHandle {
  readonly dial: Dial;
  readonly key: string;
  readonly askedMs: number;
  startedMs: number;
  abort: AbortController | null;
  over: boolean;
}

/** Connects to a literal. */
export type Connect = (
  options: Deno.ConnectOptions & { transport: "tcp"; signal: AbortSignal },
) => Promise<Deno.TcpConn>;

/** Time, and the way to a host. */
export type DialHost = HostClock & { readonly connect: Connect };

const SWEEP_MS = 250;
/** How often those that wait for the rate's sake are looked at. */
const PACE_MS = 5;
/** One part in so many is left for destinations that have answered. */
const KEPT_PARTS = 8;
/** The destinations that answered last, as many as are remembered. */
const KNOWN_MAX = 1_024;
const SPARE_MAX = 32;
/** What a dial that came to nothing takes from the rate beside its own place. */
const WASTED = 2;
/** How long a dial waits for its turn while no more flows can be half-open. */
const CROWDED_WAIT_MS = 500;

/** Starts, bounds and ends host connects. */
export class Dialer implements Disposable {
  readonly #limits: DialLimits;
  readonly #host: DialHost;
  readonly #active = new Set<Pending>();
  readonly #perDestination = new Map<string, number>();
  readonly #waiting = new Set<Pending>();
  /** Those to destinations that have answered before. */
  readonly #waitingKnown = new Set<Pending>();
  readonly #known = new Set<string>();
  /** Of dials that ended by themselves. */
  readonly #spare: AbortController[] = [];
  readonly #isCrowded: () => boolean;
  /** The most that are under way for destinations that have not answered yet. */
  readonly #unknownMax: number;
  readonly #rate: TokenBucket;
  #timer: Timer | undefined;
  #paceTimer: Timer | undefined;
  #closed = false;

  /** `isCrowded` says whether no more flows can be half-open. */
  constructor(limits: DialLimits, host: DialHost, isCrowded: () => boolean = () => false) {
    this.#limits = limits;
    this.#host = host;
    this.#isCrowded = isCrowded;
    this.#unknownMax = limits.tcpDials - Math.floor(limits.tcpDials / KEPT_PARTS);
    this.#rate = new TokenBucket(limits.tcpDialsPerSecond);
  }

  /** Connects under way. */
  get active(): number {
    return this.#active.size;
  }

  /** Dials that wait for their turn. */
  get waiting(): number {
    return this.#waiting.size + this.#waitingKnown.size;
  }

  /** Asks for a connection. */
  dial(dial: Dial): DialHandle {
    const pending: Pending = {
      dial,
      key: `${dial.hostnames[0]} ${dial.port}`,
      askedMs: this.#host.now(),
      startedMs: 0,
      abort: null,
      over: false,
      cancel: () => this.#cancel(pending),
    };
    if (this.#closed) {
      queueMicrotask(() => this.#fail(pending, "cancelled"));
    } else if (this.#paceTimer === undefined && this.#mayStart(pending) && this.#isInRate()) {
      this.#start(pending);
    } else {
      (this.#known.has(pending.key) ? this.#waitingKnown : this.#waiting).add(pending);
    }
    this.#arm();
    return pending;
  }

  /** Ends all dials without calling anyone. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#host.clearTimer(this.#timer);
    this.#host.clearTimer(this.#paceTimer);
    this.#timer = undefined;
    this.#paceTimer = undefined;
    for (const pending of this.#all()) this.#cancel(pending);
  }

  #all(): Pending[] {
    return [...this.#active, ...this.#waitingKnown, ...this.#waiting];
  }

  #mayStart(pending: Pending): boolean {
    const { tcpDials, tcpDialsPerDestination } = this.#limits;
    const most = this.#known.has(pending.key) ? tcpDials : this.#unknownMax;
    if (this.#active.size >= most) return false;
    if (this.#active.size * 2 < tcpDials) return true;
    return (this.#perDestination.get(pending.key) ?? 0) < tcpDialsPerDestination;
  }

  /** Whether another dial may begin at this time; if not, those that wait are looked at soon. */
  #isInRate(): boolean {
    if (this.#rate.take(this.#host.now())) return true;
    this.#paceTimer ??= this.#host.setTimer(() => {
      this.#paceTimer = undefined;
      this.#startWaiting();
    }, PACE_MS);
    return false;
  }

  #start(pending: Pending): void {
    pending.startedMs = this.#host.now();
    this.#active.add(pending);
    this.#perDestination.set(pending.key, (this.#perDestination.get(pending.key) ?? 0) + 1);
    void this.#connect(pending);
  }

  async #connect(pending: Pending): Promise<void> {
    const { hostnames, port } = pending.dial;
    let failure: DialFailure = "prohibited";
    for (const hostname of hostnames) {
      pending.abort = this.#spare.pop() ?? new AbortController();
      try {
        const { signal } = pending.abort;
        const conn = await this.#host.connect({ hostname, port, transport: "tcp", signal });
        this.#spareAbort(pending);
        if (pending.over) return conn.close();
        this.#remember(pending.key);
        this.#leave(pending);
        pending.dial.onConnected(conn);
        return;
      } catch (error) {
        this.#spareAbort(pending);
        if (pending.over) return;
        const reason = failureOf(error);
        if (reason === "prohibited") continue; // that says less than what another literal says
        failure = reason;
        if (reason !== "refused") break;
      }
    }
    this.#fail(pending, failure);
  }

  /** A signal takes longer to make than a connect to this machine takes. */
  #spareAbort(pending: Pending): void {
    const { abort } = pending;
    pending.abort = null;
    if (abort !== null && !abort.signal.aborted && this.#spare.length < SPARE_MAX) {
      this.#spare.push(abort);
    }
  }

  #remember(key: string): void {
    this.#known.delete(key);
    this.#known.add(key);
    if (this.#known.size <= KNOWN_MAX) return;
    for (const oldest of this.#known) {
      this.#known.delete(oldest);
      return;
    }
  }

  #fail(pending: Pending, failure: DialFailure): void {
    if (pending.over) return;
    if (failure === "refused") this.#rate.charge(WASTED);
    this.#leave(pending);
    pending.dial.onFailed(failure);
  }

  #cancel(pending: Pending): void {
    if (pending.over) return;
    if (pending.abort !== null) this.#rate.charge(WASTED);
    this.#leave(pending);
    pending.abort?.abort();
  }

  #leave(pending: Pending): void {
    pending.over = true;
    this.#waiting.delete(pending);
    this.#waitingKnown.delete(pending);
    if (!this.#active.delete(pending)) return;
    const left = this.#perDestination.get(pending.key)! - 1;
    if (left === 0) this.#perDestination.delete(pending.key);
    else this.#perDestination.set(pending.key, left);
    this.#startWaiting();
  }

  /** Those whose share is used up keep their place in the line; the two lines take turns. */
  #startWaiting(): void {
    if (this.#closed || this.waiting === 0) return;
    const known = this.#startable(this.#waitingKnown, this.#limits.tcpDials);
    const unknown = this.#startable(this.#waiting, this.#unknownMax);
    let lines = [known, unknown];
    while (lines.length > 0) {
      lines = lines.filter((line) => {
        const pending = line.next().value;
        if (pending === undefined || !this.#isInRate()) return false;
        this.#waitingKnown.delete(pending);
        this.#waiting.delete(pending);
        this.#start(pending);
        return true;
      });
    }
  }

  /** Who of a line may begin, as long as fewer than `most` are under way. */
  *#startable(waiting: Set<Pending>, most: number): Generator<Pending, undefined> {
    for (const pending of waiting) {
      if (this.#active.size >= most) return;
      if (this.#mayStart(pending)) yield pending;
    }
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#timer = this.#host.setTimer(() => {
      this.#timer = undefined;
      this.#sweep();
      if (this.active + this.waiting > 0) this.#arm();
    }, SWEEP_MS);
  }

  #sweep(): void {
    const now = this.#host.now();
    for (const pending of this.#all()) {
      if (now - pending.askedMs < this.#limits.tcpDialTimeoutMs) continue;
      if (pending.over) continue;
      const { abort } = pending;
      this.#fail(pending, "timeout");
      abort?.abort();
    }
    if (this.#isCrowded()) {
      for (const pending of this.#waiting) {
        if (now - pending.askedMs < CROWDED_WAIT_MS) break;
        this.#fail(pending, "crowded");
      }
    }
    this.#startWaiting();
    this.#makeWay(this.#waitingKnown.size, this.#limits.tcpDials, now);
    this.#makeWay(this.#waiting.size, this.#unknownMax, now);
  }

  /** Ends dials that have been pending for long, as long as so many others are under way. */
  #makeWay(wanted: number, most: number, now: number): void {
    while (wanted-- > 0 && this.#active.size >= most) {
      const victim = this.#greediest(now);
      if (victim === null) return;
      const { abort } = victim;
      this.#fail(victim, "timeout");
      abort?.abort();
    }
  }

  /** The oldest dial of the destination with most of them, if it has been pending for long. */
  #greediest(now: number): Pending | null {
    let best: Pending | null = null;
    let most = 0;
    for (const pending of this.#active) {
      if (now - pending.startedMs < this.#limits.tcpDialYieldMs) continue;
      const count = this.#perDestination.get(pending.key)!;
      if (count > most || (count === most && best !== null && pending.startedMs < best.startedMs)) {
        best = pending;
        most = count;
      }
    }
    return best;
  }
}

/** `Deno.connect`, except that a missing permission is an error and never a question. */
export const connectSilently: Connect = (options) => {
  const { hostname = "127.0.0.1", port } = options;
  if (mayUseAnyAddress() || mayUseAddress(hostname, port)) return Deno.connect(options);
  return Promise.reject(noNetPermission(hostname, port));
};

/** Tells failures apart by the system's code; the error's class says too little. */
function failureOf(error: unknown): DialFailure {
  if (isPermissionError(error)) return "prohibited";
  const code = (error as { code?: string }).code;
  switch (code) {
    case "EHOSTUNREACH":
    case "EHOSTDOWN":
      return "hostUnreachable";
    case "ENETUNREACH":
    case "EAFNOSUPPORT":
      return "networkUnreachable";
    case "ETIMEDOUT":
      return "timeout";
    case "EADDRNOTAVAIL": // no port is left towards that destination
    case "EMFILE":
    case "ENFILE":
    case "ENOBUFS":
    case "ENOMEM":
      return "resources";
    default:
      return "refused";
  }
}
