/**
 * The floor in the gateway's place: plain Deno between a real guest kernel, behind the same tap and
 * the same bridge, and the same servers of the host, with the gateway's operations on the same
 * sockets, in the same sizes, and no TCP. `deno task bench --only virtio-gateway,floor` runs the two
 * in turns, so that their rates stand side by side.
 *
 *     floor_guest.ts --listen PATH --mtu MTU --echo PORT --source PORT --sink PORT
 *
 * In the guest `floor_guest.c` speaks UDP whose frames have the sizes, the number and the order of
 * TCP's: full frames of the MTU, acknowledgments of 66 octets, a SYN of 74. A stream's port of the
 * host says of what kind it is; the datagrams of all other ports are passed on as they are. Nothing
 * is summed, timed or kept for a second sending: a frame that is missing ends this program or the
 * guest's with an error, and the row has failed. What can't be equal is what the guest's kernel
 * does: see the head of `floor_guest.c`.
 *
 * The guest's frames wait in the queue of its device, which drops what it has no room for. TCP then
 * sends again and slows down; here the windows of all streams together stay below that queue.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import { Gathering } from "../lib/host/gathering.ts";
import { systemClock } from "../lib/host/host_clock.ts";
import { Exchange, type Flow, GuestSends, HostSends } from "./floor_guest_flows.ts";
import { DatagramSocket } from "./floor_udp.ts";
import {
  GuestFrame,
  GuestFrames,
  HEADERS_BYTES,
  Kind,
  OPEN_BYTES,
} from "./support/floor_guest_wire.ts";
import {
  BUFFERS_BYTES,
  flightBytes,
  FrameReader,
  Layout,
  oncePerMicrotask,
  TURN_FRAMES,
  WINDOW_BYTES,
} from "./support/floor_wire.ts";

const HOST = "127.0.0.1";
const GATHER_BYTES = 64 * 1024;
/** Fewer than the queue of the guest's device has room for. */
const QUEUED_FRAMES = 8_000;
const PORTS = 65_536;

/** The ports of the host's servers. */
interface Servers {
  readonly echo: number;
  readonly source: number;
  readonly sink: number;
}

