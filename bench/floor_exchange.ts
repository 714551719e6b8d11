/**
 * The floor under small exchanges: one byte to a host and back, on one connection (`exchange`) or
 * on a new one each time (`connects`).
 *
 *     rr    frame in → write; read → frame out                      six system calls with the waits
 *     crr   frame in → connect → frame out; frame in → write; read → frame out → close
 *     crr.fin   as crr, but: → frame in → shut down; end of the host → close, frame out
 *
 * Reads are pending before their bytes come, as the gateway's are, and nothing waits for a write.
 *
 * @module
 */
import type { FloorEnds } from "./support/floor_ends.ts";
import {
  FrameReader,
  FrameWriter,
  Layout,
  STREAM_AT,
  TCP_HEADERS_BYTES,
} from "./support/floor_wire.ts";

const SMALL_FRAMES_BYTES = 256 * 1024;
/** What the gateway's send buffer begins with. */
const HOST_READ_BYTES = 1024;
const STEP_OPEN = 0;
const STEP_DATA = 1;
const STEP_FINISH = 2;
const nothing = () => {};

/** One byte there and back, again and again. */
export async function exchange(ends: FloorEnds): Promise<void> {
  const layout = new Layout(64);
  const writer = new FrameWriter(ends.vmm, layout, SMALL_FRAMES_BYTES, nothing);
  const [host] = await ends.connectTcp(1);
  const into = new Uint8Array(HOST_READ_BYTES);
  const answer = (count: number | null): void => {
    if (count === null) return;
    host!.read(into).then(answer, nothing);
    writer.small(STEP_DATA, 0, count);
    writer.flush();
  };
  host!.read(into).then(answer, nothing);
  const { bytes } = layout.memory;
  await new FrameReader(ends.vmm, layout).run((at, length) => {
    host!.write(bytes.subarray(at + TCP_HEADERS_BYTES, at + length)).catch(nothing);
  }, nothing);
}

/** A connection that the guest has asked for. */
class Connection {
  #host: Deno.TcpConn | null = null;
  #isClosed = false;
  readonly #writer: FrameWriter;
  readonly #finishes: boolean;
  readonly #into = new Uint8Array(HOST_READ_BYTES);

  constructor(writer: FrameWriter, finishes: boolean) {
    this.#writer = writer;
    this.#finishes = finishes;
  }

  async open(port: number): Promise<void> {
    const host = await Deno.connect({ hostname: "127.0.0.1", port });
    host.setNoDelay(true);
    host.setKeepAlive(true);
    this.#host = host;
    host.read(this.#into).then((count) => this.#answer(count), nothing);
    this.#send(STEP_OPEN, 0);
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    this.#host!.write(data).catch(nothing);
  }

  /** The guest has finished. */
  finish(): void {
    if (!this.#isClosed) this.#host!.closeWrite().catch(nothing);
  }

  #answer(count: number | null): void {
    if (count === null) return this.#close();
    this.#send(STEP_DATA, count);
    if (!this.#finishes) return this.#close();
    this.#host!.read(this.#into).then(() => {
      this.#close();
      this.#send(STEP_FINISH, 0);
    }, nothing);
  }

  #close(): void {
    this.#isClosed = true;
    this.#host!.close();
  }

  #send(step: number, dataBytes: number): void {
    this.#writer.small(step, 0, dataBytes);
    this.#writer.flush();
  }
}

/** A connection, one byte there and back, and the end, again and again. */
export async function connects(ends: FloorEnds, finishes: boolean): Promise<void> {
  const layout = new Layout(64);
  const writer = new FrameWriter(ends.vmm, layout, SMALL_FRAMES_BYTES, nothing);
  const { bytes, view } = layout.memory;
  let connection = new Connection(writer, finishes);
  await new FrameReader(ends.vmm, layout).run((at, length) => {
    const step = view.getUint16(at + STREAM_AT);
    if (step === STEP_OPEN) {
      connection = new Connection(writer, finishes);
      connection.open(ends.tcpPort).catch((error) => ends.fail(error));
    } else if (step === STEP_FINISH) {
      connection.finish();
    } else {
      connection.send(bytes.subarray(at + TCP_HEADERS_BYTES, at + length));
    }
  }, nothing);
}
