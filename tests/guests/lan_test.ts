/** Guests of a shared network whose workers fail. */
import { assertEquals } from "@std/assert";
import { serveGuestsIn } from "../../lib/guests.ts";
import type { VmmEndpoint } from "../../mod.ts";
import { RawVmm } from "../guest/raw_vmm.ts";
import { lanMembersOf } from "../support/lan_rig.ts";
import { ethernet, ip4, udp } from "../support/packets.ts";
import { ANY_PORT, eventually, HurtWorkers, QUIET } from "./guests_rig.ts";

const MEMBERS = lanMembersOf(3);

function attach(endpoint: VmmEndpoint): Promise<RawVmm> {
  if (endpoint.transport !== "tcp") throw new Error("a TCP endpoint was asked for");
  return RawVmm.connect(`tcp:${endpoint.port}`);
}

/** A datagram from one member to another, with a number. */
function datagram(from: number, to: number, number: number): Uint8Array {
  const [source, destination] = [MEMBERS[from]!, MEMBERS[to]!];
  const data = udp(source.ip4, 5_000, destination.ip4, 7, Uint8Array.of(number));
  return ethernet(ip4(data, { source: source.ip4, destination: destination.ip4 }), {
    source: source.mac,
    destination: destination.mac,
  });
}

let number = 0;

/** Sends a datagram from one guest to another until one has come, as only one may. */
async function reach(links: readonly RawVmm[], from: number, to: number): Promise<void> {
  const frame = datagram(from, to, ++number & 0xff);
  await links[from]!.send(frame);
  await eventually(() => links[to]!.frames.some((came) => came.join() === frame.join()));
}

Deno.test("a guest whose worker has failed is reached again by others, which never noticed", async () => {
  const workers = new HurtWorkers();
  await using guests = await serveGuestsIn(workers.start, {
    workers: 2,
    networks: { dev: {} },
    guests: MEMBERS.map(({ name }) => ({ name, endpoint: ANY_PORT, network: "dev", ...QUIET })),
  });
  const counters = async (name: string) => (await guests.guest(name).snapshot()).totals.counters;
  const links = await Promise.all(MEMBERS.map(({ name }) => attach(guests.guest(name).endpoint)));
  try {
    for (const { name } of MEMBERS) {
      await eventually(async () => (await guests.guest(name).snapshot()).guest !== null);
    }
    await reach(links, 0, 1); // in another worker
    await reach(links, 1, 0);
    await reach(links, 0, 2); // in the same
    const came = links[1]!.frames.length;
    workers.hurt(1);
    await eventually(() => links[1]!.closedByGateway);
    await links[0]!.send(datagram(0, 1, 0)); // nobody is there
    await eventually(async () => (await counters("a"))["drop.lan.away"] === 1);
    await reach(links, 0, 2);
    await eventually(() => guests.workers()[1]!.restarts === 1 && guests.workers()[1]!.alive);
    await links[1]![Symbol.asyncDispose]();
    links[1] = await attach(guests.guest("b").endpoint);
    await eventually(async () => (await guests.guest("b").snapshot()).guest !== null);
    await reach(links, 1, 0);
    await reach(links, 0, 1);
    await reach(links, 2, 1);
    assertEquals(came, 1);
    assertEquals(links[1]!.frames.length, 2, "nothing of before came");
    for (const { name } of MEMBERS) assertEquals((await counters(name))["bug.lan"], 0);
  } finally {
    for (const link of links) await link[Symbol.asyncDispose]();
  }
});
