/** The documents of a fleet in a real engine. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { GatewayError } from "../../lib/config/errors.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { POLICY_DESCRIPTION, policyBucket } from "../../lib/fleet/names.ts";
import { PolicyStore } from "../../lib/fleet/policy_store.ts";
import { provision } from "../../lib/fleet/provision.ts";
import { until } from "../guest/program.ts";
import { NatsCluster, NatsServer } from "../support/nats_server.ts";

/** A way to the engine, as a user with a password where one is named. */
function open(url: string, user?: string): Engine {
  const auth = user === undefined ? null : {
    path: "",
    secret: { kind: "user", user, password: user },
    tls: null,
    files: [],
  } as const;
  return Engine.open({ servers: [url], name: "test", auth });
}

/** A bucket as operators make it. */
async function makeBucket(engine: Engine, fleet: string, description = POLICY_DESCRIPTION) {
  const connection = await engine.whenConnected();
  const options = { history: 64, description };
  await new Kvm(jetstream(connection)).create(policyBucket(fleet), options);
}

async function faultOf(what: Promise<unknown>): Promise<[string, string]> {
  const { code, message, hint } = await assertRejects(() => what, GatewayError) as GatewayError;
  return [code, `${message}. ${hint}`];
}

Deno.test("documents are written, read, taken away, and known as they were", async () => {
  await using server = await NatsServer.start();
  await using engine = open(server.url);
  await makeBucket(engine, "f");
  const store = await PolicyStore.open(engine, "f");
  assertEquals(await store.all(), []);
  assertEquals(await store.revision(), 0);
  assertEquals(await store.get("fleet"), null);
  assertEquals(await store.put("fleet", "deny: [a.test]\n"), 1);
  assertEquals(await store.put("guest.web", "{}"), 2);
  assertEquals(await store.put("fleet", "deny: [b.test]\n", { ifRevision: 1 }), 3);
  const texts = (documents: readonly { key: string; text: string | null }[]) =>
    documents.map(({ key, text }) => [key, text]);
  assertEquals(texts(await store.all()), [["fleet", "deny: [b.test]\n"], ["guest.web", "{}"]]);
  assertEquals((await store.get("fleet", 1))?.text, "deny: [a.test]\n");
  assertEquals(await store.get("fleet", 2), null);
  assertEquals(await store.get("fleet", 9), null);
  assertEquals(await store.delete("guest.web"), 4);
  assertEquals(texts(await store.all()), [["fleet", "deny: [b.test]\n"]]);
  assertEquals(texts(await store.latest()), [["fleet", "deny: [b.test]\n"], ["guest.web", null]]);
  const history = await store.history();
  assertEquals(history.map(({ key, revision }) => [key, revision]), [
    ["fleet", 1],
    ["guest.web", 2],
    ["fleet", 3],
    ["guest.web", 4],
  ]);
  assert(history.every(({ createdMs }) => Math.abs(createdMs - Date.now()) < 600_000));
  assertEquals((await store.history("fleet")).map(({ revision }) => revision), [1, 3]);
  assertEquals(await store.history("group.none"), []);
  assertEquals(await store.revision(), 4);
  // What was taken away is absent for who wants it to be.
  assertEquals(await store.put("guest.web", "{}", { ifRevision: 0 }), 5);
});

Deno.test("who is overtaken writes nothing, and is told which revision there is", async () => {
  await using server = await NatsServer.start();
  await using engine = open(server.url);
  await makeBucket(engine, "f");
  const store = await PolicyStore.open(engine, "f");
  await store.put("fleet", "{}");
  await store.put("fleet", "deny: [a.test]");
  const hint = "fleet policy history fleet shows what; nothing was written";
  assertEquals(await faultOf(store.put("fleet", "{}", { ifRevision: 1 })), [
    "fleet",
    "the policy document fleet has revision 2, where revision 1 was expected: somebody else has " +
    `changed it. ${hint}`,
  ]);
  assertEquals(await faultOf(store.put("fleet", "{}", { ifRevision: 0 })), [
    "fleet",
    "the policy document fleet has revision 2, where it was to be absent: somebody else has " +
    `changed it. ${hint}`,
  ]);
  assertEquals((await faultOf(store.delete("fleet", { ifRevision: 1 })))[0], "fleet");
  assertEquals((await store.get("fleet"))?.text, "deny: [a.test]");
  assertEquals(await faultOf(store.put("guest.web", "{}", { ifRevision: 7 })), [
    "fleet",
    "the policy document guest.web is not there, where revision 7 was expected: somebody else " +
    "has changed it. fleet policy history guest.web shows what; nothing was written",
  ]);
  assertEquals(await faultOf(store.delete("guest.web")), [
    "fleet",
    'fleet "f" has no policy document guest.web. fleet policy get lists those that it has',
  ]);
});

