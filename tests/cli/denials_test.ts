/** `denials` as a process that asks a running gateway. */
import { assertEquals, assertGreaterOrEqual, assertMatch, assertRejects } from "@std/assert";
import { GatewayClient, parseEndpoint } from "../../lib/control/client.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { BackgroundProgram, until } from "../guest/program.ts";
import { cliWords, Folder, runCliWith } from "./cli_process.ts";
import { askPermissions, ControlProgram } from "./control_program.ts";

const TIME = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\dZ";

Deno.test("denials stand together with the line that allows them", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(
    folder,
    "--deny",
    "10.1.2.3",
    "--allow",
    "a.test",
  );
  const control = ["--control", gateway.control];
  assertEquals((await gateway.ask("denials", ...control)).stdout, "nothing was refused\n");
  const guest = await gateway.attach();
  for (let i = 0; i < 3; i++) {
    await assertRejects(() => guest.connect("10.1.2.3", 443), GuestError);
  }
  await guest.resolve("pypi.org", "A");
  const { code, stdout, stderr } = await gateway.ask("denials", ...control);
  assertEquals([code, stderr], [0, ""]);
  const json = JSON.parse((await gateway.ask("denials", "--json", ...control)).stdout);
  // A SYN that was sent again, as a machine was held up, was refused again.
  const count = json.byRule["10.1.2.3"];
  assertGreaterOrEqual(count, 3);
  assertEquals(json.byRule, { "10.1.2.3": count, "default-deny": 1 });
  assertEquals(json.groups.map(({ count }: { count: number }) => count), [1, count]);
  const lines = stdout.split("\n");
  assertMatch(
    lines[0]!,
    new RegExp(
      `^${TIME}     1x  DENY  dns pypi\\.org  by default-deny \\(--allow\\): no rule names`,
    ),
  );
  assertEquals(lines[1], '      allow it with  policy: { allow: ["pypi.org"] }');
  assertMatch(
    lines[2]!,
    new RegExp(`^${TIME}     ${count}x  DENY  tcp 10\\.1\\.2\\.3:443  by 10\\.1\\.2\\.3`),
  );
  assertEquals(lines.slice(4), ["by rule:", `  ${count}  10.1.2.3`, "  1  default-deny", ""]);
});

Deno.test("--follow shows what was refused, then each as it comes, to the gateway's end", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder, "--deny", "10.1.2.3");
  const guest = await gateway.attach();
  await guest.connect("10.1.2.3", 443).catch(() => {});
  const words = ["denials", "--control", gateway.control];
  await using text = new BackgroundProgram(cliWords(askPermissions(folder), [...words, "-f"]));
  await using json = new BackgroundProgram(
    cliWords(askPermissions(folder), [...words, "--follow", "--json"]),
  );
  await text.line(/10\.1\.2\.3:443/);
  const client = new GatewayClient(parseEndpoint(gateway.control));
  await until("both read", async () => (await client.status()).readers === 2);
  await guest.connect("10.1.2.3", 8443).catch(() => {});
  await text.line(new RegExp(`^${TIME}  DENY  tcp 10\\.1\\.2\\.3:8443 `));
  const event = JSON.parse(await json.line(/"denial"/));
  assertEquals([event.type, event.destination], ["denial", "10.1.2.3:8443"]);
  assertEquals(await gateway.program.end("SIGTERM"), { code: 0, forced: false });
  for (const follower of [text, json]) {
    await follower.line(/^the gateway on unix:\S+ has ended$/);
    await until("it ends by itself", () => follower.ended);
    assertEquals((await follower.end("SIGTERM")).code, 0);
  }
});

Deno.test("names that a guest makes up do nothing to a terminal", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder, "--allow", "a.test");
  const guest = await gateway.attach();
  for (const name of ["a\x1b[31m.test", "\u202eb.test", "\x9bc.test", "d\ne.test"]) {
    assertEquals((await guest.resolve(name, "A")).code, "REFUSED");
  }
  for (const args of [[], ["--json"]]) {
    const { stdout } = await gateway.ask("denials", "--control", gateway.control, ...args);
    assertMatch(stdout, /a\\+027\[31m\.test/);
    assertMatch(stdout, /^[\n -~]*$/);
  }
});

Deno.test("--follow ends with the reader of its pipe", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder, "--deny", "10.1.2.3");
  const guest = await gateway.attach();
  const words = cliWords(askPermissions(folder), ["denials", "-f", "--control", gateway.control]);
  await using pipe = new BackgroundProgram(["bash", "-c", `${words.join(" ")} | head -n 1`]);
  const client = new GatewayClient(parseEndpoint(gateway.control));
  await until("it reads", async () => (await client.status()).readers === 1);
  await until("it has ended", async () => {
    await guest.connect("10.1.2.3", 443).catch(() => {});
    return pipe.ended;
  });
  assertEquals(pipe.lines.length, 1);
  await until("it has left", async () => (await client.status()).readers === 0);
});

Deno.test("where Deno may not look for a gateway, status says so with 3 and names the flags", async () => {
  await using folder = await Folder.make();
  const { code, stderr } = await runCliWith({ cwd: folder.path }, ["--allow-net"], "status");
  assertEquals([code, stderr], [
    3,
    "no gateway is named, and Deno may not look for ./virtio-gateway.control.sock. " +
    "Add --allow-read=./virtio-gateway.control.sock --allow-write=./virtio-gateway.control.sock; " +
    "or name it with --control or VIRTIO_GATEWAY_CONTROL (--allow-env=VIRTIO_GATEWAY_CONTROL)\n",
  ]);
});

Deno.test("without a gateway denials and status exit with 4 and say how to start one", async () => {
  await using folder = await Folder.make();
  for (const command of ["denials", "status"]) {
    const outcome = await runCliWith({ cwd: folder.path }, askPermissions(folder), command);
    assertEquals([outcome.code, outcome.stdout, outcome.stderr], [
      4,
      "",
      "no gateway is named, and there is no ./virtio-gateway.control.sock. Start one with: " +
      "run --control unix:./virtio-gateway.control.sock; or name it with --control or " +
      "VIRTIO_GATEWAY_CONTROL\n",
    ]);
    const named = await runCliWith(
      { cwd: folder.path },
      askPermissions(folder),
      ...[command, "--control", "unix:./no.sock"],
    );
    assertEquals([named.code, named.stderr], [
      4,
      "no gateway answers on unix:./no.sock: there is no such file. " +
      "Start one with: run --control unix:./no.sock\n",
    ]);
    const forbidden = await runCliWith({}, ["--allow-net"], command, "--control", "unix:/run/c");
    assertEquals([forbidden.code, forbidden.stderr], [
      3,
      "cannot connect to unix:/run/c: Deno has no permission for it. " +
      "Add --allow-read=/run/c --allow-write=/run/c\n",
    ]);
  }
});
