/**
 * Which addresses guests get where nothing is said.
 *
 *     alone, number n        100.96.0.(4n+2)/30, fd53:4d00:0:n::2/64, 02:53:4d:00:nn:02
 *     shared network k,
 *       member i             10.77.k.(i+2)/24,   fd53:4d01:0:k::(i+2)/64, 02:53:4d:01:kk:(i+2)
 *
 * The gateway has the address before the first guest's. The guest with number 0 has what the only
 * guest of a gateway has.
 *
 * @module
 */
import { formatIp, formatMac, parseIp4, parseIp6 } from "../wire/address.ts";
import { ConfigError, type ConfigProblem } from "./errors.ts";
import type { SharedNetworkConfig } from "./guests_options.ts";
import { parseGuestNetwork } from "./network.ts";
import { DEFAULT_GUEST_NETWORK, type GuestNetworkConfig } from "./options.ts";

/** Most guests of one process: their numbers are an octet of their MAC addresses. */
export const GUESTS_MAX = 256;

/** Most members of a shared network: it has a ring for each pair of them. */
export const LAN_MEMBERS_MAX = 64;

/** First of the IPv4 addresses of guests that are alone, 100.96.0.0. */
const PRIVATE_IP4 = 0x64_60_00_00;

/** Addresses of one guest's /30. */
const PRIVATE_STEP = 4;

/** Bounds of a shared network's prefixes, in bits. */
const PREFIX4_MAX = 30;
const PREFIX6_MAX = 64;

/**
 * The network of a guest that shares it with nobody.
 *
 * @param number Its number among such guests, from 0.
 */
export function privateNetwork(number: number): GuestNetworkConfig {
  const base = PRIVATE_IP4 + PRIVATE_STEP * number;
  const base6 = parseIp6(`fd53:4d00:0:${number.toString(16)}::`)!;
  return {
    ...DEFAULT_GUEST_NETWORK,
    guestIp: `${ip4At(base, 2)}/30`,
    gatewayIp: ip4At(base, 1),
    guestIp6: `${ip6At(base6, 2)}/64`,
    gatewayIp6: ip6At(base6, 1),
    guestMac: formatMac(Uint8Array.of(0x02, 0x53, 0x4d, 0x00, number, 0x02)),
  };
}

/** A shared network: what each of its members has where the member says nothing else. */
export interface SharedNetwork {
  /**
   * The network as a member sees it.
   *
   * @param index The member's number in this network, from 0.
   */
  member(index: number): GuestNetworkConfig;
}

/**
 * Reads and checks a shared network.
 *
 * @param number Its number among the shared ones, from 0.
 * @param config What was said of it.
 * @param members How many guests it has.
 * @returns The network, or what is wrong with it, by its keys.
 */
export function sharedNetwork(
  number: number,
  config: SharedNetworkConfig,
  members: number,
): SharedNetwork | ConfigProblem[] {
  const {
    ip = `10.77.${number}.0/24`,
    ip6 = `fd53:4d01:0:${number.toString(16)}::/64`,
    ipv6 = DEFAULT_GUEST_NETWORK.ipv6,
    mtu = DEFAULT_GUEST_NETWORK.mtu,
  } = config;
  const four = readPrefix(ip, parseIp4, PREFIX4_MAX, "an IPv4 network such as 10.77.0.0/24");
  const six = readPrefix(ip6, parseIp6, PREFIX6_MAX, "an IPv6 network such as fd53:4d01::/64");
  const problems: ConfigProblem[] = [];
  if (typeof four === "string") problems.push({ key: "ip", text: four });
  else if (2 ** (32 - four.bits) < members + 3) {
    const text = `"${ip}" has no room for the gateway and ${members} guests`;
    problems.push({ key: "ip", text: `${text}; write a shorter prefix` });
  }
  if (typeof six === "string") problems.push({ key: "ip6", text: six });
  if (typeof four === "string" || typeof six === "string") return problems;
  const view = new DataView(four.base.buffer, four.base.byteOffset);
  const base = view.getUint32(0);
  const member = (index: number): GuestNetworkConfig => ({
    ...DEFAULT_GUEST_NETWORK,
    guestIp: `${ip4At(base, index + 2)}/${four.bits}`,
    gatewayIp: ip4At(base, 1),
    guestIp6: `${ip6At(six.base, index + 2)}/${six.bits}`,
    gatewayIp6: ip6At(six.base, 1),
    guestMac: formatMac(Uint8Array.of(0x02, 0x53, 0x4d, 0x01, number, index + 2)),
    mtu,
    ipv6,
  });
  problems.push(...problems.length > 0 ? [] : memberFaults(member(0)));
  return problems.length > 0 ? problems : { member };
}

/** The network's key that each of a member's comes from. */
const ORIGINS: Readonly<Record<string, keyof SharedNetworkConfig>> = {
  guestIp: "ip",
  gatewayIp: "ip",
  guestIp6: "ip6",
  gatewayIp6: "ip6",
  mtu: "mtu",
  ipv6: "ipv6",
};

/** What makes a network unfit for any member, such as the addresses of loopback: once for a key. */
function memberFaults(member: GuestNetworkConfig): ConfigProblem[] {
  try {
    parseGuestNetwork(member);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const faults = new Map<string, ConfigProblem>();
    for (const { key, text } of error.problems) {
      const origin = ORIGINS[key.replace("guestNetwork.", "")]!;
      if (!faults.has(origin)) faults.set(origin, { key: origin, text });
    }
    return [...faults.values()];
  }
}

/** Reads `ADDRESS/BITS` without a bit behind its prefix, or tells what is wrong. */
function readPrefix(
  text: unknown,
  parse: (text: string) => Uint8Array | null,
  bitsMax: number,
  wanted: string,
): { readonly base: Uint8Array; readonly bits: number } | string {
  const [address = "", length = "", ...more] = String(text).split("/");
  const base = parse(address);
  const bits = /^[0-9]{1,2}$/.test(length) && more.length === 0 ? Number(length) : 0;
  if (base === null || bits < 1 || bits > bitsMax) {
    return `"${text}" is not ${wanted}, with a prefix of /1 to /${bitsMax}`;
  }
  const network = base.map((octet, i) =>
    octet & (0xff00 >> Math.min(8, Math.max(0, bits - i * 8)))
  );
  if (network.some((octet, i) => octet !== base[i])) {
    const meant = `${formatIp(network)}/${bits}`;
    return `"${text}" has bits set behind the prefix; did you mean ${meant}?`;
  }
  return { base, bits };
}

function ip4At(base: number, offset: number): string {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, base + offset);
  return formatIp(bytes);
}

/** The host bits of `base` are clear, and `offset` is one octet. */
function ip6At(base: Uint8Array, offset: number): string {
  const bytes = base.slice();
  bytes[15] = offset;
  return formatIp(bytes);
}
