/** One connection over real sockets: its times, its end, and octets that come as they like. */
import { assert, assertEquals } from "@std/assert";
import { ControlFault } from "../../lib/control/control_fault.ts";
import {
  HttpConnection,
  type HttpReply,
  type HttpService,
  type HttpTimes,
} from "../../lib/control/http_connection.ts";
import { tcpPair } from "../support/guest_rig.ts";
import { parseAnswer, type RawAnswer, readAll } from "./control_rig.ts";

/** What no test waits for: where it is about a time, that one is short, and no other. */
const PATIENCE_MS = 60_000;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Says what it was asked. */
class Echo implements HttpService {
  asked = 0;
  body: HttpReply["body"] | null = null;

  admit(): void {
    this.asked++;
  }

  respond({ method, path }: { method: string; path: string }, body: Uint8Array): HttpReply {
    const text = encoder.encode(`${method} ${path} ${decoder.decode(body)}`);
    return { status: 200, headers: {}, body: this.body ?? text };
  }

  fault(error: unknown): HttpReply {
    const status = error instanceof ControlFault ? error.status : 500;
    const { message, hint } = error as ControlFault;
    return {
      status,
      headers: {},
      body: encoder.encode(hint === "" ? message : `${message}. ${hint}`),
    };
  }
}

async function open(
  service: HttpService,
  short: Partial<HttpTimes> = {},
): Promise<{ peer: Deno.TcpConn; ended: Promise<void> }> {
  const [peer, conn] = await tcpPair();
  const times: HttpTimes = {
    headMs: PATIENCE_MS,
    bodyMs: PATIENCE_MS,
    writeMs: PATIENCE_MS,
    drainMs: PATIENCE_MS,
    ...short,
  };
  return { peer, ended: new HttpConnection(conn, service, times).run() };
}

async function ask(parts: (string | number)[], short?: Partial<HttpTimes>): Promise<RawAnswer> {
  const { peer, ended } = await open(new Echo(), short);
  for (const part of parts) {
    if (typeof part === "string") await peer.write(encoder.encode(part));
    else await new Promise((resolve) => setTimeout(resolve, part));
  }
  const answer = parseAnswer(await readAll(peer));
  peer.close();
  await ended;
  return answer;
}

const HEAD = "POST /a HTTP/1.1\r\nHost: b\r\n";

Deno.test("octets may come in any split", async () => {
  const whole = `${HEAD}Content-Length: 5\r\n\r\nhello`;
  for (let at = 0; at <= whole.length; at += 7) {
    const answer = await ask([whole.slice(0, at), 1, whole.slice(at)]);
    assertEquals([answer.status, answer.text], [200, "POST /a hello"], `split at ${at}`);
    assertEquals(answer.headers.get("connection"), "close");
  }
});

Deno.test("a head or a body that does not come is given up with 408", async () => {
  for (const part of ["", "POST", HEAD, `${HEAD}Content-Length: 5\r\n\r\nhell`]) {
    const isBody = part.endsWith("hell");
    const { status, text } = await ask([part], isBody ? { bodyMs: 100 } : { headMs: 100 });
    assertEquals(status, 408, part);
    const [message, hint = ""] = text.split(". ");
    assertEquals(message, `the request's ${isBody ? "body" : "head"} was not whole after 0.1 s`);
    assert(hint.startsWith(isBody ? "4 of the 5 bytes of Content-Length" : "End it with"), text);
  }
});

Deno.test("a peer that sends an octet now and then has no more time than others", async () => {
  const { peer, ended } = await open(new Echo(), { headMs: 100 });
  let isAllSent = false;
  const sending = (async () => {
    for (const char of HEAD.repeat(10)) {
      await peer.write(encoder.encode(char));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    isAllSent = true;
  })().catch(() => {});
  const { status } = parseAnswer(await readAll(peer));
  assertEquals([status, isAllSent], [408, false]);
  peer.close();
  await ended;
  await sending;
});

Deno.test("who goes without a word costs nothing, nor does who goes amid a request", async () => {
  for (const part of ["", "POST", `${HEAD}Content-Length: 5\r\n\r\n`]) {
    const service = new Echo();
    const { peer, ended } = await open(service);
    if (part !== "") await peer.write(encoder.encode(part));
    peer.close();
    await ended;
    assertEquals(service.asked, part.includes("Length") ? 1 : 0);
  }
});

Deno.test("a second request on a connection is not looked at", async () => {
  const { status, text } = await ask([`${HEAD}\r\n${HEAD}\r\n`]);
  assertEquals([status, text], [200, "POST /a "]);
});

Deno.test("a body that is refused does not keep its sender from reading why", async () => {
  const service = new Echo();
  service.admit = () => {
    throw new ControlFault("forbidden", "no");
  };
  const { peer, ended } = await open(service);
  await peer.write(encoder.encode(`${HEAD}Content-Length: 900000\r\n\r\n`));
  const sending = (async () => {
    const bytes = new Uint8Array(900_000);
    for (let at = 0; at < bytes.length;) at += await peer.write(bytes.subarray(at));
  })().catch(() => {});
  const { status, text } = parseAnswer(await readAll(peer));
  assertEquals([status, text], [403, "no"]);
  await sending;
  peer.close();
  await ended;
});

Deno.test("a peer that reads nothing is left, whole answers and streams alike", async () => {
  const chunk = new Uint8Array(64 * 1024 * 1024);
  let closed = 0;
  const stream: HttpReply["body"] = async ({ write, signal }) => {
    try {
      while (!signal.aborted) await write(chunk.subarray(0, 1024 * 1024));
    } finally {
      closed++;
    }
  };
  for (const body of [chunk, stream]) {
    const service = new Echo();
    service.body = body;
    const { peer, ended } = await open(service, { writeMs: 100 });
    await peer.write(encoder.encode(`${HEAD}\r\n`));
    await ended;
    peer.close();
  }
  assertEquals(closed, 1);
});

Deno.test("a stream's function is called also where its peer has gone, and hears of it", async () => {
  let heard = false;
  const service = new Echo();
  service.body = async ({ signal, write }) => {
    await write(encoder.encode("x"));
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    heard = true;
  };
  const { peer, ended } = await open(service);
  await peer.write(encoder.encode(`${HEAD}\r\n`));
  await peer.read(new Uint8Array(1000));
  peer.close();
  await ended;
  assert(heard);
});
