/**
 * Gateways as an engine sees them: each announces itself when it is asked, and says what a test has it
 * say. No guest is served.
 *
 * @module
 */
import type { NatsConnection } from "@nats-io/nats-core";
import {
  type AnnouncedGuest,
  type Announcement,
  encodeAnnouncement,
  encodeDeparture,
} from "../../lib/fleet/announcement.ts";
import { connectEngine } from "../../lib/fleet/engine_transport.ts";
import { aliveSubject, goneSubject, policyBucket, whoSubject } from "../../lib/fleet/names.ts";

/** A guest that is announced. */
export function announcedGuest(name: string, change: Partial<AnnouncedGuest> = {}): AnnouncedGuest {
  return {
    name,
    group: null,
    attached: true,
    flows: 0,
    denials: 0,
    upBytes: 0,
    downBytes: 0,
    services: [],
    ...change,
  };
}

/** An announcement of a gateway with one guest of its name. */
export function announcement(gateway: string, change: Partial<Announcement> = {}): Announcement {
  return {
    gateway,
    instance: "0123456789abcdef",
    startedMs: 1_790_000_000_000,
    revision: null,
    policy: "closed",
    rejected: null,
    guests: [announcedGuest(gateway)],
    ...change,
  };
}

/** What a gateway makes of a change of the policy. */
export type OnPolicy = (revision: number, key: string) => Partial<Announcement>;

/** Gateways that announce themselves. */
export class AnnouncingGateways implements AsyncDisposable {
  readonly #connection: NatsConnection;
  readonly #fleet: string;
  readonly #announcements: Map<string, Announcement>;
  /** How often each of them was asked. */
  asked = 0;

  private constructor(connection: NatsConnection, fleet: string, all: readonly Announcement[]) {
    this.#connection = connection;
    this.#fleet = fleet;
    this.#announcements = new Map(all.map((each) => [each.gateway, each]));
  }

  /**
   * Starts them.
   *
   * @param url The engine.
   * @param fleet Their fleet.
   * @param all What they say.
   * @param onPolicy What the gateways say once a document is written.
   */
  static async start(
    url: string,
    fleet: string,
    all: readonly Announcement[],
    onPolicy: (gateway: string) => OnPolicy = () => (revision) => ({
      revision,
      policy: "in force",
    }),
  ): Promise<AnnouncingGateways> {
    const connection = await connectEngine({ servers: url });
    const gateways = new AnnouncingGateways(connection, fleet, all);
    connection.subscribe(whoSubject(fleet), {
      callback: () => {
        gateways.asked++;
        gateways.announce();
      },
    });
    const start = `$KV.${policyBucket(fleet)}.`;
    connection.subscribe(`${start}>`, {
      callback: (_error, { subject }) => {
        gateways.#written(subject.slice(start.length), onPolicy);
      },
    });
    await connection.flush();
    return gateways;
  }

  /** All of them speak. */
  announce(): void {
    for (const each of this.#announcements.values()) {
      const { data } = encodeAnnouncement(each);
      this.#connection.publish(aliveSubject(this.#fleet, each.gateway), data);
    }
  }

  /** One says something else from here on. */
  say(gateway: string, change: Partial<Announcement>): void {
    const before = this.#announcements.get(gateway)!;
    this.#announcements.set(gateway, { ...before, ...change });
  }

  /** One ends in order. */
  leave(gateway: string): void {
    const { instance } = this.#announcements.get(gateway)!;
    this.#announcements.delete(gateway);
    this.#connection.publish(
      goneSubject(this.#fleet, gateway),
      encodeDeparture({ gateway, instance }),
    );
  }

  /** Whatever is written gets the next revision of a bucket that nobody else writes. */
  #written(key: string, onPolicy: (gateway: string) => OnPolicy): void {
    this.#revision++;
    for (const gateway of this.#announcements.keys()) {
      this.say(gateway, onPolicy(gateway)(this.#revision, key));
    }
    this.announce();
  }
  #revision = 0;

  /** Raw octets at a gateway's subject. */
  shout(gateway: string, text: string): void {
    this.#connection.publish(aliveSubject(this.#fleet, gateway), text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }
}
