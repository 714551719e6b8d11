/** Gateways that tell each other what they are, in virtual time. */
import { assert, assertEquals } from "@std/assert";
import type { PublishedPort } from "../../lib/config/published.ts";
import { encodeAnnouncement } from "../../lib/fleet/announcement.ts";
import { Heartbeat } from "../../lib/fleet/heartbeat.ts";
import type { FleetGuest } from "../../lib/fleet/own_guests.ts";
import type { GatewayPulse } from "../../lib/host/served_gateway.ts";
import { Dice } from "../support/dice.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { keepingLogger } from "../guests/guests_rig.ts";
import { saying } from "./announcements.ts";
import { type FakeClient, FakeEngine } from "./fake_engine.ts";

const WEB: PublishedPort = { protocol: "tcp", bind: "0.0.0.0", hostPort: 8080, guestPort: 80 };

/** A gateway of one guest, called as it is itself, with the service `web` at port 80. */
class Host {
  readonly logger = keepingLogger();
  readonly client: FakeClient;
  readonly heartbeat: Heartbeat;
  /** What the guest's resolver was told last. */
  names: string[] | null = null;
  tellings: number[] = [];
  published: readonly PublishedPort[] = [WEB];
  isAttached = true;
  /** What a question for the guest comes to, where not what it is. */
  hangs = false;

  constructor(world: World, readonly name: string, guestName = name) {
    const { clock, engine } = world;
    this.client = engine.client();
    const pulse = (): Promise<GatewayPulse> =>
      this.hangs ? new Promise(() => {}) : Promise.resolve({
        published: this.published,
        attached: this.isAttached,
        flows: 3,
        refused: 4,
        upBytes: 5,
        downBytes: 6,
      });
    const guest: FleetGuest = {
      settings: {
        name: guestName,
        group: null,
        services: [{ name: "web", guestPort: 80, protocol: "tcp" }],
      },
      gateway: {
        pulse,
        setZoneNames: (_zone, services) => {
          this.names = services.split("\n").slice(0, -1).map((line) => line.split(" ")[0]!);
          this.tellings.push(clock.now());
        },
      },
    };
    this.heartbeat = new Heartbeat({
      engine: this.client,
      fleet: "default",
      gateway: name,
      advertise: [`10.0.0.${name.charCodeAt(0)}`],
      guests: [guest],
      policy: () => ({ revision: 7, policy: "in force", rejected: null }),
      logger: this.logger,
      clock,
      random: () => world.dice.share(),
    });
    this.heartbeat.start();
  }

  lines(): string[] {
    return this.logger.lines.map(({ message }) => message);
  }
}

class World {
  readonly clock = new VirtualClock();
  readonly engine = new FakeEngine(this.clock);
  readonly dice = new Dice(7);

  /** Waits until a host's guest knows exactly these names. */
  async knows(host: Host, names: readonly string[], withinMs: number): Promise<void> {
    const wanted = [...names].sort().join();
    await this.clock.until(
      `${host.name} knows ${wanted}`,
      () => [...host.names ?? ["?"]].sort().join() === wanted,
      withinMs,
    );
  }
}

Deno.test("gateways know each other's services a moment after they come", async () => {
  const world = new World();
  const a = new Host(world, "a");
  assertEquals(a.names, []); // the zone is there before anything was heard
  await world.knows(a, ["web.a"], 500);
  const b = new Host(world, "b");
  await world.knows(b, ["web.a", "web.b"], 1_000);
  await world.knows(a, ["web.a", "web.b"], 1_000);
  assertEquals(a.heartbeat.report(), { gateways: 2, services: 2, conflicts: 0, refused: 0 });
  await a.heartbeat.close();
  await b.heartbeat.close();
});

