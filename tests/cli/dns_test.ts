/** `dns`, as a process that asks a running gateway. */
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { dnsLines, readNames } from "../../lib/cli/dns.ts";
import { UsageError } from "../../lib/cli/exit.ts";
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
  assertMatch(
    busy.stdout,
    /^resolver {3}questions 1, own 1\nwaiting {4}nothing\nkept {7}nothing\nown name /,
  );
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
  const names = [{ name: "a.test", records: [] }];
  const lines = dnsLines({ counts: null, inFlight: 0, kept: 0, names });
  assertStringIncludes(lines.join("\n"), "own name   a.test  nothing");
});

Deno.test("dns add and dns remove change own names, through a reload", async () => {
  await using folder = await Folder.make();
  const config = folder.file("gateway.yaml");
  await Deno.writeTextFile(config, 'dns: { records: { "old.test": ["10.0.0.1"] } }\n');
  await using gateway = await ControlProgram.start(folder, "--config", config);
  const ask = (...args: string[]) => gateway.ask("dns", "--control", gateway.control, ...args);
  const added = await ask("add", "DB.test=10.0.0.5", "db.test=fd00::5", "*.w.test=db.test");
  assertEquals([added.code, added.stderr, added.stdout], [
    0,
    "",
    "own name   db.test  A 10.0.0.5\n" +
    "           db.test  AAAA fd00::5\n" +
    "own name   *.w.test  CNAME db.test.\n",
  ]);
  const reloaded = await gateway.ask("reload", "--control", gateway.control);
  assertEquals(reloaded.code, 0);
  const guest = await gateway.attach();
  assertEquals((await guest.resolve("x.w.test", "A")).answers.at(-1)!.data, "10.0.0.5");
  assertEquals((await ask("remove", "db.test")).stdout, "db.test is no own name any more\n");
  const json = JSON.parse((await ask("remove", "old.test", "--json")).stdout);
  assertEquals(json.records, [{ type: "A", data: "10.0.0.1", ttlSeconds: 60 }]);
  const names = JSON.parse((await ask("--json")).stdout).names;
  assertEquals(names.map(({ name }: { name: string }) => name), ["gateway.internal", "*.w.test"]);
  const again = await ask("remove", "db.test");
  assertEquals([again.code, again.stderr], [
    1,
    '"db.test" has no records that could be taken away. dns lists the names that have some; ' +
    "gateway.internal and host.internal stay\n",
  ]);
});

Deno.test("words of dns add are names with addresses or with one alias, or none of them counts", () => {
  assertEquals([...readNames(["A.test.=10.0.0.1", "b.test=c.test", "a.test=::1"])], [
    ["a.test", ["10.0.0.1", "::1"]],
    ["b.test", { cname: "c.test" }],
  ]);
  const bad: [words: string[], message: string][] = [
    [[], "dns add needs NAME=VALUE, such as db.internal=10.0.0.5; see dns --help"],
    [["db.test"], '"db.test" is not NAME=VALUE, such as db.internal=10.0.0.5'],
    [["=10.0.0.1"], '"=10.0.0.1" is not NAME=VALUE, such as db.internal=10.0.0.5'],
    [["db.test="], '"db.test=" is not NAME=VALUE, such as db.internal=10.0.0.5'],
    [["a.test=10.0.0.1", "db.test=a b"], 'db.test: "a b" is no address and no host name'],
    [
      ["db.test=10.0.0.1", "db.test=a.test"],
      'db.test: "a.test" is a name, and an alias has one target alone',
    ],
    [
      ["a b=10.0.0.1"],
      '"a b" is no host name; try "db.internal", or "*.internal" for all below it',
    ],
  ];
  for (const [words, message] of bad) {
    assertEquals(assertThrows(() => readNames(words), UsageError).message, message);
  }
});
