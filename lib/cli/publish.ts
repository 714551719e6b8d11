/**
 * `publish` and `unpublish`: one more port of the host that leads to the guest of a running gateway,
 * and one less.
 *
 * @module
 */
import { parseHostPort } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { PortMapping } from "../config/options.ts";
import { parsePort, parsePublishSpec, PUBLISHED_MAX } from "../config/port_spec.ts";
import type { GatewayClient } from "../control/client.ts";
import { publishedHint } from "../control/port_routes.ts";
import { formatPublished, type PublishedPlace, type PublishedPort } from "../config/published.ts";
import { wholePath } from "../host/unix_listeners.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit, UsageError } from "./exit.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";

/**
 * Runs `publish`.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runPublish(io: CliIo, args: ParsedArguments): Promise<number> {
  const mappings = parsePublishSpec(args.operand!);
  if (typeof mappings === "string") throw new UsageError(mappings);
  // The gateway may be in another folder than who asks.
  const meant = mappings.map((each) => {
    return each.unix === undefined ? each : { ...each, unix: wholePath(each.unix) };
  });
  const published = await publishAll(await requireGateway(args), meant);
  if (args.json) io.out(JSON.stringify({ published }, null, 2));
  else {
    for (const port of published) {
      io.out(`published ${formatPublished(port)} as the guest's port ${port.guestPort}`);
    }
  }
  return Exit.Done;
}

/** All of them or, where one can't be had, none. */
async function publishAll(
  client: GatewayClient,
  mappings: readonly PortMapping[],
): Promise<PublishedPort[]> {
  const published: PublishedPort[] = [];
  try {
    for (const mapping of mappings) published.push(...await client.publish(mapping));
    return published;
  } catch (error) {
    for (const port of published) await client.unpublish(port).catch(() => []);
    throw error;
  }
}

/**
 * Runs `unpublish`.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runUnpublish(io: CliIo, args: ParsedArguments): Promise<number> {
  const text = args.operand!;
  const places = readPlaces(text);
  const client = await requireGateway(args);
  const published: PublishedPort[] = [];
  for (const place of places) published.push(...await client.unpublish(place));
  if (published.length === 0) {
    throw new GatewayError("control", `nothing is published on ${text}`, {
      hint: publishedHint(await client.published()),
    });
  }
  if (args.json) io.out(JSON.stringify({ published }, null, 2));
  else {
    for (const port of published) {
      io.out(`${formatPublished(port)} leads to the guest's port ${port.guestPort} no longer`);
    }
  }
  return Exit.Done;
}

/** A unix socket, one port of the host, or each of a range. */
function readPlaces(text: string): PublishedPlace[] {
  const path = /^unix:(.+)$/.exec(text)?.[1];
  if (path !== undefined) return [{ protocol: "unix", bind: wholePath(path) }];
  const [, places = "", protocol] = /^(.*?)(?:\/(tcp|udp))?$/.exec(text)!;
  const [, start = "", last] = /^(.*?[0-9]+)-([0-9]+)$/.exec(places) ?? [];
  const first = readPlace(last === undefined ? places : start);
  const end = last === undefined ? first?.hostPort : parsePort(last, 1);
  const count = first === null ? 0 : (end ?? 0) - first.hostPort + 1;
  if (first === null || count < 1 || count > PUBLISHED_MAX) {
    throw new UsageError(
      `"${text}" is not [BIND:]HOSTPORT, such as 8080, 127.0.0.1:8080, [::1]:8080, 8000-8010, ` +
        "5353/udp or unix:/run/web.sock",
    );
  }
  const carried = protocol === "udp" ? { protocol: "udp" as const } : {};
  return Array.from({ length: count }, (_, i) => {
    return { ...first, hostPort: first.hostPort + i, ...carried };
  });
}

function readPlace(text: string): { hostPort: number; bind?: string } | null {
  const hostPort = parsePort(text, 1);
  if (hostPort !== null) return { hostPort };
  const place = parseHostPort(text);
  return place !== null && place.port > 0 ? { hostPort: place.port, bind: place.hostname } : null;
}
