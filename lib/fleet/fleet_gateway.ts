/**
 * The gateways of a fleet's member, as the control interface, a reload and the program work on them:
 * everything is asked of the gateway behind, but a policy that is said here is only what this host
 * says, beneath the fleet's documents, and takes nothing of theirs away.
 *
 * @module
 */
import type { Endpoint } from "../config/endpoint.ts";
import type { PolicyConfig, PortMapping } from "../config/options.ts";
import type { PublishedPlace, PublishedPort } from "../config/published.ts";
import type { RecordSpec } from "../dns/record_spec.ts";
import type { CaptureOptions } from "../host/capture_set.ts";
import type { FlowInfo } from "../host/flow_info.ts";
import type { Awaitable } from "../host/gateway.ts";
import type { EventStream } from "../host/gateway_event.ts";
import type { OwnName } from "../host/guest_names.ts";
import type { GatewayPulse, GatewaySnapshot, ServedGateway } from "../host/served_gateway.ts";
import type { GuestWorker, ListensBeside, ServedGuests } from "../host/served_guests.ts";
import type { SocketUse, VmmListener } from "../host/vmm_endpoint.ts";
import type { DenialGroup } from "../policy/denial_log.ts";
import type { Explanation } from "../policy/explain.ts";
import type { Pin } from "../policy/pins.ts";
import type { FleetPolicy } from "./fleet_policy.ts";

/** What a decorated gateway knows beside the gateway behind. */
export interface FleetGatewayOptions {
  /** The guest's name in the fleet. */
  readonly name: string;
  /** The fleet's policy. */
  readonly policy: FleetPolicy;
  /** Hears that the guest's published ports have changed. */
  readonly onPorts: () => void;
}

/**
 * A guest's gateway in a fleet. {@linkcode prepareFleet} leads to it.
 */
export class FleetGateway implements ServedGateway {
  readonly #inner: ServedGateway;
  readonly #options: FleetGatewayOptions;

  /**
   * For `PreparedFleet.join`.
   *
   * @internal
   */
  constructor(inner: ServedGateway, options: FleetGatewayOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  /** What this host says of the policy, without the fleet's documents. */
  get hostPolicy(): PolicyConfig {
    return this.#options.policy.hostPolicy(this.#options.name);
  }

  /**
   * Puts another policy of this host into force, beneath the fleet's documents: what they deny stays
   * denied, and `snapshot` shows what has come of both.
   *
   * @param policy What the host says, whole; what is absent has its default.
   * @throws {ConfigError} Where it is wrong, or does not fit beside the documents; what was in force
   * then stays.
   */
  setPolicy(policy: PolicyConfig): Promise<void> {
    return this.#options.policy.setHost(this.#options.name, policy);
  }

  /**
   * As `setPolicy`: nobody goes past the fleet's documents.
   *
   * @internal
   */
  enforcePolicy(policy: PolicyConfig): Promise<void> {
    return this.setPolicy(policy);
  }

  /** All of it that is asked for at once; its policy is the one in force. */
  snapshot(): Awaitable<GatewaySnapshot> {
    return this.#inner.snapshot();
  }

  /**
   * What changes often.
   *
   * @internal
   */
  pulse(): Awaitable<GatewayPulse> {
    return this.#inner.pulse();
  }

  /** What the guest was refused; the latest first. */
  denials(): Awaitable<readonly DenialGroup[]> {
    return this.#inner.denials();
  }

  /** How often each rule has refused something. */
  denialsByRule(): Awaitable<ReadonlyMap<string, number>> {
    return this.#inner.denialsByRule();
  }

  /**
   * Would the guest reach a target, by the policy in force.
   *
   * @param target `pypi.org`, `pypi.org:443`, `10.0.0.5:5432/tcp` or a URL.
   */
  explain(target: string): Awaitable<Explanation> {
    return this.#inner.explain(target);
  }

  /** Which names lead to which addresses for the guest. */
  pins(): Awaitable<readonly Pin[]> {
    return this.#inner.pins();
  }

  /** The guest's flows at this moment, the latest first. */
  flows(): Awaitable<readonly FlowInfo[]> {
    return this.#inner.flows();
  }

  /**
   * Ends a flow at once.
   *
   * @param id Its number in `flows`.
   */
  endFlow(id: number): Awaitable<boolean> {
    return this.#inner.endFlow(id);
  }

  /**
   * Publishes another port, which may be one of a service.
   *
   * @param mapping The host's port, at whatever addresses, and the guest's.
   */
  async publish(mapping: PortMapping): Promise<readonly PublishedPort[]> {
    const published = await this.#inner.publish(mapping);
    this.#options.onPorts();
    return published;
  }

  /**
   * Takes a published port back.
   *
   * @param place The host's TCP port, or the place.
   * @param bind Beside a port: the one address that is meant; all when absent.
   */
  async unpublish(
    place: number | PublishedPlace,
    bind?: string,
  ): Promise<readonly PublishedPort[]> {
    const removed = await this.#inner.unpublish(place, bind);
    this.#options.onPorts();
    return removed;
  }

  /** The names that the gateway answers itself, without those of the fleet. */
  ownNames(): Awaitable<readonly OwnName[]> {
    return this.#inner.ownNames();
  }

  /**
   * Gives a name records of its own.
   *
   * @param name A host name, or `*.` and one for all below it that do not exist.
   * @param records Addresses, or records by type.
   */
  setRecords(name: string, records: RecordSpec): Awaitable<OwnName> {
    return this.#inner.setRecords(name, records);
  }

  /**
   * Takes the records of a name away.
   *
   * @param name The name.
   */
  removeRecords(name: string): Awaitable<OwnName | null> {
    return this.#inner.removeRecords(name);
  }

  /**
   * As of the server.
   *
   * @internal
   */
  addZone(...zone: Parameters<ServedGateway["addZone"]>): Awaitable<void> {
    return this.#inner.addZone(...zone);
  }

  /**
   * As of the server.
   *
   * @internal
   */
  setZoneNames(...names: Parameters<ServedGateway["setZoneNames"]>): Awaitable<void> {
    return this.#inner.setZoneNames(...names);
  }

  /** Forgets the answers that are kept for the guest; whether one is attached. */
  flushDns(): Awaitable<boolean> {
    return this.#inner.flushDns();
  }

  /**
   * What happens from now on.
   *
   * @param signal Ends the iteration.
   */
  events(signal?: AbortSignal): EventStream {
    return this.#inner.events(signal);
  }

  /**
   * The guest's frames, as a file of pcapng, bit by bit.
   *
   * @param options Which frames, how much of each, and what ends it.
   */
  capture(options?: CaptureOptions): AsyncIterableIterator<Uint8Array> {
    return this.#inner.capture(options);
  }
}

/**
 * The gateway of a program with one guest. {@linkcode prepareFleet} leads to it.
 */
export class FleetServer extends FleetGateway implements ListensBeside {
  readonly #server: ListensBeside;

