/**
 * Frames with a virtio-net header from a guest that lies in it, through the whole stack.
 *
 * A record of 12 octets or more is a header with its frame; a shorter one is an entry of the stream
 * that has no room for both.
 *
 * Oracles: nothing throws, and every entry is walked; what a header may say is judged by a model of
 * its own, and a frame whose header the model refuses is neither answered nor handed on, but counted
 * once; a packet reaches TCP or UDP only with a right sum, or with the sum of its pseudo-header in the
 * place that its header names; the stream stays in step: a ping afterwards is answered.
 *
 * @module
 */
import { checkL4 } from "../../../lib/stack/checksum_check.ts";
import type { Packet } from "../../../lib/stack/packet.ts";
import { headerOf, readHeader, type VnetHeader } from "../../support/large_frames.ts";
import { concat } from "../../support/packets.ts";
import { FRAME_WORDS, FRAMES, mutateFrame } from "../frames.ts";
import type { Input } from "../input.ts";
import type { Mutator } from "../mutate.ts";
import { hold, Rig } from "../rig.ts";
import { fold, seal, sum, word } from "../seal.ts";
import type { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";

const HEADER_BYTES = 12;
const ETHERNET_BYTES = 14;
const TCP = 6;
const UDP = 17;
const KIND_PASSED = 90;
const KIND_VERDICT = 91;
/** Where the checksum stands, by the protocol. */
const SUM_AT: Readonly<Record<number, number>> = { [TCP]: 16, [UDP]: 6 };

/** The target. */
export const offloadTarget: FuzzTarget = {
  name: "offload",
  about: "frames whose virtio-net header lies, through the whole stack",
  form: "hex",
  seeds,
  mutate: (input, mutator) => mutator.records(input, (record) => mutateRecord(record, mutator)),
  run: (input, signal) => new Link(signal).run(input),
};

/** What the specification lets a driver say; written apart from `lib/stack/offload.ts`. */
function verdict(header: VnetHeader, frameBytes: number): "fine" | "malformed" | "unspoken" {
  const kind = header.gsoType & 0x7f;
  if (header.flags > 3 || (kind !== 0 && kind !== 1 && kind !== 4)) return "unspoken";
  const needsSum = (header.flags & 1) === 1;
  const isCut = header.gsoType !== 0;
  if (isCut && (!needsSum || kind === 0)) return "malformed";
  if (isCut && (header.segmentBytes === 0 || header.headersBytes > frameBytes)) return "malformed";
  if (!needsSum) return "fine";
  const { checksumStart: start, checksumOffset: offset } = header;
  return start < ETHERNET_BYTES || start + offset + 2 > frameBytes ? "malformed" : "fine";
}

/** One run. */
class Link {
  readonly #rig: Rig;
  readonly #signal: Signal;
  #header: VnetHeader = readHeader(new Uint8Array(HEADER_BYTES));
  #frame = new Uint8Array(0);
  #answers = 0;

  constructor(signal: Signal) {
    this.#signal = signal;
    const l4 = { process: (packet: Packet) => this.#handedOn(packet) };
    const sent = () => void this.#answers++;
    this.#rig = new Rig(signal, { l4, sent }, { large: "headers" });
  }

  run(input: Input): void {
    const rig = this.#rig;
    for (const record of input) this.#push(record);
    rig.wait(2_000); // limits of echoes fill up again
    const guest = rig.memory.bytes.slice(rig.link.guestMacAt, rig.link.guestMacAt + 6);
    const ping = FRAMES.ping4![0]!.slice();
    ping.set(guest, 6);
    this.#push(concat(headerOf(), ping));
    hold(this.#answers > 0, "an honest ping is answered");
    rig.close();
  }

  #push(record: Uint8Array): void {
    const rig = this.#rig;
    const { values } = rig.counters;
    const before = rig.counters.snapshot();
    this.#header = readHeader(
      concat(record.subarray(0, HEADER_BYTES), new Uint8Array(HEADER_BYTES)),
    );
    this.#frame = record.slice(HEADER_BYTES);
    this.#answers = 0;
    rig.pushWhole(record);
    rig.turn();
    rig.check();
    if (record.length < HEADER_BYTES + ETHERNET_BYTES) return;
    const said = verdict(this.#header, this.#frame.length);
    this.#signal.noteText(KIND_VERDICT, said);
    if (said === "fine") return;
    hold(this.#answers === 0, "a frame whose header lies is not answered");
    const name = said === "malformed" ? "drop.vnet.hdr" : "drop.vnet.kind";
    hold(rig.counters.get(name) === (before[name] ?? 0) + 1, () => `it counts as ${name}`);
    hold(values.every((value) => value >= 0), "counts are none below 0");
  }

  #handedOn(packet: Packet): void {
    const rig = this.#rig;
    hold(
      verdict(this.#header, this.#frame.length) === "fine",
      "a frame whose header lies is dropped",
    );
    if (packet.protocol !== TCP && !checkL4(rig.link, packet)) return;
    const { memory } = rig;
    const at = packet.payloadAt;
    const isLeft = (this.#header.flags & 1) === 1;
    this.#signal.note(KIND_PASSED, packet.protocol + packet.family * 256, isLeft ? 1 : 0);
    if (!isLeft) return;
    const place = SUM_AT[packet.protocol];
    const start = at - rig.link.device.frameAt;
    hold(!packet.reassembled && this.#header.checksumStart === start, "the sum is this packet's");
    hold(this.#header.checksumOffset === place, "it stands where the protocol has it");
    const kind = this.#header.gsoType & 0x7f;
    hold(kind === 0 || (packet.protocol === TCP && kind === (packet.family === 4 ? 1 : 4)), "cut");
    const addressBytes = packet.family === 4 ? 4 : 16;
    const bytes = packet.protocol === UDP ? word(memory.bytes, at + 4) : packet.payloadBytes;
    const pseudo = sum(memory.bytes, packet.sourceAt, packet.sourceAt + addressBytes) +
      sum(memory.bytes, packet.destinationAt, packet.destinationAt + addressBytes) +
      packet.protocol + bytes;
    hold(word(memory.bytes, at + place!) === fold(pseudo), "it is that of the pseudo-header");
  }
}

// ---- Inputs -------------------------------------------------------------------------------------

/** A frame whose sum is left to do; the field holds the pseudo-header's. */
function left(frame: Uint8Array, protocol: number): Uint8Array {
  const out = frame.slice();
  const isSix = word(out, 12) === 0x86dd;
  const at = ETHERNET_BYTES + (isSix ? 40 : 20);
  const [from, to] = isSix ? [22, 54] : [26, 34];
  const pseudo = fold(sum(out, from, to) + protocol + (out.length - at));
  out[at + SUM_AT[protocol]!] = pseudo >> 8;
  out[at + SUM_AT[protocol]! + 1] = pseudo & 255;
  return out;
}

function* seeds(): Iterable<readonly [string, Input]> {
  for (const [name, frames] of Object.entries(FRAMES)) {
    yield [name, frames.map((frame) => concat(headerOf(), frame))];
  }
  const sums: readonly [string, string, number, Partial<VnetHeader>][] = [
    ["left_tcp4", "syn4", TCP, { checksumStart: 34, checksumOffset: 16 }],
    ["left_tcp6", "syn6", TCP, { checksumStart: 54, checksumOffset: 16 }],
    ["left_udp4", "udp4", UDP, { checksumStart: 34, checksumOffset: 6 }],
    ["cut4", "syn4", TCP, { checksumStart: 34, checksumOffset: 16, gsoType: 1 }],
    ["cut6", "syn6", TCP, { checksumStart: 54, checksumOffset: 16, gsoType: 0x84 }],
  ];
  for (const [name, from, protocol, fields] of sums) {
    const header = headerOf({ flags: 1, segmentBytes: 1000, headersBytes: 54, ...fields });
    yield [name, [concat(header, left(FRAMES[from]![0]!, protocol))]];
  }
  yield ["ufo", [concat(headerOf({ flags: 1, gsoType: 3, segmentBytes: 9 }), FRAMES.udp4![0]!)]];
  yield ["short", [new Uint8Array(0), headerOf(), new Uint8Array(25)]];
}

const VALUES = [0, 1, 2, 3, 4, 5, 6, 14, 16, 34, 54, 0x80, 0x81, 0x84, 255];

function mutateRecord(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  if (record.length < HEADER_BYTES + ETHERNET_BYTES || random.once(12)) {
    return mutator.bytes(record, FRAME_WORDS);
  }
  const head = record.slice(0, HEADER_BYTES);
  const frame = record.slice(HEADER_BYTES);
  if (random.once(2)) {
    head[random.below(HEADER_BYTES)] = random.once(4) ? random.below(256) : random.pick(VALUES);
    return concat(head, frame);
  }
  const changed = random.once(3)
    ? seal(mutator.bytes(frame, FRAME_WORDS), random.once(2))
    : mutateFrame(frame, mutator);
  return concat(head, changed);
}
