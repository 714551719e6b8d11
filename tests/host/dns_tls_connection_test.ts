/** Connections over TLS on virtual time: when they open, are left, and end. */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { DnsStream, frameMessage } from "../../lib/dns/stream.ts";
import { PAUSE_MS } from "../../lib/host/dns_tls.ts";
import { ABANDONED_MAX, IDLE_MS, SILENCE_MS } from "../../lib/host/dns_tls_connection.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import type { TlsLink } from "../../lib/host/tls_connect.ts";
import { Dice } from "../support/dice.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { answerTo } from "./dns_answers.ts";
import { UpstreamsRig } from "./dns_upstreams_rig.ts";

/** The gateway's end of a connection whose other end the test is. */
class FakeLink implements TlsLink {
  /** Questions that came, in order. */
  readonly asked: Uint8Array[] = [];
  /** Whether each is answered at once. */
  answers: boolean;
  isClosed = false;
  readonly #stream = new DnsStream();
  readonly #incoming: (Uint8Array | null)[] = [];
  #waiting: { resolve: () => void; reject: (error: Error) => void } | null = null;

  constructor(answers: boolean) {
    this.answers = answers;
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.isClosed) return Promise.reject(new Error("closed"));
    this.#stream.push(bytes);
    for (let one = this.#stream.next(); one !== null; one = this.#stream.next()) {
      this.#stream.drop();
      this.asked.push(one);
      if (this.answers) this.send(frameMessage(answerTo(one)));
    }
    return Promise.resolve(bytes.length);
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#incoming.length === 0) {
      if (this.isClosed) throw new Error("closed");
      await new Promise<void>((resolve, reject) => this.#waiting = { resolve, reject });
    }
    const first = this.#incoming[0]!;
    if (first === null) return null;
    const bytes = Math.min(into.length, first.length);
    into.set(first.subarray(0, bytes));
    if (bytes === first.length) this.#incoming.shift();
    else this.#incoming[0] = first.subarray(bytes);
    return bytes;
  }

  /** Sends octets, or with `null` the end. */
  send(bytes: Uint8Array | null): void {
    this.#incoming.push(bytes);
    this.#waiting?.resolve();
  }

  /** Answers the questions with these numbers. */
  answer(...numbers: number[]): void {
    for (const i of numbers) this.send(frameMessage(answerTo(this.asked[i]!)));
  }

  close(): void {
    assert(!this.isClosed, "it is closed once");
    this.isClosed = true;
    this.#waiting?.reject(new Error("closed"));
  }
}

/** An upstream on virtual time; each connection is a link of its own. */
class LinkRig {
  readonly clock = new VirtualClock();
  readonly links: FakeLink[] = [];
  /** Whether links answer at once. */
  answers = true;
  /** What connecting does, where it is not to succeed at once. */
  connecting: ((signal: AbortSignal) => Promise<void>) | null = null;
  readonly rig: UpstreamsRig;

  constructor(upstreams = ["tls://192.0.2.53#dns.test"]) {
    const { now, setTimer, clearTimer, soon } = this.clock;
    this.rig = new UpstreamsRig(upstreams, {
      limits: { dnsTimeoutMs: DEFAULT_LIMITS.dnsTimeoutMs },
      system: {
        ...hostSystem,
        now,
        setTimer,
        clearTimer,
        soon,
        connectTls: async ({ signal }) => {
          await this.connecting?.(signal);
          const link = new FakeLink(this.answers);
          this.links.push(link);
          return link;
        },
      },
    });
  }

  /** Asks, and lets time pass until it is answered. */
  async resolve(name: string): Promise<string> {
    const { outcomes } = this.ask(name);
    await this.clock.until(name, () => outcomes.length > 0, 10_000);
    return outcomes[0]!;
  }

  /** Asks for names; outcomes come as they come. */
  ask(...names: string[]): { outcomes: string[] } {
    const outcomes: string[] = [];
    for (const name of names) this.rig.resolve(name).then((one) => outcomes.push(one));
    return { outcomes };
  }

