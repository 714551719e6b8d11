/**
 * Gateways with one guest each, in one process, that are told of each other by a real engine.
 *
 * @module
 */
import { type ServeOptions, serveVirtioNetwork, type VirtioNetworkServer } from "../../mod.ts";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { withFleetZone } from "../../lib/fleet/fleet_zone.ts";
import { Heartbeat } from "../../lib/fleet/heartbeat.ts";
import { ANY_PORT, attach } from "../guests/guests_rig.ts";

/** How a gateway is made. */
export interface MemberOptions extends ServeOptions {
  readonly url: string | readonly string[];
  readonly gateway: string;
  readonly guest: string;
  readonly advertise?: readonly string[];
}

/** A gateway in a fleet, and its guest. */
export class Member implements AsyncDisposable {
  private constructor(
    readonly server: VirtioNetworkServer,
    readonly engine: Engine,
    readonly heartbeat: Heartbeat,
    readonly guest: EmbeddedGuest,
  ) {}

  /** Starts it, with a guest that has the services `web` (TCP 80) and `dns` (UDP 53). */
  static async start(options: MemberOptions): Promise<Member> {
    const { url, gateway, guest: name, advertise = [], ...serve } = options;
    const dns = withFleetZone({ upstreams: ["127.0.0.1:1"] });
    const server = await serveVirtioNetwork(ANY_PORT, { ...serve, dns });
    const engine = Engine.open({ servers: [url].flat(), name: gateway });
    const services = [
      { name: "web", guestPort: 80, protocol: "tcp" },
      { name: "dns", guestPort: 53, protocol: "udp" },
    ] as const;
    const heartbeat = new Heartbeat({
      engine,
      fleet: "default",
      gateway,
      advertise,
      guests: [{ settings: { name, group: null, services }, gateway: server }],
      policy: () => ({ revision: null, policy: "closed", rejected: null }),
    });
    heartbeat.start();
    const guest = await attach(server.endpoint);
    await guest.lease();
    return new Member(server, engine, heartbeat, guest);
  }

  /** What its guest's resolver says: the code, then the data. */
  async asks(name: string, type = "A"): Promise<string> {
    const { code, answers } = await this.guest.resolve(name, type);
    const data = answers.map(({ data }) =>
      typeof data === "string" ? data : Object.values(data as object).join(" ")
    );
    return [code, ...data].join(" ");
  }

  /**
   * Waits until the resolver says that: names are told again after ten times as long as it took to
   * tell the last ones, which where the process was held up meanwhile is half a minute.
   */
  async hears(name: string, said: string, type = "A", withinMs = 90_000): Promise<void> {
    const endMs = performance.now() + withinMs;
    for (;;) {
      const answer = await this.asks(name, type);
      if (answer === said) return;
      if (performance.now() > endMs) throw new Error(`${name} ${type} is ${answer}, not ${said}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.heartbeat.close();
    await this.engine.close();
    await this.guest.close();
    await this.server.close();
  }
}
