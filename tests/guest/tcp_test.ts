import { assertEquals } from "@std/assert";
import { expected, readExactly, type Received, writeAll } from "./bulk.ts";
import type { Attempt } from "./guest_program.ts";
import { NETWORK, withGuest } from "./harness.ts";
import { bulkServer, httpServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";
import { until } from "./program.ts";
import { freePort } from "../support/free_port.ts";

const GUEST_PORT = 8080;
const FAMILIES = [
  { gateway: NETWORK.gatewayIp, loopback: "127.0.0.1", url: NETWORK.gatewayIp },
  { gateway: NETWORK.gatewayIp6, loopback: "::1", url: `[${NETWORK.gatewayIp6}]` },
];

/** One client of the published port: sends bytes of its own and wants the same ones back. */
async function echoClient(hostname: string, port: number, number: number): Promise<void> {
  using conn = await Deno.connect({ hostname, port });
  const sent = Uint8Array.from(
    { length: 50_000 },
    (_, i) => (i * 13 + number * 7 + (i >> 8)) & 0xff,
  );
  const sending = writeAll(conn, sent).then(() => conn.closeWrite());
  assertEquals(await readExactly(conn, sent.length), sent);
  await sending;
  assertEquals(await conn.read(new Uint8Array(1)), null, "the guest's FIN arrives");
}

guestTest("TCP: many at once, refusals, half-closes, published ports", async (t) => {
  const published = freePort();
  const gatewayArgs = ["--host-loopback", "-p", `${published}:${GUEST_PORT}`];
  await withGuest({ gatewayArgs }, async (guest) => {
    for (const { gateway, loopback, url } of FAMILIES) {
      await t.step(`500 parallel HTTP requests to ${gateway}`, async () => {
        await using server = httpServer(loopback, 500);
        // A kernel keeps only some 250 SYNs until it knows its neighbour, and sends the rest 1 s late.
        await guest.must("ping", "-c", "1", gateway);
        // One curl has at most 300 transfers under way.
        const answers = await Promise.all(["[1-250]", "[251-500]"].map((range) =>
          // deno-fmt-ignore
          guest.must("curl", "-sSf", "--parallel", "--parallel-immediate",
            "--parallel-max", "250", `http://${url}:${server.port}/${range}`)
        ));
        const numbers = answers.join("\n").split("\n").map((line) => Number(line.split(" ")[1]));
        assertEquals(
          numbers.toSorted((a, b) => a - b),
          Array.from({ length: 500 }, (_, i) => i + 1),
        );
      });
      await t.step(`a refused port of ${gateway} fails`, async () => {
        const port = String(freePort());
        const [attempt] = await guest.program<Attempt[]>("connect", port, gateway);
        assertEquals(attempt!.result, "ECONNREFUSED");
      });
      await t.step(`3 MB to ${gateway}, half-close, the answer arrives`, async () => {
        await using server = bulkServer(loopback);
        const words = ["upload", gateway, String(server.port), "3000000"];
        assertEquals(await guest.program<Received>(...words), expected(3_000_000));
      });
      await t.step(`3 MB from ${gateway}, its half-close, 3 MB back`, async () => {
        await using server = bulkServer(loopback);
        const words = ["answer-first", gateway, String(server.port), "3000000"];
        assertEquals(await guest.program<Received>(...words), expected(3_000_000));
        await until("the host has seen the guest's FIN", () => server.received.length > 0);
        assertEquals(server.received, [expected(3_000_000)]);
      });
    }
    await guest.launch("echo-server", String(GUEST_PORT)).line(/^listening$/);
    for (const { loopback } of FAMILIES) {
      await t.step(`100 parallel clients of the published port at ${loopback}`, async () => {
        const clients = Array.from({ length: 100 }, (_, i) => echoClient(loopback, published, i));
        await Promise.all(clients);
      });
    }
  });
});
