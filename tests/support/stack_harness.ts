/**
 * A gateway stack on a virtual clock with nothing above it: frames go in by `push`, what it sends
 * comes out of `sent`, what it would hand to L4 is kept in `packets`.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { checkL4 } from "../../lib/stack/checksum_check.ts";
import { type CounterName, Counters } from "../../lib/stack/counters.ts";
import { VirtioNetworkDevice } from "../../lib/stack/device.ts";
import { Dhcp4, DHCP4_BYTES } from "../../lib/stack/dhcp4.ts";
import { Dhcp6 } from "../../lib/stack/dhcp6.ts";
import { DHCP6_REPLY_BYTES } from "../../lib/stack/dhcp6_reply.ts";
import { Link, LINK_BYTES, type LinkConfig } from "../../lib/stack/link.ts";
import type { Packet } from "../../lib/stack/packet.ts";
import { LENGTH_BYTES, NetworkFrameQueues, QUEUES_BYTES } from "../../lib/stack/queues.ts";
import { GatewayStack, Polled, stackBytes } from "../../lib/stack/stack.ts";
import { encodeDomainNames } from "../../lib/wire/domain_names.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { delivered, headerOf } from "./large_frames.ts";
import {
  concat,
  GATEWAY4,
  GATEWAY6,
  GATEWAY_MAC,
  GUEST4,
  GUEST6,
  GUEST_MAC,
  ip,
  mac,
  type Read,
  read,
} from "./packets.ts";

/** Where a test's own octets may stand. */
export const SCRATCH_BYTES = 128 * 1024;

/** The link that tests have unless they say another. */
export const PLAIN_LINK: Readonly<LinkConfig> = Object.freeze({
  guestMac: mac(GUEST_MAC),
  gatewayMac: mac(GATEWAY_MAC),
  guestIp4: ip(GUEST4),
  gatewayIp4: ip(GATEWAY4),
  prefix4: 30,
  guestIp6: ip(GUEST6),
  gatewayIp6: ip(GATEWAY6),
  prefix6: 64,
  mtu: 1500,
  ipv6: true,
  verifyChecksums: false,
});

/** What a harness differs in from the defaults. */
export interface HarnessOptions {
  link?: Partial<LinkConfig>;
  limits?: Partial<typeof DEFAULT_LIMITS>;
  search?: string;
  ipv6Upstream?: boolean;
  /** Whether UDP datagrams to the DHCP ports go to the DHCP servers; default true. */
  dhcp?: boolean;
  /**
   * Whether the device takes large segments: with a virtio-net header in front of each frame, or
   * without one. `sent` cuts those that have a header as a card would.
   */
  large?: "headers" | "bare";
  /** Octets at `scratchAt`; default `SCRATCH_BYTES`. */
  scratchBytes?: number;
}

/** A packet as L4 would get it. */
export interface Delivered {
  protocol: number;
  family: 4 | 6;
  ttl: number;
  reassembled: boolean;
  header: Uint8Array;
  source: Uint8Array;
  destination: Uint8Array;
  payload: Uint8Array;
}

/** One guest's stack with a clock that the test turns. */
export class StackHarness {
  nowMs = 1_000_000;
  readonly memory: FrameMemory;
  readonly queues: NetworkFrameQueues;
  readonly counters = new Counters();
  readonly link: Link;
  readonly stack: GatewayStack;
  readonly dhcp4: Dhcp4;
  readonly dhcp6: Dhcp6;
  /** Position of `SCRATCH_BYTES` of memory for the test. */
  readonly scratchAt: number;
  /** What passed to L4 so far; ICMP does not show up here. */
  packets: Delivered[] = [];
  #seen: Partial<Record<CounterName, number>> = {};

