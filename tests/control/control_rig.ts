/**
 * A gateway with its control interface, for tests: on a unix socket of a folder of its own or on a
 * loopback port, and raw requests, octet by octet as a test wants them.
 *
 * @module
 */
import { type Endpoint, formatEndpoint, type VmmEndpoint } from "../../lib/config/endpoint.ts";
import type { GatewayLogger } from "../../lib/config/logger.ts";
import { GatewayClient } from "../../lib/control/client.ts";
import type { ReloadReport } from "../../lib/control/api.ts";
import { type ControlServer, serveControl } from "../../lib/control/control_server.ts";
import type { FleetReport } from "../../lib/host/fleet_report.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import {
  type ServeOptions,
  serveVirtioNetwork,
  type VirtioNetworkServer,
} from "../../lib/server.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";

/** A token of 256 bits. */
export const TOKEN = "0123456789abcdef".repeat(4);

const GUEST_MEMORY = new FrameMemory(64 * 1024 * 1024);
const LOOPBACK = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
const encoder = new TextEncoder();

/** An answer as it came. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** How a rig differs from the plain one. */
export interface ControlRigOptions extends ServeOptions {
  readonly control?: "unix" | "tcp";
  /** Where it listens over TCP; 127.0.0.1 when absent. */
  readonly hostname?: string;
  readonly logger?: GatewayLogger;
  readonly isReady?: () => boolean;
  readonly reload?: () => Promise<ReloadReport>;
  readonly stop?: () => void;
  readonly fleet?: () => FleetReport;
}

/** A control interface, asked as a test wants to. */
export class AskedControl {
  readonly control: ControlServer;
  readonly client: GatewayClient;

  constructor(control: ControlServer) {
    this.control = control;
    this.client = new GatewayClient(
      control.endpoint,
      control.endpoint.transport === "tcp" ? { token: TOKEN } : {},
    );
  }

  /** Connects to the control interface. */
  connect(): Promise<Deno.Conn> {
    return connectTo(this.control.endpoint);
  }

  /** Sends octets and reads all that comes back. */
  async raw(request: string | Uint8Array): Promise<RawAnswer> {
    using conn = await this.connect();
    const bytes = typeof request === "string" ? encoder.encode(request) : request;
    try {
      for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    } catch {
      // Who is refused may go on sending for a moment only; the answer is there to be read.
    }
    return parseAnswer(await readAll(conn));
  }

  /** Asks with headers of the test's own; Host and token are right where they are not among them. */
  ask(
    method: string,
    path: string,
    options: { headers?: Record<string, string>; body?: string } = {},
  ): Promise<RawAnswer> {
    const { body = "" } = options;
    const headers: Record<string, string> = {
      Host: formatEndpoint(this.control.endpoint).replace(/^tcp:/, "").replace(/^unix:.*/, "x"),
      ...(this.control.endpoint.transport === "tcp" ? { Authorization: `Bearer ${TOKEN}` } : {}),
      ...(body === "" ? {} : {
        "Content-Type": "application/json",
        "Content-Length": String(encoder.encode(body).length),
      }),
      ...options.headers,
    };
    const lines = Object.entries(headers)
      .filter(([, value]) => value !== "")
      .map(([name, value]) => `${name}: ${value}\r\n`);
    return this.raw(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n${body}`);
  }
}

/** A gateway and its control interface. */
export class ControlRig extends AskedControl implements AsyncDisposable {
  readonly gateway: VirtioNetworkServer;
  readonly #folder: string;

  private constructor(gateway: VirtioNetworkServer, control: ControlServer, folder: string) {
    super(control);
    this.gateway = gateway;
    this.#folder = folder;
  }

  /** Opens both. */
  static async open(options: ControlRigOptions = {}): Promise<ControlRig> {
    const { control = "unix", hostname, isReady, reload, stop, fleet, ...serve } = options;
    const folder = await Deno.makeTempDir({ prefix: "vgctl-" });
    const gateway = await serveVirtioNetwork(LOOPBACK, {
      dns: { upstreams: ["127.0.0.1:1"] },
      ...serve,
    });
    const endpoint: Endpoint = control === "tcp"
      ? { ...LOOPBACK, hostname: hostname ?? LOOPBACK.hostname }
      : { transport: "unix", path: `${folder}/control.sock` };
    const server = await serveControl(gateway, endpoint, {
      version: "1.2.3",
      ...(control === "tcp" ? { token: TOKEN } : {}),
      ...(isReady === undefined ? {} : { isReady }),
      ...(reload === undefined ? {} : { reload }),
      ...(stop === undefined ? {} : { stop }),
      ...(fleet === undefined ? {} : { fleet }),
      ...(serve.logger === undefined ? {} : { logger: serve.logger }),
    });
    return new ControlRig(gateway, server, folder);
  }

  /** Attaches a guest and gives it an address. */
  attach(): Promise<EmbeddedGuest> {
    return attachTo(this.gateway);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway.abort();
    await this.control.finished;
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Attaches a guest to a gateway and gives it an address. */
export async function attachTo({ endpoint }: VirtioNetworkServer): Promise<EmbeddedGuest> {
  const guest = EmbeddedGuest.attach(await connectTo(endpoint), { memory: GUEST_MEMORY });
  await guest.lease();
  return guest;
}

/** Connects to an endpoint. */
export function connectTo(endpoint: VmmEndpoint): Promise<Deno.Conn> {
  switch (endpoint.transport) {
    case "unix":
      return Deno.connect({ transport: "unix", path: endpoint.path });
    case "tcp":
      return Deno.connect({ hostname: endpoint.hostname, port: endpoint.port });
    default:
      throw new Error(`nothing connects to ${endpoint.transport}`);
  }
}

/** Reads to the end of a connection. */
export async function readAll(conn: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(65_536);
  let text = "";
  for (;;) {
    const count = await conn.read(buffer).catch(() => null);
    if (count === null) return text;
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
}

/** Reads an answer; status 0 where none came. */
export function parseAnswer(text: string): RawAnswer {
  const [head = "", ...rest] = text.split("\r\n\r\n");
  const [first = "", ...lines] = head.split("\r\n");
  const headers = new Headers(lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  }));
  return { status: Number(first.split(" ")[1] ?? 0), headers, text: rest.join("\r\n\r\n") };
}
