/** `run` as a member of a fleet: the real program, what it shows, and what it says. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CLI, Folder } from "../cli/cli_process.ts";
import { ControlProgram } from "../cli/control_program.ts";
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

Deno.test("run in a fleet: status, /v1/fleet and metrics show how it stands there", async () => {
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
