import { assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { LanFlows, LanKnown } from "../../lib/stack/lan_flows.ts";
import { LanFrame } from "../../lib/stack/lan_frame.ts";
import { LanMembers } from "../../lib/stack/lan_members.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { lanMembersOf } from "../support/lan_rig.ts";
import { ethernet, ip, ip4, mac, udp } from "../support/packets.ts";

const MEMBERS = lanMembersOf(4);
const ADDRESSES = MEMBERS.map((member) => ({
  mac: mac(member.mac),
  ip4: ip(member.ip4),
  ip6: ip(member.ip6!),
}));

/** The flows of guest 0, and packets of them. */
class Rig {
  readonly memory = new FrameMemory(64 * 1024);
  readonly frame = new LanFrame();
  readonly flows: LanFlows;

  constructor(capacity: number) {
    this.flows = new LanFlows({
      memory: this.memory,
      members: new LanMembers(ADDRESSES, 0, 64),
      limits: DEFAULT_LIMITS,
      seed: Uint32Array.of(1, 2, 3, 4),
      capacity,
    });
  }

  #place(from: number, to: number, port: number): void {
    const [source, destination] = [MEMBERS[from]!.ip4, MEMBERS[to]!.ip4];
    const ports: [number, number] = from === 0 ? [port, 7] : [7, port];
    const datagram = udp(source, ports[0], destination, ports[1], Uint8Array.of(1));
    const bytes = ethernet(ip4(datagram, { source, destination }));
    this.memory.bytes.set(bytes);
    assertEquals(this.frame.parse(this.memory.view, 0, bytes.length), true);
  }

  /** Whether a datagram of guest 0 from `port` belongs to a flow with `to`. */
  isKnown(to: number, port: number): boolean {
    this.#place(0, to, port);
    return this.flows.look(this.frame, 0) === LanKnown.flow;
  }

  begin(to: number, port: number): void {
    if (!this.isKnown(to, port)) this.flows.begin(this.frame, to, 0);
  }

  note(from: number, port: number): void {
    this.#place(from, 0, port);
    this.flows.note(this.memory.view, this.frame, from, 0);
  }
}

Deno.test("whoever has its share already loses its own flows", () => {
  const rig = new Rig(16); // four of each
  for (let port = 1; port <= 4; port++) {
    rig.begin(1, port);
    rig.note(2, 100 + port);
    rig.note(3, 200 + port);
  }
  for (let port = 1; port <= 100; port++) rig.note(1, 1_000 + port);
  assertEquals(rig.flows.size, 16);
  for (let port = 1; port <= 4; port++) {
    assertEquals(rig.isKnown(1, port), true, "the guest's own");
    assertEquals(rig.isKnown(2, 100 + port), true);
    assertEquals(rig.isKnown(3, 200 + port), true);
  }
  assertEquals(rig.isKnown(1, 1_096), false);
  for (let port = 97; port <= 100; port++) assertEquals(rig.isKnown(1, 1_000 + port), true);
});

Deno.test("who has less than its share takes from who has most", () => {
  const rig = new Rig(16);
  for (let port = 1; port <= 16; port++) rig.note(1, port);
  rig.note(2, 100);
  rig.begin(3, 200);
  assertEquals(rig.flows.size, 16);
  assertEquals([rig.isKnown(2, 100), rig.isKnown(3, 200)], [true, true]);
  assertEquals([rig.isKnown(1, 1), rig.isKnown(1, 2), rig.isKnown(1, 3)], [false, false, true]);
});

Deno.test("the least recently used makes way", () => {
  const rig = new Rig(8);
  for (let port = 1; port <= 8; port++) rig.note(1, port);
  assertEquals(rig.isKnown(1, 1), true); // and so used again
  rig.note(1, 9);
  assertEquals([rig.isKnown(1, 1), rig.isKnown(1, 2)], [true, false]);
});

Deno.test("flows that are judged again go, those of others stay", () => {
  const rig = new Rig(8);
  rig.begin(1, 1);
  rig.begin(2, 2);
  rig.note(1, 3);
  const judged: number[] = [];
  rig.flows.judgeAgain(({ peer, port, protocol, address }) => {
    assertEquals([port, protocol, [...address]], [7, "udp", [10, 77, 0, peer + 2]]);
    judged.push(peer);
    return peer !== 1;
  });
  assertEquals(judged, [1, 2]);
  assertEquals([rig.isKnown(1, 1), rig.isKnown(2, 2), rig.isKnown(1, 3)], [false, true, true]);
});
