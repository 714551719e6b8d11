import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ConfigError } from "../../lib/config/errors.ts";
import { resolveGuests } from "../../lib/config/guests.ts";
import { resolveConfig } from "../../lib/config/resolve.ts";
import {
  type ConfiguredGuest,
  type ResolvedGuestsConfig,
  resolveSources,
} from "../../lib/config/resolve_guests.ts";
import type { ConfigSources } from "../../lib/config/setting_values.ts";
import { fromYaml } from "./config_sources.ts";

function several(sources: ConfigSources): ResolvedGuestsConfig {
  const resolved = resolveSources(sources);
  assert(resolved.kind === "guests");
  return resolved;
}

function refused(sources: ConfigSources, ...lines: string[]): void {
  const error = assertThrows(() => resolveSources(sources), ConfigError) as ConfigError;
  assertEquals(error.message.split("\n"), lines);
}

/** Where a guest's value comes from, and what it is. */
function entry({ entries }: ConfiguredGuest, key: string): [unknown, string] {
  const { value, origin } = entries.find((each) => each.key === key)!;
  return [value, origin];
}

const TWO = [
  "guests:",
  "  - { name: web, listen: unix:/run/web.sock }",
  "  - { name: db, listen: unix:/run/db.sock }",
];

Deno.test("a file without guests is one guest's, by any way", () => {
  const sources = fromYaml("guestNetwork: { mtu: 1400 }");
  assertEquals(resolveSources(sources), resolveConfig(sources));
  assertEquals(resolveSources({}), resolveConfig({}));
});

Deno.test("guests are served with what stands under each, by what stands beside them", () => {
  const { process, config, guests, networks } = several(fromYaml(
    "control: unix:/run/control.sock",
    "grace: 2",
    "workers: 2",
    "policy: { allow: [a.test], deny: [metadata] }",
    "dns: { search: vm.test, records: { one.test: 10.0.0.1 } }",
    "networks: { lab: { mtu: 9000 } }",
    "guests:",
    "  - name: web",
    "    listen: unix:/run/web.sock",
    "    network: lab",
    "    publish: 8080:80",
    "    policy: { allow: [b.test] }",
    "    dns: { records: { two.test: 10.0.0.2 } }",
    "  - name: db",
    "    connect: tcp:127.0.0.1:9000",
    "    framing: stream",
    "    once: true",
    "    network: lab",
    "    capture: { file: db.pcapng }",
  ));
  assertEquals(process.control, { endpoint: { transport: "unix", path: "/run/control.sock" } });
  assertEquals([config.workers, networks.map(({ name }) => name)], [2, ["lab"]]);
  const [web, db] = guests as [ConfiguredGuest, ConfiguredGuest];
  assertEquals([web.name, web.network, db.name, db.network], ["web", "lab", "db", "lab"]);
  // A section is taken key by key, what stands at a key whole.
  assertEquals(entry(web, "policy.allow"), [["b.test"], "gateway.yaml:12:15"]);
  assertEquals(entry(web, "policy.deny"), [["metadata"], "gateway.yaml:4:28"]);
  assertEquals(entry(db, "policy.allow"), [["a.test"], "gateway.yaml:4:11"]);
  assertEquals(web.settings.network.dns.records, { "two.test": ["10.0.0.2"] });
  assertEquals(db.settings.network.dns.records, { "one.test": ["10.0.0.1"] });
  assertEquals(web.settings.network.dns.search, "vm.test");
  assertEquals(web.settings.network.policy.origins, {
    allow: ["gateway.yaml:12:23"],
    deny: ["gateway.yaml:4:35"],
  });
  assertEquals(db.settings.meeting, {
    mode: "connect",
    endpoint: { transport: "tcp", hostname: "127.0.0.1", port: 9000 },
  });
  assertEquals([web.settings.once, db.settings.once], [false, true]);
  assertEquals(config.guests.map(({ graceMs }) => graceMs), [2000, 2000]);
  assertEquals(db.settings.network.publishedPorts, []);
  assertEquals([web.settings.network.capture, db.settings.network.capture], [undefined, {
    file: "db.pcapng",
  }]);
});

