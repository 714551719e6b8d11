/**
 * The steps of the demo, in their order: what each does, what must come of it, and what was seen.
 *
 * @module
 */
import type { EmbeddedGuest, GuestLease } from "../guest/embedded_guest.ts";
import { GuestError } from "../guest/guest_error.ts";
import type { GuestTcp } from "../guest/guest_tcp.ts";
import type { VirtioNetworkRuntime } from "../runtime.ts";
import type { VirtioNetworkServer } from "../server.ts";
import {
  closedPort,
  type DemoHost,
  KNOWN_ADDRESS,
  KNOWN_NAME,
  LONG_NAME,
  LONG_TEXT,
  PAGE_TEXT,
  writeAll,
} from "./demo_host.ts";
import { headBytes, parseAnswer, requestFor, responseWith } from "./demo_http.ts";

/** What the steps work with. */
export interface DemoWorld {
  readonly host: DemoHost;
  readonly server: VirtioNetworkServer;
  readonly runtime: VirtioNetworkRuntime;
  readonly guest: EmbeddedGuest;
  /** The guest's port that is published. */
  readonly guestPort: number;
  /** Shows how far a step is. */
  readonly progress: (text: string) => void;
}

/** What came of a step. */
export interface DemoSeen {
  /** One line. */
  readonly text: string;
  /** Numbers for the JSON document. */
  readonly figures?: Readonly<Record<string, number>>;
}

/** A step saw something else than it must. */
export class StepFailure extends Error {
  override readonly name = "StepFailure";
}

/** One step. */
export interface DemoStep {
  readonly name: string;
  /** What must be seen. */
  readonly expected: string;
  /** Whether nothing after it can work without it. */
  readonly essential?: boolean;
  /** Runs it; throws `StepFailure` with what was seen instead. */
  run(world: DemoWorld): Promise<DemoSeen>;
}

const GUEST_TEXT = "hello from the guest\n";
const LARGE_PING_BYTES = 8_000;
const REFUSED_WITHIN_MS = 5_000;
const METADATA_ADDRESS = "169.254.169.254";
const GATEWAY_NAME = "host.internal";

/** All steps. */
export const DEMO_STEPS: readonly DemoStep[] = [
  {
    name: "lease",
    expected: "DHCPv4 gives an address, a router and a resolver; IPv6 comes by advertisement",
    essential: true,
    run: takeLease,
  },
  {
    name: "ping",
    expected: `the gateway answers over IPv4 and IPv6, ${LARGE_PING_BYTES} bytes in fragments too`,
    run: pingGateway,
  },
  {
    name: "dns-udp",
    expected: `${KNOWN_NAME} is ${KNOWN_ADDRESS}, ${GATEWAY_NAME} the gateway, ` +
      "a long answer is cut",
    run: askOverUdp,
  },
  {
    name: "dns-tcp",
    expected: `TXT of ${LONG_NAME} comes whole: ${textBytes(LONG_TEXT)} bytes`,
    run: askOverTcp,
  },
  {
    name: "http",
    expected: `the host's web server says ${JSON.stringify(PAGE_TEXT)} over IPv4 and IPv6`,
    run: fetchPage,
  },
  { name: "download", expected: "every byte, the same SHA-256 on both sides", run: download },
  { name: "upload", expected: "every byte, the same SHA-256 on both sides", run: upload },
  {
    name: "publish",
    expected: `a client on the host gets ${JSON.stringify(GUEST_TEXT)} from the guest`,
    run: callPublished,
  },
  { name: "refused", expected: "a port where nothing listens is refused at once", run: tryClosed },
  {
    name: "denied",
    expected: "the host's loopback, cloud metadata and the gateway's own socket are prohibited",
    run: tryForbidden,
  },
  {
    name: "leave",
    expected: "the gateway keeps nothing of the guest and has met no bug",
    run: leave,
  },
];

async function takeLease({ guest }: DemoWorld): Promise<DemoSeen> {
  const lease = await guest.lease();
  const { address, prefix, router, dns, mtu, ip6 } = lease;
  const seen4 = `${address}/${prefix} from ${router}, resolver ${dns.join(", ")}, MTU ${mtu}`;
  const seen6 = ip6 === null ? "no IPv6" : `${ip6.address}/${ip6.prefix} from ${ip6.router}`;
  const isRight = dns.length > 0 && mtu > 0 && ip6 !== null && ip6.address !== "" &&
    ip6.dns.length > 0;
  return check(isRight, `${seen4}; ${seen6}`);
}

