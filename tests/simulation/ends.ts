/**
 * The programs at the two ends of a stream: one inside the guest, on its sockets, one at the host,
 * in the hands of the simulation. Each behaves as its plan says, and checks every byte it reads.
 *
 * @module
 */
import { GuestError } from "../../lib/guest/guest_error.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import type { VirtualClock } from "../support/virtual_clock.ts";
import type { VirtualPeer } from "../support/virtual_socket.ts";
import type { EndLedger, GuestLedger } from "./ledger.ts";
import { fillPattern, findForeign } from "./pattern.ts";

/** What an end works with. */
export interface EndContext {
  readonly clock: VirtualClock;
  /** Key of the bytes that it sends, and of those that it is to get. */
  readonly sendKey: number;
  readonly takeKey: number;
  /** Whether the guest has been switched off: its programs with it, and its memory. */
  readonly isGone: () => boolean;
  /** Hears what is wrong. */
  readonly fault: (text: string) => void;
  /** Hears what happens. */
  readonly say: (text: string) => void;
}

/** A guest whose connection does not move for so long gives up. */
const PATIENCE_MS = 900_000;
const LOOK_MS = 100_000;

/** Waits, as a program does. */
export function sleep(clock: VirtualClock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.after(ms, resolve));
}

/** Runs the guest's end; resolves when it is over, and never rejects. */
export async function runGuestEnd(
  tcp: GuestTcp,
  ledger: GuestLedger,
  context: EndContext,
): Promise<void> {
  const end = new GuestEnd(tcp, ledger, context);
  await end.run();
}

class GuestEnd {
  readonly #tcp: GuestTcp;
  readonly #ledger: GuestLedger;
  readonly #context: EndContext;
  readonly #ended = Promise.withResolvers<void>();
  #movedMs: number;

  constructor(tcp: GuestTcp, ledger: GuestLedger, context: EndContext) {
    this.#tcp = tcp;
    this.#ledger = ledger;
    this.#context = context;
    this.#movedMs = context.clock.now();
  }

