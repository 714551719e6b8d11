/**
 * The networks of guests: whatever is asked for there is nobody's on the host, so nothing is dialled.
 * Else a host that happens to have such an address, or a route to one, would be reached in place of
 * the guest that was meant.
 *
 * @module
 */
import type { GuestNetworkConfig } from "../config/options.ts";
import { embeddedIpv4 } from "../policy/address_class.ts";
import { formatIp, parseIp } from "../wire/address.ts";

/** One network: an address of it, and how many of its bits count. */
export interface Subnet {
  readonly address: Uint8Array;
  readonly bits: number;
}

/** Reads `ADDRESS/BITS`, which was checked before. */
export function parseSubnet(text: string): Subnet {
  const [address = "", bits = ""] = text.split("/");
  const octets = parseIp(address);
  if (octets === null) throw new RangeError(`Cannot read "${text}" as a network`);
  return { address: octets, bits: Number(bits) };
}

/** The networks that guests are in, each once, as `ADDRESS/BITS`. */
export function subnetsOf(
  guests: readonly Pick<GuestNetworkConfig, "guestIp" | "guestIp6">[],
): string[] {
  const texts = guests.flatMap(({ guestIp, guestIp6 }) => [guestIp, guestIp6]);
  return [...new Set(texts.map((text) => formatSubnet(parseSubnet(text))))];
}

function formatSubnet({ address, bits }: Subnet): string {
  const network = address.map((octet, i) =>
    octet & (0xff00 >> Math.max(0, Math.min(8, bits - i * 8)))
  );
  return `${formatIp(network)}/${bits}`;
}

/** Networks that no flow of a guest leads to by way of the host. */
export class GuestSubnets {
  readonly #subnets: readonly Subnet[];

  constructor(subnets: readonly Subnet[]) {
    this.#subnets = subnets;
  }

  /** Whether an address, or an IPv4 address that it carries, is in one of them. */
  has(address: Uint8Array): boolean {
    if (this.#subnets.length === 0) return false;
    if (this.#contains(address)) return true;
    return address.length === 16 && embeddedIpv4(address).some((each) => this.#contains(each));
  }

  #contains(address: Uint8Array): boolean {
    return this.#subnets.some((subnet) => {
      return subnet.address.length === address.length && samePrefix(subnet, address);
    });
  }
}

function samePrefix({ address, bits }: Subnet, other: Uint8Array): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (address[i] !== other[i]) return false;
  const rest = bits & 7;
  return rest === 0 || (address[whole]! ^ other[whole]!) >> (8 - rest) === 0;
}
