/**
 * What a seed stands for: guests, their links and programs, and the hosts that they talk to. Plain
 * data, made before anything runs, so that it can be printed.
 *
 * The worse the link, the less is sent over it: a seed should take milliseconds.
 *
 * @module
 */
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import { Dice } from "../support/dice.ts";
import type { CutKind, FaultMix } from "./faulty_wire.ts";

/** How one end of a stream behaves. */
export interface EndPlan {
  readonly sendBytes: number;
  /** Bytes that are written at once, and how long it waits then. */
  readonly chunkBytes: number;
  readonly chunkGapMs: number;
  /** Bytes that are read at once, and how long it waits then. */
  readonly readBytes: number;
  readonly readGapMs: number;
  /** It reads nothing before this. */
  readonly readAfterMs: number;
  /** It finishes only when it has seen the other's end. */
  readonly waitsForEnd: boolean;
  /** It breaks the connection after reading so much; Infinity for never. */
  readonly abortAtBytes: number;
  /** It closes both ways when it has sent everything, whatever comes. */
  readonly closesEarly: boolean;
  /** It sends back what it reads, and nothing of its own. */
  readonly echoes: boolean;
}

/** What becomes of a connect. */
export type ConnectPlan =
  | { readonly kind: "accept"; readonly delayMs: number }
  | { readonly kind: "refuse"; readonly code: string; readonly delayMs: number }
  | { readonly kind: "black hole" }
  | { readonly kind: "forbidden" };

/** A TCP stream between a program of the guest and a host. */
export interface StreamPlan {
  readonly id: number;
  /** Who opens it: the guest, or a client of a published port. */
  readonly opener: "guest" | "client";
  /** The host's address, or the client's. */
  readonly address: string;
  /** The port that is connected to. */
  readonly port: number;
  readonly startMs: number;
  readonly connect: ConnectPlan;
  readonly guest: EndPlan;
  readonly host: EndPlan;
  /** How the host's machine handles the socket. */
  readonly bufferBytes: number;
  readonly partShare: number;
  readonly operationMs: number;
}

/** A UDP socket of the guest, and the host that it talks to. */
export interface DatagramPlan {
  readonly id: number;
  readonly address: string;
  readonly port: number;
  readonly startMs: number;
  /** Sizes of what is sent, in order. */
  readonly sizes: readonly number[];
  readonly gapMs: number;
  readonly answer: "echo" | "twice" | "stranger" | "silent" | "refused";
  readonly answerMs: number;
}

/** A question of the guest. */
export interface QuestionPlan {
  readonly id: number;
  readonly startMs: number;
  readonly name: string;
  readonly transport: "udp" | "tcp";
}

/** How a resolver behaves. */
export type ResolverKind = "answers" | "silent" | "fails" | "forged first" | "truncates";

/** An echo request of the guest. */
export interface PingPlan {
  readonly startMs: number;
  readonly address: string;
  readonly dataBytes: number;
}

/** When and how a link is cut. */
export interface CutPlan {
  readonly atMs: number;
  readonly kind: CutKind;
  /** It waits until a guest has been told that all is there, and a host has still to take some. */
  readonly worstMoment: boolean;
}

/** When and how a link is lost that comes back: everything of the guest stays meanwhile. */
export interface ReturnPlan {
  readonly atMs: number;
  readonly kind: Exclude<CutKind, "by the gateway">;
  readonly awayMs: number;
}

/** One guest's network. */
export interface NetworkPlan {
  readonly name: string;
  readonly mtu: number;
  readonly ipv6: boolean;
  /** Whether both ends send TCP in large segments, with a virtio-net header or without one. */
  readonly offload: "none" | "bare" | "headers";
  readonly weather: Weather;
  readonly mix: FaultMix;
  readonly cuts: readonly CutPlan[];
  /** How long a gateway waits for its VMM, and when that is away. */
  readonly lingerMs: number;
  readonly returns: readonly ReturnPlan[];
  readonly limits: Limits;
  /** Whether buffers are so scarce that flows may be ended. */
  readonly scarce: boolean;
  /** Whether tables are so small that flows are turned away. */
  readonly tight: boolean;
  readonly linkBufferBytes: number;
  readonly linkPartShare: number;
  readonly resolvers: readonly ResolverKind[];
  readonly streams: readonly StreamPlan[];
  readonly datagrams: readonly DatagramPlan[];
  readonly questions: readonly QuestionPlan[];
  readonly pings: readonly PingPlan[];
}

