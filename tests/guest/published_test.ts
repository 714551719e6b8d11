/** Published ports of every kind, with a kernel's sockets at both ends. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { createSocket } from "node:dgram";
import { Guest, NETWORK, withGateway, withGuest } from "./harness.ts";
import { guestTest } from "./prerequisites.ts";
import { mustRun, runProgram, until } from "./program.ts";
import { freePort } from "../support/free_port.ts";

const SIZES = [0, 1, 1472, 60_000];

/** Sends each size from a socket of the host, again where it is lost, and yields what came back. */
async function echoes(address: string, port: number): Promise<number[]> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  const got = new Map<number, Uint8Array>();
  socket.on("message", (data) => got.set(data.length, Uint8Array.from(data)));
  const content = (size: number) =>
    Uint8Array.from({ length: size }, (_, i) => (i * 7 + size) & 255);
  for (const size of SIZES) {
    for (let tries = 0; tries < 100 && !got.has(size); tries++) {
      socket.send(content(size), port, address);
      for (let i = 0; i < 25 && !got.has(size); i++) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  for (const [size, data] of got) assertEquals(data, content(size));
  return [...got.keys()];
}

for (const denoFlags of [[], ["--unstable-net"]]) {
  const how = denoFlags.length === 0 ? "without flags" : `with ${denoFlags[0]}`;
  guestTest(
    `published UDP ${how}: clients of both loopbacks are answered, datagrams of all sizes`,
    async (t) => {
      const port = freePort();
      const gatewayArgs = ["-p", `${port}:7/udp`];
      await withGuest({ denoFlags, gatewayArgs }, async (guest) => {
        const server = guest.launch("udp-server", "::", "7");
        await server.line(/^listening$/);
        await guest.must("ping", "-c", "1", NETWORK.gatewayIp6); // announces its own address
        for (
          const [loopback, shown] of [
            ["127.0.0.1", `::ffff:${NETWORK.gatewayIp}`],
            ["::1", NETWORK.gatewayIp6],
          ] as const
        ) {
          await t.step(`from ${loopback}, seen as ${shown}`, async () => {
            assertEquals(await echoes(loopback, port), SIZES);
            await server.line(new RegExp(`^client ${shown} \\d+$`));
          });
        }
      });
    },
  );
}

guestTest(
  "published UDP: a service on IPv4 alone answers a client on ::1, by the guest's own word",
  async () => {
    const port = freePort();
    await withGuest({ gatewayArgs: ["-p", `${port}:7/udp`] }, async (guest) => {
      const server = guest.launch("udp-server", "0.0.0.0", "7");
      await server.line(/^listening$/);
      await guest.must("ping", "-c", "1", NETWORK.gatewayIp6); // announces its own address
      assertEquals(await echoes("::1", port), SIZES);
      await server.line(new RegExp(`^client ${NETWORK.gatewayIp} \\d+$`));
    });
  },
);

guestTest(
  "published UDP: dig asks the guest's DNS server, which sees the client's own address",
  async (t) => {
    const id = crypto.randomUUID().slice(0, 6);
    const [host, client] = [`vgtest-h${id}`, `vgtest-c${id}`];
    const places = [["11.9.0.1", "11.9.0.2"], ["2600:9::1", "2600:9::2"]] as const;
    const address = (namespace: string, device: string, i: 0 | 1) =>
      places.map((pair) => {
        const [bits, more] = pair[0].includes(":") ? [64, "nodad"] : [24, ""];
        return `ip -n ${namespace} addr add ${pair[i]}/${bits} ${more} dev ${device}`;
      });
    const script = [
      "set -e",
      `ip netns add ${host}`,
      `ip netns add ${client}`,
      `ip -n ${host} link add up0 type veth peer name down0 netns ${client}`,
      ...address(host, "up0", 0),
      ...address(client, "down0", 1),
      ...[`${host} link set lo up`, `${host} link set up0 up`, `${client} link set down0 up`]
        .map((words) => `ip -n ${words}`),
    ].join("\n");
    try {
      await mustRun(["sh", "-c", script]);
      const spec = {
        prefix: ["ip", "netns", "exec", host],
        gatewayArgs: ["-p", "[::]:5353:53/udp"],
      };
      await withGateway(spec, async (gateway) => {
        await using guest = await Guest.join(gateway);
        const server = guest.launch("dns-server", "53", "203.0.113.9");
        await server.line(/^listening$/);
        await guest.must("ping", "-c", "1", NETWORK.gatewayIp6); // announces its own address
        for (const [to, from] of places) {
          await t.step(`over ${to}`, async () => {
            const words = [
              "dig",
              `@${to}`,
              "-p",
              "5353",
              "+short",
              "+tries=5",
              "+time=10",
              "a.test",
            ];
            const answer = await mustRun(["ip", "netns", "exec", client, ...words]);
            assertEquals(answer, "203.0.113.9");
            const shown = to.includes(":") ? from : `::ffff:${from}`;
            await server.line(new RegExp(`^client ${shown} \\d+$`));
          });
        }
      });
    } finally {
      for (const namespace of [host, client]) await runProgram(["ip", "netns", "del", namespace]);
    }
  },
);

guestTest(
  "published unix socket: its user's connections reach the guest, and its file goes with the gateway",
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "vgtest-" });
    const path = `${folder}/echo.sock`;
    Deno.writeTextFileSync(`${folder}/note`, "left alone");
    const denoFlags = [`--allow-write=${folder}`];
    await withGuest({ denoFlags, gatewayArgs: ["-p", `unix:${path}:7`] }, async (guest) => {
      await guest.launch("echo-server", "7").line(/^listening$/);
      assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
      const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => i % 251);
      using conn = await Deno.connect({ transport: "unix", path });
      const echoed = new Response(conn.readable).arrayBuffer();
      for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
      await conn.closeWrite();
      assertEquals(new Uint8Array(await echoed), bytes);
    });
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["note"]);
    await Deno.remove(folder, { recursive: true });
  },
);

