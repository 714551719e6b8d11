import { assert, assertEquals } from "@std/assert";
import { silentLogger } from "../../lib/config/logger.ts";
import { type DnsAnswerer, DnsRelay, dnsRelayBytes } from "../../lib/host/dns_relay.ts";
import {
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  GUEST_LL,
  pattern,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";
import { UdpRig } from "../support/udp_rig.ts";

/** Answers when the test says so. */
class FakeGateway implements DnsAnswerer {
  readonly asked: {
    message: Uint8Array;
    maxUdpBytes: number;
    answer: (answer: Uint8Array | null) => void;
    fail: (error: unknown) => void;
  }[] = [];

  answer(message: Uint8Array, transport: "udp", maxUdpBytes: number): Promise<Uint8Array | null> {
    assertEquals(transport, "udp");
    return new Promise((answer, fail) => this.asked.push({ message, maxUdpBytes, answer, fail }));
  }
}

function dnsRig(questions: number, mtu = 1500, perSecond = 1_000_000) {
  const gateway = new FakeGateway();
  const errors: string[] = [];
  let wakes = 0;
  const rig: UdpRig = new UdpRig({
    link: { mtu },
    handlers: { dns: (packet, port, at, bytes) => relay.ask(packet, port, at, bytes) },
  });
  assert(dnsRelayBytes(questions) <= rig.freeBytes);
  const relay = new DnsRelay({
    link: rig.link,
    at: rig.freeAt,
    questions,
    perSecond,
    output: rig.output,
    gateway,
    logger: { ...silentLogger, error: (message) => errors.push(message) },
    wake: () => wakes++,
    now: () => rig.nowMs,
  });
  return { rig, relay, gateway, errors, wakes: () => wakes };
}

/** Lets promises settle. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("an answer comes from the address that was asked, to whoever asked", async () => {
  const { rig, relay, gateway, wakes } = dnsRig(10);
  const cases = [
    [GUEST4, GATEWAY4, 1472],
    [GUEST4, WORLD4, 1472],
    [GUEST6, GATEWAY6, 1452],
    [GUEST_LL, WORLD6, 1452],
  ] as const;
  cases.forEach(([source, destination], i) => {
    const data = pattern(30, i);
    rig.guest({ source, destination, sourcePort: 1000 + i, destinationPort: 53, data });
  });
  rig.silent();
  assertEquals(relay.waiting, 4);
  assertEquals(
    gateway.asked.map(({ message }) => message),
    [0, 1, 2, 3].map((i) => pattern(30, i)),
  );
  assertEquals(gateway.asked.map(({ maxUdpBytes }) => maxUdpBytes), cases.map(([, , max]) => max));
  // In another order than they were asked.
  for (const i of [2, 0, 3, 1]) {
    gateway.asked[i]!.answer(pattern(100, i));
    await settle();
    const [source, destination] = cases[i]!;
    assertEquals(rig.got(), [{
      source: destination,
      sourcePort: 53,
      destination: source,
      destinationPort: 1000 + i,
      data: pattern(100, i),
    }]);
  }
  assertEquals([relay.waiting, wakes(), rig.flows.size], [0, 4, 0]);
  assertEquals(rig.counted(), {});
});

Deno.test("the largest answer fits one frame", async () => {
  for (const [mtu, destination, bytes] of [[576, GATEWAY4, 548], [1280, GATEWAY6, 1232]] as const) {
    const { rig, gateway } = dnsRig(1, mtu);
    rig.guest({ destination, destinationPort: 53, data: pattern(20) });
    const { maxUdpBytes, answer } = gateway.asked[0]!;
    assertEquals(maxUdpBytes, bytes);
    answer(pattern(maxUdpBytes));
    await settle();
    assertEquals(rig.queues.hostToGuest.frames, 1);
    assertEquals(rig.got()[0]!.data, pattern(maxUdpBytes));
  }
});

Deno.test("questions beyond the limit are dropped and counted; a place is used again", async () => {
  const { rig, relay, gateway } = dnsRig(3);
  for (let port = 1; port <= 10; port++) {
    rig.guest({ destination: GATEWAY4, sourcePort: port, destinationPort: 53, data: pattern(20) });
  }
  assertEquals([gateway.asked.length, relay.waiting], [3, 3]);
  assertEquals(rig.counted(), { "drop.udp.flows": 7 });
  gateway.asked[1]!.answer(null);
  await settle();
  rig.silent();
  rig.guest({ destination: GATEWAY4, sourcePort: 11, destinationPort: 53, data: pattern(20) });
  gateway.asked[0]!.answer(pattern(1));
  gateway.asked[3]!.answer(pattern(3));
  gateway.asked[2]!.answer(pattern(2));
  await settle();
  assertEquals(
    rig.got().map(({ destinationPort, data }) => [destinationPort, data.length]),
    [[1, 1], [11, 3], [3, 2]],
  );
  assertEquals(relay.waiting, 0);
});

Deno.test("an answer after the end goes nowhere, and no question is taken", async () => {
  const { rig, relay, gateway, wakes } = dnsRig(2);
  rig.guest({ destination: GATEWAY4, destinationPort: 53, data: pattern(20) });
  relay[Symbol.dispose]();
  gateway.asked[0]!.answer(pattern(30));
  await settle();
  rig.guest({ destination: GATEWAY4, destinationPort: 53, data: pattern(20) });
  rig.silent();
  assertEquals([gateway.asked.length, relay.waiting, wakes()], [1, 0, 0]);
});

Deno.test("a fault of the DNS gateway costs its question alone", async () => {
  const { rig, relay, gateway, errors } = dnsRig(1);
  rig.guest({ destination: GATEWAY4, destinationPort: 53, data: pattern(20) });
  gateway.asked[0]!.fail(new Error("oops"));
  await settle();
  assertEquals([relay.waiting, errors.length], [0, 1]);
  assertEquals(rig.counted(), { "bug.turn": 1 });
  rig.guest({ destination: GATEWAY4, destinationPort: 53, data: pattern(20) });
  gateway.asked[1]!.answer(pattern(30));
  await settle();
  assertEquals(rig.got().length, 1);
});

Deno.test("questions beyond the rate are dropped and counted, and later ones are taken again", () => {
  const { rig, relay, gateway } = dnsRig(100, 1500, 100);
  const ask = (count: number) => {
    for (let i = 0; i < count; i++) {
      rig.guest({
        source: GUEST4,
        destination: GATEWAY4,
        sourcePort: 1000 + i,
        destinationPort: 53,
      });
    }
  };
  ask(15);
  assertEquals([gateway.asked.length, relay.waiting], [10, 10]);
  assertEquals(rig.counted(), { "drop.udp.rate": 5 });
  rig.nowMs += 30;
  ask(5);
  assertEquals(gateway.asked.length, 13);
});
