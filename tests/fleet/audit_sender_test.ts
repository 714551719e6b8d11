/**
 * The audit's way into the stream of a real engine: each record once, whatever becomes of the engine
 * and of the gateway meanwhile.
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { DiscardPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import { AuditReader } from "../../lib/fleet/audit_reader.ts";
import {
  type AuditRecord,
  encodeAuditRecord,
  RECORD_MAX_BYTES,
} from "../../lib/fleet/audit_record.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { auditStream, auditSubject } from "../../lib/fleet/names.ts";
import { provision } from "../../lib/fleet/provision.ts";
import { NatsCluster, NatsServer } from "../support/nats_server.ts";
import { hasProgram } from "../support/programs.ts";
import { DENIAL, GATEWAY, MemoryFiles, MortalFiles, Records } from "./audit_rig.ts";
import { as, Delivery, FLEET, makeStream, storedRecords, until } from "./audit_stream_rig.ts";

const ignore = !await hasProgram("nats-server");
if (ignore) console.log("tests skipped: nats-server is not here");

/** Appends records, `each` at a time, and lets others run between; their identities. */
async function produce(
  spool: { append(record: AuditRecord): void },
  records: Records,
  count: number,
  each = 50,
): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) {
    for (let i = 0; i < each; i++) {
      const record = ids.length % 20 === 0 ? records.life() : records.denial();
      spool.append(record);
      ids.push(record.id);
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return ids;
}

/** Each of these stands in the stream once, and nothing else. */
function assertOnce(stored: readonly AuditRecord[], ids: readonly string[]): void {
  assertEquals(stored.map(({ id }) => id).sort(), [...ids].sort());
}

/** Opens a connection of the test's own. */
async function observer(urls: readonly string[]): Promise<Engine> {
  const engine = Engine.open({ servers: urls, name: "observer" });
  await engine.whenConnected();
  return engine;
}

class Lines implements GatewayLogger {
  readonly all: string[] = [];
  debug = silentLogger.debug;
  info = (message: string, fields = {}) => void this.all.push(message + JSON.stringify(fields));
  warn = this.info;
  error = this.info;
}

Deno.test({
  name: "records arrive in order, and a quiet audit leaves no file",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    await provision(own.connection()!, FLEET);
    const files = new MemoryFiles();
    const records = new Records("x");
    await using delivery = await Delivery.open([server.url], files, records);
    const ids = await produce(delivery.spool, records, 500);
    // The largest one that there is.
    const id = `${records.life().id}-${"x".repeat(100)}`.slice(0, 128);
    const largest = { ...records.denial(), id, denial: DENIAL };
    const detail = "d".repeat(RECORD_MAX_BYTES - encodeAuditRecord(largest).length);
    largest.denial = { ...DENIAL, detail: DENIAL.detail + detail };
    assertEquals(encodeAuditRecord(largest).length, RECORD_MAX_BYTES);
    delivery.spool.append(largest);
    ids.push(id);
    await delivery.delivered();
    const stored = await storedRecords(own.connection()!);
    assertEquals(stored.map(({ id }) => id), ids);
    assertEquals([delivery.sender.sent, delivery.spool.shed], [501, 0]);
    // More is nobody's record, and nobody who reads is to hold it.
    const subject = auditSubject(FLEET, GATEWAY, "life");
    const padding = new Uint8Array(2 * RECORD_MAX_BYTES);
    await assertRejects(() => jetstream(own.connection()!).publish(subject, padding));
    await delivery.spool.write();
    assertEquals(files.segments.size, 0);
  },
});

Deno.test({
  name: "an engine that is killed in the middle and comes back has each record once",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    await makeStream(own.connection()!);
    const records = new Records("x");
    await using delivery = await Delivery.open([server.url], new MemoryFiles(), records);
    const ids: string[] = [];
    for (let round = 0; round < 3; round++) {
      const producing = produce(delivery.spool, records, 1_000);
      await until(() => delivery.sender.sent > ids.length + 100);
      await server.kill();
      ids.push(...await producing);
      assert(delivery.spool.waiting > 0);
      ids.push(...await produce(delivery.spool, records, 100));
      await server.start();
      await delivery.delivered();
    }
    assertOnce(await storedRecords(await own.whenConnected()), ids);
    assertEquals(delivery.sender.sent, ids.length);
  },
});

Deno.test({
  name: "an engine that is held still has each record once, and no more than some under way",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    await makeStream(own.connection()!);
    const records = new Records("x");
    await using delivery = await Delivery.open([server.url], new MemoryFiles(), records);
    const ids = await produce(delivery.spool, records, 200);
    await delivery.delivered();
    await server.pause();
    ids.push(...await produce(delivery.spool, records, 2_000));
    // The answers to what is under way are given up, and it is sent again.
    await until(() => delivery.engine.connection() === null || delivery.sender.problem !== null);
    server.resume();
    await delivery.delivered();
    assertOnce(await storedRecords(await own.whenConnected()), ids);
  },
});

