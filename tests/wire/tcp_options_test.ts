import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  MAX_SACK_BLOCKS,
  MSS_OPTION_BYTES,
  parseTcpOptions,
  SACK_PERMITTED_OPTION_BYTES,
  sackOptionBytes,
  TcpOptions,
  TIMESTAMPS_OPTION_BYTES,
  WINDOW_SCALE_OPTION_BYTES,
  writeMssOption,
  writeSackOption,
  writeSackPermittedOption,
  writeTimestampsOption,
  writeWindowScaleOption,
} from "../../lib/wire/tcp_options.ts";
import { dirtyMemory, guarded, hex } from "./guarded_view.ts";

const NONE = {
  mss: 0,
  windowScale: -1,
  sackPermitted: false,
  timestamps: null,
  sack: [] as number[],
};

function summary(options: TcpOptions): typeof NONE | object {
  return {
    mss: options.mss,
    windowScale: options.windowScale,
    sackPermitted: options.sackPermitted,
    timestamps: options.timestamps ? [options.timestampValue, options.timestampEcho] : null,
    sack: Array.from(options.sackEdges.subarray(0, 2 * options.sackBlocks)),
  };
}

function parse(text: string): object | null {
  const octets = hex(text);
  const options = new TcpOptions();
  if (!parseTcpOptions(guarded(octets), 5, octets.length, options)) return null;
  return summary(options);
}

Deno.test("the options of a SYN, in the order of Linux and of another stack", () => {
  const expected = {
    ...NONE,
    mss: 1460,
    windowScale: 7,
    sackPermitted: true,
    timestamps: [0x9abcdef0, 0],
  };
  assertEquals(parse("020405b4 0402 080a 9abcdef0 00000000 01 030307"), expected);
  assertEquals(parse("030307 080a 9abcdef0 00000000 0402 020405b4 00"), expected);
});

Deno.test("the options of an acknowledgment with two blocks; edges are unsigned", () => {
  assertEquals(parse("0101 080a 00000001 ffffffff 0101 0512 fffffff0 00000010 80000000 80000001"), {
    ...NONE,
    timestamps: [1, 0xffffffff],
    sack: [0xfffffff0, 0x10, 0x80000000, 0x80000001],
  });
});

Deno.test("no options, padding, end of list and unknown kinds", () => {
  assertEquals(parse(""), NONE);
  assertEquals(parse("01010101"), NONE);
  assertEquals(parse("00 020405b4"), NONE); // nothing counts behind the end
  assertEquals(parse("fd04f989 1e03aa 2202 020405b4"), { ...NONE, mss: 1460 });
  assertEquals(parse("020405b4 02040218"), { ...NONE, mss: 0x218 });
});

Deno.test("lengths of 0 and 1, over the end, or not the kind's own", () => {
  for (
    const malformed of [
      "0200",
      "0201",
      "fd00",
      "fd01",
      "05000000", // below 2
      "02",
      "0101 02",
      "020405",
      "fd05aaaa",
      "fdff",
      "080a00000000", // over the end
      "0202 0000",
      "0203 05 00",
      "020505b400", // MSS
      "0302",
      "03040700", // window scale
      "040300 00", // SACK permitted
      "0809 00000000 000000",
      "080b 00000000 00000000 00", // timestamps
      "0502",
      "0503 00",
      "0506 00000001",
      "0509 00000001 000000",
      "050b 00000001 00000002 00", // SACK
      "052a" + "00000001".repeat(10), // five blocks
    ]
  ) assertEquals(parse(malformed), null, malformed);
});

Deno.test("all that is written is read back, packed as the sizes say", () => {
  const uint32 = fc.integer({ min: 0, max: 0xffffffff });
  const edges = fc.array(uint32, { minLength: 8, maxLength: 8 });
  fc.assert(fc.property(
    fc.nat(0xffff),
    fc.nat(255),
    fc.tuple(uint32, uint32),
    fc.integer({ min: 1, max: MAX_SACK_BLOCKS }),
    edges,
    (mss, scale, [value, echo], blocks, list) => {
      const { view, bytes } = dirtyMemory();
      const options = new TcpOptions();
      let at = writeMssOption(view, 100, mss);
      at = writeSackPermittedOption(view, at);
      at = writeTimestampsOption(view, at, value, echo);
      at = writeWindowScaleOption(view, at, scale);
      const expected = MSS_OPTION_BYTES + SACK_PERMITTED_OPTION_BYTES + TIMESTAMPS_OPTION_BYTES +
        WINDOW_SCALE_OPTION_BYTES;
      assertEquals([at, at % 4, bytes[at]], [100 + expected, 0, 0xa5]);
      assertEquals(parseTcpOptions(view, 100, at - 100, options), true);
      const timestamps = [value, echo];
      assertEquals(summary(options), {
        mss,
        windowScale: scale,
        sackPermitted: true,
        timestamps,
        sack: [],
      });

      bytes.fill(0xa5);
      at = writeSackOption(view, 100, Uint32Array.from(list), blocks);
      assertEquals([at, bytes[at]], [100 + sackOptionBytes(blocks), 0xa5]);
      assertEquals(parseTcpOptions(view, 100, at - 100, options), true);
      assertEquals(summary(options), { ...NONE, sack: list.slice(0, 2 * blocks) });
    },
  ));
});

Deno.test("whatever the options, the walk ends inside them and within four blocks", () => {
  const octet = fc.oneof(fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 10, 18, 34, 255), fc.nat(255));
  const options = new TcpOptions();
  fc.assert(
    fc.property(fc.array(octet, { maxLength: 40 }), (list) => {
      parseTcpOptions(guarded(Uint8Array.from(list)), 5, list.length, options);
      assertEquals(options.sackBlocks <= MAX_SACK_BLOCKS, true);
    }),
    { numRuns: 3_000 },
  );
});
