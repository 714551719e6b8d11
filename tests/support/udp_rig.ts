/**
 * A gateway stack with its UDP part on top, for tests: datagrams go in as frames (in fragments
 * where they are long), and what the gateway sends is put together and taken apart again.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import type { Packet } from "../../lib/stack/packet.ts";
import {
  type UdpFlow,
  type UdpFlowOwner,
  UdpFlows,
  udpFlowsBytes,
} from "../../lib/stack/udp_flows.ts";
import { type UdpHandlers, UdpInput, type UdpRefusal } from "../../lib/stack/udp_input.ts";
import { UDP_OUTPUT_BYTES, UdpOutput } from "../../lib/stack/udp_output.ts";
import {
  assertL4,
  concat,
  ethernet,
  fragment6,
  GUEST4,
  GUEST6,
  ip4,
  ip6,
  type Read,
  read,
  udp,
} from "./packets.ts";
import { type HarnessOptions, SCRATCH_BYTES, StackHarness } from "./stack_harness.ts";

/** What the guest sends, or gets. */
export interface Datagram {
  source: string;
  sourcePort: number;
  destination: string;
  destinationPort: number;
  data: Uint8Array;
}

/** An owner that keeps what it is told. */
export class RecordingOwner implements UdpFlowOwner {
  readonly #rig: UdpRig;
  flow: UdpFlow | null = null;
  readonly sent: Uint8Array[] = [];
  closes = 0;

  constructor(rig: UdpRig) {
    this.#rig = rig;
  }

  opened(flow: UdpFlow): void {
    assertEquals(this.flow, null, "opened once");
    this.flow = flow;
  }

  send(dataAt: number, dataBytes: number): void {
    this.sent.push(this.#rig.memory.bytes.slice(dataAt, dataAt + dataBytes));
  }

  close(): void {
    this.closes++;
  }
}

/** How a rig differs from the plain one. */
export interface RigOptions extends HarnessOptions {
  interceptDns?: boolean;
  /** Who answers for a handler; by default flows get a `RecordingOwner`, the rest is recorded. */
  handlers?: Partial<UdpHandlers>;
}

/** Flows that fit into the harness's scratch region beside the rest. */
export const RIG_FLOWS = 1000;

/** The rig. */
export class UdpRig extends StackHarness {
  readonly flows: UdpFlows;
  readonly output: UdpOutput;
  readonly input: UdpInput;
  /** Position of memory that the rig leaves to the test, and its size. */
  readonly freeAt: number;
  readonly freeBytes: number;
  /** Owners by default, in the order of their flows. */
  readonly owners: RecordingOwner[] = [];
  /** What the other handlers got. */
  readonly served: string[] = [];
  /** What the default `open` answers instead of an owner. */
  refusal: UdpRefusal | undefined;

  constructor(options: RigOptions = {}) {
    super(options);
    const limits = {
      ...DEFAULT_LIMITS,
      udpFlows: RIG_FLOWS,
      publishedUdpFlows: 64,
      ...options.limits,
    };
    const flowsAt = this.scratchAt + UDP_OUTPUT_BYTES;
    this.freeAt = flowsAt + udpFlowsBytes(limits);
    this.freeBytes = this.scratchAt + SCRATCH_BYTES - this.freeAt;
    assert(this.freeBytes >= 0, "the flows fit");
    this.flows = new UdpFlows({
      memory: this.memory,
      at: flowsAt,
      counters: this.counters,
      limits,
      seed: Uint32Array.of(1, 2, 3, 4),
      nowMs: this.nowMs,
    });
    this.output = new UdpOutput(this.link, this.scratchAt);
    const handlers: UdpHandlers = {
      dhcp4: () => void this.served.push("dhcp4"),
      dhcp6: () => void this.served.push("dhcp6"),
      dns: (packet, port, at, bytes) => void this.served.push(this.#dns(packet, port, at, bytes)),
      open: () => this.#open(),
      ...options.handlers,
    };
    const { interceptDns } = options;
    this.input = new UdpInput(this.link, this.flows, this.stack.errors, handlers, interceptDns);
    this.stack.attach({ process: () => {} }, this.input);
  }

  /** Lets the guest send a datagram, in fragments where it must. */
  guest(datagram: Partial<Datagram>): void {
    for (const frame of framesOf(datagram, this.link.mtu)) this.push(frame);
  }

  /** Turns the clock on, running the flows' timers that are due on the way. */
  waitFlows(ms: number): void {
    const endMs = this.nowMs + ms;
    for (let steps = 0; this.flows.pollAt() <= endMs; steps++) {
      assert(steps < 10_000, "pollAt makes progress");
      this.nowMs = Math.max(this.nowMs, this.flows.pollAt());
      this.flows.advance(this.nowMs);
    }
    this.nowMs = endMs;
  }

  /** The datagrams that the guest was sent since the last call; nothing else may be among it. */
  got(): Datagram[] {
    const out: Datagram[] = [];
    let whole: Read | null = null;
    for (const frame of this.sent()) {
      const part = read(frame);
      const { offset, more, protocol, payload } = pieceOf(part);
      assertEquals(protocol, 17, "a UDP datagram");
      if (offset === 0) whole = { ...part, protocol, payload };
      else {
        assertEquals(offset, whole!.payload.length, "fragments come in order");
        whole!.payload = concat(whole!.payload, payload);
      }
      if (!more) out.push(datagramOf(whole!));
    }
    return out;
  }

  #open(): UdpFlowOwner | UdpRefusal {
    if (this.refusal !== undefined) return this.refusal;
    const owner = new RecordingOwner(this);
    this.owners.push(owner);
    return owner;
  }

