/** Leases of DHCPv6 as clients of distributions take them: ISC dhclient, dhcpcd. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { expected, type Received } from "./bulk.ts";
import { freePort } from "./gateway_process.ts";
import { type Guest, NETWORK, withGuest } from "./harness.ts";
import { bulkServer } from "./host_servers.ts";
import { missing } from "./prerequisites.ts";
import { runProgram, until } from "./program.ts";

const { guestIp6, gatewayIp6 } = NETWORK;
const CONFIG = `
hostLoopback: true
dns: { search: vm.internal }
`;

const CLIENTS = ["dhclient", "dhcpcd"];

async function hasClients(): Promise<boolean> {
  if (missing !== null) return false;
  const find = CLIENTS.map((client) => `command -v ${client}`).join(" && ");
  return (await runProgram(["sh", "-c", find])).code === 0;
}

const ignore = !(await hasClients());

/** Registers a test that needs a kernel guest and both clients. */
function clientTest(name: string, fn: (t: Deno.TestContext) => Promise<void>): void {
  Deno.test({ name: `guest: ${name}`, ignore, fn });
}

/** The addresses of the guest's device beyond its own link, as `fd53:4d00::2/128`. */
async function addresses(guest: Guest): Promise<string[]> {
  const text = await guest.must("ip", "-6", "-o", "addr", "show", "dev", "tap0", "scope", "global");
  return [...text.matchAll(/inet6 (\S+)/g)].map(([, address]) => address!);
}

