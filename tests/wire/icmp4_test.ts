import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  icmp4Checksum,
  icmp4ChecksumIsRight,
  icmp4Code,
  icmp4EchoIdentifier,
  icmp4EchoSequence,
  icmp4NextHopMtu,
  Icmp4Type,
  icmp4Type,
  Icmp4Unreachable,
  isIcmp4Error,
  writeIcmp4Checksum,
  writeIcmp4Header,
} from "../../lib/wire/icmp4.ts";
import { dirtyMemory, hex, memoryWith, naiveSum } from "./guarded_view.ts";

Deno.test("an echo request, field by field", () => {
  const octets = hex("0800 dead 1234 0001 6162 6364 6566 67");
  const memory = memoryWith(octets, 13);
  writeIcmp4Checksum(memory, 13, octets.length);
  assertEquals(naiveSum(memory.bytes.subarray(13, 13 + octets.length)), 0xffff);
  assertEquals([icmp4Type(memory.view, 13), icmp4Code(memory.view, 13)], [Icmp4Type.echo, 0]);
  // 0800 + 1234 + 0001 + 6162 + 6364 + 6566 + 6700 = 1ab61 → ab62.
  assertEquals(icmp4Checksum(memory.view, 13), ~0xab62 & 0xffff);
  assertEquals([icmp4EchoIdentifier(memory.view, 13), icmp4EchoSequence(memory.view, 13)], [
    0x1234,
    1,
  ]);
  assertEquals(icmp4ChecksumIsRight(memory, 13, octets.length), true);
  memory.bytes[20]! ^= 1;
  assertEquals(icmp4ChecksumIsRight(memory, 13, octets.length), false);
});

Deno.test("fragmentation needed names the next hop's MTU", () => {
  const memory = dirtyMemory();
  writeIcmp4Header(
    memory.view,
    8,
    Icmp4Type.destinationUnreachable,
    Icmp4Unreachable.fragmentationNeeded,
    1400,
  );
  assertEquals(memory.bytes.slice(8, 17), hex("0304 0000 0000 0578 a5"));
  assertEquals(icmp4NextHopMtu(memory.view, 8), 1400);
});

Deno.test("any message is read back as it was written, with a right checksum", () => {
  fc.assert(fc.property(
    fc.constantFrom(...Object.values(Icmp4Type)),
    fc.nat(255),
    fc.integer({ min: 0, max: 0xffffffff }),
    fc.uint8Array({ maxLength: 64 }),
    (type, code, rest, payload) => {
      const memory = dirtyMemory();
      writeIcmp4Header(memory.view, 21, type, code, rest);
      memory.bytes.set(payload, 29);
      writeIcmp4Checksum(memory, 21, 8 + payload.length);
      assertEquals([icmp4Type(memory.view, 21), icmp4Code(memory.view, 21)], [type, code]);
      assertEquals(memory.view.getUint32(25), rest);
      assertEquals(naiveSum(memory.bytes.subarray(21, 29 + payload.length)), 0xffff);
    },
  ));
});

Deno.test("errors are told from questions and answers", () => {
  const errors = Array.from({ length: 256 }, (_, type) => type).filter(isIcmp4Error);
  assertEquals(errors, [3, 4, 5, 11, 12]);
});
