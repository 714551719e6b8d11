import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { resolveConfig } from "../../lib/config/resolve.ts";
import { fromYaml, origin, refused } from "./config_sources.ts";

Deno.test("the flags for networks and names add to --allow", () => {
  const file = fromYaml("policy: { allow: [public], deny: [metadata] }").file!;
  const config = resolveConfig({
    file,
    environment: { VIRTIO_GATEWAY_ALLOW_CIDR: "fd00::/8", VIRTIO_GATEWAY_DENY: "" },
    flags: {
      allow: ["GitHub.com:22"],
      "allow-host": ["pypi.org", "*.example.com"],
      "allow-cidr": ["10.0.0.0/8"],
    },
  });
  const { allow, deny, origins } = config.settings.network.policy;
  assertEquals(allow, ["github.com:22", "10.0.0.0/8", "pypi.org", "*.example.com"]);
  assertEquals(origins?.allow, ["--allow", "--allow-cidr", "--allow-host", "--allow-host"]);
  assertEquals([deny, origins?.deny], [["metadata"], ["gateway.yaml:1:35"]]);
  assertEquals(origin(config, "policy.allow"), "--allow, --allow-cidr, --allow-host");
});

Deno.test("rules in the environment keep the commas of their ports", () => {
  const config = resolveConfig({
    environment: {
      VIRTIO_GATEWAY_ALLOW: "10.0.0.0/8:80,443, pypi.org,[fd00::1]:1,2-3/tcp,private",
      VIRTIO_GATEWAY_ALLOW_HOST: "github.com",
    },
  });
  const { allow, origins } = config.settings.network.policy;
  assertEquals(allow, [
    "10.0.0.0/8:80,443",
    "pypi.org",
    "[fd00::1]:1-3/tcp",
    "private",
    "github.com",
  ]);
  const [first, last] = [origins?.allow?.[0], origins?.allow?.[4]];
  assertEquals([first, last], ["VIRTIO_GATEWAY_ALLOW", "VIRTIO_GATEWAY_ALLOW_HOST"]);
});

Deno.test("each rule that is wrong is told at its place", () => {
  refused(
    fromYaml("policy:", "  allow:", "    - 10.0.0.0/8", "    - 10.1.0.0/8", "  deny: [a.test:x]"),
    `gateway.yaml:4:5 policy.allow[1]: "10.1.0.0/8": 10.1.0.0/8 has bits set behind the prefix` +
      "; did you mean 10.0.0.0/8?",
    `gateway.yaml:5:10 policy.deny[0]: "a.test:x": "x" is no port; write its number`,
  );
  refused({ flags: { deny: ["pypi.org:443/tls"] } }, ...[
    `--deny: "pypi.org:443/tls": /tls is for what is allowed, a deny covers the whole port; ` +
    "write pypi.org:443/tcp",
  ]);
  refused(
    fromYaml("policy: { allow: [[]] }"),
    "gateway.yaml:1:19 policy.allow[0]: a list is not a rule",
  );
  refused(
    fromYaml("policy:", "  allow:", "    # - pypi.org"),
    "gateway.yaml:2:3 policy.allow: has no value; write [] for no rules",
  );
  refused(
    {
      flags: {
        allow: ["1.2.3"],
        "allow-cidr": ["pypi.org", "10.1.0.0/8"],
        "allow-host": ["a.test:1"],
      },
    },
    `--allow-cidr: "pypi.org" is not a network such as 10.0.0.0/8 alone; write --allow pypi.org`,
    `--allow-host: "a.test:1" is not a name such as pypi.org alone; write --allow a.test:1`,
    `--allow: "1.2.3": 1.2.3 is neither a name nor an IPv4 address; ` +
      "write four numbers from 0 to 255 without leading zeros",
    `--allow-cidr: "10.1.0.0/8": 10.1.0.0/8 has bits set behind the prefix; did you mean 10.0.0.0/8?`,
  );
});

