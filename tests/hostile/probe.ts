/**
 * An honest guest beside the hostile one: what it does still works.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip4,
  ip6,
  pattern,
  udp,
} from "../support/packets.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";
import type { HostileGuest } from "./hostile_guest.ts";

/** The port of the hosts that `listensTo` sets up. */
export const HOST_PORT = 7;

/** Lets both hosts take datagrams, without an answer: what they got. */
export function listensTo(gw: HostileGuest): Uint8Array[] {
  const got: Uint8Array[] = [];
  for (const host of [HOST4, HOST6]) gw.host.udp(host, HOST_PORT, (data) => void got.push(data));
  return got;
}

/** A datagram to one of the hosts, without its IP header. */
export function datagram(family: 4 | 6, data: Uint8Array, guestPort = 5000): Uint8Array {
  return family === 4
    ? udp(GUEST4, guestPort, HOST4, HOST_PORT, data)
    : udp(GUEST6, guestPort, HOST6, HOST_PORT, data);
}

/** An IP packet to the host of that family, as a frame. */
export function toHost(family: 4 | 6, protocol: number, payload: Uint8Array): Uint8Array {
  return ethernet(
    family === 4
      ? ip4(payload, { protocol, destination: HOST4 })
      : ip6(payload, { next: protocol, destination: HOST6 }),
  );
}

/** Pings the gateway over both families: the same octets come back, and nothing else happens. */
export async function pings(gw: HostileGuest): Promise<void> {
  const data = pattern(48, 7);
  await gw.sends(
    ethernet(ip4(icmp4(8, 0, [0, 1, 0, 1], data), { protocol: 1 })),
    ethernet(ip6(icmp6(GUEST6, GATEWAY6, 128, 0, [0, 1, 0, 1], data), { next: 58 })),
  );
  const replies = gw.packets();
  assertEquals(replies.map(({ payload }) => payload[0]), [0, 129]);
  assertEquals(replies.map(({ source }) => source), [GATEWAY4, "fd53:4d00::1"]);
  for (const { payload } of replies) assertEquals(payload.slice(8), data);
  gw.counts({ "icmp.echo": 2 });
}