Deno.test("a bucket that is missing or another one's is refused with one message each", async () => {
  await using server = await NatsServer.start();
  await using engine = open(server.url);
  await makeBucket(engine, "theirs", "their notes");
  assertEquals(await faultOf(PolicyStore.open(engine, "f")), [
    "fleet",
    'fleet "f" has no policy on this engine: there is no bucket virtio-gateway-f-policy. ' +
    "Make it with: fleet init; or name another fleet with --fleet-name",
  ]);
  assertEquals(await faultOf(PolicyStore.open(engine, "theirs")), [
    "fleet",
    "the bucket virtio-gateway-theirs-policy on this engine is not one of virtio-gateway: its " +
    'description is not "virtio-gateway policy 1". Name another fleet with --fleet-name, or ' +
    "take that bucket away",
  ]);
});

Deno.test("an engine without JetStream says how to start it with it", async () => {
  await using server = await NatsServer.start({ jetStream: false });
  await using engine = open(server.url);
  assertEquals(await faultOf(PolicyStore.open(engine, "f")), [
    "no-engine",
    "cannot read the fleet's policy: nobody answers for JetStream on the engine. Start it with: " +
    "nats-server -js, or with jetstream {} in its configuration; of a cluster most servers have " +
    "to run, and agree within some seconds",
  ]);
});

Deno.test("a right that lacks is named", async () => {
  const users = `authorization { users: [
    { user: root, password: root }
    { user: reader, password: reader, permissions: {
      publish: { deny: ["$KV.virtio-gateway-f-policy.>", "$JS.API.STREAM.INFO.KV_other"] } } }
  ] }`;
  await using server = await NatsServer.start({ config: users });
  await using root = open(server.url, "root");
  await makeBucket(root, "f");
  await using reader = open(server.url, "reader");
  const store = await PolicyStore.open(reader, "f");
  assertEquals(await faultOf(store.put("fleet", "{}")), [
    "fleet",
    "cannot write the policy document fleet: the engine does not permit to publish " +
    "$KV.virtio-gateway-f-policy.fleet. Use credentials that have this right, or ask the " +
    "engine's operator",
  ]);
});

Deno.test("a cluster that has lost most of its servers says so, and answers once they are back", async () => {
  await using cluster = await NatsCluster.start(3);
  const [first, ...others] = cluster.nodes;
  await using engine = open(first!.url);
  await provision(await engine.whenConnected(), "f", { replicas: 3 });
  const store = await PolicyStore.open(engine, "f");
  await store.put("fleet", "{}");
  for (const node of others) await node.kill();
  const [code, text] = await faultOf(store.put("fleet", "deny: [a.test]"));
  assertEquals(code, "no-engine");
  assert(/of a cluster most servers .*within some seconds$|try again in some seconds$/.test(text));
  for (const node of others) await node.start();
  await until("they agree again", async () => {
    return await store.put("guest.web", "{}").then(() => true, () => false);
  }, 60_000);
  assertEquals((await store.get("guest.web"))?.text, "{}");
});

Deno.test("an engine that has stopped answering is told as such", async () => {
  await using server = await NatsServer.start();
  await using engine = open(server.url);
  await makeBucket(engine, "f");
  const store = await PolicyStore.open(engine, "f");
  await server.pause();
  const [code, text] = await faultOf(store.revision());
  assertEquals([code, text], [
    "no-engine",
    "cannot read the fleet's policy: the engine does not answer any more. Look whether it " +
    "runs, of a cluster most servers, and try again in some seconds",
  ]);
});
