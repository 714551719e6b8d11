/** A fleet's policy for several guests: all of them or none, and whichever worker serves them next. */
import { assert, assertEquals } from "@std/assert";
import {
  serveGuestsIn,
  type ServeGuestsOptions,
  type VirtioNetworkGuests,
} from "../../lib/guests.ts";
import { startLocalWorker } from "../../lib/guests/local_worker.ts";
import type { StartWorker } from "../../lib/guests/guest_worker.ts";
import type { Fleet } from "../../lib/fleet/fleet.ts";
import type { FleetGuest } from "../../lib/fleet/fleet_options.ts";
import type { GuestConfig, PolicyConfig } from "../../mod.ts";
import { ANY_PORT, HurtWorkers, keepingLogger, QUIET } from "../guests/guests_rig.ts";
import { NatsServer } from "../support/nats_server.ts";
import { FleetFolder, guestAt, Operator, prepareMember, until } from "./policy_rig.ts";

const A: FleetGuest = { name: "a", group: "ci" };
const B: FleetGuest = { name: "b", limits: { policyRules: 16 } };

/** Two guests in a fleet. */
class Pair implements AsyncDisposable {
  readonly log: ReturnType<typeof keepingLogger>;

  private constructor(
    readonly guests: VirtioNetworkGuests,
    readonly fleet: Fleet<VirtioNetworkGuests>,
    log: ReturnType<typeof keepingLogger>,
  ) {
    this.log = log;
  }

  static async start(
    start: StartWorker,
    folder: FleetFolder,
    engine: NatsServer,
    options: Partial<ServeGuestsOptions> = {},
  ): Promise<Pair> {
    const log = keepingLogger();
    const servers = [engine.url];
    using prepared = await prepareMember({ dir: folder.path, servers, guests: [A, B] }, log);
    const guests = await serveGuestsIn(start, {
      guests: [A, B].map(({ name, limits = {} }) => {
        const config: GuestConfig = { name, endpoint: ANY_PORT, limits, ...QUIET };
        return prepared.configured(name, config);
      }),
      ...options,
    });
    return new Pair(guests, await prepared.join(guests), log);
  }

  async inForce(revision: number): Promise<void> {
    await until(`revision ${revision}: ${JSON.stringify(this.fleet.report().policy)}`, () => {
      return this.fleet.report().policy.revision === revision;
    });
  }

  /** What is in force where the guest is served. */
  async policy(name: string): Promise<Required<PolicyConfig>> {
    return (await this.guests.guest(name).snapshot()).policy;
  }

  /** Whether a guest may reach an address. */
  async allows(name: string, target: string): Promise<boolean> {
    return (await this.guests.guest(name).explain(target)).allowed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fleet.close();
    await this.guests.abort();
  }
}

for (const workers of [0, 2]) {
  Deno.test(`fleet guests: in ${workers} workers a set is in force for all of them or for none`, async () => {
    await using engine = await NatsServer.start();
    await using operator = await Operator.start(engine.url);
    using folder = new FleetFolder();
    const start = workers === 0 ? startLocalWorker : new HurtWorkers().start;
    await using pair = await Pair.start(start, folder, engine, { workers });
    assertEquals((await pair.policy("a")).origins.deny?.[0], "fleet: no policy has come yet");
    const good = await operator.put("fleet", 'deny: ["9.9.9.9"]');
    await pair.inForce(good);
    assertEquals([await pair.allows("a", "9.9.9.9:443"), await pair.allows("b", "9.9.9.9:443")], [
      false,
      false,
    ]);
    assert(await pair.allows("a", "8.8.8.8:443"));
    // Too much for one of them is too much for both.
    const rules = Array.from({ length: 17 }, (_, i) => `"8.8.8.${i}"`);
    await operator.put("fleet", `deny: [${rules}]`);
    await until("a refusal", () => pair.fleet.report().policy.rejected !== null);
    assert(pair.fleet.report().policy.rejected!.why.includes('of guest "b"'));
    assert(await pair.allows("a", "8.8.8.8:443"));
    assertEquals(await pair.allows("a", "9.9.9.9:443"), false);
    // What is for one guest or its group is for nobody else.
    await operator.put("fleet", "{}");
    await operator.put("group.ci", 'deny: ["7.7.7.7"]');
    await pair.inForce(await operator.put("guest.b", 'deny: ["6.6.6.6"]'));
    assertEquals(await pair.allows("a", "7.7.7.7:443"), false);
    assertEquals(await pair.allows("b", "7.7.7.7:443"), true);
    assertEquals(await pair.allows("b", "6.6.6.6:443"), false);
    assertEquals(await pair.allows("a", "6.6.6.6:443"), true);
    // The host's word for one of them lies beneath.
    await pair.fleet.gateways.guest("a").setPolicy({ allow: ["5.5.5.5", "7.7.7.7"] });
    assertEquals(await pair.allows("a", "5.5.5.5:443"), true);
    assertEquals(await pair.allows("a", "7.7.7.7:443"), false);
    assertEquals(await pair.allows("b", "4.4.4.4:443"), true);
  });
}

Deno.test("fleet guests: a worker that failed comes back with the fleet's policy, whenever that came", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  using folder = new FleetFolder();
  const workers = new HurtWorkers();
  await using pair = await Pair.start(workers.start, folder, engine, { workers: 1 });
  await pair.inForce(await operator.put("fleet", 'deny: ["9.9.9.9"]'));
  const ends: (() => Promise<unknown>)[] = [];
  const isBack = (restarts: number) => () => {
    const [worker] = pair.guests.workers();
    return worker!.alive && worker!.restarts === restarts;
  };
  // As it was before the failure.
  workers.hurt(0);
  await until("the first return", isBack(1));
  assertEquals(await pair.allows("a", "9.9.9.9:443"), false);
  // Changed while no worker serves the guests.
  workers.hurt(1);
  await until("the second failure", () => !pair.guests.workers()[0]!.alive);
  await pair.inForce(await operator.put("fleet", 'deny: ["8.8.8.8"]'));
  await until("the second return", isBack(2));
  assertEquals((await pair.policy("a")).deny.includes("8.8.8.8"), true);
  assertEquals((await pair.policy("b")).deny.includes("9.9.9.9"), false);
  // Changed while the next one starts and has been told what there was.
  workers.hurt(2);
  await until("a fourth worker", () => workers.started.length === 4);
  await pair.inForce(await operator.put("fleet", 'deny: ["7.7.7.7"]'));
  await until("the third return", isBack(3));
  const guest = await guestAt(pair.guests.guest("a").endpoint, ends);
  assertEquals((await pair.policy("a")).deny.includes("7.7.7.7"), true);
  assertEquals(guest.currentLease!.address, "100.96.0.2");
  for (const end of ends) await end();
});
