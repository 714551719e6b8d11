import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { transportSum4, transportSum6 } from "../../lib/wire/checksum.ts";
import {
  setUdpChecksumFromSum,
  UDP_HEADER_BYTES,
  udpChecksum,
  udpDestinationPort,
  udpLengthBytes,
  udpSourcePort,
  writeUdpChecksum4,
  writeUdpChecksum6,
  writeUdpHeader,
} from "../../lib/wire/udp.ts";
import { dirtyMemory, hex } from "./guarded_view.ts";

Deno.test("a datagram, field by field, its checksum by hand", () => {
  const memory = dirtyMemory();
  memory.bytes.set(hex("0a000001 0a000002"), 0);
  writeUdpHeader(memory.view, 20, 53, 0x1234, 9);
  memory.bytes[28] = 0x41;
  writeUdpChecksum4(memory, 20, 9, 0, 4);
  // Addresses, protocol and length; then header and the odd octet as a high half.
  const sum = 0x1400 + 0x3 + 0x1a + 0x35 + 0x1234 + 0x9 + 0x4100;
  assertEquals(udpChecksum(memory.view, 20), ~sum & 0xffff);
  assertEquals([udpSourcePort(memory.view, 20), udpDestinationPort(memory.view, 20)], [53, 0x1234]);
  assertEquals(udpLengthBytes(memory.view, 20), UDP_HEADER_BYTES + 1);
});

Deno.test("a computed checksum of 0 goes out as 0xffff", () => {
  const memory = dirtyMemory();
  setUdpChecksumFromSum(memory.view, 0, 0xffff);
  assertEquals(udpChecksum(memory.view, 0), 0xffff);
  setUdpChecksumFromSum(memory.view, 0, 0);
  assertEquals(udpChecksum(memory.view, 0), 0xffff);
  setUdpChecksumFromSum(memory.view, 0, 0xfffe);
  assertEquals(udpChecksum(memory.view, 0), 1);
  // A datagram made so that the sum is 0xffff without its checksum.
  memory.fill(0, 64);
  writeUdpHeader(memory.view, 32, 0, 0, 10);
  memory.view.setUint16(40, 0xffff - 17 - 10 - 10);
  writeUdpChecksum4(memory, 32, 10, 0, 4);
  assertEquals(udpChecksum(memory.view, 32), 0xffff);
  assertEquals(transportSum4(memory, 0, 4, 17, 32, 10), 0xffff);
});

Deno.test("any datagram is read back as it was written, with a right checksum in both families", () => {
  const port = fc.nat(0xffff);
  fc.assert(fc.property(
    port,
    port,
    fc.uint8Array({ minLength: 32, maxLength: 32 }),
    fc.uint8Array({ maxLength: 99 }),
    (source, destination, addresses, payload) => {
      const memory = dirtyMemory();
      const { view } = memory;
      const length = 8 + payload.length;
      memory.bytes.set(addresses, 0);
      writeUdpHeader(view, 37, source, destination, length);
      assertEquals(udpChecksum(view, 37), 0);
      memory.bytes.set(payload, 45);
      writeUdpChecksum4(memory, 37, length, 0, 4);
      assertEquals(transportSum4(memory, 0, 4, 17, 37, length), 0xffff);
      writeUdpChecksum6(memory, 37, length, 0, 16);
      assertEquals(transportSum6(memory, 0, 16, 17, 37, length), 0xffff);
      assertEquals(udpSourcePort(view, 37), source);
      assertEquals(udpDestinationPort(view, 37), destination);
      assertEquals(udpLengthBytes(view, 37), length);
      assertEquals([memory.bytes[36], memory.bytes[37 + length]], [0xa5, 0xa5]);
    },
  ));
});