async function pingGateway({ guest }: DemoWorld): Promise<DemoSeen> {
  const addresses = gatewayAddresses(guest);
  const seen: string[] = [];
  for (const address of addresses) seen.push(`${address} in ${ms(await guest.ping(address))}`);
  for (const address of addresses) await guest.ping(address, LARGE_PING_BYTES);
  return { text: `${seen.join(", ")}; ${LARGE_PING_BYTES} bytes too` };
}

async function askOverUdp({ guest }: DemoWorld): Promise<DemoSeen> {
  const known = await guest.resolve(KNOWN_NAME, "A");
  const own = await guest.resolve(GATEWAY_NAME, "A");
  const long = await guest.resolve(LONG_NAME, "TXT");
  const data = [known, own].map(({ answers }) => String(answers[0]?.data ?? "nothing"));
  const isRight = data[0] === KNOWN_ADDRESS && data[1] === leaseOf(guest).router &&
    long.isTruncated;
  return check(
    isRight,
    `${KNOWN_NAME} ${known.code} ${data[0]}, ${GATEWAY_NAME} ${own.code} ${data[1]}, ` +
      `${LONG_NAME} ${long.isTruncated ? "cut" : "not cut"}`,
  );
}

async function askOverTcp({ guest }: DemoWorld): Promise<DemoSeen> {
  const reply = await guest.resolve(LONG_NAME, "TXT", { transport: "tcp" });
  const strings = (reply.answers[0]?.data ?? []) as Uint8Array[];
  const text = strings.map((each) => new TextDecoder().decode(each));
  const isRight = text.join("") === LONG_TEXT.join("");
  return check(
    isRight,
    `${LONG_NAME} ${reply.code}, ${textBytes(text)} bytes of text in a message of ${reply.bytes}`,
  );
}

async function fetchPage({ guest, host }: DemoWorld): Promise<DemoSeen> {
  const seen: string[] = [];
  let isRight = true;
  for (const address of gatewayAddresses(guest)) {
    using connection = await guest.connect(address, host.webPort);
    await connection.write(requestFor("host.internal", "/"));
    const { status, text } = parseAnswer(await connection.readAll());
    connection.finish();
    isRight &&= status === 200 && text === PAGE_TEXT;
    seen.push(`${url(address, host.webPort)} ${status} ${JSON.stringify(text)}`);
  }
  return check(isRight, seen.join(", "));
}

async function download({ guest, host, progress }: DemoWorld): Promise<DemoSeen> {
  const { blocks } = host;
  const digest = blocks.digest();
  using connection = await guest.connect(leaseOf(guest).router, host.sourcePort);
  const startMs = performance.now();
  while (await digest.fill((into) => connection.read(into)) !== null) {
    progress(`${megabytes(digest.totalBytes)} of ${megabytes(blocks.totalBytes)}`);
  }
  const elapsedMs = performance.now() - startMs;
  connection.finish();
  return judgeTransfer(digest.totalBytes, elapsedMs, await digest.finish(), blocks);
}

async function upload({ guest, host, progress }: DemoWorld): Promise<DemoSeen> {
  const { blocks } = host;
  using connection = await guest.connect(leaseOf(guest).router, host.sinkPort);
  const startMs = performance.now();
  for (let i = 0; i < blocks.count; i++) {
    const block = blocks.block(i);
    await connection.write(block);
    progress(`${megabytes((i + 1) * block.length)} of ${megabytes(blocks.totalBytes)}`);
  }
  connection.finish();
  const digest = await connection.readAll();
  return judgeTransfer(blocks.totalBytes, performance.now() - startMs, digest, blocks);
}

function judgeTransfer(
  bytes: number,
  elapsedMs: number,
  digest: Uint8Array,
  blocks: DemoHost["blocks"],
): DemoSeen {
  const bitsPerSecond = Math.round(bytes * 8 / elapsedMs * 1000);
  const seen = hex(digest);
  const isRight = bytes === blocks.totalBytes && seen === hex(blocks.expected);
  const text = `${megabytes(bytes)} in ${(elapsedMs / 1000).toFixed(2)} s, ` +
    `${(bitsPerSecond / 1e9).toFixed(2)} Gbit/s, SHA-256 ${seen.slice(0, 12)}… ` +
    (isRight ? "on both sides" : `instead of ${hex(blocks.expected).slice(0, 12)}…`);
  return { ...check(isRight, text), figures: { bytes, bitsPerSecond } };
}

