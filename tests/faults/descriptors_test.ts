/**
 * Too few descriptors (EMFILE): what is too much is reset, what is open goes on, names are still
 * resolved, and everything is well again when flows have ended.
 */
import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import { fakeResolver } from "../guest/fake_resolver.ts";
import { until } from "../guest/program.ts";
import { assertEchoes, EchoHost, FaultGateway, GATEWAY, PATIENCE_MS } from "./fault_gateway.ts";

const LIMIT = 160;
const ASKED = 150;
const KEPT = 64;
const GUEST_PORT = 80;

/** Opens as many flows as there are descriptors for; returns them and how many were refused. */
async function openAll(guest: EmbeddedGuest, port: number): Promise<[GuestTcp[], number]> {
  const open: GuestTcp[] = [];
  let refused = 0;
  for (let i = 0; i < ASKED; i++) {
    try {
      open.push(await guest.connect(GATEWAY, port));
    } catch (error) {
      assertEquals((error as GuestError).code, "refused", (error as Error).message);
      refused++;
    }
  }
  return [open, refused];
}

for (const [backend, denoFlags] of [["deno", ["--unstable-net"]], ["node", []]] as const) {
  Deno.test(`hostile 59: EMFILE with sockets of ${backend}: RST, names, a pause, recovery`, async () => {
    await using host = new EchoHost();
    await using resolver = await fakeResolver();
    await using gateway = await FaultGateway.start({
      wrapper: ["prlimit", `--nofile=${LIMIT}`],
      denoFlags,
      args: ["--host-loopback", "--dns", `127.0.0.1:${resolver.port}`, "-p", "127.0.0.1:0:80"],
    });
    const atStart = await gateway.descriptors();
    const guest = await gateway.guest();
    guest.listen(GUEST_PORT, (served) => {
      void served.write(Uint8Array.of(42)).then(() => served.finish());
    });
    const [flows, refused] = await openAll(guest, host.port);
    assert(refused > 0 && flows.length > 20, `${flows.length} open, ${refused} refused`);
    for (const flow of flows) await assertEchoes(flow, 100);

    // Two names: what was answered once needs no descriptor.
    for (
      const [transport, name, type] of [["udp", "a.test", "A"], [
        "tcp",
        "aaaa.test",
        "AAAA",
      ]] as const
    ) {
      const { code, answers } = await guest.resolve(name, type, {
        transport,
        timeoutMs: PATIENCE_MS,
      });
      assertEquals([code, answers.length], ["NOERROR", 1], transport);
    }
    const second = await Deno.connect({ transport: "unix", path: gateway.path });
    assertEquals(await second.read(new Uint8Array(1)), null, "a second VMM is turned away");
    second.close();

    // The kernel takes a client that the gateway has no descriptor for.
    const { message } = gateway.said(/^published 127/)[0]!;
    const port = Number(/:(\d+) as/.exec(message)![1]);
    const client = await Deno.connect({ hostname: "127.0.0.1", port });
    await gateway.line(/^cannot accept on a published port/);
    await assertRejects(() => guest.connect(GATEWAY, host.port), GuestError, "refused");
    for (const flow of flows.splice(0, flows.length - 3)) flow.close();
    const into = new Uint8Array(8);
    assertEquals([await client.read(into), into[0]], [1, 42], "the client is served after all");
    client.close();
    await until("a new flow is served", async () => {
      const flow = await guest.connect(GATEWAY, host.port).catch(() => null);
      if (flow !== null) flows.push(flow);
      return flow !== null;
    }, PATIENCE_MS);
    for (const flow of flows) await assertEchoes(flow, 100);

    await guest.close();
    const counters = await gateway.countersOfLast();
    assert(counters["drop.tcp.flows"]! >= refused, "what was refused is counted");
    assertEquals(gateway.said(/^guest left$/)[0]!.flows, 0);
    // The resolver's sockets stay for a minute.
    const isBack = async () => await gateway.descriptors() <= atStart + 8;
    await until("descriptors are back", isBack, PATIENCE_MS);
    assert(atStart > KEPT, "descriptors are kept");
    assertLess(gateway.log.length, 25, gateway.process.tail());
    await using next = await gateway.guest();
    await assertEchoes(await next.connect(GATEWAY, host.port));
    await gateway.stop();
  });
}

Deno.test("hostile 59: EMFILE among UDP flows: what is too much is dropped, names are resolved", async () => {
  await using resolver = await fakeResolver();
  await using gateway = await FaultGateway.start({
    wrapper: ["prlimit", `--nofile=${LIMIT}`],
    args: ["--host-loopback", "--dns", `127.0.0.1:${resolver.port}`],
  });
  const guest = await gateway.guest();
  for (let i = 0; i < ASKED; i++) {
    const socket = guest.udp();
    socket.send(GATEWAY, 9, Uint8Array.of(1));
  }
  await guest.ping(GATEWAY, 56, PATIENCE_MS);
  const { code } = await guest.resolve("a.test", "A", { timeoutMs: PATIENCE_MS });
  assertEquals(code, "NOERROR");
  await guest.close();
  const counters = await gateway.countersOfLast();
  assert(counters["drop.udp.flows"]! > 0 && counters["udp.opened"]! > 20, gateway.process.tail());
  assertLess(gateway.log.length, 25, gateway.process.tail());
  await gateway.stop();
});