/** Kinds of links. */
export type Weather = "clean" | "mild" | "rough" | "storm";

/** Everything that a seed stands for. */
export interface Plan {
  readonly seed: number;
  readonly networks: readonly NetworkPlan[];
}

/** Where a guest's names lead. */
export const GATEWAY4 = "100.96.0.1";
export const GATEWAY6 = "fd53:4d00::1";

const SIZES: Readonly<Record<Weather, readonly number[]>> = {
  clean: [0, 100, 3_000, 20_000, 150_000, 600_000],
  mild: [0, 100, 3_000, 20_000, 120_000, 300_000],
  rough: [0, 100, 3_000, 20_000, 60_000],
  storm: [0, 100, 3_000, 15_000, 30_000],
};

/** Makes the plan of a seed; `offloads` says whether guests may have large segments. */
export function makePlan(seed: number, offloads = true): Plan {
  const dice = new Dice(seed);
  const count = dice.pick([1, 1, 1, 2, 2, 3]);
  const networks = Array.from({ length: count }, (_, i) => makeNetwork(dice.fork(), i, offloads));
  const returns = new Dice(Math.imul(seed, 0x9e37_79b1) ^ RETURNS);
  return { seed, networks: networks.map((network) => withReturns(returns.fork(), network)) };
}

/** Dice of their own, so that whatever else a seed stands for is the same with and without returns. */
const RETURNS = 20;
/** Longer than any link is away, however often in a row. */
const LINGER_MS = 240_000;

const NO_FAULTS: FaultMix = {
  loss: 0,
  duplicate: 0,
  reorder: 0,
  reorderMs: 1,
  late: 0,
  flip: 0,
  delayMs: 0,
  bytesPerMs: Infinity,
  stalls: [],
};

/** Where no link is cut for good, some are lost for a while. */
function withReturns(dice: Dice, network: NetworkPlan): NetworkPlan {
  if (network.cuts.length > 0 || !dice.chance(0.3)) return network;
  const { streams } = network;
  const returns = Array.from({ length: dice.pick([1, 2, 10]) }, () => ({
    // Also amid handshakes, which are short.
    atMs: streams.length > 0 && dice.chance(0.5)
      ? dice.pick(streams).startMs + dice.below(250)
      : 500 + dice.below(dice.pick([1_500, 6_000])),
    kind: dice.pick<ReturnPlan["kind"]>(["close", "reset", "inside a frame"]),
    awayMs: dice.pick([0, 0, 5, 300, 3_000, 20_000]),
  })).sort((a, b) => a.atMs - b.atMs);
  const lost = { ...network, returns, lingerMs: LINGER_MS };
  if (dice.chance(0.3)) return lost;
  // A link that loses nothing but itself: what does not arrive over it is a fault.
  const { reorderMs, delayMs } = network.mix;
  return { ...lost, weather: "clean", mix: { ...NO_FAULTS, reorderMs, delayMs } };
}

