/** What the tests of the DNS gateway share: a gateway with a clock of its own, and answers. */
import { hostSystem } from "../../lib/host/host_system.ts";
import { Buffer } from "node:buffer";
import packet from "dns-packet";
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { DnsGateway } from "../../lib/host/dns_gateway.ts";
import type { Behaviour, FakeUpstream } from "./dns_fake_upstream.ts";

/** Link size of the tests. */
export const LINK_BYTES = 1_472;

/** A clock that only goes when it is told to. */
export class Clock {
  /** The time. */
  nowMs = 1_000;
}

/** A gateway before the upstreams. */
export function gatewayTo(
  upstreams: (FakeUpstream | string)[],
  { limits = {}, clock = new Clock() }: { limits?: Partial<Limits>; clock?: Clock } = {},
): DnsGateway {
  return new DnsGateway({
    config: { upstreams: upstreams.map((one) => typeof one === "string" ? one : one.address) },
    limits: { ...DEFAULT_LIMITS, ...limits },
    ownRecords: new Map([["gateway.internal", [Uint8Array.of(100, 96, 0, 1)]]]),
    logger: silentLogger,
    system: { ...hostSystem, now: () => clock.nowMs },
  });
}

/** An answer to a question message: with an A record, or with another response code. */
export function answerTo(message: Uint8Array, data = "192.0.2.1", rcode = 0): Uint8Array {
  const { id, questions } = packet.decode(Buffer.from(message));
  const answers = rcode === 0 ? [{ type: "A", name: questions[0].name, ttl: 60, data }] : [];
  return new Uint8Array(
    packet.encode({ type: "response", id, flags: 0x180 | rcode, questions, answers }),
  );
}

/** An upstream that answers every question with the address. */
export const saying = (data: string): Behaviour => ({ message, reply }) =>
  reply(answerTo(message, data));

/** An upstream that answers every question with the response code. */
export const failing = (rcode: number): Behaviour => ({ message, reply }) =>
  reply(answerTo(message, "", rcode));
