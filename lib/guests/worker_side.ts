/**
 * The guests of one worker: starts their servers, answers what is asked of them, and says what they
 * have to say. Knows nothing of how messages travel.
 *
 * @module
 */
import type { GatewayLogger, LogFields } from "../config/logger.ts";
import { resolveLimits } from "../config/limits.ts";
import { DescriptorReserve } from "../host/descriptor_reserve.ts";
import { reserveGuests } from "../host/gateway_memory.ts";
import { LanHub } from "../host/lan_hub.ts";
import type { JudgeFunction, JudgeVerdict } from "../host/judge_hook.ts";
import { serveGuest, type VirtioNetworkServer } from "../server.ts";
import { type FaultData, faultData, faultError } from "./fault_data.ts";
import type { FromWorker, StreamItem, StreamKind, ToWorker } from "./messages.ts";

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
      case "avoid": {
        for (const server of this.#servers) server?.avoidPorts(message.ports);
        return;
      }
      case "end":
        return this.#end(message.how);
    }
  }

  async #start({ worker, guests, networks, subnets, judges, avoid }: Started): Promise<void> {
    const hubs = this.#hubs = networks.map((network) => new LanHub({ ...network, worker }));
    const shares = reserveGuests(guests.map(({ options }) => resolveLimits(options.limits)));
    const kept = Math.max(...guests.map(({ options }) => {
      return resolveLimits(options.limits).descriptorsKept;
    }));
    const reserve = this.#reserve = new DescriptorReserve({ count: kept, logger: this.#logger(0) });
    this.#left = guests.length;
    for (const [at, guest] of guests.entries()) {
      try {
        const limits = { ...guest.options.limits, bufferBytes: shares[at]! };
        const server = await serveGuest(guest.endpoint, {
          ...guest.options,
          limits,
          logger: this.#logger(at),
          ...(judges ? { judge: this.#judge(at) } : {}),
        }, {
          reserve,
          guestSubnets: subnets,
          ...(guest.lan === null ? {} : { lan: hubs[guest.lan.network]!.attach(guest.lan.self) }),
          onOwnPorts: (ports) => this.#post({ type: "ports", guest: at, ports }),
        });
        this.#servers[at] = server;
        server.avoidPorts(avoid);
        for (const zone of guest.zones) server.addZone(...zone);
        server.finished.catch(() => {}); // heard of below, once all are served
      } catch (error) {
        await Promise.all(this.#servers.map((server) => server?.abort()));
        reserve[Symbol.dispose]();
        for (const hub of hubs) hub.close();
        this.#post({ type: "failed", guest: at, fault: faultData(error) });
        return;
      }
    }
    const servers = this.#servers.map((server) => server!);
    this.#post({
      type: "started",
      guests: servers.map(({ endpoint, published }) => ({ endpoint, published })),
    });
    for (const [at, { finished }] of servers.entries()) {
      finished.then(() => this.#finished(at, null), (error) => this.#finished(at, error));
    }
  }

  #finished(guest: number, error: unknown): void {
    const fault = error === null ? null : faultData(error);
    if (--this.#left === 0) {
      this.#reserve?.[Symbol.dispose]();
      for (const hub of this.#hubs) hub.close();
    }
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
