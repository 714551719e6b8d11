import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parseVmmEndpoint, type VmmEndpoint } from "../../lib/config/endpoint.ts";
import { ConfigError } from "../../lib/config/errors.ts";
import { GUESTS_MAX, LAN_MEMBERS_MAX } from "../../lib/config/guest_addresses.ts";
import { resolveGuests } from "../../lib/config/guests.ts";
import type {
  GuestConfig,
  GuestsConfig,
  SharedNetworkConfig,
} from "../../lib/config/guests_options.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import { DEFAULT_GUEST_NETWORK, type PortMapping } from "../../lib/config/options.ts";

/** A guest that is alone, at a socket of its own. */
function guest(name: string, more: Partial<GuestConfig> = {}): GuestConfig {
  return { name, endpoint: parseVmmEndpoint(`unix:/run/${name}.sock`), ...more };
}

function problems(config: GuestsConfig): string[] {
  const error = assertThrows(() => resolveGuests(config), ConfigError) as ConfigError;
  return error.message.split("\n");
}

Deno.test("the first guest that is alone has what the only one has, the others count on from it", () => {
  const { guests, networks } = resolveGuests({
    guests: Array.from({ length: 66 }, (_, i) => guest(`g${i}`)),
  });
  assertEquals(guests[0]!.config.guestNetwork, DEFAULT_GUEST_NETWORK);
  assertEquals(guests[1]!.config.guestNetwork, {
    ...DEFAULT_GUEST_NETWORK,
    guestIp: "100.96.0.6/30",
    gatewayIp: "100.96.0.5",
    guestIp6: "fd53:4d00:0:1::2/64",
    gatewayIp6: "fd53:4d00:0:1::1",
    guestMac: "02:53:4d:00:01:02",
  });
  assertEquals(guests[65]!.config.guestNetwork, {
    ...DEFAULT_GUEST_NETWORK,
    guestIp: "100.96.1.6/30",
    gatewayIp: "100.96.1.5",
    guestIp6: "fd53:4d00:0:41::2/64",
    gatewayIp6: "fd53:4d00:0:41::1",
    guestMac: "02:53:4d:00:41:02",
  });
  assertEquals(guests.map(({ network, self }) => [network, self]), guests.map(() => [null, -1]));
  assertEquals(networks, []);
});

Deno.test("members of a shared network count on in it, and those that are alone beside it", () => {
  const resolved = resolveGuests({
    guests: [
      guest("web", { network: "lab" }),
      guest("alone"),
      guest("proxy", { network: "dmz", guestNetwork: { ipv6: false } }),
      guest("db", { network: "lab", guestNetwork: { guestIp: "10.77.0.50/24" } }),
      guest("too"),
    ],
    networks: { lab: {}, dmz: { ip: "192.168.9.16/28", ip6: "fd00:9::/48", mtu: 9000 }, none: {} },
    workers: 2,
  });
  assertEquals(resolved.workers, 2);
  assertEquals(resolved.networks, [
    {
      name: "lab",
      members: [
        { name: "web", mac: "02:53:4d:01:00:02", ip4: "10.77.0.2", ip6: "fd53:4d01::2" },
        { name: "db", mac: "02:53:4d:01:00:03", ip4: "10.77.0.50", ip6: "fd53:4d01::3" },
      ],
    },
    {
      name: "dmz",
      members: [{ name: "proxy", mac: "02:53:4d:01:01:02", ip4: "192.168.9.18", ip6: null }],
    },
  ]);
  const seen = resolved.guests.map(
    ({ config: { guestNetwork: { guestIp, mtu } }, network, self }) => {
      return [guestIp, mtu, network, self];
    },
  );
  assertEquals(seen, [
    ["10.77.0.2/24", 1500, "lab", 0],
    ["100.96.0.2/30", 1500, null, -1],
    ["192.168.9.18/28", 9000, "dmz", 0],
    ["10.77.0.50/24", 1500, "lab", 1],
    ["100.96.0.6/30", 1500, null, -1],
  ]);
  assertEquals(resolved.guests[2]!.config.guestNetwork.gatewayIp6, "fd00:9::1");
});

Deno.test("a network without IPv6, by its word or its MTU, gives its members none", () => {
  for (const network of [{ ipv6: false }, { mtu: 1000 }]) {
    const { networks } = resolveGuests({
      guests: [guest("a", { network: "lab" })],
      networks: { lab: network },
    });
    assertEquals(networks[0]!.members[0]!.ip6, null);
  }
});

