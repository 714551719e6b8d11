/**
 * A VMM without a kernel behind it: it writes any bytes on the gateway's stream and collects the
 * frames that come back.
 *
 * @module
 */
import { connect, type LinkEndpoint } from "../support/faulty_link.ts";
import { writeAll } from "./bulk.ts";

/** An open connection to the gateway's endpoint. */
export class RawVmm implements AsyncDisposable {
  /** Frames of the gateway so far. */
  readonly frames: Uint8Array[] = [];
  /** Whether the gateway has closed the stream. */
  closedByGateway = false;
  readonly #conn: Deno.Conn;
  readonly #reading: Promise<void>;

  private constructor(conn: Deno.Conn) {
    this.#conn = conn;
    this.#reading = this.#read();
  }

  /** Connects as a VMM would. */
  static async connect(endpoint: LinkEndpoint): Promise<RawVmm> {
    return new RawVmm(await connect(endpoint));
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(1 << 20);
    let have = 0;
    for (;;) {
      const count = await this.#conn.read(buffer.subarray(have)).catch(() => null);
      if (count === null) break;
      have += count;
      let at = 0;
      while (have - at >= 4) {
        const end = at + 4 + new DataView(buffer.buffer, at).getUint32(0);
        if (end > have) break;
        this.frames.push(buffer.slice(at + 4, end));
        at = end;
      }
      buffer.copyWithin(0, at, have);
      have -= at;
    }
    this.closedByGateway = true;
  }

  /** Writes bytes as they are. */
  async sendBytes(...bytes: number[]): Promise<void> {
    await writeAll(this.#conn, Uint8Array.from(bytes));
  }

  /** Writes one frame, with its length in front. */
  async send(frame: Uint8Array): Promise<void> {
    const framed = new Uint8Array(4 + frame.length);
    new DataView(framed.buffer).setUint32(0, frame.length);
    framed.set(frame, 4);
    await writeAll(this.#conn, framed);
  }

  /** Closes the stream. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#conn.close();
    await this.#reading;
  }
}
