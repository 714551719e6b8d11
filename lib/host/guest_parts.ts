/**
 * The parts of one guest's network, made and joined.
 *
 *     the guest's end    its link, its stack, TCP (`guest_end.ts`)
 *     judges             policy, pins, refusals, rates, the program's own word; other guests
 *     towards hosts      the dialer, TCP relays, the resolver, UDP relays, pings, clients
 *     joined             the stack with all that takes packets from it, DHCP among them
 *
 * Whatever has a fixed size is laid out in the guest's arena, in the order in which it is made.
 * Nothing runs yet: what the parts ask of whoever drives them goes to the hooks, which are called
 * only once all parts are there.
 *
 * @module
 */
import type { Denial } from "../policy/denial.ts";
import { Pins } from "../policy/pins.ts";
import { Policy } from "../policy/policy.ts";
import { Dhcp4, DHCP4_BYTES } from "../stack/dhcp4.ts";
import { Dhcp6 } from "../stack/dhcp6.ts";
import { DHCP6_REPLY_BYTES } from "../stack/dhcp6_reply.ts";
import { ECHO_OUTPUT_BYTES, EchoOutput } from "../stack/echo_output.ts";
import { UdpFlows, udpFlowsBytes } from "../stack/udp_flows.ts";
import { UdpInput } from "../stack/udp_input.ts";
import { UDP_OUTPUT_BYTES, UdpOutput } from "../stack/udp_output.ts";
import { encodeDomainNames } from "../wire/domain_names.ts";
import { Denials } from "./denials.ts";
import { Destinations } from "./destinations.ts";
import { Dialer } from "./dialer.ts";
import { DnsGateway } from "./dns_gateway.ts";
import { DnsRelay, dnsRelayBytes } from "./dns_relay.ts";
import { FlowNumbers } from "./flow_info.ts";
import { type GuestEnd, type GuestEndGiven, makeGuestEnd } from "./guest_end.ts";
import { GuestLan, lanMembers } from "./guest_lan.ts";
import { GuestNames } from "./guest_names.ts";
import { GuestOffers } from "./guest_offers.ts";
import type { GuestNetworkOptions, GuestPolicy } from "./guest_options.ts";
import { GuestRates } from "./guest_rates.ts";
import { GuestSubnets, type Subnet } from "./guest_subnets.ts";
import type { DatagramOpeners } from "./host_system.ts";
import { JudgeHook } from "./judge_hook.ts";
import { PingRelay } from "./ping_relay.ts";
import { PublishedUdp } from "./published_udp.ts";
import { TcpRelayTable } from "./tcp_relay_table.ts";
import { UdpRelayTable } from "./udp_relay.ts";

/** What the parts ask of whoever drives them. */
export interface GuestHooks extends Pick<GuestEndGiven, "flush" | "turn" | "onBug"> {
  /**
   * A datagram for the guest is queued: a turn is due for all that come together. Returns when the
   * first of them came.
   */
  readonly onDatagram: () => number;
  /** The guest looks for an address. */
  readonly onDiscover: () => void;
  /** The policy in force. */
  readonly policy: () => GuestPolicy;
}

/** Who has a say in what goes to hosts and to other guests. */
interface GuestJudges {
  readonly pins: Pins;
  readonly denials: Denials;
  readonly onDenial: (denial: Denial) => void;
  readonly destinations: Destinations;
  readonly lan: GuestLan | null;
  readonly rates: GuestRates;
  readonly hook: JudgeHook | null;
}

/** The resolver, and the guest's questions over UDP. */
interface GuestResolver {
  readonly names: GuestNames;
  readonly dns: DnsGateway;
  readonly dnsRelay: DnsRelay;
}

/** What carries datagrams of the guest to hosts, and of clients to the guest. */
interface GuestDatagrams {
  readonly udpFlows: UdpFlows;
  readonly sockets: DatagramOpeners;
  readonly udpRelays: UdpRelayTable;
  readonly pings: PingRelay;
  readonly published: PublishedUdp;
}

/** All parts of one guest's network. */
export interface GuestParts extends GuestEnd, GuestJudges, GuestResolver, GuestDatagrams {
  readonly dialer: Dialer;
  readonly relays: TcpRelayTable;
}

