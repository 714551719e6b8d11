/**
 * What goes between the main isolate and a worker that serves guests: plain data, one message a step.
 *
 *     main    start ─▶                     call ─▶          open, next, leave ─▶       end ─▶
 *     worker        ─▶ started | failed         ─▶ answer                     ─▶ item      ─▶ finished
 *             log, ports, judge ─▶ main (and main ─▶ verdict)
 *             main ─▶ again ─▶ came: a guest that could not be served at once
 *             main ─▶ policy: between start and started, again and came
 *
 * Streams are asked for bit by bit, so whoever reads slowly makes nobody queue.
 *
 * @module
 */
import type { VmmEndpoint } from "../config/endpoint.ts";
import type { LanMember } from "../config/lan_member.ts";
import type { LogFields } from "../config/logger.ts";
import type { OwnPorts } from "../config/own_ports.ts";
import type { PolicyConfig } from "../config/options.ts";
import type { CaptureOptions } from "../host/capture_set.ts";
import type { GatewayEvent } from "../host/gateway_event.ts";
import type { JudgedFlow, JudgeVerdict } from "../host/judge_hook.ts";
import type { PublishedPort } from "../config/published.ts";
import type { ServedGateway } from "../host/served_gateway.ts";
import type { ServeOptions } from "../server.ts";
import type { FaultData } from "./fault_data.ts";

/** What a guest's server is asked by name; arguments and answers are plain data. */
export const CALLS = [
  "snapshot",
  "pulse",
  "denials",
  "denialsByRule",
  "setPolicy",
  "explain",
  "pins",
  "flows",
  "endFlow",
  "publish",
  "unpublish",
  "ownNames",
  "setRecords",
  "removeRecords",
  "addZone",
  "setZoneNames",
  "flushDns",
] as const satisfies readonly (keyof ServedGateway)[];
/** One of {@linkcode CALLS}. */
export type CallName = typeof CALLS[number];

/** A zone that was made a local one while the gateway ran. */
export type ZoneChange = Parameters<ServedGateway["addZone"]>;

/** The names of services of a zone. */
export type ZoneNames = Parameters<ServedGateway["setZoneNames"]>;

/** A guest as a worker is given it. */
export interface WorkerGuest {
  readonly name: string;
  readonly endpoint: VmmEndpoint;
  /** Without what is no plain data. */
  readonly options: Omit<ServeOptions, "logger" | "signal" | "judge">;
  /** Zones that were added since it was configured. */
  readonly zones: readonly ZoneChange[];
  /** The names of services that it was told last; `null` where it never was. */
  readonly services: ZoneNames | null;
  /** Its place in a shared network: which of those of the start, and which of its members. */
  readonly lan: { readonly network: number; readonly self: number } | null;
}

/** A shared network as a worker is given it. */
export interface WorkerNetwork {
  readonly members: readonly LanMember[];
  /** Memory that all workers have, for the frames between its members. */
  readonly buffer: SharedArrayBuffer;
  /** Which worker serves each member. */
  readonly workerOf: readonly number[];
}

/** What a stream is of. */
export type StreamKind = { readonly of: "events" } | {
  readonly of: "capture";
  readonly options: Omit<CaptureOptions, "signal">;
};

/** What a stream brings. */
export type StreamItem = GatewayEvent | Uint8Array;

/** What a guest's start came to. */
export type GuestStart = StartedGuest | FaultData;

/** From the main isolate to a worker. A guest goes by its place among the worker's. */
export type ToWorker =
  | {
    readonly type: "start";
    /** Its number among the workers. */
    readonly worker: number;
    readonly guests: readonly WorkerGuest[];
    /** Whether none is to be served where one can't be. */
    readonly isWhole: boolean;
    readonly networks: readonly WorkerNetwork[];
    /** The networks of all guests, as addresses with lengths: nothing there is dialled. */
    readonly subnets: readonly string[];
    /** Whether there is a judge in the main isolate. */
    readonly judges: boolean;
    /** Ports that others of the program listen on. */
    readonly avoid: OwnPorts;
  }
  | {
    readonly type: "call";
    readonly id: number;
    readonly guest: number;
    readonly method: CallName;
    readonly args: readonly unknown[];
  }
  | {
    readonly type: "open";
    readonly id: number;
    readonly guest: number;
    readonly stream: StreamKind;
  }
  | { readonly type: "next"; readonly id: number }
  | { readonly type: "leave"; readonly id: number }
  | { readonly type: "verdict"; readonly id: number; readonly verdict: JudgeVerdict | FaultData }
  | { readonly type: "avoid"; readonly ports: OwnPorts }
  /** What a guest is served with that is not known to be served yet. */
  | { readonly type: "policy"; readonly guest: number; readonly policy: PolicyConfig }
  /** A guest of the start that could not be served then. */
  | { readonly type: "again"; readonly guest: number; readonly wanted: WorkerGuest }
  | { readonly type: "end"; readonly how: "close" | "abort" };

/** What was chosen for a guest where its configuration left that open. */
export interface StartedGuest {
  readonly endpoint: VmmEndpoint;
  readonly published: readonly PublishedPort[];
}

/** From a worker to the main isolate. */
export type FromWorker =
  | { readonly type: "started"; readonly guests: readonly GuestStart[] }
  | { readonly type: "failed"; readonly guest: number; readonly fault: FaultData }
  | { readonly type: "came"; readonly guest: number; readonly start: GuestStart }
  | { readonly type: "answer"; readonly id: number; readonly value: unknown }
  | { readonly type: "fault"; readonly id: number; readonly fault: FaultData }
  /** `null` at the end. */
  | { readonly type: "item"; readonly id: number; readonly item: StreamItem | null }
  | {
    readonly type: "judge";
    readonly id: number;
    readonly guest: number;
    readonly flow: JudgedFlow;
    readonly name: string | null;
  }
  | { readonly type: "judged"; readonly id: number }
  | {
    readonly type: "log";
    readonly guest: number;
    readonly level: "debug" | "info" | "warn" | "error";
    readonly message: string;
    readonly fields: LogFields;
  }
  | { readonly type: "ports"; readonly guest: number; readonly ports: OwnPorts }
  | { readonly type: "finished"; readonly guest: number; readonly fault: FaultData | null };
