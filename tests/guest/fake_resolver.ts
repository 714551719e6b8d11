/**
 * The upstream resolver of the DNS tests: a few names of every kind that matters, over UDP and TCP
 * on one port of 127.0.0.1. It truncates as a resolver does: what does not fit into the size that
 * the question announces (512 bytes without EDNS) is left out and TC is set.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import packet from "dns-packet";

/** The text of `long.test`: above 512 bytes, below the 1,232 that dig announces. */
export const LONG_TEXT: readonly string[] = ["a", "b", "c"].map((letter) => letter.repeat(250));
/** The text of `huge.test`: above what any UDP answer here may carry. */
export const HUGE_TEXT: readonly string[] = Array.from(
  { length: 16 },
  (_, i) => String.fromCharCode(97 + i).repeat(250),
);

/** The package's name for a type that it does not know: 65 is HTTPS. */
const HTTPS = "UNKNOWN_65";

/** RFC 9460: priority 1, target ".", alpn (key 1) = "h2". */
const HTTPS_RDATA = Uint8Array.from([0, 1, 0, 0, 1, 0, 3, 2, 0x68, 0x32]);

// deno-lint-ignore no-explicit-any -- the package comes without types
type Answer = any;

/** Records by their names in lower case, each as the package has it, without the name. */
export type RecordTable = Record<string, Answer[]>;

const RECORDS: RecordTable = {
  "a.test": [{ type: "A", data: "203.0.113.7" }],
  "aaaa.test": [{ type: "AAAA", data: "2001:db8::7" }],
  "alias.test": [{ type: "CNAME", data: "a.test" }],
  "long.test": [{ type: "TXT", data: LONG_TEXT }],
  "huge.test": [{ type: "TXT", data: HUGE_TEXT }],
  "svc.test": [{ type: HTTPS, data: Buffer.from(HTTPS_RDATA) }],
};

/** A question as it came in. */
export interface Question {
  /** The name as it was spelled. */
  name: string;
  /** The type's name. */
  type: string;
  /** How it came. */
  over: "udp" | "tcp";
}

/** A running resolver. */
export interface FakeResolver extends AsyncDisposable {
  /** Its port of 127.0.0.1, UDP and TCP. */
  readonly port: number;
  /** Every question so far. */
  readonly questions: Question[];
}

/** What answers questions, whichever way they come. */
interface Answerer {
  readonly records: RecordTable;
  readonly heard: (question: Question) => void;
}

/** The records that answer a question, aliases followed. */
function matching(records: RecordTable, name: string, type: string): Answer[] {
  const found = (records[name.toLowerCase()] ?? [])
    .filter((record) => record.type === type || record.type === "CNAME")
    .map((record) => ({ ttl: 60, ...record, name, class: "IN" }));
  const alias = found.find((record) => record.type === "CNAME");
  return alias === undefined ? found : [...found, ...matching(records, alias.data, type)];
}

function answer(query: Uint8Array, over: "udp" | "tcp", answerer: Answerer): Uint8Array {
  const { id, questions: asked = [], additionals = [] } = packet.decode(Buffer.from(query));
  const question = asked[0]!;
  const { records, heard } = answerer;
  heard({ name: question.name, type: question.type, over });
  const name = question.name.toLowerCase();
  const recursion = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE;
  const rcode = records[name] === undefined ? 3 : 0;
  const build = (flags: number, answers: Answer[]) =>
    packet.encode({
      type: "response",
      id: id ?? 0,
      flags: recursion | rcode | flags,
      questions: [question],
      answers,
    });
  const whole = build(0, matching(records, question.name, question.type));
  const opt = additionals.find((record: Answer) => record.type === "OPT");
  const limit = Math.max(512, opt?.udpPayloadSize ?? 512);
  return over === "udp" && whole.length > limit ? build(packet.TRUNCATED_RESPONSE, []) : whole;
}

async function serveTcp(conn: Deno.Conn, answerer: Answerer): Promise<void> {
  using _closing = conn;
  let have = Buffer.alloc(0);
  const chunk = new Uint8Array(4096);
  for (;;) {
    const count = await conn.read(chunk);
    if (count === null) return;
    have = Buffer.concat([have, chunk.subarray(0, count)]);
    while (have.length >= 2 && have.length >= 2 + have.readUInt16BE()) {
      const end = 2 + have.readUInt16BE();
      const reply = answer(have.subarray(2, end), "tcp", answerer);
      const framed = Buffer.alloc(2 + reply.length);
      framed.writeUInt16BE(reply.length);
      framed.set(reply, 2);
      for (let at = 0; at < framed.length;) at += await conn.write(framed.subarray(at));
      have = have.subarray(end);
    }
  }
}

/** Sockets of both transports at one port: one that is free for TCP may be somebody's for UDP. */
async function onePort(): Promise<[Deno.TcpListener, Socket]> {
  for (let tries = 1;; tries++) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const socket = createSocket("udp4");
    try {
      socket.bind(listener.addr.port, "127.0.0.1");
      await once(socket, "listening");
      return [listener, socket];
    } catch (error) {
      listener.close();
      socket.close();
      if (tries === 16) throw error;
    }
  }
}

/**
 * Starts the resolver.
 *
 * @param records What it knows; one record of every kind that matters when absent.
 * @param onQuestion Hears of each question.
 * @returns The running resolver.
 */
export async function fakeResolver(
  records: RecordTable = RECORDS,
  onQuestion: (question: Question) => void = () => {},
): Promise<FakeResolver> {
  const questions: Question[] = [];
  const answerer: Answerer = {
    records,
    heard: (question) => {
      questions.push(question);
      onQuestion(question);
    },
  };
  const [listener, socket] = await onePort();
  const { port } = listener.addr;
  socket.on("message", (query: Buffer, from: { port: number; address: string }) => {
    socket.send(answer(query, "udp", answerer), from.port, from.address);
  });
  const serving = new Set<Promise<void>>();
  const open = new Set<Deno.Conn>();
  const accepting = (async () => {
    for await (const conn of listener) {
      open.add(conn);
      serving.add(serveTcp(conn, answerer).catch(() => {}).finally(() => open.delete(conn)));
    }
  })();
  return {
    port,
    questions,
    async [Symbol.asyncDispose]() {
      listener.close();
      socket.close();
      await Promise.all([accepting, once(socket, "close")]);
      for (const conn of open) conn.close();
      await Promise.all(serving);
    },
  };
}
