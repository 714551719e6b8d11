/** Several guests in one process, in workers and without them. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ConfigError, GatewayError, serveGuests, type VirtioNetworkGuests } from "../../mod.ts";
import { serveGuestsIn } from "../../lib/guests.ts";
import type { WorkerGuest } from "../../lib/guests/messages.ts";
import { reaches, until } from "../fleet/policy_rig.ts";
import { echo, HostServer } from "../guest_embedded/rig.ts";
import {
  ANY_PORT,
  attach,
  eventOf,
  eventually,
  HurtWorkers,
  keepingLogger,
  QUIET,
} from "./guests_rig.ts";

/** Waits until the first worker has started again, once. */
function cameBack(guests: VirtioNetworkGuests): Promise<void> {
  return eventually(() => {
    const { alive, restarts } = guests.workers()[0]!;
    return alive && restarts === 1;
  });
}

const hosted = { ...QUIET, hostLoopback: true };

for (const workers of [0, 1, 2]) {
  Deno.test(`three guests in ${workers} workers: each has its own link, policy, names and ports`, async () => {
    await using guests = await serveGuests({
      workers,
      guests: [
        { name: "a", endpoint: ANY_PORT, ...QUIET, policy: { deny: ["9.9.9.9"] } },
        { name: "b", endpoint: ANY_PORT, ...QUIET },
        {
          name: "c",
          endpoint: ANY_PORT,
          ...QUIET,
          dns: { records: { "x.internal": ["192.0.2.9"] } },
        },
      ],
    });
    assertEquals(guests.names, ["a", "b", "c"]);
    const served = guests.workers().flatMap((worker) => worker.guests);
    assertEquals(served.sort(), workers === 0 ? [] : ["a", "b", "c"]);
    const [a, b, c] = guests.names.map((name) => guests.guest(name));
    assertEquals((await a!.explain("9.9.9.9:443")).allowed, false);
    assertEquals((await b!.explain("9.9.9.9:443")).allowed, true);
    assert((await c!.ownNames()).some(({ name }) => name === "x.internal"));
    assert(!(await b!.ownNames()).some(({ name }) => name === "x.internal"));

    await using first = await attach(a!.endpoint);
    await using second = await attach(b!.endpoint);
    assertEquals((await first.lease()).address, "100.96.0.2");
    assertEquals((await second.lease()).address, "100.96.0.6");
    assertEquals((await a!.snapshot()).guest?.counters["rx.frames"] !== undefined, true);
    assertEquals((await c!.snapshot()).guest, null);
    assertEquals((await c!.snapshot()).guestAddresses[0], "100.96.0.10");

    const [port] = await b!.publish({ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] });
    assertEquals((await b!.snapshot()).published, [port!]);
    assertEquals((await a!.snapshot()).published, []);
    assertEquals(await b!.unpublish(port!.hostPort), [port!]);
    assertEquals(await a!.flows(), []);
    assertEquals(await a!.endFlow(1), false);
    assertEquals(await a!.flushDns(), true);
    assertEquals(await c!.flushDns(), false);
  });
}

Deno.test("a guest reaches no socket of the program, not those of other guests either", async () => {
  await using guests = await serveGuests({
    workers: 2,
    guests: [
      { name: "a", endpoint: ANY_PORT, ...hosted },
      { name: "b", endpoint: ANY_PORT, ...hosted },
    ],
  });
  const beside = await guests.listenBeside(ANY_PORT, {
    what: "control",
    another: "another",
  } as never);
  const [port] = await guests.guest("b").publish({
    hostPort: 0,
    guestPort: 80,
    bind: ["127.0.0.1"],
  });
  using open = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using guest = await attach(guests.guest("a").endpoint);
  await guest.lease();
  const reached = await guest.connect("100.96.0.1", open.addr.port);
  reached.abort();
  const b = guests.guest("b").endpoint;
  assert(b.transport === "tcp" && beside.endpoint.transport === "tcp");
  for (const own of [b.port, port!.hostPort, beside.endpoint.port]) {
    await assertRejects(() => guest.connect("100.96.0.1", own));
  }
  const mapping = { hostPort: 0, guestPort: 7, protocol: "udp", bind: ["127.0.0.1"] } as const;
  const [udp] = await guests.guest("b").publish({ ...mapping, bind: [...mapping.bind] });
  using socket = guest.udp();
  socket.send("100.96.0.1", udp!.hostPort, Uint8Array.of(1));
  await assertRejects(() => socket.receive()); // by an ICMP error
});