  /** Closes it; nothing stays. */
  async end(): Promise<void> {
    let closed = false;
    this.rig.upstreams.close().then(() => closed = true);
    await this.clock.run(0);
    assert(closed && this.links.every(({ isClosed }) => isClosed));
    assertEquals([this.clock.timers, this.rig.upstreams.openConnections], [0, 0]);
  }
}

const ADDRESS = "192.0.2.1";

Deno.test("TLS connection: without a question it is closed after 10 s, and opened when one comes", async () => {
  const link = new LinkRig();
  for (let i = 0; i < 5; i++) {
    assertEquals(await link.resolve(`n${i}.example`), ADDRESS);
    await link.clock.run(IDLE_MS - 1);
  }
  assertEquals(link.links.map(({ isClosed }) => isClosed), [false]);
  await link.clock.run(1);
  assertEquals(link.links.map(({ isClosed }) => isClosed), [true]);
  assertEquals(link.clock.timers, 0);
  assertEquals(await link.resolve("late.example"), ADDRESS);
  assertEquals(link.links.length, 2);
  await link.end();
});

Deno.test("TLS connection: one that says nothing is left, and ends with the last who waits", async () => {
  const link = new LinkRig();
  assertEquals(await link.resolve("one.example"), ADDRESS);
  const [first] = link.links as [FakeLink];
  first.answers = false; // as a peer that is gone without a word
  const { outcomes } = link.ask("two.example");
  await link.clock.run(SILENCE_MS - 1);
  const young = link.ask("three.example");
  await link.clock.run(1);
  assertEquals([link.links.length, first.asked.length], [1, 3]);
  const other = link.ask("four.example");
  await link.clock.run(0);
  assertEquals(other.outcomes, [ADDRESS]);
  assertEquals([link.links.length, first.isClosed], [2, false]);
  // In their second round the first ones are asked again, over the new connection.
  await link.clock.run(5_000);
  assertEquals([outcomes, young.outcomes], [[ADDRESS], [ADDRESS]]);
  assertEquals([link.links.length, first.isClosed], [2, true]);
  await link.end();
});

Deno.test("TLS connection: one with a slow answer among others stays", async () => {
  const link = new LinkRig();
  link.answers = false;
  const slow = link.ask("slow.example");
  await link.clock.run(0);
  const [first] = link.links as [FakeLink];
  for (let i = 1; i <= 3; i++) {
    const quick = link.ask(`n${i}.example`);
    await link.clock.run(400);
    first.answer(i);
    await link.clock.run(0);
    assertEquals(quick.outcomes, [ADDRESS]);
  }
  first.answer(0);
  await link.clock.run(0);
  assertEquals([slow.outcomes, link.links.length], [[ADDRESS], 1]);
  await link.end();
});

Deno.test("TLS connection: answers that nobody waits for any more are taken, but not without end", async () => {
  const silent = ["tls://192.0.2.53#dns.test", "tls://192.0.2.54#dns.test"];
  const link = new LinkRig(silent);
  link.answers = false;
  link.ask("one.example");
  await link.clock.run(5_001);
  // Both upstreams were asked twice, and each connection that was silent is gone.
  assertEquals(link.rig.upstreams.inFlight, 0);
  assert(link.links.every(({ isClosed }) => isClosed));
  await link.end();

  const busy = new LinkRig();
  busy.answers = false;
  // One answer keeps the connection alive while others are given up, a few at a time.
  let given = 0;
  for (let round = 0; given <= ABANDONED_MAX + 8; round++) {
    const names = Array.from({ length: 8 }, (_, i) => `n${round}x${i}.example`);
    busy.ask(...names);
    given += names.length;
    for (let step = 0; step < 12; step++) {
      busy.ask(`alive${round}x${step}.example`);
      await busy.clock.run(500);
      const at = busy.links.at(-1)!;
      if (!at.isClosed) at.answer(at.asked.length - 1);
      await busy.clock.run(0);
    }
  }
  await busy.clock.run(6_000);
  assert(busy.links.length >= 2, "it makes way");
  assertEquals(busy.rig.upstreams.inFlight, 0);
  assertEquals(busy.rig.counts.unmatched, 0);
  await busy.end();
});

