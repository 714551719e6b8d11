/** Frames into blocks: what is kept, when it is given out, and what is lost. */
import { assert, assertEquals } from "@std/assert";
import { readPcapng } from "../capture/read_pcapng.ts";
import { answerTo, name } from "../dns/messages.ts";
import {
  ethernet,
  GATEWAY4,
  GUEST4,
  ip4,
  pattern,
  tcp,
  u16,
  udp,
  WORLD4,
} from "../support/packets.ts";
import { CaptureRig } from "./capture_rig.ts";

function datagram(dataBytes: number): Uint8Array {
  return ethernet(ip4(udp(GUEST4, 5_000, WORLD4, 4_444, pattern(dataBytes)), {
    destination: WORLD4,
  }));
}

function answer(text: string, address: readonly number[]): Uint8Array {
  const question = Uint8Array.from([
    ...[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    ...name(text),
    ...u16(1),
    ...u16(1),
  ]);
  const data = answerTo(question, { answers: [{ owner: text, type: 1, data: address }] });
  return ethernet(ip4(udp(GATEWAY4, 53, GUEST4, 5_000, data), {
    source: GATEWAY4,
    destination: GUEST4,
  }));
}

Deno.test("capture tap: frames with their direction and their nanoseconds, cut where told", async () => {
  const rig = new CaptureRig({ snapLength: 60 });
  rig.received(datagram(10));
  await rig.clock.run(1.5);
  rig.sent(datagram(100));
  const { packets, interface: described, statistics } = readPcapng(await rig.file());
  assertEquals(packets.map(({ direction }) => direction), ["in", "out"]);
  assertEquals(packets[0]!.data, datagram(10));
  assertEquals(packets[1]!.data, datagram(100).slice(0, 60));
  assertEquals(packets[1]!.originalBytes, datagram(100).length);
  assertEquals(packets[1]!.time - packets[0]!.time, 1_500_000n);
  assertEquals(packets[0]!.time / 1_000_000n, BigInt(Date.UTC(2026, 10, 29, 3, 0, 1)));
  assertEquals([described.name, described.snapLength], ["guest", 60]);
  assertEquals(statistics, [{ seen: 2, accepted: 2, lost: 0 }]);
});

Deno.test("capture tap: a reader gets what waits after a while, or once there is much", async () => {
  const rig = new CaptureRig({ bufferBytes: 4_096 });
  let given = -1;
  const read = () => void rig.tap.next().then((blocks) => given = blocks?.length ?? 0);
  read();
  await rig.clock.run(1_000);
  assertEquals([given, rig.clock.timers], [-1, 0], "an idle link costs no timer");
  rig.received(datagram(10));
  await rig.clock.run(99);
  assertEquals(given, -1);
  await rig.clock.run(1);
  assert(given > 50);
  given = -1;
  read();
  for (let i = 0; i < 2; i++) rig.received(datagram(1_000));
  await rig.clock.run(1);
  assert(given > 2_000);
  assertEquals(rig.clock.timers, 0);
});

Deno.test("capture tap: a reader has 64 MiB a second at most, and what comes faster is lost", async () => {
  const rig = new CaptureRig();
  const frame = datagram(1_400);
  let given = 0;
  void (async () => {
    for (let next = await rig.tap.next(); next !== null; next = await rig.tap.next()) {
      given += next.length;
    }
  })();
  for (let ms = 0; ms < 200; ms++) {
    for (let i = 0; i < 200; i++) rig.received(frame); // 280 MB a second
    await rig.clock.run(1);
  }
  const bytes = 64 * 1024 * 1024 / 5;
  assert(given > bytes - 1024 * 1024 && given < bytes + 2 * 1024 * 1024, `${given}`);
  const { seen, accepted, lost } = rig.tap.counts;
  assertEquals([seen, accepted], [40_000, 40_000]);
  assert(lost > 25_000 && lost < 35_000, `${lost}`);
});

Deno.test("capture tap: where nobody reads, frames are lost and counted, and nobody waits", async () => {
  const rig = new CaptureRig({ bufferBytes: 4_096 });
  for (let i = 0; i < 10; i++) rig.received(datagram(1_000));
  assertEquals(rig.tap.counts, { seen: 10, accepted: 10, lost: 7 });
  const first = (await rig.tap.next())!.slice();
  rig.received(datagram(20));
  rig.received(datagram(20));
  const rest = await rig.file();
  const { packets } = readPcapng(
    Uint8Array.from([...rig.tap.opening(), ...first, ...rest.subarray(rig.tap.opening().length)]),
  );
  assertEquals(packets.map(({ lost }) => lost), [0, 0, 0, 7, 0]);
});

Deno.test("capture tap: names come before the answer that has them, whatever the filter says", async () => {
  const rig = new CaptureRig({ filter: "tcp", snapLength: 14 });
  rig.sent(answer("db.test", [10, 0, 0, 5]));
  rig.sent(answer("db.test", [10, 0, 0, 5]));
  rig.received(ethernet(ip4(tcp(GUEST4, "10.0.0.5", pattern(3)), { protocol: 6 })));
  const whole = await rig.file();
  const { types, names, packets, statistics, interface: { filter } } = readPcapng(whole);
  assertEquals(names[0], { address: "10.0.0.5", names: ["db.test"] });
  assertEquals(types.slice(2, 3), [4], "a file that begins later has it at its start");
  assertEquals([packets.length, filter], [1, "tcp"]);
  assertEquals(statistics, [{ seen: 3, accepted: 1, lost: 0 }]);
});

Deno.test("capture tap: a refusal is told on its answer, which the filter has to let through", async () => {
  const denial = {
    protocol: "tcp",
    name: null,
    destination: `${WORLD4}:40000`,
    rule: "192.0.2.10",
    origin: "",
    reason: "rule",
    detail: "no",
    hint: null,
  } as const;
  const reset = ethernet(ip4(tcp(WORLD4, GUEST4, pattern(0), 0x14), {
    source: WORLD4,
    destination: GUEST4,
    protocol: 6,
  }));
  const rig = new CaptureRig({ filter: "tcp" });
  rig.tap.denied(denial);
  rig.received(reset);
  rig.sent(datagram(3));
  rig.sent(reset);
  rig.sent(reset);
  const { packets } = readPcapng(await rig.file());
  assertEquals(packets.map(({ comment }) => comment), [
    null,
    `denied tcp ${WORLD4}:40000 by 192.0.2.10: no`,
    null,
  ]);
});

Deno.test("capture tap: after its end, and without a guest, nothing is taken", async () => {
  const rig = new CaptureRig();
  rig.tap.memory = null;
  rig.received(datagram(1));
  rig.tap.memory = rig.memory;
  rig.tap.close();
  rig.received(datagram(1));
  assertEquals(await rig.tap.next(), null);
  assertEquals(rig.tap.counts, { seen: 0, accepted: 0, lost: 0 });
});
