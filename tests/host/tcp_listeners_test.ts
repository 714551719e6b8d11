import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import type { PortMapping } from "../../lib/config/options.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import type { GuestNetwork } from "../../lib/host/guest_network.ts";
import { type PublishedHandler, TcpPortListeners } from "../../lib/host/tcp_listeners.ts";
import { GuestRig, NetworkRig, type RigOptions, until } from "../support/guest_rig.ts";
import { ETHERNET_HEADER_BYTES } from "../../lib/wire/ethernet.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { neighborSolicitation } from "../guest/frames.ts";
import { ACK, HandGuest, RST, type Segment, segmentFrame, SYN } from "../support/hand_guest.ts";
import { GATEWAY4, GATEWAY6, GUEST4, GUEST6, pattern } from "../support/packets.ts";
import { slowSystem } from "../support/slow_system.ts";
import { freePort } from "../support/free_port.ts";

const GUEST_PORT = 8080;

/** A guest that says nothing for a second is tried over its other family: a stall is not to be that. */
const PATIENT: RigOptions = { system: slowSystem, limits: { tcpTimeWaitMs: 2 } };

/** Listeners that are gone at the end, with their loops. */
class Published implements AsyncDisposable {
  readonly #listeners: TcpPortListeners;

  constructor(ports: readonly PortMapping[], handler: PublishedHandler) {
    this.#listeners = new TcpPortListeners(ports, handler, silentLogger);
  }

  /** Leads one port of the host's loopback to the guest. */
  static to(network: GuestNetwork, bind?: string[]): Published {
    const port: PortMapping = { hostPort: 0, guestPort: GUEST_PORT };
    return new Published(
      [bind === undefined ? port : { ...port, bind }],
      (conn, guestPort) => network.acceptPublished(conn, guestPort),
    );
  }

  get published() {
    return this.#listeners.published;
  }

  get hostPort(): number {
    return this.published[0]!.hostPort;
  }

  connect(hostname = "127.0.0.1"): Promise<Deno.TcpConn> {
    return Deno.connect({ hostname, port: this.hostPort });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners[Symbol.dispose]();
    await this.#listeners.ended();
  }
}

const REFUSING: PublishedHandler = () => false;

function failure(ports: readonly PortMapping[]): GatewayError {
  return assertThrows(
    () => new TcpPortListeners(ports, REFUSING, silentLogger),
    GatewayError,
  ) as GatewayError;
}

/** Whether a port can be bound on 127.0.0.1. */
function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}

/** A guest that answers with what it got, every bit turned. */
function echo(connection: GuestTcp): void {
  void (async () => {
    const bytes = await connection.readAll();
    await connection.write(bytes.map((octet) => octet ^ 0xff));
    connection.finish();
  })().catch(() => {});
}

/** Sends a question and reads the answer to its end. */
async function ask(conn: Deno.TcpConn, question: Uint8Array): Promise<Uint8Array> {
  await conn.write(question);
  await conn.closeWrite();
  const answer = new Uint8Array(question.length + 1);
  let bytes = 0;
  for (;;) {
    const count = await conn.read(answer.subarray(bytes));
    if (count === null) break;
    bytes += count;
  }
  conn.close();
  return answer.slice(0, bytes);
}

async function assertEcho(conn: Deno.TcpConn, seed = 0): Promise<void> {
  const question = pattern(1000, seed);
  assertEquals(await ask(conn, question), question.map((octet) => octet ^ 0xff));
}

/** The guest's answer to a SYN; `seqOffset` counts what it has sent before. */
function answer(syn: Segment, flags: number, seqOffset = 0): Uint8Array {
  return segmentFrame({
    source: syn.destination,
    destination: syn.source,
    sourcePort: syn.destinationPort,
    destinationPort: syn.sourcePort,
    seq: 5000 + seqOffset,
    ack: (syn.seq + 1) >>> 0,
    flags,
  });
}

/** The end comes without a byte; a reset is one, too. */
async function assertClosed(conn: Deno.TcpConn): Promise<void> {
  const count = await conn.read(new Uint8Array(1)).catch(() => null);
  assertEquals(count, null);
  conn.close();
}

Deno.test("listeners: port 0 is the same chosen port on both loopback addresses", async () => {
  await using listeners = new Published([{ hostPort: 0, guestPort: 80 }], REFUSING);
  const { published, hostPort } = listeners;
  assert(hostPort > 0);
  assertEquals(published.map(({ bind }) => bind), ["127.0.0.1", "::1"]);
  assertEquals(published.map((port) => [port.hostPort, port.guestPort]), [
    [hostPort, 80],
    [hostPort, 80],
  ]);
});

