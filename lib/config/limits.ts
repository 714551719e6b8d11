/**
 * Every bound of the gateway in one place, with the relations among them.
 *
 * @module
 */
import { INSPECT_MAX_BYTES } from "../inspect/inspected.ts";
import { MAX_BLOCK_BYTES } from "../stack/buffer_pool.ts";
import { endpointBytes } from "../stack/tcp/endpoint.ts";
import { udpFlowsBytes } from "../stack/udp_flows.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";

/**
 * Bounds of one guest's network. Counts are entries, durations milliseconds, sizes bytes. Those
 * where nothing is set are {@linkcode DEFAULT_LIMITS}.
 */
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
  /** Host connects that begin in a second, a tenth of them at once. The others wait. */
  tcpDialsPerSecond: number;
  /** How long a closed flow keeps its four-tuple. */
  tcpTimeWaitMs: number;
  /** A flow without a segment for this long is aborted. */
  tcpIdleMs: number;
  /** Smallest buffer of a TCP flow, each way. */
  tcpBufferMinBytes: number;
  /** Largest buffer of a TCP flow, each way. */
  tcpBufferMaxBytes: number;
  /** UDP flows that the guest began; the least recently used makes way. */
  udpFlows: number;
  /** UDP flows of clients of published ports; one of whoever has the most makes way. */
  publishedUdpFlows: number;
  /** UDP flows that begin in a second, or at once. Datagrams for others are dropped. */
  udpOpensPerSecond: number;
  /** A UDP flow that got no reply ends after this. */
  udpUnrepliedMs: number;
  /** A UDP flow that got a reply ends after this. */
  udpRepliedMs: number;
  /** A UDP flow to port 53 ends after this. */
  udpDnsMs: number;
  /** DNS questions over UDP that are taken in a second, a tenth of them at once. */
  dnsPerSecond: number;
  /** DNS questions in flight. */
  dnsInFlight: number;
  /** DNS questions in flight at one upstream. */
  dnsInFlightPerUpstream: number;
  /** TCP connections to port 53. */
  dnsConnections: number;
  /** A DNS question is given up after this. */
  dnsTimeoutMs: number;
  /** DNS answers that are kept; the least recently used makes way. */
  dnsCacheEntries: number;
  /** Bytes of all DNS answers that are kept. */
  dnsCacheBytes: number;
  /** Rules of a policy. */
  policyRules: number;
  /** Addresses that are reached by the name they were looked up by. */
  policyPins: number;
  /** A flow whose name has not come after this is denied. */
  inspectMs: number;
  /** Flows whose name is awaited at once. SYNs of others that need one are dropped. */
  inspectPending: number;
  /** Verdicts of the program that are awaited at once. Flows beyond them are denied. */
  judgePending: number;
  /** A verdict of the program that takes longer is a denial. */
  judgeMs: number;
  /** Denials that are kept to be shown, the latest of them. */
  denialsKept: number;
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
  /** Echo requests that are answered a second; `icmpEchoBurst` at once. */
  icmpEchoesPerSecond: number;
  /** Echo requests that are answered at once. */
  icmpEchoBurst: number;
  /** Pings of the world that are under way at once: each is a process of the host. */
  pingsInFlight: number;
  /** Pings of the world that begin in a second; `pingsInFlight` at once. */
  pingsPerSecond: number;
  /** A ping of the world is given up after this. */
  pingTimeoutMs: number;
  /** Buffer memory of all flows of all guests in one isolate. */
  bufferBytes: number;
  /** Published connections that wait for the guest. */
  publishedPending: number;
  /** Descriptors of the process that no flow gets: the resolver and the VMM's socket need some. */
  descriptorsKept: number;
}

/**
 * The bounds of a network for which nothing was set.
 *
 * @example One bound that is lower
 * ```ts
 * import { DEFAULT_LIMITS, serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(DEFAULT_LIMITS.tcpDialTimeoutMs, 30_000);
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(endpoint, { limits: { tcpDialTimeoutMs: 5_000 } });
 * ```
 */
export const DEFAULT_LIMITS: Readonly<Limits> = Object.freeze({
  tcpFlows: 16_384,
  tcpHalfOpen: 2_048,
  tcpDials: 512,
  tcpDialsPerDestination: 128,
  tcpDialYieldMs: 3_000,
  tcpDialTimeoutMs: 30_000,
  tcpDialsPerSecond: 6_000,
  tcpTimeWaitMs: 10_000,
  tcpIdleMs: 7_440_000,
  tcpBufferMinBytes: 1024,
  tcpBufferMaxBytes: 4 * 1024 * 1024,
  udpFlows: 4_096,
  publishedUdpFlows: 1_024,
  udpOpensPerSecond: 2_000,
  udpUnrepliedMs: 30_000,
  udpRepliedMs: 300_000,
  udpDnsMs: 10_000,
  dnsPerSecond: 16_000,
  dnsInFlight: 256,
  dnsInFlightPerUpstream: 128,
  dnsConnections: 256,
  dnsTimeoutMs: 5_000,
  dnsCacheEntries: 4_096,
  dnsCacheBytes: 4 * 1024 * 1024,
  policyRules: 16_384,
  policyPins: 4_096,
  inspectMs: 5_000,
  inspectPending: 2_048,
  judgePending: 256,
  judgeMs: 1_000,
  denialsKept: 512,
  fragmentSets: 64,
  fragmentBytes: 1024 * 1024,
  fragmentMs: 30_000,
  fragment6Ms: 60_000,
  icmpErrorsPerSecond: 1_000,
  icmpErrorBurst: 50,
  icmpEchoesPerSecond: 10_000,
  icmpEchoBurst: 1_000,
  pingsInFlight: 8,
  pingsPerSecond: 20,
  pingTimeoutMs: 4_000,
  bufferBytes: 256 * 1024 * 1024,
  publishedPending: 512,
  descriptorsKept: 64,
});

