/**
 * The guest's resolver: answers own names, says what is wrong with a malformed question, refuses what
 * the policy denies, gives again what was answered before, and forwards everything else.
 *
 *     message ─▶ check ─▶ own names ─▶ fence ─▶ cache ─▶ upstreams ─▶ fence ─▶ cache ─▶ fit
 *
 * Where rules name domains, a question goes on without options and signatures: see plain_question.ts.
 *
 * A message comes in without its transport's framing and the answer goes out so; the way of the
 * question (UDP or TCP) is the way upstreams are asked, so a guest that is given a truncated
 * answer gets the whole one by asking again over TCP.
 *
 * @module
 */
import type { Limits } from "../config/limits.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { DnsConfig } from "../config/options.ts";
import type { Tracer, TraceSpan } from "../config/tracer.ts";
import { AnswerCache } from "../dns/answer_cache.ts";
import { type AnswerChain, chainBytes } from "../dns/answer_chain.ts";
import { errorAnswer } from "../dns/errors.ts";
import { joinAnswers, questionFor } from "../dns/foreign_chain.ts";
import { ExtendedError, Rcode, UDP_DEFAULT_BYTES } from "../dns/message.ts";
import type { OwnNames } from "../dns/own_names.ts";
import { plainQuestion } from "../dns/plain_question.ts";
import { checkQuestion, type DnsQuestion, type QuestionCheck } from "../dns/question.ts";
import { fitUdp } from "../dns/truncate.ts";
import { ZoneTable } from "../dns/zone_table.ts";
import type { Denial } from "../policy/denial.ts";
import type { Policy } from "../policy/policy.ts";
import { DnsConnections } from "./dns_connections.ts";
import { type DnsCounts, noDnsCounts } from "./dns_counts.ts";
import { DnsFence, isDenial, type Passed, type PassedAnswer } from "./dns_fence.ts";
import type { HostSystem } from "./host_system.ts";
import type { DnsFailure, DnsTransport } from "./dns_query.ts";
import { endQuestion, traceQuestion } from "./dns_trace.ts";
import { DnsUpstreams } from "./dns_upstream.ts";

export type { DnsCounts, DnsTransport };

/** What a DNS gateway is made from. */
export interface DnsGatewayOptions {
  /** How names are resolved: upstreams, zones and whether answers are kept are read here. */
  config: DnsConfig;
  /** The guest's limits. */
  limits: Limits;
  /** What the gateway answers itself at this moment. */
  own: () => OwnNames;
  /** The policy that is in force. */
  policy: () => Policy;
  /** Whether addresses are tied to names even where no rule needs that. */
  remembersNames?: boolean;
  /** Hears of each refusal. */
  onDenial: (denial: Denial) => void;
  /** Where the log lines go. */
  logger: GatewayLogger;
  /** The machine. */
  system: HostSystem;
  /** The file for `system`, where it is another than the host's. */
  resolvConfPath?: string;
}

/** An answer; `null` where nothing must be answered. */
export type DnsAnswer = Uint8Array | null;

/** One guest's resolver. */
export class DnsGateway implements Disposable {
  /** What was counted since the start. */
  readonly counts: DnsCounts = noDnsCounts();
  /** The guest's connections to it. */
  readonly connections: DnsConnections;
  readonly #own: () => OwnNames;
  readonly #policy: () => Policy;
  readonly #fence: DnsFence;
  readonly #cache: AnswerCache<AnswerChain>;
  /** Zones with upstreams that the operator has named for them. */
  readonly #zones: ZoneTable<true>;
  readonly #upstreams: DnsUpstreams;
  readonly #now: () => number;
  readonly #tracer: Tracer | null;
  /** Grows when whoever has asked is gone. */
  #asker = 0;

