import { assert, assertEquals } from "@std/assert";
import { arpRequest, neighborSolicitation, readVerdict, synFrame, type Verdict } from "./frames.ts";
import type { Attempt } from "./guest_program.ts";
import { Guest, NETWORK, withGateway } from "./harness.ts";
import { canaryServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";
import { until } from "./program.ts";
import { RawVmm } from "./raw_vmm.ts";
import { freePort } from "../support/free_port.ts";

const { guestIp, guestIp6, gatewayIp, gatewayIp6 } = NETWORK;

/** Spellings of the host's loopback and of the metadata service that a kernel sends as they are. */
const BY_KERNEL = [
  gatewayIp,
  gatewayIp6,
  "169.254.169.254",
  "::127.0.0.1",
  "64:ff9b::127.0.0.1",
  "64:ff9b::169.254.169.254",
  "2002:7f00:1::1",
  "2002:a9fe:a9fe::1",
];

/** Spellings that only a packet made by hand carries; each is answered with a refusal. */
const BY_HAND = [
  "127.0.0.1",
  "127.255.255.254",
  "0.0.0.0",
  "169.254.169.254",
  "::",
  "::1",
  "::ffff:0.0.0.0",
  "::ffff:127.0.0.1",
  "::ffff:169.254.169.254",
  "::127.0.0.1",
  "64:ff9b::127.0.0.1",
  "2002:7f00:1::",
];

/** Addresses of many: nothing is sent in answer, and no connection is made. */
const SILENT = ["255.255.255.255", "224.0.0.1", "100.96.0.3", "ff02::1"];

guestTest("the host's loopback and metadata are out of reach in every spelling", async (t) => {
  const port = freePort();
  await using canary = canaryServer("127.0.0.1", port);
  await using canary6 = canaryServer("::1", port);
  await withGateway({}, async (gateway) => {
    await t.step("a guest's kernel is refused", async () => {
      await using guest = await Guest.join(gateway);
      const attempts = await guest.program<Attempt[]>("connect", String(port), ...BY_KERNEL);
      attempts.push(...await guest.program<Attempt[]>("connect", "80", "169.254.169.254"));
      for (const { host, result } of attempts) {
        assert(/^E(CONNREFUSED|HOSTUNREACH|NETUNREACH|ACCES)$/.test(result), `${host}: ${result}`);
      }
    });
    await gateway.guestLeft(0);
    await t.step("SYNs made by hand are refused or get no answer", async () => {
      await using vmm = await RawVmm.connect(gateway.endpoint);
      await vmm.send(arpRequest(guestIp, gatewayIp));
      await vmm.send(neighborSolicitation(guestIp6, gatewayIp6));
      const targets = [...BY_HAND, ...SILENT];
      const portOf = (target: string) => 40_000 + targets.indexOf(target);
      for (const target of targets) {
        const from = target.includes(":") ? guestIp6 : guestIp;
        await vmm.send(synFrame(from, target, portOf(target), port));
      }
      const verdicts = () => vmm.frames.map(readVerdict).filter((v): v is Verdict => v !== null);
      const open = () => BY_HAND.filter((to) => !verdicts().some((v) => v.port === portOf(to)));
      await until("each has its verdict", () => open().length === 0).catch(() => {});
      assertEquals(open(), [], "targets without a refusal");
      const refusals = new Set(["reset", "icmp 3/13", "icmp 1/1"]);
      for (const { port, kind } of verdicts()) {
        const target = targets[port - 40_000]!;
        assert(BY_HAND.includes(target) && refusals.has(kind), `${target}: ${kind}`);
      }
    });
  });
  assertEquals([canary.reached, canary6.reached], [[], []], "nobody reached the loopback");
});