Deno.test("what two guests can't both have is told with both names", () => {
  const endpoint = parseVmmEndpoint("unix:./run//a.sock");
  assertEquals(
    problems({
      guests: [
        guest("web", {
          endpoint: parseVmmEndpoint("unix:run/a.sock"),
          publishedPorts: [{ hostPort: 8080, guestPort: 80 }, { hostPort: 0, guestPort: 22 }],
          capture: { file: "web.pcapng" },
        }),
        guest("web", { endpoint: parseVmmEndpoint("tcp:127.0.0.1:0") }),
        guest("db", {
          endpoint,
          publishedPorts: [
            { hostPort: 0, guestPort: 22 },
            { hostPort: 8080, guestPort: 81, bind: ["::1"] },
            { hostPort: 8080, guestPort: 81, bind: ["192.0.2.1"] },
          ],
          capture: { file: "./web.pcapng.1" },
        }),
        guest("log", { endpoint: parseVmmEndpoint("tcp:127.0.0.1:0") }),
      ],
    }),
    [
      `guests[1].name: guests[0] and guests[1] have the name "web"; rename one of them`,
      `guests[2].endpoint: "web" and "db" have the endpoint unix:./run//a.sock; ` +
      "only one of them can",
      `guests[2].publishedPorts[1]: "web" and "db" have [::1]:8080 published; only one of them can`,
      `guests[2].capture.file: "web" and "db" have the capture file ./web.pcapng.1; ` +
      "only one of them can",
    ],
  );
});

Deno.test("a datagram socket has a second one beside it, and there is one standard input", () => {
  const at = (text: string) => ({ endpoint: parseVmmEndpoint(text) });
  assertEquals(
    problems({
      guests: [
        guest("a", at("unixgram:/run/a")),
        guest("b", at("unix:/run/a.wake")),
        guest("c", at("stdio:")),
        guest("d", at("stdio:")),
      ],
    }),
    [
      `guests[1].endpoint: "a" and "b" have the endpoint unix:/run/a.wake; only one of them can`,
      `guests[3].endpoint: "c" and "d" have the endpoint stdio:; only one of them can`,
    ],
  );
});

Deno.test("a published socket is a file too, and UDP is not TCP", () => {
  const ports = (...publishedPorts: PortMapping[]) => ({ publishedPorts });
  assertEquals(
    problems({
      guests: [
        guest("a", ports({ hostPort: 53, guestPort: 53, protocol: "udp", bind: ["127.0.0.1"] })),
        guest("b", ports({ hostPort: 53, guestPort: 53, bind: ["127.0.0.1"] })),
        guest("c", ports({ hostPort: 53, guestPort: 5, protocol: "udp", bind: ["127.0.0.1"] })),
        guest("d", ports({ unix: "/run//a.sock", guestPort: 22 })),
      ],
    }),
    [
      `guests[2].publishedPorts[0]: "a" and "c" have 127.0.0.1:53/udp published; ` +
      "only one of them can",
      `guests[3].publishedPorts[0]: "a" and "d" have unix:/run//a.sock published; ` +
      "only one of them can",
    ],
  );
});

