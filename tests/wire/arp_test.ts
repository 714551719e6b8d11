import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  ARP_BYTES,
  ArpOperation,
  arpOperation,
  arpSenderIpAt,
  arpSenderMacAt,
  arpTargetIpAt,
  arpTargetMacAt,
  isArpForIpv4,
  writeArp,
} from "../../lib/wire/arp.ts";
import { dirtyMemory, guarded, hex } from "./guarded_view.ts";

const REQUEST = hex("0001 0800 06 04 0001 02534d000002 64600002 000000000000 64600001");

Deno.test("a request, octet by octet", () => {
  const view = guarded(REQUEST);
  assertEquals(isArpForIpv4(view, 5), true);
  assertEquals(arpOperation(view, 5), ArpOperation.request);
  assertEquals(view.getUint16(arpSenderMacAt(5) + 4), 2);
  assertEquals(view.getUint32(arpSenderIpAt(5)), 0x64600002);
  assertEquals(view.getUint32(arpTargetMacAt(5)), 0);
  assertEquals(view.getUint32(arpTargetIpAt(5)), 0x64600001);
});

Deno.test("any other hardware, protocol or size is not ARP for IPv4", () => {
  for (let octet = 0; octet < 6; octet++) {
    for (const bit of [1, 2, 16, 128]) {
      const changed = REQUEST.slice();
      changed[octet]! ^= bit;
      assertEquals(isArpForIpv4(guarded(changed), 5), false);
    }
  }
});

Deno.test("writing the request's fields gives the request", () => {
  const memory = dirtyMemory();
  memory.bytes.set(hex("02534d000002 64600002 64600001"), 0);
  writeArp(memory, 50, ArpOperation.request, 0, 6, -1, 10);
  assertEquals(memory.bytes.slice(50, 50 + ARP_BYTES), REQUEST);
  assertEquals([memory.bytes[49], memory.bytes[50 + ARP_BYTES]], [0xa5, 0xa5]);
});

Deno.test("any reply is read back as it was written", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), (fields) => {
    const memory = dirtyMemory();
    memory.bytes.set(fields, 0);
    writeArp(memory, 33, ArpOperation.reply, 0, 6, 10, 16);
    assertEquals(isArpForIpv4(memory.view, 33), true);
    assertEquals(arpOperation(memory.view, 33), ArpOperation.reply);
    assertEquals(
      memory.bytes.slice(arpSenderMacAt(33), arpTargetIpAt(33) + 4),
      new Uint8Array(fields),
    );
  }));
});
