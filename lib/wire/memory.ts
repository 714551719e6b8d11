/**
 * The one memory that holds every packet octet of the program; a position in it is a plain number.
 *
 * It has a fixed size and is a `WebAssembly.Memory`, so that the checksum kernel, typed arrays and
 * socket operations work on the same octets without a copy. Pages cost nothing until touched.
 * Where WebAssembly or its SIMD is missing, an `ArrayBuffer` and the JavaScript of `checksum.ts`
 * do the same, slower.
 *
 * No range is checked here: positions come from code that has checked lengths. A range outside the
 * memory throws, it never wraps.
 *
 * @module
 */
import { combineSums, copySumBytes, sumBytes } from "./checksum.ts";
import { CHECKSUM_KERNEL } from "./checksum_kernel.ts";

const PAGE_BYTES = 64 * 1024;
/** The longest range of one kernel call: even, and far from a lane's overflow. */
const MAX_KERNEL_BYTES = 256 * 1024;
/** Up to here a loop is cheaper than a call into the runtime. */
const SHORT_COPY_BYTES = 16;

interface Kernel {
  sum(at: number, lengthBytes: number): number;
  copySum(to: number, from: number, lengthBytes: number): number;
}

/** How a `FrameMemory` is made. */
export interface FrameMemoryOptions {
  /** `false` keeps to JavaScript even where WebAssembly works. */
  readonly wasm?: boolean;
}

/** A fixed stretch of memory with the checksum kernel over it. */
export class FrameMemory {
  /** All octets. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same octets, for numbers in network order. */
  readonly view: DataView<ArrayBuffer>;
  /** The size, a multiple of 64 KiB. */
  readonly sizeBytes: number;
  /** Whether sums are made by the WebAssembly kernel. */
  readonly accelerated: boolean;
  readonly #kernel: Kernel;

  /** Takes `sizeBytes`, rounded up to whole pages of 64 KiB. */
  constructor(sizeBytes: number, options: FrameMemoryOptions = {}) {
    const pages = Math.max(1, Math.ceil(sizeBytes / PAGE_BYTES));
    const made = options.wasm === false ? null : makeKernel(pages);
    const buffer = made?.buffer ?? new ArrayBuffer(pages * PAGE_BYTES);
    this.sizeBytes = pages * PAGE_BYTES;
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.accelerated = made !== null;
    this.#kernel = made?.kernel ?? plainKernel(this.view);
  }

  /** The folded ones'-complement sum of a range, see `checksum.ts`. */
  sum(at: number, lengthBytes: number): number {
    if (lengthBytes > MAX_KERNEL_BYTES) return this.#sumLong(at, lengthBytes);
    return this.#kernel.sum(at, lengthBytes);
  }

  /** Copies a range to another that does not overlap it, and returns its sum. */
  copySum(to: number, from: number, lengthBytes: number): number {
    if (lengthBytes > MAX_KERNEL_BYTES) {
      this.copy(to, from, lengthBytes);
      return this.#sumLong(to, lengthBytes);
    }
    return this.#kernel.copySum(to, from, lengthBytes);
  }

  /** Copies a range; the two may overlap. */
  copy(to: number, from: number, lengthBytes: number): void {
    const { bytes } = this;
    if (lengthBytes > SHORT_COPY_BYTES) {
      bytes.copyWithin(to, from, from + lengthBytes);
    } else if (to <= from) {
      for (let i = 0; i < lengthBytes; i++) bytes[to + i] = bytes[from + i]!;
    } else {
      for (let i = lengthBytes - 1; i >= 0; i--) bytes[to + i] = bytes[from + i]!;
    }
  }

  /** Sets a range to zeros. */
  fill(at: number, lengthBytes: number): void {
    this.bytes.fill(0, at, at + lengthBytes);
  }

  #sumLong(at: number, lengthBytes: number): number {
    let sum = 0;
    for (let done = 0; done < lengthBytes; done += MAX_KERNEL_BYTES) {
      const bytes = Math.min(MAX_KERNEL_BYTES, lengthBytes - done);
      sum = combineSums(sum, this.#kernel.sum(at + done, bytes));
    }
    return sum;
  }
}

let compiled: WebAssembly.Module | null = null;

/** The memory with its kernel; `null` where WebAssembly or SIMD is not to be had. */
function makeKernel(pages: number): { buffer: ArrayBuffer; kernel: Kernel } | null {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(CHECKSUM_KERNEL)) return null;
  compiled ??= new WebAssembly.Module(CHECKSUM_KERNEL);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const instance = new WebAssembly.Instance(compiled, { m: { m: memory } });
  return { buffer: memory.buffer as ArrayBuffer, kernel: instance.exports as unknown as Kernel };
}

function plainKernel(view: DataView): Kernel {
  return {
    sum: (at, lengthBytes) => sumBytes(view, at, lengthBytes),
    copySum: (to, from, lengthBytes) => copySumBytes(view, to, from, lengthBytes),
  };
}
