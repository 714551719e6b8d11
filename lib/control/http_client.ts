/**
 * The client's side of one request to a control interface: a connection, a request, its answer.
 *
 * `fetch` reaches a unix socket only by a proxy setting that asks for the net permission of a host
 * that is never contacted; over `Deno.connect` the socket's own permission is enough.
 *
 * Takes what the control interface sends: a length, or an answer that ends with its connection.
 * Limits: a head of 16 KiB, a whole answer of `ANSWER_MAX_BYTES`, `ANSWER_MS` for it.
 *
 * @module
 */
import { type Endpoint, formatEndpoint, formatHostPort } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import { closeQuietly } from "../host/close_quietly.ts";
import { requireEndpoint } from "../host/permissions.ts";
import { HEAD_MAX_BYTES, headEnd } from "./http_head.ts";

/** A request. */
export interface ClientRequest {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Its body, as JSON. */
  readonly body?: unknown;
  /** Ends it at once. */
  readonly signal?: AbortSignal | undefined;
}

/** An answer whose body is still to come. */
export interface ClientAnswer {
  readonly status: number;
  /** The body bit by bit; the connection ends with the iteration. */
  readonly body: AsyncIterableIterator<Uint8Array>;
}

const ANSWER_MS = 10_000;
const ANSWER_MAX_BYTES = 64 * 1024 * 1024;
const READ_BYTES = 65_536;

/**
 * Asks, and reads the head of the answer.
 *
 * @throws {GatewayError} With code `no-gateway` where nobody answers.
 */
export async function openAnswer(
  endpoint: Endpoint,
  request: ClientRequest,
): Promise<ClientAnswer> {
  const conn = await connect(endpoint);
  const onAbort = () => closeQuietly(conn);
  request.signal?.addEventListener("abort", onAbort);
  const leave = () => {
    request.signal?.removeEventListener("abort", onAbort);
    closeQuietly(conn);
  };
  const timer = setTimeout(onAbort, ANSWER_MS);
  try {
    if (request.signal?.aborted) onAbort();
    await writeAll(conn, requestBytes(endpoint, request));
    const { status, lengthBytes, rest } = await readHead(conn, endpoint);
    return { status, body: bodyOf(conn, rest, lengthBytes, leave) };
  } catch (error) {
    leave();
    if (error instanceof GatewayError) throw error;
    throw noGateway(endpoint, "it ended the connection, or did not answer in time", error);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks, and reads the whole answer.
 *
 * @throws {GatewayError} With code `no-gateway` where nobody answers.
 */
export async function wholeAnswer(
  endpoint: Endpoint,
  request: ClientRequest,
): Promise<{ status: number; body: Uint8Array }> {
  const ending = new AbortController();
  const onAbort = () => ending.abort();
  request.signal?.addEventListener("abort", onAbort);
  const timer = setTimeout(onAbort, ANSWER_MS);
  try {
    if (request.signal?.aborted) onAbort();
    const { status, body } = await openAnswer(endpoint, { ...request, signal: ending.signal });
    const bytes = await joinAtMost(endpoint, body);
    if (ending.signal.aborted) throw noGateway(endpoint, "it did not answer in time");
    return { status, body: bytes };
  } finally {
    clearTimeout(timer);
    request.signal?.removeEventListener("abort", onAbort);
  }
}

async function joinAtMost(
  endpoint: Endpoint,
  body: AsyncIterable<Uint8Array>,
): Promise<Uint8Array> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (bytes > ANSWER_MAX_BYTES) throw noGateway(endpoint, "its answer does not end");
    parts.push(part as Uint8Array<ArrayBuffer>);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The error of an endpoint where no gateway answers. */
export function noGateway(endpoint: Endpoint, why: string, cause?: unknown): GatewayError {
  return new GatewayError(
    "no-gateway",
    `no gateway answers on ${formatEndpoint(endpoint)}: ${why}`,
    { hint: `Start one with: run --control ${formatEndpoint(endpoint)}`, cause },
  );
}

async function connect(endpoint: Endpoint): Promise<Deno.Conn> {
  requireEndpoint(endpoint, "connect to");
  try {
    return endpoint.transport === "unix"
      ? await Deno.connect({ transport: "unix", path: endpoint.path })
      : await Deno.connect({ hostname: endpoint.hostname, port: endpoint.port });
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : error instanceof Deno.errors.ConnectionRefused
      ? "nothing listens there"
      : error instanceof Deno.errors.PermissionDenied
      ? "the system does not permit it; it is another user's"
      : (error as Error).message;
    throw noGateway(endpoint, why, error);
  }
}

function requestBytes(endpoint: Endpoint, { method, path, headers, body }: ClientRequest) {
  const encoder = new TextEncoder();
  const content = body === undefined ? null : encoder.encode(JSON.stringify(body));
  const host = endpoint.transport === "unix"
    ? "localhost"
    : formatHostPort(endpoint.hostname, endpoint.port);
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${host}`,
    "Connection: close",
    ...Object.entries(headers ?? {}).map(([name, value]) => `${name}: ${value}`),
  ];
  if (content !== null) {
    lines.push("Content-Type: application/json", `Content-Length: ${content.length}`);
  }
  const head = encoder.encode(`${lines.join("\r\n")}\r\n\r\n`);
  if (content === null) return head;
  const whole = new Uint8Array(head.length + content.length);
  whole.set(head);
  whole.set(content, head.length);
  return whole;
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

/** Reads up to the end of the answer's head. */
async function readHead(
  conn: Deno.Conn,
  endpoint: Endpoint,
): Promise<{ status: number; lengthBytes: number; rest: Uint8Array }> {
  const buffer = new Uint8Array(HEAD_MAX_BYTES);
  for (let have = 0; have < buffer.length;) {
    const count = await conn.read(buffer.subarray(have));
    if (count === null) throw noGateway(endpoint, "it ended the connection without an answer");
    const end = headEnd(buffer.subarray(0, have + count), have - 3);
    have += count;
    if (end < 0) continue;
    const head = new TextDecoder("latin1").decode(buffer.subarray(0, end));
    const [, status] = /^HTTP\/1\.[01] ([0-9]{3})(?: |\r|$)/.exec(head) ?? [];
    const [, length] = /\r\ncontent-length: *([0-9]{1,15}) *(?:\r|$)/i.exec(head) ?? [];
    if (status === undefined || /\r\ntransfer-encoding:/i.test(head)) break;
    return {
      status: Number(status),
      lengthBytes: length === undefined ? Infinity : Number(length),
      rest: buffer.slice(end + 4, have),
    };
  }
  throw noGateway(endpoint, "what answers there is no gateway's control interface");
}

async function* bodyOf(
  conn: Deno.Conn,
  rest: Uint8Array,
  lengthBytes: number,
  leave: () => void,
): AsyncGenerator<Uint8Array> {
  try {
    let left = lengthBytes - rest.length;
    if (rest.length > 0) yield rest;
    const buffer = new Uint8Array(READ_BYTES);
    while (left > 0) {
      // What ends a stream that has no length is its end, in whichever way.
      const count = await conn.read(buffer).catch(() => null);
      if (count === null) return;
      left -= count;
      yield buffer.slice(0, count);
    }
  } finally {
    leave();
  }
}
