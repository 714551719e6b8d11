import { assert, assertEquals, assertFalse } from "@std/assert";
import { DNS_IDLE_MS, type DnsConnection, DnsConnections } from "../../lib/host/dns_connections.ts";
import type { WheelEntry } from "../../lib/stack/timing_wheel.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

/** A connection that counts how often it was found idle. */
class Connection implements DnsConnection {
  deadlineMs = 0;
  wheelSlot = -1;
  wheelPrevious: WheelEntry | null = null;
  wheelNext: WheelEntry | null = null;
  idle = 0;

  onIdle(): void {
    this.idle++;
  }
}

Deno.test("DnsConnections takes in so many, and another one in the place of each that leaves", () => {
  const connections = new DnsConnections(new VirtualClock(), 2);
  const [a, b, c] = [new Connection(), new Connection(), new Connection()];
  assert(connections.enter(a) && connections.enter(b));
  assertFalse(connections.enter(c));
  connections.leave(c); // it never was in
  assertFalse(connections.enter(c));
  connections.leave(a);
  connections.leave(a);
  assert(connections.enter(c));
  assertFalse(connections.enter(a));
  assertEquals(connections.size, 2);
  connections.close();
});

Deno.test("DnsConnections tells each once that it is idle, all with one timer", async () => {
  const clock = new VirtualClock();
  const connections = new DnsConnections(clock, 100);
  const all = Array.from({ length: 100 }, () => new Connection());
  const [used, gone] = all;
  for (const connection of all) connections.enter(connection);
  assertEquals(clock.timers, 1);
  await clock.run(DNS_IDLE_MS - 1_000);
  connections.touch(used!);
  connections.leave(gone!);
  connections.touch(gone!); // too late
  await clock.run(2_000);
  assertEquals(all.map(({ idle }) => idle), [0, 0, ...Array(98).fill(1)]);
  await clock.run(10 * DNS_IDLE_MS);
  assertEquals(all.map(({ idle }) => idle), [1, 0, ...Array(98).fill(1)]);
  assertEquals([clock.timers, connections.size], [0, 99]);
});

Deno.test("DnsConnections runs nothing once it is closed", async () => {
  const clock = new VirtualClock();
  const connections = new DnsConnections(clock, 1);
  const connection = new Connection();
  const ran: string[] = [];
  connections.enter(connection);
  connections.soon(() => ran.push("before"));
  await clock.run(1);
  connections.soon(() => ran.push("after"));
  connections.close();
  await clock.run(2 * DNS_IDLE_MS);
  assertEquals([ran, connection.idle, clock.timers], [["before"], 0, 0]);
});
