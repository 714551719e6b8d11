/**
 * The options of one guest's network: plain data that survives `structuredClone`, so that it can
 * come from YAML, from flags, from an embedding program or over a worker's port alike.
 *
 * @module
 */
import type { RecordSpec } from "../dns/record_spec.ts";
import type { Limits } from "./limits.ts";

/**
 * How the guest's L4 checksums are judged; see `docs/architecture.md`. As in
 * {@linkcode DEFAULT_GUEST_NETWORK}.
 */
export type ChecksumMode = "auto" | "verify";

/**
 * What no guest reaches whatever else is set: the `--protect` levels. A part of
 * {@linkcode PolicyConfig}.
 */
export type ProtectLevel = "off" | "metadata" | "strict";

/**
 * What becomes of a TLS hello with an encrypted name (ECH, or the GREASE that browsers send) where
 * a rule about a domain needs one: it is refused, or judged by the name that it shows. A part of
 * {@linkcode PolicyConfig}.
 */
export type EchMode = "refuse" | "outer";

/**
 * Addresses and link parameters of the guest's network. Every field has a default. Those where
 * nothing is set are {@linkcode DEFAULT_GUEST_NETWORK}.
 */
export interface GuestNetworkConfig {
  /** The guest's IPv4 address with its prefix length, e.g. `100.96.0.2/30`. */
  guestIp: string;
  /** The gateway's IPv4 address inside the same prefix. */
  gatewayIp: string;
  /** The guest's IPv6 address with its prefix length (at most /64), e.g. `fd53:4d00::2/64`. */
  guestIp6: string;
  /** The gateway's IPv6 address inside the same prefix. */
  gatewayIp6: string;
  /** The guest's MAC address. */
  guestMac: string;
  /** The gateway's MAC address. */
  gatewayMac: string;
  /** Largest IP packet on the link, in bytes: 576 to 65,520. Below 1,280 IPv6 is off. */
  mtu: number;
  /** Whether the guest is given IPv6. */
  ipv6: boolean;
  /** `auto` takes right or pseudo-header-only sums, `verify` only right ones. */
  checksums: ChecksumMode;
  /**
   * Whether the guest takes TCP segments longer than the MTU: its device has agreed to GUEST_CSUM,
   * GUEST_TSO4 and GUEST_TSO6. A VMM whose guest has not may be stopped by the first one.
   */
  offload: boolean;
}

/**
 * One published port: a host address and port, or a unix socket, that leads to a port of the guest.
 * For {@linkcode VirtioNetworkServer.publish}, or a part of {@linkcode VirtioNetworkConfig}.
 */
export interface PortMapping {
  /** Port to listen on at the host; 0 lets the system choose one. Absent beside `unix` only. */
  hostPort?: number;
  /** Path of a unix socket to listen on in place of a port, for connections to a TCP port. */
  unix?: string;
  /** The guest's port. */
  guestPort: number;
  /** What is carried: connections or datagrams. `tcp` when absent. */
  protocol?: "tcp" | "udp";
  /** Host addresses to bind; `["127.0.0.1", "::1"]` when absent. */
  bind?: string[];
  /** Who may connect: CIDRs, addresses or classes such as `private`. Everybody when absent. */
  allowFrom?: string[];
}

/**
 * A port of the gateway's own address that leads to a port of the host's loopback. A part of
 * {@linkcode VirtioNetworkConfig}.
 */
export interface HostService {
  /** Port at the gateway's address, as the guest sees it. */
  gatewayPort: number;
  /** Port at the host's 127.0.0.1 or ::1. */
  hostPort: number;
}

/**
 * How names are resolved for the guest.
 *
 * @example Own names, and a zone that never leaves the host
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(endpoint, {
 *   dns: {
 *     records: { "web.internal": ["192.0.2.1"], "www.internal": { cname: "web.internal", ttl: 300 } },
 *     zones: { internal: "local" },
 *   },
 * });
 * const web = server.ownNames().find(({ name }) => name === "web.internal");
 * assertEquals(web?.records.map(({ type, data }) => `${type} ${data}`), ["A 192.0.2.1"]);
 * ```
 */
export interface DnsConfig {
  /**
   * Upstream resolvers in order: `system`, `ADDR[:PORT]` (`[v6]:port`), `tls://…` or `https://…`.
   * Default `["system"]`.
   */
  upstreams?: string[];
  /** Whether port 53 to any address is answered by the gateway. Default true. */
  intercept?: boolean;
  /** Search domain handed to the guest. */
  search?: string;
  /**
   * Own names, also `*.name`: each maps to IPv4 and IPv6 literals, or to records by type such as
   * `{ cname: "web.internal", ttl: 300 }`.
   */
  records?: Record<string, RecordSpec>;
  /**
   * Zones that have upstreams of their own, as in `upstreams`; `"local"` is answered from `records`
   * alone. The longest zone that a name is in decides.
   */
  zones?: Record<string, string[] | "local">;
  /** Whether answers of upstreams are kept for their time to live. Default true. */
  cache?: boolean;
}

/**
 * What the guest may reach. A deny wins; with any allow all else is denied.
 *
 * @example One host, and nothing else
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(endpoint, {
 *   policy: { allow: ["9.9.9.9:443"], protect: "strict" },
 * });
 * assertEquals(server.explain("9.9.9.9:443").allowed, true);
 * assertEquals(server.explain("9.9.9.9:22").allowed, false);
 * assertEquals(server.policy.protect, "strict");
 * ```
 */