  async run(): Promise<void> {
    this.#watch();
    const results = await Promise.allSettled([this.#write(), this.#read()]);
    for (const result of results) {
      if (result.status === "fulfilled") continue;
      if (!(result.reason instanceof GuestError)) throw result.reason;
      this.#ledger.failure ??= result.reason.code;
    }
    this.#ledger.isOver = true;
    this.#context.say(
      `guest: sent ${this.#ledger.sentBytes}, took ${this.#ledger.takenBytes}, ` +
        (this.#ledger.failure ?? "done"),
    );
  }

  async #write(): Promise<void> {
    const { plan } = this.#ledger;
    const { clock, sendKey } = this.#context;
    const chunk = new Uint8Array(Math.min(plan.chunkBytes, 65_536));
    while (this.#ledger.sentBytes < plan.sendBytes && !this.#ledger.hasAborted) {
      const bytes = chunk.subarray(
        0,
        Math.min(chunk.length, plan.sendBytes - this.#ledger.sentBytes),
      );
      fillPattern(sendKey, this.#ledger.sentBytes, bytes);
      this.#ledger.sentBytes += bytes.length; // before: what is not taken whole may go out in part
      await this.#tcp.write(bytes);
      this.#moved();
      if (plan.chunkGapMs > 0) await sleep(clock, plan.chunkGapMs);
    }
    if (plan.waitsForEnd) await this.#ended.promise;
    if (this.#ledger.hasAborted) return;
    this.#ledger.hasFinished = true;
    this.#tcp.finish();
  }

  async #read(): Promise<void> {
    const { plan } = this.#ledger;
    const { clock } = this.#context;
    try {
      if (plan.readAfterMs > 0) await sleep(clock, plan.readAfterMs);
      const buffer = new Uint8Array(Math.min(plan.readBytes, 262_144));
      for (;;) {
        if (this.#context.isGone()) return;
        if (this.#ledger.takenBytes >= plan.abortAtBytes) return this.#abort();
        const count = await this.#tcp.read(buffer);
        this.#moved();
        if (count === null) break;
        this.#check(buffer.subarray(0, count));
        if (plan.readGapMs > 0) await sleep(clock, plan.readGapMs);
      }
      this.#ledger.sawEnd = true;
    } finally {
      this.#ended.resolve();
    }
  }

  #check(bytes: Uint8Array): void {
    const ledger = this.#ledger;
    const at = findForeign(this.#context.takeKey, ledger.takenBytes, bytes);
    if (at >= 0) {
      this.#context.fault(`byte ${ledger.takenBytes + at} that the guest read is not the host's`);
    }
    ledger.takenBytes += bytes.length;
  }

  #abort(): void {
    this.#ledger.hasAborted = true;
    this.#context.say("guest: breaks the connection");
    this.#tcp.abort();
  }

  #moved(): void {
    this.#movedMs = this.#context.clock.now();
  }

  #watch(): void {
    const { clock } = this.#context;
    clock.after(LOOK_MS, () => {
      if (this.#ledger.isOver) return;
      if (clock.now() - this.#movedMs < PATIENCE_MS) return this.#watch();
      this.#ledger.gaveUp = true;
      this.#context.say("guest: gives up");
      this.#tcp.abort();
    });
  }
}

/** Runs the host's end until the gateway has closed its socket, or this end is through. */
export function runHostEnd(peer: VirtualPeer, ledger: EndLedger, context: EndContext): void {
  const end = new HostEnd(peer, ledger, context);
  peer.onChange = () => end.step();
  end.step();
}

class HostEnd {
  readonly #peer: VirtualPeer;
  readonly #ledger: EndLedger;
  readonly #context: EndContext;
  readonly #startMs: number;
  #takeAtMs: number;
  #sendAtMs: number;
  /** When a step is due that was asked for. */
  #dueMs = Infinity;
  #isClosed = false;

  constructor(peer: VirtualPeer, ledger: EndLedger, context: EndContext) {
    this.#peer = peer;
    this.#ledger = ledger;
    this.#context = context;
    this.#startMs = context.clock.now();
    this.#takeAtMs = this.#startMs + ledger.plan.readAfterMs;
    this.#sendAtMs = this.#startMs;
  }

  /** Does what can be done now. */
  step(): void {
    const { plan } = this.#ledger;
    if (this.#ledger.isOver) return;
    if (!this.#isClosed) {
      this.#take();
      if (this.#ledger.takenBytes >= plan.abortAtBytes && !plan.echoes) return this.#reset();
      this.#send();
      this.#finishIfDone();
    }
    this.#noteEnds();
  }

  #take(): void {
    const { plan } = this.#ledger;
    const nowMs = this.#context.clock.now();
    if (this.#takeAtMs > nowMs) return this.#later(this.#takeAtMs);
    const owed = this.#ledger.takenBytes - this.#ledger.sentBytes;
    const mayEcho = plan.echoes && !this.#peer.isClosed;
    const mostBytes = mayEcho ? Math.max(0, 65_536 - owed) : Infinity;
    const bytes = this.#peer.take(Math.min(plan.readBytes, mostBytes));
    if (bytes.length > 0) {
      const at = findForeign(this.#context.takeKey, this.#ledger.takenBytes, bytes);
      if (at >= 0) {
        const place = this.#ledger.takenBytes + at;
        this.#context.fault(`byte ${place} that the host was sent is not the guest's`);
      }
      this.#ledger.takenBytes += bytes.length;
      if (plan.readGapMs > 0) this.#takeAtMs = nowMs + plan.readGapMs;
    }
    if (this.#peer.isEnded) this.#ledger.sawEnd = true;
    else if (this.#peer.availableBytes > 0 && this.#takeAtMs > nowMs) this.#later(this.#takeAtMs);
  }

  #send(): void {
    const ledger = this.#ledger;
    const { plan } = ledger;
    const nowMs = this.#context.clock.now();
    while (this.#leftBytes > 0 && this.#peer.roomBytes > 0) {
      if (this.#sendAtMs > nowMs) return this.#later(this.#sendAtMs);
      const count = Math.min(this.#leftBytes, this.#peer.roomBytes, plan.chunkBytes);
      const bytes = new Uint8Array(count);
      fillPattern(this.#context.sendKey, ledger.sentBytes, bytes);
      ledger.sentBytes += this.#peer.write(bytes);
      if (plan.chunkGapMs > 0) this.#sendAtMs = nowMs + plan.chunkGapMs;
    }
  }

  get #leftBytes(): number {
    const { plan, takenBytes, sentBytes } = this.#ledger;
    return (plan.echoes ? takenBytes : plan.sendBytes) - sentBytes;
  }

  #finishIfDone(): void {
    const ledger = this.#ledger;
    const { plan } = ledger;
    if (ledger.hasFinished || this.#leftBytes > 0 || this.#peer.failure !== null) return;
    if ((plan.waitsForEnd || plan.echoes) && !ledger.sawEnd) return;
    ledger.hasFinished = true;
    this.#peer.finish();
    if (!plan.closesEarly) return;
    this.#isClosed = true;
    ledger.hasAborted = !ledger.sawEnd; // what comes now finds nobody
    this.#context.say("host: closes at once");
    this.#peer.close();
  }

  #reset(): void {
    this.#ledger.hasAborted = true;
    this.#ledger.isOver = true;
    this.#context.say(`host: resets after ${this.#ledger.takenBytes}`);
    this.#peer.reset();
  }

  /** Through when both ends have come, or the other side is gone. */
  #noteEnds(): void {
    const ledger = this.#ledger;
    const peer = this.#peer;
    if (peer.failure !== null) ledger.failure ??= peer.failure;
    const isGone = peer.failure !== null || (peer.isClosed && (this.#isClosed || ledger.sawEnd));
    if (!isGone) return;
    ledger.isOver = true;
    this.#context.say(
      `host: sent ${ledger.sentBytes}, took ${ledger.takenBytes}, ${ledger.failure ?? "done"}`,
    );
  }

  #later(atMs: number): void {
    if (this.#dueMs <= atMs) return;
    this.#dueMs = atMs;
    const { clock } = this.#context;
    clock.after(atMs - clock.now(), () => {
      if (this.#dueMs !== atMs) return; // another step was asked for in its place
      this.#dueMs = Infinity;
      this.step();
    });
  }
}
