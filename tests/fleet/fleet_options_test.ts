/** What a program says of its gateway's place in a fleet, and what is wrong with it. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ConfigError, GatewayError } from "../../lib/config/errors.ts";
import { type FleetServed, prepareFleet } from "../../lib/fleet/fleet.ts";
import type { FleetOptions } from "../../lib/fleet/fleet_options.ts";
import { serveVirtioNetwork } from "../../mod.ts";
import { ANY_PORT } from "../guests/guests_rig.ts";
import { FleetFolder, prepareMember } from "./policy_rig.ts";

const NOBODY = ["nats://127.0.0.1:9"];

function optionsOf(dir: string): FleetOptions {
  return {
    settings: {
      servers: NOBODY,
      fleet: "default",
      gateway: "host-1",
      credentials: null,
      dir,
      advertise: [],
      auditBytes: 16 * 1024 * 1024,
    },
    guests: [{ name: "vm1" }],
  };
}

Deno.test("fleet options: what could mean more than one name is refused, all at once", async () => {
  using folder = new FleetFolder();
  const { settings, guests } = optionsOf(folder.path);
  const error = await prepareFleet({
    settings: { ...settings, fleet: "*", gateway: "host.>", servers: [] },
    guests: [
      { name: "a.b", group: ">", services: [{ name: "", guestPort: 80, protocol: "tcp" }] },
      { name: "vm1" },
      { name: "vm1" },
    ],
  }).catch((error: unknown) => error);
  assert(error instanceof ConfigError);
  assertEquals(error.problems.map(({ key }) => key), [
    "settings.fleet",
    "settings.gateway",
    "guests[0].name",
    "guests[0].group",
    "guests[0].services[0].name",
    "settings.servers",
    "guests",
  ]);
  await assertRejects(() => prepareFleet({ settings, guests: [] }), ConfigError, "names no guest");
  assertEquals([...Deno.readDirSync(folder.path)], []);
  (await prepareFleet({ settings, guests }))[Symbol.dispose]();
});

Deno.test("fleet options: a host's policy that is wrong is told as outside of a fleet", async () => {
  using folder = new FleetFolder();
  using prepared = await prepareMember({ dir: folder.path, servers: NOBODY });
  const error = assertThrows(() => prepared.configured("vm1", { policy: { deny: ["1.2.3"] } }));
  assert(error instanceof ConfigError);
  assertEquals(error.problems.map(({ key }) => key), ["policy.deny[0]"]);
  assertThrows(() => prepared.initialPolicy("vm2"), GatewayError, 'no guest "vm2"');
});

Deno.test("fleet options: one gateway in a folder, and one fleet for what was prepared", async () => {
  using folder = new FleetFolder();
  const options = { dir: folder.path, servers: NOBODY };
  {
    using first = await prepareMember(options);
    await assertRejects(() => prepareMember(options), GatewayError, "another gateway");
    await using server = await serveVirtioNetwork(ANY_PORT, first.configured("vm1", {}));
    // Others than were prepared are not served as members.
    const several = { names: ["vm2"], guest: () => server } as unknown as FleetServed;
    await assertRejects(() => first.join(several), GatewayError, "name the guests vm1");
    await using fleet = await first.join(server);
    await assertRejects(() => first.join(server), GatewayError, "joined already");
    assertEquals(fleet.report().policy.source, "closed");
    assertThrows(() => fleet.hostLayer("vm2"), GatewayError, 'no guest "vm2"');
  }
  (await prepareMember(options))[Symbol.dispose](); // the folder is free again
});