/** What every part may be made from. */
interface Making extends Pick<GuestEndGiven, "seed" | "nowMs" | "search" | "members"> {
  readonly options: GuestNetworkOptions;
  readonly hooks: GuestHooks;
  /** What flows of all kinds are counted by. */
  readonly numbers: FlowNumbers;
  readonly names: GuestNames;
}

/** Makes all parts. */
export function makeGuestParts(options: GuestNetworkOptions, hooks: GuestHooks): GuestParts {
  const { arena, dns: { search, intercept = true }, lan, limits, network, system } = options;
  const making: Making = {
    options,
    hooks,
    nowMs: system.now(),
    seed: Uint32Array.from({ length: 4 }, () => system.randomWord() << 16 | system.randomWord()),
    search: search === undefined ? new Uint8Array(0) : encodeDomainNames([search])!,
    members: lan === undefined ? null : lanMembers(lan, network.prefix6),
    numbers: new FlowNumbers(),
    names: options.names ?? new GuestNames(options),
  };
  const end = makeGuestEnd(options, {
    ...making,
    ...hooks,
    admits: (packet, peerPort, nowMs) => relays.admits(packet, peerPort, nowMs),
    onOffer: (connection, nowMs) => offers.take(connection, nowMs),
  });
  const { link, tcp, wake } = end;
  const judges = makeJudges(making, end);
  const dialer = new Dialer(limits, system, () => tcp.isCrowded(system.now()));
  const relays: TcpRelayTable = makeTcpRelays(making, end, judges, dialer);
  const output = new UdpOutput(link, arena.take(UDP_OUTPUT_BYTES));
  const resolver = makeResolver(making, end, judges, output);
  const offers: GuestOffers = new GuestOffers({
    link,
    relays,
    endpoint: tcp,
    dns: resolver.dns,
    intercept,
    wake,
    now: system.now,
  });
  const datagrams = makeDatagrams(making, end, judges, output);
  joinStack(making, end, resolver, datagrams);
  return { ...end, ...judges, ...resolver, ...datagrams, dialer, relays };
}

function makeJudges(
  { options, seed, members, names }: Making,
  { counters, link, stack, wake }: GuestEnd,
): GuestJudges {
  const { lan, limits, logger, network, system } = options;
  const pins = new Pins(limits.policyPins);
  const denials = new Denials({
    kept: limits.denialsKept,
    counters,
    logger,
    now: system.now,
    onDenial: options.onDenial ?? (() => {}),
  });
  const onDenial = (denial: Denial): void => denials.note(denial);
  const destinations = new Destinations({
    policy: new Policy({ ...options.policy, pins, places: names.places }),
    hostLoopback: options.hostLoopback,
    hostServices: options.hostServices,
    gatewayIp4: network.gatewayIp4,
    gatewayIp6: network.gatewayIp6,
    gatewayLinkLocal: link.memory.bytes.slice(
      link.gatewayLinkLocalAt,
      link.gatewayLinkLocalAt + 16,
    ),
    ownPorts: options.ownPorts,
    isProxied: options.isProxied ?? false,
    ...(options.isProxy === undefined ? {} : { isProxy: options.isProxy }),
    now: system.now,
    canBind: system.canBind,
    guestSubnets: new GuestSubnets(guestSubnets(options)),
    pingObstacle: (address) => system.pings.obstacle(address),
  });
  const guestLan = lan === undefined || members === null ? null : new GuestLan({
    attachment: lan,
    members,
    link,
    errors: stack.errors,
    limits,
    seed,
    policy: () => destinations.policy,
    onDenial,
    onFrames: wake,
    now: system.now,
  });
  if (guestLan !== null) stack.join(guestLan.port);
  const rates = new GuestRates(options.rate ?? {}, system);
  const hook = options.judge === undefined
    ? null
    : new JudgeHook({ ...limits, judge: options.judge, clock: system, logger });
  return { pins, denials, onDenial, destinations, lan: guestLan, rates, hook };
}

function makeTcpRelays(
  { options, hooks, numbers }: Making,
  { tcp, stack, wake }: GuestEnd,
  { destinations, rates, hook, onDenial }: GuestJudges,
  dialer: Dialer,
): TcpRelayTable {
  const { limits, system } = options;
  return new TcpRelayTable({
    endpoint: tcp,
    errors: stack.errors,
    destinations,
    dialer,
    relaysMax: limits.tcpFlows,
    clientsPending: limits.publishedPending,
    rates,
    numbers,
    hook,
    inspectMs: limits.inspectMs,
    inspectPending: limits.inspectPending,
    denyPage: () => hooks.policy().denyPage,
    believesOuterName: () => hooks.policy().ech === "outer",
    onDenial,
    halfOpenPerDestination: Math.max(1, limits.tcpHalfOpen >> 2),
    wake,
    clock: system,
  });
}