function makeNetwork(dice: Dice, index: number, offloads: boolean): NetworkPlan {
  const weather = dice.pick<Weather>(["clean", "clean", "mild", "mild", "rough", "storm"]);
  const mtu = dice.pick([1_500, 1_500, 1_500, 576, 1_280, 9_000, 65_520]);
  const ipv6 = mtu >= 1_280 && dice.chance(0.8);
  const spanMs = dice.pick([0, 200, 3_000]);
  const scarce = dice.chance(0.15);
  const tight = dice.chance(0.1);
  const place: Place = { dice, index, weather, ipv6, spanMs };
  const network = {
    name: `net${index}`,
    mtu,
    ipv6,
    weather,
    mix: makeMix(dice, weather, spanMs),
    cuts: makeCuts(dice, spanMs),
    lingerMs: 0,
    returns: [],
    limits: makeLimits(dice, scarce, tight),
    scarce,
    tight,
    linkBufferBytes: dice.pick([4_096, 65_536, 212_992, 1_048_576]),
    linkPartShare: dice.pick([0, 0, 0.1, 0.5]),
    resolvers: Array.from(
      { length: dice.between(1, 3) },
      () => dice.pick<ResolverKind>(["answers", "answers", ...UNKIND]),
    ),
    streams: Array.from({ length: dice.between(0, 7) }, (_, id) => makeStream(place, id)),
    datagrams: Array.from({ length: dice.between(0, 3) }, (_, id) => makeDatagrams(place, id)),
    questions: Array.from({ length: dice.between(0, 4) }, (_, id) => makeQuestion(place, id)),
    pings: Array.from({ length: dice.between(0, 2) }, () => makePing(place)),
  };
  const offload = offloads
    ? dice.pick<NetworkPlan["offload"]>(["none", "none", "bare", "headers"])
    : "none";
  // Where sums are left to do, nobody finds what a wire has damaged.
  const mix = offload === "headers" ? { ...network.mix, flip: 0 } : network.mix;
  return { ...network, offload, mix };
}

const UNKIND: readonly ResolverKind[] = ["silent", "fails", "forged first", "truncates"];

/** What most parts of a network's plan are made from. */
interface Place {
  readonly dice: Dice;
  readonly index: number;
  readonly weather: Weather;
  readonly ipv6: boolean;
  readonly spanMs: number;
}

const WORST: Readonly<Record<Weather, readonly [number, number, number, number]>> = {
  clean: [0, 0, 0, 0],
  mild: [0.02, 0.03, 0.1, 0.01],
  rough: [0.12, 0.1, 0.3, 0.05],
  storm: [0.3, 0.2, 0.4, 0.1],
};

function makeMix(dice: Dice, weather: Weather, spanMs: number): FaultMix {
  const [loss, duplicate, reorder, flip] = WORST[weather];
  const stalls = dice.chance(0.12)
    ? Array.from({ length: dice.between(1, 2) }, () => ({
      atMs: 1_000 + dice.below(spanMs + 2_000),
      forMs: dice.pick([5, 100, 2_000, 20_000, 60_000]),
    }))
    : [];
  const isClean = weather === "clean";
  return {
    loss: loss * dice.share(),
    duplicate: duplicate * dice.share(),
    reorder: reorder * dice.share(),
    reorderMs: dice.pick([1, 10, 100]),
    late: isClean ? 0 : dice.pick([0, 0, 0.01]),
    flip: flip * dice.share(),
    delayMs: dice.pick([0, 0, 0, 1, 20, 80]),
    bytesPerMs: dice.pick([Infinity, Infinity, Infinity, 125_000, 1_250]),
    stalls,
  };
}

function makeCuts(dice: Dice, spanMs: number): readonly CutPlan[] {
  if (!dice.chance(0.2)) return [];
  return Array.from({ length: dice.between(1, 2) }, () => ({
    atMs: 1_000 + dice.below(spanMs + 1_000),
    kind: dice.pick<CutKind>(["close", "reset", "inside a frame", "by the gateway"]),
    worstMoment: dice.chance(0.5),
  })).sort((a, b) => a.atMs - b.atMs);
}