async function callPublished({ guest, guestPort, server }: DemoWorld): Promise<DemoSeen> {
  const [published] = server.published;
  if (published === undefined) throw new StepFailure("no port was published");
  const stop = guest.listen(guestPort, (connection) => {
    serveText(connection, GUEST_TEXT).catch(() => connection.close());
  });
  const { bind, hostPort } = published;
  const client = await Deno.connect({ hostname: bind, port: hostPort });
  try {
    await writeAll(client, requestFor(bind, "/"));
    const body = new Uint8Array(await new Response(client.readable).arrayBuffer());
    const { status, text } = parseAnswer(body);
    const seen = `${url(bind, hostPort)} → guest port ${guestPort}: ${status} ` +
      JSON.stringify(text);
    return check(status === 200 && text === GUEST_TEXT, seen);
  } finally {
    stop();
  }
}

/** The guest's web server, for one request. */
async function serveText(connection: GuestTcp, text: string): Promise<void> {
  const bytes = new Uint8Array(4096);
  let length = 0;
  while (headBytes(bytes.subarray(0, length)) < 0) {
    const count = await connection.read(bytes.subarray(length));
    if (count === null || count === 0) break;
    length += count;
  }
  await connection.write(responseWith(text));
  connection.finish();
}

async function tryClosed({ guest }: DemoWorld): Promise<DemoSeen> {
  const { router } = leaseOf(guest);
  const port = closedPort();
  const startMs = performance.now();
  const seen = await outcome(guest, router, port);
  const elapsedMs = performance.now() - startMs;
  return check(
    seen === "refused" && elapsedMs < REFUSED_WITHIN_MS,
    `${router} port ${port}: ${seen} after ${ms(elapsedMs)}`,
  );
}

async function tryForbidden({ guest, host, server }: DemoWorld): Promise<DemoSeen> {
  const { endpoint } = server;
  const framePort = endpoint.transport === "tcp" ? endpoint.port : 0;
  const forbidden: [address: string, port: number, what?: string][] = [
    ["127.0.0.1", host.webPort],
    ["0.0.0.0", host.webPort],
    ["::1", host.webPort],
    ["::ffff:127.0.0.1", host.webPort],
    [METADATA_ADDRESS, 80],
    [leaseOf(guest).router, framePort, "the gateway's own socket"],
  ];
  const prohibited: string[] = [];
  const others: string[] = [];
  for (const [address, port, what] of forbidden) {
    const result = await outcome(guest, address, port);
    if (result === "prohibited") prohibited.push(what ?? address);
    else others.push(`${address} port ${port} ${result}`);
  }
  return check(others.length === 0, [...others, `prohibited: ${prohibited.join(", ")}`].join("; "));
}

async function leave({ guest, runtime }: DemoWorld): Promise<DemoSeen> {
  await guest.close();
  await runtime.finished;
  const { tcpFlows, udpFlows, timers, relays, dials, bufferBytes } = runtime.figures();
  const left = tcpFlows + udpFlows + timers + relays + dials;
  const bugs = runtime.counters()["bug.turn"] ?? 0;
  return check(
    left === 0 && bufferBytes === 0 && bugs === 0,
    `${left} flows and timers, ${bufferBytes} bytes of buffers, ${bugs} bugs`,
  );
}

// ---- Small things ---------------------------------------------------------------------------

/** What comes of a connect: the kind of failure, or `connected`. */
async function outcome(guest: EmbeddedGuest, address: string, port: number): Promise<string> {
  try {
    (await guest.connect(address, port)).close();
    return "connected";
  } catch (error) {
    if (error instanceof GuestError) return error.code;
    throw error;
  }
}

function check(isRight: boolean, text: string): DemoSeen {
  if (!isRight) throw new StepFailure(text);
  return { text };
}

function leaseOf(guest: EmbeddedGuest): GuestLease {
  if (guest.currentLease === null) throw new StepFailure("the guest has no lease");
  return guest.currentLease;
}

/** The gateway's addresses: the router over IPv4, the resolver over IPv6. */
function gatewayAddresses(guest: EmbeddedGuest): string[] {
  const { router, ip6 } = leaseOf(guest);
  return ip6 === null ? [router] : [router, ...ip6.dns];
}

function url(address: string, port: number): string {
  return `http://${address.includes(":") ? `[${address}]` : address}:${port}/`;
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

function textBytes(strings: readonly string[]): number {
  return strings.reduce((sum, text) => sum + text.length, 0);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (octet) => octet.toString(16).padStart(2, "0")).join("");
}
