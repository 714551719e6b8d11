/** Datagrams of published ports at one guest's network, on virtual time, with sockets by hand. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ClientShares } from "../../lib/host/client_shares.ts";
import {
  concat,
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  ip4,
  pattern,
  read,
  udp,
} from "../support/packets.ts";
import {
  CLIENT,
  CLIENT6,
  type Datagram,
  LOOPBACK,
  PORT,
  Rig,
  Socket,
} from "../support/published_rig.ts";
import { systemError } from "../support/virtual_socket.ts";

const ends = ({ source, sourcePort, destination, destinationPort }: Datagram) =>
  `${source} ${sourcePort} > ${destination} ${destinationPort}`;

for (
  const [client, shown, guest] of [
    [CLIENT, `${CLIENT.hostname} 4321`, GUEST4],
    [LOOPBACK, `${GATEWAY4} 40000`, GUEST4],
    [CLIENT6, `${CLIENT6.hostname} 4321`, GUEST6],
    [{ hostname: "::1", port: 40_000 }, `${GATEWAY6} 40000`, GUEST6],
    [{ hostname: "::ffff:198.51.100.7", port: 9 }, "198.51.100.7 9", GUEST4],
    [{ hostname: "::ffff:127.0.0.1", port: 9 }, `${GATEWAY4} 9`, GUEST4],
    [{ hostname: GUEST4, port: 9 }, `${GATEWAY4} 9`, GUEST4], // who claims an address of the link
    [{ hostname: "fe80::1%eth0", port: 9 }, `${GATEWAY6} 9`, GUEST6],
    [{ hostname: "224.0.0.5", port: 9 }, `${GATEWAY4} 9`, GUEST4],
  ] as const
) {
  Deno.test(`published udp: ${client.hostname} is seen as ${shown}, and gets the answer`, async () => {
    await using rig = await Rig.start();
    rig.client(client, pattern(100));
    const [asked, ...more] = await rig.guestGets();
    assertEquals([more.length, ends(asked!)], [0, `${shown} > ${guest} ${PORT}`]);
    assertEquals(asked!.data, pattern(100));
    await rig.answers(asked!, pattern(300, 7));
    assertEquals(rig.socket.sent, [
      { to: `${client.hostname} ${client.port}`, data: pattern(300, 7) },
    ]);
    assertEquals(rig.flows, 1);
    const { "udp.accepted": accepted, "udp.down": down, "udp.up": up } = rig.gw.counters;
    assertEquals([accepted, down, up, rig.gw.counters["udp.opened"]], [1, 1, 1, undefined]);
    const [flow] = rig.gw.network.flows();
    assertEquals(
      [flow!.opener, flow!.protocol, flow!.state, flow!.upBytes, flow!.downBytes],
      ["host", "udp", "open", 300, 100],
    );
  });
}

Deno.test("published udp: clients that look alike to the guest get ports that tell them apart", async () => {
  await using rig = await Rig.start();
  const clients = ["127.0.0.1", "127.0.0.2", "::ffff:127.0.0.3"].map((hostname) => {
    return { hostname, port: 5000 };
  });
  clients.forEach((client, i) => rig.client(client, Uint8Array.of(i)));
  const asked = await rig.guestGets();
  assertEquals(new Set(asked.map(({ sourcePort }) => sourcePort)).size, 3);
  assertEquals(asked[0]!.sourcePort, 5000);
  for (const each of asked) await rig.answers(each, each.data);
  const got = rig.socket.sent.map(({ to, data }) => `${to} ${data[0]}`);
  assertEquals(got, clients.map(({ hostname, port }, i) => `${hostname} ${port} ${i}`));
});

Deno.test("published udp: no client is shown with a port that the gateway answers itself", async () => {
  await using rig = await Rig.start();
  for (const port of [53, 67, 547]) rig.client({ ...CLIENT, port }, Uint8Array.of(1));
  const asked = await rig.guestGets();
  assertEquals(asked.map(({ source }) => source), Array(3).fill(CLIENT.hostname));
  for (const each of asked) {
    assert(each.sourcePort >= 49_152, String(each.sourcePort));
    await rig.answers(each, Uint8Array.of(2));
  }
  assertEquals(rig.socket.sent.length, 3);
});

Deno.test("published udp: who is not let in, or wants no answer, opens nothing", async () => {
  await using rig = await Rig.start();
  rig.socket.lets = false;
  rig.client(CLIENT, pattern(10));
  rig.socket.lets = true;
  rig.client({ ...CLIENT, port: 0 }, pattern(10));
  rig.client({ hostname: "not an address", port: 1 }, pattern(10));
  assertEquals((await rig.guestGets()).length, 1, "what has no address is shown as the gateway");
  assertEquals([rig.flows, rig.gw.counters["drop.udp.source"]], [1, 2]);
});

Deno.test("published udp: a flow ends 30 s after the last datagram, with answers 300 s", async () => {
  await using rig = await Rig.start();
  rig.client(CLIENT, pattern(1));
  await rig.gw.run(29_000);
  rig.client(CLIENT, pattern(1));
  await rig.gw.run(29_000);
  assertEquals(rig.flows, 1);
  await rig.gw.run(1_100);
  assertEquals(rig.flows, 0);
  rig.client(CLIENT, pattern(1));
  const asked = await rig.guestGets();
  await rig.answers(asked.at(-1)!, pattern(1));
  await rig.gw.run(299_000);
  assertEquals(rig.flows, 1);
  await rig.gw.run(2_000);
  assertEquals(rig.flows, 0);
  rig.gw.send(ethernet(ip4(udp(GUEST4, PORT, CLIENT.hostname, CLIENT.port, pattern(1)), {
    destination: CLIENT.hostname,
  })));
  await rig.gw.run(1);
  assertEquals(rig.socket.sent.length, 1, "what comes too late is no answer");
});

for (const [family, mtu] of [[4, 1500], [6, 1500], [4, 576]] as const) {
  Deno.test(`published udp: the longest datagrams over IPv${family} at MTU ${mtu} come in fragments, longer ones are refused`, async () => {
    await using rig = await Rig.start({ network: { mtu } });
    const client = family === 4 ? CLIENT : CLIENT6;
    const most = family === 4 ? 65_507 : 65_527;
    rig.client(client, pattern(most, 3));
    await rig.gw.run(1);
    const pieces = rig.gw.frames().map((frame) => read(frame));
    const bytes = pieces.map(({ payload, protocol }) => {
      return protocol === 44 ? payload.slice(8) : payload;
    });
    assertEquals(concat(...bytes).slice(8), pattern(most, 3));
    assert(pieces.every(({ header, payload }) => header.length + payload.length <= mtu));
    assertEquals(rig.gw.counters["drop.udp.len"], undefined);
    rig.client(client, new Uint8Array(most + 1));
    assertEquals([(await rig.guestGets()).length, rig.gw.counters["drop.udp.len"]], [0, 1]);
    rig.client(client, new Uint8Array(0));
    assertEquals((await rig.guestGets()).map(({ data }) => data.length), [0]);
  });
}

Deno.test("published udp: an answer in fragments goes to the client whole", async () => {
  await using rig = await Rig.start();
  rig.client(CLIENT, pattern(1));
  const [asked] = await rig.guestGets();
  const answer = pattern(9000, 5);
  const payload = udp(GUEST4, PORT, CLIENT.hostname, asked!.sourcePort, answer);
  for (let at = 0; at < payload.length; at += 1400) {
    const more = at + 1400 < payload.length ? 0x2000 : 0;
    const fields = { destination: CLIENT.hostname, id: 9, fragment: at >> 3 | more };
    rig.gw.send(ethernet(ip4(payload.slice(at, at + 1400), fields)));
  }
  await rig.gw.run(1);
  assertEquals(rig.socket.sent.map(({ data }) => data), [answer]);
});

Deno.test("published udp: where nothing listens over one family, the other one gets the datagram", async () => {
  await using rig = await Rig.start();
  rig.client(CLIENT6, pattern(20, 1));
  const [first] = await rig.guestGets();
  assertEquals(first!.destination, GUEST6);
  await rig.refuses(first!);
  const [second, ...more] = await rig.guestGets();
  assertEquals([second!.destination, second!.source, more.length], [GUEST4, GATEWAY4, 0]);
  assertEquals(second!.data, pattern(20, 1));
  await rig.answers(second!, pattern(9));
  assertEquals(rig.socket.sent.map(({ to }) => to), [`${CLIENT6.hostname} 4321`]);
  assertEquals(rig.flows, 1);
  // Later clients are spared the detour, for a while.
  rig.client({ ...CLIENT6, port: 1 }, pattern(20));
  assertEquals((await rig.guestGets()).map(({ destination }) => destination), [GUEST4]);
  await rig.gw.run(31_000);
  rig.client({ ...CLIENT6, port: 2 }, pattern(20));
  assertEquals((await rig.guestGets()).map(({ destination }) => destination), [GUEST6]);
});

Deno.test("published udp: where nothing listens at all, nothing is held and nothing goes in circles", async () => {
  await using rig = await Rig.start();
  for (let round = 0; round < 3; round++) {
    rig.client(CLIENT, pattern(20));
    let datagrams = await rig.guestGets();
    for (let steps = 0; datagrams.length > 0; steps++) {
      assert(steps < 3, "no circle");
      for (const each of datagrams) await rig.refuses(each);
      datagrams = await rig.guestGets();
    }
    assertEquals(rig.flows, 0);
  }
});

Deno.test("published udp: an error of the guest ends no flow that has answers, nor one of another port", async () => {
  await using rig = await Rig.start();
  rig.client(CLIENT, pattern(20));
  const [asked] = await rig.guestGets();
  await rig.refuses({ ...asked!, destinationPort: 54 });
  await rig.refuses({ ...asked!, sourcePort: 1 });
  assertEquals(rig.flows, 1);
  await rig.answers(asked!, pattern(1));
  await rig.refuses(asked!);
  assertEquals([rig.flows, (await rig.guestGets()).length], [1, 0]);
});

Deno.test("published udp: a socket that takes no more, or fails, costs the datagram alone", async () => {
  await using rig = await Rig.start();
  rig.client(CLIENT, pattern(1));
  const [asked] = await rig.guestGets();
  rig.socket.takes = false;
  await rig.answers(asked!, pattern(2));
  assertEquals(rig.gw.counters["drop.udp.host"], 1);
  rig.socket.takes = true;
  rig.socket.failure = systemError("EHOSTUNREACH");
  await rig.answers(asked!, pattern(2));
  assertEquals([rig.gw.counters["drop.udp.host"], rig.flows], [2, 1]);
  const errors = rig.gw.frames().map((frame) => read(frame)).filter(({ protocol }) =>
    protocol === 1
  );
  assertEquals(errors.map(({ payload }) => [payload[0], payload[1]]), [[3, 1]]);
});

Deno.test("published udp: a guest that takes nothing costs datagrams and no memory", async () => {
  await using rig = await Rig.start();
  rig.gw.takes = false;
  for (let i = 0; i < 3_000; i++) rig.client({ ...CLIENT, port: 1000 + i % 50 }, pattern(1400));
  await rig.gw.run(1);
  assert((rig.gw.counters["drop.queue.full"] ?? 0) > 0);
  assertEquals(rig.flows, 50);
  rig.gw.takes = true;
});

Deno.test("published udp: the end of a port ends its flows and no other's", async () => {
  await using rig = await Rig.start();
  const other = new Socket(54);
  for (let i = 0; i < 100; i++) {
    rig.client({ ...CLIENT, port: 1000 + i }, pattern(1));
    rig.client({ ...CLIENT6, port: 1000 + i }, pattern(1), other);
  }
  assertEquals(rig.flows, 200);
  rig.gw.network.endPublished(rig.socket);
  assertEquals(rig.gw.network.flows().map(({ guest }) => guest), Array(100).fill(`[${GUEST6}]:54`));
  rig.gw.network.endPublished(other);
  rig.gw.network.endPublished(other);
  assertEquals([rig.flows, rig.gw.network.flows()], [0, []]);
});

Deno.test("published udp: a flow is ended by its number", async () => {
  await using rig = await Rig.start();
  rig.client(CLIENT, pattern(1));
  const [flow] = rig.gw.network.flows();
  assertEquals([rig.gw.network.endFlow(flow!.id), rig.gw.network.endFlow(flow!.id)], [true, false]);
  assertEquals(rig.flows, 0);
});

Deno.test("published udp: rates hold for clients' flows, each way", async () => {
  await using rig = await Rig.start({
    rate: { down: 1_000, downBurst: 1_000, up: 1_000, upBurst: 1_000 },
  });
  for (let i = 0; i < 200; i++) rig.client(CLIENT, pattern(1_000));
  const asked = await rig.guestGets();
  assert(asked.length < 50 && asked.length > 0, String(asked.length));
  assertEquals(rig.gw.counters["drop.rate.down"], 200 - asked.length);
  for (let i = 0; i < 200; i++) await rig.answers(asked[0]!, pattern(1_000));
  assert(rig.socket.sent.length < 50 && rig.socket.sent.length > 0);
  assertEquals(rig.gw.counters["drop.rate.up"], 200 - rig.socket.sent.length);
});

Deno.test("client shares: the victim is of whoever has the most, as a plain model says", () => {
  const step = fc.record({
    owner: fc.integer({ min: 0, max: 5 }),
    what: fc.constantFrom("add", "add", "use", "answer", "remove", "victim"),
    pick: fc.nat(),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
    const shares = new ClientShares<{ id: number }>();
    type Model = { owner: string; flow: { id: number }; answered: boolean; used: number };
    let model: (Model & { share: ReturnType<typeof shares.add> })[] = [];
    let now = 0;
    for (const { owner, what, pick } of steps) {
      now++;
      if (what === "add") {
        const flow = { id: now };
        const share = shares.add(`o${owner}`, flow);
        model.push({ owner: `o${owner}`, flow, answered: false, used: now, share });
        continue;
      }
      const one = model[pick % Math.max(1, model.length)];
      if (one === undefined) {
        assertEquals(shares.victim(), null);
        continue;
      }
      if (what === "use" || what === "answer") {
        shares.use(one.share, one.flow, what === "answer");
        one.answered ||= what === "answer";
        one.used = now;
      } else if (what === "remove") {
        shares.remove(one.share, one.flow);
        model = model.filter((each) => each !== one);
      } else {
        const victim = model.find(({ flow }) => flow === shares.victim())!;
        const of = (name: string) => model.filter(({ owner }) => owner === name);
        const hasUnanswered = model.some(({ answered }) => !answered);
        assertEquals(victim.answered, !hasUnanswered, "an unanswered one first");
        const alike = (name: string) =>
          of(name).filter(({ answered }) => answered === !hasUnanswered);
        const most = Math.max(...model.map(({ owner }) => alike(owner).length));
        assertEquals(alike(victim.owner).length, most, "who has the most of them");
        const older = of(victim.owner).filter((each) => {
          return each.answered === victim.answered && each.used < victim.used;
        });
        assertEquals(older, [], "the least recently used");
      }
      assertEquals(shares.owners, new Set(model.map(({ owner }) => owner)).size);
    }
  }));
});
