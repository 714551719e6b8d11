import { assertEquals } from "@std/assert";
import { EtherType } from "../../lib/wire/ethernet.ts";
import { StackHarness } from "../support/stack_harness.ts";
import {
  concat,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_LL,
  GATEWAY_MAC,
  GUEST4,
  GUEST6,
  GUEST_MAC,
  ip,
  mac,
  pattern,
  u16,
  udp,
} from "../support/packets.ts";

Deno.test("link: the addresses stand where the positions say", () => {
  const { link, memory } = new StackHarness();
  const at = (position: number, bytes: number) => memory.bytes.slice(position, position + bytes);
  assertEquals(at(link.gatewayMacAt, 6), mac(GATEWAY_MAC));
  assertEquals(at(link.guestMacAt, 6), mac(GUEST_MAC));
  assertEquals(at(link.gatewayIp4At, 4), ip(GATEWAY4));
  assertEquals(at(link.guestIp4At, 4), ip(GUEST4));
  assertEquals(at(link.gatewayIp6At, 16), ip(GATEWAY6));
  assertEquals(at(link.guestIp6At, 16), ip(GUEST6));
  assertEquals(at(link.gatewayLinkLocalAt, 16), ip(GATEWAY_LL));
});

Deno.test("link: the gateway's link-local address turns the universal bit of its MAC", () => {
  const { link, memory } = new StackHarness({ link: { gatewayMac: mac("00:16:3e:a1:b2:c3") } });
  const at = link.gatewayLinkLocalAt;
  assertEquals(memory.bytes.slice(at, at + 16), ip("fe80::216:3eff:fea1:b2c3"));
});

Deno.test("link: an Ethernet frame goes from the gateway to the guest", () => {
  const h = new StackHarness();
  const payload = pattern(46);
  h.memory.bytes.set(payload, h.link.beginEthernet(EtherType.arp, payload.length));
  h.link.end();
  assertEquals(
    h.sent(),
    [concat(mac(GUEST_MAC), mac(GATEWAY_MAC), u16(EtherType.arp), payload)],
  );
});

Deno.test("link: a frame's destination can be a group", () => {
  const h = new StackHarness();
  const macAt = h.place(mac("33:33:00:00:00:01"));
  h.link.beginEthernet(EtherType.ipv6, 40);
  h.link.setDestinationMac(macAt);
  h.link.end();
  assertEquals(h.sent()[0]!.slice(0, 6), mac("33:33:00:00:00:01"));
});

Deno.test("link: an IPv4 packet has its lengths, checksum, don't-fragment and TTL", () => {
  const h = new StackHarness();
  const { link } = h;
  const datagram = udp(GATEWAY4, 1, GUEST4, 2, pattern(9));
  const { gatewayIp4At, guestIp4At } = link;
  h.memory.bytes.set(datagram, link.beginIpv4(gatewayIp4At, guestIp4At, 17, datagram.length));
  link.end();
  const { source, destination, ttl, fragment, header, payload } = h.reply(); // checks the sums
  assertEquals([source, destination, ttl, fragment], [GATEWAY4, GUEST4, 64, 0x4000]);
  assertEquals(header.slice(4, 6), Uint8Array.of(0, 0));
  assertEquals(payload, datagram);
});

Deno.test("link: a fragment carries its offset and identification", () => {
  const h = new StackHarness();
  const { link } = h;
  const identification = link.nextIdentification();
  link.beginIpv4(link.gatewayIp4At, link.guestIp4At, 17, 16, 0x2005, identification, 7);
  link.end();
  const { ttl, fragment, header } = h.reply();
  assertEquals([ttl, fragment], [7, 0x2005]);
  assertEquals(header.slice(4, 6), Uint8Array.from(u16(identification)));
});

Deno.test("link: identifications differ, and wrap within 16 bits", () => {
  const { link } = new StackHarness();
  const seen = new Set<number>();
  for (let i = 0; i < 65_536; i++) seen.add(link.nextIdentification());
  assertEquals(seen.size, 65_536);
  assertEquals(Math.max(...seen), 0xffff);
});

Deno.test("link: an IPv6 packet has its payload's length and hop limit", () => {
  const h = new StackHarness();
  const { link } = h;
  const datagram = udp(GATEWAY6, 1, GUEST6, 2, pattern(9));
  const { gatewayIp6At, guestIp6At } = link;
  h.memory.bytes.set(datagram, link.beginIpv6(gatewayIp6At, guestIp6At, 17, datagram.length, 255));
  link.end();
  const { source, destination, ttl, payload } = h.reply();
  assertEquals([source, destination, ttl], [GATEWAY6, GUEST6, 255]);
  assertEquals(payload, datagram);
});

Deno.test("link: without room nothing is begun and the drop is counted once", () => {
  const h = new StackHarness();
  const { link } = h;
  h.queues.hostToGuest.fillLimitBytes = 100;
  link.beginEthernet(EtherType.arp, 60);
  link.end();
  assertEquals(link.beginEthernet(EtherType.arp, 60), -1);
  assertEquals(link.beginIpv4(link.gatewayIp4At, link.guestIp4At, 17, 40), -1);
  assertEquals(link.beginIpv6(link.gatewayIp6At, link.guestIp6At, 17, 40), -1);
  assertEquals(h.counted(), { "drop.queue.full": 3 });
  assertEquals(h.sent().length, 1);
});