guestTest(
  "published ports while it runs: flows that are there go on, datagrams and bytes whole",
  async () => {
    const [tcp, udp] = [freePort(), freePort()];
    const gatewayArgs = ["-p", `${tcp}:7`, "-p", `${udp}:7/udp`];
    await withGuest({ gatewayArgs, hasControl: true }, async (guest) => {
      await guest.launch("echo-server", "7").line(/^listening$/);
      await guest.launch("udp-server", "::", "7").line(/^listening$/);
      const control = `${guest.gateway.directory}/control.sock`;
      const ask = (method: string, path: string, body?: unknown) =>
        mustRun([
          ...["curl", "-sS", "--fail-with-body", "--unix-socket", control, "-X", method],
          ...(body === undefined ? [] : ["-H", "Content-Type: application/json"]),
          ...(body === undefined ? [] : ["-d", JSON.stringify(body)]),
          `http://gateway${path}`,
        ]);
      const bytes = Uint8Array.from({ length: 20_000_000 }, (_, i) => i % 251);
      using conn = await Deno.connect({ hostname: "127.0.0.1", port: tcp });
      const echoed = new Response(conn.readable).arrayBuffer();
      const sending = (async () => {
        for (let at = 0; at < bytes.length;) {
          at += await conn.write(bytes.subarray(at, at + 100_000));
        }
        await conn.closeWrite();
      })();
      for (let i = 0; i < 20; i++) {
        for (const protocol of ["udp", "tcp"]) {
          const mapping = { hostPort: 0, guestPort: 7, protocol, bind: ["127.0.0.1"] };
          const { published: [port] } = JSON.parse(await ask("POST", "/v1/ports", mapping));
          if (protocol === "udp" && i % 5 === 0) {
            assertEquals(await echoes("127.0.0.1", port.hostPort), SIZES);
          }
          await ask("DELETE", `/v1/ports/${port.hostPort}?protocol=${protocol}`);
        }
      }
      assertEquals(await echoes("127.0.0.1", udp), SIZES);
      await sending;
      assertEquals(new Uint8Array(await echoed), bytes);
      const flows = () =>
        ask("GET", "/v1/flows?protocol=udp").then((text) => JSON.parse(text).flows);
      assert((await flows()).every(({ opener }: { opener: string }) => opener === "host"));
      await ask("DELETE", `/v1/ports/${udp}?protocol=udp`);
      await until("the flows of removed ports are gone", async () => (await flows()).length === 0);
      assertMatch(
        await ask("GET", "/metrics"),
        /flows_opened_total\{[^}]*opener="host"[^}]*\} [1-9]/,
      );
    });
  },
);