Deno.test("members of one network have addresses of their own and one gateway", () => {
  const of = (network: GuestConfig["guestNetwork"] = {}): Partial<GuestConfig> => {
    return { network: "lab", guestNetwork: network };
  };
  const lab = (...guests: GuestConfig[]): string[] => problems({ guests, networks: { lab: {} } });
  assertEquals(
    lab(
      guest("a", of()),
      guest("b", of({ guestIp: "10.77.0.2/24", guestMac: "02:53:4D:01:00:02" })),
      guest("c", of({ guestIp6: "fd53:4d01:0:0::2/64" })),
    ),
    [
      `guests[1].guestNetwork.guestMac: "a" and "b" have 02:53:4d:01:00:02; only one of them can`,
      `guests[1].guestNetwork.guestIp: "a" and "b" have 10.77.0.2; only one of them can`,
      `guests[2].guestNetwork.guestIp6: "a" and "c" have fd53:4d01::2; only one of them can`,
    ],
  );
  assertEquals(
    lab(
      guest("a", of({ gatewayIp: "10.77.0.254" })),
      guest("b", of({ guestIp: "10.77.0.9/16" })),
      guest("c", of({ mtu: 9000, gatewayMac: "02:00:00:00:00:01" })),
    ),
    [
      `guests[1].guestNetwork.gatewayIp: "a" has 10.77.0.254 and "b" 10.77.0.1; ` +
      `in the shared network "lab" all have one`,
      `guests[2].guestNetwork.gatewayMac: "a" has 02:53:4d:00:00:01 and "c" 02:00:00:00:00:01; ` +
      `in the shared network "lab" all have one`,
      `guests[2].guestNetwork.mtu: "a" has 1500 and "c" 9000; ` +
      `in the shared network "lab" all have one`,
      `guests[1].guestNetwork.guestIp: "a" has /24 and "b" /16; ` +
      `in the shared network "lab" all have one`,
    ],
  );
  // Where all say the same, in any spelling, that is what they have.
  const gatewayIp6 = ["fd53:4d01::ff", "fd53:4d01:0:0::00ff"];
  resolveGuests({
    guests: gatewayIp6.map((each, i) => guest(`g${i}`, of({ gatewayIp6: each }))),
    networks: { lab: {} },
  });
});

Deno.test("a member has neither the gateway's address nor one outside its network", () => {
  const lines = problems({
    guests: [
      guest("a", { network: "lab", guestNetwork: { guestIp: "10.77.0.1/24" } }),
      guest("b", { network: "lab", guestNetwork: { guestIp: "10.78.0.9/24" } }),
      guest("c", { network: "lab", guestNetwork: { guestMac: "02:53:4d:00:00:01" } }),
    ],
    networks: { lab: {} },
  });
  assertEquals(lines, [
    `guests[0].guestNetwork.gatewayIp: "10.77.0.1" is the guest's address too`,
    `guests[1].guestNetwork.gatewayIp: "10.77.0.1" is not inside the guest's 10.78.0.9/24`,
    "guests[2].guestNetwork.gatewayMac: is the guest's MAC address too",
  ]);
});

Deno.test("a wrong network is told once, at its own key", () => {
  const one = (network: SharedNetworkConfig): string[] =>
    problems({
      guests: [guest("a", { network: "lab" }), guest("b", { network: "lab" })],
      networks: { lab: network },
    });
  assertEquals(one({ ip: "10.77.0.0" }), [
    `networks.lab.ip: "10.77.0.0" is not an IPv4 network such as 10.77.0.0/24, ` +
    "with a prefix of /1 to /30",
  ]);
  assertEquals(one({ ip: "10.77.0.5/24", ip6: "fd00::5/64" }), [
    `networks.lab.ip: "10.77.0.5/24" has bits set behind the prefix; did you mean 10.77.0.0/24?`,
    `networks.lab.ip6: "fd00::5/64" has bits set behind the prefix; did you mean fd00::/64?`,
  ]);
  assertEquals(one({ ip: "10.77.0.0/30" }), [
    `networks.lab.ip: "10.77.0.0/30" has no room for the gateway and 2 guests; ` +
    "write a shorter prefix",
  ]);
  assertEquals(one({ ip: "127.0.0.0/8", mtu: 5 }), [
    `networks.lab.ip: "127.0.0.2/8" is a loopback address, not a host's address`,
    "networks.lab.mtu: 5 is not a whole number from 576 to 65520",
  ]);
  assertEquals(one({ ip6: "fd00::/65" }), [
    `networks.lab.ip6: "fd00::/65" is not an IPv6 network such as fd53:4d01::/64, ` +
    "with a prefix of /1 to /64",
  ]);
});

Deno.test("a network that is not there has its nearest name, and the gateway's names are its own", () => {
  assertEquals(
    problems({
      guests: [
        guest("a", { network: "lap" }),
        guest("b", { network: "elsewhere" }),
        guest("host", { network: "lab" }),
        guest("gateway"),
      ],
      networks: { lab: {} },
    }),
    [
      `guests[0].network: there is no network "lap" for "a"; did you mean "lab"?`,
      `guests[1].network: there is no network "elsewhere" for "b"; name it under "networks"`,
      "guests[2].name: host.internal is the gateway's own name; " +
      "choose another for a shared network",
    ],
  );
});

