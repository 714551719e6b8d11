/**
 * The typed errors of the public edge: what went wrong as a code, and the way out as a hint.
 *
 * @module
 */

/** What kind of wrong a {@linkcode GatewayError} is. */
export type GatewayErrorCode =
  /** A value of a configuration or of an argument is wrong. */
  | "config"
  /** Deno has not been given a permission; the hint has the flag. */
  | "permission"
  /** A TCP port of the host is in use, or is no address of it. */
  | "address-in-use"
  /** Another process serves on the unix socket, or a file is in its place. */
  | "socket-in-use"
  /** Nothing answers where the VMM was to be. */
  | "unreachable"
  /** No gateway answers where its control interface was to be. */
  | "no-gateway"
  /** The control interface has refused a request. */
  | "control"
  /** No engine of a fleet answers. */
  | "no-engine"
  /** The engine of a fleet refuses, or has not what is asked for. */
  | "fleet"
  /** The VMM has broken the framing of its stream. */
  | "link"
  /** There is no place for one more. */
  | "busy"
  /** It is stopping, or has no memory for one more guest. */
  | "closed";

/**
 * An error of the gateway towards the program that embeds it.
 *
 * @example Tell one wrong from another
 * ```ts
 * import { GatewayError, serveVirtioNetwork } from "@virtio/gateway";
 * import { assert, assertEquals } from "@std/assert";
 *
 * using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: other.addr.port } as const;
 * const error = await serveVirtioNetwork(endpoint).catch((error: unknown) => error);
 * assert(error instanceof GatewayError);
 * assertEquals(error.code, "address-in-use");
 * ```
 */
export class GatewayError extends Error {
  /** What kind of wrong this is. */
  readonly code: GatewayErrorCode;
  /** The way out, as a sentence; empty where there is none to offer. */
  readonly hint: string;

  /**
   * Makes an error.
   *
   * @param code What kind of wrong this is.
   * @param message Where and what.
   * @param options The way out, and the error underneath.
   */
  constructor(
    code: GatewayErrorCode,
    message: string,
    options: { hint?: string; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = "GatewayError";
    this.code = code;
    this.hint = options.hint ?? "";
  }
}

/**
 * One thing that is wrong with a configuration. Part of a {@linkcode ConfigError}.
 */
export interface ConfigProblem {
  /** Path of the key, such as `guestNetwork.mtu` or `publish[0].host`. */
  readonly key: string;
  /** What is wrong with its value, without the key. */
  readonly text: string;
}

/**
 * A configuration that can't be used; its message has one line for each problem.
 *
 * @example All that is wrong, at once
 * ```ts
 * import { ConfigError, serveVirtioNetwork } from "@virtio/gateway";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * const error = await serveVirtioNetwork(endpoint, {
 *   guestNetwork: { mtu: 9 },
 *   limits: { tcpFlows: 0 },
 * }).catch((error: unknown) => error);
 * assert(error instanceof ConfigError);
 * assertEquals(error.problems.map(({ key }) => key).sort(), ["guestNetwork.mtu", "limits.tcpFlows"]);
 * ```
 */
export class ConfigError extends GatewayError {
  /** Everything that was found wrong, in the order of the keys. */
  readonly problems: readonly ConfigProblem[];

  /**
   * Makes an error of all problems.
   *
   * @param problems Everything that was found wrong; at least one.
   * @param describe Makes a problem's line; the key and the text when absent.
   */
  constructor(
    problems: readonly ConfigProblem[],
    describe: (problem: ConfigProblem) => string = ({ key, text }) =>
      key ? `${key}: ${text}` : text,
  ) {
    super("config", problems.map(describe).join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}
