/** Leases of DHCPv6 as clients of distributions take them: ISC dhclient, dhcpcd. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { expected, type Received } from "./bulk.ts";
import { type Guest, NETWORK, withGuest } from "./harness.ts";
import { bulkServer } from "./host_servers.ts";
import { missing } from "./prerequisites.ts";
import { BackgroundProgram, runProgram, until } from "./program.ts";
import { freePort } from "../support/free_port.ts";

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

/** What dhclient's script is told, by names such as `new_ip6_address`. */
type Told = Record<string, string>;

/**
 * An ISC dhclient that runs in the guest, in the foreground: it ends with its test. Its script sets
 * the address as it says.
 */
class Dhclient implements AsyncDisposable {
  /** What its script was told last. */
  readonly told: Told;
  readonly #program: BackgroundProgram;

  private constructor(program: BackgroundProgram, told: Told) {
    this.#program = program;
    this.told = told;
  }

  /** Starts it, and waits until its script was told that there is a lease, or none any more. */
  static async start(guest: Guest, ...words: string[]): Promise<Dhclient> {
    const { directory } = guest.gateway;
    const file = (name: string) => `${directory}/dhclient.${name}`;
    await Deno.writeTextFile(file("sh"), script(file("told")), { mode: 0o755 });
    await Deno.writeTextFile(file("told"), "");
    const config = "request dhcp6.name-servers, dhcp6.domain-search;\n";
    await Deno.writeTextFile(file("conf"), config);
    const program = new BackgroundProgram(
      // deno-fmt-ignore
      ["ip", "netns", "exec", guest.namespace, "dhclient", "-6", "-d", "-v", "-sf", file("sh"),
        "-cf", file("conf"), "-lf", file("leases"), "-pf", file("pid"), ...words, "tap0"],
    );
    let told: Told = {};
    try {
      await until("dhclient has told its script", async () => {
        told = read(await Deno.readTextFile(file("told")));
        return told.done === "yes";
      }, 60_000);
    } catch (error) {
      await program.end("SIGKILL");
      throw new Error(program.tail(), { cause: error });
    }
    return new Dhclient(program, told);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program.end("SIGKILL");
  }
}

function script(told: string): string {
  return `#!/bin/sh
case "$reason" in
  BOUND6|REBOOT|RENEW6|REBIND6)
    ip -6 addr replace "$new_ip6_address/$new_ip6_prefixlen" dev "$interface" ;;
  RELEASE6|EXPIRE6|STOP6) ip -6 addr del "$old_ip6_address/128" dev "$interface" ;;
  *) exit 0 ;;
esac
{ env; echo done=yes; } >${told}
`;
}

function read(text: string): Told {
  return Object.fromEntries(
    text.split("\n").filter((line) => line.includes("=")).map((line) => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
}

/** Waits until the kernel has addresses, and has found that nobody else has them. */
async function settled(guest: Guest): Promise<void> {
  await until("no address is tentative", async () => {
    const text = await guest.must("ip", "-6", "-o", "addr", "show", "dev", "tap0");
    return text !== "" && !/\btentative\b/.test(text);
  });
}

/** Reaches the host by the leased address. */
async function works(guest: Guest): Promise<void> {
  await settled(guest);
  await using server = bulkServer("::1");
  const words = ["upload", gatewayIp6, String(server.port), "100000"];
  assertEquals(await guest.program<Received>(...words), expected(100_000));
  await guest.must("ping", "-6", "-c", "1", "-W", "30", "-I", guestIp6, gatewayIp6);
}

clientTest("DHCPv6: ISC dhclient takes the lease, renews it and gives it back", async (t) => {
  await withGuest({ address: "none", config: CONFIG }, async (guest) => {
    await settled(guest); // its link-local one
    await using first = await Dhclient.start(guest);
    await t.step("address, resolver, search domain", () => {
      const { told } = first;
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
      await first[Symbol.asyncDispose]();
      await using again = await Dhclient.start(guest);
      assertEquals(again.told.new_ip6_address, guestIp6);
    });
    await t.step("and it is given back", async () => {
      await using last = await Dhclient.start(guest, "-r");
      assertEquals(last.told.reason, "RELEASE6");
      assertEquals(await addresses(guest), []);
    });
  });
});

clientTest("DHCPv6: a published port leads to the leased address", async () => {
  const port = freePort();
  const gatewayArgs = ["-p", `[::1]:${port}:8080`];
  await withGuest({ address: "none", config: CONFIG, gatewayArgs }, async (guest) => {
    await settled(guest);
    await using _client = await Dhclient.start(guest);
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
  // It takes one of its name on another tap0 for itself, also one of the test before that is ending.
  const alone = ["/run/dhcpcd", "/var/lib/dhcpcd"].map((folder) => {
    return `mkdir -p ${folder} && mount -t tmpfs -o mode=755 tmpfs ${folder} && `;
  }).join("");
  const words = ["timeout", "60", "dhcpcd", "-1", "-d", "-B", "-f", config, "tap0"];
  const { stdout, stderr } = await guest.run("sh", "-c", `${alone} exec "$@"`, "sh", ...words);
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
