/**
 * Several guests in one process, each with a link, a policy, ports and figures of its own.
 *
 *     serveGuests({ guests })   this isolate: control only
 *       ├─ worker ── guest, guest …      min(cores, guests) of them, each with whole guests
 *       └─ worker ── guest, guest …
 *
 * What one guest does costs its own queues; a worker that fails costs its own guests, which come back.
 *
 * @module
 */
import type { Endpoint, VmmEndpoint } from "./config/endpoint.ts";
import { ConfigError, GatewayError } from "./config/errors.ts";
import { type ResolvedGuest, type ResolvedGuests, resolveGuests } from "./config/guests.ts";
import type { GuestsConfig } from "./config/guests_options.ts";
import { type GatewayLogger, silentLogger } from "./config/logger.ts";
import { joinedPorts, type OwnPorts } from "./config/own_ports.ts";
import { GuestHandle } from "./guests/guest_handle.ts";
import { MergedEvents } from "./guests/merged_events.ts";
import { GuestFault, type StartWorker, startWorker } from "./guests/guest_worker.ts";
import { startLocalWorker } from "./guests/local_worker.ts";
import type { WorkerGuest, WorkerNetwork } from "./guests/messages.ts";
import { WorkerSlot } from "./guests/worker_slot.ts";
import { DescriptorReserve } from "./host/descriptor_reserve.ts";
import { GUESTS_MAX } from "./host/gateway_memory.ts";
import type { EventStream } from "./host/gateway_event.ts";
import { subnetsOf } from "./host/guest_subnets.ts";
import type { JudgeQuestion, JudgeVerdict } from "./host/judge_hook.ts";
import { requireEndpoint } from "./host/permissions.ts";
import { listenForVmm, type SocketUse, type VmmListener } from "./host/vmm_endpoint.ts";
import type { ServedGateway } from "./host/served_gateway.ts";
import type { GuestWorker as WorkerState, ServedGuests } from "./host/served_guests.ts";
import type { CloseOptions } from "./runtime.ts";
import { lanBytes } from "./stack/lan_rings.ts";

/** A question to a program that serves several guests. For {@linkcode serveGuests}. */
export interface GuestsQuestion extends JudgeQuestion {
  /** The guest's name. */
  readonly guest: string;
}

/** How several guests are served. For {@linkcode serveGuests}. */
export interface ServeGuestsOptions extends GuestsConfig {
  /** Where log lines go, each with its guest's name; nowhere when absent. */
  logger?: GatewayLogger;
  /** Ends everything at once. */
  signal?: AbortSignal;
  /** The program's own word on each flow that the guest's policy allows. */
  judge?: (question: GuestsQuestion) => JudgeVerdict | Promise<JudgeVerdict>;
}

/**
 * A guest of several, which is asked and changed as a server is. As {@linkcode serveGuests} yields it.
 */
export interface ServedGuest extends ServedGateway {
  /** Its name. */
  readonly name: string;
  /** Where its VMM is met; a TCP port of 0 is replaced by the one that was chosen. */
  readonly endpoint: VmmEndpoint;
}

/** Descriptors that are kept for the program's own sockets beside those of each worker. */
const DESCRIPTORS_KEPT = 16;

/**
 * Several guests that are served. As {@linkcode serveGuests} yields it.
 */
export class VirtioNetworkGuests implements ServedGuests, AsyncDisposable {
  /** Resolves when no guest is served any more; rejects where one could not go on. */
  readonly finished: Promise<void>;
  readonly #guests: ReadonlyMap<string, GuestHandle>;
  readonly #slots: readonly WorkerSlot[];
  readonly #reserve: DescriptorReserve;
  readonly #logger: GatewayLogger;
  readonly #networks: readonly string[];
  readonly #hasWorkers: boolean;
  readonly #beside: Set<VmmListener>;
  readonly #avoid: () => void;
  #ended = false;

  /**
   * For `serveGuests`.
   *
   * @internal
   */
  constructor(parts: {
    readonly guests: readonly GuestHandle[];
    readonly slots: readonly WorkerSlot[];
    readonly networks: readonly string[];
    readonly hasWorkers: boolean;
    readonly beside: Set<VmmListener>;
    readonly avoid: () => void;
    readonly logger: GatewayLogger;
    readonly signal: AbortSignal | undefined;
  }) {
    this.#guests = new Map(parts.guests.map((guest) => [guest.name, guest]));
    this.#slots = parts.slots;
    this.#networks = parts.networks;
    this.#hasWorkers = parts.hasWorkers;
    this.#beside = parts.beside;
    this.#avoid = parts.avoid;
    this.#logger = parts.logger;
    this.#reserve = new DescriptorReserve({ count: DESCRIPTORS_KEPT, logger: parts.logger });
    const onAbort = (): void => void this.abort();
    parts.signal?.addEventListener("abort", onAbort);
    this.finished = this.#run().finally(() => parts.signal?.removeEventListener("abort", onAbort));
    if (parts.signal?.aborted) onAbort();
  }

