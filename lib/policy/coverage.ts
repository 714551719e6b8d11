/**
 * What traffic a rule covers: protocols, ports, and what its first bytes must show.
 *
 *     target, action    ports  protocol       covers
 *     address; deny     -      -              TCP, UDP, ICMP
 *     address; deny     :n     -              TCP and UDP n
 *     address; deny     -, :n  tcp, udp       that protocol, all its ports or n
 *     address; deny     -      icmp           ICMP
 *     name, allow       -      -, tcp         TCP 443 that is TLS, TCP 80 that is HTTP
 *     name, allow       :n     -              TCP n, as TLS for 443 and HTTP for 80; UDP n but 80, 443
 *     name, allow       :n     tcp            TCP n, as TLS for 443 and HTTP for 80
 *     name, allow       -, :n  tls, http      TCP 443 or 80, or n, that is TLS or HTTP
 *     name, allow       :n     udp            UDP n but 443
 *     name, allow       -      icmp           ICMP
 *
 * An allowed name shares its address with others. On the ports of TLS and HTTP the traffic names
 * its host, so there it has to; UDP 443 (QUIC) is encrypted where it does, and is never covered.
 *
 * @module
 */
import type { PortRange, Rule } from "./rule.ts";

/** Protocols of a flow. */
export type FlowProtocol = "tcp" | "udp" | "icmp";

/** What the first bytes of a flow must be, and name. */
export type Inspection = "tls" | "http";

/** One stretch of the traffic that a rule covers. */
export interface Coverage extends PortRange {
  /** The protocol. */
  readonly protocol: FlowProtocol;
  /** What its first bytes must be; `null` where they may be anything. */
  readonly inspection: Inspection | null;
}

/** Every port, and what stands for one where there is none. */
const EVERY_PORT: readonly PortRange[] = [{ first: 0, last: 65_535 }];

/** The port on which each kind of traffic is expected. */
const INSPECTED_PORTS: Readonly<Record<Inspection, number>> = { tls: 443, http: 80 };

/** What a rule covers; nothing twice. */
export function coverageOf({ target, action, ports, protocol }: Rule): Coverage[] {
  if (target.kind === "domain" && action === "allow") return coverageOfName(ports, protocol);
  if (protocol === "tls" || protocol === "http") {
    throw new Error(`Cannot compile a rule: /${protocol} is for allowed names`);
  }
  const protocols: FlowProtocol[] = protocol !== null
    ? [protocol]
    : ports === null
    ? ["tcp", "udp", "icmp"]
    : ["tcp", "udp"];
  return protocols.flatMap((each) => stretches(ports ?? EVERY_PORT, each, null));
}

function coverageOfName(ports: Rule["ports"], protocol: Rule["protocol"]): Coverage[] {
  const { tls, http } = INSPECTED_PORTS;
  switch (protocol) {
    case "tls":
    case "http": {
      const port = INSPECTED_PORTS[protocol];
      return stretches(ports ?? [{ first: port, last: port }], "tcp", protocol);
    }
    case "icmp":
      return stretches(EVERY_PORT, "icmp", null);
    case "udp":
      return stretches(without(ports ?? [], [tls]), "udp", null);
    case "tcp":
      return tcpOfName(ports);
    case null:
      return [...tcpOfName(ports), ...stretches(without(ports ?? [], [http, tls]), "udp", null)];
  }
}

function tcpOfName(ports: Rule["ports"]): Coverage[] {
  const inspected = (["http", "tls"] as const).flatMap((kind): Coverage[] => {
    const port = INSPECTED_PORTS[kind];
    const covers = ports === null || ports.some(({ first, last }) => first <= port && port <= last);
    return covers ? [{ protocol: "tcp", first: port, last: port, inspection: kind }] : [];
  });
  const { tls, http } = INSPECTED_PORTS;
  return [...stretches(without(ports ?? [], [http, tls]), "tcp", null), ...inspected];
}

function stretches(
  ports: readonly PortRange[],
  protocol: FlowProtocol,
  inspection: Inspection | null,
): Coverage[] {
  return ports.map(({ first, last }) => ({ protocol, first, last, inspection }));
}

/** Ranges without some ports. */
function without(ranges: readonly PortRange[], ports: readonly number[]): PortRange[] {
  let left = [...ranges];
  for (const port of ports) {
    left = left.flatMap(({ first, last }) =>
      port < first || port > last
        ? [{ first, last }]
        : [{ first, last: port - 1 }, { first: port + 1, last }].filter((each) =>
          each.first <= each.last
        )
    );
  }
  return left;
}
