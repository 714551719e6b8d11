/** `reload` and `stop`, as processes that ask a running gateway. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { GatewayClient, parseEndpoint } from "../../lib/control/client.ts";
import { until } from "../guest/program.ts";
import { Folder, runCliWith } from "./cli_process.ts";
import { askPermissions, ControlProgram } from "./control_program.ts";

Deno.test("reload puts the file's policy into force, or says what is wrong with it", async () => {
  await using folder = await Folder.make();
  const path = folder.file("gateway.yaml");
  await Deno.writeTextFile(path, "policy: { deny: [a.test] }\n");
  await using gateway = await ControlProgram.start(folder, "--config", path);
  const client = new GatewayClient(parseEndpoint(gateway.control));
  const reload = async (text: string, ...args: string[]) => {
    await Deno.writeTextFile(path, text);
    return await gateway.ask("reload", "--control", gateway.control, ...args);
  };
  const right = await reload("policy: { deny: [a.test, b.test] }\nguestNetwork: { mtu: 9000 }\n");
  assertEquals([right.code, right.stderr, right.stdout], [
    0,
    "",
    `the policy of ${path} is in force, with 2 rules\n` +
    "what else has changed needs a restart: guestNetwork.mtu\n",
  ]);
  await gateway.program.line(/^reload: the policy of .* is in force rules=2$/);
  assertEquals((await client.policy()).deny, ["a.test", "b.test"]);
  const wrong = await reload("policy: { alow: [] }\n");
  assertEquals([wrong.code, wrong.stdout, wrong.stderr], [
    2,
    "",
    `nothing has changed: ${path}:1:11 unknown key "alow" in policy; did you mean "allow"?\n`,
  ]);
  assertEquals((await client.policy()).deny, ["a.test", "b.test"]);
  const json = await reload("policy: { allow: [] }\n", "--json");
  const { file, rules, needRestart, notice } = JSON.parse(json.stdout);
  assertEquals([file, rules, needRestart], [path, 0, []]);
  assertStringIncludes(notice, "allow");
});

Deno.test("reloads at once are as many as the last one needs", async () => {
  await using folder = await Folder.make();
  const path = folder.file("gateway.yaml");
  await Deno.writeTextFile(path, "policy: { deny: [a.test] }\n");
  await using gateway = await ControlProgram.start(folder, "--config", path);
  const client = new GatewayClient(parseEndpoint(gateway.control));
  const reports = await Promise.all(Array.from({ length: 20 }, () => client.reload()));
  assertEquals(reports.map(({ rules }) => rules), Array(20).fill(1));
});

Deno.test("without a file reload is refused with the way out", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  const { code, stdout, stderr } = await gateway.ask("reload", "--control", gateway.control);
  assertEquals([code, stdout, stderr], [
    1,
    "",
    "the gateway was started without a file to read again. " +
    "PUT /v1/policy changes its policy; --config FILE at its start names a file\n",
  ]);
});

Deno.test("stop returns once the gateway has ended, and nothing of it is left", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  await gateway.attach();
  const { code, stdout, stderr } = await gateway.ask("stop", "--control", gateway.control);
  assertEquals([code, stdout, stderr], [0, `the gateway on ${gateway.control} has ended\n`, ""]);
  await gateway.program.line(/^stop: stopping; queued bytes may drain for 5 s$/);
  await until("it ends by itself", () => gateway.program.ended);
  assertEquals((await gateway.program.end("SIGTERM")).code, 0);
  assertEquals(await Array.fromAsync(Deno.readDir(folder.path)), []);
  const again = await gateway.ask("stop", "--control", gateway.control);
  assertEquals(again.code, 4);
});

Deno.test("each command that asks a gateway exits with 4 where there is none", async () => {
  await using folder = await Folder.make();
  const commands = [["flows"], ["dns"], ["publish", "1"], ["unpublish", "1"], ["reload"], ["stop"]];
  await Promise.all(commands.map(async (words) => {
    const { code, stdout, stderr } = await runCliWith(
      { cwd: folder.path },
      askPermissions(folder),
      ...words,
    );
    assertEquals([code, stdout], [4, ""]);
    assertStringIncludes(stderr, "no gateway is named, and there is no");
  }));
});
