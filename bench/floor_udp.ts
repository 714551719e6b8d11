/**
 * The floor under UDP: datagrams of 1,200 bytes through `Deno.listenDatagram`, alone, and with
 * frames on the other side, each way.
 *
 * As the gateway does it: a send gets a copy of its octets and is not waited for, up to 256 are
 * under way, and one that finds no place is lost; datagrams that came together go out in one write.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { FloorEnds } from "./support/floor_ends.ts";
import { FrameReader, FrameWriter, Layout, UDP_HEADERS_BYTES } from "./support/floor_wire.ts";

const DATAGRAM_BYTES = 1200;
const SENDS_MAX = 256;
const SLOT_BYTES = 65_536;
const FRAMES_BYTES = 256 * 1024;
/** Sends without a look at the event loop. */
const SENDS_A_TURN = 64;
const nothing = () => {};

interface Datagrams {
  receive(buffer: Uint8Array): Promise<[Uint8Array, Deno.Addr]>;
  send(data: Uint8Array, to: Deno.NetAddr): Promise<number>;
}

function open(ends: FloorEnds): [Datagrams, Deno.NetAddr] {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  return [socket, { transport: "udp", hostname: "127.0.0.1", port: ends.udpPort }];
}

/** Slots whose octets a send looks at until it has settled. */
class Sends {
  readonly #socket: Datagrams;
  readonly #to: Deno.NetAddr;
  readonly #free: { data: Uint8Array; sent: () => void }[];

  constructor(socket: Datagrams, to: Deno.NetAddr) {
    this.#socket = socket;
    this.#to = to;
    this.#free = Array.from({ length: SENDS_MAX }, () => {
      const slot = {
        data: new Uint8Array(DATAGRAM_BYTES),
        sent: () => void this.#free.push(slot),
      };
      return slot;
    });
  }

  /** Sends a copy; a datagram for which there is no slot is lost. */
  send(data: Uint8Array): void {
    const slot = this.#free.pop();
    if (slot === undefined) return;
    slot.data.set(data);
    const { length } = data;
    const whole = length === DATAGRAM_BYTES ? slot.data : slot.data.subarray(0, length);
    this.#socket.send(whole, this.#to).then(slot.sent, slot.sent);
  }
}

/**
 * One socket of the gateway's kind, for the datagrams of one flow. Its first send goes alone, since
 * those that wait for a socket together may overtake each other.
 */
export class DatagramSocket {
  readonly #socket: Datagrams = Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
  readonly #to: Deno.NetAddr;
  readonly #sends: Sends;
  #waiting: Uint8Array[] | null = null;
  #isFirst = true;

  constructor(to: Deno.NetAddr) {
    this.#to = to;
    this.#sends = new Sends(this.#socket, to);
  }

  /** Sends a copy. */
  send(data: Uint8Array): void {
    if (this.#isFirst) {
      this.#isFirst = false;
      this.#waiting = [];
      const first = this.#socket.send(data.slice(), this.#to);
      first.then(() => this.#followed(), () => this.#followed());
    } else if (this.#waiting === null) this.#sends.send(data);
    else if (this.#waiting.length < SENDS_MAX) this.#waiting.push(data.slice());
  }

  #followed(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const data of waiting) this.#sends.send(data);
  }

  /** Hands over each datagram that comes, until there is none to come. */
  async receiveAll(take: (data: Uint8Array) => void): Promise<void> {
    const slot = new Uint8Array(SLOT_BYTES);
    for (;;) take((await this.#socket.receive(slot))[0]);
  }
}

/** Frames with datagrams to a socket. */
export async function udpUpload(ends: FloorEnds): Promise<void> {
  const layout = new Layout(64);
  const sends = new Sends(...open(ends));
  const { bytes } = layout.memory;
  await new FrameReader(ends.vmm, layout).run((at, length) => {
    sends.send(bytes.subarray(at + UDP_HEADERS_BYTES, at + length));
  }, nothing);
}

/** Datagrams of a socket to frames. */
export async function udpDownload(ends: FloorEnds): Promise<void> {
  const layout = new Layout(64);
  const [socket, to] = open(ends);
  const writer = new FrameWriter(ends.vmm, layout, FRAMES_BYTES, nothing);
  let isDue = false;
  const turn = () => {
    isDue = false;
    writer.flush();
  };
  const receive = async () => {
    const slot = new Uint8Array(SLOT_BYTES);
    for (;;) {
      const [data] = await socket.receive(slot);
      const at = writer.begin(UDP_HEADERS_BYTES, data.length);
      if (at >= 0) layout.memory.bytes.set(data, at); // else the guest is too far behind
      if (!isDue) {
        isDue = true;
        setImmediate(turn);
      }
    }
  };
  await socket.send(new Uint8Array(1), to);
  receive().catch((error) => ends.fail(error));
  await new FrameReader(ends.vmm, layout).run(nothing, nothing);
}

/** The socket alone, as fast as it sends. */
export async function udpSend(ends: FloorEnds): Promise<void> {
  const [socket, to] = open(ends);
  const data = new Uint8Array(DATAGRAM_BYTES);
  while (!ends.ended) {
    for (let i = 1; i < SENDS_A_TURN; i++) socket.send(data, to).catch(nothing);
    await socket.send(data, to);
  }
}

/** The socket alone: how many datagrams a second it receives. */
export async function udpReceive(ends: FloorEnds, warmUpMs: number): Promise<number> {
  const [socket, to] = open(ends);
  const slot = new Uint8Array(SLOT_BYTES);
  await socket.send(new Uint8Array(1), to);
  const fromMs = performance.now() + warmUpMs;
  const endMs = fromMs + ends.seconds * 1000;
  let count = 0;
  for (let nowMs = 0; nowMs < endMs; nowMs = performance.now()) {
    await socket.receive(slot);
    if (nowMs >= fromMs) count++;
  }
  return count / ends.seconds;
}