Deno.test("of many wrong rules the first are told, and there is a most of them", () => {
  const lines = assertThrows(
    () => resolveConfig({ flags: { deny: new Array(1_000).fill("") } }),
    ConfigError,
  ).message.split("\n");
  assertEquals([lines.length, lines.at(-1)], [21, "--deny: 980 more rules are wrong"]);
  const rules = Array.from({ length: 16_384 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  const { policy } = resolveConfig({ flags: { deny: rules } }).settings.network;
  assertEquals([policy.deny, policy.origins?.deny?.length], [rules, 16_384]);
  refused(
    { flags: { deny: rules, allow: ["public"] } },
    "--deny: there are 16385 rules, at most 16384 (limits.policyRules)",
  );
});

Deno.test("rates are bytes and flows a second", () => {
  const { network } = resolveConfig({
    flags: { "rate-up": "1.5MB", "rate-down": "unlimited", "rate-flows": "7" },
  }).settings;
  assertEquals(network.rate, { up: 1_500_000, flowsPerSecond: 7 });
  const bytes = "is not a number of bytes, such as 10MB, 512KiB or 1500";
  for (const text of ["10Mb", "10M", "fast", "-1", "1.5", "0x10", ""]) {
    refused({ flags: { "rate-up": text } }, `--rate-up: "${text}" ${bytes}`);
  }
  refused(
    { flags: { "rate-up": "10", "rate-flows": "0" } },
    "--rate-up: 10 is not a whole number of bytes a second from 1000 to 1000000000000",
    "--rate-flows: 0 is not a whole number from 1 to 1000000",
  );
  refused(
    fromYaml("rate: { up: x, upBurst: 1MB, downBurst: 1MB, flowsBurst: x }"),
    `gateway.yaml:1:9 rate.up: "x" ${bytes}`,
    `gateway.yaml:1:46 rate.flowsBurst: "x" is not a whole number`,
    "gateway.yaml:1:30 rate.downBurst: is of no use without rate.down",
  );
});

Deno.test("zones have resolvers of their own, or own names only", () => {
  const { dns } = resolveConfig({
    flags: { "dns-zone": ["Corp.example.=10.0.0.53", "corp.example=system", "lab=local"] },
  }).settings.network;
  assertEquals(dns.zones, { "corp.example": ["10.0.0.53:53", "system"], lab: "local" });
  refused(
    { flags: { "dns-zone": ["a", "b=c", "-=10.0.0.1", "d=local", "d=10.0.0.1"] } },
    `--dns-zone: "a" is not ZONE=UPSTREAM`,
    `--dns-zone: "c" is a name; write a resolver's address, or tls://c`,
    `--dns-zone: "-" is not a domain name`,
    `--dns-zone: "d" is local alone, or has a list of upstreams`,
  );
  refused(
    fromYaml(
      "dns:",
      "  zones:",
      "    a.test: []",
      "    b.test: [10.0.0.1, x]",
      "    B.test: local",
    ),
    "gateway.yaml:3:5 dns.zones.a.test: names no resolver",
    `gateway.yaml:4:24 dns.zones.b.test[1]: "x" is a name; write a resolver's address, or tls://x`,
    `gateway.yaml:5:5 dns.zones.B.test: "b.test" is there twice`,
  );
});

Deno.test("who may connect to a published port is told by networks and classes", () => {
  refused(
    fromYaml("publish: [{ host: 1, guest: 2, allowFrom: [pypi.org, [], '::1'] }]"),
    `gateway.yaml:1:44 publish[0].allowFrom[0]: "pypi.org": a source is an address, ` +
      "a prefix such as 10.0.0.0/8, or public, private, host, loopback, metadata",
    "gateway.yaml:1:54 publish[0].allowFrom[1]: a list is not a network, an address or a class",
  );
  refused(
    fromYaml("publish: [{ host: 1, guest: 2, allowFrom: [] }]"),
    "gateway.yaml:1:32 publish[0].allowFrom: names nobody; leave it out to let everybody connect",
  );
});

Deno.test("a proxy's password is in no message", () => {
  const read = (text: string) => resolveConfig({ flags: { "upstream-proxy": text } }).settings;
  const url = "http://user:pass@127.0.0.1:3128";
  assertEquals(read(url).network.upstreamProxy, url);
  assertEquals(read("none").network.upstreamProxy, undefined);
  refused(
    { flags: { "upstream-proxy": "https://user:pass@a.test:3128" } },
    `--upstream-proxy: "https://***@a.test:3128": TLS to the proxy is not spoken; ` +
      "write http://HOST:PORT or socks5://HOST:PORT",
  );
  refused(
    { flags: { "upstream-proxy": "http://***@a.test:3128" } },
    `--upstream-proxy: "http://***@a.test:3128": write the user and password that *** stands for`,
  );
});

Deno.test("own names have addresses or records by type", () => {
  const told = (...lines: string[]) => fromYaml("dns:", "  records:", ...lines);
  refused(
    told("    a.test: { cname: a..b, ttl: 5 }", "    b.test: { a: [1.2.3.4, '::1'] }"),
    `gateway.yaml:3:15 dns.records.a.test.cname: "a..b" is no host name`,
    `gateway.yaml:4:15 dns.records.b.test.a: "::1" is no IPv4 address; it goes under aaaa`,
  );
  refused(
    told(
      "    a.test: { ttl: 1h, txt: x }",
      "    b.test:",
      "    c..test: []",
      "    A.test: 1.1.1.1",
    ),
    `gateway.yaml:3:15 dns.records.a.test.ttl: "1h" is no number of seconds from 0 to 86400`,
    `gateway.yaml:4:5 dns.records.b.test: has no value; write [] for a name that has no records`,
    `gateway.yaml:5:5 dns.records.c..test: "c..test" is no host name; ` +
      `try "db.internal", or "*.internal" for all below it`,
  );
  refused(
    told("    a.test: 1.1.1.1", "    A.test: { mx: x }", "    A.TEST: []"),
    `gateway.yaml:4:5 dns.records.A.test: unknown record type "mx"; ` +
      "known: a, aaaa, cname, ptr, txt, srv, ttl",
    `gateway.yaml:5:5 dns.records.A.TEST: "a.test" is there twice`,
  );
  const { dns } = resolveConfig({
    flags: { "dns-record": ["*.A.test=10.0.0.1", "*.a.test=::1", "b.test=10.0.0.2"] },
  }).settings.network;
  assertEquals(dns.records, { "*.a.test": ["10.0.0.1", "::1"], "b.test": ["10.0.0.2"] });
});
