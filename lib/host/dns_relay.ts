/**
 * The guest's DNS questions over UDP: each goes to the DNS gateway, and the answer comes back from
 * the address that the guest asked.
 *
 * Limits: `questions` that wait at once, `perSecond` that are taken; one more is dropped and counted
 * (`drop.udp.flows`, `drop.udp.rate`), and a guest asks again. Answers are cut to what fits one frame,
 * so that none comes in fragments; how much of that the guest takes is the gateway's to read from its
 * question.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { Counter } from "../stack/counters.ts";
import type { Link } from "../stack/link.ts";
import type { Packet } from "../stack/packet.ts";
import { TokenBucket } from "../stack/token_bucket.ts";
import type { UdpOutput } from "../stack/udp_output.ts";
import { IPV4_HEADER_BYTES } from "../wire/ipv4.ts";
import { IPV6_HEADER_BYTES } from "../wire/ipv6.ts";
import { UDP_HEADER_BYTES } from "../wire/udp.ts";

const DNS_PORT = 53;
const DROP = Counter["drop.udp.flows"];
const DROP_RATE = Counter["drop.udp.rate"];
const BUG = Counter["bug.turn"];
const ADDRESSES_BYTES = 32;

/** Octets of frame memory for this many questions that wait. */
export function dnsRelayBytes(questions: number): number {
  return questions * ADDRESSES_BYTES;
}

/** Who answers: a `DnsGateway`. */
export interface DnsAnswerer {
  /** Answers a message that is the callee's; `null` where nothing must be answered. */
  answer(
    message: Uint8Array,
    transport: "udp",
    maxUdpBytes: number,
  ): Uint8Array | null | Promise<Uint8Array | null>;
}

/** What a DNS relay works with. */
export interface DnsRelayOptions {
  readonly link: Link;
  /** A region of `dnsRelayBytes(questions)` in the link's memory. */
  readonly at: number;
  /** How many questions may wait. More than the gateway forwards, so that it can refuse some. */
  readonly questions: number;
  /** How many are taken in a second. */
  readonly perSecond: number;
  readonly output: UdpOutput;
  readonly gateway: DnsAnswerer;
  readonly logger: GatewayLogger;
  /** Asks for a turn, so that frames for the guest are flushed. */
  wake(): void;
  /** The clock, in milliseconds. */
  now(): number;
}

/** The UDP side of one guest's resolver. */
export class DnsRelay implements Disposable {
  readonly #options: DnsRelayOptions;
  readonly #freePlaces: Int32Array;
  #freeCount: number;
  readonly #rate: TokenBucket;
  #closed = false;
  /** How many guests have asked before this one. */
  #guests = 0;

  constructor(options: DnsRelayOptions) {
    const { questions, perSecond } = options;
    this.#rate = new TokenBucket(perSecond);
    this.#options = options;
    this.#freePlaces = Int32Array.from({ length: questions }, (_, i) => questions - 1 - i);
    this.#freeCount = questions;
  }

  /** Questions that wait for their answer. */
  get waiting(): number {
    return this.#freePlaces.length - this.#freeCount;
  }

  /** Takes a question: the `dns` of `UdpHandlers`. */
  ask(packet: Packet, guestPort: number, dataAt: number, dataBytes: number): void {
    const { link, gateway } = this.#options;
    if (this.#closed) return;
    if (this.#freeCount === 0) {
      link.counters.values[DROP]!++;
      return;
    }
    if (!this.#rate.take(this.#options.now())) {
      link.counters.values[DROP_RATE]!++;
      return;
    }
    const { family } = packet;
    const place = this.#freePlaces[--this.#freeCount]!;
    const guestAt = this.#options.at + place * ADDRESSES_BYTES;
    const askedAt = guestAt + 16;
    const addressBytes = family === 4 ? 4 : 16;
    link.memory.copy(guestAt, packet.sourceAt, addressBytes);
    link.memory.copy(askedAt, packet.destinationAt, addressBytes);
    const headerBytes = family === 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
    const maxUdpBytes = link.mtu - headerBytes - UDP_HEADER_BYTES;
    const message = link.memory.bytes.slice(dataAt, dataAt + dataBytes);
    const guest = this.#guests;
    const { output, wake } = this.#options;
    /** Whether a datagram is queued. */
    const give = (answer: Uint8Array | null): boolean => {
      if (answer === null || this.#closed || guest !== this.#guests) return false;
      return output.sendFromBytes(family, askedAt, guestAt, DNS_PORT, guestPort, answer);
    };
    const giveLate = (answer: Uint8Array | null): void => {
      if (give(answer)) wake(); // no turn is under way
    };
    const free = (): void => void (this.#freePlaces[this.#freeCount++] = place);
    try {
      const answer = gateway.answer(message, "udp", maxUdpBytes);
      if (answer instanceof Promise) {
        answer.then(giveLate).catch((error) => this.#failed(error)).finally(free);
      } else {
        give(answer);
        free();
      }
    } catch (error) {
      free();
      this.#failed(error);
    }
  }

  /** Another guest has come: answers to questions of the one before are dropped. */
  nextGuest(): void {
    this.#guests++;
  }

  /** From here on questions are ignored and answers are dropped. */
  close(): void {
    this.#closed = true;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #failed(error: unknown): void {
    const { link, logger } = this.#options;
    link.counters.values[BUG]!++;
    logger.error("The DNS gateway failed at a question", { error });
  }
}
