import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  beginDhcp6Ia,
  DHCP6_ADDRESS_OPTION_BYTES,
  DHCP6_IA_HEAD_BYTES,
  Dhcp6Associations,
  Dhcp6Ia,
  endDhcp6Ia,
  MAX_DHCP6_ADDRESSES,
  MAX_DHCP6_IAS,
  writeDhcp6Address,
} from "../../lib/wire/dhcp6_ia.ts";
import { dirtyMemory, guarded, hex } from "./guarded_view.ts";

const AT = 5;
const ADDRESS = "fd534d00000000000000000000000002";
const IAADDR = `0005 0018 ${ADDRESS} 00015180 00015180`;
const TIMES = "0000a8c0 00010e00";

/** Takes one association's value; what was found, or `null` where it was refused. */
function take(code: Dhcp6Ia, text: string, into = new Dhcp6Associations()) {
  const octets = hex(text);
  return into.take(guarded(octets, AT), code, AT, octets.length) ? into : null;
}

function addresses({ addressCount, addressAts, addressIas }: Dhcp6Associations) {
  return Array.from({ length: addressCount }, (_, i) => [addressIas[i], addressAts[i]! - AT]);
}

Deno.test("an association for addresses, written octet by octet and read back", () => {
  const memory = dirtyMemory();
  const { view, bytes } = memory;
  bytes.set(hex(ADDRESS), 16);
  let at = beginDhcp6Ia(view, 100, Dhcp6Ia.nonTemporary, 0xfeedbeef, 43_200, 69_120);
  assertEquals(at, 100 + DHCP6_IA_HEAD_BYTES);
  at = writeDhcp6Address(memory, at, 16, 86_400, 86_400);
  assertEquals(at, 100 + DHCP6_IA_HEAD_BYTES + DHCP6_ADDRESS_OPTION_BYTES);
  endDhcp6Ia(view, 100, at);
  assertEquals(bytes.slice(100, at + 1), hex(`0003 0028 feedbeef ${TIMES} ${IAADDR} a5`));
  const into = new Dhcp6Associations();
  assertEquals(into.take(view, Dhcp6Ia.nonTemporary, 104, at - 104), true);
  assertEquals([into.count, into.ids[0], into.codes[0]], [1, 0xfeedbeef, 3]);
  assertEquals([into.addressCount, into.addressAts[0]], [1, 120]);
});

Deno.test("one for temporary addresses has no times", () => {
  const { view, bytes } = dirtyMemory();
  const at = beginDhcp6Ia(view, 100, Dhcp6Ia.temporary, 7, 1, 2);
  endDhcp6Ia(view, 100, at);
  assertEquals(bytes.slice(100, at + 1), hex("0004 0004 00000007 a5"));
  assertEquals(addresses(take(Dhcp6Ia.temporary, `00000007 ${IAADDR}`)!), [[0, 8]]);
});

Deno.test("addresses stand behind whatever other options, in any association but for prefixes", () => {
  const status = "000d 0002 0000";
  const text = `00000001 ${TIMES} ${status} ${IAADDR} ffee 0001 00 ${IAADDR}`;
  assertEquals(addresses(take(Dhcp6Ia.nonTemporary, text)!), [[0, 22], [0, 55]]);
  const into = new Dhcp6Associations();
  for (const code of [Dhcp6Ia.nonTemporary, Dhcp6Ia.prefix, Dhcp6Ia.nonTemporary]) {
    take(code, `00000001 ${TIMES} ${IAADDR}`, into);
  }
  assertEquals([into.count, addresses(into)], [3, [[0, 16], [2, 16]]]);
  into.clear();
  assertEquals({ ...into }, { ...new Dhcp6Associations() });
});

Deno.test("short ones, overruns and short addresses are refused", () => {
  const rows: [Dhcp6Ia, string][] = [
    [Dhcp6Ia.nonTemporary, ""],
    [Dhcp6Ia.nonTemporary, "00000001 00000000 000000"],
    [Dhcp6Ia.temporary, "000000"],
    [Dhcp6Ia.prefix, "00000001 00000000 000000"],
    [Dhcp6Ia.nonTemporary, `00000001 ${TIMES} 00`],
    [Dhcp6Ia.nonTemporary, `00000001 ${TIMES} 000500`],
    [Dhcp6Ia.nonTemporary, `00000001 ${TIMES} ffee 0001`],
    [Dhcp6Ia.nonTemporary, `00000001 ${TIMES} ffee ffff 00`],
    [Dhcp6Ia.nonTemporary, `00000001 ${TIMES} 0005 0017 ${ADDRESS} 00000000 000000`],
    [Dhcp6Ia.nonTemporary, `00000001 ${TIMES} 0005 0000`],
    [Dhcp6Ia.temporary, `00000001 0005 0018 ${ADDRESS} 00000000`],
  ];
  for (const [code, text] of rows) assertEquals(take(code, text), null, text);
});

Deno.test("so many are taken and no more", () => {
  const into = new Dhcp6Associations();
  const one = `00000001 ${TIMES}`;
  for (let i = 0; i < MAX_DHCP6_IAS; i++) assertEquals(take(Dhcp6Ia.nonTemporary, one, into), into);
  assertEquals(take(Dhcp6Ia.nonTemporary, one, into), null);
  const many = (count: number) => `${one} ${IAADDR.repeat(count)}`;
  assertEquals(take(Dhcp6Ia.nonTemporary, many(MAX_DHCP6_ADDRESSES))!.addressCount, 16);
  assertEquals(take(Dhcp6Ia.nonTemporary, many(MAX_DHCP6_ADDRESSES + 1)), null);
});

Deno.test("whatever the octets, the walk ends inside, and the addresses are inside too", () => {
  const option = fc.tuple(
    fc.constantFrom(5, 5, 5, 13, 0xffee),
    fc.uint8Array({ minLength: 20, maxLength: 30 }),
    fc.constantFrom(0, 0, 0, 0, 1, -1, 300),
  ).map(([code, value, lie]) => {
    const bytes = (value.length + lie) & 0xffff;
    return [code >> 8, code & 0xff, bytes >> 8, bytes & 0xff, ...value];
  });
  const code = fc.constantFrom(Dhcp6Ia.nonTemporary, Dhcp6Ia.temporary, Dhcp6Ia.prefix);
  const into = new Dhcp6Associations();
  fc.assert(
    fc.property(code, fc.array(option, { maxLength: 20 }), fc.nat(14), (code, list, cut) => {
      const whole = [...hex(`00000001 ${TIMES}`), ...list.flat()];
      const octets = Uint8Array.from(whole.slice(0, Math.max(0, whole.length - cut)));
      const view = guarded(octets, AT);
      into.clear();
      if (!into.take(view, code, AT, octets.length)) return;
      for (let i = 0; i < into.addressCount; i++) {
        for (let j = 0; j < 24; j++) view.getUint8(into.addressAts[i]! + j);
      }
    }),
    { numRuns: 2_000 },
  );
});
