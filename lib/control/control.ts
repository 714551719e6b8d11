/**
 * The control interface for a program that serves guests itself: what `--control` opens on the command
 * line. What asks it is in `@virtio/gateway/client`, or anything that speaks HTTP and JSON.
 *
 * @example A gateway that other programs can ask
 * ```ts
 * import { serveVirtioNetwork } from "@virtio/gateway";
 * import { serveControl } from "@virtio/gateway/control";
 * import { GatewayClient } from "@virtio/gateway/client";
 * import { assertEquals } from "@std/assert";
 *
 * const token = "0".repeat(64); // of 32 random octets, in a program that matters
 * const anyPort = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
 * await using server = await serveVirtioNetwork(anyPort);
 * await using control = await serveControl(server, anyPort, { version: "1.0.0", token });
 *
 * const client = new GatewayClient(control.endpoint, { token });
 * assertEquals((await client.status()).version, "1.0.0");
 * ```
 *
 * @module
 */
export { type ControlOptions, ControlServer, serveControl } from "./control_server.ts";
export type { TraceAttributes, TraceKind, Tracer, TraceSpan } from "../config/tracer.ts";
export type { ReloadReport } from "./api.ts";
