/**
 * The names that one guest's gateway answers itself: its own, those that lead to the host where
 * that is opened, the operator's records, and local zones.
 *
 * @module
 */
import type { ParsedNetwork } from "../config/network.ts";
import type { DnsConfig, HostService } from "../config/options.ts";
import { OwnNames } from "../dns/own_names.ts";
import { addressRecords, type OwnRecords } from "../dns/own_record.ts";
import { parseRecordSpec } from "../dns/record_spec.ts";

/** What the names are made from; everything is checked already. */
export interface GuestNamesOptions {
  readonly network: ParsedNetwork;
  readonly dns: DnsConfig;
  readonly hostLoopback: boolean;
  readonly hostServices: readonly HostService[];
}

/** Makes them. */
export function guestNames(options: GuestNamesOptions): OwnNames {
  const { network, dns, hostLoopback, hostServices } = options;
  const gateway = addressRecords(
    network.ipv6 ? [network.gatewayIp4, network.gatewayIp6] : [network.gatewayIp4],
  );
  const records = new Map<string, OwnRecords>([["gateway.internal", gateway]]);
  if (hostLoopback || hostServices.length > 0) records.set("host.internal", gateway);
  for (const [name, spec] of Object.entries(dns.records ?? {})) {
    const parsed = parseRecordSpec(name, spec);
    if (typeof parsed === "string") throw new RangeError(`Cannot answer for "${name}": ${parsed}`);
    records.set(name, parsed);
  }
  const zones = Object.entries(dns.zones ?? {})
    .filter(([, upstreams]) => upstreams === "local")
    .map(([zone]) => zone);
  return new OwnNames({ records, zones });
}
