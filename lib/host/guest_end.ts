/**
 * The guest's end of its network: the link, and the protocols as they are spoken to it.
 *
 *     queues ─ device ─ link ─ stack ─ TCP ─ clients of published ports
 *
 * It is laid out at the start of the guest's arena. Knows no policy and no sockets: who takes new
 * connections is told to it, as is whoever writes frames and runs turns.
 *
 * @module
 */
import { Counters } from "../stack/counters.ts";
import { VirtioNetworkDevice } from "../stack/device.ts";
import type { LanMembers } from "../stack/lan_members.ts";
import { Link, LINK_BYTES } from "../stack/link.ts";
import { NetworkFrameQueues, QUEUES_BYTES } from "../stack/queues.ts";
import { GatewayStack, stackBytes } from "../stack/stack.ts";
import { endpointBytes, TcpEndpoint, type TcpEndpointOptions } from "../stack/tcp/endpoint.ts";
import { GUEST_CLIENTS_BYTES, GuestClients } from "./guest_clients.ts";
import type { GuestNetworkOptions } from "./guest_options.ts";

/** The guest's end, made and joined. */
export interface GuestEnd {
  readonly counters: Counters;
  readonly queues: NetworkFrameQueues;
  readonly device: VirtioNetworkDevice;
  readonly link: Link;
  readonly stack: GatewayStack;
  readonly tcp: TcpEndpoint;
  /** What the guest sees of clients of published ports. */
  readonly clients: GuestClients;
  /** Asks for a turn. */
  readonly wake: () => void;
}

/** What is given to it beside the options of the network. */
export interface GuestEndGiven extends Required<Pick<TcpEndpointOptions, "admits" | "onOffer">> {
  /** 128 random bits: four words. */
  readonly seed: Uint32Array;
  readonly nowMs: number;
  /** The guest's search domain as DHCP and advertisements say it. */
  readonly search: Uint8Array<ArrayBuffer>;
  /** Who else is in the guest's network. */
  readonly members: LanMembers | null;
  /** Frames wait for the writer. */
  readonly flush: () => void;
  /** A turn is due. */
  readonly turn: () => void;
  /** A bug has shown, and was counted. */
  readonly onBug: (error: unknown) => void;
}

/** Makes the guest's end; nothing that is given is called before all of it is there. */
export function makeGuestEnd(options: GuestNetworkOptions, given: GuestEndGiven): GuestEnd {
  const { arena, limits, network, pool, system } = options;
  const { seed, nowMs, search, members } = given;
  const { memory } = pool;
  const counters = new Counters();
  const queues = new NetworkFrameQueues(memory, arena.take(QUEUES_BYTES), {
    write: given.flush,
    turn: () => queueMicrotask(given.turn),
  }, options.hasHeaders);
  const device = new VirtioNetworkDevice(queues, counters, network.offload);
  device.tap = options.tap ?? null;
  const link = new Link(memory, arena.take(LINK_BYTES), device, counters, {
    ...network,
    verifyChecksums: network.checksums === "verify",
  });
  const stack = new GatewayStack({
    link,
    at: arena.take(stackBytes(limits)),
    limits,
    advertisement: { ipv6Upstream: options.ipv6Upstream, search },
    ...(members === null ? {} : { members }),
  });
  const tcp = new TcpEndpoint({
    link,
    pool: pool.quota(limits.bufferBytes),
    at: arena.take(endpointBytes(limits.tcpFlows)),
    flows: limits.tcpFlows,
    halfOpen: limits.tcpHalfOpen,
    timeWaitMs: limits.tcpTimeWaitMs,
    idleMs: limits.tcpIdleMs,
    bufferMinBytes: limits.tcpBufferMinBytes,
    bufferMaxBytes: limits.tcpBufferMaxBytes,
    seed,
    nowMs,
    admits: given.admits,
    onOffer: given.onOffer,
    onBug: given.onBug,
  });
  const clients = new GuestClients({
    link,
    at: arena.take(GUEST_CLIENTS_BYTES),
    addresses: stack.addresses,
    endpoint: tcp,
    now: system.now,
    randomWord: system.randomWord,
  });
  const wake = () => queues.relayWake.set();
  return { counters, queues, device, link, stack, tcp, clients, wake };
}
