/** An endpoint whose VMM leaves and comes again, on real sockets. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConfigError } from "../lib/config/errors.ts";
import type { GatewayLogger } from "../lib/config/logger.ts";
import { type ServeOptions, serveVirtioNetwork, type VirtioNetworkServer } from "../lib/server.ts";
import { ACK, FIN, HandGuest, segmentFrame, SYN } from "./support/hand_guest.ts";
import { until } from "./support/guest_rig.ts";
import {
  concat,
  ethernet,
  GATEWAY4,
  GUEST4,
  GUEST_MAC,
  ip,
  mac,
  pattern,
  u32,
} from "./support/packets.ts";

const ANY_PORT = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
const LONG_MS = 600_000;

/** A question of the guest for the gateway's MAC. */
const ARP = ethernet(
  concat([0, 1, 8, 0, 6, 4, 0, 1], mac(GUEST_MAC), ip(GUEST4), u32(0), [0, 0], ip(GATEWAY4)),
  { type: 0x0806 },
);

/** A server with its log lines and the types of its events. */
class Served {
  readonly lines: string[] = [];
  readonly events: string[] = [];
  readonly #logger: GatewayLogger = {
    debug: () => {},
    info: (message) => void this.lines.push(message),
    warn: (message) => void this.lines.push(message),
    error: (message) => void this.lines.push(message),
  };
  server!: VirtioNetworkServer;

  static async start(options: ServeOptions, endpoint = ANY_PORT): Promise<Served> {
    const served = new Served();
    served.server = await serveVirtioNetwork(endpoint, { logger: served.#logger, ...options });
    void (async () => {
      for await (const { type } of served.server.events()) served.events.push(type);
    })();
    return served;
  }

  /** Connects as a VMM whose guest asks who the gateway is, and waits for the answer. */
  async join(): Promise<HandGuest> {
    return await heard(await Deno.connect(this.server.endpoint as typeof ANY_PORT));
  }

  get link(): string | null {
    return this.server.snapshot().guest?.link ?? null;
  }

  async becomes(link: string | null): Promise<void> {
    await until(`the guest is ${link}`, () => this.link === link);
  }
}

async function heard(conn: Deno.Conn): Promise<HandGuest> {
  const guest = new HandGuest(conn);
  await guest.send(ARP);
  await guest.expect(
    "an answer to ARP",
    ({ type, payload }) => type === 0x0806 && payload[7] === 2 ? true : null,
  );
  return guest;
}

Deno.test("linger: a VMM that comes again is the guest's, one beside it is turned away", async () => {
  const served = await Served.start({ lingerMs: LONG_MS, graceMs: LONG_MS });
  const { server } = served;
  const first = await served.join();
  const { guest } = server;
  await first.close();
  await served.becomes("detached");
  const second = await served.join();
  assert(server.guest === guest, "the same network");
  assertEquals([served.link, server.totals().guests], ["attached", 1]);
  const third = new HandGuest(await Deno.connect(server.endpoint as typeof ANY_PORT));
  await third.ended;
  await third.close();
  assert(served.lines.includes("a second VMM was turned away: one is attached already"));
  await second.close();
  await served.becomes("detached");
  await server.close(); // waits for nobody
  await until("all events", () => served.events.length === 5);
  assertEquals(served.events, [
    "guest-attached",
    "guest-detached",
    "guest-returned",
    "guest-detached",
    "guest-left",
  ]);
});

Deno.test("linger: one that comes at once takes the place of the one that leaves", async () => {
  const served = await Served.start({ lingerMs: LONG_MS });
  for (let i = 0; i < 30; i++) {
    const vmm = await served.join();
    void vmm.close(); // and the next one is there before that was read
  }
  assertEquals(served.server.totals().guests, 1);
  assertEquals(served.lines.filter((line) => line.startsWith("a second VMM")), []);
  await served.server.abort();
});

Deno.test("linger: when the time has run out the guest has left, with one line", async () => {
  const served = await Served.start({ lingerMs: 200 });
  await (await served.join()).close();
  await served.becomes(null);
  assertEquals(served.lines.filter((line) => line === "guest left").length, 1);
  const next = await served.join();
  assertEquals(served.server.totals().guests, 2);
  await next.close();
  await served.server.close();
});

Deno.test("linger: a VMM that comes while the last bytes of the guest before go to hosts has its turn", async () => {
  const served = await Served.start({
    lingerMs: 100,
    hostLoopback: true,
    guestNetwork: { mtu: 65_520 },
  });
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 }); // takes what the system does
  const vmm = await served.join();
  const data = pattern(32_000);
  const destination = GATEWAY4;
  let segment = { destination, destinationPort: host.addr.port, flags: SYN, seq: 7, ack: 0 };
  await vmm.send(segmentFrame(segment));
  const { seq } = await vmm.expectSegment("a SYN-ACK", ({ flags }) => flags === (SYN | ACK));
  segment = { ...segment, flags: ACK, seq: 8, ack: (seq + 1) >>> 0 };
  const waiting = () => segment.seq - 8 - served.server.flows()[0]!.upBytes;
  while (waiting() === 0) {
    await vmm.send(segmentFrame({ ...segment, data }));
    segment.seq += data.length;
    vmm.packets.length = 0;
    await vmm.expectSegment("an ACK", ({ ack }) => ack === segment.seq);
    for (let i = 0; i < 50 && waiting() > 0; i++) await new Promise((r) => setTimeout(r, 5));
  }
  await vmm.send(segmentFrame({ ...segment, flags: ACK | FIN }));
  await vmm.expectSegment("an ACK of the FIN", ({ ack }) => ack === segment.seq + 1);
  await vmm.close();
  await until("its end", () => served.server.guest?.isLeaving ?? true);
  const { guest } = served.server;
  assertEquals([guest?.link, guest?.isLeaving], ["detached", true]);
  const next = await served.join();
  assertEquals(served.server.totals().guests, 2);
  assertEquals(served.lines.filter((line) => line.startsWith("a second VMM")), []);
  await until("four events", () => served.events.length === 4);
  assertEquals(
    served.events,
    ["guest-attached", "guest-detached", "guest-left", "guest-attached"],
    "one after the other",
  );
  await next.close();
  await served.server.close();
});

