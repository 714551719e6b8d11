/** The fuzzer's own eyes: seals are right, and what is wrong with a frame is seen. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { GUEST_MAC, mac, read } from "../support/packets.ts";
import { FRAMES, mutateFrame } from "./frames.ts";
import { Mutator } from "./mutate.ts";
import { Random } from "./random.ts";
import { seal, word } from "./seal.ts";
import { checkFrame, MalformedFrame } from "./well_formed.ts";

/** As a guest's frame is no gateway's, but as well-formed as one. */
const LINK = { sourceMac: mac(GUEST_MAC), mtu: 1500 };
const SOUND = [
  "arp",
  "ping4",
  "ping6",
  "syn4",
  "syn6",
  "udp4",
  "udp6",
  "fragments4",
  "fragments6",
  "solicit",
];

Deno.test("seal: honest frames are sealed already", () => {
  for (const [name, frames] of Object.entries(FRAMES)) {
    // What a client leaves to its device, and what is wrong on purpose.
    if (["information", "vlan", "igmp"].includes(name)) continue;
    for (const frame of frames) assertEquals(seal(frame.slice()), frame, name);
  }
});

Deno.test("seal: a changed frame has right checksums and lengths again", () => {
  for (const name of ["ping4", "ping6", "syn4", "syn6", "udp4", "udp6"]) {
    const frame = FRAMES[name]![0]!.slice();
    const longer = new Uint8Array(frame.length + 7);
    longer.set(frame);
    longer.fill(0xab, frame.length);
    seal(longer, true);
    checkFrame(longer, LINK);
  }
});

Deno.test("well-formed: sound frames pass, and each octet that matters is looked at", () => {
  for (const name of SOUND) {
    for (const frame of FRAMES[name]!) {
      checkFrame(frame, LINK);
      let seen = 0;
      for (let at = 14; at < frame.length; at++) {
        const wrong = frame.slice();
        wrong[at]! ^= 0x11;
        try {
          checkFrame(wrong, LINK);
        } catch (error) {
          assert(error instanceof MalformedFrame);
          seen++;
        }
      }
      if (name.startsWith("frag") || name === "arp") continue;
      // An IPv6 header has octets of no consequence: class, flow label, hop limit.
      assert(seen >= frame.length - 14 - 5, `${name}: ${seen} of ${frame.length - 14}`);
    }
  }
});

Deno.test("well-formed: addresses, sizes and types are looked at", () => {
  const frame = FRAMES.ping4![0]!;
  for (const [at, octet] of [[0, 3], [6, 9], [12, 0x81]] as const) {
    const wrong = frame.slice();
    wrong[at] = octet;
    assertThrows(() => checkFrame(wrong, LINK), MalformedFrame);
  }
  assertThrows(() => checkFrame(frame, { ...LINK, mtu: 60 }), MalformedFrame);
  assertThrows(() => checkFrame(frame.slice(0, 13), LINK), MalformedFrame);
});

Deno.test("frames: changes are mostly sealed, and add headers and pieces", () => {
  const random = new Random(4);
  const frames = Object.values(FRAMES).flat();
  const mutator = new Mutator(random, () => [random.pick(frames)]);
  const kinds = new Set<string>();
  let sealed = 0;
  for (let i = 0; i < 4000; i++) {
    const frame = mutateFrame(random.pick(frames), mutator);
    if (frame.length < 40) continue;
    if (seal(frame.slice()).every((octet, at) => octet === frame[at])) sealed++;
    const type = word(frame, 12);
    if (type === 0x0800) {
      kinds.add(`ihl ${frame[14]! & 15}`).add(`fragment ${(word(frame, 20) & 0x3fff) !== 0}`);
    }
    if (type === 0x86dd) kinds.add(`next ${frame[20]}`);
  }
  assert(sealed > 2500, `${sealed} are sealed`);
  for (
    const kind of ["ihl 6", "ihl 15", "fragment true", "next 0", "next 43", "next 44", "next 60"]
  ) {
    assert(kinds.has(kind), kind);
  }
});

Deno.test("frames: what the other tests read is what these checks take", () => {
  assertEquals(read(swapped(FRAMES.ping4![0]!)).protocol, 1);
});

/** The frame as the gateway would have sent it. */
function swapped(frame: Uint8Array): Uint8Array {
  const out = frame.slice();
  out.set(frame.subarray(6, 12), 0);
  out.set(frame.subarray(0, 6), 6);
  return out;
}
