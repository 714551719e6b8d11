/**
 * Real kernels as guests of one shared network, in one process: across workers, and in one isolate.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { GuestConfig } from "../../lib/config/guests_options.ts";
import type { LanMember } from "../../lib/config/lan_member.ts";
import { serveGuests, type VirtioNetworkGuests } from "../../lib/guests.ts";
import type { CounterName } from "../../lib/stack/counters.ts";
import { concat, ethernet, icmp6, ip, ip4, ip6, mac, pattern, udp } from "../support/packets.ts";
import { expected, type Received } from "./bulk.ts";
import type { Attempt } from "./guest_program.ts";
import { LAN, LanGuest } from "./lan_guest.ts";
import { guestTest } from "./prerequisites.ts";
import { BackgroundProgram, until } from "./program.ts";
import { RawVmm } from "./raw_vmm.ts";
import { freePort } from "../support/free_port.ts";

const BULK_BYTES = 30_000_000;
const BULK_PORT = "9000";
const NAMES = ["web", "db", "job"];
const MEMBERS: LanMember[] = NAMES.map((name, i) => ({
  name,
  mac: `02:53:4d:01:00:0${i + 2}`,
  ip4: `10.77.0.${i + 2}`,
  ip6: `fd53:4d01::${i + 2}`,
}));

/** Three members of the network dev; the third may not reach db. */
async function withLan(
  workers: number,
  body: (guests: VirtioNetworkGuests, directory: string) => Promise<void>,
  more: Readonly<Record<string, Partial<GuestConfig>>> = {},
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "vglan-" });
  try {
    const guests = await serveGuests({
      workers,
      networks: { dev: {} },
      guests: NAMES.map((name) => ({
        name,
        endpoint: { transport: "unix", path: `${directory}/${name}.sock` },
        network: "dev",
        hostLoopback: true,
        dns: { upstreams: ["127.0.0.1:1"] },
        ...(name === "job" ? { policy: { deny: ["db.internal"] } } : {}),
        ...more[name],
      })),
    });
    try {
      await body(guests, directory);
      for (const name of NAMES) {
        const { counters } = (await guests.guest(name).snapshot()).totals;
        const bugs = ["bug.turn", "bug.tcp", "bug.lan"] as const;
        assertEquals(bugs.map((bug) => counters[bug]), [0, 0, 0], name);
      }
    } finally {
      await guests.abort();
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function counts(
  guests: VirtioNetworkGuests,
  name: string,
): Promise<Readonly<Record<CounterName, number>>> {
  return (await guests.guest(name).snapshot()).totals.counters;
}

for (const workers of [2, 0]) {
  guestTest(`a shared network, ${workers} workers`, async (t) => {
    await withLan(workers, async (guests, directory) => {
      const place = (at: number, more = {}) => ({
        member: MEMBERS[at]!,
        endpoint: `unix:${directory}/${NAMES[at]}.sock`,
        ...more,
      });
      await using web = await LanGuest.join(place(0));
      await using db = await LanGuest.join(place(1, { isAutomatic: true }));
      await using job = await LanGuest.join(place(2));
      await t.step("each has what it was given, by DHCP too", async () => {
        const addresses = await db.must("ip", "-o", "addr", "show", "dev", "tap0");
        assertMatch(addresses, /inet 10\.77\.0\.3\/24/);
        assertMatch(addresses, /inet6 fd53:4d01::/);
      });
      await t.step("pings, over both families and link-local, in fragments too", async () => {
        await web.must("ping", "-c", "2", "-W", "30", "10.77.0.3");
        await db.must("ping", "-c", "2", "-W", "30", "10.77.0.2");
        await web.must("ping", "-c", "1", "-W", "30", "-s", "4000", "10.77.0.3");
        await db.must("ping", "-6", "-c", "2", "-W", "30", "fd53:4d01::2");
        await db.must("ping", "-6", "-c", "1", "-W", "30", "-s", "4000", "fd53:4d01::2");
        const own = (await db.must("ip", "-6", "-o", "addr", "show", "dev", "tap0"))
          .match(/inet6 (fe80::[0-9a-f:]+)/)![1]!;
        await web.must("ping", "-6", "-c", "1", "-W", "30", `${own}%tap0`);
      });
      await t.step("the others are asked for directly, and known by their own MAC", async () => {
        const neighbors = await web.must("ip", "neigh", "show", "dev", "tap0");
        assertMatch(neighbors, /10\.77\.0\.3 lladdr 02:53:4d:01:00:03/);
      });
      await t.step("names of the others", async () => {
        const dig = (...words: string[]) => web.must("dig", "+short", `@${LAN.gateway4}`, ...words);
        assertEquals(await dig("db.internal", "A"), "10.77.0.3");
        assertEquals(await dig("db.internal", "AAAA"), "fd53:4d01::3");
        assertEquals(await dig("-x", "10.77.0.4"), "job.internal.");
        assertEquals(await dig("-x", "fd53:4d01::2"), "web.internal.");
      });
      await t.step(`${BULK_BYTES} octets each way are whole`, async () => {
        await db.launch("bulk-server", BULK_PORT).line(/^listening$/);
        for (const host of ["10.77.0.3", "fd53:4d01::3"]) {
          const reach = host.includes(":") ? await ownAddress6(db) : host;
          for (const verb of ["upload", "download"]) {
            const words = [verb, reach, BULK_PORT, String(BULK_BYTES)];
            assertEquals(await web.program<Received>(...words), expected(BULK_BYTES), verb);
          }
        }
      });
      await t.step("a group is heard where there are no rules", async () => {
        const listener = db.launch("group-listen", "239.1.2.3", "5000");
        await listener.line(/^listening$/);
        await until("the datagram comes", async () => {
          await web.program("group-send", "239.1.2.3", "5000", "hello");
          return listener.lines.includes("hello");
        });
      });
      await t.step("a denied flow ends at once, and says so", async () => {
        const [toDb, toWeb] = await job.program<Attempt[]>(
          "connect",
          "22",
          "10.77.0.3",
          "10.77.0.2",
        );
        assertEquals([toDb!.result, toWeb!.result], ["EHOSTUNREACH", "ECONNREFUSED"]);
        const denials = await guests.guest("job").denials();
        assertEquals(denials.map(({ denial }) => denial.name), ["db.internal"]);
        assertEquals((await guests.guest("web").denials()).length, 0);
        const ping = await job.run("ping", "-c", "1", "-W", "2", "10.77.0.3");
        assert(ping.code !== 0);
        await db.must("ping", "-c", "1", "-W", "30", "10.77.0.4"); // the other way is db's to say
      });
      await t.step("nothing was dropped that was honest", async () => {
        for (const name of ["web", "db"]) {
          const of = await counts(guests, name);
          const forged = ["src", "dst", "arp", "nd", "type", "hdr", "long", "opaque"] as const;
          assertEquals(
            forged.map((kind) => [kind, of[`drop.lan.${kind}`]]),
            forged.map((kind) => [kind, 0]),
            name,
          );
          assert(of["lan.rx.frames"] > 10_000 && of["lan.tx.frames"] > 10_000);
        }
      });
    });
  });
}

guestTest("a shared network: guests that offload, and one that does not", async (t) => {
  const vnet: Partial<GuestConfig> = { framing: "stream-vnet" };
  // What a guest may say of its network beside its addresses.
  const offload = { guestNetwork: { offload: true } } as Partial<GuestConfig>;
  const more = { web: { ...vnet, ...offload }, db: {}, job: { ...vnet, ...offload, policy: {} } };
  await withLan(2, async (guests, directory) => {
    const place = (at: number, more = {}) => ({
      member: MEMBERS[at]!,
      endpoint: `unix:${directory}/${NAMES[at]}.sock`,
      ...more,
    });
    await using web = await LanGuest.join(place(0, { offload: "vnet" }));
    await using db = await LanGuest.join(place(1));
    await using job = await LanGuest.join(place(2, { offload: "vnet" }));
    for (const server of [db, job]) {
      await server.launch("bulk-server", BULK_PORT).line(/^listening$/);
    }
    for (
      const [what, client, to] of [
        ["from one that offloads to one that does not", web, 1],
        ["between two that do", web, 2],
        ["from one that does not to one that does", db, 2],
      ] as const
    ) {
      for (const verb of ["upload", "download"]) {
        await t.step(`${verb} ${what}`, async () => {
          for (const host of [MEMBERS[to]!.ip4, MEMBERS[to]!.ip6!]) {
            const words = [verb, host, BULK_PORT, String(BULK_BYTES)];
            assertEquals(await client.program<Received>(...words), expected(BULK_BYTES));
          }
        });
      }
    }
    const of = await counts(guests, "web");
    assert(of["lan.rx.bytes"] / of["lan.rx.frames"] > 2_000, "segments were sent whole");
    assertEquals(of["drop.lan.long"], 0);
  }, more);
});

/** The global address that a kernel has made or was given. */
async function ownAddress6(guest: LanGuest): Promise<string> {
  const text = await guest.must("ip", "-6", "-o", "addr", "show", "dev", "tap0", "scope", "global");
  return text.match(/inet6 ([0-9a-f:]+)\//)![1]!;
}

guestTest("a shared network: how fast, beside the way to the host", async () => {
  await withLan(2, async (_guests, directory) => {
    const place = (at: number) => ({
      member: MEMBERS[at]!,
      endpoint: `unix:${directory}/${NAMES[at]}.sock`,
    });
    await using web = await LanGuest.join(place(0));
    await using db = await LanGuest.join(place(1));
    const port = String(freePort());
    const host = new BackgroundProgram([
      "iperf3",
      "-s",
      "--forceflush",
      "-B",
      "127.0.0.1",
      "-p",
      port,
    ]);
    try {
      const guest = db.background("iperf3", "-s", "--forceflush", "-p", "5201");
      const heard = new Map([[guest, 0], [host, 0]]);
      const rate = async (
        server: BackgroundProgram,
        address: string,
        port: string,
        ...words: string[]
      ): Promise<string> => {
        // Between two clients it does not listen for a moment.
        await server.line(/listening/, heard.get(server));
        heard.set(server, server.lines.findLastIndex((line) => /listening/.test(line)) + 1);
        const said = await web.must("iperf3", "-c", address, "-p", port, "-t", "2", "-J", ...words);
        const { sum_received } = JSON.parse(said).end;
        return (sum_received.bits_per_second / 1e9).toFixed(2);
      };
      for (const [what, words] of [["up", []], ["down", ["-R"]]] as const) {
        const direct = await rate(guest, "10.77.0.3", "5201", ...words);
        const beside = await rate(host, LAN.gateway4, port, ...words);
        console.log(`${what}: guest to guest ${direct} Gbit/s, guest to host ${beside} Gbit/s`);
      }
    } finally {
      await host.end("SIGKILL");
    }
  });
});

guestTest("a shared network: who forges gets nowhere", async (t) => {
  await withLan(2, async (guests, directory) => {
    await using db = await LanGuest.join({
      member: MEMBERS[1]!,
      endpoint: `unix:${directory}/db.sock`,
    });
    await using _job = await LanGuest.join({
      member: MEMBERS[2]!,
      endpoint: `unix:${directory}/job.sock`,
    });
    await db.must("ping", "-c", "1", "-W", "30", "10.77.0.4");
    await db.must("ping", "-6", "-c", "1", "-W", "30", "fd53:4d01::4");
    await using forger = await RawVmm.connect(`unix:${directory}/web.sock`);
    const [own, dbMac] = [MEMBERS[0]!.mac, MEMBERS[1]!.mac];
    const toDb = { source: own, destination: dbMac };
    const toAll = { source: own, destination: "ff:ff:ff:ff:ff:ff" };
    const arp = (senderMac: string, senderIp: string) =>
      concat([0, 1, 8, 0, 6, 4, 0, 2], mac(senderMac), ip(senderIp), mac(dbMac), ip("10.77.0.3"));
    const job6 = "fd53:4d01::4";
    const nd = icmp6(
      MEMBERS[0]!.ip6!,
      "fd53:4d01::3",
      136,
      0,
      [0x60, 0, 0, 0],
      concat(ip(job6), [2, 1], mac(own)),
    );
    const rows: [string, CounterName, Uint8Array][] = [
      [
        "job's address in ARP",
        "drop.lan.arp",
        ethernet(arp(own, "10.77.0.4"), { ...toDb, type: 0x0806 }),
      ],
      [
        "the gateway's address in ARP",
        "drop.lan.arp",
        ethernet(arp(own, LAN.gateway4), { ...toDb, type: 0x0806 }),
      ],
      [
        "job's MAC",
        "drop.eth.src",
        ethernet(arp(own, "10.77.0.2"), { ...toDb, source: MEMBERS[2]!.mac, type: 0x0806 }),
      ],
      [
        "job's IPv4",
        "drop.lan.src",
        ethernet(
          ip4(udp("10.77.0.4", 1, "10.77.0.3", 7, pattern(9)), {
            source: "10.77.0.4",
            destination: "10.77.0.3",
          }),
          toDb,
        ),
      ],
      [
        "job's IPv6",
        "drop.lan.src",
        ethernet(
          ip6(udp(job6, 1, "fd53:4d01::3", 7, pattern(9)), {
            source: job6,
            destination: "fd53:4d01::3",
          }),
          toDb,
        ),
      ],
      [
        "job's address in neighbor discovery",
        "drop.lan.nd",
        ethernet(
          ip6(nd, {
            source: MEMBERS[0]!.ip6!,
            destination: "fd53:4d01::3",
            next: 58,
            hopLimit: 255,
          }),
          toDb,
        ),
      ],
      [
        "a router",
        "drop.lan.role",
        ethernet(
          ip6(icmp6("fe80::53:4dff:fe01:2", "ff02::1", 134, 0, [64, 0, 7, 8], pattern(8)), {
            source: "fe80::53:4dff:fe01:2",
            destination: "ff02::1",
            next: 58,
            hopLimit: 255,
          }),
          { source: own, destination: "33:33:00:00:00:01" },
        ),
      ],
      [
        "a DHCP server",
        "drop.lan.role",
        ethernet(
          ip4(udp("10.77.0.2", 67, "255.255.255.255", 68, pattern(240)), {
            source: "10.77.0.2",
            destination: "255.255.255.255",
          }),
          toAll,
        ),
      ],
      [
        "a VLAN",
        "drop.lan.type",
        ethernet(concat([0, 5], arp(own, "10.77.0.2")), { ...toDb, type: 0x8100 }),
      ],
      [
        "db by way of the gateway",
        "drop.lan.routed",
        ethernet(
          ip4(udp("10.77.0.2", 1, "10.77.0.3", 7, pattern(9)), {
            source: "10.77.0.2",
            destination: "10.77.0.3",
          }),
          { source: own, destination: "02:53:4d:00:00:01" },
        ),
      ],
    ];
    const before = await db.must("ip", "neigh", "show", "dev", "tap0", "nud", "all");
    for (const [what, counter, frame] of rows) {
      await t.step(what, async () => {
        const was = (await counts(guests, "web"))[counter];
        await forger.send(frame);
        await until(
          "it is counted",
          async () => (await counts(guests, "web"))[counter] === was + 1,
        );
        assertEquals((await counts(guests, "web"))["lan.rx.frames"], 0, "nothing went on");
      });
    }
    await t.step("what db knows of its neighbors is as before", async () => {
      const macs = (text: string) =>
        text.split("\n").filter((line) => !line.startsWith("ff02:")) // db's own sums, of no frame
          .map((line) => line.split(" ").slice(0, 3).join(" ")).toSorted();
      const after = macs(await db.must("ip", "neigh", "show", "dev", "tap0", "nud", "all"));
      // After some seconds job's kernel asks whether db is still there, from its link-local address.
      const asks = "fe80::53:4dff:fe01:4 lladdr 02:53:4d:01:00:04";
      assertEquals(
        after.filter((line) => line !== asks),
        macs(before).filter((line) => line !== asks),
      );
      await db.must("ping", "-c", "1", "-W", "30", "10.77.0.4");
      await db.must("ping", "-6", "-c", "1", "-W", "30", "fd53:4d01::4");
    });
  });
});
