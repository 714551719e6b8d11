/** The audit of a gateway, from its events to the engine's stream. */
import { assert, assertEquals } from "@std/assert";
import { serveVirtioNetwork } from "../../lib/server.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { Audit, type EventSource } from "../../lib/fleet/audit.ts";
import { AuditReader } from "../../lib/fleet/audit_reader.ts";
import { BURST, PER_SECOND, WINDOW_MS } from "../../lib/fleet/audit_record.ts";
import { MEMORY_BYTES } from "../../lib/fleet/audit_spool.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { EventHub } from "../../lib/host/event_hub.ts";
import { type GatewayEvent, gatewayEvents } from "../../lib/host/gateway_event.ts";
import { NatsServer } from "../support/nats_server.ts";
import { hasProgram } from "../support/programs.ts";
import { settled, VirtualClock } from "../support/virtual_clock.ts";
import { DENIAL, GATEWAY } from "./audit_rig.ts";
import { FLEET, makeStream, until } from "./audit_stream_rig.ts";

const NOWHERE = "nats://127.0.0.1:9";

const ignore = !await hasProgram("nats-server");
if (ignore) console.log("tests skipped: nats-server is not here");

/** A guest's events, by hand. */
class Source {
  readonly hub = new EventHub<GatewayEvent>();
  events = (signal?: AbortSignal) => gatewayEvents(this.hub, signal);

  deny(destination: string): void {
    this.hub.publish({ type: "denial", timeMs: 1_000, ...DENIAL, destination });
  }
}

interface OpenOptions {
  readonly guests?: Record<string, EventSource>;
  readonly url?: string;
  readonly clock?: VirtualClock;
}

async function openAudit(
  dir: string,
  { guests = {}, url = NOWHERE, clock }: OpenOptions = {},
): Promise<{ audit: Audit; engine: Engine }> {
  const engine = Engine.open({ servers: [url], name: GATEWAY });
  const named = new Map(Object.entries(guests));
  const place = { fleet: FLEET, gateway: GATEWAY, dir, maxBytes: 0, guests: named };
  const timing = clock === undefined ? {} : { clock };
  const audit = await Audit.open({ ...place, engine, logger: silentLogger, ...timing });
  return { audit, engine };
}

