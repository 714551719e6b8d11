/** `run` with a control interface, and its SIGHUP. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { GatewayClient, parseEndpoint } from "../../lib/control/client.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { BackgroundProgram, runProgram, until } from "../guest/program.ts";
import { cliWords, Folder, runCli } from "./cli_process.ts";
import { ControlProgram } from "./control_program.ts";

Deno.test("run names its control interface, which is private and goes with it", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  const path = folder.file("control.sock");
  await gateway.program.line(new RegExp(`^the control interface is on unix:${path}$`));
  assertEquals((await Deno.lstat(path)).mode! & 0o777, 0o600);
  const curl = ["curl", "-sS", "--unix-socket", path, "http://localhost/v1/status"];
  const { stdout, stderr } = await runProgram(curl);
  assertEquals([stderr, JSON.parse(stdout).guest], ["", null]);
  assertEquals(await gateway.program.end("SIGTERM"), { code: 0, forced: false });
  assertEquals(await Array.fromAsync(Deno.readDir(folder.path)), []);
});

Deno.test("a control interface that can't be opened is said before any guest is served", async () => {
  await using folder = await Folder.make();
  await using _gateway = await ControlProgram.start(folder);
  const allowed = ["--allow-net", `--allow-read=${folder.path}`, `--allow-write=${folder.path}`];
  const listen = ["--listen", `unix:${folder.file("other.sock")}`];
  const taken = folder.file("control.sock");
  const cases: [string[], number, string][] = [
    [
      ["--control", `unix:${taken}`],
      1,
      `cannot listen on unix:${taken}: a live process serves it. Is another gateway running?`,
    ],
    [
      ["--control", "unix:/run/c.sock"],
      3,
      "cannot listen on unix:/run/c.sock: Deno has no permission for it. Add --allow-read=/run",
    ],
    [
      ["--control", "tcp:127.0.0.1:0", "--control-token", folder.file("none")],
      2,
      "there is no such file. Make it with: (umask 077; openssl rand -hex 32 > ",
    ],
  ];
  for (const [words, code, message] of cases) {
    const outcome = await runCli(allowed, "run", ...listen, ...words);
    assertEquals(outcome.code, code, outcome.stderr);
    assertStringIncludes(outcome.stderr, message);
  }
  const left = await Array.fromAsync(Deno.readDir(folder.path), ({ name }) => name);
  assertEquals(left.toSorted(), ["control.sock", "vm.sock"]);
});

Deno.test("SIGHUP puts the file's policy into force, all or nothing, for live flows too", async () => {
  await using folder = await Folder.make();
  const path = folder.file("gateway.yaml");
  await Deno.writeTextFile(path, "hostLoopback: true\npolicy:\n  deny: [a.test]\n");
  await using gateway = await ControlProgram.start(folder, "--config", path);
  const { program } = gateway;
  const client = new GatewayClient(parseEndpoint(gateway.control));
  const guest = await gateway.attach();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = host.accept();
  const flow = await guest.connect("100.96.0.1", host.addr.port);
  using _peer = await accepted;
  const hup = async (text: string, line: RegExp) => {
    await Deno.writeTextFile(path, text);
    const from = program.lines.length;
    Deno.kill(program.pid, "SIGHUP");
    return await program.line(line, from);
  };
  const wrong = await hup(
    "policy:\n  deny: [a.test, loopback]\n  alow: []\n",
    /nothing has changed/,
  );
  assertEquals(
    wrong,
    `error: SIGHUP: nothing has changed: ${path}:3:3 unknown key "alow" in policy; ` +
      `did you mean "allow"?`,
  );
  assertEquals((await client.policy()).deny, ["a.test"]);
  const right = await hup(
    "hostLoopback: true\nguestNetwork: { mtu: 9000 }\npublish: [0:80]\npolicy: { deny: [loopback] }\n",
    /in force/,
  );
  assertEquals(right, `SIGHUP: the policy of ${path} is in force rules=1`);
  await program.line(
    /^warning: SIGHUP: what else has changed needs a restart: publish, guestNetwork\.mtu$/,
  );
  const { deny, origins } = await client.policy();
  assertEquals([deny, origins.deny], [["loopback"], [`${path}:4:18`]]);
  await assertRejects(() => flow.read(new Uint8Array(1)), GuestError, "reset");
  await hup("hostLoopback: true\n", /in force/);
  assertEquals((await client.policy()).deny, []);
  await Deno.remove(path);
  const from = program.lines.length;
  Deno.kill(program.pid, "SIGHUP");
  await program.line(/nothing has changed: cannot read .*: there is no such file/, from);
  await until("it lives", () => client.isReady());
});

Deno.test("stdin can't be read again", async () => {
  const words = cliWords(["--allow-net"], ["run", "--listen", "tcp:127.0.0.1:0", "--config", "-"]);
  // The shell's process becomes the gateway's.
  const line = `exec "$@" < <(echo 'policy: { deny: [a.test] }')`;
  await using gateway = new BackgroundProgram(["bash", "-c", line, "bash", ...words]);
  await gateway.line(/\bready\b/);
  Deno.kill(gateway.pid, "SIGHUP");
  await gateway.line(/SIGHUP: stdin can't be read again; nothing has changed/);
  assertEquals(await gateway.end("SIGTERM"), { code: 0, forced: false });
});
