/**
 * Every bound of the gateway in one place, with the relations among them.
 *
 * @module
 */

/** Bounds of one guest's network. Counts are entries, durations milliseconds, sizes bytes. */
export interface Limits {
  /** TCP flows of one guest, all states. */
  tcpFlows: number;
  /** TCP flows whose handshake is not complete. */
  tcpHalfOpen: number;
  /** Host connects under way at once. */
  tcpDials: number;
  /** Host connects under way to one destination, once more than half of `tcpDials` are in use. */
  tcpDialsPerDestination: number;
  /** A pending dial older than this makes way for others. */
  tcpDialYieldMs: number;
  /** A host connect that takes longer is given up. */
  tcpDialTimeoutMs: number;
  /** How long a closed flow keeps its four-tuple. */
  tcpTimeWaitMs: number;
  /** A flow without a segment for this long is aborted. */
  tcpIdleMs: number;
  /** Smallest buffer of a TCP flow, each way. */
  tcpBufferMinBytes: number;
  /** Largest buffer of a TCP flow, each way. */
  tcpBufferMaxBytes: number;
  /** UDP flows; the least recently used makes way. */
  udpFlows: number;
  /** A UDP flow that got no reply ends after this. */
  udpUnrepliedMs: number;
  /** A UDP flow that got a reply ends after this. */
  udpRepliedMs: number;
  /** A UDP flow to port 53 ends after this. */
  udpDnsMs: number;
  /** DNS questions in flight. */
  dnsInFlight: number;
  /** DNS questions in flight at one upstream. */
  dnsInFlightPerUpstream: number;
  /** A DNS question is given up after this. */
  dnsTimeoutMs: number;
  /** Incomplete fragment sets. */
  fragmentSets: number;
  /** Bytes of all incomplete fragment sets. */
  fragmentBytes: number;
  /** An incomplete IPv4 set is dropped after this. */
  fragmentMs: number;
  /** An incomplete IPv6 set is dropped after this. */
  fragment6Ms: number;
  /** ICMP errors a second; `icmpErrorBurst` at once. */
  icmpErrorsPerSecond: number;
  /** ICMP errors at once. */
  icmpErrorBurst: number;
  /** Buffer memory of all flows of all guests in one isolate. */
  bufferBytes: number;
  /** Published connections that wait for the guest. */
  publishedPending: number;
}

/** The bounds of a network for which nothing was set. */
export const DEFAULT_LIMITS: Readonly<Limits> = Object.freeze({
  tcpFlows: 16_384,
  tcpHalfOpen: 2_048,
  tcpDials: 512,
  tcpDialsPerDestination: 128,
  tcpDialYieldMs: 3_000,
  tcpDialTimeoutMs: 30_000,
  tcpTimeWaitMs: 10_000,
  tcpIdleMs: 7_440_000,
  tcpBufferMinBytes: 16 * 1024,
  tcpBufferMaxBytes: 4 * 1024 * 1024,
  udpFlows: 4_096,
  udpUnrepliedMs: 30_000,
  udpRepliedMs: 300_000,
  udpDnsMs: 10_000,
  dnsInFlight: 256,
  dnsInFlightPerUpstream: 128,
  dnsTimeoutMs: 5_000,
  fragmentSets: 64,
  fragmentBytes: 1024 * 1024,
  fragmentMs: 30_000,
  fragment6Ms: 60_000,
  icmpErrorsPerSecond: 1_000,
  icmpErrorBurst: 50,
  bufferBytes: 256 * 1024 * 1024,
  publishedPending: 512,
});
