/**
 * The floor in the gateway's place: its rows move octets through a real kernel, and a frame that is
 * missing is an error. How fast it is, no test says.
 */
import { assert, assertEquals } from "@std/assert";
import { Attached, findContenders, FLOOR, serves } from "../../bench/compare_contenders.ts";
import { Place } from "../../bench/compare_place.ts";
import { floorRatio, ratio } from "../../bench/compare_results.ts";
import { ROWS } from "../../bench/compare_rows.ts";
import { Owner } from "../../bench/link_wire.ts";
import { guestTest } from "../guest/prerequisites.ts";

const SECONDS = 0.2;

for (
  const [mtu, wanted] of [
    [1_500, ["up8@1500", "down8@1500", "rr", "crr", "rrbulk", "udpup", "udpdown"]],
    [65_520, ["up@65520", "down@65520"]],
  ] as const
) {
  guestTest(`the floor's rows at MTU ${mtu} lose no frame`, async (t) => {
    await using owner = new Owner();
    const { here: [floor] } = await findContenders([FLOOR], undefined);
    const place = await Place.open(owner);
    const attached = await Attached.begin(place, floor!, mtu);
    for (const id of wanted) {
      await t.step(id, async () => {
        const row = ROWS.find((row) => row.id === id)!;
        assert(serves(floor!, id));
        const { value } = await row.measure({ place, attached, seconds: SECONDS });
        assert(value > 0, `${id}: ${value}`);
        assertEquals(attached.gateway.ended, false, attached.gateway.tail(5));
      });
    }
    await attached.end();
  });
}

Deno.test("the floor is no peer, and has a ratio of its own", () => {
  const cell = (value: number) => ({ figures: [{ round: 0, value }], errors: [] });
  const cells = { "virtio-gateway": cell(8), passt: cell(4), [FLOOR]: cell(10) };
  const row = { id: "rr", title: "", unit: "1/s", cells } as const;
  assertEquals(ratio(row)?.ratio, 2);
  assertEquals(floorRatio(row)?.ratio, 0.8);
});
