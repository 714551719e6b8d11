/** UDP and DNS between the embedded guest and the runtime. */
import { assertEquals, assertRejects } from "@std/assert";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { failureOf, noise, Rig } from "./rig.ts";

/** A socket on 127.0.0.1 that sends back what comes. */
async function startEcho(): Promise<{ port: number } & AsyncDisposable> {
  const socket = createSocket("udp4");
  socket.on("message", (data, from) => socket.send(data, from.port, from.address));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return {
    port: socket.address().port,
    async [Symbol.asyncDispose]() {
      const closed = once(socket, "close");
      socket.close();
      await closed;
    },
  };
}

Deno.test("datagrams of every size come back", async () => {
  await using rig = await Rig.start();
  await using server = await startEcho();
  await rig.guest.lease();
  using socket = rig.guest.udp();
  for (const bytes of [0, 1, 1_472, 1_473, 20_000, 60_000, 65_507]) {
    const data = noise(bytes);
    socket.send(rig.gateway(4), server.port, data);
    const reply = await socket.receive();
    assertEquals(reply, { address: rig.gateway(4), port: server.port, data });
  }
  assertEquals(rig.runtime.figures().udpFlows, 1);
});

Deno.test("a datagram to a forbidden address is answered with an error", async () => {
  await using rig = await Rig.start();
  await rig.guest.lease();
  using socket = rig.guest.udp();
  for (const address of ["127.0.0.1", "169.254.169.254", "::1"]) {
    socket.send(address, 9, new Uint8Array(8));
    assertEquals(await failureOf(socket.receive()), "prohibited", address);
  }
});

Deno.test("a socket that closes tells who waits, and gives its port back", async () => {
  await using rig = await Rig.start();
  await rig.guest.lease();
  const socket = rig.guest.udp(5000);
  const waiting = assertRejects(() => socket.receive(), GuestError, "closed");
  socket.close();
  await waiting;
  await assertRejects(() => socket.receive(), GuestError, "closed");
  rig.guest.udp(5000).close();
});

for (const transport of ["udp", "tcp"] as const) {
  Deno.test(`the gateway's own names resolve over ${transport}`, async () => {
    await using rig = await Rig.start({
      network: { dns: { records: { "db.internal": ["10.1.2.3", "fd00::5"] } } },
    });
    const { ip6, router } = await rig.guest.lease();
    const ask = async (name: string, type: string, server: string) => {
      const { code, answers } = await rig.guest.resolve(name, type, { transport, server });
      return [code, ...answers.map(({ data }) => data)];
    };
    for (const server of [router, ip6!.dns[0]!, "192.0.2.53"]) {
      assertEquals(await ask("db.internal", "A", server), ["NOERROR", "10.1.2.3"]);
      assertEquals(await ask("DB.internal", "AAAA", server), ["NOERROR", "fd00::5"]);
    }
    assertEquals(await ask("db.internal", "MX", router), ["NOERROR"]);
  });
}
