/**
 * One connection of the control interface: one request, one answer, then its end.
 *
 *     head (10 s) ─▶ admitted? ─▶ body (20 s) ─▶ answer (each write 10 s) ─▶ close
 *                        └ no: its fault                  └ a stream: until either side ends it
 *
 * No second request on a connection: nothing is read ahead, so no two parties can disagree about
 * where a request ends, and who is idle holds nothing for long. A fault is answered while the peer
 * may still be sending; what it sends is then read for another 500 ms, else it would not get to see
 * the answer.
 *
 * `Deno.serve` takes any number of connections, waits for ever for a head's second half and can't
 * be shut down while such a one is there, which is why this is here.
 *
 * @module
 */
import { closeQuietly } from "../host/close_quietly.ts";
import { ControlFault } from "./control_fault.ts";
import { HEAD_MAX_BYTES, headEnd, parseHead, type RequestHead } from "./http_head.ts";
import type { RequestTrace } from "./request_trace.ts";

/** Writes a stream's parts; each write ends once the socket has taken it. */
export interface ReplyStream {
  /** Writes; throws where the peer has gone, or has taken nothing for too long. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends the connection at once, also amid a write. */
  close(): void;
  /** Fires where the peer has gone or the server ends. */
  readonly signal: AbortSignal;
}

/** An answer: whole, or written bit by bit by a function that is called in any case. */
export interface HttpReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | ((out: ReplyStream) => Promise<void>);
}

/** What is behind the connections. */
export interface HttpService {
  /**
   * Judges a request by its head, before its body is read.
   *
   * @throws {ControlFault} Where it is not admitted.
   */
  admit(head: RequestHead): void;
  /** Answers a request; what it throws is made into an answer by `fault`. */
  respond(head: RequestHead, body: Uint8Array): HttpReply | Promise<HttpReply>;
  /** Makes an answer of what was thrown. */
  fault(error: unknown): HttpReply;
  /** Begins to trace a request; `null` or absent where none is traced. */
  trace?(head: RequestHead): RequestTrace | null;
}

/** How long each part may take, in milliseconds. */
export interface HttpTimes {
  /** From the connection to the end of the head. */
  readonly headMs: number;
  /** From there to the end of the body. */
  readonly bodyMs: number;
  /** For a write, and so for a peer that reads nothing. */
  readonly writeMs: number;
  /** For what a peer goes on sending that has got its answer. */
  readonly drainMs: number;
}

const TIMES: HttpTimes = { headMs: 10_000, bodyMs: 20_000, writeMs: 10_000, drainMs: 500 };
const DRAIN_MAX_BYTES = 4 * 1024 * 1024;
const SCRATCH_BYTES = 16_384;
const encoder = new TextEncoder();
const CONTINUE = encoder.encode("HTTP/1.1 100 Continue\r\n\r\n");
const LATE = "late";

/** The peer has gone, or is as good as gone. */
class PeerGone extends Error {}

/** A connection from its first byte to its end. */
export class HttpConnection {
  /** When it came. */
  readonly startMs: number = performance.now();
  readonly #conn: Deno.Conn;
  readonly #service: HttpService;
  readonly #times: HttpTimes;
  readonly #gone = new AbortController();
  #trace: RequestTrace | null = null;
  #hasHead = false;
  /** Whether the peer may still be sending what nobody reads. */
  #isUnread = true;
  /** Bytes of the body that came with the head. */
  #rest: Uint8Array = new Uint8Array(0);

  /** Takes a connection over. */
  constructor(conn: Deno.Conn, service: HttpService, times: HttpTimes = TIMES) {
    this.#conn = conn;
    this.#service = service;
    this.#times = times;
  }

  /** Whether the peer has not said yet what it wants. */
  get isIdle(): boolean {
    return !this.#hasHead;
  }

  /** Serves to the end; never rejects. */
  async run(): Promise<void> {
    try {
      const head = await this.#readHead();
      if (head !== null) {
        this.#trace = this.#service.trace?.(head) ?? null;
        const reply = await this.#reply(head);
        this.#trace?.answered(reply.status);
        await this.#send(reply, head.method === "HEAD");
      }
    } catch (error) {
      if (!(error instanceof PeerGone)) await this.#sendFault(error);
    } finally {
      this.#trace?.close();
      this.close();
    }
  }

  /** Ends it at once; can be called again. */
  close(): void {
    this.#gone.abort();
    closeQuietly(this.#conn);
  }

  async #reply(head: RequestHead): Promise<HttpReply> {
    this.#isUnread = head.bodyBytes > 0;
    this.#service.admit(head);
    const body = await this.#readBody(head);
    this.#isUnread = false;
    return await this.#service.respond(head, body);
  }

