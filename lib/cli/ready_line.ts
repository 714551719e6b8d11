/**
 * What is said of a guest once it is served: its published ports, and the line that begins `ready`,
 * with where its VMM is met and what that joins it with.
 *
 * @module
 */
import { formatEndpoint, type VmmEndpoint } from "../config/endpoint.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { GuestSettings } from "../config/resolve.ts";
import type { LogFormat } from "../config/settings.ts";
import { formatPublished, type PublishedPort } from "../config/published.ts";
import type { Meeting } from "./load.ts";
import { joinWays } from "./ready.ts";

/** A guest that is served. */
export interface ReadyGuest {
  /** Its name, where there are several. */
  readonly name?: string;
  /** What it is served with. */
  readonly settings: GuestSettings;
  /** Where its VMM is met, as it was configured. */
  readonly meeting: Meeting;
  /** Where it is met; a TCP port of 0 is replaced by the one that was chosen. */
  readonly endpoint: VmmEndpoint;
  /** The ports of the host that lead to it. */
  readonly published: readonly PublishedPort[];
}

/**
 * Says that a guest is served.
 *
 * @param log Where to; it has to let all lines through.
 * @param format How it writes a line.
 * @param guest The guest.
 */
export function sayReady(log: GatewayLogger, format: LogFormat, guest: ReadyGuest): void {
  const { name, settings, meeting, endpoint, published } = guest;
  const fields = name === undefined ? {} : { guest: name };
  const { mode } = meeting;
  const isOpen = endpoint.transport === "tcp" && mode === "listen";
  if (isOpen) {
    const way = meeting.why === undefined ? "use unix:/path instead" : meeting.why;
    const text = "TCP is not private: whoever can connect there can take the guest's place";
    log.warn(`${text}; ${way}`, fields);
  }
  if (endpoint.transport === "vsock" && mode === "listen") {
    const text = "a VM socket is not private: any VM of this host, and any program, can connect";
    log.warn(`${text} there`, fields);
  }
  for (const port of published) {
    log.info(`published ${formatPublished(port)} as the guest's port ${port.guestPort}`, fields);
  }
  const { guestMac = "", mtu = 0, offload = false } = settings.network.guestNetwork;
  const { framing } = settings;
  const whose = name === undefined ? "" : `guest ${name}: `;
  const why = meeting.why === undefined || isOpen ? "" : ` (${meeting.why})`;
  const doing = mode === "listen" ? "listening on" : "connecting to";
  const ready = `ready ${whose}${doing} ${formatEndpoint(endpoint)}${why}`;
  const ways = joinWays(absolute(endpoint), { mode, framing, guestMac, mtu, offload });
  // In text the arguments stand as they are typed: last, and without a second layer of quotes.
  if (format === "json") log.info(ready, { join: Object.fromEntries(ways), ...fields });
  else log.info([ready, ...ways.map(([vmm, way]) => `${vmm}: ${way}`)].join(" | "));
}

/** A VMM may run in another folder. */
function absolute(endpoint: VmmEndpoint): VmmEndpoint {
  if (!("path" in endpoint) || endpoint.path.startsWith("/")) return endpoint;
  return { ...endpoint, path: `${Deno.cwd()}/${endpoint.path.replace(/^(\.\/)+/, "")}` };
}
