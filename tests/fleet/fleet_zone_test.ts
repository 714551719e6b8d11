/** Names on their way to the resolvers of guests. */
import { assertEquals } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { FleetZone, withFleetZone } from "../../lib/fleet/fleet_zone.ts";
import { keepingLogger } from "../guests/guests_rig.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

Deno.test("nothing of the zone is asked upstream from the first frame on", () => {
  assertEquals(withFleetZone().zones, { "fleet.internal": "local" });
  const dns = withFleetZone({ cache: false, zones: { "corp.example": ["10.0.0.53"] } });
  assertEquals(dns, {
    cache: false,
    zones: { "corp.example": ["10.0.0.53"], "fleet.internal": "local" },
  });
});

Deno.test("the last word arrives, at a pace that the slower one sets for itself", async () => {
  const clock = new VirtualClock();
  const told: string[][] = [[], []];
  let services = "";
  const slow = (text: string) => {
    told[1]!.push(text);
    return new Promise<void>((resolve) => clock.after(100, resolve));
  };
  const zone = new FleetZone({
    gateways: [
      { setZoneNames: (_zone, text) => void told[0]!.push(text) },
      { setZoneNames: (_zone, text) => slow(text) },
    ],
    services: () => services,
    clock,
  });
  zone.changed();
  for (let i = 1; i <= 20; i++) {
    services = `${i}`;
    zone.changed();
    await clock.run(100);
  }
  assertEquals(told[0], ["", "3", "5", "8", "10", "13", "15", "18", "20"]);
  assertEquals(told[1]!.length, 2); // ten times as long as it took is waited
  await clock.run(5_000);
  assertEquals([told[0]!.at(-1), told[1]!.at(-1)], ["20", "20"]);
  const closing = zone.close();
  await clock.run(1_000);
  await closing;
  assertEquals([told[0]!.at(-1), told[1]!.at(-1), clock.timers], ["", "", 0]);
});

Deno.test("one that was held up for long is told soon after", async () => {
  const clock = new VirtualClock();
  const told: string[] = [];
  let services = "a";
  const zone = new FleetZone({
    gateways: [{
      setZoneNames: (_zone, text) => {
        told.push(text);
        return new Promise<void>((resolve) => clock.after(told.length === 1 ? 3_000 : 0, resolve));
      },
    }],
    services: () => services,
    clock,
  });
  zone.changed();
  services = "b";
  await clock.run(3_000);
  await clock.run(4_999);
  assertEquals(told, ["a"]);
  await clock.run(1);
  assertEquals(told, ["a", "b"]);
  const closing = zone.close();
  await clock.run(1_000);
  await closing;
});

Deno.test("one that can't be told is told again", async () => {
  const clock = new VirtualClock();
  const logger = keepingLogger();
  let fault: Error | null = new GatewayError("closed", "its worker has ended");
  const told: string[] = [];
  const zone = new FleetZone({
    gateways: [{
      setZoneNames: (_zone, text) => {
        if (fault !== null) throw fault;
        told.push(text);
      },
    }],
    services: () => "x",
    logger,
    clock,
  });
  zone.changed();
  await clock.run(3_000);
  assertEquals(logger.lines, []);
  fault = new RangeError("wrong");
  await clock.run(1_000);
  assertEquals(logger.lines.map(({ fields }) => fields["why"]), ["wrong"]);
  fault = null;
  await clock.run(1_000);
  assertEquals(told, ["x"]);
  fault = new RangeError("wrong");
  await zone.close();
  assertEquals(clock.timers, 0);
});

Deno.test("a resolver that never answers holds up nobody, nor the end", async () => {
  const clock = new VirtualClock();
  const told: string[] = [];
  const zone = new FleetZone({
    gateways: [
      { setZoneNames: () => new Promise(() => {}) },
      { setZoneNames: (_zone, text) => void told.push(text) },
    ],
    services: () => "x",
    clock,
  });
  zone.changed();
  await clock.run(1_000);
  assertEquals(told, ["x"]);
  let isOver = false;
  void zone.close().then(() => isOver = true);
  await clock.run(999);
  assertEquals([told, isOver], [["x", ""], false]);
  await clock.run(1);
  assertEquals([isOver, clock.timers], [true, 0]);
});
