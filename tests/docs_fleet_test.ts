/**
 * docs/fleet.md is so: its numbers are those of the code, its tables of layers and of what becomes of
 * a policy are what merging does, its configurations and commands are understood, its texts are those
 * that the program writes. Its first fleet runs in tests/vm/fleet_doc_test.ts, its rights in
 * tests/fleet/rights_test.ts.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseArguments } from "../lib/cli/arguments.ts";
import { ConfigError } from "../lib/config/errors.ts";
import { parseCredentials } from "../lib/config/fleet_credentials.ts";
import type { PolicyConfig } from "../lib/config/options.ts";
import { resolveConfig } from "../lib/config/resolve.ts";
import { resolveSources } from "../lib/config/resolve_guests.ts";
import { SERVICES_MAX } from "../lib/dns/service_zone.ts";
import {
  ANNOUNCEMENT_MAX_BYTES,
  GUEST_SERVICES_MAX,
  GUESTS_MAX,
} from "../lib/fleet/announcement.ts";
import { OCTETS_MAX, PER_GATEWAY_MAX } from "../lib/fleet/hearing_budget.ts";
import { locksEverything } from "../lib/fleet/lock.ts";
import { ENGINE_ORIGIN, mergePolicies, NO_POLICY_ORIGIN } from "../lib/fleet/merge.ts";
import { auditStream, POLICY_DESCRIPTION, policyBucket } from "../lib/fleet/names.ts";
import { DOCUMENT_BYTES_MAX, parsePolicyDocument } from "../lib/fleet/policy_document.ts";
import { GATEWAYS_MAX, GUESTS_TOTAL_MAX, LIFE_MS } from "../lib/fleet/registry.ts";

const TEXT = Deno.readTextFileSync(new URL("../docs/fleet.md", import.meta.url));
const FLAT = TEXT.replace(/\s+/g, " ");

/** The block of a kind: a language, and what stands behind it. */
function block(kind: string): string {
  const [, text] = new RegExp(`^\`\`\`${kind}\\n([^]*?)^\`\`\`$`, "m").exec(TEXT) ?? [];
  assert(text !== undefined, kind);
  return text;
}

/** What stands beside the first cell of a row that begins so. */
function cell(start: string): string {
  const row = TEXT.split("\n").find((line) => line.startsWith(`| ${start}`));
  assert(row !== undefined, start);
  return row.split("|")[2]!.trim();
}

const number = (value: number): string => value.toLocaleString("en-US");

Deno.test("docs/fleet.md: its limits are the code's", () => {
  const KIB = 1_024;
  assertEquals(cell("gateways of a fleet"), number(GATEWAYS_MAX));
  assertEquals(
    cell("guests of all, services that have names"),
    `${number(GUESTS_TOTAL_MAX)} and ${number(SERVICES_MAX)}`,
  );
  assertEquals(
    cell("guests of a gateway, services of a guest"),
    `${GUESTS_MAX} and ${GUEST_SERVICES_MAX}`,
  );
  assert(cell("an announcement").startsWith(`${ANNOUNCEMENT_MAX_BYTES / KIB} KiB;`));
  assertEquals(
    cell("what a gateway hears of others in a second"),
    `${PER_GATEWAY_MAX} messages of each, ${OCTETS_MAX / KIB / KIB} MiB of all`,
  );
  assertEquals(cell("a policy document"), `${DOCUMENT_BYTES_MAX / KIB} KiB`);
  assert(FLAT.includes(`at most ${DOCUMENT_BYTES_MAX / KIB} KiB under a key`));
  assert(FLAT.includes(`is gone ${LIFE_MS / 1_000} s after its last word`));
});

Deno.test("docs/fleet.md: bucket, stream, descriptions and origins have their names", () => {
  for (
    const name of [
      policyBucket("default"),
      policyBucket("FLEET"),
      auditStream("default"),
      auditStream("FLEET"),
      POLICY_DESCRIPTION,
    ]
  ) assert(TEXT.includes(name), name);
  assert(NO_POLICY_ORIGIN.endsWith("no policy has come yet"));
  assert(TEXT.includes("`no policy has come yet`"));
});

