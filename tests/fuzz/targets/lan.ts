/**
 * Frames of two hostile guests of one shared network, each at its own port of the switch.
 *
 * A record of 14 octets or more is a frame of guest b where its source MAC says so, and of guest a
 * otherwise. One of four octets is a wait of so many milliseconds; one of one octet sets the policy of
 * guest a, or has guest b take nothing from here on, or take again.
 *
 * Oracles, written apart from `lib/stack`: nothing throws; what comes out of a port towards another
 * guest speaks for its sender alone, is for whoever gets it, and fits the link; what the gateway alone
 * says or hears never comes out; with rules in force nothing that they can't judge does; afterwards
 * both guests still reach each other.
 *
 * @module
 */
import { DEFAULT_LIMITS } from "../../../lib/config/limits.ts";
import { Counters } from "../../../lib/stack/counters.ts";
import { VirtioNetworkDevice } from "../../../lib/stack/device.ts";
import type { LanFlow } from "../../../lib/stack/lan_flow.ts";
import { LanMembers } from "../../../lib/stack/lan_members.ts";
import { type LanPolicy, LanPort } from "../../../lib/stack/lan_port.ts";
import { Drained } from "../../../lib/stack/lan_receiver.ts";
import { lanBytes, LanRings } from "../../../lib/stack/lan_rings.ts";
import { Link, LINK_BYTES } from "../../../lib/stack/link.ts";
import { LENGTH_BYTES, NetworkFrameQueues, QUEUES_BYTES } from "../../../lib/stack/queues.ts";
import { GatewayStack, Polled, stackBytes } from "../../../lib/stack/stack.ts";
import { FrameMemory } from "../../../lib/wire/memory.ts";
import { LAN_GATEWAY4, LAN_GATEWAY6, LAN_GATEWAY_MAC, madeAddress } from "../../support/lan_rig.ts";
import { ip, mac, u16 } from "../../support/packets.ts";
import { PLAIN_LINK } from "../../support/stack_harness.ts";
import { mutateFrame } from "../frames.ts";
import type { Input } from "../input.ts";
import { Act, ACTS, conversations } from "../lan_conversations.ts";
import { ADDRESSES, checkLanFrame, isOfGateway, MEMBERS } from "../lan_well_formed.ts";
import { type DictionaryWord, type Mutator, put, wordOctets } from "../mutate.ts";
import { FUZZ_LIMITS, hold } from "../rig.ts";
import { seal, word } from "../seal.ts";
import { CountTrace, type Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";

const WAIT_BYTES = 4;
const WAIT_MAX_MS = 400_000;
const KIND_CAME = 90;
const TURNS_MAX = 64;
/** The target. */
export const lanTarget: FuzzTarget = {
  name: "lan",
  about: "frames of guests to the other guests of their network: the guard, flows, rings",
  form: "hex",
  *seeds() {
    yield* Object.entries(conversations());
  },
  mutate: (input, mutator) => mutator.records(input, (record) => mutateRecord(record, mutator)),
  repair: (input) => input.map((record) => seal(record.slice(), true)),
  run: (input, signal) => new Switch(signal).run(input),
};

function mutateRecord(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  if (record.length === WAIT_BYTES || random.once(30)) {
    return wordOctets(random.pick([0, 1, 999, 9_999, 31_000, 300_001, random.word()]), 4);
  }
  if (random.once(24)) return Uint8Array.of(random.below(ACTS));
  if (record.length < 14) return mutator.bytes(record, WORDS);
  if (random.once(3)) {
    const words = put(
      record,
      random.pick([0, 6, 22, 28, 26, 30, 38, 54, 62]),
      random.pick(WORDS) as Uint8Array,
    );
    return random.once(4) ? words : seal(words.slice(), random.once(2));
  }
  return mutateFrame(record, mutator);
}

const WORDS: readonly DictionaryWord[] = [
  ...MEMBERS.flatMap((member) => [
    mac(member.mac),
    ip(member.ip4),
    ip(member.ip6!),
    ip(madeAddress(member)),
    ip(madeAddress(member, "fd53:4d01::")),
  ]),
  ...[LAN_GATEWAY4, LAN_GATEWAY6, "10.77.0.255", "224.0.0.251", "::", "ff02::1", "ff02::fb"].map(
    ip,
  ),
  ...[LAN_GATEWAY_MAC, "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "01:00:5e:00:00:fb"].map(mac),
  ...[67, 68, 546, 547, 0x8100, 0x2000, 0x0001].map((each) => Uint8Array.from(u16(each))),
];

const memories: FrameMemory[] = [];
let ringBuffer: ArrayBuffer | null = null;
const LINK_AT = QUEUES_BYTES;
const STACK_AT = LINK_AT + LINK_BYTES;
const MEMORY_BYTES = STACK_AT + stackBytes(FUZZ_LIMITS);
const RINGS_HEAD_BYTES = 3 * 128 + 9 * 128;

/** One guest at its port. */
class Side {
  readonly counters = new Counters();
  readonly queues: NetworkFrameQueues;
  readonly port: LanPort;
  readonly link: Link;
  readonly stack: GatewayStack;
  readonly trace: CountTrace;
  readonly policy = new Rules();
  #isFull = false;

  constructor(self: number, rings: LanRings, signal: Signal) {
    const memory = memories[self] ??= new FrameMemory(MEMORY_BYTES);
    const idle = () => {};
    this.queues = new NetworkFrameQueues(memory, 0, { write: idle, turn: idle });
    const device = new VirtioNetworkDevice(this.queues, this.counters);
    const { mac, ip4, ip6 } = ADDRESSES[self]!;
    this.link = new Link(memory, LINK_AT, device, this.counters, {
      ...PLAIN_LINK,
      guestMac: mac,
      guestIp4: ip4,
      guestIp6: ip6,
      gatewayIp4: ip(LAN_GATEWAY4),
      gatewayIp6: ip(LAN_GATEWAY6),
      prefix4: 24,
    });
    const members = new LanMembers(ADDRESSES, self, 64);
    this.stack = new GatewayStack({
      link: this.link,
      at: STACK_AT,
      limits: FUZZ_LIMITS,
      advertisement: { ipv6Upstream: true, search: new Uint8Array(0) },
      members,
    });
    this.port = new LanPort({
      link: this.link,
      members,
      rings,
      wake: idle,
      errors: this.stack.errors,
      policy: this.policy,
      limits: DEFAULT_LIMITS,
      seed: Uint32Array.of(1, 2, 3, 4),
    });
    this.stack.join(this.port);
    this.trace = new CountTrace(signal, this.counters.values);
    rings.attach(self);
  }

  /** Sends a frame as the guest. */
  send(frame: Uint8Array, nowMs: number): void {
    const queue = this.queues.guestToHost;
    this.link.memory.view.setUint32(queue.fillAt, frame.length);
    this.link.memory.bytes.set(frame, queue.fillAt + LENGTH_BYTES);
    queue.filled(LENGTH_BYTES + frame.length);
    hold(this.stack.poll(2, nowMs) === Polled.empty, "a frame is walked");
    this.port.flush();
    queue.compact();
    this.stack.advance(nowMs);
  }

  /** What came for the guest: of the gateway, and of others. */
  take(nowMs: number): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (let turns = 0; turns < TURNS_MAX; turns++) {
      const drained = this.#isFull ? Drained.empty : this.port.drain(nowMs);
      for (const lane of [this.queues.hostToGuest, this.queues.streams]) {
        const bytes = lane.queuedBytes;
        const at = lane.take();
        for (let i = at; i < at + bytes;) {
          const length = this.link.memory.view.getUint32(i);
          frames.push(this.link.memory.bytes.slice(i + LENGTH_BYTES, i + LENGTH_BYTES + length));
          i += LENGTH_BYTES + length;
        }
      }
      if (drained === Drained.empty) return frames;
    }
    throw new Error("draining comes to no end");
  }

  /** Whether it takes nothing of others. */
  set isFull(isFull: boolean) {
    this.#isFull = isFull;
  }
}

/** Rules that change. */
class Rules implements LanPolicy {
  /** What they allow; `null` for none. */
  isAllowed: ((flow: LanFlow) => boolean) | null = null;

  get hasRules(): boolean {
    return this.isAllowed !== null;
  }

  judge(flow: LanFlow): boolean {
    return this.isAllowed?.(flow) ?? true;
  }

  judgeAgain(flow: LanFlow): boolean {
    return this.judge(flow);
  }
}

/** The switch with its guests; nobody is at the third port, whose ring is looked into. */
class Switch {
  readonly #signal: Signal;
  readonly #rings: LanRings;
  readonly #sides: [Side, Side];
  #nowMs = 1_000_000;
  /** Whether guest a's frames of this moment had to pass rules. */
  #hasRules = false;

  constructor(signal: Signal) {
    this.#signal = signal;
    const buffer = ringBuffer ??= new ArrayBuffer(lanBytes(3));
    new Uint8Array(buffer, 0, RINGS_HEAD_BYTES).fill(0);
    this.#rings = new LanRings(buffer, 3);
    this.#sides = [new Side(0, this.#rings, signal), new Side(1, this.#rings, signal)];
    this.#rings.attach(2);
  }

  run(input: Input): void {
    for (const record of input) {
      if (record.length === WAIT_BYTES) {
        const view = new DataView(record.buffer, record.byteOffset);
        this.#nowMs += view.getUint32(0) % WAIT_MAX_MS;
      } else if (record.length === 1) this.#act(record[0]! % ACTS);
      else if (record.length >= 14 && record.length < 65_000) this.#frame(record);
    }
    this.#probe();
  }

  #act(act: number): void {
    const [a, b] = this.#sides;
    switch (act) {
      case Act.stop:
      case Act.go:
        b.isFull = act === Act.stop;
        return;
      case Act.noRules:
        a.policy.isAllowed = null;
        break;
      case Act.denyC:
        a.policy.isAllowed = ({ peer }) => peer !== 2;
        break;
      default:
        a.policy.isAllowed = ({ peer, port, protocol }) => {
          return peer === 1 && (protocol === "icmp" || port === 80 || port === 7);
        };
    }
    this.#hasRules = a.policy.hasRules;
    a.port.judgeAgain();
  }

  #frame(frame: Uint8Array): void {
    const isOfB = ADDRESSES[1]!.mac.every((octet, i) => octet === frame[6 + i]);
    const from = isOfB ? 1 : 0;
    this.#sides[from]!.send(frame, this.#nowMs);
    this.#sides.forEach((side, to) => {
      for (const came of side.take(this.#nowMs)) {
        if (isOfGateway(came)) continue;
        this.#came(came, 1 - to, to, false);
      }
      side.trace.step();
    });
    for (const sender of [0, 1]) {
      for (let n = this.#rings.peek(sender, 2); n !== 0; n = this.#rings.peek(sender, 2)) {
        hold(n > 0, "the rings make sense");
        const run = this.#rings.bytes.slice(this.#rings.runAt, this.#rings.runAt + n);
        for (let at = 0; at < n;) {
          const length = new DataView(run.buffer).getUint32(at);
          this.#came(run.slice(at + 4, at + 4 + length), sender, 2, this.#rings.isLarge);
          at += 4 + length;
        }
        this.#rings.pop(sender, 2);
      }
    }
  }

  /** A frame that came from one guest to another. */
  #came(frame: Uint8Array, from: number, to: number, isLarge: boolean): void {
    this.#signal.note(KIND_CAME, word(frame, 12), from * 4 + to);
    checkLanFrame(frame, { from, to, isLarge, hasRules: from === 0 && this.#hasRules });
  }

  /** Both guests go on honestly. */
  #probe(): void {
    const [a, b] = this.#sides;
    this.#act(Act.noRules);
    this.#act(Act.go);
    this.#nowMs += 2_000;
    for (const side of [a, b]) side.take(this.#nowMs);
    for (const [from, to] of [[0, 1], [1, 0]] as const) {
      const { honest } = conversations();
      this.#sides[from]!.send(honest![from]!, this.#nowMs);
      const came = this.#sides[to]!.take(this.#nowMs).filter((frame) => !isOfGateway(frame));
      hold(
        came.length === 1 && came[0]!.join() === honest![from]!.join(),
        "guests reach each other",
      );
    }
    for (const { counters } of this.#sides) {
      hold(counters.get("bug.lan") === 0, "no ring was wrong");
    }
  }
}
