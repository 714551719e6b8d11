/**
 * A guest in a worker, as the program and the control interface see it. What is changed while it runs
 * is remembered here, so that a worker that had to start again serves it as it was.
 *
 * @module
 */
import type { VmmEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { PolicyConfig, PortMapping } from "../config/options.ts";
import { mappingOf } from "../config/port_spec.ts";
import type { PublishedPlace, PublishedPort } from "../config/published.ts";
import type { RecordSpec } from "../dns/record_spec.ts";
import type { CaptureOptions } from "../host/capture_set.ts";
import type { FlowInfo } from "../host/flow_info.ts";
import type { EventStream } from "../host/gateway_event.ts";
import type { OwnName } from "../host/guest_names.ts";
import type { GatewayPulse, GatewaySnapshot, ServedGateway } from "../host/served_gateway.ts";
import type { DenialGroup } from "../policy/denial_log.ts";
import type { Explanation } from "../policy/explain.ts";
import type { Pin } from "../policy/pins.ts";
import { GuestEvents } from "./guest_events.ts";
import type { GuestWorker, WorkerStream } from "./guest_worker.ts";
import type {
  CallName,
  StartedGuest,
  StreamItem,
  StreamKind,
  WorkerGuest,
  ZoneChange,
  ZoneNames,
} from "./messages.ts";

/** Where a guest is served. */
export interface Place {
  readonly worker: GuestWorker;
  /** Its place among the worker's guests. */
  readonly at: number;
}

/** A guest that is served in a worker. */
export class GuestHandle implements ServedGateway {
  /** Its name. */
  readonly name: string;
  /** Its place in a shared network. */
  readonly lan: WorkerGuest["lan"];
  #place: Place | null = null;
  readonly #readers = new Set<GuestEvents>();
  #isOver = false;
  #endpoint: VmmEndpoint;
  #options: WorkerGuest["options"];
  readonly #zones: ZoneChange[] = [];
  #services: ZoneNames | null = null;
  /** Where it is about to be served. */
  #coming: Place | null = null;

  /** Begins with how it is configured. */
  constructor({ name, endpoint, options, lan }: WorkerGuest) {
    this.name = name;
    this.lan = lan;
    this.#endpoint = endpoint;
    this.#options = options;
  }

  /** How a worker is to serve it: as configured, with what was changed since. */
  get wanted(): WorkerGuest {
    return {
      name: this.name,
      lan: this.lan,
      endpoint: this.#endpoint,
      options: this.#options,
      zones: this.#zones,
      services: this.#services,
    };
  }

  /** Where its VMM is met. */
  get endpoint(): VmmEndpoint {
    return this.#endpoint;
  }

  /** A worker has been told to serve it, as it is wanted at this moment. */
  coming(place: Place): void {
    this.#coming = place;
  }

  /** Its worker serves it: what was chosen for it stays the same with the next one. */
  placed(place: Place, { endpoint, published }: StartedGuest): void {
    this.#place = place;
    this.#coming = null;
    this.#endpoint = endpoint;
    this.#notePublished(published);
    for (const reader of this.#readers) reader.goOn(openEvents(place));
    // Others may have come while the worker was starting.
    if (this.#services !== null) this.#call("setZoneNames", ...this.#services).catch(() => {});
  }

  /** Its worker has failed. */
  lost(): void {
    this.#place = this.#coming = null;
  }

  /** It is served no more: what waits for it ends. */
  over(): void {
    this.#isOver = true;
    this.#place = this.#coming = null;
    for (const reader of this.#readers) reader.end();
  }

  /** All of it that is asked for at once. */
  snapshot(): Promise<GatewaySnapshot> {
    return this.#call("snapshot") as Promise<GatewaySnapshot>;
  }

  /** As of the server. */
  pulse(): Promise<GatewayPulse> {
    return this.#call("pulse") as Promise<GatewayPulse>;
  }

  /** As of the server. */
  denials(): Promise<DenialGroup[]> {
    return this.#call("denials") as Promise<DenialGroup[]>;
  }

  /** As of the server. */
  denialsByRule(): Promise<ReadonlyMap<string, number>> {
    return this.#call("denialsByRule") as Promise<ReadonlyMap<string, number>>;
  }

  /** As of the server. */
  async setPolicy(policy: PolicyConfig): Promise<void> {
    await this.#call("setPolicy", policy);
    this.#options = { ...this.#options, policy };
  }

  /**
   * As of the server; where no worker serves the guest, the next one is told. One that starts may serve
   * it already while it starts the others, so it is told at once.
   */
  async enforcePolicy(policy: PolicyConfig): Promise<void> {
    this.#options = { ...this.#options, policy };
    const place = this.#place;
    const coming = this.#coming;
    if (place === null) {
      coming?.worker.post({ type: "policy", guest: coming.at, policy });
      return;
    }
    try {
      await place.worker.call(place.at, "setPolicy", [policy]);
    } catch (error) {
      if (this.#place === place) throw error; // else the next worker has it
    }
  }

  /** As of the server. */
  explain(target: string): Promise<Explanation> {
    return this.#call("explain", target) as Promise<Explanation>;
  }

  /** As of the server. */
  pins(): Promise<Pin[]> {
    return this.#call("pins") as Promise<Pin[]>;
  }

  /** As of the server. */
  flows(): Promise<FlowInfo[]> {
    return this.#call("flows") as Promise<FlowInfo[]>;
  }

  /** As of the server. */
  endFlow(id: number): Promise<boolean> {
    return this.#call("endFlow", id) as Promise<boolean>;
  }

  /** As of the server. */
  async publish(mapping: PortMapping): Promise<readonly PublishedPort[]> {
    const added = await this.#call("publish", mapping) as PublishedPort[];
    this.#notePublished((await this.snapshot()).published, [mapping]);
    return added;
  }

  /** As of the server. */
  async unpublish(
    place: number | PublishedPlace,
    bind?: string,
  ): Promise<readonly PublishedPort[]> {
    const removed = await this.#call("unpublish", place, bind) as PublishedPort[];
    this.#notePublished((await this.snapshot()).published);
    return removed;
  }

  /** As of the server. */
  ownNames(): Promise<OwnName[]> {
    return this.#call("ownNames") as Promise<OwnName[]>;
  }

  /** As of the server. */
  async setRecords(name: string, records: RecordSpec): Promise<OwnName> {
    const set = await this.#call("setRecords", name, records) as OwnName;
    this.#noteRecords(set.name, records);
    return set;
  }

  /** As of the server. */
  async removeRecords(name: string): Promise<OwnName | null> {
    const removed = await this.#call("removeRecords", name) as OwnName | null;
    if (removed !== null) this.#noteRecords(removed.name, null);
    return removed;
  }

  /** As of the server. */
  async addZone(...zone: ZoneChange): Promise<void> {
    await this.#call("addZone", ...zone);
    const at = this.#zones.findIndex(([name]) => name === zone[0]);
    // Addresses of a zone that is known come in front of those that it has: each step counts.
    if (at < 0 || this.#zones.length < ZONE_STEPS_MAX) this.#zones.push(zone);
    else this.#zones.splice(at, 1, zone);
  }

  /** As of the server; where no worker serves the guest, the next one is told. */
  async setZoneNames(...services: ZoneNames): Promise<void> {
    this.#services = services;
    if (this.#place !== null) await this.#call("setZoneNames", ...services);
  }

  /** As of the server. */
  flushDns(): Promise<boolean> {
    return this.#call("flushDns") as Promise<boolean>;
  }

  /**
   * What happens from now on, which is when its worker takes the call: what was answered after this
   * one is behind it. Goes on where the worker had to start again.
   */
  events(signal?: AbortSignal): EventStream {
    const onAbort = (): void => events.end();
    const events: GuestEvents = new GuestEvents(() => {
      this.#readers.delete(events);
      signal?.removeEventListener("abort", onAbort);
    });
    this.#readers.add(events);
    signal?.addEventListener("abort", onAbort);
    if (this.#isOver || signal?.aborted) events.end();
    else if (this.#place !== null) events.goOn(openEvents(this.#place));
    return events;
  }

  /** As of the server; ends where the worker does. */
  capture({ signal, ...options }: CaptureOptions = {}): AsyncIterableIterator<Uint8Array> {
    const stream = this.#open(this.#placeNow(), { of: "capture", options }, signal);
    return stream as AsyncIterableIterator<Uint8Array>;
  }

  /** Opens a stream at once, so that nothing is missed before the first step. */
  #open(
    { worker, at }: Place,
    kind: StreamKind,
    signal: AbortSignal | undefined,
  ): AsyncIterableIterator<StreamItem> {
    const stream = worker.open(at, kind);
    let isLeft = false;
    const leave = (): void => {
      isLeft = true;
      signal?.removeEventListener("abort", leave);
      stream.leave();
    };
    if (signal?.aborted) leave();
    else signal?.addEventListener("abort", leave);
    const end = { done: true, value: undefined } as const;
    return {
      async next() {
        const item = isLeft ? null : await stream.next();
        return item === null ? end : { done: false, value: item };
      },
      return() {
        leave();
        return Promise.resolve(end);
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  #call(method: CallName, ...args: readonly unknown[]): Promise<unknown> {
    try {
      const { worker, at } = this.#placeNow();
      return worker.call(at, method, args);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #placeNow(): Place {
    if (this.#place !== null) return this.#place;
    if (this.#isOver) throw new GatewayError("closed", `the guest "${this.name}" is stopping`);
    throw new GatewayError("closed", `the guest "${this.name}" is not served at this moment`, {
      hint: "Its worker failed and starts again; ask again in a moment",
    });
  }

  /** What is published for the guest by then, as it was asked for. */
  #notePublished(published: readonly PublishedPort[], added: readonly PortMapping[] = []): void {
    const asked = [...this.#options.publishedPorts ?? [], ...added];
    const publishedPorts = published.map((port) => mappingOf(port, asked));
    this.#options = { ...this.#options, publishedPorts };
  }

  #noteRecords(name: string, spec: RecordSpec | null): void {
    const records = { ...this.#options.dns?.records };
    for (const known of Object.keys(records)) {
      if (known.replace(/\.$/, "").toLowerCase() === name) delete records[known];
    }
    if (spec !== null) records[name] = spec;
    this.#options = { ...this.#options, dns: { ...this.#options.dns, records } };
  }
}

/** Most steps by which zones were made that are remembered. */
const ZONE_STEPS_MAX = 1_024;

function openEvents({ worker, at }: Place): WorkerStream {
  return worker.open(at, { of: "events" });
}
