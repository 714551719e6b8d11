import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import type { UdpFlow } from "../../lib/stack/udp_flows.ts";
import { GATEWAY4 } from "../support/packets.ts";
import { RecordingOwner, RIG_FLOWS, UdpRig } from "../support/udp_rig.ts";

const { udpUnrepliedMs, udpRepliedMs, udpDnsMs } = DEFAULT_LIMITS;

Deno.test("a flow without a reply ends 30 s after the guest's last datagram", () => {
  const rig = new UdpRig();
  rig.guest({});
  rig.waitFlows(udpUnrepliedMs - 1);
  rig.guest({});
  rig.waitFlows(udpUnrepliedMs - 1);
  assertEquals(rig.flows.size, 1);
  rig.waitFlows(1);
  assertEquals(rig.flows.size, 0);
  assertEquals(rig.owners.map((owner) => owner.closes), [1]);
  assertEquals(rig.flows.pollAt(), Infinity);
});

Deno.test("a flow with a reply ends 300 s after traffic in either direction", () => {
  const rig = new UdpRig();
  rig.guest({});
  const flow = rig.owners[0]!.flow!;
  rig.waitFlows(1000);
  rig.flows.usedByPeer(flow, rig.nowMs);
  rig.waitFlows(udpRepliedMs - 1);
  rig.flows.usedByPeer(flow, rig.nowMs);
  rig.waitFlows(udpRepliedMs - 1);
  rig.guest({});
  rig.waitFlows(udpRepliedMs - 1);
  assertEquals([rig.flows.size, flow.closed], [1, false]);
  rig.waitFlows(1);
  assertEquals([rig.flows.size, flow.closed], [0, true]);
});

Deno.test("a flow to port 53 ends after 10 s, or with the answer to its last question", () => {
  const rig = new UdpRig({ interceptDns: false });
  rig.guest({ destinationPort: 53 });
  rig.waitFlows(udpDnsMs - 1);
  assertEquals(rig.flows.size, 1);
  rig.waitFlows(1);
  assertEquals(rig.flows.size, 0);
  rig.guest({ destinationPort: 53 });
  rig.guest({ destinationPort: 53 });
  const owner = rig.owners[1]!;
  rig.flows.usedByPeer(owner.flow!, rig.nowMs);
  assertEquals([rig.flows.size, owner.closes], [1, 0]);
  rig.flows.usedByPeer(owner.flow!, rig.nowMs);
  assertEquals([rig.flows.size, owner.closes], [0, 1]);
});

/** A flow that a client opens to port 7 of the guest; `null` where there is no place for it. */
function clientFlow(rig: UdpRig, clientPort: number): UdpFlow | null {
  const { link: { guestIp4At: guestAt, gatewayIp4At: peerAt } } = rig;
  const owner = new RecordingOwner(rig);
  const ends = { family: 4, guestAt, guestPort: 7, peerAt, peerPort: clientPort } as const;
  if (!rig.flows.isFree(ends)) return null;
  const flow = rig.flows.insertPublished(ends, owner, rig.nowMs);
  if (flow !== null) {
    owner.opened(flow);
    rig.owners.push(owner);
  }
  return flow;
}

Deno.test("a client's flow lives by what the guest answers, and takes the guest's datagrams", () => {
  const rig = new UdpRig();
  const flow = clientFlow(rig, 5000)!;
  assertEquals(clientFlow(rig, 5000), null);
  rig.flows.usedByPeer(flow, rig.nowMs);
  rig.waitFlows(udpUnrepliedMs - 1);
  rig.flows.usedByPeer(flow, rig.nowMs);
  rig.waitFlows(udpUnrepliedMs - 1);
  assertEquals([flow.closed, flow.isReplied], [false, false]);
  const answer = { destination: GATEWAY4, destinationPort: 5000, sourcePort: 7 };
  rig.guest({ ...answer, data: Uint8Array.of(1) });
  assertEquals([rig.owners[0]!.sent, flow.isReplied], [[Uint8Array.of(1)], true]);
  rig.waitFlows(udpRepliedMs - 1);
  assertEquals(flow.closed, false);
  rig.waitFlows(1);
  assertEquals([flow.closed, rig.flows.size, rig.flows.published], [true, 0, 0]);
  assertEquals(rig.counted(), { "udp.accepted": 1 });
});

Deno.test("flows of clients and of the guest have places of their own", () => {
  const rig = new UdpRig({ limits: { udpFlows: 3, publishedUdpFlows: 2 } });
  for (let port = 1; port <= 5; port++) rig.guest({ sourcePort: port });
  assertEquals([1, 2, 3].map((port) => clientFlow(rig, port) !== null), [true, true, false]);
  assertEquals([rig.flows.size, rig.flows.published], [5, 2]);
  rig.guest({ sourcePort: 6 });
  assertEquals(rig.owners.map((owner) => owner.closes), [1, 1, 1, 0, 0, 0, 0, 0]);
  rig.flows.close(rig.owners[5]!.flow!);
  assertEquals(clientFlow(rig, 3) !== null, true);
  rig.flows.closeAll();
  assertEquals([rig.flows.size, rig.flows.published, rig.flows.pollAt()], [0, 0, Infinity]);
});

