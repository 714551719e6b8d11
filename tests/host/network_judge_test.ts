/** The embedding program's judge over the flows of a whole network, on virtual time. */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import type { JudgeQuestion, JudgeVerdict } from "../../lib/host/judge_hook.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { HostileGuest } from "../hostile/hostile_guest.ts";
import { helloFor, SYN } from "../hostile/inspection.ts";
import { Resolver } from "../hostile/resolver.ts";
import { ethernet, GUEST4, GUEST6, ip4, ip6, pattern, udp } from "../support/packets.ts";
import { guestPolicy, type PolicySpec } from "../support/policy.ts";
import type { VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";

/** A network whose flows wait for the test's word. */
class JudgedWorld implements AsyncDisposable {
  readonly asked: JudgeQuestion[] = [];
  readonly denials: Denial[] = [];
  readonly answers: PromiseWithResolvers<JudgeVerdict>[] = [];
  /** Answers at once where it is set. */
  judge: ((question: JudgeQuestion) => JudgeVerdict | Promise<JudgeVerdict>) | null = null;
  gw!: HostileGuest;
  resolver!: Resolver;

  static async make(spec: PolicySpec = {}, options: VirtualGatewayOptions = {}) {
    const world = new JudgedWorld();
    world.gw = await HostileGuest.start({
      policy: guestPolicy(spec),
      onDenial: (denial) => void world.denials.push(denial),
      judge: (question) => world.#answer(question),
      ...options,
    });
    world.resolver = new Resolver(world.gw, { "a.example": [HOST4], "b.example": [HOST4] });
    return world;
  }

  #answer(question: JudgeQuestion): JudgeVerdict | Promise<JudgeVerdict> {
    this.asked.push(question);
    if (this.judge !== null) return this.judge(question);
    const answer = Promise.withResolvers<JudgeVerdict>();
    this.answers.push(answer);
    return answer.promise;
  }

  /** The program says its word on the question that came last, or on all. */
  async says(verdict: JudgeVerdict): Promise<void> {
    for (const answer of this.answers.splice(0)) answer.resolve(verdict);
    await this.gw.settle();
  }

  get detail(): string {
    const { reason, rule, detail } = this.denials.at(-1)!;
    assertEquals([reason, rule], ["judge", "judge"]);
    return detail;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gw[Symbol.asyncDispose]();
  }
}

const REFUSED_SYN = {
  "policy.refused": 1,
  "icmp.errors": 1,
  "tcp.refused": 1,
  "tcp.reset.sent": 1,
} as const;

function datagram(bytes: number, guestPort = 5_000, host = HOST4): Uint8Array {
  const six = host.includes(":");
  const data = udp(six ? GUEST6 : GUEST4, guestPort, host, 123, pattern(bytes));
  return ethernet(six ? ip6(data, { destination: host }) : ip4(data, { destination: host }));
}

Deno.test("judge: it is told of the flow, and of the name that the guest has looked up", async () => {
  await using world = await JudgedWorld.make();
  const { gw, resolver } = world;
  world.judge = () => false;
  await gw.flow({ guestPort: 40_123 }).guest(SYN);
  await gw.flow({ host: HOST6, hostPort: 443 }).guest(SYN);
  await gw.sends(datagram(10));
  await resolver.lookUp("a.example");
  await gw.flow({ guestPort: 40_124 }).guest(SYN);
  await gw.sends(datagram(10, 5_001));
  const told = world.asked.map(({ flow, name }) =>
    `${flow.protocol} ${flow.guestAddress} ${flow.guestPort} ${flow.address} ${flow.port} ${name}`
  );
  assertEquals(told, [
    `tcp ${GUEST4} 40123 ${HOST4} 80 null`,
    `tcp ${GUEST6} 40000 ${HOST6} 443 null`,
    `udp ${GUEST4} 5000 ${HOST4} 123 null`,
    `tcp ${GUEST4} 40124 ${HOST4} 80 a.example`,
    `udp ${GUEST4} 5001 ${HOST4} 123 a.example`,
  ]);
  assertEquals(world.denials.map(({ name }) => name), [null, null, null, "a.example", "a.example"]);
  assertEquals(gw.host.dialed, []);
  gw.forget();
  await gw.empties(0);
});

