import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { FLAG_SETTINGS } from "../../lib/cli/arguments.ts";
import { COMMANDS } from "../../lib/cli/commands.ts";
import { commandHelp, overview } from "../../lib/cli/help.ts";
import deno from "../../deno.json" with { type: "json" };
import { runCli } from "./cli_process.ts";

Deno.test("help and version need no permission", async () => {
  const overview = await runCli([], "--help");
  assertEquals([overview.code, overview.stderr], [0, ""]);
  for (const word of ["run", "check", "demo", "Exit codes"]) {
    assertStringIncludes(overview.stdout, word);
  }
  const run = await runCli([], "run", "-h");
  assertEquals(run.stdout, `${commandHelp("run")}\n`);
  const version = await runCli([], "--version");
  assertEquals([version.code, version.stdout], [0, `${deno.version}\n`]);
});

Deno.test("no line of the help is wider than a terminal of 100 columns", () => {
  for (const text of [overview(), ...COMMANDS.map(commandHelp)]) {
    for (const line of text.split("\n")) assert(line.length <= 100, line);
  }
});

Deno.test("the help of run names every flag", () => {
  const help = commandHelp("run");
  for (const { flag, negated } of FLAG_SETTINGS) {
    assert(help.includes(`--${negated ? "no-" : ""}${flag}`), flag);
  }
});

Deno.test("a wrong command line is said on stderr with exit code 2", async () => {
  const cases: [string[], string | RegExp][] = [
    [["chek"], `unknown command "chek"; did you mean "check"?`],
    [["run", "--lisen", "unix:/a"], "unknown flag --lisen; did you mean --listen?"],
    [
      ["-p", "1:2:3:4"],
      '--publish: "1:2:3:4" is not [BIND:]HOSTPORT:GUESTPORT, such as 8080:80, 127.0.0.1:5353:53/udp, 8000-8010:8000-8010 or unix:/run/web.sock:80',
    ],
    [["--mtu", "100"], "--mtu: 100 is not a whole number from 576 to 65520"],
    [
      ["--allow", "10.1.0.0/8"],
      '--allow: "10.1.0.0/8": 10.1.0.0/8 has bits set behind the prefix; did you mean 10.0.0.0/8?',
    ],
    [
      ["--allow-cidr", "pypi.org"],
      '--allow-cidr: "pypi.org" is not a network such as 10.0.0.0/8 alone; write --allow pypi.org',
    ],
    [
      ["--rate-down", "10Mb"],
      '--rate-down: "10Mb" is not a number of bytes, such as 10MB, 512KiB or 1500',
    ],
    [["--rate-flows", "0"], "--rate-flows: 0 is not a whole number from 1 to 1000000"],
    [["--dns-zone", "corp.example"], '--dns-zone: "corp.example" is not ZONE=UPSTREAM'],
    [["--dns", "https://a.test"], /^--dns: "https:\/\/a\.test" lacks its path/],
    [
      ["--upstream-proxy", "http://anna:s3cret@a.test"],
      '--upstream-proxy: "http://***@a.test": lacks the port, such as :3128',
    ],
  ];
  for (const [args, message] of cases) {
    const outcome = await runCli([], ...args);
    assertEquals([outcome.code, outcome.stdout], [2, ""]);
    if (message instanceof RegExp) assertMatch(outcome.stderr, message);
    else assertEquals(outcome.stderr, `${message}\n`);
  }
});
