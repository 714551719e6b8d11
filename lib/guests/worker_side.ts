/**
 * The guests of one worker: starts their servers, answers what is asked of them, and says what they
 * have to say. Knows nothing of how messages travel.
 *
 * @module
 */
import type { GatewayLogger, LogFields } from "../config/logger.ts";
import { resolveLimits } from "../config/limits.ts";
import type { PolicyConfig } from "../config/options.ts";
import { DescriptorReserve } from "../host/descriptor_reserve.ts";
import { reserveGuests } from "../host/gateway_memory.ts";
import { LanHub } from "../host/lan_hub.ts";
import type { JudgeFunction, JudgeVerdict } from "../host/judge_hook.ts";
import { serveGuest, type VirtioNetworkServer } from "../server.ts";
import { type FaultData, faultData, faultError } from "./fault_data.ts";
import type {
  FromWorker,
  GuestStart,
  StreamItem,
  StreamKind,
  ToWorker,
  WorkerGuest,
} from "./messages.ts";

interface OpenStream {
  readonly items: AsyncIterator<StreamItem, undefined>;
  readonly ending: AbortController;
}

/** A stream that could not be opened, which is told to whoever reads it. */
function brokenStream(error: unknown): AsyncIterator<StreamItem, undefined> {
  return { next: () => Promise.reject(error) };
}

type Started = Extract<ToWorker, { type: "start" }>;

/** What serves guests in a worker. */
export class WorkerSide {
  readonly #post: (message: FromWorker, transfer?: Transferable[]) => void;
  readonly #servers: (VirtioNetworkServer | null)[] = [];
  readonly #streams = new Map<number, OpenStream>();
  readonly #verdicts = new Map<number, (verdict: JudgeVerdict | FaultData) => void>();
  #questions = 0;
  #reserve: DescriptorReserve | null = null;
  #hubs: readonly LanHub[] = [];
  /** What guests are served with that was told since their start began. */
  readonly #policies = new Map<number, PolicyConfig>();
  /** How much of the memory each guest may have. */
  #shares: readonly number[] = [];
  /** What was said at the start, with the ports to avoid as they are by then. */
  #told: Started | null = null;
  #ending: "close" | "abort" | null = null;
  /** Guests that are served, or will be. */
  #left = 0;

  /** `post` carries a message to the main isolate. */
  constructor(post: (message: FromWorker, transfer?: Transferable[]) => void) {
    this.#post = post;
  }

