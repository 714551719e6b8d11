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
import { DEFAULT_LIMITS } from "../../../lib/config/limits.ts";
import { silentLogger } from "../../../lib/config/logger.ts";
import { isAnswerTo } from "../../../lib/dns/match.ts";
import { Flag, flagsOf, HEADER_BYTES, idOf, setId } from "../../../lib/dns/message.ts";
import { nameEnd, normalizeName, readName } from "../../../lib/dns/name.ts";
import { checkQuestion } from "../../../lib/dns/question.ts";
import { DnsStream, STREAM_MAX_OUTSTANDING } from "../../../lib/dns/stream.ts";
import { fitUdp } from "../../../lib/dns/truncate.ts";
import { RecordWalker } from "../../../lib/dns/walker.ts";
import { DnsGateway, type DnsTransport } from "../../../lib/host/dns_gateway.ts";
import { ask, vector } from "../../dns/vectors.ts";
import { FakeUpstreams, type TcpScript } from "../fake_upstreams.ts";
import { type Input, nameOf } from "../input.ts";
import { type DictionaryWord, type Mutator, put, splice, wordOctets } from "../mutate.ts";
import { hold } from "../rig.ts";
import { CountTrace, type Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";
import { at16, at32, at8 } from "../tcp_steps.ts";
import { settle, VirtualClock } from "../virtual_clock.ts";

const Step = {
  udp: 0,
  tcp: 1,
  datagram: 2,
  script: 3,
  wait: 4,
  read: 5,
  broken: 6,
} as const;
const STEPS = 7;
/** How an upstream's datagram lies, as bits. */
const Lie = {
  port: 1,
  host: 2,
  id: 4,
  question: 8,
  raw: 16,
  query: 32,
} as const;
const LINK_BYTES = 1_472;
const WAIT_MAX_MS = 70_000;
const LIMITS = { ...DEFAULT_LIMITS, dnsInFlight: 6, dnsInFlightPerUpstream: 4 };
const QUESTION_MS = LIMITS.dnsTimeoutMs + 1;
const KIND_RCODE = 50;
const KIND_READ = 51;
const WALK_MAX = 8192;

/** The target. */
export const dnsTarget: FuzzTarget = {
  name: "dns",
  about: "questions of the guest, answers of upstreams, over UDP and TCP, names and records",
  form: "hex",
  seeds: () => Object.entries(SEEDS),
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
  readonly #failures: unknown[] = [];

  constructor(signal: Signal) {
    this.#signal = signal;
    this.#gateway = new DnsGateway({
      config: { upstreams: ["192.0.2.53", "[2001:db8::53]:5353"] },
      limits: LIMITS,
      ownRecords: new Map([["gateway.internal", [
        Uint8Array.of(100, 96, 0, 1),
      ]]]),
      logger: silentLogger,
      system: this.#upstreams.system,
    });
    this.#counts = new Float64Array(
      4 + Object.keys(this.#gateway.counts).length,
    );
    this.#trace = new CountTrace(signal, this.#counts);
  }

  async run(input: Input): Promise<void> {
    for (const record of input) {
      await this.#step(record);
      await settle();
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
        return await this.#clock.wait(at32(record, 1) % WAIT_MAX_MS);
      case Step.read:
        return readAlone(record.slice(1), this.#signal);
      case Step.broken:
        if (at8(record, 1) === 0) this.#upstreams.asked.at(-1)?.fail();
        else this.#upstreams.exhausted = at8(record, 1) === 1;
        return;
    }
  }

  /** One question, as the relays ask it. */
  #ask(message: Uint8Array, transport: DnsTransport): void {
    const question = message.slice();
    this.#waiting++;
    this.#gateway.answer(message, transport, LINK_BYTES).then((answer) => {
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
        hold(
          stream.outstanding <= STREAM_MAX_OUTSTANDING,
          "questions of a connection are bounded",
        );
        this.#waiting++;
        const question = message.slice();
        this.#gateway.answer(message, "tcp", LINK_BYTES).then((answer) => {
          this.#waiting--;
          this.#judge(question, answer, "tcp");
          if (answer === null) stream.drop();
          else {hold(
              stream.frame(answer).length === answer.length + 2,
              "an answer is framed",
            );}
        }).catch((error) => this.#failures.push(error));
      }
    }
  }

  #judge(
    question: Uint8Array,
    answer: Uint8Array | null,
    transport: DnsTransport,
  ): void {
    if (answer === null) return;
    hold(answer.length >= HEADER_BYTES, "an answer has a header");
    hold(idOf(answer) === idOf(question), "an answer has the question's id");
    hold((flagsOf(answer) & Flag.response) !== 0, "an answer is a response");
    const check = checkQuestion(question);
    const asked = check.kind === "ignore" ? null : check.question;
    this.#signal.note(KIND_RCODE, answer[3]! & 15, transport === "udp" ? 1 : 2);
    if (transport === "udp") {
      hold(
        answer.length <= Math.min(asked?.udpBytes ?? 512, LINK_BYTES),
        "an answer fits",
      );
    }
    const truncated = (flagsOf(answer) & Flag.truncated) !== 0;
    const isOwn = check.kind !== "question" || (answer[3]! & 15) !== 0 ||
      asked?.name === "gateway.internal" ||
      asked?.name === "1.0.96.100.in-addr.arpa";
    if (!isOwn && !truncated) {
      hold(
        this.#said.has(bodyOf(answer)),
        "an answer was given by an upstream",
      );
    }
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
    if (!forged) this.#said.add(bodyOf(message));
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
        this.#said.add(bodyOf(message));
        return Uint8Array.from([...wordOctets(message.length, 2), ...message]);
      },
    };
  }

  #check(): void {
    const { counts, inFlight } = this.#gateway;
    const [failure] = this.#failures;
    if (failure !== undefined) throw failure;
    hold(inFlight <= LIMITS.dnsInFlight, "questions in flight are bounded");
    hold(
      this.#upstreams.openSockets <= 2 * 32 + LIMITS.dnsInFlight,
      "sockets are bounded",
    );
    hold(
      this.#gateway.openSockets === this.#upstreams.openSockets,
      "sockets are counted",
    );
    Object.values(counts).forEach((count, i) => this.#counts[4 + i] = count);
    this.#trace.step();
  }

  /** An honest guest, with an honest upstream. */
  async #probe(): Promise<void> {
    this.#upstreams.exhausted = false;
    await this.#clock.wait(2 * QUESTION_MS);
    hold(
      this.#waiting === 0 && this.#gateway.inFlight === 0,
      "every question is settled in its time",
    );
    const own = await this.#gateway.answer(
      ask("gateway.internal"),
      "udp",
      LINK_BYTES,
    );
    hold(
      own !== null && own[3] === 0x80 && own.at(-1) === 1,
      "own names are answered",
    );
    const before = this.#upstreams.asked.length;
    let got: Uint8Array | null = null;
    void this.#gateway.answer(ask("example.org"), "udp", LINK_BYTES).then((
      answer,
    ) => got = answer);
    await settle();
    const asked = this.#upstreams.asked.at(-1);
    hold(
      asked !== undefined &&
        (this.#upstreams.asked.length > before || before === 64),
      "an upstream is asked",
    );
    const truth = answerOf(asked!.message, HONEST_RECORD);
    asked!.reply(truth);
    await settle();
    hold(
      got !== null && bodyOf(got) === bodyOf(truth),
      "an upstream's answer comes back",
    );
  }

  async #end(): Promise<void> {
    let closed = false;
    void this.#gateway.close().then(() => closed = true);
    await settle();
    hold(closed, "the resolver closes");
    hold(
      this.#gateway.inFlight === 0 && this.#waiting === 0,
      "no question stays",
    );
    hold(this.#upstreams.openSockets === 0, "no socket stays");
    hold(this.#upstreams.openConns === 0, "no connection stays");
    hold(this.#clock.timers === 0, "no timer stays");
    this.#check();
  }
}

/** An answer to a question: its head and question as they are, then whatever. */
function answerOf(question: Uint8Array, rest: Uint8Array): Uint8Array {
  const end = question.length >= HEADER_BYTES ? nameEnd(question, HEADER_BYTES) + 4 : -1;
  const headBytes = end < HEADER_BYTES + 5 || end > question.length ? question.length : end;
  const counts = rest.slice(0, 6);
  const message = splice(
    question.slice(0, headBytes),
    headBytes,
    0,
    rest.slice(6),
  );
  put(message, 2, [0x81, 0x80]);
  put(message, 6, counts);
  return message;
}

/** A message without its id, as a key. */
function bodyOf(message: Uint8Array): string {
  return nameOf([message.subarray(2)]);
}

// ---- The readers alone ----------------------------------------------------------------------

function readAlone(message: Uint8Array, signal: Signal): void {
  const walker = new RecordWalker();
  let records = 0;
  if (walker.open(message)) { while (walker.next()) records++; }
  hold(records <= message.length / 11, "records are bounded by octets");
  hold(walker.malformed || walker.at <= message.length, "a walk stays inside");
  const starts = Math.min(message.length, WALK_MAX);
  for (let at = 0; at < starts; at += 1 + (at >> 6)) {
    const name = readName(message, at);
    const naive = naiveName(message, at);
    hold(name === naive, () => `a name is read as ${name}, naively ${naive}`);
    hold(
      (nameEnd(message, at) < 0) === (name === null),
      "a name has an end exactly if it is one",
    );
  }
  for (const bytes of [12, 40, 512, 1232]) {
    const cut = fitUdp(message, bytes);
    hold(cut === message || cut.length <= bytes, "what is cut fits");
  }
  const check = checkQuestion(message);
  signal.note(
    KIND_READ,
    records,
    check.kind.length + (walker.malformed ? 64 : 0),
  );
  if (check.kind === "question") {
    const answer = answerOf(message, new Uint8Array(0));
    setId(answer, check.question.id);
    hold(
      isAnswerTo(message, check.question.end, answer),
      "an answer fits its question",
    );
  }
  const text = new TextDecoder().decode(message.subarray(0, 300));
  const normal = normalizeName(text);
  hold(
    normal === null || normalizeName(normal) === normal,
    "a normal name is normal",
  );
}

/** RFC 1035 as one would write it on paper, with the bounds of RFC 9267. */
function naiveName(message: Uint8Array, start: number): string | null {
  const labels: string[] = [];
  let at = start;
  let bytes = 1;
  let jumps = 0;
  let before = start;
  for (;;) {
    const length = message[at];
    if (length === undefined) return null;
    if (length === 0) return labels.join(".");
    if (length >= 0xc0) {
      const low = message[at + 1];
      if (low === undefined || ++jumps > 16) return null;
      const target = (length % 64) * 256 + low;
      if (target >= before) return null;
      at = before = target;
      continue;
    }
    bytes += 1 + length;
    if (length > 63 || bytes > 255 || at + 1 + length > message.length) {
      return null;
    }
    labels.push(
      Array.from(message.subarray(at + 1, at + 1 + length), octetText).join(""),
    );
    at += 1 + length;
  }
}

function octetText(octet: number): string {
  const letter = String.fromCharCode(octet).replace(
    /[A-Z]/,
    (each) => each.toLowerCase(),
  );
  if (letter === "." || letter === "\\") return `\\${letter}`;
  return octet > 32 && octet < 127 ? letter : `\\${octet.toString().padStart(3, "0")}`;
}

// ---- Inputs ---------------------------------------------------------------------------------

function step(kind: number, ...octets: (number | Uint8Array)[]): Uint8Array {
  return Uint8Array.from([
    kind,
    ...octets.flatMap((each) => typeof each === "number" ? [each] : [...each]),
  ]);
}

function framedMessage(message: Uint8Array): Uint8Array {
  return Uint8Array.from([...wordOctets(message.length, 2), ...message]);
}

/** Counts of the three sections, then one A record with the question's name. */
const HONEST_RECORD = Uint8Array.from([
  0,
  1,
  0,
  0,
  0,
  0,
  0xc0,
  12,
  0,
  1,
  0,
  1,
  0,
  0,
  0,
  60,
  0,
  4,
  192,
  0,
  2,
  1,
]);
const SERVFAIL_ASKED = Uint8Array.from([0, 0, 0, 0, 0, 0]);
const NAMES = [
  "example.org",
  "gateway.internal",
  "1.0.96.100.in-addr.arpa",
  "a.b.c.d.e.f",
  "",
];
const VECTORS = [
  "question_a",
  "question_edns",
  "answer_16_jumps",
  "answer_17_jumps",
  "answer_https",
  "answer_txt_long",
  "arcount_lie",
  "axfr",
  "label_64",
  "name_255",
  "name_256",
  "opcode_update",
  "opt_twice",
  "opt_version_1",
  "pointer_end",
  "pointer_forward",
  "pointer_loop",
  "pointer_pair",
  "qdcount_0",
  "qdcount_2",
  "qdcount_lie",
  "response",
  "trailing",
];
const QUESTIONS = [
  ...NAMES.map((name) => ask(name)),
  ask("example.org", { type: "AAAA", udpBytes: 4096 }),
];

const SEEDS: Readonly<Record<string, Input>> = {
  own: [step(Step.udp, QUESTIONS[1]!), step(Step.udp, QUESTIONS[2]!)],
  forwarded: [
    step(Step.udp, QUESTIONS[0]!),
    step(Step.datagram, 0, 0, HONEST_RECORD),
  ],
  forged: [
    step(Step.udp, QUESTIONS[0]!),
    ...[Lie.port, Lie.host, Lie.id, Lie.question, Lie.query].map((lie) =>
      step(Step.datagram, 0, lie, HONEST_RECORD)
    ),
    step(Step.datagram, 0, 0, HONEST_RECORD),
  ],
  shared: [
    step(Step.udp, QUESTIONS[0]!),
    step(Step.udp, QUESTIONS[0]!),
    step(Step.datagram, 0, 0, HONEST_RECORD),
  ],
  failing: [
    step(Step.udp, QUESTIONS[0]!),
    step(
      Step.datagram,
      0,
      Lie.raw,
      Uint8Array.from([0, 0, 0x81, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]),
    ),
    step(Step.datagram, 0, 0, SERVFAIL_ASKED),
    step(Step.wait, wordOctets(6000, 4)),
  ],
  timeout: [
    step(Step.udp, QUESTIONS[0]!),
    step(Step.wait, wordOctets(5001, 4)),
    step(Step.datagram, 0, 0, HONEST_RECORD),
  ],
  busy: Array.from(
    { length: 8 },
    (_, i) => step(Step.udp, ask(`n${i}.example`)),
  ),
  tcp: [
    step(Step.script, 2, 0, 5, HONEST_RECORD),
    step(Step.tcp, framedMessage(QUESTIONS[0]!)),
  ],
  tcp_pieces: [
    step(Step.script, 2, 0, 1, HONEST_RECORD),
    step(Step.tcp, framedMessage(QUESTIONS[0]!).slice(0, 9)),
    step(
      Step.tcp,
      framedMessage(QUESTIONS[0]!).slice(9),
      framedMessage(QUESTIONS[1]!),
    ),
  ],
  tcp_raw: [
    step(Step.script, 10, 255, 255, framedMessage(vector("pointer_loop"))),
    step(Step.tcp, framedMessage(QUESTIONS[0]!)),
  ],
  tcp_hangs: [
    step(Step.script, 1),
    step(Step.tcp, framedMessage(QUESTIONS[0]!)),
    step(Step.wait, wordOctets(9000, 4)),
  ],
  tcp_open: [
    step(Step.script, 6, 0, 9),
    step(Step.tcp, framedMessage(QUESTIONS[0]!)),
    step(Step.wait, wordOctets(9000, 4)),
  ],
  broken: [
    step(Step.udp, QUESTIONS[0]!),
    step(Step.broken, 0),
    step(Step.broken, 1),
    step(Step.udp, QUESTIONS[4]!),
  ],
  questions: VECTORS.map((name) => step(Step.udp, vector(name))),
  readers: VECTORS.map((name) => step(Step.read, vector(name))),
  large: [
    step(Step.udp, QUESTIONS[5]!),
    step(
      Step.datagram,
      0,
      0,
      Uint8Array.from([...HONEST_RECORD, ...new Uint8Array(2000)]),
    ),
  ],
};

const WORDS: readonly DictionaryWord[] = [
  ...[
    [0xc0, 12],
    [0xc0, 0],
    [0xff, 0xff],
    [0x40],
    [0x80],
    [63],
    [0, 41],
    [0, 251],
    [0, 252],
    [
      0,
      255,
    ],
  ].map(
    (octets) => Uint8Array.from(octets),
  ),
  Uint8Array.from([0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0]),
  "example",
  "gateway",
];

function changeStep(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  switch (random.below(9)) {
    case 0:
      return step(Step.udp, random.pick(QUESTIONS));
    case 1:
      return step(
        Step.datagram,
        random.below(4),
        random.once(2) ? 0 : 1 << random.below(6),
        HONEST_RECORD,
      );
    case 2:
      return step(
        Step.wait,
        wordOctets(
          random.pick([1, 200, 700, 1300, 2500, 5000, 5001, 60_000]),
          4,
        ),
      );
    case 3:
      return step(
        Step.tcp,
        framedMessage(random.pick(QUESTIONS)).slice(
          0,
          random.once(2) ? 70_000 : random.below(40),
        ),
      );
    case 4:
      return step(
        Step.script,
        random.below(16),
        wordOctets(random.pick([1, 2, 13, 65_535]), 2),
        HONEST_RECORD,
      );
    case 5:
      return put(record.slice(), 0, [random.below(STEPS)]);
    default: {
      const bodyAt = at8(record, 0) % STEPS === Step.datagram ? 3 : 1;
      const body = mutator.bytes(record.slice(bodyAt), WORDS);
      return splice(
        record.slice(0, bodyAt),
        Math.min(bodyAt, record.length),
        0,
        body,
      );
    }
  }
}
