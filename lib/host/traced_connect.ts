/**
 * Connects to hosts as spans: one for each TCP dial that begins, from its start to the connection or
 * to why there is none. It wraps the connect, so that without a tracer there is nothing in its way.
 *
 * @module
 */
import { parseIp } from "../wire/address.ts";
import type { Tracer, TraceSpan } from "../config/tracer.ts";
import type { Connect } from "./dialer.ts";
import { isPermissionError } from "./permissions.ts";

/** A connect of the same kind, with a span for each. */
export function tracedConnect(connect: Connect, tracer: Tracer): Connect {
  return (options) => {
    const { hostname = "127.0.0.1", port } = options;
    const span = tracer.start("dial", "dial", {
      "network.transport": "tcp",
      "network.type": parseIp(hostname)?.length === 4 ? "ipv4" : "ipv6",
      "server.address": hostname,
      "server.port": port,
    });
    return span === null ? connect(options) : connectIn(span, connect, options);
  };
}

async function connectIn(
  span: TraceSpan,
  connect: Connect,
  options: Parameters<Connect>[0],
): Promise<Deno.TcpConn> {
  let conn: Deno.TcpConn;
  try {
    conn = await connect(options);
  } catch (error) {
    if (options.signal.aborted) {
      span.fail("cancelled", "its time was over, or the guest took it back");
    } else span.fail(errorTypeOf(error), error instanceof Error ? error.message : String(error));
    throw error;
  }
  // Behind a proxy that is the proxy.
  span.set("network.peer.address", conn.remoteAddr.hostname);
  span.set("network.peer.port", conn.remoteAddr.port);
  span.end();
  return conn;
}

function errorTypeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  if (typeof code === "string") return code;
  return isPermissionError(error) ? "EACCES" : "_OTHER";
}
