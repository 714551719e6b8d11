/**
 * The audit of gateways in a fleet: what a guest is refused reaches the fleet's stream, also over the
 * engine's absence and the gateway's ends, and two gateways keep out of each other's way.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { GatewayError } from "../../lib/config/errors.ts";
import { AuditReader } from "../../lib/fleet/audit_reader.ts";
import type { AuditRecord } from "../../lib/fleet/audit_record.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { provision } from "../../lib/fleet/provision.ts";
import { CLI, Folder } from "../cli/cli_process.ts";
import { ControlProgram } from "../cli/control_program.ts";
import { NatsServer } from "../support/nats_server.ts";
import { hasProgram } from "../support/programs.ts";
import { FleetFolder, Member, Operator, prepareMember, reaches, until } from "./policy_rig.ts";

const MODULES = new URL(".", `file://${CLI}`).pathname;

const ignore = !await hasProgram("nats-server");
if (ignore) console.log("tests skipped: nats-server is not here");

/** An engine with a fleet's bucket and stream. */
class Place implements AsyncDisposable {
  private constructor(readonly nats: NatsServer, readonly own: Engine) {}

  static async start(): Promise<Place> {
    const nats = await NatsServer.start();
    const own = Engine.open({ servers: [nats.url], name: "test" });
    await provision(await own.whenConnected(), "default");
    return new Place(nats, own);
  }

