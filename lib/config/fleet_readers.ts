/**
 * Readers of what a configuration says of a fleet.
 *
 * Who a gateway is towards the engine stands in a file of its own, so nothing here takes a secret;
 * one that is written all the same is in no message.
 *
 * @module
 */
import { AddressClass, classify } from "../policy/address_class.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import { parseByteSize } from "./byte_size.ts";
import type { FleetService } from "./fleet.ts";
import { isLabel, LABEL_RULE } from "./label.ts";
import { isMappingKey } from "./nearest.ts";
import { parsePort } from "./port_spec.ts";
import { type Fail, isMapping, items, type Raw, type Reader, scalar, show } from "./readers.ts";

/** Most servers that are named. */
export const SERVERS_MAX = 16;

/** Most services of a guest. */
export const SERVICES_MAX = 64;

/**
 * How much of the audit may wait on disk: some of it may be with the sender, and all of it is read once
 * before a gateway joins, which takes seconds from 256 MiB on.
 */
export const AUDIT_MIN_BYTES = 2 * 1024 * 1024;
const AUDIT_MAX_BYTES = 256 * 1024 * 1024;

const DEFAULT_PORT = 4222;
const SERVER_RULE = "write nats://HOST:PORT or tls://HOST:PORT";
const HOST_NAME = /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?$/;

/** A reader of the engine's servers; each comes out with its port. */
export const readFleetServers: Reader<string[]> = (raw, fail) => {
  const servers: string[] = [];
  if (items(raw).length === 0) fail("names no server");
  items(raw).forEach((item, i) => {
    if (typeof item !== "string") return fail(`${show(item)} is not a server`, `[${i}]`);
    for (const text of item.split(",").map((each) => each.trim())) {
      const server = parseServer(text);
      if (typeof server !== "string") fail(server.fault, `[${i}]`);
      else if (!servers.includes(server)) servers.push(server);
    }
  });
  if (servers.length > SERVERS_MAX) fail(`${servers.length} servers, at most ${SERVERS_MAX}`);
  if (new Set(servers.map((server) => server.split(":", 1)[0])).size > 1) {
    fail("some are tls:// and some are not; TLS is for all of them or for none");
  }
  return servers;
};

function parseServer(text: string): string | { fault: string } {
  if (text.includes("@")) {
    const fault = "a user, password or token does not stand in an address, where others see it; " +
      "write it into a file and name that with --fleet-credentials";
    return { fault };
  }
  const [, scheme, rest = ""] = /^([a-z]+):\/\/(.*?)\/?$/.exec(text) ?? [];
  if (scheme === "ws" || scheme === "wss") {
    return { fault: `"${text}": WebSockets are not spoken; ${SERVER_RULE}` };
  }
  if (scheme !== "nats" && scheme !== "tls") {
    return { fault: `"${text}" is no server; ${SERVER_RULE}` };
  }
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::([0-9]*))?$/.exec(rest);
  const [, bracketed, plain = "", portText] = match ?? [];
  const port = portText === undefined ? DEFAULT_PORT : parsePort(portText, 1);
  if (match === null || port === null) return { fault: `"${text}" is no server; ${SERVER_RULE}` };
  if (bracketed !== undefined) {
    const bytes = bracketed.includes(":") ? parseIp(bracketed) : null;
    if (bytes === null) return { fault: `"${text}": [${bracketed}] is no IPv6 address` };
    return `${scheme}://[${formatIp(bytes)}]:${port}`;
  }
  const isHost = parseIp(plain) !== null || (HOST_NAME.test(plain) && !/^[0-9.]+$/.test(plain));
  if (!isHost) return { fault: `"${text}" is no server; ${SERVER_RULE}` };
  return `${scheme}://${plain.toLowerCase()}:${port}`;
}

/** A reader of a name of a fleet, a gateway or a group. */
export const readLabel: Reader<string> = (raw, fail) => {
  const text = scalar(raw, fail);
  if (text !== null && !isLabel(text)) fail(`"${text}" is no name; write ${LABEL_RULE}`);
  return text ?? "";
};

