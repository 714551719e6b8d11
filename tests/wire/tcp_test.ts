import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  setTcpChecksum,
  TCP_HEADER_BYTES,
  TCP_MAX_HEADER_BYTES,
  tcpAcknowledgment,
  tcpChecksum,
  tcpDestinationPort,
  TcpFlag,
  tcpFlags,
  tcpHeaderBytes,
  tcpSequence,
  tcpSourcePort,
  tcpUrgentPointer,
  tcpWindow,
  writeTcpHeader,
} from "../../lib/wire/tcp.ts";
import { dirtyMemory, hex, memoryWith } from "./guarded_view.ts";

Deno.test("a header, field by field; numbers are unsigned", () => {
  const { view } = memoryWith(hex("c350 01bb fffffffe 80000001 a0 12 ffff 1a2b 0005"), 6);
  assertEquals([tcpSourcePort(view, 6), tcpDestinationPort(view, 6)], [50_000, 443]);
  assertEquals([tcpSequence(view, 6), tcpAcknowledgment(view, 6)], [4_294_967_294, 2_147_483_649]);
  assertEquals([tcpHeaderBytes(view, 6), tcpFlags(view, 6)], [40, TcpFlag.syn | TcpFlag.ack]);
  assertEquals([tcpWindow(view, 6), tcpChecksum(view, 6), tcpUrgentPointer(view, 6)], [
    65_535,
    0x1a2b,
    5,
  ]);
});

Deno.test("the data offset is read as it stands: 0 to 60 octets", () => {
  const { view } = memoryWith(new Uint8Array(20), 0);
  for (let words = 0; words < 16; words++) {
    view.setUint8(12, (words << 4) | 0xf); // the reserved bits do not count
    assertEquals(tcpHeaderBytes(view, 0), words * 4);
  }
});

Deno.test("every control bit has its place", () => {
  const { view } = memoryWith(new Uint8Array(20), 0);
  const places = Object.values(TcpFlag).map((flag) => {
    writeTcpHeader(view, 0, 1, 2, 3, 4, TCP_HEADER_BYTES, flag, 5);
    return tcpFlags(view, 0);
  });
  assertEquals(places, [1, 2, 4, 8, 16, 32, 64, 128]);
  assertEquals(tcpHeaderBytes(view, 0), 20);
});

Deno.test("what is written is read back", () => {
  const uint16 = fc.nat(0xffff);
  const uint32 = fc.integer({ min: 0, max: 0xffffffff });
  const words = fc.integer({ min: 5, max: TCP_MAX_HEADER_BYTES / 4 });
  fc.assert(fc.property(
    fc.tuple(uint16, uint16, uint32, uint32, words, fc.nat(255), uint16, uint16),
    ([source, destination, sequence, acknowledgment, offset, flags, window, checksum]) => {
      const memory = dirtyMemory();
      const { view } = memory;
      writeTcpHeader(
        view,
        31,
        source,
        destination,
        sequence,
        acknowledgment,
        offset * 4,
        flags,
        window,
      );
      assertEquals([tcpChecksum(view, 31), tcpUrgentPointer(view, 31)], [0, 0]);
      setTcpChecksum(view, 31, checksum);
      assertEquals([tcpSourcePort(view, 31), tcpDestinationPort(view, 31)], [source, destination]);
      assertEquals([tcpSequence(view, 31), tcpAcknowledgment(view, 31)], [
        sequence,
        acknowledgment,
      ]);
      assertEquals([tcpHeaderBytes(view, 31), tcpFlags(view, 31)], [offset * 4, flags]);
      assertEquals([tcpWindow(view, 31), tcpChecksum(view, 31)], [window, checksum]);
      assertEquals([memory.bytes[30], memory.bytes[51]], [0xa5, 0xa5]);
    },
  ));
});
