/**
 * What people write: YAML files, command lines, environment variables, single values, and the
 * options of an embedding program.
 *
 * The first line of an input says what the rest is: `yaml` a file, `args` one word a line, `env` one
 * `NAME=VALUE` a line, `value` a text for each of the small readers, `options` a program's options as
 * JSON.
 *
 * Oracles: a result, or one typed error with a clear message (never `undefined` or `[object Object]`
 * in it that nobody wrote, never a screenful); a result that the checks of embedding programs take
 * too, and that survives being written and read again; no prototype is touched.
 *
 * @module
 */
import { parseArguments } from "../../../lib/cli/arguments.ts";
import { UsageError } from "../../../lib/cli/exit.ts";
import { formatEndpoint, parseEndpoint, parseHostPort } from "../../../lib/config/endpoint.ts";
import { GatewayError } from "../../../lib/config/errors.ts";
import { resolveGuests } from "../../../lib/config/guests.ts";
import { checkNetworkConfig } from "../../../lib/config/network_config.ts";
import { permissionFlags, permissionLine } from "../../../lib/config/permission_line.ts";
import { parseBind, parseHostService, parsePublishSpec } from "../../../lib/config/port_spec.ts";
import type { ConfigSources, GatewaySettings } from "../../../lib/config/resolve.ts";
import { type ResolvedGuestsConfig, resolveSources } from "../../../lib/config/resolve_guests.ts";
import { ALL_SETTINGS, environmentName } from "../../../lib/config/settings.ts";
import { formatIp, formatMac, parseIp, parseMac } from "../../../lib/wire/address.ts";
import type { Mutator } from "../mutate.ts";
import { hold } from "../rig.ts";
import type { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";

const KIND_ERROR = 70;
const KIND_RESULT = 71;
/** An error may quote what was written, and not more of its own. */
const MESSAGE_MAX = 64 * 1024;
/** Words that a message has only by accident; YAML's keys that are no scalars end as such. */
const ACCIDENTS = ["undefined", "[object ", "NaN", "function"];

/** The target. */
export const configTarget: FuzzTarget = {
  name: "config",
  about: "YAML, command lines, environment, port specs, endpoints, addresses, a program's options",
  form: "txt",
  *seeds() {
    for (const [name, text] of Object.entries(SEEDS)) {
      yield [name, [encode(text)]];
    }
  },
  mutate: (
    [text = encode("yaml\n")],
    mutator,
  ) => [encode(mutateText(decode(text), mutator))],
  run([bytes = encode("")], signal) {
    const text = decode(bytes);
    const [kind = "", ...lines] = text.split("\n");
    try {
      read(kind, lines, signal);
    } catch (error) {
      judgeError(error, text, signal);
    }
    for (const name in {}) hold(false, `no prototype is touched: ${name}`);
  },
};

function read(kind: string, lines: string[], signal: Signal): void {
  const rest = lines.join("\n");
  switch (kind) {
    case "yaml":
      return resolve({ file: { name: "gateway.yaml", text: rest } }, signal);
    case "args": {
      const { flags } = parseArguments(lines.filter((line) => line !== ""));
      return resolve({ flags }, signal);
    }
    case "env": {
      const pairs = lines.map((
        line,
      ) => [line.replace(/=.*/, ""), line.replace(/^[^=]*=?/, "")]);
      return resolve({ environment: Object.fromEntries(pairs) }, signal);
    }
    case "options":
      return checkOptions(rest);
    default:
      return readValues(rest, signal);
  }
}

function resolve(sources: ConfigSources, signal: Signal): void {
  const resolved = resolveSources(sources);
  if (resolved.kind === "guests") return checkGuests(resolved, signal);
  const { settings, entries } = resolved;
  hold(entries.length === ALL_SETTINGS.length, "every setting has its entry");
  let changed = 0;
  for (const { key, origin } of entries) {
    hold(typeof key === "string" && origin !== "", "every entry has its origin");
    if (origin !== "default") signal.noteText(KIND_RESULT, key), changed++;
  }
  signal.note(KIND_RESULT, changed);
  checkSettings(settings);
}

/** What a file may say of several guests a program may say, and each has its addresses. */
function checkGuests({ config, guests }: ResolvedGuestsConfig, signal: Signal): void {
  try {
    const again = resolveGuests(config).guests.map(({ config }) => config.guestNetwork);
    const own = guests.map(({ settings }) => settings.network.guestNetwork);
    hold(JSON.stringify(own) === JSON.stringify(again), "each guest has one set of addresses");
  } catch (error) {
    hold(false, () => `what a file may say a program may say: ${(error as Error).message}`);
  }
  for (const { entries } of guests) {
    for (const { key, origin } of entries) {
      if (origin !== "default") signal.noteText(KIND_RESULT, key);
    }
  }
  signal.note(KIND_RESULT, guests.length);
}

/** What was understood once is understood again, by whoever asks. */
function checkSettings(settings: GatewaySettings): void {
  try {
    checkNetworkConfig(settings.network);
  } catch (error) {
    hold(false, () => `what a file may say a program may say: ${(error as Error).message}`);
  }
  const { meeting } = settings;
  if (meeting !== null) {
    const again = parseEndpoint(formatEndpoint(meeting.endpoint));
    hold(
      JSON.stringify(again) === JSON.stringify(meeting.endpoint),
      "an endpoint reads itself back",
    );
    const line = permissionLine(
      permissionFlags({
        guests: [{ endpoint: meeting.endpoint, network: settings.network }],
        control: settings.control,
      }),
      "cli.ts",
      [],
    );
    hold(line.startsWith("deno run --allow-net"), "a permission line begins as such");
  }
}

/** A program's options of any shape: a typed error, or all that is used of them is right. */
function checkOptions(text: string): void {
  let options: unknown;
  try {
    options = JSON.parse(text);
  } catch {
    return; // no program can hand that over
  }
  if (
    typeof options !== "object" || options === null || Array.isArray(options)
  ) return;
  checkNetworkConfig(options);
}

function readValues(text: string, signal: Signal): void {
  const publish = parsePublishSpec(text);
  hold(
    typeof publish === "string" ? publish !== "" : publish.length > 0,
    "ports, or what is wrong",
  );
  const service = parseHostService(text);
  const bind = parseBind(text);
  hold(bind === null || parseBind(bind) === bind, "an address to bind reads itself back");
  const ip = parseIp(text);
  if (ip !== null) {
    const again = parseIp(formatIp(ip));
    hold(again !== null && formatIp(again) === formatIp(ip), "an address reads itself back");
  }
  const mac = parseMac(text);
  if (mac !== null) {
    hold(formatMac(parseMac(formatMac(mac))!) === formatMac(mac), "a MAC reads itself back");
  }
  const place = parseHostPort(text);
  hold(place === null || parseIp(place.hostname) !== null, "a place has an address");
  const bits = [typeof publish !== "string", typeof service !== "string", bind, ip, mac, place];
  signal.note(KIND_RESULT, 100 + bits.reduce((sum: number, bit, i) => sum + (bit ? 1 << i : 0), 0));
  const endpoint = parseEndpoint(text);
  const again = parseEndpoint(formatEndpoint(endpoint));
  hold(JSON.stringify(again) === JSON.stringify(endpoint), "an endpoint reads itself back");
}

function judgeError(error: unknown, text: string, signal: Signal): void {
  if (!(error instanceof GatewayError || error instanceof UsageError)) {
    throw error;
  }
  const { message } = error;
  hold(message.trim() !== "", "an error says something");
  hold(message.length <= MESSAGE_MAX + 8 * text.length, "an error is no screenful");
  for (const accident of ACCIDENTS) {
    // What a program hands over may be no text at all, and is shown as it is.
    if (text.startsWith("options") || text.includes("?")) break;
    hold(
      !message.includes(accident) || text.includes(accident),
      () => `a message says ${accident}: ${message}`,
    );
  }
  const shape = message.replace(/"[^"]*"|[0-9]+/g, "").slice(0, 120);
  signal.noteText(KIND_ERROR, shape);
}

// ---- Inputs -------------------------------------------------------------------------------------

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const decode = (bytes: Uint8Array): string => decoder.decode(bytes);
const encode = (text: string): Uint8Array => encoder.encode(text);

const SEEDS: Readonly<Record<string, string>> = {
  yaml_all: "yaml\n" +
    Deno.readTextFileSync(new URL("../../../fixtures/config/gateway.yaml", import.meta.url)),
  yaml_empty: "yaml\n",
  yaml_sections:
    "yaml\nguestNetwork:\n  mtu: 1500\ndns:\n  upstreams: [1.1.1.1]\nlimits:\n  tcpFlows: 10\n",
  yaml_connect: "yaml\nconnect: tcp:[::1]:7654\nonce: true\n",
  yaml_flow: 'yaml\n{listen: "tcp:127.0.0.1:0", publish: ["1:2", {host: 3, guest: 4}]}\n',
  yaml_anchors: "yaml\na: &a [x, x]\nb: &b [*a, *a]\npublish: [*b, *b]\n",
  yaml_prototype:
    "yaml\n__proto__: {x: 1}\nconstructor: 1\nguestNetwork: {__proto__: 1, toString: 2}\n",
  yaml_records:
    "yaml\ndns:\n  records:\n    a.internal: 10.0.0.1\n    b.internal: [10.0.0.2, 'fd00::1']\n    '*.c.internal': {cname: a.internal, ttl: 5}\n    d.internal: {srv: 1 2 3 a.internal, txt: [x]}\n",
  yaml_policy:
    "yaml\npolicy:\n  allow: [pypi.org, '*.a.test:443/tls']\n  deny: ['[fd00::/8]:1-2,3/udp', metadata]\nrate: {up: 1.5MB, upBurst: 512KiB}\n",
  yaml_zones:
    "yaml\ndns:\n  upstreams: ['tls://9.9.9.9#a.test', 'https://a.test/q']\n  zones: {a.test: local, b.test: [10.0.0.1, system]}\nupstreamProxy: http://u:p@a.test:1\n",
  yaml_block: "yaml\ndns:\n  search: |\n    vm.internal\nlisten: >-\n  unix:/a\n? x\n: y\n",
  yaml_nested: `yaml\npublish: ${"[".repeat(40)}${"]".repeat(40)}\n`,
  args_all:
    "args\nrun\n--listen\nunix:/run/vm.sock\n-p\n8080:80\n--mtu=9000\n--no-ipv6\n--dns\n1.1.1.1\n--once\n",
  args_policy:
    "args\n--allow\n10.0.0.0/8:80,443\n--allow-host=a.test\n--allow-cidr\nfd00::/8\n--deny=private\n--rate-up\n10MB\n--dns-zone=a.test=local\n--upstream-proxy\nsocks5://u:p@[::1]:1\n",
  args_check: "args\ncheck\n--json\n--config\n-\n--quiet\n",
  args_wrong: "args\n--lisen\nx\n--publish\n--\n-\n",
  env: `env\n${environmentName("mtu")}=1280\n${environmentName("publish")}=1:2, 3:4\n${
    environmentName("listen")
  }=tcp:127.0.0.1:1\n`,
  value_publish: "value\n127.0.0.1:8080-8090:80-90/tcp",
  value_publish6: "value\n[::1]:8080:80",
  value_service: "value\n3128:3128",
  value_endpoint: "value\ntcp:[fd00::1]:7654",
  value_unix: "value\nunix:/run/vm,1 '.sock",
  value_ip6: "value\n2001:db8::192.0.2.1",
  yaml_guests: "yaml\npolicy: { allow: [a.test] }\nnetworks: { lab: { ip: 10.0.0.0/24 } }\n" +
    "workers: 1\nguests:\n  - { name: a, listen: unix:/a, network: lab, publish: [80] }\n" +
    "  - name: b\n    connect: unix:/b\n    network: lab\n    guestNetwork: { guestIp: 10.0.0.9/24 }",
  value_ip4: "value\n255.255.255.255",
  value_mac: "value\n02:53:4d:00:00:02",
  options:
    'options\n{"guestNetwork":{"mtu":1500},"publishedPorts":[{"hostPort":1,"guestPort":2,"bind":["::1"]}],"dns":{"upstreams":["system"],"records":{"a":["10.0.0.1"]}},"hostServices":[{"gatewayPort":1,"hostPort":2}],"policy":{"protect":"strict","allow":["10.0.0.0/8:5432/tcp"],"denyPage":false},"rate":{"up":1000000,"upBurst":65536},"hostLoopback":true,"limits":{"tcpFlows":9}}',
};

const KEYS = ALL_SETTINGS.flatMap((
  { key },
) => [key, key.replace(/.*\./, ""), key.replace(/\..*/, "")]);
const FLAGS = ALL_SETTINGS.flatMap((
  { flag, narrow = [] },
) => [flag, ...narrow.map(({ flag }) => flag)])
  .flatMap((flag) => {
    return flag === undefined ? [] : [`--${flag}`, `--no-${flag}`, environmentName(flag)];
  });
const WORDS: readonly string[] = [
  ...KEYS,
  ...["guests", "networks", "name", "network", "ip", "ip6", "  - name: c", "  - {}"],
  ...FLAGS,
  ...[
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "null",
    "~",
    "true",
    "false",
    "yes",
    ".nan",
  ],
  ...[
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "1e9",
    "0x10",
    "007",
    "1.5",
    "99999999999999999999",
    "1_000",
    "+1",
  ],
  ...[
    "127.0.0.1",
    "0.0.0.0",
    "::",
    "::1",
    "[::1]",
    "fe80::1%eth0",
    "1.2.3",
    "256.1.1.1",
    "::ffff:1.2.3.4",
  ],
  ...[
    "unix:",
    "unix:/a",
    "tcp:",
    "tcp:127.0.0.1:0",
    "system",
    "8080:80",
    "0:80",
    "1-2:3-4",
    "/udp",
    "/tcp",
  ],
  ...[
    "*.a.test",
    "metadata",
    "10.0.0.0/8:1-2,3/tcp",
    "/tls",
    "10MB",
    "1.5KiB",
    "unlimited",
    "local",
    "tls://9.9.9.9#a.test",
    "https://a.test/q",
    "http://u:p@a.test:1",
    "socks5://",
    "***@",
  ],
  ...[
    "{",
    "}",
    "[",
    "]",
    ", ",
    ": ",
    "- ",
    "? ",
    "&a ",
    "*a",
    "!!str ",
    "!x ",
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
  ],
  ...[
    "%YAML 1.2\n",
    "#",
    "'",
    '"',
    "\\",
    "\t",
    "\r\n",
    "\0",
    "\u{feff}",
    "\u{2028}",
    "\u{1f600}",
    "\ud800",
    "<<: ",
  ],
  ...['"\\u0000"', '"\\ud800"', "=", "--", "-", "$(x)", "`x`", ";", "  "],
  ...[
    "a".repeat(64),
    "a".repeat(300),
    "1".repeat(400),
    "[".repeat(600),
    "{a: ".repeat(300),
    "- ".repeat(600),
  ],
];
const JSON_VALUES = [
  "null",
  "[]",
  "{}",
  "0",
  "-1",
  '"x"',
  "true",
  "[null]",
  "[[]]",
  '{"a":null}',
  "1e400",
  "0.5",
  '"1500"',
];
const OPTION_KEYS = [
  "guestNetwork",
  "publishedPorts",
  "dns",
  "hostServices",
  "limits",
  "policy",
  "rate",
  "bind",
  "allowFrom",
  "records",
  "zones",
];
const TEXT_MAX = 16 * 1024;

/** Another text, made from one: by lines, by words, or by octets. */
function mutateText(text: string, mutator: Mutator): string {
  const { random } = mutator;
  const lines = text.split("\n");
  const at = 1 + random.below(lines.length);
  if (lines[0] === "options" && random.once(2)) {
    return mutateJson(text, mutator);
  }
  switch (random.below(8)) {
    case 0:
      lines.splice(at, 1);
      break;
    case 1:
      lines.splice(at, 0, lines[1 + random.below(lines.length)] ?? "");
      break;
    case 2:
      lines.splice(
        at,
        0,
        `${" ".repeat(random.below(4))}${random.pick(KEYS)}: ${random.pick(WORDS)}`,
      );
      break;
    case 3:
      lines[at] = random.pick(["", " ", "  ", "    ", "- ", "\t"]) +
        (lines[at] ?? "").trimStart();
      break;
    case 4: {
      const other = decode(mutator.other()[0] ?? encode("")).split("\n");
      lines.splice(at, 0, ...other.slice(1 + random.below(other.length)));
      break;
    }
    case 5:
      lines[at] = (lines[at] ?? "").replace(/[^:]*$/, ` ${random.pick(WORDS)}`);
      break;
    default: {
      const head = lines[0] ?? "";
      const rest = mutator.bytes(encode(lines.slice(1).join("\n")), WORDS);
      return `${
        random.once(40) ? random.pick(["yaml", "args", "env", "value", "options"]) : head
      }\n${decode(rest)}`;
    }
  }
  return lines.join("\n").slice(0, TEXT_MAX);
}

/** Puts another value in the place of one, or of one of a place's members, of a JSON text. */
function mutateJson(text: string, { random }: Mutator): string {
  const [head = "", ...lines] = text.split("\n");
  let root: unknown;
  try {
    root = JSON.parse(lines.join("\n"));
  } catch {
    return text;
  }
  let node = root;
  for (let depth = 0; isContainer(node) && depth < 6; depth++) {
    const keys = Object.keys(node);
    const key = random.once(8) || keys.length === 0 ? random.pick(OPTION_KEYS) : random.pick(keys);
    const child: unknown = (node as Record<string, unknown>)[key];
    if (!isContainer(child) || random.once(3)) {
      (node as Record<string, unknown>)[key] = JSON.parse(random.pick(JSON_VALUES));
      break;
    }
    node = child;
  }
  return `${head}\n${JSON.stringify(root)}`;
}

function isContainer(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
