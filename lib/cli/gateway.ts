/**
 * Finds the running gateway that a command asks: by `--control`, `VIRTIO_GATEWAY_CONTROL`, or at
 * `./virtio-gateway.control.sock`, in this order.
 *
 * @module
 */
import type { Endpoint } from "../config/endpoint.ts";
import { formatEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import { resolveConfig } from "../config/resolve.ts";
import { environmentName, SETTINGS } from "../config/settings.ts";
import { GatewayClient } from "../control/client.ts";
import { readToken } from "../control/token_file.ts";
import { isGranted, missingFlag, readEnvironment } from "../host/permissions.ts";
import type { ParsedArguments } from "./arguments.ts";
import { UsageError } from "./exit.ts";

const DEFAULT_PATH = "./virtio-gateway.control.sock";
const DEFAULT_ENDPOINT: Endpoint = { transport: "unix", path: DEFAULT_PATH };
const FLAGS = [SETTINGS.control.flag!, SETTINGS.controlToken.flag!];

/** A gateway that a command may ask. */
export interface FoundGateway {
  readonly client: GatewayClient;
  /** Whether it was named, and not only looked for. */
  readonly isNamed: boolean;
}

/**
 * Finds the gateway.
 *
 * @returns `null` where none is named, and none was found.
 * @throws {GatewayError} Where what names it is wrong.
 */
export async function findGateway(args: ParsedArguments): Promise<FoundGateway | null> {
  const flags = Object.fromEntries(FLAGS.flatMap((flag) => {
    const value = args.flags[flag];
    return value === undefined ? [] : [[flag, value]];
  }));
  const environment = Object.fromEntries(
    FLAGS.map(environmentName).flatMap((name) => {
      const value = readEnvironment(name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
  const { settings: { control }, entries } = resolveConfig({ flags, environment });
  if (control === null && !isSocket(DEFAULT_PATH)) return null;
  const endpoint = control?.endpoint ?? DEFAULT_ENDPOINT;
  if (endpoint.transport === "tcp" && endpoint.port === 0) {
    throw new UsageError("--control: port 0 can't be connected to");
  }
  const tokenFile = entries.find(({ key }) => key === SETTINGS.controlToken.key)!.value as string;
  const options = {
    ...(tokenFile === "" ? {} : { token: await readToken(tokenFile) }),
    ...(args.guest === undefined ? {} : { guest: args.guest }),
  };
  return { client: new GatewayClient(endpoint, options), isNamed: control !== null };
}

/**
 * Finds the gateway, which has to be there.
 *
 * @throws {GatewayError} With code `no-gateway` where none is named, and none was found; with
 * `permission` where Deno lets nobody look.
 */
export async function requireGateway(args: ParsedArguments): Promise<GatewayClient> {
  const found = await findGateway(args);
  if (found !== null) return found.client;
  if (!isGranted({ name: "read", path: DEFAULT_PATH })) {
    throw new GatewayError(
      "permission",
      `no gateway is named, and Deno may not look for ${DEFAULT_PATH}`,
      { hint: `Add ${missingFlag(DEFAULT_ENDPOINT)}; or name it with ${waysToName()}` },
    );
  }
  throw new GatewayError(
    "no-gateway",
    `no gateway is named, and there is no ${DEFAULT_PATH}`,
    {
      hint: `Start one with: run --control ${formatEndpoint(DEFAULT_ENDPOINT)}; ` +
        `or name it with ${waysToName()}`,
    },
  );
}

/** A variable that Deno may not read is as if it were not set, whatever is in it. */
function waysToName(): string {
  const variable = environmentName(FLAGS[0]!);
  const mayRead = isGranted({ name: "env", variable });
  return `--control or ${variable}${mayRead ? "" : ` (--allow-env=${variable})`}`;
}

/** What may not be looked at can't be used either. */
function isSocket(path: string): boolean {
  try {
    return isGranted({ name: "read", path }) && Deno.statSync(path).isSocket === true;
  } catch {
    return false;
  }
}
