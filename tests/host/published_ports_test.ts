/** Published ports of all kinds on sockets of the machine, with a guest behind them. */
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { GatewayError } from "../../lib/config/errors.ts";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import type { PortMapping } from "../../lib/config/options.ts";
import type { PublishedPort } from "../../lib/config/published.ts";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { boundDatagrams } from "../../lib/host/bound_datagrams.ts";
import type { DatagramBackendName } from "../../lib/host/datagram_socket.ts";
import type { GuestNetwork } from "../../lib/host/guest_network.ts";
import {
  clearPublished,
  type PublishedHandlers,
  PublishedPorts,
} from "../../lib/host/published_ports.ts";
import { type DatagramHost, datagramHost } from "../../lib/host/udp_listeners.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { GuestRig, type RigOptions, until } from "../support/guest_rig.ts";
import { pattern } from "../support/packets.ts";
import { slowSystem } from "../support/slow_system.ts";

const BACKENDS: DatagramBackendName[] = "listenDatagram" in Deno ? ["deno", "node"] : ["node"];
const LOOPBACK = ["127.0.0.1"];
const GUEST_PORT = 7;
/** A guest that says nothing for a second is tried over its other family: a stall is not to be that. */
const PATIENT: RigOptions = { system: slowSystem };

/** Ports that are gone at the end, with all that was under way. */
class Published implements AsyncDisposable {
  readonly ports: PublishedPorts;
  readonly denials: Denial[] = [];

  constructor(
    mappings: readonly PortMapping[],
    network: GuestNetwork | null,
    { backend, logger = silentLogger, ...udp }:
      & { backend?: DatagramBackendName; logger?: GatewayLogger }
      & Partial<DatagramHost> = {},
  ) {
    const handlers: PublishedHandlers = {
      onConnection: (conn, guestPort) => network?.acceptPublished(conn, guestPort) ?? false,
      onDatagram: (socket, client, data) => network?.receivePublished(socket, client, data),
      onClosed: (socket) => network?.endPublished(socket),
      onRefused: (denial) => void this.denials.push(denial),
    };
    this.ports = new PublishedPorts(mappings, handlers, logger, {
      udp: { ...datagramHost(), sockets: boundDatagrams(backend), ...udp },
    });
  }

  get first(): PublishedPort {
    return this.ports.published[0]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.ports[Symbol.dispose]();
    await this.ports.ended();
  }
}

/** A client of the host with a socket of its own. */
class Client implements AsyncDisposable {
  readonly #socket: Socket;
  readonly got: { data: Uint8Array; from: RemoteInfo }[] = [];

  constructor(address = "127.0.0.1") {
    this.#socket = createSocket(address.includes(":") ? "udp6" : "udp4");
    this.#socket.bind(0, address);
    this.#socket.on(
      "message",
      (data, from) => this.got.push({ data: Uint8Array.from(data), from }),
    );
  }

  send(data: Uint8Array, { bind, hostPort }: PublishedPort): void {
    const to = bind === "::" || bind === "0.0.0.0" ? "127.0.0.1" : bind;
    this.#socket.send(data, hostPort, to);
  }

  /** The answer to a datagram. */
  async ask(data: Uint8Array, port: PublishedPort): Promise<Uint8Array> {
    const before = this.got.length;
    this.send(data, port);
    await until(`an answer of ${port.bind}`, () => this.got.length > before);
    return this.got.at(-1)!.data;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }
}

/** A service of the guest that turns every bit; it ends with the guest. */
function serve(guest: EmbeddedGuest, port = GUEST_PORT): void {
  const socket = guest.udp(port);
  void (async () => {
    for (;;) {
      const { address, port, data } = await socket.receive();
      socket.send(address, port, data.map((octet) => octet ^ 0xff));
    }
  })().catch(() => {});
}

const turned = (data: Uint8Array) => data.map((octet) => octet ^ 0xff);

async function failure(what: () => unknown): Promise<string> {
  const error = await assertRejects(async () => await what(), GatewayError) as GatewayError;
  return `${error.code}: ${error.message}. ${error.hint}`;
}

