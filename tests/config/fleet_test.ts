/**
 * A gateway's place in a fleet, as flags, environment and file say it: for one guest and for several,
 * with every mistake told where it stands, and no secret repeated.
 */
import { assert, assertEquals } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import type { FleetMembership } from "../../lib/config/fleet.ts";
import { permissionFlags } from "../../lib/config/permission_line.ts";
import { resolveFleetAccess } from "../../lib/config/resolve.ts";
import { resolveSources } from "../../lib/config/resolve_guests.ts";
import type { ConfigSources } from "../../lib/config/setting_values.ts";

const MUST = { fleet: ["nats://a.test:1"], "fleet-gateway": "g1", "fleet-dir": "/var/lib/g1" };

function ofFile(...lines: string[]): FleetMembership | null {
  return resolveSources({ file: { name: "a.yaml", text: lines.join("\n") } }).fleet;
}

function ofFlags(flags: ConfigSources["flags"] = {}): FleetMembership | null {
  return resolveSources({ flags: { ...MUST, ...flags } }).fleet;
}

/** The lines of an error. */
function faults(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n");
    throw error;
  }
  return [];
}

Deno.test("nothing is said of a fleet where no server is named", () => {
  assertEquals(ofFile("listen: unix:/a"), null);
});

Deno.test("a gateway with one guest, whose name is the gateway's", () => {
  assertEquals(
    ofFile(
      "fleet:",
      "  servers: [nats://a.test, 'nats://[fd00:0::1]:4333']",
      "  name: lab",
      "  gateway: g1",
      "  group: ci",
      "  credentials: /etc/engine.yaml",
      "  dir: /var/lib/g1",
      "  advertise: [10.0.0.7, 'fd00::7']",
      "  services: { web: 8080, dns: [53, 53/udp] }",
      "  auditBytes: 2MiB",
    ),
    {
      settings: {
        servers: ["nats://a.test:4222", "nats://[fd00::1]:4333"],
        fleet: "lab",
        gateway: "g1",
        credentials: "/etc/engine.yaml",
        dir: "/var/lib/g1",
        advertise: ["10.0.0.7", "fd00::7"],
        auditBytes: 2 * 1024 * 1024,
      },
      guests: [{
        name: "g1",
        group: "ci",
        services: [
          { name: "web", guestPort: 8080, protocol: "tcp" },
          { name: "dns", guestPort: 53, protocol: "tcp" },
          { name: "dns", guestPort: 53, protocol: "udp" },
        ],
      }],
    },
  );
});

Deno.test("the same by flags, and by the environment where they say nothing", () => {
  const fromFlags = ofFlags({ "fleet-service": ["web=80", "dns=53/udp"], "fleet-group": "ci" });
  assertEquals(fromFlags!.guests[0]!.services.map(({ name }) => name), ["web", "dns"]);
  assertEquals([fromFlags!.settings.fleet, fromFlags!.settings.credentials], ["default", null]);
  const { fleet } = resolveSources({
    environment: {
      VIRTIO_GATEWAY_FLEET: "nats://a.test:1,nats://b.test:2",
      VIRTIO_GATEWAY_FLEET_GATEWAY: "g2",
      VIRTIO_GATEWAY_FLEET_DIR: "/a",
      VIRTIO_GATEWAY_FLEET_SERVICE: "web=80,ssh=22",
    },
    flags: { "fleet-gateway": "g1" },
  });
  assertEquals(fleet!.settings.servers, ["nats://a.test:1", "nats://b.test:2"]);
  assertEquals([fleet!.settings.gateway, fleet!.guests[0]!.services.length], ["g1", 2]);
});

Deno.test("one flag may name several servers, and one twice counts once", () => {
  const { settings } = ofFlags({ fleet: ["nats://a.test:1, nats://B.test:1", "nats://a.test:1"] })!;
  assertEquals(settings.servers, ["nats://a.test:1", "nats://b.test:1"]);
});

Deno.test("several guests have groups and services of their own", () => {
  const { guests } = ofFile(
    "fleet: { servers: nats://a.test, gateway: g1, dir: /a, group: lab }",
    "guests:",
    "  - { name: a, listen: unix:/a, services: { web: 80 } }",
    "  - { name: b, listen: unix:/b, group: ci }",
  )!;
  assertEquals(guests, [
    { name: "a", group: "lab", services: [{ name: "web", guestPort: 80, protocol: "tcp" }] },
    { name: "b", group: "ci", services: [] },
  ]);
});

Deno.test("what is of a fleet is of no use without servers", () => {
  assertEquals(
    faults(() => ofFile("fleet:", "  gateway: g1", "  auditBytes: 4MiB")).map((line) =>
      line.split(": ").slice(0, 2).join(": ").replace(/ without.*/, "")
    ),
    [
      "a.yaml:2:3 fleet.gateway: is of no use",
      "a.yaml:3:3 fleet.auditBytes: is of no use",
    ],
  );
  const [line = ""] = faults(() =>
    ofFile("guests:", "  - { name: a, listen: unix:/a, group: ci }")
  );
  assert(line.startsWith("a.yaml:2:33 guests[0].group: is of no use without fleet.servers"), line);
});

Deno.test("a gateway has a name and a folder", () => {
  assertEquals(faults(() => ofFile("fleet:", "  servers: nats://a.test")), [
    "a.yaml:2:3 fleet.servers: needs a name that no other gateway of the fleet has: " +
    "fleet.gateway, or --fleet-gateway NAME",
    "a.yaml:2:3 fleet.servers: needs a folder that outlives a restart, for the last good policy: " +
    "fleet.dir, or --fleet-dir DIR",
  ]);
});

