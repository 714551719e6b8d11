import { assertEquals } from "@std/assert";
import { expected, type Received } from "./bulk.ts";
import { NETWORK, withGuest } from "./harness.ts";
import { bulkServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";

const BYTES = 200_000_000;

for (const mtu of [1500, 9000, 65_520]) {
  guestTest(`MTU ${mtu}: 200 MB each way and family with equal SHA-256`, async (t) => {
    const whole = expected(BYTES);
    await withGuest({ mtu, gatewayArgs: ["--host-loopback"] }, async (guest) => {
      for (
        const [family, gateway, loopback] of [
          ["IPv4", NETWORK.gatewayIp, "127.0.0.1"],
          ["IPv6", NETWORK.gatewayIp6, "::1"],
        ] as const
      ) {
        await using server = bulkServer(loopback);
        for (const verb of ["upload", "download"]) {
          await t.step(`${verb} over ${family}`, async () => {
            const words = [verb, gateway, String(server.port), String(BYTES)];
            assertEquals(await guest.program<Received>(...words), whole);
          });
        }
      }
    });
  });
}