Deno.test("what changes is told at once: a port, a guest that leaves, a gateway that ends", async () => {
  const world = new World();
  const [a, b] = [new Host(world, "a"), new Host(world, "b")];
  await world.knows(a, ["web.a", "web.b"], 2_000);
  b.published = [];
  b.heartbeat.changed();
  await world.knows(a, ["web.a"], 600);
  b.published = [WEB];
  await world.knows(a, ["web.a", "web.b"], 1_100); // nobody has said that it changed
  b.isAttached = false;
  await world.knows(a, ["web.a"], 1_100);
  b.isAttached = true;
  await world.knows(a, ["web.a", "web.b"], 1_100);
  await b.heartbeat.close();
  await world.knows(a, ["web.a"], 600);
  assertEquals(b.names, []);
  await a.heartbeat.close();
  assertEquals([world.clock.timers, a.lines()], [0, []]);
  assertEquals(b.lines(), ["a service has no name in the fleet"]);
});

Deno.test("a gateway that is gone without a word is gone within 10 s", async () => {
  for (let seed = 0; seed < 20; seed++) {
    const world = new World();
    for (let i = 0; i < seed; i++) world.dice.word();
    const [a, b] = [new Host(world, "a"), new Host(world, "b")];
    await world.knows(a, ["web.a", "web.b"], 2_000);
    await world.clock.run(10_000 + 137 * seed);
    b.client.vanish();
    await world.clock.run(5_000);
    assertEquals(a.names, ["web.a", "web.b"]);
    // An answer may be kept for a second more.
    await world.knows(a, ["web.a"], 4_000);
    await a.heartbeat.close();
    await b.heartbeat.close();
  }
});

Deno.test("an engine that is lost for half a minute costs no name, nor does one that stands still", async () => {
  const world = new World();
  const hosts = ["a", "b", "c"].map((name) => new Host(world, name));
  const [a] = hosts as [Host];
  const all = ["web.a", "web.b", "web.c"];
  for (const host of hosts) await world.knows(host, all, 2_000);
  const tellings = () => hosts.map((host) => host.tellings.length);
  const before = tellings();
  world.engine.lose(true);
  await world.clock.run(30_000);
  world.engine.lose(false);
  await world.clock.run(20_000);
  world.engine.still(true);
  await world.clock.run(30_000);
  world.engine.still(false);
  await world.clock.run(20_000);
  for (const host of hosts) host.client.isDeaf = true; // nothing reaches them, and they can't tell
  await world.clock.run(30_000);
  for (const host of hosts) host.client.isDeaf = false;
  for (const host of hosts) host.client.cut(true); // the client has noticed
  for (const host of hosts) host.client.cut(false);
  await world.clock.run(20_000);
  assertEquals(tellings(), before);
  assertEquals(hosts.map(({ names }) => names!.length), [3, 3, 3]);
  world.engine.lose(true);
  hosts[2]!.client.vanish();
  await world.clock.run(60_000);
  assertEquals(a.names!.length, 3);
  world.engine.lose(false);
  await world.clock.run(7_000);
  assertEquals(a.names!.length, 3);
  await world.knows(a, ["web.a", "web.b"], 3_000);
  for (const host of hosts) await host.heartbeat.close();
});

Deno.test("without an engine a guest knows the services of its own host, and nothing is published", async () => {
  const world = new World();
  world.engine.lose(true);
  const a = new Host(world, "a");
  await world.knows(a, ["web.a"], 1_000);
  await world.clock.run(60_000);
  assertEquals(world.engine.said, []);
  a.published = [];
  await world.knows(a, [], 3_000);
  await a.heartbeat.close();
});

Deno.test("a gateway speaks each 2 s, and four times a second however often it is asked", async () => {
  const world = new World();
  const a = new Host(world, "a");
  await world.clock.run(5_000);
  const alive = () => world.engine.said.filter(({ subject }) => subject.endsWith("alive.a"));
  const before = alive().length;
  await world.clock.run(100_000);
  const often = alive().length - before;
  assert(often >= 46 && often <= 55, `${often} times in 100 s`);
  const from = alive().length;
  const asker = world.engine.client();
  for (let i = 0; i < 1_000; i++) {
    asker.connection()!.publish("virtio-gateway.default.who");
    a.heartbeat.changed();
    await world.clock.run(10);
  }
  const asked = alive().length - from;
  assert(asked >= 30 && asked <= 41, `${asked} times in 10 s`);
  await a.heartbeat.close();
});

