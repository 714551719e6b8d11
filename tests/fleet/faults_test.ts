/**
 * Fleets whose engine fails in each way that one server can: guests' flows move on, no record of the
 * audit is lost or there twice, and the policy comes to what was put last. The fleets live at the same
 * time, as most of it is waiting.
 */
import { assert, assertEquals } from "@std/assert";
import { DiscardPolicy, jetstreamManager } from "@nats-io/jetstream";
import { auditStream } from "../../lib/fleet/names.ts";
import { NatsServer } from "../support/nats_server.ts";
import { hasProgram } from "../support/programs.ts";
import { busy, FaultFleet, refusing, together } from "./faults_rig.ts";
import { until } from "./policy_rig.ts";

const ignore = !await hasProgram("nats-server");
if (ignore) console.log("tests skipped: nats-server is not here");

function start(server: NatsServer, gateways: number): Promise<FaultFleet> {
  return FaultFleet.start(Array.from({ length: gateways }, () => [server.url]));
}

async function lost(fleet: FaultFleet): Promise<void> {
  for (const { name, fleet: place } of fleet.members) {
    await until(`${name} without its engine`, () => place!.report().engine.state !== "connected");
  }
}

async function connected(fleet: FaultFleet): Promise<void> {
  for (const { name, fleet: place } of fleet.members) {
    await until(`${name} with its engine`, () => place!.report().engine.state === "connected");
  }
}

async function isKilled(): Promise<void> {
  await using server = await NatsServer.start();
  await using fleet = await start(server, 6);
  await fleet.converge(await fleet.put(refusing("10.99.0.1")), "10.99.0.1");
  for (let round = 0; round < 2; round++) {
    const work = busy(fleet);
    await fleet.flowing();
    await server.kill();
    await lost(fleet);
    // Guests are refused as before, which is noted; one gateway ends and starts with its copy.
    await fleet.refuse(5);
    const [first] = fleet.members;
    await fleet.remove(first!);
    const before = first!.fleet!.report().policy; // what was read before the loss is in force by now
    const again = await fleet.add(first!.name, [server.url]);
    assertEquals(again.fleet!.report().policy.source, "copy");
    assertEquals(again.fleet!.report().policy.revision, before.revision);
    await again.beRefused(2);
    await fleet.flowing();
    await server.start();
    await connected(fleet);
    await work.end();
    const address = `10.99.0.${10 + round}`;
    await fleet.converge(await fleet.put(refusing(address)), address);
    await fleet.flowing();
  }
  await fleet.auditWhole([server.url]);
}

async function standsStill(): Promise<void> {
  await using server = await NatsServer.start();
  await using fleet = await start(server, 4);
  await fleet.refuse(3);
  await server.pause();
  try {
    // Nobody tells the gateways: what they hand to the engine until they find out is bounded.
    await fleet.refuse(20);
    await fleet.flowing();
    await lost(fleet);
    await fleet.refuse(3);
    await fleet.flowing();
  } finally {
    server.resume();
  }
  await connected(fleet);
  await fleet.converge(await fleet.put(refusing("10.99.0.1")), "10.99.0.1");
  await fleet.flowing();
  await fleet.auditWhole([server.url]);
}

async function hasForgotten(): Promise<void> {
  await using server = await NatsServer.start();
  await using fleet = await start(server, 3);
  for (let n = 1; n <= 5; n++) await fleet.put(refusing(`10.99.1.${n}`));
  const old = await fleet.put(refusing("10.99.0.1"));
  await fleet.converge(old, "10.99.0.1");
  await server.kill();
  await lost(fleet);
  await fleet.refuse(3);
  await Deno.remove(`${server.folder}/store`, { recursive: true });
  await server.start();
  await connected(fleet);
  for (const { name, fleet: place, server } of fleet.members) {
    await until(`${name} misses the bucket`, () => place!.report().policy.rejected !== null);
    assertEquals((await server.explain("10.99.0.1:443")).allowed, false);
    assert((await server.explain("10.99.0.2:443")).allowed);
  }
  await fleet.provision();
  await fleet.refuse(3);
  await fleet.flowing();
  // Revisions begin anew: what is newest counts, not what has the highest number.
  const revision = await fleet.put(refusing("10.99.0.2"));
  assert(revision < old);
  for (const { name, fleet: place } of fleet.members) {
    await until(`the new policy at ${name}`, () => place!.report().policy.revision === revision);
  }
  await fleet.converge(revision, "10.99.0.2");
  assert(!await fleet.members[0]!.refuses("10.99.0.1"));
  await fleet.flowing();
  // The stream is another one, with what was not acknowledged by the one before it.
  await fleet.auditWhole([server.url], false);
}

async function isFull(): Promise<void> {
  await using server = await NatsServer.start();
  await using fleet = await start(server, 3);
  await fleet.converge(await fleet.put(refusing("10.99.0.1")), "10.99.0.1");
  const manager = await jetstreamManager(fleet.connection);
  const stream = auditStream("default");
  const { config, state } = await manager.streams.info(stream);
  const full = { discard: DiscardPolicy.New, max_msgs: state.messages };
  await manager.streams.update(stream, { ...config, ...full });
  // Changes of the policy are life's events, which are noted at once.
  await fleet.converge(await fleet.put(refusing("10.99.0.2")), "10.99.0.2");
  for (const { name, fleet: place } of fleet.members) {
    await until(`${name} says so`, () => place!.report().audit.problem !== null);
    assert(place!.report().audit.problem!.includes("the engine refuses records"));
    assert(place!.report().audit.waiting > 0);
  }
  await fleet.flowing();
  await manager.streams.update(stream, config);
  await fleet.refuse(3);
  await fleet.auditWhole([server.url]);
}

Deno.test({
  name: "faults of an engine",
  ignore,
  fn: (t) =>
    together(t, {
      "it is killed in the middle of everything and comes back": isKilled,
      "it stands still for longer than it may": standsStill,
      "it has forgotten everything": hasForgotten,
      "it is full": isFull,
    }),
});
