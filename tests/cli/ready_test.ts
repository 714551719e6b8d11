import { assertEquals } from "@std/assert";
import type { Endpoint, VmmEndpoint } from "../../lib/config/endpoint.ts";
import { type JoinOptions, joinWays } from "../../lib/cli/ready.ts";

const OPTIONS: JoinOptions = {
  offload: false,
  mode: "listen",
  framing: "stream",
  guestMac: "02:53:4d:00:00:02",
  mtu: 1500,
};
const unix: Endpoint = { transport: "unix", path: "/run/vm,1.sock" };
const tcp: Endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 7654 };

function ways(endpoint: VmmEndpoint, options: Partial<JoinOptions> = {}): Record<string, string> {
  return Object.fromEntries(joinWays(endpoint, { ...OPTIONS, ...options }));
}

Deno.test("QEMU and libkrun join a unix socket that the gateway listens on", () => {
  assertEquals(ways(unix), {
    QEMU: "-netdev stream,id=net0,server=off,addr.type=unix,addr.path=/run/vm,,1.sock " +
      "-device virtio-net-pci,netdev=net0,mac=02:53:4d:00:00:02",
    libkrun: `krun_add_net_unixstream(ctx, "/run/vm,1.sock", -1, mac, 0, 0)`,
  });
});

Deno.test("QEMU alone joins a TCP port, and is told a larger MTU", () => {
  assertEquals(ways(tcp, { mtu: 9000 }), {
    QEMU: "-netdev stream,id=net0,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=7654 " +
      "-device virtio-net-pci,netdev=net0,mac=02:53:4d:00:00:02,host_mtu=9000",
  });
});

Deno.test("QEMU alone listens where the gateway connects", () => {
  assertEquals(ways({ transport: "unix", path: "/tmp/it's here.sock" }, { mode: "connect" }), {
    QEMU: `-netdev 'stream,id=net0,server=on,addr.type=unix,addr.path=/tmp/it'\\''s here.sock' ` +
      "-device virtio-net-pci,netdev=net0,mac=02:53:4d:00:00:02",
  });
});

Deno.test("a datagram socket is joined by vfkit, krunkit and QEMU, which needs one of its own", () => {
  assertEquals(ways({ transport: "unixgram", path: "/run/vm.sock" }), {
    vfkit: "--device virtio-net,unixSocketPath=/run/vm.sock,mac=02:53:4d:00:00:02",
    krunkit: "--device virtio-net,type=unixgram,path=/run/vm.sock,mac=02:53:4d:00:00:02," +
      "offloading=off",
    QEMU: "-netdev dgram,id=net0,local.type=unix,local.path=/run/vm.sock.vmm,remote.type=unix," +
      "remote.path=/run/vm.sock -device virtio-net-pci,netdev=net0,mac=02:53:4d:00:00:02",
  });
});

Deno.test("hyperkit joins a unix socket in its own framing", () => {
  assertEquals(ways(unix, { framing: "hyperkit" }), {
    hyperkit: "-s 1:0,virtio-vpnkit,path=/run/vm,1.sock",
  });
  assertEquals(ways(tcp, { framing: "hyperkit" }), {});
});

Deno.test("large segments are for libkrun and krunkit, which have an argument for them", () => {
  assertEquals(ways(unix, { offload: true }), {
    libkrun: `krun_add_net_unixstream(ctx, "/run/vm,1.sock", -1, mac, NET_FEATURE_CSUM | ` +
      "NET_FEATURE_GUEST_CSUM | NET_FEATURE_GUEST_TSO4 | NET_FEATURE_GUEST_TSO6 | " +
      "NET_FEATURE_HOST_TSO4 | NET_FEATURE_HOST_TSO6, 0)",
  });
  assertEquals(ways({ transport: "unixgram", path: "/run/vm.sock" }, { offload: true }), {
    krunkit: "--device virtio-net,type=unixgram,path=/run/vm.sock,mac=02:53:4d:00:00:02," +
      "offloading=on",
  });
  assertEquals(ways(tcp, { offload: true }), {});
});

Deno.test("the header of virtio-net is for whoever knows to send it", () => {
  for (const offload of [false, true]) {
    assertEquals(ways(unix, { framing: "stream-vnet", offload }), {});
  }
});

Deno.test("pipes and VM sockets are joined by whoever made them", () => {
  assertEquals(ways({ transport: "stdio" }), {});
  assertEquals(ways({ transport: "vsock", cid: 2, port: 1024 }), {});
});
