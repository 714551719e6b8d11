/**
 * Names that stand for places: an address with a port and a protocol each. A fleet's services have
 * such names (dns/service_zone.ts).
 *
 * No pin ties them to an address, as several services share it: a rule about such a name is one about
 * its places. So it opens nothing else at the address, whatever ports it names, and a deny of it holds
 * for a guest that was never told the name. Others have said where the places are, so a name does not
 * open an address of the host itself, unless the gateway publishes that very service.
 *
 * @module
 */

/** Names and their places at this moment. */
export interface NamedPlaces {
  /** The names that stand for a place. */
  names(address: Uint8Array, port: number, protocol: string): readonly string[];
  /** Whether the gateway itself publishes a service there. */
  isHere(address: Uint8Array, port: number, protocol: string): boolean;
}

/** Where there are no such names. */
export const NO_PLACES: NamedPlaces = Object.freeze({ names: () => [], isHere: () => false });
