/**
 * The floor under bulk transfers: a bare relay, and the same with frames on one side.
 *
 * `upload` and `download` make the gateway's operations with its sizes: frames are read up to 1 MiB
 * at once and copied into a ring of their stream, rings are lent to one write each; hosts' sockets
 * are read into rings as far as these have room, and come out as frames of the MTU in writes of
 * 64 KiB, or 256 KiB from 9,000 on. Acknowledgments and windows are frames of their size with a
 * number in them. What is missing is all that TCP would have to know.
 *
 * @module
 */
import {
  COUNT_AT,
  FloorRing,
  FrameReader,
  FrameWriter,
  Layout,
  oncePerMicrotask,
  STREAM_AT,
  TCP_HEADERS_BYTES,
} from "./support/floor_wire.ts";
import type { FloorEnds } from "./support/floor_ends.ts";

const RELAY_BYTES = 256 * 1024;
const SMALL_FRAMES_BYTES = 256 * 1024;
/** What the gateway lets be in flight to a guest, and queues for one write. */
const SMALL_MTU_FLIGHT_BYTES = 1024 * 1024;
const FLIGHT_BYTES = 4 * 1024 * 1024;
const SMALL_MTU_FILL_BYTES = 64 * 1024;
const FILL_BYTES = 256 * 1024;
const WINDOW_BYTES = 4 * 1024 * 1024;
/** The gateway's buffers grow no further than all of them have room for. */
const BUFFERS_BYTES = 256 * 1024 * 1024;
/** What one stream sends before the others have their turn. */
const TURN_BYTES = 64 * 1024;

/** What of `bytes` each stream gets: a power of two. */
function shareOf(bytes: number, streams: number): number {
  while (bytes * streams > BUFFERS_BYTES) bytes /= 2;
  return bytes;
}

/** The unix stream and a TCP connection, one buffer, one direction. */
export async function relay(ends: FloorEnds, row: string): Promise<void> {
  const [tcp] = await ends.connectTcp(1);
  const [from, to] = row === "relay.up" ? [ends.vmm, tcp!] : [tcp!, ends.vmm];
  const buffer = new Uint8Array(RELAY_BYTES);
  for (;;) {
    const count = await from.read(buffer);
    if (count === null) return;
    for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
  }
}

/** A stream of the guest: frames into a ring, the ring into a socket. */
class Upstream {
  readonly ring: FloorRing;
  /** The window's edge, as the guest knows it. */
  edge = 0;
  /** Whether an acknowledgment is due. */
  isDue = true;
  #takenBytes = 0;
  #isWriting = false;
  readonly #conn: Deno.Conn;
  readonly #wake: () => void;
  readonly #onWritten = (count: number): void => this.#written(count);

  constructor(conn: Deno.Conn, layout: Layout, windowBytes: number, wake: () => void) {
    this.#conn = conn;
    this.ring = new FloorRing(layout, windowBytes);
    this.#wake = wake;
  }

  append(at: number, bytes: number): void {
    this.ring.append(at, bytes);
    this.#takenBytes += bytes;
    this.isDue = true;
  }

  pump(): void {
    if (this.#isWriting || this.ring.lengthBytes === 0) return;
    this.#isWriting = true;
    this.#conn.write(this.ring.content).then(this.#onWritten, () => {});
  }

  #written(count: number): void {
    this.#isWriting = false;
    this.ring.consume(count);
    this.pump();
    if (this.#newEdge() - this.edge < this.ring.capacityBytes / 4) return;
    this.isDue = true;
    this.#wake();
  }

  /** Where the free space ends; what is acknowledged goes with it. */
  advertise(): number {
    this.isDue = false;
    return this.edge = this.#newEdge();
  }

  #newEdge(): number {
    return this.#takenBytes + this.ring.capacityBytes - this.ring.lengthBytes;
  }
}