Deno.test("addresses are those that the guests get, with the place of their network", () => {
  const { config, guests } = several(fromYaml(
    "networks:",
    "  lab:",
    "    ip: 10.9.0.0/24",
    "guests:",
    "  - { name: web, listen: unix:/run/web.sock, network: lab }",
    "  - { name: one, listen: unix:/run/one.sock }",
    "  - { name: db, listen: unix:/run/db.sock, network: lab, guestNetwork: { mtu: 1500 } }",
    "  - { name: two, listen: unix:/run/two.sock }",
  ));
  const [web, one, db, two] = guests;
  assertEquals(entry(web!, "guestNetwork.guestIp"), ["10.9.0.2/24", "gateway.yaml:3:5"]);
  assertEquals(entry(db!, "guestNetwork.guestIp"), ["10.9.0.3/24", "gateway.yaml:3:5"]);
  assertEquals(entry(db!, "guestNetwork.guestIp6"), ["fd53:4d01::3/64", "default"]);
  assertEquals(entry(db!, "guestNetwork.mtu"), [1500, "gateway.yaml:7:74"]);
  assertEquals(entry(one!, "guestNetwork.guestIp"), ["100.96.0.2/30", "default"]);
  assertEquals(entry(two!, "guestNetwork.guestMac"), ["02:53:4d:00:01:02", "default"]);
  const resolved = resolveGuests(config).guests.map(({ config }) => config.guestNetwork);
  assertEquals(guests.map(({ settings }) => settings.network.guestNetwork), resolved);
});

Deno.test("an unknown key has its place, the nearest name and its guest", () => {
  refused(
    fromYaml(
      "guests:",
      "  - name: web",
      "    listen: unix:/run/web.sock",
      "  - name: db",
      "    listen: unix:/run/db.sock",
      "    policy:",
      "      alow: [a.test]",
      "    lisen: unix:/run/db.sock",
      "    log: { level: debug }",
      "networks:",
      "  lab: { ipp: 10.0.0.0/8 }",
    ),
    `gateway.yaml:11:10 unknown key "ipp" in networks.lab; did you mean "ip"?`,
    `gateway.yaml:7:7 unknown key "alow" in guests[1].policy; did you mean "allow"?`,
    `gateway.yaml:8:5 unknown key "lisen" in guests[1]; did you mean "listen"?`,
    `gateway.yaml:9:5 guests[1].log: it is one for all guests; write it beside "guests"`,
  );
});

Deno.test("a wrong shape is told where it stands", () => {
  refused(fromYaml("guests:"), "gateway.yaml:1:1 guests has no value; write a list of guests");
  refused(fromYaml("guests: {}"), "gateway.yaml:1:1 guests is not a list of guests");
  refused(fromYaml("guests: []"), "gateway.yaml:1:1 guests names no guest");
  refused(
    fromYaml(`guests: [${"{}, ".repeat(257)}]`),
    "gateway.yaml:1:1 guests has 257 items; at most 256 can be served",
  );
  refused(
    fromYaml("networks: [lab]", "guests: [7, {}, { name: [], connect: /run/a.sock }]"),
    "gateway.yaml:1:1 networks is not a mapping of names such as lab: {}",
    "gateway.yaml:2:10 guests[0] is not a mapping of keys such as name, listen",
    `gateway.yaml:2:13 guests[1] lacks "name"`,
    `gateway.yaml:2:13 guests[1] lacks "listen" or "connect"`,
    "gateway.yaml:2:19 guests[2].name: is a list, not a value",
    `gateway.yaml:2:29 guests[2].connect: "/run/a.sock" is not an endpoint; write unix:/run/a.sock`,
  );
  refused(
    fromYaml("networks: { lab: 7 }", "workers: 1"),
    "gateway.yaml:1:13 networks.lab is not a mapping of keys such as ip, mtu",
    "gateway.yaml:1:1 networks are of no use without guests",
    "gateway.yaml:2:1 workers: is of no use without guests",
  );
});

Deno.test("what guests can't share is not taken as the default of all", () => {
  refused(
    fromYaml(
      "listen: unix:/run/vm.sock",
      "publish: 8080:80",
      "capture: { file: vm.pcapng, limit: 10MB }",
      ...TWO,
    ),
    "gateway.yaml:1:1 listen: each guest has its own; write it under the guest that it is for",
    "gateway.yaml:2:1 publish: each guest has its own; write it under the guest that it is for",
    "gateway.yaml:3:12 capture.file: each guest has its own; write it under the guest that it is for",
  );
  // How a capture is made may be said for those that have one.
  several(fromYaml("capture: { limit: 10MB }", ...TWO));
  refused(
    fromYaml(...TWO.slice(0, 2), "  - { name: b, listen: unix:/b, capture: { limit: 10MB } }"),
    "gateway.yaml:3:44 guests[1].capture.limit: is of no use without capture.file",
  );
});

Deno.test("flags and the environment set what is of the whole process, and nothing of guests", () => {
  const environment = { VIRTIO_GATEWAY_GRACE: "1", VIRTIO_GATEWAY_MTU: "" };
  const { process, config } = several({
    ...fromYaml("grace: 9", ...TWO),
    environment,
    flags: { workers: "0", "log-level": "debug" },
  });
  assertEquals([process.graceMs, process.log.level, config.workers], [1000, "debug", 0]);
  refused(
    {
      ...fromYaml(...TWO),
      environment: { VIRTIO_GATEWAY_MTU: "1400" },
      flags: { listen: "unix:/run/vm.sock", "allow-host": ["a.test"], "host-loopback": true },
    },
    "--listen: gateway.yaml lists several guests; write listen there, under the guest that it is for",
    "VIRTIO_GATEWAY_MTU: gateway.yaml lists several guests; write guestNetwork.mtu there, " +
      `under a guest, or beside "guests" for all of them`,
    "--host-loopback: gateway.yaml lists several guests; write hostLoopback there, " +
      `under a guest, or beside "guests" for all of them`,
    "--allow-host: gateway.yaml lists several guests; write policy.allow there, " +
      `under a guest, or beside "guests" for all of them`,
  );
});

