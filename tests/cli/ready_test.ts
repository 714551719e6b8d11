import { assertEquals } from "@std/assert";
import { libkrunCall, qemuArguments } from "../../lib/cli/ready.ts";

const guestMac = "02:53:4d:00:00:02";
const unix = { transport: "unix", path: "/run/vm,1.sock" } as const;
const tcp = { transport: "tcp", hostname: "127.0.0.1", port: 7654 } as const;

Deno.test("QEMU joins a unix socket or a TCP port that the gateway listens on", () => {
  assertEquals(
    qemuArguments(unix, { mode: "listen", guestMac, mtu: 1500 }),
    "-netdev stream,id=net0,server=off,addr.type=unix,addr.path=/run/vm,,1.sock " +
      "-device virtio-net-pci,netdev=net0,mac=02:53:4d:00:00:02",
  );
  assertEquals(
    qemuArguments(tcp, { mode: "listen", guestMac, mtu: 9000 }),
    "-netdev stream,id=net0,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=7654 " +
      "-device virtio-net-pci,netdev=net0,mac=02:53:4d:00:00:02,host_mtu=9000",
  );
});

Deno.test("QEMU listens where the gateway connects", () => {
  const path = "/tmp/it's here.sock";
  assertEquals(
    qemuArguments({ transport: "unix", path }, { mode: "connect", guestMac, mtu: 1500 }),
    `-netdev 'stream,id=net0,server=on,addr.type=unix,addr.path=/tmp/it'\\''s here.sock' ` +
      "-device virtio-net-pci,netdev=net0,mac=02:53:4d:00:00:02",
  );
});

Deno.test("libkrun joins a unix socket only", () => {
  assertEquals(
    libkrunCall(unix, { mode: "listen", guestMac, mtu: 1500 }),
    `krun_add_net_unixstream(ctx, "/run/vm,1.sock", -1, mac, 0, 0)`,
  );
  assertEquals(
    libkrunCall(tcp, { mode: "listen", guestMac, mtu: 1500 }),
    "libkrun joins unix sockets only",
  );
  assertEquals(
    libkrunCall(unix, { mode: "connect", guestMac, mtu: 1500 }),
    "libkrun does not listen",
  );
});