/** What dhclient's script is told, by names as `new_ip6_address`; the address is set as it says. */
async function dhclient(guest: Guest, ...words: string[]): Promise<Record<string, string>> {
  const directory = guest.gateway.directory;
  const told = `${directory}/dhclient.env`;
  const script = `${directory}/dhclient.sh`;
  await Deno.writeTextFile(
    script,
    `#!/bin/sh
env >>${told}
case "$reason" in
  BOUND6) ip -6 addr add "$new_ip6_address/$new_ip6_prefixlen" dev "$interface" ;;
  RELEASE6|EXPIRE6|STOP6) ip -6 addr del "$old_ip6_address/128" dev "$interface" ;;
esac
exit 0
`,
    { mode: 0o755 },
  );
  await Deno.writeTextFile(told, "");
  const config = `${directory}/dhclient.conf`;
  await Deno.writeTextFile(config, "request dhcp6.name-servers, dhcp6.domain-search;\n");
  const files = ["-lf", `${directory}/dhclient.leases`, "-pf", `${directory}/dhclient.pid`];
  // deno-fmt-ignore
  await guest.must("timeout", "30", "dhclient", "-6", "-1", "-v", "-sf", script, "-cf", config,
    ...files, ...words, "tap0");
  const lines = (await Deno.readTextFile(told)).split("\n").filter((line) => line.includes("="));
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

/** Waits until the kernel has found that nobody else has its addresses. */
async function settled(guest: Guest): Promise<void> {
  await until("no address is tentative", async () => {
    return await guest.must("ip", "-6", "addr", "show", "dev", "tap0", "tentative") === "";
  });
}

/** Reaches the host by the leased address. */
async function works(guest: Guest): Promise<void> {
  await settled(guest);
  await using server = bulkServer("::1");
  const words = ["upload", gatewayIp6, String(server.port), "100000"];
  assertEquals(await guest.program<Received>(...words), expected(100_000));
  await guest.must("ping", "-6", "-c", "1", "-W", "2", "-I", guestIp6, gatewayIp6);
}

clientTest("DHCPv6: ISC dhclient takes the lease, renews it and gives it back", async (t) => {
  await withGuest({ address: "none", config: CONFIG }, async (guest) => {
    await settled(guest); // its link-local one
    const told = await dhclient(guest);
    await t.step("address, resolver, search domain", () => {
      assertEquals(told.reason, "BOUND6");
      assertEquals([told.new_ip6_address, told.new_ip6_prefixlen], [guestIp6, "128"]);
      assertEquals(told.new_dhcp6_name_servers, gatewayIp6);
      assertMatch(told.new_dhcp6_domain_search!, /^vm\.internal\.?$/);
      assertEquals([told.new_preferred_life, told.new_max_life], ["86400", "86400"]);
      assertEquals(told.new_dhcp6_server_id, "0:3:0:1:2:53:4d:0:0:1");
    });
    await t.step("the guest reaches the host by it", async () => {
      assertEquals(await addresses(guest), [`${guestIp6}/128`]);
      await guest.must("ip", "-6", "route", "add", "fd53:4d00::/64", "dev", "tap0");
      await works(guest);
    });
    await t.step("who comes back is confirmed", async () => {
      await guest.must("pkill", "-F", `${guest.gateway.directory}/dhclient.pid`);
      const again = await dhclient(guest);
      assertMatch(again.reason!, /^(BOUND6|REBOOT|RENEW6)$/);
    });
    await t.step("and it is given back", async () => {
      await dhclient(guest, "-r");
      assertEquals(await addresses(guest), []);
    });
  });
});

clientTest("DHCPv6: a published port leads to the leased address", async () => {
  const port = freePort();
  const gatewayArgs = ["-p", `[::1]:${port}:8080`];
  await withGuest({ address: "none", config: CONFIG, gatewayArgs }, async (guest) => {
    await settled(guest);
    await dhclient(guest);
    await settled(guest);
    await guest.must("ip", "-6", "route", "add", "fd53:4d00::/64", "dev", "tap0");
    await guest.launch("echo-server", "8080").line(/^listening$/);
    using conn = await Deno.connect({ hostname: "::1", port });
    await conn.write(new TextEncoder().encode("hello"));
    const answer = new Uint8Array(5);
    assertEquals(await conn.read(answer), 5);
    assertEquals(new TextDecoder().decode(answer), "hello");
  });
});

/** What dhcpcd does with these lines of configuration, until it has what it wants. */
async function dhcpcd(guest: Guest, ...lines: string[]): Promise<string> {
  const config = `${guest.gateway.directory}/dhcpcd.conf`;
  // deno-fmt-ignore
  const common = ["ipv6only", "duid", "slaac hwaddr", "option rapid_commit", "script /bin/true",
    "option dhcp6_name_servers, dhcp6_domain_search"];
  await Deno.writeTextFile(config, [...common, ...lines, ""].join("\n"));
  await settled(guest);
  const words = ["dhcpcd", "-1", "-d", "-B", "-f", config, "tap0"];
  const { stdout, stderr } = await guest.run("timeout", "30", ...words);
  return stdout + stderr;
}

clientTest("DHCPv6: dhcpcd, at once, and without the prefix that it asks for", async () => {
  await withGuest({ address: "none", config: CONFIG }, async (guest) => {
    const said = await dhcpcd(guest, "noipv6rs", "ia_na 1", "ia_pd 2 tap0/0");
    assertEquals(await addresses(guest), [`${guestIp6}/128`], said);
    assert(!/delegated prefix/.test(said), said);
  });
});

clientTest(
  "DHCPv6: a guest that makes its address of the prefix is not told to ask for another",
  async () => {
    await withGuest({ address: "none", config: CONFIG }, async (guest) => {
      const said = await dhcpcd(guest);
      const [own, ...others] = await addresses(guest);
      assertMatch(own!, /^fd53:4d00::.+\/64$/, said);
      assertEquals(others, [], said);
    });
  },
);

clientTest(
  "DHCPv6: from a prefix that is no /64, a guest is told to ask, and gets its address",
  async () => {
    const config = "guestNetwork: { guestIp6: fd53:4d00::2/56, gatewayIp6: fd53:4d00::1 }";
    await withGuest({ address: "none", config }, async (guest) => {
      const said = await dhcpcd(guest);
      assertEquals(await addresses(guest), [`${guestIp6}/128`], said);
    });
  },
);
