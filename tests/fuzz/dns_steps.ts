/**
 * The steps of a DNS input as records, dialogues to begin with, and changes that know what they mean.
 *
 * @module
 */
import { answerTo, four, name, type RawRecord, two } from "../dns/messages.ts";
import { ask, vector } from "../dns/vectors.ts";
import type { Input } from "./input.ts";
import { type DictionaryWord, type Mutator, put, splice, wordOctets } from "./mutate.ts";
import { at8 } from "./tcp_steps.ts";

/** What a step is. */
export const Step = {
  udp: 0,
  tcp: 1,
  datagram: 2,
  script: 3,
  wait: 4,
  read: 5,
  broken: 6,
} as const;
/** How many kinds there are. */
export const STEPS = 7;
/** How an upstream's datagram lies, as bits. */
export const Lie = { port: 1, host: 2, id: 4, question: 8, raw: 16, query: 32 } as const;

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
export const HONEST_RECORD = Uint8Array.from([
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
const NAMES = ["example.org", "gateway.internal", "1.0.96.100.in-addr.arpa", "a.b.c.d.e.f", ""];
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

/** Answers with what is followed, taken out and kept, to be changed. */
const ANSWERS: readonly Uint8Array[] = answerSeeds();

function answerSeeds(): Uint8Array[] {
  const example = ask("www.example.org");
  const own = [0xc0, 12];
  const address = (owner: RawRecord["owner"], last: number): RawRecord => ({
    owner,
    type: 1,
    data: [192, 0, 2, last],
  });
  const six = { owner: own, type: 28, data: [0xfd, ...new Array(14).fill(0), 1] };
  const alias = (owner: string, target: string) => ({ owner, type: 5, data: name(target) });
  const soa = [...name("example.org"), 0, ...[1, 2, 3, 4, 300].flatMap(four)];
  const signature = [...two(1), 8, 2, ...new Array(14).fill(0), ...name("example.org"), 9];
  const hints = [...two(4), ...two(4), 192, 0, 2, 1, ...two(5), ...two(1), 7];
  const binding = [0, 1, 0, 0, 0, 0, 2, 0, 4, 0, 1, 0, 3, 2, 104, 50, ...hints];
  const opt = { owner: "", type: 41, class: 1232, ttl: 0x8000, data: [] };
  return [
    { answers: [address(own, 1), address(own, 2), six], additionals: [opt] },
    {
      answers: [
        alias("www.example.org", "a.example.org"),
        alias("a.example.org", "b.test"),
        address("b.test", 4),
      ],
    },
    { answers: [{ owner: "example.org", type: 39, data: name("test") }, address("www.test", 2)] },
    { answers: [address(own, 1), { owner: own, type: 46, data: signature }], flags: 0x01a0 },
    { answers: [{ owner: own, type: 65, data: binding }, address(own, 2)] },
    { authorities: [{ owner: [0xc0, 16], type: 6, data: soa }], flags: 0x0183 },
    {
      answers: [
        address("mail.example.org", 1),
        { owner: own, type: 15, data: [0, 5, 0xc0, 33] },
        { owner: [1, 97, 0xc0, 33], type: 33, data: [0, 1, 0, 2, 0, 3, 0xc0, 38] },
      ],
    },
  ].map((raw) => answerTo(example, raw));
}

const QUESTIONS = [
  ...NAMES.map((name) => ask(name)),
  ask("example.org", { type: "AAAA", udpBytes: 4096 }),
];

/** Inputs to begin with, by name. */
export const DNS_SEEDS: Readonly<Record<string, Input>> = {
  own: [step(Step.udp, QUESTIONS[1]!), step(Step.udp, QUESTIONS[2]!)],
  forwarded: [step(Step.udp, QUESTIONS[0]!), step(Step.datagram, 0, 0, HONEST_RECORD)],
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
    step(Step.datagram, 0, Lie.raw, Uint8Array.from([0, 0, 0x81, 0x82, 0, 0, 0, 0, 0, 0, 0, 0])),
    step(Step.datagram, 0, 0, SERVFAIL_ASKED),
    step(Step.wait, wordOctets(6000, 4)),
  ],
  timeout: [
    step(Step.udp, QUESTIONS[0]!),
    step(Step.wait, wordOctets(5001, 4)),
    step(Step.datagram, 0, 0, HONEST_RECORD),
  ],
  busy: Array.from({ length: 8 }, (_, i) => step(Step.udp, ask(`n${i}.example`))),
  tcp: [step(Step.script, 2, 0, 5, HONEST_RECORD), step(Step.tcp, framedMessage(QUESTIONS[0]!))],
  tcp_pieces: [
    step(Step.script, 2, 0, 1, HONEST_RECORD),
    step(Step.tcp, framedMessage(QUESTIONS[0]!).slice(0, 9)),
    step(Step.tcp, framedMessage(QUESTIONS[0]!).slice(9), framedMessage(QUESTIONS[1]!)),
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
  answers: ANSWERS.map((answer) => step(Step.read, answer)),
  large: [
    step(Step.udp, QUESTIONS[5]!),
    step(Step.datagram, 0, 0, Uint8Array.from([...HONEST_RECORD, ...new Uint8Array(2000)])),
  ],
};

const WORDS: readonly DictionaryWord[] = [
  ...[[0xc0, 12], [0xc0, 0], [0xff, 0xff], [0x40], [0x80], [63]].map((octets) =>
    Uint8Array.from(octets)
  ),
  // Types.
  ...[1, 5, 6, 15, 28, 33, 39, 41, 46, 64, 65, 251, 252, 255].map((type) => Uint8Array.of(0, type)),
  Uint8Array.from([0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0]),
  "example",
  "gateway",
];

/** Another step, made from one. */
export function changeStep(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  switch (random.below(10)) {
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
        wordOctets(random.pick([1, 200, 700, 1300, 2500, 5000, 5001, 60_000]), 4),
      );
    case 3:
      return step(
        Step.tcp,
        framedMessage(random.pick(QUESTIONS)).slice(0, random.once(2) ? 70_000 : random.below(40)),
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
    case 6:
      return step(Step.read, random.pick(ANSWERS));
    default: {
      const bodyAt = at8(record, 0) % STEPS === Step.datagram ? 3 : 1;
      const body = mutator.bytes(record.slice(bodyAt), WORDS);
      return splice(record.slice(0, bodyAt), Math.min(bodyAt, record.length), 0, body);
    }
  }
}
