/**
 * Plays the steps of a packet script against a kernel, in real time.
 *
 * Where the verbs of a relay stand at the gateway, an application stands here: `accept` is a
 * listening socket (the guest's SYN is held back until then, as the gateway holds it), `hostSends`
 * is `send`, `hostFinishes` is `shutdown`, `hostReads` is `recv`, `abort` is `close` with an RST.
 *
 * Time only orders: `at(ms)` waits for as long as the script lets pass, `expect` waits for what
 * may be late, and nothing is held to a moment. What is compared of a segment: control bits without
 * PSH, numbers relative to both ISNs, length and octets, whether the window is closed, options in
 * full but for the peer's own choices (scale, clock). Three freedoms that the RFCs give, and Linux
 * takes where the gateway doesn't:
 *
 *  - an ACK of new octets may come sooner than the gateway's, and on its own;
 *  - each segment of a turn may have its answer, where the gateway answers the turn;
 *  - an ACK may tell of a larger window after the application has read.
 *
 * @module
 */
import { assert, assertEquals, AssertionError } from "@std/assert";
import { read, u32 } from "../support/packets.ts";
import {
  GUEST,
  GUEST_PORT,
  GuestFlow,
  guestFrame,
  guestPortOf,
  HOST,
  ISN,
  PEER_PORT,
  takeSegment,
} from "../support/tcp_guest.ts";
import type { Step, StepVerb } from "../support/tcp_recording.ts";
import { type Sent, show } from "../support/tcp_sent.ts";
import { octet, octets, parseSegment, type SegmentText } from "../support/tcp_segments.ts";
import type { ScriptOptions, ScriptVerbs } from "../support/tcp_verbs.ts";
import { KernelPeer } from "./kernel_peer.ts";
import { matchesKernel } from "./kernel_sent.ts";

/** A round trip is no shorter, or Linux takes each pause of ours for a loss. */
const ROUND_TRIP_MS = 40;
/** How long an expected segment may take beyond the script's own time. */
const PATIENCE_MS = 3000;
const POLL_MS = 2;
/** What Linux may buffer where the gateway's ring is bounded: about the same window. */
const RECEIVE_BYTES_MIN = 4096;

const EAGAIN = -11;
const ERRORS: Readonly<Record<string, readonly number[]>> = {
  "closed: reset": [104, 32],
  "closed: timeout": [110],
  "closed: refused": [111],
  "closed: finished": [0],
};

/** Names of the states in `/proc/net/tcp`. */
const STATES: Readonly<Record<string, string>> = {
  "01": "established",
  "02": "synSent",
  "03": "synReceived",
  "04": "finWait1",
  "05": "finWait2",
  "06": "timeWait",
  "07": "closed",
  "08": "closeWait",
  "09": "lastAck",
  "0A": "listen",
  "0B": "closing",
  "0C": "synReceived",
};

/** A connection of the script, with the application at its other end. */
class KernelFlow extends GuestFlow {
  /** SYNs of the guest that wait for the application's decision. */
  held: string[] = [];
  decided = false;
  /** Octets that the application has taken, and octets that it has sent. */
  taken = 0;
  given = 0;
  waiting = 0;
  finishes = false;
  reads = false;
  aborted = false;
  /** When the peer's SYN was seen; the guest's first answer waits for a round trip. */
  synSeenMs = -Infinity;
}

interface Arrived extends Sent {
  /** It came in direct answer to a verb. */
  prompt: boolean;
  /** It acknowledges what was not acknowledged before. */
  advances: boolean;
  /** The application has just read. */
  afterRead: boolean;
  /** The turn of the guest's that it came in. */
  turn: number;
}

type Played = { [V in StepVerb]: (...words: Parameters<ScriptVerbs[V]>) => Promise<void> };

/** One script against one kernel. */
export class KernelScript implements Played {
  readonly #peer: KernelPeer;
  readonly #family: 4 | 6;
  readonly #receiveBytes: number;
  readonly #flows = new Map<number, KernelFlow>();
  #flow = new KernelFlow(GUEST_PORT);
  #outbox: Arrived[] = [];
  #elapsedMs = 0;
  /** When the script began, as if all that was waited for had taken no time. */
  #startMs = performance.now();
  #reading = false;
  #turn = 0;