Deno.test("judge: nothing that the policy refuses is asked about", async () => {
  await using world = await JudgedWorld.make({ allow: ["a.example", "8.8.8.8"] });
  const { gw } = world;
  for (const host of ["169.254.169.254", "127.0.0.1", HOST4, HOST6]) {
    await gw.flow({ host }).guest(SYN);
  }
  await gw.sends(datagram(10));
  assertEquals([world.asked, world.denials.length], [[], 5]);
  gw.forget();
  await gw.empties(0);
});

Deno.test("judge: a yes, at once or later, dials; till then the SYN is held", async () => {
  await using world = await JudgedWorld.make();
  const { gw } = world;
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  await flow.guest(SYN, SYN);
  await gw.run(900);
  assertEquals([world.asked.length, gw.host.dialed, flow.sent()], [1, [], []]);
  await world.says(true);
  await gw.run(1);
  flow.expects("S. 0:0 ack 1");
  await flow.guest(". 1:1 ack 1");
  await flow.livesOn(gw.host.accepted[0]!);
  world.judge = () => ({ allow: true });
  const other = gw.flow({ guestPort: 40_001 });
  await other.livesOn(await other.opens());
  assertEquals(world.denials, []);
  await gw.empties(0);
});

Deno.test("judge: a no is told as a refusal of the policy is", async () => {
  await using world = await JudgedWorld.make();
  const { gw } = world;
  for (const isAtOnce of [true, false]) {
    for (const host of [HOST4, HOST6]) {
      world.judge = isAtOnce ? () => ({ allow: false, reason: "not at night" }) : null;
      const flow = gw.flow({ host });
      await flow.guest(SYN);
      if (!isAtOnce) {
        flow.expects();
        await world.says({ allow: false, reason: "not at night" });
      }
      assertEquals(gw.errors().map(({ code }) => code), [host === HOST4 ? "3/13" : "1/1"]);
      flow.expects("R. 0:0 ack 1");
      gw.silent().counts(REFUSED_SYN);
      assertEquals(world.detail, "not at night");
    }
  }
  assertEquals(gw.host.dialed, []);
  await gw.empties(0);
});

Deno.test("judge: a verdict that is late, thrown or none at all is a no, and a late yes changes nothing", async () => {
  await using world = await JudgedWorld.make();
  const { gw } = world;
  const details: string[] = [];
  const refuses = async (flow = gw.flow()) => {
    await flow.guest(SYN);
    await gw.run(DEFAULT_LIMITS.judgeMs);
    assertEquals(gw.errors().map(({ code }) => code), ["3/13"]);
    flow.expects("R. 0:0 ack 1");
    gw.silent().counts(REFUSED_SYN);
    details.push(world.detail);
  };
  await refuses();
  assert(world.asked[0]!.signal.aborted);
  await world.says(true);
  gw.silent().counts({});
  world.judge = () => {
    throw new Error("no idea");
  };
  await refuses();
  world.judge = () => Promise.reject(new Error("no idea"));
  await refuses();
  world.judge = () => "yes" as never;
  await refuses();
  assertEquals(details, [
    `no verdict of the program's judge within ${DEFAULT_LIMITS.judgeMs} ms`,
    "the program's judge failed",
    "the program's judge failed",
    "the program's judge gave no verdict",
  ]);
  assertEquals(gw.host.dialed, []);
  await gw.empties(0);
});

Deno.test("judge: a guest that leaves meanwhile is told to the program, and a yes leads nowhere", async () => {
  await using world = await JudgedWorld.make();
  const { gw } = world;
  gw.host.listen(HOST4, 80);
  const flow = gw.flow();
  await flow.guest(SYN);
  await flow.guest("R 1:1");
  assertEquals([world.asked[0]!.signal.aborted, gw.isEmpty], [true, true]);
  await world.says(true);
  await gw.run(10);
  assertEquals([gw.host.dialed, world.denials], [[], []]);
  gw.silent().counts({ "tcp.reset.received": 1 });
  // The same four-tuple again is another flow.
  const again = gw.flow();
  again.isn = 5_000;
  await again.guest(SYN);
  assertEquals(world.asked.length, 2);
  await world.says(true);
  await gw.run(1);
  again.expects("S. 0:0 ack 1");
  await again.guest("R. 1:1 ack 1");
  gw.forget();
  await gw.empties(0);
});

