/**
 * Where the gateway's log lines go: an embedding program hands in its own.
 *
 * @module
 */

/**
 * What {@linkcode GatewayLogger} takes beside the message. Taken by a {@linkcode GatewayLogger}.
 */
export type LogFields = Record<string, unknown>;

/**
 * Receives the gateway's log lines.
 *
 * @example Keep what is worth a look
 * ```ts
 * import { type GatewayLogger, serveVirtioNetwork } from "@virtio/gateway";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * const logger: GatewayLogger = {
 *   debug: () => {},
 *   info: (message) => lines.push(message),
 *   warn: (message) => lines.push(message),
 *   error: (message, fields) => lines.push(`${message} ${JSON.stringify(fields)}`),
 * };
 * const endpoint = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * const server = await serveVirtioNetwork(endpoint, { logger, once: true });
 * if (server.endpoint.transport !== "tcp") throw new Error("a TCP port was asked for");
 * const events = server.events(); // from here on
 * using vmm = await Deno.connect(server.endpoint);
 * for await (const { type } of events) if (type === "guest-attached") break;
 * await server.close();
 * assertEquals(lines.slice(0, 1), ["guest attached"]);
 * ```
 */
export interface GatewayLogger {
  /** For whoever looks into the gateway itself. */
  debug(message: string, fields?: LogFields): void;
  /** What happens in the normal course. */
  info(message: string, fields?: LogFields): void;
  /** What is not as it should be, while the gateway goes on. */
  warn(message: string, fields?: LogFields): void;
  /** What the gateway could not do. */
  error(message: string, fields?: LogFields): void;
}

/** A logger that drops every line: the default of the module's functions. */
export const silentLogger: GatewayLogger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};
