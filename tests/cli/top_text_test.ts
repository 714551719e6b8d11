/** Figures, cuts and sparklines in a known number of columns. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  AGE_COLUMNS,
  ageText,
  ASCII_GLYPHS,
  BYTES_COLUMNS,
  bytesText,
  cutTo,
  figureText,
  fit,
  plainText,
  sparkline,
  UNICODE_GLYPHS,
  wrap,
} from "../../lib/cli/top_text.ts";

Deno.test("figures have three digits and at most five columns", () => {
  const figures: [number, string][] = [
    [0, "0"],
    [0.4, "0"],
    [999.4, "999"],
    [999.5, "1.00k"],
    [1_234, "1.23k"],
    [45_600, "45.6k"],
    [999_499, "999k"],
    [999_500, "1.00M"],
    [8.3e9, "8.30G"],
    [Number.MAX_SAFE_INTEGER, "9.01P"],
  ];
  for (const [value, text] of figures) assertEquals(figureText(value), text);
  fc.assert(fc.property(fc.double({ min: 0, max: 9e17, noNaN: true }), (value) => {
    assert(bytesText(value).length <= BYTES_COLUMNS, bytesText(value));
  }));
});

Deno.test("ages have at most six columns", () => {
  const ages: [number, string][] = [
    [-1, "0:00"],
    [5_999, "0:05"],
    [3_599_000, "59:59"],
    [3_600_000, "1h00m"],
    [86_399_000, "23h59m"],
    [86_400_000, "1d00h"],
    [99 * 86_400_000, "99d00h"],
    [4_321 * 86_400_000, "4321d"],
  ];
  for (const [ms, text] of ages) {
    assertEquals(ageText(ms), text);
    assert(text.length <= AGE_COLUMNS);
  }
});

Deno.test("a sparkline ends with the latest, and shows the least as more than nothing", () => {
  const line = (values: (number | null)[], columns: number, glyphs = UNICODE_GLYPHS) =>
    sparkline(values, columns, 100, glyphs);
  assertEquals(line([0, 1, 50, 99, 100], 5), "▁▂▅██");
  assertEquals(line([0, 1, 50, 99, 100], 5, ASCII_GLYPHS), "_.=##");
  assertEquals(line([100, 0, null, 0], 3), "▁ ▁");
  assertEquals(line([100], 4), "   █");
  assertEquals(line([100], 0), "");
  assertEquals(sparkline([0, 0], 2, 0, UNICODE_GLYPHS), "▁▁");
});

Deno.test("text of others is printable ASCII, without what it would do to a terminal", () => {
  assertEquals(
    plainText("a.test \x1b[31m\u202e\x9b ü\n"),
    "a.test \\u001b[31m\\u202e\\u009b \\u00fc\\u000a",
  );
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    assert(/^[ -~]*$/.test(plainText(text)));
  }));
});

Deno.test("text is cut to its columns with a mark, and padded", () => {
  assertEquals(fit("example.com", 5, UNICODE_GLYPHS), "exam…");
  assertEquals(fit("example.com", 5, ASCII_GLYPHS), "exam~");
  assertEquals(fit("ab", 4, UNICODE_GLYPHS), "ab  ");
  assertEquals(fit("ab", 0, UNICODE_GLYPHS), "");
  assertEquals(fit("ab", -3, UNICODE_GLYPHS), "");
  assertEquals(cutTo("ab", 1, "~"), "~");
});

Deno.test("wrapped lines keep all words and fit", () => {
  assertEquals(wrap("allow it with policy", 10, 2), ["allow it", "  with", "  policy"]);
  assertEquals(wrap("abcdefghij", 4, 4), ["abcd", "efgh", "ij"]);
  assertEquals(wrap("", 4, 4), [""]);
  assertEquals(wrap("ab", 0, 4), []);
  const text = fc.string({ unit: fc.constantFrom(..."ab  ") });
  fc.assert(fc.property(text, fc.integer({ min: 1, max: 30 }), (text, columns) => {
    const lines = wrap(text, columns, 4);
    assert(lines.every((line) => line.length <= columns));
    assertEquals(lines.join("").replaceAll(" ", ""), text.replaceAll(" ", ""));
  }));
});