Deno.test("the program's judge is asked with the guest's name, from workers too", async () => {
  const asked: string[] = [];
  await using guests = await serveGuests({
    workers: 1,
    guests: [{ name: "a", endpoint: ANY_PORT, ...hosted, limits: { judgeMs: 30_000 } }],
    judge: ({ guest, flow, signal }) => {
      asked.push(`${guest} ${flow.protocol} ${flow.port} ${signal.aborted}`);
      return { allow: false, reason: "not today" };
    },
  });
  await using guest = await attach(guests.guest("a").endpoint);
  await guest.lease();
  await assertRejects(() => guest.connect("100.96.0.1", 4_242));
  assertEquals(asked, ["a tcp 4242 false"]);
  const [denial] = await guests.guest("a").denials();
  assertEquals(denial!.denial.reason, "judge");
  assert(JSON.stringify(denial).includes("not today"));
});

Deno.test("events of all guests carry their names; log lines too", async () => {
  const logger = keepingLogger();
  await using guests = await serveGuests({
    workers: 2,
    logger,
    guests: [
      { name: "a", endpoint: ANY_PORT, ...QUIET },
      { name: "b", endpoint: ANY_PORT, ...QUIET },
    ],
  });
  const changed = await eventOf(guests, "b", "policy-changed", async () => {
    await guests.guest("b").setPolicy({ deny: ["9.9.9.9"] });
  });
  assertEquals([changed.guest, changed.rules], ["b", 1]);
  const attached = await eventOf(guests, "a", "guest-attached", async () => {
    await guests.guest("a").flows(); // its worker has taken the call for the events, too
    await using guest = await attach(guests.guest("a").endpoint);
    await guest.lease();
  });
  assertEquals(attached.guest, "a");
  await eventually(() => logger.lines.some(({ message }) => message === "guest left"));
  assertEquals(logger.lines.find(({ message }) => message === "guest attached")?.fields.guest, "a");
});

Deno.test("faults come back as what they are", async () => {
  await using guests = await serveGuests({
    workers: 1,
    guests: [{ name: "a", endpoint: ANY_PORT, ...QUIET }],
  });
  const guest = guests.guest("a");
  await assertRejects(
    async () => await guest.setPolicy({ allow: ["no rule at all!"] }),
    ConfigError,
  );
  await assertRejects(async () => await guest.explain(""), ConfigError);
  assertThrows(() => guests.guest("b"), GatewayError, `there is no guest "b"`);
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const error = await assertRejects(
    async () =>
      await guest.publish({ hostPort: taken.addr.port, guestPort: 80, bind: ["127.0.0.1"] }),
    GatewayError,
  );
  assertEquals((error as GatewayError).code, "address-in-use");
  assert((error as GatewayError).hint.startsWith("Try -p"));
});

Deno.test("where one guest can't be served none is, and the error names it", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const endpoint = { ...ANY_PORT, port: taken.addr.port };
  for (const workers of [0, 2]) {
    await assertRejects(
      () =>
        serveGuests({
          workers,
          guests: [{ name: "a", endpoint: ANY_PORT, ...QUIET }, { name: "b", endpoint, ...QUIET }],
        }),
      GatewayError,
      `guest "b": `,
    );
  }
});

Deno.test("names of services that come while a worker starts again are those of its guests", async () => {
  const workers = new HurtWorkers();
  await using guests = await serveGuestsIn(workers.start, {
    workers: 1,
    guests: [{ name: "a", endpoint: ANY_PORT, ...QUIET }],
  });
  const a = guests.guest("a");
  workers.hurt(0);
  await eventually(() => !guests.workers()[0]!.alive);
  await a.setZoneNames("fleet.internal", "web.db tcp 80 - 10.0.0.5\n");
  await eventually(() => workers.started.length === 2); // it has been told what there was
  await a.setZoneNames("fleet.internal", "web.db tcp 80 - 10.0.0.6\n");
  await cameBack(guests);
  await using guest = await attach(a.endpoint);
  await guest.lease();
  await eventually(async () => {
    return (await guest.resolve("web.db.fleet.internal", "A")).answers[0]?.data === "10.0.0.6";
  });
});

