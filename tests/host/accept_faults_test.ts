/** Clients that reset before they are accepted hold nobody up. */
import { assert, assertEquals } from "@std/assert";
import { AcceptFaults } from "../../lib/host/accept_faults.ts";
import { noDescriptors } from "../../lib/host/no_descriptors.ts";

Deno.test("a client that has gone is no reason to wait, a lack of descriptors is", () => {
  const faults = new AcceptFaults();
  const gone = Object.assign(new Error("gone"), { code: "ENOTCONN" });
  for (let i = 0; i < 1_000; i++) {
    assertEquals(faults.isToBeWaitedOut(gone), false);
    faults.accepted();
  }
  assert(faults.isToBeWaitedOut(noDescriptors("none")));
});

Deno.test("a fault that does not end is waited out, until a client is accepted", () => {
  const faults = new AcceptFaults();
  const broken = new Error("broken");
  for (let i = 0; i < 64; i++) assertEquals(faults.isToBeWaitedOut(broken), false);
  assert(faults.isToBeWaitedOut(broken));
  faults.accepted();
  assertEquals(faults.isToBeWaitedOut(broken), false);
});
