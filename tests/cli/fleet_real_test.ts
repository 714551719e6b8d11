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
  await rig.heard(/^h1 .* closed [^]*^h2 .* closed /m, { words: ["status"] });
  const put = (stdin: string, key: string, wanted: RegExp) =>
    rig.heard(wanted, { stdin, words: ["policy", "put", key, "-"] });
  const all = await put("{}", "fleet", /^in force at 2 of 2 gateways$/m);
  assertEquals(all.code, 0);
  assertMatch(all.stdout, /\brevision 1$/m);
  const guest = await gateway.attach();
  const rules = "deny: [10.1.2.3, 10.1.2.4, 10.1.2.5, 10.1.2.6, 10.1.2.7]\n";
  const some = await put(
    rules,
    "group.ci",
    /^in force at 1 of 2 gateways\nrejected at h2: policy\.deny of guest "h2" .*at most 4 \(limits\./m,
  );
  assertEquals(some.code, 1);
  assertMatch(some.stdout, /\brevision 2$/m);
  // It is said to be in force: so it is.
  const refused = await guest.connect("10.1.2.3", 443).catch((error) => error);
  assert(refused instanceof GuestError);
  const denials = await gateway.ask("denials", "--control", gateway.control);
  assertMatch(
    denials.stdout,
    /DENY {2}tcp 10\.1\.2\.3:443 {2}by 10\.1\.2\.3 \(group\.ci\.deny\[0\]\)/,
  );
  const explained = await rig.heard(/ gateway h1 serves/, {
    words: ["policy", "explain", "10.1.2.3:443", "--guest", "h1"],
  });
  assertEquals([explained.code, explained.stdout.split("\n")[0]], [
    5,
    "DENY  tcp 10.1.2.3:443  by 10.1.2.3 (group.ci:1:8): a rule denies it",
  ]);
  // Refusals stand together for ten seconds before they leave; a SYN may have been sent again.
  await until("the stream has it", async () => {
    const { stdout } = await rig.ask("denials", "--guest", "h1", "--last", "9");
    return /\dx {2}h1 {2}DENY {2}tcp 10\.1\.2\.3:443 {2}by 10\.1\.2\.3 \(/.test(stdout);
  }, 60_000);
  assertEquals((await rig.ask("denials", "--gateway", "h2")).stdout, NOTHING);
  await rig.heard(/^h1 .* in force: 2 +1 [^]*^h2 .* rejected, 1 in force +1 /m, {
    words: ["status"],
  });
  await rig.ask("policy", "delete", "group.ci");
  await rig.heard(/in force at 2 of 2 gateways/, { words: ["status"] });
});
