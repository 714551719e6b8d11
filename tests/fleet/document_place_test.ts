/** Rules of a merged policy by the line of their document. */
import { assertEquals } from "@std/assert";
import { documentPlace } from "../../lib/fleet/document_place.ts";

const TEXTS = new Map([
  ["fleet", "# the fleet\nprotect: strict\ndeny:\n  - metadata\n  - 10.0.0.0/8\n"],
  ["group.ci", 'allow: ["a.test", "b.test"]\n'],
  ["guest.deny", "deny: 1.1.1.1\nclosed: true\n"],
]);

Deno.test("a place is the line and column of its document", () => {
  const places = ["fleet.deny[1]", "group.ci.allow[1]", "fleet.protect", "guest.deny.closed"];
  assertEquals(places.map((place) => documentPlace(place, TEXTS)), [
    "fleet:5:3",
    "group.ci:1:19",
    "fleet:2:1",
    "guest.deny:2:1",
  ]);
  // One rule may stand without a list.
  assertEquals(documentPlace("guest.deny.deny[0]", TEXTS), "guest.deny:1:1");
});

Deno.test("what stands in no document keeps its place", () => {
  for (const place of ["", "--deny", "gateway.yaml:3:5", "policy.deny[0]", "fleet: the engine"]) {
    assertEquals(documentPlace(place, TEXTS), place);
  }
  assertEquals(documentPlace("group.other.deny[0]", TEXTS), "group.other.deny[0]");
  assertEquals(documentPlace("fleet.ech", TEXTS), "fleet.ech");
});