for (const backend of BACKENDS) {
  Deno.test(`published ports, ${backend}: host port 0 is one port of udp on both loopbacks, and both answer`, async () => {
    await using rig = await GuestRig.start();
    serve(rig.guest);
    const mapping: PortMapping = { hostPort: 0, guestPort: GUEST_PORT, protocol: "udp" };
    await using published = new Published([mapping], rig.network, { backend });
    const [four, six] = published.ports.published;
    assert(four!.hostPort > 0);
    assertEquals([four!.bind, six!.bind], ["127.0.0.1", "::1"]);
    assertEquals([six!.hostPort, four!.protocol], [four!.hostPort, "udp"]);
    await using client = new Client();
    await using client6 = new Client("::1");
    for (const bytes of [0, 1, 1472, 9000, 60_000]) {
      assertEquals(await client.ask(pattern(bytes), four!), turned(pattern(bytes)));
      assertEquals(await client6.ask(pattern(bytes), six!), turned(pattern(bytes)));
    }
    assertEquals(client.got.every(({ from }) => from.port === four!.hostPort), true);
    assertEquals(rig.network.figures().udpFlows, 2);
    published.ports.remove({ protocol: "udp", hostPort: four!.hostPort });
    assertEquals([published.ports.published, rig.network.figures().udpFlows], [[], 0]);
  });

  Deno.test(`published ports, ${backend}: :: takes clients of both families, one socket for all`, async () => {
    await using rig = await GuestRig.start();
    serve(rig.guest);
    const bind = ["0.0.0.0", "::"];
    const mapping: PortMapping = { hostPort: 0, guestPort: GUEST_PORT, protocol: "udp", bind };
    await using published = new Published([mapping], rig.network, { backend });
    await using client = new Client();
    await using client6 = new Client("::1");
    const { hostPort } = published.first;
    const at = (bind: string): PublishedPort => ({ ...published.first, bind, hostPort });
    assertEquals(await client.ask(pattern(9), at("127.0.0.1")), turned(pattern(9)));
    assertEquals(await client6.ask(pattern(9), at("::1")), turned(pattern(9)));
    assertEquals(client.got[0]!.from.address, "127.0.0.1");
  });

  Deno.test(`published ports, ${backend}: a busy udp port names the port and the way out, and nothing is bound`, async () => {
    // An address of its own: any TCP port of the usual one may be that of a test beside this one.
    const own = "127.0.0.77";
    await using taken = new Published([
      { hostPort: 0, guestPort: 1, protocol: "udp", bind: [own] },
    ], null);
    const { hostPort } = taken.first;
    await using published = new Published([], null, { backend });
    const bind = ["127.0.0.78", own];
    const mapping: PortMapping = { hostPort, guestPort: 53, protocol: "udp", bind };
    assertEquals(
      await failure(() => published.ports.add(mapping)),
      `address-in-use: cannot publish ${own}:${hostPort}/udp: the address is in use. ` +
        `Try -p ${own}:${hostPort + 1}:53/udp, or -p ${own}:0:53/udp to pick a free port`,
    );
    assertEquals(published.ports.published, []);
    // TCP at the same port is another place.
    await published.ports.add({ hostPort, guestPort: 53, bind: [own] });
    // What was bound before the failure is free again: at once, or a moment after its close.
    await until("it is free again", () => {
      published.ports.add({ ...mapping, bind: ["127.0.0.78"] }).catch(() => {}); // binds at once
      return published.ports.published.length === 2;
    });
    const foreign: PortMapping = {
      hostPort: 0,
      guestPort: 1,
      protocol: "udp",
      bind: ["192.0.2.77"],
    };
    assertStringIncludes(
      await failure(() => published.ports.add(foreign)),
      "cannot publish 192.0.2.77:0/udp: ",
    );
    assertEquals(published.ports.published.map(({ protocol }) => protocol), ["tcp", "udp"]);
  });
}