async function withDir(test: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await test(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** What the directory holds for the next start. */
async function left(dir: string): Promise<Record<string, unknown>[]> {
  const records: Record<string, unknown>[] = [];
  for await (const { name } of Deno.readDir(`${dir}/audit`)) {
    if (!name.endsWith(".jsonl")) continue;
    const text = await Deno.readTextFile(`${dir}/audit/${name}`);
    records.push(...text.trim().split("\n").map((line) => JSON.parse(line)));
  }
  return records;
}

Deno.test("what happens to guests is in the audit, with what was missed and what was never sent", () =>
  withDir(async (dir) => {
    const [vm1, vm2] = [new Source(), new Source()];
    const opening = openAudit(dir, { guests: { vm1, vm2 } });
    // Also what happens while the directory is read.
    vm1.hub.publish({ type: "guest-attached", timeMs: 1_000.4 });
    const { audit, engine } = await opening;
    await settled();
    const { hub } = vm2;
    hub.publish({ type: "guest-detached", timeMs: 2_000, reason: "the VMM left" });
    hub.publish({ type: "guest-returned", timeMs: 3_000, awayMs: 999.7 });
    hub.publish({ type: "policy-changed", timeMs: 4_000, rules: 3 });
    hub.publish({ type: "guest-left", timeMs: 5_000, reason: "end" });
    vm1.deny("192.0.2.1:80");
    vm1.deny("192.0.2.1:80");
    hub.publish({ type: "events-lost", count: 5 });
    audit.happen("policy-rejected", { revision: 7, reason: "it closes everything" });
    await audit.close(0);
    await engine.close();

    const records = await left(dir);
    const told = records.map(({ event, kind, guest, count }) => [event ?? kind, guest, count]);
    assertEquals(told.filter(([event]) => event !== "policy-rejected"), [
      ["gateway-started", null, undefined],
      ["guest-attached", "vm1", undefined],
      ["guest-detached", "vm2", undefined],
      ["guest-returned", "vm2", undefined],
      ["policy-changed", "vm2", undefined],
      ["guest-left", "vm2", undefined],
      ["denial", "vm1", 2],
      ["events-lost", "vm2", 5],
      ["gateway-stopped", null, undefined],
    ]);
    const rejected = records.find(({ event }) => event === "policy-rejected")!;
    assertEquals([rejected.revision, rejected.reason], [7, "it closes everything"]);
    assertEquals(records.find(({ event }) => event === "guest-returned")!.awayMs, 1_000);
    assertEquals(new Set(records.map(({ id }) => id)).size, records.length);
    assertEquals(audit.report().lost, 5);
    await audit.close(0);
  }));

Deno.test("a guest that is refused 50,000 times a second costs little memory and disk, and is counted whole", () =>
  withDir(async (dir) => {
    const clock = new VirtualClock();
    const flood = new Source();
    const { audit, engine } = await openAudit(dir, { guests: { flood }, clock });
    const seconds = 20;
    for (let at = 0; at < seconds * 50_000; at++) {
      flood.deny(`192.0.2.1:${at}`);
      // A turn of the gateway refuses this many at the most.
      if (at % 250 === 249) await clock.run(5);
    }
    await clock.run(WINDOW_MS + 1_000);
    await clock.run(WINDOW_MS + 1_000);
    const { waiting, waitingBytes, lost } = audit.report();
    const most = BURST + PER_SECOND * seconds + seconds;
    assert(waiting <= most, `${waiting} records`);
    assert(waitingBytes < MEMORY_BYTES);
    await audit.close(0);
    await engine.close();
    const records = await left(dir);
    const denials = records.filter(({ kind }) => kind === "denial");
    const sum = denials.reduce((total, { count }) => total + Number(count), lost);
    assertEquals(sum, seconds * 50_000);
    assertEquals(audit.report().shed, 0);
  }));

Deno.test("an audit without its directory goes on, and says why it keeps nothing", () =>
  withDir(async (dir) => {
    const vm1 = new Source();
    const { audit, engine } = await openAudit(`${dir}/not/there`, { guests: { vm1 } });
    vm1.deny("192.0.2.1:80");
    await audit.close(0);
    await engine.close();
    assert(audit.report().problem !== null);
    assertEquals(audit.report().waiting, 3);
  }));

Deno.test({
  name: "a gateway's own events reach the stream before it ends",
  ignore,
  fn: () =>
    withDir(async (dir) => {
      await using nats = await NatsServer.start();
      await using own = Engine.open({ servers: [nats.url], name: "test" });
      await makeStream(await own.whenConnected());
      const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
      const server = await serveVirtioNetwork(endpoint);
      const guests = { [GATEWAY]: server };
      const { audit, engine } = await openAudit(dir, { guests, url: nats.url });
      await engine.whenConnected();
      if (server.endpoint.transport !== "tcp") throw new Error("a TCP port was asked for");
      const vmm = await Deno.connect(server.endpoint);
      await until(() => audit.report().sent === 2);
      vmm.close();
      await until(() => audit.report().sent === 3);
      await server.setPolicy({ deny: ["192.0.2.0/24"] });
      await server.close();
      await audit.close(60_000);
      await engine.close();
      const records = await new AuditReader(own.connection()!, FLEET).last(100);
      assertEquals(records.map((each) => [each.kind === "life" && each.event, each.guest]), [
        ["gateway-started", null],
        ["guest-attached", GATEWAY],
        ["guest-left", GATEWAY],
        ["policy-changed", GATEWAY],
        ["gateway-stopped", null],
      ]);
      assertEquals(await left(dir), []);
    }),
});
