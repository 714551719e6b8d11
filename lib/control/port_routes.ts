/**
 * Published ports of a running gateway: which there are, one more, one less.
 *
 * @module
 */
import { ConfigError, GatewayError } from "../config/errors.ts";
import type { PortMapping } from "../config/options.ts";
import { parseBind, parsePort } from "../config/port_spec.ts";
import {
  formatPublished,
  type PublishedPlace,
  type PublishedPort,
  type PublishedProtocol,
} from "../config/published.ts";
import type { ServedGateway } from "../host/served_gateway.ts";
import type { PortReport } from "./api.ts";
import { ControlFault } from "./control_fault.ts";
import type { GuestContext, Route, RouteRequest } from "./route.ts";

const PROTOCOLS: readonly PublishedProtocol[] = ["tcp", "udp", "unix"];

/** The routes. */
export const PORT_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/ports",
    id: "getPorts",
    isOfGuest: true,
    summary: "Ports of the host that lead to the guest",
    says: "Ports",
    run: async ({ gateway }): Promise<PortReport> => ({
      published: (await gateway.snapshot()).published,
    }),
  },
  {
    method: "POST",
    path: "/v1/ports",
    id: "publishPort",
    isOfGuest: true,
    summary: "Publishes a port at all its addresses or at none, and says what is bound for it",
    takes: "Port",
    says: "Ports",
    faults: [409, 422, 503],
    run: async ({ gateway }, { body }): Promise<PortReport> => ({
      published: await publishPort(gateway, readMapping(body)),
    }),
  },
  {
    method: "DELETE",
    path: "/v1/ports/{hostPort}",
    id: "unpublishPort",
    isOfGuest: true,
    summary:
      "Takes a published port back, and says what is no longer bound; connections that came " +
      "through it go on, flows of datagrams end",
    params: [{
      name: "hostPort",
      description: "The host's port; 0 for a unix socket, which bind names.",
      schema: { type: "integer", minimum: 0, maximum: 65_535 },
    }],
    query: [{
      name: "bind",
      description:
        "The one address of the host that is meant, all of them when absent; the path of a unix socket.",
      schema: { type: "string" },
    }, {
      name: "protocol",
      description: "What the port carries; tcp when absent.",
      schema: { enum: PROTOCOLS },
    }],
    says: "Ports",
    faults: [404, 422],
    run: unpublish,
  },
];

/**
 * Publishes a port for who asks over the control interface.
 *
 * @throws {ControlFault} Where the mapping is wrong, or a place is in use or not permitted.
 */
export async function publishPort(
  gateway: ServedGateway,
  mapping: PortMapping,
): Promise<readonly PublishedPort[]> {
  try {
    return await gateway.publish(mapping);
  } catch (error) {
    if (error instanceof ConfigError) {
      const lines = error.message.replaceAll(/^publishedPorts(?:\[0\])?[.:] ?/gm, "");
      throw new ControlFault("invalid", lines);
    }
    if (!(error instanceof GatewayError)) throw error;
    const { code, message, hint } = error;
    const cause = error.cause instanceof Error ? error.cause.name : "";
    if (cause === "AddrInUse") {
      throw new ControlFault("conflict", message, {
        hint: mapping.unix === undefined
          ? "Choose another port of the host; 0 picks a free one"
          : "Choose another path",
      });
    }
    if (code === "socket-in-use" || (code === "address-in-use" && mapping.unix !== undefined)) {
      throw new ControlFault("conflict", message, { hint });
    }
    if (code !== "permission") throw error;
    // Who asks has permissions of its own, and not those that lack.
    throw new ControlFault("not-permitted", message, {
      hint: cause !== "PermissionDenied"
        ? `${hint} where the gateway is started`
        : mapping.unix === undefined
        ? "Ports below 1024 belong to root; choose another port of the host"
        : hint,
    });
  }
}

const MAPPING_HINT = `Send {"hostPort": 8080, "guestPort": 80}`;

function readMapping(body: unknown): PortMapping {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new ControlFault("invalid", "the body is no mapping of a port", {
      hint: MAPPING_HINT,
    });
  }
  const mapping = body as PortMapping;
  const isUnix = mapping.unix !== undefined;
  for (const name of ["hostPort", "guestPort"] as const) {
    const mayLack = isUnix && name === "hostPort" && mapping.hostPort === undefined;
    if (Number.isInteger(mapping[name]) || mayLack) continue;
    throw new ControlFault("invalid", `${name}: is not a whole number`, { hint: MAPPING_HINT });
  }
  // As it is spelled it is compared later; what is no address is said by the gateway.
  const { bind } = mapping;
  if (!Array.isArray(bind)) return mapping;
  return { ...mapping, bind: bind.map((each) => canonical(each) ?? each) };
}

async function unpublish(
  { gateway }: GuestContext,
  { params, query }: RouteRequest,
): Promise<PortReport> {
  const place = readPlace(params.hostPort!, query);
  const published = await gateway.unpublish(place);
  if (published.length > 0) return { published };
  throw new ControlFault("absent", `nothing is published on ${textOf(place)}`, {
    hint: publishedHint((await gateway.snapshot()).published),
  });
}

function readPlace(port: string, query: RouteRequest["query"]): PublishedPlace {
  const { protocol = "tcp" } = query;
  if (!isProtocol(protocol)) {
    throw new ControlFault("invalid", "protocol is neither tcp, udp nor unix", {
      hint: "DELETE /v1/ports/5353?protocol=udp",
    });
  }
  if (protocol === "unix") {
    if (port === "0" && query.bind !== undefined) return { protocol, bind: query.bind };
    throw new ControlFault("invalid", "a unix socket has port 0 here, and its path in bind", {
      hint: "DELETE /v1/ports/0?protocol=unix&bind=/run/web.sock",
    });
  }
  const hostPort = parsePort(port, 1);
  if (hostPort === null) {
    throw new ControlFault("invalid", "the host's port is not a number from 1 to 65535", {
      hint: "DELETE /v1/ports/8080",
    });
  }
  const bind = query.bind === undefined ? undefined : canonical(query.bind);
  if (bind === null) {
    throw new ControlFault("invalid", "bind is not an address", {
      hint: "Write bind=127.0.0.1 or bind=::1, or leave it out for all addresses",
    });
  }
  return { protocol, hostPort, ...(bind === undefined ? {} : { bind }) };
}

function isProtocol(text: string): text is PublishedProtocol {
  return PROTOCOLS.some((protocol) => protocol === text);
}

/** A place as messages name it; without an address, its port. */
function textOf({ protocol = "tcp", hostPort = 0, bind }: PublishedPlace): string {
  if (bind !== undefined) return formatPublished({ protocol, hostPort, bind });
  return `port ${hostPort}${protocol === "udp" ? "/udp" : ""}`;
}

function canonical(bind: unknown): string | null {
  return typeof bind === "string" ? parseBind(bind) : null;
}

/** How many of the published places an error names. */
const NAMED_MAX = 8;

/** What is published instead. */
export function publishedHint(published: readonly PublishedPort[]): string {
  if (published.length === 0) return "No port is published";
  const places = published.map(formatPublished);
  const more = places.length > NAMED_MAX ? ` and ${places.length - NAMED_MAX} more` : "";
  return `Published: ${places.slice(0, NAMED_MAX).join(", ")}${more}`;
}
