/**
 * A guest's flow that moves octets all the time, and whoever answers it on the host: what of a gateway
 * must go on whatever becomes of everything around it.
 *
 * @module
 */
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";

const BLOCK_BYTES = 64;

/** A host of the loopback that sends back what it gets. */
export class EchoHost implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #conns = new Set<Deno.Conn>();
  readonly #running = this.#run();

  /** Its port. */
  get port(): number {
    return (this.#listener.addr as Deno.NetAddr).port;
  }

  async #run(): Promise<void> {
    const answering = new Set<Promise<void>>();
    for await (const conn of this.#listener) {
      const answer = this.#answer(conn).finally(() => answering.delete(answer));
      answering.add(answer);
    }
    await Promise.all(answering);
  }

  async #answer(conn: Deno.Conn): Promise<void> {
    this.#conns.add(conn);
    await conn.readable.pipeTo(conn.writable).catch(() => {});
    this.#conns.delete(conn);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#conns) {
      try {
        conn.close();
      } catch {
        // It has ended by itself.
      }
    }
    await this.#running;
  }
}

/** A flow that asks and is answered, one block after the other. */
export class LiveFlow {
  /** Blocks that came back as they were sent. */
  rounds = 0;
  /** The longest time between two of them, in milliseconds. */
  longestMs = 0;
  /** Why it is over; `null` while it is not. */
  failure: string | null = null;
  readonly #tcp: GuestTcp;
  readonly #pauseMs: number;
  readonly #running: Promise<void>;
  #lastMs = performance.now();
  #isClosing = false;

  private constructor(tcp: GuestTcp, pauseMs: number) {
    this.#tcp = tcp;
    this.#pauseMs = pauseMs;
    this.#running = this.#run().catch((error) => {
      if (!this.#isClosing) this.failure = (error as Error).message;
    });
  }

  /**
   * Opens one to a host that answers.
   *
   * @param guest Whose flow it is.
   * @param port The host's port, at the gateway's address.
   * @param pauseMs Between an answer and the next question.
   */
  static async open(guest: EmbeddedGuest, port: number, pauseMs = 20): Promise<LiveFlow> {
    return new LiveFlow(await guest.connect(guest.currentLease!.router, port), pauseMs);
  }

  /** The time since the last answer counts too. */
  get stallMs(): number {
    return Math.max(this.longestMs, performance.now() - this.#lastMs);
  }

  /** Forgets how long it took at the longest. */
  measure(): void {
    this.longestMs = 0;
    this.#lastMs = performance.now();
  }

  async #run(): Promise<void> {
    const sent = new Uint8Array(BLOCK_BYTES);
    const got = new Uint8Array(BLOCK_BYTES);
    while (!this.#isClosing) {
      sent.fill(this.rounds & 0xff);
      await this.#tcp.write(sent);
      for (let at = 0; at < BLOCK_BYTES;) {
        const count = await this.#tcp.read(got.subarray(at));
        if (count === null) throw new Error("the host has ended it");
        at += count;
      }
      if (got.some((octet) => octet !== sent[0])) throw new Error("other octets came back");
      this.rounds++;
      const nowMs = performance.now();
      this.longestMs = Math.max(this.longestMs, nowMs - this.#lastMs);
      this.#lastMs = nowMs;
      await new Promise((resolve) => setTimeout(resolve, this.#pauseMs));
    }
  }

  /** Ends it. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#tcp.abort();
    await this.#running;
  }
}
