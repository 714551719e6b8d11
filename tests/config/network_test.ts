import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import type { GuestNetworkConfig } from "../../lib/config/options.ts";

function refused(config: Partial<GuestNetworkConfig>, ...texts: string[]): void {
  const error = assertThrows(() => parseGuestNetwork(config), ConfigError) as ConfigError;
  assertEquals(error.problems.map(({ key, text }) => `${key}: ${text}`), texts);
}

Deno.test("the defaults are the reference's addresses", () => {
  const network = parseGuestNetwork();
  assertEquals(network, {
    guestMac: Uint8Array.of(2, 0x53, 0x4d, 0, 0, 2),
    gatewayMac: Uint8Array.of(2, 0x53, 0x4d, 0, 0, 1),
    guestIp4: Uint8Array.of(100, 96, 0, 2),
    gatewayIp4: Uint8Array.of(100, 96, 0, 1),
    prefix4: 30,
    guestIp6: Uint8Array.of(0xfd, 0x53, 0x4d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2),
    gatewayIp6: Uint8Array.of(0xfd, 0x53, 0x4d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
    prefix6: 64,
    mtu: 1500,
    ipv6: true,
    checksums: "auto",
    offload: false,
  });
});

Deno.test("a field that is set leaves the others at their defaults", () => {
  const network = parseGuestNetwork({ guestIp: "10.1.2.3/8", gatewayIp: "10.9.9.9", mtu: 9000 });
  assertEquals(network.guestIp4, Uint8Array.of(10, 1, 2, 3));
  assertEquals(network.prefix4, 8);
  assertEquals(network.mtu, 9000);
  assertEquals(network.prefix6, 64);
});

Deno.test("an MTU below 1,280 switches IPv6 off", () => {
  assertEquals(parseGuestNetwork({ mtu: 1280 }).ipv6, true);
  assertEquals(parseGuestNetwork({ mtu: 1279 }).ipv6, false);
  assertEquals(parseGuestNetwork({ ipv6: false }).ipv6, false);
});

Deno.test("the MTU is 576 to 65,520", () => {
  assertEquals(parseGuestNetwork({ mtu: 576 }).mtu, 576);
  assertEquals(parseGuestNetwork({ mtu: 65_520 }).mtu, 65_520);
  for (const mtu of [575, 65_521, 1500.5, NaN]) {
    refused({ mtu }, `guestNetwork.mtu: ${mtu} is not a whole number from 576 to 65520`);
  }
});

Deno.test("the gateway is another host of the guest's prefix", () => {
  refused(
    { gatewayIp: "100.96.0.5" },
    `guestNetwork.gatewayIp: "100.96.0.5" is not inside the guest's 100.96.0.2/30`,
  );
  refused(
    { gatewayIp: "100.96.0.2" },
    `guestNetwork.gatewayIp: "100.96.0.2" is the guest's address too`,
  );
  refused(
    { gatewayIp6: "fd53:4d00:0:1::1" },
    `guestNetwork.gatewayIp6: "fd53:4d00:0:1::1" is not inside the guest's fd53:4d00::2/64`,
  );
});

Deno.test("the network and broadcast addresses of a prefix are no hosts, but those of a /31 are", () => {
  refused(
    { guestIp: "10.0.0.0/24", gatewayIp: "10.0.0.255" },
    `guestNetwork.guestIp: "10.0.0.0/24" is its prefix's network address, not a host's address`,
    `guestNetwork.gatewayIp: "10.0.0.255" is its prefix's broadcast address, not a host's address`,
  );
  assertEquals(parseGuestNetwork({ guestIp: "10.0.0.0/31", gatewayIp: "10.0.0.1" }).prefix4, 31);
});

Deno.test("only a host's address is taken", () => {
  const cases: [string, string, string][] = [
    ["0.0.0.2/8", "0.0.0.1", "of the unspecified network"],
    ["127.0.0.2/8", "127.0.0.1", "a loopback address"],
    ["224.0.0.2/8", "224.0.0.1", "a multicast address"],
    ["240.0.0.2/8", "240.0.0.1", "a reserved address"],
  ];
  for (const [guestIp, gatewayIp, fault] of cases) {
    refused(
      { guestIp, gatewayIp },
      `guestNetwork.guestIp: "${guestIp}" is ${fault}, not a host's address`,
      `guestNetwork.gatewayIp: "${gatewayIp}" is ${fault}, not a host's address`,
    );
  }
  const six: [string, string][] = [
    ["::", "the unspecified address"],
    ["::1", "the loopback address"],
    ["ff02::1", "a multicast address"],
    ["fe80::1", "a link-local address"],
    ["::ffff:10.0.0.1", "an embedded IPv4 address"],
  ];
  for (const [address, fault] of six) {
    refused(
      { guestIp6: `${address}/1`, gatewayIp6: address.startsWith("f") ? "fd00::1" : "2::1" },
      `guestNetwork.guestIp6: "${address}/1" is ${fault}, not a host's address`,
    );
  }
});

Deno.test("text that is no address with a prefix is refused with an example", () => {
  for (const guestIp of ["100.96.0.2", "100.96.0.2/", "100.96.0.2/32", "1.2.3/30", "1.2.3.4/8/8"]) {
    const wanted = "an IPv4 address with a prefix of /1 to /31, such as 100.96.0.2/30";
    refused({ guestIp }, `guestNetwork.guestIp: "${guestIp}" is not ${wanted}`);
  }
  for (const guestIp6 of ["fd53::2", "fd53::2/65", "100.96.0.2/30", "fd53::2/0"]) {
    const wanted = "an IPv6 address with a prefix of /1 to /64, such as fd53:4d00::2/64";
    refused({ guestIp6 }, `guestNetwork.guestIp6: "${guestIp6}" is not ${wanted}`);
  }
});

Deno.test("MAC addresses are two distinct unicast ones", () => {
  refused(
    { guestMac: "02-53-4d-00-00-02" },
    `guestNetwork.guestMac: "02-53-4d-00-00-02" is not a MAC address such as 02:53:4d:00:00:02`,
  );
  refused(
    { guestMac: "01:53:4d:00:00:02" },
    `guestNetwork.guestMac: "01:53:4d:00:00:02" is a multicast MAC address`,
  );
  refused(
    { gatewayMac: "00:00:00:00:00:00" },
    `guestNetwork.gatewayMac: "00:00:00:00:00:00" is no MAC address`,
  );
  refused(
    { gatewayMac: "02:53:4D:00:00:02" },
    `guestNetwork.gatewayMac: is the guest's MAC address too`,
  );
});

Deno.test("every problem is told at once", () => {
  const error = assertThrows(
    () =>
      parseGuestNetwork({
        mtu: 1,
        checksums: "off" as "auto",
        offload: "yes" as unknown as boolean,
      }),
    ConfigError,
  ) as ConfigError;
  assertEquals(error.code, "config");
  assertEquals(
    error.message,
    "guestNetwork.mtu: 1 is not a whole number from 576 to 65520\n" +
      `guestNetwork.checksums: "off" is not auto or verify\n` +
      "guestNetwork.offload: yes is not true or false",
  );
});
