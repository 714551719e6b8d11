import { assertEquals, assertMatch } from "@std/assert";
import { expected, type Received } from "./bulk.ts";
import { arpRequest, isArpReply } from "./frames.ts";
import type { GatewayProcess } from "./gateway_process.ts";
import { Guest, NETWORK, withGateway, withGuest } from "./harness.ts";
import { bulkServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";
import { until } from "./program.ts";
import { RawVmm } from "./raw_vmm.ts";

const ARP = arpRequest(NETWORK.guestIp, NETWORK.gatewayIp);

async function ping(guest: Guest): Promise<void> {
  await guest.must("ping", "-c", "2", "-i", "0.1", "-W", "30", NETWORK.gatewayIp);
}

/** Runs one raw VMM and waits until the gateway is free for the next. */
async function visit(gateway: GatewayProcess, fn: (vmm: RawVmm) => Promise<void>): Promise<void> {
  const from = gateway.log.lines.length;
  {
    await using vmm = await RawVmm.connect(gateway.endpoint);
    await fn(vmm);
  }
  await gateway.guestLeft(from);
}

async function answersArp(vmm: RawVmm): Promise<void> {
  await until("an ARP reply", () => vmm.frames.some(isArpReply));
}

guestTest("VMMs that misbehave cost themselves the link, and the gateway goes on", async (t) => {
  await withGateway({}, async (gateway) => {
    await t.step("a length of 0xffffffff ends that stream, with a word in the log", async () => {
      const from = gateway.log.lines.length;
      await visit(gateway, async (vmm) => {
        await vmm.sendBytes(0xff, 0xff, 0xff, 0xff, ...new Array(100).fill(0x5a));
        await until("the gateway closes", () => vmm.closedByGateway);
      });
      assertMatch(gateway.log.lines.slice(from).join("\n"), /closing the link: a frame's length/);
    });
    await t.step("runts are dropped and the stream stays in step", async () => {
      await visit(gateway, async (vmm) => {
        await vmm.sendBytes(0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4, 5);
        await vmm.send(new Uint8Array(13));
        await vmm.send(ARP);
        await answersArp(vmm);
      });
    });
    await t.step("a frame that comes byte by byte is a frame", async () => {
      await visit(gateway, async (vmm) => {
        for (const byte of [0, 0, 0, ARP.length, ...ARP]) await vmm.sendBytes(byte);
        await answersArp(vmm);
      });
    });
    await t.step("a stream that ends inside a frame frees the gateway", async () => {
      await visit(gateway, async (vmm) => await vmm.sendBytes(0, 0, 5, 220, 1, 2, 3));
    });
    await t.step("while a guest is attached a second VMM is turned away", async () => {
      await using guest = await Guest.join(gateway);
      await ping(guest);
      const from = gateway.log.lines.length;
      await using second = await RawVmm.connect(gateway.endpoint);
      await until("it is closed", () => second.closedByGateway);
      assertEquals(second.frames, [], "it saw nothing of the guest");
      const isSaid = () => gateway.log.lines.slice(from).some((line) => /second VMM/.test(line));
      await until("the log says so", isSaid);
      await ping(guest);
    });
  });
});

for (const listener of ["gateway", "vmm"] as const) {
  for (const transport of ["unix", "tcp"] as const) {
    guestTest(`a guest over ${transport}, where the ${listener} listens`, async () => {
      const spec = { listener, transport, gatewayArgs: ["--host-loopback"] };
      await withGuest(spec, async (guest) => {
        await ping(guest);
        await using server = bulkServer("127.0.0.1");
        const words = ["upload", NETWORK.gatewayIp, String(server.port), "1000000"];
        assertEquals(await guest.program<Received>(...words), expected(1_000_000));
      });
    });
  }
}
