/**
 * The guest's TCP flows on their way to sockets of the host: judged, looked into where a name must
 * allow them, dialled, and each then a relay of its own.
 *
 *     SYN ─▶ Destinations.judge ─▶ deny: ICMP and RST
 *                               ─▶ inspect: TcpInspection ─▶ judged by the name it showed
 *                               ─▶ dial: the program's own judge, if any ─▶ TcpRelay
 *
 * A guest's SYN is answered only after the host has connected, unless its first bytes have to decide.
 * A flow is judged once, and again only where the rules change; never by the segment.
 *
 * @module
 */
import { denyPage } from "../inspect/deny_page.ts";
import { type Denial, nameOrDestination } from "../policy/denial.ts";
import { Counter } from "../stack/counters.ts";
import { IcmpReason } from "../stack/icmp_errors.ts";
import type { Packet } from "../stack/packet.ts";
import type { TcpConnection } from "../stack/tcp/connection.ts";
import type { TcpEndpoint } from "../stack/tcp/endpoint.ts";
import { TcpEvent, TcpState } from "../stack/tcp/state.ts";
import { formatIp } from "../wire/address.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { Destinations, DestinationVerdict } from "./destinations.ts";
import type { FlowInfo } from "./flow_info.ts";
import { HalfOpenDestinations } from "./half_open.ts";
import { type HookVerdict, judgeDenial, type JudgedFlow, type JudgeHook } from "./judge_hook.ts";
import { FinalAnswer, type Shown, TcpInspection } from "./tcp_inspection.ts";
import { Operations } from "./operations.ts";
import { ReadTurns } from "./read_turns.ts";
import {
  guestBytes,
  type HostStream,
  peerBytes,
  quote,
  TcpRelay,
  type TcpRelayOptions,
} from "./tcp_relay.ts";

/** What the relays work with. */
export interface TcpRelayTableOptions extends Omit<TcpRelayOptions, "judgeConnected" | "reads"> {
  readonly destinations: Destinations;
  /** Relays, at most: those that only wait for a slow host outlive their flow. */
  readonly relaysMax: number;
  /** Clients of published ports that wait for the guest's answer, at most. */
  readonly clientsPending: number;
  /** Half-open flows to one destination, at most. */
  readonly halfOpenPerDestination: number;
  /** How long a flow has to show the name that it needs. */
  readonly inspectMs: number;
  /** Flows that are looked into at once, at most: each may hold what it has shown so far. */
  readonly inspectPending: number;
  /** Whether a refused HTTP request is told why. */
  readonly denyPage: () => boolean;
  /** Whether a TLS hello that may hide another name is judged by the one that it shows. */
  readonly believesOuterName: () => boolean;
  /** The embedding program's word; `null` where it has none. */
  readonly hook: JudgeHook | null;
}

/** A way to the guest for a host's client. */
export interface OpenAttempt {
  readonly family: 4 | 6;
  /** Opens a connection, or says with `null` that it can't. */
  open(): TcpConnection | null;
}

const DROP_FLOWS = Counter["drop.tcp.flows"];
const DROP_HALF_OPEN = Counter["drop.tcp.halfopen"];
const DROP_FLOW_RATE = Counter["drop.rate.flows"];
const DROP_ROUTED = Counter["drop.lan.routed"];

type Dialled = Extract<DestinationVerdict, { kind: "dial" }>;

/** All relays of one guest. */
export class TcpRelayTable {
  readonly #options: TcpRelayTableOptions;
  readonly #relayOptions: TcpRelayOptions;
  readonly #relays = new Set<TcpRelay>();
  readonly #inspections = new Set<TcpInspection>();
  readonly #halfOpen: HalfOpenDestinations;
  readonly #operations = new Operations();
  readonly #reads: ReadTurns;
  #clientsPending = 0;