  private constructor(peer: KernelPeer, options: ScriptOptions) {
    this.#peer = peer;
    this.#family = options.family ?? 4;
    const { bufferMaxBytes } = options;
    this.#receiveBytes = bufferMaxBytes === undefined
      ? 0
      : Math.max(RECEIVE_BYTES_MIN, bufferMaxBytes);
    this.#flows.set(GUEST_PORT, this.#flow);
    peer.onFrame = (frame, prompt) => this.#take(frame, prompt);
  }

  /** Plays a script from its first step to its last. */
  static async play(options: ScriptOptions, steps: readonly Step[]): Promise<void> {
    await using peer = await KernelPeer.start(options.mtu ?? 1500);
    const script = new KernelScript(peer, options);
    const done: string[] = [];
    try {
      for (const { verb, words } of steps) {
        done.push(`${verb}(${words.map((word) => JSON.stringify(word)).join(", ")})`);
        const perform = script[verb] as (...words: unknown[]) => Promise<void>;
        await perform.call(script, ...words);
        if (peer.failure) throw peer.failure;
      }
      await script.nothingElse();
    } catch (error) {
      if (error instanceof Error) error.message += `\n  after ${done.slice(-8).join("\n        ")}`;
      throw error;
    }
  }

  // ---- Time -------------------------------------------------------------------------------