/** A reader of addresses at which other hosts reach this one, one of each family. */
export const readAdvertise: Reader<string[]> = (raw, fail) => {
  const addresses: string[] = [];
  items(raw).forEach((item, i) => {
    const bytes = typeof item === "string" ? parseIp(item) : null;
    if (bytes === null) return fail(`${show(item)} is not an address`, `[${i}]`);
    const fault = advertiseFault(bytes);
    const address = formatIp(bytes);
    if (fault !== null) return fail(`${address} ${fault}`, `[${i}]`);
    if (addresses.some((other) => other.includes(":") === address.includes(":"))) {
      return fail(`${address} is the second of its family; one of each is announced`, `[${i}]`);
    }
    addresses.push(address);
  });
  return addresses;
};

/** Why an address leads no other host here; `null` where it may. */
export function advertiseFault(address: Uint8Array): string | null {
  switch (classify(address)) {
    case AddressClass.public:
    case AddressClass.private:
      return null;
    case AddressClass.loopback:
      return "is this machine's own for every host; name the one that others reach";
    case AddressClass.unspecified:
      return "is every address of a host; name the one that others reach";
    default:
      return "is not an address at which hosts reach each other";
  }
}

/** A reader of services: a mapping of names to ports, or items of `NAME=PORT`. */
export const readServices: Reader<FleetService[]> = (raw, fail) => {
  const services: FleetService[] = [];
  for (const { name, value, under } of isMapping(raw) ? mapped(raw, fail) : listed(raw, fail)) {
    const port = parseServicePort(value);
    if (!isLabel(name)) fail(`"${name}" is no name of a service; write ${LABEL_RULE}`, under);
    else if (port === null) {
      fail(`${show(value)} is not a port of the guest, such as 80 or 53/udp`, under);
    } else if (services.some((one) => one.name === name && one.protocol === port.protocol)) {
      fail(`"${name}" is there twice`, under);
    } else services.push({ name, ...port });
  }
  if (services.length > SERVICES_MAX) fail(`${services.length} services, at most ${SERVICES_MAX}`);
  return services;
};

function parseServicePort(value: Raw): Pick<FleetService, "guestPort" | "protocol"> | null {
  const [, portText, protocol = "tcp"] = typeof value === "string"
    ? /^([0-9]{1,5})(?:\/(tcp|udp))?$/.exec(value) ?? []
    : [];
  const guestPort = portText === undefined ? null : parsePort(portText, 1);
  return guestPort === null ? null : { guestPort, protocol: protocol as "tcp" | "udp" };
}

interface NamedPort {
  readonly name: string;
  readonly value: Raw;
  /** Path below the setting. */
  readonly under: string;
}

function* mapped(raw: { readonly [key: string]: Raw }, fail: Fail): Generator<NamedPort> {
  for (const [name, value] of Object.entries(raw)) {
    const under = `.${name}`;
    if (isMappingKey(name)) fail("a mapping is no key: keys are plain names");
    else if (!Array.isArray(value)) yield { name, value, under };
    else {for (const [i, one] of value.entries()) {
        yield { name, value: one, under: `${under}[${i}]` };
      }}
  }
}

function* listed(raw: Raw, fail: Fail): Generator<NamedPort> {
  for (const [i, item] of items(raw).entries()) {
    const under = `[${i}]`;
    const [, name, value] = typeof item === "string" ? /^([^=]*)=(.*)$/.exec(item) ?? [] : [];
    if (name === undefined) fail(`${show(item)} is not NAME=PORT`, under);
    else yield { name, value: value!, under };
  }
}

/** A reader of how much of the audit may wait. */
export const readAuditBytes: Reader<number> = (raw, fail) => {
  const text = scalar(raw, fail);
  const bytes = text === null ? 0 : parseByteSize(text);
  if (bytes === null) fail(`"${text}" is not a number of bytes, such as 16MiB or 100MB`);
  else if (text !== null && (bytes < AUDIT_MIN_BYTES || bytes > AUDIT_MAX_BYTES)) {
    fail(`"${text}" is not from 2MiB to 256MiB`);
  }
  return bytes ?? 0;
};
