/**
 * What one guest's DNS gateway has counted, by outcome.
 *
 * @module
 */

/**
 * Counts of one DNS gateway. Each message of the guest is in `questions` and one outcome. As
 * {@linkcode VirtioNetworkRuntime.dnsCounts} yields them.
 */
export interface DnsCounts {
  /** Messages that came from the guest. */
  questions: number;
  /** Outcome: answered from own names. */
  own: number;
  /** Outcome: answered with what an upstream said. */
  answered: number;
  /** Outcome: answered with what an upstream said before. */
  cached: number;
  /** Outcome: malformed or of an unknown kind; answered with FORMERR, NOTIMP or BADVERS. */
  malformed: number;
  /** Outcome: refused, as zone transfers are. */
  refused: number;
  /** Outcome: refused by the policy. */
  denied: number;
  /** Outcome: not a question; not answered. */
  ignored: number;
  /** Outcome: SERVFAIL, as no upstream answered in time. */
  failedTimeout: number;
  /** Outcome: SERVFAIL, as no upstream could be asked. */
  failedNetwork: number;
  /** Outcome: SERVFAIL, as the upstream's answer was malformed. */
  failedAnswer: number;
  /** Outcome: SERVFAIL, as too many questions were in flight. */
  failedBusy: number;
  /** Outcome: not answered, as the gateway was closed. */
  failedClosed: number;
  /** Queries that went upstream; equal questions in flight share one. */
  forwarded: number;
  /** Questions that shared a query which was in flight. */
  shared: number;
  /** Tries at one upstream that came to nothing. */
  triesFailed: number;
  /** Datagrams at our sockets that answered no question: forged, or too late. */
  unmatched: number;
  /** Answers that were cut for UDP. */
  truncated: number;
  /** Addresses that were taken out of answers. */
  stripped: number;
  /** Service bindings that lost hints or keys. */
  hintsStripped: number;
}

/** What each count is, in one line; an outcome says so. */
export const DNS_COUNT_HELP: Readonly<Record<keyof DnsCounts, string>> = {
  questions: "messages that came from the guest",
  own: "outcome: answered from own names",
  answered: "outcome: answered with what an upstream said",
  cached: "outcome: answered with what an upstream said before",
  malformed: "outcome: malformed or of an unknown kind; answered with FORMERR, NOTIMP or BADVERS",
  refused: "outcome: refused, as zone transfers are",
  denied: "outcome: refused by the policy",
  ignored: "outcome: not a question; not answered",
  failedTimeout: "outcome: SERVFAIL, as no upstream answered in time",
  failedNetwork: "outcome: SERVFAIL, as no upstream could be asked",
  failedAnswer: "outcome: SERVFAIL, as the upstream's answer was malformed",
  failedBusy: "outcome: SERVFAIL, as too many questions were in flight",
  failedClosed: "outcome: not answered, as the gateway was closed",
  forwarded: "queries that went upstream; equal questions in flight share one",
  shared: "questions that shared a query which was in flight",
  triesFailed: "tries at one upstream that came to nothing",
  unmatched: "datagrams that answered no question: forged, or too late",
  truncated: "answers that were cut for UDP; the guest asks again over TCP",
  stripped: "addresses that were taken out of answers, as they lead where the name may not",
  hintsStripped: "service bindings that lost hints or keys",
};

/** Counts that are all 0. */
export function noDnsCounts(): DnsCounts {
  return {
    questions: 0,
    own: 0,
    answered: 0,
    cached: 0,
    malformed: 0,
    refused: 0,
    denied: 0,
    ignored: 0,
    failedTimeout: 0,
    failedNetwork: 0,
    failedAnswer: 0,
    failedBusy: 0,
    failedClosed: 0,
    forwarded: 0,
    shared: 0,
    triesFailed: 0,
    unmatched: 0,
    truncated: 0,
    stripped: 0,
    hintsStripped: 0,
  };
}