Deno.test("a link that was away ends the flows that the guest lacks, clients' among them", () => {
  const rig = new UdpRig();
  rig.guest({ sourcePort: 1 });
  rig.guest({ sourcePort: 2 });
  const [spoken, silent] = [clientFlow(rig, 5000)!, clientFlow(rig, 5001)!];
  rig.flows.keepAll();
  rig.guest({ sourcePort: 1 });
  rig.guest({ destination: GATEWAY4, destinationPort: 5000, sourcePort: 7 });
  rig.flows.usedByPeer(silent, rig.nowMs);
  assertEquals(rig.flows.closeKept(), 2);
  assertEquals([spoken.closed, silent.closed], [false, true]);
  assertEquals(rig.owners.map((owner) => owner.closes), [0, 1, 0, 1]);
});

Deno.test("where all flows are in use the least recently used makes way", () => {
  const rig = new UdpRig({ limits: { udpFlows: 3 } });
  for (const sourcePort of [1, 2, 3]) rig.guest({ sourcePort });
  rig.guest({ sourcePort: 1 });
  rig.flows.usedByPeer(rig.owners[1]!.flow!, rig.nowMs);
  rig.guest({ sourcePort: 4 });
  assertEquals(rig.owners.map((owner) => owner.closes), [0, 0, 1, 0]);
  assertEquals(rig.counted(), { "udp.opened": 4, "udp.evicted": 1 });
  rig.guest({ sourcePort: 5 });
  assertEquals(rig.owners.map((owner) => owner.closes), [1, 0, 1, 0, 0]);
  assertEquals(rig.flows.size, 3);
});

Deno.test("20,000 source ports never make more flows than the limit", () => {
  const rig = new UdpRig();
  for (let sourcePort = 1; sourcePort <= 20_000; sourcePort++) rig.guest({ sourcePort });
  assertEquals(rig.flows.size, RIG_FLOWS);
  const open = rig.owners.filter((owner) => owner.closes === 0);
  assertEquals(open.length, RIG_FLOWS);
  assertEquals(open[0]!.flow!.guestPort, 20_000 - RIG_FLOWS + 1);
  assertEquals(rig.counters.get("udp.evicted"), 20_000 - RIG_FLOWS);
  rig.waitFlows(udpUnrepliedMs);
  assertEquals([rig.flows.size, rig.flows.pollAt()], [0, Infinity]);
});

Deno.test("closing ends a flow once, and all flows", () => {
  const rig = new UdpRig();
  rig.guest({ sourcePort: 1 });
  rig.guest({ sourcePort: 2 });
  const [first, second] = rig.owners;
  rig.flows.close(first!.flow!);
  rig.flows.close(first!.flow!);
  rig.flows.closeAll();
  rig.flows.closeAll();
  assertEquals([first!.closes, second!.closes, rig.flows.size], [1, 1, 0]);
  assertEquals(rig.flows.pollAt(), Infinity);
  rig.guest({ sourcePort: 1 });
  assertEquals(rig.owners.length, 3);
});

Deno.test("flows keep to a plain model of least recent use and time", () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant("guest" as const), port: fc.integer({ min: 1, max: 8 }) }),
    fc.record({ kind: fc.constant("peer" as const), port: fc.integer({ min: 1, max: 8 }) }),
    fc.record({ kind: fc.constant("wait" as const), port: fc.integer({ min: 1, max: 200_000 }) }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const rig = new UdpRig({ limits: { udpFlows: 4 } });
      // Oldest first.
      let model: { port: number; usedMs: number; replied: boolean }[] = [];
      for (const { kind, port } of actions) {
        const known = model.find((flow) => flow.port === port);
        if (kind === "wait") {
          rig.waitFlows(port);
          model = model.filter(({ usedMs, replied }) =>
            usedMs + (replied ? udpRepliedMs : udpUnrepliedMs) > rig.nowMs
          );
        } else if (kind === "guest" || known !== undefined) {
          if (kind === "guest") rig.guest({ sourcePort: port });
          else {
            const owner = rig.owners.findLast((owner) => owner.flow!.guestPort === port)!;
            rig.flows.usedByPeer(owner.flow!, rig.nowMs);
          }
          const replied = (known?.replied ?? false) || kind === "peer";
          model = [...model.filter((flow) => flow !== known), { port, usedMs: rig.nowMs, replied }];
          if (model.length > 4) model.shift();
        }
        const open = rig.owners.filter((owner) => owner.closes === 0);
        assertEquals(
          open.map((owner) => owner.flow!.guestPort).sort(),
          model.map((flow) => flow.port).sort(),
        );
        assertEquals(rig.flows.size, model.length);
      }
    }),
    { numRuns: 60 },
  );
});
