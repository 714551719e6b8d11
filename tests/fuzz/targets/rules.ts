/**
 * Rules as people write them, and what they say of flows and look-ups.
 *
 * A line is a rule behind `allow` or `deny`, the source of a published port behind `from`, or a query
 * (see `tests/policy/rules.ts`), which is put to all rules of the input.
 *
 * Oracles: a rule, or one sentence of bounded length that begins with what was written; what such a
 * sentence proposes is a rule; a canonical text reads as its own rule; compiled rules say what a
 * linear scan of them says; no name passes UDP 443 by its rule.
 *
 * @module
 */
import { parseRule, parseSource, type Rule, RULE_MAX } from "../../../lib/policy/rule.ts";
import { RuleSet } from "../../../lib/policy/rule_set.ts";
import { NaiveMatcher } from "../../policy/naive_matcher.ts";
import { outcomeOf, type Query, readQuery } from "../../policy/rules.ts";
import type { Mutator } from "../mutate.ts";
import { hold } from "../rig.ts";
import type { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";

const KIND_ERROR = 80;
const KIND_RULE = 81;
const KIND_OUTCOME = 82;
const LINES_MAX = 64;
const TEXT_MAX = 8 * 1024;
/** A sentence may quote what was written, escaped, and propose another spelling of it. */
const MESSAGE_MAX = 3 * RULE_MAX + 400;

/** The target. */
export const rulesTarget: FuzzTarget = {
  name: "rules",
  about: "rules of the policy as text, compiled, beside a linear scan of them",
  form: "txt",
  *seeds() {
    for (const [name, lines] of Object.entries(SEEDS)) yield [name, [encode(lines.join("\n"))]];
  },
  mutate: ([text = encode("")], mutator) => [encode(mutateText(decode(text), mutator))],
  run([bytes = encode("")], signal) {
    const rules: Rule[] = [];
    const queries: Query[] = [];
    for (const line of decode(bytes).split("\n").slice(0, LINES_MAX)) {
      const [word = ""] = line.split(" ", 1);
      const rest = line.slice(word.length + 1);
      if (word === "allow" || word === "deny") readRule(rest, word, rules, signal);
      else if (word === "from") readSource(rest, signal);
      else {
        const query = readQuery(line);
        if (query !== null) queries.push(query);
      }
    }
    ask(rules, queries, signal);
  },
};

function readRule(text: string, action: Rule["action"], rules: Rule[], signal: Signal): void {
  const body = parseRule(text, action);
  if (typeof body === "string") return checkError(body, text, action, signal);
  const again = parseRule(body.text, action);
  hold(JSON.stringify(again) === JSON.stringify(body), () => `${body.text} reads as itself`);
  hold(body.text.length <= RULE_MAX, "a canonical text is a text of a rule");
  signal.noteText(KIND_RULE, `${body.target.kind} ${body.ports?.length} ${body.protocol}`);
  rules.push({ ...body, action, origin: `rule ${rules.length + 1}` });
}

function checkError(error: string, text: string, action: Rule["action"], signal: Signal): void {
  hold(error.length <= MESSAGE_MAX, "an error is a sentence");
  hold(text === "" || error.startsWith('"'), "an error says what was written");
  const proposed = /; did you mean (\S+)\?$/.exec(error)?.[1];
  if (proposed !== undefined) {
    hold(
      typeof parseRule(proposed, action) !== "string",
      () => `what is proposed is a rule: ${error}`,
    );
  }
  // Without what it quotes.
  signal.noteText(
    KIND_ERROR,
    error.replace(/"(?:[^"\\]|\\.)*"/g, "").replace(/[^ ]*[0-9.:*/][^ ]*/g, ""),
  );
}

function readSource(text: string, signal: Signal): void {
  const target = parseSource(text);
  if (typeof target === "string") {
    hold(target.length <= MESSAGE_MAX, "an error is a sentence");
    signal.noteText(KIND_ERROR, target.replace(/^"(?:[^"\\]|\\.)*"/, "").replace(/[0-9]+/g, ""));
    return;
  }
  hold(target.kind !== "domain", "a source is no name");
}

function ask(rules: readonly Rule[], queries: readonly Query[], signal: Signal): void {
  const compiled = new RuleSet(rules);
  const naive = new NaiveMatcher(rules);
  for (const query of queries) {
    const said = outcomeOf(compiled, query);
    hold(said === outcomeOf(naive, query), () => `a scan says otherwise than ${said}`);
    if (query.name !== "") {
      hold(compiled.name("allow", query.name, 443, "udp") === null, "no name passes UDP 443");
    }
    const [verdict = "", ...words] = said.split(" ");
    signal.noteText(KIND_OUTCOME, `${query.verb} ${verdict} ${words.length}`);
  }
}

