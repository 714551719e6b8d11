/**
 * One VMM after another at an endpoint: accepted at a socket that listens, or connected to again and
 * again. One at a time is served; a second one is turned away meanwhile.
 *
 * @module
 */
import { formatEndpoint, type StreamEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { closeQuietly } from "./close_quietly.ts";
import type { FrameTransport } from "./frame_transport.ts";
import { pause, systemClock } from "./host_clock.ts";
import { connectVmm } from "./vmm_endpoint.ts";
import type { VmmMeeting } from "./vmm_meeting.ts";

const BACK_OFF_MS: readonly number[] = [50, 100, 200, 500, 1_000, 2_000];
/** A guest that stays for so long was no mistake: the next attempt comes soon. */
const SETTLED_MS = 1_000;

/** Where one VMM at a time is served. */
export interface VmmSlot {
  /** Whether one is served, and is not about to leave. */
  isTaken(): Promise<boolean>;
  /** Waits for a guest that is leaving to have left. */
  untilFree(): Promise<void>;
  /** Serves a VMM; `null` where that can't be, and its transport is closed then. */
  take(conn: FrameTransport): { linkLost(): Promise<void> } | null;
}

/** Serves those that come, until the meeting is closed or the signal comes. */
export async function acceptVmms(
  meeting: VmmMeeting,
  slot: VmmSlot,
  signal: AbortSignal,
  logger: GatewayLogger,
): Promise<void> {
  while (!signal.aborted) {
    const conn = await meeting.accept();
    if (conn === null) break;
    if (await slot.isTaken()) {
      logger.warn("a second VMM was turned away: one is attached already", {
        endpoint: formatEndpoint(meeting.endpoint),
      });
      closeQuietly(conn);
      continue;
    }
    if (signal.aborted) return closeQuietly(conn);
    slot.take(conn);
  }
}

/**
 * Connects to the VMM, with back-off where none is there, and again when it has left.
 *
 * @throws {GatewayError} Where a permission is missing.
 */
export async function connectToVmms(
  endpoint: StreamEndpoint,
  slot: VmmSlot,
  signal: AbortSignal,
  logger: GatewayLogger,
): Promise<void> {
  let isMissing = false;
  for (let attempt = 0; !signal.aborted;) {
    const conn = await connectVmm(endpoint, signal).catch((error: Error) => error);
    if (conn === null) return;
    if (conn instanceof Error) {
      if (conn instanceof GatewayError && conn.code === "permission") throw conn;
      if (!isMissing) {
        logger.warn(`${conn.message}; trying again until it is there`, {
          endpoint: formatEndpoint(endpoint),
        });
      }
      isMissing = true;
      await pause(systemClock, backOffMs(attempt++), signal);
      continue;
    }
    isMissing = false;
    const startMs = performance.now();
    await slot.untilFree();
    if (signal.aborted) return closeQuietly(conn);
    await slot.take(conn)?.linkLost();
    // One that takes connections only to end them is no reason for twenty a second.
    if (performance.now() - startMs >= SETTLED_MS) attempt = 0;
    await pause(systemClock, backOffMs(attempt++), signal);
  }
}

function backOffMs(attempt: number): number {
  return BACK_OFF_MS[Math.min(attempt, BACK_OFF_MS.length - 1)]!;
}
