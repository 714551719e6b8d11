/** Rows 58 to 60: what the gateway opens on its host, what it finds there, and its clock. */
import { assert, assertEquals } from "@std/assert";
import { silentLogger } from "../../lib/config/logger.ts";
import type { PortMapping } from "../../lib/config/options.ts";
import { parsePublishSpec } from "../../lib/config/port_spec.ts";
import type { DatagramOpeners } from "../../lib/host/host_system.ts";
import { type ListenHost, TcpPortListeners } from "../../lib/host/tcp_listeners.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import {
  concat,
  ethernet,
  fragment6,
  GATEWAY4,
  GUEST4,
  ip4,
  ip6,
  pattern,
  udp,
} from "../support/packets.ts";
import { HOST4, HOST6, VirtualHost } from "../support/virtual_host.ts";
import { systemError, tcpAddress, type VirtualConn } from "../support/virtual_socket.ts";
import { type Flow, guestBytes, hostBytes, HostileGuest } from "./hostile_guest.ts";

const SYN = "S 0:0 <mss 1460>";

/** A listening socket in the hands of the test. */
class VirtualListener {
  readonly addr: Deno.NetAddr;
  accepts = 0;
  isClosed = false;
  readonly #came: (VirtualConn | Error)[] = [];
  #wake: (() => void) | null = null;

  constructor(hostname: string, port: number) {
    this.addr = tcpAddress(hostname, port);
  }

  /** The next accept, or the one that waits, ends with this. */
  comes(one: VirtualConn | Error): void {
    this.#came.push(one);
    this.#wake?.();
  }

