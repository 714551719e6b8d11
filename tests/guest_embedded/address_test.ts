/** The embedded guest gets its addresses, is reached at them, and reads why it goes no further. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { failureOf, Rig, socketPair } from "./rig.ts";

Deno.test("the guest gets what the gateway was told", async () => {
  await using rig = await Rig.start({
    network: {
      guestNetwork: {
        guestIp: "10.9.8.7/24",
        gatewayIp: "10.9.8.1",
        gatewayIp6: "fd00:1:2:3::1",
        guestIp6: "fd00:1:2:3::2/64",
        mtu: 9000,
      },
      dns: { search: "vm.internal" },
    },
    guest: { mtu: 9000 },
  });
  const { ip6, ...lease } = await rig.guest.lease();
  assertEquals(lease, {
    address: "10.9.8.7",
    prefix: 24,
    router: "10.9.8.1",
    dns: ["10.9.8.1"],
    mtu: 9000,
    domain: "vm.internal",
    leaseSeconds: 86_400,
  });
  assertEquals({ ...ip6, isDefaultRouter: null }, {
    address: "fd00:1:2:3:53:4dff:fe00:2",
    prefix: 64,
    router: "fe80::53:4dff:fe00:1",
    dns: ["fd00:1:2:3::1"],
    mtu: 9000,
    isDefaultRouter: null,
  });
});

Deno.test("a gateway without IPv6 gives a lease without it", async () => {
  await using rig = await Rig.start({
    network: { guestNetwork: { ipv6: false } },
    guest: { ipv6: false },
  });
  assertEquals((await rig.guest.lease()).ip6, null);
  await assertRejects(() => rig.guest.ping("fd53:4d00::1"), GuestError, "Cannot ping");
});

for (const family of [4, 6] as const) {
  Deno.test(`echoes of every size come back whole over IPv${family}`, async () => {
    await using rig = await Rig.start();
    await rig.guest.lease();
    for (const bytes of [0, 1, 56, 1_452, 1_472, 1_473, 20_000, 65_000]) {
      assert(await rig.guest.ping(rig.gateway(family), bytes) >= 0, `${bytes} bytes`);
    }
    assertEquals(rig.runtime.figures().fragmentSets, 0);
  });
}

Deno.test("the router's link-local address answers too", async () => {
  await using rig = await Rig.start();
  const { ip6 } = await rig.guest.lease();
  assert(await rig.guest.ping(ip6!.router) >= 0);
});

Deno.test("a ping beyond the gateway is prohibited", async () => {
  await using rig = await Rig.start();
  await rig.guest.lease();
  for (const address of ["192.0.2.1", "2001:db8::1"]) {
    assertEquals(await failureOf(rig.guest.ping(address)), "prohibited");
  }
});

Deno.test("without a lease there is no way out", async () => {
  await using rig = await Rig.start();
  assertEquals(await failureOf(rig.guest.ping("100.96.0.1")), "unavailable");
  assertEquals(await failureOf(rig.guest.connect("::1", 80)), "unavailable");
});

Deno.test("who waits on a link that ends is told", async () => {
  const [guestEnd, silent] = await socketPair();
  const guest = EmbeddedGuest.attach(guestEnd);
  const lease = assertRejects(() => guest.lease(), GuestError, "closed");
  silent.close();
  await lease;
  assertEquals(await guest.ended, "closed by the VMM");
  await guest.close();
});
