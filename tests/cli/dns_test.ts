/** `dns`, as a process that asks a running gateway. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dnsLines } from "../../lib/cli/dns.ts";
import { Folder } from "./cli_process.ts";
import { ControlProgram } from "./control_program.ts";

Deno.test("dns shows counts and own names, and flushes", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder, "--dns-record", "db.test=10.0.0.5");
  const ask = (...args: string[]) => gateway.ask("dns", "--control", gateway.control, ...args);
  const idle = await ask();
  assertEquals([idle.code, idle.stderr, idle.stdout], [
    0,
    "",
    "guest      none is attached\n" +
    "own name   gateway.internal  A 100.96.0.1\n" +
    "           gateway.internal  AAAA fd53:4d00::1\n" +
    "own name   db.test  A 10.0.0.5\n",
  ]);
  assertEquals((await ask("flush")).stdout, "no guest is attached: nothing is kept\n");
  const guest = await gateway.attach();
  await guest.resolve("db.test", "A");
  const busy = await ask();
  assertMatch(busy.stdout, /^resolver {3}questions 1, own 1\nwaiting {4}nothing\nown name /);
  assertEquals((await ask("flush")).stdout, "no answer is kept any more\n");
  assertEquals(JSON.parse((await ask("flush", "--json")).stdout), { hasGuest: true });
  const json = JSON.parse((await ask("--json")).stdout);
  assertEquals([json.counts.own, json.names[1].name], [1, "db.test"]);
  const wrong = await ask("flsh");
  assertEquals([wrong.code, wrong.stderr], [
    2,
    'unexpected argument "flsh"; did you mean "flush"?\n',
  ]);
});

Deno.test("a name without records is shown too", () => {
  const lines = dnsLines({ counts: null, inFlight: 0, names: [{ name: "a.test", records: [] }] });
  assertStringIncludes(lines.join("\n"), "own name   a.test  nothing");
});
