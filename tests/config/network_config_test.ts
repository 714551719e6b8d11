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
    { protect: "all" as ProtectLevel },
    `protect: "all" is not off, metadata or strict`,
  );
  refused(
    { dns: { upstreams: ["dns.example"], search: "-", records: { "a.test": ["b"] } } },
    `dns.upstreams[0]: "dns.example" is not "system" or ADDRESS[:PORT]`,
    `dns.search: "-" is not a domain name`,
    `dns.records.a.test[0]: "b" is not an address`,
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
