/** Transfers of a kernel's TCP go on over links that are cut and come back. */
import { assert, assertEquals } from "@std/assert";
import { CutLink } from "../support/cut_link.ts";
import { Dice } from "../support/dice.ts";
import { expected, type Received } from "./bulk.ts";
import { Guest, NETWORK, withGateway } from "./harness.ts";
import { bulkServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";
import { until } from "./program.ts";
import { freePort } from "../support/free_port.ts";

const BYTES = 50_000_000;
const CUTS = 10;
const GUEST_PORT = 8080;
/** The link is away for so long, in milliseconds. */
const AWAY_MS = [0, 30, 300, 900] as const;
const PATIENCE_MS = 60_000;

/** Cuts the link at random points of a transfer, half of the times inside a frame. */
async function cutTimes(
  link: CutLink,
  moved: () => number,
  bytes: number,
  dice: Dice,
): Promise<number> {
  const startBytes = moved();
  const places = Array.from({ length: CUTS }, () => Math.floor(bytes * 0.9 * dice.share()));
  let cuts = 0;
  for (const place of places.toSorted((a, b) => a - b)) {
    await until(`${place} bytes`, () => moved() - startBytes >= place, PATIENCE_MS);
    await link.cut(dice.chance(0.5));
    await new Promise((resolve) => setTimeout(resolve, dice.pick(AWAY_MS)));
    await link.join();
    cuts++;
  }
  return cuts;
}

guestTest("50 MB each way and a client's connection survive 10 link cuts each", async (t) => {
  await using server = bulkServer("127.0.0.1");
  await using server6 = bulkServer("::1");
  const published = freePort();
  const gatewayArgs = ["--host-loopback", "--linger", "60", "-p", `${published}:${GUEST_PORT}`];
  await withGateway({ gatewayArgs, hasControl: true }, async (gateway) => {
    const through = `unix:${gateway.directory}/cut.sock` as const;
    await using link = new CutLink(through.slice(5), gateway.endpoint);
    const guest = await Guest.join(gateway, { through });
    const dice = new Dice(Number(Deno.env.get("SEED") ?? 39));
    await guest.launch("echo-server", String(GUEST_PORT)).line(/^listening$/);
    using client = await Deno.connect({ hostname: "127.0.0.1", port: published });
    const echoes = async (octet: number) => {
      await client.write(Uint8Array.of(octet));
      const answer = new Uint8Array(2);
      assertEquals([await client.read(answer), answer[0]], [1, octet]);
    };
    await echoes(1);
    const whole = expected(BYTES);
    for (
      const [verb, address, { port }, moved] of [
        ["upload", NETWORK.gatewayIp, server, () => link.upBytes],
        ["download", NETWORK.gatewayIp, server, () => link.downBytes],
        ["upload", NETWORK.gatewayIp6, server6, () => link.upBytes],
        ["download", NETWORK.gatewayIp6, server6, () => link.downBytes],
      ] as const
    ) {
      await t.step(`${verb} to ${address}`, async () => {
        const transfer = guest.program<Received>(verb, address, String(port), String(BYTES));
        const [received, cuts] = await Promise.all([
          transfer,
          cutTimes(link, moved, BYTES, dice),
        ]);
        assertEquals(received, whole);
        assertEquals(cuts, CUTS);
        await echoes(verb.length);
      });
    }
    await t.step("a client that comes while the link is away waits for the guest", async () => {
      await link.cut(false);
      using late = await Deno.connect({ hostname: "127.0.0.1", port: published });
      await late.write(Uint8Array.of(7));
      await link.join();
      const answer = new Uint8Array(1);
      assertEquals([await late.read(answer), answer[0]], [1, 7]);
      await echoes(9);
    });
    const returns = gateway.log.lines.filter((line) => /guest returned/.test(line)).length;
    assert(returns >= CUTS, `${returns} returns in the log, which says some of them`);
    assertEquals(gateway.log.lines.filter((line) => /guest left/.test(line)), []);
    // Who is told to stop while the VMM is away waits for nobody: `withGateway` holds it to that.
    await guest[Symbol.asyncDispose]();
  });
});

guestTest("a guest that reboots while its VMM is away is served anew", async () => {
  await using server = bulkServer("127.0.0.1");
  const gatewayArgs = ["--host-loopback", "--linger", "60"];
  await withGateway({ gatewayArgs }, async (gateway) => {
    const atStart = await gateway.descriptors();
    const first = await Guest.join(gateway, { address: "dhcp" });
    first.launch("download", NETWORK.gatewayIp, String(server.port), String(1e12));
    const isBusy = async () => (await gateway.descriptors()).sockets >= atStart.sockets + 2;
    await until("a flow of the guest", isBusy);
    await first.kill();
    await gateway.log.line(/guest detached/);
    assert((await gateway.descriptors()).sockets > atStart.sockets, "its flow is kept");
    await using again = await Guest.join(gateway, { address: "dhcp" });
    await gateway.log.line(/they are freed/);
    const words = ["download", NETWORK.gatewayIp, String(server.port), "3000000"];
    assertEquals(await again.program<Received>(...words), expected(3_000_000));
    const isAlone = async () => (await gateway.descriptors()).sockets === atStart.sockets + 1;
    await until("the link, and nothing of the guest before", isAlone);
  });
});