Deno.test("published ports: who may not send is denied with an event, a bounded number of them", async () => {
  await using rig = await GuestRig.start();
  serve(rig.guest);
  const mapping: PortMapping = {
    hostPort: 0,
    guestPort: GUEST_PORT,
    protocol: "udp",
    bind: LOOPBACK,
    allowFrom: ["127.0.0.1"],
  };
  // No time passes, in which more of them might become events.
  await using published = new Published([mapping], rig.network, { now: () => 0 });
  await using stranger = new Client("127.0.0.2");
  for (let i = 0; i < 200; i++) stranger.send(pattern(10), published.first);
  await using friend = new Client();
  assertEquals(await friend.ask(pattern(10), published.first), turned(pattern(10)));
  const refused = () => rig.counters["drop.udp.source"] ?? 0;
  await until("all were refused", () => refused() === 200);
  assertEquals(stranger.got, []);
  assertEquals(published.denials.length, 20);
  assertEquals(published.denials[0], {
    protocol: "udp",
    name: null,
    destination: "published port 7",
    rule: "allowFrom",
    origin: "",
    reason: "source",
    detail: "a client from 127.0.0.2 is not let in",
    hint: `publish: [{ guest: 7, protocol: udp, allowFrom: ["127.0.0.2"] }]`,
  });
});

Deno.test("published ports: a client that Deno may not send to is not asked for, and the log names the flag once", async () => {
  await using rig = await GuestRig.start();
  const lines: unknown[] = [];
  const logger: GatewayLogger = { ...silentLogger, warn: (text, more) => lines.push([text, more]) };
  const mapping: PortMapping = { hostPort: 0, guestPort: 7, protocol: "udp", bind: LOOPBACK };
  const udp = { logger, maySendTo: () => false };
  await using published = new Published([mapping], rig.network, udp);
  await using client = new Client();
  for (let i = 0; i < 3; i++) client.send(pattern(10), published.first);
  await until("they have come", () => rig.counters["drop.udp.source"] === 3);
  assertEquals(lines, [[
    "a client of a published port can't be answered: Deno has no permission",
    { guestPort: 7, flag: "--allow-net" },
  ]]);
  assertEquals(rig.network.figures().udpFlows, 0);
});

Deno.test("published ports: without a guest datagrams go nowhere, and the next guest gets its own", async () => {
  let network: GuestNetwork | null = null;
  let came = 0;
  const mapping: PortMapping = { hostPort: 0, guestPort: 7, protocol: "udp", bind: LOOPBACK };
  const handlers: PublishedHandlers = {
    onConnection: () => false,
    onDatagram: (socket, client, data) => {
      came++;
      network?.receivePublished(socket, client, data);
    },
    onClosed: (socket) => network?.endPublished(socket),
    onRefused: () => {},
  };
  const ports = new PublishedPorts([mapping], handlers, silentLogger);
  await using client = new Client();
  const [port] = ports.published;
  client.send(pattern(3), port!);
  await until("it has come", () => came === 1);
  for (let guests = 0; guests < 2; guests++) {
    await using rig = await GuestRig.start();
    serve(rig.guest);
    network = rig.network;
    assertEquals(await client.ask(pattern(5), port!), turned(pattern(5)));
  }
  client.send(pattern(3), port!); // the network has ended
  await until("it has come", () => came === 4);
  ports[Symbol.dispose]();
  await ports.ended();
  assertEquals(client.got.length, 2);
});

