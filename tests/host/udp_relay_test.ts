import { Counter } from "../../lib/stack/counters.ts";
import { assert, assertEquals } from "@std/assert";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import {
  type DatagramBackendName,
  type DatagramListener,
  DatagramSockets,
} from "../../lib/host/datagram_socket.ts";
import type { DestinationVerdict } from "../../lib/host/destinations.ts";
import { FlowNumbers } from "../../lib/host/flow_info.ts";
import { GuestRates } from "../../lib/host/guest_rates.ts";
import { systemClock } from "../../lib/host/host_clock.ts";
import { type DatagramOpener, UdpRelayTable } from "../../lib/host/udp_relay.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { datagramHost, until } from "../support/datagram_hosts.ts";
import { GUEST4, GUEST6, ip, pattern, WORLD4, WORLD6 } from "../support/packets.ts";
import type { HarnessOptions } from "../support/stack_harness.ts";
import { icmpErrorOf, UdpRig } from "../support/udp_rig.ts";

const backends: DatagramBackendName[] = "listenDatagram" in Deno ? ["deno", "node"] : ["node"];

/** What a rig with relays differs in. */
interface RelayRigOptions extends HarnessOptions {
  sockets: DatagramOpener;
  /** Where everything leads to; what the guest asked for where absent. */
  dial?: { address: string; port: number };
  /** What is said of everything, where that is no dial. */
  verdict?: DestinationVerdict;
  opensPerSecond?: number;
  logger?: GatewayLogger;
}

const DENIAL: Denial = {
  protocol: "udp",
  name: null,
  destination: "192.0.2.1:7",
  rule: "192.0.2.0/24",
  origin: "--deny",
  reason: "rule",
  detail: "a rule denies it",
  hint: null,
};
const FREE = { name: null, inspected: null, rule: null } as const;

/** A rig whose flows have relays. */
class RelayRig extends UdpRig {
  readonly relays: UdpRelayTable;
  readonly judged: string[] = [];
  wakes = 0;
  /** When a turn that is due was asked for; `undefined` where this is the first time. */
  askedMs: number | undefined;

  constructor(options: RelayRigOptions) {
    super({
      ...options,
      interceptDns: false,
      handlers: { open: (packet, port) => this.relays.open(packet, port) },
    });
    this.relays = new UdpRelayTable({
      link: this.link,
      flows: this.flows,
      output: this.output,
      errors: this.stack.errors,
      sockets: options.sockets,
      opensPerSecond: options.opensPerSecond ?? 1_000_000,
      destinations: {
        judge: (destination, port) => {
          this.judged.push(`${formatIp(destination)} ${port}`);
          const { verdict, dial = { address: formatIp(destination), port } } = options;
          const target = { hostnames: [dial.address], port: dial.port, own: false };
          return verdict ?? { kind: "dial", target, grounds: FREE };
        },
        judgeAgain: () => null,
        judgePlace: () => null,
      },
      rates: new GuestRates({}, systemClock),
      numbers: new FlowNumbers(),
      hook: null,
      onDenial: () => this.link.counters.add(Counter["policy.refused"]),
      logger: options.logger ?? silentLogger,
      wake: () => {
        this.wakes++;
        return this.askedMs ?? this.nowMs;
      },
      now: () => this.nowMs,
    });
  }
}

/** Sockets that do nothing by themselves. */
class FakeSockets implements DatagramOpener {
  readonly opened: {
    address: string;
    port: number;
    listener: DatagramListener;
    sent: Uint8Array[];
    closes: number;
  }[] = [];
  error: unknown = null;
  takes = true;

  open(address: string, port: number, listener: DatagramListener) {
    if (this.error !== null) throw this.error;
    const socket = { address, port, listener, sent: [] as Uint8Array[], closes: 0 };
    this.opened.push(socket);
    return {
      send: (from: Uint8Array, at: number, length: number) => {
        if (this.takes) socket.sent.push(from.slice(at, at + length));
        return this.takes;
      },
      close: () => void socket.closes++,
    };
  }
}

function systemError(code: string): Error {
  return Object.assign(new Error(`it failed with ${code}`), { code });
}