Deno.test("listeners: what is asked for is bound, and nothing else", async () => {
  const port = freePort();
  const mapping = { hostPort: port, guestPort: 80, bind: ["127.0.0.1"] };
  await using listeners = new Published([mapping], REFUSING);
  assertEquals(listeners.published, [
    { protocol: "tcp", bind: "127.0.0.1", hostPort: port, guestPort: 80 },
  ]);
  Deno.listen({ hostname: "::1", port }).close();
});

/** Whether a socket on `::` takes IPv4 too, or where there is no IPv6. */
function takesBoth(): boolean | null {
  try {
    using any = Deno.listen({ hostname: "::", port: 0 });
    try {
      Deno.listen({ hostname: "0.0.0.0", port: any.addr.port }).close();
      return false;
    } catch {
      return true;
    }
  } catch {
    return null;
  }
}

Deno.test("listeners: all addresses of both kinds are one port's, in either order", async () => {
  const both = takesBoth();
  if (both === null) return; // such a host has no "::" to bind
  for (const bind of [["0.0.0.0", "::"], ["::", "0.0.0.0"], ["127.0.0.1", "::"]]) {
    const accepted: number[] = [];
    const handler: PublishedHandler = (conn, guestPort) => {
      accepted.push(guestPort);
      conn.close();
      return true;
    };
    await using listeners = new Published([{ hostPort: 0, guestPort: 80, bind }], handler);
    assertEquals(
      listeners.published.map((port) => port.bind),
      both ? ["::"] : ["::", ...bind.filter((address) => address !== "::")],
    );
    await assertClosed(await listeners.connect("127.0.0.1"));
    await assertClosed(await listeners.connect("::1"));
    assertEquals(accepted, [80, 80]);
  }
  const port = freePort();
  const mapping = (bind: string, guestPort: number) => ({
    hostPort: port,
    guestPort,
    bind: [bind],
  });
  await using _two = new Published([mapping("0.0.0.0", 80), mapping("::", 80)], REFUSING);
  assertEquals(isFree(port), false);
});

Deno.test("listeners: one port does not lead to two places, though :: takes IPv4", () => {
  if (takesBoth() !== true) return;
  const port = freePort();
  const any = { hostPort: port, guestPort: 80, bind: ["::"] };
  for (
    const other of [
      { hostPort: port, guestPort: 81, bind: ["0.0.0.0"] },
      { hostPort: port, guestPort: 80, bind: ["0.0.0.0"], allowFrom: ["private"] },
    ]
  ) {
    const { message } = failure([other, any]);
    assertEquals(message, `cannot publish 0.0.0.0:${port}: the address is in use`);
    assert(isFree(port));
  }
});

Deno.test("listeners: the way out of a busy last port is a port", () => {
  let taken: Deno.Listener;
  try {
    taken = Deno.listen({ hostname: "127.0.0.1", port: 65_535 });
  } catch {
    return assertStringIncludes(failure([{ hostPort: 65_535, guestPort: 1 }]).hint, "65534:1");
  }
  assertStringIncludes(failure([{ hostPort: 65_535, guestPort: 1 }]).hint, "Try -p 65534:1, or");
  taken.close();
});

Deno.test("listeners: a busy port is an error with a way out", () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const error = failure([{ hostPort: port, guestPort: 80 }]);
  assertEquals(error.code, "address-in-use");
  assertEquals(error.message, `cannot publish 127.0.0.1:${port}: the address is in use`);
  assertEquals(error.hint, `Try -p ${port + 1}:80, or -p 0:80 to pick a free port`);
  const bound = failure([{ hostPort: port, guestPort: 80, bind: ["127.0.0.1"] }]);
  assertEquals(
    bound.hint,
    `Try -p 127.0.0.1:${port + 1}:80, or -p 127.0.0.1:0:80 to pick a free port`,
  );
  using taken6 = Deno.listen({ hostname: "::1", port: 0 });
  const next6 = taken6.addr.port < 65_535 ? taken6.addr.port + 1 : 65_534;
  assertEquals(
    failure([{ hostPort: taken6.addr.port, guestPort: 80, bind: ["::1"] }]).hint,
    `Try -p [::1]:${next6}:80, or -p [::1]:0:80 to pick a free port`,
  );
});

Deno.test("listeners: all or nothing: what was bound before the error is free again", () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const first = freePort();
  failure([
    { hostPort: first, guestPort: 80 },
    { hostPort: taken.addr.port, guestPort: 81 },
  ]);
  assert(isFree(first));
});

Deno.test("listeners: ::1 is taken by another program", () => {
  const port = freePort();
  using _taken = Deno.listen({ hostname: "::1", port });
  const error = failure([{ hostPort: port, guestPort: 80 }]);
  assertEquals(error.message, `cannot publish [::1]:${port}: the address is in use`);
  assert(isFree(port), "127.0.0.1 was given back");
});

