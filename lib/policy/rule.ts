/**
 * Rules as people write them: what a guest may reach, or must not.
 *
 *     TARGET[:PORTS][/PROTOCOL]
 *
 *     TARGET    10.0.0.0/8, 192.0.2.1, fd00::/8; with ports [fd00::/8]:443, [fd00::1]:443
 *               pypi.org (this name alone), *.pypi.org (the name and all below it)
 *               public, private, host, loopback, metadata (classes of addresses)
 *     PORTS     443, 8000-8010, 80,443,8000-8010
 *     PROTOCOL  tcp, udp, icmp; tls and http where a name is allowed
 *
 * What a rule then covers, with and without ports and protocol, is in `coverage.ts`. Each rule has
 * one canonical text, which reads as the same rule. A name of a single label that could be taken
 * for a class keeps its final dot there: `public.` is a name.
 *
 * Nothing is guessed: what is not exactly a rule is refused with a sentence that says what is wrong
 * and, where that can be known, how the rule is written.
 *
 * Limits: 512 characters and 64 port ranges a rule.
 *
 * @module
 */
import { formatPorts, parsePorts } from "./rule_ports.ts";
import { formatTarget, parseAddressTarget, parseNameTarget } from "./rule_target.ts";

/** Ports `first` to `last`, both included. */
export interface PortRange {
  /** The lowest port. */
  readonly first: number;
  /** The highest port. */
  readonly last: number;
}

/** What a rule may name behind its slash. */
export type RuleProtocol = "tcp" | "udp" | "icmp" | "tls" | "http";

/** Classes of addresses that a rule may name. */
export type RuleClass = "public" | "private" | "host" | "loopback" | "metadata";

/** Which addresses or names a rule is about. */
export type RuleTarget =
  /** An address of 4 or 16 octets whose first `bits` bits count; the others are zero. */
  | { readonly kind: "prefix"; readonly address: Uint8Array; readonly bits: number }
  /** A name as `dns/name.ts` normalizes it; with `wildcard` all names below it too. */
  | { readonly kind: "domain"; readonly name: string; readonly wildcard: boolean }
  | { readonly kind: "class"; readonly name: RuleClass };

/** A rule without its place: what one text says. */
export interface RuleBody {
  /** What it is about. */
  readonly target: RuleTarget;
  /** In ascending order, apart from each other; `null` where the rule names no ports. */
  readonly ports: readonly PortRange[] | null;
  /** `null` where the rule names none. */
  readonly protocol: RuleProtocol | null;
  /** The canonical text. */
  readonly text: string;
}

/** What a rule does with what it covers. */
export type RuleAction = "allow" | "deny";

/** A rule in its place. */
export interface Rule extends RuleBody {
  /** What it does. */
  readonly action: RuleAction;
  /** Where it was written: `gateway.yaml:9:5`, `--allow`. */
  readonly origin: string;
}

/** Longest text of a rule, in characters. */
export const RULE_MAX = 512;

const PROTOCOLS: readonly RuleProtocol[] = ["tcp", "udp", "icmp", "tls", "http"];
const SOME_SOURCES =
  "an address, a prefix such as 10.0.0.0/8, or public, private, host, loopback, metadata";
const SOME_TARGETS = `a name, ${SOME_SOURCES}`;

/**
 * Reads a rule.
 *
 * @param text The text.
 * @param action What the rule is to do: `tls` and `http` are for allow rules alone.
 * @returns The rule, or what is wrong and the way out.
 */
export function parseRule(text: string, action: RuleAction): RuleBody | string {
  return readRule(text, action, true);
}

/**
 * Reads who may come in: a prefix, an address or a class, without ports and protocol.
 *
 * @param text The text.
 * @returns The target, or what is wrong and the way out.
 */
export function parseSource(text: string): RuleTarget | string {
  const wrong = textFlaw(text, "a source", SOME_SOURCES);
  if (wrong !== null) return wrong;
  const parts = splitRule(text);
  if (typeof parts === "string") return `${quote(text)}: ${parts}`;
  if (parts.ports !== null || parts.protocol !== null) {
    const alone = parts.target === "" ? "" : `; write ${parts.target}`;
    return `${quote(text)}: a source has neither ports nor protocol${alone}`;
  }
  const target = parseAddressTarget(parts.target, (each) => `; did you mean ${each}?`) ??
    `a source is ${SOME_SOURCES}`;
  return typeof target === "string" ? `${quote(text)}: ${target}` : target;
}

