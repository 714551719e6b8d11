/**
 * The paths and the format of gvproxy's HTTP interface, so that what was made for it works here.
 *
 * A `local` place without an address (`:6443`) is the port at all of the host's addresses; a `remote`
 * one has the guest's address or none. Of its statistics there are those that are counted here.
 * Where they differ: a fault has the status of its kind, and no name is a regular expression. A unix
 * socket is a path, or a URL of one.
 *
 * @module
 */
import { formatHostPort, parseHostPort } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import { parsePort } from "../config/port_spec.ts";
import type { PublishedProtocol } from "../config/published.ts";
import type { GatewaySnapshot, ServedGateway } from "../host/served_gateway.ts";
import type { CounterName } from "../stack/counters.ts";
import { ControlFault } from "./control_fault.ts";
import { readZone, zonesOf } from "./gvproxy_zones.ts";
import { publishedHint, publishPort } from "./port_routes.ts";
import type { Media, MediaAnswer, Route } from "./route.ts";

const NOTHING: Media = { media: "text/plain; charset=utf-8", description: "Nothing." };
const ANSWER: MediaAnswer = { body: "" };
/** All addresses of the host, those of IPv4 too; without IPv6 it has the second one alone. */
const ANY = "::";
const ANY4 = "0.0.0.0";

const PROTOCOLS: readonly PublishedProtocol[] = ["tcp", "udp", "unix"];

/** A place of the host: some addresses and a port, or a path. */
interface Local {
  readonly binds: readonly string[];
  readonly port: number;
}

/** What is exposed, or no longer. */
interface Exposure {
  readonly protocol: PublishedProtocol;
  readonly local: string;
  readonly remote: string;
}

/** The routes. */
export const GVPROXY_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/services/forwarder/all",
    id: "gvproxyForwards",
    isOfGuest: true,
    summary: "As gvproxy says it: ports of the host that lead to the guest",
    isGvproxy: true,
    says: "GvproxyForwards",
    run: async ({ gateway }) => forwards(await gateway.snapshot()),
  },
  {
    method: "POST",
    path: "/services/forwarder/expose",
    id: "gvproxyExpose",
    isOfGuest: true,
    summary: "As gvproxy does: publishes a port",
    isGvproxy: true,
    takes: "GvproxyExpose",
    says: NOTHING,
    faults: [409, 422, 503],
    run: ({ gateway }, { body }) => expose(gateway, readExposure(body, ["local", "remote"])),
  },
  {
    method: "POST",
    path: "/services/forwarder/unexpose",
    id: "gvproxyUnexpose",
    isOfGuest: true,
    summary: "As gvproxy does: takes a published port back",
    isGvproxy: true,
    takes: "GvproxyUnexpose",
    says: NOTHING,
    faults: [404, 422],
    run: ({ gateway }, { body }) => unexpose(gateway, readExposure(body, ["local"])),
  },
  {
    method: "GET",
    path: "/services/dns/all",
    id: "gvproxyZones",
    isOfGuest: true,
    summary: "As gvproxy says it: the names that the gateway answers itself",
    isGvproxy: true,
    says: "GvproxyZones",
    run: async ({ gateway }) => {
      return zonesOf(await gateway.ownNames(), (await gateway.snapshot()).localZones);
    },
  },
  {
    method: "POST",
    path: "/services/dns/add",
    id: "gvproxyAddZone",
    isOfGuest: true,
    summary:
      "As gvproxy does: has a zone answered here, with its records in front of those of before",
    isGvproxy: true,
    takes: "GvproxyZone",
    says: NOTHING,
    faults: [422, 501],
    run: async ({ gateway }, { body }) => {
      const { zone, names, others } = readZone(body);
      await gateway.addZone(zone, names, others);
      return ANSWER;
    },
  },
  {
    method: "GET",
    path: "/stats",
    id: "gvproxyStats",
    isOfGuest: true,
    summary:
      "As gvproxy says it: octets, and what went wrong; what is not counted here is left out",
    isGvproxy: true,
    says: "GvproxyStats",
    run: ({ gateway }) => statsOf(gateway),
  },
];

function forwards({ published, guestAddresses: [guest = ""] }: GatewaySnapshot): unknown {
  return published.map(({ protocol, bind, hostPort, guestPort }) => ({
    local: protocol === "unix"
      ? bind
      : bind === ANY
      ? `:${hostPort}`
      : formatHostPort(bind, hostPort),
    remote: formatHostPort(guest, guestPort),
    protocol,
  }));
}

async function expose(
  gateway: ServedGateway,
  { protocol, local, remote }: Exposure,
): Promise<MediaAnswer> {
  const guestPort = readRemote(await gateway.snapshot(), remote);
  const { binds, port: hostPort } = readLocal(local, protocol);
  if (protocol === "unix") {
    await publishPort(gateway, { unix: binds[0]!, guestPort });
    return ANSWER;
  }
  const mapping = { hostPort, guestPort, protocol };
  const [first, ...others] = binds;
  const isAny = first === ANY;
  try {
    await publishPort(gateway, { ...mapping, bind: isAny ? [ANY] : [...binds] });
  } catch (error) {
    // A host without IPv6 has no such address, and is meant with those that it has.
    const isMissing = others.length > 0 && error instanceof GatewayError &&
      error.code === "address-in-use";
    if (!isMissing) throw error;
    await publishPort(gateway, { ...mapping, bind: [isAny ? ANY4 : first!] });
  }
  return ANSWER;
}

