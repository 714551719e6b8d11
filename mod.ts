/**
 * The host-side half of a microVM's network: hand over the stream on which a VMM sends its guest's
 * Ethernet frames, and the guest has a router, a resolver and a firewall in front of it. Its flows
 * become ordinary sockets of this process; no root, no tap device, no kernel module.
 *
 * @example Serve a VMM
 * ```ts
 * import { parseEndpoint, serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * // For a unix socket: parseEndpoint("unix:/run/vm1.sock")
 * await using server = await serveVirtioNetwork(parseEndpoint("tcp:127.0.0.1:0"), {
 *   publishedPorts: [{ hostPort: 0, guestPort: 80 }],
 * });
 * assertEquals(server.published[0]!.guestPort, 80);
 * // A program that does nothing else waits here: await server.finished;
 * ```
 *
 * @module
 */
export {
  type CloseOptions,
  type DnsCounts,
  type FlowInfo,
  type GuestFigures,
  type GuestLink,
  startVirtioNetwork,
  VirtioNetworkRuntime,
} from "./lib/runtime.ts";
export { type VirtioNetworkOptions } from "./lib/prepared.ts";
export {
  type PublishedPlace,
  type PublishedPort,
  type PublishedProtocol,
} from "./lib/config/published.ts";
export { type Awaitable, type Gateway } from "./lib/host/gateway.ts";
export { type CaptureOptions } from "./lib/host/capture_set.ts";
export { type ServeOptions, serveVirtioNetwork, VirtioNetworkServer } from "./lib/server.ts";
export {
  type GuestsQuestion,
  type ServedGuest,
  serveGuests,
  type ServeGuestsOptions,
  VirtioNetworkGuests,
} from "./lib/guests.ts";
export {
  type GuestConfig,
  type GuestsConfig,
  type SharedNetworkConfig,
} from "./lib/config/guests_options.ts";
export { type GuestTotals } from "./lib/host/guest_totals.ts";
export {
  type GatewaySnapshot,
  type GuestSnapshot,
  type ServedGateway,
} from "./lib/host/served_gateway.ts";
export {
  type GuestWorker,
  type ListensBeside,
  type ServedGuests,
} from "./lib/host/served_guests.ts";
export { type SocketUse, type VmmListener } from "./lib/host/vmm_endpoint.ts";
export {
  type DenialEvent,
  type EventPlace,
  type EventsLostEvent,
  type EventStream,
  type GatewayEvent,
  type GuestAttachedEvent,
  type GuestDetachedEvent,
  type GuestLeftEvent,
  type GuestReturnedEvent,
  type PolicyChangedEvent,
} from "./lib/host/gateway_event.ts";
export {
  type JudgedFlow,
  type JudgeFunction,
  type JudgeQuestion,
  type JudgeVerdict,
} from "./lib/host/judge_hook.ts";
export { type Denial, type DenialReason, formatDenial } from "./lib/policy/denial.ts";
export { type DenialGroup } from "./lib/policy/denial_log.ts";
export { type Explanation, type Finding } from "./lib/policy/explain.ts";
export { type Pin } from "./lib/policy/pins.ts";
export {
  type Endpoint,
  type Framing,
  parseEndpoint,
  parseVmmEndpoint,
  type VmmEndpoint,
  type VsockEndpoint,
} from "./lib/config/endpoint.ts";
export type { FrameTransport } from "./lib/host/frame_transport.ts";
export {
  ConfigError,
  type ConfigProblem,
  GatewayError,
  type GatewayErrorCode,
} from "./lib/config/errors.ts";
export { type GatewayLogger, type LogFields } from "./lib/config/logger.ts";
export { DEFAULT_LIMITS, type Limits } from "./lib/config/limits.ts";
export {
  type CaptureConfig,
  type ChecksumMode,
  DEFAULT_DNS_ADDR,
  DEFAULT_GUEST_NETWORK,
  type DnsConfig,
  type EchMode,
  type GuestNetworkConfig,
  type HostService,
  type PolicyConfig,
  type PortMapping,
  type ProtectLevel,
  type RateConfig,
  type VirtioNetworkConfig,
} from "./lib/config/options.ts";
export { type OwnName } from "./lib/host/guest_names.ts";
export { type RecordText } from "./lib/dns/record_text.ts";
export { type RecordFields, type RecordSpec } from "./lib/dns/record_spec.ts";
export { COUNTER_NAMES, type CounterName } from "./lib/stack/counters.ts";
