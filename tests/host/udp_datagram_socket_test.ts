import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type DatagramBackendName,
  type DatagramListener,
  DatagramSockets,
} from "../../lib/host/datagram_socket.ts";
import { SENDS_A_SOCKET } from "../../lib/host/datagram_slots.ts";
import { datagramHost, until } from "../support/datagram_hosts.ts";
import { pattern } from "../support/packets.ts";

const offered = "listenDatagram" in Deno;
const backends: DatagramBackendName[] = offered ? ["deno", "node"] : ["node"];

function firstOctet(_: unknown, seed: number): number {
  return pattern(1, seed)[0]!;
}

/** A listener that keeps what it is told. */
class Recorder implements DatagramListener {
  readonly datagrams: Uint8Array[] = [];
  strays = 0;
  readonly failures: unknown[] = [];
  readonly ends: unknown[] = [];

  received(data: Uint8Array): void {
    this.datagrams.push(new Uint8Array(data));
  }

  stray(): void {
    this.strays++;
  }

  failed(error: unknown): void {
    this.failures.push(error);
  }

  ended(error: unknown): void {
    this.ends.push(error);
  }
}

Deno.test("the runtime's own sockets are used where it offers them", () => {
  assertEquals(new DatagramSockets({ sockets: 1 }).backendName, offered ? "deno" : "node");
  if (!offered) {
    const make = () => new DatagramSockets({ sockets: 1, backend: "deno" });
    assertThrows(make, TypeError, "--unstable-net");
  }
});

for (const backend of backends) {
  for (const address of ["127.0.0.1", "::1"] as const) {
    Deno.test(`${backend}: datagrams of every length go and come whole, ${address}`, async () => {
      await using host = await datagramHost(address, { echo: true });
      const sockets = new DatagramSockets({ sockets: 1, backend });
      const recorder = new Recorder();
      const socket = sockets.open(address, host.port, recorder);
      for (const bytes of [0, 1, 1472, 60_000, 65_507]) {
        // What is sent must be the octets at the call, also of the very first datagram.
        const from = pattern(bytes + 5, bytes);
        assert(socket.send(from, 5, bytes));
        from.fill(0xaa);
        await until(() => recorder.datagrams.length > 0, `an echo of ${bytes} bytes`);
        assertEquals(recorder.datagrams.splice(0), [pattern(bytes + 5, bytes).slice(5)]);
      }
      assertEquals([recorder.strays, recorder.failures, recorder.ends], [0, [], []]);
      socket.close();
      await sockets.settled();
    });
  }

  Deno.test(`${backend}: many datagrams in one turn all go in order, up to a bound`, async () => {
    await using host = await datagramHost("127.0.0.1");
    const sockets = new DatagramSockets({ sockets: 1, backend });
    const socket = sockets.open("127.0.0.1", host.port, new Recorder());
    let taken = 0;
    while (taken < 10_000 && socket.send(pattern(20, taken), 0, 20)) taken++;
    assertEquals(taken, SENDS_A_SOCKET);
    await until(() => host.got.length === taken, "all that were taken");
    assertEquals(host.got.map(({ data }) => data[0]), Array.from({ length: taken }, firstOctet));
    assert(socket.send(pattern(1), 0, 1), "there is room again");
    await until(() => host.got.length === taken + 1, "one more");
    socket.close();
    await sockets.settled();
  });

  Deno.test(`${backend}: only the peer is heard`, async () => {
    await using host = await datagramHost("127.0.0.1");
    await using other = await datagramHost("127.0.0.1");
    const sockets = new DatagramSockets({ sockets: 1, backend });
    const recorder = new Recorder();
    const socket = sockets.open("127.0.0.1", host.port, recorder);
    socket.send(pattern(3), 0, 3);
    await until(() => host.got.length === 1, "the first datagram");
    const { port } = host.got[0]!.from;
    await other.send(pattern(9), port, "127.0.0.1");
    await until(() => recorder.strays === 1, "the stray datagram");
    await host.send(pattern(4), port, "127.0.0.1");
    await until(() => recorder.datagrams.length === 1, "the peer's datagram");
    assertEquals(recorder.datagrams, [pattern(4)]);
    socket.close();
    await sockets.settled();
  });

  Deno.test(`${backend}: a port where nobody listens breaks nothing`, async () => {
    const gone = await datagramHost("127.0.0.1");
    await gone[Symbol.asyncDispose]();
    const sockets = new DatagramSockets({ sockets: 1, backend });
    const recorder = new Recorder();
    const socket = sockets.open("127.0.0.1", gone.port, recorder);
    for (let i = 0; i < 3; i++) {
      assert(socket.send(pattern(3), 0, 3));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assertEquals([recorder.datagrams, recorder.ends], [[], []]);
    socket.close();
    await sockets.settled();
  });

  Deno.test(`${backend}: a datagram that is too long fails alone`, async () => {
    await using host = await datagramHost("127.0.0.1");
    const sockets = new DatagramSockets({ sockets: 1, backend });
    const recorder = new Recorder();
    const socket = sockets.open("127.0.0.1", host.port, recorder);
    socket.send(pattern(65_508), 0, 65_508);
    await until(() => recorder.failures.length === 1, "the failure");
    assertEquals((recorder.failures[0] as { code: string }).code, "EMSGSIZE");
    socket.send(pattern(3), 0, 3);
    await until(() => host.got.length === 1, "the next datagram");
    socket.close();
    await sockets.settled();
  });

  Deno.test(`${backend}: closing is quiet, at any time, and leaves nothing`, async () => {
    await using host = await datagramHost("127.0.0.1", { echo: true });
    const sockets = new DatagramSockets({ sockets: 20, backend });
    const recorder = new Recorder();
    for (let i = 0; i < 20; i++) {
      const socket = sockets.open("127.0.0.1", host.port, recorder);
      for (let n = 0; n < i; n++) socket.send(pattern(10), 0, 10);
      if (i % 3 === 1) await until(() => recorder.datagrams.length > 0, "an echo");
      if (i % 3 === 2) await new Promise((resolve) => setTimeout(resolve, 1));
      socket.close();
      socket.close();
      assert(!socket.send(pattern(10), 0, 10));
    }
    await sockets.settled();
    assertEquals([sockets.unsettled, recorder.failures, recorder.ends], [0, [], []]);
  });

  Deno.test(`${backend}: a peer must be an address literal`, () => {
    const sockets = new DatagramSockets({ sockets: 1, backend });
    for (const name of ["localhost", "0", "127.1", "::1%lo", ""]) {
      assertThrows(() => sockets.open(name, 7, new Recorder()), TypeError, "not an address");
    }
    assertEquals(sockets.unsettled, 0);
  });

  Deno.test({
    name: `${backend}: without permission there is no socket, and nothing prompts`,
    permissions: { net: ["127.0.0.1"] },
    fn: async () => {
      const sockets = new DatagramSockets({ sockets: 1, backend });
      for (const address of ["192.0.2.1", "::1", "127.0.0.2"]) {
        const error = assertThrows(() => sockets.open(address, 7, new Recorder()));
        assertEquals((error as { code?: string }).code, "EACCES");
      }
      sockets.open("127.0.0.1", 7, new Recorder()).close();
      await sockets.settled();
    },
  });
}
