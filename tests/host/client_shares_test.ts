/** Which flow of a published port's clients makes way. */
import { assertEquals } from "@std/assert";
import { ClientShares } from "../../lib/host/client_shares.ts";

Deno.test("a flood from many sources ends no answered flow, whoever has most of those", () => {
  const shares = new ClientShares<string>();
  for (let i = 0; i < 100; i++) {
    const share = shares.add("honest", `honest ${i}`);
    shares.use(share, `honest ${i}`, true);
  }
  for (let i = 0; i < 50; i++) shares.add(`flooder ${i}`, `flood ${i}`);
  for (let i = 0; i < 50; i++) {
    const victim = shares.victim()!;
    assertEquals(victim.startsWith("flood"), true, victim);
    const key = victim.replace("flood", "flooder");
    shares.remove(shares.add(key, victim), victim);
  }
  assertEquals(shares.owners, 1);
  assertEquals(shares.victim(), "honest 0", "where all are answered, the most have to give");
});

Deno.test("of flows without an answer, the place comes from whoever has the most, oldest first", () => {
  const shares = new ClientShares<string>();
  assertEquals(shares.victim(), null);
  shares.add("a", "a1");
  const b = shares.add("b", "b1");
  shares.add("b", "b2");
  assertEquals(shares.victim(), "b1");
  shares.use(b, "b1", false);
  assertEquals(shares.victim(), "b2", "it was used longest ago");
  shares.use(b, "b2", true);
  assertEquals(shares.victim(), "a1", "of equally many, who came there first");
});