/**
 * The canonical text of a rule.
 *
 * @param target What it is about.
 * @param ports Its ports.
 * @param protocol Its protocol.
 */
export function formatRule(
  target: RuleTarget,
  ports: readonly PortRange[] | null,
  protocol: RuleProtocol | null,
): string {
  const parts = {
    target: formatTarget(target),
    ports: ports === null ? null : formatPorts(ports),
    protocol,
  };
  return joinRule(parts);
}

/** `hints`: whether corrections are looked for; a correction is read without. */
function readRule(text: string, action: RuleAction, hints: boolean): RuleBody | string {
  const wrong = textFlaw(text, "a rule", SOME_TARGETS) ??
    (isUrl(text) ? urlFlaw(text, action) : null);
  if (wrong !== null) return wrong;
  const body = readParts(text, action, hints);
  return typeof body === "string" ? `${quote(text)}: ${body}` : body;
}

function readParts(text: string, action: RuleAction, hints: boolean): RuleBody | string {
  const parts = splitRule(text);
  if (typeof parts === "string") return parts;
  const hint = (change: Partial<Parts>) => {
    const better = hints ? joinRule({ ...parts, ...change }) : "";
    return typeof readRule(better, action, false) === "string" ? "" : `; did you mean ${better}?`;
  };
  const protocol = PROTOCOLS.find((each) => each === parts.protocol?.toLowerCase()) ?? null;
  if (parts.protocol !== null && protocol === null) {
    const some = action === "allow" ? "tcp, udp, icmp, tls or http" : "tcp, udp or icmp";
    if (parts.protocol === "") return `no protocol behind the slash; write ${some}, or no slash`;
    return `${quote(parts.protocol)} is no protocol of a rule; write ${some}, or none for all`;
  }
  if (parts.target === "") return `no target; write ${SOME_TARGETS}`;
  const hintTarget = (target: string) => hint({ target });
  const target = parseAddressTarget(parts.target, hintTarget) ??
    parseNameTarget(parts.target, hintTarget);
  if (typeof target === "string") return target;
  const ports = parts.ports === null
    ? null
    : parsePorts(parts.ports, (better) => hint({ ports: better }));
  if (typeof ports === "string") return ports;
  return meaningFlaw(target, ports, protocol, action) ??
    { target, ports, protocol, text: formatRule(target, ports, protocol) };
}

/** What no rule may mean; `null` where nothing is wrong. */
function meaningFlaw(
  target: RuleTarget,
  ports: readonly PortRange[] | null,
  protocol: RuleProtocol | null,
  action: RuleAction,
): string | null {
  const write = (ports: readonly PortRange[] | null, protocol: RuleProtocol | null) =>
    `write ${formatRule(target, ports, protocol)}`;
  if (protocol === "tls" || protocol === "http") {
    const port = protocol === "tls" ? 443 : 80;
    const instead = write(ports ?? [{ first: port, last: port }], "tcp");
    if (target.kind !== "domain") {
      return `/${protocol} compares names, and this target is none; ${instead}`;
    }
    if (action === "deny") {
      return `/${protocol} is for what is allowed, a deny covers the whole port; ${instead}`;
    }
  }
  if (protocol === "icmp" && ports !== null) return `ICMP has no ports; ${write(null, "icmp")}`;
  if (target.kind === "domain" && action === "allow" && protocol === "udp") {
    if (ports === null) {
      const some = write([{ first: 123, last: 123 }], "udp");
      return `/udp of a name needs its ports; ${some}, with the ports that are meant`;
    }
    if (ports.every(({ first, last }) => first === 443 && last === 443)) {
      return "UDP 443 shows no name that could be compared; allow addresses, such as public:443/udp";
    }
  }
  return null;
}

// ---- Pieces of the text -------------------------------------------------------------------------

interface Parts {
  /** Without brackets. */
  readonly target: string;
  readonly ports: string | null;
  readonly protocol: string | null;
}

const BRACKETED = /^\[([^[\]]*)\](?::([^:/]*))?(?:\/([^:/]*))?$/;
/** Behind a slash: a protocol, or nothing; what begins with a digit is a prefix length. */
const PROTOCOL = /^(?:[^0-9:][^:]*)?$/;

