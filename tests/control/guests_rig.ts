/**
 * Several gateways with one control interface, for tests: real servers of this process, each asked as
 * one in a worker is, by messages that are clones, with answers that come some time later.
 *
 * @module
 */
import { ConfigError, GatewayError } from "../../lib/config/errors.ts";
import type { Endpoint } from "../../lib/config/endpoint.ts";
import { type ControlOptions, serveControl } from "../../lib/control/control_server.ts";
import type { EventStream, GatewayEvent } from "../../lib/host/gateway_event.ts";
import { EventHub } from "../../lib/host/event_hub.ts";
import { gatewayEvents } from "../../lib/host/gateway_event.ts";
import type { ServedGateway } from "../../lib/host/served_gateway.ts";
import type { GuestWorker, ServedGuests } from "../../lib/host/served_guests.ts";
import type { SocketUse, VmmListener } from "../../lib/host/vmm_endpoint.ts";
import {
  type ServeOptions,
  serveVirtioNetwork,
  type VirtioNetworkServer,
} from "../../lib/server.ts";
import { AskedControl, TOKEN } from "./control_rig.ts";

const LOOPBACK: Endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 };

/** A gateway as it is served by a worker: what is said of it crosses by clones alone. */
export function remote(gateway: ServedGateway): ServedGateway {
  return new Proxy(gateway, {
    get(_, name: keyof ServedGateway) {
      if (name === "events") return gateway.events.bind(gateway);
      if (name === "capture") {
        return async function* (
          ...[{ signal, ...options } = {}]: Parameters<typeof gateway.capture>
        ) {
          yield* gateway.capture({ ...structuredClone(options), ...(signal ? { signal } : {}) });
        };
      }
      const method = gateway[name] as (...args: unknown[]) => unknown;
      return async (...args: unknown[]) => {
        await new Promise((resolve) => setTimeout(resolve));
        try {
          return structuredClone(await method.apply(gateway, structuredClone(args)));
        } catch (error) {
          throw clonedError(error);
        }
      };
    },
  });
}

/** An error behind a port: its class is made anew, that of its cause is not. */
function clonedError(error: unknown): unknown {
  if (error instanceof ConfigError) {
    const lines = error.message.split("\n");
    return new ConfigError(structuredClone(error.problems), () => lines.shift() ?? "");
  }
  if (!(error instanceof GatewayError)) return error;
  const { code, message, hint, cause } = error;
  if (!(cause instanceof Error)) return new GatewayError(code, message, { hint });
  const cloned = Object.assign(new Error(cause.message), { name: cause.name });
  return new GatewayError(code, message, { hint, cause: cloned });
}

/** Several gateways of this process; `asked` are what is asked of them. */
export class GuestSet implements ServedGuests {
  readonly servers: ReadonlyMap<string, VirtioNetworkServer>;
  readonly asked: Map<string, ServedGateway>;
  readonly #networks: Readonly<Record<string, string>>;
  workersNow: GuestWorker[] = [];

  constructor(
    servers: ReadonlyMap<string, VirtioNetworkServer>,
    networks: Readonly<Record<string, string>>,
  ) {
    this.servers = servers;
    this.asked = new Map([...servers].map(([name, server]) => [name, remote(server)]));
    this.#networks = networks;
  }

  get names(): readonly string[] {
    return [...this.servers.keys()];
  }

  guest(name: string): ServedGateway {
    const gateway = this.asked.get(name);
    if (gateway === undefined) throw new Error(`${name} is asked for, and was never a guest`);
    return gateway;
  }

  network(name: string): string | null {
    return this.#networks[name] ?? null;
  }

  workers(): readonly GuestWorker[] {
    return this.workersNow;
  }

  events(signal?: AbortSignal): EventStream {
    const hub = new EventHub<GatewayEvent>();
    const all = [...this.servers].map(async ([guest, server]) => {
      for await (const event of server.events(signal)) hub.publish({ ...event, guest });
    });
    void Promise.all(all).then(() => hub.close());
    return gatewayEvents(hub, signal);
  }

  listenBeside(endpoint: Endpoint, use: SocketUse): Promise<VmmListener> {
    return this.servers.values().next().value!.listenBeside(endpoint, use);
  }

  async close(): Promise<void> {
    await Promise.all([...this.servers.values()].map((server) => server.close()));
  }

  async abort(): Promise<void> {
    await Promise.all([...this.servers.values()].map((server) => server.abort()));
  }
}

/** How a rig differs from the plain one. */
export interface GuestsRigOptions extends Partial<ControlOptions> {
  readonly control?: "unix" | "tcp";
  readonly networks?: Readonly<Record<string, string>>;
}

/** Some guests and their control interface. */
export class GuestsRig extends AskedControl implements AsyncDisposable {
  readonly set: GuestSet;
  readonly #folder: string;

  private constructor(set: GuestSet, control: AskedControl["control"], folder: string) {
    super(control);
    this.set = set;
    this.#folder = folder;
  }

  /** Opens all; each guest by its name. */
  static async open(
    guests: Readonly<Record<string, ServeOptions>>,
    { control = "unix", networks = {}, ...options }: GuestsRigOptions = {},
  ): Promise<GuestsRig> {
    const folder = await Deno.makeTempDir({ prefix: "vgctl-" });
    const servers = new Map<string, VirtioNetworkServer>();
    for (const [name, serve] of Object.entries(guests)) {
      servers.set(
        name,
        await serveVirtioNetwork(LOOPBACK, { dns: { upstreams: ["127.0.0.1:1"] }, ...serve }),
      );
    }
    const set = new GuestSet(servers, networks);
    const endpoint: Endpoint = control === "tcp"
      ? LOOPBACK
      : { transport: "unix", path: `${folder}/control.sock` };
    const server = await serveControl(set, endpoint, {
      version: "1.2.3",
      ...(control === "tcp" ? { token: TOKEN } : {}),
      ...options,
    });
    return new GuestsRig(set, server, folder);
  }

  /** The server of a guest. */
  server(name: string): VirtioNetworkServer {
    return this.set.servers.get(name)!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.set.abort();
    await this.control.finished;
    await Deno.remove(this.#folder, { recursive: true });
  }
}
