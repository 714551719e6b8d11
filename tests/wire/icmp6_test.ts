import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseIp6 } from "../../lib/wire/address.ts";
import {
  icmp6Checksum,
  icmp6ChecksumIsRight,
  icmp6Code,
  icmp6EchoIdentifier,
  icmp6EchoSequence,
  icmp6Mtu,
  Icmp6Problem,
  Icmp6Type,
  icmp6Type,
  Icmp6Unreachable,
  isIcmp6Error,
  writeIcmp6Checksum,
  writeIcmp6Header,
} from "../../lib/wire/icmp6.ts";
import { dirtyMemory, hex, naiveSum } from "./guarded_view.ts";

Deno.test("a router solicitation's checksum, by hand", () => {
  const memory = dirtyMemory();
  memory.bytes.set(parseIp6("fe80::1")!, 0);
  memory.bytes.set(parseIp6("ff02::2")!, 16);
  writeIcmp6Header(memory.view, 40, Icmp6Type.routerSolicitation, 0, 0);
  writeIcmp6Checksum(memory, 40, 8, 0, 16);
  // fe80 + 1 + ff02 + 2 + length 8 + next header 3a + 8500 = 282c7 → 82c9.
  assertEquals(memory.bytes.slice(40, 49), hex("8500 7d36 00000000 a5"));
  assertEquals(icmp6ChecksumIsRight(memory, 40, 8, 0, 16), true);
  memory.bytes[31] = 3;
  assertEquals(icmp6ChecksumIsRight(memory, 40, 8, 0, 16), false);
});

Deno.test("any message is read back as it was written, with a right checksum", () => {
  fc.assert(fc.property(
    fc.constantFrom(...Object.values(Icmp6Type)),
    fc.nat(255),
    fc.integer({ min: 0, max: 0xffffffff }),
    fc.uint8Array({ minLength: 32, maxLength: 32 }),
    fc.uint8Array({ maxLength: 64 }),
    (type, code, rest, addresses, payload) => {
      const memory = dirtyMemory();
      const { view } = memory;
      const bytes = 8 + payload.length;
      memory.bytes.set(addresses, 0);
      writeIcmp6Header(view, 51, type, code, rest);
      memory.bytes.set(payload, 59);
      writeIcmp6Checksum(memory, 51, bytes, 0, 16);
      assertEquals([icmp6Type(view, 51), icmp6Code(view, 51)], [type, code]);
      assertEquals([icmp6Mtu(view, 51), icmp6EchoIdentifier(view, 51)], [rest, rest >>> 16]);
      assertEquals(icmp6EchoSequence(view, 51), rest & 0xffff);
      const message = memory.bytes.subarray(51, 51 + bytes);
      assertEquals(
        naiveSum(new Uint8Array([...addresses, 0, 0, 0, bytes, 0, 0, 0, 58, ...message])),
        0xffff,
      );
      assertEquals(icmp6Checksum(view, 51), view.getUint16(53));
    },
  ));
});

Deno.test("errors are told from messages, and redirects count as errors", () => {
  const errors = Array.from({ length: 256 }, (_, type) => type).filter(isIcmp6Error);
  assertEquals(errors, [...Array.from({ length: 128 }, (_, type) => type), 137]);
});

Deno.test("the codes that dials and policy answer with", () => {
  const memory = dirtyMemory();
  writeIcmp6Header(
    memory.view,
    0,
    Icmp6Type.destinationUnreachable,
    Icmp6Unreachable.prohibited,
    0,
  );
  assertEquals(memory.bytes.slice(0, 8), hex("0101000000000000"));
  writeIcmp6Header(memory.view, 0, Icmp6Type.parameterProblem, Icmp6Problem.nextHeader, 40);
  assertEquals(memory.bytes.slice(0, 8), hex("0401000000000028"));
});
