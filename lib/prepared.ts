/**
 * A guest's configuration, checked, and what it needs of the host made ready, before anything of the
 * guest is opened: for `startVirtioNetwork` and, once for all of its guests, `serveVirtioNetwork`.
 *
 * @module
 */
import { type Limits, resolveLimits } from "./config/limits.ts";
import { type GatewayLogger, silentLogger } from "./config/logger.ts";
import { type ParsedNetwork, parseGuestNetwork } from "./config/network.ts";
import { checkNetworkConfig } from "./config/network_config.ts";
import type { VirtioNetworkConfig } from "./config/options.ts";
import { CaptureSet } from "./host/capture_set.ts";
import { captureClock } from "./host/capture_tap.ts";
import { DescriptorReserve } from "./host/descriptor_reserve.ts";
import { EventHub } from "./host/event_hub.ts";
import type { GatewayEvent } from "./host/gateway_event.ts";
import { GuestNames } from "./host/guest_names.ts";
import type { GuestPolicy } from "./host/guest_options.ts";
import { compilePolicy } from "./host/guest_policy.ts";
import { parseSubnet, type Subnet } from "./host/guest_subnets.ts";
import { type HostSystem, hostSystem } from "./host/host_system.ts";
import { hasIpv6Route } from "./host/ipv6_route.ts";
import type { JudgeFunction } from "./host/judge_hook.ts";
import type { LanAttachment } from "./host/lan_attachment.ts";
import { LimitedLog } from "./host/limited_log.ts";
import { withNetWarning } from "./host/net_permission.ts";
import { openTelemetry } from "./host/open_telemetry.ts";
import { requirePublished } from "./host/permissions.ts";
import { clearPublished } from "./host/published_ports.ts";
import { QuietWarning } from "./host/quiet_warning.ts";
import { tracedConnect } from "./host/traced_connect.ts";
import { UpstreamProxy } from "./host/upstream_proxy.ts";

/**
 * Configuration, logger and signal of one guest's network. All but the last three is plain data.
 * For {@linkcode startVirtioNetwork}.
 */
export interface VirtioNetworkOptions extends VirtioNetworkConfig {
  /** Where log lines go; nowhere when absent. */
  logger?: GatewayLogger;
  /** Ends everything at once. */
  signal?: AbortSignal;
  /**
   * The program's own word on each flow that the policy allows: within a second, 256 at most at a
   * time, else the flow is denied.
   */
  judge?: JudgeFunction;
}

/** A checked configuration and what its guests share. */
export interface Prepared {
  readonly config: VirtioNetworkConfig;
  readonly network: ParsedNetwork;
  readonly limits: Limits;
  /** The program's, as far as it may be filled; flushed by what serves. */
  readonly logger: LimitedLog;
  readonly ipv6Upstream: boolean;
  /** The machine, by way of the upstream proxy if there is one. */
  readonly system: HostSystem;
  /** That proxy; `null` for none. */
  readonly proxy: UpstreamProxy | null;
  /** The embedding program's own judge. */
  readonly judge: JudgeFunction | undefined;
  /** What the next guest may reach. */
  policy: GuestPolicy;
  /** Who listens to what happens. */
  readonly events: EventHub<GatewayEvent>;
  /** Who gets the guests' frames; closed with what serves. */
  readonly captures: CaptureSet;
  /** What the gateway answers itself. */
  readonly names: GuestNames;
  /** Descriptors for others than flows. */
  readonly reserve: DescriptorReserve;
  /** Whether others of the isolate have the same ones; else they are disposed of with what serves. */
  readonly isReserveShared: boolean;
  /** The guest's place in a shared network; `null` for none. */
  readonly lan: LanAttachment | null;
  /** The networks of the gateway's guests: nothing there is dialled. */
  readonly guestSubnets: readonly Subnet[];
}

