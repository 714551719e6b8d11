import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  VNET_HEADER_BYTES,
  vnetChecksumOffset,
  vnetChecksumStart,
  vnetFlags,
  vnetGsoType,
  vnetHeadersBytes,
  vnetSegmentBytes,
  writeVnetHeader,
  writeVnetSegmentation,
} from "../../lib/wire/virtio_net.ts";
import { headerOf, readHeader } from "../support/large_frames.ts";

const octet = fc.integer({ min: 0, max: 255 });
const word = fc.integer({ min: 0, max: 65_535 });

Deno.test("virtio-net header: fields are read where the specification has them", () => {
  fc.assert(fc.property(octet, octet, fc.array(word, { minLength: 5, maxLength: 5 }), (f, g, w) => {
    const [headersBytes, segmentBytes, checksumStart, checksumOffset, buffers] = w as [
      number,
      number,
      number,
      number,
      number,
    ];
    const fields = {
      flags: f,
      gsoType: g,
      headersBytes,
      segmentBytes,
      checksumStart,
      checksumOffset,
      buffers,
    };
    const bytes = headerOf(fields);
    assertEquals(bytes.length, VNET_HEADER_BYTES);
    const view = new DataView(bytes.buffer);
    assertEquals({
      flags: vnetFlags(view, 0),
      gsoType: vnetGsoType(view, 0),
      headersBytes: vnetHeadersBytes(view, 0),
      segmentBytes: vnetSegmentBytes(view, 0),
      checksumStart: vnetChecksumStart(view, 0),
      checksumOffset: vnetChecksumOffset(view, 0),
      buffers,
    }, fields);
  }));
});

Deno.test("virtio-net header: what is written is the specification's, over whatever stood there", () => {
  fc.assert(fc.property(octet, word, word, word, word, (gsoType, h, s, start, at) => {
    const bytes = new Uint8Array(16).fill(0xa5);
    const view = new DataView(bytes.buffer);
    writeVnetHeader(view, 2);
    assertEquals(bytes.slice(2, 14), headerOf());
    writeVnetSegmentation(view, 2, gsoType, h, s, start, at);
    assertEquals(readHeader(bytes.slice(2, 14)), {
      flags: 1,
      gsoType,
      headersBytes: h,
      segmentBytes: s,
      checksumStart: start,
      checksumOffset: at,
      buffers: 1,
    });
    assertEquals([...bytes.slice(0, 2), ...bytes.slice(14)], [0xa5, 0xa5, 0xa5, 0xa5]);
  }));
});