Deno.test("judge: a link that ends gives up all questions", async () => {
  const world = await JudgedWorld.make();
  const { gw } = world;
  for (let i = 0; i < 10; i++) {
    await gw.flow({ guestPort: 40_000 + i }).guest(SYN);
    await gw.sends(datagram(10, 5_000 + i));
  }
  assertEquals(world.asked.length, 20);
  await gw.end();
  assert(world.asked.every(({ signal }) => signal.aborted));
  for (const answer of world.answers) answer.resolve(true);
  await gw.host.clock.run(2_000);
  assertEquals([gw.host.dialed, gw.host.openSockets, gw.host.timers], [[], 0, 0]);
});

Deno.test("judge: flows that wait are counted, those beyond are refused without being asked about", async () => {
  await using world = await JudgedWorld.make({}, { limits: { judgePending: 4 } });
  const { gw } = world;
  for (let i = 0; i < 10; i++) await gw.flow({ guestPort: 40_000 + i }).guest(SYN);
  assertEquals([world.asked.length, world.denials.length], [4, 6]);
  assertEquals(world.detail, "4 flows wait for the program's judge already");
  await world.says(false);
  assertEquals(world.denials.length, 10);
  gw.forget();
  await gw.empties(0);
});

Deno.test("judge: four datagrams of a flow are held for the verdict, and go in order", async () => {
  await using world = await JudgedWorld.make();
  const { gw } = world;
  const got: Uint8Array[] = [];
  for (const host of [HOST4, HOST6]) gw.host.udp(host, 123, (data) => void got.push(data));
  for (const host of [HOST4, HOST6]) {
    got.length = 0;
    const sockets = gw.host.openSockets;
    for (const bytes of [1, 2, 0, 1_400, 5, 6]) await gw.sends(datagram(bytes, 5_000, host));
    assertEquals([world.asked.length, gw.figures().udpFlows], [1, 1]);
    assertEquals([got, gw.host.openSockets], [[], sockets]);
    gw.silent().counts({ "udp.opened": 1, "drop.udp.host": 2 });
    await world.says(true);
    assertEquals(got, [1, 2, 0, 1_400].map((bytes) => pattern(bytes)));
    gw.silent().counts({ "udp.up": 4 });
    await gw.sends(datagram(7, 5_000, host));
    assertEquals(got.at(-1), pattern(7));
    gw.silent().counts({ "udp.up": 1 });
    world.asked.length = 0;
    await gw.empties();
    gw.forget();
  }
});

Deno.test("judge: large datagrams of flows that wait take 16 KiB of each, and 1 MiB of all", async () => {
  await using world = await JudgedWorld.make({}, { network: { mtu: 65_520 } });
  const { gw } = world;
  const got: number[] = [];
  gw.host.udp(HOST4, 123, (data) => void got.push(data.length));
  // Of one flow: what is too much is dropped, what fits behind it is held.
  for (const bytes of [10_000, 10_000, 60_000, 6_384, 1]) await gw.sends(datagram(bytes));
  gw.silent().counts({ "udp.opened": 1, "drop.udp.host": 3 });
  await world.says(true);
  assertEquals(got.splice(0), [10_000, 6_384]);
  gw.forget();
  // Of all: 64 flows fill it, others wait without their datagram.
  for (const round of ["said yes", "said no", "said nothing", "again"]) {
    for (let i = 0; i < 70; i++) await gw.sends(datagram(16_384, 6_000 + i));
    gw.silent().counts({ "udp.opened": 70, "drop.udp.host": 6 });
    if (round === "said nothing") await gw.run(DEFAULT_LIMITS.udpUnrepliedMs);
    else await world.says(round !== "said no");
    world.answers.length = 0;
    assertEquals(got.splice(0).length, round.startsWith("said n") ? 0 : 64, round);
    gw.packets();
    await gw.run(DEFAULT_LIMITS.udpUnrepliedMs);
    gw.forget();
  }
});