/** What a guest has together with others of its isolate. */
export interface SharedParts {
  /** Descriptors that are kept for all of them. */
  readonly reserve?: DescriptorReserve;
  /** The guest's place in a shared network. */
  readonly lan?: LanAttachment;
  /** The networks of all guests, such as `10.77.0.0/24`. */
  readonly guestSubnets?: readonly string[];
}

/**
 * Checks everything that can be wrong before anything is opened.
 *
 * @param options Everything has a default.
 * @param parts What others of the isolate have too.
 */
export async function prepare(
  options: VirtioNetworkOptions,
  parts: SharedParts = {},
): Promise<Prepared> {
  const { logger: ownLogger = silentLogger, signal: _signal, judge, ...config } = options;
  const logger = LimitedLog.of(ownLogger);
  checkNetworkConfig(config);
  requirePublished(config.publishedPorts ?? []);
  await clearPublished(config.publishedPorts ?? []);
  const network = parseGuestNetwork(config.guestNetwork);
  if (!network.ipv6 && (config.guestNetwork?.ipv6 ?? true)) {
    logger.info("IPv6 is off: the MTU is below 1280", { mtu: network.mtu });
  }
  const limits = resolveLimits(config.limits);
  const policy = compilePolicy(config.policy, limits);
  const ipv6Upstream = network.ipv6 && await hasIpv6Route();
  const { dns = {}, hostLoopback = false, hostServices = [] } = config;
  const { members = [] } = parts.lan ?? {};
  const names = new GuestNames({ network, dns, hostLoopback, hostServices, members });
  const captures = new CaptureSet(captureClock, logger);
  const { file } = config.capture ?? {};
  if (file !== undefined) await captures.startFile({ ...config.capture, file });
  const reserve = parts.reserve ??
    new DescriptorReserve({ count: limits.descriptorsKept, logger });
  const events = new EventHub<GatewayEvent>(({ type }) => type === "denial");
  const proxy = upstreamProxy(hostSystem, config.upstreamProxy, logger);
  logPings(hostSystem, proxy !== null, logger);
  const tracer = openTelemetry({ logger });
  const connect = proxy === null ? hostSystem.connect : proxy.connect;
  const traced: HostSystem = {
    ...hostSystem,
    connect: tracer === null ? connect : tracedConnect(connect, tracer),
    tracer,
  };
  const system = withNetWarning(traced, logger);
  const shared = {
    network,
    limits,
    logger,
    ipv6Upstream,
    system,
    proxy,
    events,
    captures,
    names,
    reserve,
    isReserveShared: parts.reserve !== undefined,
    lan: parts.lan ?? null,
    guestSubnets: (parts.guestSubnets ?? []).map(parseSubnet),
  };
  return { config, policy, judge, ...shared };
}

/** Gives back what is nobody else's. */
export function disposeOwn({ reserve, isReserveShared }: Prepared): void {
  if (!isReserveShared) reserve[Symbol.dispose]();
}

/** The proxy that connects go through, where one is named. */
function upstreamProxy(
  system: HostSystem,
  proxyUrl: string | undefined,
  logger: GatewayLogger,
): UpstreamProxy | null {
  if (proxyUrl === undefined) return null;
  const warning = new QuietWarning(logger, system.now);
  const onFault = ({ message }: Error) => warning.warn("the upstream proxy fails", { message });
  const { connect, canBind } = system;
  return new UpstreamProxy(proxyUrl, { connect, canBind, onFault });
}

/** Whether pings of the world can be sent, for who wonders. */
function logPings({ pings }: HostSystem, isProxied: boolean, logger: GatewayLogger): void {
  if (isProxied) return logger.debug("no ping of a guest goes past the upstream proxy");
  const obstacle = pings.obstacle(Uint8Array.of(1, 1, 1, 1));
  if (obstacle === null) return logger.debug("a guest's pings of the world are sent by ping");
  const { detail, flag } = obstacle;
  const fields = { reason: detail, ...(flag === null ? {} : { allow: flag }) };
  logger.debug("a guest's pings of the world are refused", fields);
}
