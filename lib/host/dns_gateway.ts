/**
 * The guest's resolver: answers own names, says what is wrong with a malformed question, and
 * forwards everything else.
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
import { errorAnswer } from "../dns/errors.ts";
import { ExtendedError, Rcode, UDP_DEFAULT_BYTES } from "../dns/message.ts";
import { OwnNames } from "../dns/own_names.ts";
import { checkQuestion, type DnsQuestion, type QuestionCheck } from "../dns/question.ts";
import { fitUdp } from "../dns/truncate.ts";
import { type DnsCounts, noDnsCounts } from "./dns_counts.ts";
import type { HostSystem } from "./host_system.ts";
import type { DnsFailure, DnsTransport } from "./dns_query.ts";
import { DnsUpstreams } from "./dns_upstream.ts";

export type { DnsCounts, DnsTransport };

/** What a DNS gateway is made from. */
export interface DnsGatewayOptions {
  /** How names are resolved; `upstreams` and nothing else is read here. */
  config: DnsConfig;
  /** The guest's limits. */
  limits: Limits;
  /** Own names with their addresses of 4 or 16 octets. */
  ownRecords: ReadonlyMap<string, readonly Uint8Array[]>;
  /** Where the log lines go. */
  logger: GatewayLogger;
  /** The machine. */
  system: HostSystem;
  /** The file for `system`, where it is another than the host's. */
  resolvConfPath?: string;
}

/** One guest's resolver. */
export class DnsGateway implements Disposable {
  /** What was counted since the start. */
  readonly counts: DnsCounts = noDnsCounts();
  readonly #own: OwnNames;
  readonly #upstreams: DnsUpstreams;

  /**
   * Opens nothing: sockets come with the first question that is forwarded.
   *
   * @param options What the gateway is made from.
   * @throws {ConfigError} Where an upstream is no address.
   * @throws {RangeError} Where an own record is none.
   */
  constructor(options: DnsGatewayOptions) {
    this.#own = new OwnNames(options.ownRecords);
    this.#upstreams = new DnsUpstreams({
      upstreams: options.config.upstreams ?? ["system"],
      limits: options.limits,
      counts: this.counts,
      logger: options.logger,
      system: options.system,
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

  /**
   * Answers one question.
   *
   * @param message The whole message; it is the gateway's from here on.
   * @param transport How it was asked.
   * @param maxUdpBytes Largest answer that the link takes in a datagram.
   * @returns The answer, or `null` where nothing must be answered. It never rejects.
   */
  async answer(
    message: Uint8Array,
    transport: DnsTransport,
    maxUdpBytes: number,
  ): Promise<Uint8Array | null> {
    this.counts.questions++;
    const check = checkQuestion(message);
    const local = this.#answerLocally(message, check);
    if (local !== undefined) return this.#fit(local, check, transport, maxUdpBytes);
    const { question } = check as QuestionCheck & { kind: "question" };
    const outcome = await this.#upstreams.ask(message, question, transport);
    const answer = typeof outcome === "string"
      ? this.#failure(message, question, outcome)
      : (this.counts.answered++, outcome);
    return this.#fit(answer, check, transport, maxUdpBytes);
  }

  /**
   * Answers one question at once, where no upstream is needed for it.
   *
   * @param message The whole message; it is only read.
   * @param transport How it was asked.
   * @param maxUdpBytes Largest answer that the link takes in a datagram.
   * @returns The answer; `null` where nothing must be answered; `undefined`, with nothing counted,
   * where the message is one for `answer`.
   */
  answerAtOnce(
    message: Uint8Array,
    transport: DnsTransport,
    maxUdpBytes: number,
  ): Uint8Array | null | undefined {
    const check = checkQuestion(message);
    const local = this.#answerLocally(message, check);
    if (local === undefined) return undefined;
    this.counts.questions++;
    return this.#fit(local, check, transport, maxUdpBytes);
  }

  /** Gives up all questions (they resolve to `null`) and closes all sockets, and waits for them. */
  close(): Promise<void> {
    return this.#upstreams.close();
  }

  /** The same as `close`. */
  [Symbol.dispose](): void {
    void this.close();
  }

  #answerLocally(message: Uint8Array, check: QuestionCheck): Uint8Array | null | undefined {
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
        const answer = this.#own.answer(message, check.question);
        if (answer === null) return undefined;
        this.counts.own++;
        return answer;
      }
    }
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
