/**
 * A bridge between a guest's end of a frame stream and the gateway that loses the gateway and finds
 * it again, as QEMU does with `reconnect`: the guest's end stays, what it sends meanwhile is lost,
 * and of a frame that had come in part nothing is handed on.
 *
 * @module
 */
import { writeAll } from "../guest/bulk.ts";
import { connect, type LinkEndpoint } from "./faulty_link.ts";

const PREFIX_BYTES = 4;
const READ_BYTES = 1 << 20;

/** Cuts whole frames out of a stream. */
class Frames {
  readonly #buffer = new Uint8Array(2 * READ_BYTES);
  #have = 0;

  /** Reads on: the whole frames that are there, with their lengths; `null` at the end. */
  async next(conn: Deno.Conn): Promise<Uint8Array | null> {
    const count = await conn.read(this.#buffer.subarray(this.#have)).catch(() => null);
    if (count === null) return null;
    this.#have += count;
    const view = new DataView(this.#buffer.buffer);
    let end = 0;
    while (this.#have - end >= PREFIX_BYTES) {
      const next = end + PREFIX_BYTES + view.getUint32(end);
      if (next > this.#have) break;
      end = next;
    }
    const whole = this.#buffer.slice(0, end);
    this.#buffer.copyWithin(0, end, this.#have);
    this.#have -= end;
    return whole;
  }
}

/** The bridge, between one guest and one gateway after another. */
export class CutLink implements AsyncDisposable {
  /** Octets of whole frames that were handed on, to the gateway and to the guest. */
  upBytes = 0;
  downBytes = 0;
  readonly #listener: Deno.Listener;
  readonly #gatewayEndpoint: LinkEndpoint;
  readonly #running: Promise<void>;
  #guest: Deno.Conn | null = null;
  #gateway: Deno.Conn | null = null;
  #down: Promise<void> = Promise.resolve();
  /** The write to the gateway that is under way. */
  #writing: Promise<unknown> = Promise.resolve();

  /** Listens for the guest's end at a path, and goes to the gateway once that has come. */
  constructor(path: string, gatewayEndpoint: LinkEndpoint) {
    this.#gatewayEndpoint = gatewayEndpoint;
    this.#listener = Deno.listen({ transport: "unix", path });
    this.#running = this.#serve();
  }

  /** Cuts the link to the gateway, with `inside` in the middle of a frame. */
  async cut(inside: boolean): Promise<void> {
    const gateway = this.#gateway!;
    this.#gateway = null;
    await this.#writing;
    if (inside) await gateway.write(Uint8Array.of(0, 0, 5, 0xdc, 2, 0x53, 0x4d, 0)).catch(() => {});
    gateway.close();
    await this.#down;
  }

  /** Goes to the gateway again. */
  async join(): Promise<void> {
    const gateway = await connect(this.#gatewayEndpoint);
    this.#gateway = gateway;
    this.#down = this.#carryDown(gateway);
  }

  async #serve(): Promise<void> {
    const guest = await this.#listener.accept().catch(() => null);
    if (guest === null) return;
    this.#guest = guest;
    await this.join();
    const frames = new Frames();
    for (;;) {
      const whole = await frames.next(guest);
      if (whole === null) return;
      const gateway = this.#gateway;
      if (gateway === null) continue;
      this.#writing = writeAll(gateway, whole).catch(() => {});
      await this.#writing;
      this.upBytes += whole.length;
    }
  }

  async #carryDown(gateway: Deno.Conn): Promise<void> {
    const frames = new Frames();
    for (;;) {
      const whole = await frames.next(gateway);
      if (whole === null) return;
      await writeAll(this.#guest!, whole).catch(() => {});
      this.downBytes += whole.length;
    }
  }

  /** Ends all of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of [this.#guest, this.#gateway]) {
      try {
        conn?.close();
      } catch {
        // Closed by its other end.
      }
    }
    await this.#running;
    await this.#down;
  }
}