/** The guest sends. */
export async function upload(ends: FloorEnds, streams: number): Promise<void> {
  const windowBytes = shareOf(WINDOW_BYTES, streams);
  const layout = new Layout(streams * windowBytes);
  const writer = new FrameWriter(ends.vmm, layout, SMALL_FRAMES_BYTES, () => {});
  const acknowledge = () => {
    for (let i = 0; i < flows.length; i++) {
      if (flows[i]!.isDue) writer.small(i, flows[i]!.advertise() >>> 0);
    }
    writer.flush();
  };
  const wake = oncePerMicrotask(acknowledge);
  const sockets = await ends.connectTcp(streams);
  const flows = sockets.map((socket) => new Upstream(socket, layout, windowBytes, wake));
  const { view } = layout.memory;
  acknowledge();
  await new FrameReader(ends.vmm, layout).run((at, bytes) => {
    flows[view.getUint16(at + STREAM_AT)]!
      .append(at + TCP_HEADERS_BYTES, bytes - TCP_HEADERS_BYTES);
  }, () => {
    for (const flow of flows) flow.pump();
    acknowledge();
  });
}

/** A stream of a host: a socket into a ring, the ring into frames. */
class Downstream {
  readonly ring: FloorRing;
  readonly #conn: Deno.Conn;
  readonly #wake: () => void;
  readonly #segmentBytes: number;
  #isReading = false;
  /** How much of the ring has been sent. */
  #sentBytes = 0;
  #acknowledged = 0;
  readonly #onRead = (count: number | null): void => {
    this.#isReading = false;
    if (count === null) return;
    this.ring.commit(count);
    this.pump();
    this.#wake();
  };

  constructor(conn: Deno.Conn, ring: FloorRing, mtu: number, wake: () => void) {
    this.#conn = conn;
    this.ring = ring;
    this.#segmentBytes = mtu + 14 - TCP_HEADERS_BYTES;
    this.#wake = wake;
  }

  pump(): void {
    if (this.#isReading || this.ring.lengthBytes === this.ring.capacityBytes) return;
    this.#isReading = true;
    this.#conn.read(this.ring.free).then(this.#onRead, () => {});
  }

  acknowledge(count: number): void {
    const bytes = (count - this.#acknowledged) >>> 0;
    this.#acknowledged = count;
    this.ring.consume(bytes);
    this.#sentBytes -= bytes;
    this.pump();
  }

  get unsentBytes(): number {
    return this.ring.lengthBytes - this.#sentBytes;
  }

  /** Sends frames for one turn: false where the writer has no room. */
  send(writer: FrameWriter, number: number): boolean {
    for (let sent = 0; sent < TURN_BYTES && this.unsentBytes > 0;) {
      const bytes = Math.min(this.unsentBytes, this.#segmentBytes);
      const at = writer.begin(TCP_HEADERS_BYTES, bytes);
      if (at < 0) return false;
      writer.memory.view.setUint16(at - TCP_HEADERS_BYTES + STREAM_AT, number);
      this.ring.copyOut(this.#sentBytes, at, bytes);
      this.#sentBytes += bytes;
      sent += bytes;
    }
    return true;
  }
}

/** Hosts send. */
export async function download(ends: FloorEnds, mtu: number, streams: number): Promise<void> {
  const flightBytes = shareOf(mtu < 9000 ? SMALL_MTU_FLIGHT_BYTES : FLIGHT_BYTES, streams);
  const layout = new Layout(streams * flightBytes);
  const fillBytes = mtu < 9000 ? SMALL_MTU_FILL_BYTES : FILL_BYTES;
  let isBlocked = false;
  let first = 0;
  const turn = () => {
    isBlocked = false;
    for (let idle = 0; idle < flows.length && !isBlocked;) {
      const flow = flows[first]!;
      if (flow.unsentBytes === 0) idle++;
      else {
        idle = 0;
        isBlocked = !flow.send(writer, first);
      }
      if (!isBlocked) first = (first + 1) % flows.length;
    }
    writer.flush();
  };
  const wake = oncePerMicrotask(turn);
  const writer = new FrameWriter(ends.vmm, layout, fillBytes, () => {
    if (isBlocked) wake();
  });
  const sockets = await ends.connectTcp(streams);
  const flows = sockets.map((socket) => {
    return new Downstream(socket, new FloorRing(layout, flightBytes), mtu, wake);
  });
  for (const flow of flows) flow.pump();
  const { view } = layout.memory;
  await new FrameReader(ends.vmm, layout).run((at) => {
    flows[view.getUint16(at + STREAM_AT)]!.acknowledge(view.getUint32(at + COUNT_AT));
  }, turn);
}
