/** A fleet's policy without an engine: guests that do not take it, copies that can't be kept. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { resolveLimits } from "../../lib/config/limits.ts";
import type { PolicyConfig } from "../../lib/config/options.ts";
import { FleetPolicy } from "../../lib/fleet/fleet_policy.ts";
import type { BucketState } from "../../lib/fleet/policy_bucket.ts";
import type { KeptPolicy } from "../../lib/fleet/policy_copy.ts";
import { keepingLogger } from "../guests/guests_rig.ts";

/** Two guests that take what they are given, unless a test says otherwise. */
class Rig implements Disposable {
  readonly log = keepingLogger();
  readonly kept: KeptPolicy[] = [];
  readonly taken = new Map<string, PolicyConfig>();
  refuses: string | null = null;
  keepFault: Error | null = null;
  readonly policy: FleetPolicy;

  constructor(policyRules = 8) {
    const limits = resolveLimits({ policyRules });
    this.policy = new FleetPolicy({
      fleet: "default",
      guests: ["a", "b"].map((name) => ({ name, group: null, limits })),
      keeper: {
        write: (kept) => {
          if (this.keepFault !== null) return Promise.reject(this.keepFault);
          this.kept.push(kept);
          return Promise.resolve();
        },
      },
      logger: this.log,
      nowMs: () => 1_000,
    }, []);
    for (const name of ["a", "b"]) {
      this.taken.set(name, this.policy.initial(name, {}));
      this.policy.serve(name, {
        enforcePolicy: (policy) => {
          if (this.refuses === name) throw new Error(`${name} refuses`);
          this.taken.set(name, policy);
        },
      });
    }
  }

  /** What is in force for each. */
  denied(): string[] {
    return ["a", "b"].map((name) => this.taken.get(name)!.deny!.join());
  }

  [Symbol.dispose](): void {
    this.policy[Symbol.dispose]();
  }
}

function setOf(revision: number, documents: Record<string, string>): BucketState {
  const texts = Object.entries(documents).map(([key, text]) => [key, { text, revision }] as const);
  const id = String(revision);
  return { kind: "set", id, texts: { revision, documents: new Map(texts) }, faults: [] };
}

Deno.test("fleet policy state: where one guest does not take it, no other one keeps it", async () => {
  using rig = new Rig();
  await rig.policy.onState(setOf(1, { fleet: "deny: [9.9.9.9]" }));
  assertEquals(rig.denied(), ["9.9.9.9", "9.9.9.9"]);
  rig.refuses = "b";
  const next = setOf(2, { fleet: "deny: [8.8.8.8]" });
  assertEquals(await rig.policy.onState(next), false);
  assertEquals(rig.denied(), ["9.9.9.9", "9.9.9.9"]);
  assertEquals(rig.policy.report().rejected, { revision: 2, why: "b refuses" });
  assertEquals(rig.policy.report().revision, 1);
  assertEquals(rig.kept.map(({ revision }) => revision), [1]);
  // It is handed over again, and a guest that takes it by then has it.
  rig.refuses = null;
  assertEquals(await rig.policy.onState(next), true);
  assertEquals(rig.denied(), ["8.8.8.8", "8.8.8.8"]);
  assertEquals(rig.policy.report().rejected, null);
});

Deno.test("fleet policy state: what was refused is told as long as it is there, and by its own reason", async () => {
  using rig = new Rig();
  const good = setOf(1, { fleet: "deny: [9.9.9.9]" });
  const bad = setOf(2, { fleet: "alow: []" });
  const why = () => rig.policy.report().rejected?.why.slice(0, 20);
  await rig.policy.onState(good);
  await rig.policy.onState(bad);
  assertEquals(why(), "fleet:1:1 unknown ke");
  await rig.policy.onState({ kind: "missing" });
  assertEquals(why(), "there is no bucket v");
  await rig.policy.onState(bad);
  assertEquals(why(), "fleet:1:1 unknown ke");
  await rig.policy.onState({ kind: "unused", id: "0" });
  await rig.policy.onState(good);
  assertEquals(rig.policy.report().rejected, null);
  assertEquals(rig.denied(), ["9.9.9.9", "9.9.9.9"]);
});

Deno.test("fleet policy state: what did not fit beside the host's word is tried again with another", async () => {
  using rig = new Rig(3);
  await rig.policy.setHost("a", { deny: ["1.1.1.1", "1.1.1.2"] });
  await rig.policy.onState(setOf(1, { fleet: "deny: [9.9.9.9, 8.8.8.8]" }));
  assert(rig.policy.report().rejected!.why.includes('guest "a" (fleet, guest.a, the host\'s own)'));
  assertEquals(rig.policy.report().source, "closed");
  await rig.policy.setHost("a", { deny: ["1.1.1.1"] });
  assertEquals(rig.policy.report().rejected, null);
  assertEquals(rig.denied(), ["9.9.9.9,8.8.8.8,1.1.1.1", "9.9.9.9,8.8.8.8"]);
  // And the host's word that does not fit beside the documents is the host's fault.
  const much = { deny: ["1.1.1.1", "1.1.1.2"] };
  await assertRejects(() => rig.policy.setHost("b", much), ConfigError, 'of guest "b"');
  assertEquals(rig.denied()[1], "9.9.9.9,8.8.8.8");
});

Deno.test("fleet policy state: where it can't be kept it is in force all the same, and that is said", async () => {
  using rig = new Rig();
  rig.keepFault = new Error("no space left on device");
  await rig.policy.onState(setOf(1, { fleet: "deny: [9.9.9.9]" }));
  assertEquals(rig.denied(), ["9.9.9.9", "9.9.9.9"]);
  assertEquals(rig.policy.report().source, "engine");
  const [line] = rig.log.lines.filter(({ message }) => message.includes("can't be kept"));
  assertEquals(line?.fields.why, "no space left on device");
  rig.keepFault = null;
  await rig.policy.onState(setOf(2, { fleet: "deny: [8.8.8.8]" }));
  assertEquals(rig.kept.map(({ revision }) => revision), [2]);
});

Deno.test("fleet policy state: guests are kept from servers that come later, and from no more than there were", async () => {
  using rig = new Rig(600);
  await rig.policy.onState(setOf(1, { fleet: "{}" }));
  await rig.policy.setEngine([{ address: "10.0.0.9", port: 4222 }]);
  assertEquals(rig.denied()[0], "10.0.0.9:4222/tcp");
  for (let n = 0; n < 40; n++) {
    const addresses = Array.from({ length: 16 }, (_, i) => ({
      address: `10.1.${n}.${i}`,
      port: 4222,
    }));
    await rig.policy.setEngine(addresses);
  }
  const rules = rig.denied()[0]!.split(",");
  assertEquals(rules.length, 512);
  assert(rules.includes("10.1.39.15:4222/tcp"));
  assertEquals(rig.kept.at(-1)!.engine.length, 512);
});
