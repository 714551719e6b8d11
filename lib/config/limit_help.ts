/**
 * What each limit bounds, in one line, for the schema of the file and the reference.
 *
 * @module
 */
import type { Limits } from "./limits.ts";

/** What each limit is; its unit is the end of its name. */
export const LIMIT_HELP: Readonly<Record<keyof Limits, string>> = {
  tcpFlows: "TCP flows of one guest, in all states",
  tcpHalfOpen: "TCP flows whose handshake is not complete",
  tcpDials: "host connects under way at once; the others wait their turn",
  tcpDialsPerDestination:
    "host connects under way to one destination, once more than half of tcpDials are in use",
  tcpDialYieldMs: "a pending host connect older than this makes way for others",
  tcpDialTimeoutMs: "a host connect that takes longer is given up",
  tcpDialsPerSecond: "host connects that begin in a second, a tenth of them at once",
  tcpTimeWaitMs: "how long a closed TCP flow keeps its addresses and ports",
  tcpIdleMs: "a TCP flow without a segment for this long is ended with a reset",
  tcpBufferMinBytes: "smallest buffer of a TCP flow, each way",
  tcpBufferMaxBytes: "largest buffer of a TCP flow, each way",
  udpFlows: "UDP flows that the guest began; the least recently used makes way",
  publishedUdpFlows:
    "UDP flows of clients of published ports; one of whoever has the most makes way",
  udpOpensPerSecond: "UDP flows that begin in a second, or at once; datagrams for more are dropped",
  udpUnrepliedMs: "a UDP flow that has had no reply ends after this",
  udpRepliedMs: "a UDP flow that has had a reply ends after this",
  udpDnsMs: "a UDP flow to port 53 ends after this",
  dnsPerSecond: "DNS questions over UDP that are taken in a second, a tenth of them at once",
  dnsInFlight: "DNS questions that wait for an upstream; more get SERVFAIL",
  dnsInFlightPerUpstream: "DNS questions that wait for one upstream",
  dnsConnections: "TCP connections of the guest to port 53",
  dnsTimeoutMs: "a DNS question is given up after this, with SERVFAIL",
  dnsCacheEntries: "DNS answers that are kept; the least recently used makes way",
  dnsCacheBytes: "memory of all DNS answers that are kept",
  policyRules: "rules of a policy",
  policyPins: "addresses that are reached by the name they were looked up by",
  inspectMs: "a flow whose name has not come after this is denied",
  inspectPending: "flows whose name is awaited at once; SYNs of others that need one are dropped",
  judgePending: "verdicts of the program that are awaited at once; flows beyond them are denied",
  judgeMs: "a verdict of the program that takes longer is a denial",
  denialsKept: "refusals that are kept to be shown, the latest of them",
  fragmentSets: "datagrams that wait for their missing fragments",
  fragmentBytes: "memory of all datagrams that wait for fragments",
  fragmentMs: "an incomplete IPv4 datagram is dropped after this",
  fragment6Ms: "an incomplete IPv6 datagram is dropped after this",
  icmpErrorsPerSecond: "ICMP errors that the guest is sent in a second",
  icmpErrorBurst: "ICMP errors that the guest is sent at once",
  icmpEchoesPerSecond: "pings that are answered in a second",
  icmpEchoBurst: "pings that are answered at once",
  pingsInFlight: "pings of the world that are under way, each a process of the host",
  pingsPerSecond: "pings of the world that begin in a second",
  pingTimeoutMs: "a ping of the world is given up after this",
  bufferBytes: "buffer memory of all flows of all guests in one process",
  publishedPending: "connections to published ports that wait for the guest",
  descriptorsKept: "descriptors that no flow gets, kept for the resolver and the VMM's socket",
};
