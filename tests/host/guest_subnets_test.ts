import { assertEquals, assertThrows } from "@std/assert";
import { GuestSubnets, parseSubnet, subnetsOf } from "../../lib/host/guest_subnets.ts";
import { ip } from "../support/packets.ts";

const SUBNETS = new GuestSubnets(
  ["10.77.0.9/24", "100.96.0.6/30", "fd53:4d01::1/64"].map(parseSubnet),
);

for (
  const [address, isThere] of [
    ["10.77.0.0", true],
    ["10.77.0.255", true],
    ["10.77.1.0", false],
    ["10.76.255.255", false],
    ["100.96.0.4", true],
    ["100.96.0.7", true],
    ["100.96.0.3", false],
    ["100.96.0.8", false],
    ["fd53:4d01::ffff:ffff:ffff:ffff", true],
    ["fd53:4d01:0:1::1", false],
    ["::ffff:10.77.0.5", true],
    ["64:ff9b::10.77.0.5", true],
    ["64:ff9b::10.78.0.5", false],
    ["2002:a4d:5::1", true], // 6to4 of 10.77.0.5
  ] as const
) {
  Deno.test(`${address} is ${isThere ? "" : "not "}in a network of guests`, () => {
    assertEquals(SUBNETS.has(ip(address)), isThere);
  });
}

Deno.test("no network has no address", () => {
  assertEquals(new GuestSubnets([]).has(ip("10.77.0.5")), false);
  assertEquals(new GuestSubnets([parseSubnet("0.0.0.0/0")]).has(ip("9.9.9.9")), true);
  assertThrows(() => parseSubnet("x/24"), RangeError);
});

Deno.test("the networks of guests are named once each", () => {
  const guests = [
    { guestIp: "10.77.0.2/24", guestIp6: "fd53:4d01::2/64" },
    { guestIp: "10.77.0.3/24", guestIp6: "fd53:4d01::3/64" },
    { guestIp: "100.96.0.6/30", guestIp6: "fd53:4d00:0:1::2/64" },
  ];
  assertEquals(subnetsOf(guests), [
    "10.77.0.0/24",
    "fd53:4d01::/64",
    "100.96.0.4/30",
    "fd53:4d00:0:1::/64",
  ]);
});
