/**
 * Fragments of both families, beside a model that does the same naively.
 *
 * A record is a fragment: mode, datagram, offset in units of 8, octets of data, what they are
 * filled with, units of headers in front. One of four octets is a wait of so many milliseconds.
 *
 * Oracles: after each record the datagrams that came out, the octets and sets that are held, and
 * every counter are the model's; at the end all is empty.
 *
 * @module
 */
import type { Packet } from "../../../lib/stack/packet.ts";
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
import { type FragmentCounter, FragmentModel, type Piece } from "../fragment_model.ts";
import type { Input } from "../input.ts";
import { type Mutator, put, wordOctets } from "../mutate.ts";
import { hold, Rig } from "../rig.ts";
import { seal, setWord } from "../seal.ts";
import type { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";
import { at16, at32, at8 } from "../tcp_steps.ts";

const Bits = { six: 1, more: 2, tcp: 4, other: 8, reserved: 16, jumbo: 32 } as const;
const WAIT_BYTES = 4;
const WAIT_MAX_MS = 130_000;
const TCP = 6;
const UDP = 17;
const KIND_DELIVERED = 30;

/** The target. */
export const reassemblyTarget: FuzzTarget = {
  name: "reassembly",
  about: "fragments of IPv4 and IPv6, against a naive model",
  form: "hex",
  seeds: () => Object.entries(SEEDS),
  mutate: mutateFragments,
  run: (input, signal) => new Side(signal).run(input),
};

class Side {
  readonly #rig: Rig;
  readonly #model = new FragmentModel();
  readonly #signal: Signal;
  readonly #delivered: Uint8Array[] = [];
  #streams = 0;

  constructor(signal: Signal) {
    this.#signal = signal;
    const process = (packet: Packet) => this.#deliver(packet);
    this.#rig = new Rig(signal, { l4: { process } });
  }

  #deliver(packet: Packet): void {
    const { payloadAt, payloadBytes, headerAt, headerBytes } = packet;
    hold(packet.reassembled, "only what was put together comes");
    hold(payloadAt === headerAt + headerBytes, "the payload stands behind its header");
    if (packet.protocol === UDP) {
      this.#delivered.push(this.#rig.memory.bytes.slice(payloadAt, payloadAt + payloadBytes));
    } else this.#streams++;
  }

  run(input: Input): void {
    const rig = this.#rig;
    for (const record of input) {
      if (record.length === WAIT_BYTES) {
        rig.wait(at32(record, 0) % WAIT_MAX_MS);
        this.#model.advance(rig.nowMs);
      } else this.#fragment(record);
      this.#compare();
    }
    rig.close();
  }

  #fragment(record: Uint8Array): void {
    const rig = this.#rig;
    const { piece, frame } = fragmentOf(record);
    const streams = this.#streamsSeen();
    const whole = this.#model.take(piece, rig.nowMs);
    rig.push(frame);
    rig.turn();
    const out = this.#delivered.splice(0);
    if (whole === null || whole.protocol !== UDP) {
      hold(out.length === 0, "no datagram comes out that is not whole");
      const more = whole === null ? 0 : 1;
      hold(this.#streamsSeen() === streams + more, "a segment comes out when it is whole");
      return;
    }
    this.#signal.note(KIND_DELIVERED, piece.family, 31 - Math.clz32(whole.data.length));
    hold(out.length === 1, "a whole datagram comes out");
    hold(sameOctets(out[0]!, whole.data), "a datagram has its octets");
  }

  /** Segments that came, whatever their checksums were. */
  #streamsSeen(): number {
    return this.#streams + this.#rig.counters.get("drop.csum");
  }

  #compare(): void {
    const { reassembly } = this.#rig.stack;
    const { counts, sets, heldBytes } = this.#model;
    hold(reassembly.sets === sets, () => `${reassembly.sets} sets, the model has ${sets}`);
    hold(
      reassembly.heldBytes === heldBytes,
      () => `${reassembly.heldBytes} octets, the model has ${heldBytes}`,
    );
    for (const name of Object.keys(counts) as FragmentCounter[]) {
      const got = this.#rig.counters.get(name);
      hold(got === counts[name], () => `${name} is ${got}, the model's ${counts[name]}`);
    }
    this.#rig.check();
  }
}