  constructor(options: HarnessOptions = {}) {
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    const linkAt = QUEUES_BYTES;
    const dhcpAt = linkAt + LINK_BYTES;
    const stackAt = dhcpAt + DHCP4_BYTES;
    const replyAt = stackAt + stackBytes(limits);
    this.scratchAt = replyAt + DHCP6_REPLY_BYTES;
    this.memory = new FrameMemory(this.scratchAt + (options.scratchBytes ?? SCRATCH_BYTES));
    const idle = () => {};
    const hasHeaders = options.large === "headers";
    this.queues = new NetworkFrameQueues(this.memory, 0, { write: idle, turn: idle }, hasHeaders);
    const takesLarge = options.large !== undefined;
    const device = new VirtioNetworkDevice(this.queues, this.counters, takesLarge);
    this.link = new Link(this.memory, linkAt, device, this.counters, {
      ...PLAIN_LINK,
      ...options.link,
    });
    const search = encodeDomainNames(options.search === undefined ? [] : [options.search])!;
    this.stack = new GatewayStack({
      link: this.link,
      at: stackAt,
      limits,
      advertisement: { ipv6Upstream: options.ipv6Upstream ?? true, search },
    });
    this.dhcp4 = new Dhcp4(this.link, dhcpAt, { search });
    const { addresses } = this.stack;
    this.dhcp6 = new Dhcp6(this.link, { at: replyAt, addresses, search });
    const keep = (packet: Packet) => void this.packets.push(this.#copy(packet));
    const dhcp = options.dhcp ?? true;
    this.stack.attach(
      { process: keep },
      { process: (packet) => dhcp && this.#serveDhcp(packet) ? undefined : keep(packet) },
    );
  }

  /** Hands a frame to the stack, and lets it work. */
  push(frame: Uint8Array): void {
    this.pushWhole(this.link.device.hasHeaders ? concat(headerOf(), frame) : frame);
  }

  /** As `push`, with the header in front where the link has one. */
  pushWhole(frame: Uint8Array): void {
    const queue = this.queues.guestToHost;
    this.memory.view.setUint32(queue.fillAt, frame.length);
    this.memory.bytes.set(frame, queue.fillAt + LENGTH_BYTES);
    queue.filled(LENGTH_BYTES + frame.length);
    assertEquals(this.stack.poll(2, this.nowMs), Polled.empty);
    queue.compact();
  }

  /** Turns the clock on, running the timers that are due on the way. */
  wait(ms: number): void {
    const endMs = this.nowMs + ms;
    for (let steps = 0; this.stack.pollAt() <= endMs; steps++) {
      assertEquals(steps < 10_000, true, "pollAt makes no progress");
      this.nowMs = Math.max(this.nowMs, this.stack.pollAt());
      this.stack.advance(this.nowMs);
    }
    this.nowMs = endMs;
  }

  /** The frames that the stack has sent since the last call. */
  sent(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (const lane of [this.queues.hostToGuest, this.queues.streams]) {
      const bytes = lane.queuedBytes;
      const at = lane.take();
      for (let i = at; i < at + bytes;) {
        const length = this.memory.view.getUint32(i);
        const frame = this.memory.bytes.slice(i + LENGTH_BYTES, i + LENGTH_BYTES + length);
        if (this.link.device.hasHeaders) frames.push(...delivered(frame));
        else frames.push(frame);
        i += LENGTH_BYTES + length;
      }
    }
    return frames;
  }

  /** The only frame that was sent, taken apart. */
  reply(): Read {
    const frames = this.sent();
    assertEquals(frames.length, 1, "number of frames that were sent");
    return read(frames[0]!);
  }

  /** Nothing was sent. */
  silent(): void {
    assertEquals(this.sent().map(read), []);
  }

  /** The counters that grew since the last call, without the device's. */
  counted(): Partial<Record<CounterName, number>> {
    const now = this.counters.snapshot();
    const grown: Partial<Record<CounterName, number>> = {};
    for (const [name, count] of Object.entries(now) as [CounterName, number][]) {
      const by = count - (this.#seen[name] ?? 0);
      if (by !== 0 && !/^[rt]x\./.test(name)) grown[name] = by;
    }
    this.#seen = now;
    return grown;
  }

  /** Pushes a frame that is to vanish under one counter. */
  drops(frame: Uint8Array, name: CounterName): void {
    this.counted();
    const before = this.packets.length;
    this.push(frame);
    assertEquals(this.counted(), { [name]: 1 });
    assertEquals(this.packets.length, before);
    this.silent();
  }

  /** Pushes a frame that L4 is to get. */
  passes(frame: Uint8Array): Delivered {
    const before = this.packets.length;
    this.counted();
    this.push(frame);
    assertEquals(this.counted(), {});
    assertEquals(this.packets.length, before + 1, "the packet passes");
    return this.packets[before]!;
  }

  /** Copies octets to the scratch region: their position. */
  place(bytes: Uint8Array): number {
    this.memory.bytes.set(bytes, this.scratchAt);
    return this.scratchAt;
  }

  #serveDhcp(packet: Packet): boolean {
    const port = this.memory.view.getUint16(packet.payloadAt + 2);
    if (port !== 67 && port !== 547) return false;
    if (!checkL4(this.link, packet)) return true;
    if (port === 67) this.dhcp4.process(packet);
    else this.dhcp6.process(packet);
    return true;
  }

  #copy(packet: Packet): Delivered {
    const { bytes } = this.memory;
    const { headerAt, headerBytes, payloadAt, payloadBytes } = packet;
    const addressBytes = packet.family === 4 ? 4 : 16;
    assertEquals(payloadAt, headerAt + headerBytes, "header and payload are contiguous");
    return {
      protocol: packet.protocol,
      family: packet.family,
      ttl: packet.ttl,
      reassembled: packet.reassembled,
      header: bytes.slice(headerAt, payloadAt),
      source: bytes.slice(packet.sourceAt, packet.sourceAt + addressBytes),
      destination: bytes.slice(packet.destinationAt, packet.destinationAt + addressBytes),
      payload: bytes.slice(payloadAt, payloadAt + payloadBytes),
    };
  }
}
