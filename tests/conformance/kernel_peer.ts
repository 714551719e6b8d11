/**
 * A kernel as the guest's peer: the process of `kernel_peer.c`, its verbs as calls and its frames
 * as a callback.
 *
 * @module
 */
import { assert } from "@std/assert";
import { mustRun } from "../guest/program.ts";
import {
  GATEWAY_MAC,
  GUEST4,
  GUEST6,
  GUEST_MAC,
  u16,
  u32,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";

const SOURCE = new URL("./kernel_peer.c", import.meta.url).pathname;
const CALL_MS = 30_000;

let program: Promise<string> | null = null;

/** Compiles the peer once; its folder goes when the test file has run. */
function compiledPeer(): Promise<string> {
  program ??= (async () => {
    const directory = await Deno.makeTempDir({ prefix: "vgpeer-" });
    addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));
    const path = `${directory}/kernel_peer`;
    await mustRun(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, SOURCE]);
    return path;
  })();
  return program;
}

/** What a verb came to. */
export interface Answer {
  /** A count, or a negative error number. */
  result: number;
  bytes: Uint8Array;
}

/** A kernel with a tap and an application, in a namespace of its own. */
export class KernelPeer implements AsyncDisposable {
  /** Called with each Ethernet frame; `prompt` says that it came in direct answer to a verb. */
  onFrame: (frame: Uint8Array, prompt: boolean) => void = () => {};
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reading: Promise<void>;
  readonly #errors: Promise<string>;
  #waiting: ((answer: Answer) => void) | null = null;
  #failure: Error | null = null;

  private constructor(path: string, mtu: number) {
    this.#child = new Deno.Command(path, {
      args: [GATEWAY_MAC, GUEST_MAC, WORLD4, GUEST4, WORLD6, GUEST6, String(mtu)],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#errors = new Response(this.#child.stderr).text();
    this.#reading = this.#read();
  }

  /** Starts one. */
  static async start(mtu: number): Promise<KernelPeer> {
    return new KernelPeer(await compiledPeer(), mtu);
  }

  /** Does one verb; what the kernel sends in answer has been handed over when this returns. */
  async call(verb: string, guestPort: number, rest: Uint8Array | number[] = []): Promise<Answer> {
    assert(this.#waiting === null, "one verb at a time");
    const message = new Uint8Array(4 + 3 + rest.length);
    message.set([...u32(3 + rest.length), verb.charCodeAt(0), ...u16(guestPort)]);
    message.set(rest, 7);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#waiting = resolve;
    const timer = setTimeout(() => reject(new Error(`"${verb}" was not answered`)), CALL_MS);
    try {
      await this.#writer.write(message);
      return await Promise.race([promise, this.#ended()]);
    } finally {
      clearTimeout(timer);
      this.#waiting = null;
    }
  }

  /** Fails when the process ends. */
  async #ended(): Promise<never> {
    await this.#reading;
    throw this.#failure ?? new Error(`the kernel's peer has ended: ${await this.#errors}`);
  }

  async #read(): Promise<void> {
    let rest = new Uint8Array(0);
    for await (const chunk of this.#child.stdout) {
      const bytes = new Uint8Array(rest.length + chunk.length);
      bytes.set(rest);
      bytes.set(chunk, rest.length);
      const view = new DataView(bytes.buffer);
      let at = 0;
      while (bytes.length - at >= 4) {
        const end = at + 4 + view.getUint32(at);
        if (bytes.length < end) break;
        this.#take(bytes.subarray(at + 4, end));
        at = end;
      }
      rest = bytes.slice(at);
    }
  }

  #take(message: Uint8Array): void {
    if (message[0] === "f".charCodeAt(0)) {
      try {
        this.onFrame(message.slice(1), this.#waiting !== null);
      } catch (error) {
        this.#failure ??= error as Error;
      }
      return;
    }
    const result = new DataView(message.buffer, message.byteOffset).getInt32(1);
    this.#waiting?.({ result, bytes: message.slice(5) });
  }

  /** What a frame of the kernel's was found to do wrong, if anything. */
  get failure(): Error | null {
    return this.#failure;
  }

  /** Ends the process, and with it the namespace. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#child.status;
    await this.#reading;
    await this.#errors;
  }
}
