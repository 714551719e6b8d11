/** Announcements for tests, in short. */
import type {
  AnnouncedGuest,
  AnnouncedService,
  Announcement,
} from "../../lib/fleet/announcement.ts";

/** `web:8080@10.0.0.5,fd00::5` or `dns:53/udp@10.0.0.5`. */
export function serviceOf(text: string): AnnouncedService {
  const match = /^([^:]+):(\d+)(?:\/(udp))?@(.+)$/.exec(text);
  if (match === null) throw new Error(`${text} is no service`);
  const [, name, port, udp, addresses] = match;
  return {
    name: name!,
    protocol: udp === undefined ? "tcp" : "udp",
    port: Number(port),
    addresses: addresses!.split(","),
  };
}

/** A guest with services; `-` in front of its name where nobody is attached. */
export function guestOf(text: string, services: readonly string[] = []): AnnouncedGuest {
  return {
    name: text.replace(/^-/, ""),
    group: null,
    attached: !text.startsWith("-"),
    flows: 0,
    denials: 0,
    upBytes: 0,
    downBytes: 0,
    services: services.map(serviceOf),
  };
}

/** What a gateway says: its guests by name, each with services. */
export function saying(
  gateway: string,
  guests: Readonly<Record<string, readonly string[]>> = {},
  change: Partial<Announcement> = {},
): Announcement {
  return {
    gateway,
    instance: "00000000",
    startedMs: 1,
    revision: null,
    policy: "in force",
    rejected: null,
    guests: Object.entries(guests).map(([name, services]) => guestOf(name, services)),
    ...change,
  };
}
