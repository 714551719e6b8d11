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
import { type RecordText, recordText } from "../dns/record_text.ts";

/** What the names are made from; everything is checked already. */
export interface GuestNamesOptions {
  readonly network: ParsedNetwork;
  readonly dns: DnsConfig;
  readonly hostLoopback: boolean;
  readonly hostServices: readonly HostService[];
}

/**
 * A name that the gateway answers itself, as people see it. As
 * {@linkcode VirtioNetworkServer.ownNames} yields it.
 */
export interface OwnName {
  /** The name, or `*.` and a name for all below it that do not exist. */
  readonly name: string;
  /** Its records. */
  readonly records: readonly RecordText[];
}

/** Makes them. */
export function guestNames(options: GuestNamesOptions): OwnNames {
  const zones = Object.entries(options.dns.zones ?? {})
    .filter(([, upstreams]) => upstreams === "local")
    .map(([zone]) => zone);
  return new OwnNames({ records: ownRecords(options), zones });
}

/** The names that have records, without what follows from those. */
export function listOwnNames(options: GuestNamesOptions): OwnName[] {
  return [...ownRecords(options)].map(([name, records]) => {
    return { name, records: records.map(recordText) };
  });
}

function ownRecords(
  { network, dns, hostLoopback, hostServices }: GuestNamesOptions,
): Map<string, OwnRecords> {
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
  return records;
}
