import { assertEquals } from "@std/assert";
import { notifyManager } from "../../lib/cli/notify.ts";
import { Folder } from "./cli_process.ts";

Deno.test("the manager hears one datagram, and no file is left", async () => {
  await using folder = await Folder.make();
  const manager = Deno.listenDatagram({
    transport: "unixpacket",
    path: folder.file("notify.sock"),
  });
  using _closing = { [Symbol.dispose]: () => manager.close() };
  const endpoint = { transport: "unix", path: folder.file("vm.sock") } as const;
  assertEquals(await notifyManager(folder.file("notify.sock"), endpoint, "READY=1"), true);
  const [bytes] = await manager.receive();
  assertEquals(new TextDecoder().decode(bytes), "READY=1");
  const names = await Array.fromAsync(Deno.readDir(folder.path), ({ name }) => name);
  assertEquals(names, ["notify.sock"]);
});

Deno.test("a manager that is not there, or not a path, is passed over", async () => {
  await using folder = await Folder.make();
  const endpoint = { transport: "unix", path: folder.file("vm.sock") } as const;
  assertEquals(await notifyManager(folder.file("gone.sock"), endpoint, "READY=1"), false);
  assertEquals(await notifyManager("@abstract", endpoint, "READY=1"), false);
  assertEquals(await Array.fromAsync(Deno.readDir(folder.path)), []);
});

Deno.test({
  name: "without the permission nothing is tried",
  permissions: { net: true },
  async fn() {
    const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 } as const;
    assertEquals(await notifyManager("/run/notify.sock", endpoint, "READY=1"), false);
  },
});
