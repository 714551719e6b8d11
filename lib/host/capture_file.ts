/**
 * A capture in a file of its own, private to its user, and never longer than it may be.
 *
 * `FILE` is written; where it is full, or there from an earlier run, it becomes `FILE.1`, and the one
 * that was there before is gone. Each takes half of the limit. Both are whole by themselves.
 *
 * A disk that is full, a file or folder that somebody has removed or replaced: the capture stops, is
 * cut behind its last whole block where that can be done, and one line of the log says why. Nobody
 * else notices. What is in the file's place is looked at `LOOK_MS` after the last time.
 *
 * @module
 */
import { wholeBlocks } from "../capture/pcapng.ts";
import { earlierCapture } from "../config/capture_config.ts";
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { shellQuote } from "../config/permission_line.ts";
import type { CaptureTap } from "./capture_tap.ts";
import { isGranted, permissionError } from "./permissions.ts";

/** What a file is made with. */
export interface CaptureFileOptions {
  readonly path: string;
  /** Bytes that it and the one before it may take together. */
  readonly limitBytes: number;
  readonly tap: CaptureTap;
  readonly logger: GatewayLogger;
  /** The clock, in milliseconds. */
  readonly now: () => number;
}

const LOOK_MS = 1_000;
const PRIVATE = 0o600;

/**
 * Checks the permissions of a capture's file before it is opened.
 *
 * @param path The file.
 * @throws {GatewayError} With code `permission` and the flags to add as hint.
 */
export function requireCaptureFile(path: string): void {
  const escape = (each: string): string => each.replaceAll(",", ",,");
  const writes = [path, earlierCapture(path)].filter((each) => {
    return !isGranted({ name: "write", path: each });
  });
  const flags = [
    ...(isGranted({ name: "read", path }) ? [] : [`--allow-read=${escape(path)}`]),
    ...(writes.length === 0 ? [] : [`--allow-write=${writes.map(escape).join(",")}`]),
  ];
  if (flags.length === 0) return;
  throw permissionError(`capture to ${path}`, flags.map(shellQuote).join(" "));
}

/** A file that is written. */
export class CaptureFile {
  readonly #options: CaptureFileOptions;
  readonly #endingBytes: number;
  #file: Deno.FsFile;
  /** Which file it is, to know it again. */
  #inode: number | null = null;
  /** Bytes of whole blocks in it. */
  #bytes = 0;
  #lookMs = 0;

  private constructor(options: CaptureFileOptions, file: Deno.FsFile) {
    this.#options = options;
    this.#file = file;
    this.#endingBytes = options.tap.ending().length;
  }

  /**
   * Makes the file.
   *
   * @throws {GatewayError} Where that can't be done.
   */
  static async open(options: CaptureFileOptions): Promise<CaptureFile> {
    const { path } = options;
    requireCaptureFile(path);
    try {
      const capture = new CaptureFile(options, await make(path));
      try {
        await capture.#begin();
        return capture;
      } catch (error) {
        capture.#file.close();
        throw error;
      }
    } catch (error) {
      throw new GatewayError("config", `cannot capture to ${path}: ${(error as Error).message}`, {
        hint: "Name a file in a folder that is there and has room, with --capture FILE",
        cause: error,
      });
    }
  }

  /** Writes to the end of the capture; never rejects. Resolves with whether nothing went wrong. */
  async run(): Promise<boolean> {
    const { path, tap, logger } = this.#options;
    try {
      for (let blocks = await tap.next(); blocks !== null; blocks = await tap.next()) {
        await this.#write(blocks);
      }
      await this.#append(tap.ending());
      return true;
    } catch (error) {
      await this.#file.truncate(this.#bytes).catch(() => {});
      logger.error(`the capture to ${path} has stopped, all else goes on`, {
        reason: (error as Error).message,
        hint: "a restart begins it again; the command capture -w FILE needs none",
      });
      return false;
    } finally {
      this.#file.close();
    }
  }

  async #write(blocks: Uint8Array): Promise<void> {
    await this.#look();
    for (let at = 0; at < blocks.length;) {
      let bytes = wholeBlocks(blocks, at, this.#roomBytes);
      if (bytes === 0) {
        await this.#turnOver();
        bytes = wholeBlocks(blocks, at, this.#roomBytes);
      }
      if (bytes === 0) throw new Error("a block is longer than the file may be");
      await this.#append(blocks.subarray(at, at + bytes));
      at += bytes;
    }
  }

  get #roomBytes(): number {
    return Math.floor(this.#options.limitBytes / 2) - this.#bytes - this.#endingBytes;
  }

  async #turnOver(): Promise<void> {
    const { path, tap } = this.#options;
    await this.#append(tap.ending());
    const file = await make(path);
    this.#file.close();
    this.#file = file;
    await this.#begin();
  }

  async #begin(): Promise<void> {
    this.#bytes = 0;
    this.#inode = (await this.#file.stat()).ino;
    this.#lookMs = this.#options.now();
    await this.#append(this.#options.tap.opening());
  }

  /** Bytes go to a file that nobody finds any more as well as to any other. */
  async #look(): Promise<void> {
    const { path, now } = this.#options;
    if (now() - this.#lookMs < LOOK_MS) return;
    this.#lookMs = now();
    const { ino } = await Deno.lstat(path).catch((error: Error) => {
      if (error instanceof Deno.errors.NotFound) throw new Error("somebody has removed the file");
      throw error;
    });
    if (ino !== this.#inode) throw new Error("somebody has put another file in its place");
  }

  async #append(bytes: Uint8Array): Promise<void> {
    let at = 0;
    try {
      while (at < bytes.length) at += await this.#file.write(bytes.subarray(at));
    } finally {
      this.#bytes += wholeBlocks(bytes, 0, at);
    }
  }
}

/** Makes a file that was not there, whatever is in its place having become the earlier one. */
async function make(path: string): Promise<Deno.FsFile> {
  const there = await Deno.lstat(path).catch((error: Error) => {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  });
  if (there !== null && !there.isFile) {
    throw new Error("what is there is no plain file; for a pipe there is capture -w -");
  }
  if (there !== null) await Deno.rename(path, earlierCapture(path));
  return await Deno.open(path, { write: true, createNew: true, mode: PRIVATE });
}