  async accept(): Promise<Deno.TcpConn> {
    this.accepts++;
    while (this.#came.length === 0 && !this.isClosed) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const one = this.#came.shift() ?? new Deno.errors.BadResource("closed");
    if (one instanceof Error) throw one;
    return one;
  }

  close(): void {
    this.isClosed = true;
    this.#wake?.();
  }
}

/** A gateway with published ports, and the sockets that it listens on. */
function publish(gw: HostileGuest, ...specs: string[]): [TcpPortListeners, VirtualListener[]] {
  return publishPorts(
    gw,
    specs.flatMap((spec) => {
      const mappings = parsePublishSpec(spec);
      if (typeof mappings === "string") throw new Error(mappings);
      return mappings;
    }),
  );
}

function publishPorts(
  gw: HostileGuest,
  ports: readonly PortMapping[],
): [TcpPortListeners, VirtualListener[]] {
  const sockets: VirtualListener[] = [];
  const { now, setTimer, clearTimer, soon, canBind } = gw.host;
  const host: ListenHost = {
    now,
    setTimer,
    clearTimer,
    soon,
    canBind,
    listen: ({ hostname = "0.0.0.0", port = 0 }) => {
      const socket = new VirtualListener(hostname, port === 0 ? 45_000 : port);
      sockets.push(socket);
      return socket as unknown as Deno.TcpListener;
    },
  };
  const onConnection = (conn: Deno.TcpConn, guestPort: number) =>
    gw.network.acceptPublished(conn, guestPort);
  const onRefused = (denial: Denial) => gw.network.noteDenial(denial);
  return [new TcpPortListeners(ports, onConnection, silentLogger, { host, onRefused }), sockets];
}

/** Where SYNs that came for the guest say that they are from. */
function callers(gw: HostileGuest): string[] {
  return gw.taken(({ protocol, payload, source }) => {
    return protocol === 6 && payload[13] === 2 ? source : null;
  });
}

// CVE-2021-20199: clients from anywhere came to the guest as its own loopback, which it trusts.
Deno.test("hostile 58: a port published without an address listens on the loopback alone", async () => {
  await using gw = await HostileGuest.start();
  const [listeners, sockets] = publish(gw, "8080:80", "0:81", "8443");
  const bound = sockets.map(({ addr }) => `${addr.hostname} ${addr.port}`);
  assertEquals(bound, [
    "127.0.0.1 8080",
    "::1 8080",
    "127.0.0.1 45000",
    "::1 45000",
    "127.0.0.1 8443",
    "::1 8443",
  ]);
  listeners[Symbol.dispose]();
  await listeners.ended();
  const [open, all] = publish(gw, "0.0.0.0:8080:80");
  assertEquals(all.map(({ addr }) => addr.hostname), ["0.0.0.0"]);
  open[Symbol.dispose]();
  await open.ended();
  await gw.empties(0);
});

Deno.test("hostile 58: a client is seen by its own address, never by one that the guest trusts", async () => {
  await using gw = await HostileGuest.start();
  const seen: [client: string, source: string][] = [
    ["203.0.113.9", "203.0.113.9"],
    ["::ffff:203.0.113.9", "203.0.113.9"],
    ["127.0.0.1", GATEWAY4],
    ["127.8.8.8", GATEWAY4],
    ["::ffff:127.0.0.1", GATEWAY4],
    [GUEST4, GATEWAY4], // the guest's own address, from somewhere else
    ["100.96.0.3", GATEWAY4],
  ];
  for (const [i, [client, source]] of seen.entries()) {
    const peer = gw.publish(80, client, 50_000 + i)!;
    await gw.settle();
    assertEquals(callers(gw), [source], client);
    peer.close();
  }
  // Nobody answers: after the last SYN each client is closed.
  await gw.empties();
  assertEquals(gw.host.openSockets, 1);
});

Deno.test("hostile 58: a port that names its clients lets in nobody else, in whatever form his address comes", async () => {
  await using gw = await HostileGuest.start();
  const [listeners, [socket]] = publishPorts(gw, [
    { hostPort: 8080, guestPort: 80, bind: ["::"], allowFrom: ["10.0.0.0/8", "loopback"] },
  ]);
  const clients: [hostname: string, isLetIn: boolean][] = [
    ["10.1.2.3", true],
    ["::ffff:10.1.2.3", true],
    ["127.0.0.1", true],
    ["::1", true],
    ["11.1.2.3", false],
    ["::ffff:11.1.2.3", false],
    ["64:ff9b::10.1.2.3", false],
    ["2002:a01:203::1", false],
    ["fe80::1", false],
    ["fe80::1%eth0", false],
    ["nowhere", false],
    ["", false],
  ];
  let refused = 0;
  for (const [i, [hostname, isLetIn]] of clients.entries()) {
    const [conn, client] = gw.host.openConn({
      local: tcpAddress("::", 8080),
      remote: tcpAddress(hostname, 50_000 + i),
    });
    socket!.comes(conn);
    await gw.settle();
    assertEquals([callers(gw).length, client.isClosed], [isLetIn ? 1 : 0, !isLetIn], hostname);
    client.close();
    if (!isLetIn) refused++;
  }
  assertEquals(gw.network.denials.total, refused - 2, "who is nowhere is no news");
  assert(gw.network.denials.groups().every(({ denial }) => denial.reason === "source"));
  listeners[Symbol.dispose]();
  await listeners.ended();
  await gw.empties();
});

Deno.test("hostile 59: EMFILE and the like at a connect are an RST, and the next connect works", async () => {
  await using gw = await HostileGuest.start();
  for (const code of ["EMFILE", "ENFILE", "EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"]) {
    gw.host.refuse(HOST4, 80, code);
    const flow = gw.flow();
    await flow.guest(SYN);
    await gw.settle();
    flow.expects("R. 0:0 ack 1");
    gw.silent().counts({ "drop.tcp.flows": 1, "tcp.refused": 1, "tcp.reset.sent": 1 });
    assert(gw.isEmpty);
    gw.host.listen(HOST4, 80);
    await flow.opens();
    await flow.guest("R 1:1");
    gw.silent().counts({ "tcp.reset.received": 1 });
    await gw.empties(0);
  }
});

/** A machine that is out of sockets for datagrams while `code` says how. */
class ExhaustedHost extends VirtualHost {
  code: string | null = null;

