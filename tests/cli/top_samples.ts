/**
 * Samples of a gateway that is not there, for the parts of `top` that need none.
 *
 * @module
 */
import type {
  DenialReport,
  GatewayStatus,
  GuestListing,
  GuestStatus,
} from "../../lib/control/api.ts";
import { noDnsCounts } from "../../lib/host/dns_counts.ts";
import type { FlowInfo } from "../../lib/host/flow_info.ts";
import type { DenialGroup } from "../../lib/policy/denial_log.ts";
import type { TopSample } from "../../lib/cli/top_model.ts";

/** When the samples begin. */
export const START_MS = Date.UTC(2026, 10, 29, 12, 0, 0);

/** A guest with some counts. */
export function guestOf(
  counters: Readonly<Record<string, number>> = {},
  questions = 0,
): GuestStatus {
  return {
    link: "attached",
    figures: {
      tcpFlows: 3,
      udpFlows: 1,
      timers: 2,
      relays: 3,
      dials: 0,
      dnsInFlight: 1,
      pins: 4,
      pings: 0,
      fragmentSets: 0,
      bufferBytes: 262_144,
    },
    counters,
    dns: { ...noDnsCounts(), questions },
  };
}

/** A flow from a guest to example.com. */
export function flowOf(id: number, more: Partial<FlowInfo> = {}): FlowInfo {
  return {
    id,
    protocol: "tcp",
    opener: "guest",
    guest: `100.96.0.2:${40_000 + id}`,
    peer: "93.184.215.14:443",
    name: null,
    rule: null,
    state: "established",
    startedMs: START_MS,
    upBytes: 0,
    downBytes: 0,
    ...more,
  };
}

/** A refusal of a name. */
export function refusalOf(name: string, count: number, lastMs: number): DenialGroup {
  return {
    denial: {
      protocol: "tcp",
      name,
      destination: "151.101.0.223:443",
      rule: "default-deny",
      origin: "gateway.yaml:4",
      reason: "default-deny",
      detail: `no rule names ${name}`,
      hint: `policy: { allow: ["${name}:443"] }`,
    },
    count,
    firstMs: START_MS,
    lastMs,
  };
}

/** What of a sample differs from an idle gateway's. */
export interface SampleParts {
  readonly guest?: GuestStatus | null;
  readonly flows?: readonly FlowInfo[];
  readonly denials?: DenialReport;
  readonly startedMs?: number;
  readonly endpoint?: string;
  /** Names the guest, and those that one can choose among. */
  readonly chosen?: { readonly guest: string; readonly guests: readonly GuestListing[] };
}

/** A guest among several. */
export function listingOf(name: string, more: Partial<GuestListing> = {}): GuestListing {
  return {
    name,
    endpoint: `unix:/run/${name}.sock`,
    link: "attached",
    network: null,
    worker: 0,
    flows: 0,
    published: 0,
    refused: 0,
    upBytes: 0,
    downBytes: 0,
    fault: null,
    ...more,
  };
}

/** A sample so many seconds after the start. */
export function sampleAt(seconds: number, parts: SampleParts = {}): TopSample {
  const status: GatewayStatus = {
    version: "0.1.0",
    startedMs: parts.startedMs ?? START_MS,
    endpoint: parts.endpoint ?? "unix:/run/vm1.sock",
    published: [{ protocol: "tcp", bind: "127.0.0.1", hostPort: 8080, guestPort: 80 }],
    policy: { protect: "metadata", default: "deny", allowRules: 3, denyRules: 1 },
    guest: parts.guest === undefined ? guestOf() : parts.guest,
    readers: 0,
  };
  return {
    atMs: 5_000 + seconds * 1_000,
    timeMs: START_MS + seconds * 1_000,
    status,
    denials: parts.denials ?? { groups: [], byRule: {} },
    flows: parts.flows ?? [],
    ...parts.chosen,
  };
}