// ---- Inputs -------------------------------------------------------------------------------------

const SEEDS: Readonly<Record<string, readonly string[]>> = {
  addresses: [
    "allow 10.0.0.0/8:443,8000-8010/tcp",
    "allow 10.1.0.0/16",
    "deny 10.1.2.3:80",
    "deny [fd00::/8]:53/udp",
    "allow ::/0/icmp",
    "tcp 10.1.2.3:443",
    "tcp 10.1.2.3:80",
    "udp [fd00::1]:53",
    "icmp 2606:4700::1",
    "any 10.255.0.1",
  ],
  classes: [
    "allow public:443",
    "deny private",
    "allow host:22",
    "deny metadata",
    "deny loopback/tcp",
    "tcp 8.8.8.8:443",
    "tcp 192.168.1.1:22 at host",
    "any 169.254.169.254",
    "tcp [::1]:80",
  ],
  carried: [
    "deny 10.0.0.0/8",
    "deny 8.8.8.8:53",
    "allow 64:ff9b::/96",
    "tcp [64:ff9b::10.0.0.1]:80",
    "udp [2001:0:808:808::f5ff:fffe]:53",
    "tcp [2002:a00:1::1]:80",
    "any ::ffff:10.0.0.1",
  ],
  names: [
    "allow *.example.com",
    "allow a.example.com:8443/tls",
    "allow b.example.com:22",
    "deny evil.example.com",
    "deny c.example.com:80",
    "lookup evil.example.com.",
    "lookup x.a.example.com",
    "tcp a.example.com:8443",
    "tls a.example.com:8443",
    "http c.example.com:80",
    "udp b.example.com:22",
    "lookup x\\.example.com",
  ],
  protocols: [
    "allow a.example/tls",
    "allow a.example/http",
    "allow a.example:123,443/udp",
    "allow a.example/icmp",
    "allow a.example/tcp",
    "deny a.example/udp",
    "udp a.example:443",
    "icmp a.example",
    "tcp a.example:80",
  ],
  unicode: ["allow *.bücher.example", "deny ドメイン。例え", "lookup xn--bcher-kva.example"],
  wrong: [
    "allow 10.0.0.5/8:443",
    "allow 10.0.0.0/255.0.0.0",
    "deny 10/8",
    "allow http://x.example/path",
    "deny fd00::/8:443",
    "allow [fd00::]/8",
    "allow a.*.example",
    "allow *",
    "allow localhost:80",
    "deny metdata",
    "allow x.example:9-3,080",
    "allow x.example:https",
    "allow x.example/udp",
    "deny x.example/tls",
    "allow ::ffff:10.0.0.1",
  ],
  sources: ["from private", "from [fd00::1]", "from 10.0.0.5/8", "from pypi.org", "from host:80"],
};

const WORDS: readonly string[] = [
  ...["allow ", "deny ", "from ", "tcp ", "udp ", "icmp ", "any ", "lookup ", "tls ", "http "],
  ...["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8", "[fd00::1]", "64:ff9b::", "::ffff:", "/32"],
  ...["public", "private", "host", "loopback", "metadata", "link-local", "publik", " at host"],
  ...["*.", "**", "a.", ".example", "xn--", "ü", "。", "％", "＊", "\u200b", "\\.", "-", "_"],
  ...[":443", ":80", ":0", ":1-65535", ":65536", ",", "-", ":https", ":*"],
  ...["/tcp", "/udp", "/icmp", "/tls", "/http", "/", "/8", "/129", "http://", "https://"],
  ...["[", "]", ":", "%eth0", "@", "?", "#", " ", "\t", "\0", "\ud800", "0x7f", "00"],
  ...["a".repeat(64), "a.".repeat(127), "1,".repeat(70), "x".repeat(600)],
];

/** Another text, made from one: by lines, or within them. */
function mutateText(text: string, mutator: Mutator): string {
  const { random } = mutator;
  const lines = text.split("\n");
  const at = random.below(lines.length);
  const other = () => decode(mutator.other()[0] ?? encode("")).split("\n");
  switch (random.below(8)) {
    case 0:
      lines.splice(at, 1);
      break;
    case 1:
      lines.splice(at, 0, random.pick(other()));
      break;
    case 2:
      lines.splice(at, 1, random.pick(other()));
      break;
    case 3:
      [lines[at], lines[0]] = [lines[0]!, lines[at]!];
      break;
    case 4:
      // The target of one line behind the first word of another.
      lines.push(
        `${random.pick(lines).replace(/ .*/, "")} ${random.pick(lines).replace(/^\S* /, "")}`,
      );
      break;
    default:
      lines[at] = decode(mutator.bytes(encode(lines[at]!), WORDS));
  }
  return lines.slice(0, LINES_MAX).join("\n").slice(0, TEXT_MAX);
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
