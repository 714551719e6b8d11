/**
 * The streams of the floor that stands in the gateway's place, each of one kind: a guest that only
 * sends, a host that only sends, an exchange of single octets.
 *
 * Each makes the gateway's operations on its host's socket, in the gateway's order: a read that is
 * pending before its bytes come, one write under way, a transfer's small piece that waits for the
 * next look at the link, a shutdown where the guest has finished.
 *
 * @module
 */
import { type GuestFrames, HEADERS_BYTES, Kind } from "./support/floor_guest_wire.ts";
import { HostWrites } from "./support/floor_host_writes.ts";
import { FloorRing, type Layout, TURN_BYTES } from "./support/floor_wire.ts";

/** What the gateway's send buffer begins with. */
const HOST_READ_BYTES = 1024;
const nothing = () => {};

/** What all streams have of their place. */
export interface Spot {
  readonly frames: GuestFrames;
  readonly layout: Layout;
  readonly guestPort: number;
  readonly hostPort: number;
  /** The process of the guest that has opened it. */
  readonly owner: number;
  /** Makes a write to the guest due, one for all that ends in the same turn of the event loop. */
  readonly wake: () => void;
}

/** A stream as the program that reads the link sees it. */
export interface Flow {
  readonly spot: Spot;
  readonly host: Deno.TcpConn;
  /** What the answer to its opening says. */
  readonly openCount: number;
  /** Begins with what its host may send. */
  begin(): void;
  data(at: number, bytes: number, offset: number): void;
  acknowledged(count: number): void;
  finished(): void;
}

/** The guest sends: frames into a ring, the ring into the socket. */
export class GuestSends implements Flow {
  readonly spot: Spot;
  readonly host: Deno.TcpConn;
  readonly #ring: FloorRing;
  readonly #onDue: (flow: GuestSends) => void;
  readonly #writes: HostWrites;
  #edge: number;
  #takenBytes = 0;
  /** Whether an acknowledgment is in the list of those that are due. */
  isDue = false;

  constructor(
    spot: Spot,
    host: Deno.TcpConn,
    windowBytes: number,
    onDue: (flow: GuestSends) => void,
  ) {
    this.spot = spot;
    this.host = host;
    this.#ring = new FloorRing(spot.layout, windowBytes);
    this.#writes = new HostWrites(host, this.#ring, () => this.#written());
    this.#edge = windowBytes;
    this.#onDue = onDue;
  }

  get openCount(): number {
    return this.#edge;
  }

  begin(): void {
    this.host.read(new Uint8Array(HOST_READ_BYTES)).catch(nothing); // pending, as the gateway's is
  }

  data(at: number, bytes: number, offset: number): void {
    if (offset !== this.#takenBytes >>> 0) {
      throw new Error(`Cannot go on: a frame of port ${this.spot.guestPort} is missing`);
    }
    this.#ring.append(at, bytes);
    this.#takenBytes += bytes;
    this.#onDue(this);
  }

  pump(): void {
    this.#writes.pump();
  }

  #written(): void {
    if (this.#newEdge() - this.#edge >= this.#ring.capacityBytes / 4) this.#onDue(this);
  }

  /** One frame says what has come and where the free space ends. */
  acknowledge(): void {
    const { frames, hostPort, guestPort } = this.spot;
    this.isDue = false;
    this.#edge = this.#newEdge();
    frames.small(hostPort, guestPort, Kind.ack, this.#edge >>> 0);
  }

  #newEdge(): number {
    return this.#takenBytes + this.#ring.capacityBytes - this.#ring.lengthBytes;
  }

  acknowledged(): void {}

  finished(): void {
    this.host.closeWrite().catch(nothing);
  }
}

