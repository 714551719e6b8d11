import { assertEquals, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import {
  Ipv6Extension,
  Ipv6Extensions,
  Ipv6Walk,
  MAX_EXTENSION_HEADERS,
  walkFragmentablePart,
  walkIpv6Extensions,
} from "../../lib/wire/ipv6_extensions.ts";
import { guarded, hex } from "./guarded_view.ts";

const AT = 5;
const { hopByHop, routing, fragment, destination, noNextHeader } = Ipv6Extension;
const UDP = 17;

function octet(value: number): string {
  return value.toString(16).padStart(2, "0");
}

/** Walks a packet whose fixed header names `first`, followed by the octets in `chain`. */
function walk(
  first: number,
  chain: string,
  into = new Ipv6Extensions(),
): [Ipv6Walk, Ipv6Extensions] {
  const octets = hex(chain);
  const packet = new Uint8Array(40 + octets.length);
  packet[0] = 0x60;
  packet[6] = first;
  packet.set(octets, 40);
  return [walkIpv6Extensions(guarded(packet, AT), AT, AT + packet.length, into), into];
}

/** An extension header of 8 octets with padding only. */
function padded(next: number): string {
  return `${octet(next)}00 0104 00000000`;
}

Deno.test("without extension headers the payload follows the fixed header", () => {
  const [outcome, into] = walk(UDP, "0035003500080000");
  assertEquals(outcome, Ipv6Walk.payload);
  assertEquals([into.protocol, into.payloadAt, into.protocolAt, into.headers], [
    UDP,
    AT + 40,
    AT + 6,
    0,
  ]);
  assertEquals(into.fragmentAt, -1);
});

Deno.test("hop-by-hop with router alert, then destination options, then the payload", () => {
  const [outcome, into] = walk(hopByHop, `3c00 05020000 0100 ${padded(UDP)} 00350035`);
  assertEquals(outcome, Ipv6Walk.payload);
  assertEquals([into.protocol, into.payloadAt, into.protocolAt, into.headers], [
    UDP,
    AT + 56,
    AT + 48,
    2,
  ]);
});

Deno.test("no next header ends the chain without a payload", () => {
  assertEquals(walk(noNextHeader, "deadbeef")[0], Ipv6Walk.nothing);
  assertEquals(walk(destination, padded(noNextHeader))[0], Ipv6Walk.nothing);
});

Deno.test("AH, ESP, mobility and IP in IP are payloads, not looked into", () => {
  for (const protocol of [51, 50, 135, 4, 41, 47, 255]) {
    const [outcome, into] = walk(protocol, "");
    assertEquals([outcome, into.protocol], [Ipv6Walk.payload, protocol]);
  }
});

Deno.test("a fragment's fields", () => {
  const [outcome, into] = walk(hopByHop, `${padded(fragment)} 1100 fff9 89abcdef 0102030405060708`);
  assertEquals(outcome, Ipv6Walk.fragment);
  assertEquals(into.fragmentAt, AT + 48);
  assertEquals(into.fragmentNamedAt, AT + 40);
  assertEquals([into.fragmentOffsetBytes, into.moreFragments, into.identification], [
    65_528,
    true,
    0x89abcdef,
  ]);
  assertEquals([into.protocol, into.protocolAt, into.payloadAt], [UDP, AT + 48, AT + 56]);
});

Deno.test("an atomic fragment is a whole packet, RFC 6946", () => {
  const [outcome, into] = walk(fragment, `3c00 0000 00000007 ${padded(UDP)} 00350035`);
  assertEquals(outcome, Ipv6Walk.payload);
  assertEquals([into.protocol, into.payloadAt, into.fragmentAt], [UDP, AT + 56, AT + 40]);
  // The two reserved bits beside the offset make no fragment.
  assertEquals(walk(fragment, "1100 0006 00000007")[0], Ipv6Walk.payload);
});

Deno.test("the object of an earlier walk leaves nothing behind", () => {
  const [, into] = walk(fragment, "1100 0011 00000007 0102030405060708");
  const [outcome, again] = walk(UDP, "", into);
  assertEquals(outcome, Ipv6Walk.payload);
  const fresh = new Ipv6Extensions();
  walk(UDP, "", fresh);
  assertEquals({ ...again }, { ...fresh });
});

Deno.test("a fragment inside a fragment is dropped, also when found after reassembly", () => {
  assertEquals(walk(fragment, "2c00 0000 00000007 1100 0000 00000008")[0], Ipv6Walk.nestedFragment);
  const part = hex(`${padded(fragment)} 1100 0001 00000008 00350035`);
  const into = new Ipv6Extensions();
  const view = guarded(part, AT);
  assertEquals(
    walkFragmentablePart(view, destination, 0, AT, AT + part.length, 1, into),
    Ipv6Walk.nestedFragment,
  );
});

Deno.test("a fragmentable part is walked on to its payload, within the packet's limit", () => {
  const part = hex(`${padded(UDP)} 00350035`);
  const into = new Ipv6Extensions();
  const view = guarded(part, AT);
  const end = AT + part.length;
  assertEquals(walkFragmentablePart(view, destination, 77, AT, end, 1, into), Ipv6Walk.payload);
  assertEquals([into.protocol, into.payloadAt, into.protocolAt, into.headers], [
    UDP,
    AT + 8,
    AT,
    2,
  ]);
  assertEquals(walkFragmentablePart(view, UDP, 77, AT, end, 1, into), Ipv6Walk.payload);
  assertEquals([into.protocol, into.payloadAt, into.protocolAt, into.headers], [UDP, AT, 77, 1]);
  assertEquals(
    walkFragmentablePart(view, destination, 77, AT, end, MAX_EXTENSION_HEADERS, into),
    Ipv6Walk.tooMany,
  );
  assertEquals(walkFragmentablePart(view, hopByHop, 77, AT, end, 1, into), Ipv6Walk.misplaced);
});

Deno.test("eight headers pass, nine and a hundred do not", () => {
  const chain = (count: number) => padded(destination).repeat(count - 1) + padded(UDP);
  assertEquals(walk(destination, chain(8))[0], Ipv6Walk.payload);
  assertEquals(walk(destination, chain(9))[0], Ipv6Walk.tooMany);
  const [outcome, into] = walk(destination, chain(100));
  assertEquals([outcome, into.headers], [Ipv6Walk.tooMany, 8]);
});

Deno.test("hop-by-hop anywhere but first is pointed at, RFC 8200 section 4.1", () => {
  const [outcome, into] = walk(destination, padded(hopByHop) + padded(UDP));
  assertEquals([outcome, into.problemAt], [Ipv6Walk.misplaced, AT + 40]);
});

Deno.test("routing type 0 is refused, others while segments are left", () => {
  for (
    const [type, left, expected] of [
      [0, 1, Ipv6Walk.routing],
      [0, 0, Ipv6Walk.routing],
      [2, 1, Ipv6Walk.routing],
      [4, 255, Ipv6Walk.routing],
      [2, 0, Ipv6Walk.payload],
      [253, 0, Ipv6Walk.payload],
    ] as const
  ) {
    const [outcome, into] = walk(routing, `1100 ${octet(type)}${octet(left)} 00000000`);
    assertEquals(outcome, expected, `type ${type}, ${left} left`);
    if (expected === Ipv6Walk.routing) assertEquals(into.problemAt, AT + 42);
  }
});

Deno.test("the action bits of an unknown option, RFC 8200 section 4.2", () => {
  for (
    const [type, expected] of [
      [0x1e, Ipv6Walk.payload],
      [0x3e, Ipv6Walk.payload], // the change bit is no action
      [0x5e, Ipv6Walk.optionDrop],
      [0x9e, Ipv6Walk.optionProblem],
      [0xde, Ipv6Walk.optionProblemUnicast],
      [0xc2, Ipv6Walk.optionProblemUnicast], // jumbo payload
    ] as const
  ) {
    for (const header of [hopByHop, destination]) {
      const [outcome, into] = walk(header, `1100 00 ${octet(type)} 0200 0000`);
      assertEquals(outcome, expected, octet(type));
      if (expected !== Ipv6Walk.payload) assertEquals(into.problemAt, AT + 43);
    }
  }
});

Deno.test("headers and options that run over their end", () => {
  assertEquals(walk(destination, "")[0], Ipv6Walk.overrun);
  assertEquals(walk(destination, "11000104000000")[0], Ipv6Walk.overrun);
  assertEquals(walk(destination, "1101010400000000")[0], Ipv6Walk.overrun);
  assertEquals(walk(hopByHop, "11ff010400000000")[0], Ipv6Walk.overrun);
  assertEquals(walk(routing, "1102000000000000")[0], Ipv6Walk.overrun);
  assertEquals(walk(fragment, "11000001000000")[0], Ipv6Walk.overrun);
  // An option over its header, though not over the packet.
  assertEquals(walk(destination, "1100010500000000 00350035")[0], Ipv6Walk.overrun);
  assertEquals(walk(destination, "1100000000000005 00350035")[0], Ipv6Walk.overrun);
  assertEquals(walk(destination, "1100000000000005")[0], Ipv6Walk.overrun);
});

Deno.test("a chain of any octets ends inside the packet", () => {
  const next = fc.constantFrom<number>(
    hopByHop,
    routing,
    fragment,
    destination,
    noNextHeader,
    UDP,
    255,
  );
  const piece = fc.tuple(
    next,
    fc.constantFrom(0, 0, 0, 1, 255),
    fc.uint8Array({ minLength: 6, maxLength: 6 }),
  )
    .map(([following, length, rest]) => [following, length, ...rest]);
  const into = new Ipv6Extensions();
  fc.assert(
    fc.property(next, fc.array(piece, { maxLength: 14 }), fc.nat(7), (first, pieces, cut) => {
      const chain = pieces.flat();
      const packet = new Uint8Array(40 + Math.max(0, chain.length - cut));
      packet.set(chain.slice(0, packet.length - 40), 40);
      packet[6] = first;
      const end = AT + packet.length;
      const outcome = walkIpv6Extensions(guarded(packet, AT), AT, end, into);
      assertLessOrEqual(into.headers, MAX_EXTENSION_HEADERS);
      if (outcome === Ipv6Walk.payload || outcome === Ipv6Walk.fragment) {
        assertLessOrEqual(into.payloadAt, end);
      }
    }),
    { numRuns: 3_000 },
  );
});
