/**
 * The embedded guest before a hostile router: answers to what it asked, and frames that it never
 * asked for.
 *
 * A record of 14 octets or more is a frame for the guest, one of four a wait of so many milliseconds,
 * one of one octet something that a program of the guest does: 0 pings, 1 sends a datagram, 2
 * connects, 3 writes to its connection, 4 finishes it, 5 aborts it.
 *
 * Oracles: nothing throws; whatever the guest sends is well-formed, and no frame makes it send many;
 * afterwards it still answers for its link-local address; when it is closed no flow stays.
 *
 * @module
 */
import { GuestError } from "../../../lib/guest/guest_error.ts";
import { GuestStack } from "../../../lib/guest/guest_stack.ts";
import type { GuestTcp } from "../../../lib/guest/guest_tcp.ts";
import { Arena } from "../../../lib/host/gateway_memory.ts";
import { BufferPool, MAX_BLOCK_BYTES } from "../../../lib/stack/buffer_pool.ts";
import { COUNTER_NAMES } from "../../../lib/stack/counters.ts";
import { LENGTH_BYTES, NetworkFrameQueues, QUEUES_BYTES } from "../../../lib/stack/queues.ts";
import { Polled } from "../../../lib/stack/stack.ts";
import type { UdpFlow, UdpFlowOwner } from "../../../lib/stack/udp_flows.ts";
import { FrameMemory } from "../../../lib/wire/memory.ts";
import {
  concat,
  ethernet,
  GATEWAY_LL,
  GATEWAY_MAC,
  GUEST_LL,
  GUEST_MAC,
  icmp6,
  ip,
  ip6,
  mac,
  WORLD4,
} from "../../support/packets.ts";
import { FRAME_WORDS, mutateFrame } from "../frames.ts";
import type { Input } from "../input.ts";
import { type Mutator, wordOctets } from "../mutate.ts";
import { hold, Rig, sendToGuest } from "../rig.ts";
import { seal } from "../seal.ts";
import { CountTrace, Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";
import { at32 } from "../tcp_steps.ts";
import { checkFrame } from "../well_formed.ts";

const WAIT_BYTES = 4;
const WAIT_MAX_MS = 100_000;
const Act = { ping: 0, datagram: 1, connect: 2, write: 3, finish: 4, abort: 5 } as const;
const ACTS = 6;
/** Fragments and retransmissions that one frame may bring about. */
const ANSWERS_MAX = 80;
const TURNS_MAX = 64;
const STEPS_MAX = 4000;
const MEMORY_BYTES = 3 * MAX_BLOCK_BYTES;
const KIND_SENT = 80;
const KIND_STATE = 81;

/** The target. */
export const guestTarget: FuzzTarget = {
  name: "guest",
  about: "the embedded guest before a hostile router",
  form: "hex",
  seeds: conversations,
  mutate: (input, mutator) => mutator.records(input, (record) => mutateRecord(record, mutator)),
  repair: (input) => input.map((record) => seal(record.slice(), true)),
  run: (input, signal) => new Before(signal).run(input),
};

let shared: FrameMemory | null = null;

/** A guest before whoever. */
class Before {
  nowMs = 1_000_000;
  readonly stack: GuestStack;
  readonly #queues: NetworkFrameQueues;
  readonly #memory = shared ??= new FrameMemory(MEMORY_BYTES);
  readonly #signal: Signal;
  readonly #trace: CountTrace;
  readonly #facts = { sourceMac: mac(GUEST_MAC), mtu: 1500 };
  #tcp: GuestTcp | null = null;
  /** Frames of the guest since they were last taken. */
  sent: Uint8Array[] = [];

  constructor(signal: Signal) {
    this.#signal = signal;
    const pool = new BufferPool(this.#memory, 0, MEMORY_BYTES);
    const arena = new Arena(pool);
    const idle = () => {};
    this.#queues = new NetworkFrameQueues(this.#memory, arena.take(QUEUES_BYTES), {
      write: idle,
      turn: idle,
    });
    this.stack = new GuestStack({
      queues: this.#queues,
      pool,
      arena,
      link: { mac: mac(GUEST_MAC), mtu: 1500, ipv6: true },
      random: () => 0x01020304,
      wake: idle,
      nowMs: this.nowMs,
    });
    this.stack.udp(7);
    this.stack.listen(7, () => {});
    this.#trace = new CountTrace(signal, this.stack.counters.values);
    this.stack.dhcp.start(this.nowMs);
    this.stack.neighbors.solicitRouters(this.nowMs);
    this.#turn();
  }

  run(input: Input): void {
    for (const record of input) {
      this.sent = [];
      this.step(record);
      this.#check();
    }
    this.#probe();
    this.stack.closeAll();
    this.#wait(20_000);
    hold(this.stack.tcp.size === 0 && this.stack.tcp.timers === 0, "no flow stays");
  }

  /** One record. */
  step(record: Uint8Array): void {
    if (record.length === WAIT_BYTES) {
      return this.#wait(at32(record, 0) % WAIT_MAX_MS);
    }
    if (record.length === 1) {
      this.#act(record[0]! % ACTS);
      return this.#turn();
    }
    if (record.length < 14) return;
    this.#push(record);
    hold(this.sent.length <= ANSWERS_MAX, "a frame has a bounded answer");
  }

  #act(act: number): void {
    const { stack, nowMs } = this;
    try {
      if (act === Act.ping) stack.ping(WORLD4, 56, nowMs);
      else if (act === Act.datagram) {
        stack.udp(0).send(WORLD4, 9, new Uint8Array(100));
      } else if (act === Act.connect) {
        this.#tcp = stack.connect(WORLD4, 80, nowMs);
      } else if (act === Act.write) {
        this.#tcp?.write(new Uint8Array(3000)).catch(() => {});
      } else if (act === Act.finish) this.#tcp?.finish();
      else this.#tcp?.abort();
    } catch (error) {
      // No address yet, or no room: what a program is told.
      if (!(error instanceof GuestError)) throw error;
    }
  }

  #push(frame: Uint8Array): void {
    const queue = this.#queues.guestToHost;
    this.#memory.view.setUint32(queue.fillAt, frame.length);
    this.#memory.bytes.set(frame, queue.fillAt + LENGTH_BYTES);
    queue.filled(LENGTH_BYTES + frame.length);
    hold(this.stack.poll(2, this.nowMs) === Polled.empty, "every whole frame is walked");
    queue.compact();
    this.#turn();
  }

  #turn(): void {
    this.stack.advance(this.nowMs);
    for (let turns = 0;; turns++) {
      hold(turns < TURNS_MAX, "a turn comes to its end");
      const more = this.stack.dispatch(this.nowMs);
      if (this.#take() === 0 && !more) break;
    }
    this.#trace.step();
    const { dhcp, guest } = this.stack;
    const has = (guest.hasIp4 ? 1 : 0) + (guest.hasIp6 ? 2 : 0) +
      (guest.hasRouterMac ? 4 : 0);
    this.#signal.noteText(KIND_STATE, `${dhcp.state} ${has}`);
  }

  #take(): number {
    let frames = 0;
    for (const lane of [this.#queues.hostToGuest, this.#queues.streams]) {
      const size = lane.queuedBytes;
      if (size === 0) continue;
      const at = lane.take();
      for (let i = at; i < at + size; frames++) {
        const length = this.#memory.view.getUint32(i);
        const frame = this.#memory.bytes.slice(i + LENGTH_BYTES, i + LENGTH_BYTES + length);
        const { type, protocol, payloadAt } = checkFrame(frame, this.#facts);
        this.#signal.note(KIND_SENT, type + protocol, protocol === 6 ? frame[payloadAt + 13]! : 0);
        this.sent.push(frame);
        i += LENGTH_BYTES + length;
      }
    }
    return frames;
  }

  #wait(ms: number): void {
    const endMs = this.nowMs + ms;
    for (let steps = 0; this.stack.pollAt() <= endMs; steps++) {
      hold(steps < STEPS_MAX, "pollAt makes progress");
      this.nowMs = Math.max(this.nowMs, this.stack.pollAt());
      this.#turn();
    }
    this.nowMs = endMs;
    this.#turn();
  }

  #check(): void {
    const { tcp, counters } = this.stack;
    hold(tcp.size <= 2048 && tcp.timers <= tcp.size, "flows are bounded");
    COUNTER_NAMES.forEach((name, i) => {
      if (name.startsWith("bug.")) {
        hold(counters.values[i] === 0, () => `${name} is 0`);
      }
    });
  }

  /** An honest router asks for the link-local address and pings it. */
  #probe(): void {
    const solicitation = concat([0, 0, 0, 0], ip(GUEST_LL), [1, 1], mac(GATEWAY_MAC));
    this.#expect(icmp6(GATEWAY_LL, GUEST_LL, 135, 0, [], solicitation), 136);
    this.#expect(icmp6(GATEWAY_LL, GUEST_LL, 128, 0, [0, 1, 0, 1], new Uint8Array(20)), 129);
  }

  #expect(message: Uint8Array, type: number): void {
    this.sent = [];
    const packet = ip6(message, {
      next: 58,
      hopLimit: 255,
      source: GATEWAY_LL,
      destination: GUEST_LL,
    });
    this.#push(ethernet(packet, { source: GATEWAY_MAC, destination: GUEST_MAC }));
    hold(
      this.sent.some((frame) => frame[20] === 58 && frame[54] === type),
      () => `ICMPv6 ${type} comes`,
    );
  }
}

