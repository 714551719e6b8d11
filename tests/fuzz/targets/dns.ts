/**
 * The guest's resolver between a hostile guest and hostile upstreams, on a virtual clock: questions
 * over UDP and TCP, answers that fit and answers that do not, sockets that break.
 *
 * A record is a step: 0 a question over UDP, 1 octets of the guest's TCP connection, 2 a datagram of
 * an upstream (which question, how it lies, what follows the question), 3 what upstreams do over
 * TCP, 4 a wait, 5 a message for the readers alone, 6 a broken socket, or none to be had.
 *
 * Oracles: nothing throws or rejects; an answer has the question's id, is a response, fits what the
 * asker takes, and comes from the upstream that was asked or says an error; no forged datagram
 * settles anything; questions in flight stay bounded, every one is settled when its time is over;
 * the readers agree with a naive reader; own names and upstreams still answer an honest guest; at
 * the end no socket, timer or question stays.
 *
 * @module
 */
import { OwnNames } from "../../../lib/dns/own_names.ts";
import { addressRecords } from "../../../lib/dns/own_record.ts";
import { OpenPolicy } from "../../support/policy.ts";
import { DEFAULT_LIMITS } from "../../../lib/config/limits.ts";
import { silentLogger } from "../../../lib/config/logger.ts";
import { Flag, flagsOf, HEADER_BYTES, idOf } from "../../../lib/dns/message.ts";
import { filterAnswer } from "../../../lib/dns/answer_filter.ts";
import { checkQuestion } from "../../../lib/dns/question.ts";
import { DnsStream, STREAM_MAX_OUTSTANDING } from "../../../lib/dns/stream.ts";
import { DnsGateway, type DnsTransport } from "../../../lib/host/dns_gateway.ts";
import { ask } from "../../dns/vectors.ts";
import { answerOf, bodyOf } from "../dns_messages.ts";
import { readAlone } from "../dns_readers.ts";
import { changeStep, DNS_SEEDS, HONEST_RECORD, Lie, Step, STEPS } from "../dns_steps.ts";
import { FakeUpstreams, type TcpScript } from "../fake_upstreams.ts";
import type { Input } from "../input.ts";
import { wordOctets } from "../mutate.ts";
import { hold } from "../rig.ts";
import { CountTrace, type Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";
import { at16, at32, at8 } from "../tcp_steps.ts";
import { settled, VirtualClock } from "../../support/virtual_clock.ts";

const LINK_BYTES = 1_472;
const WAIT_MAX_MS = 70_000;
const LIMITS = { ...DEFAULT_LIMITS, dnsInFlight: 6, dnsInFlightPerUpstream: 4 };
const QUESTION_MS = LIMITS.dnsTimeoutMs + 1;
const KIND_RCODE = 50;

/** The target. */
export const dnsTarget: FuzzTarget = {
  name: "dns",
  about: "questions of the guest, answers of upstreams, over UDP and TCP, names and records",
  form: "hex",
  seeds: () => Object.entries(DNS_SEEDS),
  mutate: (input, mutator) => mutator.records(input, (record) => changeStep(record, mutator)),
  run: (input, signal) => new Resolver(signal).run(input),
};

/** One run. */
class Resolver {
  readonly #clock = new VirtualClock();
  readonly #upstreams = new FakeUpstreams(this.#clock);
  readonly #gateway: DnsGateway;
  readonly #signal: Signal;
  readonly #trace: CountTrace;
  readonly #counts: Float64Array;
  readonly #stream = new DnsStream();
  /** Questions that wait for their answer. */
  #waiting = 0;
  /** Bodies of what upstreams have said truthfully, without the id. */
  readonly #said = new Set<string>();
  /** What they have said, whole. */
  readonly #heard: Uint8Array[] = [];
  readonly #failures: unknown[] = [];

  constructor(signal: Signal) {
    this.#signal = signal;
    const policy = new OpenPolicy();
    const own = new OwnNames({
      records: new Map([["gateway.internal", addressRecords([Uint8Array.of(100, 96, 0, 1)])]]),
      zones: [],
    });
    this.#gateway = new DnsGateway({
      config: { upstreams: ["192.0.2.53", "[2001:db8::53]:5353"], cache: false },
      limits: LIMITS,
      own: () => own,
      policy: () => policy,
      onDenial: () => {},
      logger: silentLogger,
      system: this.#upstreams.system,
    });
    this.#counts = new Float64Array(4 + Object.keys(this.#gateway.counts).length);
    this.#trace = new CountTrace(signal, this.#counts);
  }

  async run(input: Input): Promise<void> {
    for (const record of input) {
      await this.#step(record);
      await settled();
      this.#check();
    }
    await this.#probe();
    await this.#end();
  }

  async #step(record: Uint8Array): Promise<void> {
    switch (at8(record, 0) % STEPS) {
      case Step.udp:
        return void this.#ask(record.slice(1), "udp");
      case Step.tcp:
        return this.#push(record.slice(1));
      case Step.datagram:
        return this.#datagram(record);
      case Step.script:
        this.#upstreams.tcp = this.#scriptOf(record);
        return;
      case Step.wait:
        return await this.#clock.run(at32(record, 1) % WAIT_MAX_MS);
      case Step.read:
        return readAlone(record.slice(1), this.#signal);
      case Step.broken:
        if (at8(record, 1) === 0) this.#upstreams.asked.at(-1)?.fail();
        else this.#upstreams.exhausted = at8(record, 1) === 1;
        return;
    }
  }

  async #answer(message: Uint8Array, transport: DnsTransport): Promise<Uint8Array | null> {
    return await this.#gateway.answer(message, transport, LINK_BYTES);
  }

  /** One question, as the relays ask it. */
  #ask(message: Uint8Array, transport: DnsTransport): void {
    const question = message.slice();
    this.#waiting++;
    this.#answer(message, transport).then((answer) => {
      this.#waiting--;
      this.#judge(question, answer, transport);
    }).catch((error) => this.#failures.push(error));
  }

  #push(octets: Uint8Array): void {
    const stream = this.#stream;
    for (let at = 0; at < octets.length && stream.roomBytes > 0;) {
      const piece = octets.subarray(at, at + stream.roomBytes);
      stream.push(piece);
      at += piece.length;
      for (let next = stream.next(); next !== null; next = stream.next()) {
        const message = next;
        hold(stream.outstanding <= STREAM_MAX_OUTSTANDING, "questions of a connection are bounded");
        this.#waiting++;
        const question = message.slice();
        this.#answer(message, "tcp").then((answer) => {
          this.#waiting--;
          this.#judge(question, answer, "tcp");
          if (answer === null) stream.drop();
          else hold(stream.frame(answer).length === answer.length + 2, "an answer is framed");
        }).catch((error) => this.#failures.push(error));
      }
    }
  }

  #judge(question: Uint8Array, answer: Uint8Array | null, transport: DnsTransport): void {
    if (answer === null) return;
    hold(answer.length >= HEADER_BYTES, "an answer has a header");
    hold(idOf(answer) === idOf(question), "an answer has the question's id");
    hold((flagsOf(answer) & Flag.response) !== 0, "an answer is a response");
    const check = checkQuestion(question);
    const asked = check.kind === "ignore" ? null : check.question;
    this.#signal.note(KIND_RCODE, answer[3]! & 15, transport === "udp" ? 1 : 2);
    if (transport === "udp") {
      hold(answer.length <= Math.min(asked?.udpBytes ?? 512, LINK_BYTES), "an answer fits");
    }
    const truncated = (flagsOf(answer) & Flag.truncated) !== 0;
    const isOwn = check.kind !== "question" || (answer[3]! & 15) !== 0 ||
      asked?.name === "gateway.internal" ||
      asked?.name === "1.0.96.100.in-addr.arpa";
    if (!isOwn && !truncated) {
      hold(this.#wasSaid(answer), "an answer was given by an upstream");
    }
  }

  /** What an upstream says truthfully, and what is left of it without records that are none. */
  #hear(message: Uint8Array): void {
    this.#said.add(bodyOf(leftOf(message)));
    this.#heard.push(message.slice());
  }

  #wasSaid(answer: Uint8Array): boolean {
    if (this.#said.has(bodyOf(answer))) return true;
    // A name that points into the header is another one under the asker's id.
    return this.#heard.some((message) => {
      if (message.length < HEADER_BYTES) return false;
      const told = message.slice();
      told.set(answer.subarray(0, 2));
      return bodyOf(leftOf(told)) === bodyOf(answer);
    });
  }

  /** An upstream answers, or lies. */
  #datagram(record: Uint8Array): void {
    const { asked } = this.#upstreams;
    if (asked.length === 0) return;
    const lies = at8(record, 2);
    const to = asked[asked.length - 1 - at8(record, 1) % asked.length]!;
    const rest = record.slice(3);
    const message = (lies & Lie.raw) !== 0 ? rest : answerOf(to.message, rest);
    if ((lies & Lie.id) !== 0 && message.length > 1) message[1]! ^= 1;
    if ((lies & Lie.question) !== 0 && message.length > 14) message[14]! ^= 2;
    if ((lies & Lie.query) !== 0 && message.length > 2) message[2]! &= 0x7f;
    const forged = (lies & (Lie.port | Lie.host)) !== 0;
    if (!forged) this.#hear(message);
    to.reply(
      message,
      (lies & Lie.host) !== 0 ? "198.51.100.1" : to.hostname,
      (lies & Lie.port) !== 0 ? to.port + 1 : to.port,
    );
  }

  #scriptOf(record: Uint8Array): TcpScript {
    const bits = at8(record, 1);
    const rest = record.slice(4);
    return {
      how: (["refuse", "hang", "serve", "serve"] as const)[bits & 3]!,
      readBytes: at16(record, 2),
      open: (bits & 4) !== 0,
      answer: (asked) => {
        if ((bits & 8) !== 0) return rest;
        const message = answerOf(asked.slice(2), rest);
        this.#hear(message);
        return Uint8Array.from([...wordOctets(message.length, 2), ...message]);
      },
    };
  }

  #check(): void {
    const { counts, inFlight } = this.#gateway;
    const [failure] = this.#failures;
    if (failure !== undefined) throw failure;
    hold(inFlight <= LIMITS.dnsInFlight, "questions in flight are bounded");
    hold(this.#upstreams.openSockets <= 2 * 32 + LIMITS.dnsInFlight, "sockets are bounded");
    hold(this.#gateway.openSockets === this.#upstreams.openSockets, "sockets are counted");
    Object.values(counts).forEach((count, i) => this.#counts[4 + i] = count);
    this.#trace.step();
  }

  /** An honest guest, with an honest upstream. */
  async #probe(): Promise<void> {
    this.#upstreams.exhausted = false;
    await this.#clock.run(2 * QUESTION_MS);
    hold(
      this.#waiting === 0 && this.#gateway.inFlight === 0,
      "every question is settled in its time",
    );
    const own = await this.#gateway.answer(ask("gateway.internal"), "udp", LINK_BYTES);
    hold(own !== null && own[3] === 0x80 && own.at(-1) === 1, "own names are answered");
    const before = this.#upstreams.asked.length;
    let got: Uint8Array | null = null;
    void this.#answer(ask("example.org"), "udp").then((answer) => got = answer);
    await settled();
    const asked = this.#upstreams.asked.at(-1);
    hold(
      asked !== undefined &&
        (this.#upstreams.asked.length > before || before === 64),
      "an upstream is asked",
    );
    const truth = answerOf(asked!.message, HONEST_RECORD);
    asked!.reply(truth);
    await settled();
    hold(got !== null && bodyOf(got) === bodyOf(truth), "an upstream's answer comes back");
  }

  async #end(): Promise<void> {
    let closed = false;
    void this.#gateway.close().then(() => closed = true);
    await settled();
    hold(closed, "the resolver closes");
    hold(this.#gateway.inFlight === 0 && this.#waiting === 0, "no question stays");
    hold(this.#upstreams.openSockets === 0, "no socket stays");
    hold(this.#upstreams.openConns === 0, "no connection stays");
    hold(this.#clock.timers === 0, "no timer stays");
    this.#check();
  }
}

function leftOf(message: Uint8Array): Uint8Array {
  const filter = { keepAddress: () => true, stripHints: false };
  return filterAnswer(message, filter).answer ?? message;
}
