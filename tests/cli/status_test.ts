/** `status`, as a process and as lines. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { statusLines } from "../../lib/cli/status.ts";
import { spanText, timeText } from "../../lib/cli/time_text.ts";
import deno from "../../deno.json" with { type: "json" };
import { Folder, runCliWith } from "./cli_process.ts";
import { askPermissions, ControlProgram } from "./control_program.ts";

Deno.test("status shows the gateway, and its guest where one is attached", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder, "-p", "0:80", "--deny", "a.test");
  const idle = await gateway.ask("status", "--control", gateway.control);
  assertEquals([idle.code, idle.stderr], [0, ""]);
  const path = folder.file("vm.sock");
  assertStringIncludes(idle.stdout, `gateway    virtio-gateway ${deno.version} on unix:${path}\n`);
  assertStringIncludes(
    idle.stdout,
    "policy     0 allow rules, 1 deny rule, all else allowed; protect metadata\n",
  );
  assertMatch(idle.stdout, /^published {2}127\.0\.0\.1:\d+ as the guest's port 80$/m);
  assertStringIncludes(idle.stdout, "guest      none is attached\n");
  const guest = await gateway.attach();
  await guest.resolve("a.test", "A");
  const busy = await gateway.ask("status", "--control", gateway.control);
  assertMatch(busy.stdout, /^guest {6}attached$/m);
  assertMatch(busy.stdout, /^resolver {3}questions 1, denied 1$/m);
  assertMatch(busy.stdout, /^ {2}rx\.frames +\d+$/m);
  const json = await gateway.ask("status", "--json", "--control", gateway.control);
  assertEquals(JSON.parse(json.stdout).guest.dns.denied, 1);
});

Deno.test("status over TCP needs the token, which is in a private file", async () => {
  await using folder = await Folder.make();
  const token = folder.file("token");
  await Deno.writeTextFile(token, `${"ab".repeat(32)}\n`, { mode: 0o600 });
  await using gateway = await ControlProgram.start(
    folder,
    ...["--control", "tcp:127.0.0.1:0", "--control-token", token],
  );
  const line = await gateway.program.line(/^the control interface is on /);
  const [, endpoint = ""] = /on (tcp:127\.0\.0\.1:[1-9]\d*), for who has the token$/.exec(line)!;
  const ask = (...args: string[]) =>
    runCliWith({}, askPermissions(folder), "status", "--control", endpoint, ...args);
  assertEquals((await ask("--control-token", token)).code, 0);
  const without = await ask();
  assertEquals([without.code, without.stdout], [2, ""]);
  const other = folder.file("other");
  await Deno.writeTextFile(other, "cd".repeat(32), { mode: 0o600 });
  const wrong = await ask("--control-token", other);
  assertEquals([wrong.code, wrong.stderr], [
    1,
    "the token is another one. Send Authorization: Bearer, with what stands in the file of its --control-token\n",
  ]);
  await Deno.chmod(token, 0o640);
  const open = await ask("--control-token", token);
  assertEquals(open.code, 2);
  assertStringIncludes(open.stderr, `others than its user may read or write it. Make it private`);
});

Deno.test("what a guest or a host has named never reaches the terminal as it is", () => {
  const lines = statusLines({
    version: "1",
    startedMs: 0,
    endpoint: "unix:a",
    published: [],
    policy: { protect: "off", default: "deny", allowRules: 1, denyRules: 0 },
    guest: null,
    readers: 0,
  }, 90_000);
  assertEquals(lines, [
    "gateway    virtio-gateway 1 on unix:a",
    "since      1970-01-01 00:00:00Z, 1 min 30 s ago",
    "policy     1 allow rule, 0 deny rules, all else denied; protect off",
    "guest      none is attached",
  ]);
});

Deno.test("moments and spans", () => {
  assertEquals(timeText(Date.UTC(2026, 10, 29, 2, 13, 1, 999)), "2026-11-29 02:13:01Z");
  const spans: [number, string][] = [
    [-5, "0 s"],
    [999, "0 s"],
    [59_000, "59 s"],
    [60_000, "1 min"],
    [3_661_000, "1 h 1 min"],
    [86_400_000 + 59_000, "1 d"],
    [200_000_000, "2 d 7 h"],
  ];
  for (const [ms, text] of spans) assertEquals(spanText(ms), text);
});