  #dns(packet: Packet, guestPort: number, dataAt: number, dataBytes: number): string {
    const text = new TextDecoder().decode(this.memory.bytes.slice(dataAt, dataAt + dataBytes));
    return `dns${packet.family} ${guestPort} ${text}`;
  }
}

/** The frames of a datagram from the guest. */
export function framesOf(datagram: Partial<Datagram>, mtu = 1500): Uint8Array[] {
  const { destination = "192.0.2.10", sourcePort = 40000, destinationPort = 7 } = datagram;
  const family = destination.includes(":") ? 6 : 4;
  const source = datagram.source ?? (family === 4 ? GUEST4 : GUEST6);
  const data = datagram.data ?? new Uint8Array(0);
  const payload = udp(source, sourcePort, destination, destinationPort, data);
  const headerBytes = family === 4 ? 20 : 40;
  if (headerBytes + payload.length <= mtu) {
    const packet = family === 4
      ? ip4(payload, { source, destination })
      : ip6(payload, { source, destination });
    return [ethernet(packet)];
  }
  const pieceBytes = (mtu - headerBytes - (family === 4 ? 0 : 8)) & ~7;
  const frames: Uint8Array[] = [];
  for (let offset = 0; offset < payload.length; offset += pieceBytes) {
    const piece = payload.slice(offset, offset + pieceBytes);
    const more = offset + pieceBytes < payload.length;
    const fragment = (offset >> 3) | (more ? 0x2000 : 0);
    frames.push(ethernet(
      family === 4
        ? ip4(piece, { source, destination, id: 77, fragment })
        : ip6(fragment6(piece, 17, offset, more, 77), { source, destination, next: 44 }),
    ));
  }
  return frames;
}

/** What an ICMP error of the gateway says: type/code and the ports that it quotes. */
export function icmpErrorOf(frame: Uint8Array): {
  source: string;
  code: string;
  quoted: { source: Uint8Array; destination: Uint8Array; ports: [number, number] };
} {
  const { source, payload, protocol } = read(frame);
  assert(protocol === 1 || protocol === 58, "an ICMP message");
  const quote = payload.slice(8);
  const is4 = protocol === 1;
  const udpAt = is4 ? 20 : 40;
  const view = new DataView(quote.buffer);
  return {
    source,
    code: `${payload[0]}/${payload[1]}`,
    quoted: {
      source: is4 ? quote.slice(12, 16) : quote.slice(8, 24),
      destination: is4 ? quote.slice(16, 20) : quote.slice(24, 40),
      ports: [view.getUint16(udpAt), view.getUint16(udpAt + 2)],
    },
  };
}

function pieceOf(part: Read): {
  offset: number;
  more: boolean;
  protocol: number;
  payload: Uint8Array;
} {
  if (part.protocol !== 44) {
    const { protocol, payload, fragment } = part;
    return {
      offset: (fragment & 0x1fff) << 3,
      more: (fragment & 0x2000) !== 0,
      protocol,
      payload,
    };
  }
  const word = (part.payload[2]! << 8) | part.payload[3]!;
  const payload = part.payload.slice(8);
  return { offset: word & 0xfff8, more: (word & 1) !== 0, protocol: part.payload[0]!, payload };
}

function datagramOf(packet: Read): Datagram {
  assertL4(packet);
  const { payload } = packet;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  assertEquals(view.getUint16(4), payload.length, "the UDP length is the packet's");
  return {
    source: packet.source,
    sourcePort: view.getUint16(0),
    destination: packet.destination,
    destinationPort: view.getUint16(2),
    data: payload.slice(8),
  };
}
