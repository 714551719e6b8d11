/**
 * The captures of one gateway: a file, and streams for whoever asks. They outlast guests, and see
 * one after another.
 *
 * Where there is none, the guest's device has no tap. One is the device's tap by itself, several are
 * behind one that calls them in turn. Limits: `STREAMS_MAX` streams.
 *
 * @module
 */
import { parseCaptureFilter } from "../capture/capture_filter.ts";
import { type NamedAddress, SNAP_MAX_BYTES } from "../capture/pcapng.ts";
import {
  checkCapture,
  DEFAULT_CAPTURE_LIMIT_BYTES,
  earlierCapture,
} from "../config/capture_config.ts";
import { ConfigError, GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { CaptureConfig } from "../config/options.ts";
import type { Denial } from "../policy/denial.ts";
import type { Pin } from "../policy/pins.ts";
import type { FrameTap } from "../stack/device.ts";
import { parseIp } from "../wire/address.ts";
import type { FrameMemory } from "../wire/memory.ts";
import { CaptureFile } from "./capture_file.ts";
import { type CaptureClock, CaptureTap } from "./capture_tap.ts";

/** Most streams at a time. */
export const STREAMS_MAX = 4;

/** How much of a guest's traffic waits for a disk, twice. */
const FILE_BUFFER_BYTES = 4 * 1024 * 1024;

/**
 * What a stream has. For {@linkcode VirtioNetworkServer.capture}.
 */
export interface CaptureOptions {
  /** Which frames, in the words of tcpdump: `tcp port 443 and host 10.0.0.5`. All when absent. */
  filter?: string;
  /** Octets that are kept of each frame, 14 to 262,144. Whole frames when absent. */
  snapLength?: number;
  /** Ends the stream. */
  signal?: AbortSignal;
}

/** A guest's network, as captures need it. */
export interface CapturedNetwork {
  readonly memory: FrameMemory;
  setTap(tap: FrameTap | null): void;
  pins(): readonly Pin[];
}

/** All captures of a gateway. */
export class CaptureSet {
  readonly #clock: CaptureClock;
  readonly #logger: GatewayLogger;
  readonly #taps = new Set<CaptureTap>();
  #network: CapturedNetwork | null = null;
  #streams = 0;
  #file: Promise<void> | null = null;
  #isClosed = false;

  /** Makes one without captures. */
  constructor(clock: CaptureClock, logger: GatewayLogger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  /** How many streams there are. */
  get streams(): number {
    return this.#streams;
  }

  /** A guest has come: it is captured from here on. */
  attach(network: CapturedNetwork): void {
    this.#network = network;
    for (const tap of this.#taps) enter(tap, network);
    this.#apply();
  }

  /** A guest has gone, and its memory with it. */
  detach(network: CapturedNetwork): void {
    network.setTap(null);
    if (this.#network !== network) return;
    this.#network = null;
    for (const tap of this.#taps) tap.memory = null;
  }

  /** Takes note of a refusal, of which the guest is about to be told. */
  denied(denial: Denial): void {
    for (const tap of this.#taps) tap.denied(denial);
  }

  /**
   * Captures to a file, to the end of all captures.
   *
   * @param config The file and its limit, checked already.
   * @throws {GatewayError} Where it can't be made.
   */
  async startFile(config: CaptureConfig & { file: string }): Promise<void> {
    const { file: path, limit = DEFAULT_CAPTURE_LIMIT_BYTES, filter, snapLength } = config;
    const tap = this.#makeTap({ filter, snapLength, bufferBytes: FILE_BUFFER_BYTES });
    const file = await CaptureFile.open({
      path,
      limitBytes: limit,
      tap,
      logger: this.#logger,
      now: this.#clock.now,
    });
    this.#logger.info(`the guest's frames go to ${path}`, {
      earlier: earlierCapture(path),
      limitBytes: limit,
    });
    this.#add(tap);
    this.#file = file.run().then(() => void this.#remove(tap));
  }

  /**
   * Captures from this call on, until the iteration is left, the signal fires or all captures end.
   *
   * @param options Which frames, and how much of each.
   * @returns Blocks of pcapng, whole ones in each array.
   * @throws {ConfigError} Where the filter is none.
   * @throws {GatewayError} With code `busy` where there are too many streams.
   */
  stream(options: CaptureOptions = {}): AsyncIterableIterator<Uint8Array> {
    const { filter, snapLength, signal } = options;
    const problems = checkCapture({ filter, snapLength }, "");
    if (problems.length > 0) throw new ConfigError(problems);
    if (this.#streams >= STREAMS_MAX) {
      throw new GatewayError("busy", `${STREAMS_MAX} streams of captured frames are read already`, {
        hint: "End one of them",
      });
    }
    const tap = this.#makeTap({ filter, snapLength });
    this.#streams++;
    this.#add(tap);
    const end = (): void => {
      signal?.removeEventListener("abort", end);
      if (this.#remove(tap)) this.#streams--;
    };
    signal?.addEventListener("abort", end);
    if (signal?.aborted || this.#isClosed) end();
    return new CaptureStream(tap, end);
  }

  /** Ends all captures; resolves when the file is whole. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const tap of [...this.#taps]) tap.close();
    await this.#file;
  }

  #makeTap({ filter, snapLength = SNAP_MAX_BYTES, bufferBytes }: {
    readonly filter: string | undefined;
    readonly snapLength: number | undefined;
    readonly bufferBytes?: number;
  }): CaptureTap {
    const parsed = filter === undefined || filter === "" ? null : parseCaptureFilter(filter);
    if (typeof parsed === "string") throw new ConfigError([{ key: "filter", text: parsed }]);
    return new CaptureTap({
      filter: parsed,
      snapLength,
      clock: this.#clock,
      ...(bufferBytes === undefined ? {} : { bufferBytes }),
    });
  }

  #add(tap: CaptureTap): void {
    this.#taps.add(tap);
    if (this.#network === null) return;
    enter(tap, this.#network);
    this.#apply();
  }

  #remove(tap: CaptureTap): boolean {
    tap.close();
    if (!this.#taps.delete(tap)) return false;
    this.#apply();
    return true;
  }

  /** Hands the device the one tap that there is, or one for all of them. */
  #apply(): void {
    const [first = null, second] = this.#taps;
    this.#network?.setTap(second === undefined ? first : new Taps([...this.#taps]));
  }
}

/** Several taps as one. */
class Taps implements FrameTap {
  readonly #taps: readonly CaptureTap[];

  constructor(taps: readonly CaptureTap[]) {
    this.#taps = taps;
  }

  received(at: number, bytes: number): void {
    for (const tap of this.#taps) tap.received(at, bytes);
  }

  sent(at: number, bytes: number): void {
    for (const tap of this.#taps) tap.sent(at, bytes);
  }
}

/** The blocks of a capture, for one reader. */
class CaptureStream implements AsyncIterableIterator<Uint8Array> {
  readonly #tap: CaptureTap;
  readonly #end: () => void;
  #state: "new" | "open" | "over" = "new";

  constructor(tap: CaptureTap, end: () => void) {
    this.#tap = tap;
    this.#end = end;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    switch (this.#state) {
      case "new":
        this.#state = "open";
        return { done: false, value: this.#tap.opening() };
      case "open": {
        const blocks = await this.#tap.next();
        // The reader may keep what it gets.
        if (blocks !== null) return { done: false, value: blocks.slice() };
        this.#end();
        this.#state = "over";
        return { done: false, value: this.#tap.ending() };
      }
      case "over":
        return { done: true, value: undefined };
    }
  }

  return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#state = "over";
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** A capture begins to see a guest, whose names it is told. */
function enter(tap: CaptureTap, network: CapturedNetwork): void {
  tap.memory = network.memory;
  tap.tellNames(
    network.pins().map(({ name, address }): NamedAddress => {
      return { name, address: parseIp(address)! };
    }),
  );
}
