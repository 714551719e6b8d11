/** The registry as a part of a gateway's place in its fleet: names, report and announcement. */
import { assert, assertEquals } from "@std/assert";
import { serveVirtioNetwork } from "../../mod.ts";
import { Engine } from "../../lib/fleet/engine.ts";
import { prepareFleet } from "../../lib/fleet/fleet.ts";
import type { Announcement } from "../../lib/fleet/announcement.ts";
import { standingOf } from "../../lib/fleet/registry_part.ts";
import { callRoll } from "../../lib/fleet/roll_call.ts";
import { ANY_PORT, attach, eventually } from "../guests/guests_rig.ts";
import { NatsServer } from "../support/nats_server.ts";
import { Operator } from "./policy_rig.ts";

Deno.test("how a gateway stands to the policy, in an announcement's words", () => {
  const said = (
    source: "engine" | "copy" | "closed",
    revision: number | null,
    rejected: { revision: number | null; why: string } | null = null,
  ) => standingOf({ source, revision, rejected, documents: [], atMs: 0 });
  const none = { rejected: null };
  assertEquals(said("closed", null), { revision: null, policy: "closed", ...none });
  assertEquals(said("copy", 3), { revision: 3, policy: "stale", ...none });
  assertEquals(said("engine", 4), { revision: 4, policy: "in force", ...none });
  const rejected = { revision: 5, why: "no" };
  assertEquals(said("engine", 4, rejected), { revision: 4, policy: "rejected", rejected });
  assertEquals(said("closed", null, rejected), { revision: null, policy: "closed", rejected });
  const noBucket = { revision: null, why: "there is no bucket" };
  assertEquals(said("copy", 3, noBucket), { revision: 3, policy: "rejected", ...none });
});

Deno.test("a gateway in a fleet announces its services, and its policy as it changes", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  const first = await operator.put("fleet", "{}");
  await using listener = Engine.open({ servers: [engine.url], name: "listener" });
  const dir = await Deno.makeTempDir();
  try {
    using prepared = await prepareFleet({
      settings: {
        servers: [engine.url],
        fleet: "default",
        gateway: "host-1",
        credentials: null,
        dir,
        advertise: ["10.9.9.1"],
        auditBytes: 16 * 1024 * 1024,
      },
      guests: [{
        name: "db",
        group: "ci",
        services: [{ name: "web", guestPort: 80, protocol: "tcp" }],
      }],
    });
    const config = prepared.configured("db", { dns: { upstreams: ["127.0.0.1:1"] } });
    assertEquals(config.dns.zones, { "fleet.internal": "local" });
    await using server = await serveVirtioNetwork(ANY_PORT, config);
    await using fleet = await prepared.join(server);
    await using guest = await attach(server.endpoint);
    await guest.lease();
    const code = async () => (await guest.resolve("web.db.fleet.internal", "A")).code;
    assertEquals(await code(), "NXDOMAIN");
    const [port] = await fleet.gateways.publish({ hostPort: 0, guestPort: 80, bind: ["0.0.0.0"] });
    await eventually(async () => await code() === "NOERROR");
    assertEquals(fleet.report().registry, { gateways: 1, services: 1, conflicts: 0, refused: 0 });

    const heard = async (isSo: (said: Announcement) => boolean): Promise<Announcement> => {
      const { announcements } = await callRoll(listener, "default", {
        forMs: 60_000,
        isEnough: (heard) => [...heard.values()].some(isSo),
      });
      const found = announcements.find(isSo);
      assert(found !== undefined, JSON.stringify(announcements));
      return found;
    };
    const { guests: [db] } = await heard(({ revision }) => revision === first);
    const { name, group, attached, services } = db!;
    assertEquals([name, group, attached], ["db", "ci", true]);
    assertEquals(services, [
      { name: "web", protocol: "tcp", port: port!.hostPort, addresses: ["10.9.9.1"] },
    ]);
    const bad = await operator.put("fleet", "alow: []");
    const { policy, rejected } = await heard(({ rejected }) => rejected?.revision === bad);
    assertEquals(policy, "rejected");
    assert(rejected!.why.includes("alow"), rejected!.why);

    // Where the fleet is left, nobody keeps its names right any more.
    await fleet.close();
    assertEquals(await code(), "NXDOMAIN");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
