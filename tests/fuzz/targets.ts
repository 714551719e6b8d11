/**
 * All targets, by the order in which they are run.
 *
 * @module
 */
import type { FuzzTarget } from "./target.ts";
import { auditTarget } from "./targets/audit.ts";
import { configTarget } from "./targets/config.ts";
import { dhcpTarget } from "./targets/dhcp.ts";
import { dnsTarget } from "./targets/dns.ts";
import { ethernetTarget } from "./targets/ethernet.ts";
import { framingTarget } from "./targets/framing.ts";
import { guestTarget } from "./targets/guest.ts";
import { inspectTarget } from "./targets/inspect.ts";
import { offloadTarget } from "./targets/offload.ts";
import { lanTarget } from "./targets/lan.ts";
import { reassemblyTarget } from "./targets/reassembly.ts";
import { registryTarget } from "./targets/registry.ts";
import { rulesTarget } from "./targets/rules.ts";
import { tcpTarget } from "./targets/tcp.ts";

/** The targets. */
export const TARGETS: readonly FuzzTarget[] = [
  framingTarget,
  ethernetTarget,
  offloadTarget,
  tcpTarget,
  reassemblyTarget,
  dnsTarget,
  dhcpTarget,
  configTarget,
  rulesTarget,
  guestTarget,
  inspectTarget,
  lanTarget,
  registryTarget,
  auditTarget,
];

/** The target of a name. */
export function targetNamed(name: string): FuzzTarget | null {
  return TARGETS.find((target) => target.name === name) ?? null;
}