Deno.test("TLS connection: where it does not open in time there is another, and then a pause", async () => {
  const link = new LinkRig();
  let connects = 0;
  link.connecting = (signal) => {
    connects++;
    return new Promise((_, reject) =>
      signal.addEventListener("abort", () => reject(new Error("aborted")))
    );
  };
  assertEquals(await link.resolve("one.example"), "timeout");
  assertEquals([connects, link.rig.upstreams.openConnections], [2, 0]);
  link.connecting = () => Promise.reject(new Error("refused"));
  assertEquals(await link.resolve("two.example"), "network");
  link.connecting = null;
  await link.clock.run(PAUSE_MS);
  assertEquals(await link.resolve("three.example"), ADDRESS);
  await link.end();
});

Deno.test("TLS connection: closing ends questions in any state", async () => {
  const link = new LinkRig();
  link.answers = false;
  const open = link.ask("one.example", "two.example");
  await link.clock.run(1_500);
  link.connecting = (signal) =>
    new Promise((_, reject) =>
      signal.addEventListener("abort", () => reject(new Error("aborted")))
    );
  const opening = link.ask("three.example");
  await link.clock.run(0);
  assertEquals(link.rig.upstreams.openConnections, 2);
  await link.end();
  assertEquals([open.outcomes, opening.outcomes], [["closed", "closed"], ["closed"]]);
});

Deno.test("TLS connection: whatever peers do, questions end in their time and nothing stays", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const dice = new Dice(seed);
    const link = new LinkRig(["tls://192.0.2.53#dns.test", "tls://192.0.2.54#dns.test"]);
    link.answers = false;
    let asked = 0;
    const outcomes: string[] = [];
    for (let step = 0; step < 200; step++) {
      const open = link.links.filter(({ isClosed }) => !isClosed);
      const one = open[dice.below(Math.max(1, open.length))];
      const question = one?.asked[dice.below(Math.max(1, one.asked.length))];
      switch (dice.below(9)) {
        case 0:
        case 1:
        case 2:
          link.rig.resolve(`n${asked++}.example`, {
            transport: dice.below(2) === 0 ? "udp" : "tcp",
          })
            .then((outcome) => outcomes.push(outcome));
          break;
        case 3: // an answer in pieces; it may be the second one to that question
          if (question === undefined) break;
          for (
            const octet of frameMessage(answerTo(question, ADDRESS, dice.below(8) === 0 ? 2 : 0))
          ) {
            one!.send(Uint8Array.of(octet));
          }
          break;
        case 4: // every question's answer, in one piece
          for (const each of open) each.answer(...each.asked.keys());
          break;
        case 5: { // octets of any kind
          const octets = Uint8Array.from({ length: dice.below(40) }, () => dice.below(4));
          if (dice.below(4) === 0 && octets.length > 0) one?.send(octets);
          break;
        }
        case 6:
          if (dice.below(4) === 0) one?.send(null);
          break;
        case 7:
          link.connecting = dice.below(3) > 0
            ? null
            : dice.below(2) === 0
            ? () => Promise.reject(new Error("refused"))
            : (signal) =>
              new Promise((_, reject) => {
                if (signal.aborted) reject(new Error("aborted"));
                signal.addEventListener("abort", () => reject(new Error("aborted")));
              });
          break;
        case 8:
          await link.clock.run([1, 100, 900, 1_700, 6_000, 12_000][dice.below(6)]!);
      }
      await link.clock.run(0);
      assert(link.rig.upstreams.openConnections <= 16);
    }
    await link.clock.run(5_001);
    assertEquals([outcomes.length, link.rig.upstreams.inFlight], [asked, 0], `seed ${seed}`);
    // Both can be asked again, as if nothing had been.
    link.connecting = null;
    link.answers = true;
    for (const each of link.links) each.answers = true;
    await link.clock.run(20_000);
    assertEquals(await link.resolve("honest.example"), ADDRESS, `seed ${seed}`);
    await link.end();
  }
});
