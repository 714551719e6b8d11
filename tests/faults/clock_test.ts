/**
 * A clock that jumps by ten minutes (row 60 of the table of inputs): every deadline that it passed
 * is met once, nothing is begun again, flows that are not past their own limit go on. The time of
 * day plays no part at all.
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import { systemClock } from "../../lib/host/host_clock.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import type { GuestError } from "../../lib/guest/guest_error.ts";
import { GuestRig, NetworkRig } from "../support/guest_rig.ts";
import { assertEchoes, EchoHost, GATEWAY, PATIENCE_MS, pause } from "./fault_gateway.ts";

const JUMP_MS = 600_000;
const BLACK_HOLES = 40;
/** No timer of TCP is shorter. */
const RTO_MIN_MS = 200;

Deno.test("hostile 60: a jump of ten minutes: timers are met once, no storm of frames or dials", async () => {
  await using host = new EchoHost();
  let aheadMs = 0;
  let dials = 0;
  await using rig = await NetworkRig.make({
    limits: { dnsTimeoutMs: 500 },
    network: { ipv6: false },
    system: {
      ...hostSystem,
      now: () => performance.now() + aheadMs,
      connect: (options) => {
        dials++;
        if (options.hostname === "127.0.0.1") return hostSystem.connect(options);
        // A black hole: nothing answers until the dial is given up.
        return new Promise((_resolve, reject) => {
          options.signal.addEventListener("abort", () => reject(options.signal.reason));
        });
      },
    },
  });
  const { network } = rig;
  let standsMs: number | null = null;
  const clock = { ...systemClock, now: () => standsMs ?? performance.now() };
  await using guest = EmbeddedGuest.attach(rig.vmm, { ipv6: false, clock });
  await guest.lease();
  const flow = await guest.connect(GATEWAY, host.port);
  await assertEchoes(flow);
  // The guest's clock stands: a SYN that it sent again, because this process was held up, would be
  // dialled again, and rightly.
  standsMs = performance.now();
  for (let i = 0; i < 20; i++) guest.udp().send(GATEWAY, 9, Uint8Array.of(i));
  const attempts = Array.from(
    { length: BLACK_HOLES },
    (_, i) =>
      guest.connect("10.1.2.3", 1000 + i).then(
        () => "open",
        (error: GuestError): string => error.code,
      ),
  );
  const question = guest.resolve("a.test", "A", { timeoutMs: PATIENCE_MS });
  question.catch(() => {}); // awaited below
  await guest.ping(GATEWAY, 56, PATIENCE_MS);
  assertEquals([network.figures().dials, network.figures().udpFlows], [BLACK_HOLES, 20]);
  const sent = rig.counters["tx.frames"]!;
  aheadMs = JUMP_MS;
  assertEquals(new Set(await Promise.all(attempts)), new Set(["unreachable"]));
  assertEquals((await question).code, "SERVFAIL");
  standsMs = null;
  await pause(500);
  await guest.ping(GATEWAY, 56, PATIENCE_MS);
  assertEquals(dials, BLACK_HOLES + 1, "nobody is dialled again");
  assertEquals([network.figures().dials, network.figures().udpFlows], [0, 0]);
  assertLess(rig.counters["tx.frames"]! - sent, BLACK_HOLES + 20);
  await assertEchoes(flow);
  flow.close();
});

Deno.test("hostile 60: the time of day may be anything, and may jump with every look at it", async () => {
  await using host = new EchoHost();
  const now = Date.now;
  let looks = 0;
  Date.now = () => ++looks % 2 === 0 ? 0 : 4e12;
  try {
    await using rig = await GuestRig.start({
      limits: { dnsTimeoutMs: 500 },
      network: { ipv6: false },
    });
    const startMs = performance.now();
    const flow = await rig.guest.connect(GATEWAY, host.port);
    for (let i = 0; i < 20; i++) await assertEchoes(flow, 10_000);
    const { code } = await rig.guest.resolve("a.test", "A", { timeoutMs: PATIENCE_MS });
    assertEquals(code, "SERVFAIL");
    // None at all, unless this process was held up for so long.
    const { "tcp.rto": repeats = 0 } = rig.counters;
    const tookMs = performance.now() - startMs;
    assert(repeats <= tookMs / RTO_MIN_MS, `${repeats} timers in ${tookMs} ms: some were early`);
    flow.close();
  } finally {
    Date.now = now;
  }
});