function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}

const ETHERNET = [...mac(GATEWAY_MAC), ...mac(GUEST_MAC)];

/** What a record says, as the model and as the stack take it. */
function fragmentOf(record: Uint8Array): { piece: Piece; frame: Uint8Array } {
  const bits = at8(record, 0);
  const family = (bits & Bits.six) !== 0 ? 6 : 4;
  const offset = (at16(record, 2) & 0x1fff) * 8;
  // Without either it would be no fragment.
  const last = (bits & Bits.more) === 0 && offset !== 0;
  const protocol = (bits & Bits.tcp) !== 0 ? TCP : UDP;
  const dataBytes = (bits & Bits.jumbo) !== 0 ? at16(record, 4) % 65_000 : at16(record, 4) % 1481;
  const extra = at8(record, 7) % 6;
  const data = new Uint8Array(dataBytes);
  for (let i = 0; i < dataBytes; i++) {
    data[i] = offset + i === 12
      ? 0x50
      : ((offset + i) * 31 + (offset + i >> 8) + at8(record, 6)) & 0xff;
  }
  const id = at8(record, 1) % 8;
  const other = (bits & Bits.other) !== 0;
  const frame = family === 4
    ? frame4(data, { bits, offset, last, protocol, id, extra, other })
    : frame6(data, { bits, offset, last, protocol, id, extra, other });
  const headerBytes = family === 4 ? 20 + 4 * extra : 40 + 8 * extra;
  const countedBytes = family === 4 ? headerBytes : headerBytes - 40;
  const set = `${id} ${other}`;
  return { piece: { family, set, protocol, offset, last, data, headerBytes, countedBytes }, frame };
}

interface Fields {
  bits: number;
  offset: number;
  last: boolean;
  protocol: number;
  id: number;
  extra: number;
  other: boolean;
}

function frame4(
  data: Uint8Array,
  { bits, offset, last, protocol, id, extra, other }: Fields,
): Uint8Array {
  const headerBytes = 20 + 4 * extra;
  const frame = new Uint8Array(14 + headerBytes + data.length);
  frame.set([...ETHERNET, 8, 0, 0x40 | (headerBytes >> 2)]);
  setWord(frame, 18, id);
  const flags = (last ? 0 : 0x2000) |
    ((bits & Bits.reserved) !== 0 ? 0xc000 : 0);
  setWord(frame, 20, flags | (offset >> 3));
  frame.set([64, protocol, 0, 0, ...ip(GUEST4), ...ip(WORLD4)], 22);
  if (other) frame[33]! ^= 1;
  frame.fill(1, 34, 14 + headerBytes);
  frame.set(data, 14 + headerBytes);
  return seal(frame, true);
}

function frame6(
  data: Uint8Array,
  { bits, offset, last, protocol, id, extra, other }: Fields,
): Uint8Array {
  const frame = new Uint8Array(14 + 48 + 8 * extra + data.length);
  frame.set([...ETHERNET, 0x86, 0xdd, 0x60]);
  frame.set([44, 64, ...ip(GUEST6), ...ip(WORLD6)], 20);
  if (other) frame[53]! ^= 1;
  let at = 54;
  if (extra > 0) {
    frame[20] = 60;
    frame.set([44, extra - 1, 1, 8 * extra - 4], at);
    at += 8 * extra;
  }
  frame[at] = protocol;
  setWord(frame, at + 2, offset | ((bits & Bits.reserved) !== 0 ? 6 : 0) | (last ? 0 : 1));
  frame.set(wordOctets(id, 4), at + 4);
  frame.set(data, at + 8);
  return seal(frame, true);
}

function fragment(
  bits: number,
  id: number,
  offsetBytes: number,
  dataBytes: number,
  fill = 0,
  extra = 0,
) {
  return Uint8Array.from([
    bits,
    id,
    ...wordOctets(offsetBytes / 8, 2),
    ...wordOctets(dataBytes, 2),
    fill,
    extra,
  ]);
}