  /**
   * For `PreparedFleet.join`.
   *
   * @internal
   */
  constructor(server: ServedGateway & ListensBeside, options: FleetGatewayOptions) {
    super(server, options);
    this.#server = server;
  }

  /**
   * Listens on a socket that no guest reaches.
   *
   * @param endpoint A unix socket's path or a TCP address.
   * @param use Whom it is for, in the words of messages.
   */
  listenBeside(endpoint: Endpoint, use: SocketUse): Promise<VmmListener> {
    return this.#server.listenBeside(endpoint, use);
  }

  /** Stops accepting, lets queued bytes drain, and ends. */
  close(): Promise<void> {
    return this.#server.close();
  }
}

/**
 * The gateways of a program with several guests. {@linkcode prepareFleet} leads to it.
 */
export class FleetGuests implements ServedGuests {
  readonly #inner: ServedGuests;
  readonly #gateways: ReadonlyMap<string, FleetGateway>;

  /**
   * For `PreparedFleet.join`.
   *
   * @internal
   */
  constructor(inner: ServedGuests, gateways: ReadonlyMap<string, FleetGateway>) {
    this.#inner = inner;
    this.#gateways = gateways;
  }

  /** The guests' names, in their order. */
  get names(): readonly string[] {
    return this.#inner.names;
  }

  /**
   * The gateway of one guest.
   *
   * @param name One of `names`.
   * @throws {GatewayError} Where there is no such guest.
   */
  guest(name: string): FleetGateway {
    this.#inner.guest(name); // throws where there is none
    return this.#gateways.get(name)!;
  }

  /**
   * The shared network that a guest is in; `null` where it has one of its own.
   *
   * @param name One of `names`.
   */
  network(name: string): string | null {
    return this.#inner.network(name);
  }

  /** The workers that serve the guests. */
  workers(): Awaitable<readonly GuestWorker[]> {
    return this.#inner.workers();
  }

  /**
   * What happens at all of them from now on.
   *
   * @param signal Ends the iteration.
   */
  events(signal?: AbortSignal): EventStream {
    return this.#inner.events(signal);
  }

  /**
   * Listens on a socket that no guest reaches.
   *
   * @param endpoint A unix socket's path or a TCP address.
   * @param use Whom it is for, in the words of messages.
   */
  listenBeside(endpoint: Endpoint, use: SocketUse): Promise<VmmListener> {
    return this.#inner.listenBeside(endpoint, use);
  }

  /** Stops accepting, lets queued bytes drain, and ends. */
  close(): Promise<void> {
    return this.#inner.close();
  }
}
