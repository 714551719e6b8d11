/**
 * A client of a running gateway's control interface. Its methods are those of the server and the
 * runtime in the same process, with promises.
 *
 * @example What a gateway has refused
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { serveControl } from "@virtio/gateway/control";
 * import { GatewayClient } from "@virtio/gateway/client";
 * import { assertEquals } from "@std/assert";
 *
 * // In the program that serves; `run --control unix:/path` does the same on the command line.
 * const token = "0".repeat(64); // of 32 random octets, in a program that matters
 * const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(anyPort);
 * await using control = await serveControl(server, anyPort, { version: "1.0.0", token });
 *
 * const gateway = new GatewayClient(control.endpoint, { token });
 * const refused = await gateway.denials();
 * const lines = refused.map(({ denial, count }) => `${count} ${denial.name ?? denial.destination}`);
 * assertEquals(lines, []); // no guest has come
 * ```
 *
 * @module
 */
import type { Endpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { PolicyConfig, PortMapping } from "../config/options.ts";
import type { RecordSpec } from "../dns/record_spec.ts";
import type { CaptureOptions } from "../host/capture_set.ts";
import type { Gateway } from "../host/gateway.ts";
import type { FleetReport } from "../host/fleet_report.ts";
import type { FlowInfo } from "../host/flow_info.ts";
import type { OwnName } from "../host/guest_names.ts";
import { pause, systemClock } from "../host/host_clock.ts";
import type { EventStream, GatewayEvent } from "../host/gateway_event.ts";
import { placeOf, type PublishedPlace, type PublishedPort } from "../config/published.ts";
import type { DenialGroup } from "../policy/denial_log.ts";
import type { Pin } from "../policy/pins.ts";
import type {
  ControlErrorBody,
  DenialReport,
  DnsReport,
  FlowFilter,
  FlowReport,
  FlushReport,
  GatewayStatus,
  GuestListing,
  GuestsReport,
  LiveExplanation,
  PinReport,
  PortReport,
  ReloadReport,
} from "./api.ts";
import type { ControlFaultCode } from "./control_fault.ts";
import { type ClientRequest, noGateway, openAnswer, wholeAnswer } from "./http_client.ts";
import { serverSentEvents } from "./sse_reader.ts";

export { type Endpoint, parseEndpoint } from "../config/endpoint.ts";
export { GatewayError, type GatewayErrorCode } from "../config/errors.ts";
export type { EchMode, PolicyConfig, PortMapping, ProtectLevel } from "../config/options.ts";
export type {
  FleetAuditReport,
  FleetDocumentReport,
  FleetEngineReport,
  FleetPolicyReport,
  FleetRegistryReport,
  FleetRejection,
  FleetReport,
} from "../host/fleet_report.ts";
export type { RecordFields, RecordSpec } from "../dns/record_spec.ts";
export type { RecordText } from "../dns/record_text.ts";
export type { CaptureOptions } from "../host/capture_set.ts";
export type { DnsCounts } from "../host/dns_counts.ts";
export type { Awaitable, Gateway } from "../host/gateway.ts";
export type { FlowInfo } from "../host/flow_info.ts";
export type {
  DenialEvent,
  EventPlace,
  EventsLostEvent,
  EventStream,
  GatewayEvent,
  GuestAttachedEvent,
  GuestDetachedEvent,
  GuestLeftEvent,
  GuestReturnedEvent,
  PolicyChangedEvent,
} from "../host/gateway_event.ts";
export type { GuestFigures, GuestLink } from "../host/guest_network.ts";
export type { OwnName } from "../host/guest_names.ts";
export type { GuestWorker } from "../host/served_guests.ts";
export type { PublishedPlace, PublishedPort, PublishedProtocol } from "../config/published.ts";
export type { Denial, DenialReason } from "../policy/denial.ts";
export type { DenialGroup } from "../policy/denial_log.ts";
export type { Pin } from "../policy/pins.ts";
export type { Explanation, Finding } from "../policy/explain.ts";
export type {
  DenialReport,
  DnsReport,
  FlowFilter,
  FlowReport,
  GatewayStatus,
  GuestListing,
  GuestsReport,
  GuestStatus,
  LiveExplanation,
  PolicySummary,
  ReloadReport,
} from "./api.ts";

/**
 * How a client asks. For {@linkcode GatewayClient}.
 */
export interface ClientOptions {
  /** The token of an interface on TCP. */
  readonly token?: string;
  /** The guest that is meant, by its name; where one alone is served, it need not be named. */
  readonly guest?: string;
}

/**
 * How one question is asked. For the methods of {@linkcode GatewayClient}.
 */
export interface CallOptions {
  /** Gives it up: the promise then rejects with the signal's reason, whatever the gateway did. */
  readonly signal?: AbortSignal;
}

/** Shortest and longest pause before a stream that broke is asked for again. */
const AGAIN_MS = 200;
const AGAIN_MAX_MS = 5_000;
const OK = 200;
const ABSENT: ControlFaultCode = "absent";

/**
 * A running gateway, by its control interface.
 *
 * @example Publish a port of a gateway in another process
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { serveControl } from "@virtio/gateway/control";
 * import { GatewayClient } from "@virtio/gateway/client";
 * import { assertEquals } from "@std/assert";
 *
 * const token = "0".repeat(64); // of 32 random octets, in a program that matters
 * const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(anyPort); // this process stands for the other one
 * await using control = await serveControl(server, anyPort, { version: "1.0.0", token });
 *
 * const gateway = new GatewayClient(control.endpoint, { token });
 * const [port] = await gateway.publish(
 *   { hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] },
 *   { signal: AbortSignal.timeout(5_000) },
 * );
 * assertEquals(await gateway.published(), [port]);
 * assertEquals(await gateway.unpublish(port!.hostPort), [port]);
 * assertEquals(await gateway.flows({ protocol: "tcp" }), []); // no guest is attached
 * assertEquals((await gateway.status()).guest, null);
 * assertEquals((await gateway.guests()).map(({ name, link }) => [name, link]), [
 *   ["default", null], // serve several guests, and ask `gateway.withGuest("db")`
 * ]);
 * ```
 */
export class GatewayClient implements Gateway {
  /** Where the control interface is. */
  readonly endpoint: Endpoint;
  readonly #options: ClientOptions;
  readonly #headers: Readonly<Record<string, string>>;

  /**
   * Makes a client; nothing is connected yet.
   *
   * @param endpoint Where the control interface is.
   * @param options The token, over TCP, and the guest, where several are served.
   */
  constructor(endpoint: Endpoint, options: ClientOptions = {}) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#headers = options.token === undefined ? {} : { Authorization: `Bearer ${options.token}` };
  }

  /** The guests that are served, at a glance; one alone is there as `default`, or by its name. */
  async guests(options: CallOptions = {}): Promise<readonly GuestListing[]> {
    return (await this.guestsReport(options)).guests;
  }

  /** The same, and the workers that serve them. */
  guestsReport(options: CallOptions = {}): Promise<GuestsReport> {
    return this.#ask({ method: "GET", path: "/v1/guests", ...options });
  }

  /**
   * A client that asks the same gateway about another guest.
   *
   * @param guest Its name in `guests`.
   */
  withGuest(guest: string): GatewayClient {
    return new GatewayClient(this.endpoint, { ...this.#options, guest });
  }

  /** The gateway at a glance, as it serves the guest. */
  status(options: CallOptions = {}): Promise<GatewayStatus> {
    return this.#ask({ method: "GET", path: this.#path("/status"), ...options });
  }

  /** What the guest was refused, or the one before it where none is attached; the latest first. */
  async denials(options: CallOptions = {}): Promise<readonly DenialGroup[]> {
    return (await this.denialReport(options)).groups;
  }

  /** How often each rule has refused something to the same guest. */
  async denialsByRule(options: CallOptions = {}): Promise<ReadonlyMap<string, number>> {
    return new Map(Object.entries((await this.denialReport(options)).byRule));
  }

  /** Both in one question. */
  denialReport(options: CallOptions = {}): Promise<DenialReport> {
    return this.#ask({ method: "GET", path: this.#path("/denials"), ...options });
  }

  /** The policy in force, whole, its rules in canonical form. */
  policy(options: CallOptions = {}): Promise<Required<PolicyConfig>> {
    return this.#ask({ method: "GET", path: this.#path("/policy"), ...options });
  }

  /**
   * Puts another policy into force. Flows that it does not allow end at once.
   *
   * @param policy The whole policy; what is absent has its default.
   * @returns It, with its rules in canonical form.
   * @throws {GatewayError} Where it is wrong; the old one then stays in force.
   */
  setPolicy(
    policy: PolicyConfig,
    options: CallOptions = {},
  ): Promise<Required<PolicyConfig>> {
    return this.#ask({ method: "PUT", path: this.#path("/policy"), body: policy, ...options });
  }

  /**
   * Would the guest reach a target, by which rule, and what would change that.
   *
   * @param target `pypi.org`, `pypi.org:443`, `10.0.0.5:5432/tcp` or a URL.
   * @throws {GatewayError} Where the target is none.
   */
  explain(target: string, options: CallOptions = {}): Promise<LiveExplanation> {
    return this.#ask({
      method: "POST",
      path: this.#path("/explain"),
      body: { target },
      ...options,
    });
  }

  /** Which names lead to which addresses for the guest that is attached, and until when. */
  async pins(options: CallOptions = {}): Promise<readonly Pin[]> {
    return (await this.#ask<PinReport>({ method: "GET", path: this.#path("/pins"), ...options }))
      .pins;
  }

  /**
   * The attached guest's flows at this moment, the latest first.
   *
   * @param filter Which of them, and how many at most; the latest 1,000 when absent.
   * @throws {GatewayError} Where the filter is wrong.
   */
  async flows(filter: FlowFilter = {}, options: CallOptions = {}): Promise<readonly FlowInfo[]> {
    return (await this.flowReport(filter, options)).flows;
  }

  /** The same, and how many there are beyond the limit. */
  flowReport(filter: FlowFilter = {}, options: CallOptions = {}): Promise<FlowReport> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(filter)) {
      if (value !== undefined) query.set(name, String(value));
    }
    return this.#ask({ method: "GET", path: this.#path(`/flows?${query}`), ...options });
  }

  /**
   * Ends a flow at once: a TCP flow with a reset.
   *
   * @param id Its number in `flows`.
   * @returns Whether there was one.
   */
  async endFlow(id: number, options: CallOptions = {}): Promise<boolean> {
    return await this.#askUnlessAbsent({
      method: "DELETE",
      path: this.#path(`/flows/${id}`),
      ...options,
    }) !== null;
  }

  /** The ports of the host that lead to the guest. */
  async published(options: CallOptions = {}): Promise<readonly PublishedPort[]> {
    return (await this.#ask<PortReport>({ method: "GET", path: this.#path("/ports"), ...options }))
      .published;
  }

  /**
   * Publishes another port.
   *
   * @param mapping The host's port, at whatever addresses, and the guest's.
   * @returns What is bound for it.
   * @throws {GatewayError} Where the mapping is wrong, or an address is in use or not permitted;
   * nothing is then bound.
   */
  async publish(
    mapping: PortMapping,
    options: CallOptions = {},
  ): Promise<readonly PublishedPort[]> {
    const request = { method: "POST", path: this.#path("/ports"), body: mapping, ...options };
    return (await this.#ask<PortReport>(request)).published;
  }

  /**
   * Takes a published port back. Connections that came through it go on; flows of datagrams end.
   *
   * @param place The host's TCP port, or the place.
   * @param bind Beside a port: the one address that is meant; all when absent.
   * @returns What is no longer bound; empty where nothing was.
   */
  async unpublish(
    place: number | PublishedPlace,
    bind?: string,
    options: CallOptions = {},
  ): Promise<readonly PublishedPort[]> {
    const { hostPort = 0, ...rest } = placeOf(place, bind);
    const query = new URLSearchParams();
    if (rest.bind !== undefined) query.set("bind", rest.bind);
    if (rest.protocol !== undefined) query.set("protocol", rest.protocol);
    const path = this.#path(`/ports/${hostPort}${query.size === 0 ? "" : `?${query}`}`);
    const request = { method: "DELETE", path, ...options };
    return (await this.#askUnlessAbsent<PortReport>(request))?.published ?? [];
  }

  /** What became of the guest's questions, and the names that the gateway answers itself. */
  dns(options: CallOptions = {}): Promise<DnsReport> {
    return this.#ask({ method: "GET", path: this.#path("/dns"), ...options });
  }

  /**
   * Gives a name records of its own, in place of those that it had, until the gateway ends. A guest
   * may keep what it was told before for its time to live.
   *
   * @param name A host name, or `*.` and one for all below it that do not exist.
   * @param records Addresses, or records by type.
   * @returns The name and what it has, as `dns` says it.
   * @throws {GatewayError} Where one of them is wrong, or 4,096 names have records; nothing has then
   * changed.
   */
  setRecords(name: string, records: RecordSpec, options: CallOptions = {}): Promise<OwnName> {
    const body = { name, records };
    return this.#ask({ method: "POST", path: this.#path("/dns/records"), body, ...options });
  }

  /**
   * Takes the records of a name away: it is asked of the upstreams again or, in a local zone, does not
   * exist. The gateway's own names stay.
   *
   * @param name The name.
   * @returns The name and what it had; `null` where there was nothing to take away.
   */
  removeRecords(name: string, options: CallOptions = {}): Promise<OwnName | null> {
    const path = this.#path(`/dns/records/${encodeURIComponent(name)}`);
    return this.#askUnlessAbsent({ method: "DELETE", path, ...options });
  }

  /**
   * Forgets the answers that are kept for the guest.
   *
   * @returns Whether a guest is attached; without one nothing is kept.
   */
  async flushDns(options: CallOptions = {}): Promise<boolean> {
    return (await this.#ask<FlushReport>({
      method: "POST",
      path: this.#path("/dns/flush"),
      ...options,
    }))
      .hasGuest;
  }

  /**
   * Has the configuration's file read again, and its policy put into force.
   *
   * @throws {GatewayError} Where the file is wrong, and nothing has changed, or where the gateway
   * was started without one.
   */
  reload(options: CallOptions = {}): Promise<ReloadReport> {
    return this.#ask({ method: "POST", path: "/v1/reload", ...options });
  }

  /**
   * How the gateway stands in its fleet.
   *
   * @throws {GatewayError} Where it is in none.
   *
   * @example A gateway that is in no fleet says so
   * ```ts
   * import { serveVirtioNetwork } from "@virtio/gateway";
   * import { GatewayClient, GatewayError } from "@virtio/gateway/client";
   * import { serveControl } from "@virtio/gateway/control";
   * import { assert } from "@std/assert";
   *
   * const token = "0".repeat(64); // of 32 random octets, in a program that matters
   * const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
   * await using server = await serveVirtioNetwork(anyPort);
   * await using control = await serveControl(server, anyPort, { version: "1.0.0", token });
   * const client = new GatewayClient(control.endpoint, { token });
   * assert(await client.fleet().catch((error: unknown) => error) instanceof GatewayError);
   * ```
   */
  fleet(options: CallOptions = {}): Promise<FleetReport> {
    return this.#ask({ method: "GET", path: "/v1/fleet", ...options });
  }

  /** Has the gateway let queued bytes drain, and end; it may still be there for a while. */
  async stop(options: CallOptions = {}): Promise<void> {
    await this.#ask({ method: "POST", path: "/v1/stop", ...options });
  }

  /** Whether the gateway takes guests; not where it is stopping. */
  async isReady(options: CallOptions = {}): Promise<boolean> {
    const { status } = await this.#whole({ method: "GET", path: "/readyz", ...options });
    return status === OK;
  }

  /**
   * What happens from now on, until the iteration is left or the gateway has ended. A stream that
   * breaks is asked for again, from behind the event that came last.
   *
   * @param signal Ends the iteration.
   * @throws {GatewayError} Where no gateway answers at first, or it has too many readers.
   */
  events(signal?: AbortSignal): EventStream {
    const events = this.#events(signal);
    let dropped = 0;
    return {
      get dropped() {
        return dropped;
      },
      async next() {
        const next = await events.next();
        if (next.done) return { done: true, value: undefined };
        if (next.value.type === "events-lost") dropped += next.value.count;
        return next;
      },
      async return() {
        await events.return();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  async *#events(signal?: AbortSignal): AsyncGenerator<GatewayEvent, void> {
    let lastEventId = "";
    let pauseMs = AGAIN_MS;
    for (let isFirst = true; !signal?.aborted; isFirst = false) {
      const headers = lastEventId === "" ? {} : { "Last-Event-ID": lastEventId };
      const request = { method: "GET", path: this.#path("/events"), headers, signal };
      const answer = await this.#open(request).catch((error) => {
        if (isFirst || !isGone(error)) throw error;
        return null;
      });
      if (answer === null || signal?.aborted) return;
      for await (const { id, data } of serverSentEvents(answer)) {
        if (id !== "") lastEventId = id;
        if (data === "") continue;
        pauseMs = AGAIN_MS;
        yield JSON.parse(data);
      }
      await pause(systemClock, pauseMs, signal);
      pauseMs = Math.min(AGAIN_MAX_MS, 2 * pauseMs);
    }
  }

  /**
   * The guest's frames from now on, as a file of pcapng, bit by bit, until the iteration is left, the
   * signal fires, or the gateway has ended.
   *
   * @param options Which frames, how much of each, and what ends it.
   * @throws {GatewayError} Where the filter is none, no gateway answers, or it has too many readers.
   */
  async *capture(options: CaptureOptions = {}): AsyncIterableIterator<Uint8Array> {
    const { filter, snapLength, signal } = options;
    const query = new URLSearchParams({
      ...(filter === undefined ? {} : { filter }),
      ...(snapLength === undefined ? {} : { snap: String(snapLength) }),
    });
    yield* await this.#open({ method: "GET", path: this.#path(`/capture?${query}`), signal });
  }

  /** Of the guest that is meant. */
  #path(rest: string): string {
    const { guest } = this.#options;
    return guest === undefined ? `/v1${rest}` : `/v1/guests/${encodeURIComponent(guest)}${rest}`;
  }

  async #open(request: ClientRequest): Promise<AsyncIterable<Uint8Array>> {
    const headers = { ...this.#headers, ...request.headers };
    const { status, body } = await openAnswer(this.endpoint, { ...request, headers });
    if (status === OK) return body;
    throw this.#fault(status, this.#parse(await join(body)));
  }

  async #ask<T>(request: ClientRequest): Promise<T> {
    const { status, value } = await this.#answer(request);
    if (status !== OK) throw this.#fault(status, value);
    return value as T;
  }

  /** As `#ask`; `null` where what is named is not there. */
  async #askUnlessAbsent<T>(request: ClientRequest): Promise<T | null> {
    const { status, value } = await this.#answer(request);
    if (status === OK) return value as T;
    if ((value as Partial<ControlErrorBody> | null)?.error?.code === ABSENT) return null;
    throw this.#fault(status, value);
  }

  async #answer(request: ClientRequest): Promise<{ status: number; value: unknown }> {
    const { status, body } = await this.#whole({ ...request, headers: this.#headers });
    return { status, value: this.#parse(body) };
  }

  async #whole(request: ClientRequest): Promise<{ status: number; body: Uint8Array }> {
    request.signal?.throwIfAborted();
    try {
      return await wholeAnswer(this.endpoint, request);
    } catch (error) {
      request.signal?.throwIfAborted();
      throw error;
    }
  }

  #fault(status: number, value: unknown): GatewayError {
    const error = (value as Partial<ControlErrorBody> | null)?.error;
    const { code, message = `status ${status}`, hint = "" } = error ?? {};
    return new GatewayError(code === "invalid" ? "config" : "control", message, { hint });
  }

  #parse(body: Uint8Array): unknown {
    try {
      return JSON.parse(new TextDecoder().decode(body));
    } catch (error) {
      throw noGateway(this.endpoint, "its answer is not JSON", error);
    }
  }
}

/** Nobody is there any more, or not for us: a gateway that ends is no error of who listens. */
function isGone(error: unknown): boolean {
  return error instanceof GatewayError && error.code === "no-gateway";
}

async function join(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts = await Array.fromAsync(stream) as Uint8Array<ArrayBuffer>[];
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