// ---- Inputs -------------------------------------------------------------------------------------

/** What the gateway has to say to an honest guest, as it says it. */
function* conversations(): Iterable<readonly [string, Input]> {
  const all = converse([Act.ping, Act.datagram, Act.connect, Act.write, Act.finish]);
  yield ["conversation", all];
  const configured = all.findIndex((record) => record.length === 1);
  yield ["configured", all.slice(0, configured)];
  yield ["connection", converse([Act.connect, Act.write, Act.abort])];
  yield ["silence", [wordOctets(60_000, 4), Uint8Array.of(Act.ping)]];
  yield ["unasked", all.slice(1)];
}

/** Lets a guest and a gateway talk: what the guest does, and each frame that it gets. */
function converse(acts: readonly number[]): Input {
  const input: Uint8Array[] = [];
  const answers: Uint8Array[] = [];
  const rig: Rig = new Rig(new Signal(), {
    sent: (frame) => answers.push(frame.slice()),
    offer: (connection, nowMs) => connection.accept(nowMs),
    open: () => echo(() => rig),
  });
  const guest = new Before(new Signal());
  const exchange = () => {
    for (let rounds = 0; rounds < 40 && guest.sent.length > 0; rounds++) {
      for (const frame of guest.sent.splice(0)) rig.push(frame);
      rig.turn();
      for (const frame of answers.splice(0)) {
        input.push(frame);
        guest.step(frame);
      }
    }
  };
  exchange();
  for (const act of acts) {
    input.push(Uint8Array.of(act));
    guest.step(Uint8Array.of(act));
    exchange();
  }
  return input;
}

function echo(rig: () => Rig): UdpFlowOwner {
  let flow: UdpFlow | null = null;
  return {
    opened: (opened) => flow = opened,
    send: (at, bytes) => {
      if (flow !== null) {
        sendToGuest(rig(), flow, rig().memory.bytes.slice(at, at + bytes));
      }
    },
    close: () => flow = null,
  };
}

function mutateRecord(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  if (random.once(16)) return Uint8Array.of(random.below(ACTS));
  if (random.once(24)) {
    return wordOctets(random.pick([1, 40, 1000, 5000, 60_000]), 4);
  }
  if (record.length < 14) return record;
  if (random.once(3)) {
    return seal(mutator.bytes(record, FRAME_WORDS), random.once(2));
  }
  return mutateFrame(record, mutator);
}
