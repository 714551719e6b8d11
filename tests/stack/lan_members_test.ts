import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { interfaceAddress, type LanAddresses, LanMembers } from "../../lib/stack/lan_members.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { ip, mac } from "../support/packets.ts";

function viewOf(octets: Uint8Array): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
}

Deno.test("an interface makes its address of its MAC as RFC 4291 appendix A says", () => {
  const made = interfaceAddress(ip("fe80::"), mac("34:56:78:9a:bc:de"));
  assertEquals(formatIp(made), "fe80::3656:78ff:fe9a:bcde");
});

Deno.test("every address of every member is found, and no other", () => {
  const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const member = fc.record({ mac: octets(6), ip4: octets(4), ip6: fc.option(octets(16)) });
  const distinct = fc.uniqueArray(member, {
    minLength: 1,
    maxLength: 64,
    comparator: (a, b) =>
      [a.mac, a.ip4].some((octets, i) => String(octets) === String([b.mac, b.ip4][i])) ||
      (a.ip6 !== null && String(a.ip6) === String(b.ip6)),
  });
  fc.assert(
    fc.property(distinct, octets(16), (members: LanAddresses[], other) => {
      const table = new LanMembers(members, 0, 64);
      const naive = (of: (member: LanAddresses) => readonly (Uint8Array | null)[], text: string) =>
        members.findIndex((each) => of(each).some((octets) => String(octets) === text));
      members.forEach(({ mac, ip4, ip6 }, i) => {
        assertEquals(table.ofMac(viewOf(mac), 0), i);
        assertEquals(table.ofIp4(viewOf(ip4), 0), i);
        if (ip6 !== null) assertEquals(table.ofIp6(viewOf(ip6), 0), i);
      });
      const text = (length: number) => String(other.subarray(0, length));
      assertEquals(table.ofMac(viewOf(other), 0), naive(({ mac }) => [mac], text(6)));
      assertEquals(table.ofIp4(viewOf(other), 0), naive(({ ip4 }) => [ip4], text(4)));
      assertEquals(
        table.ofIp6(viewOf(other), 0),
        naive(({ mac, ip6 }) => {
          if (ip6 === null) return [];
          return [ip6, interfaceAddress(ip("fe80::"), mac), interfaceAddress(ip6, mac)];
        }, text(16)),
      );
    }),
    { numRuns: 200 },
  );
});

Deno.test("what a guest makes of its MAC never takes what another was given", () => {
  const first = { mac: mac("02:00:00:00:00:01"), ip4: ip("10.0.0.2"), ip6: ip("fd00::2") };
  const made = interfaceAddress(first.ip6, first.mac);
  const second = { mac: mac("02:00:00:00:00:02"), ip4: ip("10.0.0.3"), ip6: made };
  const table = new LanMembers([first, second], 0, 64);
  assertEquals(table.ofIp6(viewOf(made), 0), 1);
  const other = new LanMembers([first, { ...second, ip6: null }], 0, 48);
  assertEquals(other.ofIp6(viewOf(made), 0), -1, "SLAAC asks for 64 bits");
});
