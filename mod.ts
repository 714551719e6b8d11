/**
 * The host-side half of a microVM's network: hand over the stream on which a VMM sends its guest's
 * Ethernet frames, and the guest has a router, a resolver and a firewall in front of it. Its flows
 * become ordinary sockets of this process; no root, no tap device, no kernel module.
 *
 * @example Serve a VMM
 * ```ts ignore
 * import { serveVirtioNetwork } from "@virtio/gateway";
 *
 * await using server = await serveVirtioNetwork({ transport: "unix", path: "/run/vm1.sock" }, {
 *   publishedPorts: [{ hostPort: 8080, guestPort: 80 }],
 * });
 * await server.finished;
 * ```
 *
 * @module
 */
export {
  type GuestFigures,
  type PublishedPort,
  type ServeOptions,
  serveVirtioNetwork,
  startVirtioNetwork,
  type VirtioNetworkOptions,
  VirtioNetworkRuntime,
  VirtioNetworkServer,
} from "./lib/runtime.ts";
export { type Endpoint, parseEndpoint } from "./lib/config/endpoint.ts";
export {
  ConfigError,
  type ConfigProblem,
  GatewayError,
  type GatewayErrorCode,
} from "./lib/config/errors.ts";
export { type GatewayLogger, type LogFields } from "./lib/config/logger.ts";
export { DEFAULT_LIMITS, type Limits } from "./lib/config/limits.ts";
export {
  type ChecksumMode,
  DEFAULT_DNS_ADDR,
  DEFAULT_GUEST_NETWORK,
  type DnsConfig,
  type GuestNetworkConfig,
  type HostService,
  type PortMapping,
  type ProtectLevel,
  type VirtioNetworkConfig,
} from "./lib/config/options.ts";
export { COUNTER_NAMES, type CounterName } from "./lib/stack/counters.ts";
