/**
 * The frames between the floor and a guest's kernel: Ethernet, IPv4 and UDP from a template, with
 * what differs from frame to frame written over it. `floor_guest.c` says what is behind UDP.
 *
 * The headers are whole, so that the kernel takes them, and so is IPv4's checksum; UDP has none.
 * The ports say whose a frame is: the guest's port is the stream, the other one the host's server.
 *
 * @module
 */
import {
  FILL_BYTES,
  FrameWriter,
  type Layout,
  LENGTH_BYTES,
  StreamFill,
  UDP_HEADERS_BYTES,
} from "./floor_wire.ts";

/** What a frame is for, as `floor_guest.c` has it. */
export const Kind = { open: 1, data: 2, ack: 3, finish: 4, end: 5 } as const;
export type Kind = typeof Kind[keyof typeof Kind];

/** Octets of all headers in front of data: as many as with TCP and timestamps. */
export const HEADERS_BYTES: number = UDP_HEADERS_BYTES + 24;
/** What a SYN's answer has of options beyond those of other frames. */
export const OPEN_BYTES = 12;

const SMALL_FRAMES_BYTES = 512 * 1024;
const ETHERNET_BYTES = 14, IP_BYTES = 20;
const IPV4 = 0x0800, UDP = 17;
// Where a frame has what.
const TYPE_AT = 12, LENGTH_AT = 16, PROTOCOL_AT = 23, CHECKSUM_AT = 24;
const SOURCE_AT = 34, TARGET_AT = 36, UDP_LENGTH_AT = 38, KIND_AT = 42, COUNT_AT = 46;
const OWNER_AT = 50;

// deno-fmt-ignore
const TEMPLATE = [
  0x02, 0x53, 0x4d, 0, 0, 2,   0x02, 0x53, 0x4d, 0, 0, 1,   0x08, 0x00,
  0x45, 0, 0, 0,   0, 0, 0x40, 0,   64, UDP, 0, 0,   100, 96, 0, 1,   100, 96, 0, 2,
];

/** The MAC address that the floor's frames come from. */
export const FLOOR_MAC = "02:53:4d:00:00:01";

/** A frame of the guest's as it lies in memory, read field by field. */
export class GuestFrame {
  readonly #view: DataView;
  #at = 0;
  #bytes = 0;

  constructor(layout: Layout) {
    this.#view = layout.memory.view;
  }

  /** Looks at a frame: whether it is a datagram over IPv4. */
  look(at: number, bytes: number): boolean {
    this.#at = at;
    this.#bytes = bytes;
    return bytes >= UDP_HEADERS_BYTES && this.#view.getUint16(at + TYPE_AT) === IPV4 &&
      this.#view.getUint8(at + PROTOCOL_AT) === UDP;
  }

  get guestPort(): number {
    return this.#view.getUint16(this.#at + SOURCE_AT);
  }

  get hostPort(): number {
    return this.#view.getUint16(this.#at + TARGET_AT);
  }

  get kind(): number {
    return this.#view.getUint16(this.#at + KIND_AT);
  }

  get count(): number {
    return this.#view.getUint32(this.#at + COUNT_AT);
  }

  /** The process of the guest that the stream is of. */
  get owner(): number {
    return this.#view.getUint32(this.#at + OWNER_AT);
  }

  get dataAt(): number {
    return this.#at + HEADERS_BYTES;
  }

  get dataBytes(): number {
    return this.#bytes - HEADERS_BYTES;
  }

  /** The whole datagram, where it is no stream's. */
  get datagramAt(): number {
    return this.#at + UDP_HEADERS_BYTES;
  }

  get datagramBytes(): number {
    return this.#bytes - UDP_HEADERS_BYTES;
  }
}

/** Writes frames to the guest. */
export class GuestFrames {
  readonly writer: FrameWriter;
  readonly fill: StreamFill;
  readonly #view: DataView;
  readonly #templateAt: number;
  /** The sum of the IPv4 header without its length. */
  readonly #baseSum: number;

  /** `onRoom` as of `FrameWriter`. */
  constructor(conn: Deno.Conn, layout: Layout, mtu: number, onRoom: () => void) {
    this.fill = new StreamFill(mtu);
    this.writer = new FrameWriter(conn, layout, FILL_BYTES, onRoom);
    this.#view = layout.memory.view;
    this.#templateAt = layout.take(LENGTH_BYTES + HEADERS_BYTES);
    layout.memory.bytes.set(TEMPLATE, this.#templateAt + LENGTH_BYTES);
    let sum = 0;
    const at = this.#templateAt + LENGTH_BYTES + ETHERNET_BYTES;
    for (let i = 0; i < IP_BYTES; i += 2) sum += this.#view.getUint16(at + i);
    this.#baseSum = sum;
  }

  /** Begins a frame with data: the position of the data, -1 without room for it in this write. */
  data(hostPort: number, guestPort: number, offset: number, dataBytes: number): number {
    const { limitBytes } = this.fill;
    const at = this.writer.begin(HEADERS_BYTES, dataBytes, this.#templateAt, limitBytes);
    if (at >= 0) this.#head(at - HEADERS_BYTES, hostPort, guestPort, Kind.data, offset, dataBytes);
    return at;
  }

  /** A frame without data, or with a few octets: their position. */
  small(hostPort: number, guestPort: number, kind: Kind, count: number, extraBytes = 0): number {
    const at = this.writer.begin(HEADERS_BYTES, extraBytes, this.#templateAt, SMALL_FRAMES_BYTES);
    this.fill.share();
    if (at < 0) throw new Error("Cannot send: the buffer for small frames is full");
    this.#head(at - HEADERS_BYTES, hostPort, guestPort, kind, count, extraBytes);
    return at;
  }

  /** Begins a datagram that is no stream's: the position of its data, -1 without room. */
  datagram(hostPort: number, guestPort: number, dataBytes: number): number {
    const at = this.writer.begin(
      UDP_HEADERS_BYTES,
      dataBytes,
      this.#templateAt,
      SMALL_FRAMES_BYTES,
    );
    if (at >= 0) this.#ports(at - UDP_HEADERS_BYTES, hostPort, guestPort, dataBytes);
    return at;
  }

  #head(
    at: number,
    hostPort: number,
    guestPort: number,
    kind: Kind,
    count: number,
    dataBytes: number,
  ): void {
    this.#ports(at, hostPort, guestPort, HEADERS_BYTES - UDP_HEADERS_BYTES + dataBytes);
    this.#view.setUint16(at + KIND_AT, kind);
    this.#view.setUint32(at + COUNT_AT, count);
  }

  #ports(at: number, hostPort: number, guestPort: number, bytes: number): void {
    const view = this.#view;
    const length = IP_BYTES + 8 + bytes;
    let sum = this.#baseSum + length;
    sum = (sum & 0xffff) + (sum >>> 16);
    sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(at + LENGTH_AT, length);
    view.setUint16(at + CHECKSUM_AT, ~sum & 0xffff);
    view.setUint16(at + SOURCE_AT, hostPort);
    view.setUint16(at + TARGET_AT, guestPort);
    view.setUint16(at + UDP_LENGTH_AT, 8 + bytes);
  }
}
