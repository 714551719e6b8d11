import { assertEquals } from "@std/assert";
import { didYouMean, nearestName } from "../../lib/config/nearest.ts";

Deno.test("one slip of the finger finds its name", () => {
  const known = ["listen", "connect", "publish", "once", "mtu"];
  assertEquals(nearestName("lisen", known), "listen");
  assertEquals(nearestName("lsiten", known), "listen");
  assertEquals(nearestName("Publish", known), "publish");
  assertEquals(nearestName("conect", known), "connect");
  assertEquals(nearestName("mut", known), "mtu");
});

Deno.test("a name that is like none has no neighbour", () => {
  assertEquals(nearestName("frobnicate", ["listen", "mtu"]), null);
  assertEquals(nearestName("x".repeat(65), ["x".repeat(64)]), null);
  assertEquals(nearestName("", []), null);
});

Deno.test("the question is only asked where there is one", () => {
  assertEquals(didYouMean("alow", ["allow"]), `; did you mean "allow"?`);
  assertEquals(didYouMean("alow", ["allow"], (name) => `--${name}`), `; did you mean --allow?`);
  assertEquals(didYouMean("alow", ["mtu"]), "");
});