Deno.test("judge: a no for a datagram's flow is told once, and the flow is gone", async () => {
  await using world = await JudgedWorld.make();
  const { gw } = world;
  for (const isAtOnce of [true, false]) {
    for (const host of [HOST4, HOST6]) {
      world.judge = isAtOnce ? () => false : null;
      await gw.sends(datagram(10, 5_000, host));
      if (!isAtOnce) {
        gw.silent();
        await gw.sends(datagram(20, 5_000, host));
        await world.says(false);
      }
      const [error, ...more] = gw.errors();
      assertEquals([error!.code, more], [host === HOST4 ? "3/13" : "1/1", []]);
      assertEquals(world.detail, "the program's judge");
      const opened = isAtOnce ? {} : { "udp.opened": 1 } as const;
      gw.silent().counts({ "policy.refused": 1, "icmp.errors": 1, ...opened });
      assert(gw.isEmpty);
    }
  }
  // A flow that makes way for others while it waits.
  world.judge = null;
  await gw.sends(datagram(10));
  await gw.run(DEFAULT_LIMITS.udpUnrepliedMs);
  assert(gw.isEmpty);
  assert(world.asked.at(-1)!.signal.aborted);
  gw.forget();
});

Deno.test("judge: a yes of a program that has changed the rules meanwhile goes by the new ones", async () => {
  const denying = guestPolicy({ deny: ["public"] });
  for (const isAtOnce of [true, false]) {
    await using world = await JudgedWorld.make();
    const { gw } = world;
    const got: Uint8Array[] = [];
    gw.host.udp(HOST4, 123, (data) => void got.push(data));
    world.judge = () => {
      gw.network.setPolicy(denying);
      return isAtOnce ? true : Promise.resolve(true);
    };
    await gw.sends(datagram(20));
    await gw.flow().guest(SYN);
    await gw.run(10);
    assertEquals(gw.errors().map(({ code }) => code), ["3/13", "3/13"]);
    assertEquals(world.denials.map(({ rule }) => rule), ["public", "public"]);
    assertEquals([got, gw.host.dialed], [[], []]);
    gw.forget();
    await gw.empties(0);
  }
});

Deno.test("judge: a flow that had to show its name is asked about by that name, with its words held", async () => {
  await using world = await JudgedWorld.make({ allow: ["*.example"] });
  const { gw, resolver } = world;
  await resolver.lookUp("a.example");
  await resolver.lookUp("b.example");
  gw.host.listen(HOST4, 443);
  gw.forget();
  const words = helloFor("a.example");
  const flow = gw.flow({ hostPort: 443 });
  await flow.opensToSay(words);
  assertEquals(world.asked, []);
  await flow.speaks(60, 0, words.length - 1);
  assertEquals(world.asked, []);
  await flow.speaks(1, words.length - 1);
  assertEquals(world.asked.map(({ name }) => name), ["a.example"]);
  flow.says = Uint8Array.from([...words, ...pattern(2_000)]);
  await flow.speaks(1_000, words.length);
  await gw.run(500);
  assertEquals(gw.host.dialed, []);
  await world.says(true);
  await gw.run(50);
  assertEquals(gw.host.accepted[0]!.take(), flow.says);
  const end = flow.says.length + 1;
  await flow.guest(`R ${end}:${end}`);
  gw.forget();
  // A no is an RST: the handshake is long over.
  const other = gw.flow({ hostPort: 443, guestPort: 40_001 });
  await other.opensToSay(words);
  await other.speaks();
  await world.says(false);
  assertEquals(other.sent().filter(({ flags }) => flags.includes("R")).length, 1);
  gw.silent().counts({ "policy.refused": 1, "tcp.reset.sent": 1 });
  // So is a guest that finishes or resets before the verdict.
  const third = gw.flow({ hostPort: 443, guestPort: 40_002 });
  await third.opensToSay(words);
  await third.speaks();
  await third.guest(`R ${words.length + 1}:${words.length + 1}`);
  assert(world.asked.at(-1)!.signal.aborted);
  await world.says(true);
  assertEquals(gw.host.dialed.length, 1);
  third.sent();
  gw.silent();
  await gw.empties(0);
});
