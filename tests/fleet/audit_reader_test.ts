/** The audit as it is read back from a real engine. */
import { assert, assertEquals } from "@std/assert";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { GatewayError } from "../../lib/config/errors.ts";
import { AuditReader } from "../../lib/fleet/audit_reader.ts";
import { type AuditRecord, encodeAuditRecord } from "../../lib/fleet/audit_record.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { type AuditKind, auditStream, auditSubject } from "../../lib/fleet/names.ts";
import { NatsServer } from "../support/nats_server.ts";
import { hasProgram } from "../support/programs.ts";
import { DENIAL } from "./audit_rig.ts";
import { FLEET, makeStream } from "./audit_stream_rig.ts";

const ignore = !await hasProgram("nats-server");
if (ignore) console.log("tests skipped: nats-server is not here");

interface Place {
  readonly engine: Engine;
  /** Writes as a gateway does, without the window in which the stream folds what comes twice. */
  put(number: number, more?: { gateway?: string; guest?: string; kind?: AuditKind }): Promise<void>;
  /** Writes anything. */
  putOctets(octets: Uint8Array, subject?: string): Promise<void>;
}

async function withStream(
  test: (place: Place, server: NatsServer) => Promise<void>,
): Promise<void> {
  await using server = await NatsServer.start();
  await using engine = Engine.open({ servers: [server.url], name: "test" });
  await makeStream(await engine.whenConnected());
  const putOctets = async (
    octets: Uint8Array,
    subject = auditSubject(FLEET, "host-1", "denial"),
  ): Promise<void> => void await jetstream(engine.connection()!).publish(subject, octets);
  const put: Place["put"] = (
    number,
    { gateway = "host-1", guest = "vm1", kind = "denial" } = {},
  ) => {
    const place = { v: 1, id: `${gateway}-a-${number}`, gateway, guest, timeMs: number } as const;
    const record: AuditRecord = kind === "life"
      ? { ...place, kind, event: "guest-left" }
      : { ...place, kind, lastMs: number, count: 1, denial: DENIAL };
    const line = encodeAuditRecord(record);
    return putOctets(line.subarray(0, -1), auditSubject(FLEET, gateway, kind));
  };
  await test({ engine, put, putOctets }, server);
}

const times = (records: readonly AuditRecord[]) => records.map(({ timeMs }) => timeMs);

Deno.test({
  name: "the last records are found, of one gateway, of one guest, of one kind",
  ignore,
  fn: () =>
    withStream(async ({ engine, put }) => {
      const last = (count: number, filter = {}) => {
        return new AuditReader(engine.connection()!, FLEET, filter).last(count);
      };
      assertEquals(await last(10), []);
      for (let at = 1; at <= 600; at++) {
        await put(at, {
          gateway: at % 2 === 0 ? "host-2" : "host-1",
          guest: at <= 20 ? "early" : "vm1",
          kind: at % 100 === 0 ? "life" : "denial",
        });
      }
      assertEquals(times(await last(3)), [598, 599, 600]);
      assertEquals(times(await last(0)), []);
      assertEquals(times(await last(2, { kind: "life" })), [500, 600]);
      assertEquals(times(await last(9, { kind: "life" })), [100, 200, 300, 400, 500, 600]);
      assertEquals(times(await last(2, { gateway: "host-1" })), [597, 599]);
      assertEquals(times(await last(2, { guest: "early" })), [19, 20]);
      assertEquals(times(await last(2, { guest: "early", gateway: "host-1" })), [17, 19]);
      assertEquals(await last(2, { gateway: "host-3" }), []);
      assertEquals(await last(2, { guest: "nobody" }), []);
      assertEquals((await last(1_000_000)).length, 600);
    }),
});

Deno.test({
  name: "who follows misses nothing and hears nothing twice, also over a lost engine",
  ignore,
  fn: () =>
    withStream(async ({ engine, put }, server) => {
      for (let at = 1; at <= 20; at++) await put(at);
      const reader = new AuditReader(engine.connection()!, FLEET, { guest: "vm1" });
      assertEquals(times(await reader.last(2)), [19, 20]);
      await put(21);
      await put(20);
      await put(22, { guest: "vm2" });
      const ended = new AbortController();
      const following = reader.follow(ended.signal);
      const next = async () => (await following.next()).value?.timeMs;
      assertEquals(await next(), 21);
      await put(23);
      assertEquals(await next(), 23);
      await server.kill();
      await server.start();
      for (let isPut = false; !isPut;) {
        // It may not have noticed yet that it was lost, and find that out by what is put.
        await engine.whenConnected();
        isPut = await put(24).then(() => true, () => false);
      }
      assertEquals(await next(), 24);
      const end = following.next();
      ended.abort();
      assertEquals((await end).done, true);
      const late = reader.follow(AbortSignal.abort());
      assertEquals((await late.next()).done, true);
    }),
});

Deno.test({
  name: "what is no record is passed over and counted, what is unknown in one is not",
  ignore,
  fn: () =>
    withStream(async ({ engine, put, putOctets }) => {
      const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
      await put(1);
      await putOctets(new Uint8Array([0xff, 0xfe]));
      await putOctets(encode({ v: 9 }));
      await putOctets(new Uint8Array(100_000));
      await putOctets(
        encode({
          v: 1,
          id: "host-1-a-2",
          gateway: "host-1",
          guest: null,
          kind: "life",
          timeMs: 2,
          event: "moon-rises",
          phase: 3,
        }),
        auditSubject(FLEET, "host-1", "life"),
      );
      await put(3);
      const reader = new AuditReader(engine.connection()!, FLEET);
      assertEquals(times(await reader.last(10)), [1, 2, 3]);
      assertEquals(reader.unreadable, 3);
    }),
});

Deno.test({
  name: "a gateway that writes as another one is told by its own name, and hides nothing",
  ignore,
  fn: () =>
    withStream(async ({ engine, put, putOctets }) => {
      const forged = encodeAuditRecord({
        v: 1,
        id: "host-1-a-1",
        gateway: "host-1",
        guest: "vm1",
        kind: "life",
        timeMs: 7,
        event: "guest-left",
      });
      await putOctets(forged, auditSubject(FLEET, "host-9", "life"));
      await putOctets(forged, auditSubject(FLEET, "host-9", "denial"));
      await put(1, { kind: "life" });
      const reader = new AuditReader(engine.connection()!, FLEET);
      const told = (await reader.last(10)).map(({ gateway, timeMs }) => [gateway, timeMs]);
      assertEquals(told, [["host-9", 7], ["host-1", 1]]);
      assertEquals(reader.unreadable, 1);
    }),
});

Deno.test({
  name: "a stream that is missing or somebody else's is one clear error",
  ignore,
  fn: () =>
    withStream(async ({ engine }) => {
      const manager = await jetstreamManager(engine.connection()!);
      const failure = async () => {
        const error = await new AuditReader(engine.connection()!, FLEET).last(1)
          .catch((error: unknown) => error);
        assert(error instanceof GatewayError);
        return [error.message, error.hint];
      };
      const name = auditStream(FLEET);
      await manager.streams.delete(name);
      assertEquals(await failure(), [
        `the engine has no stream ${name}`,
        "Make it with: virtio-gateway fleet init",
      ]);
      await makeStream(engine.connection()!, { description: "orders" });
      assertEquals(await failure(), [
        `the stream ${name} is not an audit of a fleet`,
        "Name another fleet with --fleet-name, or remove that stream",
      ]);
    }),
});
