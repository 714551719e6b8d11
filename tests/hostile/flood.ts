/**
 * Frames by the hundred thousand: written into one buffer at a time, so that building them costs
 * less than what they are to try; and what they have cost.
 *
 * @module
 */
import process from "node:process";
import { assertEquals } from "@std/assert";
import type { VirtualGateway } from "../support/virtual_gateway.ts";

const CHUNK_FRAMES = 4096;
const LENGTH_BYTES = 4;

/**
 * Sends `count` frames that are all as long as `frame`, each as `alter` leaves it, in bursts without
 * a pause.
 *
 * @param alter Changes the frame into number `i`; what it writes stays for the next one.
 */
export async function flood(
  gw: VirtualGateway,
  count: number,
  frame: Uint8Array,
  alter: (frame: Uint8Array, view: DataView, i: number) => void,
): Promise<void> {
  const own = frame.slice();
  const view = new DataView(own.buffer);
  const step = LENGTH_BYTES + own.length;
  for (let first = 0; first < count; first += CHUNK_FRAMES) {
    const frames = Math.min(CHUNK_FRAMES, count - first);
    const chunk = new Uint8Array(frames * step);
    const lengths = new DataView(chunk.buffer);
    for (let i = 0; i < frames; i++) {
      alter(own, view, first + i);
      lengths.setUint32(i * step, own.length);
      chunk.set(own, i * step + LENGTH_BYTES);
    }
    gw.sendBytes(chunk);
    await gw.settle();
    assertEquals(gw.unsentBytes, 0, "everything was taken");
  }
}

/** Processor time that this process has used, in milliseconds, whatever runs beside it. */
export function usedMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Puts the checksum of the IPv4 header of a frame without options right. */
export function sealHeader4(view: DataView): void {
  view.setUint16(24, 0);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(24, ~(sum + (sum >>> 16)) & 0xffff);
}