export interface PolicyConfig {
  /** What no guest reaches whatever the rules say. Default `metadata`. */
  protect?: ProtectLevel;
  /** Rules `TARGET[:PORTS][/PROTOCOL]` of what is allowed, such as `*.example.com:443/tls`. */
  allow?: string[];
  /** Rules of the same form of what is denied. */
  deny?: string[];
  /** Whether a plain HTTP request that is denied is answered with a page that says so. Default true. */
  denyPage?: boolean;
  /** What becomes of a TLS hello that may hide another name than it shows. Default `refuse`. */
  ech?: EchMode;
  /** Where each rule stands, for messages; `policy.allow[0]` and so on when absent. */
  origins?: {
    /** One place for each rule of `allow`. */
    allow?: string[];
    /** One place for each rule of `deny`. */
    deny?: string[];
    /** That of `protect`, where messages are to name it. */
    protect?: string;
  };
}

/**
 * How much of the host's network the guest gets. What is absent is unlimited. A part of
 * {@linkcode VirtioNetworkConfig}.
 */
export interface RateConfig {
  /** Bytes a second from the guest. */
  up?: number;
  /** Bytes a second to the guest. */
  down?: number;
  /** Flows that begin in a second. */
  flowsPerSecond?: number;
  /** Bytes from the guest that may come at once; a tenth of a second's when absent. */
  upBurst?: number;
  /** Bytes to the guest that may come at once; a tenth of a second's when absent. */
  downBurst?: number;
  /** Flows that may begin at once; a tenth of a second's when absent. */
  flowsBurst?: number;
}

/**
 * The guest's frames in a file, in pcapng. A part of {@linkcode VirtioNetworkConfig}.
 */
export interface CaptureConfig {
  /** The file; the one before it becomes `FILE.1`. */
  file?: string;
  /** Bytes that both may take together. Default 100,000,000. */
  limit?: number;
  /** Octets that are kept of each frame, 14 to 262,144. Whole frames when absent. */
  snapLength?: number;
  /** Which frames, in the words of tcpdump: `tcp port 443 and host 10.0.0.5`. All when absent. */
  filter?: string;
}

/**
 * All data of one guest's network.
 *
 * @example Data from a file
 * ```ts
 * import { serveVirtioNetwork, type VirtioNetworkConfig } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const config: VirtioNetworkConfig = JSON.parse(`{
 *   "publishedPorts": [{ "hostPort": 0, "guestPort": 80, "bind": ["127.0.0.1"] }],
 *   "hostServices": [{ "gatewayPort": 5432, "hostPort": 5432 }],
 *   "rate": { "down": 12500000, "flowsPerSecond": 100 }
 * }`);
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(endpoint, config);
 * assertEquals(server.published.map(({ guestPort }) => guestPort), [80]);
 * ```
 */
export interface VirtioNetworkConfig {
  /** Addresses and link parameters. */
  guestNetwork?: Partial<GuestNetworkConfig>;
  /** TCP ports of the host that lead to the guest. */
  publishedPorts?: PortMapping[];
  /** Name resolution. */
  dns?: DnsConfig;
  /** Whether the gateway's own address leads to the host's loopback, any port. Default false. */
  hostLoopback?: boolean;
  /** Single ports of the gateway's own address that lead to the host's loopback. */
  hostServices?: HostService[];
  /** What the guest may reach. */
  policy?: PolicyConfig;
  /** How much the guest gets. */
  rate?: RateConfig;
  /**
   * The proxy that TCP flows to other hosts go through: `http://[user:password@]host:port` or
   * `socks5://…`.
   */
  upstreamProxy?: string;
  /** A file that gets the guest's frames. */
  capture?: CaptureConfig;
  /** Limits that differ from the defaults. */
  limits?: Partial<Limits>;
}

/**
 * The upstream resolver that is used when the host's own can't be read.
 *
 * @example A resolver of one's own in front of it
 * ```ts
 * import { DEFAULT_DNS_ADDR, serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(DEFAULT_DNS_ADDR, "1.1.1.1");
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(endpoint, {
 *   dns: { upstreams: ["127.0.0.1:5353", DEFAULT_DNS_ADDR] },
 * });
 * ```
 */
export const DEFAULT_DNS_ADDR = "1.1.1.1";

/**
 * The addresses and link parameters of a network for which nothing was set.
 *
 * @example Other addresses, and the rest as it is
 * ```ts
 * import { DEFAULT_GUEST_NETWORK, serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(DEFAULT_GUEST_NETWORK.guestIp, "100.96.0.2/30");
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(endpoint, {
 *   guestNetwork: { guestIp: "192.168.127.2/24", gatewayIp: "192.168.127.1", ipv6: false },
 * });
 * assertEquals(server.guestAddresses, ["192.168.127.2"]);
 * ```
 */
export const DEFAULT_GUEST_NETWORK: Readonly<GuestNetworkConfig> = Object.freeze({
  guestIp: "100.96.0.2/30",
  gatewayIp: "100.96.0.1",
  guestIp6: "fd53:4d00::2/64",
  gatewayIp6: "fd53:4d00::1",
  guestMac: "02:53:4d:00:00:02",
  gatewayMac: "02:53:4d:00:00:01",
  mtu: 1500,
  ipv6: true,
  checksums: "auto",
  offload: false,
});
