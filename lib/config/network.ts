/**
 * The guest's network as bytes: what the text of `GuestNetworkConfig` means, checked.
 *
 * The guest and the gateway are two distinct unicast hosts of one prefix, on both families and as
 * MAC addresses; nothing behind this file checks that again. RFC 8200 section 5 asks for an MTU of
 * 1,280 bytes, so a smaller one switches IPv6 off rather than being an error.
 *
 * @module
 */
import { parseIp4, parseIp6, parseMac, sameBytes } from "../wire/address.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";
import { type ChecksumMode, DEFAULT_GUEST_NETWORK, type GuestNetworkConfig } from "./options.ts";

/** Smallest MTU of the link, in bytes: what every IPv4 host takes (RFC 791). */
export const MTU_MIN = 576;

/** Largest MTU of the link, in bytes: its frames stay below the framing's 65,550. */
export const MTU_MAX = 65_520;

/** Smallest MTU that carries IPv6, in bytes. */
export const MTU_MIN_IP6 = 1_280;

/** Addresses and link parameters of the guest's network, as bytes in network order. */
export interface ParsedNetwork {
  /** The guest's MAC address, 6 octets. */
  guestMac: Uint8Array;
  /** The gateway's MAC address, 6 octets. */
  gatewayMac: Uint8Array;
  /** The guest's IPv4 address, 4 octets. */
  guestIp4: Uint8Array;
  /** The gateway's IPv4 address, 4 octets. */
  gatewayIp4: Uint8Array;
  /** Length of the IPv4 prefix that both are in. */
  prefix4: number;
  /** The guest's IPv6 address, 16 octets. */
  guestIp6: Uint8Array;
  /** The gateway's IPv6 address, 16 octets. */
  gatewayIp6: Uint8Array;
  /** Length of the IPv6 prefix that both are in, at most 64. */
  prefix6: number;
  /** Largest IP packet on the link, in bytes. */
  mtu: number;
  /** Whether the guest is given IPv6: false below an MTU of 1,280. */
  ipv6: boolean;
  /** How the guest's L4 checksums are judged. */
  checksums: ChecksumMode;
  /** Whether the guest takes TCP segments longer than the MTU. */
  offload: boolean;
}

/**
 * Reads and checks the guest's network; what is absent takes its default.
 *
 * @param partial The fields that were set.
 * @returns The network as bytes.
 * @throws {ConfigError} Where a value is wrong or two do not fit together.
 */
