/**
 * What the control interface says, as plain data: the server writes it, the client reads it.
 *
 * @module
 */
import type { PublishedPort } from "../config/published.ts";
import type { FleetReport } from "../host/fleet_report.ts";
import type { GuestWorker } from "../host/served_guests.ts";
import type { GuestFigures, GuestLink } from "../host/guest_network.ts";
import type { DnsCounts } from "../host/dns_counts.ts";
import type { FlowInfo } from "../host/flow_info.ts";
import type { OwnName } from "../host/guest_names.ts";
import type { ProtectLevel } from "../config/options.ts";
import type { DenialGroup } from "../policy/denial_log.ts";
import type { Explanation } from "../policy/explain.ts";
import type { Pin } from "../policy/pins.ts";

/**
 * The gateway at a glance. As {@linkcode GatewayClient.status} yields it.
 */
export interface GatewayStatus {
  /** The module's version. */
  readonly version: string;
  /** When the control interface was opened, in milliseconds since 1970. */
  readonly startedMs: number;
  /** Where the VMM is met. */
  readonly endpoint: string;
  /** The ports of the host that lead to the guest. */
  readonly published: readonly PublishedPort[];
  /** What the guest may reach, in numbers. */
  readonly policy: PolicySummary;
  /** The guest that is attached; `null` where none is. */
  readonly guest: GuestStatus | null;
  /** How many read events. */
  readonly readers: number;
  /** How the gateway stands in its fleet; absent where it is in none. */
  readonly fleet?: FleetReport;
}

/**
 * The guests of a gateway at a glance. As {@linkcode GatewayClient.guestsReport} yields it.
 */
export interface GuestsReport {
  /** The module's version. */
  readonly version: string;
  /** When the control interface was opened, in milliseconds since 1970. */
  readonly startedMs: number;
  /** In their order. */
  readonly guests: readonly GuestListing[];
  /** The workers that serve them; none where the gateway's own isolate does. */
  readonly workers: readonly GuestWorker[];
  /** How the gateway stands in its fleet; absent where it is in none. */
  readonly fleet?: FleetReport;
}

/**
 * A guest at a glance; counts are of all that were attached there. As
 * {@linkcode GatewayClient.guests} yields it.
 */
export interface GuestListing {
  /** What it is asked for by; `default` for the guest of a gateway that serves one without a name. */
  readonly name: string;
  /** Where its VMM is met; `null` where its gateway has no answer. */
  readonly endpoint: string | null;
  /** Whether its VMM is there, or its flows are kept for the VMM's return; `null` for neither. */
  readonly link: GuestLink | null;
  /** The shared network that it is in; `null` where it has one of its own. */
  readonly network: string | null;
  /** The number of the worker that serves it; `null` where the gateway's own isolate does. */
  readonly worker: number | null;
  /** How many flows it has. */
  readonly flows: number;
  /** How many sockets of the host lead to it. */
  readonly published: number;
  /** How often the policy has refused something. */
  readonly refused: number;
  /** Octets of frames that have come from it. */
  readonly upBytes: number;
  /** Octets of frames that it was sent. */
  readonly downBytes: number;
  /** Why its gateway has no answer, and its counts are 0; `null` where it has one. */
  readonly fault: string | null;
}

/**
 * A policy in numbers. Part of what {@linkcode GatewayClient.status} yields.
 */
export interface PolicySummary {
  /** What no guest reaches whatever the rules say. */
  readonly protect: ProtectLevel;
  /** What becomes of a flow that no rule is about. */
  readonly default: "allow" | "deny";
  /** How many rules allow something. */
  readonly allowRules: number;
  /** How many rules deny something. */
  readonly denyRules: number;
}

/**
 * What an attached guest uses and has done. Part of what {@linkcode GatewayClient.status} yields.
 */
export interface GuestStatus {
  /** Whether its VMM is there, or away while everything of the guest is kept for it. */
  readonly link: GuestLink;
  /** How many flows, timers and bytes it holds. */
  readonly figures: GuestFigures;
  /** What its stack has counted; kinds that never happened are left out. */
  readonly counters: Readonly<Record<string, number>>;
  /** What became of its questions. */
  readonly dns: Readonly<DnsCounts>;
}

/**
 * What the guest was refused, or the one before it where none is attached. As
 * {@linkcode GatewayClient.denialReport} yields it.
 */
export interface DenialReport {
  /** Alike refusals together, the latest first; times in milliseconds since 1970. */
  readonly groups: readonly DenialGroup[];
  /** How often each rule has refused something; `default-deny` and `protect LEVEL` are rules too. */
  readonly byRule: Readonly<Record<string, number>>;
}

/** What the attached guest has looked up. */
export interface PinReport {
  /** Names and their addresses, and until when, in milliseconds since 1970. */
  readonly pins: readonly Pin[];
}

/**
 * Which flows are asked for; all of what is said has to fit a flow. For
 * {@linkcode GatewayClient.flows}.
 */
export interface FlowFilter {
  /** How. */
  readonly protocol?: "tcp" | "udp";
  /** The address at the other end, alone or with its port: `192.0.2.7`, `[2001:db8::1]:443`. */
  readonly peer?: string;
  /** The name that led there, or one above it. */
  readonly name?: string;
  /** How many at most; 1,000 when absent, 65,536 at most. */
  readonly limit?: number;
}

/**
 * Flows of the attached guest. As {@linkcode GatewayClient.flowReport} yields it.
 */
export interface FlowReport {
  /** The latest first. */
  readonly flows: readonly FlowInfo[];
  /** How many there are, those beyond the limit included. */
  readonly total: number;
}

/** Ports of the host that lead to the guest. */
export interface PortReport {
  /** Each bound address. */
  readonly published: readonly PublishedPort[];
}

/**
 * How names are answered. As {@linkcode GatewayClient.dns} yields it.
 */
export interface DnsReport {
  /** What became of the attached guest's questions; `null` where none is attached. */
  readonly counts: Readonly<DnsCounts> | null;
  /** Questions that wait for an upstream. */
  readonly inFlight: number;
  /** Answers of upstreams that are kept for the attached guest. */
  readonly kept: number;
  /** The names that the gateway answers itself. */
  readonly names: readonly OwnName[];
}

/** What became of a flush. */
export interface FlushReport {
  /** Whether a guest is attached: answers are kept for it alone. */
  readonly hasGuest: boolean;
}

/**
 * What a reload of the configuration's file has changed. As {@linkcode GatewayClient.reload} yields
 * it.
 */
export interface ReloadReport {
  /** The file. */
  readonly file: string;
  /** How many rules its policy has. */
  readonly rules: number;
  /** What else differs from what the gateway was started with, and needs a restart. */
  readonly needRestart: readonly string[];
  /** What reads like something else than it is; `null` for nothing. */
  readonly notice: string | null;
}

/**
 * An explanation, and whose. As {@linkcode GatewayClient.explain} yields it.
 */
export interface LiveExplanation extends Explanation {
  /** Whether a guest is attached, and what it has looked up is known. */
  readonly hasGuest: boolean;
}

/** What is wrong with a request. */
export interface ControlErrorBody {
  /** What is wrong. */
  readonly error: {
    /** A word for programs. */
    readonly code: string;
    /** What is wrong, for people. */
    readonly message: string;
    /** The way out; empty where there is none to offer. */
    readonly hint: string;
  };
}
