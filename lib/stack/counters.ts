/**
 * What one guest's stack has seen, sent and dropped, one number for each kind, in one typed array,
 * so that counting costs an addition and a reader takes a consistent copy.
 *
 * `drop.*` are the guest's or a peer's faults that were left without an answer; `bug.*` are our
 * own and stay 0.
 *
 * @module
 */

/**
 * The names of all counters; a counter's position in this list is its index.
 *
 * @example What was dropped, in all
 * ```ts
 * import { COUNTER_NAMES, serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(endpoint);
 * const { counters } = server.totals();
 * const drops = COUNTER_NAMES.filter((name) => name.startsWith("drop."));
 * assertEquals(drops.reduce((sum, name) => sum + counters[name], 0), 0);
 * ```
 */
export const COUNTER_NAMES = [
  "rx.frames",
  "rx.bytes",
  "tx.frames",
  "tx.bytes",
  "drop.eth.short",
  "drop.eth.type",
  "drop.eth.src",
  "drop.eth.dst",
  "drop.vnet.hdr",
  "drop.vnet.kind",
  "drop.arp",
  "drop.ip.hdr",
  "drop.ip.src",
  "drop.ip.dst",
  "drop.ip.land",
  "drop.ip.opt",
  "drop.ip.ttl",
  "drop.ip.protocol",
  "drop.csum",
  "csum.partial",
  "drop.frag.overlap",
  "drop.frag.big",
  "drop.frag.tiny",
  "drop.frag.limit",
  "drop.frag.timeout",
  "drop.frag.nested",
  "drop.ext.limit",
  "drop.ext.hdr",
  "drop.icmp",
  "drop.icmp.limit",
  "drop.ping",
  "drop.role",
  "drop.dhcp",
  "drop.queue.full",
  "drop.link.away",
  "icmp.echo",
  "ping.sent",
  "ping.answered",
  "icmp.errors",
  "icmp.soft",
  "icmp.toobig",
  "dhcp.leases",
  "nd.advertisements",
  "drop.tcp.hdr",
  "drop.tcp.noack",
  "drop.tcp.state",
  "drop.tcp.halfopen",
  "drop.tcp.flows",
  "drop.tcp.memory",
  "drop.tcp.paws",
  "drop.tcp.window",
  "drop.tcp.ranges",
  "drop.tcp.silent",
  "tcp.opened",
  "tcp.accepted",
  "tcp.refused",
  "tcp.reset.sent",
  "tcp.reset.received",
  "tcp.closed",
  "tcp.challenge",
  "tcp.retransmit",
  "tcp.rto",
  "tcp.tlp",
  "tcp.probe",
  "tcp.asked",
  "tcp.resumed",
  "tcp.outoforder",
  "tcp.duplicate",
  "drop.udp.len",
  "drop.udp.peer",
  "drop.udp.flows",
  "drop.udp.rate",
  "drop.udp.host",
  "drop.udp.source",
  "udp.opened",
  "udp.accepted",
  "udp.evicted",
  "udp.up",
  "udp.down",
  "drop.rate.flows",
  "drop.rate.up",
  "drop.rate.down",
  "lan.rx.frames",
  "lan.rx.bytes",
  "lan.tx.frames",
  "lan.tx.bytes",
  "drop.lan.type",
  "drop.lan.hdr",
  "drop.lan.src",
  "drop.lan.dst",
  "drop.lan.arp",
  "drop.lan.nd",
  "drop.lan.role",
  "drop.lan.opaque",
  "drop.lan.reply",
  "drop.lan.long",
  "drop.lan.away",
  "drop.lan.full",
  "drop.lan.storm",
  "drop.lan.routed",
  "policy.refused",
  "bug.turn",
  "bug.tcp",
  "bug.lan",
] as const;

/**
 * A counter's name. One of {@linkcode COUNTER_NAMES}.
 */
export type CounterName = typeof COUNTER_NAMES[number];

/** The index of each counter by its name. */
export const Counter: Readonly<Record<CounterName, number>> = Object.freeze(
  Object.fromEntries(COUNTER_NAMES.map((name, index) => [name, index])) as Record<
    CounterName,
    number
  >,
);

/** One column of counts. */
export class Counters {
  /** The counts, by index. */
  readonly values: Float64Array = new Float64Array(COUNTER_NAMES.length);

  /** Adds one (or `n`) to the counter at `index`. */
  add(index: number, n = 1): void {
    this.values[index]! += n;
  }

  /** The count of a name. */
  get(name: CounterName): number {
    return this.values[Counter[name]]!;
  }

  /** Names and counts of all that are not 0. */
  snapshot(): Partial<Record<CounterName, number>> {
    const out: Partial<Record<CounterName, number>> = {};
    COUNTER_NAMES.forEach((name, index) => {
      if (this.values[index] !== 0) out[name] = this.values[index]!;
    });
    return out;
  }
}
