/** A kernel guest's pings of the world, by the host's own ping: answered, refused, and left alone. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { GatewayClient } from "../../lib/control/client.ts";
import type { Guest } from "./harness.ts";
import { NETWORK, withGuest } from "./harness.ts";
import { HOST, Outside, UPLINK } from "./outside.ts";
import { guestTest } from "./prerequisites.ts";
import { mustRun, until } from "./program.ts";

const WORLD = "93.184.216.34";
const WORLD6 = "2606:2800:220:1::34";
const FENCED = "93.184.216.99";
const DENO_FLAGS = ["--allow-run=ping"];
/** Sizes are tried faster than a person pings, and a busy machine takes its time to run ping. */
const CONFIG = "limits: { pingsPerSecond: 200, pingTimeoutMs: 20000 }";

function startWorld(): Promise<Outside> {
  const addresses = [WORLD, WORLD6, FENCED];
  const records = { "a.test": [{ type: "A", data: WORLD }] };
  return Outside.start({ addresses, records, certified: ["a.test"] });
}

/** What the guest's ping printed, whatever came of it. */
async function ping(guest: Guest, ...words: string[]): Promise<string> {
  const { stdout, stderr } = await guest.run("ping", "-n", "-c", "1", "-W", "30", ...words);
  return stdout + stderr;
}

/** The processes of the gateway that are pings. */
async function children(guest: Guest): Promise<number> {
  const pid = guest.gateway.log.pid;
  // 1 is what it says where a thread has ended since the folder was read.
  const tasks = await mustRun(["sh", "-c", `cat /proc/${pid}/task/*/children || [ $? = 1 ]`]);
  return tasks.split(/\s+/).filter((word) => word !== "").length;
}

guestTest("ping: the world answers through the host's ping, and only where it does", async (t) => {
  await using outside = await startWorld();
  const [, , , host] = outside.prefix as [string, string, string, string];
  await mustRun(["ip", "-n", host, "route", "add", "unreachable", "93.1.0.0/16"]);
  await mustRun(["ip", "-n", host, "route", "add", "prohibit", "93.2.0.0/16"]);
  await mustRun(["ip", "-n", host, "-6", "route", "add", "unreachable", "2606:1::/32"]);
  await outside.fromInternet("ip", "route", "add", "blackhole", "93.3.0.0/16");
  await outside.fromInternet("ip", "route", "add", "prohibit", "93.4.0.0/16");
  await outside.fromInternet("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0");
  const gatewayArgs = ["--deny", FENCED, "--dns", outside.resolver, "--log-level", "debug"];
  const { prefix } = outside;
  await withGuest(
    { prefix, gatewayArgs, denoFlags: DENO_FLAGS, config: CONFIG, hasControl: true },
    async (guest) => {
      for (const to of [WORLD, WORLD6, HOST.ip, UPLINK.ip6]) {
        for (const bytes of [0, 56, 1_400, 8_000, 60_000]) {
          await t.step(`${to}, ${bytes} octets`, async () => {
            assertMatch(
              await ping(guest, "-s", `${bytes}`, to),
              /^1 packets transmitted, 1 received/m,
            );
          });
        }
      }
      await t.step("8 at once, each as itself", async () => {
        // As many as there may be processes: of those that come one by one more may have gathered.
        const said = await guest.must("ping", "-n", "-c", "8", "-l", "8", "-W", "30", WORLD);
        assertStringIncludes(said, "8 packets transmitted, 8 received, 0% packet loss");
        const seen = [...said.matchAll(/icmp_seq=(\d+)/g)].map(([, seq]) => Number(seq));
        assertEquals(seen.toSorted((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8]);
      });
      const rows: [string, RegExp][] = [
        [FENCED, /From 100\.96\.0\.1 icmp_seq=[123] Packet filtered/],
        ["169.254.169.254", /From 100\.96\.0\.1 icmp_seq=[123] Packet filtered/],
        ["93.1.0.1", /From 100\.96\.0\.1 icmp_seq=[123] Destination Host Unreachable/],
        ["93.2.0.1", /From 100\.96\.0\.1 icmp_seq=[123] Packet filtered/],
        ["93.4.0.1", /From 100\.96\.0\.1 icmp_seq=[123] Packet filtered/],
        ["93.3.0.1", /3 packets transmitted, 0 received, 100% packet loss/],
        [
          "2606:1::1",
          /From fd53:4d00::1 icmp_seq=[123] Destination unreachable: (No route|Address unreachable)/,
        ],
      ];
      for (const [to, words] of rows) {
        await t.step(`${to} is told as the host was told`, async () => {
          // Kernels limit their errors by chance, so one of a few is enough.
          assertMatch(await ping(guest, "-c", "3", "-i", "0.3", "-W", "5", to), words);
        });
      }
      await t.step("a hop limit is the guest's, less this hop", async () => {
        assertMatch(
          await ping(guest, "-t", "1", WORLD),
          /From 100\.96\.0\.1 .*Time to live exceeded/,
        );
        assertMatch(await ping(guest, "-t", "2", WORLD), /1 packets transmitted, 1 received/);
      });
      await t.step("a flood costs eight processes at most, and nothing else", async () => {
        const flood = guest.run("ping", "-n", "-f", "-c", "300", "-W", "1", "93.3.0.1");
        let most = 0;
        await until("the flood has its processes", async () => {
          most = Math.max(most, await children(guest));
          return most >= 8;
        });
        assertMatch(await ping(guest, NETWORK.gatewayIp), /1 packets transmitted, 1 received/);
        assertMatch(
          await guest.must("dig", `@${NETWORK.gatewayIp}`, "+short", "a.test"),
          /93\.184\.216\.34/,
        );
        await flood;
        most = Math.max(most, await children(guest));
        assertEquals(most, 8);
        const client = new GatewayClient({ transport: "unix", path: guest.gateway.control! });
        const { counters } = (await client.status()).guest!;
        assert(counters["drop.ping"]! > 100, `${counters["drop.ping"]} dropped`);
        assertEquals([counters["bug.turn"] ?? 0, counters["bug.tcp"] ?? 0], [0, 0]);
      });
      await t.step("what is under way is killed with its guest", async () => {
        await guest.run("ping", "-n", "-c", "3", "-i", "0.01", "-w", "1", "93.3.0.1");
        await guest.kill();
        await until("no child is left", async () => await children(guest) === 0);
      });
    },
  );
});

guestTest(
  "ping: without the permission it is prohibited, and the log names the flag once",
  async () => {
    await using outside = await startWorld();
    const { prefix } = outside;
    await withGuest({ prefix, gatewayArgs: ["--dns", outside.resolver] }, async (guest) => {
      for (let i = 0; i < 3; i++) {
        assertMatch(await ping(guest, WORLD), /From 100\.96\.0\.1 icmp_seq=1 Packet filtered/);
      }
      const { log } = guest.gateway;
      const named = /^warning: .*--allow-run=ping/;
      await log.line(named);
      assertEquals(log.lines.filter((line) => named.test(line)).length, 1);
      assertMatch(await ping(guest, NETWORK.gatewayIp), /1 packets transmitted, 1 received/);
    });
  },
);
