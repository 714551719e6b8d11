/**
 * Whether a frame from one guest to another is one that may come: it speaks for its sender alone, is
 * for whoever gets it, and is nothing that only the gateway says or hears. Written apart from `lib/`.
 *
 * @module
 */
import { ip, mac } from "../support/packets.ts";
import { LAN_GATEWAY_MAC, lanMembersOf, madeAddress } from "../support/lan_rig.ts";
import { hold } from "./rig.ts";
import { word } from "./seal.ts";

/** The members of the network that is fuzzed. */
export const MEMBERS = lanMembersOf(3);
/** Their addresses. */
export const ADDRESSES = MEMBERS.map((member) => ({
  mac: mac(member.mac),
  ip4: ip(member.ip4),
  ip6: ip(member.ip6!),
}));
/** By member: the IPv6 addresses that are its own, as text. */
const OWN6 = MEMBERS.map((member) =>
  [member.ip6!, madeAddress(member), madeAddress(member, "fd53:4d01::")].map((text) =>
    ip(text).join()
  )
);

/** Between whom a frame came. */
export interface LanWayOf {
  readonly from: number;
  readonly to: number;
  /** Whether it is a long segment, which is cut later. */
  readonly isLarge: boolean;
  /** Whether its sender has rules. */
  readonly hasRules: boolean;
}

/** Throws where the frame may not come so. */
export function checkLanFrame(frame: Uint8Array, way: LanWayOf): void {
  const { from, to, isLarge, hasRules } = way;
  const type = word(frame, 12);
  hold(isLarge || frame.length <= 1_514, "a frame fits the link");
  holdMac(frame, 6, from);
  const isGroup = (frame[0]! & 1) === 1;
  if (!isGroup) holdMac(frame, 0, to);
  if (type === 0x0806) checkArp(frame, from);
  else if (type === 0x0800) check4(frame, from, to, isGroup, hasRules);
  else if (type === 0x86dd) check6(frame, from, to, isGroup, hasRules);
  else hold(false, "the type is one that guests speak");
}

/** Whether a frame is one of the gateway's own. */
export function isOfGateway(frame: Uint8Array): boolean {
  return mac(LAN_GATEWAY_MAC).every((octet, i) => octet === frame[6 + i]);
}

function holdMac(frame: Uint8Array, at: number, member: number): void {
  const own = ADDRESSES[member]!.mac;
  hold(own.every((octet, i) => octet === frame[at + i]), "a MAC is the one that it must be");
}

function checkArp(frame: Uint8Array, from: number): void {
  hold(frame.length >= 42, "ARP is whole");
  holdMac(frame, 22, from);
  const own = ADDRESSES[from]!.ip4.join();
  const sender = frame.slice(28, 32).join();
  const isProbe = sender === "0,0,0,0" && frame.slice(38, 42).join() === own &&
    word(frame, 20) === 1;
  hold(sender === own || isProbe, "ARP speaks for its sender alone");
}

const DHCP = [67, 68, 546, 547];

function check4(
  frame: Uint8Array,
  from: number,
  to: number,
  isGroup: boolean,
  hasRules: boolean,
): void {
  hold(frame.slice(26, 30).join() === ADDRESSES[from]!.ip4.join(), "the IPv4 source is its own");
  const destination = frame.slice(30, 34);
  const isGroup4 = destination[0]! >= 224 || destination.join() === "10,77,0,255";
  hold(isGroup4 === isGroup, "a frame to a group has a packet to a group, and no other has");
  if (!isGroup) {
    hold(destination.join() === ADDRESSES[to]!.ip4.join(), "the packet is the member's");
  }
  const l4 = 14 + (frame[14]! & 15) * 4;
  const isLater = (word(frame, 20) & 0x1fff) !== 0;
  const protocol = frame[23]!;
  if (hasRules) {
    hold(!isLater, "no rule can judge a later fragment");
    hold([1, 6, 17].includes(protocol), "no rule can judge another protocol");
  }
  if (isGroup) hold(protocol === 17, "groups get datagrams");
  if (isLater) return;
  if (protocol === 17) checkPorts(frame, l4);
  if (protocol === 1) hold(![4, 5, 9, 10].includes(frame[l4]!), "a guest is no router");
}

function checkPorts(frame: Uint8Array, l4: number): void {
  hold(frame.length >= l4 + 8, "a datagram has its header");
  hold(!DHCP.includes(word(frame, l4 + 2)), "DHCP is for the gateway");
  hold(word(frame, l4) !== 67 && word(frame, l4) !== 547, "only the gateway is a server");
}

function check6(
  frame: Uint8Array,
  from: number,
  to: number,
  isGroup: boolean,
  hasRules: boolean,
): void {
  const source = frame.slice(22, 38).join();
  const destination = frame.slice(38, 54);
  hold((destination[0] === 0xff) === isGroup, "a frame to a group has a packet to a group");
  if (!isGroup) hold(OWN6[to]!.includes(destination.join()), "the packet is the member's");
  let [next, at, isLater, isPlain] = [frame[20]!, 54, false, true];
  while ([0, 43, 44, 60].includes(next) && at + 8 <= frame.length && !isLater) {
    isPlain = false;
    const bytes = next === 44 ? 8 : (frame[at + 1]! + 1) * 8;
    if (next === 44) isLater = (word(frame, at + 2) & 0xfff8) !== 0;
    next = frame[at]!;
    at += bytes;
  }
  if (hasRules) hold(isPlain, "no rule can judge what stands behind extension headers");
  const isIcmp = next === 58 && !isLater;
  const type = isIcmp ? frame[at]! : -1;
  const isOwn = OWN6[from]!.includes(source);
  const isSearch = type === 135 && source === new Uint8Array(16).join();
  hold(isOwn || isSearch, "the IPv6 source is its own");
  if (next === 17 && !isLater) checkPorts(frame, at);
  if (isGroup) hold(next === 17 || type === 135 || type === 136, "groups get datagrams and ND");
  hold(![130, 131, 132, 133, 134, 137, 138, 143].includes(type), "a guest is no router");
  if (type !== 135 && type !== 136) return;
  hold(isPlain && frame[21] === 255 && frame[at + 1] === 0, "neighbor discovery is plain");
  const target = frame.slice(at + 8, at + 24).join();
  if (isSearch || type === 136) hold(OWN6[from]!.includes(target), "the target is its own");
  for (let option = at + 24; option + 8 <= frame.length && frame[option + 1]! > 0;) {
    if (frame[option] === 1 || frame[option] === 2) holdMac(frame, option + 2, from);
    option += frame[option + 1]! * 8;
  }
}