/** Longest duration that a timer of the runtime takes, in milliseconds. */
const DURATION_MAX_MS = 2 ** 31 - 1;

/** Largest buffer memory: the half of what a 32-bit WebAssembly memory can address. */
const BYTES_MAX = 2 ** 31;

/** Most entries of any table. */
const COUNT_MAX = 2 ** 20;

/** Pairs of which the first is at most the second, and why. */
const RELATIONS: readonly [keyof Limits, keyof Limits, string][] = [
  ["tcpHalfOpen", "tcpFlows", "a half-open flow is a flow"],
  ["tcpDials", "tcpHalfOpen", "a flow that is dialled is half-open"],
  ["tcpDialsPerDestination", "tcpDials", "they are some of the dials"],
  ["tcpDialYieldMs", "tcpDialTimeoutMs", "a dial makes way before it is given up"],
  ["tcpTimeWaitMs", "tcpIdleMs", "a closed flow ends before an idle one"],
  ["tcpBufferMinBytes", "tcpBufferMaxBytes", "a buffer grows from the one to the other"],
  ["tcpBufferMaxBytes", "bufferBytes", "the largest buffer must fit"],
  ["udpUnrepliedMs", "udpRepliedMs", "a reply keeps a flow longer"],
  ["dnsInFlightPerUpstream", "dnsInFlight", "they are some of the questions"],
  ["dnsTimeoutMs", "udpDnsMs", "the flow must outlive its question"],
  ["inspectMs", "tcpIdleMs", "a flow is looked at before it is idle"],
  ["inspectPending", "tcpFlows", "a flow that is looked into is a flow"],
  ["judgeMs", "tcpDialTimeoutMs", "a dial waits for its verdict"],
  ["icmpErrorBurst", "icmpErrorsPerSecond", "a burst is part of a second"],
  ["icmpEchoBurst", "icmpEchoesPerSecond", "a burst is part of a second"],
  ["pingsInFlight", "pingsPerSecond", "a burst is part of a second"],
  ["pingsInFlight", "descriptorsKept", "a ping's process is read over descriptors of those"],
  ["publishedPending", "tcpFlows", "a published connection is a flow"],
];

/**
 * What is wrong with a set of limits, each alone and among each other.
 *
 * @param limits All limits.
 * @returns The problems; none where the limits can be used.
 */
export function checkLimits(limits: Limits): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  for (const key of Object.keys(DEFAULT_LIMITS) as (keyof Limits)[]) {
    const value: unknown = limits[key];
    const max = limitMax(key);
    if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > max) {
      problems.push({
        key: `limits.${key}`,
        text: `${value} is not a whole number from 1 to ${max}`,
      });
    }
  }
  if (problems.length > 0) return problems;
  for (const [low, high, why] of RELATIONS) {
    if (limits[low] > limits[high]) {
      const text = `${limits[low]} is more than ${high} (${limits[high]}): ${why}`;
      problems.push({ key: `limits.${low}`, text });
    }
  }
  for (const [key, bytes, what] of HELD_WHOLE) {
    if (limits[key] >= bytes) continue;
    const text = `${limits[key]} is less than the ${bytes} of ${what}`;
    problems.push({ key: `limits.${key}`, text });
  }
  return [...problems, ...checkBlocks(limits)];
}

/** The largest value of a limit; each is at least 1. */
export function limitMax(name: keyof Limits): number {
  return name.endsWith("Ms") ? DURATION_MAX_MS : name.endsWith("Bytes") ? BYTES_MAX : COUNT_MAX;
}

/** Buffers and flow tables are single blocks of the pool, which has a largest one. */
function checkBlocks(limits: Limits): ConfigProblem[] {
  const sizes: [keyof Limits, number][] = [
    ["tcpBufferMaxBytes", limits.tcpBufferMaxBytes],
    ["tcpFlows", endpointBytes(limits.tcpFlows)],
    ["udpFlows", udpFlowsBytes(limits)],
  ];
  return sizes.filter(([, bytes]) => bytes > MAX_BLOCK_BYTES).map(([name, bytes]) => ({
    key: `limits.${name}`,
    text: `${
      limits[name]
    } takes ${bytes} bytes in one piece, at most ${MAX_BLOCK_BYTES} can be had`,
  }));
}

/** Largest datagram that can come in fragments, and largest DNS message, in bytes. */
const MESSAGE_MAX_BYTES = 65_535;

/** Memories that must hold something whole. */
const HELD_WHOLE: readonly [keyof Limits, bytes: number, what: string][] = [
  ["tcpBufferMaxBytes", INSPECT_MAX_BYTES, "the first bytes of a flow, where its name stands"],
  ["dnsCacheBytes", MESSAGE_MAX_BYTES, "an answer"],
  ["fragmentBytes", MESSAGE_MAX_BYTES, "a datagram"],
];

/**
 * All limits: those that were set over the defaults, checked.
 *
 * @param partial The limits that differ from the defaults.
 * @returns All limits.
 * @throws {ConfigError} Where one is wrong or two do not fit together.
 */
export function resolveLimits(partial: Partial<Limits> = {}): Limits {
  const limits = { ...DEFAULT_LIMITS, ...partial };
  const problems = checkLimits(limits);
  if (problems.length > 0) throw new ConfigError(problems);
  return limits;
}