const { six, more, tcp, jumbo } = Bits;
const SEEDS: Readonly<Record<string, Input>> = {
  two4: [fragment(more, 1, 0, 800), fragment(0, 1, 800, 213)],
  two6: [fragment(six | more, 1, 0, 800), fragment(six, 1, 800, 213)],
  reversed: [fragment(0, 2, 1600, 5), fragment(more, 2, 800, 800), fragment(more, 2, 0, 800)],
  again: [fragment(more, 3, 0, 800), fragment(more, 3, 0, 800), fragment(0, 3, 800, 8)],
  overlap: [fragment(more, 4, 0, 800), fragment(more, 4, 792, 80), fragment(0, 4, 872, 8)],
  other_octets: [fragment(more, 4, 0, 800), fragment(more, 4, 0, 800, 1), fragment(0, 4, 800, 8)],
  ends: [fragment(0, 5, 800, 8), fragment(0, 5, 1600, 8), fragment(more, 5, 0, 800)],
  beyond: [fragment(0, 6, 65_528, 8), fragment(six, 6, 65_528, 8, 0, 2), fragment(0, 6, 65_528, 7)],
  largest: [fragment(more | jumbo, 1, 0, 64_000), fragment(0, 1, 64_000, 1400)],
  largest6: [fragment(six | more | jumbo, 1, 0, 64_000), fragment(six, 1, 64_000, 1471)],
  tiny: [fragment(more | tcp, 1, 0, 16), fragment(more | tcp, 1, 8, 80), fragment(more, 2, 0, 0)],
  sets: Array.from({ length: 7 }, (_, id) => fragment(more, id, 0, 400)),
  octets: Array.from({ length: 3 }, (_, id) => fragment(more | jumbo, id, 0, 40_000)),
  timeout: [
    fragment(more, 1, 0, 80),
    fragment(six | more, 1, 0, 80),
    wordOctets(30_000, 4),
    wordOctets(30_000, 4),
  ],
  headers: [
    fragment(more, 1, 0, 80, 0, 5),
    fragment(0, 1, 80, 8, 0, 1),
    fragment(six | more, 1, 0, 80, 0, 3),
    fragment(six, 1, 80, 9),
  ],
};

/** Another input, made from one: mostly pieces that fit to one that is there. */
function mutateFragments(input: Input, mutator: Mutator): Input {
  const { random } = mutator;
  if (input.length === 0 || random.once(2)) {
    return mutator.records(input, (record) => changeFragment(record, mutator));
  }
  const from = random.pick(input);
  if (from.length === WAIT_BYTES) {
    return [...input, wordOctets(random.below(WAIT_MAX_MS), 4)];
  }
  const next = from.slice();
  const end = at16(from, 2) + ((at16(from, 4) + 7) >> 3);
  const start = Math.max(
    0,
    random.pick([end, end, 0, end - 1, end + 1, at16(from, 2), random.below(8192)]),
  );
  put(next, 2, wordOctets(start, 2));
  if (random.once(2)) {
    put(next, 4, wordOctets(random.pick([1, 7, 8, 16, 24, 80, 800, 1480]), 2));
  }
  if (random.once(2)) next[0]! ^= more;
  const at = random.below(input.length + 1);
  return [...input.slice(0, at), next, ...input.slice(at)];
}

function changeFragment(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  if (record.length === WAIT_BYTES || random.once(20)) {
    return wordOctets(random.pick([1, 15_000, 29_999, 30_000, 30_001, 60_000, 129_000]), 4);
  }
  const out = record.slice();
  switch (random.below(7)) {
    case 0:
      return put(out, 0, [at8(out, 0) ^ (1 << random.below(6))]);
    case 1:
      return put(out, 1, [random.below(8)]);
    case 2:
      return put(out, 2, wordOctets(random.pick([0, 1, 2, 100, 4096, 8000, 8190, 8191]), 2));
    case 3:
      return put(
        out,
        4,
        wordOctets(random.pick([0, 1, 7, 8, 19, 20, 24, 800, 1480, 33_000, 64_000, 64_992]), 2),
      );
    case 4:
      return put(out, 6, [random.below(3)]);
    case 5:
      return put(out, 7, [random.below(6)]);
    default:
      return mutator.bytes(record);
  }
}
