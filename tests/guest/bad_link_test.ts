import { assert, assertEquals } from "@std/assert";
import { expected, type Received } from "./bulk.ts";
import { NETWORK, withGuest } from "./harness.ts";
import { bulkServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";

const BYTES = 20_000_000;
const LINK = {
  lossPercent: 3,
  duplicatePercent: 1,
  reorderPercent: 5,
  flipPercent: 0.1,
  seed: 20_260_101,
};

guestTest(
  "a link that loses, repeats, reorders and damages frames: 20 MB arrive whole",
  async (t) => {
    await withGuest({ link: LINK, gatewayArgs: ["--host-loopback"] }, async (guest) => {
      const whole = expected(BYTES);
      for (
        const [gateway, loopback] of [
          [NETWORK.gatewayIp, "127.0.0.1"],
          [NETWORK.gatewayIp6, "::1"],
        ] as const
      ) {
        await using server = bulkServer(loopback);
        for (const verb of ["upload", "download"]) {
          await t.step(`${verb} by way of ${gateway}`, async () => {
            const words = [verb, gateway, String(server.port), String(BYTES)];
            assertEquals(await guest.program<Received>(...words), whole);
          });
        }
      }
      const [link] = guest.faults!.links;
      for (const { lost, duplicated, reordered, flipped } of [link!.toGateway, link!.toGuest]) {
        assert(lost > 0 && duplicated > 0 && reordered > 0 && flipped > 0, "the link was bad");
      }
    });
  },
);