/** The host sends: the socket into a ring, the ring into frames. */
export class HostSends implements Flow {
  readonly spot: Spot;
  readonly host: Deno.TcpConn;
  readonly #ring: FloorRing;
  readonly #segmentBytes: number;
  readonly #onReadable: (flow: HostSends) => void;
  /** How much of the ring has been sent, and how much at all. */
  #sentBytes = 0;
  #offset = 0;
  #acknowledged = 0;
  #isReading = false;
  /** Whether it is in the list of those that may send. */
  isDue = false;
  readonly openCount = 0;
  readonly #onRead = (count: number | null): void => {
    this.#isReading = this.#ring.isLent = false;
    if (count === null) return;
    this.#ring.commit(count);
    this.#pump();
    this.#onReadable(this);
  };

  constructor(
    spot: Spot,
    host: Deno.TcpConn,
    { flightBytes, mtu }: { flightBytes: number; mtu: number },
    onReadable: (flow: HostSends) => void,
  ) {
    this.spot = spot;
    this.host = host;
    this.#ring = new FloorRing(spot.layout, flightBytes);
    this.#segmentBytes = mtu + 14 - HEADERS_BYTES;
    this.#onReadable = onReadable;
  }

  begin(): void {
    this.#pump();
  }

  #pump(): void {
    if (this.#isReading || this.#ring.lengthBytes === this.#ring.capacityBytes) return;
    this.#isReading = this.#ring.isLent = true;
    this.host.read(this.#ring.free).then(this.#onRead, nothing);
  }

  acknowledged(count: number): void {
    const bytes = (count - this.#acknowledged) >>> 0;
    this.#acknowledged = count;
    this.#ring.consume(bytes);
    this.#sentBytes -= bytes;
    this.#pump();
  }

  /** Sends frames for one turn: whether the writer had room for them. */
  send(): boolean {
    const { frames, hostPort, guestPort } = this.spot;
    for (let sent = 0; sent < TURN_BYTES && this.unsentBytes > 0;) {
      const bytes = Math.min(this.unsentBytes, this.#segmentBytes);
      const at = frames.data(hostPort, guestPort, this.#offset >>> 0, bytes);
      if (at < 0) return false;
      this.#ring.copyOut(this.#sentBytes, at, bytes);
      this.#sentBytes += bytes;
      this.#offset += bytes;
      sent += bytes;
    }
    return true;
  }

  get unsentBytes(): number {
    return this.#ring.lengthBytes - this.#sentBytes;
  }

  data(): void {}

  finished(): void {
    this.host.closeWrite().catch(nothing);
  }
}

/** Octets there and back. */
export class Exchange implements Flow {
  readonly spot: Spot;
  readonly host: Deno.TcpConn;
  readonly openCount = 0;
  readonly #buffers: Uint8Array<ArrayBuffer>[];
  readonly #into: Uint8Array<ArrayBuffer>;
  readonly #onEnd: (flow: Exchange) => void;
  #offset = 0;
  readonly #onRead = (count: number | null): void => this.#read(count);

  /** `buffers` are those that nobody reads into. */
  constructor(
    spot: Spot,
    host: Deno.TcpConn,
    buffers: Uint8Array<ArrayBuffer>[],
    onEnd: (flow: Exchange) => void,
  ) {
    this.spot = spot;
    this.host = host;
    this.#buffers = buffers;
    this.#into = buffers.pop() ?? new Uint8Array(HOST_READ_BYTES);
    this.#onEnd = onEnd;
  }

  begin(): void {
    this.host.read(this.#into).then(this.#onRead, nothing);
  }

  #read(count: number | null): void {
    const { frames, hostPort, guestPort, layout, wake } = this.spot;
    if (count === null) {
      this.#buffers.push(this.#into);
      this.host.close();
      frames.small(hostPort, guestPort, Kind.finish, 0);
      this.#onEnd(this);
    } else {
      const at = frames.small(hostPort, guestPort, Kind.data, this.#offset >>> 0, count);
      layout.memory.bytes.set(this.#into.subarray(0, count), at);
      this.#offset += count;
      this.begin();
    }
    wake();
  }

  data(at: number, bytes: number): void {
    this.host.write(this.spot.layout.memory.bytes.subarray(at, at + bytes)).catch(nothing);
  }

  acknowledged(): void {}

  finished(): void {
    const { frames, hostPort, guestPort } = this.spot;
    frames.small(hostPort, guestPort, Kind.ack, 0);
    this.host.closeWrite().catch(nothing);
  }
}