  async records(): Promise<AuditRecord[]> {
    return await new AuditReader(await this.own.whenConnected(), "default").last(1_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.own.close();
    await this.nats[Symbol.asyncDispose]();
  }
}

/** What happened, and whose it is. */
const told = (record: AuditRecord) => {
  const what = record.kind === "life" ? record.event : record.denial!.destination;
  return `${record.guest ?? "-"} ${what}`;
};

Deno.test({
  name: "what a guest is refused while the engine is away is in the fleet's stream after it",
  ignore,
  async fn() {
    await using place = await Place.start();
    using folder = new FleetFolder();
    const options = { dir: folder.path, servers: [place.nats.url] };
    const member = await Member.start(options);
    const audit = () => member.fleet.report().audit;
    await until("the start", () => audit().sent > 0);
    await place.nats.kill();
    await until("the loss", () => member.fleet.report().engine.state === "connecting");
    const guest = await member.guest();
    for (let times = 0; times < 3; times++) assertEquals(await reaches(guest, 4321), false);
    await until("records that wait", () => audit().waiting > 0);
    assert(audit().oldestMs !== null);
    assertEquals([audit().shed, audit().lost, audit().problem], [0, 0, null]);
    await place.nats.start();
    await until("their delivery", () => audit().waiting === 0);
    await member[Symbol.asyncDispose]();
    if (audit().waiting > 0) {
      // What an engine does not take within a second of the end goes with the next start.
      await using next = await Member.start(options);
      await until("the delivery of the rest", () => next.fleet.report().audit.waiting === 0);
    }

    const all = await place.records();
    const lifeOf = ({ id }: AuditRecord) => id.slice(0, id.lastIndexOf("-"));
    const records = all.filter((each) => lifeOf(each) === lifeOf(all[0]!));
    const denials = records.filter((each) => each.kind === "denial");
    for (const { gateway, guest, denial } of denials) {
      assertEquals([gateway, guest], ["host-1", "vm1"]);
      assertMatch(denial!.destination, /:4321$/);
    }
    // A guest that was held up asks again.
    const refused = member.server.totals().counters["policy.refused"];
    assertEquals(denials.reduce((sum, { count }) => sum + count, 0), refused);
    assert(refused >= 3);
    const events = records.map(told);
    for (const event of ["- gateway-started", "vm1 guest-attached", "- gateway-stopped"]) {
      assertEquals(events.filter((each) => each === event).length, 1, event);
    }
    assertEquals(new Set(all.map(({ id }) => id)).size, all.length);
  },
});

Deno.test({
  name: "another policy of the fleet, and one that is refused, are in the stream once",
  ignore,
  async fn() {
    await using place = await Place.start();
    using folder = new FleetFolder();
    await using member = await Member.start({ dir: folder.path, servers: [place.nats.url] });
    await using operator = await Operator.start(place.nats.url);
    const good = await operator.put("fleet", 'deny: ["9.9.9.9"]');
    await member.inForce(good);
    const bad = await operator.put("fleet", "alow: []");
    await member.rejected(/alow/);
    const about = async (event: string) => {
      return (await place.records()).filter((each) => {
        return each.kind === "life" && each.guest === null && each.event === event;
      });
    };
    const ofBad = async () => {
      const rejected = await about("policy-rejected");
      return rejected.filter((each) => each.kind === "life" && each.revision === bad);
    };
    await until("the refusal's record", async () => (await ofBad()).length > 0);
    const [rejected, ...more] = await ofBad();
    assertEquals(more, []);
    assertMatch(rejected?.kind === "life" ? rejected.reason! : "", /alow/);
    const changed = await about("policy-changed");
    assertEquals(changed.map((each) => each.kind === "life" && each.revision), [good]);
  },
});

Deno.test({
  name: "a second gateway with the same directory does not start, and says why",
  ignore,
  async fn() {
    await using place = await Place.start();
    using folder = new FleetFolder();
    const options = { dir: folder.path, servers: [place.nats.url] };
    await using _first = await Member.start(options);
    const error = await prepareMember(options).catch((error: GatewayError) => error);
    assert(error instanceof Error && "hint" in error);
    assertMatch(error.message, /another gateway does/);
    assertMatch(error.hint as string, /--fleet-dir/);
  },
});

Deno.test({
  name: "a gateway that is killed leaves what it had noted, and the next one delivers it",
  ignore,
  async fn() {
    await using place = await Place.start();
    await place.nats.kill();
    await using folder = await Folder.make();
    const start = () =>
      ControlProgram.startWith(
        [`--allow-read=${folder.path},${MODULES}`, `--allow-write=${folder.path}`],
        folder,
        ...["--fleet", place.nats.url, "--fleet-gateway", "vm1"],
        ...["--fleet-dir", folder.file("fleet"), "--deny", "192.0.2.0/24"],
      );
    {
      await using gateway = await start();
      const guest = await gateway.attach();
      await guest.connect("192.0.2.1", 443).catch(() => {});
      const found = async () => {
        const files = Array.fromAsync(Deno.readDir(folder.file("fleet/audit")));
        for (const { name } of await files) {
          // A file may go between the look and the read.
          const text = await Deno.readTextFile(folder.file(`fleet/audit/${name}`)).catch(() => "");
          if (text.includes('"kind":"denial"')) return true;
        }
        return false;
      };
      await until("the denial on disk", found);
      await gateway.program.end("SIGKILL");
    }
    await place.nats.start();
    await using gateway = await start();
    await until("the delivery", async () => (await place.records()).length >= 4);
    const before = await place.records();
    assertEquals(before.map(told).slice(0, 3), [
      "- gateway-started",
      "vm1 guest-attached",
      "vm1 192.0.2.1:443",
    ]);
    // An end in order delivers the last of it; what the engine does not take within a second of it
    // goes with the next start.
    await gateway.program.end("SIGTERM");
    const isTold = async () => (await place.records()).map(told).includes("- gateway-stopped");
    let starts = 2;
    for (; !await isTold(); starts++) {
      await using _next = await start();
      await until("the end", isTold);
    }
    const records = await place.records();
    assertEquals(records.filter((each) => told(each) === "- gateway-started").length, starts);
    assertEquals(records.filter((each) => told(each) === "- gateway-stopped").length, 1);
    assertEquals(new Set(records.map(({ id }) => id)).size, records.length);
  },
});
