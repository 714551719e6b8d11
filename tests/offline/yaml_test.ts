import { assertEquals, assertThrows } from "@std/assert";
import { parse } from "@std/yaml";

Deno.test("the failsafe schema leaves every scalar a string", () => {
  const text = "a: 1500\nb: true\nc: [02:53:40:00:00:02, 2222:22, null]\nd: 2001-01-01\n";
  assertEquals(parse(text, { schema: "failsafe" }), {
    a: "1500",
    b: "true",
    c: ["02:53:40:00:00:02", "2222:22", "null"],
    d: "2001-01-01",
  });
});

Deno.test("the core schema reads numbers, booleans and null", () => {
  assertEquals(parse("a: 1500\nb: true\nc: null", { schema: "core" }), {
    a: 1500,
    b: true,
    c: null,
  });
});

Deno.test("a syntax error tells line and column", () => {
  assertThrows(() => parse("a: 1\nb: [1, 2\n"), SyntaxError, "at line 3, column 1");
});

Deno.test("a repeated key is an error unless allowed", () => {
  assertThrows(() => parse("a: 1\na: 2\n"), SyntaxError, "at line 2, column 1");
  assertEquals(parse("a: 1\na: 2\n", { allowDuplicateKeys: true }), { a: 2 });
});
