/**
 * A kernel that leaves checksums and the cutting of TCP to its device, and takes as much from it: with
 * the header that says so in the stream, and with a bridge that loses it.
 */
import { assert, assertEquals } from "@std/assert";
import { expected, readExactly, type Received, writeAll } from "./bulk.ts";
import { type Guest, NETWORK, withGuest } from "./harness.ts";
import { bulkServer, httpServer, udpEchoServer } from "./host_servers.ts";
import { guestTest } from "./prerequisites.ts";
import { mustRun } from "./program.ts";
import { freePort } from "../support/free_port.ts";

const GUEST_PROGRAM = new URL("./guest_program.ts", import.meta.url).pathname;

const BYTES = 100_000_000;
const GUEST_PORT = 8080;
/** Far more than the MTU: what only large segments come to on average. */
const LARGE_BYTES = 10_000;
const FAMILIES = [
  { name: "IPv4", gateway: NETWORK.gatewayIp, loopback: "127.0.0.1", url: NETWORK.gatewayIp },
  { name: "IPv6", gateway: NETWORK.gatewayIp6, loopback: "::1", url: `[${NETWORK.gatewayIp6}]` },
];

interface Side {
  bytes: number;
  packets: number;
}

/** What has passed the guest's device. */
async function passed(guest: Guest): Promise<{ rx: Side; tx: Side }> {
  const text = await guest.must("ip", "-s", "-j", "link", "show", "dev", "tap0");
  const [{ stats64 }] = JSON.parse(text) as [{ stats64: { rx: Side; tx: Side } }];
  return stats64;
}

for (
  const [offload, framing] of [["vnet", "stream-vnet"], ["strip", "stream"]] as const
) {
  const what = offload === "vnet" ? "with its header" : "without a header";
  guestTest(`offload ${what}: 100 MB each way and family, small requests beside`, async (t) => {
    const published = freePort();
    // deno-fmt-ignore
    const gatewayArgs = ["--host-loopback", "--framing", framing, "--offload",
      "-p", `${published}:${GUEST_PORT}`];
    const whole = expected(BYTES);
    await withGuest({ offload, gatewayArgs }, async (guest) => {
      for (const { name, gateway, loopback, url } of FAMILIES) {
        await using server = bulkServer(loopback);
        await using web = httpServer(loopback);
        for (const verb of ["upload", "download"] as const) {
          await t.step(`${verb} over ${name}`, async () => {
            const before = await passed(guest);
            const [got, answers] = await Promise.all([
              guest.program<Received>(verb, gateway, String(server.port), String(BYTES)),
              guest.must("curl", "-sSf", `http://${url}:${web.port}/[1-200]`),
            ]);
            assertEquals(got, whole);
            assertEquals(answers.split("\n").length, 200);
            const after = await passed(guest);
            const way = verb === "upload" ? "tx" : "rx";
            const mean = (after[way].bytes - before[way].bytes) /
              (after[way].packets - before[way].packets);
            assert(mean > LARGE_BYTES, `frames of ${Math.round(mean)} octets on average`);
          });
        }
        await t.step(`datagrams over ${name}`, async () => {
          await using echo = await udpEchoServer(loopback);
          const sizes = [0, 1, 1200, 1473, 9000, 60_000];
          const words = ["udp-echo", gateway, String(echo.port), ...sizes.map(String)];
          assertEquals(await guest.program<number[]>(...words), sizes);
        });
      }
      await t.step("a client of a published port", async () => {
        const program = guest.launch("echo-server", String(GUEST_PORT));
        await program.line(/./);
        using conn = await Deno.connect({ hostname: "127.0.0.1", port: published });
        const sent = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 13 + (i >> 8)) & 0xff);
        const sending = writeAll(conn, sent).then(() => conn.closeWrite());
        assertEquals(await readExactly(conn, sent.length), sent);
        await sending;
      });
    });
  });
}

guestTest("offload: what the guest passes on to a link of its own gets through", async (t) => {
  for (const [offload, framing] of [["strip", "stream"], ["vnet", "stream-vnet"]] as const) {
    await t.step(`framing ${framing}`, async () => {
      const gatewayArgs = ["--host-loopback", "--framing", framing, "--offload"];
      await withGuest({ offload, gatewayArgs }, async (guest) => {
        await using server = bulkServer("::1");
        await using inner = await behind(guest);
        for (const verb of ["upload", "download"]) {
          const words = [verb, NETWORK.gatewayIp6, String(server.port), "3000000"];
          assertEquals(await inner.program<Received>(...words), expected(3_000_000));
        }
      });
    });
  }
});

/** A machine that the guest routes for, on a link of its own with the usual MTU. */
async function behind(guest: Guest) {
  const { namespace } = guest;
  const name = `${namespace}-in`;
  const address = "fd53:4d00::3";
  const outer = `ip -n ${namespace}`;
  const inner = `ip -n ${name}`;
  await mustRun([
    "sh",
    "-c",
    [
      "set -e",
      // The guest makes the address known as one of its own, before it gives it away.
      `${outer} addr add ${address}/64 dev tap0 nodad`,
      `ip netns exec ${namespace} ping -c 3 -i 0.2 -I ${address} ${NETWORK.gatewayIp6}`,
      `${outer} addr del ${address}/64 dev tap0`,
      `ip netns add ${name}`,
      `${outer} link add veth0 type veth peer name veth1 netns ${name}`,
      `ip netns exec ${namespace} sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'`,
      `${outer} addr add fe80::1/64 dev veth0 nodad`,
      `${outer} link set veth0 up`,
      `${outer} -6 route add ${address}/128 dev veth0`,
      `${inner} link set lo up`,
      `${inner} addr add ${address}/128 dev veth1 nodad`,
      `${inner} link set veth1 up`,
      `${inner} -6 route add default via fe80::1 dev veth1`,
    ].join("\n"),
  ]);
  return {
    async program<T>(...words: string[]): Promise<T> {
      // deno-fmt-ignore
      const run = ["ip", "netns", "exec", name, Deno.execPath(), "run", "--no-prompt",
        "--no-config", "--allow-net", GUEST_PROGRAM, ...words];
      return JSON.parse(await mustRun(run, 300_000)) as T;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await mustRun(["ip", "netns", "del", name]);
    },
  };
}
