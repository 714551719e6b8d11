/** `run` as a member of a fleet: the real program, what it shows, and what it says. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { GatewayClient } from "../../lib/control/client.ts";
import { CLI, cliWords, Folder } from "../cli/cli_process.ts";
import { ControlProgram } from "../cli/control_program.ts";
import { BackgroundProgram } from "../guest/program.ts";
import { NatsServer } from "../support/nats_server.ts";
import { Operator, until } from "./policy_rig.ts";

const MODULES = new URL(".", `file://${CLI}`).pathname;

/** The words that have a gateway join. */
function words(folder: Folder, engine: NatsServer): string[] {
  return [
    ...["--fleet", engine.url, "--fleet-gateway", "vm1", "--fleet-group", "ci"],
    ...["--fleet-dir", folder.file("fleet")],
  ];
}

Deno.test("run in a fleet: the status shows how it stands there, and a denial which document it was", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  const revision = await operator.put("group.ci", "protect: strict\ndeny: [9.9.9.9]");
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.startWith(
    [`--allow-read=${folder.path},${MODULES}`, `--allow-write=${folder.path}`],
    folder,
    ...words(folder, engine),
    ...["--allow", "pypi.org"],
  );
  await gateway.program.line(/the fleet's policy is in force/);
  const status = await gateway.ask("status", "--control", gateway.control);
  assertEquals([status.code, status.stderr], [0, ""]);
  assertMatch(
    status.stdout,
    /^fleet {6}default, as vm1; connected to the engine at 127\.0\.0\.1:/m,
  );
  assertMatch(
    status.stdout,
    new RegExp(
      `^fleet {6}policy: revision ${revision} from the engine: group\\.ci of ${revision}$`,
      "m",
    ),
  );
  assertMatch(status.stdout, /protect strict$/m);
  // A bad one is shown, and changes nothing.
  const bad = await operator.put("fleet", "alow: []");
  await gateway.program.line(/the fleet's policy is refused; the last good one stays in force/);
  const json = await gateway.ask("status", "--json", "--control", gateway.control);
  const { fleet } = JSON.parse(json.stdout);
  assertEquals(fleet.policy.rejected.revision, bad);
  assertEquals([fleet.policy.source, fleet.policy.revision], ["engine", revision]);
  // What the control interface puts into force lies beneath.
  const allow = await gateway.ask("explain", "10.0.0.1:443", "--control", gateway.control);
  assertEquals(allow.code, 5);
  assert(allow.stdout.includes("in the fleet's document group.ci"), allow.stdout);
});

Deno.test("run in a fleet: it starts closed, says so, and a reload does not open it", async () => {
  await using engine = await NatsServer.start();
  await engine.stop();
  await using folder = await Folder.make();
  const file = folder.file("gateway.yaml");
  await Deno.writeTextFile(file, "policy: { allow: [public] }\n");
  await using gateway = await ControlProgram.startWith(
    [`--allow-read=${folder.path},${MODULES}`, `--allow-write=${folder.path}`],
    folder,
    ...words(folder, engine),
    ...["--config", file],
  );
  await gateway.program.line(/everything is closed until the fleet's engine has said its policy/);
  const ask = (...args: string[]) =>
    gateway.ask(args[0]!, ...args.slice(1), "--control", gateway.control);
  assertEquals((await ask("explain", "9.9.9.9:443")).code, 5);
  assertEquals((await ask("reload")).code, 0);
  const closed = await ask("explain", "9.9.9.9:443");
  assertEquals(closed.code, 5);
  assert(!closed.stdout.includes("allow it with"), closed.stdout);
  await engine.start();
  await using operator = await Operator.start(engine.url);
  await operator.put("fleet", "{}");
  await until("the fleet's word", async () => (await ask("explain", "9.9.9.9:443")).code === 0);
});

Deno.test("run in a fleet with several guests: groups, one bad word for all, and a reload of their own", async () => {
  await using engine = await NatsServer.start();
  await using operator = await Operator.start(engine.url);
  await operator.put("fleet", 'deny: ["9.9.9.9"]');
  await operator.put("group.ci", 'allow: ["8.8.8.8"]');
  await using folder = await Folder.make();
  const file = folder.file("gateway.yaml");
  const write = (policy: string) =>
    Deno.writeTextFile(
      file,
      [
        "dns: { upstreams: 127.0.0.1:1 }",
        `control: unix:${folder.file("control.sock")}`,
        `fleet: { servers: ["${engine.url}"], gateway: host-1, dir: ${folder.file("fleet")} }`,
        "guests:",
        `  - { name: web, listen: unix:${folder.file("web.sock")}, group: ci }`,
        `  - { name: db, listen: unix:${folder.file("db.sock")}, policy: ${policy} }`,
      ].join("\n"),
    );
  await write("{ deny: [7.7.7.7] }");
  const files = [
    `--allow-read=${folder.path},${MODULES}`,
    `--allow-write=${folder.path}`,
    "--allow-net",
  ];
  await using program = new BackgroundProgram(
    cliWords(files, ["run", "--config", file, "--workers", "2"]),
  );
  await program.line(/ready with 2 guests/);
  const client = new GatewayClient({ transport: "unix", path: folder.file("control.sock") });
  const allows = async (guest: string, target: string) =>
    (await client.withGuest(guest).explain(target)).allowed;
  await until("the fleet's word", async () => (await client.fleet()).policy.source === "engine");
  assertEquals(await allows("web", "8.8.8.8:443"), true);
  assertEquals(await allows("web", "1.1.1.1:443"), false); // its group allows one thing alone
  assertEquals(await allows("db", "1.1.1.1:443"), true);
  assertEquals(await allows("db", "9.9.9.9:443"), false);
  assertEquals(await allows("db", "7.7.7.7:443"), false);
  // The host's word for all of them is read again, beneath the documents.
  await write("{ deny: [6.6.6.6], protect: off }");
  await client.reload();
  assertEquals(await allows("db", "6.6.6.6:443"), false);
  assertEquals(await allows("db", "7.7.7.7:443"), true);
  assertEquals(await allows("db", "9.9.9.9:443"), false);
  assertEquals(await allows("web", "1.1.1.1:443"), false);
  // What is wrong for one guest is in force for none.
  await operator.put("guest.db", 'allow: ["9.9.9.9"]');
  await until("a refusal", async () => (await client.fleet()).policy.rejected !== null);
  const { policy } = await client.fleet();
  assertMatch(policy.rejected!.why, /^fleet and guest\.db together close everything to guest "db"/);
  await operator.delete("guest.db");
  await until("the healing", async () => (await client.fleet()).policy.rejected === null);
  const report = await client.guestsReport();
  assertEquals(report.fleet?.policy.documents.map(({ key }) => key), ["fleet", "group.ci"]);
});
