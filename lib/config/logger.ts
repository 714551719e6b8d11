/**
 * Where the gateway's log lines go: an embedding program hands in its own.
 *
 * @module
 */

/** What {@linkcode GatewayLogger} takes beside the message. */
export type LogFields = Record<string, unknown>;

/** Receives the gateway's log lines. */
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