/** One guest's floor. */
class GuestFloor {
  readonly #mtu: number;
  readonly #servers: Servers;
  readonly #layout = new Layout(BUFFERS_BYTES);
  readonly #frame = new GuestFrame(this.#layout);
  readonly #frames: GuestFrames;
  readonly #reader: FrameReader;
  /** By the guest's port. */
  readonly #flows: (Flow | undefined)[] = new Array(PORTS).fill(undefined);
  readonly #datagrams: (DatagramSocket | undefined)[] = new Array(PORTS).fill(undefined);
  #openCount = 0;
  readonly #ringsAt: number;
  readonly #buffers: Uint8Array<ArrayBuffer>[] = [];
  /** Those that an acknowledgment is due for, and those that have something to send. */
  readonly #sends: GuestSends[] = [];
  readonly #ready: HostSends[] = [];
  #isBlocked = false;
  readonly #gathering = new Gathering(
    systemClock,
    () => this.#frames.writer.flush(),
    () => this.#frames.writer.queuedBytes < GATHER_BYTES,
  );
  readonly #wake = oncePerMicrotask(() => this.#turn());

  constructor(conn: Deno.Conn, mtu: number, servers: Servers) {
    this.#mtu = mtu;
    this.#servers = servers;
    this.#frames = new GuestFrames(conn, this.#layout, mtu, () => {
      if (this.#isBlocked) this.#wake();
    });
    this.#reader = new FrameReader(conn, this.#layout);
    this.#ringsAt = this.#layout.mark;
  }

  /** Serves the guest until its link ends. */
  run(): Promise<void> {
    return this.#reader.run((at, bytes) => this.#take(at, bytes), () => {
      for (const flow of this.#sends) flow.pump();
      this.#turn();
    }, TURN_FRAMES);
  }

  #take(at: number, bytes: number): void {
    const frame = this.#frame;
    if (!frame.look(at, bytes)) return; // the kernel's own: IGMP, an ICMP error for what has ended
    const { guestPort, hostPort } = frame;
    const { echo, source, sink } = this.#servers;
    if (hostPort !== sink && hostPort !== source && hostPort !== echo) {
      return this.#passOn(guestPort, hostPort);
    }
    const { kind } = frame;
    if (kind === Kind.open) void this.#open(guestPort, hostPort, frame.count, frame.owner);
    else if (kind === Kind.end) this.#end(frame.owner);
    else {
      const flow = this.#flows[guestPort];
      if (kind === Kind.data) flow?.data(frame.dataAt, frame.dataBytes, frame.count);
      else if (kind === Kind.ack) flow?.acknowledged(frame.count);
      else flow?.finished();
    }
  }

  async #open(
    guestPort: number,
    hostPort: number,
    streams: number,
    owner: number,
  ): Promise<void> {
    const host = await Deno.connect({ hostname: HOST, port: hostPort });
    host.setNoDelay(true);
    host.setKeepAlive(true);
    if (this.#openCount++ === 0) this.#layout.rewind(this.#ringsAt);
    const spot = {
      frames: this.#frames,
      layout: this.#layout,
      guestPort,
      hostPort,
      owner,
      wake: this.#wake,
    };
    const flow = this.#flows[guestPort] = this.#make(spot, host, streams);
    flow.begin();
    this.#frames.small(hostPort, guestPort, Kind.open, flow.openCount, OPEN_BYTES);
    this.#wake();
  }

  #make(spot: Flow["spot"], host: Deno.TcpConn, streams: number): Flow {
    const mtu = this.#mtu;
    const { sink, source } = this.#servers;
    if (spot.hostPort === sink) {
      return new GuestSends(spot, host, this.#share(WINDOW_BYTES, streams), (flow) => {
        if (flow.isDue) return;
        flow.isDue = true;
        this.#sends.push(flow);
        this.#wake();
      });
    }
    if (spot.hostPort === source) {
      const shareBytes = this.#share(flightBytes(mtu), streams);
      return new HostSends(spot, host, { flightBytes: shareBytes, mtu }, (flow) => {
        if (!flow.isDue) {
          flow.isDue = true;
          this.#ready.push(flow);
        }
        this.#wake();
      });
    }
    return new Exchange(spot, host, this.#buffers, (flow) => {
      this.#flows[flow.spot.guestPort] = undefined;
      this.#openCount--;
    });
  }

  /** What of `bytes` each stream gets: a power of two. */
  #share(bytes: number, streams: number): number {
    const segmentBytes = this.#mtu + 14 - HEADERS_BYTES;
    const mostBytes = Math.min(BUFFERS_BYTES, QUEUED_FRAMES * segmentBytes);
    while (bytes * streams > mostBytes) bytes /= 2;
    return bytes;
  }

  /** A process of the guest has ended: so do its streams. */
  #end(owner: number): void {
    for (const [guestPort, flow] of this.#flows.entries()) {
      if (flow?.spot.owner !== owner) continue;
      flow.host.close();
      this.#flows[guestPort] = undefined;
      this.#openCount--;
    }
    const isOver = ({ spot }: Flow) => spot.owner === owner;
    for (const list of [this.#sends, this.#ready]) {
      const rest = list.filter((flow: Flow) => !isOver(flow));
      list.splice(0, list.length, ...rest as never[]);
    }
  }

  /** Acknowledges what is due and sends what there is room for, then starts the write. */
  #turn(): void {
    this.#frames.fill.nowMs = performance.now();
    for (const flow of this.#sends) flow.acknowledge();
    this.#sends.length = 0;
    const ready = this.#ready;
    this.#isBlocked = false;
    while (ready.length > 0) {
      const flow = ready[0]!;
      this.#isBlocked = !flow.send();
      if (this.#isBlocked) break;
      ready.shift();
      if (flow.unsentBytes > 0) ready.push(flow);
      else flow.isDue = false;
    }
    this.#frames.writer.flush();
  }

  #passOn(guestPort: number, hostPort: number): void {
    const { bytes } = this.#layout.memory;
    const socket = this.#datagrams[guestPort] ??= this.#listen(guestPort, hostPort);
    const { datagramAt, datagramBytes } = this.#frame;
    socket.send(bytes.subarray(datagramAt, datagramAt + datagramBytes));
  }

  #listen(guestPort: number, hostPort: number): DatagramSocket {
    const socket = new DatagramSocket({ transport: "udp", hostname: HOST, port: hostPort });
    void socket.receiveAll((data) => {
      const at = this.#frames.datagram(hostPort, guestPort, data.length);
      if (at >= 0) this.#layout.memory.bytes.set(data, at); // else the guest is too far behind
      this.#gathering.add();
    });
    return socket;
  }
}

if (import.meta.main) {
  const args = parseArgs(Deno.args, { string: ["listen", "mtu", "echo", "source", "sink"] });
  const number = (name: "mtu" | "echo" | "source" | "sink") => {
    const value = Number(args[name]);
    if (Number.isInteger(value) && value > 0 && value < PORTS) return value;
    console.error(`floor: --${name} is a number from 1 to ${PORTS - 1}, not ${args[name]}`);
    Deno.exit(2);
  };
  const servers = { echo: number("echo"), source: number("source"), sink: number("sink") };
  const mtu = number("mtu");
  const listener = Deno.listen({ transport: "unix", path: String(args.listen) });
  const conn = await listener.accept();
  listener.close();
  await new GuestFloor(conn, mtu, servers).run();
  Deno.exit(0);
}
