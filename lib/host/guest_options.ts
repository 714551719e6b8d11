/**
 * What a guest's network is made from; everything in it is checked already.
 *
 * @module
 */
import type { Limits } from "../config/limits.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { ParsedNetwork } from "../config/network.ts";
import type { DnsConfig, EchMode, HostService, RateConfig } from "../config/options.ts";
import type { Denial } from "../policy/denial.ts";
import type { ProtectLevel } from "../policy/protect.ts";
import type { RuleSet } from "../policy/rule_set.ts";
import type { BufferPool } from "../stack/buffer_pool.ts";
import type { FrameTap } from "../stack/device.ts";
import type { FrameTransport } from "./frame_transport.ts";
import type { Arena } from "./gateway_memory.ts";
import type { GuestNames } from "./guest_names.ts";
import type { Subnet } from "./guest_subnets.ts";
import type { HostSystem } from "./host_system.ts";
import type { JudgeFunction } from "./judge_hook.ts";
import type { LanAttachment } from "./lan_attachment.ts";
import type { LinkChange } from "./link_life.ts";

/** What a guest may reach, compiled. */
export interface GuestPolicy {
  readonly protect: ProtectLevel;
  /** Where the level stands, where messages are to say so. */
  readonly protectOrigin?: string;
  readonly rules: RuleSet;
  /** Whether a refused HTTP request is told why. */
  readonly denyPage: boolean;
  /** What becomes of a TLS hello that may hide another name than it shows. */
  readonly ech: EchMode;
}

/** Everything that one guest's network is given. */
export interface GuestNetworkOptions {
  readonly conn: FrameTransport;
  /** The machine. */
  readonly system: HostSystem;
  readonly pool: BufferPool;
  /** Where the guest's parts are laid out; given back when the network has ended. */
  readonly arena: Arena;
  readonly network: ParsedNetwork;
  /** Whether each frame has a virtio-net header in front. */
  readonly hasHeaders?: boolean;
  readonly limits: Limits;
  readonly dns: DnsConfig;
  /** What the gateway answers itself, shared with other guests; as configured when absent. */
  readonly names?: GuestNames;
  readonly policy: GuestPolicy;
  /** How much of the host's network the guest gets; all of it when absent. */
  readonly rate?: RateConfig;
  /** The embedding program's own judge. */
  readonly judge?: JudgeFunction;
  /** Whether connects go through a proxy. */
  readonly isProxied?: boolean;
  /** Whether a literal and a port are where that proxy itself listens. */
  readonly isProxy?: (hostname: string, port: number) => boolean;
  readonly hostLoopback: boolean;
  readonly hostServices: readonly HostService[];
  /** Whether the host can reach the IPv6 world. */
  readonly ipv6Upstream: boolean;
  /** Ports of the gateway's own sockets on the host. */
  readonly ownPorts: (protocol: "tcp" | "udp") => ReadonlySet<number>;
  readonly logger: GatewayLogger;
  /** Hears of each refusal, with the time of the system's clock. */
  readonly onDenial?: (denial: Denial, nowMs: number) => void;
  /** Sees every frame of the link. */
  readonly tap?: FrameTap;
  /** How long everything stays for a VMM that has left; 0 when absent. */
  readonly lingerMs?: number;
  /** Hears what becomes of the link while everything stays. */
  readonly onLink?: (change: LinkChange) => void;
  /** The guest's place in a network that it shares with others. */
  readonly lan?: LanAttachment;
  /** The networks of other guests: nothing there is dialled. */
  readonly guestSubnets?: readonly Subnet[];
}
