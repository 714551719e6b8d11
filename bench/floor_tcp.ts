/**
 * The floor in the gateway's place whose guest is everyone's: plain Deno that does what makes a
 * kernel's TCP talk to it, with the gateway's operations on the same sockets, and nothing else.
 * `deno task bench --only virtio-gateway,floor-tcp` runs the two in turns.
 *
 *     floor_tcp.ts --listen PATH --mtu MTU
 *
 * A SYN becomes a connection to the same port of the host's loopback. Segments are taken in order and
 * sent within the guest's window, with the checksums that the kernel verifies; one acknowledgment for
 * each stream and turn, on data where there is data. It verifies nothing, keeps no time, sends
 * nothing again, asks no policy, counts nothing, answers no ARP, and its windows have their full size
 * from the beginning. A segment that is lost on its way to the guest ends the row with an error.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { TcpFlag } from "../lib/wire/tcp.ts";
import { type Place, type Slot, TcpFlow } from "./floor_tcp_flow.ts";
import { FloorSegments, GuestSegment, TEMPLATE_BYTES } from "./support/floor_tcp_wire.ts";
import {
  BUFFERS_BYTES,
  flightBytes,
  FloorRing,
  FrameReader,
  Layout,
  oncePerMicrotask,
  TURN_FRAMES,
  WINDOW_BYTES,
} from "./support/floor_wire.ts";

const PORTS = 65_536;
/** So many streams have rings of full size, the others what a thousand of them have at the gateway. */
const FULL_SLOTS = 16;
const SLOTS = 1_024;
const SHARE_BYTES = BUFFERS_BYTES / SLOTS;

/** One guest's floor. */
class TcpFloor implements Place {
  readonly mtu: number;
  readonly segments: FloorSegments;
  readonly #layout: Layout;
  readonly #segment: GuestSegment;
  readonly #reader: FrameReader;
  /** By the host's port, then by the guest's. */
  readonly #flows: (TcpFlow | undefined)[][] = [];
  readonly #full: Slot[] = [];
  readonly #shares: Slot[] = [];
  /** Streams that something has come of, and those that have something to send. */
  #touched: TcpFlow[] = [];
  readonly #ready: TcpFlow[] = [];
  #isBlocked = false;
  readonly #wake = oncePerMicrotask(() => this.#turn());

  constructor(conn: Deno.Conn, mtu: number) {
    this.mtu = mtu;
    const fullBytes = WINDOW_BYTES + flightBytes(mtu) + TEMPLATE_BYTES;
    const layout = new Layout(FULL_SLOTS * fullBytes + 2 * BUFFERS_BYTES + SLOTS * 192);
    this.#layout = layout;
    this.segments = new FloorSegments(conn, layout, mtu, () => {
      if (this.#isBlocked) this.#wake();
    });
    this.#segment = new GuestSegment(layout);
    this.#reader = new FrameReader(conn, layout);
    for (let i = 0; i < FULL_SLOTS; i++) {
      this.#full.push(this.#slot(WINDOW_BYTES, flightBytes(mtu)));
    }
    for (let i = 0; i < SLOTS; i++) this.#shares.push(this.#slot(SHARE_BYTES, SHARE_BYTES));
  }

  #slot(upBytes: number, downBytes: number): Slot {
    const templateAt = this.#layout.take(TEMPLATE_BYTES);
    const up = new FloorRing(this.#layout, upBytes);
    return { templateAt, up, down: new FloorRing(this.#layout, downBytes) };
  }

  /** Serves the guest until its link ends. */
  run(): Promise<void> {
    return this.#reader.run((at, bytes) => this.#take(at, bytes), () => {
      for (const flow of this.#touched) flow.pump();
      this.#turn();
    }, TURN_FRAMES);
  }

  #take(at: number, bytes: number): void {
    const segment = this.#segment;
    if (!segment.look(at, bytes)) return; // the kernel's own, as IGMP
    const { guestPort, hostPort } = segment;
    const flow = this.#flows[hostPort]?.[guestPort];
    if (flow !== undefined) flow.take(segment);
    else if (segment.flags === TcpFlag.syn) this.#open(segment);
  }

  #open(syn: GuestSegment): void {
    const slot = this.#full.pop() ?? this.#shares.pop();
    if (slot === undefined) throw new Error(`Cannot open: there are ${SLOTS} streams already`);
    const flow = new TcpFlow(this, slot, syn);
    const { guestPort, hostPort } = flow;
    (this.#flows[hostPort] ??= new Array(PORTS).fill(undefined))[guestPort] = flow;
    void flow.open();
  }

  onWork(flow: TcpFlow): void {
    if (!flow.isListed) {
      flow.isListed = true;
      this.#touched.push(flow);
    }
    this.#wake();
  }

  onEnd({ guestPort, hostPort, slot }: TcpFlow): void {
    this.#flows[hostPort]![guestPort] = undefined;
    const isFull = slot.up.capacityBytes === WINDOW_BYTES;
    (isFull ? this.#full : this.#shares).push(slot);
  }

  /** Sends what there is room for, acknowledges what nothing has carried, then starts the write. */
  #turn(): void {
    const touched = this.#touched, ready = this.#ready;
    this.#touched = [];
    this.segments.nowMs = performance.now();
    for (const flow of touched) {
      flow.isListed = false;
      if (flow.isReady || !flow.canSend) continue;
      if (flow.isQuick) flow.send();
      if (!flow.canSend) continue;
      flow.isReady = true;
      ready.push(flow);
    }
    this.#isBlocked = false;
    while (ready.length > 0) {
      const flow = ready.shift()!;
      this.#isBlocked = !flow.send();
      flow.isReady = flow.canSend;
      if (flow.isReady) ready.push(flow);
      if (this.#isBlocked) break;
    }
    for (const flow of touched) flow.acknowledge();
    this.segments.writer.flush();
  }
}

if (import.meta.main) {
  const args = parseArgs(Deno.args, { string: ["listen", "mtu"] });
  const mtu = Number(args.mtu);
  if (!(Number.isInteger(mtu) && mtu > 0 && mtu < PORTS)) {
    console.error(`floor-tcp: --mtu is a number from 1 to ${PORTS - 1}, not ${args.mtu}`);
    Deno.exit(2);
  }
  const listener = Deno.listen({ transport: "unix", path: String(args.listen) });
  const conn = await listener.accept();
  listener.close();
  await new TcpFloor(conn, mtu).run();
  Deno.exit(0);
}
