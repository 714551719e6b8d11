/**
 * A guest that is stopped (SIGSTOP) for long, and a gateway that is: memory stays bounded, nothing
 * spins, no storm follows, and the flows go on whole.
 *
 * `VGW_STOP_SECONDS` makes the stop of the guest longer than in an ordinary run.
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import { expected } from "../guest/bulk.ts";
import { bulkServer } from "../guest/host_servers.ts";
import { BackgroundProgram, until } from "../guest/program.ts";
import {
  assertEchoes,
  EchoHost,
  FaultGateway,
  GATEWAY,
  PATIENCE_MS,
  pause,
  signal,
} from "./fault_gateway.ts";

const PROGRAM = new URL("./guest_process.ts", import.meta.url).pathname;
const BYTES = 128 * 1024 * 1024;
const GUEST_STOP_SECONDS = Number(Deno.env.get("VGW_STOP_SECONDS") ?? 5);
const GATEWAY_STOP_SECONDS = 3;
/** How long a transfer may take on a machine with much else to do. */
const TRANSFER_MS = 180_000;
/** One hundredth of the time: what idling may cost, and the end of what was under way. */
const TICKS_A_SECOND = 1;
const TICKS_AT_ONCE = 50;
const GROWTH_MAX_BYTES = 96 * 1024 * 1024;
const RESIDENT_MAX_BYTES = 384 * 1024 * 1024;

/** Starts a guest that moves bytes both ways, and waits until it is in the middle of it. */
async function startGuest(gateway: FaultGateway, port: number): Promise<BackgroundProgram> {
  const flags = ["run", "--no-prompt", "--allow-net", "--allow-read", "--allow-write"];
  const words = [Deno.execPath(), ...flags, PROGRAM, gateway.path, String(port), String(BYTES)];
  const guest = new BackgroundProgram(words);
  await guest.line(/^amid transfers$/, 0, TRANSFER_MS);
  return guest;
}

async function assertWhole(guest: BackgroundProgram): Promise<void> {
  const line = await guest.line(/^\{/, 0, TRANSFER_MS);
  const whole = expected(BYTES);
  assertEquals(JSON.parse(line), { down: whole, up: whole });
  // By itself: it may still be closing its link.
  await until("the guest has ended", () => guest.ended, PATIENCE_MS);
  assertEquals((await guest.end("SIGTERM")).code, 0);
}

Deno.test("a guest that is stopped amid transfers", async () => {
  await using server = bulkServer("127.0.0.1");
  await using gateway = await FaultGateway.start({ args: ["--host-loopback"] });
  await using guest = await startGuest(gateway, server.port);
  await signal(guest.pid, "STOP");
  await gateway.rests();
  const [ticks, resident] = [await gateway.cpuTicks(), await gateway.residentBytes()];
  await pause(GUEST_STOP_SECONDS * 1000);
  const spent = await gateway.cpuTicks() - ticks;
  const grown = await gateway.residentBytes() - resident;
  await signal(guest.pid, "CONT");
  assertLess(spent, TICKS_AT_ONCE + TICKS_A_SECOND * GUEST_STOP_SECONDS, "processor time");
  assertLess(grown, GROWTH_MAX_BYTES, "memory");
  assertLess(resident + grown, RESIDENT_MAX_BYTES, "memory");
  await assertWhole(guest);
  const { "drop.queue.full": dropped = 0 } = await gateway.countersOfLast();
  assertLess(dropped, 10_000);
  assertEquals(gateway.said(/^guest left$/)[0]!.flows, 0);
  await gateway.stop();
});

Deno.test("hostile 60: a gateway that is stopped amid transfers, as on a host that sleeps", async () => {
  await using server = bulkServer("127.0.0.1");
  await using gateway = await FaultGateway.start({ args: ["--host-loopback"] });
  await using guest = await startGuest(gateway, server.port);
  await signal(gateway.process.pid, "STOP");
  await pause(GATEWAY_STOP_SECONDS * 1000);
  await signal(gateway.process.pid, "CONT");
  await assertWhole(guest);
  await gateway.countersOfLast();
  assertLess(gateway.log.length, 12, gateway.process.tail());
  await gateway.stop();
});

Deno.test("hostile 60: a gateway that wakes has little to do: no storm of frames", async () => {
  await using host = new EchoHost();
  await using gateway = await FaultGateway.start({ args: ["--host-loopback"] });
  await using guest = await gateway.guest();
  const flows = await Promise.all(
    Array.from({ length: 50 }, () => guest.connect(GATEWAY, host.port)),
  );
  for (const flow of flows) await assertEchoes(flow, 100);
  for (let i = 0; i < 50; i++) guest.udp().send(GATEWAY, 9, Uint8Array.of(i));
  // Behind the guest's last ACKs, which may wait for 40 ms: else they are asked for at the wake.
  await pause(500);
  await guest.ping(GATEWAY, 56, PATIENCE_MS);
  await signal(gateway.process.pid, "STOP");
  await pause(GATEWAY_STOP_SECONDS * 1000);
  const before = guest.counters()["rx.frames"]!;
  await signal(gateway.process.pid, "CONT");
  const ticks = await gateway.cpuTicks();
  await pause(1_000);
  await guest.ping(GATEWAY, 56, PATIENCE_MS);
  const frames = guest.counters()["rx.frames"]! - before;
  assertLess(frames, 20, "frames after the wake");
  assertLess(await gateway.cpuTicks() - ticks, TICKS_AT_ONCE, "processor time after the wake");
  for (const flow of flows) await assertEchoes(flow, 100);
  assert(!gateway.process.ended);
  await guest.close();
  await gateway.stop();
});
