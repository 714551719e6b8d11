import { assertEquals, assertRejects } from "@std/assert";
import {
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY_MAC,
  GUEST4,
  GUEST_MAC,
  ip,
  ip4,
  mac,
  pattern,
  read,
  tcp,
  u16,
  udp,
} from "./packets.ts";
import { VirtualGateway } from "./virtual_gateway.ts";
import { HOST4, sink, VirtualHost } from "./virtual_host.ts";

const ARP = ethernet(
  concat(
    u16(1),
    u16(0x0800),
    [6, 4],
    u16(1),
    mac(GUEST_MAC),
    ip(GUEST4),
    new Uint8Array(6),
    ip(GATEWAY4),
  ),
  { destination: "ff:ff:ff:ff:ff:ff", type: 0x0806 },
);

function datagram(data: Uint8Array, port = 7): Uint8Array {
  return ethernet(ip4(udp(GUEST4, 5000, HOST4, port, data), { destination: HOST4 }));
}

Deno.test("virtual gateway: an ARP request is answered, whatever way the bytes are split", async () => {
  await using gw = new VirtualGateway({ link: { transferBytes: () => 1, operationMs: () => 1 } });
  gw.send(ARP, ARP);
  await gw.run(500);
  const frames = gw.frames();
  assertEquals(frames.length, 2);
  assertEquals(frames[0]!.subarray(6, 12), mac(GATEWAY_MAC));
});

Deno.test("virtual gateway: a datagram goes to a host and its answer comes back", async () => {
  await using gw = new VirtualGateway();
  gw.send(ARP);
  await gw.settle();
  gw.frames();
  gw.host.udp(HOST4, 7, (data, reply) => {
    reply(data, { delayMs: 5 });
    reply(data, { from: { address: "192.0.2.99", port: 7 } });
  });
  gw.send(datagram(pattern(100)));
  await gw.run(4);
  assertEquals(gw.frames().length, 0);
  await gw.run(1);
  const [frame] = gw.frames();
  assertEquals(read(frame!).payload.subarray(8), pattern(100));
  assertEquals(gw.counters["udp.up"], 1);
  assertEquals(gw.counters["drop.udp.peer"], 1);
  assertEquals(gw.figures().udpFlows, 1);
});

Deno.test("virtual gateway: time passes in no time, and timers run on the way", async () => {
  await using gw = new VirtualGateway();
  gw.host.udp(HOST4, 7, (data, reply) => reply(data));
  gw.send(datagram(pattern(10)));
  await gw.run(3_600_000);
  assertEquals(gw.figures().udpFlows, 0);
  assertEquals(gw.host.openSockets, 1, "the link");
});

Deno.test("virtual gateway: a guest that takes nothing stops the writer", async () => {
  await using gw = new VirtualGateway({ link: { bufferBytes: 4096 } });
  gw.send(ARP);
  await gw.settle();
  gw.frames();
  gw.takes = false;
  gw.host.udp(HOST4, 7, (data, reply) => reply(data));
  for (let i = 0; i < 10; i++) gw.send(datagram(pattern(1000, i)));
  await gw.run(100);
  assertEquals(gw.frames().length, 0);
  assertEquals(gw.unsentBytes, 0);
  gw.takes = true;
  await gw.run(1);
  const frames = gw.frames();
  assertEquals(
    frames.map((frame) => frame[42]),
    pattern(10).map((_, i) => i) && [
      ...Array(10).keys(),
    ],
  );
});

Deno.test("virtual gateway: what a flow leaves open when the link is cut is freed", async () => {
  const gw = new VirtualGateway();
  gw.host.listen(HOST4, 80, sink, { delayMs: 20 });
  gw.host.blackHole(HOST4, 81);
  const syn = tcp(GUEST4, HOST4, new Uint8Array(0), 2);
  gw.send(ARP, ethernet(ip4(syn, { destination: HOST4, protocol: 6 })));
  await gw.run(10);
  assertEquals(gw.host.dialing, 1);
  assertEquals(gw.figures().dials, 1);
  await gw.run(20);
  assertEquals(gw.host.accepted.length, 1);
  assertEquals(gw.host.openSockets, 2);
  await gw.end();
  assertEquals(gw.ended, "closed by the VMM");
});

Deno.test("virtual gateway: a leak is an error of the test", async () => {
  const gw = new VirtualGateway();
  gw.host.openConn();
  await assertRejects(() => gw.end(), Error, "sockets of the host left open");
  const timed = new VirtualGateway();
  timed.host.setTimer(() => {}, 60_000);
  await assertRejects(() => timed.end(), Error, "timers left running");
});

Deno.test("virtual gateway: networks that share a machine end one by one", async () => {
  const host = new VirtualHost({ seed: 7 });
  const gateways = [new VirtualGateway({ host }), new VirtualGateway({ host })];
  for (const gw of gateways) gw.send(ARP);
  await host.clock.run(1);
  for (const gw of gateways) assertEquals(gw.frames().length, 1);
  for (const gw of gateways) await gw.end();
  assertEquals(host.openSockets, 0);
  assertEquals(host.timers, 0);
});