Deno.test("linger: --once ends with the time, not with the link", async () => {
  const patient = await Served.start({ lingerMs: LONG_MS, once: true });
  await (await patient.join()).close();
  await patient.becomes("detached");
  const again = await patient.join();
  assertEquals(patient.server.totals().guests, 1);
  await patient.server.abort();
  await again.close();
  const served = await Served.start({ lingerMs: 100, once: true });
  await (await served.join()).close();
  await served.server.finished;
  assertEquals(served.server.totals().guests, 1);
  assertEquals(served.link, null);
});

/** A VMM that listens, and where. */
function listenAsVmm() {
  const vmm = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return { vmm, endpoint: { ...ANY_PORT, port: vmm.addr.port as 0 } };
}

Deno.test("linger: the gateway goes to a VMM that listens, again and again", async () => {
  const { vmm, endpoint } = listenAsVmm();
  const served = await Served.start({ lingerMs: LONG_MS, mode: "connect", once: true }, endpoint);
  for (let i = 0; i < 3; i++) {
    const guest = await heard(await vmm.accept());
    assertEquals(served.server.totals().guests, 1, "one guest on three links");
    await guest.close();
  }
  vmm.close();
  await until("two returns", () => {
    return served.events.filter((type) => type === "guest-returned").length === 2;
  });
  await served.server.abort();
});

Deno.test("linger: --once ends with the time where no VMM listens any more", async () => {
  const { vmm, endpoint } = listenAsVmm();
  const served = await Served.start({ lingerMs: 100, mode: "connect", once: true }, endpoint);
  const guest = await heard(await vmm.accept());
  vmm.close();
  await guest.close();
  await served.server.finished;
  assertEquals(served.server.totals().guests, 1);
});

Deno.test("linger: what can't be is refused", async () => {
  const refused = async (options: ServeOptions, stdio = false) => {
    const endpoint = stdio ? { transport: "stdio" } as const : ANY_PORT;
    const error = await assertRejects(() => serveVirtioNetwork(endpoint, options), ConfigError);
    return (error as ConfigError).message;
  };
  assertEquals(
    await refused({ lingerMs: 1 }, true),
    "lingerMs: nobody can come again at stdio:; leave it out",
  );
  for (const lingerMs of [-1, NaN, 3_600_001]) {
    assertEquals(
      await refused({ lingerMs }),
      "lingerMs: it is from 0 to 3600000 milliseconds, an hour",
    );
  }
});
