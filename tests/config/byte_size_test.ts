import { assertEquals } from "@std/assert";
import { parseByteSize } from "../../lib/config/byte_size.ts";

Deno.test("decimal and binary units are told apart by their i", () => {
  const cases: [string, number][] = [
    ["0", 0],
    ["1500", 1500],
    ["1500B", 1500],
    ["1kB", 1000],
    ["1KB", 1000],
    ["10MB", 10_000_000],
    ["1.5MB", 1_500_000],
    ["0.001KB", 1],
    ["1.1GB", 1_100_000_000],
    ["512KiB", 524_288],
    ["1.5MiB", 1_572_864],
    ["2GiB", 2_147_483_648],
  ];
  for (const [text, bytes] of cases) assertEquals(parseByteSize(text), bytes, text);
});

Deno.test("what could be something else is no number of bytes", () => {
  for (
    const text of [
      "",
      "10M",
      "10Mb",
      "10mb",
      "10 MB",
      "1.5",
      "1.5B",
      ".5MB",
      "1.MB",
      "1.2345MB",
      "-1",
      "+1",
    ]
  ) assertEquals(parseByteSize(text), null, text);
  for (
    const text of ["1e3", "0x10", "MB", "10MBit", "10MB/s", "999999999999999GB", "1".repeat(16)]
  ) {
    assertEquals(parseByteSize(text), null, text);
  }
});
