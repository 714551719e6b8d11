/** Which of an address's names is meant: the one that was answered last. */
import { assertEquals } from "@std/assert";
import { Pins } from "../../lib/policy/pins.ts";
import { policyOf } from "../support/policy.ts";
import { bytesOf } from "./rules.ts";

const SHARED = bytesOf("151.101.2.5");

Deno.test("pins: the names of an address, the one that was answered last first", () => {
  const pins = new Pins(4);
  for (const name of ["one.test", "two.test", "one.test", "three.test"]) {
    pins.pin(name, SHARED, 60, 0);
  }
  assertEquals(pins.names(SHARED, 0), ["three.test", "one.test", "two.test"]);
});

Deno.test("pins: a refusal at a shared address names what the guest has looked up last", () => {
  const policy = policyOf({ allow: ["one.test", "two.test"] });
  policy.pins.pin("one.test", SHARED, 60, 0);
  policy.pins.pin("two.test", SHARED, 60, 0);
  const flow = { address: SHARED, port: 22, protocol: "tcp", isHost: () => false } as const;
  const verdict = policy.judgeFlow(flow, 0);
  assertEquals(
    verdict.kind === "deny" && verdict.denial.hint,
    'policy: { allow: ["two.test:22"] }',
  );
});