function makeLimits(dice: Dice, scarce: boolean, tight: boolean): Limits {
  const tables = tight
    ? { tcpFlows: dice.between(2, 4), tcpHalfOpen: 2, tcpDials: 2, publishedPending: 1 }
    : { tcpFlows: 64, tcpHalfOpen: 32, tcpDials: dice.pick([2, 16]), publishedPending: 16 };
  const bufferBytes = scarce ? dice.pick([128, 256, 512]) * 1024 : 16 * 1024 * 1024;
  return {
    ...DEFAULT_LIMITS,
    ...tables,
    tcpDialsPerDestination: 2,
    tcpTimeWaitMs: dice.pick([1_000, 10_000]),
    tcpIdleMs: 600_000,
    tcpBufferMinBytes: dice.pick([4, 16]) * 1024,
    tcpBufferMaxBytes: scarce ? 64 * 1024 : dice.pick([64 * 1024, 4 * 1024 * 1024]),
    udpFlows: dice.pick([2, 16]),
    udpUnrepliedMs: 10_000,
    udpRepliedMs: 20_000,
    ...dice.pick([
      { dnsInFlight: 2, dnsInFlightPerUpstream: 2 },
      { dnsInFlight: 16, dnsInFlightPerUpstream: 8 },
    ]),
    dnsTimeoutMs: 3_000,
    fragmentSets: 8,
    fragmentBytes: 256 * 1024,
    fragmentMs: 5_000,
    fragment6Ms: 5_000,
    bufferBytes,
  };
}

function makeEnd(dice: Dice, weather: Weather): EndPlan {
  const sendBytes = dice.below(dice.pick(SIZES[weather]) + 1);
  const isPaced = dice.chance(0.2);
  const isSlow = dice.chance(0.15);
  return {
    sendBytes,
    chunkBytes: isPaced ? Math.max(1, Math.ceil(sendBytes / dice.between(1, 20))) : 65_536,
    chunkGapMs: isPaced ? dice.pick([0, 1, 10, 100]) : 0,
    readBytes: isSlow ? dice.pick([1_000, 8_000, 60_000]) : 262_144,
    readGapMs: isSlow ? dice.pick([1, 5, 20]) : 0,
    readAfterMs: dice.chance(0.1) ? dice.pick([50, 1_000, 15_000]) : 0,
    waitsForEnd: false,
    abortAtBytes: dice.chance(0.07) ? dice.below(sendBytes + 2_000) : Infinity,
    closesEarly: false,
    echoes: false,
  };
}

const CODES = ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT", "EMFILE"] as const;

function makeConnect(dice: Dice): ConnectPlan {
  const delayMs = dice.pick([0, 0, 1, 30, 400]);
  const throwMs = dice.share();
  if (throwMs < 0.82) return { kind: "accept", delayMs };
  if (throwMs < 0.92) return { kind: "refuse", code: dice.pick(CODES), delayMs };
  return throwMs < 0.96 ? { kind: "black hole" } : { kind: "forbidden" };
}

/** Who waits for whom; an upload goes to a host that has nothing to say and takes its time. */
const ORDERS = ["", "", "guest waits", "host waits", "echo", "host closes early", "upload"];
const SLOW_TAKER = { sendBytes: 0, readGapMs: 20, readAfterMs: 0, abortAtBytes: Infinity };

function makeStream({ dice, index, weather, ipv6, spanMs }: Place, id: number): StreamPlan {
  const opener = dice.chance(0.3) ? "client" : "guest";
  const connect = makeConnect(dice);
  const six = ipv6 && dice.chance(0.4);
  const address = connect.kind === "forbidden"
    ? dice.pick(["127.0.0.1", "169.254.169.254", GATEWAY4])
    : six
    ? `2606:2800:220:${index + 1}::${(id + 1).toString(16)}`
    : `93.184.${index + 1}.${id + 1}`;
  const guest = makeEnd(dice, weather);
  const host = makeEnd(dice, weather);
  const order = dice.pick(ORDERS);
  return {
    id,
    opener,
    address,
    port: 1_000 + 100 * index + id,
    startMs: dice.below(spanMs + 1),
    connect: opener === "client" && connect.kind === "forbidden"
      ? { kind: "accept", delayMs: 0 }
      : connect,
    guest: order === "guest waits"
      ? { ...guest, waitsForEnd: true }
      : order === "upload"
      ? { ...guest, abortAtBytes: Infinity, sendBytes: 2 * guest.sendBytes }
      : guest,
    host: order === "host waits" ? { ...host, waitsForEnd: true } : order === "echo"
      ? {
        ...host,
        echoes: true,
        sendBytes: guest.sendBytes,
        chunkBytes: Math.max(host.chunkBytes, Math.ceil(guest.sendBytes / 20)),
        waitsForEnd: true,
      }
      : order === "upload"
      ? { ...host, ...SLOW_TAKER, readBytes: dice.pick([8_000, 60_000]) }
      : { ...host, closesEarly: order === "host closes early" && dice.chance(0.4) },
    bufferBytes: dice.pick([4_096, 65_536, 262_144]),
    partShare: dice.pick([0, 0, 0.1, 0.5]),
    operationMs: dice.pick([0, 0, 0, 1, 20]),
  };
}