Deno.test("guests at VM sockets are told apart by their ports, and have right numbers", () => {
  const at = (cid: number, port: number): VmmEndpoint => ({ transport: "vsock", cid, port });
  const configOf = (...endpoints: VmmEndpoint[]): GuestsConfig => ({
    guests: endpoints.map((endpoint, i) => ({ name: `g${i}`, endpoint })),
  });
  assertEquals(resolveGuests(configOf(at(3, 1), at(3, 2))).guests.length, 2);
  assertEquals(problems(configOf(at(3, 1), at(3, 1))).length, 1);
  assertEquals(
    problems(configOf(at(-1, 1), at(3, 0.5), at(2 ** 32, 1))),
    [0, 1, 2].map((i) => `guests[${i}].endpoint: is not an endpoint`),
  );
});

Deno.test("each guest is checked under its own index, whatever a program hands over", () => {
  const wrong = (config: unknown): string[] => problems(config as GuestsConfig);
  assertEquals(wrong(null), ["the configuration is not an object"]);
  assertEquals(wrong({ guests: [], worker: 1 }), [
    `worker: unknown key "worker"; did you mean "workers"?`,
    "guests: names no guest",
  ]);
  assertEquals(wrong({ guests: {}, networks: [], workers: -1 }), [
    "guests: is not a list of guests",
    "networks: is not an object",
    "workers: -1 is not a whole number from 0 to 256",
  ]);
  assertEquals(
    wrong({
      guests: [null, {}, { name: "A", endpoint: { transport: "unix" }, network: 1 }, {
        ...guest("b"),
        guestNetwork: "x",
      }],
      networks: { "-": {}, lab: 5, dmz: { ipp: 1 } },
    }),
    [
      "guests[0]: is not an object",
      `guests[1]: lacks "name"`,
      `guests[1]: lacks "endpoint"`,
      `guests[2].name: "A" is no name; write up to 63 lower-case letters, digits and hyphens, ` +
      "such as db-1",
      "guests[2].endpoint: is not an endpoint",
      "guests[2].network: is not the name of a network",
      "guests[3].guestNetwork: is not an object",
      "networks.-: is no name; write up to 63 lower-case letters, digits and hyphens, such as db-1",
      "networks.lab: is not an object",
      `networks.dmz.ipp: unknown key "ipp"; did you mean "ip"?`,
    ],
  );
  assertEquals(
    wrong({
      guests: [
        { ...guest("a"), policy: { alow: [] }, polcy: {}, mode: "dial" },
        { ...guest("b"), framing: "udp", once: 1, graceMs: NaN, guestNetwork: { mtu: 1 } },
        { ...guest("c"), endpoint: { transport: "stdio" }, mode: "connect" },
        { ...guest("d"), publishedPorts: [{ hostPort: 1, guestPort: 1, bind: "::1" }] },
      ],
    }),
    [
      `guests[0].mode: "dial" is not listen or connect`,
      `guests[0].polcy: unknown key "polcy"; did you mean "policy"?`,
      `guests[0].policy.alow: unknown key "alow"; did you mean "allow"?`,
      "guests[1].framing: the framing udp is none of stream, stream-vnet, hyperkit",
      "guests[1].once: 1 is not true or false",
      "guests[1].graceMs: NaN is not a number of milliseconds",
      "guests[1].guestNetwork.mtu: 1 is not a whole number from 576 to 65520",
      "guests[2].endpoint: stdio: can only be listened on, since it is no connection",
      "guests[3].publishedPorts[0].bind: is not a list",
    ],
  );
});

Deno.test("there are bounds to how many guests there are, and share a network", () => {
  const many = (count: number, network?: string): GuestConfig[] =>
    Array.from(
      { length: count },
      (_, i) => guest(`g${i}`, network === undefined ? {} : { network }),
    );
  assertEquals(resolveGuests({ guests: many(GUESTS_MAX) }).guests.length, GUESTS_MAX);
  assertEquals(problems({ guests: many(GUESTS_MAX + 1) }), [
    "guests: has 257 guests, at most 256 can be served by one process",
  ]);
  const networks = { lab: {} };
  const { networks: [lab] } = resolveGuests({ guests: many(LAN_MEMBERS_MAX, "lab"), networks });
  assertEquals(lab!.members.at(-1)!.ip4, "10.77.0.65");
  assertEquals(problems({ guests: many(LAN_MEMBERS_MAX + 1, "lab"), networks }), [
    "networks.lab: has 65 guests, at most 64 can share a network",
  ]);
});

