/**
 * The guest's pings of the world: judged as any flow is, and sent by the host's `ping` program.
 *
 *     guest ─▶ IcmpEcho ─▶ open: judge, program's word ─▶ one child
 *     guest ◀─ EchoOutput ◀─ what the child reports: an answer, an error, or nothing
 *
 * No answer is made up: the guest gets a reply only where the child says that one has come, whole.
 * Where the child may not run, the answer is "prohibited", with a denial that names the flag. TTL
 * and size are the guest's, its data is not: the program sends data of its own, and the reply
 * carries the guest's. Nor is its "don't fragment": what is too long for the host's way goes in
 * pieces.
 *
 * Limits: `pingsInFlight` children, each killed after `pingTimeoutMs`; `pingsPerSecond` of them, as
 * many at once as may be in flight. Requests beyond those, or for which the host has no process, are
 * `drop.ping`: none waits.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import type { Denial } from "../policy/denial.ts";
import type { Grounds } from "../policy/policy.ts";
import { Counter, type Counters } from "../stack/counters.ts";
import type { EchoOutput, KeptEcho } from "../stack/echo_output.ts";
import { IcmpReason } from "../stack/icmp_errors.ts";
import type { Packet } from "../stack/packet.ts";
import { TokenBucket } from "../stack/token_bucket.ts";
import { formatIp } from "../wire/address.ts";
import type { Destinations } from "./destinations.ts";
import type { GuestRates } from "./guest_rates.ts";
import type { HostClock, Timer } from "./host_clock.ts";
import { judgeDenial, type JudgedFlow, type JudgeHook, type PendingVerdict } from "./judge_hook.ts";
import { isPermissionError } from "./permissions.ts";
import type { PingProgram, RunningPing } from "./ping_program.ts";
import type { PingOutcome } from "./ping_report.ts";
import { QuietWarning } from "./quiet_warning.ts";

/** How many pings there may be. */
export interface PingLimits {
  readonly pingsInFlight: number;
  readonly pingsPerSecond: number;
  readonly pingTimeoutMs: number;
}

/** What a ping relay works with. */
export interface PingRelayOptions {
  /** The frame memory's octets. */
  readonly bytes: Uint8Array;
  readonly counters: Counters;
  readonly output: EchoOutput;
  readonly limits: PingLimits;
  readonly program: PingProgram;
  readonly destinations: Pick<Destinations, "judge" | "judgeAgain">;
  readonly rates: GuestRates;
  /** The embedding program's word; `null` where it has none. */
  readonly hook: JudgeHook | null;
  /** Hears of each refusal. */
  readonly onDenial: (denial: Denial) => void;
  readonly logger: GatewayLogger;
  readonly clock: HostClock;
  /** Asks for a turn, so that frames for the guest are flushed. */
  wake(): void;
}

const SENT = Counter["ping.sent"];
const ANSWERED = Counter["ping.answered"];
const DROP = Counter["drop.ping"];
const DROP_FLOW_RATE = Counter["drop.rate.flows"];
const DROP_ROUTED = Counter["drop.lan.routed"];
const DROP_UP_RATE = Counter["drop.rate.up"];
const DROP_DOWN_RATE = Counter["drop.rate.down"];
const BUG = Counter["bug.turn"];
const ECHO_HEADER_BYTES = 8;

/** All pings of one guest. */
export class PingRelay {
  readonly #options: PingRelayOptions;
  readonly #rate: TokenBucket;
  readonly #pings = new Set<Ping>();
  /** Children that have not ended, also of pings that are over. */
  readonly #children = new Set<Promise<void>>();
  readonly #warning: QuietWarning;

  constructor(options: PingRelayOptions) {
    const { limits: { pingsInFlight, pingsPerSecond }, logger, clock } = options;
    this.#options = options;
    this.#rate = new TokenBucket(pingsPerSecond, pingsInFlight);
    this.#warning = new QuietWarning(logger, clock.now);
  }