function makeDatagrams({ dice, index, ipv6, spanMs }: Place, id: number): DatagramPlan {
  const six = ipv6 && dice.chance(0.4);
  const count = dice.between(1, 10);
  return {
    id,
    address: six ? `2606:2800:220:${index + 1}::a${id}` : `93.184.${index + 1}.${200 + id}`,
    port: 7,
    startMs: dice.below(spanMs + 1),
    sizes: Array.from({ length: count }, () => dice.below(dice.pick([5, 500, 1_400, 6_000]))),
    gapMs: dice.pick([0, 1, 50]),
    answer: dice.pick(["echo", "echo", "echo", "twice", "stranger", "silent", "refused"]),
    answerMs: dice.pick([0, 0, 5, 200]),
  };
}

function makeQuestion({ dice, spanMs }: Place, id: number): QuestionPlan {
  const label = dice.chance(0.2) ? "same" : `n${id}-${dice.below(1_000)}`;
  return {
    id,
    startMs: dice.below(spanMs + 1),
    name: dice.chance(0.15) ? "gateway.internal" : `${label}.example.net`,
    transport: dice.chance(0.3) ? "tcp" : "udp",
  };
}

function makePing({ dice, ipv6, spanMs }: Place): PingPlan {
  return {
    startMs: dice.below(spanMs + 1),
    address: ipv6 && dice.chance(0.5) ? GATEWAY6 : GATEWAY4,
    dataBytes: dice.below(dice.pick([1, 100, 1_400, 5_000]) + 1),
  };
}

/** The faults of a plan in a few words. */
export function describe(plan: Plan): string {
  return plan.networks.map((network) => {
    const { name, mtu, mix, weather, cuts, streams, datagrams, questions, pings } = network;
    const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
    const faults = [
      `loss ${percent(mix.loss)}`,
      `twice ${percent(mix.duplicate)}`,
      `reordered ${percent(mix.reorder)} by ${mix.reorderMs} ms`,
      `late ${percent(mix.late)}`,
      `damaged ${percent(mix.flip)}`,
      `delay ${mix.delayMs} ms`,
      `${mix.bytesPerMs} bytes/ms`,
      ...mix.stalls.map(({ atMs, forMs }) => `stall at ${atMs} for ${forMs} ms`),
      ...cuts.map(({ atMs, kind, worstMoment }) =>
        `cut at ${atMs} ms${worstMoment ? " or at the worst moment after it" : ""} (${kind})`
      ),
      ...network.returns.map(({ atMs, kind, awayMs }) =>
        `lost at ${atMs} ms for ${awayMs} ms (${kind})`
      ),
    ];
    const large = network.offload === "none" ? "" : `, large segments (${network.offload})`;
    return `${name}: ${weather}, MTU ${mtu}${network.ipv6 ? "" : ", no IPv6"}${large}, ` +
      `${faults.join(", ")}${network.scarce ? ", scarce buffers" : ""}${
        network.tight ? ", small tables" : ""
      }; ` +
      `${streams.length} streams, ${datagrams.length} UDP sockets, ` +
      `${questions.length} questions, ${pings.length} pings`;
  }).join("\n");
}