/** Takes a rule apart; says what is wrong where its pieces don't fit together. */
function splitRule(text: string): Parts | string {
  if (text.startsWith("[")) {
    const match = BRACKETED.exec(text);
    if (match === null) {
      return "behind [ come an IPv6 address or prefix, ] and perhaps ports, such as [fd00::1]:443";
    }
    const [, target = "", ports = null, protocol = null] = match;
    if (protocol !== null && /^[0-9]/.test(protocol)) {
      return `the prefix length stands inside the brackets; write [${target}/${protocol}]`;
    }
    if (!target.includes(":")) {
      const bare = text.replace(/[[\]]/g, "");
      return `only IPv6 stands in brackets; write ${target === "" ? SOME_TARGETS : bare}`;
    }
    return { target, ports, protocol };
  }
  const slash = text.lastIndexOf("/");
  const hasProtocol = slash >= 0 && PROTOCOL.test(text.slice(slash + 1));
  const protocol = hasProtocol ? text.slice(slash + 1) : null;
  const rest = hasProtocol ? text.slice(0, slash) : text;
  const colon = rest.indexOf(":");
  // With a second colon it is IPv6 without ports.
  if (colon < 0 || rest.indexOf(":", colon + 1) >= 0) {
    return { target: rest, ports: null, protocol };
  }
  return orderFlaw(text, rest) ??
    { target: rest.slice(0, colon), ports: rest.slice(colon + 1), protocol };
}

/** Pieces that stand in each other's place. */
function orderFlaw(text: string, rest: string): string | null {
  const early = /^([^:/]+)\/([a-z]+):([^/]+)$/i.exec(text);
  if (early !== null) return `the protocol comes last; write ${early[1]}:${early[3]}/${early[2]}`;
  const late = /^([0-9.]+):([^:/]+)\/([0-9]+)$/.exec(rest);
  if (late !== null) return `ports follow the prefix; write ${late[1]}/${late[3]}:${late[2]}`;
  return null;
}

function joinRule({ target, ports, protocol }: Parts): string {
  const inBrackets = ports !== null && target.includes(":");
  const head = inBrackets ? `[${target}]` : target;
  return `${head}${ports === null ? "" : `:${ports}`}${protocol === null ? "" : `/${protocol}`}`;
}

/** What is wrong with a text whatever it says. */
function textFlaw(text: string, what: string, some: string): string | null {
  if (text === "") return `${what} is empty; write ${some}`;
  if (text.length > RULE_MAX) {
    return `${quote(text)}: ${what} has at most ${RULE_MAX} characters, not ${text.length}; ` +
      "write several";
  }
  const plain = text.replace(UNSEEN, "");
  if (plain === text) return null;
  const instead = plain === "" ? "" : `; write ${plain}`;
  return `${quote(text)}: ${what} has no spaces and nothing that can't be seen${instead}`;
}

const UNSEEN = /[\s\p{Cc}\p{Cf}]+/gu;
const URL_HEAD = /^([a-z][a-z0-9+.-]*):\/\/(?:[^/?#@]*@)?([^/?#]*)/i;

function isUrl(text: string): boolean {
  return URL_HEAD.test(text);
}

const SCHEMES: Readonly<Record<string, readonly [port: string, protocol: RuleProtocol]>> = {
  http: [":80", "http"],
  ws: [":80", "http"],
  https: [":443", "tls"],
  wss: [":443", "tls"],
};

function urlFlaw(text: string, action: RuleAction): string {
  const [, scheme = "", place = ""] = URL_HEAD.exec(text)!;
  const [port, named] = Object.entries(SCHEMES).find(([each]) => each === scheme.toLowerCase())
    ?.[1] ?? ["", "tcp"];
  const whole = /:[0-9]+$/.test(place) ? place : place + port;
  for (const better of [`${whole}/${named}`, `${whole}/tcp`, place]) {
    const body = readRule(better, action, false);
    if (typeof body !== "string") return `${quote(text)} is a URL; write ${body.text}`;
  }
  return `${quote(text)} is a URL; write the name or address alone, with its port behind a colon`;
}

/** A text in quotes, cut where it is long. */
function quote(text: string): string {
  return JSON.stringify(text.length > QUOTE_MAX ? text.slice(0, QUOTE_MAX) + "…" : text);
}

const QUOTE_MAX = 80;