async function unexpose(
  gateway: ServedGateway,
  { protocol, local }: Exposure,
): Promise<MediaAnswer> {
  const { binds, port: hostPort } = readLocal(local, protocol);
  let removed = 0;
  for (const bind of binds) {
    removed += (await gateway.unpublish({ protocol, hostPort, bind })).length;
  }
  if (removed > 0) return ANSWER;
  throw new ControlFault("absent", `nothing is published on ${local}`, {
    hint: publishedHint((await gateway.snapshot()).published),
  });
}

/** The texts of a body, and that its protocol is one of those that there are. */
function readExposure(body: unknown, names: readonly string[]): Exposure {
  const fields = typeof body === "object" && body !== null ? body as Record<string, unknown> : {};
  for (const name of names) {
    if (typeof fields[name] === "string") continue;
    const example = names.map((each) => `"${each}": ":6443"`).join(", ");
    throw invalid(`"${name}" is not there, or no text`, `Send {${example}}`);
  }
  const said = fields.protocol === undefined || fields.protocol === "" ? "tcp" : fields.protocol;
  const protocol = PROTOCOLS.find((each) => each === said);
  if (protocol === undefined) {
    throw invalid(`"protocol" is neither tcp, udp nor unix`, `Leave it out for tcp`);
  }
  return { remote: "", ...fields, protocol } as Exposure;
}

function readLocal(text: string, protocol: PublishedProtocol): Local {
  if (protocol === "unix") return { binds: [text.replace(/^unix:(?:\/\/(?=\/))?/, "")], port: 0 };
  const alone = parsePort(/^:([0-9]+)$/.exec(text)?.[1] ?? "", 1);
  if (alone !== null) return { binds: [ANY, ANY4], port: alone };
  const loopback = parsePort(/^localhost:([0-9]+)$/.exec(text)?.[1] ?? "", 1);
  if (loopback !== null) return { binds: ["127.0.0.1", "::1"], port: loopback };
  const place = parseHostPort(text);
  if (place !== null && place.port > 0) return { binds: [place.hostname], port: place.port };
  throw invalid(`"local" is no address and port of the host`, `Write ":6443" or "127.0.0.1:6443"`);
}

/** The guest's port that is meant. */
function readRemote({ guestAddresses }: GatewaySnapshot, text: string): number {
  if (text.startsWith("ssh-tunnel:")) {
    throw invalid("a socket of the guest can't be reached, ports of it can", `Send ":22"`);
  }
  const remote = text.replace(/^tcp:\/\//, ""); // as of unix sockets
  const alone = parsePort(/^:([0-9]+)$/.exec(remote)?.[1] ?? "", 1);
  if (alone !== null) return alone;
  const place = parseHostPort(remote);
  const isGuest = place !== null && guestAddresses.includes(place.hostname);
  if (isGuest && place.port > 0) return place.port;
  const own = guestAddresses.join(" or ");
  throw invalid(
    place === null || isGuest
      ? `"remote" is no address and port of the guest`
      : `"remote" is not the guest, whose address is ${own}`,
    `Write its port alone, such as ":6443"`,
  );
}

async function statsOf(gateway: ServedGateway): Promise<unknown> {
  const counters = (await gateway.snapshot()).guest?.counters ?? {};
  const sum = (...names: CounterName[]) => {
    return names.reduce((total, name) => total + (counters[name] ?? 0), 0);
  };
  const all = Object.keys(counters) as CounterName[];
  const flows = (await gateway.flows()).filter(({ protocol }) => protocol === "tcp");
  return {
    BytesSent: sum("tx.bytes"),
    BytesReceived: sum("rx.bytes"),
    UnknownProtocolRcvdPackets: sum("drop.ip.protocol"),
    MalformedRcvdPackets: sum("drop.tcp.hdr", "drop.udp.len"),
    DroppedPackets: sum(...all.filter((name) => name.startsWith("drop."))),
    IP: {
      InvalidDestinationAddressesReceived: sum("drop.ip.dst"),
      InvalidSourceAddressesReceived: sum("drop.ip.src"),
      MalformedPacketsReceived: sum("drop.ip.hdr", "drop.ip.opt"),
      MalformedFragmentsReceived: sum("drop.frag.overlap", "drop.frag.big", "drop.frag.tiny"),
    },
    TCP: {
      // Accepted from a client of a published port, and opened to the guest.
      ActiveConnectionOpenings: sum("tcp.accepted"),
      PassiveConnectionOpenings: sum("tcp.opened"),
      CurrentEstablished: flows.filter(({ state }) => state === "established").length,
      CurrentConnected: flows.length,
      FailedConnectionAttempts: sum("tcp.refused"),
      ResetsSent: sum("tcp.reset.sent"),
      ResetsReceived: sum("tcp.reset.received"),
      Retransmits: sum("tcp.retransmit"),
      Timeouts: sum("tcp.rto"),
    },
    UDP: {
      PacketsReceived: sum("udp.up"),
      PacketsSent: sum("udp.down"),
      MalformedPacketsReceived: sum("drop.udp.len"),
    },
  };
}

function invalid(message: string, hint: string): ControlFault {
  return new ControlFault("invalid", message, { hint });
}
