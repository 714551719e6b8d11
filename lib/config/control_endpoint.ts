/**
 * Where the control interface may be: a unix socket, or a port of the loopback with a token.
 *
 * What it says and does is not for the network: it has no encryption of its own, and who may ask is
 * known by a file's mode or by a token that others would see.
 *
 * @module
 */
import type { Endpoint } from "./endpoint.ts";
import { readEndpoint, type Reader } from "./readers.ts";

/** Where the control interface is, and the file of its token. */
export interface ControlPlace {
  /** A unix socket's path, or a port of the loopback. */
  readonly endpoint: Endpoint;
  /** The file of the token that is asked for. */
  readonly tokenFile?: string;
}

/** A reader of an endpoint that only this machine reaches. */
export const readControl: Reader<Endpoint | null> = (raw, fail) => {
  const endpoint = readEndpoint(raw, fail);
  if (endpoint?.transport !== "tcp") return endpoint;
  if (!/^(127\.|::1$)/.test(endpoint.hostname)) {
    fail(
      `"${endpoint.hostname}" is not of the loopback; write tcp:127.0.0.1:PORT, and let a tunnel ` +
        "such as ssh -L lead there",
    );
  }
  return endpoint;
};

/** What is wrong with an endpoint and a token beside each other, or `null`. */
export function controlFault(endpoint: Endpoint | null, tokenFile: string): string | null {
  if (endpoint?.transport !== "tcp" || tokenFile !== "") return null;
  return "on TCP needs a token, as every user of this machine reaches it; " +
    "name its file with --control-token, or use unix:/path";
}
