/** A question's way through its upstreams on virtual time: who is asked when, and how it ends. */
import { assertEquals } from "@std/assert";
import { hostSystem } from "../../lib/host/host_system.ts";
import type { UdpSocketHandler } from "../../lib/host/dns_socket.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { answerTo } from "./dns_answers.ts";
import { type RigOptions, UpstreamsRig } from "./dns_upstreams_rig.ts";

/** A question as it went out. */
interface Sent {
  readonly afterMs: number;
  /** The last number of the upstream's address. */
  readonly to: number;
  readonly message: Uint8Array;
  readonly handler: UdpSocketHandler;
  readonly reply: (rcode?: number) => void;
}

/** Plain upstreams 192.0.2.1, .2 and so on, which the test plays. */
class QueryRig {
  readonly clock = new VirtualClock();
  readonly sent: Sent[] = [];
  readonly rig: UpstreamsRig;
  /** Upstreams that can't be asked. */
  readonly forbidden = new Set<number>();
  readonly #startMs = this.clock.now();
  #word = 0;

  constructor(upstreams: number, limits: RigOptions["limits"] = {}) {
    const { now, setTimer, clearTimer, soon } = this.clock;
    const texts = Array.from({ length: upstreams }, (_, i) => `192.0.2.${i + 1}`);
    this.rig = new UpstreamsRig(texts, {
      limits: { dnsTimeoutMs: 6_000, ...limits },
      system: {
        ...hostSystem,
        now,
        setTimer,
        clearTimer,
        soon,
        // All out of one socket, each under another id.
        randomWord: () => this.#word = (this.#word + 32) & 0xffff,
        requireNet: ({ hostname }) => {
          if (this.forbidden.has(lastOf(hostname))) throw new Error("forbidden");
        },
        openUdpSocket: (_, handler) => ({
          send: (message, hostname, port) => {
            this.sent.push({
              afterMs: now() - this.#startMs,
              to: lastOf(hostname),
              message,
              handler,
              reply: (rcode = 0) =>
                handler.onDatagram(answerTo(message, "203.0.113.1", rcode), hostname, port),
            });
          },
          close: () => {},
        }),
      },
    });
  }

  /** Asks; the outcome, once there is one, and when it came. */
  ask(name: string): { outcome: [what: string, afterMs: number] | null } {
    const asked: { outcome: [string, number] | null } = { outcome: null };
    this.rig.resolve(name).then((what) => asked.outcome = [what, this.clock.now() - this.#startMs]);
    return asked;
  }

  /** Who was asked, and when. */
  get turns(): [to: number, afterMs: number][] {
    return this.sent.map(({ to, afterMs }) => [to, afterMs]);
  }

  /** Lets what was sent settle. */
  settle(): Promise<void> {
    return this.clock.run(0);
  }
}

function lastOf(hostname: string): number {
  return Number(hostname.split(".")[3]);
}

Deno.test("DnsQuery goes round twice, the second time with the double share, until the time is over", async () => {
  // Nine parts: three of one, three of two.
  const way = new QueryRig(3, { dnsTimeoutMs: 9_000 });
  const asked = way.ask("one.example");
  await way.clock.run(9_000);
  assertEquals(way.turns, [[1, 0], [2, 1_000], [3, 2_000], [1, 3_000], [2, 5_000], [3, 7_000]]);
  assertEquals(asked.outcome, ["timeout", 9_000]);
  assertEquals([way.rig.counts.triesFailed, way.rig.upstreams.inFlight], [6, 0]);
  await way.rig.upstreams.close();
  assertEquals(way.clock.timers, 0);
});

Deno.test("DnsQuery asks the next one at once where one fails, and waits for all that may answer", async () => {
  const way = new QueryRig(3);
  way.forbidden.add(2);
  const asked = way.ask("one.example");
  await way.clock.run(700);
  way.sent[0]!.reply(2); // late, and of no use; the third one's turn goes on
  await way.clock.run(100);
  assertEquals(way.turns.map(([to]) => to), [1, 3]);
  way.sent[1]!.reply(5);
  await way.settle();
  // Not the first one again, since it has said what it could.
  assertEquals(way.turns.map(([to]) => to), [1, 3]);
  assertEquals(asked.outcome?.[0], "SERVFAIL");
  await way.rig.upstreams.close();
});

Deno.test("DnsQuery takes the first good answer, whoever gives it", async () => {
  const way = new QueryRig(2);
  const asked = way.ask("one.example");
  await way.clock.run(1_100);
  assertEquals(way.turns.map(([to]) => to), [1, 2]);
  way.sent[1]!.reply(2);
  await way.settle();
  assertEquals(way.turns.map(([to]) => to), [1, 2, 1], "its second round begins");
  way.sent[0]!.reply();
  await way.settle();
  assertEquals(asked.outcome, ["203.0.113.1", 1_100]);
  way.sent[2]!.reply();
  assertEquals([way.rig.counts.unmatched, way.rig.upstreams.inFlight], [1, 0]);
  await way.rig.upstreams.close();
});

Deno.test("DnsQuery: a socket that breaks fails each question in it once, whatever else it had there", async () => {
  const way = new QueryRig(1, { dnsInFlightPerUpstream: 1 });
  for (const name of ["one.example", "two.example", "three.example"]) {
    way.sent.length = 0;
    const asked = way.ask(name);
    await way.clock.run(2_100);
    assertEquals(way.turns.length, 2, "both tries are in one socket");
    assertEquals(way.sent[0]!.handler, way.sent[1]!.handler);
    way.sent[0]!.handler.onError(new Error("broken"));
    await way.settle();
    assertEquals(asked.outcome?.[0], "network");
    assertEquals(way.rig.upstreams.inFlight, 0);
  }
  // Its place at the upstream is free, and is one.
  const [first, second] = [way.ask("four.example"), way.ask("five.example")];
  await way.settle();
  assertEquals([first.outcome, second.outcome?.[0]], [null, "busy"]);
  way.sent.at(-1)!.reply();
  await way.settle();
  assertEquals(first.outcome?.[0], "203.0.113.1");
  await way.rig.upstreams.close();
  assertEquals(way.clock.timers, 0);
});

Deno.test("DnsQuery: questions that are answered in time share one timer", async () => {
  const way = new QueryRig(1);
  for (let i = 0; i < 100; i++) {
    const asked = [way.ask(`a${i}.example`), way.ask(`b${i}.example`)];
    assertEquals(way.clock.timers, 1);
    for (const { reply } of way.sent.splice(0)) reply();
    await way.clock.run(50);
    assertEquals(asked.map(({ outcome }) => outcome?.[0]), ["203.0.113.1", "203.0.113.1"]);
  }
  await way.clock.run(6_000);
  assertEquals(way.clock.timers, 0);
  await way.rig.upstreams.close();
});
