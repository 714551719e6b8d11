/**
 * What `fleet init` makes, on real servers: once and again, on a cluster, beside what is somebody
 * else's, and without the right or the means.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import type { NatsConnection } from "@nats-io/nats-core";
import { GatewayError } from "../../lib/config/errors.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { auditStream, auditSubject, policyBucket } from "../../lib/fleet/names.ts";
import { provision, standingOf } from "../../lib/fleet/provision.ts";
import { NatsCluster, NatsServer } from "../support/nats_server.ts";
import { hasProgram } from "../support/programs.ts";

const ignore = !await hasProgram("nats-server");
if (ignore) console.log("tests skipped: nats-server is not here");

function open(server: string): Engine {
  return Engine.open({ servers: [server], name: "test" });
}

/** The message and the way out of what a promise is rejected with. */
async function fault(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(() => null, (error: unknown) => error);
  assert(error instanceof GatewayError, String(error));
  return `${error.message}. ${error.hint}`;
}

const states = async (connection: NatsConnection, fleet: string): Promise<string[]> => {
  const { policy, audit } = await standingOf(connection, fleet);
  return [policy.state, audit.state];
};

Deno.test({
  name: "a bucket and a stream are made once, and do what they are for",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using engine = open(server.url);
    const connection = await engine.whenConnected();
    assertEquals(await states(connection, "lab"), ["missing", "missing"]);
    assertEquals(await provision(connection, "lab"), {
      policy: { name: policyBucket("lab"), outcome: "made", replicas: 1 },
      audit: { name: auditStream("lab"), outcome: "made", replicas: 1 },
    });
    const { policy, audit } = await provision(connection, "lab");
    assertEquals([policy.outcome, audit.outcome], ["there", "there"]);
    assertEquals(await states(connection, "lab"), ["there", "there"]);
    assertEquals(await states(connection, "other"), ["missing", "missing"]);

    const bucket = await new Kvm(jetstream(connection)).open(policyBucket("lab"));
    const document = "#".repeat(256 * 1024);
    assertEquals(await bucket.put("guest.a", document), 1);
    assertEquals((await bucket.get("guest.a"))?.string(), document);
    const more = await bucket.put("guest.a", "#".repeat(300 * 1024)).catch((error: Error) => error);
    assert(more instanceof Error);

    const client = jetstream(connection);
    const subject = auditSubject("lab", "g1", "denial");
    const [first, again] = [
      await client.publish(subject, "{}", { msgID: "g1-1" }),
      await client.publish(subject, "{}", { msgID: "g1-1" }),
    ];
    assertEquals([first.stream, first.duplicate, again.duplicate], [
      auditStream("lab"),
      false,
      true,
    ]);
    const { config } = await (await jetstreamManager(connection)).streams.info(auditStream("lab"));
    assertEquals([config.max_bytes, config.max_age], [1024 ** 3, 30 * 86_400 * 1e9]);
  },
});

Deno.test({
  name: "several copies need several servers; their number can be changed",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using alone = open(server.url);
    const lone = await alone.whenConnected();
    const told = await fault(provision(lone, "lab", { replicas: 3 }));
    assertStringIncludes(told, "the engine has no 3 servers with JetStream for 3 copies");
    assertStringIncludes(told, "--replicas");
    assertEquals(await states(lone, "lab"), ["missing", "missing"]);

    await using cluster = await NatsCluster.start(3);
    await using engine = open(cluster.urls[0]!);
    const connection = await engine.whenConnected();
    await provision(connection, "lab");
    const { policy, audit } = await provision(connection, "lab", { replicas: 3 });
    assertEquals([policy.outcome, policy.replicas, audit.outcome], ["changed", 3, "changed"]);
    const { policy: kept } = await provision(connection, "lab");
    assertEquals([kept.outcome, kept.replicas], ["there", 3]);
  },
});

Deno.test({
  name: "what is somebody else's stays as it is, and nothing is made beside it",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using engine = open(server.url);
    const connection = await engine.whenConnected();
    const manager = await jetstreamManager(connection);
    await manager.streams.add({ name: auditStream("lab"), subjects: ["theirs.>"] });
    assertEquals(await states(connection, "lab"), ["missing", "foreign"]);
    const told = await fault(provision(connection, "lab"));
    assertStringIncludes(told, `a stream ${auditStream("lab")} that fleet init has not made`);
    assertStringIncludes(told, "--fleet-name");
    assertEquals(await states(connection, "lab"), ["missing", "foreign"]);

    await new Kvm(jetstream(connection)).create(policyBucket("two"), { description: "theirs" });
    assertEquals(await states(connection, "two"), ["foreign", "missing"]);
    assertStringIncludes(await fault(provision(connection, "two")), "a bucket virtio-gateway-two");
    assertEquals(await states(connection, "two"), ["foreign", "missing"]);

    await manager.streams.add({ name: "all", subjects: ["virtio-gateway.three.>"] });
    const overlap = await fault(provision(connection, "three"));
    assertStringIncludes(overlap, "another stream of the engine takes the fleet's subjects");
  },
});

Deno.test({
  name: "without JetStream, without the right and without room: one clear error each",
  ignore,
  async fn() {
    {
      await using server = await NatsServer.start({ jetStream: false });
      await using engine = open(server.url);
      const told = await fault(provision(await engine.whenConnected(), "lab"));
      assertStringIncludes(told, "JetStream");
      assertStringIncludes(told, "nats-server -js");
    }
    {
      await using server = await NatsServer.start({
        config: "no_auth_user: a\nauthorization { users: [{ user: a, password: b, permissions: " +
          `{ publish: { deny: ["$JS.API.STREAM.CREATE.>"] } } }] }`,
      });
      await using engine = open(server.url);
      const told = await fault(provision(await engine.whenConnected(), "lab"));
      assertStringIncludes(told, "does not permit to publish $JS.API.STREAM.CREATE.KV_virtio");
    }
    {
      await using server = await NatsServer.start();
      await server.stop();
      await server.start((config) => config.replace("4GB", "8MB"));
      await using engine = open(server.url);
      const told = await fault(provision(await engine.whenConnected(), "lab"));
      assertStringIncludes(told, `cannot make ${auditStream("lab")}: the engine has too little`);
    }
  },
});
