/**
 * The engine that a fleet's command asks: flags, environment and the file of `--config` say where it
 * is, so the file of any gateway of the fleet will do. It is waited for less than five seconds.
 *
 * @module
 */
import { formatHostPort } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import { shellQuote } from "../config/permission_line.ts";
import { environmentName, SETTINGS } from "../config/settings.ts";
import { type Credentials, readCredentials } from "../fleet/credentials.ts";
import { Engine, placeOf } from "../fleet/engine.ts";
import { mayUseAddress, permissionError } from "../host/permissions.ts";
import type { ParsedArguments } from "./arguments.ts";
import { UsageError } from "./exit.ts";
import { loadFleetAccess } from "./load.ts";

/** How long an engine is waited for. */
const CONNECT_MS = 4_000;

/** The way to an engine that answers. */
export type EngineConnection = Awaited<ReturnType<Engine["whenConnected"]>>;

/** A fleet whose engine answers. */
export interface OpenFleet extends AsyncDisposable {
  /** The fleet's name. */
  readonly fleet: string;
  /** Its engine's servers, as they were named. */
  readonly servers: readonly string[];
  readonly engine: Engine;
  readonly connection: EngineConnection;
}

/** Where Deno lets nobody dial any of the servers, the first one is named. */
function requireServers(servers: readonly string[]): void {
  const places = servers.map(placeOf);
  if (places.some(({ hostname, port }) => mayUseAddress(hostname, port))) return;
  const { hostname, port } = places[0]!;
  throw permissionError(
    `connect to ${servers[0]}`,
    shellQuote(`--allow-net=${formatHostPort(hostname, port)}`),
  );
}

/**
 * Opens the way to a fleet's engine.
 *
 * @throws {UsageError} Where no engine is named.
 * @throws {GatewayError} With code `no-engine` where none answers, `fleet` where it lets nobody in,
 * `permission` where Deno lets nobody ask.
 */
export async function openFleet(args: ParsedArguments): Promise<OpenFleet> {
  const access = await loadFleetAccess(args);
  if (access === null) {
    throw new UsageError(
      `no fleet is named: say where its engine is, with --${SETTINGS.fleetServers.flag} ` +
        `nats://HOST:PORT, with ${environmentName(SETTINGS.fleetServers.flag!)}, ` +
        "or with --config and a file that has fleet: { servers: [...] }",
    );
  }
  const { fleet, servers, credentials } = access;
  requireServers(servers);
  const auth = credentials === null ? null : await readCredentials(credentials);
  const engine = Engine.open({ servers, name: "virtio-gateway fleet", auth });
  try {
    const connection = await connected(engine, servers, auth);
    return { fleet, servers, engine, connection, [Symbol.asyncDispose]: () => engine.close() };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

async function connected(
  engine: Engine,
  servers: readonly string[],
  auth: Credentials | null,
): Promise<EngineConnection> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), CONNECT_MS);
  const end = engine.onState((state) => {
    if (state === "refused") late.abort();
  });
  try {
    return await engine.whenConnected(late.signal);
  } catch {
    throw engineError(engine, servers, auth);
  } finally {
    end();
    clearTimeout(timer);
  }
}

function engineError(
  engine: Engine,
  servers: readonly string[],
  auth: Credentials | null,
): GatewayError {
  const where = servers.join(", ");
  const why = engine.lastError;
  if (engine.state === "refused") {
    return new GatewayError("fleet", `the engine on ${where} lets nobody in like this: ${why}`, {
      hint: auth === null
        ? `Name a file of credentials with --${SETTINGS.fleetCredentials.flag}`
        : `Put right what ${auth.path} says, or ask the engine's operator`,
    });
  }
  return new GatewayError(
    "no-engine",
    `no engine answers on ${where}: ${why ?? "no answer in time"}`,
    { hint: "Look whether it runs (nats-server -js), or name another place with --fleet" },
  );
}