  /**
   * Opens nothing: sockets come with the first question that is forwarded.
   *
   * @param options What the gateway is made from.
   * @throws {ConfigError} Where an upstream is no address.
   */
  constructor(options: DnsGatewayOptions) {
    const { config, limits, system, policy, onDenial, remembersNames = false } = options;
    const zones = Object.entries(config.zones ?? {})
      .filter((zone): zone is [string, string[]] => zone[1] !== "local");
    this.connections = new DnsConnections(system, limits.dnsConnections);
    this.#own = options.own;
    this.#policy = policy;
    this.#now = system.now;
    this.#tracer = system.tracer ?? null;
    this.#cache = new AnswerCache({
      entries: config.cache ?? true ? limits.dnsCacheEntries : 0,
      bytes: limits.dnsCacheBytes,
    });
    this.#zones = new ZoneTable(zones.map(([name]) => [name, true] as const));
    this.#fence = new DnsFence({
      policy,
      remembersNames,
      counts: this.counts,
      onDenial,
      now: system.now,
    });
    this.#upstreams = new DnsUpstreams({
      upstreams: config.upstreams ?? ["system"],
      zones: Object.fromEntries(zones),
      limits,
      counts: this.counts,
      logger: options.logger,
      system,
      ...(options.resolvConfPath === undefined ? {} : { resolvConfPath: options.resolvConfPath }),
    });
  }

  /** How many questions wait for an upstream. */
  get inFlight(): number {
    return this.#upstreams.inFlight;
  }

  /** How many UDP sockets towards upstreams are open. */
  get openSockets(): number {
    return this.#upstreams.openSockets;
  }

  /** How many answers are kept. */
  get cachedAnswers(): number {
    return this.#cache.size;
  }

  /**
   * Forgets what was kept, as another policy may give less of it, and has what is under way judged
   * by it: a question that it refuses is not sent to the next upstream, nor once more.
   */
  policyChanged(): void {
    this.#cache.clear();
    this.#upstreams.recall();
  }

  /** Forgets whoever has asked so far: what was kept, and the questions that are under way. */
  forget(): void {
    this.#asker++;
    this.#cache.clear();
    this.#upstreams.forget();
  }

  /**
   * Answers one question.
   *
   * @param message The whole message; it is the gateway's from here on.
   * @param transport How it was asked.
   * @param maxUdpBytes Largest answer that the link takes in a datagram.
   * @returns The answer, at once where no upstream is needed for it. A promise never rejects.
   */
  answer(
    message: Uint8Array,
    transport: DnsTransport,
    maxUdpBytes: number,
  ): DnsAnswer | Promise<DnsAnswer> {
    this.counts.questions++;
    const check = checkQuestion(message);
    const span = this.#tracer === null ? null : traceQuestion(this.#tracer, check, transport);
    const asked = this.#plain(message, check);
    const local = this.#answerLocally(asked, check);
    if (local !== undefined) {
      if (span !== null) endQuestion(span, check, local);
      return this.#fit(local, check, transport, maxUdpBytes);
    }
    const { question } = check as QuestionCheck & { kind: "question" };
    return this.#resolve(asked, question, transport, span).then((answer) => {
      if (span !== null) endQuestion(span, check, answer);
      return this.#fit(answer, check, transport, maxUdpBytes);
    });
  }

  /** Gives up all questions (they resolve to `null`) and closes all sockets, and waits for them. */
  close(): Promise<void> {
    this.connections.close();
    return this.#upstreams.close();
  }

  /** The same as `close`. */
  [Symbol.dispose](): void {
    void this.close();
  }

  /** A question as it may go upstream. */
  #plain(message: Uint8Array, check: QuestionCheck): Uint8Array {
    if (check.kind !== "question" || !this.#policy().fencesNames) return message;
    return plainQuestion(message, check.question);
  }

  /** What needs no upstream; `undefined` where one is needed. */
  #answerLocally(message: Uint8Array, check: QuestionCheck): DnsAnswer | undefined {
    switch (check.kind) {
      case "ignore":
        this.counts.ignored++;
        return null;
      case "error": {
        if (check.rcode === Rcode.refused) this.counts.refused++;
        else this.counts.malformed++;
        const text = check.extended === null ? "" : "zone transfers are not forwarded";
        return errorAnswer(message, check.question, { ...check, text });
      }
      case "question": {
        const { question } = check;
        if (question.signed && this.#policy().fencesNames) return this.#signed(message, question);
        return this.#answerFromHere(message, question);
      }
    }
  }

  #answerFromHere(message: Uint8Array, question: DnsQuestion): DnsAnswer | undefined {
    const own = this.#own().answer(message, question);
    const denial = this.#fence.refusal(question, own !== null);
    if (denial !== null) return this.#denied(message, question, denial);
    if (own !== null) {
      if (this.#own().foreignTarget(question) !== null) return undefined;
      return this.#give(message, question, this.#passOwn(own, question), "own");
    }
    const cached = this.#cache.get(message, question, this.#now());
    if (cached === null) return undefined;
    const isOwn = this.#hasOwnResolver(question);
    return this.#give(message, question, this.#fence.passAgain(cached, question, isOwn), "cached");
  }

  /** The name of a service is tied to no address, nor is an alias the operator's word on it. */
  #passOwn(answer: Uint8Array, question: DnsQuestion): Passed {
    const services = this.#own().servicePart(question);
    if (services === "all") return { answer, chain: null };
    return this.#fence.pin(answer, question, services === "end");
  }

  async #resolve(
    message: Uint8Array,
    question: DnsQuestion,
    transport: DnsTransport,
    span: TraceSpan | null,
  ): Promise<DnsAnswer> {
    const target = this.#own().foreignTarget(question);
    if (target !== null) {
      return await this.#resolveAlias(message, question, transport, target, span);
    }
    const asker = this.#asker;
    const outcome = await this.#upstreams.ask(message, question, transport, span);
    if (asker !== this.#asker) return this.#failure(message, question, "closed");
    if (outcome === "recalled") return await this.#again(message, question, transport, span);
    if (typeof outcome === "string") return this.#failure(message, question, outcome);
    const passed = this.#fence.pass(outcome, question, this.#hasOwnResolver(question));
    if (passed !== null && !isDenial(passed)) this.#keep(message, question, passed);
    return this.#give(message, question, passed, "answered");
  }

  /** Other rules are in force: the question is judged as if it had come just then. */
  async #again(
    message: Uint8Array,
    question: DnsQuestion,
    transport: DnsTransport,
    span: TraceSpan | null,
  ): Promise<DnsAnswer> {
    const check: QuestionCheck = { kind: "question", question };
    const asked = this.#plain(message, check);
    const local = this.#answerLocally(asked, check);
    return local === undefined ? await this.#resolve(asked, question, transport, span) : local;
  }

  /** An own alias whose end is somebody else's name: the rest comes from upstream. */
  async #resolveAlias(
    message: Uint8Array,
    question: DnsQuestion,
    transport: DnsTransport,
    target: string,
    span: TraceSpan | null,
  ): Promise<DnsAnswer> {
    const asked = questionFor(message, question, target);
    const check = checkQuestion(asked);
    const own = this.#own().answer(message, question);
    if (check.kind !== "question" || own === null) return this.#malformed(message, question);
    const denial = this.#fence.refusal(check.question, true);
    if (denial !== null) return this.#denied(message, question, denial);
    const asker = this.#asker;
    const outcome = await this.#upstreams.ask(asked, check.question, transport, span);
    if (asker !== this.#asker) return this.#failure(message, question, "closed");
    if (outcome === "recalled") return await this.#again(message, question, transport, span);
    if (typeof outcome === "string") return this.#failure(message, question, outcome);
    // The operator's word is the alias alone: what stands behind it is judged by its own name.
    const isOwnEnd = this.#hasOwnResolver(check.question);
    const rest = this.#fence.filter(outcome, check.question, isOwnEnd);
    const joined = rest === null ? null : joinAnswers(own, rest);
    const passed = joined === null ? null : this.#fence.pin(joined, question, !isOwnEnd);
    return this.#give(message, question, passed, "own");
  }

  /** Whether the operator has named who answers for a name. */
  #hasOwnResolver({ name }: DnsQuestion): boolean {
    return this.#zones.find(name) !== null;
  }

  #keep(message: Uint8Array, question: DnsQuestion, { answer, chain }: PassedAnswer): void {
    const nowMs = this.#now();
    const found = chain === null ? null : { value: chain, bytes: chainBytes(chain) };
    this.#cache.put(message, question, answer, nowMs, found);
    this.#cache.putFailure(message, question, answer, nowMs);
  }

  #give(
    message: Uint8Array,
    question: DnsQuestion,
    passed: Passed,
    outcome: "own" | "cached" | "answered",
  ): Uint8Array {
    if (passed === null) return this.#malformed(message, question);
    if (isDenial(passed)) return this.#denied(message, question, passed);
    this.counts[outcome]++;
    return passed.answer;
  }

  #denied(message: Uint8Array, question: DnsQuestion, denial: Denial): Uint8Array {
    this.counts.denied++;
    const { rule, origin, hint } = denial;
    const by = origin === "" ? rule : `${rule} (${origin})`;
    return errorAnswer(message, question, {
      rcode: Rcode.refused,
      extended: ExtendedError.blocked,
      text: hint === null ? `denied by ${by}` : `denied by ${by}; ${hint}`,
    });
  }

  /** A signature is no more than octets to us, and its question would not be what it signs. */
  #signed(message: Uint8Array, question: DnsQuestion): Uint8Array {
    this.counts.refused++;
    return errorAnswer(message, question, {
      rcode: Rcode.refused,
      extended: ExtendedError.notSupported,
      text: "signed questions are not forwarded where rules name domains; ask without a key",
    });
  }

  #malformed(message: Uint8Array, question: DnsQuestion): Uint8Array {
    this.counts.failedAnswer++;
    return errorAnswer(message, question, {
      rcode: Rcode.serverFailure,
      extended: ExtendedError.other,
      text: "the upstream resolver's answer is malformed",
    });
  }

  #failure(message: Uint8Array, question: DnsQuestion, failure: DnsFailure): Uint8Array | null {
    const rcode = Rcode.serverFailure;
    switch (failure) {
      case "closed":
        this.counts.failedClosed++;
        return null;
      case "timeout":
        this.counts.failedTimeout++;
        return errorAnswer(message, question, {
          rcode,
          extended: ExtendedError.noReachableAuthority,
          text: "no upstream resolver answered in time",
        });
      case "network":
        this.counts.failedNetwork++;
        return errorAnswer(message, question, {
          rcode,
          extended: ExtendedError.networkError,
          text: "no upstream resolver can be reached",
        });
      case "busy":
        this.counts.failedBusy++;
        return errorAnswer(message, question, {
          rcode,
          extended: ExtendedError.other,
          text: "too many questions at once",
        });
    }
  }

  #fit(
    answer: Uint8Array | null,
    check: QuestionCheck,
    transport: DnsTransport,
    maxUdpBytes: number,
  ): Uint8Array | null {
    if (answer === null || transport === "tcp") return answer;
    const asked = check.kind === "ignore" ? undefined : check.question?.udpBytes;
    const fitted = fitUdp(answer, Math.min(asked ?? UDP_DEFAULT_BYTES, maxUdpBytes));
    if (fitted !== answer) this.counts.truncated++;
    return fitted;
  }
}
