/**
 * Frames of a hostile guest through the whole stack, once with nobody above it and once with owners
 * of TCP and UDP flows that answer at once.
 *
 * A record is a frame; one of four octets is a wait of so many milliseconds; the first of one octet
 * chooses the link.
 *
 * Oracles: nothing throws, tables and octets stay bounded, an input of n frames is answered with a
 * bounded number of frames, each of them well-formed; a guest that goes on honestly has its ARP
 * question, its pings and its flows answered; at the end all is empty. One input in 16 is run over
 * memory of two different contents, and says the same.
 *
 * @module
 */
import type { UdpFlow, UdpFlowOwner } from "../../../lib/stack/udp_flows.ts";
import { IcmpReason } from "../../../lib/stack/icmp_errors.ts";
import { FRAME_WORDS, FRAMES, mutateFrame } from "../frames.ts";
import { type Input, nameOf } from "../input.ts";
import { type Mutator, wordOctets } from "../mutate.ts";
import { FUZZ_LIMITS, hold, LINKS, poison, Rig, type RigOwners, sendToGuest } from "../rig.ts";
import { seal } from "../seal.ts";
import { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";
import type { Shape } from "../well_formed.ts";

const WAIT_BYTES = 4;
const LINK_BYTES = 1;
const WAIT_MAX_MS = 400_000;
const KIND_SENT = 10;
/** Fragments that one frame's answer may take, and what timers say on the way. */
const ANSWERS_MAX = 64;

/** The target. */
export const ethernetTarget: FuzzTarget = {
  name: "ethernet",
  about: "frames through the whole stack: ARP, ND, IPv4, IPv6, extensions, ICMP, UDP, TCP",
  form: "hex",
  *seeds() {
    yield* Object.entries(FRAMES);
    yield ["small", [Uint8Array.of(1), ...FRAMES.ping4!, ...FRAMES.fragments6!]];
    yield ["smallest", [Uint8Array.of(2), ...FRAMES.ping4!, ...FRAMES.udp4!]];
    yield ["large", [Uint8Array.of(3), ...FRAMES.ping6!, ...FRAMES.syn6!]];
    yield ["waits", [...FRAMES.fragments4!.slice(0, 1), wordOctets(31_000, 4), ...FRAMES.ping4!]];
  },
  mutate: (input, mutator) => mutator.records(input, (record) => mutateRecord(record, mutator)),
  repair: (input) => input.map((record) => seal(record.slice(), true)),
  run(input, signal) {
    runOnce(input, signal, null);
    const transcript = runOnce(input, signal, new HostSide());
    if (parseInt(nameOf(input).slice(-1), 16) !== 0) return;
    poison(0x5a);
    const again = runOnce(input, new Signal(), new HostSide());
    poison(0xa5);
    const third = runOnce(input, new Signal(), new HostSide());
    hold(transcript === again && again === third, "what is sent does not depend on old octets");
  },
};

function mutateRecord(record: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  if (record.length === WAIT_BYTES || random.once(24)) {
    return wordOctets(random.pick([0, 1, 50, 999, 5_000, 30_000, 60_001, random.word()]), 4);
  }
  if (random.once(40)) return Uint8Array.of(random.below(LINKS.length));
  if (record.length < 14) return mutator.bytes(record, FRAME_WORDS);
  return mutateFrame(record, mutator);
}

/** Owners of flows: connect, answer, and refuse by the port. */
class HostSide {
  rig: Rig | null = null;

  owners(sent: (frame: Uint8Array, shape: Shape) => void): RigOwners {
    return {
      sent,
      offer: (connection, nowMs) => {
        if (connection.template.peerPort % 4 === 3) connection.refuse();
        else if (connection.template.peerPort % 4 === 2) connection.drop();
        else connection.accept(nowMs);
      },
      open: (_packet, peerPort) => {
        if (peerPort % 8 === 3) return IcmpReason.adminProhibited;
        return peerPort % 8 === 5 ? null : this.#echo();
      },
    };
  }

  #echo(): UdpFlowOwner {
    const { rig } = this;
    let flow: UdpFlow | null = null;
    return {
      opened: (opened) => flow = opened,
      send: (at, bytes) => {
        if (flow !== null && rig !== null) {
          sendToGuest(rig, flow, rig.memory.bytes.slice(at, at + bytes));
        }
      },
      close: () => flow = null,
    };
  }
}

/** Runs an input; a number that stands for everything that was sent. */
function runOnce(input: Input, signal: Signal, host: HostSide | null): number {
  let transcript = 0x811c9dc5;
  const answers = new Map<string, number>();
  const sent = (frame: Uint8Array, { protocol, payloadAt, type }: Shape) => {
    for (const octet of frame) {
      transcript = Math.imul(transcript ^ octet, 0x01000193);
    }
    const code = protocol === 1 || protocol === 58
      ? frame[payloadAt]! * 256 + frame[payloadAt + 1]!
      : 0;
    signal.note(KIND_SENT, type * 256 + protocol, code);
    const key = type === 0x0806 ? "arp" : `${protocol}/${code}`;
    answers.set(key, (answers.get(key) ?? 0) + 1);
  };
  const choice = input.find((record) => record.length === LINK_BYTES)?.[0] ?? 0;
  const link = LINKS[choice % LINKS.length]!;
  const rig = new Rig(signal, host === null ? { l4: null, sent } : host.owners(sent), { link });
  if (host !== null) host.rig = rig;
  for (const record of input) {
    const before = rig.framesOut;
    if (record.length === WAIT_BYTES) {
      rig.wait(
        new DataView(record.buffer, record.byteOffset).getUint32(0) %
          WAIT_MAX_MS,
      );
    } else if (record.length !== LINK_BYTES) {
      rig.push(record);
      rig.turn();
      hold(rig.framesOut - before <= ANSWERS_MAX, "a frame has a bounded answer");
    }
    rig.check();
  }
  probe(rig, answers, host !== null);
  rig.close();
  return transcript;
}

/** The guest goes on honestly. */
function probe(rig: Rig, answers: Map<string, number>, hasHost: boolean): void {
  // The link has one MAC: where the input was first with another one, that is whose link it is.
  const guest = Uint8Array.from(
    rig.memory.bytes.slice(rig.link.guestMacAt, rig.link.guestMacAt + 6),
  );
  rig.wait(2_000); // limits of ICMP errors fill up again
  const ask = (name: string, key: string) => {
    answers.clear();
    const frame = FRAMES[name]![0]!.slice();
    frame.set(guest, 6);
    if (name === "arp") frame.set(guest, 22);
    rig.push(frame);
    rig.turn();
    hold(answers.has(key), () => `the honest guest's ${name} is answered`);
  };
  ask("arp", "arp");
  ask("ping4", `1/${0}`);
  if (rig.link.config.ipv6) ask("ping6", `58/${129 * 256}`);
  ask("traceroute4", `1/${11 * 256}`);
  if (hasHost) {
    rig.tcp.closeAll();
    rig.turn();
    ask("syn4", "6/0");
    ask("udp4", "17/0");
    hold(rig.tcp.size <= FUZZ_LIMITS.tcpFlows, "flows stay bounded");
  }
}
