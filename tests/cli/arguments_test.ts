import { assertEquals, assertThrows } from "@std/assert";
import { parseArguments } from "../../lib/cli/arguments.ts";
import { UsageError } from "../../lib/cli/exit.ts";

function refused(message: string, ...args: string[]): void {
  assertEquals(assertThrows(() => parseArguments(args), UsageError).message, message);
}

Deno.test("run is the command where none is named", () => {
  assertEquals(parseArguments([]), {
    command: "run",
    isNamed: false,
    flags: {},
    fleet: {},
    json: false,
    ascii: false,
    follow: false,
    color: true,
    help: false,
    version: false,
  });
  assertEquals(parseArguments(["--once"]).command, "run");
  assertEquals(parseArguments(["check"]).command, "check");
});

Deno.test("commands of a group are named by several words", () => {
  const put = parseArguments(["fleet", "policy", "put", "fleet", "-", "--if-revision", "0"]);
  assertEquals([put.command, put.operand, put.more, put.fleet], [
    "fleet policy put",
    "fleet",
    ["-"],
    { ifRevision: "0" },
  ]);
  const status = parseArguments(["fleet", "status", "--fleet", "nats://127.0.0.1:4222", "--json"]);
  assertEquals([status.command, status.json], ["fleet status", true]);
  assertEquals(parseArguments(["fleet", "--help"]).command, "fleet");
  assertEquals(parseArguments(["fleet", "policy", "--help"]).command, "fleet policy");
  const cases: [string[], string][] = [
    [["fleet"], "fleet needs init, status, top, denials or policy; see fleet --help"],
    [
      ["fleet", "policy"],
      "fleet policy needs get, put, delete, history or explain; see fleet " +
      "policy --help",
    ],
    [["fleet", "stauts"], 'unknown command "fleet stauts"; did you mean "status"?'],
    [
      ["fleet", "--json", "status"],
      "unexpected --json: flags stand behind the command; see fleet " +
      "--help",
    ],
    [["fleet", "status", "--replicas", "3"], "unknown flag --replicas; see fleet status --help"],
    [["fleet", "status", "now"], 'unexpected argument "now"; see fleet status --help'],
    [["fleet", "policy", "get", "-"], "unknown flag -; see fleet policy get --help"],
    [["policy", "get"], 'unknown command "policy"; see --help'],
  ];
  for (const [words, message] of cases) refused(message, ...words);
});

Deno.test("only flags that were given are there", () => {
  const { flags, config } = parseArguments([
    "run",
    "--listen",
    "unix:/a",
    "-p",
    "8080:80",
    "--publish=1:2",
    "--no-ipv6",
    "--once",
    "--config",
    "-",
  ]);
  assertEquals(flags, {
    listen: "unix:/a",
    publish: ["8080:80", "1:2"],
    ipv6: false,
    once: true,
  });
  assertEquals(config, "-");
});

Deno.test("each flag of rules has its own list", () => {
  const words = ["--allow", "10.0.0.0/8:80,443", "--allow-host", "a.test", "--allow=b.test"];
  const { flags } = parseArguments([...words, "--deny", "metadata", "--no-deny-page"]);
  assertEquals(flags, {
    allow: ["10.0.0.0/8:80,443", "b.test"],
    "allow-host": ["a.test"],
    deny: ["metadata"],
    "deny-page": false,
  });
  refused("unknown flag --alow; did you mean --allow?", "--alow", "x");
  refused("--allow-cidr needs a value: --allow-cidr CIDR", "--allow-cidr");
});

Deno.test("a switch can be set back", () => {
  assertEquals(parseArguments(["--no-ipv6", "--ipv6"]).flags, { ipv6: true });
  assertEquals(parseArguments(["--once=false"]).flags, { once: false });
});

Deno.test("--quiet is a log level", () => {
  assertEquals(parseArguments(["--quiet"]).flags, { "log-level": "warn" });
  refused("--quiet contradicts --log-level", "--quiet", "--log-level", "info");
});

