/**
 * Several guests of one shared network, each with its whole network on a virtual machine that they
 * have in common; the test is the VMM of each.
 *
 *     await using lan = new LanRig(3, { policies: [{ deny: ["b.internal"] }] });
 *     lan.send(0, lan.udp(0, 1));
 *     await lan.settle();
 *     lan.frames(1);
 *
 * Guests are called a, b, c …; number 0 is 10.77.0.2 and fd53:4d01::2.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { LanMember } from "../../lib/config/lan_member.ts";
import type { Limits } from "../../lib/config/limits.ts";
import type { GuestNetworkConfig } from "../../lib/config/options.ts";
import { GuestNames } from "../../lib/host/guest_names.ts";
import { LanHub } from "../../lib/host/lan_hub.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import type { CounterName } from "../../lib/stack/counters.ts";
import { interfaceAddress } from "../../lib/stack/lan_members.ts";
import { lanBytes } from "../../lib/stack/lan_rings.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { concat, ethernet, ip, ip4, ip6, mac, sealed, tcp, udp } from "./packets.ts";
import { guestPolicy, type PolicySpec } from "./policy.ts";
import { poisonedPool } from "./poisoned_pool.ts";
import { VirtualGateway, type VirtualGatewayOptions } from "./virtual_gateway.ts";
import { VirtualHost } from "./virtual_host.ts";

export const LAN_GATEWAY4 = "10.77.0.1";
export const LAN_GATEWAY6 = "fd53:4d01::1";
export const LAN_GATEWAY_MAC = "02:53:4d:00:00:01";

/** The members of a network of so many. */
export function lanMembersOf(count: number): LanMember[] {
  return Array.from({ length: count }, (_, i) => ({
    name: String.fromCharCode(97 + i),
    mac: `02:53:4d:01:00:${(i + 2).toString(16).padStart(2, "0")}`,
    ip4: `10.77.0.${i + 2}`,
    ip6: `fd53:4d01::${(i + 2).toString(16)}`,
  }));
}

/** The network of a member, as it is configured. */
export function lanNetworkOf({ mac, ip4, ip6 }: LanMember): Partial<GuestNetworkConfig> {
  return {
    guestMac: mac,
    gatewayMac: LAN_GATEWAY_MAC,
    guestIp: `${ip4}/24`,
    gatewayIp: LAN_GATEWAY4,
    guestIp6: `${ip6}/64`,
    gatewayIp6: LAN_GATEWAY6,
  };
}

/** The address that a member makes of its MAC: link-local, or inside the network's prefix. */
export function madeAddress(member: LanMember, prefix = "fe80::"): string {
  return formatIp(interfaceAddress(ip(prefix), mac(member.mac)));
}

/** How a rig differs from the plain one. */
export interface LanRigOptions {
  /** By guest: its policy; without rules where absent. */
  policies?: readonly (PolicySpec | undefined)[];
  network?: Partial<GuestNetworkConfig>;
  limits?: Partial<Limits>;
  /** By guest: what else is different. */
  guests?: readonly (VirtualGatewayOptions | undefined)[];
}

/** A shared network and its guests. */
export class LanRig implements AsyncDisposable {
  readonly members: readonly LanMember[];
  readonly host: VirtualHost;
  readonly hub: LanHub;
  readonly guests: VirtualGateway[];
  /** By guest: what was refused. */
  readonly denials: Denial[][];
  readonly #seen: Partial<Record<CounterName, number>>[];
  readonly #make: (self: number) => VirtualGateway;

  constructor(count: number, options: LanRigOptions = {}) {
    const members = this.members = lanMembersOf(count);
    this.host = new VirtualHost({ seed: 7 });
    this.hub = new LanHub({
      members,
      buffer: new ArrayBuffer(lanBytes(count)),
      workerOf: members.map(() => 0),
      worker: 0,
    });
    this.denials = members.map(() => []);
    this.#seen = members.map(() => ({}));
    this.#make = (self) => {
      const { network: own, ...more } = options.guests?.[self] ?? {};
      const network = { ...lanNetworkOf(members[self]!), ...options.network, ...own };
      return new VirtualGateway({
        host: this.host,
        pool: poisonedPool(),
        network,
        policy: guestPolicy(options.policies?.[self]),
        lan: this.hub.attach(self),
        names: new GuestNames({
          network: parseGuestNetwork(network),
          dns: {},
          hostLoopback: false,
          hostServices: [],
          members,
        }),
        onDenial: (denial) => this.denials[self]!.push(denial),
        ...(options.limits === undefined ? {} : { limits: options.limits }),
        ...more,
      });
    };
    this.guests = members.map((_, self) => this.#make(self));
  }

  /** Sends frames as a guest. */
  send(from: number, ...frames: readonly Uint8Array[]): void {
    this.guests[from]!.send(...frames);
  }

  /** Lets everything happen that takes no time. */
  settle(): Promise<void> {
    return this.host.clock.run(0);
  }

