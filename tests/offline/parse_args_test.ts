/** Where minimist and `parseArgs` of `@std/cli` differ, the second's behaviour holds. */
import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli";

const options = {
  alias: { publish: "p" },
  boolean: ["once", "ipv6"],
  collect: ["publish"],
  negatable: ["ipv6"],
  string: ["listen", "publish", "config"],
};

function parse(...args: string[]): Record<string, unknown> {
  return parseArgs(args, options) as Record<string, unknown>;
}

Deno.test("a flag is negated only where it is negatable", () => {
  assertEquals(parse("--no-ipv6").ipv6, false);
  const parsed = parse("--no-once");
  assertEquals(parsed.once, false);
  assertEquals(parsed["no-once"], true);
  assertEquals(parse("--no-listen", "x")["no-listen"], "x");
});

Deno.test("the last negation or assertion wins", () => {
  assertEquals(parse("--no-ipv6", "--ipv6").ipv6, true);
  assertEquals(parse("--ipv6", "--no-ipv6").ipv6, false);
});

Deno.test("a repeated flag keeps its last value unless it collects", () => {
  assertEquals(parse("--listen", "a", "--listen", "b").listen, "b");
  assertEquals(parse("-p", "1:2", "--publish", "3:4", "-p5:6").publish, ["1:2", "3:4", "5:6"]);
});

Deno.test("a collecting flag is an array however often it stands", () => {
  assertEquals(parse().publish, []);
  assertEquals(parse("-p", "1:2").publish, ["1:2"]);
  assertEquals(parse("-p", "1:2").p, ["1:2"]);
});

Deno.test("a string that is absent is undefined, a boolean false", () => {
  const parsed = parse();
  assertEquals(parsed.listen, undefined);
  assertEquals(parsed.once, false);
});

Deno.test("a long flag takes no value that begins with a dash", () => {
  const parsed = parse("--config", "-", "--listen", "--once");
  assertEquals(parsed.config, "");
  assertEquals(parsed._, ["-"]);
  assertEquals(parsed.listen, "");
  assertEquals(parsed.once, true);
  assertEquals(parse("--config=-").config, "-");
});

Deno.test("positional numbers are numbers, string flags stay strings", () => {
  const parsed = parse("80", "x", "--listen", "80");
  assertEquals(parsed._, [80, "x"]);
  assertEquals(parsed.listen, "80");
});

Deno.test("what follows -- is not parsed", () => {
  assertEquals(parse("--once", "--", "--listen", "7")._, ["--listen", "7"]);
  assertEquals(parseArgs(["a", "--", "b"], { "--": true })["--"], ["b"]);
});

Deno.test("unknown flags and positionals are reported as they were written", () => {
  const seen: string[] = [];
  parseArgs(["--lisen", "--no-once", "--once", "word", "-x"], {
    ...options,
    unknown: (arg) => {
      seen.push(arg);
      return false;
    },
  });
  assertEquals(seen, ["--lisen", "--no-once", "word", "-x"]);
});

Deno.test("a flag with a name that every object has is as unknown as any other", () => {
  const words = [
    "--toString",
    "--constructor=1",
    "--__proto__",
    "--hasOwnProperty=",
    "--no-valueOf",
    "--==",
    "--=x=y",
    "--toString\r",
    "--constructor.name",
  ];
  const seen: string[] = [];
  parseArgs(words, { ...options, unknown: (arg) => (seen.push(arg), false) });
  assertEquals(seen, words);
});
