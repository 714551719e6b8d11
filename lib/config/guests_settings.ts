/**
 * What the file says of several guests beside the settings of each: the keys of a guest among
 * others, and those of a network that some of them share. They have no flags.
 *
 * @module
 */
import type { FleetService } from "./fleet.ts";
import { readLabel, readServices } from "./fleet_readers.ts";
import type { SharedNetworkConfig } from "./guests_options.ts";
import { MTU_MAX, MTU_MIN } from "./network.ts";
import { DEFAULT_GUEST_NETWORK } from "./options.ts";
import { readBoolean, readInteger, readText } from "./readers.ts";
import type { Setting } from "./settings.ts";

/** The file's list of guests. */
export const GUESTS_KEY = "guests";

/** The file's mapping of shared networks. */
export const NETWORKS_KEY = "networks";

/** The keys of a guest that only one among several has. */
export const MEMBER_SETTINGS: {
  readonly name: Setting<string | null>;
  readonly network: Setting<string | null>;
  readonly group: Setting<string | null>;
  readonly services: Setting<FleetService[]>;
} = {
  name: {
    key: "name",
    help: "the guest's name: lower-case letters, digits and hyphens",
    defaultValue: null,
    read: readText,
    scope: "own",
  },
  network: {
    key: "network",
    help: "the shared network that it is on; a network of its own where absent",
    defaultValue: null,
    read: readText,
  },
  group: {
    key: "group",
    help: "the group whose policy it has beside the fleet's (default that of fleet.group)",
    defaultValue: null,
    read: readLabel,
  },
  services: {
    key: "services",
    help: "names of its published ports in the fleet, as web: 8080 or dns: 53/udp",
    defaultValue: [],
    read: readServices,
  },
};

/** The keys of a shared network. */
export const SHARED_NETWORK_SETTINGS: {
  readonly [K in keyof Required<SharedNetworkConfig>]: Setting<SharedNetworkConfig[K] | null>;
} = {
  ip: {
    key: "ip",
    help: "its IPv4 addresses, the first of which is the gateway's (default 10.77.0.0/24)",
    defaultValue: null,
    read: readText,
  },
  ip6: {
    key: "ip6",
    help: "its IPv6 addresses, likewise (default fd53:4d01::/64)",
    defaultValue: null,
    read: readText,
  },
  ipv6: {
    key: "ipv6",
    help: "whether its guests are given IPv6",
    defaultValue: DEFAULT_GUEST_NETWORK.ipv6,
    read: readBoolean,
  },
  mtu: {
    key: "mtu",
    help: `largest IP packet, ${MTU_MIN} to ${MTU_MAX}`,
    defaultValue: DEFAULT_GUEST_NETWORK.mtu,
    read: readInteger,
  },
};