  /** The frames that came for a guest since the last call. */
  frames(of: number): Uint8Array[] {
    return this.guests[of]!.frames();
  }

  /** What has been counted for a guest since the last call, without all that passed its link. */
  counted(of: number): Partial<Record<CounterName, number>> {
    const now = this.guests[of]!.counters;
    const seen = this.#seen[of]!;
    const grown: Partial<Record<CounterName, number>> = {};
    for (const [name, count] of Object.entries(now) as [CounterName, number][]) {
      const by = count - (seen[name] ?? 0);
      if (by !== 0 && !/^([rt]x|lan)\./.test(name)) grown[name] = by;
    }
    this.#seen[of] = now;
    return grown;
  }

  /** Sends a frame that is to come to the other guests as it is, and to nobody else. */
  async passes(from: number, frame: Uint8Array, to: readonly number[]): Promise<void> {
    this.send(from, frame);
    await this.settle();
    this.guests.forEach((_, guest) => {
      const expected = to.includes(guest) ? [frame] : [];
      assertEquals(this.frames(guest), expected, `what came to ${this.members[guest]!.name}`);
    });
    assertEquals(this.counted(from), {}, "what was dropped");
  }

  /** Sends a frame that no other guest is to get, under one counter. */
  async drops(from: number, frame: Uint8Array, name: CounterName): Promise<void> {
    this.counted(from);
    this.send(from, frame);
    await this.settle();
    this.guests.forEach((_, guest) => {
      if (guest !== from) assertEquals(this.frames(guest), [], "nothing came");
    });
    assertEquals(this.counted(from), { [name]: 1 });
  }

  /** The guest of a member leaves; another one may come in its place. */
  async leave(guest: number): Promise<void> {
    await this.guests[guest]!.end();
  }

  /** Another guest of a member. */
  come(guest: number): void {
    this.guests[guest] = this.#make(guest);
    this.#seen[guest] = {};
  }

  /** The MAC addresses of a frame from one to another; -1 for everybody, -2 for the gateway. */
  macs(from: number, to: number): { source: string; destination: string } {
    const destination = to === -1
      ? "ff:ff:ff:ff:ff:ff"
      : to === -2
      ? LAN_GATEWAY_MAC
      : this.members[to]!.mac;
    return { source: this.members[from]!.mac, destination };
  }

  /** A frame with an IPv4 packet from one guest to another. */
  ip4(from: number, to: number, protocol: number, payload: Uint8Array, options = {}): Uint8Array {
    const [source, destination] = [this.members[from]!.ip4, this.members[to]!.ip4];
    return ethernet(
      ip4(payload, { source, destination, protocol, ...options }),
      this.macs(from, to),
    );
  }

  /** A frame with an IPv6 packet from one guest to another. */
  ip6(from: number, to: number, next: number, payload: Uint8Array, options = {}): Uint8Array {
    const [source, destination] = [this.members[from]!.ip6!, this.members[to]!.ip6!];
    return ethernet(ip6(payload, { source, destination, next, ...options }), this.macs(from, to));
  }

  /** A datagram from one guest to another. */
  udp(
    from: number,
    to: number,
    ports: [number, number] = [5_000, 7],
    data = [1, 2, 3],
  ): Uint8Array {
    const [source, destination] = [this.members[from]!.ip4, this.members[to]!.ip4];
    const datagram = udp(source, ports[0], destination, ports[1], Uint8Array.from(data));
    return this.ip4(from, to, 17, datagram);
  }

  /** A datagram over IPv6 from one guest to another. */
  udp6(from: number, to: number, ports: [number, number] = [5_000, 7]): Uint8Array {
    const [source, destination] = [this.members[from]!.ip6!, this.members[to]!.ip6!];
    const datagram = udp(source, ports[0], destination, ports[1], Uint8Array.of(1, 2, 3));
    return this.ip6(from, to, 17, datagram);
  }

  /** A TCP segment from one guest to another. */
  tcp(
    from: number,
    to: number,
    flags: number,
    ports: [number, number] = [40_000, 80],
    data: Uint8Array = new Uint8Array(0),
  ): Uint8Array {
    const [source, destination] = [this.members[from]!.ip4, this.members[to]!.ip4];
    return this.ip4(from, to, 6, tcpSegment(source, destination, flags, ports, data));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const guest of this.guests) await guest.end();
    this.hub.close();
    for (const { counters } of this.guests) assertEquals(counters["bug.lan"] ?? 0, 0);
    assertEquals(this.host.openSockets, 0, "sockets of the host left open");
    assertEquals(this.host.timers, 0, "timers left running");
  }
}

/** A TCP segment with its checksum and ports. */
export function tcpSegment(
  source: string,
  destination: string,
  flags: number,
  ports: readonly [number, number],
  data: Uint8Array,
): Uint8Array {
  const plain = tcp(source, destination, data, flags);
  const ported = concat(
    [ports[0] >> 8, ports[0] & 255, ports[1] >> 8, ports[1] & 255],
    plain.subarray(4),
  );
  return sealed(ported, 16, source, destination, 6);
}