Deno.test("every mistake is told where it stands", () => {
  const cases: [flags: Record<string, string | string[]>, line: RegExp][] = [
    [{ fleet: [""] }, /is no server/],
    [{ fleet: ["a.test:1"] }, /^--fleet: "a.test:1" is no server; write nats:\/\/HOST:PORT/],
    [{ fleet: ["nats://a b"] }, /is no server/],
    [{ fleet: ["nats://1.2.3"] }, /is no server/],
    [{ fleet: ["nats://a:0"] }, /is no server/],
    [{ fleet: ["nats://a/b"] }, /is no server/],
    [{ fleet: ["nats://[1.2.3.4]:1"] }, /is no IPv6 address/],
    [{ fleet: ["wss://a.test"] }, /WebSockets are not spoken/],
    [{ fleet: ["nats://a", "tls://b"] }, /TLS is for all of them or for none/],
    [{ "fleet-gateway": "G1" }, /^--fleet-gateway: "G1" is no name; write up to 63 lower-case/],
    [{ "fleet-name": "a.b" }, /^--fleet-name: "a.b" is no name/],
    [{ "fleet-group": "-" }, /^--fleet-group: "-" is no name/],
    [{ "fleet-advertise": ["10.0.0.1", "10.0.0.2"] }, /second of its family/],
    [{ "fleet-advertise": ["127.0.0.1"] }, /this machine's own/],
    [{ "fleet-advertise": ["0.0.0.0"] }, /every address of a host/],
    [{ "fleet-advertise": ["169.254.169.254"] }, /is not an address at which hosts reach/],
    [{ "fleet-advertise": ["host"] }, /"host" is not an address/],
    [{ "fleet-service": ["web"] }, /^--fleet-service: "web" is not NAME=PORT/],
    [{ "fleet-service": ["web=0"] }, /"0" is not a port of the guest/],
    [{ "fleet-service": ["web=80/sctp"] }, /is not a port of the guest/],
    [{ "fleet-service": ["W=80"] }, /"W" is no name of a service/],
    [{ "fleet-service": ["web=80", "web=81"] }, /"web" is there twice/],
  ];
  for (const [flags, line] of cases) {
    const told = faults(() => ofFlags(flags));
    assert(
      told.length === 1 && line.test(told[0]!),
      `${JSON.stringify(flags)}: ${told.join("\n")}`,
    );
  }
  const file = "fleet: { servers: nats://a, gateway: a, dir: b, auditBytes: 1kB }";
  assertEquals(faults(() => ofFile(file)), [
    'a.yaml:1:49 fleet.auditBytes: "1kB" is not from 2MiB to 256MiB',
  ]);
  assertEquals(faults(() => ofFile("fleet: { sevrers: nats://a }")), [
    'a.yaml:1:10 unknown key "sevrers" in fleet; did you mean "servers"?',
  ]);
  assertEquals(
    faults(() =>
      ofFile(
        "fleet: { servers: nats://a, gateway: a, dir: b, services: { web: 80 } }",
        "guests: [{ name: a, listen: unix:/a }]",
      )
    ),
    ["a.yaml:1:49 fleet.services: each guest has its own; write services under the guest"],
  );
});

Deno.test("no resolver of others answers for the fleet's services", () => {
  const said =
    "and in a fleet fleet.internal is answered by the gateway alone; name the zone otherwise";
  const zone = (text: string) => faults(() => ofFlags({ "dns-zone": [text] }));
  assertEquals(zone("a.Fleet.internal=10.0.0.53"), [
    `--dns-zone: a.fleet.internal has upstreams, ${said}`,
  ]);
  assertEquals([zone("fleet.internal=local"), zone("internal=10.0.0.53")], [[], []]);
  const several = faults(() =>
    ofFile(
      "fleet: { servers: [nats://a.test], gateway: g1, dir: /v }",
      "guests:",
      "  - { name: a, listen: unix:/a }",
      "  - { name: b, listen: unix:/b, dns: { zones: { fleet.internal: [10.0.0.53] } } }",
    )
  );
  assertEquals(several.length, 1);
  assert(several[0]!.startsWith("a.yaml:4:"), several[0]);
});

Deno.test("a secret in an address is refused, and not repeated", () => {
  for (const server of ["nats://user:s3cret@a.test", "nats://s3cret@a.test:1", "s3cret@a"]) {
    const [line = "", ...more] = faults(() => ofFlags({ fleet: [server] }));
    assert(line.includes("--fleet-credentials") && !line.includes("s3cret"), line);
    assertEquals(more, []);
  }
});

Deno.test("whoever only asks the engine needs no name and no folder", () => {
  const text =
    "fleet: { servers: tls://a.test:1, credentials: c }\nguests: [{ name: a, listen: b }]";
  assertEquals(resolveFleetAccess({ file: { name: "a.yaml", text } }), {
    servers: ["tls://a.test:1"],
    fleet: "default",
    credentials: "c",
  });
  assertEquals(resolveFleetAccess({}), null);
  const useless = faults(() => resolveFleetAccess({ flags: { "fleet-name": "lab" } }));
  assert(useless[0]!.startsWith("--fleet-name: is of no use without"), useless[0]);
});

Deno.test("the permission line has the folder and the files", () => {
  const fleet = { dir: "/var/lib/g1", files: ["/etc/engine.yaml", "/etc/ca.pem"] };
  assertEquals(permissionFlags({ guests: [], control: null, fleet, modules: "/src" }), [
    "--allow-net",
    "--allow-read=/src,/etc/engine.yaml,/etc/ca.pem,/var/lib/g1",
    "--allow-write=/var/lib/g1",
  ]);
});
