/**
 * The unix socket's file goes while the gateway runs: the guest that is attached goes on, the next
 * one finds a socket again, and what another has put in its place is left alone.
 */
import { assertEquals } from "@std/assert";
import { until } from "../guest/program.ts";
import { assertEchoes, EchoHost, FaultGateway, GATEWAY, PATIENCE_MS } from "./fault_gateway.ts";

async function isSocket(path: string): Promise<boolean> {
  return await Deno.lstat(path).then((info) => info.isSocket === true, () => false);
}

Deno.test("a socket's file that is removed comes back, private, for the next guest", async () => {
  await using host = new EchoHost();
  await using gateway = await FaultGateway.start({ args: ["--host-loopback"] });
  const guest = await gateway.guest();
  const flow = await guest.connect(GATEWAY, host.port);
  for (let round = 0; round < 2; round++) {
    await Deno.remove(gateway.path);
    await assertEchoes(flow);
    await until("the socket is there again", () => isSocket(gateway.path), PATIENCE_MS);
    await gateway.line(/^listening on unix:.* again$/, round + 1);
    assertEquals((await Deno.lstat(gateway.path)).mode! & 0o777, 0o600);
  }
  const second = await Deno.connect({ transport: "unix", path: gateway.path });
  assertEquals(await second.read(new Uint8Array(1)), null, "one VMM at a time, as ever");
  second.close();
  await assertEchoes(flow);
  await guest.close();
  await gateway.line(/^guest left$/);
  await using next = await gateway.guest();
  await assertEchoes(await next.connect(GATEWAY, host.port));
  await gateway.stop();
  assertEquals(await isSocket(gateway.path), false, "ours vanishes");
});

Deno.test("a socket whose folder is removed is waited for", async () => {
  await using host = new EchoHost();
  await using gateway = await FaultGateway.start({ args: ["--host-loopback"] });
  const guest = await gateway.guest();
  const flow = await guest.connect(GATEWAY, host.port);
  // In one go: the gateway may look after its file between two steps, and make it anew.
  const removed = `${gateway.folder.path}-removed`;
  await Deno.rename(gateway.folder.path, removed);
  await Deno.remove(removed, { recursive: true });
  await gateway.line(/^cannot listen on/);
  await assertEchoes(flow);
  await Deno.mkdir(gateway.folder.path);
  await until("the socket is there again", () => isSocket(gateway.path), PATIENCE_MS);
  await assertEchoes(flow);
  await guest.close();
  await gateway.line(/^guest left$/);
  await using next = await gateway.guest();
  await assertEchoes(await next.connect(GATEWAY, host.port));
  await gateway.stop();
});

Deno.test("a file in the socket's place is another's: it stays when the gateway stops", async () => {
  await using gateway = await FaultGateway.start();
  await using guest = await gateway.guest();
  // Over it, so that the gateway never finds its place empty.
  const elsewhere = gateway.folder.file("other.sock");
  using other = Deno.listen({ transport: "unix", path: elsewhere });
  await Deno.rename(elsewhere, gateway.path);
  await gateway.line(/^another file has taken the socket's place/);
  await guest.ping(GATEWAY, 56, PATIENCE_MS);
  await gateway.stop();
  assertEquals(await isSocket(gateway.path), true);
  const [near, far] = await Promise.all([
    other.accept(),
    Deno.connect({ transport: "unix", path: gateway.path }),
  ]);
  near.close();
  far.close();
});