  constructor(options: TcpRelayTableOptions) {
    const { endpoint, destinations, halfOpenPerDestination: most } = options;
    this.#options = options;
    this.#reads = new ReadTurns(options.clock);
    this.#relayOptions = {
      ...options,
      reads: this.#reads,
      judgeConnected: ({ localAddr, remoteAddr }, grounds) => {
        return destinations.judgeConnected(localAddr, remoteAddr, grounds);
      },
    };
    const endForsaken = (nowMs: number) => endpoint.endForsaken(nowMs);
    this.#halfOpen = new HalfOpenDestinations({ most, endForsaken });
  }

  /** Flows that have or want a host and have not ended. */
  get size(): number {
    return this.#relays.size + this.#inspections.size;
  }

  /** A turn has sent what there was room for: the next download may read its host. */
  readHosts(): void {
    this.#reads.next();
  }

  /** Whether a SYN is worth a look: not where too many to its destination are half-open. */
  admits({ family, destinationAt }: Packet, peerPort: number, nowMs: number): boolean {
    const { bytes } = this.#options.endpoint.link.memory;
    return this.#halfOpen.admits(bytes, destinationAt, family === 4 ? 4 : 16, peerPort, nowMs);
  }

  /** Judges the guest's SYN, and dials or looks into the flow. */
  offer(connection: TcpConnection, nowMs: number): void {
    const { endpoint, errors, destinations, rates, relaysMax, inspectPending } = this.#options;
    const { peerPort } = connection.template;
    if (this.size >= relaysMax) {
      endpoint.counters.add(DROP_FLOWS);
      connection.refuse();
      return;
    }
    const peer = peerBytes(endpoint, connection);
    const verdict = destinations.judge(peer, peerPort, "tcp");
    if (verdict.kind === "inspect" && this.#inspections.size >= inspectPending) {
      endpoint.counters.add(DROP_HALF_OPEN); // silently: an honest one comes again
      connection.drop();
      return;
    }
    const wantsHost = verdict.kind === "dial" || verdict.kind === "inspect";
    if (wantsHost && !rates.admitsFlow(nowMs)) { // as if the SYN were lost: it comes again
      endpoint.counters.add(DROP_FLOW_RATE);
      connection.drop();
      return;
    }
    switch (verdict.kind) {
      case "dial":
        return this.#admit(connection, peer, verdict);
      case "inspect":
        return this.#inspect(connection, peer);
      case "silent":
        return connection.refuse();
      case "unreachable":
        endpoint.counters.add(DROP_ROUTED);
        quote(endpoint, errors, connection, IcmpReason.hostUnreachable, nowMs);
        return connection.refuse();
      case "deny":
        return this.#deny(connection, verdict.denial);
      default:
        verdict satisfies never;
    }
  }

  /**
   * Joins a host's client to a connection to the guest: the first of `attempts` that the guest
   * answers; a family that it refuses is not tried again. False when none could be opened, or too many clients wait for the guest already; the
   * client is then still the caller's.
   */
  adopt(conn: HostStream, attempts: readonly OpenAttempt[]): boolean {
    const { clientsPending, relaysMax } = this.#options;
    if (this.#clientsPending >= clientsPending || this.size >= relaysMax) return false;
    for (const [i, { family, open }] of attempts.entries()) {
      const connection = open();
      if (connection === null) continue;
      const later = attempts.slice(i + 1);
      this.#clientsPending++;
      this.#add(connection).attach(conn, {
        settled: () => this.#clientsPending--,
        unanswered: (isRefused) => {
          const rest = isRefused ? later.filter((each) => each.family !== family) : later;
          if (!this.adopt(conn, rest)) closeQuietly(conn);
        },
      });
      return true;
    }
    return false;
  }

  /** Judges the guest's flows by rules that have changed, and ends those that are no longer allowed. */
  judgeAgain(): void {
    const { destinations, endpoint, onDenial } = this.#options;
    for (const relay of [...this.#relays]) {
      const { connection: { template }, grounds, peer } = relay;
      if (grounds === null || peer === null) continue;
      const denial = destinations.judgeAgain(peer, template.peerPort, "tcp", grounds);
      if (denial === null) continue;
      onDenial(denial);
      relay.destroy();
    }
    for (const inspection of [...this.#inspections]) {
      const { connection } = inspection;
      const { peerPort } = connection.template;
      const verdict = destinations.judge(peerBytes(endpoint, connection), peerPort, "tcp");
      if (verdict.kind !== "deny") continue; // what it shows decides, by the rules of that time
      onDenial(verdict.denial);
      inspection.destroy();
    }
  }

  /** Ends the flows to places that have names by now which a rule denies. */
  judgePlaces(): void {
    const { destinations, onDenial } = this.#options;
    for (const relay of [...this.#relays]) {
      const { connection: { template }, peer } = relay;
      const denial = peer === null ? null : destinations.judgePlace(peer, template.peerPort, "tcp");
      if (denial === null) continue;
      onDenial(denial);
      relay.destroy();
    }
  }

  /** The flows that have or want a host. */
  flows(): FlowInfo[] {
    return [...this.#relays].map((relay) => relay.info());
  }

  /** Resets a flow; false where there is none of this number. */
  endFlow(id: number): boolean {
    for (const relay of this.#relays) {
      if (relay.id !== id) continue;
      relay.destroy();
      return true;
    }
    return false;
  }

  /** Ends all relays at once. */
  closeAll(): void {
    for (const inspection of [...this.#inspections]) inspection.destroy();
    for (const relay of [...this.#relays]) relay.destroy();
  }

  /** Whether a host has still to take the last bytes of a guest that has finished sending. */
  get delivering(): boolean {
    for (const relay of this.#relays) if (relay.delivering) return true;
    return false;
  }

  /** Resolves when no operation works on a ring any more: after `closeAll`, all memory is back. */
  settled(): Promise<void> {
    return this.#operations.idle();
  }

  /** Asks the embedding program, where it wants to be asked, and dials. */
  #admit(connection: TcpConnection, peer: Uint8Array, verdict: Dialled): void {
    const { hook, destinations, endpoint, wake } = this.#options;
    const { grounds } = verdict;
    const { name } = grounds;
    if (hook === null) return this.#dial(connection, peer, verdict);
    const decided = ({ allow, reason }: HookVerdict): void => {
      // The rules may have changed while the program thought about it.
      const denial = allow
        ? destinations.judgeAgain(peer, flow.port, "tcp", grounds)
        : judgeDenial(flow, name, reason);
      if (denial === null) this.#dial(connection, peer, verdict);
      else this.#deny(connection, denial);
    };
    const flow = judgedFlow(endpoint, connection);
    const answer = hook.ask(flow, name, (said) => {
      try {
        if (connection.state !== TcpState.closed) decided(said);
      } catch (error) {
        endpoint.reportBug(error);
        connection.abort();
      }
      wake();
    });
    if ("allow" in answer) return decided(answer);
    connection.owner = {
      onTcpEvents: (_connection, events) => {
        if ((events & TcpEvent.closed) === 0) return;
        answer.cancel();
        connection.receiver.release();
      },
    };
  }

  #deny(connection: TcpConnection, denial: Denial): void {
    const { endpoint, errors, clock, onDenial } = this.#options;
    onDenial(denial);
    if (connection.state === TcpState.offered) {
      quote(endpoint, errors, connection, IcmpReason.adminProhibited, clock.now());
      connection.refuse();
    } else {
      connection.abort();
      connection.receiver.release();
    }
  }

  #dial(connection: TcpConnection, peer: Uint8Array, { target, grounds }: Dialled): void {
    if (connection.state !== TcpState.offered) { // no longer half-open: it showed a name first
      this.#add(connection).dial(target, grounds, peer, () => {});
      return;
    }
    const { clock, endpoint } = this.#options;
    const key = `${target.hostnames[0]} ${target.port}`;
    if (!this.#halfOpen.enter(key, peer, connection.template.peerPort, clock.now())) {
      endpoint.counters.add(DROP_HALF_OPEN);
      connection.drop();
      return;
    }
    this.#add(connection).dial(target, grounds, peer, () => this.#halfOpen.leave(key));
  }

  #inspect(connection: TcpConnection, peer: Uint8Array): void {
    const { clock, destinations, endpoint } = this.#options;
    const { peerPort } = connection.template;
    const beganMs = clock.now();
    const inspection = new TcpInspection(connection, {
      ...this.#options,
      onShown: (shown) => {
        try {
          const verdict = destinations.judgeInspected(peer, peerPort, shown, beganMs);
          this.#afterInspection(connection, peer, verdict, shown);
        } catch (error) {
          endpoint.reportBug(error);
          connection.abort();
        }
      },
      onEnd: () => this.#inspections.delete(inspection),
    });
    this.#inspections.add(inspection);
  }

  #afterInspection(
    connection: TcpConnection,
    peer: Uint8Array,
    verdict: DestinationVerdict,
    shown: Shown,
  ): void {
    switch (verdict.kind) {
      case "dial":
        return this.#admit(connection, peer, verdict);
      case "deny":
        if (shown.kind !== "http" || !this.#options.denyPage()) {
          return this.#deny(connection, verdict.denial);
        }
        this.#options.onDenial(verdict.denial);
        new FinalAnswer(connection, pageOf(verdict.denial), this.#options);
        return;
      default: // the gateway's own address is never looked into
        connection.abort();
        connection.receiver.release();
    }
  }

  #add(connection: TcpConnection): TcpRelay {
    const onEnd = () => this.#relays.delete(relay);
    const relay = new TcpRelay(connection, this.#relayOptions, this.#operations, onEnd);
    this.#relays.add(relay);
    return relay;
  }
}

/** A flow as the embedding program is told of it. */
function judgedFlow(endpoint: TcpEndpoint, connection: TcpConnection): JudgedFlow {
  const { peerPort, guestPort } = connection.template;
  return {
    protocol: "tcp",
    address: formatIp(peerBytes(endpoint, connection)),
    port: peerPort,
    guestAddress: formatIp(guestBytes(endpoint, connection)),
    guestPort,
  };
}

/** What a person at a browser in the guest reads. */
function pageOf(denial: Denial): Uint8Array {
  const { destination, rule, origin, hint, detail } = denial;
  return denyPage({
    name: nameOrDestination(denial),
    destination,
    rule: `${origin === "" ? rule : `${rule} (${origin})`}: ${detail}`,
    hint: hint ?? "",
  });
}
