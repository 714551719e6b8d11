import { assertEquals } from "@std/assert";
import { expected, type Received } from "./bulk.ts";
import { fakeResolver } from "./fake_resolver.ts";
import { Guest, NETWORK, withGateway } from "./harness.ts";
import { bulkServer, udpEchoServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";
import { until } from "./program.ts";
import { freePort } from "../support/free_port.ts";

const GUEST_PORT = 8080;
const ENDLESS = String(1e12);

guestTest(
  "a guest dies amid transfers: nothing is left, the next one works",
  async (t) => {
    await using server = bulkServer("127.0.0.1");
    await using server6 = bulkServer("::1");
    await using echo = await udpEchoServer("127.0.0.1");
    const published = freePort();
    await using resolver = await fakeResolver();
    // deno-fmt-ignore
    const gatewayArgs = ["--host-loopback", "-p", `${published}:${GUEST_PORT}`,
      "--dns", `127.0.0.1:${resolver.port}`];
    await withGateway({ gatewayArgs }, async (gateway) => {
      const atStart = await gateway.descriptors();
      const backAtStart = async () => {
        let last = await gateway.descriptors();
        const same = async () => {
          last = await gateway.descriptors();
          return last.sockets === atStart.sockets && last.others === atStart.others;
        };
        await until("descriptors are back", same).catch(() => {});
        assertEquals(last, atStart, "open descriptors of the gateway");
      };
      await t.step("it dies", async () => {
        await using guest = await Guest.join(gateway);
        guest.launch("upload", NETWORK.gatewayIp, String(server.port), ENDLESS);
        guest.launch("download", NETWORK.gatewayIp6, String(server6.port), ENDLESS);
        await guest.must("dig", "@8.8.8.8", "+time=30", "a.test");
        guest.launch("udp-flood", NETWORK.gatewayIp, String(echo.port));
        await guest.launch("echo-server", String(GUEST_PORT)).line(/^listening$/);
        using client = await Deno.connect({ hostname: "127.0.0.1", port: published });
        await client.write(new Uint8Array(1000));
        await client.read(new Uint8Array(1000));
        const enough = async () => (await gateway.descriptors()).sockets >= atStart.sockets + 5;
        await until("five sockets: stream, two bulk flows, UDP, published", enough);
        const moved = (way: string) =>
          guest.must("cat", `/sys/class/net/tap0/statistics/${way}_bytes`);
        const busyLink = async () =>
          Number(await moved("tx")) > 1e7 && Number(await moved("rx")) > 1e7;
        await until("10 MB each way", busyLink, 60_000);
        await guest.kill();
        await gateway.guestLeft(0);
      });
      await t.step("its descriptors are closed", backAtStart);
      const from = gateway.log.lines.length;
      await t.step("the next guest is served, both ways", async () => {
        await using guest = await Guest.join(gateway);
        for (const verb of ["upload", "download"]) {
          const words = [verb, NETWORK.gatewayIp, String(server.port), "5000000"];
          assertEquals(await guest.program<Received>(...words), expected(5_000_000));
        }
        await guest.launch("echo-server", String(GUEST_PORT)).line(/^listening$/);
        using client = await Deno.connect({ hostname: "127.0.0.1", port: published });
        await client.write(Uint8Array.from([42]));
        const answer = new Uint8Array(1);
        await client.read(answer);
        assertEquals(answer[0], 42, "not a byte of the first guest's");
      });
      await gateway.guestLeft(from);
      await t.step("and leaves nothing either", backAtStart);
    });
  },
);
