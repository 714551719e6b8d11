/** Policies that leave a guest nothing: by examples, and any against a search by chance. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { PolicyConfig } from "../../lib/config/options.ts";
import { resolveLimits } from "../../lib/config/limits.ts";
import { locksEverything } from "../../lib/fleet/lock.ts";
import { closedPolicy } from "../../lib/fleet/merge.ts";
import { Pins } from "../../lib/policy/pins.ts";
import { Policy } from "../../lib/policy/policy.ts";
import { compilePolicy } from "../../lib/host/guest_policy.ts";
import { addresses, ports, ruleLists } from "../policy/arbitrary_rules.ts";

Deno.test("lock: what leaves a guest nothing, and what leaves it something", () => {
  const locked: PolicyConfig[] = [
    { deny: ["0.0.0.0/0", "::/0"] },
    { deny: ["public", "private"] },
    { deny: ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"] },
    { deny: ["0.0.0.0/0:1-1000", "0.0.0.0/0:1001-65535", "0.0.0.0/0/icmp", "::/0"] },
    { deny: ["0.0.0.0/0/tcp", "0.0.0.0/0/udp", "0.0.0.0/0/icmp", "::/0"] },
    { allow: ["10.0.0.0/8"], deny: ["private"] },
    { allow: ["10.0.0.0/8"], protect: "strict" },
    { allow: ["pypi.org"], deny: ["pypi.org"] },
    { allow: ["pypi.org"], deny: ["*.org"] },
    { allow: ["*.pypi.org"], deny: ["*.pypi.org"] },
    { allow: ["pypi.org:22"], deny: ["pypi.org:1-100"] },
    { allow: ["pypi.org"], deny: ["public"] },
    { allow: ["10.0.0.0/8:443/tcp"], deny: ["10.0.0.0/9", "10.128.0.0/9:400-500/tcp"] },
    { allow: ["127.0.0.1"] },
    closedPolicy("fleet.closed"),
  ];
  for (const policy of locked) assert(locksEverything(policy), JSON.stringify(policy));
  const open: PolicyConfig[] = [
    {},
    { allow: ["pypi.org"] },
    { deny: ["0.0.0.0/0"] }, // IPv6 is left
    { deny: ["public"] },
    { deny: ["0.0.0.0/1", "128.0.0.0/2", "224.0.0.0/3", "::/0"] }, // 192.0.0.0/3 is left
    { deny: ["0.0.0.0/0:1-65534", "0.0.0.0/0/icmp", "::/0"] },
    { deny: ["0.0.0.0/0/tcp", "0.0.0.0/0/udp", "::/0"] }, // a ping is left
    { allow: ["10.0.0.0/8"], deny: ["10.0.0.0/9"] },
    { allow: ["*.pypi.org"], deny: ["pypi.org"] }, // names below it are left
    { allow: ["pypi.org"], deny: ["private", "pypi.org:80"] },
    { allow: ["pypi.org:22,80"], deny: ["pypi.org:22"] },
    { allow: ["169.254.1.1"], protect: "off" },
    { allow: ["64:ff9b::/96"] }, // what NAT64 leads to
    { allow: ["::/1"], deny: ["public"], protect: "off" }, // the private part of that
  ];
  for (const policy of open) assertEquals(locksEverything(policy), false, JSON.stringify(policy));
});

Deno.test("lock: a flow that passes shows that a policy does not lock everything", () => {
  let passed = 0;
  fc.assert(
    fc.property(ruleLists, addresses, ports, (rules, address, port) => {
      const policy: PolicyConfig = {
        protect: "off",
        allow: rules.filter(({ action }) => action === "allow").map(({ text }) => text),
        deny: rules.filter(({ action }) => action === "deny").map(({ text }) => text),
      };
      const judge = new Policy({ ...compilePolicy(policy, resolveLimits({})), pins: new Pins(4) });
      const flow = { address, port, protocol: "tcp", isHost: () => false } as const;
      if (judge.judgeFlow(flow, 0).kind !== "allow") return;
      passed++;
      assertEquals(locksEverything(policy), false);
    }),
    { numRuns: 3_000 },
  );
  assert(passed > 100, String(passed));
});

Deno.test("lock: the largest policy is answered", () => {
  const deny = Array.from(
    { length: 16_000 },
    (_, i) => `10.${i >> 8}.${i & 255}.0/24:${i + 1}/tcp`,
  );
  assertEquals(locksEverything({ deny }), false);
  assert(locksEverything({ deny: [...deny.slice(0, 200), "0.0.0.0/0", "::/0"] }));
  assertEquals(typeof locksEverything({ deny: [...deny, "0.0.0.0/0", "::/0"] }), "boolean");
});