Deno.test("names that change all the time are told four times a second", async () => {
  const world = new World();
  const [a, b] = [new Host(world, "a"), new Host(world, "b")];
  await world.knows(a, ["web.a", "web.b"], 2_000);
  const from = a.tellings.length;
  for (let i = 0; i < 200; i++) {
    const guests = { [`g${i}`]: ["s:1@10.0.0.9"] };
    const { data } = encodeAnnouncement(saying("mad", guests, { startedMs: i }));
    b.client.connection()!.publish("virtio-gateway.default.alive.mad", data);
    await world.clock.run(50);
  }
  const told = a.tellings.length - from;
  assert(told <= 41 && told >= 8, `${told} times in 10 s`);
  assert(a.heartbeat.report().refused > 50, "what is too often is passed over");
  await a.heartbeat.close();
  await b.heartbeat.close();
});

Deno.test("a guest that does not answer is told of as it was, and then not at all", async () => {
  const world = new World();
  const [a, b] = [new Host(world, "a"), new Host(world, "b")];
  await world.knows(a, ["web.a", "web.b"], 2_000);
  b.hangs = true;
  await world.clock.run(5_000);
  assertEquals(a.names!.length, 2);
  await world.knows(a, ["web.a"], 8_000);
  assertEquals(a.heartbeat.report().gateways, 2);
  await a.heartbeat.close();
  await b.heartbeat.close();
});

Deno.test("two gateways with a guest of one name, and two of one name, are said once", async () => {
  const world = new World();
  const a = new Host(world, "a", "db");
  await world.clock.run(5_000);
  const b = new Host(world, "b", "db");
  const c = new Host(world, "c");
  await world.clock.run(5_000);
  assertEquals(c.names!.sort(), ["web.c", "web.db"]);
  assertEquals(c.heartbeat.report().conflicts, 1);
  const said = (host: Host) =>
    host.logger.lines.filter(({ message }) => message.includes("of one name"))
      .map(({ fields }) => `${fields["guest"]}: ${fields["gateway"]}, ${fields["alsoAt"]}`);
  assertEquals([said(a), said(b), said(c)], [["db: a, b"], ["db: b, a"], ["db: a, b"]]);
  const twin = new Host(world, "c", "other");
  await world.clock.run(5_000);
  const twins = (host: Host) => host.lines().filter((line) => line.endsWith("name of this one"));
  assertEquals([twins(c).length, twins(twin).length], [1, 1]);
  for (const host of [a, b, c, twin]) await host.heartbeat.close();
});

Deno.test("messages that are none cost a line of the log, and nothing else", async () => {
  const world = new World();
  const a = new Host(world, "a");
  const stranger = world.engine.client().connection()!;
  await world.clock.run(1_000);
  const names = a.names;
  const messages = [
    new Uint8Array(0),
    new Uint8Array(100_000),
    new TextEncoder().encode("{}"),
    encodeAnnouncement(saying("c", { x: ["web:1@10.0.0.1"] })).data,
  ];
  for (const subject of ["alive.b", "gone.b", "gone.a", "alive.-", "alive.a"]) {
    for (const data of messages) stranger.publish(`virtio-gateway.default.${subject}`, data);
    await world.clock.run(1_100);
  }
  assertEquals(a.names, names);
  assertEquals(a.heartbeat.report(), { gateways: 1, services: 1, conflicts: 0, refused: 20 });
  const lines = new Set(a.lines());
  assertEquals([...lines], ["a message of the fleet's registry is not taken"]);
  await a.heartbeat.close();
});

Deno.test("a resolver that takes no names is told again, and costs the others nothing", async () => {
  const world = new World();
  const a = new Host(world, "a");
  await world.knows(a, ["web.a"], 1_000);
  a.published = [{ ...WEB, bind: "127.0.0.1" }];
  await world.knows(a, [], 3_000);
  assertEquals(a.lines(), ["a service has no name in the fleet"]);
  await world.clock.run(10_000);
  assertEquals(a.lines().length, 1);
  await a.heartbeat.close();
});
