/** What a reload puts into force, where guests take their policies or do not. */
import { assertEquals, assertRejects } from "@std/assert";
import { parseArguments } from "../../lib/cli/arguments.ts";
import { loadConfig } from "../../lib/cli/load.ts";
import { GuestsReload, reloadOne } from "../../lib/cli/reload_policy.ts";
import { ConfigError, GatewayError } from "../../lib/config/errors.ts";
import type { PolicyConfig } from "../../lib/config/options.ts";
import { Folder } from "./cli_process.ts";

/** Guests that keep the policy that they were given, of which one may refuse any. */
class Guests {
  readonly denied = new Map<string, readonly string[]>();
  /** Which ones, in order. */
  readonly changed: string[] = [];
  refusing: string | null = null;

  guest(name: string) {
    return {
      snapshot: () => ({ policy: { deny: [...this.denied.get(name) ?? []] } }),
      setPolicy: async ({ deny = [] }: PolicyConfig): Promise<void> => {
        await Promise.resolve();
        if (name === this.refusing) throw new GatewayError("closed", `${name} is gone`);
        this.denied.set(name, deny);
        this.changed.push(name);
      },
    };
  }
}

/** A file of guests, each with what stands behind its name. */
async function write(path: string, guests: Record<string, string>, ...more: string[]) {
  const lines = Object.entries(guests).map(([name, rest]) => {
    return `  - { name: ${name}, listen: unix:/run/${name}.sock, ${rest} }`;
  });
  await Deno.writeTextFile(path, ["guests:", ...lines, ...more].join("\n"));
}

async function start(path: string) {
  const args = parseArguments(["run", "--config", path]);
  const loaded = await loadConfig(args);
  if (loaded.kind !== "guests") throw new Error("several guests are expected");
  const guests = new Guests();
  for (const { name, settings: { network } } of loaded.config.guests) {
    guests.denied.set(name, network.policy.deny ?? []);
  }
  return { guests, policies: new GuestsReload(args, loaded, (name) => guests.guest(name)) };
}

Deno.test("a policy that one guest does not take is taken back from the others", async () => {
  await using folder = await Folder.make();
  const path = folder.file("g.yaml");
  await write(path, { a: "policy: { deny: [a.test] }", b: "policy: { deny: [b.test] }" });
  const { guests, policies } = await start(path);
  await write(path, { a: "policy: { deny: [x.test] }", b: "policy: { deny: [y.test] }" });
  guests.refusing = "b";
  await assertRejects(() => policies.reload(), GatewayError, "b is gone");
  assertEquals([...guests.denied], [["a", ["a.test"]], ["b", ["b.test"]]]);
  guests.refusing = null;
  assertEquals((await policies.reload()).rules, 2);
  assertEquals([...guests.denied], [["a", ["x.test"]], ["b", ["y.test"]]]);
  // What it is taken back to is what was in force, whoever had put it there.
  await guests.guest("a").setPolicy({ deny: ["by.hand.test"] });
  guests.refusing = "b";
  await assertRejects(() => policies.reload(), GatewayError);
  assertEquals(guests.denied.get("a"), ["by.hand.test"]);
});

Deno.test("a policy has to fit the limits that its guest runs with, before any is in force", async () => {
  await using folder = await Folder.make();
  const path = folder.file("g.yaml");
  const small = "limits: { policyRules: 1 }";
  await write(path, { a: "policy: {}", b: small });
  const { guests, policies } = await start(path);
  await write(path, { a: "policy: { deny: [x.test] }", b: "policy: { deny: [y.test, z.test] }" });
  await assertRejects(() => policies.reload(), ConfigError, "there are 2 rules, at most 1");
  assertEquals([...guests.denied], [["a", []], ["b", []]]);
});

Deno.test("what differs beside policies is named: keys, networks, guests that came or went", async () => {
  await using folder = await Folder.make();
  const path = folder.file("g.yaml");
  await write(
    path,
    { a: "network: lab", b: "network: lab", c: "once: true" },
    "networks: { lab: {} }",
  );
  const { guests, policies } = await start(path);
  await write(
    path,
    { b: "network: lab", c: "policy: { allow: [] }", d: "network: dmz" },
    "networks: { lab: { mtu: 9000 }, dmz: {} }",
    "log: { level: warn }",
  );
  const { needRestart, notice } = await policies.reload();
  assertEquals(needRestart, [
    "log.level",
    "mtu of network lab",
    "network dmz (added)",
    "guest a (removed)",
    "guestNetwork.guestIp of guest b",
    "guestNetwork.guestIp6 of guest b",
    "guestNetwork.guestMac of guest b",
    "guestNetwork.mtu of guest b",
    "once of guest c",
    "guest d (added)",
  ]);
  assertEquals(guests.changed, ["b", "c"]);
  assertEquals(notice?.includes("policy.allow is an empty list"), true);
});

Deno.test("a place in a fleet is no policy: what has changed of it needs a restart", async () => {
  await using folder = await Folder.make();
  const path = folder.file("g.yaml");
  const fleet = (rest: string): string =>
    `fleet: { servers: nats://a, gateway: g, dir: d, ${rest} }`;
  await write(path, { a: "group: ci", b: "services: { web: 80 }" }, fleet("group: lab"));
  const { policies } = await start(path);
  await write(path, { a: "group: qa", b: "services: { web: 81 }" }, fleet("auditBytes: 4MiB"));
  const { needRestart } = await policies.reload();
  assertEquals(needRestart, [
    "fleet.group",
    "fleet.auditBytes",
    "group of guest a",
    "services of guest b",
  ]);
});

Deno.test("a file of several guests does not take the place of one guest's, nor the other way", async () => {
  await using folder = await Folder.make();
  const path = folder.file("g.yaml");
  await Deno.writeTextFile(path, "policy: { deny: [a.test] }");
  const args = parseArguments(["run", "--config", path]);
  const started = await loadConfig(args);
  if (started.kind !== "guest") throw new Error("one guest is expected");
  await write(path, { a: "policy: {}" });
  const guests = new Guests();
  await assertRejects(
    () => reloadOne(args, started, guests.guest("one")),
    GatewayError,
    "it lists several guests",
  );
  const { policies } = await start(path);
  await Deno.writeTextFile(path, "policy: { deny: [a.test] }");
  await assertRejects(() => policies.reload(), GatewayError, "it lists no guests");
  assertEquals([...guests.denied], []);
});
