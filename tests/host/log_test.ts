import { assertEquals, assertMatch } from "@std/assert";
import { createLogger, type LogOptions } from "../../lib/host/log.ts";

function capture(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  return {
    lines,
    log: createLogger({ level: "info", format: "text", color: false, write, ...options }),
  };
}

Deno.test("text lines have the level's word, the message and the fields", () => {
  const { lines, log } = capture({ level: "debug" });
  log.debug("looked");
  log.info("ready", { endpoint: "unix:/run/a b", port: 80, absent: undefined });
  log.warn("odd", { list: [1, 2] });
  log.error("failed", { cause: new Error("no way"), bytes: 5n, all: [6n] });
  assertEquals(lines, [
    "debug: looked",
    `ready endpoint="unix:/run/a b" port=80`,
    "warning: odd list=[1,2]",
    `error: failed cause="no way" bytes=5 all=["6"]`,
  ]);
});

Deno.test("lines below the level are not written", () => {
  const { lines, log } = capture({ level: "warn" });
  log.debug("a");
  log.info("b");
  log.warn("c");
  assertEquals(lines, ["warning: c"]);
});

Deno.test("no control character reaches the terminal", () => {
  const { lines, log } = capture();
  log.info("name \x1b[2J\r\n\u009b", { name: "a\x07\u202eb", other: { x: "\x1b" } });
  assertEquals(lines, [
    `name \\u001b[2J\\u000d\\u000a\\u009b name="a\\u0007\\u202eb" other={"x":"\\u001b"}`,
  ]);
});

Deno.test("a long value is cut", () => {
  const { lines, log } = capture();
  log.info("x".repeat(5000), { name: "y".repeat(5000) });
  assertEquals(lines[0]!.length < 2200, true);
});

Deno.test("colour is on the level's word alone", () => {
  const { lines, log } = capture({ color: true });
  log.warn("odd");
  log.info("even");
  assertEquals(lines, ["\x1b[33mwarning: \x1b[0modd", "even"]);
});

Deno.test("a JSON line is one document whose own keys can't be replaced", () => {
  const { lines, log } = capture({ format: "json" });
  log.warn("odd\nline", { level: "info", message: "other", peer: "1.2.3.4", count: 7n });
  const document = JSON.parse(lines[0]!);
  assertMatch(document.time, /^\d{4}-\d\d-\d\dT/);
  delete document.time;
  assertEquals(document, { level: "warn", message: "odd\nline", peer: "1.2.3.4", count: "7" });
  assertEquals(lines[0]!.includes("\n"), false);
});
