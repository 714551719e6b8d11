/**
 * How many segments of a flow go as one frame.
 *
 * Where the device takes more than the MTU, new data goes as one frame for as many segments as would
 * go one after another. To everything else (the window, congestion, recovery, what is sent again)
 * these are segments as ever. Without a header that says where to cut, a guest that passes such a
 * frame on to a link of its own finds it too big and says so: from there on that flow's go alone.
 *
 * Limits: a packet of 65,535 octets, and what is left of a turn.
 *
 * @module
 */
import { ETHERNET_HEADER_BYTES } from "../../wire/ethernet.ts";
import type { VirtioNetworkDevice } from "../device.ts";
import type { HeaderTemplate } from "./segment_writer.ts";

/** The longest packet of one frame: IPv4's total length. */
const PACKET_MAX_BYTES = 65_535;
const TCP_HEADER_MAX_BYTES = 60;

/** What one flow's frames may stand for. */
export class JoinedSegments {
  /** Whether a frame may stand for several segments. */
  isOn: boolean;
  readonly #hasHeaders: boolean;

  constructor(device: VirtioNetworkDevice) {
    this.isOn = device.takesLarge;
    this.#hasHeaders = device.hasHeaders;
  }

  /** The most data of a frame, in whole segments. */
  largestBytes(template: HeaderTemplate, segmentBytes: number, turnBytes: number): number {
    if (!this.isOn) return segmentBytes;
    const fitting = Math.floor((PACKET_MAX_BYTES - headersBytes(template)) / segmentBytes);
    const left = Math.ceil(turnBytes / segmentBytes);
    return Math.max(1, Math.min(fitting, left)) * segmentBytes;
  }

  /** A packet was too big for the guest to pass on: false where that is no reason to send single ones. */
  stop(template: HeaderTemplate, packetBytes: number, mssBytes: number): boolean {
    const wasJoined = packetBytes > headersBytes(template) + mssBytes;
    if (!this.isOn || this.#hasHeaders || !wasJoined) return false;
    this.isOn = false;
    return true;
  }
}

/** Octets of IP header and the longest TCP header. */
function headersBytes(template: HeaderTemplate): number {
  return template.headerBytes - ETHERNET_HEADER_BYTES + TCP_HEADER_MAX_BYTES;
}