Deno.test("published ports: a unix socket leads to the guest, for its user alone, and vanishes", async () => {
  await using rig = await GuestRig.start(PATIENT);
  const peers: string[] = [];
  rig.guest.listen(80, (connection) => {
    peers.push(rig.network.flows()[0]!.peer.replace(/:\d+$/, ""));
    void (async () => {
      await connection.write(turned(await connection.readAll()));
      connection.finish();
    })().catch(() => {});
  });
  const folder = await Deno.makeTempDir();
  const path = `${folder}/web.sock`;
  {
    await using published = new Published([{ unix: path, guestPort: 80 }], rig.network);
    assertEquals(published.ports.published, [
      { protocol: "unix", bind: path, hostPort: 0, guestPort: 80 },
    ]);
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
    for (let i = 0; i < 3; i++) {
      using conn = await Deno.connect({ transport: "unix", path });
      await conn.write(pattern(1000));
      await conn.closeWrite();
      const answer = new Uint8Array(await new Response(conn.readable).arrayBuffer());
      assertEquals(answer, turned(pattern(1000)));
    }
    assertEquals(new Set(peers), new Set(["100.96.0.1"]));
    assertStringIncludes(
      await failure(() => published.ports.add({ unix: path, guestPort: 81 })),
      `address-in-use: cannot publish unix:${path}: it is published`,
    );
    // Taken back and published again in one go: the file that is left is the new one's.
    published.ports.remove({ protocol: "unix", bind: path });
    await published.ports.add({ unix: path, guestPort: 80 });
    await new Promise((resolve) => setTimeout(resolve, 50));
    (await Deno.connect({ transport: "unix", path })).close();
  }
  await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("published ports: a unix socket is known by its whole path, however it is said", async () => {
  const name = `published-${crypto.randomUUID().slice(0, 8)}.sock`;
  await using published = new Published([{ unix: `./${name}`, guestPort: 80 }], null);
  assertEquals(published.first.bind, `${Deno.cwd()}/${name}`);
  await assertRejects(() => published.ports.add({ unix: name, guestPort: 81 }), GatewayError);
  assertEquals(published.ports.remove({ protocol: "unix", bind: `./${name}` }).length, 1);
  assertEquals(published.ports.published, []);
  await published.ports.ended();
  await assertRejects(() => Deno.lstat(name), Deno.errors.NotFound);
});

Deno.test("published ports: a stale unix socket is replaced; a live one and a file are left alone", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/web.sock`;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `Deno.listen({ transport: "unix", path: ${JSON.stringify(path)} });
      console.log(1); setTimeout(() => {}, 60_000)`,
    ],
    stdout: "piped",
  }).spawn();
  const output = child.stdout.getReader();
  await output.read();
  const clear = () => clearPublished([{ unix: path, guestPort: 80 }]);
  assertEquals(
    await failure(clear),
    `socket-in-use: cannot publish unix:${path}: a live process serves it. ` +
      "Is another gateway running? Stop it, or choose another path",
  );
  await using published = new Published([], null);
  assertStringIncludes(
    await failure(() => published.ports.add({ unix: path, guestPort: 80 })),
    "a live process serves it",
  );
  child.kill("SIGKILL");
  await child.status;
  await output.cancel();
  const [first, second] = await Promise.allSettled([
    published.ports.add({ unix: path, guestPort: 80 }),
    published.ports.add({ unix: path, guestPort: 81 }),
  ]);
  assertEquals([first!.status, second!.status], ["fulfilled", "rejected"]);
  published.ports.remove({ protocol: "unix", bind: path });
  await published.ports.ended();
  await Deno.writeTextFile(path, "notes");
  assertStringIncludes(await failure(clear), `cannot publish unix:${path}: a file is in the way`);
  assertEquals(await Deno.readTextFile(path), "notes");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("published ports: all are bound, or none", async () => {
  const folder = await Deno.makeTempDir();
  // An address of its own: any TCP port of the usual one may be that of a test beside this one.
  const own = ["127.0.0.79"];
  await using taken = new Published([
    { hostPort: 0, guestPort: 1, protocol: "udp", bind: own },
  ], null);
  const { hostPort } = taken.first;
  const mappings: PortMapping[] = [
    { hostPort, guestPort: 1, bind: own },
    { hostPort, guestPort: 1, protocol: "udp", bind: ["127.0.0.80"] },
    { hostPort, guestPort: 2, protocol: "udp", bind: own },
    { unix: `${folder}/a.sock`, guestPort: 1 },
  ];
  assertThrows(() => new Published(mappings, null), GatewayError, "the address is in use");
  Deno.listen({ hostname: own[0]!, port: hostPort }).close();
  await using again = new Published(mappings.slice(0, 2), null);
  assertEquals(again.ports.published.length, 2);
  assertThrows(
    () => new Published([{ unix: `${folder}/none/a.sock`, guestPort: 1 }], null),
    GatewayError,
    "cannot publish unix:",
  );
  await Deno.remove(folder, { recursive: true });
});

for (const backend of BACKENDS) {
  Deno.test(`published ports, ${backend}: flows go on while ports come and go 200 times, and nothing is left`, async () => {
    await using rig = await GuestRig.start(PATIENT);
    serve(rig.guest);
    const BYTES = 4_000_000;
    let taken = 0;
    rig.guest.listen(80, (connection) => {
      void (async () => {
        const bytes = await connection.readAll();
        taken += bytes.length;
        assertEquals(bytes.every((octet, i) => octet === i % 251), true, "published bytes");
        connection.finish();
      })();
    });
    const folder = await Deno.makeTempDir();
    await using published = new Published(
      [
        { hostPort: 0, guestPort: 80, bind: LOOPBACK },
        { hostPort: 0, guestPort: GUEST_PORT, protocol: "udp", bind: LOOPBACK },
      ],
      rig.network,
      { backend },
    );
    const [tcp, udp] = published.ports.published;
    const data = Uint8Array.from({ length: BYTES }, (_, i) => i % 251);
    // One flow through a published TCP port, one that the guest opens, one of datagrams.
    const uploads = (async () => {
      using conn = await Deno.connect({ hostname: "127.0.0.1", port: tcp!.hostPort });
      for (let at = 0; at < BYTES;) at += await conn.write(data.subarray(at, at + 50_000));
      await conn.closeWrite();
      assertEquals(await conn.read(new Uint8Array(1)), null);
    })();
    using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const outward = (async () => {
      const connection = await rig.guest.connect("100.96.0.1", host.addr.port);
      const conn = await host.accept();
      const got = new Response(conn.readable).arrayBuffer();
      await connection.write(data);
      connection.finish();
      assertEquals(new Uint8Array(await got), data);
    })();
    let isChanging = true;
    await using client = new Client();
    let asked = 0;
    const datagrams = (async () => {
      while (isChanging) {
        const question = pattern(200, asked++ & 0xff);
        assertEquals(await client.ask(question, udp!), turned(question));
      }
    })();
    let passed = 0;
    for (let i = 0; i < 200; i++) {
      const mapping: PortMapping = { hostPort: 0, guestPort: GUEST_PORT, bind: LOOPBACK };
      const [[added], [other]] = await Promise.all([
        published.ports.add({ ...mapping, protocol: "udp" }),
        published.ports.add({ ...mapping, guestPort: 80 }),
        published.ports.add({ unix: `${folder}/${i % 3}.sock`, guestPort: 80 }),
      ]);
      await using passer = new Client();
      if (i % 10 === 0) {
        assertEquals(await passer.ask(pattern(3), added!), turned(pattern(3)));
        passed++;
      } else passer.send(pattern(3), added!);
      assertEquals(published.ports.remove(added!).length, 1);
      assertEquals(published.ports.remove(other!).length, 1);
      const unix = { protocol: "unix", bind: `${folder}/${i % 3}.sock` } as const;
      assertEquals(published.ports.remove(unix).length, 1);
    }
    isChanging = false;
    await Promise.all([uploads, outward, datagrams]);
    await until("the guest has all", () => taken === BYTES);
    assertEquals([published.ports.published, passed], [[tcp!, udp!], 20]);
    assertEquals(client.got.length, asked, "every datagram is answered once");
    assertEquals(rig.network.figures().udpFlows, 1, "the flows of removed ports are gone");
    published.ports.remove(udp!);
    assertEquals(rig.network.figures().udpFlows, 0);
    await published[Symbol.asyncDispose]();
    assertEquals([...Deno.readDirSync(folder)], [], "no socket's file is left");
    await Deno.remove(folder);
  });
}
