/**
 * What the tests of encrypted upstreams share: forwarding alone, on virtual time, and who is trusted.
 */
import { assert } from "@std/assert";
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { checkQuestion } from "../../lib/dns/question.ts";
import { type DnsCounts, noDnsCounts } from "../../lib/host/dns_counts.ts";
import type { DnsOutcome, DnsTransport } from "../../lib/host/dns_query.ts";
import { DnsUpstreams } from "../../lib/host/dns_upstream.ts";
import { type HostSystem, hostSystem } from "../../lib/host/host_system.ts";
import { openHttpsClient, tlsConnector } from "../../lib/host/tls_connect.ts";
import { ask, type AskOptions, decode } from "../dns/vectors.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

/** A file of `fixtures/tls`. */
export function pem(name: string): string {
  return Deno.readTextFileSync(new URL(`../../fixtures/tls/${name}`, import.meta.url));
}

/** The machine, which trusts the authority of the tests. */
export function trustingSystem(): HostSystem {
  const trust = { caCerts: [pem("ca.pem")] };
  return {
    ...hostSystem,
    connectTls: tlsConnector(trust),
    openHttps: () => openHttpsClient(trust),
  };
}

/** How a rig differs from the ordinary one. */
export interface RigOptions {
  readonly zones?: Record<string, string[]>;
  readonly limits?: Partial<Limits>;
  /** What is not as on the machine, with the rig's clock. */
  readonly system?: Partial<HostSystem>;
}

/** Forwarding, with its counts and what it logs. */
export class UpstreamsRig implements AsyncDisposable {
  /** Stands still where the test lets no time pass, so that nobody is asked again for a stall. */
  readonly clock = new VirtualClock();
  readonly counts: DnsCounts = noDnsCounts();
  /** Log lines, each behind its level. */
  readonly lines: string[] = [];
  readonly upstreams: DnsUpstreams;

  /** Forwards to the upstreams with these texts. */
  constructor(upstreams: string[], { zones = {}, limits, system }: RigOptions = {}) {
    const { now, setTimer, clearTimer, soon } = this.clock;
    const write = (level: string) => (line: string) => void this.lines.push(`${level} ${line}`);
    this.upstreams = new DnsUpstreams({
      upstreams,
      zones,
      limits: { ...DEFAULT_LIMITS, ...limits },
      counts: this.counts,
      logger: {
        ...silentLogger,
        info: write("info"),
        warn: write("warn"),
        error: write("error"),
      },
      system: { ...trustingSystem(), now, setTimer, clearTimer, soon, ...system },
    });
  }

  /** The outcome of a question message. */
  async forward(
    message: Uint8Array,
    transport: DnsTransport = "udp",
  ): Promise<DnsOutcome> {
    const check = checkQuestion(message);
    assert(check.kind === "question");
    return await this.upstreams.ask(message, check.question, transport);
  }

  /** The first address of a name, or the code of the answer, or why there is none. */
  async resolve(
    name: string,
    options: AskOptions & { transport?: DnsTransport } = {},
  ): Promise<string> {
    const outcome = await this.forward(ask(name, options), options.transport);
    if (typeof outcome === "string") return outcome;
    const { answers, rcode } = decode(outcome);
    return answers[0]?.data ?? rcode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.upstreams.close();
  }
}
