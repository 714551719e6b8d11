/**
 * The VMM's end of each transport, written after its own documents rather than after the gateway's
 * code, so that the two check each other.
 *
 * @module
 */
import type { FrameTransport } from "../../lib/host/frame_transport.ts";

/** Splits a stream of frames behind 4-byte lengths, whatever the pieces. */
class Frames {
  #held: number[] = [];

  /** The frames that are whole with these bytes. */
  add(bytes: Uint8Array): Uint8Array<ArrayBuffer>[] {
    const all = Uint8Array.from([...this.#held, ...bytes]);
    const view = new DataView(all.buffer);
    const frames: Uint8Array<ArrayBuffer>[] = [];
    let at = 0;
    while (all.length - at >= 4 && all.length - at - 4 >= view.getUint32(at)) {
      const end = at + 4 + view.getUint32(at);
      frames.push(all.slice(at + 4, end));
      at = end;
    }
    this.#held = [...all.subarray(at)];
    return frames;
  }
}

/** What `put` has received, for a reader that takes any number of bytes. */
class Inbox {
  readonly #chunks: Uint8Array[] = [];
  #wake = () => {};
  #ended = false;

  put(frame: Uint8Array): void {
    const bytes = new Uint8Array(4 + frame.length);
    new DataView(bytes.buffer).setUint32(0, frame.length);
    bytes.set(frame, 4);
    this.#chunks.push(bytes);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#chunks.length === 0) {
      if (this.#ended) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const chunk = this.#chunks[0]!;
    const count = Math.min(chunk.length, into.length);
    into.set(chunk.subarray(0, count));
    if (count === chunk.length) this.#chunks.shift();
    else this.#chunks[0] = chunk.subarray(count);
    return count;
  }
}

/** vfkit's or QEMU's end: a datagram socket of its own, a frame a datagram. */
export function datagramEnd(own: string, gateway: string, kind: "vfkit" | "qemu"): FrameTransport {
  const program = new URL("./unixgram_end.py", import.meta.url).pathname;
  const child = new Deno.Command("python3", {
    args: [program, own, gateway, kind],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  return pipeEnd(child);
}

/** hyperkit's end: greeting, command, the link's answer, then frames behind 2 bytes. */
export async function hyperkitEnd(conn: Deno.Conn): Promise<FrameTransport & { link: Uint8Array }> {
  const exactly = async (count: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(count);
    for (let at = 0; at < count;) {
      const read = await conn.read(bytes.subarray(at));
      if (read === null) throw new Error("the gateway has ended");
      at += read;
    }
    return bytes;
  };
  const writeAll = async (bytes: Uint8Array): Promise<void> => {
    for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
  };
  const hello = new Uint8Array(49);
  hello.set(new TextEncoder().encode("VMN3T"));
  hello[5] = 22;
  await writeAll(hello);
  const answer = await exactly(49);
  if (answer[5] !== 22) throw new Error("another version");
  const command = new Uint8Array(41);
  command[0] = 1;
  command.set(new TextEncoder().encode("01234567-89ab-cdef-0123-456789abcdef"), 1);
  await writeAll(command);
  const link = await exactly(258);
  const frames = new Frames();
  const inbox = new Inbox();
  (async () => {
    for (;;) {
      const [low, high] = await exactly(2);
      inbox.put(await exactly(low! | high! << 8));
    }
  })().catch(() => inbox.end());
  return {
    link,
    read: (into) => inbox.read(into),
    write: async (bytes) => {
      for (const frame of frames.add(bytes)) {
        await writeAll(Uint8Array.of(frame.length & 0xff, frame.length >> 8, ...frame));
      }
      return bytes.length;
    },
    close: () => conn.close(),
  };
}

/** The end of two pipes: a gateway that was started as a program. */
export function pipeEnd(child: Deno.ChildProcess): FrameTransport {
  const reader = child.stdout.getReader();
  const writer = child.stdin.getWriter();
  let held: Uint8Array = new Uint8Array(0);
  return {
    read: async (into) => {
      if (held.length === 0) {
        const { value, done } = await reader.read();
        if (done) return null;
        held = value;
      }
      const count = Math.min(held.length, into.length);
      into.set(held.subarray(0, count));
      held = held.subarray(count);
      return count;
    },
    write: async (bytes) => {
      await writer.write(bytes.slice());
      return bytes.length;
    },
    close: () => {
      writer.close().catch(() => {});
      reader.cancel().catch(() => {});
    },
  };
}