export function parseGuestNetwork(partial: Partial<GuestNetworkConfig> = {}): ParsedNetwork {
  const problems: ConfigProblem[] = [];
  const network = readNetwork({ ...DEFAULT_GUEST_NETWORK, ...partial }, (key, text) => {
    problems.push({ key: `guestNetwork.${key}`, text });
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return network;
}

type Report = (key: keyof GuestNetworkConfig, text: string) => void;

function readNetwork(config: GuestNetworkConfig, report: Report): ParsedNetwork {
  const four = readFamily(config, "guestIp", "gatewayIp", FAMILY4, report);
  const six = readFamily(config, "guestIp6", "gatewayIp6", FAMILY6, report);
  const guestMac = readMac(config, "guestMac", report);
  const gatewayMac = readMac(config, "gatewayMac", report);
  if (guestMac.length > 0 && sameBytes(guestMac, gatewayMac)) {
    report("gatewayMac", "is the guest's MAC address too");
  }
  const { mtu, ipv6, checksums, offload } = config;
  if (!Number.isInteger(mtu) || mtu < MTU_MIN || mtu > MTU_MAX) {
    report("mtu", `${mtu} is not a whole number from ${MTU_MIN} to ${MTU_MAX}`);
  }
  if (typeof ipv6 !== "boolean") report("ipv6", `${ipv6} is not true or false`);
  if (checksums !== "auto" && checksums !== "verify") {
    report("checksums", `"${checksums}" is not auto or verify`);
  }
  if (typeof offload !== "boolean") report("offload", `${offload} is not true or false`);
  return {
    guestMac,
    gatewayMac,
    guestIp4: four.guest,
    gatewayIp4: four.gateway,
    prefix4: four.prefix,
    guestIp6: six.guest,
    gatewayIp6: six.gateway,
    prefix6: six.prefix,
    mtu,
    ipv6: ipv6 && mtu >= MTU_MIN_IP6,
    checksums,
    offload,
  };
}

interface Family {
  readonly name: string;
  readonly parse: (text: string) => Uint8Array | null;
  readonly prefixMin: number;
  readonly prefixMax: number;
  readonly example: string;
  /** Why an address can't be a host's, or `null`. */
  readonly fault: (address: Uint8Array, prefix: number) => string | null;
}

const FAMILY4: Family = {
  name: "IPv4",
  parse: parseIp4,
  prefixMin: 1,
  prefixMax: 31,
  example: "100.96.0.2/30",
  fault: fault4,
};

const FAMILY6: Family = {
  name: "IPv6",
  parse: parseIp6,
  prefixMin: 1,
  prefixMax: 64,
  example: "fd53:4d00::2/64",
  fault: fault6,
};

function readFamily(
  config: GuestNetworkConfig,
  guestKey: "guestIp" | "guestIp6",
  gatewayKey: "gatewayIp" | "gatewayIp6",
  family: Family,
  report: Report,
): { guest: Uint8Array; gateway: Uint8Array; prefix: number } {
  const [text = "", length = "", ...more] = String(config[guestKey]).split("/");
  const guest = family.parse(text);
  const gateway = family.parse(String(config[gatewayKey]));
  const prefix = /^[0-9]{1,3}$/.test(length) && more.length === 0 ? Number(length) : -1;
  const prefixFits = prefix >= family.prefixMin && prefix <= family.prefixMax;
  if (guest === null || !prefixFits) {
    const lengths = `/${family.prefixMin} to /${family.prefixMax}`;
    const wanted =
      `an ${family.name} address with a prefix of ${lengths}, such as ${family.example}`;
    report(guestKey, `"${config[guestKey]}" is not ${wanted}`);
  }
  if (gateway === null) {
    report(gatewayKey, `"${config[gatewayKey]}" is not an ${family.name} address`);
  }
  // The values are of no use after a report; empty arrays keep the types plain.
  if (guest === null || gateway === null || !prefixFits) {
    return { guest: NONE, gateway: NONE, prefix };
  }
  for (const [key, address] of [[guestKey, guest], [gatewayKey, gateway]] as const) {
    const fault = family.fault(address, prefix);
    if (fault !== null) report(key, `"${config[key]}" is ${fault}, not a host's address`);
  }
  if (!samePrefix(guest, gateway, prefix)) {
    report(gatewayKey, `"${config[gatewayKey]}" is not inside the guest's ${config[guestKey]}`);
  } else if (sameBytes(guest, gateway)) {
    report(gatewayKey, `"${config[gatewayKey]}" is the guest's address too`);
  }
  return { guest, gateway, prefix };
}

const NONE = new Uint8Array(0);

function fault4(address: Uint8Array, prefix: number): string | null {
  const first = address[0]!;
  if (first === 0) return "of the unspecified network";
  if (first === 127) return "a loopback address";
  if (first >= 224 && first < 240) return "a multicast address";
  if (first >= 240) return "a reserved address";
  if (prefix >= 31) return null; // RFC 3021: both addresses of a /31 are hosts
  if (hostBits(address, prefix, 0)) return "its prefix's network address";
  if (hostBits(address, prefix, 1)) return "its prefix's broadcast address";
  return null;
}

function fault6(address: Uint8Array): string | null {
  const head = address.subarray(0, 15).every((octet) => octet === 0);
  if (head && address[15] === 0) return "the unspecified address";
  if (head && address[15] === 1) return "the loopback address";
  if (address[0] === 0xff) return "a multicast address";
  if (address[0] === 0xfe && (address[1]! & 0xc0) === 0x80) return "a link-local address";
  if (address.subarray(0, 10).every((octet) => octet === 0)) return "an embedded IPv4 address";
  return null;
}

/** Whether every bit behind the prefix is `bit`. */
function hostBits(address: Uint8Array, prefix: number, bit: 0 | 1): boolean {
  for (let i = prefix; i < address.length * 8; i++) if (bitAt(address, i) !== bit) return false;
  return true;
}

function samePrefix(a: Uint8Array, b: Uint8Array, prefix: number): boolean {
  for (let i = 0; i < prefix; i++) if (bitAt(a, i) !== bitAt(b, i)) return false;
  return true;
}

function bitAt(address: Uint8Array, index: number): number {
  return (address[index >> 3]! >> (7 - (index & 7))) & 1;
}

function readMac(
  config: GuestNetworkConfig,
  key: "guestMac" | "gatewayMac",
  report: Report,
): Uint8Array {
  const mac = parseMac(String(config[key]));
  if (mac === null) {
    report(key, `"${config[key]}" is not a MAC address such as 02:53:4d:00:00:02`);
    return NONE;
  }
  if ((mac[0]! & 1) === 1) report(key, `"${config[key]}" is a multicast MAC address`);
  else if (mac.every((octet) => octet === 0)) report(key, `"${config[key]}" is no MAC address`);
  return mac;
}
