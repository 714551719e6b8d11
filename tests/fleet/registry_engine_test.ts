/** Services of other gateways by their names, with a real engine between them. */
import { assert, assertEquals } from "@std/assert";
import { serveGuests } from "../../mod.ts";
import { SERVICES_MAX } from "../../lib/dns/service_zone.ts";
import { encodeAnnouncement } from "../../lib/fleet/announcement.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { withFleetZone } from "../../lib/fleet/fleet_zone.ts";
import { Heartbeat } from "../../lib/fleet/heartbeat.ts";
import { aliveSubject } from "../../lib/fleet/names.ts";
import { NatsCluster, NatsServer } from "../support/nats_server.ts";
import { ANY_PORT, attach, eventually } from "../guests/guests_rig.ts";
import { saying } from "./announcements.ts";
import { Member } from "./registry_rig.ts";

const WEB = "web.db.fleet.internal";

Deno.test("a guest resolves what another gateway publishes, until that is gone without a word", async () => {
  await using nats = await NatsServer.start();
  const { url } = nats;
  await using app = await Member.start({ url, gateway: "host-1", guest: "app" });
  assertEquals(await app.asks(WEB), "NXDOMAIN");
  const db = await Member.start({
    url,
    gateway: "host-2",
    guest: "db",
    advertise: ["10.9.9.2", "fd09::2"],
    publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["0.0.0.0"] }],
  });
  await using _guest = db.guest;
  await using _server = db.server;
  await app.hears(WEB, "NOERROR 10.9.9.2");
  const { hostPort } = db.server.published[0]!;
  assertEquals(await app.asks(WEB, "SRV"), `NOERROR 0 0 ${hostPort} ${WEB}`);
  assertEquals(await app.asks("_web._tcp.db.fleet.internal", "SRV"), await app.asks(WEB, "SRV"));
  assertEquals(await app.asks("dns.db.fleet.internal"), "NXDOMAIN");
  await db.hears(WEB, "NOERROR 10.9.9.2"); // each resolver is told at its own pace
  assertEquals(app.server.snapshot().guest!.dns.failedNetwork, 0);

  const [udp] = await db.server.publish({
    hostPort: 0,
    guestPort: 53,
    protocol: "udp",
    bind: ["0.0.0.0"],
  });
  await app.hears("dns.db.fleet.internal", "NOERROR 10.9.9.2");
  db.server.unpublish(udp!);
  db.heartbeat.changed();
  await app.hears("dns.db.fleet.internal", "NXDOMAIN");
  assertEquals(await app.asks(WEB), "NOERROR 10.9.9.2");

  await db.engine.close(); // nobody has said that it ends
  assertEquals(await app.asks(WEB), "NOERROR 10.9.9.2");
  await app.hears(WEB, "NXDOMAIN"); // how soon, heartbeat_test.ts says by its own clock
  assertEquals(app.heartbeat.report(), { gateways: 1, services: 0, conflicts: 0, refused: 0 });
  await db.heartbeat.close();
});

Deno.test("a gateway that ends in order is gone at once, and its guest when it leaves", async () => {
  await using nats = await NatsServer.start();
  const { url } = nats;
  await using app = await Member.start({ url, gateway: "host-1", guest: "app" });
  const options = {
    url,
    gateway: "host-2",
    guest: "db",
    publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["0.0.0.0"] }],
    advertise: ["10.9.9.2"],
  };
  const db = await Member.start(options);
  await app.hears(WEB, "NOERROR 10.9.9.2");
  await db.guest.close();
  await app.hears(WEB, "NXDOMAIN");
  await using again = await attach(db.server.endpoint);
  await again.lease();
  await app.hears(WEB, "NOERROR 10.9.9.2");
  await db[Symbol.asyncDispose]();
  await app.hears(WEB, "NXDOMAIN");
  await using _later = await Member.start(options);
  await app.hears(WEB, "NOERROR 10.9.9.2");
});