  /** The guests' names, in the order in which they are configured. */
  get names(): readonly string[] {
    return [...this.#guests.keys()];
  }

  /**
   * A guest, to be asked and changed.
   *
   * @param name Its name.
   * @throws {GatewayError} With code `config` where there is none of that name.
   */
  guest(name: string): ServedGuest {
    return this.#handle(name);
  }

  #handle(name: string): GuestHandle {
    const guest = this.#guests.get(name);
    if (guest !== undefined) return guest;
    throw new GatewayError("config", `there is no guest "${name}"`, {
      hint: `There are ${this.names.join(", ")}`,
    });
  }

  /**
   * The shared network that a guest is in; `null` where it has one of its own.
   *
   * @param name The guest's name.
   * @throws {GatewayError} With code `config` where there is none of that name.
   */
  network(name: string): string | null {
    const { lan } = this.#handle(name);
    return lan === null ? null : this.#networks[lan.network]!;
  }

  /** How the workers fare; none where the guests live in this isolate. */
  workers(): WorkerState[] {
    return this.#hasWorkers ? this.#slots.map(({ state }) => state) : [];
  }

  /**
   * What happens from now on at all guests, until the iteration is left or the last one has ended. A
   * worker begins with it when the call reaches it: what a guest answered after that is behind it.
   *
   * @param signal Ends the iteration.
   */
  events(signal?: AbortSignal): EventStream {
    return merged([...this.#guests.values()], signal);
  }

  /**
   * Listens on another socket of the program: no guest reaches it, and it ends with the guests.
   *
   * @param endpoint A unix socket's path or a TCP address.
   * @param use Whom it is for, in the words of messages.
   * @throws {GatewayError} Where the socket is in use or a permission is missing.
   */
  async listenBeside(endpoint: Endpoint, use: SocketUse): Promise<VmmListener> {
    requireEndpoint(endpoint, "listen on");
    const listener = await listenForVmm(endpoint, this.#logger, this.#reserve, use);
    this.#beside.add(listener);
    this.#avoid();
    if (this.#ended) listener.close();
    return listener;
  }

  /**
   * Stops accepting, lets queued bytes drain for each guest's grace period, and ends.
   *
   * @param options What cuts the grace period short.
   */
  async close({ signal }: CloseOptions = {}): Promise<void> {
    const onAbort = (): void => this.#end("abort");
    signal?.addEventListener("abort", onAbort);
    this.#end(signal?.aborted ? "abort" : "close");
    await this.finished.catch(() => {});
    signal?.removeEventListener("abort", onAbort);
  }

  /** Ends at once. */
  async abort(): Promise<void> {
    this.#end("abort");
    await this.finished.catch(() => {});
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #end(how: "close" | "abort"): void {
    for (const slot of this.#slots) slot.end(how);
  }

  async #run(): Promise<void> {
    const ends = await Promise.allSettled(this.#slots.map(({ finished }) => finished));
    this.#ended = true;
    for (const listener of this.#beside) listener.close();
    this.#reserve[Symbol.dispose]();
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }
}

/**
 * Serves several guests, in as many workers as there are cores, or guests where those are fewer.
 *
 * @param options The guests, the networks that they share, and how many workers serve them: none, where
 * `workers` is 0, and all guests then live in this isolate.
 * @returns The guests, all of them listening already (or, in mode `connect`, on their way).
 * @throws {ConfigError} Where the configuration is wrong.
 * @throws {GatewayError} Where a guest can't be served; none is then.
 *
 * @example Two guests, of which one may reach only one host
 * ```ts
 * import { serveGuests } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using guests = await serveGuests({
 *   workers: 0,
 *   guests: [
 *     { name: "web", endpoint: anyPort },
 *     { name: "job", endpoint: anyPort, policy: { allow: ["1.1.1.1:443"] } },
 *   ],
 * });
 * assertEquals(guests.names, ["web", "job"]);
 * assertEquals((await guests.guest("web").explain("9.9.9.9:443")).allowed, true);
 * assertEquals((await guests.guest("job").explain("9.9.9.9:443")).allowed, false);
 * ```
 */
export function serveGuests(options: ServeGuestsOptions): Promise<VirtioNetworkGuests> {
  return serveGuestsIn(options.workers === 0 ? startLocalWorker : startWorker, options);
}

/**
 * As `serveGuests`, in workers that are started so.
 *
 * @internal
 */
export async function serveGuestsIn(
  start: StartWorker,
  options: ServeGuestsOptions,
): Promise<VirtioNetworkGuests> {
  const { logger = silentLogger, signal, judge, ...config } = options;
  const { guests: resolved, networks, workers } = resolveGuests(config);
  const guests = resolved.map((guest) => new GuestHandle(workerGuest(guest, networks)));
  const parts = shares(guests, workers ?? navigator.hardwareConcurrency);
  const workerNetworks = networks.map(({ members }, network): WorkerNetwork => ({
    members,
    buffer: new SharedArrayBuffer(lanBytes(members.length)),
    workerOf: members.map((_, self) => {
      return parts.findIndex((part) => {
        return part.some(({ lan }) => lan?.network === network && lan.self === self);
      });
    }),
  }));
  const subnets = subnetsOf(resolved.map(({ config }) => config.guestNetwork));
  const beside = new Set<VmmListener>();
  const slots: WorkerSlot[] = [];
  const ports = (): OwnPorts => {
    const tcp = [...beside]
      .flatMap(({ endpoint }) => endpoint.transport === "tcp" ? [endpoint.port] : []);
    return joinedPorts([...slots.map((slot) => slot.ports), { tcp, udp: [] }]);
  };
  const avoid = (): void => {
    const all = ports();
    for (const slot of slots) slot.avoid(all);
  };
  for (const [worker, part] of parts.entries()) {
    slots.push(
      new WorkerSlot({
        guests: part,
        start,
        shared: () => ({
          worker,
          networks: workerNetworks,
          subnets,
          judges: judge !== undefined,
          avoid: ports(),
        }),
        logger,
        judge: judge === undefined ? null : (guest) => (question) => judge({ ...question, guest }),
        onPorts: avoid,
      }),
    );
  }
  const starts = await Promise.allSettled(slots.map((slot) => slot.start()));
  for (const [at, start] of starts.entries()) {
    if (start.status === "fulfilled") continue;
    await Promise.all(slots.map((slot) => slot.undo()));
    throw startError(start.reason, slots[at]!.state.guests);
  }
  return new VirtioNetworkGuests({
    guests,
    slots,
    networks: networks.map(({ name }) => name),
    hasWorkers: workers !== 0,
    beside,
    avoid,
    logger,
    signal,
  });
}

/** The guests of each worker. */
function shares(guests: readonly GuestHandle[], workers: number): GuestHandle[][] {
  const count = Math.max(1, Math.min(workers, guests.length));
  if (Math.ceil(guests.length / count) > GUESTS_MAX) {
    const text = `${guests.length} guests are too many for ${count} workers, which serve ` +
      `${GUESTS_MAX} each; ${Math.ceil(guests.length / GUESTS_MAX)} would do`;
    throw new ConfigError([{ key: "workers", text }]);
  }
  return Array.from({ length: count }, (_, n) => guests.filter((_, at) => at % count === n));
}

function workerGuest(
  { config, network: named, self }: ResolvedGuest,
  networks: ResolvedGuests["networks"],
): WorkerGuest {
  const { name, endpoint, network: _network, ...options } = config;
  const network = networks.findIndex(({ name }) => name === named);
  const lan = network < 0 ? null : { network, self };
  return { name, endpoint, options, zones: [], services: null, lan };
}

/** Says which guest it was. */
function startError(error: unknown, names: readonly string[]): unknown {
  if (!(error instanceof GuestFault)) return error;
  const { fault } = error;
  const name = names[error.guest]!;
  if (fault instanceof ConfigError) {
    return new ConfigError(fault.problems.map(({ key, text }) => ({
      key: `guests[${name}]${key === "" ? "" : `.${key}`}`,
      text,
    })));
  }
  if (!(fault instanceof GatewayError)) return fault;
  const { code, message, hint } = fault;
  return new GatewayError(code, `guest "${name}": ${message}`, { hint, cause: fault });
}

/** The events of all guests from this call on, as they come. */
function merged(guests: readonly GuestHandle[], signal: AbortSignal | undefined): EventStream {
  return new MergedEvents(
    new Map(guests.map((guest) => [guest.name, guest.events(signal)])),
  );
}
