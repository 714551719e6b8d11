/**
 * The files behind the audit's spool: segments of lines in DIR/audit/, each with a number as its name,
 * and a mark that says how much of one has been acknowledged.
 *
 * No file stays open between two operations, so a gateway that has run out of descriptors fails here
 * one time and not the next. Files are written by this process alone, see dir_lock.ts.
 *
 * **Durability.** What is written is safe from the end of the process at once. It is brought to the
 * disk itself (fdatasync) when a segment is full and when the gateway ends, not with every batch: many
 * gateways of a host without an engine would each force its disk once a second, and every guest would
 * feel it. A host that loses its power may lose what the kernel had not written back by itself, about
 * half a minute of records that no engine has acknowledged.
 *
 * @module
 */

const SEGMENT = /^([0-9]{12})\.jsonl$/;
const MARK = "acknowledged.json";

/** Largest file that is read: nothing here writes larger ones. */
const READ_MAX_BYTES = 4 * 1024 * 1024;

/** So much of a segment has been acknowledged. */
export interface SpoolMark {
  /** Its number. */
  readonly segment: number;
  /** How many records from its beginning. */
  readonly records: number;
}

/** Where a spool keeps its lines. */
export interface SpoolFiles {
  /** Makes the place where it is missing; the numbers of the segments there, in order. */
  open(): Promise<number[]>;
  /** All of a segment. */
  read(segment: number): Promise<Uint8Array>;
  /** Puts octets at an offset, which become the end of the segment. */
  write(segment: number, offset: number, octets: Uint8Array): Promise<void>;
  /** Brings a segment to the disk itself. */
  sync(segment: number): Promise<void>;
  /** Removes a segment; one that is not there is no error. */
  remove(segment: number): Promise<void>;
  /** The mark; `null` where there is none that can be read. */
  readMark(): Promise<SpoolMark | null>;
  /** Sets the mark, whole or not at all. */
  writeMark(mark: SpoolMark): Promise<void>;
}

/** Files in a directory. */
export class DirFiles implements SpoolFiles {
  readonly #dir: string;

  /** The directory is made where it is missing; the one above it is not. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  async open(): Promise<number[]> {
    await Deno.mkdir(this.#dir, { mode: 0o700 }).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
    const numbers: number[] = [];
    for await (const { name, isFile } of Deno.readDir(this.#dir)) {
      const number = SEGMENT.exec(name)?.[1];
      if (isFile && number !== undefined) numbers.push(Number(number));
    }
    return numbers.sort((a, b) => a - b);
  }

  async read(segment: number): Promise<Uint8Array> {
    using file = await Deno.open(this.#path(segment));
    const { size } = await file.stat();
    const octets = new Uint8Array(Math.min(size, READ_MAX_BYTES));
    let length = 0;
    while (length < octets.length) {
      const count = await file.read(octets.subarray(length));
      if (count === null) break;
      length += count;
    }
    return octets.subarray(0, length);
  }

  async write(segment: number, offset: number, octets: Uint8Array): Promise<void> {
    const options = { write: true, create: true, mode: 0o600 };
    using file = await Deno.open(this.#path(segment), options);
    await file.seek(offset, Deno.SeekMode.Start);
    for (let at = 0; at < octets.length;) at += await file.write(octets.subarray(at));
    await file.truncate(offset + octets.length);
  }

  async sync(segment: number): Promise<void> {
    using file = await Deno.open(this.#path(segment), { write: true });
    await file.syncData();
  }

  async remove(segment: number): Promise<void> {
    await Deno.remove(this.#path(segment)).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }

  async readMark(): Promise<SpoolMark | null> {
    try {
      const { size } = await Deno.stat(`${this.#dir}/${MARK}`);
      if (size > 1_024) return null;
      const { segment, records } = JSON.parse(await Deno.readTextFile(`${this.#dir}/${MARK}`));
      const isMark = [segment, records].every((n) => Number.isSafeInteger(n) && n >= 0);
      return isMark ? { segment, records } : null;
    } catch {
      // Without it records are sent again, which the stream folds.
      return null;
    }
  }

  async writeMark({ segment, records }: SpoolMark): Promise<void> {
    const path = `${this.#dir}/${MARK}`;
    await Deno.writeTextFile(`${path}.new`, `${JSON.stringify({ segment, records })}\n`, {
      mode: 0o600,
    });
    await Deno.rename(`${path}.new`, path);
  }

  #path(segment: number): string {
    return `${this.#dir}/${String(segment).padStart(12, "0")}.jsonl`;
  }
}
