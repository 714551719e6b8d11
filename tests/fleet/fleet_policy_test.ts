/**
 * A fleet's policy at one gateway: a real engine, a guest with a real flow, and everything that must
 * not undo the one or open the other.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { echo, HostServer } from "../guest_embedded/rig.ts";
import { NatsServer } from "../support/nats_server.ts";
import { FleetFolder, Member, Operator, prepareMember, reaches, until } from "./policy_rig.ts";
import { freePort } from "../support/free_port.ts";

async function codeOf(guest: Awaited<ReturnType<Member["guest"]>>, name: string): Promise<string> {
  return (await guest.resolve(name, "A")).code;
}

Deno.test("fleet policy: what is put is in force at once, for flows that are under way too", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  await using host = new HostServer(echo);
  using folder = new FleetFolder();
  await using member = await Member.start({ dir: folder.path, servers: [engine.url] });
  const guest = await member.guest();
  // Nothing was ever put: nothing is reached, and that is said.
  await member.rejected(/never had a document/);
  assertEquals(member.policy.source, "closed");
  assert(!await reaches(guest, host.port));
  assertEquals(await codeOf(guest, "pypi.org"), "REFUSED");
  assertEquals(await codeOf(guest, "gateway.internal"), "NOERROR");

  await member.inForce(await operator.put("fleet", "deny: [metadata]"));
  assertEquals(member.policy.rejected, null);
  using flow = await guest.connect(guest.currentLease!.router, host.port);
  await flow.write(new TextEncoder().encode("hello"));
  const into = new Uint8Array(5);
  await flow.read(into);
  assertEquals(new TextDecoder().decode(into), "hello");

  await member.inForce(await operator.put("guest.vm1", `deny: ["loopback:${host.port}/tcp"]`));
  await until("the end of the flow", () => flow.isClosed);
  assert(!await reaches(guest, host.port));
  assertEquals(member.policy.documents.map(({ key }) => key), ["fleet", "guest.vm1"]);
  const [group] = member.server.denials();
  assertEquals(group!.denial.origin, "guest.vm1.deny[0]");
  assert(group!.denial.hint!.includes("in the fleet's document guest.vm1"), group!.denial.hint!);

  // A document that is deleted is no part any more.
  await operator.delete("guest.vm1");
  await until("the document gone", () => member.policy.documents.length === 1);
  assert(await reaches(guest, host.port));
  // Another group's are none of this gateway's business; its own are.
  await operator.put("group.other", "closed: true");
  await member.inForce(await operator.put("group.ci", "closed: true"));
  assert(!await reaches(guest, host.port));
  assertEquals(await codeOf(guest, "pypi.org"), "REFUSED");
});

Deno.test("fleet policy: no guest reaches the engine", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  await using host = new HostServer(echo);
  using folder = new FleetFolder();
  await using member = await Member.start({ dir: folder.path, servers: [engine.url] });
  await member.inForce(await operator.put("fleet", "{}"));
  const guest = await member.guest();
  assert(await reaches(guest, host.port));
  assert(!await reaches(guest, engine.port));
  const [group] = member.server.denials();
  assertEquals([group!.denial.origin, group!.denial.hint], ["fleet: the engine", null]);
});

Deno.test("fleet policy: what is wrong leaves the last good one in force, and a later one heals it", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  await using host = new HostServer(echo);
  using folder = new FleetFolder();
  await using member = await Member.start({
    dir: folder.path,
    servers: [engine.url],
    guests: [{ name: "vm1", group: "ci", limits: { policyRules: 16 } }],
    network: { limits: { policyRules: 16 } },
  });
  const GOOD = 'deny: ["9.9.9.9"]';
  const guest = await member.guest();
  const rules = Array.from({ length: 17 }, (_, i) => `"10.0.0.${i}"`);
  const cases: [key: string, text: string | Uint8Array, why: RegExp][] = [
    ["fleet", "deny: [", /^fleet:\d+:\d+ /],
    ["fleet", "alow: []", /^fleet:1:1 unknown key "alow"; did you mean "allow"\?$/],
    ["group.ci", "deny: [1.2.3]", /^group\.ci:1:8 deny: /],
    ["guest.vm1", "", /^guest\.vm1:1:1 the document is empty/],
    ["guest.vm1", `deny: [${rules}]`, /there are \d+ rules, at most 16/],
    ["group.ci", 'deny: ["0.0.0.0/0", "::/0"]', /close everything .* closed: true/],
    ["fleet", Uint8Array.of(0xff, 0xfe), /^fleet is not text in UTF-8$/],
    ["fleet", "#".repeat(262_145), /^fleet has 262145 bytes, at most 262144$/],
  ];
  for (const [key, text, why] of cases) {
    const good = await operator.put("fleet", GOOD);
    await member.inForce(good);
    const bad = await operator.put(key, text);
    await member.rejected(why);
    assertEquals(member.policy.rejected!.revision, bad);
    assertEquals([member.policy.source, member.policy.revision], ["engine", good]);
    assert(member.server.policy.deny.includes("9.9.9.9"));
    assert(await reaches(guest, host.port));
    if (key === "fleet") await operator.put(key, GOOD);
    else await operator.delete(key);
    await until(`healing of ${why}`, () => member.policy.rejected === null);
  }
  // One line for each.
  assertEquals(member.said("the fleet's policy is refused; the last good").length, cases.length);
});

Deno.test("fleet policy: without the engine the copy counts, and without that nothing is reached", async () => {
  await using host = new HostServer(echo);
  using folder = new FleetFolder();
  const nobody = `nats://127.0.0.1:${freePort()}`;
  {
    await using member = await Member.start({ dir: folder.path, servers: [nobody] });
    const guest = await member.guest();
    assert(!await reaches(guest, host.port));
    assertEquals(await codeOf(guest, "pypi.org"), "REFUSED");
    assertEquals([member.policy.source, member.policy.revision], ["closed", null]);
    assertEquals(member.said("everything is closed until the fleet's engine").length, 1);
    const [group] = member.server.denials().filter(({ denial }) => denial.protocol === "tcp");
    assertEquals(group!.denial.origin, "fleet: no policy has come yet");
    assertEquals(group!.denial.hint, null);
  }
  let revision = 0;
  {
    await using engine = await NatsServer.start();
    await using operator = await Operator.start(engine.url);
    await using member = await Member.start({ dir: folder.path, servers: [engine.url] });
    revision = await operator.put("fleet", `deny: ["loopback:${host.port}/tcp"]`);
    await member.inForce(revision);
    const kept = `"revision":${revision}`;
    await until("the copy", async () => {
      return (await Deno.readTextFile(`${folder.path}/policy.json`).catch(() => "")).includes(kept);
    });
  }
  {
    await using member = await Member.start({ dir: folder.path, servers: [nobody] });
    const guest = await member.guest();
    assertEquals([member.policy.source, member.policy.revision], ["copy", revision]);
    assert(!await reaches(guest, host.port));
    assertEquals(await codeOf(guest, "gateway.internal"), "NOERROR");
    assertEquals(member.server.denials()[0]!.denial.origin, "fleet.deny[0]");
  }
  // A guest whose group nobody has looked for is closed; so is everything with a damaged copy.
  using moved = await prepareMember({
    dir: folder.path,
    servers: [nobody],
    guests: [{ name: "vm1", group: "ci" }, { name: "vm2", group: null }],
  });
  assertEquals(moved.initialPolicy("vm1").origins?.deny?.[0], "fleet.deny[0]");
  assertEquals(moved.initialPolicy("vm2").origins?.deny?.[0], "fleet: no policy has come yet");
});

Deno.test("fleet policy: an engine that is killed and comes back leaves guests as they are", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  await using host = new HostServer(echo);
  using folder = new FleetFolder();
  await using member = await Member.start({ dir: folder.path, servers: [engine.url] });
  await member.inForce(await operator.put("fleet", "{}"));
  const guest = await member.guest();
  using flow = await guest.connect(guest.currentLease!.router, host.port);
  await engine.kill();
  await until("the loss", () => member.fleet.report().engine.state === "connecting");
  assert(await reaches(guest, host.port));
  assert(!flow.isClosed);
  assertEquals(member.policy.source, "engine");
  await engine.start();
  await member.inForce(await operator.put("fleet", `deny: ["loopback:${host.port}/tcp"]`));
  await until("the end of the flow", () => flow.isClosed);
  assertEquals(member.server.guest!.counters()["bug.turn"], undefined);
});

Deno.test("fleet policy: a bucket that is deleted changes nothing, and one made anew counts from 1 again", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  using folder = new FleetFolder();
  await using member = await Member.start({ dir: folder.path, servers: [engine.url] });
  for (const address of ["9.9.9.1", "9.9.9.2", "9.9.9.3"]) {
    await member.inForce(await operator.put("fleet", `deny: ["${address}"]`));
  }
  assertEquals(member.policy.revision, 3);
  const denied = () => member.server.policy.deny.filter((rule) => rule.startsWith("9."));
  await operator.destroy();
  await member.rejected(/^there is no bucket virtio-gateway-default-policy$/);
  assertEquals(denied(), ["9.9.9.3"]);
  // Someone else's in its place.
  await operator.create({ description: "another thing" });
  await operator.put("fleet", "{}");
  await member.rejected(/is foreign: it is "another thing"/);
  assertEquals(denied(), ["9.9.9.3"]);
  await operator.destroy();
  await operator.create();
  await member.rejected(/never had a document/);
  assertEquals(denied(), ["9.9.9.3"]);
  await operator.put("fleet", 'deny: ["9.9.9.1"]');
  await until("the new bucket's word", () => denied().join() === "9.9.9.1");
  assertEquals([member.policy.revision, member.policy.rejected], [1, null]);
  // The same number with another text, in another bucket again.
  await operator.destroy();
  await operator.create();
  await operator.put("fleet", 'deny: ["9.9.9.2"]');
  await until("the newest bucket's word", () => denied().join() === "9.9.9.2");
  assertEquals(member.policy.revision, 1);
});

Deno.test("fleet policy: what is told to nobody is found by looking", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  using folder = new FleetFolder();
  await using member = await Member.start({ dir: folder.path, servers: [engine.url] });
  await member.inForce(await operator.put("fleet", 'deny: ["9.9.9.9"]'));
  // The looks behind the sign of the put are over by then.
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  await operator.purge();
  await until("an empty bucket's word", () => member.policy.documents.length === 0);
  assert(!member.server.policy.deny.includes("9.9.9.9"));
});

Deno.test("fleet policy: what the host says lies beneath the fleet's documents", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  await using host = new HostServer(echo);
  using folder = new FleetFolder();
  await using member = await Member.start({
    dir: folder.path,
    servers: [engine.url],
    network: { policy: { deny: ["9.9.9.9"] } },
  });
  const { gateways } = member.fleet;
  const closed = `protect: strict\nallow: [pypi.org]\ndeny: ["loopback:${host.port}/tcp"]`;
  const revision = await operator.put("fleet", closed);
  await member.inForce(revision);
  const guest = await member.guest();
  // By the program, by the control interface, by what it has read off before.
  await gateways.setPolicy({ protect: "off", allow: ["public", "private"], deny: [] });
  assert(!await reaches(guest, host.port));
  assertEquals(member.server.policy.protect, "strict");
  assertEquals(member.server.policy.allow, ["pypi.org", "public", "private"]);
  await gateways.enforcePolicy({});
  await gateways.setPolicy({});
  assert(!await reaches(guest, host.port));
  const shown = (await gateways.snapshot()).policy;
  assertEquals(shown.allow, ["pypi.org"]);
  await gateways.setPolicy({ ...shown, deny: [...shown.deny, "8.8.8.8"] });
  assertEquals(gateways.hostPolicy.allow, []);
  assertEquals(gateways.hostPolicy.deny, ["8.8.8.8"]);
  assertEquals(gateways.hostPolicy.protect, undefined);
  // What is wrong changes nothing, and is told by the host's own words.
  const error = await assertRejects(() => gateways.setPolicy({ deny: ["1.2.3"] }), ConfigError);
  assert(error.message.startsWith("policy.deny[0]: "), error.message);
  // A reload's way back is the host's layer too.
  const layer = member.fleet.hostLayer();
  await layer.setPolicy(layer.snapshot().policy);
  assert(member.server.policy.deny.includes("8.8.8.8"));
  // The fleet takes its own back, and nothing of it stays here.
  await member.inForce(await operator.put("fleet", "{}"));
  assertEquals(member.server.policy.allow, []);
  assertEquals(member.server.policy.protect, "metadata");
  assert(await reaches(guest, host.port));
});
