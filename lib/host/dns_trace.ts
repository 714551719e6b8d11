/**
 * A guest's questions as spans: one from the question to its answer, and below it one for each
 * upstream that is asked for it. A question that shares another's query has no part below it.
 *
 * Whoever looks at spans sees what guests ask for: they go where the operator has them sent.
 *
 * @module
 */
import { isFailure } from "../dns/match.ts";
import { Rcode, rcodeOf } from "../dns/message.ts";
import type { QuestionCheck } from "../dns/question.ts";
import type { Tracer, TraceSpan } from "../config/tracer.ts";
import type { Attempt } from "./dns_attempt.ts";
import type { Upstream } from "./dns_upstream_list.ts";

/** Begins a question's span; none for what is no question. */
export function traceQuestion(
  tracer: Tracer,
  check: QuestionCheck,
  transport: "udp" | "tcp",
): TraceSpan | null {
  if (check.kind === "ignore") return null;
  const { question } = check;
  return tracer.start("question", "dns question", {
    "network.transport": transport,
    "network.protocol.name": "dns",
    ...(question === null ? {} : {
      "dns.question.name": question.name,
      "dns.question.type": typeText(question.type),
    }),
  });
}

/** Ends it with its answer; `null` where the gateway went away instead. */
export function endQuestion(
  span: TraceSpan,
  check: QuestionCheck,
  answer: Uint8Array | null,
): void {
  if (answer === null) span.fail("closed");
  else endWith(span, check.kind === "error" ? check.rcode : rcodeOf(answer));
}

/** One query's spans, below the question that began it. */
export class QueryTrace {
  readonly #parent: TraceSpan;
  readonly #spans = new Map<Attempt, TraceSpan>();

  constructor(parent: TraceSpan) {
    this.#parent = parent;
  }

  /** An upstream is about to be asked. */
  asking({ place }: Upstream, isTcp: boolean): TraceSpan | null {
    const { kind, hostname, port } = place;
    return this.#parent.child("dns upstream", {
      "network.transport": kind === "plain" && !isTcp ? "udp" : "tcp",
      "network.protocol.name": kind === "plain" ? "dns" : kind,
      "server.address": hostname,
      "server.port": port,
    });
  }

  /** It was. */
  asked(attempt: Attempt, span: TraceSpan | null): void {
    if (span !== null) this.#spans.set(attempt, span);
  }

  /** It has answered. */
  answered(attempt: Attempt, answer: Uint8Array): void {
    const span = this.#take(attempt);
    if (span !== undefined) endWith(span, rcodeOf(answer));
  }

  /** It has not, for this reason. */
  failed(attempt: Attempt, errorType: string, message?: string): void {
    this.#take(attempt)?.fail(errorType, message);
  }

  #take(attempt: Attempt): TraceSpan | undefined {
    const span = this.#spans.get(attempt);
    this.#spans.delete(attempt);
    return span;
  }
}

/** A name that does not exist is a good answer; a resolver that gives none is not. */
function endWith(span: TraceSpan, rcode: number): void {
  const text = RCODES[rcode] ?? `RCODE${rcode}`;
  span.set("dns.response_code", text);
  if (isFailure(rcode) || rcode === Rcode.badVersion) span.fail(text);
  else span.end();
}

/** Response codes as the registry of DNS parameters spells them. */
const RCODES: Readonly<Record<number, string>> = {
  [Rcode.noError]: "NOERROR",
  [Rcode.formatError]: "FORMERR",
  [Rcode.serverFailure]: "SERVFAIL",
  [Rcode.nameError]: "NXDOMAIN",
  [Rcode.notImplemented]: "NOTIMP",
  [Rcode.refused]: "REFUSED",
  [Rcode.badVersion]: "BADVERS",
};

/** Types that are asked for daily; the others as RFC 3597 writes unknown ones. */
const TYPES: Readonly<Record<number, string>> = {
  1: "A",
  2: "NS",
  5: "CNAME",
  6: "SOA",
  12: "PTR",
  15: "MX",
  16: "TXT",
  28: "AAAA",
  33: "SRV",
  43: "DS",
  48: "DNSKEY",
  64: "SVCB",
  65: "HTTPS",
  255: "ANY",
};

function typeText(type: number): string {
  return TYPES[type] ?? `TYPE${type}`;
}
