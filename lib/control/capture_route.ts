/**
 * The guest's frames as they pass, as a file of pcapng that does not end before its reader, or the
 * gateway, does.
 *
 * Limits: four at a time, a library's own among them. One whose reader is behind loses packets, and
 * says how many; one that takes nothing for ten seconds is ended.
 *
 * @module
 */
import { SNAP_MAX_BYTES, SNAP_MIN_BYTES } from "../capture/pcapng.ts";
import { ControlFault } from "./control_fault.ts";
import type { GuestContext, MediaAnswer, Route, RouteRequest } from "./route.ts";

/** The route. */
export const CAPTURE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/capture",
    id: "getCapture",
    isOfGuest: true,
    summary: "The guest's frames as they pass, with names of addresses and with the rule beside " +
      "what is refused, until the reader leaves or the gateway ends",
    query: [
      {
        name: "filter",
        description: "Which frames, in the words of tcpdump: tcp port 443 and host 10.0.0.5. All " +
          "when absent.",
        schema: { type: "string" },
      },
      {
        name: "snap",
        description: "Octets that are kept of each frame. All when absent.",
        schema: { type: "integer", minimum: SNAP_MIN_BYTES, maximum: SNAP_MAX_BYTES },
      },
    ],
    says: { media: "application/x-pcapng", description: "Blocks of pcapng.", isStream: true },
    faults: [422, 503],
    run: capture,
  },
];

async function capture(
  { gateway }: GuestContext,
  { query }: RouteRequest,
): Promise<MediaAnswer> {
  const { filter, snap } = query;
  const blocks = gateway.capture({
    ...(filter === undefined ? {} : { filter }),
    ...(snap === undefined ? {} : { snapLength: readSnap(snap) }),
  });
  // What is wrong with it may be said by the first step only.
  const first = await blocks.next();
  return {
    body: async ({ write, signal }) => {
      const leave = (): void => void blocks.return?.();
      signal.addEventListener("abort", leave);
      try {
        if (first.done !== true) await write(first.value);
        for await (const bytes of blocks) await write(bytes);
      } finally {
        leave();
      }
    },
  };
}

function readSnap(text: string): number {
  const octets = /^[0-9]{1,9}$/.test(text) ? Number(text) : NaN;
  if (octets >= SNAP_MIN_BYTES && octets <= SNAP_MAX_BYTES) return octets;
  const range = `from ${SNAP_MIN_BYTES} to ${SNAP_MAX_BYTES}`;
  throw new ControlFault("invalid", `snap is not a whole number of octets ${range}`, {
    hint: "Send snap=256, or leave it out for whole frames",
  });
}