Deno.test({
  name: "a change of leader among three servers loses and doubles nothing",
  ignore,
  async fn() {
    await using cluster = await NatsCluster.start(3);
    await using own = await observer(cluster.urls);
    await makeStream(own.connection()!, { num_replicas: 3 });
    const records = new Records("x");
    await using delivery = await Delivery.open(cluster.urls, new MemoryFiles(), records);
    const producing = produce(delivery.spool, records, 3_000, 20);
    await until(() => delivery.sender.sent > 200);
    const manager = await jetstreamManager(own.connection()!);
    const leader = (await manager.streams.info(auditStream(FLEET))).cluster!.leader!;
    const node = cluster.nodes[Number(leader.slice(1)) - 1]!;
    await node.kill();
    const ids = await producing;
    await delivery.delivered();
    await node.start();
    const connection = await own.whenConnected();
    let stored: AuditRecord[] = [];
    while (stored.length === 0) stored = await storedRecords(connection).catch(() => []);
    assertOnce(stored, ids);
  },
});

Deno.test({
  name: "a gateway that is killed in the middle goes on after it, each record once",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    await makeStream(own.connection()!);
    const disk = new MemoryFiles();
    const ids: string[] = [];
    for (let life = 0; life < 3; life++) {
      const files = new MortalFiles(disk);
      const records = new Records(`life${life}`);
      const delivery = await Delivery.open([server.url], files, records);
      ids.push(...await produce(delivery.spool, records, 500, 500));
      await delivery.spool.write();
      await until(() => delivery.sender.sent > 0);
      await files.kill();
      await delivery.engine.close();
      void delivery.sender.close(0);
    }
    await using last = await Delivery.open([server.url], disk, new Records("last"));
    await last.delivered();
    const stored = await storedRecords(own.connection()!);
    assertOnce(stored, ids);
  },
});

Deno.test({
  name: "what an end in order has left is delivered after the next start",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    await makeStream(own.connection()!);
    await server.kill();
    const disk = new MemoryFiles();
    const records = new Records("x");
    const first = await Delivery.open([server.url], disk, records);
    const ids = await produce(first.spool, records, 1_000);
    await first.close();
    assert(disk.segments.size > 0);
    await server.start();
    await using second = await Delivery.open([server.url], disk, records);
    assertEquals(second.spool.waiting, 1_000);
    await second.delivered();
    assertOnce(await storedRecords(await own.whenConnected()), ids);
  },
});

Deno.test({
  name: "a drain at the end ends when all is delivered, and at once without an engine",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    await makeStream(own.connection()!);
    const records = new Records("x");
    const delivery = await Delivery.open([server.url], new MemoryFiles(), records);
    await delivery.engine.whenConnected();
    const ids = await produce(delivery.spool, records, 1_000, 1_000);
    await delivery.sender.close(600_000);
    assertEquals(delivery.spool.waiting, 0);
    assertOnce(await storedRecords(own.connection()!), ids);
    await delivery.close();

    await server.kill();
    const alone = await Delivery.open([server.url], new MemoryFiles(), records);
    await produce(alone.spool, records, 50);
    await alone.sender.close(600_000);
    assertEquals(alone.spool.waiting, 50);
    await alone.close();
  },
});

Deno.test({
  name: "a stream that is missing is waited for, and said once",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    const records = new Records("x");
    const logger = new Lines();
    const options = { logger };
    await using delivery = await Delivery.open([server.url], new MemoryFiles(), records, options);
    const ids = await produce(delivery.spool, records, 100);
    await until(() => delivery.sender.problem !== null);
    const name = auditStream(FLEET);
    const why = `the engine has no stream ${name}. Make it with: virtio-gateway fleet init`;
    assertEquals(delivery.sender.problem, why);
    await makeStream(own.connection()!);
    await delivery.delivered();
    assertOnce(await storedRecords(own.connection()!), ids);
    assertEquals(logger.all, [
      `the audit cannot be delivered, it is kept on disk${JSON.stringify({ why })}`,
      "the audit is delivered again{}",
    ]);
  },
});

Deno.test({
  name: "nothing is written into a stream of somebody else",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    await makeStream(own.connection()!, { description: "orders" });
    const records = new Records("x");
    await using delivery = await Delivery.open([server.url], new MemoryFiles(), records);
    await produce(delivery.spool, records, 100);
    await until(() => delivery.sender.problem !== null);
    assertStringIncludes(delivery.sender.problem!, "is not an audit that fleet init has made");
    assertEquals(await storedRecords(own.connection()!), []);
    assertEquals([delivery.spool.waiting, delivery.sender.sent], [100, 0]);

    // Nor where a stream of another name takes the audit's subjects.
    const manager = await jetstreamManager(own.connection()!);
    await manager.streams.delete(auditStream(FLEET));
    await makeStream(own.connection()!, { name: "orders" });
    await until(() => delivery.sender.problem!.includes("has no stream"));
    assertEquals((await manager.streams.info("orders")).state.messages, 0);
  },
});

