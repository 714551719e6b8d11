/**
 * The schema of the YAML file: a real validator takes what the gateway takes and finds what it does
 * not; docs/schema.json and the examples' lines for editors are up to date.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "@std/yaml";
import { Ajv2020 } from "ajv/dist/2020.js";
import { configSchema } from "../../lib/cli/schema.ts";
import { GUESTS_KEY, NETWORKS_KEY } from "../../lib/config/guests_settings.ts";
import { resolveSources } from "../../lib/config/resolve_guests.ts";
import { ALL_SETTINGS } from "../../lib/config/settings.ts";
import { runCli } from "./cli_process.ts";

const ROOT = new URL("../../", import.meta.url);
const DOCUMENT = "docs/schema.json";

const validate = new Ajv2020({ allErrors: true, strict: true, strictRequired: false })
  .compile(configSchema());

/** What is wrong with a file, as paths. */
function faultsOf(text: string): string[] {
  // As editors read it: YAML 1.2 with its types.
  validate(parse(text, { schema: "core" }));
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

const read = (path: string): string => Deno.readTextFileSync(new URL(path, ROOT));

/** YAML files below a folder, as paths from the root. */
function yamlUnder(folder: string): string[] {
  return [...Deno.readDirSync(new URL(`${folder}/`, ROOT))].flatMap(({ name, isDirectory }) => {
    if (isDirectory) return yamlUnder(`${folder}/${name}`);
    return name.endsWith(".yaml") ? [`${folder}/${name}`] : [];
  });
}

/** The examples that are configurations; others are for other programs. */
function examples(): string[] {
  return yamlUnder("examples").filter((path) => !/^apiVersion:/m.test(read(path)));
}

Deno.test("every setting is in the schema, and nothing else", () => {
  const keys: string[] = [];
  const { properties } = configSchema() as { properties: Record<string, { properties?: object }> };
  for (const [head, { properties: inner }] of Object.entries(properties)) {
    if (inner === undefined) keys.push(head);
    else keys.push(...Object.keys(inner).map((tail) => `${head}.${tail}`));
  }
  const known = [...ALL_SETTINGS.map(({ key }) => key), GUESTS_KEY, NETWORKS_KEY];
  assertEquals(keys.toSorted(), known.toSorted());
});

Deno.test(`${DOCUMENT} is what the command prints; make it with: cli.ts schema > ${DOCUMENT}`, async () => {
  const { code, stdout, stderr } = await runCli([], "schema");
  assertEquals([code, stderr], [0, ""]);
  assertEquals(read(DOCUMENT), stdout);
});

Deno.test("files that the gateway takes pass, each kind of value among them", () => {
  const files = ["schema", "gateway", "guests"].map((name) => `fixtures/config/${name}.yaml`);
  for (const path of [...files, ...examples()]) {
    const text = read(path);
    resolveSources({ file: { name: path, text } });
    assertEquals(faultsOf(text), [], path);
  }
});

Deno.test("more spellings that the gateway takes", () => {
  const texts = [
    "{}",
    "publish: 8080:80",
    "publish: [8080, '[::1]:8081:81/tcp']",
    "publish: { host: 1, guest: 2, bind: '::1' }",
    "dns: { upstreams: 9.9.9.9, records: [a.test=10.0.0.1], zones: [a.test=10.0.0.53] }",
    "dns: { zones: { a.test: local }, records: { a.test: 10.0.0.1 } }",
    "rate: { up: 1000, down: unlimited, flowsPerSecond: unlimited }",
    "upstreamProxy: none",
    "listen: vsock:any:1024\nframing: stream-vnet\nguestNetwork: { offload: true }",
    "connect: vsock:3:1024",
    "guests: [{ name: a, listen: vsock:any:1 }, { name: b, listen: vsock:any:2 }]",
    "grace: 0.5",
    "policy: { allow: pypi.org, deny: [] }",
    "control: tcp:[::1]:9000\ncontrolToken: a",
    "guests: [{ name: a, listen: unix:/a }, { name: b-2, connect: unix:/b, network: lab }]\n" +
    "networks: { lab: { ip: 10.0.0.0/24, ipv6: false }, dmz: }\nworkers: 0",
    "guests: [{ name: a, listen: unix:/a, policy: { allow: a.test }, publish: [80] }]\n" +
    "policy: { deny: [metadata] }\ncapture: { limit: 10MB }",
    "log: { level: debug }",
    "fleet: { servers: 'nats://a.test', gateway: g1, dir: /a, services: { web: 80, dns: [53, 53/udp] } }",
    "fleet: { servers: [tls://10.0.0.1:4222], name: lab, gateway: g1, dir: a, auditBytes: 4MiB,\n" +
    "  advertise: 10.0.0.7, group: ci, credentials: c, services: [web=80/tcp] }",
    "guests: [{ name: a, listen: unix:/a, group: ci, services: { web: 80 } }]\n" +
    "fleet: { servers: nats://a.test:1, gateway: g1, dir: /a }",
  ];
  for (const text of texts) {
    resolveSources({ file: { name: "a.yaml", text } });
    assertEquals(faultsOf(text), [], text);
  }
});

Deno.test("what the gateway does not take is found as far as its kind tells", () => {
  const cases: [text: string, fault: RegExp][] = [
    ["listn: unix:/a", / must NOT have additional properties/],
    ["policy: { alow: [] }", /^\/policy must NOT have additional/],
    ["listen: /run/a.sock", /^\/listen must match pattern/],
    ["listen: vsock:1024", /^\/listen must match pattern/],
    ["guestNetwork: { offload: 1 }", /^\/guestNetwork\/offload must be boolean/],
    ["listen: unix:/a\nconnect: unix:/b", / must NOT be valid/],
    ["guestNetwork: { mtu: 100 }", /^\/guestNetwork\/mtu must be >= 576/],
    ["guestNetwork: { mtu: many }", /^\/guestNetwork\/mtu must be integer/],
    ["guestNetwork: { checksums: never }", /must be equal to one of the allowed values/],
    ["hostLoopback: yes", /^\/hostLoopback must be boolean/],
    ["rate: { up: 10Mb }", /^\/rate\/up must match pattern/],
    ["rate: { flowsPerSecond: many }", /^\/rate\/flowsPerSecond must be integer/],
    ["publish: 8080:80/sctp", /^\/publish must match pattern/],
    ["publish: unix:/a", /^\/publish must match pattern/],
    ["publish: [{ host: 8080, guest: 80, protocol: sctp }]", /one of the allowed values/],
    ["publish: [{ unix: /a, guest: 80, bind: '::1' }]", /must NOT have additional properties/],
    ["publish: [8080:80/tpc]", /^\/publish\/0 must match pattern/],
    ["publish: [{ host: 8080 }]", /must have required property 'guest'/],
    ["publish: [{ host: 8080, guest: 80, bnd: a }]", /must NOT have additional properties/],
    ["dns: { records: { a.test: { mx: a } } }", /must NOT have additional properties/],
    ["limits: { tcpFlows: 0 }", /must be >= 1/],
    ["grace: long", /^\/grace must be number/],
    ["upstreamProxy: https://a.test:1", /must match pattern/],
    ["guests: []", /^\/guests must NOT have fewer than 1 items/],
    ["guests: [{ listen: unix:/a }]", /^\/guests\/0 must have required property 'name'/],
    ["guests: [{ name: a }]", /^\/guests\/0 must match exactly one schema in oneOf/],
    ["guests: [{ name: A_b, listen: unix:/a }]", /^\/guests\/0\/name must match pattern/],
    ["guests: [{ name: a, listen: unix:/a, log: { level: info } }]", /must NOT have additional/],
    [
      "guests: [{ name: a, listen: unix:/a, policy: { alow: [] } }]",
      /^\/guests\/0\/policy must NOT have additional/,
    ],
    ["listen: unix:/a\nguests: [{ name: a, listen: unix:/b }]", / must NOT be valid/],
    ["capture: { file: a }\nguests: [{ name: a, listen: unix:/b }]", / must NOT be valid/],
    ["workers: 2", / must have property guests when property workers is present/],
    ["networks: { lab: {} }", / must have property guests when property networks is present/],
    [
      "guests: [{ name: a, listen: unix:/a }]\nnetworks: { lab: { ipp: a } }",
      /must NOT have additional properties/,
    ],
    [
      "guests: [{ name: a, listen: unix:/a }]\nnetworks: { La: {} }",
      /^\/networks must match pattern/,
    ],
    [
      "fleet: { servers: http://a.test, gateway: a, dir: b }",
      /^\/fleet\/servers must match pattern/,
    ],
    ["fleet: { servers: nats://u:p@a.test, gateway: a, dir: b }", /must match pattern/],
    ["fleet: { servers: nats://a, gateway: A, dir: b }", /^\/fleet\/gateway must match pattern/],
    ["fleet: { servers: nats://a, gateway: a, dir: b, services: { web: 80/sctp } }", /pattern/],
    ["group: a", / must NOT have additional properties/],
    ["[]", / must be object/],
  ];
  for (const [text, fault] of cases) {
    let isTaken = true;
    try {
      resolveSources({ file: { name: "a.yaml", text } });
    } catch {
      isTaken = false;
    }
    assert(!isTaken, text);
    assertMatch(faultsOf(text).join("\n"), new RegExp(fault.source, "m"), text);
  }
});

Deno.test("every example names the schema in the line that editors look for", () => {
  const configurations = examples();
  assert(configurations.length > 5);
  for (const path of configurations) {
    const [, target = ""] = /^# yaml-language-server: \$schema=(\S+)\n/.exec(read(path)) ?? [];
    assertEquals(new URL(target, new URL(path, ROOT)).href, new URL(DOCUMENT, ROOT).href, path);
  }
});