Deno.test("a guest that is served while the others of its worker start is told of another policy", async () => {
  const workers = new HurtWorkers();
  const held: (() => void)[] = [];
  await using guests = await serveGuestsIn(() => {
    const worker = workers.start();
    const isFirst = workers.started.length === 1;
    return {
      ...{ onmessage: null, onmessageerror: null, onerror: null },
      postMessage(message) {
        worker.onmessage = (event) => {
          const take = (): void => this.onmessage?.(event);
          if (!isFirst && event.data.type === "started") held.push(take);
          else take();
        };
        worker.onmessageerror = this.onmessageerror;
        worker.onerror = this.onerror;
        worker.postMessage(message);
      },
      terminate: () => worker.terminate(),
    };
  }, { workers: 1, guests: [{ name: "a", endpoint: ANY_PORT, ...QUIET, hostLoopback: true }] });
  await using host = new HostServer(echo);
  const a = guests.guest("a");
  workers.hurt(0);
  await eventually(() => held.length === 1);
  await using guest = await attach(a.endpoint);
  await guest.lease();
  assertEquals(await reaches(guest, host.port), true);
  // Nothing says to the program yet that the guest is served.
  await a.enforcePolicy({ deny: [`loopback:${host.port}/tcp`] });
  await until("a no of the policy", async () => !await reaches(guest, host.port));
  held[0]!();
  await eventually(() => guests.workers()[0]!.alive);
  assertEquals((await a.snapshot()).policy.deny, [`loopback:${host.port}/tcp`]);
});

Deno.test("a worker that fails costs its own guests, which come back as they were", async () => {
  const workers = new HurtWorkers();
  const logger = keepingLogger();
  await using guests = await serveGuestsIn(workers.start, {
    workers: 2,
    logger,
    guests: [
      { name: "a", endpoint: ANY_PORT, ...QUIET },
      { name: "b", endpoint: ANY_PORT, ...QUIET },
    ],
  });
  const [a, b] = [guests.guest("a"), guests.guest("b")];
  const { endpoint } = a;
  await a.setPolicy({ deny: ["9.9.9.9"] });
  const [port] = await a.publish({ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] });
  const [udp] = await a.publish({
    hostPort: 0,
    guestPort: 53,
    protocol: "udp",
    bind: ["127.0.0.1"],
  });
  await a.setRecords("db.internal", ["192.0.2.5"]);
  await a.setRecords("gone.internal", ["192.0.2.6"]);
  await a.removeRecords("gone.internal");
  await a.addZone("zone.internal", new Map([["web", [Uint8Array.of(192, 0, 2, 7)]]]), []);
  await a.setZoneNames("fleet.internal", "web.db tcp 80 - 10.0.0.5\n");
  await using other = await attach(b.endpoint);
  await other.lease();
  const hurt = await attach(endpoint);
  await hurt.lease();

  const left = await eventOf(guests, "a", "guest-attached", async () => {
    workers.hurt(0);
    await hurt.ended;
    await cameBack(guests);
    await a.flows();
    await using again = await attach(endpoint);
    assertEquals((await again.lease()).address, "100.96.0.2");
    assertEquals((await a.explain("9.9.9.9:443")).allowed, false);
    assertEquals((await a.snapshot()).published, [port!, udp!]);
    const names = (await a.ownNames()).map(({ name }) => name);
    assert(names.includes("db.internal") && !names.includes("gone.internal"));
    assert((await a.snapshot()).localZones.includes("zone.internal"));
    assertEquals((await again.resolve("web.db.fleet.internal", "A")).answers[0]?.data, "10.0.0.5");
  });
  assertEquals(left.guest, "a");
  assertEquals(guests.workers().map(({ restarts }) => restarts), [1, 0]);
  assertEquals((await b.snapshot()).guest === null, false);
  await other.ping("100.96.0.5");
  assert(logger.lines.some(({ message }) => message.startsWith("a worker failed")));
});

Deno.test("who waits for a worker that fails hears of it, and a stream of events goes on", async () => {
  const workers = new HurtWorkers();
  await using guests = await serveGuestsIn(workers.start, {
    workers: 1,
    guests: [{ name: "a", endpoint: ANY_PORT, ...QUIET }],
  });
  const guest = guests.guest("a");
  const events = guest.events();
  const seen: string[] = [];
  const reading = (async () => {
    for await (const event of events) {
      seen.push(event.type === "guest-left" ? event.reason : event.type);
      if (seen.length === 3) break;
    }
  })();
  await guest.flows(); // the worker has taken the call for the events, too
  await using first = await attach(guest.endpoint);
  await first.lease();
  await eventually(() => seen.length === 1);
  const capture = guest.capture({ filter: "tcp port 1" });
  await capture.next(); // the head; no frame follows
  const waiting = assertRejects(() => capture.next(), GatewayError, "worker has ended");
  workers.hurt(0);
  await waiting;
  await assertRejects(async () => await guest.flows(), GatewayError, "not served at this moment");
  await first.ended;
  await cameBack(guests);
  await guest.flows();
  await using second = await attach(guest.endpoint);
  await reading;
  assertEquals(seen, ["guest-attached", "its worker failed", "guest-attached"]);
  await second.close();
});

