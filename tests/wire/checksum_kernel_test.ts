import { assertEquals } from "@std/assert";
import { renderKernel, TARGET } from "./build_kernel.ts";

Deno.test("the committed kernel is what its WAT source assembles to", async () => {
  assertEquals(await Deno.readTextFile(TARGET), await renderKernel());
});
