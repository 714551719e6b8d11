/** The commands of a fleet before real gateways, one of them with a guest. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { until } from "../guest/program.ts";
import { CLI, Folder } from "./cli_process.ts";
import { ControlProgram } from "./control_program.ts";
import { FleetRig } from "./fleet_rig.ts";

const MODULES = new URL(".", `file://${CLI}`).pathname;

const NOTHING = "nothing was refused, as far as the stream has it\n";

/** Starts a gateway of the rig's fleet. */
function startGateway(rig: FleetRig, folder: Folder, name: string, ...args: string[]) {
  return ControlProgram.startWith(
    [`--allow-read=${folder.path},${MODULES}`, `--allow-write=${folder.path}`],
    folder,
    ...["--fleet", rig.server.url, "--fleet-gateway", name, "--fleet-group", "ci"],
    ...["--fleet-dir", folder.file("fleet"), ...args],
  );
}

Deno.test("put is in force where it says so, and names who has refused it", async () => {
  await using rig = await FleetRig.start();
  await using first = await Folder.make();
  await using second = await Folder.make();
  const file = second.file("few.yaml");
  await Deno.writeTextFile(file, "limits: { policyRules: 4 }\n");
  await using gateway = await startGateway(rig, first, "h1");
  await using _few = await startGateway(rig, second, "h2", "--config", file);
  await until("both are there, closed", async () => {
    return /^h1 .* closed [^]*^h2 .* closed /m.test((await rig.ask("status")).stdout);
  });
  const all = await rig.askWith("{}", "policy", "put", "fleet", "-");
  assertEquals([all.code, all.stdout.split("\n").slice(1)], [0, [
    "written as revision 1",
    "in force at 2 of 2 gateways",
    "",
  ]]);
  const guest = await gateway.attach();
  const rules = "deny: [10.1.2.3, 10.1.2.4, 10.1.2.5, 10.1.2.6, 10.1.2.7]\n";
  const put = await rig.askWith(rules, "policy", "put", "group.ci", "-");
  assertEquals(put.code, 1);
  const lines = put.stdout.split("\n");
  assertEquals(lines.slice(6, 8), ["written as revision 2", "in force at 1 of 2 gateways"]);
  assertMatch(lines[8]!, /^rejected at h2: policy\.deny of guest "h2" .*at most 4 \(limits\./);
  // It is said to be in force: so it is.
  const refused = await guest.connect("10.1.2.3", 443).catch((error) => error);
  assert(refused instanceof GuestError);
  const denials = await gateway.ask("denials", "--control", gateway.control);
  assertMatch(
    denials.stdout,
    /DENY {2}tcp 10\.1\.2\.3:443 {2}by 10\.1\.2\.3 \(group\.ci\.deny\[0\]\)/,
  );
  const explained = await rig.ask("policy", "explain", "10.1.2.3:443", "--guest", "h1");
  assertEquals([explained.code, explained.stdout.split("\n")[0]], [
    5,
    "DENY  tcp 10.1.2.3:443  by 10.1.2.3 (group.ci:1:8): a rule denies it",
  ]);
  // Refusals stand together for ten seconds before they leave.
  await until("the stream has it", async () => {
    const { stdout } = await rig.ask("denials", "--guest", "h1", "--last", "9");
    return /1x {2}h1 {2}DENY {2}tcp 10\.1\.2\.3:443 {2}by 10\.1\.2\.3 \(/.test(stdout);
  }, 60_000);
  assertEquals((await rig.ask("denials", "--gateway", "h2")).stdout, NOTHING);
  const { stdout } = await rig.ask("status");
  assertMatch(stdout, /^h1 .* in force: 2 +1 /m);
  assertMatch(stdout, /^h2 .* rejected, 1 in force +1 /m);
  await rig.ask("policy", "delete", "group.ci");
  await until("h2 has it too", async () => {
    return /in force at 2 of 2 gateways/.test((await rig.ask("status")).stdout);
  });
});
