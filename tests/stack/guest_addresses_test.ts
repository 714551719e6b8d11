import { assertEquals } from "@std/assert";
import { StackHarness } from "../support/stack_harness.ts";
import { GATEWAY6, GATEWAY_LL, GUEST6, GUEST_LL, ip } from "../support/packets.ts";
import { AddressOwner } from "../../lib/stack/guest_addresses.ts";

function address(i: number): string {
  return `fd53:4d00::a:${i.toString(16)}`;
}

function preferred(h: StackHarness): Uint8Array | null {
  const at = h.stack.addresses.preferredAt;
  return at < 0 ? null : h.memory.bytes.slice(at, at + 16);
}

Deno.test("guest addresses: none at first; the configured one once it was used", () => {
  const h = new StackHarness();
  const { addresses } = h.stack;
  assertEquals([addresses.count, preferred(h)], [0, null]);
  assertEquals(addresses.ownerOf(h.place(ip(GUEST_LL))), AddressOwner.guest);
  assertEquals(addresses.count, 0);
  assertEquals(addresses.ownerOf(h.place(ip(GUEST6))), AddressOwner.guest);
  assertEquals([addresses.count, preferred(h)], [1, ip(GUEST6)]);
});

Deno.test("guest addresses: the one confirmed last is preferred, 16 are remembered", () => {
  const h = new StackHarness();
  const { addresses } = h.stack;
  for (let i = 1; i <= 16; i++) addresses.confirm(h.place(ip(address(i))));
  assertEquals([addresses.count, preferred(h)], [16, ip(address(16))]);
  addresses.confirm(h.place(ip(address(1)))); // again: to the front
  assertEquals([addresses.count, preferred(h)], [16, ip(address(1))]);
  addresses.confirm(h.place(ip(address(17)))); // 2 is the oldest by now
  assertEquals([addresses.count, preferred(h)], [16, ip(address(17))]);
  const known = Array.from({ length: 17 }, (_, i) => i + 1)
    .filter((i) => addresses.ownerOf(h.place(ip(address(i)))) === AddressOwner.guest);
  assertEquals(known, [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
});

Deno.test("guest addresses: the configured one stays a source when others crowd it out", () => {
  const h = new StackHarness();
  const { addresses } = h.stack;
  for (let i = 1; i <= 40; i++) addresses.confirm(h.place(ip(address(i))));
  assertEquals(addresses.ownerOf(h.place(ip(GUEST6))), AddressOwner.guest);
  assertEquals(addresses.count, 16);
});

Deno.test("guest addresses: only what a guest may hold is remembered", () => {
  const h = new StackHarness();
  const { addresses } = h.stack;
  const never = [
    GATEWAY6,
    GATEWAY_LL,
    GUEST_LL,
    "fd53:4d00::",
    "fd53:4d00:0:1::2",
    "::",
    "ff02::1",
  ];
  for (const text of never) addresses.confirm(h.place(ip(text)));
  assertEquals(addresses.count, 0);
  for (const text of [GATEWAY6, GATEWAY_LL, "::", "::1", "ff02::1", "2001:db8::1"]) {
    assertEquals(addresses.ownerOf(h.place(ip(text))), AddressOwner.foreign);
  }
  assertEquals(addresses.ownerOf(h.place(ip(address(1)))), AddressOwner.unannounced);
});

Deno.test("guest addresses: a shorter prefix reaches further", () => {
  const h = new StackHarness({ link: { prefix6: 48 } });
  const { addresses } = h.stack;
  addresses.confirm(h.place(ip("fd53:4d00:0:1::2")));
  addresses.confirm(h.place(ip("fd53:4d00:1::2")));
  assertEquals([addresses.count, preferred(h)], [1, ip("fd53:4d00:0:1::2")]);
});