Deno.test("listeners: an address that is none of the host's", () => {
  const error = failure([{ hostPort: 0, guestPort: 80, bind: ["198.51.100.77"] }]);
  assertEquals(error.code, "address-in-use");
  assert(error.message.startsWith("cannot publish 198.51.100.77:0: "));
  assertEquals(error.hint, "Is it an address of this host?");
});

Deno.test({
  name: "listeners: a missing permission is named",
  permissions: { net: ["127.0.0.1:1"] },
  fn: () => {
    const error = failure([{ hostPort: 8080, guestPort: 80 }]);
    assertEquals(error.code, "permission");
    assertEquals(error.hint, "Add --allow-net=127.0.0.1:8080");
  },
});

Deno.test("listeners: a client that nobody takes is closed at once", async () => {
  await using listeners = new Published([{ hostPort: 0, guestPort: 80 }], REFUSING);
  for (const { bind } of listeners.published) {
    await assertClosed(await listeners.connect(bind));
  }
});

Deno.test("listeners: a handler that fails loses its client and nothing else", async () => {
  let calls = 0;
  await using listeners = new Published([{ hostPort: 0, guestPort: 80 }], () => {
    calls++;
    throw new Error("a bug");
  });
  for (let i = 0; i < 2; i++) await assertClosed(await listeners.connect());
  assertEquals(calls, 2);
});

Deno.test("listeners: dispose frees the ports and ends the loops", async () => {
  const hostPort = freePort();
  {
    await using _listeners = new Published([{ hostPort, guestPort: 80 }], REFUSING);
    assert(!isFree(hostPort));
  }
  assert(isFree(hostPort));
});

Deno.test("published: a client reaches the guest, over either family", async () => {
  await using rig = await GuestRig.start(PATIENT);
  rig.guest.listen(GUEST_PORT, echo);
  await using listeners = Published.to(rig.network);
  for (const { bind } of listeners.published) await assertEcho(await listeners.connect(bind));
  assertEquals(rig.counters["tcp.accepted"], 2);
  await rig.idle();
});

Deno.test("published: the guest sees a loopback client as the gateway", async () => {
  await using rig = await GuestRig.start(PATIENT);
  const peers: string[] = [];
  rig.guest.listen(GUEST_PORT, (connection) => {
    peers.push(peerOf(rig, connection));
    echo(connection);
  });
  await using listeners = Published.to(rig.network);
  await assertEcho(await listeners.connect("127.0.0.1"));
  await assertEcho(await listeners.connect("::1"));
  assertEquals(peers, ["100.96.0.1", "fd53:4d00::1"]);
});

Deno.test("published: the guest sees another client's own address and port", async () => {
  await using rig = await GuestRig.start(PATIENT);
  const peers: string[] = [];
  rig.guest.listen(GUEST_PORT, (connection) => {
    peers.push(`${peerOf(rig, connection)} ${connection.connection.template.guestPort}`);
    echo(connection);
  });
  await using listeners = new Published([{ hostPort: 0, guestPort: GUEST_PORT }], (conn, port) => {
    const remoteAddr = { ...conn.remoteAddr, hostname: "198.51.100.7", port: 4321 };
    return rig.network.acceptPublished(withAddress(conn, remoteAddr), port);
  });
  await assertEcho(await listeners.connect());
  assertEquals(peers, ["198.51.100.7 4321"]);
  await assertEcho(await listeners.connect()); // in case the first one's port is still in use
  assertEquals(peers.length, 2);
});

Deno.test("published: which address a client is shown with", async () => {
  await using rig = await GuestRig.start(PATIENT);
  const peers: string[] = [];
  rig.guest.listen(GUEST_PORT, (connection) => {
    peers.push(peerOf(rig, connection));
    echo(connection);
  });
  const shown = {
    "100.96.0.2": GATEWAY4, // whoever claims an address of the link
    "100.96.0.1": GATEWAY4,
    "fd53:4d00::2": GATEWAY6,
    "fd53:4d00::77": GATEWAY6,
    "fe80::1": GATEWAY6,
    "::ffff:127.0.0.1": GATEWAY4, // as a dual-stack socket says it
    "::ffff:198.51.100.7": "198.51.100.7",
    "2001:db8::7": "2001:db8::7",
  };
  for (const hostname of Object.keys(shown)) {
    await using listeners = new Published([{ hostPort: 0, guestPort: 1 }], (conn) => {
      const remoteAddr = { ...conn.remoteAddr, hostname };
      return rig.network.acceptPublished(withAddress(conn, remoteAddr), GUEST_PORT);
    });
    await assertEcho(await listeners.connect());
  }
  assertEquals(peers, Object.values(shown));
});