  /** Takes a message of the main isolate. */
  async take(message: ToWorker): Promise<void> {
    switch (message.type) {
      case "start":
        return await this.#start(message);
      case "call":
        return await this.#call(message);
      case "open":
        return this.#open(message.id, message.guest, message.stream);
      case "next":
        return await this.#next(message.id);
      case "leave":
        return this.#leave(message.id);
      case "verdict": {
        this.#verdicts.get(message.id)?.(message.verdict);
        return;
      }
      case "policy": {
        this.#policies.set(message.guest, message.policy);
        this.#servers[message.guest]?.setPolicy(message.policy);
        return;
      }
      case "again":
        return await this.#serveAgain(message.guest, message.wanted);
      case "avoid": {
        if (this.#told !== null) this.#told = { ...this.#told, avoid: message.ports };
        for (const server of this.#servers) server?.avoidPorts(message.ports);
        return;
      }
      case "end":
        return this.#end(message.how);
    }
  }

  async #start(message: Started): Promise<void> {
    const { worker, guests, networks, isWhole } = message;
    this.#hubs = networks.map((network) => new LanHub({ ...network, worker }));
    this.#shares = reserveGuests(guests.map(({ options }) => resolveLimits(options.limits)));
    const kept = Math.max(...guests.map(({ options }) => {
      return resolveLimits(options.limits).descriptorsKept;
    }));
    this.#reserve = new DescriptorReserve({ count: kept, logger: this.#logger(0) });
    this.#told = message;
    this.#left = guests.length;
    const starts: GuestStart[] = [];
    let firstFault = -1;
    for (const [at, guest] of guests.entries()) {
      const start = await this.#serve(at, guest);
      starts.push(start);
      if (!("kind" in start)) continue;
      if (firstFault < 0) firstFault = at;
      if (isWhole) break;
    }
    const isFailed = firstFault >= 0 && (isWhole || starts.every((start) => "kind" in start));
    if (isFailed || this.#ending !== null) {
      await Promise.all(this.#servers.map((server) => server?.abort()));
      this.#close();
      if (!isFailed) return; // nobody waits for it any more
      this.#post({ type: "failed", guest: firstFault, fault: starts[firstFault] as FaultData });
      return;
    }
    this.#post({ type: "started", guests: starts });
    for (const at of guests.keys()) this.#follow(at);
  }

  /** Serves a guest that could not be served at the start. */
  async #serveAgain(at: number, guest: WorkerGuest): Promise<void> {
    if (this.#ending !== null) return;
    this.#policies.delete(at); // what is wanted is not older
    const start = await this.#serve(at, guest);
    if (this.#ending !== null) return void this.#servers[at]?.abort(); // it is given up already
    this.#post({ type: "came", guest: at, start });
    this.#follow(at);
  }

  /** Starts the server of a guest; nothing is left of it where that fails. */
  async #serve(at: number, guest: WorkerGuest): Promise<GuestStart> {
    const { subnets, judges, avoid } = this.#told!;
    const { endpoint, options, lan, zones, services } = guest;
    const policy = this.#policies.get(at) ?? options.policy;
    let server: VirtioNetworkServer | null = null;
    try {
      server = await serveGuest(endpoint, {
        ...options,
        ...(policy === undefined ? {} : { policy }),
        limits: { ...options.limits, bufferBytes: this.#shares[at]! },
        logger: this.#logger(at),
        ...(judges ? { judge: this.#judge(at) } : {}),
      }, {
        reserve: this.#reserve!,
        guestSubnets: subnets,
        ...(lan === null ? {} : { lan: this.#hubs[lan.network]!.attach(lan.self) }),
        onOwnPorts: (ports) => this.#post({ type: "ports", guest: at, ports }),
      });
      server.finished.catch(() => {}); // heard of by `#follow`
      server.avoidPorts(avoid);
      const latest = this.#policies.get(at);
      if (latest !== undefined && latest !== policy) server.setPolicy(latest);
      for (const zone of zones) server.addZone(...zone);
      if (services !== null) server.setZoneNames(...services);
    } catch (error) {
      await server?.abort();
      return faultData(error);
    }
    this.#servers[at] = server;
    return { endpoint: server.endpoint, published: server.published };
  }

  /** Tells of the end of a guest that is served. */
  #follow(at: number): void {
    this.#servers[at]?.finished.then(
      () => this.#finished(at, null),
      (error) => this.#finished(at, error),
    );
  }

  /** Gives back what belongs to no guest alone. */
  #close(): void {
    this.#reserve?.[Symbol.dispose]();
    for (const hub of this.#hubs) hub.close();
  }

  #finished(guest: number, error: unknown): void {
    const fault = error === null ? null : faultData(error);
    if (--this.#left === 0) this.#close();
    this.#post({ type: "finished", guest, fault });
  }

  async #call({ id, guest, method, args }: Extract<ToWorker, { type: "call" }>): Promise<void> {
    try {
      const call = this.#servers[guest]![method] as (...args: readonly unknown[]) => unknown;
      const value = await call.apply(this.#servers[guest], args as unknown[]);
      this.#post({ type: "answer", id, value });
    } catch (error) {
      this.#post({ type: "fault", id, fault: faultData(error) });
    }
  }

  #open(id: number, guest: number, stream: StreamKind): void {
    const ending = new AbortController();
    this.#streams.set(id, { items: this.#items(guest, stream, ending.signal), ending });
  }

  #items(
    guest: number,
    stream: StreamKind,
    signal: AbortSignal,
  ): AsyncIterator<StreamItem, undefined> {
    try {
      const server = this.#servers[guest]!;
      if (stream.of === "events") return server.events(signal);
      return server.capture({ ...stream.options, signal });
    } catch (error) {
      return brokenStream(error);
    }
  }

  /** One message with the next item, once it is there. */
  async #next(id: number): Promise<void> {
    const stream = this.#streams.get(id);
    if (stream === undefined) return; // it was left
    try {
      const { value = null } = await stream.items.next();
      if (value === null) this.#streams.delete(id);
      const transfer = value instanceof Uint8Array ? [value.buffer as ArrayBuffer] : [];
      this.#post({ type: "item", id, item: value }, transfer);
    } catch (error) {
      this.#leave(id);
      this.#post({ type: "fault", id, fault: faultData(error) });
    }
  }

  #leave(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#streams.delete(id);
    stream.ending.abort();
    void stream.items.return?.();
  }

  #end(how: "close" | "abort"): void {
    const guests = this.#told?.guests.length ?? 0;
    if (this.#ending === null) {
      for (let at = 0; at < guests; at++) if (this.#servers[at] === undefined) this.#left--;
      if (this.#left === 0) this.#close();
    }
    this.#ending = how;
    for (const server of this.#servers) void server?.[how]();
  }

  #judge(guest: number): JudgeFunction {
    return ({ flow, name, signal }) =>
      new Promise((resolve, reject) => {
        const id = this.#questions++;
        const over = (): void => {
          if (this.#verdicts.delete(id)) this.#post({ type: "judged", id });
        };
        signal.addEventListener("abort", over);
        this.#verdicts.set(id, (verdict) => {
          this.#verdicts.delete(id);
          signal.removeEventListener("abort", over);
          if (typeof verdict === "object" && "kind" in verdict) reject(faultError(verdict));
          else resolve(verdict);
        });
        this.#post({ type: "judge", id, guest, flow, name });
      });
  }

  #logger(guest: number): GatewayLogger {
    const line =
      (level: keyof GatewayLogger) => (message: string, fields: LogFields = {}): void => {
        this.#post({ type: "log", guest, level, message, fields: plainFields(fields) });
      };
    return { debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error") };
  }
}

/** A line must never be the reason of an exception: what can't be carried goes as text. */
function plainFields(fields: LogFields): LogFields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => {
      const isPlain = value === null || ["string", "number", "boolean"].includes(typeof value);
      if (isPlain) return [name, value];
      try {
        return [name, structuredClone(value)];
      } catch {
        return [name, String(value)];
      }
    }),
  );
}
