/**
 * The TCP endpoint with as many flows as it holds, in any state: segments around the numbers that matter, with
 * right checksums, while owners accept, refuse, send, finish, abort and read, operations of host
 * sockets are under way, ICMP errors come in, the guest's device is full, and time passes.
 *
 * Records are steps, see `tcp_steps.ts`.
 *
 * Oracles: nothing throws and no `bug.*` counts; tables, octets and steps stay bounded; the host
 * gets the guest's octets in order, and the guest the host's, within its window; no ACK and no
 * window goes back; an honest flow that was open all the time still carries both ways and closes,
 * and a fresh one opens; at the end all is empty.
 *
 * @module
 */
import type { TcpConnection } from "../../../lib/stack/tcp/connection.ts";
import { TcpState } from "../../../lib/stack/tcp/state.ts";
import {
  GATEWAY_MAC,
  GUEST4,
  GUEST6,
  GUEST_MAC,
  ip,
  mac,
  WORLD4,
  WORLD6,
} from "../../support/packets.ts";
import { octets } from "../../support/tcp_segments.ts";
import { HonestFlow } from "../honest_flow.ts";
import type { Input } from "../input.ts";
import { wordOctets } from "../mutate.ts";
import { hold, LARGE, LINKS, Rig, type RigOptions } from "../rig.ts";
import { fold, seal, setWord, sum, word } from "../seal.ts";
import type { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";
import { FuzzFlow } from "../tcp_flow.ts";
import { TCP_SEEDS } from "../tcp_seeds.ts";
import {
  Action,
  ACTIONS,
  at16,
  at32,
  at8,
  Base,
  Mode,
  mutateSteps,
  Policy,
  readSegment,
  type SegmentStep,
  Step,
  STEPS,
} from "../tcp_steps.ts";
import type { Shape } from "../well_formed.ts";

/** More than the table holds. */
const FLOWS = 9;
const FIRST_PORT = 40_000;
const PEER_PORT = 80;
const ISN = 0xffffff00;
const GUEST = 1;
const SYN = 2;
const RST = 4;
const ACK = 16;
const WAIT_MAX_MS = 400_000;
/** All waits together stay below the idle limit, so that the honest flow must live. */
const WAITS_MAX_MS = 6_000_000;
const KIND_STATE = 20;
const KIND_SENT = 21;

/** The target. */
export const tcpTarget: FuzzTarget = {
  name: "tcp",
  about: "segments around valid numbers for flows in every state, with busy owners",
  form: "hex",
  seeds: () => Object.entries(TCP_SEEDS),
  mutate: mutateSteps,
  run: (input, signal) => new Dialogue(signal, linkOf(input)).run(input),
};

/** The link that an input chooses. */
function linkOf(input: Input): RigOptions {
  const chosen = input.find((record) => at8(record, 0) % STEPS === Step.link);
  if (chosen === undefined) return {};
  return {
    link: LINKS[at8(chosen, 1) % LINKS.length]!,
    large: LARGE[at8(chosen, 2) % LARGE.length]!,
  };
}

/** One run. */
class Dialogue {
  readonly #rig: Rig;
  readonly #signal: Signal;
  readonly #honest: HonestFlow;
  /** By port, the latest last. */
  readonly #flows = new Map<number, FuzzFlow[]>();
  readonly #lastSeq = new Map<number, number>();
  #policy = Policy.hold as number;
  #waitedMs = 0;
  /** Whether frames may have been queued that a later connection of the same port did not send. */
  #delayed = false;

  constructor(signal: Signal, options: RigOptions) {
    this.#signal = signal;
    const owners = {
      offer: (connection: TcpConnection, nowMs: number) => this.#offer(connection, nowMs),
      sent: (frame: Uint8Array, shape: Shape) => this.#sent(frame, shape),
    };
    this.#rig = new Rig(signal, owners, options);
    this.#honest = new HonestFlow(this.#rig, 61_000);
  }

  run(input: Input): void {
    this.#honest.open();
    for (const record of input) {
      this.#step(record);
      this.#rig.check();
    }
    this.#settle();
    this.#honest.talk();
    this.#honest.close();
    const fresh = new HonestFlow(this.#rig, 61_001);
    this.#latecomer = fresh;
    fresh.open();
    fresh.talk();
    this.#rig.tcp.closeAll();
    fresh.release();
    this.#honest.release();
    this.#rig.close();
  }

  #latecomer: HonestFlow | null = null;

  /** The hostile flows end, with all that was under way for them. */
  #settle(): void {
    const rig = this.#rig;
    rig.readOn();
    for (const connection of [...rig.tcp.connections()]) {
      if (connection !== this.#honest.connection) connection.abort();
    }
    rig.turn();
    for (const flows of this.#flows.values()) {
      flows.forEach((flow) => flow.release());
    }
    // What ended in order before that may still wait for its owner, which has let go now.
    rig.turn();
    for (const flows of this.#flows.values()) {
      for (const flow of flows) {
        hold(flow.closed, "every owner hears of its flow's end");
      }
    }
  }

  #step(record: Uint8Array): void {
    const rig = this.#rig;
    switch (at8(record, 0) % STEPS) {
      case Step.segment:
        return this.#segment(readSegment(record));
      case Step.owner:
        this.#own(at8(record, 1) % FLOWS, at8(record, 2) % ACTIONS, at16(record, 3));
        return rig.turn();
      case Step.icmp:
        return this.#icmp(record);
      case Step.wait: {
        const ms = Math.min(at32(record, 1) % WAIT_MAX_MS, WAITS_MAX_MS - this.#waitedMs);
        this.#waitedMs += ms;
        return rig.wait(ms);
      }
      case Step.device:
        if (at16(record, 1) === 0) rig.readOn();
        else rig.stopReading(at16(record, 1));
        this.#delayed = true;
        return rig.turn();
      case Step.policy:
        this.#policy = at8(record, 1);
        return;
      case Step.frame: {
        const frame = record.slice(1);
        if (
          frame.length < 14 || mentions(frame, 61_000) ||
          mentions(frame, 61_001)
        ) return;
        for (const flows of this.#flows.values()) {
          flows.forEach((flow) => flow.tainted = true);
        }
        this.#openWide();
        rig.push(frame);
        return rig.turn();
      }
    }
  }

  /** A raw segment may say anything about windows. */
  #openWide(): void {
    for (const flows of this.#flows.values()) {
      for (const flow of flows) flow.allowedEnd = Infinity;
    }
  }

  // ---- The guest ----------------------------------------------------------------------------

  #latest(flow: number): FuzzFlow | undefined {
    return this.#flows.get(FIRST_PORT + flow)?.at(-1);
  }

  #segment(step: SegmentStep): void {
    const flow = step.flow % FLOWS;
    const known = this.#latest(flow);
    const seq = (this.#seqBase(step, flow, known) + step.seqDelta) >>> 0;
    const ack = (this.#ackBase(step, known) + step.ackDelta) >>> 0;
    const syn = (step.flags & SYN) !== 0;
    const irs = syn || known === undefined ? seq : known.connection.receiver.irs;
    const from = syn ? 0 : (seq - irs - 1) | 0;
    const foreign = (step.mode & Mode.foreign) !== 0 && step.dataBytes > 0;
    const data = foreign
      ? new Uint8Array(step.dataBytes).fill(0xee)
      : octets(from, step.dataBytes, GUEST);
    if (known !== undefined) {
      if (foreign) known.tainted = true;
      const shift = syn ? 0 : known.connection.sender.shift;
      if ((step.flags & ACK) !== 0) known.allow(ack, step.window * 2 ** shift);
      else if (syn) {
        known.allow((known.connection.sender.iss + 1) >>> 0, step.window);
      }
    }
    const frame = segmentFrame(flow, step, seq, ack, data);
    const before = known?.connection.state ?? TcpState.closed;
    this.#rig.push(frame);
    this.#lastSeq.set(flow, seq);
    const opened = this.#latest(flow);
    if (opened !== known && syn) {
      opened?.allow((opened.connection.sender.iss + 1) >>> 0, step.window);
    }
    if ((step.mode & Mode.more) === 0) this.#rig.turn();
    const after = this.#latest(flow)?.connection.state ?? TcpState.closed;
    this.#signal.note(
      KIND_STATE,
      STATES.indexOf(before) * 16 + STATES.indexOf(after),
      step.flags & 0x17,
    );
  }

  #seqBase(step: SegmentStep, flow: number, known: FuzzFlow | undefined): number {
    if (step.seqBase === Base.last) return this.#lastSeq.get(flow) ?? ISN;
    if (known === undefined) return ISN;
    const { receiver } = known.connection;
    return [receiver.rcvNxt, receiver.rcvEdge, receiver.irs][step.seqBase]!;
  }

  #ackBase(step: SegmentStep, known: FuzzFlow | undefined): number {
    if (known === undefined) return 0;
    const { sender } = known.connection;
    const { sndUna, sndNxt, iss } = sender;
    // An honest guest's first ACK is for our SYN, which SND.UNA stands at until then.
    const una = sndUna === iss ? (iss + 1) >>> 0 : sndUna;
    return [una, (una + Math.min(sender.sndWnd, 1 << 20)) >>> 0, iss, sndNxt][step.ackBase]!;
  }

  #icmp(record: Uint8Array): void {
    const flow = at8(record, 1) % FLOWS;
    const known = this.#latest(flow);
    if (known === undefined) return;
    const { sender } = known.connection;
    const base = [sender.sndUna, sender.sndNxt, sender.iss, 0][at8(record, 6) % 4]!;
    const seq = (base + (at32(record, 7) | 0)) >>> 0;
    const frame = icmpFrame(flow, at8(record, 2), at8(record, 3), at16(record, 4), seq);
    this.#rig.push(frame);
    this.#rig.turn();
  }

  // ---- The owners ---------------------------------------------------------------------------

  #offer(connection: TcpConnection, nowMs: number): void {
    const { guestPort } = connection.template;
    for (const honest of [this.#honest, this.#latecomer]) {
      if (honest?.guestPort === guestPort) {
        return honest.offered(connection, nowMs);
      }
    }
    this.#adopt(connection);
    switch (this.#policy & 3) {
      case Policy.accept:
        return connection.accept(nowMs);
      case Policy.refuse:
        return connection.refuse();
      case Policy.drop:
        return connection.drop();
    }
  }

  #adopt(connection: TcpConnection): void {
    const flow = new FuzzFlow(connection, this.#rig.memory);
    flow.reads = (this.#policy & Policy.reads) !== 0;
    flow.echoes = (this.#policy & Policy.echoes) !== 0;
    connection.owner = flow;
    const flows = this.#flows.get(flow.guestPort);
    if (flows === undefined) this.#flows.set(flow.guestPort, [flow]);
    else flows.push(flow);
  }

  #own(flow: number, action: number, count: number): void {
    if (action === Action.connect) return this.#connect(flow);
    const known = this.#latest(flow);
    if (known === undefined) return;
    const { connection } = known;
    switch (action) {
      case Action.accept:
        return connection.accept(this.#rig.nowMs);
      case Action.refuse:
        return connection.refuse();
      case Action.drop:
        return connection.drop();
      case Action.send:
        return known.send(count);
      case Action.finish:
        return connection.finish();
      case Action.abort:
        return connection.abort();
      case Action.read:
        return known.take(count);
      case Action.beginWrite:
        return known.beginWrite();
      case Action.endWrite:
        return known.endWrite(count);
      case Action.beginRead:
        return known.beginRead();
      case Action.endRead:
        return known.endRead(count);
      case Action.retry:
        return connection.retrySpan();
      case Action.release:
        if (known.closed) known.release();
        return;
    }
  }

  #connect(flow: number): void {
    const { tcp, link, memory, scratchAt, nowMs } = this.#rig;
    const six = flow % 2 === 1;
    if (six && !link.config.ipv6) return;
    memory.bytes.set(six ? PEER6 : PEER4, scratchAt);
    const guestAt = six ? link.guestIp6At : link.guestIp4At;
    const port = FIRST_PORT + flow;
    const connection = tcp.connect(six ? 6 : 4, scratchAt, PEER_PORT, guestAt, port, nowMs);
    if (connection !== null) this.#adopt(connection);
  }

  // ---- What the guest gets ------------------------------------------------------------------

  #sent(frame: Uint8Array, { protocol, payloadAt: at, fragment }: Shape): void {
    if (protocol !== 6 || fragment) return;
    const guestPort = word(frame, at + 2);
    for (const honest of [this.#honest, this.#latecomer]) {
      if (honest?.guestPort === guestPort) return honest.got(frame, at);
    }
    const flags = frame[at + 13]!;
    const data = frame.subarray(at + (frame[at + 12]! >> 4) * 4);
    this.#signal.note(KIND_SENT, flags, Math.min(2, data.length));
    const flows = this.#flows.get(guestPort);
    if (flows === undefined || (flags & RST) !== 0) return;
    const seq = at32(frame, at + 4);
    if (data.length > 0) {
      hold(flows.some((flow) => flow.carries(seq, data)), "the guest gets the host's octets");
    }
    const [only] = flows;
    if (flows.length > 1 || this.#delayed || (flags & ACK) === 0) return;
    only!.says(at32(frame, at + 8), word(frame, at + 14), (flags & SYN) !== 0);
  }
}

const STATES = Object.values(TcpState);
const PEER4 = ip(WORLD4);
const PEER6 = ip(WORLD6);
const ETHERNET = [...mac(GATEWAY_MAC), ...mac(GUEST_MAC)];
const HEAD4 = Uint8Array.from([
  ...ETHERNET,
  8,
  0,
  0x45,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  64,
  6,
  0,
  0,
  ...ip(GUEST4),
  ...PEER4,
]);
const HEAD6 = Uint8Array.from([
  ...ETHERNET,
  0x86,
  0xdd,
  0x60,
  0,
  0,
  0,
  0,
  0,
  6,
  64,
  ...ip(GUEST6),
  ...PEER6,
]);

/** Whether a raw frame may be about a port. */
function mentions(frame: Uint8Array, port: number): boolean {
  for (let i = 14; i + 1 < frame.length; i++) {
    if (word(frame, i) === port) return true;
  }
  return false;
}

function segmentFrame(
  flow: number,
  step: SegmentStep,
  seq: number,
  ack: number,
  data: Uint8Array,
): Uint8Array {
  const head = flow % 2 === 1 ? HEAD6 : HEAD4;
  const optionBytes = (step.options.length + 3) & ~3;
  const at = head.length;
  const frame = new Uint8Array(at + 20 + optionBytes + data.length);
  frame.set(head);
  setWord(frame, at, FIRST_PORT + flow);
  setWord(frame, at + 2, PEER_PORT);
  frame.set(wordOctets(seq, 4), at + 4);
  frame.set(wordOctets(ack, 4), at + 8);
  frame[at + 12] = (20 + optionBytes) << 2;
  frame[at + 13] = step.flags;
  setWord(frame, at + 14, step.window);
  setWord(frame, at + 18, step.urgent);
  frame.set(step.options, at + 20);
  frame.set(data, at + 20 + optionBytes);
  seal(frame, true);
  if ((step.mode & Mode.badChecksum) !== 0) frame[at + 16]! ^= 0x55;
  if ((step.mode & Mode.partialChecksum) !== 0) {
    const addresses = flow % 2 === 1 ? sum(frame, 22, 54) : sum(frame, 26, 34);
    setWord(frame, at + 16, fold(addresses + 6 + frame.length - at));
  }
  return frame;
}

/** An error about a segment that the gateway has sent. */
function icmpFrame(flow: number, type: number, code: number, mtu: number, seq: number): Uint8Array {
  const six = flow % 2 === 1;
  const head = (six ? HEAD6 : HEAD4).slice();
  const quote = (six ? HEAD6 : HEAD4).slice(14);
  const addressBytes = six ? 16 : 4;
  const sourceAt = quote.length - 2 * addressBytes;
  quote.copyWithin(sourceAt + addressBytes, sourceAt, sourceAt + addressBytes);
  quote.set(six ? PEER6 : PEER4, sourceAt);
  setWord(quote, six ? 4 : 2, 1460);
  head[six ? 20 : 23] = six ? 58 : 1;
  const at = head.length;
  const frame = new Uint8Array(at + 8 + quote.length + 20);
  frame.set(head);
  frame[at] = type;
  frame[at + 1] = code;
  setWord(frame, at + 6, mtu);
  frame.set(quote, at + 8);
  const l4At = at + 8 + quote.length;
  setWord(frame, l4At, PEER_PORT);
  setWord(frame, l4At + 2, FIRST_PORT + flow);
  frame.set(wordOctets(seq, 4), l4At + 4);
  frame[l4At + 12] = 0x50;
  return seal(frame, true);
}