function makeResolver(
  { options, hooks, names }: Making,
  { link }: GuestEnd,
  { destinations, onDenial }: GuestJudges,
  output: UdpOutput,
): GuestResolver {
  const { arena, limits, logger, system } = options;
  const dns = new DnsGateway({
    config: options.dns,
    limits,
    own: () => names.current,
    policy: () => destinations.policy,
    remembersNames: options.judge !== undefined,
    onDenial,
    logger,
    system,
  });
  const questions = 2 * limits.dnsInFlight;
  const dnsRelay = new DnsRelay({
    link,
    at: arena.take(dnsRelayBytes(questions)),
    questions,
    perSecond: limits.dnsPerSecond,
    output,
    gateway: dns,
    logger,
    wake: hooks.onDatagram,
    now: system.now,
  });
  return { names, dns, dnsRelay };
}

function makeDatagrams(
  { options, hooks, seed, nowMs, numbers }: Making,
  { counters, link, stack, clients }: GuestEnd,
  { destinations, rates, hook, onDenial }: GuestJudges,
  output: UdpOutput,
): GuestDatagrams {
  const { arena, limits, logger, system } = options;
  const { memory } = link;
  const { errors } = stack;
  const udpFlows = new UdpFlows({
    memory,
    at: arena.take(udpFlowsBytes(limits)),
    counters,
    limits,
    seed,
    nowMs,
  });
  const sockets = system.datagramSockets({ sockets: limits.udpFlows });
  const udpRelays = new UdpRelayTable({
    link,
    flows: udpFlows,
    output,
    errors,
    sockets,
    opensPerSecond: limits.udpOpensPerSecond,
    destinations,
    rates,
    numbers,
    hook,
    onDenial,
    logger,
    wake: hooks.onDatagram,
    now: system.now,
  });
  const pings = new PingRelay({
    bytes: memory.bytes,
    counters,
    output: new EchoOutput(link, errors, arena.take(ECHO_OUTPUT_BYTES)),
    limits,
    program: system.pings,
    destinations,
    rates,
    hook,
    onDenial,
    logger,
    clock: system,
    wake: hooks.onDatagram,
  });
  const published = new PublishedUdp({
    link,
    flows: udpFlows,
    output,
    errors,
    clients,
    rates,
    numbers,
    flowsMax: limits.publishedUdpFlows,
    wake: hooks.onDatagram,
    now: system.now,
  });
  return { udpFlows, sockets, udpRelays, pings, published };
}

/** Joins the stack with all that takes packets from it. */
function joinStack(
  { options, hooks, search }: Making,
  { link, stack, tcp }: GuestEnd,
  { dnsRelay }: GuestResolver,
  { udpFlows, udpRelays, pings }: GuestDatagrams,
): void {
  const { arena, dns: { intercept = true } } = options;
  const dhcp4 = new Dhcp4(link, arena.take(DHCP4_BYTES), { search, onDiscover: hooks.onDiscover });
  const dhcp6 = new Dhcp6(link, {
    at: arena.take(DHCP6_REPLY_BYTES),
    addresses: stack.addresses,
    search,
  });
  const udp = new UdpInput(link, udpFlows, stack.errors, {
    dhcp4: (packet) => dhcp4.process(packet),
    dhcp6: (packet) => dhcp6.process(packet),
    dns: (packet, guestPort, dataAt, dataBytes) =>
      dnsRelay.ask(packet, guestPort, dataAt, dataBytes),
    open: (packet, peerPort) => udpRelays.open(packet, peerPort),
  }, intercept);
  stack.attach(tcp, udp, (packet, nowMs) => pings.open(packet, nowMs));
}

/** The networks of others, and the guest's own where it is not alone there. */
function guestSubnets({ lan, network, guestSubnets = [] }: GuestNetworkOptions): Subnet[] {
  if (lan === undefined) return [...guestSubnets];
  const { guestIp4, prefix4, guestIp6, prefix6 } = network;
  const own = [{ address: guestIp4, bits: prefix4 }, { address: guestIp6, bits: prefix6 }];
  return [...guestSubnets, ...own];
}
