/**
 * The floors in the gateway's place: their rows move octets through a real kernel, and a frame that
 * is missing is an error. How fast they are, no test says.
 */
import { assert, assertEquals } from "@std/assert";
import { Attached, findContenders, serves } from "../../bench/compare_contenders.ts";
import { FLOOR, FLOOR_TCP } from "../../bench/compare_kinds.ts";
import { Place } from "../../bench/compare_place.ts";
import { floorRatio, ratio } from "../../bench/compare_results.ts";
import { ROWS } from "../../bench/compare_rows.ts";
import { Owner } from "../../bench/link_wire.ts";
import { guestTest } from "../guest/prerequisites.ts";

const SECONDS = 0.2;
/** A machine may hold a floor up for longer than a row is watched. */
const PATIENCE_MS = 30_000;

const STREAMS = ["up8@1500", "down8@1500", "rr", "crr", "rrbulk"];

for (
  const [name, mtu, wanted] of [
    [FLOOR, 1_500, [...STREAMS, "udpup", "udpdown"]],
    [FLOOR, 65_520, ["up@65520", "down@65520"]],
    [FLOOR_TCP, 1_500, STREAMS],
    [FLOOR_TCP, 65_520, ["up@65520", "down@65520", "up1000@65520", "down1000@65520"]],
  ] as const
) {
  guestTest(`the rows of ${name} at MTU ${mtu} lose no frame`, async (t) => {
    await using owner = new Owner();
    const { here: [floor] } = await findContenders([name], undefined);
    const place = await Place.open(owner);
    const attached = await Attached.begin(place, floor!, mtu);
    for (const id of wanted) {
      await t.step(id, async () => {
        const row = ROWS.find((row) => row.id === id)!;
        assert(serves(floor!, id));
        const { value } = await row.measure({
          place,
          attached,
          seconds: SECONDS,
          patienceMs: PATIENCE_MS,
        });
        assert(value > 0, `${id}: ${value}`);
        assertEquals(attached.gateway.ended, false, attached.gateway.tail(5));
      });
    }
    await attached.end();
  });
}

Deno.test("the floors are no peers, and each has a ratio of its own", () => {
  const cell = (value: number) => ({ figures: [{ round: 0, value }], errors: [] });
  const cells = {
    "virtio-gateway": cell(8),
    passt: cell(4),
    [FLOOR]: cell(10),
    [FLOOR_TCP]: cell(16),
  };
  const row = { id: "rr", title: "", unit: "1/s", cells } as const;
  assertEquals(ratio(row)?.ratio, 2);
  assertEquals(floorRatio(row, FLOOR)?.ratio, 0.8);
  assertEquals(floorRatio(row, FLOOR_TCP)?.ratio, 0.5);
});
