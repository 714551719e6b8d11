/** Who is there, asked of a real engine. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { callRoll } from "../../lib/fleet/roll_call.ts";
import { until } from "../guest/program.ts";
import { NatsServer } from "../support/nats_server.ts";
import { announcement, AnnouncingGateways } from "./announcing.ts";

Deno.test("gateways of one fleet answer, in the order of their names; what can't be read is counted", async () => {
  await using server = await NatsServer.start();
  await using gateways = await AnnouncingGateways.start(server.url, "f", [
    announcement("h10"),
    announcement("h9"),
  ]);
  await using _others = await AnnouncingGateways.start(server.url, "g", [announcement("other")]);
  await using engine = Engine.open({ servers: [server.url], name: "test" });
  const isEnough = (heard: ReadonlyMap<string, unknown>) => heard.size === 2;
  const { announcements } = await callRoll(engine, "f", { forMs: 60_000, isEnough });
  assertEquals(announcements.map(({ gateway }) => gateway), ["h9", "h10"]);
  // Nobody says when all have spoken.
  const asked = gateways.asked;
  const calling = callRoll(engine, "f", { forMs: 5_000 });
  await until("it hears", () => Promise.resolve(gateways.asked > asked));
  gateways.shout("h11", "{}");
  const { announcements: all, unread } = await calling;
  assertEquals([all.length, unread], [2, 1]);
});

Deno.test("who is asked for a state that is about to come is asked again", async () => {
  await using server = await NatsServer.start();
  await using gateways = await AnnouncingGateways.start(server.url, "f", [announcement("h1")]);
  await using engine = Engine.open({ servers: [server.url], name: "test" });
  const { announcements } = await callRoll(engine, "f", {
    forMs: 60_000,
    isEnough: (heard) => {
      if (gateways.asked === 2) gateways.say("h1", { revision: 7, policy: "in force" });
      return heard.get("h1")?.revision === 7;
    },
  });
  assertEquals(announcements.map(({ revision }) => revision), [7]);
  assert(gateways.asked >= 2);
});

Deno.test("who leaves meanwhile is not there, and who was known stays", async () => {
  await using server = await NatsServer.start();
  await using gateways = await AnnouncingGateways.start(server.url, "f", [
    announcement("h1"),
    announcement("h2"),
  ]);
  await using engine = Engine.open({ servers: [server.url], name: "test" });
  let hasLeft = false;
  const { announcements } = await callRoll(engine, "f", {
    forMs: 60_000,
    known: [announcement("h0")],
    isEnough: (heard) => {
      if (heard.size === 3 && !hasLeft) gateways.leave("h1");
      hasLeft ||= heard.size === 3;
      return hasLeft && heard.size === 2;
    },
  });
  assertEquals(announcements.map(({ gateway }) => gateway), ["h0", "h2"]);
});

Deno.test("where the engine lets nobody hear them, that is said", async () => {
  const config = `authorization { users: [{ user: u, password: p, permissions: {
    subscribe: { deny: "virtio-gateway.f.alive.*" } } }] }`;
  await using server = await NatsServer.start({ config });
  const auth = {
    path: "",
    secret: { kind: "user", user: "u", password: "p" },
    tls: null,
    files: [],
  } as const;
  await using engine = Engine.open({ servers: [server.url], name: "test", auth });
  const calling = () => callRoll(engine, "f", { forMs: 60_000 });
  const { message } = await assertRejects(calling, GatewayError);
  assertEquals(
    message,
    "cannot hear the fleet's gateways: the engine does not permit to subscribe to " +
      "virtio-gateway.f.alive.*",
  );
});