Deno.test("names stay while the engine is gone or stands still", async () => {
  await using nats = await NatsServer.start();
  const { url } = nats;
  await using app = await Member.start({ url, gateway: "host-1", guest: "app" });
  await using _db = await Member.start({
    url,
    gateway: "host-2",
    guest: "db",
    advertise: ["10.9.9.2"],
    publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["0.0.0.0"] }],
  });
  await app.hears(WEB, "NOERROR 10.9.9.2");
  const stays = async (ms: number) => {
    const endMs = performance.now() + ms;
    while (performance.now() < endMs) {
      assertEquals(await app.asks(WEB), "NOERROR 10.9.9.2");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  await nats.pause();
  await stays(10_000);
  nats.resume();
  await stays(3_000);
  await nats.kill();
  await stays(10_000);
  await nats.start();
  await eventually(() => app.engine.state === "connected");
  await stays(3_000);
});

Deno.test("names stay while servers of the engine go, down to the last one", async () => {
  await using cluster = await NatsCluster.start(3);
  const url = cluster.urls;
  await using app = await Member.start({ url, gateway: "host-1", guest: "app" });
  await using db = await Member.start({
    url,
    gateway: "host-2",
    guest: "db",
    advertise: ["10.9.9.2"],
    publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["0.0.0.0"] }],
  });
  await app.hears(WEB, "NOERROR 10.9.9.2");
  const [first, second, third] = cluster.nodes as [NatsServer, NatsServer, NatsServer];
  for (const node of [first, second]) {
    await node.kill();
    const endMs = performance.now() + 10_000;
    while (performance.now() < endMs) {
      assertEquals(await app.asks(WEB), "NOERROR 10.9.9.2");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  const left = `127.0.0.1:${third.port}`;
  await eventually(() => app.engine.server === left && db.engine.server === left);
  db.server.unpublish(db.server.published[0]!);
  await app.hears(WEB, "NXDOMAIN");
});

Deno.test("as many services as there can be have names, for guests in workers too", async () => {
  await using nats = await NatsServer.start();
  await using guests = await serveGuests({
    workers: 2,
    guests: ["a", "b"].map((name) => ({
      name,
      endpoint: ANY_PORT,
      dns: withFleetZone({ upstreams: ["127.0.0.1:1"] }),
    })),
  });
  await using engine = Engine.open({ servers: [nats.url], name: "host-1" });
  const heartbeat = new Heartbeat({
    engine,
    fleet: "default",
    gateway: "host-1",
    advertise: [],
    guests: guests.names.map((name) => ({
      settings: { name, group: null, services: [] },
      gateway: guests.guest(name),
    })),
    policy: () => ({ revision: null, policy: "closed", rejected: null }),
  });
  heartbeat.start();
  const connection = await engine.whenConnected();
  const perHost = 512;
  const announcements = Array.from({ length: SERVICES_MAX / perHost }, (_, host) => {
    const named = Object.fromEntries(
      Array.from({ length: perHost / 64 }, (_, guest) => [
        `g${guest}-${host}`,
        Array.from({ length: 64 }, (_, at) => `s${at}:${1 + at}@10.0.${host}.${guest}`),
      ]),
    );
    const { data, left } = encodeAnnouncement(saying(`far-${host}`, named));
    assertEquals(left, 0);
    return { subject: aliveSubject("default", `far-${host}`), data };
  });
  const announce = () =>
    announcements.forEach(({ subject, data }) => connection.publish(subject, data));
  announce();
  // Whoever is silent is gone after some seconds, and guests that start may take longer.
  const announcing = setInterval(announce, 2_000);
  await eventually(() => heartbeat.report().services === SERVICES_MAX);
  for (const name of guests.names) {
    await using guest = await attach(guests.guest(name).endpoint);
    await guest.lease();
    await eventually(async () => {
      const { answers } = await guest.resolve("s63.g7-7.fleet.internal", "A");
      return answers[0]?.data === "10.0.7.7";
    });
    assertEquals((await guest.resolve("s0.g0-0.fleet.internal", "SRV")).code, "NOERROR");
    assert((await guest.resolve("s64.g0-0.fleet.internal", "A")).code === "NXDOMAIN");
  }
  clearInterval(announcing);
  await heartbeat.close();
});