  override datagramSockets(options: { readonly sockets: number }): DatagramOpeners {
    const sockets = super.datagramSockets(options);
    return {
      settled: () => sockets.settled(),
      open: (address, port, listener) => {
        this.#check();
        return sockets.open(address, port, listener);
      },
    };
  }

  override openUdpSocket(...args: Parameters<VirtualHost["openUdpSocket"]>) {
    this.#check();
    return super.openUdpSocket(...args);
  }

  #check(): void {
    if (this.code !== null) throw systemError(this.code);
  }
}

Deno.test("hostile 59: without sockets datagrams are dropped, questions get SERVFAIL, and both recover", async () => {
  const host = new ExhaustedHost();
  await using gw = await HostileGuest.start({ host });
  host.udp(HOST4, 7, (data, reply) => reply(data));
  host.udp("10.0.0.53", 53, (data, reply) => {
    const answer = data.slice();
    answer[2] = 0x81;
    reply(answer);
  });
  const ping = ethernet(ip4(udp(GUEST4, 5000, HOST4, 7, pattern(20)), { destination: HOST4 }));
  const ask = ethernet(
    ip4(
      udp(
        GUEST4,
        5001,
        GATEWAY4,
        53,
        concat([0, 7, 1, 0, 0, 1], Array(6).fill(0), [1, 97, 0, 0, 1, 0, 1]),
      ),
    ),
  );
  const rcodes = () =>
    gw.taken(({ protocol, payload }) =>
      protocol === 17 && payload[1] === 53 ? payload[8 + 3]! & 15 : null
    );
  for (
    const [code, errors] of [["EMFILE", []], ["ENOBUFS", []], ["EADDRNOTAVAIL", ["3/0"]]] as const
  ) {
    host.code = code;
    await gw.sends(ping, ask);
    await gw.run(5_000);
    assertEquals(gw.errors().map((error) => error.code), [...errors]);
    assertEquals(rcodes(), [2], code);
    gw.silent().counts(errors.length > 0 ? { "icmp.errors": 1 } : { "drop.udp.flows": 1 });
    assert(gw.isEmpty);
    host.code = null;
    await gw.sends(ping, ask);
    assertEquals(rcodes(), [0]);
    assertEquals(gw.packets().map(({ payload }) => payload.slice(8)), [pattern(20)]);
    gw.counts({ "udp.opened": 1, "udp.up": 1, "udp.down": 1 });
    await gw.empties();
    await gw.run(60_000); // the resolver's failures are forgotten, its sockets replaced
  }
  await gw.end();
  assertEquals([host.openSockets, host.timers], [0, 0]);
});

Deno.test("hostile 59: accepting pauses for 100 ms without descriptors, and goes on", async () => {
  await using gw = await HostileGuest.start();
  const [listeners, sockets] = publish(gw, "127.0.0.1:8080:80");
  const [socket] = sockets as [VirtualListener];
  await gw.settle();
  assertEquals(socket.accepts, 1);
  const startMs = gw.host.now();
  for (let failure = 1; failure <= 50; failure++) {
    socket.comes(systemError(failure % 2 === 0 ? "EMFILE" : "ENFILE"));
    await gw.run(99);
    assertEquals(socket.accepts, failure, "it does not spin");
    await gw.run(1);
    assertEquals(socket.accepts, failure + 1);
  }
  assertEquals(gw.host.now() - startMs, 5_000);
  const [conn, client] = gw.host.openConn({
    local: tcpAddress("127.0.0.1", 8080),
    remote: tcpAddress("127.0.0.1", 50_000),
  });
  socket.comes(conn);
  await gw.settle();
  assertEquals(callers(gw), [GATEWAY4], "the client that came next is served");
  client.close();
  listeners[Symbol.dispose]();
  await listeners.ended();
  await gw.empties();
});