Deno.test("an unknown word is refused with the nearest known one", () => {
  refused("unknown flag --lisen; did you mean --listen?", "--lisen", "unix:/a");
  refused("unknown flag --no-ipv; did you mean --no-ipv6?", "--no-ipv");
  refused("unknown flag --mtu6; did you mean --mtu?", "--mtu6=9");
  refused("unknown flag --frobnicate; see run --help", "--frobnicate");
  refused("unknown flag --no-listen; did you mean --listen?", "--no-listen");
  refused("unknown flag -x; see run --help", "-x");
  refused("unknown flag --toString; see run --help", "--toString");
  refused("unknown flag --==x; see run --help", "--==x");
  refused(`unknown command "chek"; did you mean "check"?`, "chek");
  refused(`unknown command "serve"; see --help`, "serve");
  refused(`unexpected argument "extra"; see check --help`, "check", "extra");
  refused(`unexpected argument "extra"; see run --help`, "run", "--once", "--", "extra");
  refused("unknown flag --publish; see demo --help", "demo", "--publish", "80");
});

Deno.test("a flag that is none is unknown, not ignored", () => {
  const parse = (): unknown => parseArguments(["--dashboard", "x"]);
  assertThrows(parse, UsageError, "unknown flag --dashboard");
});

Deno.test("explain takes one target, and the flags of a policy", () => {
  const { command, operand, flags, json } = parseArguments([
    ...["explain", "--allow", "a.test", "[2001:db8::1]:443", "--json", "--allow-cidr=10.0.0.0/8"],
  ]);
  assertEquals([command, operand, json], ["explain", "[2001:db8::1]:443", true]);
  assertEquals(flags, { allow: ["a.test"], "allow-cidr": ["10.0.0.0/8"] });
  assertEquals(parseArguments(["explain", "--help"]).help, true);
  assertEquals(parseArguments(["explain", "10"]).operand, "10");
  refused("explain needs a TARGET; see explain --help", "explain");
  refused(`unexpected argument "b"; see explain --help`, "explain", "a", "b");
  refused("unknown flag --listen; see explain --help", "explain", "a", "--listen", "unix:/a");
  refused("unknown flag --mtu; see status --help", "status", "--mtu", "1500");
  refused(`unexpected argument "a"; see status --help`, "status", "a");
});

Deno.test("denials follow, in one letter too", () => {
  for (const flag of ["-f", "--follow"]) {
    const { follow, flags } = parseArguments(["denials", flag, "--control", "unix:/c"]);
    assertEquals([follow, flags], [true, { control: "unix:/c" }]);
  }
  refused("unknown flag -f; see explain --help", "explain", "a", "-f");
});

Deno.test("operands of the commands that ask a gateway", () => {
  assertEquals(parseArguments(["flows"]).operand, undefined);
  assertEquals(parseArguments(["flows", "a.test", "-f"]).operand, "a.test");
  assertEquals(parseArguments(["flows", "--end", "7"]).end, "7");
  assertEquals(parseArguments(["dns", "flush"]).operand, "flush");
  const { operand, more, json } = parseArguments(["dns", "add", "a=::1", "--json", "b=c"]);
  assertEquals([operand, more, json], ["add", ["a=::1", "b=c"], true]);
  for (const words of [["-w", "-"], ["--write", "-"], ["--write=-"], []]) {
    const { write } = parseArguments(["capture", ...words]);
    assertEquals(write, words.length === 0 ? undefined : "-");
  }
  const { filter, snap } = parseArguments(["capture", "--filter", "tcp port 443", "--snap", "64"]);
  assertEquals([filter, snap], ["tcp port 443", "64"]);
  assertEquals(parseArguments(["publish", "8080:80"]).operand, "8080:80");
  refused("publish needs a SPEC; see publish --help", "publish");
  refused("unpublish needs a PLACE; see unpublish --help", "unpublish");
  refused("completions needs bash, zsh or fish; see completions --help", "completions");
  refused(
    `unexpected argument "status"; as a command it stands in the place of run`,
    ...["run", "status"],
  );
  refused(`unexpected argument "b"; see flows --help`, "flows", "a", "b");
  refused(`unexpected argument "now"; see stop --help`, "stop", "now");
  refused("unknown flag --json; see stop --help", "stop", "--json");
  refused("unknown flag -f; see dns --help", "dns", "-f");
  refused("--end needs a value: --end ID", "flows", "--end");
});

Deno.test("a flag without its value says what it wants", () => {
  refused("--listen needs a value: --listen ENDPOINT", "--listen");
  refused("--listen needs a value: --listen ENDPOINT", "--listen", "--once");
  refused("--listen needs a value: --listen ENDPOINT", "--listen=");
  refused("--publish needs a value: --publish SPEC", "-p", "80", "-p");
});
