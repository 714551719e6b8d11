/**
 * Frames that no kernel would send, made by hand, and the reading of what comes back. It shares no
 * code with the gateway, so that a mistake there can't hide here.
 *
 * @module
 */
import { parseIp } from "../../lib/wire/address.ts";

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_IPV6 = 0x86dd;
const PROTOCOL_TCP = 6;
const PROTOCOL_ICMP = 1;
const PROTOCOL_ICMP6 = 58;
const FLAG_SYN = 0x02;
const FLAG_RST = 0x04;
const FLAG_ACK = 0x10;

const GUEST_MAC = [0x02, 0x53, 0x4d, 0, 0, 2];
const GATEWAY_MAC = [0x02, 0x53, 0x4d, 0, 0, 1];

/** What the gateway sent back about a connection attempt. */
export interface Verdict {
  /** The attempt's source port. */
  port: number;
  /** `reset`, `accepted`, or the ICMP type and code as `icmp T/C`. */
  kind: string;
}

function address(text: string): Uint8Array {
  const bytes = parseIp(text);
  if (bytes === null) throw new Error(`No address: ${text}`);
  return bytes;
}

function word(value: number): number[] {
  return [value >> 8 & 0xff, value & 0xff];
}

/** RFC 1071, one octet pair at a time. */
function checksum(bytes: number[]): number[] {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! << 8 | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return word(~sum & 0xffff);
}

function ethernet(type: number, payload: number[], to = GATEWAY_MAC): Uint8Array {
  return Uint8Array.from([...to, ...GUEST_MAC, ...word(type), ...payload]);
}

/** An IP packet around a transport header whose checksum goes to `checksumAt`. */
function packet(
  from: Uint8Array,
  to: Uint8Array,
  protocol: number,
  payload: number[],
  checksumAt: number,
): number[] {
  const pseudo = from.length === 4
    ? [...from, ...to, 0, protocol, ...word(payload.length)]
    : [...from, ...to, 0, 0, ...word(payload.length), 0, 0, 0, protocol];
  const transport = [...payload];
  transport.splice(checksumAt, 2, ...checksum([...pseudo, ...payload]));
  if (from.length === 16) {
    return [0x60, 0, 0, 0, ...word(payload.length), protocol, 255, ...from, ...to, ...transport];
  }
  const header = [0x45, 0, ...word(20 + payload.length), 0, 1, 0x40, 0, 64, protocol, 0, 0];
  header.push(...from, ...to);
  header.splice(10, 2, ...checksum(header));
  return [...header, ...transport];
}

/**
 * A SYN from the guest.
 *
 * @param from The guest's address.
 * @param to Any address of the same family.
 * @param sourcePort By this the verdict is recognised.
 * @param port The port that is tried.
 * @returns The frame.
 */
export function synFrame(from: string, to: string, sourcePort: number, port: number): Uint8Array {
  const [source, destination] = [address(from), address(to)];
  // deno-fmt-ignore
  const segment = [...word(sourcePort), ...word(port), 0x12, 0x34, 0, 0, 0, 0, 0, 0,
    0x60, FLAG_SYN, 0xfa, 0xf0, 0, 0, 0, 0, 2, 4, 0x05, 0xb4];
  return ethernet(
    source.length === 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6,
    packet(source, destination, PROTOCOL_TCP, segment, 16),
  );
}

/** The guest asks for the gateway's MAC over ARP. */
export function arpRequest(from: string, to: string): Uint8Array {
  // deno-fmt-ignore
  return ethernet(ETHERTYPE_ARP, [0, 1, 8, 0, 6, 4, 0, 1, ...GUEST_MAC, ...address(from),
    0, 0, 0, 0, 0, 0, ...address(to)], [255, 255, 255, 255, 255, 255]);
}

/** Whether a frame is an ARP reply. */
export function isArpReply(frame: Uint8Array): boolean {
  return (frame[12]! << 8 | frame[13]!) === ETHERTYPE_ARP && frame[21] === 2;
}

/** The guest announces its IPv6 address and asks for the gateway's MAC (RFC 4861 section 4.3). */
export function neighborSolicitation(from: string, to: string): Uint8Array {
  const target = address(to);
  const group = Uint8Array.from([
    0xff,
    2,
    ...new Array(9).fill(0),
    1,
    0xff,
    ...target.subarray(13),
  ]);
  const message = [135, 0, 0, 0, 0, 0, 0, 0, ...target, 1, 1, ...GUEST_MAC];
  return ethernet(
    ETHERTYPE_IPV6,
    packet(address(from), group, PROTOCOL_ICMP6, message, 2),
    [0x33, 0x33, 0xff, ...target.subarray(13)],
  );
}

/**
 * Reads what a frame says about one of our SYNs.
 *
 * @param frame A frame of the gateway's.
 * @returns The verdict, or `null` where the frame is about something else.
 */
export function readVerdict(frame: Uint8Array): Verdict | null {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const type = view.getUint16(12);
  if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6) return null;
  const ipv4 = type === ETHERTYPE_IPV4;
  const protocol = frame[ipv4 ? 23 : 20];
  const at = 14 + (ipv4 ? (frame[14]! & 15) * 4 : 40);
  if (protocol === PROTOCOL_TCP) {
    const flags = frame[at + 13]!;
    const port = view.getUint16(at + 2);
    if (flags & FLAG_RST) return { port, kind: "reset" };
    return flags & FLAG_SYN && flags & FLAG_ACK ? { port, kind: "accepted" } : null;
  }
  if (protocol !== PROTOCOL_ICMP && protocol !== PROTOCOL_ICMP6) return null;
  const icmpType = frame[at]!;
  const isError = ipv4 ? icmpType === 3 || icmpType === 11 : icmpType < 128;
  if (!isError) return null;
  const quoted = at + 8 + (ipv4 ? (frame[at + 8]! & 15) * 4 : 40);
  return { port: view.getUint16(quoted), kind: `icmp ${icmpType}/${frame[at + 1]}` };
}