function merged(host: PolicyConfig, ...texts: string[]): PolicyConfig {
  const keys = ["fleet", "group.ci", "guest.vm1"];
  return mergePolicies(texts.map((text, i) => parsePolicyDocument(text, keys[i]!)), host, [
    { address: "192.0.2.1", port: 4222 },
  ]);
}

Deno.test("docs/fleet.md: layers are merged as its table says", () => {
  const all = merged(
    { deny: ["10.0.0.4/32"], allow: ["d.example"] },
    "deny: [10.0.0.1]\nallow: [a.example]",
    "deny: [10.0.0.2]\nallow: [b.example]",
    "deny: [10.0.0.3]",
  );
  assertEquals(all.allow, ["a.example", "b.example", "d.example"]);
  for (const last of [1, 2, 3, 4]) {
    assert(all.deny!.some((rule) => rule.startsWith(`10.0.0.${last}`)), `${last}`);
  }
  const at = all.origins!.deny!.indexOf(ENGINE_ORIGIN);
  assertEquals(all.deny![at], "192.0.2.1:4222/tcp");
  assertEquals(
    [merged({}, "{}"), merged({}, "protect: off"), merged({}, "protect: off", "protect: strict")]
      .map(({ protect }) => protect),
    ["metadata", "metadata", "strict"],
  );
  assertEquals(merged({ protect: "off" }, "protect: off").protect, "off");
  assertEquals(merged({}, "ech: outer").ech, "refuse");
  assertEquals(merged({ ech: "outer" }, "ech: outer").ech, "outer");
  assertEquals(merged({}, "denyPage: true", "denyPage: false").denyPage, false);
  const closed = merged({ allow: ["public"] }, "allow: [public]", "{}", "closed: true");
  assert(locksEverything(closed));
});

Deno.test("docs/fleet.md: its documents, its credentials and its files are right", () => {
  const document = parsePolicyDocument(block("yaml document"), "fleet");
  assertEquals(document.closed, false);
  const commented = block("yaml document").replace(/^# (denyPage: false), (ech: outer)$/m, "$1\n$2")
    .replace(/^# (closed: true).*$/m, "$1");
  assertEquals(parsePolicyDocument(commented, "fleet").closed, true);
  for (const name of ["fleet.yaml", "ci.yaml"]) parsePolicyDocument(block(`yaml ${name}`), name);
  const member = (name: string) => {
    return resolveConfig({ file: { name, text: block(`yaml ${name}`) } }).fleet;
  };
  assertEquals(member("shop.yaml")?.guests[0]?.services[0]?.name, "web");
  assertEquals(member("builder.yaml")?.guests[0]?.group, "ci");
  const several = { name: "several.yaml", text: block("yaml several.yaml") };
  assertEquals(resolveSources({ file: several }).fleet?.guests.map(({ group }) => group), [
    null,
    "ci",
  ]);
  const shown = parseCredentials("engine.yaml", block("yaml engine.yaml"));
  assertEquals(shown.secret?.kind, "user");
  const withTls = block("yaml engine.yaml").replace("# tls:", "tls:");
  assertEquals(Object.keys(parseCredentials("engine.yaml", withTls).tls), ["ca", "cert", "key"]);
});

Deno.test("docs/fleet.md: what it calls a mistake is one", () => {
  assertThrows(() => parsePolicyDocument("alow: []", "fleet"), ConfigError, "fleet:1:1");
  assertThrows(() => parsePolicyDocument("", "fleet"), ConfigError);
  assert(locksEverything(merged({}, 'deny: ["0.0.0.0/0", "::/0"]')));
  assert(!locksEverything(merged({}, "{}")));
});

Deno.test("docs/fleet.md: each command of the fleet in it is understood", () => {
  const lines = [...TEXT.matchAll(/^```sh\n([^]*?)^```$/gm)].flatMap(([, text]) =>
    text!.split("\n")
  )
    .filter((line) => line.startsWith("fleet "));
  assert(lines.length >= 7);
  for (const line of lines) parseArguments(line.split(" "));
  const inline = [...FLAT.matchAll(/`(fleet (?:init|status|top|denials|policy \w+)(?: [^`]+)?)`/g)];
  assert(inline.length >= 5);
  for (const [, words] of inline) {
    const [, command = ""] = /^(fleet (?:policy )?\w+)/.exec(words!)!;
    parseArguments([...command.split(" "), "--help"]);
  }
});
