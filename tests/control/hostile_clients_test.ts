/** Clients of the control interface that mean ill, or do not mean it: many, slow, deaf, malformed. */
import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { KEPT_EVENTS, READERS_MAX } from "../../lib/control/event_feed.ts";
import { BODY_MAX_BYTES } from "../../lib/control/http_head.ts";
import { ROUTES } from "../../lib/control/routes.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import { GATEWAY4, pattern } from "../support/packets.ts";
import { ControlRig, parseAnswer, readAll } from "./control_rig.ts";

const encoder = new TextEncoder();
const EVENTS = "GET /v1/events HTTP/1.1\r\nHost: a\r\n";
const SUBSCRIBERS = 1_000;
const SLOW_SENDERS = 500;
const OCTET_MS = 200;
const PIECE_BYTES = 256 * 1024;

/** The first words of a stream; empty where it has ended. */
async function firstWords(conn: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(4_096);
  const count = await conn.read(buffer).catch(() => null);
  return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
}

/** Connects, as soon as the system's queue of a unix socket has a place. */
async function connectSoon(rig: ControlRig): Promise<Deno.Conn> {
  for (;;) {
    try {
      return await rig.connect();
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      await pause(OCTET_MS);
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

Deno.test("the reader beyond the last place is told how many there are and what to do", async () => {
  await using rig = await ControlRig.open();
  const readers: Deno.Conn[] = [];
  for (let i = 0; i < READERS_MAX; i++) {
    const conn = await rig.connect();
    await conn.write(encoder.encode(`${EVENTS}\r\n`));
    assertEquals(parseAnswer(await firstWords(conn)).status, 200);
    readers.push(conn);
  }
  const { status, headers, text } = await rig.ask("GET", "/v1/events");
  assertEquals([status, headers.get("retry-after")], [503, "5"]);
  assertEquals(JSON.parse(text).error, {
    code: "busy",
    message: "32 readers have the events already, the most",
    hint: "End one of them (denials --follow is one, an open dashboard too), or ask again later",
  });
  assertEquals((await rig.ask("GET", "/v1/status")).status, 200, "all else is answered");
  readers[0]!.close();
  while ((await rig.client.status()).readers === READERS_MAX);
  using late = await rig.connect();
  await late.write(encoder.encode(`${EVENTS}\r\n`));
  assertEquals(parseAnswer(await firstWords(late)).status, 200, "a place that is left is taken");
  for (const conn of readers.slice(1)) conn.close();
});

/** A host's side that sends back what comes. */
async function echo(listener: Deno.TcpListener): Promise<void> {
  using conn = await listener.accept();
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const count = await conn.read(buffer);
    if (count === null) return;
    for (let at = 0; at < count;) at += await conn.write(buffer.subarray(at, count));
  }
}

/** Sends a piece and reads it back, whole. */
async function roundTrip(flow: GuestTcp, piece: Uint8Array): Promise<void> {
  const back = new Uint8Array(piece.length);
  const sent = flow.write(piece);
  for (let at = 0; at < back.length;) {
    const count = await flow.read(back.subarray(at));
    assert(count !== null, "the flow goes on");
    at += count;
  }
  await sent;
  assert(back.every((octet, i) => octet === piece[i]), "octets come back as they were sent");
}

Deno.test("a guest's traffic goes on, whole, under a thousand subscribers and 500 slow senders", async () => {
  await using rig = await ControlRig.open({ hostLoopback: true });
  const guest = await rig.attach();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const echoing = echo(listener);
  const flow = await guest.connect(GATEWAY4, listener.addr.port);
  const conns: Deno.Conn[] = [];
  const statuses: number[] = [];
  let connected = 0;
  let isOver = false;

  const subscribe = async (): Promise<void> => {
    const conn = await connectSoon(rig);
    conns.push(conn);
    await conn.write(encoder.encode(`${EVENTS}\r\n`)).catch(() => {});
    statuses.push(parseAnswer(await firstWords(conn)).status);
  };
  const sendSlowly = async (): Promise<void> => {
    const conn = await connectSoon(rig);
    conns.push(conn);
    connected++;
    try {
      for (const octet of encoder.encode(`${EVENTS}X-Slow: ${"x".repeat(1_000)}`)) {
        if (isOver) return;
        await conn.write(Uint8Array.of(octet));
        await pause(OCTET_MS);
      }
    } catch {
      // It had to make way.
    }
  };
  const crowd = Promise.all([
    ...Array.from({ length: SLOW_SENDERS }, sendSlowly),
    ...Array.from({ length: SUBSCRIBERS }, subscribe),
  ]);
  let pieces = 0;
  while (statuses.length < SUBSCRIBERS || connected < SLOW_SENDERS) {
    await roundTrip(flow, pattern(PIECE_BYTES, pieces++));
  }
  await roundTrip(flow, pattern(PIECE_BYTES, pieces++));
  assertGreater(pieces, 1);
  const [info] = rig.gateway.guest!.flows();
  assertEquals([info!.state, info!.upBytes], ["established", pieces * PIECE_BYTES]);
  isOver = true;
  for (const conn of conns) conn.close();
  await crowd;
  // Each of them was served, told that there is no place, or had to make way.
  assertEquals(statuses.filter((status) => ![0, 200, 503].includes(status)), []);
  // Until it is noticed that they have gone there may be no place.
  while ((await rig.ask("GET", "/healthz")).status !== 200);
  flow.finish();
  await echoing;
  await guest.close();
});

Deno.test("a reader that was shed is told how much it has missed when it comes back", async () => {
  await using rig = await ControlRig.open();
  using deaf = await rig.connect();
  await deaf.write(encoder.encode(`${EVENTS}\r\n`));
  while ((await rig.client.status()).readers === 0);
  let pushed = 0;
  while ((await rig.client.status()).readers > 0) {
    for (let i = 0; i < 200; i++, pushed++) rig.gateway.setPolicy({ deny: [`h${i}.test`] });
  }
  const heard = parseAnswer(await readAll(deaf)).text;
  const last = heard.slice(0, heard.lastIndexOf("\n\n")).match(/^id: .*$/gm)!.at(-1)!.slice(4);
  const seen = Number(last.split("-")[1]);
  assertGreater(pushed, seen + KEPT_EVENTS);

  using back = await rig.connect();
  await back.write(encoder.encode(`${EVENTS}Last-Event-ID: ${last}\r\n\r\n`));
  let text = "";
  while (!text.includes(`-${pushed}\nevent: policy-changed`)) text += await firstWords(back);
  const [lost, next] = text.split("\n\n").filter((part) => part.startsWith("event: ")).concat(
    text.split("\n\n").filter((part) => /^id: .*\nevent: policy-changed/.test(part)),
  );
  const count = pushed - seen - KEPT_EVENTS;
  assertEquals(lost, `event: events-lost\ndata: {"type":"events-lost","count":${count}}`);
  assertMatch(next!, new RegExp(`^id: .*-${seen + count + 1}\n`), "nothing else is missing");
});

Deno.test("malformed and oversized bodies change nothing, whichever path they are sent to", async () => {
  await using rig = await ControlRig.open();
  const before = [rig.gateway.policy, rig.gateway.published, rig.gateway.ownNames()];
  const malformed = [
    "{",
    "nul",
    "[1,",
    '{"a":1}x',
    "{'a':1}",
    '{"a":\u00a01}',
    '"\u0001"',
    "NaN",
  ];
  const meaningless = [
    "null",
    "7",
    '"a"',
    "[]",
    "[".repeat(100_000) + "]".repeat(100_000),
    '{"__proto__":{"target":"a.test"}}',
    '{"constructor":{"prototype":{}}}',
    `{"${"k".repeat(100_000)}":0}`,
  ];
  const taking = ROUTES.filter(({ takes }) => takes !== undefined);
  assertGreater(taking.length, 3);
  for (const { method, path } of taking) {
    const target = path.replaceAll(/\{\w+\}/g, "1");
    const ask = (body: string, headers: Record<string, string> = {}) =>
      rig.ask(method, target, { body, headers });
    for (const body of malformed) {
      const { status, text } = await ask(body);
      assertEquals(status, 400, `${method} ${path} ${body}: ${text}`);
    }
    assertEquals((await ask("", { "Content-Type": "application/json" })).status, 400, "no body");
    for (const body of meaningless) {
      const { status, text } = await ask(body);
      const isRefused = [422, 501].includes(status);
      assert(isRefused, `${method} ${path} ${body.slice(0, 50)}: ${status} ${text}`);
    }
    const large = `"${"x".repeat(BODY_MAX_BYTES - 1)}"`;
    assertEquals((await ask(large)).status, 413, "one byte too many");
    for (const bytes of ["1048577", "999999999999999"]) {
      const { status } = await ask("", {
        "Content-Type": "application/json",
        "Content-Length": bytes,
      });
      assertEquals(status, 413, "it is refused by its head");
    }
    for (const bytes of ["-1", "1e3", "0x10", "1, 1", "9".repeat(30)]) {
      assertEquals((await ask("{}", { "Content-Length": bytes })).status, 400, bytes);
    }
  }
  assertEquals([rig.gateway.policy, rig.gateway.published, rig.gateway.ownNames()], before);
});