Deno.test("a wrong value is told once where it stands, of whichever guest it is", () => {
  refused(
    fromYaml("policy: { allow: [1.2.3] }", "log: { level: loud }", ...TWO),
    `gateway.yaml:2:8 log.level: "loud" is not debug, info, warn or error`,
    `gateway.yaml:1:19 policy.allow[0]: "1.2.3": 1.2.3 is neither a name nor an IPv4 address; ` +
      "write four numbers from 0 to 255 without leading zeros",
  );
  refused(
    fromYaml("guestNetwork: { mtu: 9 }", "workers: 300", ...TWO),
    "gateway.yaml:2:1 workers: 300 is not a whole number from 0 to 256",
  );
  refused(
    fromYaml("guestNetwork: { mtu: 9 }", ...TWO),
    "gateway.yaml:1:17 guestNetwork.mtu: 9 is not a whole number from 576 to 65520",
  );
  refused(
    fromYaml(
      ...TWO.slice(0, 2),
      "  - { name: b, listen: unix:/b, guestNetwork: { guestIp: 1.1.1.2/24 } }",
    ),
    `gateway.yaml:3:33 guests[1].guestNetwork.gatewayIp (default): "100.96.0.5" is not inside ` +
      "the guest's 1.1.1.2/24",
  );
});

Deno.test("what two guests can't both have is told where the second one says it", () => {
  refused(
    fromYaml(
      "networks: { lab: { ip: 10.77.0.5/24 }, dmz: {} }",
      "guests:",
      "  - { name: web, listen: unix:/run/a.sock, publish: [80-81] }",
      "  - name: web",
      "    connect: unix:/run/a.sock",
      "    publish:",
      "      - 22",
      "      - { host: 81, guest: 8081 }",
      "    network: dmz",
      "  - { name: c, listen: unix:/c, network: dmz, guestNetwork: { guestIp: 10.77.1.2/24 } }",
      "  - { name: d, listen: unix:/d, network: bmz }",
    ),
    `gateway.yaml:1:20 networks.lab.ip: "10.77.0.5/24" has bits set behind the prefix; ` +
      "did you mean 10.77.0.0/24?",
    `gateway.yaml:11:33 guests[3].network: there is no network "bmz" for "d"; did you mean "dmz"?`,
    `gateway.yaml:10:63 guests[2].guestNetwork.guestIp: "web" and "c" have 10.77.1.2; ` +
      "only one of them can",
    `gateway.yaml:4:5 guests[1].name: guests[0] and guests[1] have the name "web"; ` +
      "rename one of them",
    `gateway.yaml:5:5 guests[1].connect: "web" and "web" have the endpoint unix:/run/a.sock; ` +
      "only one of them can",
    `gateway.yaml:6:5 guests[1].publish: "web" and "web" have 127.0.0.1:81 published; ` +
      "only one of them can",
  );
});

/** Lines of a file with guests, right and wrong ones. */
const line = fc.constantFrom(
  "guests:",
  "  - name: web",
  "  - { name: db, listen: unix:/run/db.sock, network: lab }",
  "    listen: unix:/run/web.sock",
  "    connect: tcp:127.0.0.1:1",
  "    network: lab",
  "    guestNetwork: { guestIp: 10.77.0.9/24, mtu: 900 }",
  "    policy: { allow: [a.test, 1.2.3] }",
  "    capture: { file: a.pcapng }",
  "    publish: [80, 0:80]",
  "networks: { lab: {} }",
  "networks: { lab: { ip: 10.0.0.0/30 }, '': {}, a.b: null }",
  "workers: 0",
  "guests: [[], {}, { name: { a: b } }]",
  "capture: { limit: 10MB }",
  "  - *a",
  "  - &a { name: c }",
);

Deno.test("any file with guests gives a configuration or its problems, and nothing else", () => {
  fc.assert(
    fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
      try {
        const resolved = resolveSources(fromYaml(...lines));
        if (resolved.kind === "guests") resolveGuests(resolved.config);
      } catch (error) {
        assert(error instanceof ConfigError, `${error}`);
        for (const text of error.message.split("\n")) assert(!text.includes("undefined"), text);
      }
    }),
    { numRuns: 300 },
  );
});
