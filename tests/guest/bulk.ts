/**
 * Bytes for transfers, the same on both sides without being sent twice: blocks of one pattern, each
 * with its number in front, so that a block lost, repeated or swapped changes the hash.
 *
 * @module
 */
import { createHash } from "node:crypto";

const BLOCK_BYTES = 1024 * 1024;

/** What arrived. */
export interface Received {
  /** How many bytes. */
  bytes: number;
  /** Their SHA-256, in hex. */
  sha256: string;
}

/** The part of a connection that sends. */
type Sender = Pick<Deno.Conn, "write">;
/** The part of a connection that receives. */
type Receiver = Pick<Deno.Conn, "read">;

/** The pattern cut into blocks; each is valid until the next one is asked for. */
function* blocks(count: number): Generator<Uint8Array> {
  const block = new Uint8Array(BLOCK_BYTES);
  const view = new DataView(block.buffer);
  let state = 0x2545f491;
  for (let at = 0; at < BLOCK_BYTES; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    view.setUint32(at, state ^ (state >>> 15));
  }
  for (let number = 0; number * BLOCK_BYTES < count; number++) {
    view.setUint32(0, number);
    yield block.subarray(0, Math.min(BLOCK_BYTES, count - number * BLOCK_BYTES));
  }
}

/**
 * The hash that a receiver of that many bytes must come to.
 *
 * @param bytes How many bytes of the pattern.
 * @returns The count and the SHA-256.
 */
export function expected(bytes: number): Received {
  const hash = createHash("sha256");
  for (const block of blocks(bytes)) hash.update(block);
  return { bytes, sha256: hash.digest("hex") };
}

/** Sends all of a buffer. */
export async function writeAll(conn: Sender, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

/** Sends that many bytes of the pattern. */
export async function sendPattern(conn: Sender, bytes: number): Promise<void> {
  for (const block of blocks(bytes)) await writeAll(conn, block);
}

/** Receives until the peer's FIN. */
export async function receiveAll(conn: Receiver): Promise<Received> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(BLOCK_BYTES);
  let bytes = 0;
  for (;;) {
    const count = await conn.read(buffer);
    if (count === null) return { bytes, sha256: hash.digest("hex") };
    hash.update(buffer.subarray(0, count));
    bytes += count;
  }
}

/** Receives exactly that many bytes. */
export async function readExactly(conn: Receiver, bytes: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(bytes);
  for (let at = 0; at < bytes;) {
    const count = await conn.read(buffer.subarray(at));
    if (count === null) throw new Error(`The peer closed after ${at} of ${bytes} bytes`);
    at += count;
  }
  return buffer;
}

/** What a client asks of the bulk server: a verb and a byte count, padded to a fixed length. */
export interface BulkRequest {
  /**
   * `upload`: the client sends and half-closes, then gets a `Received` as JSON.
   * `download`: the server sends and half-closes, then waits for the client's FIN.
   * `answer-first`: as `download`, but the client sends as much once the server's FIN is there.
   */
  verb: "upload" | "download" | "answer-first";
  /** How many bytes the server sends. */
  bytes: number;
}

const REQUEST_BYTES = 32;

/** Sends a request. */
export async function sendRequest(conn: Sender, request: BulkRequest): Promise<void> {
  const text = `${request.verb} ${request.bytes}`.padEnd(REQUEST_BYTES);
  await writeAll(conn, new TextEncoder().encode(text));
}

/** Receives a request. */
export async function readRequest(conn: Receiver): Promise<BulkRequest> {
  const text = new TextDecoder().decode(await readExactly(conn, REQUEST_BYTES));
  const [verb, bytes] = text.trim().split(" ");
  return { verb: verb as BulkRequest["verb"], bytes: Number(bytes) };
}
