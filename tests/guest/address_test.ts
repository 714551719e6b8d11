import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Guest, NETWORK, withGuest } from "./harness.ts";
import { bulkServer } from "./host_servers.ts";
import { expected, type Received } from "./bulk.ts";
import { guestTest } from "./prerequisites.ts";

const { guestIp, gatewayIp, gatewayIp6 } = NETWORK;

/** A network whose values differ from a kernel's own defaults, so that they must have been told. */
const CONFIG = `
guestNetwork: { mtu: 1400 }
hostLoopback: true
dns: { search: vm.internal }
`;

/**
 * Three pings that are answered, each by a program of its own: one that has had an answer waits for
 * its last one only as long as the others took, and so counts a gateway that had to wait as a loss.
 */
async function ping(guest: Guest, host: string, ...words: string[]): Promise<void> {
  for (let i = 0; i < 3; i++) await guest.must("ping", "-c", "1", "-W", "30", ...words, host);
}

/** A small upload shows that the address works beyond the gateway's own ICMP. */
async function upload(guest: Guest, gateway: string, loopback: string): Promise<void> {
  await using server = bulkServer(loopback);
  const received = await guest.program<Received>("upload", gateway, String(server.port), "100000");
  assertEquals(received, expected(100_000));
}

guestTest("a static address: the gateway answers pings of any size, both families", async (t) => {
  await withGuest({ address: "static" }, async (guest) => {
    for (const host of [gatewayIp, gatewayIp6]) {
      await t.step(`ping ${host}`, async () => {
        await ping(guest, host);
      });
      await t.step(`ping ${host} with a full frame`, async () => {
        const payload = host === gatewayIp ? "1472" : "1452";
        await ping(guest, host, "-M", "do", "-s", payload);
      });
      await t.step(`ping ${host} in fragments`, async () => {
        await ping(guest, host, "-s", "8000");
      });
    }
  });
});

guestTest("DHCP: address, router, resolver, MTU, search domain", async () => {
  await withGuest({ address: "dhcp", config: CONFIG }, async (guest) => {
    const { ip, mask, router, dns, mtu, search } = guest.lease;
    assertEquals(
      { ip, mask, router, dns, mtu, search },
      {
        ip: guestIp,
        mask: "30",
        router: gatewayIp,
        dns: gatewayIp,
        mtu: "1400",
        search: "vm.internal",
      },
    );
    await ping(guest, gatewayIp, "-M", "do", "-s", "1372");
    await upload(guest, gatewayIp, "127.0.0.1");
  });
});

guestTest("router advertisement: an address inside the /64, route, MTU, resolver", async (t) => {
  await withGuest({ address: "ra", config: CONFIG }, async (guest) => {
    await t.step("the kernel forms an address from the prefix and its MAC", async () => {
      const addresses = await guest.must(
        "ip",
        "-6",
        "-o",
        "addr",
        "show",
        "dev",
        "tap0",
        "scope",
        "global",
      );
      assertMatch(addresses, /inet6 fd53:4d00::53:4dff:fe00:2\/64 /);
    });
    await t.step("the MTU of the link is the gateway's", async () => {
      assertEquals(await guest.must("cat", "/proc/sys/net/ipv6/conf/tap0/mtu"), "1400");
    });
    await t.step("the gateway answers at its address and at its link-local one", async () => {
      await ping(guest, gatewayIp6, "-M", "do", "-s", "1352");
      await ping(guest, "fe80::53:4dff:fe00:1%tap0");
    });
    await t.step("TCP from that address reaches the host", async () => {
      await upload(guest, gatewayIp6, "::1");
    });
    await t.step(
      "resolver and search domain are announced, the route where there is one",
      async () => {
        const { code } = await guest.run("sh", "-c", "command -v rdisc6");
        const routes = await guest.must("ip", "-6", "route", "show", "default");
        if (code !== 0) return;
        const advertised = await guest.must("rdisc6", "-1", "-r", "3", "-w", "20000", "tap0");
        assertMatch(advertised, /Recursive DNS server\s*: fd53:4d00::1\b/);
        assertMatch(advertised, /DNS search list\s*: vm\.internal\b/);
        assertMatch(advertised, /Prefix\s*: fd53:4d00::\/64/);
        assertMatch(advertised, /MTU\s*:\s*1400 bytes/);
        const lifetime = /Router lifetime\s*:\s*(\d+)/.exec(advertised);
        assert(lifetime !== null, advertised);
        // Without IPv6 at the host the lifetime is 0 and no default route may appear.
        assertEquals(/default via fe80::/.test(routes), Number(lifetime[1]) > 0, routes);
      },
    );
  });
});
