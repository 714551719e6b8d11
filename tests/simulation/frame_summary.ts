/**
 * A frame in one line, for a person who reads what happened in a simulation.
 *
 * @module
 */
import { formatIp } from "../../lib/wire/address.ts";

const ICMP4: Readonly<Record<number, string>> = {
  0: "echo reply",
  3: "unreachable",
  8: "echo",
  11: "time exceeded",
};
const ICMP6: Readonly<Record<number, string>> = {
  1: "unreachable",
  3: "time exceeded",
  128: "echo",
  129: "echo reply",
  133: "router solicitation",
  134: "router advertisement",
  135: "neighbor solicitation",
  136: "neighbor advertisement",
};

/** What a frame is. */
export function summarize(frame: Uint8Array): string {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 14) return `a runt of ${frame.length}`;
  const type = view.getUint16(12);
  try {
    if (type === 0x0806) return arp(view);
    if (type === 0x0800) return ip4(view);
    if (type === 0x86dd) return ip6(view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return `cut short, ${frame.length} bytes`;
  }
  return `type 0x${type.toString(16)}, ${frame.length} bytes`;
}

function arp(view: DataView): string {
  const asks = view.getUint16(20) === 1;
  const text = asks ? `who has ${address(view, 38, 4)}` : `${address(view, 28, 4)} is here`;
  return `ARP ${text}`;
}

function ip4(view: DataView): string {
  const headerBytes = (view.getUint8(14) & 15) * 4;
  const fragment = view.getUint16(20);
  const ends: Ends = { source: address(view, 26, 4), destination: address(view, 30, 4) };
  const at = 14 + headerBytes;
  const bytes = view.getUint16(16) - headerBytes;
  if ((fragment & 0x1fff) !== 0) return `${arrow(ends)} fragment at ${8 * (fragment & 0x1fff)}`;
  const text = l4(view, view.getUint8(23), at, bytes, ends);
  return (fragment & 0x2000) === 0 ? text : `${text} (first fragment)`;
}

function ip6(view: DataView): string {
  const ends: Ends = { source: address(view, 22, 16), destination: address(view, 38, 16) };
  const next = view.getUint8(20);
  const bytes = view.getUint16(18);
  if (next !== 44) return l4(view, next, 54, bytes, ends);
  const offset = view.getUint16(56) & 0xfff8;
  if (offset !== 0) return `${arrow(ends)} fragment at ${offset}`;
  return `${l4(view, view.getUint8(54), 62, bytes - 8, ends)} (first fragment)`;
}

interface Ends {
  readonly source: string;
  readonly destination: string;
}

function l4(view: DataView, protocol: number, at: number, bytes: number, ends: Ends): string {
  switch (protocol) {
    case 1:
      return `${arrow(ends)} ICMP ${icmp(ICMP4, view, at)}`;
    case 58:
      return `${arrow(ends)} ICMPv6 ${icmp(ICMP6, view, at)}`;
    case 17:
      return `${arrow(ends, view, at)} UDP ${bytes - 8}`;
    case 6:
      return `${arrow(ends, view, at)} TCP ${tcp(view, at, bytes)}`;
    default:
      return `${arrow(ends)} protocol ${protocol}, ${bytes} bytes`;
  }
}

function tcp(view: DataView, at: number, bytes: number): string {
  const flags = view.getUint8(at + 13);
  const names = [..."FSRP.U"].filter((_, bit) => (flags & (1 << bit)) !== 0).join("");
  const dataBytes = bytes - (view.getUint8(at + 12) >> 4) * 4;
  const seq = view.getUint32(at + 4);
  const data = dataBytes === 0 ? "" : `+${dataBytes}`;
  const ack = (flags & 16) === 0 ? "" : ` ack ${view.getUint32(at + 8)}`;
  return `[${names}] ${seq}${data}${ack} win ${view.getUint16(at + 14)}`;
}

function icmp(names: Readonly<Record<number, string>>, view: DataView, at: number): string {
  const type = view.getUint8(at);
  const code = view.getUint8(at + 1);
  return `${names[type] ?? `type ${type}`}${code === 0 ? "" : ` code ${code}`}`;
}

function arrow({ source, destination }: Ends, view?: DataView, at = 0): string {
  if (view === undefined) return `${source} > ${destination}`;
  return `${source} ${view.getUint16(at)} > ${destination} ${view.getUint16(at + 2)}`;
}

function address(view: DataView, at: number, length: number): string {
  return formatIp(Uint8Array.from({ length }, (_, i) => view.getUint8(at + i)));
}
