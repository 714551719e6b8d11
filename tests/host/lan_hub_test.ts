import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import type { LanMember } from "../../lib/config/lan_member.ts";
import type { LanAttachment } from "../../lib/host/lan_attachment.ts";
import { LanHub } from "../../lib/host/lan_hub.ts";
import { LAN_RUN_BYTES, lanBytes } from "../../lib/stack/lan_rings.ts";
import type { EchoOrder } from "./lan_hub_worker.ts";

function membersOf(count: number): LanMember[] {
  return Array.from({ length: count }, (_, i) => ({
    name: `guest-${i}`,
    mac: `02:53:4d:01:00:0${i + 2}`,
    ip4: `10.77.0.${i + 2}`,
    ip6: null,
  }));
}

/** Puts a run into the ring to `to` and tells whoever serves it. */
function send({ rings, self, wake }: LanAttachment, to: number, octets: Uint8Array): boolean {
  if (!rings.push(self, to, octets, 0, octets.length)) return false;
  if (rings.announce(self, to)) wake(to);
  return true;
}

/** All runs of `from` that wait. */
function taken({ rings, self }: LanAttachment, from: number): Uint8Array[] {
  rings.takePending(self);
  const runs: Uint8Array[] = [];
  for (let n = rings.peek(from, self); n > 0; n = rings.peek(from, self)) {
    runs.push(rings.bytes.slice(rings.runAt, rings.runAt + n));
    rings.pop(from, self);
  }
  return runs;
}

Deno.test("a member that is served in the same isolate is called after the turn, once", async () => {
  const members = membersOf(3);
  const buffer = new ArrayBuffer(lanBytes(3));
  using hub = new LanHub({ members, buffer, workerOf: [0, 0, 0], worker: 0 });
  const [a, b] = [hub.attach(0), hub.attach(1)];
  assertFalse(a.isAttached(1));
  let calls = 0;
  a.listen(() => {});
  b.listen(() => calls++);
  assert(a.isAttached(1));
  assertFalse(a.isAttached(2));
  assert(send(a, 1, Uint8Array.of(1)));
  a.wake(1);
  assertEquals(calls, 0, "not inside of wake");
  await Promise.resolve();
  assertEquals(calls, 1);
  assertEquals(taken(b, 0), [Uint8Array.of(1)]);
  b.listen(null);
  assertFalse(a.isAttached(1));
  a.wake(1);
  await Promise.resolve();
  assertEquals(calls, 1, "nobody listens any more");
});

Deno.test("a hub attaches only those whom its worker serves", () => {
  const members = membersOf(2);
  using hub = new LanHub({
    members,
    buffer: new SharedArrayBuffer(lanBytes(2)),
    workerOf: [0, 1],
    worker: 0,
  });
  hub.attach(0);
  assertThrows(() => hub.attach(1), RangeError, "does not serve");
  assertThrows(() => hub.attach(2), RangeError);
});

Deno.test("a closed hub has nobody attached, and attaches nobody", () => {
  const hub = new LanHub({
    members: membersOf(2),
    buffer: new ArrayBuffer(lanBytes(2)),
    workerOf: [0, 0],
    worker: 0,
  });
  const [a, b] = [hub.attach(0), hub.attach(1)];
  a.listen(() => {});
  hub.close();
  assertFalse(b.isAttached(0));
  b.listen(() => {});
  assertFalse(a.isAttached(1));
  hub.close();
});

/** An echo in another isolate, and a hub here. Members 0 and 2 are here, 1 and 3 there. */
async function withEcho(
  body: (hub: LanHub, tell: (order: "leave" | "come") => Promise<void>) => Promise<void>,
): Promise<void> {
  const members = membersOf(4);
  const buffer = new SharedArrayBuffer(lanBytes(4));
  const shared = { members, buffer, workerOf: [0, 1, 0, 1] };
  const worker = new Worker(new URL("./lan_hub_worker.ts", import.meta.url), { type: "module" });
  const tell = (order: EchoOrder | "leave" | "come") => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    worker.onmessage = () => resolve();
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(order);
    return promise;
  };
  const hub = new LanHub({ ...shared, worker: 0 });
  try {
    await tell({ ...shared, worker: 1, serves: [1, 3] });
    await body(hub, tell);
  } finally {
    hub.close();
    worker.terminate();
  }
}

/** Waits with a timer that keeps the event loop alive, since a wait on a word keeps none. */
async function alive<T>(promise: Promise<T>): Promise<T> {
  const timer = setInterval(() => {}, 1_000);
  try {
    return await promise;
  } finally {
    clearInterval(timer);
  }
}

Deno.test("runs go to another isolate and back, each one waking the other end", async () => {
  await withEcho(async (hub) => {
    const [a, c] = [hub.attach(0), hub.attach(2)];
    for (const [here, there] of [[a, 1], [a, 3], [c, 1], [c, 3]] as const) {
      for (let i = 0; i < 50; i++) {
        const { promise, resolve } = Promise.withResolvers<void>();
        here.listen(resolve);
        assert(here.isAttached(there));
        const octets = Uint8Array.of(i, there, here.self);
        assert(send(here, there, octets));
        await alive(promise);
        assertEquals(taken(here, there), [octets]);
      }
      here.listen(null);
    }
  });
});

Deno.test("bulk between isolates arrives whole and in order, whatever the runs' lengths", async () => {
  await withEcho(async (hub) => {
    const a = hub.attach(0);
    const lengths = Array.from({ length: 2_000 }, (_, i) => 1 + (i * 7_919) % LAN_RUN_BYTES);
    const octets = new Uint8Array(LAN_RUN_BYTES);
    let [sent, received, wrong] = [0, 0, 0];
    const { promise, resolve } = Promise.withResolvers<void>();
    const turn = (): void => {
      for (const run of taken(a, 1)) {
        const length = lengths[received]!;
        if (run.length !== length || run.some((octet) => octet !== (received & 0xff))) wrong++;
        received++;
      }
      while (sent < lengths.length) {
        octets.fill(sent & 0xff);
        if (!send(a, 1, octets.subarray(0, lengths[sent]))) break;
        sent++;
      }
      if (received === lengths.length) resolve();
    };
    a.listen(turn);
    turn();
    // A full ring is tried again when what comes back says that there is room.
    await alive(promise);
    assertEquals([sent, received, wrong], [lengths.length, lengths.length, 0]);
  });
});

Deno.test("who leaves and comes again in another isolate gets nothing of before", async () => {
  await withEcho(async (hub, tell) => {
    const a = hub.attach(0);
    await tell("leave");
    assertFalse(a.isAttached(1));
    assert(send(a, 1, Uint8Array.of(1)), "the ring takes it all the same");
    await tell("come");
    assert(a.isAttached(1));
    const { promise, resolve } = Promise.withResolvers<void>();
    a.listen(resolve);
    assert(send(a, 1, Uint8Array.of(2)));
    await alive(promise);
    assertEquals(taken(a, 1), [Uint8Array.of(2)]);
  });
});