for (const backend of backends) {
  for (const address of ["127.0.0.1", "::1"] as const) {
    for (const peer of [WORLD4, WORLD6]) {
      const name = `${backend}: the guest's datagrams to ${peer} are echoed by ${address}`;
      Deno.test(name, async () => {
        await using host = await datagramHost(address, { echo: true });
        const sockets = new DatagramSockets({ sockets: 10, backend });
        const rig = new RelayRig({ sockets, dial: { address, port: host.port } });
        const guest = peer === WORLD4 ? GUEST4 : GUEST6;
        const sizes = [0, 1, 1472, 60_000, 65_507];
        for (const bytes of sizes) {
          rig.wakes = 0;
          rig.guest({ destination: peer, data: pattern(bytes, bytes) });
          await until(() => rig.wakes > 0, `an echo of ${bytes} bytes`);
          // The guest sees the address that it asked for.
          assertEquals(rig.got(), [{
            source: peer,
            sourcePort: 7,
            destination: guest,
            destinationPort: 40000,
            data: pattern(bytes, bytes),
          }]);
        }
        assertEquals(rig.counted(), { "udp.opened": 1, "udp.up": 5, "udp.down": 5 });
        assertEquals(rig.judged, [`${peer} 7`]);
        assertEquals(new Set(host.got.map(({ from }) => from.port)).size, 1);
        rig.flows.closeAll();
        await sockets.settled();
      });
    }
  }

  Deno.test(`${backend}: a reply from another peer goes no further`, async () => {
    await using host = await datagramHost("127.0.0.1");
    await using other = await datagramHost("127.0.0.1");
    const sockets = new DatagramSockets({ sockets: 10, backend });
    const rig = new RelayRig({ sockets, dial: { address: host.address, port: host.port } });
    rig.guest({ data: pattern(3) });
    await until(() => host.got.length === 1, "the guest's datagram");
    await other.send(pattern(5), host.got[0]!.from.port, "127.0.0.1");
    await until(() => rig.counters.get("drop.udp.peer") === 1, "the stray datagram");
    rig.silent();
    await host.send(pattern(6), host.got[0]!.from.port, "127.0.0.1");
    await until(() => rig.wakes > 0, "the peer's datagram");
    assertEquals(rig.got().map(({ data }) => data), [pattern(6)]);
    rig.flows.closeAll();
    await sockets.settled();
  });

  Deno.test(`${backend}: a port where nobody listens costs nothing but its flow`, async () => {
    const gone = await datagramHost("127.0.0.1");
    await gone[Symbol.asyncDispose]();
    const sockets = new DatagramSockets({ sockets: 10, backend });
    const rig = new RelayRig({ sockets, dial: { address: gone.address, port: gone.port } });
    for (let i = 0; i < 3; i++) {
      rig.guest({ data: pattern(3) });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assertEquals(rig.counted(), { "udp.opened": 1, "udp.up": 3 });
    rig.waitFlows(30_000);
    assertEquals([rig.flows.size, rig.flows.pollAt()], [0, Infinity]);
    await sockets.settled();
  });

  Deno.test(`${backend}: flows beyond the limit make way for new ones, with their sockets`, async () => {
    await using host = await datagramHost("127.0.0.1", { echo: true });
    const sockets = new DatagramSockets({ sockets: 8, backend });
    const rig = new RelayRig({
      sockets,
      dial: { address: host.address, port: host.port },
      limits: { udpFlows: 8 },
    });
    for (let port = 1; port <= 50; port++) {
      rig.guest({ sourcePort: port, data: pattern(4, port) });
      await until(() => host.got.length === port, "the guest's datagram");
    }
    // In one turn, so that no socket has settled when the next one opens.
    for (let port = 51; port <= 100; port++) rig.guest({ sourcePort: port });
    assertEquals(rig.flows.size, 8);
    await until(() => sockets.unsettled === 8, "closed sockets are gone");
    assertEquals(rig.counters.get("udp.evicted"), 92);
    assertEquals(rig.counters.get("drop.udp.flows"), 0);
    const answered = new Set<number>();
    await until(() => {
      for (const { destinationPort } of rig.got()) answered.add(destinationPort);
      return [93, 94, 95, 96, 97, 98, 99, 100].every((port) => answered.has(port));
    }, "the echoes of the flows that are left");
    rig.flows.closeAll();
    await sockets.settled();
    assertEquals(sockets.unsettled, 0);
  });
}

Deno.test("a refusal by the judge is told and counted", () => {
  const sockets = new FakeSockets();
  for (
    const [verdict, code, counted] of [
      [{ kind: "deny", denial: DENIAL }, "3/13", { "policy.refused": 1, "icmp.errors": 1 }],
      [{ kind: "silent" }, "3/3", { "icmp.errors": 1 }],
    ] as const
  ) {
    const rig = new RelayRig({ sockets, verdict });
    rig.guest({});
    assertEquals(rig.counted(), counted);
    assertEquals(rig.sent().map((frame) => icmpErrorOf(frame).code), [code]);
    assertEquals(rig.flows.size, 0);
  }
  assertEquals(sockets.opened, []);
});

Deno.test("flows beyond the rate get no socket, those that are there go on", () => {
  const sockets = new FakeSockets();
  const rig = new RelayRig({ sockets, opensPerSecond: 100 });
  const send = (from: number, count: number) => {
    for (let i = 0; i < count; i++) rig.guest({ sourcePort: from + i, data: pattern(1) });
  };
  send(1000, 101);
  send(1000, 1);
  rig.silent();
  assertEquals([rig.flows.size, sockets.opened.length], [100, 100]);
  assertEquals(rig.counted(), { "udp.opened": 100, "udp.up": 101, "drop.udp.rate": 1 });
  rig.nowMs += 20;
  send(1100, 3);
  assertEquals(sockets.opened.length, 102);
  rig.flows.closeAll();
});

Deno.test("without descriptors flows are refused and counted, and work again afterwards", () => {
  const sockets = new FakeSockets();
  const lines: unknown[] = [];
  const logger = { ...silentLogger, warn: (_: string, fields: unknown) => lines.push(fields) };
  const rig = new RelayRig({ sockets, logger });
  sockets.error = systemError("EMFILE");
  for (let port = 1; port <= 50; port++) rig.guest({ sourcePort: port });
  rig.silent();
  assertEquals(rig.counted(), { "drop.udp.flows": 50 });
  assertEquals(lines, [{ code: "EMFILE", reason: "it failed with EMFILE" }]);
  sockets.error = null;
  rig.guest({ sourcePort: 1 });
  assertEquals(rig.counted(), { "udp.opened": 1, "udp.up": 1 });
});

Deno.test("a socket that can't be opened for a reason of the network is told as that", () => {
  const sockets = new FakeSockets();
  const rig = new RelayRig({ sockets });
  for (
    const [code, v4, v6] of [
      ["EACCES", "3/13", "1/1"],
      ["ENETUNREACH", "3/0", "1/0"],
      ["EAFNOSUPPORT", "3/0", "1/0"],
      ["EHOSTUNREACH", "3/1", "1/3"],
    ] as const
  ) {
    sockets.error = systemError(code);
    rig.guest({});
    rig.guest({ destination: WORLD6 });
    assertEquals(rig.sent().map((frame) => icmpErrorOf(frame).code), [v4, v6]);
  }
  assertEquals(rig.flows.size, 0);
});

Deno.test("an answer keeps its flow from when the first of those came that share its turn", () => {
  const sockets = new FakeSockets();
  const rig = new RelayRig({ sockets, limits: { udpUnrepliedMs: 500, udpRepliedMs: 1_000 } });
  rig.guest({ destination: WORLD4 });
  rig.askedMs = rig.nowMs + 5;
  rig.nowMs += 6;
  sockets.opened[0]!.listener.received(new Uint8Array(3));
  const endMs = rig.askedMs + 1_000;
  rig.flows.advance(endMs - 1);
  assertEquals(rig.flows.size, 1);
  rig.flows.advance(endMs);
  assertEquals(rig.flows.size, 0);
});

Deno.test("what the host hears later is told as an ICMP error about the flow", () => {
  for (const [peer, guest, code] of [[WORLD4, GUEST4, "3/3"], [WORLD6, GUEST6, "1/4"]] as const) {
    const sockets = new FakeSockets();
    const rig = new RelayRig({ sockets });
    rig.guest({ destination: peer });
    rig.counted();
    sockets.opened[0]!.listener.failed(systemError("ECONNREFUSED"));
    assertEquals(rig.wakes, 1);
    const error = icmpErrorOf(rig.sent()[0]!);
    assertEquals([error.code, error.quoted], [code, {
      source: ip(guest),
      destination: ip(peer),
      ports: [40000, 7],
    }]);
    assertEquals(rig.counted(), { "drop.udp.host": 1, "icmp.errors": 1 });
    sockets.opened[0]!.listener.failed(systemError("EMSGSIZE"));
    rig.silent();
    assertEquals(rig.counted(), { "drop.udp.host": 1 });
    assertEquals(rig.flows.size, 1);
  }
});

Deno.test("a socket that ends takes its flow with it; a fault of ours is counted as such", () => {
  const sockets = new FakeSockets();
  const rig = new RelayRig({ sockets });
  rig.guest({ sourcePort: 1 });
  rig.guest({ sourcePort: 2 });
  rig.counted();
  sockets.opened[0]!.listener.ended(systemError("EMFILE"));
  assertEquals(rig.counted(), { "drop.udp.flows": 1 });
  sockets.opened[1]!.listener.ended(new TypeError("oops"));
  assertEquals(rig.counted(), { "bug.turn": 1 });
  assertEquals(rig.flows.size, 0);
  assertEquals(sockets.opened.map(({ closes }) => closes), [1, 1]);
});

Deno.test("what comes for a flow that has ended reaches nobody", () => {
  const sockets = new FakeSockets();
  const rig = new RelayRig({ sockets, limits: { udpFlows: 1 } });
  rig.guest({ sourcePort: 1 });
  rig.guest({ sourcePort: 2 });
  assertEquals(sockets.opened[0]!.closes, 1);
  rig.counted();
  const { listener } = sockets.opened[0]!;
  listener.received(pattern(5));
  listener.ended(systemError("EIO"));
  rig.silent();
  assertEquals(rig.counted(), {});
  sockets.opened[1]!.listener.received(pattern(6));
  assertEquals(rig.got().map(({ destinationPort }) => destinationPort), [2]);
});

Deno.test("datagrams that find no room are dropped and counted, each way", () => {
  const sockets = new FakeSockets();
  const rig = new RelayRig({ sockets });
  rig.guest({ data: pattern(3) });
  sockets.takes = false;
  rig.guest({ data: pattern(3) });
  assertEquals(rig.counted(), { "udp.opened": 1, "udp.up": 1, "drop.udp.host": 1 });
  rig.queues.hostToGuest.fillLimitBytes = 5000;
  for (let i = 0; i < 10; i++) sockets.opened[0]!.listener.received(pattern(1000));
  assertEquals(rig.counted(), { "udp.down": 4, "drop.queue.full": 6 });
  assertEquals(rig.got().length, 4);
});

Deno.test("a question past the gateway ends its flow with the answer", () => {
  const sockets = new FakeSockets();
  const rig = new RelayRig({ sockets });
  rig.guest({ destinationPort: 53, data: pattern(20) });
  sockets.opened[0]!.listener.received(pattern(30));
  assertEquals(rig.got().map(({ data }) => data), [pattern(30)]);
  assertEquals([rig.flows.size, sockets.opened[0]!.closes], [0, 1]);
});

Deno.test("a real descriptor limit is survived", async () => {
  const script = new URL("../support/udp_descriptor_limit.ts", import.meta.url).pathname;
  for (const backend of backends) {
    const flags = backend === "deno" ? ["--unstable-net"] : [];
    const run = ["run", "--quiet", "--no-prompt", "--allow-net", ...flags, script];
    const { code, stdout, stderr } = await new Deno.Command("sh", {
      args: ["-c", 'ulimit -n 40 && exec "$0" "$@"', Deno.execPath(), ...run],
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assertEquals([code, text.trim().split("\n").at(-1)], [0, "survived"], text);
    assert(text.includes(backend));
  }
});
