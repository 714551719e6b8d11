/** The blocks of a capture, read back by a strict reader. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  BLOCK_NAMES_MAX,
  commentBytes,
  Direction,
  interfaceBlock,
  joinBlocks,
  namesBlock,
  PacketBlock,
  sectionBlock,
  SNAP_MAX_BYTES,
  statisticsBlock,
  TEXT_MAX_BYTES,
  wholeBlocks,
} from "../../lib/capture/pcapng.ts";
import { readPcapng } from "./read_pcapng.ts";

const HEAD = joinBlocks([
  sectionBlock("virtio-gateway"),
  interfaceBlock({ name: "guest", description: "a link", snapLength: SNAP_MAX_BYTES, filter: "" }),
]);

interface Packet {
  readonly data: Uint8Array;
  readonly cut: number;
  readonly high: number;
  readonly low: number;
  readonly isOut: boolean;
  readonly comment: string | null;
  readonly lost: number;
}

/** Writes a packet into octets that are not zero. */
function packetBlock(packet: Packet): Uint8Array {
  const block = new PacketBlock();
  block.originalBytes = packet.data.length;
  block.capturedBytes = Math.min(packet.cut, packet.data.length);
  block.timeHigh = packet.high;
  block.timeLow = packet.low;
  block.direction = packet.isOut ? Direction.outbound : Direction.inbound;
  block.comment = packet.comment === null ? null : commentBytes(packet.comment);
  block.lost = packet.lost;
  const bytes = new Uint8Array(block.bytes + 8).fill(0xaa);
  const dataAt = block.write(new DataView(bytes.buffer), 4);
  bytes.set(packet.data.subarray(0, block.capturedBytes), dataAt);
  assertEquals([...bytes.subarray(0, 4), ...bytes.subarray(-4)], Array(8).fill(0xaa), "around it");
  return bytes.slice(4, -4);
}

Deno.test("pcapng: a section names its application, an interface all of its fields", () => {
  const filter = "tcp port 443 and host 10.0.0.5";
  const file = readPcapng(joinBlocks([
    sectionBlock("virtio-gateway"),
    interfaceBlock({ name: "guest", description: "of a guest", snapLength: 256, filter }),
  ]));
  assertEquals(file.application, "virtio-gateway");
  assertEquals(file.interface, {
    name: "guest",
    description: "of a guest",
    snapLength: 256,
    filter,
  });
  assertEquals(readPcapng(HEAD).interface.filter, "");
});

Deno.test("pcapng: the octets of the first block are those of the draft", () => {
  assertEquals(
    sectionBlock("abc").toHex(),
    "0a0d0d0a" + "28000000" + "4d3c2b1a" + "01000000" + "ffffffffffffffff" +
      "04000300" + "61626300" + "00000000" + "28000000",
  );
});

Deno.test("pcapng: whatever a packet is, its block is whole and says it", () => {
  const packet = fc.record({
    data: fc.uint8Array({ maxLength: 70 }),
    cut: fc.integer({ min: 0, max: 80 }),
    high: fc.nat(0xffffffff),
    low: fc.nat(0xffffffff),
    isOut: fc.boolean(),
    comment: fc.option(fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 })),
    lost: fc.oneof(fc.constant(0), fc.maxSafeNat()),
  });
  fc.assert(fc.property(fc.array(packet, { maxLength: 8 }), (packets) => {
    const file = readPcapng(joinBlocks([HEAD, ...packets.map(packetBlock)]));
    assertEquals(
      file.packets,
      packets.map(({ data, cut, high, low, isOut, comment, lost }) => ({
        time: (BigInt(high) << 32n) + BigInt(low),
        data: data.slice(0, cut),
        originalBytes: data.length,
        direction: isOut ? "out" : "in",
        comment,
        lost,
      })),
    );
  }));
});

Deno.test("pcapng: names of both families, and no more than a block may have", () => {
  const names = [
    { address: Uint8Array.of(10, 0, 0, 5), name: "db.internal" },
    { address: new Uint8Array(16).fill(7), name: "ü.test" },
  ];
  assertEquals(readPcapng(joinBlocks([HEAD, namesBlock(names)])).names, [
    { address: "10.0.0.5", names: ["db.internal"] },
    { address: Array(16).fill(7).join("."), names: ["ü.test"] },
  ]);
  const many = Array.from({ length: BLOCK_NAMES_MAX + 9 }, () => names[0]!);
  const file = readPcapng(joinBlocks([HEAD, namesBlock(many)]));
  assertEquals(file.names.length, BLOCK_NAMES_MAX);
});

Deno.test("pcapng: statistics count beyond 32 bits", () => {
  const counts = { seen: 2 ** 40 + 3, accepted: 2 ** 33, lost: 5 };
  const block = statisticsBlock({ high: 1, low: 2 }, counts);
  assertEquals(readPcapng(joinBlocks([HEAD, block])).statistics, [counts]);
});

Deno.test("pcapng: a text that is too long is cut between two characters", () => {
  const bytes = commentBytes("€".repeat(TEXT_MAX_BYTES));
  assertEquals(bytes.length, TEXT_MAX_BYTES - TEXT_MAX_BYTES % 3);
  assert(new TextDecoder("utf-8", { fatal: true }).decode(bytes).endsWith("€"));
});

Deno.test("pcapng: blocks are told apart up to any room", () => {
  const blocks = [10, 0, 33].map((length) =>
    packetBlock({
      data: new Uint8Array(length),
      cut: 99,
      high: 0,
      low: 0,
      isOut: false,
      comment: null,
      lost: 0,
    })
  );
  const whole = joinBlocks(blocks);
  const ends = [0, 1, 2, 3].map((count) => joinBlocks(blocks.slice(0, count)).length);
  for (let room = 0; room <= whole.length + 5; room++) {
    const fits = ends.findLast((end) => end <= room)!;
    assertEquals(wholeBlocks(whole, 0, room), fits);
    const behind = wholeBlocks(whole, ends[1]!, room);
    assertEquals(ends.includes(ends[1]! + behind) && behind <= room, true);
  }
  assertEquals(wholeBlocks(whole.subarray(0, -1), 0, 1_000), ends[2]);
});
