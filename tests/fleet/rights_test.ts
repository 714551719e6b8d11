/**
 * The server's configuration in docs/fleet.md, as it stands there, in a real server: what a gateway
 * and an operator may do with it, what they may not, and where answers go that somebody steers
 * elsewhere.
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { jetstream, JetStreamApiError, jetstreamManager } from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { headers, PermissionViolationError, RequestError } from "@nats-io/nats-core";
import type { NatsConnection } from "@nats-io/nats-core";
import { Engine } from "../../lib/fleet/engine.ts";
import { connectEngine } from "../../lib/fleet/engine_transport.ts";
import {
  aliveSubject,
  auditStream,
  auditSubject,
  goneSubject,
  inboxPrefix,
  policyBucket,
  whoSubject,
} from "../../lib/fleet/names.ts";
import { PolicyBucket } from "../../lib/fleet/policy_bucket.ts";
import { PolicyWatch } from "../../lib/fleet/policy_watch.ts";
import { provision } from "../../lib/fleet/provision.ts";
import { NatsServer } from "../support/nats_server.ts";
import { until } from "./policy_rig.ts";
import { accountsOf } from "./rights_rig.ts";

const FLEET = "default";
const BUCKET = policyBucket(FLEET);
const STREAM = auditStream(FLEET);
const DOCUMENT = `$KV.${BUCKET}.fleet`;
const GET = `$JS.API.STREAM.MSG.GET.KV_${BUCKET}`;
const INFO = `$JS.API.STREAM.INFO.KV_${BUCKET}`;

/** The same rights, but all users in one account. */
function oneAccount(): string {
  const accounts = accountsOf();
  const [, gateways = ""] = /GATEWAYS \{[^]*?users: \[\n([^]*?)^ {4}\]/m.exec(accounts) ?? [];
  assert(gateways.includes("host-2"));
  return `authorization { users: [\n{ user: operator, password: "secret of the operator" }\n` +
    `${gateways}] }`;
}

/** A server with a fleet in it, whose policy has one document. */
class Rights implements AsyncDisposable {
  readonly #connections: NatsConnection[] = [];

  private constructor(
    readonly server: NatsServer,
    readonly operator: NatsConnection,
    readonly documents: KV,
    readonly host1: NatsConnection,
    readonly host2: NatsConnection,
  ) {
    this.#connections = [host1, host2, operator];
  }

  static async start(config: string): Promise<Rights> {
    const server = await NatsServer.start({ config });
    const open = (user: string, secret: string, inbox?: string) =>
      connectEngine({
        ...{ servers: server.url, user, pass: secret },
        ...(inbox === undefined ? {} : { inboxPrefix: inbox }),
      });
    const operator = await open("operator", "secret of the operator");
    await provision(operator, FLEET);
    const documents = await new Kvm(jetstream(operator)).open(BUCKET);
    await documents.put("fleet", "deny: [metadata]\n");
    const host = (name: string) => open(name, `secret of ${name}`, inboxPrefix(FLEET, name));
    return new Rights(server, operator, documents, await host("host-1"), await host("host-2"));
  }

  /** How many changes the bucket has seen, and how many records the stream. */
  async sequences(): Promise<[documents: number, records: number]> {
    const { streams } = await jetstreamManager(this.operator);
    const of = async (name: string) => (await streams.info(name)).state.last_seq;
    return [await of(`KV_${BUCKET}`), await of(STREAM)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) await connection.close();
    await this.server[Symbol.asyncDispose]();
  }
}

/** What comes to a connection on a subject. */
async function hear(connection: NatsConnection, subject: string): Promise<string[]> {
  const heard: string[] = [];
  connection.subscribe(subject, {
    callback: (error, message) => {
      heard.push(error === null ? `${message.subject} ${message.string()}` : error.message);
    },
  });
  await connection.flush();
  return heard;
}

/** All that a connection has published was taken, and what came of it has arrived. */
async function settle(...connections: NatsConnection[]): Promise<void> {
  for (let round = 0; round < 3; round++) {
    for (const connection of connections) await connection.flush();
  }
}

/** Has the server refuse something by a right that lacks. */
async function refused(what: string, attempt: () => Promise<unknown>): Promise<void> {
  const error = await assertRejects(attempt, RequestError, "Permissions Violation", what);
  assert(error.cause instanceof PermissionViolationError, what);
}

/** Whether a right to publish lacks. */
async function mayPublish(connection: NatsConnection, subject: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  void (async () => {
    for await (const status of connection.status()) {
      if (status.type === "error" && status.error instanceof PermissionViolationError) {
        if (status.error.subject === subject) return resolve(false);
      }
    }
  })();
  connection.publish(subject, "{}");
  await settle(connection);
  resolve(true);
  return await promise;
}

Deno.test("docs/fleet.md, rights: a gateway reads the policy, announces itself, adds to its audit", async () => {
  await using rights = await Rights.start(accountsOf());
  const { host1, host2, operator, documents } = rights;
  const state = await new PolicyBucket(FLEET, ["fleet", "group.ci"]).read(host1, null);
  assert(state?.kind === "set");
  assertEquals([...state.texts.documents].map(([key, { text }]) => [key, text]), [
    ["fleet", "deny: [metadata]\n"],
  ]);
  const { streams } = await jetstreamManager(host1, { checkAPI: false });
  assertEquals((await streams.info(STREAM)).config.name, STREAM);

  const options = { msgID: "host-1-1", expect: { streamName: STREAM } };
  const own = auditSubject(FLEET, "host-1", "denial");
  const first = await jetstream(host1).publish(own, "{}", options);
  const again = await jetstream(host1).publish(own, "{}", options);
  assertEquals([first.duplicate, again.duplicate, again.seq], [false, true, first.seq]);

  const [changes, others, questions, operators] = [
    await hear(host2, DOCUMENT),
    await hear(host2, aliveSubject(FLEET)),
    await hear(host2, whoSubject(FLEET)),
    await hear(operator, aliveSubject(FLEET)),
  ];
  const gone = await hear(operator, goneSubject(FLEET));
  host1.publish(aliveSubject(FLEET, "host-1"), "here");
  host1.publish(goneSubject(FLEET, "host-1"), "ended");
  host1.publish(whoSubject(FLEET));
  operator.publish(whoSubject(FLEET));
  await documents.put("fleet", "deny: [metadata, private]\n");
  await settle(host1, operator, host2);
  assertEquals(changes, [`${DOCUMENT} deny: [metadata, private]\n`]);
  assertEquals(others, ["virtio-gateway.default.alive.host-1 here"]);
  assertEquals(operators, others);
  assertEquals(gone, ["virtio-gateway.default.gone.host-1 ended"]);
  assertEquals(questions.length, 2);
});

Deno.test("docs/fleet.md, rights: and nothing else", async () => {
  await using rights = await Rights.start(accountsOf());
  const { host1 } = rights;
  const before = await rights.sequences();
  const manager = await jetstreamManager(host1, { checkAPI: false });
  const stream = `KV_${BUCKET}`;
  const record = auditSubject(FLEET, "host-2", "denial");
  await refused("write a document", () => jetstream(host1).publish(DOCUMENT, "{}"));
  await refused("speak in another's audit", () => jetstream(host1).publish(record, "{}"));
  await refused("delete the bucket", () => manager.streams.delete(stream));
  await refused("purge it", () => manager.streams.purge(stream));
  await refused("delete a record", () => manager.streams.deleteMessage(STREAM, 1));
  await refused("read the audit", () => manager.streams.getMessage(STREAM, { seq: 1 }));
  await refused("list what there is", () => manager.streams.names().next());
  const consumer = { durable_name: "c", filter_subject: ">" };
  await refused("make a consumer", () => manager.consumers.add(STREAM, consumer));
  // A header by which a stream would be emptied that allows it.
  const rollup = headers();
  rollup.set("Nats-Rollup", "all");
  const own = auditSubject(FLEET, "host-1", "denial");
  await assertRejects(
    () => jetstream(host1).publish(own, "{}", { headers: rollup }),
    JetStreamApiError,
    "rollup not permitted",
  );
  for (const subject of [aliveSubject, goneSubject].map((of) => of(FLEET, "host-2"))) {
    assert(!await mayPublish(host1, subject), subject);
  }
  for (const subject of ["_INBOX.>", "_INBOX.virtio-gateway.default.host-2.>", "$JS.API.>"]) {
    const heard = await hear(host1, subject);
    await settle(host1);
    assertMatch(heard.join(), /Permissions Violation/, subject);
  }
  const records = await hear(host1, `virtio-gateway.${FLEET}.audit.>`);
  await settle(host1);
  assertMatch(records.join(), /Permissions Violation/);
  assertEquals(await rights.sequences(), before);
});

Deno.test("docs/fleet.md, rights: an operator has all but a gateway's voice", async () => {
  await using rights = await Rights.start(accountsOf());
  const { host2, operator, documents } = rights;
  const heard = await hear(host2, aliveSubject(FLEET));
  operator.publish(aliveSubject(FLEET, "host-1"), "not I");
  await settle(operator, host2);
  assertEquals(heard, []);
  const revision = await documents.put("guest.vm1", "closed: true\n");
  await documents.delete("guest.vm1", { previousSeq: revision });
  await jetstream(rights.host1).publish(auditSubject(FLEET, "host-1", "life"), "{}");
  const consumer = await jetstream(operator).consumers.get(STREAM);
  const message = await consumer.next({ expires: 30_000 });
  assertEquals(message?.subject, auditSubject(FLEET, "host-1", "life"));
  const { streams } = await jetstreamManager(operator);
  await streams.delete(`KV_${BUCKET}`);
  await assertRejects(() => streams.info(`KV_${BUCKET}`), JetStreamApiError);
});

/** Has the engine's answers to what a gateway may ask go where it may not write itself. */
async function steer({ host1, host2, operator }: Rights): Promise<void> {
  const foreign = auditSubject(FLEET, "host-2", "denial");
  host1.publish(INFO, "", { reply: DOCUMENT });
  host1.publish(GET, JSON.stringify({ last_by_subj: DOCUMENT }), { reply: DOCUMENT });
  host1.publish(auditSubject(FLEET, "host-1", "life"), "{}", { reply: DOCUMENT });
  host1.publish(INFO, "", { reply: foreign });
  await settle(host1, host2, operator);
}

Deno.test("docs/fleet.md, rights: no answer that a gateway steers elsewhere changes anything", async () => {
  await using rights = await Rights.start(accountsOf());
  const [documents, records] = await rights.sequences();
  // That the answers were sent is seen where they arrive, in the account of who has asked.
  const heard = await hear(rights.host2, DOCUMENT);
  await steer(rights);
  const again = performance.now() + 20_000;
  while (heard.length < 3 && performance.now() < again) await settle(rights.host1, rights.host2);
  assertEquals(heard.length, 3);
  // The record is its own, and in order.
  assertEquals(await rights.sequences(), [documents, records + 1]);
  assertEquals((await rights.documents.get("fleet"))?.string(), "deny: [metadata]\n");
});

Deno.test("docs/fleet.md, rights: with one account they do, as it says", async () => {
  await using rights = await Rights.start(oneAccount());
  const [documents] = await rights.sequences();
  await steer(rights);
  const end = performance.now() + 20_000;
  while ((await rights.sequences())[0] === documents && performance.now() < end) {
    await settle(rights.operator);
  }
  assert((await rights.sequences())[0] > documents);
  assert((await rights.documents.get("fleet"))?.string() !== "deny: [metadata]\n");
});

Deno.test("docs/fleet.md, rights: signs that a gateway makes by steering do not have the bucket read each time", async () => {
  await using rights = await Rights.start(accountsOf());
  const { host1, server } = rights;
  await using engine = Engine.open({
    servers: [server.url],
    name: "host-2",
    inbox: inboxPrefix(FLEET, "host-2"),
    auth: {
      path: "engine.yaml",
      secret: { kind: "user", user: "host-2", password: "secret of host-2" },
      tls: null,
      files: [],
    },
  });
  let reads = 0;
  let revision = 0;
  const bucket = new PolicyBucket(FLEET, ["fleet"]);
  const watch = new PolicyWatch(engine, bucket, {
    onRead: () => void reads++,
    onState: (state) => {
      if (state.kind === "set") revision = state.texts.revision;
      return Promise.resolve(true);
    },
    onFault: () => {},
  });
  await until("the policy is known", () => revision === 1);
  reads = 0;
  let signs = 0;
  const startMs = performance.now();
  const passedMs = () => performance.now() - startMs;
  for (; signs < 500 || passedMs() < 2_000; signs++) {
    host1.publish(INFO, "", { reply: DOCUMENT });
    await host1.flush();
  }
  // Each sign by itself would be a reason; with a pause of 10 ms alone it would be one each 10 ms.
  assert(reads < 20 + passedMs() / 100, `${reads} for ${signs} in ${passedMs()} ms`);
  // What the operator writes is found all the same.
  const written = await rights.documents.put("fleet", "deny: [private]\n");
  await until("the change is known", () => revision === written);
  await watch.close();
});
