/**
 * A gateway in a fleet whose guest has work to do: a flow that moves octets all the time, and
 * destinations to be refused. What tests and measurements of faults have many of.
 *
 * @module
 */
import { importApart } from "../../lib/cli/apart.ts";
import type { Fleet } from "../../lib/fleet/fleet.ts";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import {
  serveVirtioNetwork,
  type VirtioNetworkConfig,
  type VirtioNetworkServer,
} from "../../mod.ts";
import { ANY_PORT, attach, keepingLogger, QUIET } from "../guests/guests_rig.ts";
import { LiveFlow } from "./live_flow.ts";

/** What a fleet's policy refuses in these tests; nobody is there. */
export const REFUSED = "10.203.0.0/16";

/** How a gateway is started. */
export interface FlowingOptions {
  /** Its name, and its guest's. */
  readonly name: string;
  readonly servers: readonly string[];
  readonly dir: string;
  /** The port of an {@linkcode EchoHost}. */
  readonly echoPort: number;
  /** Addresses at which its guest's service `web` is said to be; it has none when absent. */
  readonly advertise?: readonly string[];
  /** Between two octets of the flow. */
  readonly pauseMs?: number;
  /** Whether it is in the fleet at all; it is when absent. */
  readonly isMember?: boolean;
  /** Hears of policies in force; a logger of its own tells of all else. */
  readonly onPolicy?: (revision: number) => void;
}

/** A gateway, its guest and that one's flow. */
export class FlowingGateway implements AsyncDisposable {
  /** Connections that the guest was refused. */
  refusals = 0;
  readonly name: string;
  readonly log: ReturnType<typeof keepingLogger>;
  readonly server: VirtioNetworkServer;
  readonly fleet: Fleet<VirtioNetworkServer> | null;
  readonly guest: EmbeddedGuest;
  #flow: LiveFlow | null = null;
  #flowing: Promise<LiveFlow> | null = null;
  readonly #options: FlowingOptions;
  #refusing: Promise<void> = Promise.resolve();
  #closed: Promise<void> | null = null;

  private constructor(
    options: FlowingOptions,
    parts: Pick<FlowingGateway, "log" | "server" | "fleet" | "guest">,
  ) {
    this.#options = options;
    this.name = options.name;
    this.log = parts.log;
    this.server = parts.server;
    this.fleet = parts.fleet;
    this.guest = parts.guest;
  }

  /** Starts it; the flow begins with {@linkcode flow}. */
  static async start(options: FlowingOptions): Promise<FlowingGateway> {
    const { name, servers, dir, advertise = [], isMember = true, onPolicy } = options;
    const log = keepingLogger();
    const { info } = log;
    log.info = (message, fields) => {
      if (message === "the fleet's policy is in force") onPolicy?.(Number(fields?.["revision"]));
      info(message, fields);
    };
    const publishes = advertise.length > 0;
    const publishedPorts = publishes ? [{ bind: ["0.0.0.0"], hostPort: 0, guestPort: 80 }] : [];
    const config: VirtioNetworkConfig = { ...QUIET, hostLoopback: true, publishedPorts };
    const services = publishes ? [{ name: "web", guestPort: 80, protocol: "tcp" } as const] : [];
    const settings = {
      ...{ servers, fleet: "default", gateway: name, credentials: null, dir, advertise },
      auditBytes: 16 * 1024 * 1024,
    };
    if (!isMember) {
      const server = await serveVirtioNetwork(ANY_PORT, { ...config, logger: log });
      const guest = await leased(server);
      return new FlowingGateway(options, { log, server, fleet: null, guest });
    }
    // Apart, so that who is in no fleet costs what a gateway of none does.
    const { prepareFleet } = await importApart<typeof import("../../lib/fleet/fleet.ts")>(
      new URL("../../lib/fleet/fleet.ts", import.meta.url),
    );
    using prepared = await prepareFleet({ settings, guests: [{ name, services }], logger: log });
    const server = await serveVirtioNetwork(ANY_PORT, {
      ...prepared.configured(name, config),
      logger: log,
    });
    const fleet = await prepared.join(server);
    return new FlowingGateway(options, { log, server, fleet, guest: await leased(server) });
  }

  /** Its guest's flow, which is opened the first time that it is asked for. */
  async flow(): Promise<LiveFlow> {
    const { echoPort, pauseMs } = this.#options;
    return this.#flow = await (this.#flowing ??= LiveFlow.open(this.guest, echoPort, pauseMs));
  }

  /** The guest tries so many times to reach what it may not, each time another port. */
  beRefused(times: number): Promise<void> {
    const refusing = this.#refusing.then(() => this.#beRefused(times));
    this.#refusing = refusing.catch(() => {});
    return refusing;
  }

  async #beRefused(times: number): Promise<void> {
    for (let i = 0; i < times && this.#closed === null; i++) {
      const address = `10.203.0.${1 + this.refusals % 200}`;
      const port = 1_000 + this.refusals % 50_000;
      const outcome = await this.guest.connect(address, port).catch((error) => error as Error);
      if (!(outcome instanceof GuestError)) throw new Error(`${this.name}: ${outcome}`);
      // Where there were many in a second, an RST says it.
      if (outcome.code !== "prohibited" && outcome.code !== "refused") throw outcome;
      this.refusals++;
    }
  }

  /** What the gateway has refused: a guest that was held up asks again, and is refused again. */
  get refused(): number {
    return this.server.totals().counters["policy.refused"];
  }

  /** Whether the policy in force refuses the guest an address. */
  async refuses(address: string): Promise<boolean> {
    return !(await this.server.explain(`${address}:443`)).allowed;
  }

  /** Ends it in order; what its audit has not delivered stays in its folder. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    await this.#refusing;
    await this.#flow?.close();
    await this.guest.close();
    await this.server.abort();
    await this.fleet?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function leased(server: VirtioNetworkServer): Promise<EmbeddedGuest> {
  const guest = await attach(server.endpoint);
  await guest.lease();
  return guest;
}
