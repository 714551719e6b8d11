/**
 * A UDP socket of the guest and its host: what comes must be what was sent, whole and unchanged,
 * and from whom it was asked for. On a good link all of it comes.
 *
 * @module
 */
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import type { GuestUdp } from "../../lib/guest/udp_socket.ts";
import type { VirtualHost } from "../support/virtual_host.ts";
import { sleep } from "./ends.ts";
import { patternBytes } from "./pattern.ts";
import type { DatagramPlan } from "./plan.ts";

/** What the program works with. */
export interface DatagramContext {
  readonly host: VirtualHost;
  readonly isCalm: boolean;
  readonly wasCut: () => boolean;
  readonly fault: (text: string) => void;
  readonly say: (text: string) => void;
}

/** How long the guest waits for answers after its last datagram. */
const WAIT_MS = 5_000;

/** Sends what the plan has, and takes the answers. */
export async function runDatagrams(
  guest: EmbeddedGuest,
  plan: DatagramPlan,
  context: DatagramContext,
): Promise<void> {
  const run = new DatagramRun(plan, context);
  run.placeHost();
  using socket = guest.udp();
  const taking = run.take(socket);
  await run.send(socket);
  await sleep(context.host.clock, WAIT_MS + plan.answerMs);
  socket.close();
  await taking;
  run.judge();
}

class DatagramRun {
  readonly #plan: DatagramPlan;
  readonly #context: DatagramContext;
  readonly #sent = new Set<string>();
  #sentCount = 0;
  #heard = 0;
  #answered = 0;
  #taken = 0;

  constructor(plan: DatagramPlan, context: DatagramContext) {
    this.#plan = plan;
    this.#context = context;
  }

  placeHost(): void {
    const { host, fault } = this.#context;
    const { address, port, answer, answerMs } = this.#plan;
    if (answer === "refused") return host.failUdp(address, port, "ECONNREFUSED");
    host.udp(address, port, (data, reply) => {
      this.#heard++;
      if (!this.#sent.has(textOf(data))) fault(`the host got ${data.length} bytes nobody sent`);
      if (answer === "silent") return;
      if (answer === "stranger") {
        return reply(data, { delayMs: answerMs, from: { address: "93.184.9.9", port } });
      }
      for (let i = answer === "twice" ? 2 : 1; i > 0; i--) reply(data, { delayMs: answerMs });
      this.#answered += answer === "twice" ? 2 : 1;
    });
  }

  async send(socket: GuestUdp): Promise<void> {
    const { address, port, sizes, gapMs, id } = this.#plan;
    for (const [i, bytes] of sizes.entries()) {
      const data = patternBytes(0x7000_0000 + id * 256 + i, 0, bytes);
      this.#sent.add(textOf(data));
      try {
        socket.send(address, port, data);
        this.#sentCount++;
      } catch (error) {
        if (!(error instanceof GuestError)) throw error;
        if (this.#context.isCalm) this.#context.fault(`could not send: ${error.message}`);
      }
      if (gapMs > 0) await sleep(this.#context.host.clock, gapMs);
    }
  }

  /** Takes datagrams until the socket closes. */
  async take(socket: GuestUdp): Promise<void> {
    const { address, port, answer } = this.#plan;
    const { fault, isCalm } = this.#context;
    for (;;) {
      try {
        const got = await socket.receive();
        this.#taken++;
        if (got.address !== address || got.port !== port) fault(`a datagram from ${got.address}`);
        if (!this.#sent.has(textOf(got.data))) fault("the guest got a datagram nobody sent");
        if (answer === "stranger") fault("the guest got a stranger's datagram");
      } catch (error) {
        if (!(error instanceof GuestError)) throw error;
        if (error.code === "closed") return;
        // Fragments that stay alone are told of, as unreachable; on a bad link some do.
        const isForeseen = answer === "refused" || (!isCalm && error.code === "unreachable");
        if (!isForeseen) fault(`the guest was told "${error.code}"`);
      }
    }
  }

  judge(): void {
    const { isCalm, wasCut, fault, say } = this.#context;
    say(`sent ${this.#sentCount}, heard ${this.#heard}, taken ${this.#taken}`);
    if (!isCalm || wasCut()) return;
    const isRefused = this.#plan.answer === "refused";
    if (!isRefused && this.#heard !== this.#sentCount) {
      fault(`on a good link the host heard ${this.#heard} of ${this.#sentCount} datagrams`);
    }
    if (this.#taken !== this.#answered) {
      fault(`on a good link the guest got ${this.#taken} of ${this.#answered} answers`);
    }
  }
}

function textOf(data: Uint8Array): string {
  return String.fromCharCode(...data);
}