  /** Pings that wait for the program's word, and children that have not ended. */
  get size(): number {
    let size = this.#children.size;
    for (const { child } of this.#pings) if (child === null) size++;
    return size;
  }

  /**
   * Judges an echo request to the world, and has it sent.
   *
   * @returns Why it is refused; `null` where it is on its way, or was dropped.
   */
  open(packet: Packet, nowMs: number): IcmpReason | null {
    const { bytes, destinations, limits, output, rates } = this.#options;
    const { destinationAt, family } = packet;
    const address = bytes.slice(destinationAt, destinationAt + (family === 4 ? 4 : 16));
    const verdict = destinations.judge(address, 0, "icmp");
    if (verdict.kind === "unreachable") {
      this.#options.counters.values[DROP_ROUTED]!++;
      return IcmpReason.hostUnreachable;
    }
    if (verdict.kind !== "dial") {
      if (verdict.kind === "deny") this.#options.onDenial(verdict.denial);
      return IcmpReason.adminProhibited;
    }
    if (this.size >= limits.pingsInFlight || !this.#rate.take(nowMs)) return this.#drop(DROP);
    if (!rates.admitsFlow(nowMs)) return this.#drop(DROP_FLOW_RATE);
    const share = rates.up();
    const isPaid = share === null || share.offer(packet.payloadBytes, nowMs);
    share?.leave();
    if (!isPaid) return this.#drop(DROP_UP_RATE);
    const kept = output.keep(packet);
    if (kept === null) return this.#drop(DROP);
    const ping = new Ping(kept, address, verdict.grounds, packet.ttl - 1);
    const said = this.#ask(packet, ping);
    if (said === "refused") return IcmpReason.adminProhibited;
    this.#pings.add(ping);
    if (said !== null) ping.pending = said;
    else this.#start(ping);
    return null;
  }

  /** Judges the pings that are under way by rules that have changed. */
  judgeAgain(): void {
    for (const ping of [...this.#pings]) {
      const denial = ping.isOver ? null : this.#denialNow(ping);
      if (denial !== null) this.#refuse(ping, denial);
    }
  }

  /** Ends all of them, without a word to the guest. */
  closeAll(): void {
    for (const ping of [...this.#pings]) this.#end(ping);
  }

  /** Resolves once no child is left. */
  async settled(): Promise<void> {
    await Promise.all(this.#children);
  }

  /** The embedding program's word: `null` for yes, or for no program. */
  #ask(packet: Packet, ping: Ping): PendingVerdict | "refused" | null {
    const { hook, bytes, onDenial } = this.#options;
    if (hook === null) return null;
    const { sourceAt } = packet;
    const { address, grounds: { name } } = ping;
    const flow: JudgedFlow = {
      protocol: "icmp",
      address: formatIp(address),
      port: 0,
      guestAddress: formatIp(bytes.subarray(sourceAt, sourceAt + address.length)),
      guestPort: 0,
    };
    const said = hook.ask(flow, name, ({ allow, reason }) => {
      ping.pending = null;
      const denial = allow ? this.#denialNow(ping) : judgeDenial(flow, name, reason);
      if (denial !== null) this.#refuse(ping, denial);
      else this.#start(ping);
    });
    if ("cancel" in said) return said;
    // The program may have changed the rules before it said yes.
    const denial = said.allow ? this.#denialNow(ping) : judgeDenial(flow, name, said.reason);
    if (denial === null) return null;
    onDenial(denial);
    return "refused";
  }

  #start(ping: Ping): void {
    const { program, limits: { pingTimeoutMs: timeoutMs }, clock } = this.#options;
    const { address, hops, kept: { octets, headerBytes } } = ping;
    const dataBytes = octets.length - headerBytes - ECHO_HEADER_BYTES;
    let child: RunningPing;
    try {
      child = program.start({ address, dataBytes, hops, timeoutMs });
    } catch (error) {
      return this.#notStarted(ping, error);
    }
    this.#options.counters.values[SENT]!++;
    ping.child = child;
    ping.timer = clock.setTimer(() => this.#end(ping), timeoutMs);
    const ended = child.outcome.then((outcome) => this.#ended(ping, outcome)).catch((error) => {
      this.#options.counters.values[BUG]!++;
      this.#options.logger.error("the gateway caught a bug of its own; please report it", {
        error: (error as Error).stack ?? String(error),
      });
    }).finally(() => this.#children.delete(ended));
    this.#children.add(ended);
  }

  /** What the host lacks for a moment costs one ping; what it lacks for good is said. */
  #notStarted(ping: Ping, error: unknown): void {
    const { message } = error as Error;
    this.#warning.warn("a ping of the guest was not sent: the host did not run ping", {
      reason: message,
    });
    const isForGood = error instanceof Deno.errors.NotFound || isPermissionError(error);
    if (isForGood) this.#tell(ping, IcmpReason.adminProhibited);
    else this.#drop(DROP);
    this.#end(ping);
  }

  #ended(ping: Ping, outcome: PingOutcome): void {
    if (ping.isOver) return;
    switch (outcome.kind) {
      case "answered":
        this.#answer(ping);
        break;
      case "error":
        this.#tell(ping, outcome.reason);
        break;
      case "failed":
        this.#warning.warn("a ping of the guest was not sent: the host's ping failed", {
          reason: outcome.text,
        });
        this.#tell(ping, IcmpReason.adminProhibited);
        break;
      case "silent":
        break;
    }
    this.#end(ping);
  }

  #answer({ kept }: Ping): void {
    const { counters, output, rates, clock, wake } = this.#options;
    const share = rates.down();
    const isPaid = share === null || share.offer(kept.octets.length, clock.now());
    share?.leave();
    if (!isPaid) return void this.#drop(DROP_DOWN_RATE);
    if (!output.reply(kept)) return;
    counters.values[ANSWERED]!++;
    wake();
  }

  #refuse(ping: Ping, denial: Denial): void {
    this.#end(ping); // whoever hears of the denial may change the rules once more
    this.#options.onDenial(denial);
    this.#tell(ping, IcmpReason.adminProhibited);
  }

  #tell({ kept }: Ping, reason: IcmpReason): void {
    const { output, clock, wake } = this.#options;
    if (output.refuse(kept, reason, clock.now())) wake();
  }

  #end(ping: Ping): void {
    if (!this.#pings.delete(ping)) return;
    ping.isOver = true;
    this.#options.clock.clearTimer(ping.timer);
    ping.pending?.cancel();
    ping.child?.kill();
  }

  #denialNow({ address, grounds }: Ping): Denial | null {
    return this.#options.destinations.judgeAgain(address, 0, "icmp", grounds);
  }

  #drop(counter: number): null {
    this.#options.counters.values[counter]!++;
    return null;
  }
}

/** One echo request on its way. */
class Ping {
  readonly kept: KeptEcho;
  readonly address: Uint8Array;
  /** Why it was let through. */
  readonly grounds: Grounds;
  /** How many hops it has left: this one has cost it one. */
  readonly hops: number;
  pending: PendingVerdict | null = null;
  child: RunningPing | null = null;
  timer: Timer | undefined;
  isOver = false;

  constructor(kept: KeptEcho, address: Uint8Array, grounds: Grounds, hops: number) {
    this.kept = kept;
    this.address = address;
    this.grounds = grounds;
    this.hops = hops;
  }
}