  async at(ms: number): Promise<void> {
    await this.after(ms - this.#elapsedMs);
  }

  async after(ms: number): Promise<void> {
    assert(ms >= 0, "a script's time goes on");
    this.#elapsedMs += ms;
    // What a step takes is no pause of the script's: else its steps drift apart on a busy machine.
    await sleep(Math.max(0, this.#startMs + this.#elapsedMs - performance.now()));
    // What has come with time is told apart from direct answers.
    for (const sent of this.#outbox) sent.prompt = false;
    await this.#work();
  }

  // ---- The guest --------------------------------------------------------------------------

  port(guestPort: number): Promise<void> {
    this.#flow = this.#flows.get(guestPort) ?? new KernelFlow(guestPort);
    this.#flows.set(guestPort, this.#flow);
    return Promise.resolve();
  }

  renew(isn: number = ISN): Promise<void> {
    const { guestPort } = this.#flow;
    this.#flows.delete(guestPort);
    this.port(guestPort);
    this.#flow.isn = isn;
    return Promise.resolve();
  }

  async guest(...lines: string[]): Promise<void> {
    this.#turn++;
    for (const line of lines) {
      const segment = parseSegment(line);
      const flow = this.#flow;
      if (!flow.decided && /S[^.]*$/.test(segment.flags)) flow.held.push(line);
      else await this.#push(segment);
    }
    await this.#work();
  }

  async #push(segment: SegmentText): Promise<void> {
    const sinceSynMs = performance.now() - this.#flow.synSeenMs;
    if (sinceSynMs < ROUND_TRIP_MS) await this.#wait(ROUND_TRIP_MS - sinceSynMs);
    const frame = guestFrame(this.#flow, segment, this.#family, this.#elapsedMs);
    const { result } = await this.#peer.call("f", this.#flow.guestPort, frame);
    assertEquals(result, frame.length, "octets that the tap took");
  }

  async guestTakes(end: number): Promise<void> {
    const flow = this.#flow;
    const deadlineMs = performance.now() + PATIENCE_MS;
    while (flow.sentEnd < end || this.#outbox.length > 0) {
      if (this.#outbox.length === 0) {
        assert(performance.now() < deadlineMs, `the guest is at ${flow.sentEnd}, not at ${end}`);
        await this.#wait(POLL_MS);
      } else {
        this.#outbox.length = 0;
        const seq = Number.isFinite(flow.acked) ? flow.acked : 1;
        await this.guest(`. ${seq}:${seq} ack ${flow.sentEnd}`);
      }
    }
    assertEquals(flow.sentEnd, end, "the number that the guest is at");
  }

  async guestFills(segmentBytes = 1460): Promise<void> {
    const flow = this.#flow;
    while (flow.acked < flow.edge) {
      let from = flow.acked;
      while (from < flow.edge) {
        const to = Math.min(from + segmentBytes, flow.edge);
        await this.guest(`. ${from}:${to} ack ${flow.sentEnd}`);
        from = to;
      }
      await this.#wait(100);
      this.#outbox.length = 0;
      assertEquals(flow.acked, from, "the peer takes what its window allows");
    }
    this.#elapsedMs += 50;
    flow.countAfresh();
  }

  // ---- The application --------------------------------------------------------------------

  async accept(): Promise<void> {
    await this.#peer.call("l", 0, [this.#family, ...u32(this.#receiveBytes)]);
    await this.#release();
  }

  async refuse(): Promise<void> {
    await this.#release();
  }

  async #release(): Promise<void> {
    const flow = this.#flow;
    flow.decided = true;
    for (const line of flow.held.splice(0)) await this.#push(parseSegment(line));
  }

  async connect(): Promise<void> {
    this.#flow.decided = true;
    const { guestPort } = this.#flow;
    await this.#peer.call("c", guestPort, [this.#family, ...u32(this.#receiveBytes)]);
  }

  async hostSends(bytes: number): Promise<void> {
    this.#flow.waiting += bytes;
    await this.#work();
  }

  async hostFinishes(): Promise<void> {
    this.#flow.finishes = true;
    await this.#work();
  }

  async hostReads(bytes: number, fill?: number): Promise<void> {
    const flow = this.#flow;
    const goal = flow.taken + bytes;
    while (flow.taken < goal) {
      const got = await this.#receive(goal - flow.taken, fill);
      assert(got > 0, `octets that the application could take: ${flow.taken + bytes - goal}`);
    }
  }

  async hostReadsAll(): Promise<void> {
    this.#flow.reads = true;
    await this.#work();
  }

  async abort(): Promise<void> {
    this.#flow.aborted = true;
    const { result } = await this.#peer.call("a", this.#flow.guestPort);
    assertEquals(result, 0, "close");
  }

  /** Sends what waits, as far as the socket takes it, and reads where everything is read. */
  async #work(): Promise<void> {
    const flow = this.#flow;
    const { guestPort } = flow;
    while (flow.waiting > 0) {
      const bytes = octets(flow.given, flow.waiting, HOST);
      const { result } = await this.#peer.call("s", guestPort, bytes);
      if (result === EAGAIN) break;
      assert(result > 0, `send: ${result}`);
      flow.given += result;
      flow.waiting -= result;
    }
    if (flow.finishes && flow.waiting === 0) {
      flow.finishes = false;
      assertEquals((await this.#peer.call("x", guestPort)).result, 0, "shutdown");
    }
    while (flow.reads && await this.#receive(1 << 20) > 0);
  }

  /** Takes at most so many octets of the guest's stream, which must be the right ones. */
  async #receive(limit: number, fill?: number): Promise<number> {
    const flow = this.#flow;
    this.#reading = true;
    const { result, bytes } = await this.#peer.call("r", flow.guestPort, u32(limit));
    this.#reading = false;
    bytes.forEach((value, i) => {
      const right = fill ?? octet(flow.taken + i, GUEST);
      assertEquals(value, right, `octet ${flow.taken + i} of the guest`);
    });
    flow.taken += bytes.length;
    return result;
  }

  // ---- Expectations -----------------------------------------------------------------------

  async expect(...lines: string[]): Promise<void> {
    for (const line of lines) {
      const segment = parseSegment(line.replace(/^@\S+\s+/, ""));
      const passed: Arrived[] = [];
      for (;;) {
        const got = await this.#next();
        if (
          got !== undefined && got.guestPort === this.#flow.guestPort && matchesKernel(got, segment)
        ) break;
        if (got !== undefined && (got.afterRead || this.#mayPrecede(got, segment.ack))) {
          passed.push(got);
          continue;
        }
        const seen = [...passed, ...(got ? [got] : []), ...this.#outbox.slice(0, 8)].map(show);
        throw new AssertionError(`expected ${line}\n  got      ${seen.join("\n           ")}`);
      }
    }
  }

  /** The next segment, once it is there. */
  async #next(): Promise<Arrived | undefined> {
    const deadlineMs = performance.now() + PATIENCE_MS;
    while (this.#outbox.length === 0 && performance.now() < deadlineMs) {
      await this.#wait(POLL_MS);
    }
    if (this.#peer.failure) throw this.#peer.failure;
    return this.#outbox.shift();
  }

  /** Whether it is an ACK that may stand in front of what the script expects. */
  #mayPrecede(got: Arrived, ack = Infinity): boolean {
    const bare = got.flags === "." && got.dataBytes === 0 && got.ack! <= ack;
    const answeredAgain = this.#outbox.some((later) =>
      later !== got && later.turn === got.turn && later.ack !== undefined
    );
    return bare && (answeredAgain || (got.advances && !hasSack(got)));
  }

  nothingElse(): Promise<void> {
    const wrong = this.#outbox.filter((sent) => sent.prompt && !this.#mayPrecede(sent));
    assertEquals(wrong.map(show), [], "nothing else is sent");
    return Promise.resolve();
  }

  async quiet(ms: number): Promise<void> {
    await this.after(ms);
    assertEquals(this.#outbox.map(show), [], "nothing is sent");
  }

  segments(): Promise<void> {
    this.#outbox.length = 0;
    return Promise.resolve();
  }

  async told(...events: string[]): Promise<void> {
    const flow = this.#flow;
    if (flow.aborted) return;
    for (const event of events) {
      const right = ERRORS[event];
      // A SYN that was refused never had a socket.
      if (right === undefined || (event === "closed: refused" && flow.iss === 0)) continue;
      const { result } = await this.#peer.call("e", flow.guestPort);
      assert(right.includes(result), `${event}: the socket's error is ${result}`);
    }
  }

  async inState(state: string): Promise<void> {
    if (state === "offered") return;
    const { bytes } = await this.#peer.call("t", 0, [this.#family]);
    const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, "0");
    const [own, other] = [hex(PEER_PORT), hex(this.#flow.guestPort)];
    const found = new TextDecoder().decode(bytes).split("\n").map((line) =>
      /:(\w{4}) \w+:(\w{4}) (\w\w)/.exec(line)
    ).find((parts) => parts?.[1] === own && parts[2] === other);
    assertEquals(found ? STATES[found[3]!] : "closed", state, "the kernel's state");
  }

  counts(): Promise<void> {
    return Promise.resolve();
  }

  /** Lets time pass that is not the script's. */
  async #wait(ms: number): Promise<void> {
    const fromMs = performance.now();
    await sleep(ms);
    this.#startMs += performance.now() - fromMs;
  }

  // ---- Inside -----------------------------------------------------------------------------

  #take(frame: Uint8Array, prompt: boolean): void {
    if (!isTcp(frame)) return; // a kernel also looks for routers and multicast groups
    const packet = readKernel(frame);
    const flow = this.#flows.get(guestPortOf(packet));
    assert(flow !== undefined, "the kernel answers a port of the script's");
    const before = flow.acked;
    const sent = takeSegment(flow, packet, this.#family, this.#elapsedMs);
    if (sent.flags.includes("S")) flow.synSeenMs = performance.now();
    const advances = (sent.ack ?? -Infinity) > before;
    this.#outbox.push({ ...sent, prompt, advances, afterRead: this.#reading, turn: this.#turn });
  }
}

function hasSack({ options }: Sent): boolean {
  return options.some(({ kind }) => kind === "sack");
}

function isTcp(frame: Uint8Array): boolean {
  const type = (frame[12]! << 8) | frame[13]!;
  return (type === 0x0800 && frame[23] === 6) || (type === 0x86dd && frame[20] === 6);
}

/** A frame of the kernel's, taken apart; the flow label is its own business. */
function readKernel(frame: Uint8Array): ReturnType<typeof read> {
  if (frame[14]! >> 4 === 6) frame.set([0x60, 0, 0, 0], 14);
  return read(frame);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
