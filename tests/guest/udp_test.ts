import { assertEquals } from "@std/assert";
import { NETWORK, withGuest } from "./harness.ts";
import { bulkServer, udpEchoServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";
import { until } from "./program.ts";

const SIZES = [0, 1, 1472, 60_000];

for (const denoFlags of [[], ["--unstable-net"]]) {
  const how = denoFlags.length === 0 ? "without flags" : `with ${denoFlags[0]}`;
  guestTest(`UDP ${how}: 0, 1, 1,472 and 60,000 bytes come back`, async (t) => {
    await withGuest({ denoFlags, gatewayArgs: ["--host-loopback"] }, async (guest) => {
      for (
        const [gateway, loopback] of [
          [NETWORK.gatewayIp, "127.0.0.1"],
          [NETWORK.gatewayIp6, "::1"],
        ] as const
      ) {
        await t.step(`echo by way of ${gateway}`, async () => {
          await using server = await udpEchoServer(loopback);
          const words = ["udp-echo", gateway, String(server.port), ...SIZES.map(String)];
          assertEquals(await guest.program<number[]>(...words), SIZES);
        });
      }
    });
  });
}

guestTest("UDP beside a bulk download: full-sized datagrams get their share", async () => {
  await using bulk = bulkServer("127.0.0.1");
  await using echo = await udpEchoServer("127.0.0.1");
  await withGuest({ gatewayArgs: ["--host-loopback"] }, async (guest) => {
    guest.launch("download", NETWORK.gatewayIp, String(bulk.port), String(1e12));
    const received = () => guest.must("cat", "/sys/class/net/tap0/statistics/rx_bytes");
    await until("the download runs", async () => Number(await received()) > 5e7);
    const sizes = Array.from({ length: 8 }, (_, i) => 1400 + i);
    const words = ["udp-echo", NETWORK.gatewayIp, String(echo.port), ...sizes.map(String)];
    assertEquals(await guest.program<number[]>(...words), sizes);
  });
});
