/** What the tests of the DNS gateway share: a gateway on virtual time, and answers. */
import { OwnNames } from "../../lib/dns/own_names.ts";
import { addressRecords } from "../../lib/dns/own_record.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { OpenPolicy } from "../support/policy.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { DnsGateway } from "../../lib/host/dns_gateway.ts";
import type { FakeUpstream } from "./dns_fake_upstream.ts";

export { answerTo, failing, saying } from "./dns_answers.ts";

const OWN = new OwnNames({
  records: new Map([["gateway.internal", addressRecords([Uint8Array.of(100, 96, 0, 1)])]]),
  zones: [],
});

/** Link size of the tests. */
export const LINK_BYTES = 1_472;

/** A gateway before the upstreams. Its time stands still where the test lets none pass. */
export function gatewayTo(
  upstreams: (FakeUpstream | string)[],
  { limits = {}, clock = new VirtualClock(), policy = new OpenPolicy() }: {
    limits?: Partial<Limits>;
    clock?: VirtualClock;
    policy?: Policy;
  } = {},
): DnsGateway {
  const { now, setTimer, clearTimer, soon } = clock;
  return new DnsGateway({
    config: {
      upstreams: upstreams.map((one) => typeof one === "string" ? one : one.address),
      cache: false,
    },
    limits: { ...DEFAULT_LIMITS, ...limits },
    own: () => OWN,
    policy: () => policy,
    onDenial: () => {},
    logger: silentLogger,
    system: { ...hostSystem, now, setTimer, clearTimer, soon },
  });
}