/** Guests in any order over some networks and none. */
const placing = fc.array(fc.constantFrom("lab", "dmz", "x", undefined), {
  minLength: 1,
  maxLength: LAN_MEMBERS_MAX,
});

Deno.test("however guests are spread, each has a right network, and none of another's addresses", () => {
  fc.assert(fc.property(placing, (places) => {
    const guests = places.map((network, i) => {
      return guest(`g${i}`, network === undefined ? {} : { network });
    });
    const resolved = resolveGuests({ guests, networks: { lab: {}, dmz: {}, x: {} } });
    const parsed = resolved.guests.map(({ config }) => parseGuestNetwork(config.guestNetwork));
    const all = (of: (each: typeof parsed[number]) => Uint8Array): Set<string> =>
      new Set(parsed.map((each) => of(each).join()));
    assertEquals(all((each) => each.guestIp4).size, guests.length);
    assertEquals(all((each) => each.guestIp6).size, guests.length);
    assertEquals(all((each) => each.guestMac).size, guests.length);
    resolved.guests.forEach(({ config, network, self }, i) => {
      assertEquals(network, places[i] ?? null);
      const members = resolved.networks.find(({ name }) => name === network)?.members ?? [];
      assertEquals(members[self]?.name, network === null ? undefined : config.name);
    });
    for (const { name, members } of resolved.networks) {
      const own = resolved.guests.filter(({ network }) => network === name);
      assertEquals(own.map(({ self }) => self), members.map((_, i) => i));
      const gateways = own.map(({ config: { guestNetwork } }) => guestNetwork.gatewayIp);
      assertEquals(new Set(gateways).size, 1);
    }
  }));
});

/** Guests that take of a few things whatever comes: names, sockets, ports, files, addresses. */
const claims = fc.array(
  fc.record({
    name: fc.constantFrom("a", "b", "c", "d"),
    socket: fc.nat(5),
    port: fc.nat(5),
    file: fc.nat(5),
    host: fc.integer({ min: 2, max: 7 }),
  }),
  { minLength: 1, maxLength: 4 },
);

Deno.test("guests are refused exactly where two of them have one of something", () => {
  fc.assert(
    fc.property(claims, (list) => {
      const guests = list.map(({ name, socket, port, file, host }): GuestConfig => ({
        name,
        endpoint: parseVmmEndpoint(`unix:/run/${socket}`),
        network: "lab",
        publishedPorts: [{ hostPort: 1000 + port, guestPort: 80 }],
        capture: { file: `${file}.pcapng` },
        guestNetwork: {
          guestIp: `10.77.0.${host}/24`,
          guestIp6: `fd53:4d01::${host}/64`,
          guestMac: `02:00:00:00:00:0${host}`,
        },
      }));
      const hasTwo = (["name", "socket", "port", "file", "host"] as const)
        .some((key) => new Set(list.map((each) => each[key])).size < list.length);
      const resolve = (): unknown => resolveGuests({ guests, networks: { lab: {} } });
      if (hasTwo) assertThrows(resolve, ConfigError);
      else resolve();
    }),
    { numRuns: 500 },
  );
});

Deno.test("whatever a program hands over, it is resolved or refused as a configuration", () => {
  const scalar = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null));
  const key = fc.constantFrom("a", "lab", "guestIp", "mtu", "file", "hostPort", "bind", "ip");
  const any = fc.oneof(
    scalar,
    fc.array(scalar),
    fc.dictionary(key, fc.oneof(scalar, fc.array(scalar)), { noNullPrototype: true }),
  );
  const item = fc.record({
    name: fc.oneof(any, fc.constantFrom("a", "b")),
    endpoint: fc.oneof(any, fc.constant(parseVmmEndpoint("unix:/run/a"))),
    guestNetwork: any,
    network: any,
    publishedPorts: any,
    capture: any,
    mode: any,
    framing: any,
  }, { requiredKeys: [], noNullPrototype: true });
  const config = fc.record(
    { guests: fc.oneof(any, fc.array(item)), networks: any, workers: any },
    { requiredKeys: [], noNullPrototype: true },
  );
  fc.assert(fc.property(config, (config) => {
    try {
      resolveGuests(config as unknown as GuestsConfig);
    } catch (error) {
      assert(error instanceof ConfigError, `${error}`);
    }
  }));
});