Deno.test({
  name: "a stream that is full and discards what is new keeps the rest waiting",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    const full = { discard: DiscardPolicy.New, max_msgs: 150 };
    await makeStream(own.connection()!, full);
    const records = new Records("x");
    await using delivery = await Delivery.open([server.url], new MemoryFiles(), records);
    const ids = await produce(delivery.spool, records, 400);
    await until(() => delivery.sender.problem !== null);
    assertStringIncludes(delivery.sender.problem!, "the engine refuses records: ");
    assertEquals([delivery.sender.sent, delivery.spool.waiting], [150, 250]);
    const manager = await jetstreamManager(own.connection()!);
    await manager.streams.update(auditStream(FLEET), { ...full, max_msgs: -1 });
    await delivery.delivered();
    assertEquals(delivery.sender.problem, null);
    assertOnce(await storedRecords(own.connection()!), ids);
  },
});

Deno.test({
  name: "of a flood without an engine, what is missing in the stream is what was shed",
  ignore,
  async fn() {
    await using server = await NatsServer.start();
    await using own = await observer([server.url]);
    await makeStream(own.connection()!);
    const records = new Records("x");
    await using delivery = await Delivery.open([server.url], new MemoryFiles(), records);
    const ids = await produce(delivery.spool, records, 100);
    await delivery.delivered();
    await server.pause();
    ids.push(...await produce(delivery.spool, records, 15_000));
    await until(() => delivery.spool.shed > 3_000);
    server.resume();
    await delivery.delivered();
    await delivery.spool.write();
    await delivery.delivered();
    const stored = await storedRecords(await own.whenConnected());
    const unique = new Set(stored.map(({ id }) => id));
    assertEquals(unique.size, stored.length);
    const missing = ids.filter((id) => !unique.has(id)).length;
    assertEquals(missing, delivery.spool.shed);
    const said = stored.flatMap((each) =>
      each.kind === "life" && each.event === "shed" ? each : []
    );
    assertEquals(said.reduce((sum, { count = 0 }) => sum + count, 0), missing);
    const life = stored.filter((each) => each.kind === "life" && each.event !== "shed");
    assertEquals(life.length, ids.length / 20);
  },
});

/** Users of whom each has the rights that its part needs, and no more. */
const RIGHTS = `authorization { users: [
  { user: operator, password: operator }
  { user: gateway, password: gateway, permissions: {
    publish: ["virtio-gateway.test.audit.host-7.*", "$JS.API.STREAM.INFO.virtio-gateway-test-audit"]
    subscribe: ["_INBOX.>"] } }
  { user: other, password: other, permissions: {
    publish: ["virtio-gateway.test.audit.host-8.*", "$JS.API.STREAM.INFO.virtio-gateway-test-audit"]
    subscribe: ["_INBOX.>"] } }
  { user: reader, password: reader, permissions: {
    publish: [
      "$JS.API.STREAM.INFO.virtio-gateway-test-audit"
      "$JS.API.STREAM.MSG.GET.virtio-gateway-test-audit"
      "$JS.API.CONSUMER.CREATE.virtio-gateway-test-audit.>"
      "$JS.API.CONSUMER.DELETE.virtio-gateway-test-audit.*"
      "$JS.API.CONSUMER.INFO.virtio-gateway-test-audit.*"
      "$JS.API.CONSUMER.MSG.NEXT.virtio-gateway-test-audit.*"
    ]
    subscribe: ["_INBOX.>"] } }
] }`;

Deno.test({
  name: "a gateway needs the right to write under its name and to look at the stream, and no other",
  ignore,
  async fn() {
    await using server = await NatsServer.start({ config: RIGHTS });
    await using operator = Engine.open({
      servers: [server.url],
      name: "operator",
      auth: as("operator"),
    });
    await makeStream(await operator.whenConnected());
    const records = new Records("x");
    const open = (user: string) => {
      return Delivery.open([server.url], new MemoryFiles(), records, { user });
    };
    await using delivery = await open("gateway");
    const ids = await produce(delivery.spool, records, 100);
    await delivery.delivered();

    await using other = await open("other");
    await produce(other.spool, records, 100);
    await until(() => other.sender.problem !== null);
    assertStringIncludes(other.sender.problem!, "virtio-gateway.test.audit.host-7.");
    assertOnce(await storedRecords(operator.connection()!), ids);

    await using reading = Engine.open({ servers: [server.url], name: "r", auth: as("reader") });
    const reader = new AuditReader(await reading.whenConnected(), FLEET);
    assertEquals((await reader.last(1_000)).map(({ id }) => id), ids);
    const following = reader.follow(new AbortController().signal);
    const next = following.next();
    const [id] = await produce(delivery.spool, records, 1, 1);
    assertEquals((await next).value?.id, id);
    await following.return();
  },
});