Deno.test("a signal ends all guests; a guest that is served once ends alone", async () => {
  const ending = new AbortController();
  const guests = await serveGuests({
    workers: 2,
    signal: ending.signal,
    guests: [
      { name: "a", endpoint: ANY_PORT, once: true, ...QUIET },
      { name: "b", endpoint: ANY_PORT, ...QUIET },
    ],
  });
  const guest = await attach(guests.guest("a").endpoint);
  await guest.lease();
  await guest.close();
  await eventually(() => !guests.workers()[0]!.alive);
  await assertRejects(async () => await guests.guest("a").flows(), GatewayError, "stopping");
  assertEquals(await guests.guest("b").flows(), []);
  ending.abort();
  await guests.finished;
});

Deno.test("frames of a guest in a worker are captured bit by bit", async () => {
  await using guests = await serveGuests({
    workers: 1,
    guests: [{ name: "a", endpoint: ANY_PORT, ...QUIET }],
  });
  await using guest = await attach(guests.guest("a").endpoint);
  const capture = guests.guest("a").capture({ filter: "arp or udp" });
  const head = await capture.next();
  assertEquals([...head.value!.subarray(0, 4)], [0x0a, 0x0d, 0x0d, 0x0a]);
  await guest.lease();
  assert((await capture.next()).value!.length > 0);
  await capture.return!();
  await eventually(async () => (await guests.guest("a").snapshot()).captures === 0);
  assertThrows(() => guests.guest("b"));
  await assertRejects(async () => await guests.guest("a").capture({ filter: "nonsense(" }).next());
});

Deno.test("what can't be carried to a worker, or not be opened there, is told to who asks", async () => {
  await using guests = await serveGuests({
    workers: 1,
    guests: [{ name: "a", endpoint: ANY_PORT, ...QUIET }],
  });
  const guest = guests.guest("a");
  const policy = { allow: [() => {}] } as never;
  await assertRejects(async () => await guest.setPolicy(policy), DOMException);
  const broken = guest.capture({ filter: "nonsense(" });
  await guest.flows(); // its worker has long said so
  await assertRejects(() => broken.next(), ConfigError);
});

Deno.test("ports that open while a worker starts again are refused to its guests too", async () => {
  const workers = new HurtWorkers();
  await using guests = await serveGuestsIn(workers.start, {
    workers: 2,
    guests: [
      { name: "a", endpoint: ANY_PORT, ...hosted },
      { name: "b", endpoint: ANY_PORT, ...hosted },
    ],
  });
  workers.hurt(0);
  const ports: number[] = [];
  do {
    const mapping = { hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] };
    ports.push((await guests.guest("b").publish(mapping))[0]!.hostPort);
    // Ever rarer, since a guest publishes at most 1,024 and a worker may need seconds to start.
    await new Promise((resolve) => setTimeout(resolve, ports.length / 8));
  } while (guests.workers()[0]!.restarts === 0 || !guests.workers()[0]!.alive);
  await using guest = await attach(guests.guest("a").endpoint);
  await guest.lease();
  for (const port of ports) await assertRejects(() => guest.connect("100.96.0.1", port));
  assertEquals((await guests.guest("a").snapshot()).guest!.figures.relays, 0);
});