/** A machine whose clock may leap. */
class LeapingHost extends VirtualHost {
  aheadMs = 0;
  override readonly now = (): number => this.clock.now() + this.aheadMs;
}

Deno.test("hostile 60: a clock that jumps by ten minutes with everything under way starts no storm", async () => {
  const host = new LeapingHost();
  await using gw = await HostileGuest.start({ host });
  host.listen(HOST4, 80);
  const flows: Flow[] = Array.from({ length: 300 }, (_, i) => gw.flow({ guestPort: 1024 + i }));
  const peers = [];
  for (const flow of flows) peers.push(await flow.opens());
  // A third is idle, a third has data on the way that the guest does not acknowledge, a third has
  // a closed window.
  for (const [i, flow] of flows.entries()) {
    if (i % 3 === 2) await flow.guest(". 1:1 ack 1 win 0");
    if (i % 3 > 0) peers[i]!.write(hostBytes(3_000));
  }
  host.blackHole(HOST4, 81);
  for (let i = 0; i < 200; i++) {
    gw.send(gw.flow({ hostPort: 81, guestPort: 10_000 + i }).frame(SYN));
    gw.send(ethernet(ip4(udp(GUEST4, 20_000 + i, HOST4, 9, pattern(8)), { destination: HOST4 })));
  }
  for (let i = 0; i < 60; i++) {
    const piece = pattern(64, i);
    gw.send(
      ethernet(
        i % 2 === 0
          ? ip4(piece, { destination: HOST4, fragment: 0x2000, id: i })
          : ip6(fragment6(piece, 17, 0, true, i), { destination: HOST6, next: 44 }),
      ),
    );
    const body = concat([0, i, 1, 0, 0, 1], Array(6).fill(0), [
      1,
      97 + i % 26,
      1,
      i,
      0,
      0,
      1,
      0,
      1,
    ]);
    gw.send(ethernet(ip4(udp(GUEST4, 30_000 + i, GATEWAY4, 53, body))));
  }
  await gw.run(150);
  const { tcpFlows, udpFlows, dials, dnsInFlight, fragmentSets } = gw.figures();
  assertEquals([tcpFlows, udpFlows, dials, dnsInFlight, fragmentSets], [500, 200, 200, 60, 60]);
  gw.forget();
  for (const flow of flows) flow.sent();
  const dialed = host.dialed.length;

  host.aheadMs = 600_000;
  const stepsBefore = host.clock.steps;
  await gw.run(1_000);
  const steps = host.clock.steps - stepsBefore;
  const frames = gw.packets();
  assert(steps < 2_000, `${steps} steps`);
  // At most: two repetitions and a probe for each flow, an answer for each dial, the questions'
  // answers, the errors about fragments.
  assert(frames.length < 3 * 200 + 200 + 60 + 60 + 10, `${frames.length} frames`);
  assertEquals(host.dialed.length, dialed, "nothing is dialled again");
  const after = gw.figures();
  assertEquals([after.udpFlows, after.dials, after.fragmentSets], [0, 0, 0]);
  assertEquals(after.tcpFlows, flows.length, "flows that were within their limits go on");
  await gw.run(5_000); // questions have timers of their own
  assertEquals(gw.figures().dnsInFlight, 0);
  assert(host.timers <= 2, `${host.timers} timers`);

  gw.packets();
  for (const [i, flow] of flows.entries()) {
    if (i % 3 !== 0) continue;
    await flow.guest("P. 1:11 ack 1 win 65535");
    await gw.run(5);
    assertEquals(peers[i]!.take(), guestBytes(10));
  }
  gw.forget();
  host.aheadMs += 8_000_000; // and one that is longer than anything may be idle
  await gw.run(1_000);
  assert(gw.packets().length <= flows.length + 10);
  await gw.run(60_000);
  assert(gw.isEmpty, JSON.stringify(gw.figures()));
  await gw.end();
  assertEquals([host.openSockets, host.timers, host.dialing], [0, 0, 0]);
});
