import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { checkNetworkConfig } from "../../lib/config/network_config.ts";
import type { ProtectLevel, VirtioNetworkConfig } from "../../lib/config/options.ts";
import { resolveConfig } from "../../lib/config/resolve.ts";

function refused(config: VirtioNetworkConfig, ...lines: string[]): void {
  const error = assertThrows(() => checkNetworkConfig(config), ConfigError) as ConfigError;
  assertEquals(error.message.split("\n"), lines);
}

Deno.test("nothing, and what the command line resolves, is fine", () => {
  checkNetworkConfig({});
  const flags = { publish: ["0:80", "[::1]:81:81"], dns: ["system", "1.1.1.1:53"] };
  checkNetworkConfig(resolveConfig({ flags }).settings.network);
});

Deno.test("each part is checked under the program's own names", () => {
  refused(
    { publishedPorts: [{ hostPort: 70000, guestPort: 0, bind: ["localhost"] }] },
    "publishedPorts[0].hostPort: is not a port from 0 to 65535",
    "publishedPorts[0].guestPort: is not a port from 1 to 65535",
    `publishedPorts[0].bind[0]: "localhost" is not an address to bind`,
  );
  refused(
    { publishedPorts: [{ hostPort: 80.5, guestPort: 80 }] },
    "publishedPorts[0].hostPort: is not a port from 0 to 65535",
  );
  refused(
    { hostServices: [{ gatewayPort: 0, hostPort: 1 }] },
    `hostServices[0]: "0:1" is not GATEWAYPORT:HOSTPORT, such as 3128:3128`,
  );
  refused(
    {
      policy: { protect: "all" as ProtectLevel, allow: ["10.1.0.0/8"], deny: ["a.test", "1.2.3"] },
    },
    `policy.protect: "all" is not off, metadata or strict`,
    `policy.allow[0]: "10.1.0.0/8": 10.1.0.0/8 has bits set behind the prefix` +
      "; did you mean 10.0.0.0/8?",
    `policy.deny[1]: "1.2.3": 1.2.3 is neither a name nor an IPv4 address; ` +
      "write four numbers from 0 to 255 without leading zeros",
  );
  refused(
    { rate: { up: 1.5, downBurst: 5_000 }, upstreamProxy: "http://u:p@a.test" },
    "rate.up: 1.5 is not a whole number of bytes a second from 1000 to 1000000000000",
    "rate.downBurst: is of no use without rate.down",
    `upstreamProxy: "http://***@a.test": lacks the port, such as :3128`,
  );
  refused(
    {
      dns: { zones: { "a.test": ["x"] } },
      publishedPorts: [{ hostPort: 1, guestPort: 2, allowFrom: [""] }],
    },
    "publishedPorts[0].allowFrom[0]: a source is empty; write an address, a prefix such as " +
      "10.0.0.0/8, or public, private, host, loopback, metadata",
    `dns.zones.a.test[0]: "x" is a name; write a resolver's address, or tls://x`,
  );
  refused(
    { policy: { allow: ["a.test"], deny: ["x"] }, limits: { policyRules: 1 } },
    "policy.allow: there are 2 rules, at most 1 (limits.policyRules)",
  );
  refused(
    { dns: { upstreams: ["dns.example"], search: "-", records: { "a.test": ["b"] } } },
    `dns.upstreams[0]: "dns.example" is a name; write a resolver's address, or tls://dns.example`,
    `dns.search: "-" is not a domain name`,
    `dns.records.a.test: "b" is no address; other records go into a mapping, as in { cname: … }`,
  );
  refused(
    { guestNetwork: { mtu: 1 }, limits: { tcpFlows: 0 } },
    "guestNetwork.mtu: 1 is not a whole number from 576 to 65520",
    "limits.tcpFlows: 0 is not a whole number from 1 to 1048576",
  );
});

Deno.test("a program without types is told what is no section and no list", () => {
  const wrong = (config: unknown, ...lines: string[]) =>
    refused(config as VirtioNetworkConfig, ...lines);
  wrong(null, "the configuration is not an object");
  wrong({ dns: null, limits: 5, guestNetwork: [] }, ...[
    "guestNetwork: is not an object",
    "dns: is not an object",
    "limits: is not an object",
  ]);
  wrong({ publishedPorts: 80, hostServices: { gatewayPort: 1, hostPort: 2 } }, ...[
    "publishedPorts: is not a list",
    "hostServices: is not a list",
  ]);
  wrong({ publishedPorts: [null], hostServices: ["3128:3128"] }, ...[
    "publishedPorts: is not a list of objects",
    "hostServices: is not a list of objects",
  ]);
});

Deno.test("a name that means nothing is refused, so that no rule is lost by a slip", () => {
  const wrong = (config: unknown, ...lines: string[]) =>
    refused(config as VirtioNetworkConfig, ...lines);
  wrong(
    { protect: "strict", polcy: {}, other: undefined },
    `protect: unknown key "protect"; did you mean "policy.protect"?`,
    `polcy: unknown key "polcy"; did you mean "policy"?`,
  );
  wrong(
    { policy: { alow: [], origins: { allows: [] } }, rate: { upp: 1 }, limits: { tcpFlow: 1 } },
    `policy.alow: unknown key "alow"; did you mean "allow"?`,
    `rate.upp: unknown key "upp"; did you mean "up"?`,
    `limits.tcpFlow: unknown key "tcpFlow"; did you mean "tcpFlows"?`,
    `policy.origins.allows: unknown key "allows"; did you mean "allow"?`,
  );
  wrong(
    { publishedPorts: [{ hostPort: 1, guestPort: 2, allow: [] }] },
    `publishedPorts[0].allow: unknown key "allow"`,
  );
  wrong(
    { policy: { allow: "a.test", deny: [1], origins: { deny: {} } } },
    "policy.allow: is not a list of texts",
    "policy.deny: is not a list of texts",
    "policy.origins.deny: is not a list of texts",
  );
  wrong({ policy: { origins: [] }, rate: null }, ...[
    "rate: is not an object",
    "policy.origins: is not an object",
  ]);
  wrong(
    {
      dns: { upstreams: "system", records: [], zones: { a: "local", b: "10.0.0.1", c: ["local"] } },
    },
    "dns.upstreams: is not a list",
    "dns.records: is not an object",
    "dns.zones.b: is not a list",
  );
  wrong({ dns: { zones: { c: ["local"] } } }, ...[
    `dns.zones.c: "c" is local alone, or has a list of upstreams`,
  ]);
  wrong(
    { publishedPorts: [{ hostPort: 1, guestPort: 2, bind: "::1", allowFrom: "private" }] },
    "publishedPorts[0].bind: is not a list",
    "publishedPorts[0].allowFrom: is not a list",
  );
  wrong({ upstreamProxy: 5, rate: { up: "10MB" } }, ...[
    "rate.up: 10MB is not a whole number of bytes a second from 1000 to 1000000000000",
    "upstreamProxy: is not a text",
  ]);
  checkNetworkConfig({ mode: "connect", once: true, graceMs: 5 } as VirtioNetworkConfig);
});