Deno.test("a guest that can't be served again for a while keeps the others of its worker from nothing", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const endpoint = { ...ANY_PORT, port: taken.addr.port };
  let isTaken = true;
  const workers = new HurtWorkers((message, starts) => {
    const elsewhere = (guest: WorkerGuest) => {
      return guest.name === "b" && starts > 1 && isTaken ? { ...guest, endpoint } : guest;
    };
    if (message.type === "again") return { ...message, wanted: elsewhere(message.wanted) };
    if (message.type !== "start") return message;
    return { ...message, guests: message.guests.map(elsewhere) };
  });
  const logger = keepingLogger();
  await using guests = await serveGuestsIn(workers.start, {
    workers: 1,
    logger,
    guests: ["a", "b", "c"].map((name) => ({ name, endpoint: ANY_PORT, ...QUIET })),
  });
  const failures = () =>
    logger.lines.filter(({ message }) => message.startsWith("a guest can't be served again"));
  workers.hurt(0);
  await eventually(() => failures().length >= 2);
  for (const name of ["a", "c"]) {
    await using guest = await attach(guests.guest(name).endpoint);
    await guest.lease();
  }
  const ask = async (): Promise<boolean> => (await guests.guest("b").flows()).length >= 0;
  await assertRejects(ask, GatewayError, "not served at this moment");
  isTaken = false;
  const attached = await eventOf(guests, "b", "guest-attached", async () => {
    await eventually(() => ask().catch(() => false));
    await using guest = await attach(guests.guest("b").endpoint);
    await guest.lease();
  });
  assertEquals(attached.guest, "b");
  assertEquals(guests.workers().map(({ restarts }) => restarts), [1]);
  assertEquals(new Set(failures().map(({ fields }) => fields.guest)), new Set(["b"]));
});

Deno.test("an end does not wait for a guest that can't be served again", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const endpoint = { ...ANY_PORT, port: taken.addr.port };
  const workers = new HurtWorkers((message, starts) => {
    if (message.type !== "start" || starts === 1) return message;
    const [a, b] = message.guests;
    return { ...message, guests: [a!, { ...b!, endpoint }] };
  });
  const logger = keepingLogger();
  const guests = await serveGuestsIn(workers.start, {
    workers: 1,
    logger,
    guests: ["a", "b"].map((name) => ({ name, endpoint: ANY_PORT, ...QUIET })),
  });
  workers.hurt(0);
  await eventually(() =>
    logger.lines.some(({ fields }) => fields.guest === "b" && "why" in fields)
  );
  await guests.close();
  await guests.finished;
});

Deno.test("a worker of which no guest can be served again is tried as a whole", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const endpoint = { ...ANY_PORT, port: taken.addr.port };
  const workers = new HurtWorkers((message, starts) => {
    if (message.type !== "start" || starts === 1 || starts > 3) return message;
    return { ...message, guests: message.guests.map((guest) => ({ ...guest, endpoint })) };
  });
  const logger = keepingLogger();
  await using guests = await serveGuestsIn(workers.start, {
    workers: 1,
    logger,
    guests: ["a", "b"].map((name) => ({ name, endpoint: ANY_PORT, ...QUIET })),
  });
  workers.hurt(0);
  await eventually(() => guests.workers()[0]!.restarts === 3 && guests.workers()[0]!.alive);
  for (const name of guests.names) {
    await using guest = await attach(guests.guest(name).endpoint);
    await guest.lease();
  }
  const said = logger.lines.filter(({ message }) => message.startsWith("a worker can't start"));
  assertEquals(said.length, 2);
});

Deno.test("a worker that hangs holds up no end", async () => {
  for (const how of ["close", "abort"] as const) {
    const workers = new HurtWorkers((message) => message.type === "end" ? null : message);
    const guests = await serveGuestsIn(workers.start, {
      workers: 1,
      guests: [{ name: "a", endpoint: ANY_PORT, graceMs: 100, ...QUIET }],
    });
    await guests[how]();
    await guests.finished;
    await assertRejects(async () => await guests.guest("a").flows(), GatewayError, "stopping");
  }
});

Deno.test("an end while a worker starts again is one, and says no fault", async () => {
  const workers = new HurtWorkers();
  const logger = keepingLogger();
  const guests = await serveGuestsIn(workers.start, {
    workers: 1,
    logger,
    guests: [{ name: "a", endpoint: ANY_PORT, ...QUIET }],
  });
  workers.hurt(0);
  await eventually(() => workers.started.length === 2);
  await guests.close();
  await guests.finished;
  assertEquals(logger.lines.filter(({ message }) => message.includes("can't")), []);
});

Deno.test("ports that were chosen stay the same over a worker's end", async () => {
  const workers = new HurtWorkers();
  await using guests = await serveGuestsIn(workers.start, {
    workers: 1,
    guests: [{
      name: "a",
      endpoint: ANY_PORT,
      publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] }],
      ...QUIET,
    }],
  });
  const before = (await guests.guest("a").snapshot()).published;
  workers.hurt(0);
  await cameBack(guests);
  assertEquals((await guests.guest("a").snapshot()).published, before);
});