  /** A request that is wrong, or late: said as far as the peer still listens. */
  async #sendFault(error: unknown): Promise<void> {
    try {
      const reply = this.#service.fault(error);
      this.#trace?.answered(reply.status);
      await this.#send(reply, false);
    } catch {
      // Nobody listens.
    }
  }

  /** The head of the request; `null` where the peer went without one. */
  async #readHead(): Promise<RequestHead | null> {
    const { headMs } = this.#times;
    const endMs = this.startMs + headMs;
    const buffer = new Uint8Array(HEAD_MAX_BYTES + 4);
    for (let have = 0; have < buffer.length;) {
      const count = await this.#read(buffer.subarray(have), endMs);
      if (count === null) {
        if (have === 0) return null;
        throw new PeerGone();
      }
      if (count === LATE) throw late("head", headMs, "End it with an empty line");
      const end = headEnd(buffer.subarray(0, have + count), have - 3);
      have += count;
      if (end < 0) continue;
      this.#hasHead = true;
      this.#rest = buffer.slice(end + 4, have);
      return parseHead(buffer.subarray(0, end));
    }
    throw new ControlFault("head-too-large", `the head has over ${HEAD_MAX_BYTES} bytes`, {
      hint: "Send fewer and shorter headers",
    });
  }

  async #readBody({ headers, bodyBytes }: RequestHead): Promise<Uint8Array> {
    const body = new Uint8Array(bodyBytes);
    body.set(this.#rest.subarray(0, bodyBytes));
    let have = Math.min(this.#rest.length, bodyBytes);
    const waits = headers.get("expect")?.toLowerCase() === "100-continue";
    if (waits && have < bodyBytes) await this.#write(CONTINUE);
    const { bodyMs } = this.#times;
    const endMs = performance.now() + bodyMs;
    while (have < bodyBytes) {
      const count = await this.#read(body.subarray(have), endMs);
      if (count === null) throw new PeerGone();
      if (count === LATE) {
        const came = `${have} of the ${bodyBytes} bytes of Content-Length came`;
        throw late("body", bodyMs, `${came}; send all of them, or say how many there are`);
      }
      have += count;
    }
    return body;
  }

  async #send({ status, headers, body }: HttpReply, isHeadOnly: boolean): Promise<void> {
    const lines = [
      `HTTP/1.1 ${status} ${REASONS[status] ?? "Status"}`,
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
      "Connection: close",
    ];
    // What would be sent with 200 has another length, so 304 says none.
    const hasLength = typeof body !== "function" && status !== 304;
    if (hasLength) lines.push(`Content-Length: ${body.length}`);
    const head = encoder.encode(`${lines.join("\r\n")}\r\n\r\n`);
    if (typeof body !== "function") {
      await this.#write(isHeadOnly ? head : join(head, body));
      return await this.#finish();
    }
    // The function is called in any case: it has something to close.
    let first: Uint8Array | null = head;
    const write = (bytes: Uint8Array): Promise<void> => {
      const whole = first === null ? bytes : join(first, bytes);
      first = null;
      return this.#write(whole);
    };
    void this.#watch();
    await body({ write, close: () => this.close(), signal: this.#gone.signal });
  }

  /** Notices that the reader of a stream leaves. */
  async #watch(): Promise<void> {
    const scratch = new Uint8Array(SCRATCH_BYTES);
    try {
      for (let total = 0; total < DRAIN_MAX_BYTES;) {
        const count = await this.#conn.read(scratch);
        if (count === null) break;
        total += count;
      }
    } catch {
      // It was closed here.
    }
    this.close();
  }

  /** Lets the peer read what it was told, whatever it still sends: unread octets would reset it. */
  async #finish(): Promise<void> {
    if (!this.#isUnread) return;
    const endMs = performance.now() + this.#times.drainMs;
    const scratch = new Uint8Array(SCRATCH_BYTES);
    try {
      await this.#conn.closeWrite();
      for (let total = 0; total < DRAIN_MAX_BYTES;) {
        const count = await this.#read(scratch, endMs);
        if (count === null || count === LATE) return;
        total += count;
      }
    } catch {
      // The peer has closed already.
    }
  }

  async #read(buffer: Uint8Array, endMs: number): Promise<number | null | typeof LATE> {
    const reading = this.#conn.read(buffer).catch(() => null);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<typeof LATE>((resolve) => {
      timer = setTimeout(() => resolve(LATE), Math.max(1, endMs - performance.now()));
    });
    try {
      return await Promise.race([reading, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const timer = setTimeout(() => this.close(), this.#times.writeMs);
      try {
        at += await this.#conn.write(bytes.subarray(at));
      } catch {
        throw new PeerGone();
      } finally {
        clearTimeout(timer);
      }
    }
  }
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}

function late(part: string, ms: number, hint: string): ControlFault {
  return new ControlFault("timeout", `the request's ${part} was not whole after ${ms / 1000} s`, {
    hint,
  });
}

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  304: "Not Modified",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  411: "Length Required",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
};
