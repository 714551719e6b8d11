/**
 * A guest of whom the test writes every frame: it sends what it is told, answers nothing by itself,
 * and keeps what came, taken apart.
 *
 * @module
 */
import { LENGTH_BYTES } from "../../lib/stack/queues.ts";
import {
  concat,
  ethernet,
  GATEWAY4,
  GUEST4,
  GUEST6,
  ip4,
  ip6,
  type Read,
  read,
  sealed,
  u16,
  u32,
} from "./packets.ts";
import { until } from "./guest_rig.ts";

/** TCP's flags as bits. */
export const FIN = 1, SYN = 2, RST = 4, ACK = 16;

/** A segment's fields. */
export interface Segment {
  source: string;
  destination: string;
  sourcePort: number;
  destinationPort: number;
  seq: number;
  ack: number;
  flags: number;
  data: Uint8Array;
}

/** A segment's frame, from the guest to the gateway. */
export function segmentFrame(segment: Partial<Segment>): Uint8Array {
  const destination = segment.destination ?? GATEWAY4;
  const six = destination.includes(":");
  const source = segment.source ?? (six ? GUEST6 : GUEST4);
  const bytes = concat(
    u16(segment.sourcePort ?? 40_000),
    u16(segment.destinationPort ?? 80),
    u32(segment.seq ?? 0),
    u32(segment.ack ?? 0),
    [0x50, segment.flags ?? ACK],
    u16(60_000),
    [0, 0, 0, 0],
    segment.data ?? [],
  );
  const payload = sealed(bytes, 16, source, destination, 6);
  return ethernet(
    six
      ? ip6(payload, { next: 6, source, destination })
      : ip4(payload, { protocol: 6, source, destination }),
  );
}

/** Reads a segment of the gateway; `null` where the packet is something else. */
export function readSegment(packet: Read): Segment | null {
  if (packet.protocol !== 6) return null;
  const { payload, source, destination } = packet;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return {
    source,
    destination,
    sourcePort: view.getUint16(0),
    destinationPort: view.getUint16(2),
    seq: view.getUint32(4),
    ack: view.getUint32(8),
    flags: payload[13]!,
    data: payload.slice((payload[12]! >> 4) * 4),
  };
}

/** The guest's end of a frame stream. */
export class HandGuest {
  /** Everything that came. */
  readonly packets: Read[] = [];
  /** Resolves when the stream has ended, by whichever side. */
  readonly ended: Promise<void>;
  readonly #conn: Deno.Conn;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
    this.ended = this.#read();
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(1 << 20);
    for (let have = 0;;) {
      const count = await this.#conn.read(buffer.subarray(have)).catch(() => null);
      if (count === null) break;
      have += count;
      let at = 0;
      while (have - at >= LENGTH_BYTES) {
        const end = at + LENGTH_BYTES + new DataView(buffer.buffer, at).getUint32(0);
        if (end > have) break;
        this.packets.push(read(buffer.slice(at + LENGTH_BYTES, end)));
        at = end;
      }
      buffer.copyWithin(0, at, have);
      have -= at;
    }
  }

  /** Writes octets as they are. */
  async sendBytes(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
  }

  /** Sends frames in one write. */
  async send(...frames: Uint8Array[]): Promise<void> {
    await this.sendBytes(concat(...frames.flatMap((frame) => [u32(frame.length), frame])));
  }

  /** Waits for a packet that `match` makes something of. */
  async expect<T>(what: string, match: (packet: Read) => T | null): Promise<T> {
    let found: T | null = null;
    await until(what, () => {
      for (const packet of this.packets) found ??= match(packet);
      return found !== null;
    });
    return found!;
  }

  /** Waits for a segment. */
  expectSegment(what: string, match: (segment: Segment) => boolean): Promise<Segment> {
    return this.expect(what, (packet) => {
      const segment = readSegment(packet);
      return segment !== null && match(segment) ? segment : null;
    });
  }

  /** Closes the stream. */
  async close(): Promise<void> {
    try {
      this.#conn.close();
    } catch {
      // Closed by somebody else.
    }
    await this.ended;
  }
}