Deno.test("published: a port that the guest does not serve closes the client", async () => {
  await using rig = await GuestRig.start(PATIENT);
  await using listeners = Published.to(rig.network);
  await assertClosed(await listeners.connect());
  assertEquals(rig.counters["tcp.accepted"], 2, "both families were tried");
  await rig.idle();
});

Deno.test("published: the other family is tried when the guest refuses the client's own", async () => {
  for (const [hostname, first, second] of [["127.0.0.1", 4, 6], ["::1", 6, 4]] as const) {
    await using rig = await NetworkRig.make(PATIENT);
    const guest = new HandGuest(rig.vmm);
    await guest.send(neighborSolicitation(GUEST6, GATEWAY6)); // announces its IPv6 address
    await guest.expect("an advertisement", ({ protocol }) => protocol === 58 ? true : null);
    await using listeners = Published.to(rig.network);
    const client = await listeners.connect(hostname);
    const refused = await guest.expectSegment("a SYN", ({ flags }) => flags === SYN);
    assertEquals(refused.destination, first === 4 ? GUEST4 : GUEST6);
    await guest.send(answer(refused, RST | ACK));
    const syn = await guest.expectSegment(
      "a SYN over the other family",
      ({ flags, destination }) => flags === SYN && destination !== refused.destination,
    );
    assertEquals(syn.destination, second === 4 ? GUEST4 : GUEST6);
    await guest.send(answer(syn, SYN | ACK));
    await client.write(pattern(5));
    const segment = await guest.expectSegment("its bytes", ({ data }) => data.length > 0);
    assertEquals([segment.destination, segment.data], [syn.destination, pattern(5)]);
    await guest.send(answer(syn, RST, 1));
    await assertClosed(client);
    await guest.close();
  }
});

Deno.test("published: a guest without IPv6 is reached over IPv4 by a client of ::1", async () => {
  await using rig = await GuestRig.start({ ...PATIENT, network: { ipv6: false } });
  rig.guest.listen(GUEST_PORT, echo);
  await using listeners = Published.to(rig.network);
  await assertEcho(await listeners.connect("::1"));
});

Deno.test("published: 100 clients at once are served, and nothing is left behind", async () => {
  await using rig = await GuestRig.start(PATIENT);
  rig.guest.listen(GUEST_PORT, echo);
  await using listeners = Published.to(rig.network);
  await Promise.all(Array.from({ length: 100 }, async (_, i) => {
    await assertEcho(await listeners.connect(i % 2 === 0 ? "127.0.0.1" : "::1"), i);
  }));
  assertEquals(rig.counters["tcp.accepted"], 100);
  await rig.idle();
});

Deno.test("published: a client that leaves before the guest answers leaves nothing", async () => {
  await using rig = await GuestRig.start(PATIENT);
  rig.guest.listen(GUEST_PORT, echo);
  await using listeners = Published.to(rig.network);
  for (let i = 0; i < 20; i++) (await listeners.connect()).close();
  await until("all came", () => rig.counters["tcp.accepted"] === 20);
  await rig.idle();
});

Deno.test("published: clients that wait for a silent guest are bounded, the rest is closed", async () => {
  await using rig = await NetworkRig.make({ limits: { publishedPending: 4 } });
  await using listeners = Published.to(rig.network);
  const clients = [];
  for (let i = 0; i < 4; i++) clients.push(await listeners.connect());
  await until("four wait", () => rig.network.figures().relays === 4);
  for (let i = 0; i < 3; i++) await assertClosed(await listeners.connect());
  assertEquals([rig.network.figures().relays, rig.counters["drop.tcp.flows"]], [4, 3]);
  rig.vmm.close(); // the guest leaves: they are closed, too
  await rig.ended;
  for (const client of clients) await assertClosed(client);
});

Deno.test("published: after the guest has left a client is closed at once", async () => {
  await using rig = await NetworkRig.make(PATIENT);
  await using listeners = Published.to(rig.network);
  rig.vmm.close();
  await rig.ended;
  await assertClosed(await listeners.connect());
});

/** The address that the guest talks to. */
function peerOf(rig: GuestRig, connection: GuestTcp): string {
  const { template } = connection.connection;
  const [offset, length] = template.family === 4 ? [16, 4] : [24, 16];
  const at = template.at + ETHERNET_HEADER_BYTES + offset;
  return formatIp(rig.guest.stack.guest.memory.bytes.slice(at, at + length));
}

/** The connection with another client's address. */
function withAddress(conn: Deno.TcpConn, remoteAddr: Deno.NetAddr): Deno.TcpConn {
  return new Proxy(conn, {
    get(target, key) {
      if (key === "remoteAddr") return remoteAddr;
      const value = target[key as keyof Deno.TcpConn];
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
