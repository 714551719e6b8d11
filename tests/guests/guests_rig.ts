/** What the tests of several guests share: embedded guests, a logger that keeps, workers to be hurt. */
import type { GatewayLogger, VirtioNetworkGuests, VmmEndpoint } from "../../mod.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { startWorker, type WorkerLike } from "../../lib/guests/guest_worker.ts";
import type { ToWorker } from "../../lib/guests/messages.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";

export const ANY_PORT = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
/** What keeps a test's guests off the host's resolvers. */
export const QUIET = { dns: { upstreams: ["127.0.0.1:1"] } };

export interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: Record<string, unknown>;
}

/** A logger and its lines. */
export function keepingLogger(): GatewayLogger & { readonly lines: Line[] } {
  const lines: Line[] = [];
  const keep = (level: string) => (message: string, fields: Record<string, unknown> = {}): void => {
    lines.push({ level, message, fields });
  };
  const [debug, info, warn, error] = ["debug", "info", "warn", "error"].map(keep);
  return { lines, debug: debug!, info: info!, warn: warn!, error: error! };
}

/** A VMM with a guest at one of the endpoints. */
export async function attach(endpoint: VmmEndpoint): Promise<EmbeddedGuest> {
  if (endpoint.transport !== "tcp") throw new Error("a TCP endpoint was asked for");
  const memory = new FrameMemory(48 * 1024 * 1024);
  return EmbeddedGuest.attach(await Deno.connect(endpoint), { memory });
}

/** Starts workers and keeps hold of them. */
export class HurtWorkers {
  readonly started: WorkerLike[] = [];
  readonly #change: (message: ToWorker, starts: number) => ToWorker | null;

  /** `change` sees what goes to a worker, of which so many have started, and says what arrives. */
  constructor(change: (message: ToWorker, starts: number) => ToWorker | null = (same) => same) {
    this.#change = change;
  }

  readonly start = (): WorkerLike => {
    const worker = startWorker();
    this.started.push(worker);
    const starts = this.started.length;
    const { postMessage } = worker;
    worker.postMessage = (message) => {
      const changed = message === null ? message : this.#change(message, starts);
      if (message === null || changed !== null) postMessage.call(worker, changed!);
    };
    return worker;
  };

  /** Has an exception thrown in a worker that nothing there catches. */
  hurt(at: number): void {
    this.started[at]!.postMessage(null as never);
  }
}

/** Waits for an event of a kind. */
export async function eventOf(
  guests: VirtioNetworkGuests,
  guest: string,
  type: string,
  cause: () => unknown,
): Promise<Record<string, unknown>> {
  const events = guests.events();
  await cause();
  for await (const event of events) {
    if (event.guest === guest && event.type === type) return { ...event };
  }
  throw new Error(`no ${type} of ${guest} came`);
}

/** Polls until something holds. */
export async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}
